//! What comes in from outside: known registry, pinned by checksum, a licence that asks for no more than its notice, nothing that was banned.
//!
//! `deny.toml` holds the lists; `cargo deny check` goes by the same file and looks for advisories besides. This test needs nothing but Cargo, no network.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop where it stands")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn read(name: &str) -> toml::Table {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    toml::from_str(&text).unwrap()
}

fn texts(value: &toml::Value) -> BTreeSet<String> {
    value.as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned()).collect()
}

/// Packages of the build, as Cargo tells of them; the cache is enough, as they were built.
fn packages() -> Vec<serde_json::Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let told = |offline: &[&str]| {
        let mut command = Command::new(&cargo);
        command.args(["metadata", "--format-version=1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]).args(offline);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
    };
    let mut output = told(&["--offline"]);
    if !output.status.success() {
        output = told(&[]);
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether a licence expression can be met with what is allowed. Source: SPDX 2.3 annex D; the older `/` is an `OR`.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (met, rest) = either(&words, allowed);
    assert!(rest.is_empty(), "{expression}: is no licence expression");
    met
}

fn either<'a, 'w>(words: &'w [&'a str], allowed: &BTreeSet<String>) -> (bool, &'w [&'a str]) {
    let (mut met, mut rest) = both(words, allowed);
    while let ["OR", after @ ..] = rest {
        let (other, after) = both(after, allowed);
        (met, rest) = (met || other, after);
    }
    (met, rest)
}

fn both<'a, 'w>(words: &'w [&'a str], allowed: &BTreeSet<String>) -> (bool, &'w [&'a str]) {
    let (mut met, mut rest) = one(words, allowed);
    while let ["AND", after @ ..] = rest {
        let (other, after) = one(after, allowed);
        (met, rest) = (met && other, after);
    }
    (met, rest)
}

fn one<'a, 'w>(words: &'w [&'a str], allowed: &BTreeSet<String>) -> (bool, &'w [&'a str]) {
    match words {
        ["(", inside @ ..] => {
            let (met, rest) = either(inside, allowed);
            (met, rest.strip_prefix(&[")"]).expect("a bracket that closes"))
        }
        [licence, "WITH", exception, rest @ ..] => (allowed.contains(&format!("{licence} WITH {exception}")), rest),
        [licence, rest @ ..] => (allowed.contains(*licence), rest),
        [] => (false, words),
    }
}

#[test]
fn licences_are_those_that_are_allowed() {
    let allowed = texts(&read("deny.toml")["licenses"]["allow"]);
    let mut faults = Vec::new();
    for package in packages() {
        let name = format!("{} {}", package["name"], package["version"]);
        match package["license"].as_str() {
            Some(expression) if is_met(expression, &allowed) => {}
            other => faults.push(format!("{name}: {other:?}")),
        }
    }
    assert!(faults.is_empty(), "licences that deny.toml does not allow:\n{}", faults.join("\n"));
}

#[test]
fn everything_comes_from_one_registry_and_is_pinned() {
    let lock = read("Cargo.lock");
    let mut count = 0;
    for package in lock["package"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if name == env!("CARGO_PKG_NAME") {
            continue;
        }
        count += 1;
        assert_eq!(package.get("source").and_then(|s| s.as_str()), Some(CRATES_IO), "{name}");
        assert_eq!(package.get("checksum").and_then(|s| s.as_str()).map(str::len), Some(64), "{name}: no checksum");
    }
    assert!(count > 100, "the lock file was read");
}

#[test]
fn nothing_that_was_banned_came_back() {
    let deny = read("deny.toml");
    let banned: BTreeMap<&str, &str> = deny["bans"]["deny"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["crate"].as_str().unwrap(), entry["reason"].as_str().unwrap()))
        .collect();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        assert!(!banned.contains_key(name), "{name}: {}", banned[name]);
    }
}

#[test]
fn every_direct_dependency_says_what_it_is_for() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let sections = manifest.split("\n[").filter(|s| s.split(']').next().is_some_and(|name| name.ends_with("dependencies")));
    let lines = sections.flat_map(|s| s.lines().skip(1)).filter(|l| !l.trim().is_empty());
    // Those that every reader of Rust knows.
    let known = ["serde ", "thiserror ", "tokio ", "tracing", "criterion ", "proptest ", "tempfile "];
    let silent: Vec<&str> = lines.filter(|l| !l.contains(" # ") && !known.iter().any(|k| l.starts_with(k))).collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn the_reader_of_licences_reads_them() {
    let allowed: BTreeSet<String> = ["MIT", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND MIT", true),
        ("MIT AND (GPL-3.0 OR BSD-3-Clause)", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
        ("Apache-2.0", false),
        ("Unlicense/MIT", true),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}
