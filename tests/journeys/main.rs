//! Journeys: what an operator fears, tried on a real Kafka broker with the real binary. One file each, one binary, one link.
//!
//! To write one: add `mod name_of_the_fear;` below, and a file of that name that begins
//!
//! ```ignore
//! #[test]
//! fn nothing_is_lost() {
//!     let journey = Journey::new("nothing_is_lost");          // a namespace of its own on the shared broker
//!     let acme = journey.tenant("acme");                       // a tenant id that no other journey has
//!     journey.create_topic(&format!("{acme}.raw.web"), 4, &[]);
//!     let config = journey.config().tenant(&acme, |t| t.set("profile", "web_analytics"));
//!     journey.set_up(&config);                                 // keys and topics, as an operator would
//!     let run = journey.lethe(&config).args(["run", "--until-caught-up"]).finish();
//!     run.assert_done();
//!     let records = kafka::read_committed(journey.bootstrap(), &format!("{acme}.events"));
//! }
//! ```
//!
//! - The shared broker serves all journeys at once; `Journey::with_own_broker` is for those that kill or restart it.
//! - Wait with `eventually(what, || …)`, never by a sleep: it polls until its deadline and then says what it waited for.
//! - A journey that needs the whole machine begins with `let _turn = heavy();`.
//! - Nothing outlives the test process, however it ends: processes and files are handed to the keeper (`support/keeper.rs`).
//! - `LETHE_KEEP=1` leaves the files of a run, broker data and logs, under `target/tmp`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

mod asked_to_stop;
mod bad_config;
mod broker_answers;
mod broker_gone;
mod canary;
mod counts_are_published_once;
mod crash_between_produce_and_commit;
mod demo;
mod disk_spoils;
mod export;
mod faults;
mod files_change;
mod five_customers;
mod forwarder_is_refused;
mod nobody_listens;
mod one_tenants_topic_fails;
mod operator_pauses;
mod other_clients;
mod partitions_are_many;
mod permissions;
mod registry_is_away;
mod retain_keeps_pace;
mod retain_meets_the_odd;
mod retain_survives;
mod rights;
mod rights_at_scale;
mod rights_missing;
mod rights_races;
mod rights_terminate;
mod schemas;
mod sdk_hashes_differ;
mod sessions_are_exact;
mod soak;
mod sres_watch;
mod topics_applied;
mod visible_soon;
mod window_elapsed;
mod zombie_worker;
