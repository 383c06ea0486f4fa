//! Avro's binary encoding, as far as records computed from records need it: reading by a known layout, and writing.
//!
//! Source: Apache Avro 1.12 specification, "Binary encoding"; apache-avro is the oracle in `record` and `session`.

/// What is left to read.
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    pub fn long(&mut self) -> Option<i64> {
        let mut z = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            z |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some((z >> 1) as i64 ^ -((z & 1) as i64));
            }
        }
        None
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let n = usize::try_from(self.long()?).ok()?;
        self.take(n)
    }

    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The branch of `["null", …]`.
    pub fn is_there(&mut self) -> Option<bool> {
        match self.long()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub fn optional_text(&mut self) -> Option<&'a str> {
        if self.is_there()? { self.text() } else { Some("") }
    }

    pub fn optional_texts<const N: usize>(&mut self) -> Option<[&'a str; N]> {
        let mut texts = [""; N];
        for text in &mut texts {
            *text = self.optional_text()?;
        }
        Some(texts)
    }
}

/// Appends a long: zig-zag, then base 128, low bits first.
pub(super) fn long(n: i64, out: &mut Vec<u8>) {
    let mut z = ((n << 1) ^ (n >> 63)) as u64;
    while z >= 0x80 {
        out.push((z as u8) | 0x80);
        z >>= 7;
    }
    out.push(z as u8);
}

/// Appends a string or bytes.
pub(super) fn bytes(text: &[u8], out: &mut Vec<u8>) {
    long(text.len() as i64, out);
    out.extend_from_slice(text);
}

/// Appends a value of `["null", "string"]`; empty text is null.
pub(super) fn optional_text(text: &str, out: &mut Vec<u8>) {
    out.push(if text.is_empty() { 0 } else { 2 });
    if !text.is_empty() {
        bytes(text.as_bytes(), out);
    }
}
