//! Raw JSON into columns, beside serde_json over the same bytes: looking at them only, and making a tree of them.
//! `LETHE_BENCH_EVENTS` names a file of raw events, one a line; without it the generator's are taken.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench may stop where it stands")]

use std::hint::black_box;

use bumpalo::Bump;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lethe::config::{compile::compile, load};
use lethe::generator::Generator;
use lethe::model::keyring::{KeyEntry, Keyring};
use lethe::model::pseudonym::Epoch;
use lethe::model::record::RawRecords;
use lethe::transform::batch::Batch;
use lethe::transform::decode::{Dropped, decode};
use lethe::transform::line::CHUNK_ROWS;
use lethe::transform::rules::Rules;
use serde::de::IgnoredAny;

const NOW_MS: i64 = 1_790_000_000_000;
/// Events of one call: as many as the line decodes in one go.
const EVENTS: usize = CHUNK_ROWS;

fn rules() -> Rules {
    let config = load::parse("[[tenant]]\nid = 'acme'\nprofile = 'server_side_tracking'\n", std::iter::empty()).unwrap();
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

fn decoding(criterion: &mut Criterion) {
    let (rules, events) = (rules(), events());
    let mut records = RawRecords::default();
    for (i, event) in events.iter().enumerate() {
        records.push(0, 0, i as i64, NOW_MS, event);
    }
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("columns", |bencher| {
        bencher.iter(|| {
            let arena = Bump::new();
            let (mut batch, mut rejected, mut dropped) = (Batch::new(&arena, events.len()), Vec::new(), Dropped::default());
            decode(black_box(&records), 0..events.len(), &rules, &rules.schemas, &mut batch, &mut rejected, &mut dropped);
            (batch.rows(), rejected.len())
        });
    });
    // Broken events are errors here too.
    group.bench_function("serde_json_looks", |bencher| {
        bencher.iter(|| events.iter().filter(|event| serde_json::from_slice::<IgnoredAny>(black_box(event)).is_ok()).count());
    });
    group.bench_function("serde_json_tree", |bencher| {
        bencher.iter(|| events.iter().filter(|event| serde_json::from_slice::<serde_json::Value>(black_box(event)).is_ok()).count());
    });
    group.finish();
}

criterion_group!(benches, decoding);
criterion_main!(benches);
