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

/// A bit for each byte of the block that begins at `from`, none for what lies behind the text's end.
#[inline(always)]
pub fn of_block_at(text: &[u8], from: usize, kind: impl Kind) -> u64 {
    let rest = &text[from..];
    if let Some(block) = rest.first_chunk() {
        return of_block(block, kind);
    }
    // Its end lies in memory already: a copy of as many bytes as there happen to be is a call, and then a wait for what it wrote.
    if let Some(block) = text.last_chunk() {
        return of_block(block, kind).checked_shr((BLOCK - rest.len()) as u32).unwrap_or(0);
    }
    let (whole, _) = rest.as_chunks::<16>();
    let bits = whole.iter().rev().fold(0, |bits, quarter| bits << 16 | u64::from(kind(u8x16::new(*quarter)).to_bitmask()));
    bits | u64::from(of_end(rest, kind)) << (16 * whole.len())
}

/// A bit for each of a text's last bytes that are too few for sixteen.
#[inline(always)]
fn of_end(text: &[u8], kind: impl Kind) -> u32 {
    kind(u8x16::new(end(text).to_le_bytes())).to_bitmask() & !(u32::MAX << (text.len() % 16))
}

/// A text's last bytes that are too few for sixteen. Shape: the first one lowest, zeros behind the last.
#[inline(always)]
#[must_use]
pub fn end(text: &[u8]) -> u128 {
    let n = text.len() % 16;
    match text.last_chunk() {
        Some(last) => u128::from_le_bytes(*last) >> (8 * (15 - n)) >> 8,
        None => short(text),
    }
}

/// A text of fewer than sixteen bytes, read from both of its ends.
#[inline(always)]
fn short(text: &[u8]) -> u128 {
    let n = text.len();
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << (8 * (n - 8))
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        u128::from(u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << (8 * (n - 4)))
    } else if let (Some(first), Some(last)) = (text.first(), text.last()) {
        u128::from(u32::from(*first) | u32::from(text[n / 2]) << (8 * (n / 2)) | u32::from(*last) << (8 * (n - 1)))
    } else {
        0
    }
}

/// Whether any byte of `text` is of a kind.
#[inline(always)]
pub fn holds(text: &[u8], kind: impl Kind) -> bool {
    let found = |bytes: &[u8; 16]| kind(u8x16::new(*bytes)).to_bitmask() != 0;
    if text.as_chunks().0.iter().any(found) {
        return true;
    }
    match text.last_chunk() {
        // Bytes that are looked at twice are of the kind or not, as before.
        Some(last) => found(last),
        None => of_end(text, kind) != 0,
    }
}

/// How many bytes of `text` are of a kind.
#[inline(always)]
pub fn count(text: &[u8], kind: impl Kind) -> usize {
    let whole = text.as_chunks::<16>().0.iter();
    let whole: usize = whole.map(|quarter| kind(u8x16::new(*quarter)).to_bitmask().count_ones() as usize).sum();
    whole + of_end(text, kind).count_ones() as usize
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
            prop_assert_eq!(holds(&text, |b| !is(b, one)), text.iter().any(|b| *b != one));
            let tail = text.as_chunks::<16>().1;
            prop_assert_eq!(end(&text).to_le_bytes().to_vec(), [tail, &[0; 16][tail.len()..]].concat());
            prop_assert_eq!(count(&text, |b| within(b, first, last)), by(|b, (first, last)| (first..=last).contains(&b)).len());
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
