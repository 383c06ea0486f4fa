//! The x86 SHA instructions: two values interleaved, so that one stream's rounds fill the other's latency.

use std::arch::x86_64::*;

use super::{PADDING, ROUND, one_by_one};
use crate::model::span::Span;
use crate::transform::hash::portable::form;
use crate::transform::hash::recipe::{BLOCK, OUTER_BITS, Recipe};
use crate::transform::hash::window::{WINDOW, Window, blocks};

/// Values interleaved.
const STREAMS: usize = 2;

/// Keeps the bytes before a length: the 64 bytes from `64 - n` on are ones up to place n, then zero.
static KEEP: [u8; 128] = {
    let mut bytes = [0; 128];
    let mut place = 0;
    while place < BLOCK {
        bytes[place] = 0xff;
        place += 1;
    }
    bytes
};

/// A state in the order the instructions want it: words a, b, e, f and c, d, g, h, the first uppermost.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

/// Runs the recipe on a column. Shape: `out` is as long as `values`.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) fn run<const N: usize>(recipe: &Recipe<'_>, arena: &[u8], values: &[Span], out: &mut [[u8; N]]) {
    let mut window = Window::new(arena);
    for (values, out) in values.chunks(WINDOW).zip(out.chunks_mut(WINDOW)) {
        window.fill(recipe, values);
        let (mut rest, long) = window.values();
        while rest.len() >= STREAMS {
            let (values, after) = rest.split_at(STREAMS);
            let mut spans = [Span::NONE; STREAMS];
            for (position, span) in spans.iter_mut().enumerate() {
                *span = values.span(position);
            }
            let prefix_len = recipe.prefix_len as u32;
            let count = blocks(prefix_len + spans[0].len);
            if blocks(prefix_len + spans[STREAMS - 1].len) == count {
                let digests = streams::<STREAMS>(recipe, arena, &spans, count);
                for (digest, &place) in digests.iter().zip(values.places()) {
                    out[usize::from(place)] = form(digest);
                }
            } else {
                // Where one block count ends and the next begins: at most sixteen times a window.
                one_by_one(recipe, &values, out);
            }
            rest = after;
        }
        one_by_one(recipe, &rest, out);
        one_by_one(recipe, &long, out);
    }
}

/// Runs the recipe on `S` values of the same block count.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
fn streams<const S: usize>(recipe: &Recipe<'_>, arena: &[u8], spans: &[Span; S], count: u32) -> [[u8; 32]; S] {
    let mut state = [load_state(recipe.start); S];
    for block in 0..count {
        let mut words = [[_mm_setzero_si128(); 4]; S];
        for (words, span) in words.iter_mut().zip(spans) {
            *words = pack(recipe, arena, *span, block);
            if block + 1 == count {
                let bits = (recipe.start_len + recipe.prefix_len as u32 + span.len) * 8;
                words[3] = _mm_insert_epi32::<3>(words[3], bits as i32);
            }
        }
        compress(&mut state, words);
    }
    if let Some(outer) = recipe.outer {
        let mut words = [[_mm_setzero_si128(); 4]; S];
        for (words, state) in words.iter_mut().zip(&state) {
            let [abcd, efgh] = in_order(*state);
            *words = [abcd, efgh, _mm_set_epi32(0, 0, 0, 0x8000_0000_u32 as i32), _mm_set_epi32(OUTER_BITS as i32, 0, 0, 0)];
        }
        state = [load_state(outer); S];
        compress(&mut state, words);
    }
    let mut digests = [[0; 32]; S];
    for (digest, state) in digests.iter_mut().zip(&state) {
        let [abcd, efgh] = in_order(*state);
        let to = digest.as_mut_ptr();
        // SAFETY: `digest` is 32 bytes long; the stores need no alignment.
        unsafe {
            _mm_storeu_si128(to.cast(), big_endian(abcd));
            _mm_storeu_si128(to.add(16).cast(), big_endian(efgh));
        }
    }
    digests
}

/// One block of prefix ‖ value ‖ 0x80 ‖ zeros as big-endian words; the length is put in by the caller.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
fn pack(recipe: &Recipe<'_>, arena: &[u8], span: Span, block: u32) -> [__m128i; 4] {
    let begin = block as usize * BLOCK;
    // Bytes of this block that are prefix or value; -1 once the 0x80 behind them stood in an earlier block.
    let total = recipe.prefix_len + span.len as usize;
    let used = (total as i64 - begin as i64).clamp(-1, BLOCK as i64);
    let start = (span.start as usize + begin).wrapping_sub(recipe.prefix_len);
    let copied;
    // No closures here: they would be compiled for these instructions, and what calls them would not, so that neither is inlined.
    let bytes = if let Some(whole) = arena.get(start..start.wrapping_add(BLOCK)) {
        whole
    } else {
        copied = copy(recipe, arena, span, block);
        &copied
    };
    let mut words = [_mm_setzero_si128(); 4];
    // SAFETY: `used` is at most 64; from 64 or before in a table of 128 bytes, 64 follow.
    let keep = unsafe { load(KEEP.as_ptr().add(BLOCK - used.max(0) as usize)) };
    // SAFETY: `used` is between -1 and 64; from 65 or before in a table of 130 bytes, 64 follow.
    let padding = unsafe { load(PADDING.as_ptr().add((BLOCK as i64 - used) as usize)) };
    // SAFETY: `bytes` is 64 bytes long: a range of that length, or a block.
    let bytes = unsafe { load(bytes.as_ptr()) };
    for i in 0..4 {
        words[i] = _mm_or_si128(_mm_and_si128(bytes[i], keep[i]), padding[i]);
    }
    if block == 0 && recipe.prefix_len > 0 {
        // SAFETY: the prefix is at most 63 bytes long; from 64 or before in a table of 128 bytes, 64 follow. `recipe.prefix` is 64 bytes long.
        let (before, prefix) = unsafe { (load(KEEP.as_ptr().add(BLOCK - recipe.prefix_len)), load(recipe.prefix.as_ptr())) };
        for i in 0..4 {
            words[i] = _mm_or_si128(_mm_andnot_si128(before[i], words[i]), prefix[i]);
        }
    }
    for word in &mut words {
        *word = big_endian(*word);
    }
    words
}

/// The 64 bytes that begin at `from`.
///
/// # Safety
/// They may be read; they need no alignment.
#[target_feature(enable = "sse2")]
#[inline]
unsafe fn load(from: *const u8) -> [__m128i; 4] {
    // SAFETY: the caller answers for the 64 bytes; the loads need no alignment.
    unsafe {
        [
            _mm_loadu_si128(from.cast()),
            _mm_loadu_si128(from.add(16).cast()),
            _mm_loadu_si128(from.add(32).cast()),
            _mm_loadu_si128(from.add(48).cast()),
        ]
    }
}

/// A block before or behind which the arena ends, as if read from it. Shape: what is no part of the value is zero, the prefix's place too.
#[cold]
fn copy(recipe: &Recipe<'_>, arena: &[u8], span: Span, block: u32) -> [u8; BLOCK] {
    let value = span.of(arena);
    let mut bytes = [0; BLOCK];
    let (at, from) = match (block as usize * BLOCK).checked_sub(recipe.prefix_len) {
        Some(from) => (0, from),
        None => (recipe.prefix_len, 0),
    };
    for (byte, source) in bytes[at..].iter_mut().zip(value.get(from..).unwrap_or(&[])) {
        *byte = *source;
    }
    bytes
}

#[target_feature(enable = "sse2")]
#[inline]
fn load_state(words: &[u32; 8]) -> State {
    let [a, b, c, d, e, f, g, h] = words.map(|word| word as i32);
    State { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }
}

/// The words a to d and e to h, the first lowermost.
#[target_feature(enable = "sse2")]
#[inline]
fn in_order(state: State) -> [__m128i; 2] {
    let abef = _mm_shuffle_epi32::<0b00_01_10_11>(state.abef);
    let cdgh = _mm_shuffle_epi32::<0b00_01_10_11>(state.cdgh);
    [_mm_unpacklo_epi64(abef, cdgh), _mm_unpackhi_epi64(abef, cdgh)]
}

#[target_feature(enable = "ssse3")]
#[inline]
fn big_endian(words: __m128i) -> __m128i {
    _mm_shuffle_epi8(words, _mm_set_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203))
}

/// The 64 rounds of SHA-256 on each of `S` blocks. Source: FIPS 180-4 §6.2.2; the instructions' part in it: Intel SDM, SHA256RNDS2, SHA256MSG1, SHA256MSG2.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
fn compress<const S: usize>(state: &mut [State; S], mut words: [[__m128i; 4]; S]) {
    let before = *state;
    for (step, constants) in ROUND.as_chunks::<4>().0.iter().enumerate() {
        let [k0, k1, k2, k3] = constants.map(|constant| constant as i32);
        let constants = _mm_set_epi32(k3, k2, k1, k0);
        for (state, words) in state.iter_mut().zip(&mut words) {
            if step >= 4 {
                let [w0, w1, w2, w3] = *words;
                let mixed = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
                *words = [w1, w2, w3, _mm_sha256msg2_epu32(mixed, w3)];
            }
            let now = if step >= 4 { words[3] } else { words[step] };
            let sums = _mm_add_epi32(now, constants);
            state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, sums);
            state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, _mm_shuffle_epi32::<0b00_00_11_10>(sums));
        }
    }
    for (state, before) in state.iter_mut().zip(&before) {
        state.abef = _mm_add_epi32(state.abef, before.abef);
        state.cdgh = _mm_add_epi32(state.cdgh, before.cdgh);
    }
}
