//! Writes JSON straight into an arena; checked against serde_json as the oracle.

use crate::transform::bits;
use crate::transform::ready::Ready;

/// Appends a JSON string with its quotes: only what RFC 8259 demands is escaped.
#[inline]
pub fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        escape(text, out);
    }
    out.push(b'"');
}

/// Whether nothing has to be escaped.
fn is_plain(bytes: &[u8]) -> bool {
    !bits::holds(bytes, bits::is_escaped_in_json)
}

fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (i, b) in bytes.iter().enumerate() {
        if *b >= 0x20 && *b != b'"' && *b != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[from..i]);
        from = i + 1;
        match b {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(b >> 4)]);
                out.push(HEX[usize::from(b & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[from..]);
}

/// One more than the largest number of eight digits.
const EIGHT: u64 = 100_000_000;

/// Appends a decimal integer.
pub fn integer(n: i64, out: &mut Vec<u8>) {
    if n < 0 {
        out.push(b'-');
    }
    let rest = n.unsigned_abs();
    if rest < EIGHT {
        return leading(rest, out);
    }
    if rest < EIGHT * EIGHT {
        leading(rest / EIGHT, out);
    } else {
        leading(rest / EIGHT / EIGHT, out);
        out.extend_from_slice(&eight_digits(rest / EIGHT % EIGHT).to_le_bytes());
    }
    out.extend_from_slice(&eight_digits(rest % EIGHT).to_le_bytes());
}

/// Appends the digits of a number below 10⁸: all eight, the first ones shifted out, as a copy of a known length needs no call.
#[inline]
fn leading(n: u64, out: &mut Vec<u8>) {
    let digits = eight_digits(n);
    let zeros = ((digits & 0x0f0f_0f0f_0f0f_0f0f).trailing_zeros() / 8).min(7);
    let end = out.len() + 8 - zeros as usize;
    out.extend_from_slice(&(digits >> (8 * zeros)).to_le_bytes());
    out.truncate(end);
}

/// The eight digits of a number below 10⁸ as text, the first one lowest: halves, quarters, single ones, each in its own part of the word.
#[inline]
fn eight_digits(n: u64) -> u64 {
    let fours = (n / 10_000) | ((n % 10_000) << 32);
    // 10486 / 2²⁰ is a hundredth for all of four digits, 103 / 2¹⁰ a tenth for all of two.
    let hundreds = (fours * 10_486) >> 20 & 0x0000_007f_0000_007f;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = (twos * 103) >> 10 & 0x000f_000f_000f_000f;
    (tens | (twos - 10 * tens) << 8) | 0x3030_3030_3030_3030
}

/// Appends a finite number in the shortest spelling that reads back the same; whole numbers without a fraction.
pub fn number(n: f64, out: &mut Vec<u8>) {
    if n.fract() == 0.0 && n.abs() < 9e15 {
        integer(n as i64, out);
    } else {
        use std::io::Write;
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{n}");
    }
}

/// A key that is chosen at run time, ready to be written after another member. Shape: it needs no escapes, and has at most 28 bytes.
pub struct Key(Ready);

impl Key {
    /// A key.
    #[must_use]
    pub const fn new(name: &str) -> Key {
        Key(Ready::new(&[b",\"", name.as_bytes(), b"\":"]))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        let written = self.0.as_bytes();
        std::str::from_utf8(&written[2..written.len() - 2]).unwrap_or("")
    }
}

/// An object being written: knows where commas go. Members come out in the order of the calls.
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    /// Opens an object.
    pub fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Object { out, empty: true }
    }

    /// Starts a member and gives the buffer to write its value to. `key` must need no escapes.
    #[inline]
    pub fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// Starts a member in the same way.
    #[inline]
    pub fn ready(&mut self, key: &Key) -> &mut Vec<u8> {
        if self.empty {
            self.empty = false;
            self.out.extend_from_slice(&key.0.as_bytes()[1..]);
        } else {
            key.0.push(self.out);
        }
        self.out
    }

    /// A string member.
    #[inline]
    pub fn string(&mut self, key: &str, text: &str) {
        string(text, self.key(key));
    }

    /// A string member, left out when the text is empty.
    #[inline]
    pub fn string_if(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.string(key, text);
        }
    }

    /// A member whose value `write` appends itself. Shape: the member is left out, and the answer false, when it says false.
    #[inline]
    pub fn member_with(&mut self, key: &str, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let (mark, empty) = (self.out.len(), self.empty);
        let written = write(self.key(key));
        if !written {
            self.out.truncate(mark);
            self.empty = empty;
        }
        written
    }

    /// A string member whose text `write` appends itself. Shape: the member is left out, and the answer false, when it appends nothing or
    /// says false; what it appends must be UTF-8.
    #[inline]
    pub fn string_with(&mut self, key: &str, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        self.member_with(key, |out| {
            out.push(b'"');
            let start = out.len();
            if !write(out) || out.len() == start {
                return false;
            }
            if !is_plain(&out[start..]) {
                let text = String::from_utf8_lossy(&out[start..]).into_owned();
                out.truncate(start);
                escape(&text, out);
            }
            out.push(b'"');
            true
        })
    }

    /// A string member whose text needs no escapes: hex, a date.
    #[inline]
    pub fn plain(&mut self, key: &str, text: &[u8]) {
        let out = self.key(key);
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    }

    /// An integer member.
    #[inline]
    pub fn integer(&mut self, key: &str, n: i64) {
        integer(n, self.key(key));
    }

    /// A boolean member.
    #[inline]
    pub fn boolean(&mut self, key: &str, b: bool) {
        self.key(key).extend_from_slice(if b { b"true" } else { b"false" });
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// Closes the object.
    pub fn close(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn strings_equal_serde_json(text in "\\PC*|[\\x00-\\x7f]{0,40}") {
            let mut out = Vec::new();
            string(&text, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn integers(n: i64, fewer_bits in 0..64) {
            let (n, mut out) = (n >> fewer_bits, Vec::new());
            integer(n, &mut out);
            prop_assert_eq!(out, n.to_string().into_bytes());
        }

        #[test]
        fn numbers_read_back(n in proptest::num::f64::NORMAL | proptest::num::f64::ZERO) {
            let mut out = Vec::new();
            number(n, &mut out);
            // The standard library reads exactly; serde_json, by default, within one unit in the last place.
            prop_assert_eq!(std::str::from_utf8(&out).unwrap().parse::<f64>().unwrap(), n);
            prop_assert!(serde_json::from_slice::<f64>(&out).is_ok());
        }
    }

    #[test]
    fn objects_place_their_commas() {
        const FIRST: Key = Key::new("first");
        const SECOND: Key = Key::new("second");
        let mut out = Vec::new();
        let mut o = Object::open(&mut out);
        o.ready(&FIRST).push(b'1');
        o.ready(&SECOND).push(b'2');
        o.string("a", "x\"\u{1}");
        o.string_if("none", "");
        assert!(!o.string_with("none", |_| true));
        assert!(!o.string_with("none", |out| {
            out.push(b'x');
            false
        }));
        assert!(o.string_with("w", |out| {
            out.extend_from_slice("é\"\n".as_bytes());
            true
        }));
        o.integer("b", -5);
        o.boolean("c", true);
        o.plain("d", b"ff");
        o.close();
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"first":1,"second":2,"a":"x\"\u0001","w":"é\"\n","b":-5,"c":true,"d":"ff"}"#);
    }
}
