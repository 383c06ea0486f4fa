//! Precision and recall of the scrub by type, on sentences in ten languages and more.
//!
//! `corpus/<language>.<half>.jsonl`: one object a line, `text` and `spans`, each span `[start, end, type]` in bytes. A found span counts as
//! right when type and both ends agree; what overlaps a span with another end or type counts as wrong and as missed.
//!
//! `tuned` may be looked at and worked on. `held_out` may not: it was written after the code it first measured had been committed, its
//! values come from generators (Faker, python-stdnum), and its floors lie below that first measurement. Who mends a fault seen there moves
//! its lines to `tuned` and writes new ones. That has happened once: the first held-out half (135 lines) measured 71 % precision for `ip`
//! (5 right, 2 wrong: "Versie 6.0.1.9"), 93 % precision for `phone`, 92 % recall for `national_id`, 100 % otherwise; it is now part of `tuned`.
//! The second measured 90 % precision for `ip` (version numbers after words for "firmware" that the scrub does not know), 96 % recall for
//! `phone`, 100 % otherwise. Twenty spans of most types and two of `ssn` carry no more than that: the sentences are one author's, and
//! those of the held-out half are mostly the same ones in each language.
//!
//! `fresh` is a second held-out part, for what the scrub learned later: names behind titles, introductions, greetings and farewells, documents, bank
//! accounts, wallets and ids of more countries. It was written, with names from Faker, before the code; first measured: `name` 100 % precision and
//! 96 % recall (85 spans; missed: "Mevrouw van Susa"), `national_id` and `crypto` 100 % (27 and 9 spans), `bank_account` 100 % and 33 % (3 spans, of
//! which two are in `tuned` now and three new ones here). Names that stand alone are not in it, and are not found.
//!
//! Microsoft Presidio 2.2.366 on the same lines, its 91 pattern recognisers at a score of 0.4 or more, without a language model or context words, types
//! mapped to ours, precision and recall in per cent, ours in brackets. `held_out`: card 100 85 (100 100), email 100 90 (100 100), handle 0 0 (100 100),
//! iban 100 100 (100 100), ip 66 90 (90 100), national_id 40 72 (100 100), phone 90 51 (100 96), ssn 100 100 (100 100), url 70 85 (100 100). `fresh`, as
//! first measured: crypto 100 77 (100 100), national_id 76 37 (100 100), bank_account 0 0 (100 33), name 0 0 (100 96): it leaves names to its language
//! model, and documents to context words that need one.

//!
//! `outside` is a third part, by somebody who had not seen the others: 18 languages (also Turkish, Czech, Greek, Russian, Arabic, Chinese, Korean, Hindi),
//! odd writings, and as many things that must pass. First measured, precision and recall in per cent, Presidio's in brackets: card 100 100 (100 85),
//! email 100 92 (90 52), handle 93 100 (0 0), iban 100 100 (100 95), ip 80 100 (52 79), national_id 96 69 (27 50), phone 96 94 (86 75), ssn 100 100 (100 50),
//! url 100 100 (48 87). What it found is mended (numbers in Turkish, Russian, Chinese and Mexican forms, words of other scripts, quoted addresses, digits as
//! emoji), so that its figures now say no more than those of `tuned`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

use lethe::transform::scrub::{Hit, ScrubRules, scrub};

/// Types, and the least precision and recall on each half. Units: per cent.
const FLOORS: [(&str, u32, u32); 9] = [
    ("email", 95, 95),
    ("phone", 95, 90),
    ("card", 95, 95),
    ("iban", 95, 95),
    ("ip", 85, 95),
    ("url", 95, 95),
    ("ssn", 95, 95),
    ("national_id", 95, 95),
    ("handle", 95, 95),
];

/// The same for `fresh`. Units: per cent.
const FRESH_FLOORS: [(&str, u32, u32); 4] = [("name", 90, 85), ("national_id", 90, 85), ("bank_account", 90, 90), ("crypto", 95, 95)];

/// The same for `outside`. Units: per cent.
const OUTSIDE_FLOORS: [(&str, u32, u32); 9] = [
    ("email", 98, 96),
    ("phone", 98, 98),
    ("card", 98, 98),
    ("iban", 98, 98),
    ("ip", 98, 98),
    ("url", 98, 98),
    ("ssn", 98, 98),
    ("national_id", 98, 98),
    ("handle", 98, 98),
];

#[derive(Default)]
struct Tally {
    right: u32,
    wrong: u32,
    missed: u32,
}

impl Tally {
    fn precision(&self) -> u32 {
        (self.right * 100).checked_div(self.right + self.wrong).unwrap_or(100)
    }

    fn recall(&self) -> u32 {
        (self.right * 100).checked_div(self.right + self.missed).unwrap_or(100)
    }
}

/// Where the tags stand for what in the original: the scrubbed text is walked beside it.
fn spans(text: &str) -> Vec<(usize, usize, String)> {
    let mut out = Vec::new();
    scrub(text, &ScrubRules::all(), &[], &mut out);
    let out = String::from_utf8(out).unwrap();
    let mut spans = Vec::new();
    let (mut at, mut rest) = (0, out.as_str());
    while !rest.is_empty() {
        if let Some(hit) = Hit::ALL.into_iter().find(|hit| rest.starts_with(hit.tag())) {
            let after = &rest[hit.tag().len()..];
            let next = Hit::ALL.iter().filter_map(|h| after.find(h.tag())).min().unwrap_or(after.len());
            let end = if next == 0 {
                at
            } else {
                at + text[at..].rfind(&after[..next]).filter(|_| next == after.len()).or_else(|| text[at..].find(&after[..next])).unwrap()
            };
            let end = if after.is_empty() { text.len() } else { end };
            spans.push((at, end, hit.name().to_owned()));
            (at, rest) = (end, after);
        } else {
            let c = rest.chars().next().unwrap();
            (at, rest) = (at + c.len_utf8(), &rest[c.len_utf8()..]);
        }
    }
    spans
}

fn measure(half: &str) -> (BTreeMap<String, Tally>, Vec<String>) {
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut faults = Vec::new();
    let mut files: Vec<_> =
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let files: Vec<_> = files.into_iter().filter(|f| f.to_str().unwrap().ends_with(&format!(".{half}.jsonl"))).collect();
    assert!(files.len() >= 8, "a language is missing");
    for file in files {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = row["text"].as_str().unwrap();
            let expected: Vec<(usize, usize, String)> = serde_json::from_value(row["spans"].clone()).unwrap();
            let found = spans(text);
            for span in &expected {
                let tally = tallies.entry(span.2.clone()).or_default();
                if found.contains(span) { tally.right += 1 } else { tally.missed += 1 }
            }
            for span in found.iter().filter(|s| !expected.contains(s)) {
                tallies.entry(span.2.clone()).or_default().wrong += 1;
            }
            if found != expected {
                let show = |spans: &[(usize, usize, String)]| {
                    spans.iter().map(|s| format!("{}:{:?}", s.2, &text[s.0..s.1])).collect::<Vec<_>>().join(" ")
                };
                faults.push(format!("{text}\n    expected {}\n    found    {}", show(&expected), show(&found)));
            }
        }
    }
    (tallies, faults)
}

fn report(half: &str) -> BTreeMap<String, Tally> {
    let (tallies, faults) = measure(half);
    println!("{half:<12} right wrong missed precision recall");
    for (kind, t) in &tallies {
        println!("{kind:<12} {:>5} {:>5} {:>6} {:>8}% {:>5}%", t.right, t.wrong, t.missed, t.precision(), t.recall());
    }
    if half == "tuned" || std::env::var_os("SCRUB_CORPUS_FAULTS").is_some() {
        faults.iter().for_each(|f| println!("  {f}"));
    }
    tallies
}

#[test]
fn each_type_reaches_its_floors_on_both_halves() {
    for (half, floors) in
        [("tuned", &FLOORS[..]), ("held_out", &FLOORS[..]), ("fresh", &FRESH_FLOORS[..]), ("outside", &OUTSIDE_FLOORS[..])]
    {
        let tallies = report(half);
        for (kind, precision, recall) in floors.iter().copied() {
            let t = tallies.get(kind).unwrap_or_else(|| panic!("no {kind} in {half}"));
            assert!(
                t.precision() >= precision && t.recall() >= recall,
                "{half} {kind}: precision {}%, recall {}%",
                t.precision(),
                t.recall()
            );
        }
    }
}
