//! A walk through one JSON text (RFC 8259): it takes and refuses what serde_json does, and hands out texts as they stand.
//!
//! Most of an event is strings, and most of a string's cost is looking for its end: a loop of another length each time, which no processor
//! foresees. So one pass marks every byte at which a string has to be looked at, a bit a byte; after that its end is a count of zeros. What is
//! rare (escapes, numbers that are no short whole ones) is serde_json's.

use super::super::is_json_number;
use super::super::members::MemberName;
use crate::transform::bits::{BLOCK, is_escaped_in_json, of_block, of_block_at};
use serde_json::Number;

/// Not JSON, or too deep. Nothing says where or why: that would quote the value.
pub(super) struct Malformed;

/// Where quotes, backslashes and control characters stand: a bit a byte, low bits first. Shape: words enough for one byte more than the text, and
/// every bit from the text's end on is set, so that a search always ends.
pub(in super::super) type Marks = Vec<u64>;

/// Marks `text` anew.
fn mark(text: &[u8], marks: &mut Marks) {
    marks.clear();
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    marks.extend(blocks.iter().map(|block| of_block(block, is_escaped_in_json)));
    marks.push(of_block_at(rest, 0, is_escaped_in_json) | u64::MAX << rest.len());
}

/// A place in a JSON text.
pub(super) struct Cursor<'a, 'm> {
    text: &'a str,
    at: usize,
    marks: &'m [u64],
}

impl<'a, 'm> Cursor<'a, 'm> {
    /// The beginning of `text`, whose marks go to `marks`.
    pub(super) fn new(text: &'a str, marks: &'m mut Marks) -> Self {
        mark(text.as_bytes(), marks);
        Cursor { text, at: 0, marks }
    }

    /// The next byte that is no white space; it is not passed. Errors: the text ends.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<u8, Malformed> {
        match self.text.as_bytes().get(self.at) {
            Some(&b) if b > b' ' => Ok(b),
            _ => self.peek_behind_space(),
        }
    }

    #[inline(never)]
    fn peek_behind_space(&mut self) -> Result<u8, Malformed> {
        while let Some(&b) = self.text.as_bytes().get(self.at) {
            if !matches!(b, b' ' | b'\n' | b'\t' | b'\r') {
                return Ok(b);
            }
            self.at += 1;
        }
        Err(Malformed)
    }

    /// Passes `wanted`. Errors: something else comes next.
    #[inline]
    fn pass(&mut self, wanted: u8) -> Result<(), Malformed> {
        if self.peek()? != wanted {
            return Err(Malformed);
        }
        self.at += 1;
        Ok(())
    }

    /// Nothing but white space may be left.
    pub(super) fn end(mut self) -> Result<(), Malformed> {
        if self.peek().is_ok() { Err(Malformed) } else { Ok(()) }
    }

    /// The first marked byte from `from` on; at the latest the text's end.
    #[inline]
    fn marked(&self, from: usize) -> usize {
        let mut word = from / BLOCK;
        let Some(mut bits) = self.marks.get(word).map(|bits| bits & (u64::MAX << (from % BLOCK))) else { return self.text.len() };
        while bits == 0 {
            word += 1;
            bits = *self.marks.get(word).unwrap_or(&1);
        }
        word * BLOCK + bits.trailing_zeros() as usize
    }

    /// Passes a string; one with escapes is kept by `keep`. Errors: no string, or none that stands for text.
    #[inline(always)] // what every member and most values are: a call would cost as much as its work
    pub(super) fn string(&mut self, keep: impl FnOnce(&str) -> &'a str) -> Result<&'a str, Malformed> {
        self.pass(b'"')?;
        let (start, end) = (self.at, self.marked(self.at));
        if self.text.as_bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            return self.text.get(start..end).ok_or(Malformed);
        }
        self.escaped(end).map(|text| keep(&text))
    }

    /// Passes a member's name. Errors: as [`Cursor::string`].
    #[inline(always)]
    pub(super) fn name(&mut self) -> Result<MemberName, Malformed> {
        self.pass(b'"')?;
        let bytes = self.text.as_bytes();
        let (start, end) = (self.at, self.marked(self.at));
        if bytes.get(end) != Some(&b'"') {
            return self.escaped(end).map(|name| MemberName::of(name.as_bytes()));
        }
        self.at = end + 1;
        Ok(match bytes[start..].first_chunk() {
            Some(chunk) => MemberName::beginning(*chunk, end - start),
            None => MemberName::of(&bytes[start..end]),
        })
    }

    /// Passes a string with escapes, of which all before `end` is passed already.
    #[cold]
    fn escaped(&mut self, mut end: usize) -> Result<String, Malformed> {
        let bytes = self.text.as_bytes();
        while bytes.get(end) == Some(&b'\\') {
            // Whatever is escaped is no end; a control character, though, stays one.
            end = self.marked(end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'"' | b'\\'))));
        }
        let quoted = self.text.get(self.at - 1..end + 1).ok_or(Malformed)?;
        self.at = end + 1;
        serde_json::from_str(quoted).map_err(|_| Malformed)
    }

    /// Passes a string and hands it out if it stands there as it is. Shape: `None` for one with escapes. Errors: as [`Cursor::string`].
    pub(super) fn plain_string(&mut self) -> Result<Option<&'a str>, Malformed> {
        let mut escaped = false;
        let text = self.string(|_| {
            escaped = true;
            ""
        })?;
        Ok(Some(text).filter(|_| !escaped))
    }

    /// Passes a number. Shape: its spelling. Errors: no number as JSON spells it.
    fn number_text(&mut self) -> Result<&'a str, Malformed> {
        let rest = &self.text[self.at..];
        let len = rest.bytes().position(|b| !matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')).unwrap_or(rest.len());
        let number = &rest[..len];
        self.at += len;
        is_json_number(number).then_some(number).ok_or(Malformed)
    }

    /// Passes a number. Errors: no number, or one that is not finite.
    pub(super) fn number(&mut self) -> Result<Number, Malformed> {
        let text = self.number_text()?;
        let short = text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
        if short {
            return Ok(text.bytes().fold(0, |n, b| n * 10 + i64::from(b - b'0')).into());
        }
        serde_json::from_str(text).map_err(|_| Malformed)
    }

    /// Passes a number. Shape: value and spelling. Errors: no number, or one that is not finite.
    pub(super) fn number_as_spelled(&mut self) -> Result<(f64, &'a str), Malformed> {
        let text = self.number_text()?;
        let value: f64 = text.parse().map_err(|_| Malformed)?;
        if value.is_finite() { Ok((value, text)) } else { Err(Malformed) }
    }

    /// Passes `true`, `false` or `null`. Shape: `None` for `null`.
    pub(super) fn literal(&mut self) -> Result<Option<bool>, Malformed> {
        for (word, value) in [("true", Some(true)), ("false", Some(false)), ("null", None)] {
            if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// Passes an object: `member` is called behind the colon of each member, with what `key` makes of its name, and passes the value.
    #[inline]
    pub(super) fn object<C, K>(
        &mut self,
        context: &mut C,
        key: impl Fn(&mut Self, &mut C) -> Result<K, Malformed>,
        mut member: impl FnMut(&mut Self, &mut C, K) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut more = self.open(b'{', b'}')?;
        while more {
            let name = key(self, context)?;
            self.pass(b':')?;
            member(self, context, name)?;
            more = self.more(b'}')?;
        }
        Ok(())
    }

    /// Passes an array: `element` passes each element.
    pub(super) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), Malformed>) -> Result<(), Malformed> {
        let mut more = self.open(b'[', b']')?;
        while more {
            element(self)?;
            more = self.more(b']')?;
        }
        Ok(())
    }

    /// Passes an opening bracket, and its `close` if that comes next. Shape: whether something stands between them.
    #[inline]
    fn open(&mut self, open: u8, close: u8) -> Result<bool, Malformed> {
        self.pass(open)?;
        let empty = self.peek()? == close;
        self.at += usize::from(empty);
        Ok(!empty)
    }

    /// Passes a comma or the closing bracket. Shape: whether it was a comma, and so more has to come.
    #[inline]
    fn more(&mut self, close: u8) -> Result<bool, Malformed> {
        let b = self.peek()?;
        if b != b',' && b != close {
            return Err(Malformed);
        }
        self.at += 1;
        Ok(b == b',')
    }

    /// Passes a value nobody asked for: looked at for form and depth, kept nowhere. Units: `depth_left`, how many levels it may have.
    pub(super) fn skip(&mut self, depth_left: u32) -> Result<(), Malformed> {
        match self.peek()? {
            b'"' => self.plain_string().map(drop),
            b'{' => {
                let inside = depth_left.checked_sub(1).ok_or(Malformed)?;
                self.object(&mut (), |cursor, ()| cursor.name().map(drop), |cursor, (), ()| cursor.skip(inside))
            }
            b'[' => {
                let inside = depth_left.checked_sub(1).ok_or(Malformed)?;
                self.array(|cursor| cursor.skip(inside))
            }
            b'-' | b'0'..=b'9' => self.number().map(drop),
            _ => self.literal().map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether the text is taken, and the same of serde_json, reading all of it as it reads any value.
    fn taken(text: &str) -> (bool, bool) {
        let mut marks = Marks::new();
        let mut cursor = Cursor::new(text, &mut marks);
        let ours = cursor.skip(100).and_then(|()| cursor.end()).is_ok();
        (ours, serde_json::from_str::<serde_json::Value>(text).is_ok())
    }

    #[test]
    fn takes_and_refuses_what_serde_json_does() {
        for text in [
            "",
            " ",
            "{}",
            "[]",
            "[ ]",
            "{ }",
            "{,}",
            "[,]",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1 \"b\":2}",
            "[1 2]",
            "nul",
            "null",
            "nulll",
            "true",
            "True",
            "false",
            "0",
            "-0",
            "-",
            "01",
            "1.",
            ".5",
            "1e",
            "1e+",
            "1e5",
            "1E-5",
            "1e400",
            "-1e400",
            "1-2",
            "+1",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
            "-9223372036854775809",
            "\"",
            "\"\\\"",
            "\"\\\\\"",
            "\"a\\",
            "\"\\u00e9\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\n\"",
            "\"\\\n\"",
            "\"\u{7f}\"",
            "\"é\"",
            "{\"\\ud800\":1}",
            "{} {}",
            "{}x",
            "[[[]]]",
            "\u{feff}{}",
            "\t\r\n {} \n",
            "\u{b}{}",
            "'a'",
            "// x",
            "NaN",
            "Infinity",
            "{1:2}",
        ] {
            let (ours, theirs) = taken(text);
            assert_eq!(ours, theirs, "{text:?}");
        }
        assert!(taken(&format!("{}{}", "[".repeat(100), "]".repeat(100))).0);
        assert!(!taken(&format!("{}{}", "[".repeat(101), "]".repeat(101))).0, "one level too deep");
    }

    #[test]
    fn numbers() {
        let of = |text: &str| Cursor::new(text, &mut Marks::new()).number().ok();
        for (text, want) in [
            ("0", Some(Number::from(0))),
            ("-7", Some(Number::from(-7))),
            ("999999999999999999", Some(Number::from(999_999_999_999_999_999_i64))),
            ("9223372036854775807", Some(Number::from(i64::MAX))),
            ("9223372036854775808", Some(Number::from(1_u64 << 63))),
            ("12.5", Number::from_f64(12.5)),
            ("-0", Number::from_f64(-0.0)),
            ("1e3", Number::from_f64(1000.0)),
        ] {
            assert!(want.is_some());
            assert_eq!(of(text), want, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn any_text_as_serde_json(text in "([\\[\\]{}:, ]|\"[a-zé\\\\\"\n/u0d8]{0,70}\"|-?[0-9.eE+]{1,5}|true|null|\\\\u[0-9a-f]{4}){0,12}") {
            let (ours, theirs) = taken(&text);
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn strings_of_any_length_end_where_serde_json_ends_them(before in " {0,70}", text in "\\PC{0,200}") {
            let json = format!("{before}{}", serde_json::Value::from(text.as_str()));
            let (mut marks, mut kept) = (Marks::new(), String::new());
            let mut cursor = Cursor::new(&json, &mut marks);
            let read = cursor.string(|escaped| {
                kept = escaped.to_owned();
                ""
            });
            let read = read.ok().map(|read| if read.is_empty() { kept.as_str() } else { read });
            prop_assert_eq!(read, Some(text.as_str()));
            prop_assert!(cursor.end().is_ok());
        }

        #[test]
        fn marks_stand_where_a_string_has_to_be_looked_at(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut marks = vec![7; 3];
            mark(&text, &mut marks);
            prop_assert_eq!(marks.len(), text.len() / BLOCK + 1);
            for at in 0..marks.len() * BLOCK {
                let want = text.get(at).is_none_or(|b| *b == b'"' || *b == b'\\' || *b < 0x20);
                prop_assert_eq!(marks[at / BLOCK] >> (at % BLOCK) & 1 == 1, want, "{}", at);
            }
        }
    }
}
