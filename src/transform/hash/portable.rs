//! One value at a time on `sha2`'s compression: the kernel of other machines, of remainders and of long values.

use sha2::block_api::compress256;

use super::recipe::{BLOCK, OUTER_BITS, Recipe};
use super::text::hex32;
use crate::model::span::Span;

/// Runs the recipe on a column. Shape: `out` is as long as `values`.
pub(super) fn run<const N: usize>(recipe: &Recipe<'_>, arena: &[u8], values: &[Span], out: &mut [[u8; N]]) {
    for (value, out) in values.iter().zip(out) {
        *out = one(recipe, value.of(arena));
    }
}

/// Runs the recipe on one value of any length.
pub(super) fn one<const N: usize>(recipe: &Recipe<'_>, value: &[u8]) -> [u8; N] {
    let mut state = *recipe.start;
    let total = recipe.prefix_len + value.len();
    let bits = (u64::from(recipe.start_len) + total as u64) * 8;
    // Prefix and as much of the value as fits stand in the first block; whole blocks are then read in place.
    let mut block = recipe.prefix;
    let (head, rest) = value.split_at(value.len().min(BLOCK - recipe.prefix_len));
    block[recipe.prefix_len..recipe.prefix_len + head.len()].copy_from_slice(head);
    if total >= BLOCK {
        compress256(&mut state, &[block]);
        let (whole, tail) = rest.as_chunks::<BLOCK>();
        compress256(&mut state, whole);
        block = [0; BLOCK];
        block[..tail.len()].copy_from_slice(tail);
    }
    finish(&mut state, &mut block, total % BLOCK, bits);
    if let Some(outer) = recipe.outer {
        let mut block = [0; BLOCK];
        block[..32].copy_from_slice(&big_endian(&state));
        state = *outer;
        finish(&mut state, &mut block, 32, u64::from(OUTER_BITS));
    }
    form(&big_endian(&state))
}

/// Pads the last bytes and compresses them. Source: FIPS 180-4 §5.1.1.
fn finish(state: &mut [u32; 8], block: &mut [u8; BLOCK], used: usize, bits: u64) {
    block[used] = 0x80;
    if used >= BLOCK - 8 {
        compress256(state, std::slice::from_ref(block));
        *block = [0; BLOCK];
    }
    block[BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
    compress256(state, std::slice::from_ref(block));
}

fn big_endian(state: &[u32; 8]) -> [u8; 32] {
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

/// A digest in the form that `N` says: 64 is hex, 32 the digest, 16 its first half.
#[inline(always)]
pub(super) fn form<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    const { assert!(N == 16 || N == 32 || N == 64) };
    let mut out = [0; N];
    if N == 64 {
        out.copy_from_slice(&hex32(digest));
    } else {
        out.copy_from_slice(&digest[..N]);
    }
    out
}
