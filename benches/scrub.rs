//! Scrub and special categories: cost per byte of ordinary feedback, of feedback with hits, and of text made to hurt.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lethe::transform::scrub::{Hit, ScrubRules, SpecialTerms, scrub, special_category};

const PLAIN: &str = "The parcel came late and the box was damaged, but the lady on the counter was kind and helped me with the return. \
    I would order again, though the sizes run small and the blue looks darker than in the photos on your site. ";

fn texts() -> Vec<(&'static str, String)> {
    let hits =
        format!("{PLAIN}Mail me at ana.lopez@example.com or call +49 30 1234567, my order is 4501234567 of 2024-05-12 for 49.90 EUR. ");
    let mut texts = vec![("plain", PLAIN.repeat(5)), ("hits", hits.repeat(4))];
    for (name, piece) in [
        ("digits", "1 "),
        ("zeros", "0151 23 "),
        ("fours", "4111 1111 "),
        ("ats", "a@"),
        ("colons", "f:"),
        ("dots", "a.1."),
        ("accents", "é"),
        ("phones", "+4915123456789 "),
    ] {
        texts.push((name, piece.repeat(100_000 / piece.len())));
    }
    texts
}

fn bench(c: &mut Criterion) {
    let (rules, terms) = (ScrubRules::all(), SpecialTerms::builtin());
    let known = [
        (Hit::FirstName, "Ana"),
        (Hit::LastName, "López"),
        (Hit::Email, "ana.lopez@example.com"),
        (Hit::Phone, "+49301234567"),
        (Hit::City, "Berlin"),
    ];
    for (name, text) in texts() {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(text.len() as u64)).sample_size(10);
        let mut out = Vec::with_capacity(text.len() * 2);
        for (what, known) in [("scrub", &known[..0]), ("scrub_known", &known[..])] {
            group.bench_function(what, |b| {
                b.iter(|| {
                    out.clear();
                    scrub(black_box(&text), &rules, known, &mut out)
                });
            });
        }
        group.bench_function("special", |b| b.iter(|| special_category(black_box(&text), Some("en"), &terms)));
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
