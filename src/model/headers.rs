//! The headers of a record as Kafka stores them: how many, then name and value of each. The line writes them so, and whoever produces copies them.
//!
//! ```text
//! | count, varint | { name's length, varint | name | value's length, varint | value } … |
//! ```
//!
//! Source: <https://kafka.apache.org/documentation/#record>.

use crate::model::varint;

/// Appends how many headers follow.
#[inline]
pub fn begin(count: usize, out: &mut Vec<u8>) {
    varint::put(count as i64, out);
}

/// Appends one header.
#[inline]
pub fn put(name: &str, value: &[u8], out: &mut Vec<u8>) {
    varint::put_bytes(name.as_bytes(), out);
    varint::put_bytes(value, out);
}

/// Appends one header whose value `write` appends.
#[inline]
pub fn put_with(name: &str, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    varint::put_bytes(name.as_bytes(), out);
    varint::put_bytes_with(out, write);
}

/// All headers of one record. Shape: names and values; what cannot be read ends them.
pub fn read(mut stored: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let count = varint::take(&mut stored).unwrap_or(0);
    let mut next = move || varint::take_bytes(&mut stored);
    (0..count).map_while(move |_| Some((std::str::from_utf8(next()?).ok()?, next()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let all = [("lethe", [7; 70].as_slice()), ("", b""), ("tenant", b"acme")];
        let mut stored = Vec::new();
        begin(all.len(), &mut stored);
        all.iter().for_each(|(name, value)| put(name, value, &mut stored));
        assert_eq!(read(&stored).collect::<Vec<_>>(), all);
        assert_eq!(read(&stored[..stored.len() - 1]).collect::<Vec<_>>(), all[..2], "the last one is torn");
        assert_eq!(read(&[]).count(), 0);
    }
}
