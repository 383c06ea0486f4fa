//! Fear: the first thing anybody tries does not work, or does not add up.

use crate::support::keeper;
use crate::support::lethe::Invocation;

fn number(text: &str) -> u64 {
    text.replace(',', "").parse().unwrap()
}

#[test]
fn the_demo_runs_with_nothing_installed_and_adds_up() {
    let home = keeper::directory("the_demo_runs_with_nothing_installed_and_adds_up");
    let done = Invocation::bare(&home, "demo").args(["demo"]).finish();
    done.assert_done();
    assert!(!done.stderr.contains("ERROR"), "{}", done.stderr);
    assert!(!done.stdout.contains('\u{1b}'), "no colours where there is no terminal");

    let (_, totals) = done.stdout.split_once("All rows").unwrap();
    let outcome = |word: &str| {
        let line = totals.lines().find(|line| line.split_whitespace().any(|w| w == word)).unwrap();
        number(line.split_whitespace().find(|w| w.starts_with(|c: char| c.is_ascii_digit())).unwrap())
    };
    let sum: u64 = ["written", "gated", "quarantined", "expired"].map(outcome).iter().sum();
    assert_eq!(sum, 20_000, "{}", done.stdout);
    for topic in ["demo.conversions", "demo.dest.meta", "demo.dest.google_ads", "demo.quarantine"] {
        assert!(done.stdout.lines().any(|line| line.trim_end().ends_with(topic)), "{topic} has records");
    }
    assert!(done.stdout.contains("no consent") && done.stdout.contains("[email]"), "what was withheld and what was scrubbed is shown");
}

#[test]
fn events_are_generated_alike_for_a_seed() {
    let home = keeper::directory("events_are_generated_alike_for_a_seed");
    let made =
        Invocation::bare(&home, "lines").args(["generate", "--tenant", "demo", "--events", "500", "--seed", "3", "--output", "-"]).finish();
    made.assert_done();
    assert_eq!(made.stdout.lines().count(), 500);
    assert!(made.stderr.starts_with("500 events"), "the totals do not mix with the events");
}
