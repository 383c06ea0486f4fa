//! AVX-512: sixteen values side by side in each vector, two such groups interleaved so that one works while the other waits.
//!
//! ```text
//! arena ─masked loads─► 16 rows of 64 bytes ─transpose─► 16 vectors, word t of all lanes ─64 rounds─► 8 vectors of state
//!                                                                                       digests ◄─transpose back─┘
//! ```

use std::arch::x86_64::*;

use super::{PADDING, ROUND};
use crate::model::span::Span;
use crate::transform::hash::portable;
use crate::transform::hash::recipe::{BLOCK, OUTER_BITS, Recipe};
use crate::transform::hash::window::{Window, blocks};

/// Values side by side in one vector.
const LANES: usize = 16;

/// A remainder below this goes one by one: a group costs the same however few of its lanes are in use.
const LANES_MIN: usize = 5;

/// One word of sixteen values, for each of `G` groups.
type Words<const G: usize, const T: usize> = [[__m512i; T]; G];

/// Runs the recipe on the short values of a window. Shape: `out` is as long as the window.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
pub(super) fn window<const N: usize>(recipe: &Recipe<'_>, window: &Window<'_>, out: &mut [[u8; N]]) {
    let (pairs, rest) = window.short().as_chunks::<{ 2 * LANES }>();
    for indices in pairs {
        groups::<2, N>(recipe, window, indices, out);
    }
    let (indices, rest) = if rest.len() >= LANES { rest.split_at(LANES) } else { rest.split_at(0) };
    if rest.len() >= LANES_MIN && !indices.is_empty() {
        groups::<2, N>(recipe, window, &window.short()[pairs.len() * 2 * LANES..], out);
        return;
    }
    if !indices.is_empty() {
        groups::<1, N>(recipe, window, indices, out);
    }
    if rest.len() >= LANES_MIN {
        groups::<1, N>(recipe, window, rest, out);
    } else {
        for &index in rest {
            out[usize::from(index)] = portable::one(recipe, window.span(index).of(window.arena()));
        }
    }
}

/// Runs the recipe on up to `16 * G` values, ordered by block count.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn groups<const G: usize, const N: usize>(recipe: &Recipe<'_>, window: &Window<'_>, indices: &[u16], out: &mut [[u8; N]]) {
    // Lanes without a value hash nothing, and are not written.
    let mut spans = [[Span::NONE; LANES]; G];
    for (span, &index) in spans.as_flattened_mut().iter_mut().zip(indices) {
        *span = window.span(index);
    }
    let mut state = [[_mm512_setzero_si512(); 8]; G];
    for state in &mut state {
        for (vector, &word) in state.iter_mut().zip(recipe.start) {
            *vector = _mm512_set1_epi32(word as i32);
        }
    }
    absorb::<G>(recipe, window, &spans, &mut state);
    if let Some(outer) = recipe.outer {
        let mut words = [[_mm512_setzero_si512(); 16]; G];
        for (words, state) in words.iter_mut().zip(&mut state) {
            words[..8].copy_from_slice(state);
            words[8] = _mm512_set1_epi32(0x8000_0000_u32 as i32);
            words[15] = _mm512_set1_epi32(OUTER_BITS as i32);
            for (vector, &word) in state.iter_mut().zip(outer) {
                *vector = _mm512_set1_epi32(word as i32);
            }
        }
        compress::<G>(&mut state, &mut words);
    }
    for (state, indices) in state.iter().zip(indices.chunks(LANES)) {
        write::<N>(state, indices, out);
    }
}

/// Compresses every block of prefix ‖ value ‖ padding into the states.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn absorb<const G: usize>(recipe: &Recipe<'_>, window: &Window<'_>, spans: &[[Span; LANES]; G], state: &mut Words<G, 8>) {
    let prefix_len = recipe.prefix_len as u32;
    let mut lens = [_mm512_setzero_si512(); G];
    let mut blocks_max = 1;
    for (lens, spans) in lens.iter_mut().zip(spans) {
        let mut each = [0i32; LANES];
        for (len, span) in each.iter_mut().zip(spans) {
            // Short values only: a few blocks, far from overflow.
            *len = (prefix_len + span.len) as i32;
            blocks_max = blocks_max.max(blocks(*len as u32));
        }
        // SAFETY: `each` is 64 bytes long; the load needs no alignment.
        *lens = unsafe { _mm512_loadu_si512(each.as_ptr().cast()) };
    }
    for block in 0..blocks_max {
        let mut words = [[_mm512_setzero_si512(); 16]; G];
        let mut active = [0; G];
        for group in 0..G {
            pack(recipe, window, &spans[group], block, &mut words[group]);
            let last = _mm512_srli_epi32::<6>(_mm512_add_epi32(lens[group], _mm512_set1_epi32(8)));
            let bits = _mm512_slli_epi32::<3>(_mm512_add_epi32(lens[group], _mm512_set1_epi32(recipe.start_len as i32)));
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
#[inline]
fn pack(recipe: &Recipe<'_>, window: &Window<'_>, spans: &[Span; LANES], block: u32, words: &mut [__m512i; 16]) {
    let arena = window.arena();
    let prefix_len = recipe.prefix_len as i64;
    let first = block == 0;
    // SAFETY: both are 64 bytes long; the load needs no alignment.
    let prefix = if first { unsafe { _mm512_loadu_si512(recipe.prefix.as_ptr().cast()) } } else { _mm512_setzero_si512() };
    let prefix_mask = if first { (1u64 << prefix_len) - 1 } else { 0 };
    // Where in the value this block begins; below zero, if a prefix stands in front.
    let begin = i64::from(block) * BLOCK as i64 - prefix_len;
    let big_endian = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    for (row, span) in words.iter_mut().zip(spans) {
        // Bytes of this block that are prefix or value; -1 once the 0x80 behind them stood in an earlier block.
        let used = (i64::from(span.len) - begin).clamp(-1, BLOCK as i64);
        let mask = _bzhi_u64(u64::MAX, used.max(0) as u32) & !prefix_mask;
        // SAFETY: `64 - used` is between 0 and 65, and the table is 130 bytes long.
        let padding = unsafe { _mm512_loadu_si512(PADDING.as_ptr().add((BLOCK as i64 - used) as usize).cast()) };
        let source = arena.as_ptr().wrapping_offset(span.start as isize + begin as isize);
        // SAFETY: only bytes in `mask` are read (masked-off ones raise no fault). Byte i of the block is byte `begin + i` of the value; i is in the
        // mask only from the prefix's end on, so `begin + i` is at least 0, and below `used`, so `begin + i` is below `len`.
        // The span lies in the arena, says `Window`.
        let bytes = unsafe { _mm512_mask_loadu_epi8(_mm512_or_si512(padding, prefix), mask, source.cast()) };
        *row = _mm512_shuffle_epi8(bytes, big_endian);
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

/// Transposes the states of sixteen values back and writes those that `indices` names, in the form that `N` says.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn write<const N: usize>(state: &[__m512i; 8], indices: &[u16], out: &mut [[u8; N]]) {
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
    for (digest, &index) in digests.iter().zip(indices) {
        write_one(*digest, &mut out[usize::from(index)]);
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

/// The 64 rounds of SHA-256 on sixteen values in each of `G` groups. `words` is used up. Source: FIPS 180-4 §6.2.2.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn compress<const G: usize>(state: &mut Words<G, 8>, words: &mut Words<G, 16>) {
    let before = *state;
    for (part, constants) in ROUND.as_chunks::<16>().0.iter().enumerate() {
        // Sixteen rounds: a multiple of eight, so that each register has its own name again at the end.
        for t in 0..16 {
            for group in 0..G {
                let w = &mut words[group];
                if part > 0 {
                    let mixed = _mm512_add_epi32(w[t], w[(t + 9) % 16]);
                    let sigmas = _mm512_add_epi32(small_sigma_0(w[(t + 1) % 16]), small_sigma_1(w[(t + 14) % 16]));
                    w[t] = _mm512_add_epi32(mixed, sigmas);
                }
                let s = &mut state[group];
                let at = |name: usize| (name + 16 - t) % 8;
                let [a, b, c, d, e, f, g, h] = [s[at(0)], s[at(1)], s[at(2)], s[at(3)], s[at(4)], s[at(5)], s[at(6)], s[at(7)]];
                let constant = _mm512_set1_epi32(constants[t] as i32);
                // What does not wait for the previous round comes first.
                let given = _mm512_add_epi32(h, _mm512_add_epi32(w[t], constant));
                let choice = _mm512_ternarylogic_epi32::<CHOICE>(e, f, g);
                let one = _mm512_add_epi32(_mm512_add_epi32(given, choice), big_sigma_1(e));
                let two = _mm512_add_epi32(big_sigma_0(a), _mm512_ternarylogic_epi32::<MAJORITY>(a, b, c));
                s[at(3)] = _mm512_add_epi32(d, one);
                s[at(7)] = _mm512_add_epi32(one, two);
            }
        }
    }
    for group in 0..G {
        for word in 0..8 {
            state[group][word] = _mm512_add_epi32(state[group][word], before[group][word]);
        }
    }
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
