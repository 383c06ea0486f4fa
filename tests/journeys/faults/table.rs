//! The table: every fault, what is done, what must hold, how it is shown, and what it has found.

use super::{Ground, Shown, run};
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
    /// By a journey that has it already: file and test.
    Journey(&'static [&'static str]),
    /// Not at all, and why.
    Open(&'static str),
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

const EVERYTHING: &[u8] = &[1, 2, 3];

/// Every fault.
pub const TABLE: &[Fault] = &[
    Fault {
        name: "killed_at_each_step",
        done: "`run`: four workers of one group, each killed (SIGKILL) at another step of a transaction: begun, in the middle of producing, after the offsets were \
               sent, after the commit; which transaction, the seed says",
        invariants: EVERYTHING,
        how: How::Here { run: run::killed_at_each_step, quick: 1, whole: 20 },
        found: &[],
    },
    Fault {
        name: "killed_at_random",
        done: "`run`: one of two workers killed five times at random moments",
        invariants: EVERYTHING,
        how: How::Journey(&["crash_between_produce_and_commit::killed_five_times_and_nothing_is_lost_or_doubled"]),
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
        how: How::Journey(&["zombie_worker::a_worker_that_wakes_up_is_fenced"]),
        found: &[],
    },
    Fault {
        name: "two_with_one_id",
        done: "two processes with one transactional id",
        invariants: EVERYTHING,
        how: How::Here { run: run::two_with_one_id, quick: 0, whole: 3 },
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
        name: "leader_with_a_skewed_clock",
        done: "a broker whose clock is off by an hour leads",
        invariants: &[5],
        how: How::Open(
            "a process's clock cannot be stepped here without tools that the tests do not need otherwise; the horizon's allowance is tested where it is computed",
        ),
        found: &[],
    },
    Fault {
        name: "asked_to_stop_again_and_again",
        done: "SIGTERM under load, 50 times (quick: 4)",
        invariants: &[1, 2, 3, 8],
        how: How::Here { run: run::asked_to_stop_again_and_again, quick: 1, whole: 1 },
        found: &[],
    },
];

/// Bugs that are planted on purpose: what must find each, and the words of the finding.
pub const PLANTED: &[(Planted, Run, &str)] = &[(Planted::OffsetsBeforeProduce, run::killed_with_offsets_first, " lost, ")];

fn rendered() -> String {
    let mut text = String::from(
        "# Faults\n\n\
         Made from the table in [journeys/faults/table.rs](journeys/faults/table.rs) by `LETHE_FAULTS_WRITE=1 cargo test --test journeys faults::table`.\n\n\
         ```sh\n\
         cargo test --release --test journeys faults                                   # the quick part\n\
         LETHE_FAULTS=all cargo test --release --test journeys faults -- --nocapture    # every fault, every seed\n\
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
            How::Journey(tests) => tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join(", "),
            How::Open(why) => format!("**not shown**: {why}"),
        };
        let found: Vec<String> = fault.found.iter().map(|(bug, commit)| format!("{bug}: *{commit}*")).collect();
        let _ = writeln!(text, "| `{}` | {} | {} | {how} | {} |", fault.name, fault.done, invariants.join(" "), found.join("; "));
    }
    text.push_str("\n## Bugs planted on purpose\n\nThe test `faults::planted_bugs_are_found` plants each and holds that the suite fails in these words.\n\n| bug | found by |\n|---|---|\n");
    for (bug, _, words) in PLANTED {
        let _ = writeln!(text, "| `{}` | `{}` |", bug.as_str(), words.trim());
    }
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
        let How::Journey(tests) = fault.how else { continue };
        for test in tests {
            let (file, function) = test.split_once("::").unwrap();
            let text = std::fs::read_to_string(repository(&format!("tests/journeys/{file}.rs")));
            assert!(text.is_ok_and(|text| text.contains(&format!("fn {function}("))), "{}: there is no {test}", fault.name);
        }
    }
}
