//! Opaque bodies through the whole line, beside a plain copy of the same bytes. `LETHE_MEDIA_RECORDS`: how many bodies of almost 1 MiB, 32 by default.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench tells what it measured, and may stop where it stands")]

use lethe::config::{compile::compile, load};
use lethe::model::keyring::{KeyEntry, Keyring};
use lethe::model::pseudonym::Epoch;
use lethe::model::record::RawRecords;
use lethe::transform::enrich::device_table::DeviceTable;
use lethe::transform::enriched::Assets;
use lethe::transform::transform;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const NOW_MS: i64 = 1_790_000_000_000;
const BODY: usize = (1 << 20) - 1_024;
const ROUNDS: usize = 5;

fn main() {
    let count: usize = std::env::var("LETHE_MEDIA_RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(32);
    let config = load::parse("[[tenant]]\nid='acme'\nprofile='customer_feedback'\n", std::iter::empty()).unwrap();
    let mut keyring = Keyring::default();
    keyring.tenants.insert(config.tenant[0].id.clone(), vec![KeyEntry { epoch: Epoch(1), from_ms: 0, key: Some([7; 32].into()) }]);
    let rules = compile(&config, &keyring).unwrap();
    let assets = Assets { devices: Arc::new(DeviceTable::embedded().unwrap()), geo: None };
    // Base64 of nothing in particular: what a client sends that records a screen or a voice.
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut letter = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(letters[(seed >> 58) as usize])
    };
    let body: String = (0..BODY).map(|_| letter()).collect();
    let mut records = RawRecords::default();
    for i in 0..count {
        let event =
            format!(r#"{{"event_id":"m{i}","kind":"media","event_time":{NOW_MS},"user":{{"external_id":"c{i}"}},"body":"{body}"}}"#);
        records.push(0, 0, i as i64, NOW_MS, event.as_bytes());
    }
    let bytes = records.bytes.len() as f64 / 1e6;
    let (mut line, mut copy) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        let clock = Instant::now();
        let done = transform(&records, &rules, &assets, NOW_MS);
        line = line.min(clock.elapsed().as_secs_f64());
        let carried = done.chunks.iter().map(|c| memchr::memmem::find_iter(&c.arena, body.as_bytes()).count()).sum::<usize>();
        assert_eq!((carried, done.tallies[0].written), (count, count as u64), "carried as they came");
        let clock = Instant::now();
        black_box(black_box(&records.bytes).clone());
        copy = copy.min(clock.elapsed().as_secs_f64());
    }
    println!("{count} bodies of {BODY} bytes: line {:.0} MB/s, copy {:.0} MB/s, ratio {:.2}", bytes / line, bytes / copy, copy / line);
}
