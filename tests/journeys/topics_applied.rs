//! Fear: a topic that was made by hand keeps what should be forgotten. `topics apply` makes and mends; a dry run explains and touches nothing.

use crate::support::journey::Journey;
use crate::support::kafka;

#[test]
fn topics_are_made_mended_and_explained() {
    let journey = Journey::new("topics_are_made_mended");
    let acme = journey.tenant("a");
    let events = format!("{acme}.events");
    let config = journey.config().set("topics.partitions", 2).tenant(&acme, |t| t.set("windows.events", "10s"));

    let dry = journey.lethe(&config).args(["topics", "apply", "--dry-run"]).finish();
    dry.assert_done();
    let of_events = dry.stdout.split(&format!("{events} (")).nth(1).unwrap();
    let explained = of_events.lines().find(|l| l.contains("delete.retention.ms")).unwrap();
    assert!(explained.contains("keeps a table"), "{explained}");
    assert!(kafka::partitions_of(journey.bootstrap(), &events).is_empty(), "a dry run makes nothing");

    journey.create_topic(&format!("{acme}.logs"), 3, &[("segment.ms", "604800000"), ("max.message.bytes", "2000000")]);
    let applied = journey.lethe(&config).args(["topics", "apply"]).finish();
    applied.assert_done();
    assert!(
        applied.stdout.contains(&format!("changed {acme}.logs: message.timestamp.type CreateTime -> LogAppendTime")),
        "{}",
        applied.stdout
    );
    for (topic, partitions) in [("events", 2), ("raw.web", 2), ("quarantine", 2), ("logs", 3)] {
        assert_eq!(kafka::partitions_of(journey.bootstrap(), &format!("{acme}.{topic}")).len(), partitions, "{topic}");
    }
    assert_eq!(kafka::partitions_of(journey.bootstrap(), &format!("{}.directives", journey.namespace())).len(), 1);

    let again = journey.lethe(&config).args(["topics", "apply"]).finish();
    again.assert_done();
    assert!(!again.stdout.contains(&acme), "nothing is left to do: {}", again.stdout);
}

#[test]
fn a_window_that_cannot_be_kept_is_refused() {
    let journey = Journey::new("a_window_that_cannot_be_kept");
    let config = journey.config().set("retain.testing", false).tenant(&journey.tenant("a"), |t| t.set("windows.events", "2h"));
    journey.lethe(&config).args(["topics", "apply"]).finish().assert_refused(2, "windows.events");
}
