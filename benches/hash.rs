//! Batch hashing by kernel, against the crates that do one value at a time. Figures are per value: each iteration is one column of 4,096.
#![allow(clippy::unwrap_used, reason = "a bench may stop where it stands")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hmac::{Hmac, KeyInit, Mac};
use lethe::model::span::Span;
use lethe::transform::hash::{HmacKey, Kernel, base64url16, hex32, with_kernel};
use sha2::{Digest, Sha256};

/// Values in a column.
const VALUES: usize = 4096;

/// A column of made-up values whose lengths run evenly from `shortest` to `longest`, back to back in an arena.
fn column(shortest: usize, longest: usize) -> (Vec<u8>, Vec<Span>) {
    let mut arena = Vec::new();
    let mut values = Vec::new();
    let mut seed = 0x9e37_79b9_u32;
    for _ in 0..VALUES {
        let start = arena.len();
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = shortest + (seed >> 16) as usize % (longest - shortest + 1);
        arena.extend((0..len).map(|place| b'a' + ((place as u32 ^ seed >> 8) % 26) as u8));
        values.push(Span::since(start, &arena));
    }
    (arena, values)
}

fn sha256(criterion: &mut Criterion) {
    for (name, shortest, longest) in [("email", 14, 34), ("two_blocks", 56, 119), ("url", 20, 250)] {
        let (arena, values) = column(shortest, longest);
        let mut group = criterion.benchmark_group(format!("sha256_{name}"));
        group.throughput(Throughput::Elements(VALUES as u64));
        let mut digests = vec![[0; 32]; VALUES];
        let mut texts = vec![[0; 64]; VALUES];
        group.bench_function("sha2_loop", |bench| {
            bench.iter(|| {
                for (digest, value) in digests.iter_mut().zip(&values) {
                    *digest = Sha256::digest(value.of(black_box(&arena))).into();
                }
            });
        });
        group.bench_function("sha2_loop_hex", |bench| {
            bench.iter(|| {
                for (text, value) in texts.iter_mut().zip(&values) {
                    *text = hex32(&Sha256::digest(value.of(black_box(&arena))).into());
                }
            });
        });
        for kernel in Kernel::ALL {
            let Ok(hasher) = with_kernel(kernel) else { continue };
            group.bench_function(BenchmarkId::new("digest", format!("{kernel:?}")), |bench| {
                bench.iter(|| hasher.sha256_column(black_box(&arena), &values, &mut digests));
            });
            group.bench_function(BenchmarkId::new("hex", format!("{kernel:?}")), |bench| {
                bench.iter(|| hasher.sha256_hex_column(black_box(&arena), &values, &mut texts));
            });
        }
        group.finish();
    }
}

fn hmac(criterion: &mut Criterion) {
    let (arena, values) = column(14, 34);
    let secret = [7; 32];
    let key = HmacKey::new(&secret);
    let mut group = criterion.benchmark_group("hmac_email");
    group.throughput(Throughput::Elements(VALUES as u64));
    let mut tags = vec![[0; 16]; VALUES];
    let keyed = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
    group.bench_function("hmac_loop_key_kept", |bench| {
        bench.iter(|| {
            for (tag, value) in tags.iter_mut().zip(&values) {
                let mut mac = keyed.clone();
                mac.update(value.of(black_box(&arena)));
                tag.copy_from_slice(&mac.finalize().into_bytes()[..16]);
            }
        });
    });
    group.bench_function("hmac_loop_key_anew", |bench| {
        bench.iter(|| {
            for (tag, value) in tags.iter_mut().zip(&values) {
                let mut mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
                mac.update(value.of(black_box(&arena)));
                tag.copy_from_slice(&mac.finalize().into_bytes()[..16]);
            }
        });
    });
    for kernel in Kernel::ALL {
        let Ok(hasher) = with_kernel(kernel) else { continue };
        group.bench_function(BenchmarkId::new("hmac128", format!("{kernel:?}")), |bench| {
            bench.iter(|| hasher.hmac128_column(&key, &[], black_box(&arena), &values, &mut tags));
        });
        group.bench_function(BenchmarkId::new("hmac128_prefix", format!("{kernel:?}")), |bench| {
            bench.iter(|| hasher.hmac128_column(&key, b"email\0", black_box(&arena), &values, &mut tags));
        });
    }
    group.finish();
}

fn text(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("text");
    group.throughput(Throughput::Elements(VALUES as u64));
    let digests: Vec<[u8; 32]> = (0..VALUES).map(|n| Sha256::digest(n.to_le_bytes()).into()).collect();
    let halves: Vec<[u8; 16]> = digests.iter().map(|digest| *digest.first_chunk().unwrap()).collect();
    let mut hex = vec![[0; 64]; VALUES];
    let mut base64 = vec![[0; 22]; VALUES];
    group.bench_function("hex32", |bench| {
        bench.iter(|| {
            for (text, digest) in hex.iter_mut().zip(black_box(&digests)) {
                *text = hex32(digest);
            }
        });
    });
    group.bench_function("base64url16", |bench| {
        bench.iter(|| {
            for (text, half) in base64.iter_mut().zip(black_box(&halves)) {
                *text = base64url16(half);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, sha256, hmac, text);
criterion_main!(benches);
