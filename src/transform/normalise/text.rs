//! What the field rules share: white space, punctuation, lower case, Unicode form, and the test for values that are hashes already.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Why a field is not sent. Shape: closed; the codes are metric labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum DropReason {
    /// Nothing is left once the rule is applied.
    Empty,
    /// An MD5 digest: it cannot become SHA-256, and hashing it again matches nobody.
    Md5,
    /// Not one local part, one `@` and a domain with a dot.
    NotAnEmail,
    /// Letters, an unknown calling code, or a length that code does not have.
    NotAPhone,
    /// A national number (leading zero) in a row that names no country.
    NoCountryHint,
    /// Neither male nor female in the four words that are understood.
    NotAGender,
    /// Not a calendar date between 1900 and today.
    BadDate,
    /// Not an ISO 3166-1 country.
    NotACountry,
    /// A postal code of one character.
    TooShort,
}

impl DropReason {
    /// Every reason, in the order of declaration.
    pub const ALL: [DropReason; 9] = [
        DropReason::Empty,
        DropReason::Md5,
        DropReason::NotAnEmail,
        DropReason::NotAPhone,
        DropReason::NoCountryHint,
        DropReason::NotAGender,
        DropReason::BadDate,
        DropReason::NotACountry,
        DropReason::TooShort,
    ];

    /// The stable code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::Empty => "empty",
            DropReason::Md5 => "md5",
            DropReason::NotAnEmail => "not_an_email",
            DropReason::NotAPhone => "not_a_phone",
            DropReason::NoCountryHint => "no_country_hint",
            DropReason::NotAGender => "not_a_gender",
            DropReason::BadDate => "bad_date",
            DropReason::NotACountry => "not_a_country",
            DropReason::TooShort => "too_short",
        }
    }
}

/// ASCII white space as Unicode's White_Space has it: vertical tab included, unlike [`u8::is_ascii_whitespace`].
pub(super) const SPACE: u8 = 1;
/// The punctuation `P` of rule 1.5.
pub(super) const PUNCTUATION: u8 = 2;
/// `0` to `9`.
pub(super) const DIGIT: u8 = 4;
/// `A` to `Z`, `a` to `z`.
pub(super) const LETTER: u8 = 8;
/// Control characters that are not white space.
pub(super) const CONTROL: u8 = 16;

/// What kind of ASCII character each byte is; bytes above 127 are of no kind.
pub(super) static CLASS: [u8; 256] = {
    let mut class = [0u8; 256];
    let mut byte = 0u8;
    while byte < 128 {
        class[byte as usize] = match byte {
            b'\t'..=b'\r' | b' ' => SPACE,
            b'0'..=b'9' => DIGIT,
            b'A'..=b'Z' | b'a'..=b'z' => LETTER,
            b'!'..=b'/' | b':'..=b'@' | b'['..=b'`' | b'{'..=b'~' => PUNCTUATION,
            _ => CONTROL,
        };
        byte += 1;
    }
    class
};

/// Whether `c` is in `P`. Source: destinations.md 1.5; typographic quotes and dashes are not.
pub(super) fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
}

/// Without Unicode White_Space at both ends. Source: destinations.md 1.3; U+200B and U+FEFF stay.
#[inline]
pub(in crate::transform) fn trim(input: &str) -> &str {
    let solid = |b: Option<&u8>| b.is_some_and(|&b| b < 128 && CLASS[usize::from(b)] & SPACE == 0);
    let bytes = input.as_bytes();
    if bytes.is_empty() || solid(bytes.first()) && solid(bytes.last()) { input } else { input.trim_matches(char::is_whitespace) }
}

/// Canonical composition, borrowed when the quick check says there is nothing to do. Source: destinations.md 1.2.
pub(super) fn nfc(input: &str) -> Cow<'_, str> {
    // No character below U+0300 composes with its neighbour, and those alone have no byte from 0xCC on.
    let western = !input.bytes().fold(false, |high, b| high | (b >= 0xCC));
    if western || is_nfc_quick(input.chars()) == IsNormalized::Yes { Cow::Borrowed(input) } else { Cow::Owned(input.nfc().collect()) }
}

/// ASCII fast path: appends what has none of the classes in `drop`, in lower case. Shape: `input` is ASCII.
pub(super) fn push_ascii_lower(input: &str, drop: u8, out: &mut Vec<u8>) {
    let start = out.len();
    if drop == 0 {
        out.extend_from_slice(input.as_bytes());
        out[start..].make_ascii_lowercase();
        return;
    }
    out.resize(start + input.len(), 0);
    let mut kept = 0;
    let appended = &mut out[start..];
    for byte in input.bytes() {
        appended[kept] = byte.to_ascii_lowercase();
        kept += usize::from(CLASS[usize::from(byte)] & drop == 0);
    }
    out.truncate(start + kept);
}

/// Moves the bytes to keep to the front without a branch per byte. Shape: returns how many they are.
pub(super) fn retain(bytes: &mut [u8], keep: impl Fn(u8) -> bool) -> usize {
    let mut kept = 0;
    for read in 0..bytes.len() {
        let byte = bytes[read];
        bytes[kept] = byte;
        kept += usize::from(keep(byte));
    }
    kept
}

/// The Unicode way: NFC, trim, full lower case, then only what `keep` keeps, trimmed. NFC once more at the end, because lower case
/// (`J̌` → `ǰ`) and a removed character between a letter and its accent can leave text that composes.
pub(super) fn push_unicode_lower(input: &str, keep: impl Fn(char) -> bool, out: &mut Vec<u8>) {
    let composed = nfc(input);
    let text = trim(&composed);
    let start = out.len();
    out.reserve(text.len());
    let mut push = |c: char| {
        if keep(c) {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    };
    // The one letter whose lower case depends on its place: sigma at a word's end.
    if text.contains('Σ') {
        text.to_lowercase().chars().for_each(&mut push);
    } else {
        text.chars().flat_map(char::to_lowercase).for_each(&mut push);
    }
    let appended = std::str::from_utf8(&out[start..]).unwrap_or("");
    let finished = nfc(trim(appended));
    if finished.len() != appended.len() || matches!(finished, Cow::Owned(_)) {
        let finished = finished.into_owned();
        out.truncate(start);
        out.extend_from_slice(finished.as_bytes());
    }
}

/// NFC and trim only.
pub(super) fn push_trimmed(input: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(trim(&nfc(input)).as_bytes());
}

/// What a text is that looks like a digest.
pub(super) enum Digest {
    /// 64 hex characters, appended in lower case.
    Sha256,
    /// 32 hex characters.
    Md5,
}

/// Tells a digest from ordinary text; 63 or 65 hex characters, base64 and suffixed digests are ordinary. Source: destinations.md 1.6.
pub(super) fn digest(input: &str, out: &mut Vec<u8>) -> Option<Digest> {
    if input.len() < 32 {
        return None;
    }
    let trimmed = trim(input).as_bytes();
    if !matches!(trimmed.len(), 32 | 64) || !trimmed.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    if trimmed.len() == 32 {
        return Some(Digest::Md5);
    }
    out.extend(trimmed.iter().map(u8::to_ascii_lowercase));
    Some(Digest::Sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_agree_with_the_character_predicates() {
        for byte in 0..=255u8 {
            let c = char::from(byte);
            let class = CLASS[usize::from(byte)];
            assert_eq!(class & SPACE != 0, byte < 128 && c.is_whitespace(), "{byte}");
            assert_eq!(class & PUNCTUATION != 0, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~".contains(c), "{byte}");
            assert_eq!(class & PUNCTUATION != 0, is_punctuation(c), "{byte}");
            assert_eq!(class & DIGIT != 0, c.is_ascii_digit(), "{byte}");
            assert_eq!(class & LETTER != 0, c.is_ascii_alphabetic(), "{byte}");
            assert_eq!(class.count_ones(), u32::from(byte < 128), "{byte}");
        }
    }

    #[test]
    fn unicode_white_space_is_trimmed_and_look_alikes_stay() {
        assert_eq!(trim("\u{a0}\u{3000} x\u{85}"), "x");
        assert_eq!(trim("\u{200b}x\u{feff}"), "\u{200b}x\u{feff}");
    }

    #[test]
    fn codes_are_distinct() {
        let codes: std::collections::HashSet<_> = DropReason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(codes.len(), DropReason::ALL.len());
    }
}
