//! Where bytes of some kind stand in a text: a bit a byte, found sixteen at a time.
//!
//! Looking at a byte after the other costs a few instructions for each and a branch that no processor foresees. Most of what the line asks of a
//! text (where does this string end, is there anything to encode, where do words begin) is about few of its bytes.

use wide::u8x16;

/// Bytes to a word of bits.
pub const BLOCK: usize = 64;

/// Bytes of a kind. Shape: all bits of a byte that is of it, none of another.
pub trait Kind: Fn(u8x16) -> u8x16 {}
impl<F: Fn(u8x16) -> u8x16> Kind for F {}

/// Which bytes equal `byte`.
#[inline(always)]
pub fn is(bytes: u8x16, byte: u8) -> u8x16 {
    bytes.simd_eq(u8x16::splat(byte))
}

/// Which bytes are `first`, `last` or between them.
#[inline(always)]
pub fn within(bytes: u8x16, first: u8, last: u8) -> u8x16 {
    let from_first = bytes - u8x16::splat(first);
    from_first.min(u8x16::splat(last - first)).simd_eq(from_first)
}

/// Which bytes are ASCII letters or digits.
#[inline(always)]
pub fn is_alphanumeric(bytes: u8x16) -> u8x16 {
    within(bytes | u8x16::splat(0x20), b'a', b'z') | within(bytes, b'0', b'9')
}

/// Which bytes JSON does not take in a string as they are (RFC 8259): quotes, backslashes, control characters.
#[inline(always)]
pub fn is_escaped_in_json(bytes: u8x16) -> u8x16 {
    is(bytes, b'"') | is(bytes, b'\\') | within(bytes, 0, 0x1f)
}

/// A bit for each byte of a block, the first one lowest.
#[inline(always)]
pub fn of_block(block: &[u8; BLOCK], kind: impl Kind) -> u64 {
    let quarters = block.as_chunks::<16>().0;
    quarters.iter().rev().fold(0, |bits, quarter| bits << 16 | u64::from(kind(u8x16::new(*quarter)).to_bitmask()))
}

/// The block that begins at `from`, and a bit for each of its bytes that is the text's: behind the text's end it is filled up with zeros.
#[inline(always)]
pub fn block_at(text: &[u8], from: usize) -> ([u8; BLOCK], u64) {
    let rest = &text[from..];
    if let Some(block) = rest.first_chunk() {
        return (*block, u64::MAX);
    }
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    (last, !(u64::MAX << rest.len()))
}

/// A bit for each byte of the block that begins at `from`, none for what lies behind the text's end.
#[inline(always)]
pub fn of_block_at(text: &[u8], from: usize, kind: impl Kind) -> u64 {
    let (block, inside) = block_at(text, from);
    of_block(&block, kind) & inside
}

/// Whether any byte of `text` is of a kind.
#[inline(always)]
pub fn holds(text: &[u8], kind: impl Kind) -> bool {
    let found = |bytes: &[u8; 16]| kind(u8x16::new(*bytes)).to_bitmask() != 0;
    let (whole, rest) = text.as_chunks();
    if whole.iter().any(found) {
        return true;
    }
    let Some(first) = rest.first() else { return false };
    // Bytes that are looked at twice are of the kind or not, as before.
    let last = text.last_chunk().copied().unwrap_or_else(|| {
        let mut last = [*first; 16];
        last[..rest.len()].copy_from_slice(rest);
        last
    });
    found(&last)
}

/// How many bytes of `text` are of a kind. Shape: zero must not be of it.
#[inline(always)]
pub fn count(text: &[u8], kind: impl Kind) -> usize {
    let (whole, rest) = text.as_chunks::<16>();
    let mut last = [0; 16];
    last[..rest.len()].copy_from_slice(rest);
    whole.iter().chain(std::iter::once(&last)).map(|quarter| kind(u8x16::new(*quarter)).to_bitmask().count_ones() as usize).sum()
}

/// Where bytes of a kind stand, in order.
pub struct Places<'t, K> {
    text: &'t [u8],
    /// Where the next block begins.
    next: usize,
    /// What is left of the block before it.
    bits: u64,
    kind: K,
}

/// Where bytes of a kind stand in `text`, in order.
#[inline(always)]
pub fn places<K: Kind>(text: &[u8], kind: K) -> Places<'_, K> {
    Places { text, next: 0, bits: 0, kind }
}

impl<K: Kind> Iterator for Places<'_, K> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        while self.bits == 0 {
            if self.next >= self.text.len() {
                return None;
            }
            self.bits = of_block_at(self.text, self.next, &self.kind);
            self.next += BLOCK;
        }
        let at = self.next - BLOCK + self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(at)
    }
}

/// Where words begin in `text`: at every byte that has no ASCII letter or digit before it, whatever it is itself. Shape: `each` says whether to go on.
#[inline(always)]
pub fn word_starts(text: &[u8], mut each: impl FnMut(usize) -> bool) {
    let mut inside = 0;
    for from in (0..text.len()).step_by(BLOCK) {
        let word = of_block_at(text, from, is_alphanumeric);
        let mut starts = !(word << 1 | inside);
        inside = word >> (BLOCK - 1);
        while starts != 0 {
            let at = from + starts.trailing_zeros() as usize;
            if at >= text.len() || !each(at) {
                return;
            }
            starts &= starts - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn kinds_are_what_they_are_called(text in proptest::collection::vec(any::<u8>(), 0..200), first: u8, last: u8, one: u8) {
            let (first, last) = (first.min(last), first.max(last));
            let by = |wanted: fn(u8, (u8, u8)) -> bool| -> Vec<usize> {
                (0..text.len()).filter(|at| wanted(text[*at], (first, last))).collect()
            };
            prop_assert_eq!(holds(&text, |b| is(b, one)), text.contains(&one));
            prop_assert_eq!(count(&text, |b| within(b, first.max(1), last.max(1))), by(|b, (first, last)| (first.max(1)..=last.max(1)).contains(&b)).len());
            prop_assert_eq!(places(&text, |b| within(b, first, last)).collect::<Vec<_>>(), by(|b, (first, last)| (first..=last).contains(&b)));
            prop_assert_eq!(places(&text, is_alphanumeric).collect::<Vec<_>>(), by(|b, _| b.is_ascii_alphanumeric()));
            let equal: Vec<usize> = (0..text.len()).filter(|at| text[*at] == one).collect();
            prop_assert_eq!(places(&text, |b| is(b, one)).collect::<Vec<_>>(), equal);
        }

        #[test]
        fn words_begin_behind_what_is_no_letter(text in "[a-zA-Z0-9 ./-äß]{0,200}") {
            let bytes = text.as_bytes();
            let mut found = Vec::new();
            word_starts(bytes, |at| {
                found.push(at);
                true
            });
            let want: Vec<usize> = (0..bytes.len()).filter(|at| *at == 0 || !bytes[at - 1].is_ascii_alphanumeric()).collect();
            prop_assert_eq!(found, want);
        }
    }
}
