//! The line allocates per piece of work, not per event: counted by an allocator that counts.
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait; each call is handed on to the system's")]
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use lethe::config::{compile::compile, load};
use lethe::model::keyring::{KeyEntry, Keyring};
use lethe::model::pseudonym::Epoch;
use lethe::model::record::RawRecords;
use lethe::transform::enrich::device_table::DeviceTable;
use lethe::transform::enriched::Assets;
use lethe::transform::transform;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is the system allocator's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(block, layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NOW_MS: i64 = 1_790_000_000_000;
const EVENTS: usize = 8_192;
const CONFIG: &str = r#"
[[tenant]]
id = "acme"
profile = "ad_attribution"
destinations = ["meta", "google_ads", "tiktok", "ga4"]
[tenant.meta]
pixel_id = "1"
[tenant.google_ads]
customer_id = "1"
conversion_actions = { purchase = "2" }
[tenant.tiktok]
pixel_code = "P"
[tenant.ga4]
measurement_id = "G-1"
"#;

fn event(i: usize) -> String {
    format!(
        r#"{{"event_id":"2fef107a27529ad0{i:08x}","event_name":"Purchase","event_time":{NOW_MS},"kind":"conversion","user":{{"email":" User.{i}@Example.com ",
        "phone":"+1 (212) 555-{:04}","first_name":"Ana{i}","last_name":"Silva","city":"New York","zip":"10001","country":"US","external_id":"cust-{i}"}},
        "ids":{{"client_id":"123.{i}"}},"ip":"21.222.251.{}","user_agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/129.0.0.0",
        "url":"https://shop.example.com/p/{}?utm_source=google&utm_medium=cpc&utm_campaign=autumn_12&gclid=Cj0KCQjwe4093df{i:08x}&fbclid=IwAR71dd{i:08x}",
        "referrer":"https://www.google.com/","value":12.12,"currency":"USD","consent":{{"analytics":true,"ads":true}},
        "items":[{{"id":"sku-{}","name":"Running shoes","price":12.12,"quantity":1}}]}}"#,
        i % 10_000,
        i % 256,
        i % 1_000,
        i % 1_000,
    )
}

#[test]
fn one_allocation_serves_many_events() {
    let config = load::parse(CONFIG, std::iter::empty()).unwrap();
    let mut keyring = Keyring::default();
    keyring.tenants.insert(config.tenant[0].id.clone(), vec![KeyEntry { epoch: Epoch(1), from_ms: 0, key: Some([7; 32].into()) }]);
    let rules = compile(&config, &keyring).unwrap();
    let assets = Assets { devices: Arc::new(DeviceTable::embedded().unwrap()), geo: None };
    let mut records = RawRecords::default();
    for i in 0..EVENTS {
        records.push(0, 0, i as i64, NOW_MS, event(i).as_bytes());
    }
    // The first run fills what is kept: threads, the cache of devices.
    let first = transform(&records, &rules, &assets, NOW_MS);
    assert_eq!(first.tallies[0].rows(), EVENTS as u64);
    let before = COUNT.load(Ordering::SeqCst);
    let second = transform(&records, &rules, &assets, NOW_MS);
    let counted = COUNT.load(Ordering::SeqCst) - before;
    let written: u64 = second.tallies[0].destination_written.iter().sum();
    assert!(written >= 3 * EVENTS as u64, "{written} destination records");
    println!("{counted} allocations for {EVENTS} events and {written} destination records");
    assert!(counted < EVENTS / 4, "{counted} allocations for {EVENTS} events");
}
