//! AVX-512: sixteen values side by side in each vector, two such groups interleaved so that one works while the other waits.
//!
//! ```text
//! arena ─masked loads─► 16 rows of 64 bytes ─transpose─► 16 vectors, word t of all lanes ─64 rounds─► 8 vectors of state
//!                                                                                       digests ◄─transpose back─┘
//! ```

use std::arch::x86_64::*;

use super::{PADDING, ROUND, one_by_one};
use crate::model::span::Span;
use crate::transform::hash::recipe::{BLOCK, OUTER_BITS, Recipe};
use crate::transform::hash::window::{Values, WINDOW, Window, blocks};

/// Values side by side in one vector.
const LANES: usize = 16;

/// A remainder below this goes one by one: a group costs the same however few of its lanes are in use.
const LANES_MIN: usize = 5;

/// One word of sixteen values, for each of `G` groups.
type Words<const G: usize, const T: usize> = [[__m512i; T]; G];

/// Runs the recipe on a column. Shape: `out` is as long as `values`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
pub(super) fn run<const N: usize>(recipe: &Recipe<'_>, arena: &[u8], values: &[Span], out: &mut [[u8; N]]) {
    let mut window = Window::new(arena);
    for (values, out) in values.chunks(WINDOW).zip(out.chunks_mut(WINDOW)) {
        window.fill(recipe, values);
        let (mut rest, long) = window.values();
        while rest.len() >= LANES + LANES_MIN {
            let (values, after) = rest.split_at(rest.len().min(2 * LANES));
            groups::<2, N>(recipe, &values, out);
            rest = after;
        }
        if rest.len() >= LANES_MIN {
            let (values, after) = rest.split_at(rest.len().min(LANES));
            groups::<1, N>(recipe, &values, out);
            rest = after;
        }
        one_by_one(recipe, &rest, out);
        one_by_one(recipe, &long, out);
    }
}

/// Runs the recipe on up to `16 * G` values, ordered by block count.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn groups<const G: usize, const N: usize>(recipe: &Recipe<'_>, values: &Values<'_>, out: &mut [[u8; N]]) {
    let mut state = [[_mm512_setzero_si512(); 8]; G];
    for state in &mut state {
        *state = spread(recipe.start);
    }
    absorb::<G>(recipe, values, &mut state);
    if let Some(outer) = recipe.outer {
        let mut words = [[_mm512_setzero_si512(); 16]; G];
        for (words, state) in words.iter_mut().zip(&mut state) {
            words[..8].copy_from_slice(state);
            words[8] = _mm512_set1_epi32(0x8000_0000_u32 as i32);
            words[15] = _mm512_set1_epi32(OUTER_BITS as i32);
            *state = spread(outer);
        }
        compress::<G>(&mut state, &mut words);
    }
    // Lanes without a value have hashed nothing, and are not written.
    for (state, places) in state.iter().zip(values.places().chunks(LANES)) {
        write::<N>(state, places, out);
    }
}

/// The same state in every lane.
#[target_feature(enable = "avx512f")]
#[inline]
fn spread(words: &[u32; 8]) -> [__m512i; 8] {
    let mut vectors = [_mm512_setzero_si512(); 8];
    for (vector, &word) in vectors.iter_mut().zip(words) {
        *vector = _mm512_set1_epi32(word as i32);
    }
    vectors
}

/// Compresses every block of prefix ‖ value ‖ padding into the states.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
#[inline]
fn absorb<const G: usize>(recipe: &Recipe<'_>, values: &Values<'_>, state: &mut Words<G, 8>) {
    let prefix_len = recipe.prefix_len as u32;
    // Values that share lanes are a few blocks long: no sum of lengths comes near an overflow.
    let blocks_max = blocks(prefix_len + values.last_len());
    for block in 0..blocks_max {
        let mut words = [[_mm512_setzero_si512(); 16]; G];
        let mut active = [0; G];
        for group in 0..G {
            let (starts, lens) = values.split_at(values.len().min(LANES * group)).1.lanes::<LANES>();
            pack(recipe, values.arena(), &starts, &lens, block, &mut words[group]);
            // SAFETY: `lens` is 64 bytes long; the load needs no alignment.
            let lens = unsafe { _mm512_loadu_si512(lens.as_ptr().cast()) };
            let lens = _mm512_add_epi32(lens, _mm512_set1_epi32(prefix_len as i32));
            let bits = _mm512_slli_epi32::<3>(_mm512_add_epi32(lens, _mm512_set1_epi32(recipe.start_len as i32)));
            let last = _mm512_srli_epi32::<6>(_mm512_add_epi32(lens, _mm512_set1_epi32(8)));
            let this = _mm512_set1_epi32(block as i32);
            // The message's length stands in the last block; it fits 32 bits, so word 14 stays zero.
            words[group][15] = _mm512_mask_mov_epi32(words[group][15], _mm512_cmpeq_epi32_mask(last, this), bits);
            active[group] = _mm512_cmpge_epi32_mask(last, this);
        }
        let before = *state;
        compress::<G>(state, &mut words);
        if blocks_max > 1 {
            // A lane whose value has ended keeps its state.
            for group in 0..G {
                for word in 0..8 {
                    state[group][word] = _mm512_mask_mov_epi32(before[group][word], active[group], state[group][word]);
                }
            }
        }
    }
}

/// Loads one block of sixteen values, padded, and transposes it into sixteen vectors of big-endian words.
///
/// Relies on `start + len` being within the arena for each lane.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
#[inline]
fn pack(recipe: &Recipe<'_>, arena: &[u8], starts: &[u32; LANES], lens: &[u32; LANES], block: u32, words: &mut [__m512i; 16]) {
    let prefix_len = recipe.prefix_len as i64;
    let first = block == 0;
    // SAFETY: the prefix is 64 bytes long; the load needs no alignment.
    let prefix = if first { unsafe { _mm512_loadu_si512(recipe.prefix.as_ptr().cast()) } } else { _mm512_setzero_si512() };
    let prefix_mask = if first { (1u64 << prefix_len) - 1 } else { 0 };
    // Where in the value this block begins; below zero, if a prefix stands in front.
    let begin = i64::from(block) * BLOCK as i64 - prefix_len;
    let base = arena.as_ptr().wrapping_offset(begin as isize);
    let big_endian = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    for lane in 0..LANES {
        // Bytes of this block that are prefix or value; -1 once the 0x80 behind them stood in an earlier block.
        let used = (i64::from(lens[lane]) - begin).clamp(-1, BLOCK as i64);
        let mask = _bzhi_u64(u64::MAX, used.max(0) as u32) & !prefix_mask;
        // SAFETY: `64 - used` is between 0 and 65, and the table is 130 bytes long.
        let padding = unsafe { _mm512_loadu_si512(PADDING.as_ptr().add((BLOCK as i64 - used) as usize).cast()) };
        let source = base.wrapping_add(starts[lane] as usize);
        // SAFETY: only bytes in `mask` are read (masked-off ones raise no fault). Byte i of the block is byte `begin + i` of the value; i is in
        // the mask only from the prefix's end on, so `begin + i` is at least 0, and below `used`, so `begin + i` is below the value's length.
        // The value lies in the arena, says `Values`.
        let bytes = unsafe { _mm512_mask_loadu_epi8(_mm512_or_si512(padding, prefix), mask, source.cast()) };
        words[lane] = _mm512_shuffle_epi8(bytes, big_endian);
    }
    transpose(words);
}

/// Sixteen rows of sixteen words become sixteen columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn transpose(rows: &mut [__m512i; 16]) {
    let mut pairs = *rows;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    // fours[4 * q + c], in its 128-bit part p: word 4 * p + c of rows 4 * q to 4 * q + 3.
    let mut fours = pairs;
    for q in 0..4 {
        for half in 0..2 {
            let (even, odd) = (pairs[4 * q + half], pairs[4 * q + 2 + half]);
            fours[4 * q + 2 * half] = _mm512_unpacklo_epi64(even, odd);
            fours[4 * q + 2 * half + 1] = _mm512_unpackhi_epi64(even, odd);
        }
    }
    for c in 0..4 {
        let low_02 = _mm512_shuffle_i32x4::<0b10_00_10_00>(fours[c], fours[4 + c]);
        let low_13 = _mm512_shuffle_i32x4::<0b11_01_11_01>(fours[c], fours[4 + c]);
        let high_02 = _mm512_shuffle_i32x4::<0b10_00_10_00>(fours[8 + c], fours[12 + c]);
        let high_13 = _mm512_shuffle_i32x4::<0b11_01_11_01>(fours[8 + c], fours[12 + c]);
        rows[c] = _mm512_shuffle_i32x4::<0b10_00_10_00>(low_02, high_02);
        rows[8 + c] = _mm512_shuffle_i32x4::<0b11_01_11_01>(low_02, high_02);
        rows[4 + c] = _mm512_shuffle_i32x4::<0b10_00_10_00>(low_13, high_13);
        rows[12 + c] = _mm512_shuffle_i32x4::<0b11_01_11_01>(low_13, high_13);
    }
}

/// Transposes the states of sixteen values back and writes those of `places`, in the form that `N` says.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn write<const N: usize>(state: &[__m512i; 8], places: &[u16], out: &mut [[u8; N]]) {
    let big_endian = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    // halves[h][c], in its 128-bit part q: half h of the digest of lane 4 * q + c.
    let mut halves = [[_mm512_setzero_si512(); 4]; 2];
    for (half, words) in halves.iter_mut().zip(state.as_chunks::<4>().0) {
        let [a, b, c, d] = *words;
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        *half = [
            _mm512_unpacklo_epi64(ab_low, cd_low),
            _mm512_unpackhi_epi64(ab_low, cd_low),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ];
        for part in half {
            *part = _mm512_shuffle_epi8(*part, big_endian);
        }
    }
    let first_two = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    let last_two = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    let mut digests = [_mm256_setzero_si256(); LANES];
    for c in 0..4 {
        let low = _mm512_permutex2var_epi64(halves[0][c], first_two, halves[1][c]);
        let high = _mm512_permutex2var_epi64(halves[0][c], last_two, halves[1][c]);
        digests[c] = _mm512_castsi512_si256(low);
        digests[4 + c] = _mm512_extracti64x4_epi64::<1>(low);
        digests[8 + c] = _mm512_castsi512_si256(high);
        digests[12 + c] = _mm512_extracti64x4_epi64::<1>(high);
    }
    for (digest, &place) in digests.iter().zip(places) {
        write_one(*digest, &mut out[usize::from(place)]);
    }
}

/// Writes one digest in the form that `N` says: 64 is hex, 32 the digest, 16 its first half.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn write_one<const N: usize>(digest: __m256i, out: &mut [u8; N]) {
    const { assert!(N == 16 || N == 32 || N == 64) };
    let to = out.as_mut_ptr();
    match N {
        // SAFETY: `out` is 16 bytes long; the store needs no alignment.
        16 => unsafe { _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(digest)) },
        // SAFETY: `out` is 32 bytes long; the store needs no alignment.
        32 => unsafe { _mm256_storeu_si256(to.cast(), digest) },
        _ => {
            let wide = _mm512_cvtepu8_epi16(digest);
            let split = _mm512_or_si512(_mm512_srli_epi16::<4>(wide), _mm512_slli_epi16::<8>(wide));
            let nibbles = _mm512_and_si512(split, _mm512_set1_epi8(0x0f));
            let digits = _mm512_broadcast_i32x4(_mm_setr_epi8(
                b'0' as i8, b'1' as i8, b'2' as i8, b'3' as i8, b'4' as i8, b'5' as i8, b'6' as i8, b'7' as i8, b'8' as i8, b'9' as i8,
                b'a' as i8, b'b' as i8, b'c' as i8, b'd' as i8, b'e' as i8, b'f' as i8,
            ));
            // SAFETY: `out` is 64 bytes long, the only length left; the store needs no alignment.
            unsafe { _mm512_storeu_si512(to.cast(), _mm512_shuffle_epi8(digits, nibbles)) }
        }
    }
}

/// Writes a step out sixteen times, with t from 0 to 15: left as loops, the compiler keeps states and words in memory.
macro_rules! sixteen {
    ($step:ident) => {
        sixteen!($step: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($step:ident: $($t:literal)*) => {
        $($step!($t);)*
    };
}

/// The 64 rounds of SHA-256 on sixteen values in each of `G` groups. `words` is used up. Source: FIPS 180-4 §6.2.2.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn compress<const G: usize>(state: &mut Words<G, 8>, words: &mut Words<G, 16>) {
    let before = *state;
    let mut now = *state;
    let (parts, _) = ROUND.as_chunks::<16>();
    // Sixteen rounds: a multiple of eight, so that each register has its own name again at the end.
    let mut constants = &parts[0];
    macro_rules! round {
        ($t:literal) => {
            for group in 0..G {
                round::<$t>(&mut now[group], words[group][$t], constants[$t]);
            }
        };
    }
    macro_rules! scheduled_round {
        ($t:literal) => {
            for group in 0..G {
                schedule::<$t>(&mut words[group]);
                round::<$t>(&mut now[group], words[group][$t], constants[$t]);
            }
        };
    }
    sixteen!(round);
    for part in &parts[1..] {
        constants = part;
        sixteen!(scheduled_round);
    }
    for group in 0..G {
        for word in 0..8 {
            state[group][word] = _mm512_add_epi32(now[group][word], before[group][word]);
        }
    }
}

/// Round `T` of sixteen; the registers change their names instead of their places.
#[target_feature(enable = "avx512f")]
#[inline]
fn round<const T: usize>(state: &mut [__m512i; 8], word: __m512i, constant: u32) {
    let [a, b, c, d, e, f, g, h] = const {
        let first = 16 - T;
        [first % 8, (first + 1) % 8, (first + 2) % 8, (first + 3) % 8, (first + 4) % 8, (first + 5) % 8, (first + 6) % 8, (first + 7) % 8]
    };
    // What does not wait for the round before comes first.
    let given = _mm512_add_epi32(state[h], _mm512_add_epi32(word, _mm512_set1_epi32(constant as i32)));
    let choice = _mm512_ternarylogic_epi32::<CHOICE>(state[e], state[f], state[g]);
    let one = _mm512_add_epi32(_mm512_add_epi32(given, choice), big_sigma_1(state[e]));
    let two = _mm512_add_epi32(big_sigma_0(state[a]), _mm512_ternarylogic_epi32::<MAJORITY>(state[a], state[b], state[c]));
    state[d] = _mm512_add_epi32(state[d], one);
    state[h] = _mm512_add_epi32(one, two);
}

/// Word `T` of the next sixteen, in the place of the one before.
#[target_feature(enable = "avx512f")]
#[inline]
fn schedule<const T: usize>(words: &mut [__m512i; 16]) {
    let given = _mm512_add_epi32(words[T], words[(T + 9) % 16]);
    let sigmas = _mm512_add_epi32(small_sigma_0(words[(T + 1) % 16]), small_sigma_1(words[(T + 14) % 16]));
    words[T] = _mm512_add_epi32(given, sigmas);
}

/// Truth tables of three inputs, for `vpternlogd`.
const CHOICE: i32 = 0xca;
const MAJORITY: i32 = 0xe8;
const PARITY: i32 = 0x96;

#[target_feature(enable = "avx512f")]
#[inline]
fn big_sigma_0(x: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<PARITY>(_mm512_ror_epi32::<2>(x), _mm512_ror_epi32::<13>(x), _mm512_ror_epi32::<22>(x))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn big_sigma_1(x: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<PARITY>(_mm512_ror_epi32::<6>(x), _mm512_ror_epi32::<11>(x), _mm512_ror_epi32::<25>(x))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn small_sigma_0(x: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<PARITY>(_mm512_ror_epi32::<7>(x), _mm512_ror_epi32::<18>(x), _mm512_srli_epi32::<3>(x))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn small_sigma_1(x: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<PARITY>(_mm512_ror_epi32::<17>(x), _mm512_ror_epi32::<19>(x), _mm512_srli_epi32::<10>(x))
}
