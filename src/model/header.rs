//! The binary header `lethe` of every output record: enough for a sweep to match without decoding the value.
//!
//! ```text
//! | version 1 | key epoch 2, BE | occurred_at 8, ms, BE | pseudonym 16 | pseudonym 16 | …
//! ```

use crate::model::headers;
use crate::model::pseudonym::{Epoch, Pseudonym};

/// Name of the header.
pub const NAME: &str = "lethe";
/// The layout's version.
pub const VERSION: u8 = 1;
const FIXED: usize = 11;
const PSEUDONYM: usize = size_of::<Pseudonym>();

/// Appends the header as the only one of a record, as [`headers`] has them.
pub fn write_alone(epoch: Epoch, occurred_at_ms: i64, identifiers: impl Iterator<Item = Pseudonym>, out: &mut Vec<u8>) {
    headers::begin(1, out);
    headers::put_with(NAME, out, |out| write(epoch, occurred_at_ms, identifiers, out));
}

/// Appends the header's value to `out`.
pub fn write(epoch: Epoch, occurred_at_ms: i64, identifiers: impl Iterator<Item = Pseudonym>, out: &mut Vec<u8>) {
    out.push(VERSION);
    out.extend_from_slice(&epoch.0.to_be_bytes());
    out.extend_from_slice(&occurred_at_ms.to_be_bytes());
    for p in identifiers {
        out.extend_from_slice(&p.0);
    }
}

/// A header read back.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// The key's generation.
    pub epoch: Epoch,
    /// The event's own time. Units: ms since the epoch.
    pub occurred_at_ms: i64,
    identifiers: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads a header. Errors: `None` for another version or a torn value.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Header<'a>> {
        let fixed: &[u8; FIXED] = bytes.first_chunk()?;
        let identifiers = &bytes[FIXED..];
        if fixed[0] != VERSION || !identifiers.len().is_multiple_of(PSEUDONYM) {
            return None;
        }
        let [_, e0, e1, occurred @ ..] = *fixed;
        Some(Header { epoch: Epoch(u16::from_be_bytes([e0, e1])), occurred_at_ms: i64::from_be_bytes(occurred), identifiers })
    }

    /// The pseudonyms of all identifiers of the row.
    pub fn identifiers(&self) -> impl Iterator<Item = Pseudonym> + use<'a> {
        self.identifiers.as_chunks::<PSEUDONYM>().0.iter().map(|p| Pseudonym(*p))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_refuses_what_it_did_not() {
        let ids = [Pseudonym([1; 16]), Pseudonym([2; 16])];
        let mut bytes = Vec::new();
        write(Epoch(258), -5, ids.into_iter(), &mut bytes);
        assert_eq!(bytes.len(), 11 + 32);
        let mut alone = Vec::new();
        write_alone(Epoch(258), -5, ids.into_iter(), &mut alone);
        assert_eq!(headers::read(&alone).collect::<Vec<_>>(), [(NAME, bytes.as_slice())]);
        assert_eq!(bytes[..3], [1, 1, 2]);
        let header = Header::read(&bytes).unwrap();
        assert_eq!((header.epoch, header.occurred_at_ms), (Epoch(258), -5));
        assert_eq!(header.identifiers().collect::<Vec<_>>(), ids);
        assert!(Header::read(&bytes[..20]).is_none());
        assert!(Header::read(&[]).is_none());
        bytes[0] = 9;
        assert!(Header::read(&bytes).is_none());
    }
}
