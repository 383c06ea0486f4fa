//! Batch hashing: SHA-256 and HMAC-SHA-256 over whole columns of short values, many values at a time.
//!
//! ```text
//! spans ──► window (512 values, bounds settled, ordered by block count)
//!             └─► kernel (16 or 32 lanes, 2 streams, or one by one) ──► digests, in the order of the spans
//! ```
//!
//! Every kernel gives the same bytes; which one runs is a matter of speed alone. Nothing is allocated per value, nothing
//! outlives a call but [`HmacKey`], and every function may be called from many threads at once.

mod kernels;
mod portable;
mod recipe;
mod text;
#[cfg(target_arch = "x86_64")]
mod window;

use std::sync::atomic::{AtomicU8, Ordering};

use crate::model::span::Span;
use recipe::Recipe;
pub use recipe::{HmacKey, PREFIX_LEN_MAX};
pub use text::{base64url16, hex32};

/// Hashes each value with SHA-256. Shape: n spans in, n digests out, order kept; an empty span gives the digest of nothing.
/// `out` is overwritten and takes the length n. Errors: none. Source: FIPS 180-4.
pub fn sha256_column(arena: &[u8], values: &[Span], out: &mut Vec<[u8; 32]>) {
    Hasher::chosen().sha256_column(arena, values, out);
}

/// Hashes each value with SHA-256 and writes it as lower-case hex. Shape: as [`sha256_column`]. Source: FIPS 180-4, RFC 4648 §8.
pub fn sha256_hex_column(arena: &[u8], values: &[Span], out: &mut Vec<[u8; 64]>) {
    Hasher::chosen().sha256_hex_column(arena, values, out);
}

/// First 16 bytes of HMAC-SHA-256(key, value). Shape: as [`sha256_column`]. Source: RFC 2104 §5 (truncation).
pub fn hmac128_column(key: &HmacKey, arena: &[u8], values: &[Span], out: &mut Vec<[u8; 16]>) {
    Hasher::chosen().hmac128_column(key, &[], arena, values, out);
}

/// First 16 bytes of HMAC-SHA-256(key, prefix ‖ value), the prefix costing nothing. Shape: as [`sha256_column`].
///
/// # Panics
/// If the prefix is longer than [`PREFIX_LEN_MAX`] bytes.
pub fn hmac128_prefixed_column(key: &HmacKey, prefix: &[u8], arena: &[u8], values: &[Span], out: &mut Vec<[u8; 16]>) {
    Hasher::chosen().hmac128_column(key, prefix, arena, values, out);
}

/// HMAC-SHA-256(key, value). Shape: as [`sha256_column`]. Source: RFC 2104.
pub fn hmac_column(key: &HmacKey, arena: &[u8], values: &[Span], out: &mut Vec<[u8; 32]>) {
    Hasher::chosen().hmac_column(key, &[], arena, values, out);
}

/// The ways to compute a column. All give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kernel {
    /// One value at a time by `sha2`, on any machine (it uses the processor's SHA instructions where there are any).
    Portable = 1,
    /// Two values interleaved on the x86 SHA instructions.
    ShaNi = 2,
    /// 32 values at once on AVX-512.
    Avx512 = 3,
}

impl Kernel {
    /// Every kernel, slowest first.
    pub const ALL: [Kernel; 3] = [Kernel::Portable, Kernel::ShaNi, Kernel::Avx512];

    /// Whether this machine can run it, asked of the processor at run time.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Kernel::Portable => true,
            Kernel::ShaNi => kernels::shani_is_available(),
            Kernel::Avx512 => kernels::avx512_is_available(),
        }
    }

    /// The fastest kernel that this machine can run.
    #[must_use]
    pub fn fastest() -> Kernel {
        Kernel::ALL.into_iter().rev().find(|kernel| kernel.is_available()).unwrap_or(Kernel::Portable)
    }
}

impl std::str::FromStr for Kernel {
    type Err = UnknownKernel;

    /// Reads `portable`, `sha-ni` or `avx512`. Errors: [`UnknownKernel`].
    fn from_str(name: &str) -> Result<Kernel, UnknownKernel> {
        match name {
            "portable" => Ok(Kernel::Portable),
            "sha-ni" => Ok(Kernel::ShaNi),
            "avx512" => Ok(Kernel::Avx512),
            _ => Err(UnknownKernel),
        }
    }
}

/// The name given is none of the kernels'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such hash kernel: expected portable, sha-ni or avx512")]
pub struct UnknownKernel;

/// The kernel asked for cannot run on this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this processor cannot run the hash kernel {0:?}")]
pub struct KernelUnavailable(pub Kernel);

/// What the free functions use: 0 until first asked, then a [`Kernel`] that this machine can run. A choice of speed, never of result.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Makes the free functions of this module use `kernel` from now on. Errors: [`KernelUnavailable`], and nothing changes.
pub fn choose(kernel: Kernel) -> Result<(), KernelUnavailable> {
    let Hasher { kernel } = with_kernel(kernel)?;
    CHOSEN.store(kernel as u8, Ordering::Relaxed);
    Ok(())
}

/// The column functions on one given kernel. Errors: [`KernelUnavailable`].
pub fn with_kernel(kernel: Kernel) -> Result<Hasher, KernelUnavailable> {
    if kernel.is_available() { Ok(Hasher { kernel }) } else { Err(KernelUnavailable(kernel)) }
}

/// The column functions on one kernel. It exists only for a kernel that this machine can run: the kernels rely on that.
#[derive(Clone, Copy, Debug)]
pub struct Hasher {
    kernel: Kernel,
}

impl Hasher {
    /// The kernel set by [`choose`], else the fastest.
    #[must_use]
    pub fn chosen() -> Hasher {
        let kernel = match CHOSEN.load(Ordering::Relaxed) {
            1 => Kernel::Portable,
            2 => Kernel::ShaNi,
            3 => Kernel::Avx512,
            _ => {
                let fastest = Kernel::fastest();
                // Not `store`: a `choose` on another thread meanwhile must win.
                let _ = CHOSEN.compare_exchange(0, fastest as u8, Ordering::Relaxed, Ordering::Relaxed);
                fastest
            }
        };
        Hasher { kernel }
    }

    /// As the free function [`sha256_column`].
    pub fn sha256_column(self, arena: &[u8], values: &[Span], out: &mut Vec<[u8; 32]>) {
        self.run(&Recipe::sha256(), arena, values, out);
    }

    /// As the free function [`sha256_hex_column`].
    pub fn sha256_hex_column(self, arena: &[u8], values: &[Span], out: &mut Vec<[u8; 64]>) {
        self.run(&Recipe::sha256(), arena, values, out);
    }

    /// As the free function [`hmac128_prefixed_column`]. Panics as that one does.
    pub fn hmac128_column(self, key: &HmacKey, prefix: &[u8], arena: &[u8], values: &[Span], out: &mut Vec<[u8; 16]>) {
        self.run(&Recipe::hmac(key, prefix), arena, values, out);
    }

    /// HMAC-SHA-256(key, prefix ‖ value). Shape: as [`sha256_column`]. Panics as [`hmac128_prefixed_column`].
    pub fn hmac_column(self, key: &HmacKey, prefix: &[u8], arena: &[u8], values: &[Span], out: &mut Vec<[u8; 32]>) {
        self.run(&Recipe::hmac(key, prefix), arena, values, out);
    }

    /// Runs the recipe in the form that `N` says: 64 is hex, 32 the digest, 16 its first half.
    fn run<const N: usize>(self, recipe: &Recipe<'_>, arena: &[u8], values: &[Span], out: &mut Vec<[u8; N]>) {
        out.resize(values.len(), [0; N]);
        match self.kernel {
            Kernel::Portable => portable::run(recipe, arena, values, out),
            Kernel::ShaNi => kernels::run_shani(self, recipe, arena, values, out),
            Kernel::Avx512 => kernels::run_avx512(self, recipe, arena, values, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    /// Every kernel that this machine can run.
    fn hashers() -> Vec<Hasher> {
        Kernel::ALL.into_iter().filter_map(|kernel| with_kernel(kernel).ok()).collect()
    }

    /// The slow twin: the `sha2` crate on one value.
    fn sha256(value: &[u8]) -> [u8; 32] {
        Sha256::digest(value).into()
    }

    /// The slow twin: the `hmac` crate on one value.
    fn hmac(key: &[u8], prefix: &[u8], value: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(prefix);
        mac.update(value);
        mac.finalize().into_bytes().into()
    }

    fn slow_hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Values back to back in an arena of exactly their size, so that a read past the end is one past the allocation.
    fn column(values: &[Vec<u8>]) -> (Box<[u8]>, Vec<Span>) {
        let mut arena = Vec::new();
        let spans = values
            .iter()
            .map(|value| {
                let start = arena.len();
                arena.extend_from_slice(value);
                Span::since(start, &arena)
            })
            .collect();
        (arena.into_boxed_slice(), spans)
    }

    /// Every output of every kernel must equal the slow twins'.
    fn check(values: &[Vec<u8>], key: &[u8], prefix: &[u8]) {
        let (arena, spans) = column(values);
        let hmac_key = HmacKey::new(key);
        let expected: Vec<[u8; 32]> = values.iter().map(|value| sha256(value)).collect();
        let expected_hmac: Vec<[u8; 32]> = values.iter().map(|value| hmac(key, prefix, value)).collect();
        for hasher in hashers() {
            // What stood in the output before must not matter.
            let (mut digests, mut tags) = (vec![[1; 32]; 3], vec![[1; 32]; values.len() + 3]);
            let (mut texts, mut halves) = (vec![[1; 64]; 3], vec![[1; 16]; 3]);
            hasher.sha256_column(&arena, &spans, &mut digests);
            assert!(digests == expected, "sha256 by {hasher:?}");
            hasher.sha256_hex_column(&arena, &spans, &mut texts);
            assert!(texts.iter().zip(&expected).all(|(text, digest)| text[..] == *slow_hex(digest).as_bytes()), "hex by {hasher:?}");
            assert_eq!(texts.len(), values.len());
            hasher.hmac_column(&hmac_key, prefix, &arena, &spans, &mut tags);
            assert!(tags == expected_hmac, "hmac by {hasher:?}");
            hasher.hmac128_column(&hmac_key, prefix, &arena, &spans, &mut halves);
            assert!(halves.iter().zip(&expected_hmac).all(|(half, tag)| half[..] == tag[..16]), "hmac128 by {hasher:?}");
            assert_eq!(halves.len(), values.len());
        }
    }

    /// Bytes that differ from place to place and value to value, from a seed.
    fn filler(seed: usize, len: usize) -> Vec<u8> {
        (0..len).map(|place| (seed.wrapping_mul(31) ^ place.wrapping_mul(167) ^ (place >> 3)) as u8).collect()
    }

    #[test]
    fn the_fastest_kernel_is_one_that_runs_here() {
        assert!(Kernel::fastest().is_available());
        assert!(Kernel::Portable.is_available());
        assert_eq!("sha-ni".parse(), Ok(Kernel::ShaNi));
        assert_eq!("SHA-NI".parse::<Kernel>(), Err(UnknownKernel));
    }

    /// Published data: NIST CAVP, SHA256ShortMsg.rsp (SHA Test Vectors for Hashing Byte-Oriented Messages, `shabytetestvectors.zip`),
    /// Len = 0, 8, 16, 24, 32, 40; and the examples of FIPS 180-2 appendix B: "abc", 448 bits, one million times "a".
    #[test]
    fn nist_vectors() {
        let vectors: [(Vec<u8>, &str); 9] = [
            (b"".to_vec(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (b"\xd3".to_vec(), "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"),
            (b"\x11\xaf".to_vec(), "5ca7133fa735326081558ac312c620eeca9970d1e70a4b95533d956f072d1f98"),
            (b"\xb4\x19\x0e".to_vec(), "dff2e73091f6c05e528896c4c831b9448653dc2ff043528f6769437bc7b975c2"),
            (b"\x74\xba\x25\x21".to_vec(), "b16aa56be3880d18cd41e68384cf1ec8c17680c45a02b1575dc1518923ae8b0e"),
            (b"\xc2\x99\x20\x96\x82".to_vec(), "f0887fe961c9cd3beab957e8222494abb969b1ce4c6557976df8b0f6d20e9166"),
            (b"abc".to_vec(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".to_vec(),
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
            (vec![b'a'; 1_000_000], "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
        ];
        let values: Vec<Vec<u8>> = vectors.iter().map(|(value, _)| value.clone()).collect();
        let (arena, spans) = column(&values);
        for hasher in hashers() {
            let mut texts = Vec::new();
            hasher.sha256_hex_column(&arena, &spans, &mut texts);
            for ((_, expected), text) in vectors.iter().zip(&texts) {
                assert_eq!(str::from_utf8(text).unwrap(), *expected, "{hasher:?}");
            }
        }
    }

    /// Published data: RFC 4231 §4.2, §4.3, §4.4, §4.7 (test cases 1, 2, 3, 6).
    #[test]
    fn rfc_4231_vectors() {
        let vectors: [(Vec<u8>, Vec<u8>, &str); 4] = [
            (vec![0x0b; 20], b"Hi There".to_vec(), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?".to_vec(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (vec![0xaa; 20], vec![0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
            (
                vec![0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First".to_vec(),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, value, expected) in vectors {
            let (arena, spans) = column(&vec![value; 40]);
            for hasher in hashers() {
                let mut tags = Vec::new();
                hasher.hmac_column(&HmacKey::new(&key), &[], &arena, &spans, &mut tags);
                assert!(tags.len() == 40 && tags.iter().all(|tag| slow_hex(tag) == expected), "{hasher:?}");
            }
        }
    }

    #[test]
    fn every_length_to_300_alone_together_and_with_a_prefix() {
        let every: Vec<Vec<u8>> = (0..=300).map(|len| filler(len, len)).collect();
        check(&every, &[7; 32], &[]);
        check(&every, &[7; 32], b"external_id\0");
        check(&every, &[7; 32], &[9; PREFIX_LEN_MAX]);
        for len in 0..=300 {
            let equal: Vec<Vec<u8>> = (0..17).map(|seed| filler(seed, len)).collect();
            check(&equal, &[8; 64], &[]);
        }
    }

    #[test]
    fn every_prefix_length_next_to_every_block_boundary() {
        for prefix_len in 0..=PREFIX_LEN_MAX {
            let prefix = filler(99, prefix_len);
            let values: Vec<Vec<u8>> = (0..140).map(|len| filler(len, len)).collect();
            check(&values, b"key", &prefix);
        }
    }

    #[test]
    fn every_number_of_lanes_from_0_to_70_keeps_the_order() {
        for count in 0..=70 {
            let short: Vec<Vec<u8>> = (0..count).map(|seed| filler(seed, 5 + seed % 40)).collect();
            check(&short, &[1; 32], b"email\0");
            let mixed: Vec<Vec<u8>> = (0..count).map(|seed| filler(seed, seed * 61 % 200)).collect();
            check(&mixed, &[1; 32], &[]);
        }
    }

    #[test]
    fn more_values_than_a_window_with_long_ones_between() {
        let values: Vec<Vec<u8>> =
            (0..1300).map(|seed| filler(seed, if seed % 97 == 0 { 900 + seed * 3 } else { seed * 7 % 90 })).collect();
        check(&values, &[2; 32], b"phone\0");
    }

    #[test]
    fn a_span_outside_the_arena_counts_as_empty_and_is_not_read() {
        let arena = vec![b'x'; 40].into_boxed_slice();
        let mut spans = vec![Span { start: 0, len: 40 }; 40];
        spans[3] = Span { start: 1, len: 40 };
        spans[20] = Span { start: u32::MAX, len: u32::MAX };
        spans[39] = Span { start: 40, len: 0 };
        for hasher in hashers() {
            let mut digests = Vec::new();
            hasher.sha256_column(&arena, &spans, &mut digests);
            for (span, digest) in spans.iter().zip(&digests) {
                assert_eq!(*digest, sha256(span.of(&arena)), "{hasher:?}");
            }
            hasher.sha256_column(&[], &spans, &mut digests);
            assert!(digests.iter().all(|digest| *digest == sha256(b"")), "{hasher:?}");
        }
    }

    #[test]
    fn many_threads_at_once_agree_with_one() {
        use rayon::prelude::*;
        let values: Vec<Vec<u8>> = (0..2000).map(|seed| filler(seed, seed % 80)).collect();
        let (arena, spans) = column(&values);
        let key = HmacKey::new(&[3; 32]);
        let mut whole = Vec::new();
        hmac128_column(&key, &arena, &spans, &mut whole);
        let parts: Vec<Vec<[u8; 16]>> = spans
            .par_chunks(123)
            .map(|spans| {
                let mut part = Vec::new();
                hmac128_column(&key, &arena, spans, &mut part);
                part
            })
            .collect();
        assert!(parts.concat() == whole);
    }

    #[test]
    #[should_panic(expected = "a prefix of 64 bytes")]
    fn a_prefix_that_fills_a_block_is_refused() {
        hmac128_prefixed_column(&HmacKey::new(b"key"), &[0; 64], &[], &[], &mut Vec::new());
    }

    proptest! {
        #[test]
        fn kernels_equal_the_crates(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..100),
            key in prop::collection::vec(any::<u8>(), 0..150),
            prefix in prop::collection::vec(any::<u8>(), 0..=PREFIX_LEN_MAX),
        ) {
            check(&values, &key, &prefix);
        }

        #[test]
        fn spans_may_overlap_and_stand_in_any_order(
            arena in prop::collection::vec(any::<u8>(), 0..400),
            places in prop::collection::vec((0u32..420, 0u32..200), 0..80),
        ) {
            let arena = arena.into_boxed_slice();
            let spans: Vec<Span> = places.iter().map(|(start, len)| Span { start: *start, len: *len }).collect();
            for hasher in hashers() {
                let mut digests = Vec::new();
                hasher.sha256_column(&arena, &spans, &mut digests);
                prop_assert_eq!(digests.len(), spans.len());
                for (span, digest) in spans.iter().zip(&digests) {
                    prop_assert!(*digest == sha256(span.of(&arena)), "{:?}", hasher);
                }
            }
        }
    }
}
