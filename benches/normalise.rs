//! Normalisation by form, per value: plain ASCII as nearly all values are, the Unicode way, and the phones that only the library decides.
#![allow(clippy::unwrap_used, reason = "a bench may stop where it stands")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lethe::transform::normalise::{Day, Form, Hints, country, normalise};

fn forms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("normalise");
    group.throughput(Throughput::Elements(1));
    for (name, form, input, hint) in [
        ("email", Form::EmailPlain, " Jane.Doe+promo@Gmail.com ", ""),
        ("email_gmail", Form::EmailGoogle, " Jane.Doe+promo@Gmail.com ", ""),
        ("email_unicode", Form::EmailPlain, "Äpfel.Müller@Bücher.example", ""),
        ("phone_international", Form::PhoneE164, "+44 (0)113 496 0987", ""),
        ("phone_national", Form::PhoneE164, "06 12 34 56 78", "FR"),
        ("phone_by_library", Form::PhoneE164, "011 98765-4321", "BR"),
        ("first_name", Form::FirstNameMeta, "Mary Ann", ""),
        ("first_name_ga4", Form::FirstNameGa4, "Mary Ann", ""),
        ("last_name_unicode", Form::LastNameMeta, "Müller-Lüdenscheidt", ""),
        ("birth_date", Form::BirthDate, "1997-02-16", ""),
        ("city", Form::CityMeta, "Menlo Park", ""),
        ("state", Form::StateMeta, "Wyoming", "US"),
        ("zip", Form::ZipMeta, "94025-1234", "US"),
        ("country_code", Form::CountryMeta, "US", ""),
        ("country_name", Form::CountryMeta, "United States", ""),
        ("external_id", Form::ExternalIdMeta, "User-42", ""),
        ("digest", Form::EmailPlain, "5f0d1df1fc49e30424381b57b1d4c73e067772a4267dde043a19b026935602c8", ""),
    ] {
        let hints = Hints { country: country(hint), today: Day { year: 2026, month: 11, day: 22 }, ..Hints::default() };
        let mut out = Vec::with_capacity(1024);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(normalise(black_box(form), black_box(input), &hints, &mut out))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, forms);
criterion_main!(benches);
