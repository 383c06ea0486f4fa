//! Enrichment and the generator, per event: `cargo bench --bench enrich`. The budget of all enrichment is 200 ns an event.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lethe::generator::Generator;
use lethe::transform::enrich::device_table::{DeviceMemo, DeviceTable};
use lethe::transform::enrich::{ip, page};

const EVENTS: u64 = 20_000;

/// One text field of every generated event that has it.
fn column(name: &str) -> Vec<String> {
    let generator = Generator::new(1, "acme", 1_790_000_000_000);
    let mut payload = Vec::new();
    let rows = (0..EVENTS).filter_map(|i| {
        payload.clear();
        generator.generate(i, &mut payload);
        let row: serde_json::Value = serde_json::from_slice(&payload).ok()?;
        row[name].as_str().map(str::to_string)
    });
    rows.collect()
}

fn enrichment(c: &mut Criterion) {
    let (ips, agents, urls, referrers) = (column("ip"), column("user_agent"), column("url"), column("referrer"));
    let mut group = c.benchmark_group("enrich");
    let mut record = Vec::with_capacity(1 << 22);
    group.throughput(Throughput::Elements(ips.len() as u64)).bench_function("ip", |b| {
        b.iter(|| {
            record.clear();
            ips.iter().for_each(|ip| {
                black_box(ip::truncate(ip, &mut record));
            });
        });
    });
    let table = DeviceTable::embedded();
    if let Ok(table) = &table {
        let mut memo = DeviceMemo::default();
        group.throughput(Throughput::Elements(agents.len() as u64)).bench_function("device", |b| {
            b.iter(|| agents.iter().map(|ua| u64::from(memo.lookup(table, ua).device.is_bot)).sum::<u64>());
        });
    }
    for (name, reduce) in [("page", false), ("page_for_destinations", true)] {
        group.throughput(Throughput::Elements(urls.len() as u64)).bench_function(name, |b| {
            b.iter(|| {
                let mut arenas = page::Arenas::default();
                urls.iter().for_each(|url| {
                    black_box(page::read(url, reduce, &mut arenas));
                });
            });
        });
    }
    group.throughput(Throughput::Elements(referrers.len() as u64)).bench_function("referrer", |b| {
        b.iter(|| {
            let mut arenas = page::Arenas::default();
            referrers.iter().for_each(|url| {
                black_box(page::referrer(url, false, &mut arenas));
            });
        });
    });
    group.finish();
}

fn generation(c: &mut Criterion) {
    let generator = Generator::new(1, "acme", 1_790_000_000_000);
    let mut payload = Vec::with_capacity(1 << 16);
    let mut i = 0;
    c.benchmark_group("generator").throughput(Throughput::Elements(1)).bench_function("event", |b| {
        b.iter(|| {
            payload.clear();
            black_box(generator.generate(i, &mut payload));
            i += 1;
        });
    });
}

criterion_group!(benches, enrichment, generation);
criterion_main!(benches);
