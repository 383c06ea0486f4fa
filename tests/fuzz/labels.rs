//! A hundred thousand tenants, and a recorder that nobody ever scrapes: neither may fill the memory.

use crate::allocator::cost;
use lethe::model::field::Field;
use lethe::model::rejected::{Gate, Reason};
use lethe::ops::metrics::{TENANT_LABELS_MAX, TenantCounts, TenantLabels, record_batch, record_tenant, recorder};
use std::time::Duration;

const TENANTS: usize = 100_000;
/// Series of one tenant at most, in the worst case that all its counters count.
const SERIES_MAX: usize = 120;
/// Units: bytes.
const ROOM: usize = 64 << 20;

pub fn check() {
    let recorder = recorder().unwrap();
    let handle = recorder.handle();
    let ids: Vec<String> = (0..TENANTS).map(|i| format!("tenant-{i}")).collect();
    let labels = TenantLabels::new(ids.iter().map(String::as_str));
    let counts = TenantCounts {
        written: 1,
        expired: 1,
        gated: &[1; Gate::ALL.len()],
        quarantined: &[1; Reason::ALL.len()],
        destination_written: &[1; 6],
        dropped: &[1; Field::COUNT],
    };
    metrics::with_local_recorder(&recorder, || ids.iter().for_each(|id| record_tenant(labels.of(id), &counts)));
    let series = handle.render().lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count();
    assert!(series <= (TENANT_LABELS_MAX + 1) * SERIES_MAX, "{series} series");
    // Batches without end, and nobody who looks; the exporter's upkeep is what `start` does by itself.
    let batches = || {
        for n in 0..400_000u64 {
            let time = Duration::from_micros(n % 1_000);
            record_batch(1, 1, 1, time, time, n as i64);
            if n % 20_000 == 0 {
                handle.run_upkeep();
            }
        }
    };
    let ((), cost) = cost(|| metrics::with_local_recorder(&recorder, batches));
    println!("{series} series of {TENANTS} tenants; {} KiB at most over 400,000 batches that nobody scraped", cost.peak / 1024);
    assert!(cost.peak < ROOM, "{} bytes", cost.peak);
}
