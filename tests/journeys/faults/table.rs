//! The table: every fault, what is done, what must hold, how it is shown, and what it has found.

use super::{Ground, Shown, brokers, chaos, estate, input, replicas, run};
use crate::support::moments::Moments;
use crate::support::outside::repository;
use lethe::faults::Planted;
use std::fmt::Write;

/// Tries a fault with the numbers of a seed. Panics where something is broken.
pub type Run = fn(&Ground, &mut Moments) -> Shown;

/// How a fault is shown.
#[derive(Clone, Copy)]
pub enum How {
    /// By this suite. Units: seeds of the quick part, and of the whole.
    Here { run: Run, quick: u32, whole: u32 },
    /// By tests that show it already: file and function, under `tests/journeys` or `src`.
    Test(&'static [&'static str]),
}

/// One row.
pub struct Fault {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is done.
    pub done: &'static str,
    /// What must hold, by number.
    pub invariants: &'static [u8],
    /// How it is shown.
    pub how: How,
    /// What it found: the bug, and the subject of the commit that mended it.
    pub found: &'static [(&'static str, &'static str)],
}

/// What must hold, by number from 1.
const INVARIANTS: [&str; 10] = [
    "every input offset ends in exactly one committed outcome per route",
    "no aborted or torn output is visible to a reader of committed records",
    "order per key",
    "no clear personal value in any output, log, metric, quarantine or core file",
    "what is erased or expired is absent on a full re-read after cleaning, and stays absent",
    "what is held is never removed",
    "the audit chain verifies, one entry per decision",
    "progress within 30 s after the fault heals",
    "memory, disk and queues bounded",
    "tenants never mix",
];

/// Every fault.
pub const TABLE: &[Fault] = &[
    Fault {
        name: "killed_at_each_step",
        done: "`run`: four workers of one group, each killed (SIGKILL) at another step of a transaction: begun, in the middle of producing, after the offsets were sent, after the commit; which transaction, the seed says",
        invariants: &[1, 2, 3],
        how: How::Here { run: run::killed_at_each_step, quick: 1, whole: 20 },
        found: &[],
    },
    Fault {
        name: "killed_at_random",
        done: "`run`: one of two workers killed five times at random moments",
        invariants: &[1, 2, 3],
        how: How::Test(&["crash_between_produce_and_commit::killed_five_times_and_nothing_is_lost_or_doubled"]),
        found: &[],
    },
    Fault {
        name: "retain_killed_at_each_step",
        done: "`retain`: two processes, each killed at another step of a transaction of tombstones and cursor",
        invariants: &[5, 8],
        how: How::Here { run: estate::retain_killed_at_each_step, quick: 0, whole: 5 },
        found: &[],
    },
    Fault {
        name: "retain_killed_at_random",
        done: "`retain`: five kills and a broker restart",
        invariants: &[5, 8],
        how: How::Test(&["retain_survives::five_kills_and_a_broker_restart"]),
        found: &[],
    },
    Fault {
        name: "erasure_killed_at_each_step",
        done: "an erasure: its process killed at steps of its transactions, between finding keys and writing tombstones, before the certificate (quick: 1 kill; all: 6)",
        invariants: &[5, 7],
        how: How::Here { run: estate::erasure_killed_at_each_step, quick: 1, whole: 5 },
        found: &[],
    },
    Fault {
        name: "frozen_at_steps",
        done: "`run`: SIGSTOP while producing, and with the offsets sent, past session and transaction timeouts; SIGCONT when another has done the work",
        invariants: &[1, 2, 3, 8],
        how: How::Here { run: run::frozen_at_steps, quick: 0, whole: 5 },
        found: &[],
    },
    Fault {
        name: "frozen_at_random",
        done: "`run`: SIGSTOP at a random moment, three times",
        invariants: &[1, 2, 3, 8],
        how: How::Test(&["zombie_worker::a_worker_that_wakes_up_is_fenced"]),
        found: &[],
    },
    Fault {
        name: "two_with_one_id",
        done: "two processes with one transactional id",
        invariants: &[1, 2, 3],
        how: How::Here { run: run::two_with_one_id, quick: 0, whole: 3 },
        found: &[],
    },
    Fault {
        name: "answers_lost",
        done: "through a proxy: the answers or requests of EndTxn, TxnOffsetCommit and Produce lost, EndTxn delayed (in the whole suite once by 25 s), then the connection back",
        invariants: &[1, 2, 3, 8],
        how: How::Here { run: brokers::answers_lost, quick: 1, whole: 5 },
        found: &[],
    },
    Fault {
        name: "answers_lost_before_890",
        done: "the same on a broker whose transactions are those of before KIP-890 (`transaction.version=1`), with AddOffsetsToTxn and AddPartitionsToTxn",
        invariants: &[1, 2, 3, 8],
        how: How::Here { run: brokers::answers_lost_before_890, quick: 1, whole: 5 },
        found: &[],
    },
    Fault {
        name: "coordinator_restarted",
        done: "the broker, coordinator of group and transaction, killed or stopped while a transaction is begun, produced, or has its offsets; once away for longer than transaction and session timeouts",
        invariants: &[1, 2, 3, 8],
        how: How::Here { run: brokers::coordinator_restarted, quick: 0, whole: 5 },
        found: &[],
    },
    Fault {
        name: "broker_restarts",
        done: "the broker killed and restarted under load, after seconds and after longer than a request may take; stopped and killed while 50 clients ask and read",
        invariants: &[1, 2, 3, 8],
        how: How::Test(&[
            "broker_gone::a_broker_that_comes_back_finds_the_workers_at_work",
            "broker_gone::clients_outlive_a_broker_that_knows_of_none",
        ]),
        found: &[
            (
                "a client that was told by a stopping broker that there are no brokers never asked again (librdkafka); 86 of 90 stood still for good",
                "kafka: a client that was told that there are no brokers gets them again",
            ),
            (
                "a client that was told by a starting broker that nobody leads a partition ended by SIGSEGV (librdkafka)",
                "kafka: a broker that starts crashes no client by telling that nobody leads a partition",
            ),
        ],
    },
    Fault {
        name: "one_broker_after_the_other",
        done: "three brokers (replication 3, two in sync), each in its turn stopped or killed and started again under load",
        invariants: &[1, 2, 3, 8],
        how: How::Here { run: brokers::one_broker_after_the_other, quick: 0, whole: 2 },
        found: &[],
    },
    Fault {
        name: "members_come_and_go",
        done: "workers join and leave, classic protocol by range and cooperatively, and the consumer protocol",
        invariants: &[1, 2, 3],
        how: How::Test(&[
            "asked_to_stop::members_come_and_go_by_range",
            "asked_to_stop::members_come_and_go_cooperatively",
            "asked_to_stop::members_come_and_go_under_the_new_protocol",
        ]),
        found: &[],
    },
    Fault {
        name: "outlived_its_transaction",
        done: "a worker that stands before its commit until the coordinator has ended its transaction, and is a member all the while, twice",
        invariants: &[1, 2, 3, 8],
        how: How::Here { run: run::outlived_its_transaction, quick: 0, whole: 3 },
        found: &[],
    },
    Fault {
        name: "slower_than_the_poll_interval",
        done: "a batch that takes longer than `max.poll.interval.ms`, standing in the middle of its transaction",
        invariants: &[1, 2, 3, 8],
        how: How::Here { run: run::slower_than_the_poll_interval, quick: 0, whole: 4 },
        found: &[],
    },
    Fault {
        name: "hanging_transaction",
        done: "a transaction left open on an output topic",
        invariants: &[5],
        how: How::Test(&["retain_meets_the_odd::a_hanging_transaction_and_a_dead_cleaner_show_as_overdue"]),
        found: &[],
    },
    Fault {
        name: "poisoned",
        done: "payloads that nobody should send, each with and without a key: not JSON, torn, bombs of depth, numbers without end, invalid UTF-8, lone surrogates, names twice, a mebibyte of text, nulls, schemas that nobody knows",
        invariants: &[1, 4, 9],
        how: How::Here { run: input::poisoned, quick: 1, whole: 3 },
        found: &[],
    },
    Fault {
        name: "marked_values",
        done: "marked personal values in every field, and malformed rows around them",
        invariants: &[4],
        how: How::Test(&["canary::no_personal_value_gets_out"]),
        found: &[],
    },
    Fault {
        name: "duplicated",
        done: "the same events in one batch, in later ones, after a restart, from other partitions",
        invariants: &[1, 3],
        how: How::Here { run: input::duplicated, quick: 0, whole: 1 },
        found: &[],
    },
    Fault {
        name: "times_and_clocks",
        done: "events of 400 days ago to 400 days ahead; the worker's clock stepped by an hour forth and back (by a shift of the one place that asks for the time)",
        invariants: &[1],
        how: How::Here { run: input::times_and_clocks, quick: 0, whole: 3 },
        found: &[],
    },
    Fault {
        name: "key_rotated_under_load",
        done: "a key rotated while batches are under way: the key of a row is that of its receipt",
        invariants: &[1],
        how: How::Here { run: input::key_rotated_under_load, quick: 0, whole: 2 },
        found: &[(
            "rows received between a rotation and its being taken up had the old key, and their replay the new one",
            "keys: a rotated key is in force a minute later, when every worker has it",
        )],
    },
    Fault {
        name: "keyring_rolled_back_under_load",
        done: "a keyring of an old backup put in the place of the one in use",
        invariants: &[1],
        how: How::Here { run: input::keyring_rolled_back_under_load, quick: 0, whole: 1 },
        found: &[(
            "a worker that met a keyring of an old backup ended; it refuses the file and goes on",
            "run: a keyring that lacks a key in use is refused, and the worker goes on with the one it has",
        )],
    },
    Fault {
        name: "key_file_unreadable_or_torn",
        done: "a keyring readable by others, torn, empty or gone, at the start and under way",
        invariants: &[1, 4],
        how: How::Test(&["bad_config::a_bad_keyring_is_refused", "files_change::changed_files_are_taken_up_and_bad_ones_are_not"]),
        found: &[],
    },
    Fault {
        name: "geoip_torn_under_load",
        done: "the GeoIP file torn in its place, gone, emptied, cut anywhere and no database, each time back again (quick: 5 times; all: 20): the one that was read stays in force for every row",
        invariants: &[1],
        how: How::Here { run: input::geoip_torn_under_load, quick: 0, whole: 2 },
        found: &[("SIGHUP did not tell of a GeoIP file that is gone", "run: SIGHUP tells of a GeoIP file that is gone")],
    },
    Fault {
        name: "geoip_replaced",
        done: "the GeoIP file replaced by another",
        invariants: &[1],
        how: How::Test(&["ops/assets::a_replaced_file_is_taken_and_a_bad_one_is_not"]),
        found: &[],
    },
    Fault {
        name: "rewritten_and_replayed",
        done: "a tombstone and a rewrite of one key, records of aborted transactions, forgotten cursors",
        invariants: &[5],
        how: How::Test(&["retain_meets_the_odd::rewritten_replayed_aborted_and_forgotten"]),
        found: &[],
    },
    Fault {
        name: "cleaner_dead_or_policy_changed",
        done: "a topic's cleanup policy changed behind our back, so that no cleaner comes",
        invariants: &[5],
        how: How::Test(&["retain_meets_the_odd::a_hanging_transaction_and_a_dead_cleaner_show_as_overdue"]),
        found: &[],
    },
    Fault {
        name: "hold_set_during_a_sweep",
        done: "a hold set while an erasure knows its keys and has written nothing",
        invariants: &[5, 6, 7],
        how: How::Here { run: estate::hold_set_during_a_sweep, quick: 0, whole: 2 },
        found: &[],
    },
    Fault {
        name: "kill_switch_toggled",
        done: "`lethe pause` and `resume` of one tenant of two under load, 100 times in all (quick: 8): the other goes on",
        invariants: &[1, 2, 3, 8, 10],
        how: How::Here { run: input::kill_switch_toggled, quick: 0, whole: 1 },
        found: &[],
    },
    Fault {
        name: "withdrawn_between_read_and_produce",
        done: "a consent withdrawn while a worker holds rows that it has decided about",
        invariants: &[4, 5],
        how: How::Here { run: estate::withdrawn_between_read_and_produce, quick: 0, whole: 2 },
        found: &[],
    },
    Fault {
        name: "audit_edited",
        done: "an entry of the audit changed",
        invariants: &[7],
        how: How::Test(&[
            "rights::an_erasure_takes_all_of_somebody_and_nothing_else_and_is_certified_through_kills",
            "lifecycle/audit::every_byte_counts",
        ]),
        found: &[],
    },
    Fault {
        name: "many_tenants_of_labels",
        done: "100,000 tenants, each with every counter",
        invariants: &[9],
        how: How::Test(&[
            "fuzz/main::labels_are_bounded_and_unscraped_histograms_too",
            "ops/metrics::tenants_beyond_the_cap_share_a_label",
        ]),
        found: &[],
    },
    Fault {
        name: "asked_to_stop_again_and_again",
        done: "SIGTERM under load, 50 times (quick: 4)",
        invariants: &[1, 2, 3, 8],
        how: How::Here { run: run::asked_to_stop_again_and_again, quick: 0, whole: 1 },
        found: &[],
    },
    Fault {
        name: "a_topic_that_cannot_be_written",
        done: "an output topic deleted under load, missing at the start, or without its ACL: its tenant stands still alone",
        invariants: &[1, 2, 10],
        how: How::Test(&[
            "one_tenants_topic_fails::deleted_under_load_and_made_again",
            "one_tenants_topic_fails::missing_at_start_and_made_later",
            "rights_missing::a_missing_right_is_told_and_one_topic_stops_one_tenant",
        ]),
        found: &[],
    },
    Fault {
        name: "leader_with_a_skewed_clock",
        done: "the leader's clock an hour ahead, an hour behind, and right again: `doctor` says so, `run` goes by the stamps, `retain` takes nothing whose stamp is not due; what was stamped ahead stays as long as it is ahead (PROMISE.md)",
        invariants: &[1, 2, 5, 8],
        how: How::Here { run: brokers::leader_with_a_skewed_clock, quick: 0, whole: 1 },
        found: &[(
            "a worker that began while the broker went away ended after a minute",
            "run: a worker that begins while the brokers are away waits for them",
        )],
    },
    Fault {
        name: "comes_back_and_leads",
        done: "three brokers: the leader goes away with values that the others expire meanwhile, comes back past `delete.retention.ms`, and leads again",
        invariants: &[5],
        how: How::Here { run: brokers::comes_back_and_leads, quick: 0, whole: 1 },
        found: &[
            (
                "all that had been expired meanwhile was there again, and nothing looked for it",
                "retain: what comes back with a replica that was away for too long is expired again",
            ),
            (
                "retain ended at its start while one of three brokers was away",
                "kafka: one broker of several that is away keeps no process from beginning",
            ),
        ],
    },
    Fault {
        name: "replica_away_during_an_erasure",
        done: "three brokers: a follower is away before an erasure's sweep, the leader between its sweep and its certificate; nothing is swept or certified before all replicas are in sync again",
        invariants: &[5, 7],
        how: How::Here { run: replicas::replica_away_during_an_erasure, quick: 0, whole: 1 },
        found: &[],
    },
    Fault {
        name: "output_larger_than_taken",
        done: "records larger than their topic's `max.message.bytes`, for a while",
        invariants: &[1, 2, 3, 10],
        how: How::Here { run: input::output_larger_than_taken, quick: 0, whole: 1 },
        found: &[],
    },
    Fault {
        name: "members_every_two_seconds",
        done: "workers join and leave every two seconds: by range, cooperatively, under the consumer protocol",
        invariants: &[1, 2, 3],
        how: How::Here { run: run::members_every_two_seconds, quick: 0, whole: 1 },
        found: &[],
    },
    Fault {
        name: "partitions_added",
        done: "partitions added under load to the raw topic and to an output topic: nothing lost or doubled (subjects move, so the order per key holds only from then on: README, Limits)",
        invariants: &[1, 2],
        how: How::Here { run: brokers::partitions_added, quick: 0, whole: 2 },
        found: &[],
    },
    Fault {
        name: "all_brokers_away",
        done: "three brokers killed at once and away for longer than transaction and session timeouts, twice",
        invariants: &[1, 2, 3, 8],
        how: How::Here { run: brokers::all_brokers_away, quick: 0, whole: 2 },
        found: &[],
    },
    Fault {
        name: "crashed",
        done: "SIGQUIT, which leaves a core file of other processes, where core files are allowed",
        invariants: &[4],
        how: How::Test(&["core_files::a_crash_leaves_no_core_file", "core_files::a_running_process_may_write_none"]),
        found: &[],
    },
    Fault {
        name: "soaked",
        done: "load for as long as `LETHE_SOAK` says (12 s by default), a fault every 30 s: worker killed, frozen, asked to stop, joining and leaving, broker killed, frozen, stopped",
        invariants: &[1, 2, 3, 8, 9],
        how: How::Test(&["soak::soaked_under_faults_nothing_creeps_up_and_nothing_is_lost"]),
        found: &[
            (
                "all workers ended: a broker that had just come back answered that there are no directives",
                "kafka: a broker that has just come back and knows no topics yet ends no process",
            ),
            (
                "a worker that was asked to stop while somebody's transaction was open took longer than its ten seconds and ended with an error",
                "run: a worker that waits for brokers' answers ends when asked to: calls are short, and what still runs at the end is named",
            ),
        ],
    },
    Fault {
        name: "metrics_never_scraped",
        done: "400,000 batches measured, and nobody who asks for the metrics",
        invariants: &[9],
        how: How::Test(&["fuzz/main::labels_are_bounded_and_unscraped_histograms_too"]),
        found: &[],
    },
    Fault {
        name: "run_at_random",
        done: "two workers of `run`: killed, frozen, asked to stop, cut off from the brokers, left without answers, the broker killed, at random (quick: 6 times; all: 24)",
        invariants: &[1, 2, 3, 8],
        how: How::Here { run: chaos::run_at_random, quick: 0, whole: 3 },
        found: &[],
    },
    Fault {
        name: "retain_at_random",
        done: "two processes of `retain`: killed, frozen, asked to stop, cut off from the brokers, left without answers, the broker killed, at random (quick: 6 times; all: 24)",
        invariants: &[5, 8],
        how: How::Here { run: chaos::retain_at_random, quick: 0, whole: 3 },
        found: &[],
    },
    Fault {
        name: "erasure_at_random",
        done: "`run` and `retain` with one person to erase and one on hold, then released: killed, frozen, asked to stop, cut off from the brokers, left without answers, the broker killed, at random (quick: 6 times; all: 24)",
        invariants: &[5, 6, 7, 8],
        how: How::Here { run: chaos::erasure_at_random, quick: 0, whole: 3 },
        found: &[],
    },
    Fault {
        name: "sessions_at_random",
        done: "two processes of `sessions`: killed, frozen, asked to stop, cut off from the brokers, left without answers, the broker killed, at random (quick: 6 times; all: 24)",
        invariants: &[1, 8],
        how: How::Here { run: chaos::sessions_at_random, quick: 0, whole: 3 },
        found: &[],
    },
    Fault {
        name: "aggregate_at_random",
        done: "two processes of `aggregate`, five tenants: killed, frozen, asked to stop, cut off from the brokers, left without answers, the broker killed, at random (quick: 6 times; all: 24)",
        invariants: &[1, 8, 10],
        how: How::Here { run: chaos::aggregate_at_random, quick: 0, whole: 3 },
        found: &[],
    },
];

/// Bugs that are planted on purpose, what must find each, and the words of the finding. The first [`PLANTED_QUICK`] belong to the quick part.
pub const PLANTED: &[(Planted, Run, &str)] = &[
    (Planted::OffsetsBeforeProduce, run::killed_with_offsets_first, " lost, "),
    (Planted::DropBarrier, estate::withdrawn_without_a_barrier, "records wait to be sent although the consent is withdrawn"),
    (Planted::SkipRoll, estate::erasure_without_rolls, "for the state certified"),
    (Planted::LogRejected, input::poisoned_and_logged, "a clear value leaked into the log"),
    // The next transaction is refused and the rows are read again: what shows is that they wait for it.
    (Planted::CommitTakenForGranted, run::outlived_and_taken_for_granted, " to be committed"),
    (Planted::ForgetTenant, input::kill_switch_not_heard, "something of a tenant was written after its pause"),
    (Planted::ReadAgain, run::asked_to_stop_and_read_again, " too many ("),
];
pub const PLANTED_QUICK: usize = 4;

fn rendered() -> String {
    const RECORDED: &str = include_str!("recorded.md");
    let mut text = String::from(
        "# Faults\n\n\
         Made from the table in [journeys/faults/table.rs](journeys/faults/table.rs) by `LETHE_FAULTS_WRITE=1 cargo test --test journeys faults::table`.\n\n\
         ```sh\n\
         cargo test --release --test journeys faults                                   # the quick part\n\
         LETHE_FAULTS=all cargo test --release --test journeys faults -- --nocapture    # every fault, every seed; LETHE_FAULT_SEEDS=N: at most N each\n\
         LETHE_FAULTS=NAME LETHE_FAULT_SEED=N cargo test --release --test journeys faults::suite -- --nocapture\n\
         ```\n\n\
         Each row of `run` is judged by set equality, per key and in counts, between what the line makes of the raw topic and what a reader of committed records\n\
         saw that ran beside from the start, and at the end. A failure names its seed.\n\n",
    );
    for (n, invariant) in (1..).zip(INVARIANTS) {
        let _ = writeln!(text, "- **I{n}** {invariant}");
    }
    text.push_str("\n| fault | what is done | must hold | shown by | found, and the commit that mended it |\n|---|---|---|---|---|\n");
    for fault in TABLE {
        let invariants: Vec<String> = fault.invariants.iter().map(|n| format!("I{n}")).collect();
        let how = match fault.how {
            How::Here { quick, whole, .. } => format!("this suite; seeds: quick {quick}, all {whole}"),
            How::Test(tests) => tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join(", "),
        };
        let found: Vec<String> = fault.found.iter().map(|(bug, commit)| format!("{bug}: *{commit}*")).collect();
        let _ = writeln!(text, "| `{}` | {} | {} | {how} | {} |", fault.name, fault.done, invariants.join(" "), found.join("; "));
    }
    text.push_str("\n## Bugs planted on purpose\n\nThe test `faults::planted_bugs_are_found` plants the first four, and all with `LETHE_FAULTS=all`, and holds that the suite fails in these words.\n\n| bug | found by |\n|---|---|\n");
    for (bug, _, words) in PLANTED {
        let _ = writeln!(text, "| `{}` | `{}` |", bug.as_str(), words.trim());
    }
    text.push('\n');
    text.push_str(RECORDED);
    text
}

#[test]
fn the_document_is_up_to_date() {
    let file = repository("tests/FAULTS.md");
    let text = rendered();
    if std::env::var_os("LETHE_FAULTS_WRITE").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let stands = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(stands == text, "tests/FAULTS.md is out of date: LETHE_FAULTS_WRITE=1 cargo test --test journeys faults::table");
}

#[test]
fn journeys_that_rows_name_are_there() {
    for fault in TABLE {
        let How::Test(tests) = fault.how else { continue };
        for test in tests {
            let (file, function) = test.split_once("::").unwrap();
            let places = ["tests/journeys", "src", "tests"].map(|place| repository(&format!("{place}/{file}.rs")));
            let mut texts = places.iter().filter_map(|place| std::fs::read_to_string(place).ok());
            assert!(texts.any(|text| text.contains(&format!("fn {function}("))), "{}: there is no {test}", fault.name);
        }
    }
}
