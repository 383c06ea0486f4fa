//! Countries: an ISO 3166-1 country from whatever the event says it is (rule 1.9).

use std::collections::HashMap;
use std::sync::OnceLock;

use super::country_names::COUNTRIES;
use super::text::{self, DropReason};

/// An ISO 3166-1 alpha-2 code that is assigned. Shape: two upper-case ASCII letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Country([u8; 2]);

impl Country {
    /// The United States, whose states and ZIP codes have rules of their own.
    pub const US: Country = Country(*b"US");
    /// Canada, whose provinces have a rule of their own.
    pub const CA: Country = Country(*b"CA");

    /// The two upper-case letters.
    #[must_use]
    pub fn as_bytes(self) -> [u8; 2] {
        self.0
    }

    /// The code as text, in upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("")
    }
}

/// Longest text that may be a country: the longest name is under 70 letters, a little more leaves room for spaces and punctuation.
const LONGEST_BYTES: usize = 160;

/// The country that `input` names. Shape: alpha-2, alpha-3 or an English name (common, short, official), compared without case, spaces,
/// punctuation and a leading "the"; native names, regions and numbers are none. Source: destinations.md 1.9.
#[must_use]
pub fn country(input: &str) -> Option<Country> {
    if let [a, b] = *input.as_bytes()
        && a.is_ascii_alphabetic()
        && b.is_ascii_alphabetic()
    {
        return by_letters(a.to_ascii_uppercase(), b.to_ascii_uppercase());
    }
    if input.len() > LONGEST_BYTES {
        return None;
    }
    if !input.is_ascii() {
        return by_name(&key(input));
    }
    let mut buffer = [0u8; LONGEST_BYTES];
    let buffer = buffer.get_mut(..input.len())?;
    buffer.copy_from_slice(input.as_bytes());
    buffer.make_ascii_lowercase();
    let kept = text::retain(buffer, |b| text::CLASS[usize::from(b)] & (text::SPACE | text::PUNCTUATION) == 0);
    by_name(std::str::from_utf8(&buffer[..kept]).ok()?)
}

/// Rule 1.9 in lower case.
pub(super) fn lower(input: &str, out: &mut Vec<u8>) -> Result<(), DropReason> {
    let found = code(input)?;
    out.extend(found.0.iter().map(u8::to_ascii_lowercase));
    Ok(())
}

/// Rule 1.9 in upper case.
pub(super) fn upper(input: &str, out: &mut Vec<u8>) -> Result<(), DropReason> {
    let found = code(input)?;
    out.extend_from_slice(&found.0);
    Ok(())
}

fn code(input: &str) -> Result<Country, DropReason> {
    match country(input) {
        Some(found) => Ok(found),
        None if text::trim(input).is_empty() => Err(DropReason::Empty),
        None => Err(DropReason::NotACountry),
    }
}

/// Alpha-2 by index, so that the commonest input costs one load. `uk` is an alias, not a code.
fn by_letters(a: u8, b: u8) -> Option<Country> {
    static ASSIGNED: OnceLock<[u32; 26]> = OnceLock::new();
    let assigned = ASSIGNED.get_or_init(|| {
        let mut rows = [0u32; 26];
        for (alpha2, _, _) in COUNTRIES {
            if let [a, b] = *alpha2.as_bytes() {
                rows[usize::from(a - b'A')] |= 1 << (b - b'A');
            }
        }
        rows
    });
    match assigned[usize::from(a - b'A')] & (1 << (b - b'A')) {
        0 if [a, b] == *b"UK" => Some(Country(*b"GB")),
        0 => None,
        _ => Some(Country([a, b])),
    }
}

fn by_name(key: &str) -> Option<Country> {
    static NAMES: OnceLock<HashMap<String, Country>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let mut names = HashMap::new();
        for (alpha2, alpha3, english) in COUNTRIES {
            let Ok(code) = <[u8; 2]>::try_from(alpha2.as_bytes()) else { continue };
            for name in english.split('|').chain([alpha2, alpha3]) {
                names.insert(self::key(name), Country(code));
            }
        }
        names
    });
    names.get(key).or_else(|| names.get(key.strip_prefix("the")?)).copied()
}

/// What two spellings of one name share: lower case, no white space, no punctuation (typographic quotes and dashes included).
fn key(name: &str) -> String {
    let typographic = |c: char| matches!(c, '\u{2010}'..='\u{2015}' | '\u{2018}'..='\u{201f}');
    text::nfc(name).to_lowercase().chars().filter(|&c| !c.is_whitespace() && !text::is_punctuation(c) && !typographic(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(input: &str) -> Option<String> {
        country(input).map(|c| c.as_str().to_owned())
    }

    #[test]
    fn codes_names_and_aliases_are_countries() {
        for (input, expected) in [
            ("us", "US"),
            ("US", "US"),
            (" us ", "US"),
            ("usa", "US"),
            ("U.S.A.", "US"),
            ("United States", "US"),
            ("the united states of america", "US"),
            ("uk", "GB"),
            ("UK", "GB"),
            ("u.k.", "GB"),
            ("Great Britain", "GB"),
            ("england", "GB"),
            ("GBR", "GB"),
            ("Germany", "DE"),
            ("Federal Republic of Germany", "DE"),
            ("deu", "DE"),
            ("Côte d’Ivoire", "CI"),
            ("Cote d'Ivoire", "CI"),
            ("COTE DIVOIRE", "CI"),
            ("Korea, Republic of", "KR"),
            ("South Korea", "KR"),
            ("Bolivia, Plurinational State of", "BO"),
            ("Bolivia", "BO"),
            ("The Netherlands", "NL"),
            ("Russian Federation", "RU"),
            ("Russia", "RU"),
            ("Viet Nam", "VN"),
            ("Vietnam", "VN"),
            ("Türkiye", "TR"),
            ("Tu\u{308}rkiye", "TR"),
            ("Turkey", "TR"),
            ("Macedonia", "MK"),
            ("Swaziland", "SZ"),
        ] {
            assert_eq!(code_of(input).as_deref(), Some(expected), "{input}");
        }
    }

    #[test]
    fn native_names_regions_and_numbers_are_none() {
        for input in
            ["Deutschland", "España", "EU", "us-CA", "840", "XX", "", " ", "Scotland", "Wakanda", "zz", "日本", "the", "Virgin Islands"]
        {
            assert_eq!(code_of(input), None, "{input}");
        }
    }

    #[test]
    fn the_table_agrees_with_a_maintained_one() {
        assert!(COUNTRIES.is_sorted_by_key(|row| row.0));
        let mut seen: HashMap<String, &str> = HashMap::new();
        for (alpha2, alpha3, english) in COUNTRIES {
            let theirs = rust_iso3166::from_alpha2(alpha2).expect("assigned");
            assert_eq!((theirs.alpha2, theirs.alpha3), (alpha2, alpha3));
            assert_eq!(code_of(theirs.name).as_deref(), Some(alpha2));
            assert_eq!(code_of(&alpha2.to_lowercase()).as_deref(), Some(alpha2));
            assert_eq!(code_of(alpha3).as_deref(), Some(alpha2));
            for name in english.split('|') {
                assert_eq!(code_of(name).as_deref(), Some(alpha2));
                assert!(seen.insert(key(name), alpha2).is_none(), "{name} twice");
            }
        }
        assert_eq!(rust_iso3166::ALL.len(), COUNTRIES.len());
    }
}
