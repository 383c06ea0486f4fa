//! Bytes that are known beforehand.

/// Room for them. Units: bytes.
const ROOM: usize = 32;

/// Bytes that are appended often. Shape: at most 32 of them.
pub struct Ready {
    bytes: [u8; ROOM],
    len: usize,
}

impl Ready {
    /// All parts, one after the other.
    #[must_use]
    pub const fn new(parts: &[&[u8]]) -> Ready {
        let (mut bytes, mut len, mut part) = ([0; ROOM], 0, 0);
        while part < parts.len() {
            let mut at = 0;
            while at < parts[part].len() {
                bytes[len] = parts[part][at];
                (len, at) = (len + 1, at + 1);
            }
            part += 1;
        }
        Ready { bytes, len }
    }

    /// Appends them: all of their room, and cut off what is too much, as a copy of a known length needs no call.
    #[inline]
    pub fn push(&self, out: &mut Vec<u8>) {
        let end = out.len() + self.len;
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
    }

    /// Themselves.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_the_parts_and_nothing_else() {
        const ALL: [u8; ROOM] = [7; ROOM];
        let mut out = b"before ".to_vec();
        for ready in [Ready::new(&[b"a", b"", b"bc"]), Ready::new(&[]), Ready::new(&[&ALL])] {
            ready.push(&mut out);
        }
        assert_eq!(out, [b"before abc".as_slice(), &ALL].concat());
        assert_eq!(Ready::new(&[b"a", b"b"]).as_bytes(), b"ab");
    }
}
