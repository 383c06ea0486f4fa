//! The x86 SHA instructions: two values interleaved, so that one stream's rounds fill the other's latency.

use std::arch::x86_64::*;

use super::{PADDING, ROUND};
use crate::model::span::Span;
use crate::transform::hash::portable::{self, form};
use crate::transform::hash::recipe::{BLOCK, OUTER_BITS, Recipe};
use crate::transform::hash::window::{Window, blocks};

/// Values interleaved.
pub(super) const STREAMS: usize = 2;

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

/// Runs the recipe on the short values of a window. Shape: `out` is as long as the window.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) fn window<const N: usize>(recipe: &Recipe<'_>, window: &Window<'_>, out: &mut [[u8; N]]) {
    let (sets, rest) = window.short().as_chunks::<STREAMS>();
    for indices in sets {
        let mut spans = [Span::NONE; STREAMS];
        let mut counts = [0; STREAMS];
        for stream in 0..STREAMS {
            spans[stream] = window.span(indices[stream]);
            counts[stream] = blocks(recipe.prefix_len as u32 + spans[stream].len);
        }
        if counts.iter().all(|count| *count == counts[0]) {
            let digests = streams::<STREAMS>(recipe, window.arena(), &spans, counts[0]);
            for (digest, &index) in digests.iter().zip(indices) {
                out[usize::from(index)] = form(digest);
            }
        } else {
            // Where one block count ends and the next begins: at most sixteen times a window.
            one_by_one(recipe, window, indices, out);
        }
    }
    one_by_one(recipe, window, rest, out);
}

fn one_by_one<const N: usize>(recipe: &Recipe<'_>, window: &Window<'_>, indices: &[u16], out: &mut [[u8; N]]) {
    for &index in indices {
        out[usize::from(index)] = portable::one(recipe, window.span(index).of(window.arena()));
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
    let start = (span.start as usize + begin).checked_sub(recipe.prefix_len);
    let whole = start.and_then(|start| arena.get(start..)).and_then(|bytes| bytes.first_chunk::<BLOCK>());
    let copied;
    let bytes = if let (Some(whole), true) = (whole, recipe.prefix_len == 0 || block > 0) {
        whole
    } else {
        copied = copy(recipe, arena, span, block);
        &copied
    };
    let mut words = [_mm_setzero_si128(); 4];
    let keep = KEEP.as_ptr().wrapping_add(BLOCK - used.max(0) as usize);
    let padding = PADDING.as_ptr().wrapping_add((BLOCK as i64 - used) as usize);
    for (i, word) in words.iter_mut().enumerate() {
        // SAFETY: `bytes` is 64 bytes long. `keep` begins at 64 or before in a table of 128, `padding` at 65 or before in one of 130: 64 bytes
        // follow in each. No load needs alignment.
        let (bytes, keep, padding) = unsafe {
            (
                _mm_loadu_si128(bytes.as_ptr().add(16 * i).cast()),
                _mm_loadu_si128(keep.add(16 * i).cast()),
                _mm_loadu_si128(padding.add(16 * i).cast()),
            )
        };
        *word = big_endian(_mm_or_si128(_mm_and_si128(bytes, keep), padding));
    }
    words
}

/// A block that begins with the prefix, or before which or behind which the arena ends. Shape: what is neither is zero.
#[cold]
fn copy(recipe: &Recipe<'_>, arena: &[u8], span: Span, block: u32) -> [u8; BLOCK] {
    let value = span.of(arena);
    let begin = block as usize * BLOCK;
    if begin == 0 {
        let mut bytes = recipe.prefix;
        let head = value.len().min(BLOCK - recipe.prefix_len);
        bytes[recipe.prefix_len..recipe.prefix_len + head].copy_from_slice(&value[..head]);
        return bytes;
    }
    let mut bytes = [0; BLOCK];
    let rest = value.get(begin - recipe.prefix_len..).unwrap_or(&[]);
    let head = rest.len().min(BLOCK);
    bytes[..head].copy_from_slice(&rest[..head]);
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
