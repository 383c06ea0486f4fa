//! The line with no destination, with two and with all six, on the generator's events: what a destination costs beside the bytes it writes.
//! Criterion's figures are per event, all destinations together; a line on standard output says how many bytes each set writes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench may stop where it stands")]

use std::hint::black_box;
use std::sync::Arc;

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

const NOW_MS: i64 = 1_790_000_000_000;
/// Events of one call.
const EVENTS: u64 = 8_192;

const TENANT: &str = r#"
[[tenant]]
id = "acme"
profile = "ad_attribution"
destinations = DESTINATIONS
[tenant.meta]
pixel_id = "1"
[tenant.google_ads]
customer_id = "1"
conversion_actions = { purchase = "2", generate_lead = "3", sign_up = "4" }
[tenant.tiktok]
pixel_code = "P"
[tenant.ga4]
measurement_id = "G-1"
"#;

fn rules(destinations: &str) -> Rules {
    let config = load::parse(&TENANT.replace("DESTINATIONS", destinations), std::iter::empty()).unwrap();
    let mut keyring = Keyring::default();
    let key = KeyEntry { epoch: Epoch(1), from_ms: 0, key: Some([7; 32].into()) };
    keyring.tenants.insert(config.tenant[0].id.clone(), vec![key]);
    compile(&config, &keyring).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn events() -> RawRecords {
    let generator = Generator::new(1, "acme", NOW_MS);
    let mut records = RawRecords::default();
    for i in 0..EVENTS {
        let mut payload = Vec::new();
        let _ = generator.generate(i, &mut payload);
        records.push(0, 0, i as i64, NOW_MS, &payload);
    }
    records
}

fn destinations(criterion: &mut Criterion) {
    let assets = Assets { devices: Arc::new(DeviceTable::embedded().unwrap()), geo: None };
    let records = events();
    let mut group = criterion.benchmark_group("destinations");
    group.throughput(Throughput::Elements(EVENTS));
    for (name, list) in [
        ("none", "[]"),
        ("meta", r#"["meta"]"#),
        ("google_ads", r#"["google_ads"]"#),
        ("google_ads_enhancement", r#"["google_ads_enhancement"]"#),
        ("google_data_manager", r#"["google_data_manager"]"#),
        ("tiktok", r#"["tiktok"]"#),
        ("ga4", r#"["ga4"]"#),
        ("meta_and_google_ads", r#"["meta", "google_ads"]"#),
        ("all", r#"["meta", "google_ads", "google_ads_enhancement", "google_data_manager", "tiktok", "ga4"]"#),
    ] {
        let rules = rules(list);
        let out = transform(&records, &rules, &assets, NOW_MS);
        let (bytes, written) = (out.chunks.iter().map(|c| c.arena.len()).sum::<usize>(), out.tallies[0].destination_written);
        println!("{name}: {} bytes an event, records by destination {written:?} of {EVENTS}", bytes as u64 / EVENTS);
        group.bench_function(name, |bencher| bencher.iter(|| black_box(transform(&records, &rules, &assets, NOW_MS))));
    }
    group.finish();
}

criterion_group!(benches, destinations);
criterion_main!(benches);
