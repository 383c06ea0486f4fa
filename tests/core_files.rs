//! Fear: a crash leaves a core file, and in it everybody's clear values and the keys.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop where it stands")]

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// Runs a command that prints without end, with core files allowed, until it has printed a line; then aborts it, as a crash would. (What a shell starts
/// in the background ignores QUIT.)
fn crashed(command: &str, folder: &Path) -> ExitStatus {
    let mut child = Command::new("sh")
        .args(["-c", &format!("ulimit -c unlimited 2>/dev/null || ulimit -c $(ulimit -H -c); exec {command}")])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "{command}: it prints");
    kill_process(Pid::from_child(&child), Signal::ABORT).unwrap();
    child.wait().unwrap()
}

#[test]
fn a_crash_leaves_no_core_file() {
    let folder = tempfile::tempdir().unwrap();
    let lethe = env!("CARGO_BIN_EXE_lethe");
    let status = crashed(&format!("{lethe} generate --tenant acme --events 1000000000 --seed 1 --output -"), folder.path());
    // Its pipe may have closed before the signal came; then it ended by itself, and what follows still holds.
    assert!(!status.core_dumped(), "{status:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a file was left");
    // Where core files are written at all, another program leaves one: the test can fail.
    let other = crashed("sh -c 'echo line; while :; do :; done'", folder.path());
    if !other.core_dumped() {
        println!("this machine writes no core files, so only the limit was shown");
    }
}

#[test]
fn a_running_process_may_write_none() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lethe"))
        .args(["generate", "--tenant", "acme", "--events", "1000000000", "--seed", "1", "--output", "-"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let cores: Vec<&str> = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap().split_whitespace().collect();
    assert_eq!(cores[4..6], ["0", "0"], "{limits}");
}
