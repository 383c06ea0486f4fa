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

const NOW_MS: i64 = 1_790_000_000_000;
/// Events of one call, at most.
const EVENTS: usize = 20_000;
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

fn events() -> RawRecords {
    let mut records = RawRecords::default();
    if let Ok(path) = std::env::var("LETHE_BENCH_EVENTS") {
        for (i, line) in std::fs::read_to_string(path).unwrap().lines().take(EVENTS).enumerate() {
            records.push(0, 0, i as i64, NOW_MS, line.as_bytes());
        }
        return records;
    }
    let generator = Generator::new(1, "acme", NOW_MS);
    for i in 0..EVENTS {
        let mut payload = Vec::new();
        let _ = generator.generate(i as u64, &mut payload);
        records.push(0, 0, i as i64, NOW_MS, &payload);
    }
    records
}

fn line(criterion: &mut Criterion) {
    let (rules, records) = (rules(), events());
    let assets = Assets { devices: Arc::new(DeviceTable::embedded().unwrap()), geo: None };
    let mut group = criterion.benchmark_group("line");
    group.throughput(Throughput::Elements(records.rows.len() as u64));
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        group.bench_function(format!("threads/{threads}"), |bencher| {
            bencher.iter(|| pool.install(|| transform(black_box(&records), &rules, &assets, NOW_MS)));
        });
    }
}

criterion_group!(benches, line);
criterion_main!(benches);
