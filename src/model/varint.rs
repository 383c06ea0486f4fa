//! Whole numbers as Avro and Kafka's records write them: zig-zag, then base 128, the low bits first.
//!
//! Sources: Apache Avro 1.12 specification, "Primitive types"; <https://kafka.apache.org/documentation/#record>.

/// The longest one. Units: bytes.
pub const BYTES_MAX: usize = 10;

/// Appends a number.
#[inline]
pub fn put(n: i64, out: &mut Vec<u8>) {
    let mut rest = zigzag(n);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Takes a number off the front. Errors: `None` for one that is not whole, or has more than 64 bits; then nothing is taken.
#[inline]
pub fn take(from: &mut &[u8]) -> Option<i64> {
    let mut z = 0u64;
    for (i, byte) in from.iter().take(BYTES_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if i == BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        z |= bits << (7 * i);
        if byte & 0x80 == 0 {
            *from = &from[i + 1..];
            return Some((z >> 1) as i64 ^ -((z & 1) as i64));
        }
    }
    None
}

/// Appends bytes with their length before them.
#[inline]
pub fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

/// The same of bytes whose length is known only once `write` has appended them; up to 63 stay where they are written.
#[inline]
pub fn put_bytes_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    write(out);
    let length = out.len() - at - 1;
    if length < 64 {
        out[at] = (length as u8) << 1;
    } else {
        make_room(at, length, out);
    }
}

/// Writes a length for which there was room for one byte.
fn make_room(at: usize, length: usize, out: &mut Vec<u8>) {
    let more = len(length as i64) - 1;
    out.resize(out.len() + more, 0);
    out.copy_within(at + 1..at + 1 + length, at + 1 + more);
    let mut rest = zigzag(length as i64);
    for byte in &mut out[at..at + more] {
        *byte = rest as u8 | 0x80;
        rest >>= 7;
    }
    out[at + more] = rest as u8;
}

/// Takes bytes with their length before them off the front. Errors: `None` if they are not whole.
#[inline]
pub fn take_bytes<'b>(from: &mut &'b [u8]) -> Option<&'b [u8]> {
    let len = usize::try_from(take(from)?).ok()?;
    let (bytes, rest) = from.split_at_checked(len)?;
    *from = rest;
    Some(bytes)
}

/// How long a number is. Units: bytes.
#[inline]
#[must_use]
pub fn len(n: i64) -> usize {
    let bits = 64 - (zigzag(n) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_taken_and_as_long_as_told() {
        for n in [0, 1, -1, 63, 64, -64, -65, 8191, 8192, 1 << 20, i64::from(i32::MAX), i64::MAX, i64::MIN] {
            let mut out = vec![9];
            put(n, &mut out);
            assert_eq!(out.len() - 1, len(n), "{n}");
            out.push(7);
            let mut rest = &out[1..];
            assert_eq!((take(&mut rest), rest), (Some(n), [7].as_slice()));
            let mut cut = &out[1..out.len() - 2];
            let before = cut;
            assert_eq!((take(&mut cut), cut), (None, before), "{n} without its end");
        }
    }

    #[test]
    fn bytes_are_taken_as_they_were_put() {
        for len in [0, 1, 63, 64, 65, 8_191, 8_192, 20_000] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let (mut out, mut other) = (vec![9], vec![9]);
            put_bytes(&bytes, &mut out);
            put_bytes_with(&mut other, |out| bytes.iter().for_each(|byte| out.push(*byte)));
            assert_eq!(out, other, "{len}");
            out.push(7);
            let mut rest = &out[1..];
            assert_eq!((take_bytes(&mut rest), rest), (Some(bytes.as_slice()), [7].as_slice()));
            assert_eq!(take_bytes(&mut &other[1..other.len() - 1]), None, "{len} without its end");
        }
        assert_eq!(take_bytes(&mut [1].as_slice()), None, "below zero");
    }

    #[test]
    fn more_than_64_bits_are_no_number() {
        for bytes in [[0xff; 11].as_slice(), &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]] {
            assert_eq!(take(&mut &*bytes), None);
        }
        assert_eq!(take(&mut [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1].as_slice()), Some(i64::MIN));
    }
}
