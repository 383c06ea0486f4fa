//! Fear: somebody looks at the first lines only (`| head -1`), a terminal is closed, or the disk behind `>` is full, and an order is given by half, or a
//! page of a crash's noise takes the place of one line.
//!
//! Shown, with pipes that nobody reads: orders stand and jobs do their work, with exit code 0; what is refused keeps its exit code; where what was
//! said is lost, that is one line, and exit code 1.

use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::lethe::Finished;
use crate::support::scene::Scene;
use std::fs::{File, OpenOptions};
use std::process::Stdio;

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

#[test]
fn what_nobody_reads_is_done_all_the_same() {
    let scene = Scene::new(Journey::new("what_nobody_reads"), |config| config);
    scene.journey.lethe(&scene.config).args(["topics", "apply"]).finish().assert_done();
    let tenant = scene.tenant();
    let unheard = |arguments: &[&str]| -> Finished {
        scene.journey.lethe(&scene.config).args(arguments).stdout_to(closed()).stderr_to(closed()).finish()
    };
    scene.produce(200);
    unheard(&["run", "--until-caught-up"]).assert_done();
    assert_eq!(scene.lag(tenant), 0);
    let directives = format!("{}.directives", scene.journey.namespace());
    let orders = [
        ("erase", vec!["erase", "--tenant", tenant, "--external-id", "u1"]),
        ("hold", vec!["hold", "--tenant", tenant, "--reason", "case 7", "--until", "2099-01-01"]),
        ("pause", vec!["pause", "--tenant", tenant]),
    ];
    for (kind, arguments) in orders {
        unheard(&arguments).assert_done();
        let given = kafka::read_committed(scene.bootstrap(), &directives);
        assert!(given.iter().any(|d| d.json()["kind"] == kind), "{kind} does not stand");
    }
    // What only shows.
    let csv = ["export", "--tenant", tenant, "--format", "csv"];
    for shown in [vec!["status"], vec!["status", "--json"], vec!["topics", "acls"], vec!["completions", "bash"], vec!["--help"]] {
        unheard(&shown).assert_done();
    }
    unheard(&["generate", "--tenant", tenant, "--events", "5000", "--seed", "1", "--output", "-"]).assert_done();
    // An export that did not arrive whole is none, and is told so.
    unheard(&csv).assert_code(1);
    unheard(&["export", "--tenant", "nobody", "--format", "csv"]).assert_code(2);
    unheard(&["erase", "--tenant", tenant, "--emial", "x"]).assert_code(2);
    for shown in [vec!["status"], vec!["completions", "bash"], vec!["export", "--records-of-processing"], csv.to_vec()] {
        let told = scene.journey.lethe(&scene.config).args(&shown).stdout_to(full()).finish();
        told.assert_refused(1, "cannot be written: No space left");
    }
}
