//! Sixteen times the input may take a few dozen times the CPU time, not two hundred and fifty times, whatever the input repeats.

use crate::engine::run;
use crate::mutate::WORDS;
use crate::targets::{Target, all};
use rustix::time::{ClockId, clock_gettime};

/// Units: bytes.
const SHORT: usize = 8 << 10;
const TIMES: usize = 16;
/// In order: linear is [`TIMES`], quadratic its square. A share of it is noise.
const RATIO_MAX: f64 = 80.0;
/// Less than that is noise. Units: seconds.
const FLOOR_S: f64 = 0.000_3;

/// What stands around a repeated word, by target.
const FRAMES: [(&str, &str, &str); 17] = [
    (
        "json",
        "{\"event_id\":\"e\",\"event_time\":1790000000000,\"event_name\":\"Purchase\",\"kind\":\"feedback\",\"user\":{\"first_name\":\"Ana\",\"email\":\"a@b.example\"},\"consent\":{\"analytics\":true,\"ads\":true,\"functional\":true},\"feedback\":{\"text\":\"",
        "\"}}",
    ),
    (
        "json",
        "{\"event_id\":\"e\",\"event_time\":1790000000000,\"event_name\":\"Purchase\",\"kind\":\"conversion\",\"consent\":{\"ads\":true},\"user\":{\"email\":\"",
        "\"}}",
    ),
    (
        "json",
        "{\"event_id\":\"e\",\"event_time\":1790000000000,\"event_name\":\"Purchase\",\"consent\":{\"ads\":true,\"analytics\":true},\"url\":\"https://a.example/",
        "\"}",
    ),
    (
        "json",
        "{\"event_id\":\"e\",\"event_time\":1790000000000,\"event_name\":\"Purchase\",\"consent\":{\"ads\":true,\"analytics\":true},\"user_agent\":\"",
        "\"}",
    ),
    (
        "json",
        "{\"event_id\":\"e\",\"event_time\":1790000000000,\"event_name\":\"Purchase\",\"consent\":{\"ads\":true,\"analytics\":true},\"custom\":{\"plan\":\"",
        "\"}}",
    ),
    ("json", "", ""),
    ("avro", "", ""),
    ("scrub", "Ana\n", ""),
    ("special", "\n", ""),
    ("url", "https://a.example/", ""),
    ("url", "https://a.example/?", ""),
    ("normalise", "US\n", ""),
    ("device", "Mozilla/5.0 (", ""),
    ("directive", "{\"id\":\"r\",\"tenant\":\"acme\",\"issued_at_ms\":1,\"kind\":\"erase\",\"pseudonyms\":[\"", "\"]}"),
    ("audit", "{\"chain\":\"", "\"}"),
    ("keyring", "[[key]]\ntenant = \"", "\"\n"),
    ("geoip", "", ""),
];

fn cpu_s() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// The least of three. Errors: what the target itself found wrong.
fn time_s(target: &Target, input: &[u8]) -> Result<f64, String> {
    let mut least = f64::MAX;
    for _ in 0..3 {
        let began = cpu_s();
        run(target, input)?;
        least = least.min(cpu_s() - began);
    }
    Ok(least)
}

pub fn check() {
    let targets = all();
    let words: Vec<&str> =
        WORDS.iter().copied().chain(["a", "1", ".", "a.", "1 ", "é", "a@", "@a.", "%4", "+1", "ab ", "0-", ")(", "İ", "\u{301}"]).collect();
    let mut faults = Vec::new();
    let mut worst: (f64, String) = (0.0, String::new());
    for (name, before, after) in FRAMES {
        let target = targets.iter().find(|t| t.name == name).unwrap();
        // What is made once and kept is no cost of an input.
        for input in (target.seeds)() {
            let _ = run(target, &input);
        }
        for word in &words {
            let input = |len: usize| [before, &word.repeat(len / word.len()), after].concat().into_bytes();
            let looked = time_s(target, &input(SHORT)).and_then(|short| Ok((short, time_s(target, &input(SHORT * TIMES))?)));
            match looked {
                Err(why) => faults.push(format!("{name} with {word:?}: {why}")),
                Ok((short, long)) => {
                    let ratio = long / short.max(FLOOR_S);
                    if ratio > worst.0 {
                        worst = (ratio, format!("{name} with {word:?}"));
                    }
                    if ratio > RATIO_MAX {
                        faults.push(format!("{name} with {word:?}: {SHORT} bytes take {short:.6} s, {TIMES} times as many {long:.6} s"));
                    }
                }
            }
        }
    }
    println!("the steepest: {} takes {:.0} times as long for {TIMES} times the input", worst.1, worst.0);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
