//! The whole line without Kafka: bytes in, records out, on one thread and on two, with the time of an event in each.
//!
//! `LETHE_BENCH_EVENTS` names a file of raw events, one a line, and `LETHE_BENCH_CONFIG` a config whose first tenant they are for; without them
//! the generator's events are taken, for Meta and Google Ads.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench may stop where it stands")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lethe::config::{compile::compile, load};
use lethe::generator::Generator;
use lethe::model::keyring::{KeyEntry, Keyring};
use lethe::model::pseudonym::Epoch;
use lethe::model::record::RawRecords;
use lethe::transform::enrich::device_table::DeviceTable;
use lethe::transform::enriched::Assets;
use lethe::transform::rules::Rules;
use lethe::transform::transform;
use std::hint::black_box;
use std::sync::Arc;

/// The binary's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NOW_MS: i64 = 1_790_000_000_000;
/// Events that are made, and taken again and again.
const EVENTS: usize = 20_000;
/// Events of one call, as `lethe run` reads them for a few tenants.
const PIECE: usize = 1_024;
const CONFIG: &str = r#"
[[tenant]]
id = "acme"
profile = "server_side_tracking"
destinations = ["meta", "google_ads"]
[tenant.meta]
pixel_id = "1"
[tenant.google_ads]
customer_id = "1"
conversion_actions = { purchase = "1", generate_lead = "2" }
"#;

fn rules() -> Rules {
    let text = std::env::var("LETHE_BENCH_CONFIG").map_or_else(|_| CONFIG.to_owned(), |path| std::fs::read_to_string(path).unwrap());
    let config = load::parse(&text, std::iter::empty()).unwrap();
    let mut keyring = Keyring::default();
    let key = KeyEntry { epoch: Epoch(1), from_ms: 0, key: Some([7; 32].into()) };
    keyring.tenants.insert(config.tenant[0].id.clone(), vec![key]);
    compile(&config, &keyring).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn events() -> Vec<Vec<u8>> {
    if let Ok(path) = std::env::var("LETHE_BENCH_EVENTS") {
        return std::fs::read_to_string(path).unwrap().lines().take(EVENTS).map(|line| line.as_bytes().to_vec()).collect();
    }
    let generator = Generator::new(1, "acme", NOW_MS);
    let event = |i| {
        let mut payload = Vec::new();
        let _ = generator.generate(i, &mut payload);
        payload
    };
    (0..EVENTS as u64).map(event).collect()
}

fn piece(payloads: &[Vec<u8>]) -> RawRecords {
    let mut records = RawRecords::default();
    payloads.iter().enumerate().for_each(|(i, payload)| records.push(0, 0, i as i64, NOW_MS, payload));
    records
}

fn line(criterion: &mut Criterion) {
    let (rules, events) = (rules(), events());
    let pieces: Vec<RawRecords> = events.chunks(PIECE).map(piece).collect();
    let assets = Assets { devices: Arc::new(DeviceTable::embedded().unwrap()), geo: None };
    let mut group = criterion.benchmark_group("line");
    group.throughput(Throughput::Elements(events.len() as u64));
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let take = |records| drop(black_box(transform(black_box(records), &rules, &assets, NOW_MS)));
        group.bench_function(format!("threads/{threads}"), |bencher| bencher.iter(|| pool.install(|| pieces.iter().for_each(take))));
    }
}

criterion_group!(benches, line);
criterion_main!(benches);
