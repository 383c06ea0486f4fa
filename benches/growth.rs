//! What an event costs as there are more of everything: events in one go, tenants, rows in a call. The lines should be flat.
//!
//! `LETHE_GROWTH_EVENTS` is the largest number of events, by default 100,000; each is taken through the line in pieces, as `lethe run` does. What
//! partitions cost is Kafka's, and a matter of its clients.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench may stop where it stands")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lethe::config::{compile::compile, load};
use lethe::generator::Generator;
use lethe::model::keyring::{KeyEntry, Keyring};
use lethe::model::pseudonym::Epoch;
use lethe::model::record::RawRecords;
use lethe::transform::enrich::device_table::DeviceTable;
use lethe::transform::enriched::Assets;
use lethe::transform::rules::Rules;
use lethe::transform::{group_by_tenant, transform};
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

const NOW_MS: i64 = 1_790_000_000_000;
/// Rows of a piece, as in `lethe run`.
const PIECE: usize = 4_096;
/// Pieces that are made, and taken again and again.
const PIECES: usize = 8;

fn name(tenant: usize) -> String {
    format!("t{tenant}")
}

fn rules(tenants: usize) -> Rules {
    let mut text = String::new();
    for tenant in 0..tenants {
        write!(
            text,
            "[[tenant]]\nid = \"{}\"\nprofile = \"server_side_tracking\"\ndestinations = [\"meta\", \"google_ads\"]\n[tenant.meta]\npixel_id = \"1\"\n\
             [tenant.google_ads]\ncustomer_id = \"1\"\nconversion_actions = {{ purchase = \"1\", generate_lead = \"2\" }}\n",
            name(tenant)
        )
        .unwrap();
    }
    let config = load::parse(&text, std::iter::empty()).unwrap();
    let mut keyring = Keyring::default();
    for tenant in &config.tenant {
        keyring.tenants.insert(tenant.id.clone(), vec![KeyEntry { epoch: Epoch(1), from_ms: 0, key: Some([7; 32].into()) }]);
    }
    compile(&config, &keyring).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// Pieces whose rows go round the tenants.
fn pieces(rules: &Rules, rows: usize) -> Vec<RawRecords> {
    let generators: Vec<Generator> = rules.tenants.iter().map(|tenant| Generator::new(1, tenant.id.as_str(), NOW_MS)).collect();
    let (mut all, mut payload) = (Vec::new(), Vec::new());
    for piece in 0..PIECES {
        let mut records = RawRecords::default();
        for row in 0..rows {
            let n = piece * rows + row;
            let source = n % rules.sources.len();
            payload.clear();
            let _ = generators[usize::from(rules.sources[source].tenant)].generate(n as u64, &mut payload);
            records.push(source as u16, 0, n as i64, NOW_MS, &payload);
        }
        group_by_tenant(&mut records, rules); // as `lethe run` does
        all.push(records);
    }
    all
}

fn growth(criterion: &mut Criterion) {
    let assets = Assets { devices: Arc::new(DeviceTable::embedded().unwrap()), geo: None };
    // This thread alone, so that time is CPU time and a call of one row is not the waking of another thread.
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global().unwrap();
    let take = |records: &RawRecords, rules: &Rules| drop(black_box(transform(black_box(records), rules, &assets, NOW_MS)));
    let most = std::env::var("LETHE_GROWTH_EVENTS").map_or(100_000, |text| text.parse().unwrap());

    let one = rules(1);
    let whole = pieces(&one, PIECE);
    let mut group = criterion.benchmark_group("events");
    group.sample_size(10);
    for events in std::iter::successors(Some(10_000_u64), |n| Some(n * 10)).take_while(|n| *n <= most) {
        let calls = events.div_ceil(PIECE as u64) as usize;
        group.throughput(Throughput::Elements((calls * PIECE) as u64));
        group.bench_function(BenchmarkId::from_parameter(events), |bencher| {
            bencher.iter(|| whole.iter().cycle().take(calls).for_each(|records| take(records, &one)));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("rows_in_a_call");
    for rows in [1, 16, 256, 4_096, 32_768] {
        let records = pieces(&one, rows).remove(0);
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::from_parameter(rows), |bencher| bencher.iter(|| take(&records, &one)));
    }
    group.finish();

    let mut group = criterion.benchmark_group("tenants");
    group.throughput(Throughput::Elements((PIECE * PIECES) as u64));
    for tenants in [1, 10, 100, 1_000] {
        let rules = rules(tenants);
        let all = pieces(&rules, PIECE);
        group.bench_function(BenchmarkId::from_parameter(tenants), |bencher| {
            bencher.iter(|| all.iter().for_each(|records| take(records, &rules)))
        });
    }
    group.finish();
}

criterion_group!(benches, growth);
criterion_main!(benches);
