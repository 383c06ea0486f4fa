//! Phone numbers: E.164 by libphonenumber's rules, with a fast path for plain numbers that must agree with the library (rule 1.8).
//!
//! The library is `rlibphonenumber`, a port that agrees with Google's on every number tried but for the age of the metadata; the older
//! `phonenumber` crate differs in how it strips prefixes. Its trace log quotes numbers, so `Cargo.toml` compiles `trace` of `log` out.

use std::borrow::Cow;

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, Region};
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use super::country::Country;
use super::phone_plan;
use super::text::{self, DropReason};

/// Digits of an E.164 number, calling code included. Source: ITU-T E.164.
pub(super) const DIGITS_MAX: usize = 15;

/// Digits of an extension that is cut. Source: destinations.md 1.8.
const EXTENSION_DIGITS_MAX: usize = 7;

/// Longest text that is read as a phone number; the library reads no more either.
const TEXT_BYTES_MAX: usize = 250;

/// Longest text of which the digits of other scripts are looked for: each is four bytes at most, and may stand for one.
const INPUT_BYTES_MAX: usize = 4 * TEXT_BYTES_MAX;

/// Appends the number as `+` and 7 to 15 digits. Source: destinations.md 1.8.
pub(super) fn e164(input: &str, country: Option<Country>, out: &mut Vec<u8>) -> Result<(), DropReason> {
    match phone_plan::plain(input, country, out) {
        Some(decided) => decided,
        None => by_library(input, country, out),
    }
}

/// Appends the number as digits only, calling code first. Source: destinations.md §3 ph.
pub(super) fn digits(input: &str, country: Option<Country>, out: &mut Vec<u8>) -> Result<(), DropReason> {
    let start = out.len();
    e164(input, country, out)?;
    out.remove(start);
    Ok(())
}

/// Rule 1.8 step by step.
pub(super) fn by_library(input: &str, country: Option<Country>, out: &mut Vec<u8>) -> Result<(), DropReason> {
    let input = text::trim(input);
    if input.len() > INPUT_BYTES_MAX {
        return Err(DropReason::NotAPhone);
    }
    let western = western_digits(input);
    let mut number = text::trim(&western);
    if number.is_empty() {
        return Err(DropReason::Empty);
    }
    if number.len() > TEXT_BYTES_MAX {
        return Err(DropReason::NotAPhone);
    }
    if number.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("tel:")) {
        number = &number[4..];
    }
    number = without_extension(number);
    if number.chars().any(char::is_alphabetic) {
        return Err(DropReason::NotAPhone);
    }
    let found = parse(number, country)?;
    out.extend_from_slice(found.as_bytes());
    Ok(())
}

/// Compatibility forms composed (full-width digits and plus signs), then the decimal digits of every script as `0` to `9`.
fn western_digits(input: &str) -> Cow<'_, str> {
    if input.is_ascii() {
        return Cow::Borrowed(input);
    }
    let is_digit = |c: char| c.general_category() == GeneralCategory::DecimalNumber;
    // Unicode encodes each script's ten digits in one ascending run, so the value is the distance from the run's beginning.
    let value = |c: char| (1..10).take_while(|back| char::from_u32(c as u32 - back).is_some_and(is_digit)).count() as u8;
    Cow::Owned(input.nfkc().map(|c| if !c.is_ascii() && is_digit(c) { char::from(b'0' + value(c)) } else { c }).collect())
}

/// Cuts `;ext=7`, `ext 7`, `ext. 7`, `x7` or `#7` from the end.
fn without_extension(number: &str) -> &str {
    let before = number.trim_end_matches(|c: char| c.is_ascii_digit());
    if !(1..=EXTENSION_DIGITS_MAX).contains(&(number.len() - before.len())) {
        return number;
    }
    let before = before.trim_end_matches(char::is_whitespace);
    for label in [";ext=", "ext.", "ext", "x", "#"] {
        let at = before.len().wrapping_sub(label.len());
        if before.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(label)) {
            return &before[..at];
        }
    }
    number
}

/// Steps 2 to 5: who says which country the number belongs to, then the library.
fn parse(number: &str, country: Option<Country>) -> Result<String, DropReason> {
    let significant = |c: char| c == '+' || c.is_ascii_digit();
    let start = number.find(significant).ok_or(DropReason::NotAPhone)?;
    let number = &number[start..];
    if number.starts_with('+') {
        return stable(number, None);
    }
    if let Some(country) = country {
        let region: Region = country.as_str().parse().map_err(|_| DropReason::NotAPhone)?;
        return stable(number, Some(region));
    }
    match second_digit_after_zero(number) {
        None => stable(&format!("+{number}"), None),
        Some(Some(at)) => stable(&format!("+{}", &number[at + 1..]), None),
        Some(None) => Err(DropReason::NoCountryHint),
    }
}

/// For a number that begins with zero: where the second zero of its international prefix stands, if that is what it begins with.
fn second_digit_after_zero(number: &str) -> Option<Option<usize>> {
    let rest = number.strip_prefix('0')?;
    let second = rest.find(|c: char| c.is_ascii_digit());
    Some(second.filter(|&at| rest.as_bytes().get(at) == Some(&b'0')).map(|at| at + 1))
}

/// The library's answer, asked again until it stays: one pass takes one trunk zero, and a normalised number must be its own normal form.
fn stable(number: &str, region: Option<Region>) -> Result<String, DropReason> {
    let mut found = possible(number, region)?;
    for _ in 0..DIGITS_MAX {
        let again = possible(&found, None)?;
        if again == found {
            return Ok(found);
        }
        found = again;
    }
    Err(DropReason::NotAPhone)
}

/// E.164 if the library says that a number of this calling code can have this length.
fn possible(number: &str, region: Option<Region>) -> Result<String, DropReason> {
    let parsed = PHONE_NUMBER_UTIL.parse(number, region).map_err(|_| DropReason::NotAPhone)?;
    if !PHONE_NUMBER_UTIL.is_possible_number(&parsed) {
        return Err(DropReason::NotAPhone);
    }
    let formatted = PHONE_NUMBER_UTIL.format(&parsed, PhoneNumberFormat::E164);
    let digits = formatted.strip_prefix('+').ok_or(DropReason::NotAPhone)?;
    if digits.len() > DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DropReason::NotAPhone);
    }
    Ok(formatted.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::country::country;
    use super::*;

    fn of(input: &str, hint: &str) -> Result<String, DropReason> {
        let mut out = b"+b".to_vec();
        e164(input, country(hint), &mut out).map(|()| String::from_utf8(out[2..].to_vec()).expect("text"))
    }

    #[test]
    fn numbers_by_country() {
        for (input, hint, expected) in [
            ("+44 (0)113 496 0987", "", "+441134960987"),
            ("(+44) 0113 496 0987", "", "+441134960987"),
            ("+44-113-496-0987", "US", "+441134960987"),
            ("06 12 34 56 78", "FR", "+33612345678"),
            ("0033 6 12 34 56 78", "FR", "+33612345678"),
            ("0033 6 12 34 56 78", "", "+33612345678"),
            ("33612345678", "", "+33612345678"),
            ("(650) 555-1212", "US", "+16505551212"),
            ("16505551212", "US", "+16505551212"),
            ("1-650-555-1212", "US", "+16505551212"),
            ("011 44 113 496 0987", "US", "+441134960987"),
            ("0011 44 113 496 0987", "AU", "+441134960987"),
            ("8 (912) 345-67-89", "RU", "+79123456789"),
            ("612 34 56 78", "ES", "+34612345678"),
            ("+39 06 6982 1234", "", "+390669821234"),
            ("06 6982 1234", "IT", "+390669821234"),
            ("tel:+44-113-496-0987", "", "+441134960987"),
            ("TEL: +441134960987", "", "+441134960987"),
            ("+1 650 555 1212 ext. 7", "", "+16505551212"),
            ("+16505551212;ext=7", "", "+16505551212"),
            ("6505551212x1234", "US", "+16505551212"),
            ("6505551212 X 12", "US", "+16505551212"),
            ("650.555.1212#7", "US", "+16505551212"),
            ("+1 650 555 1212 Ext 7", "", "+16505551212"),
            ("＋４４ １１３ ４９６ ０９８７", "", "+441134960987"),
            ("٠٦١٢٣٤٥٦٧٨", "FR", "+33612345678"),
            ("+44\u{a0}113\u{2011}496\u{2011}0987", "", "+441134960987"),
            ("+49 0030 123456", "", "+4930123456"),
        ] {
            assert_eq!(of(input, hint).as_deref(), Ok(expected), "{input} {hint}");
        }
    }

    #[test]
    fn what_cannot_be_a_number_is_dropped() {
        for (input, hint, why) in [
            ("0612345678", "", DropReason::NoCountryHint),
            ("(0)612345678", "", DropReason::NoCountryHint),
            ("1-800-FLOWERS", "US", DropReason::NotAPhone),
            ("+44 113 496 0987 extension 7", "", DropReason::NotAPhone),
            ("+999 123456789", "", DropReason::NotAPhone),
            ("+0044 113 496 0987", "", DropReason::NotAPhone),
            ("+44 113", "", DropReason::NotAPhone),
            ("+1 650 555 12123", "", DropReason::NotAPhone),
            ("+49 1234567890123456", "", DropReason::NotAPhone),
            ("0612345678", "AQ", DropReason::NotAPhone),
            ("+", "", DropReason::NotAPhone),
            ("()", "US", DropReason::NotAPhone),
            (" ", "US", DropReason::Empty),
            ("tel:", "US", DropReason::NotAPhone),
            ("jane@example.com", "US", DropReason::NotAPhone),
        ] {
            assert_eq!(of(input, hint), Err(why), "{input} {hint}");
        }
    }

    #[test]
    fn a_megabyte_is_no_number_and_is_not_read_as_one() {
        for piece in ["1", "+1 650 555 1212 ", "\u{ff11}", "\u{1d7ce}", "e\u{301}", "\u{fdfa}"] {
            assert_eq!(of(&piece.repeat((1 << 20) / piece.len()), "US"), Err(DropReason::NotAPhone), "{piece}");
        }
        // As many bytes as a number in other digits may have.
        let wide: String =
            "+16505551212".chars().map(|c| if c == '+' { '\u{ff0b}' } else { char::from_u32(c as u32 - 48 + 0x1d7ce).unwrap() }).collect();
        assert_eq!(of(&format!("{}{wide}", " ".repeat(1 << 20)), "").as_deref(), Ok("+16505551212"));
    }

    const HINTS: [&str; 24] = [
        "", "US", "GB", "FR", "DE", "IT", "RU", "AU", "BR", "AR", "MX", "IN", "JP", "CN", "ES", "NO", "SM", "KZ", "JE", "BJ", "UY", "CI",
        "HU", "AQ",
    ];

    fn agree(input: &str, hint: &str) -> Result<(), TestCaseError> {
        let (mut fast, mut slow) = (Vec::new(), Vec::new());
        let Some(decided) = phone_plan::plain(input, country(hint), &mut fast) else { return Ok(()) };
        prop_assert_eq!(decided, by_library(input, country(hint), &mut slow), "{} {}", input, hint);
        prop_assert_eq!(String::from_utf8(fast), String::from_utf8(slow));
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn the_fast_path_is_the_library(input in r"\+?\(?[0-9]{1,4}[ .()-]?[0-9]{2,6}[ .()-]{0,2}[0-9]{2,8}", hint in proptest::sample::select(&HINTS[..])) {
            agree(&input, hint)?;
        }

        #[test]
        fn the_fast_path_is_the_library_in_every_plan(code in 1u16..1000, rest in "[0-9]{4,12}", plus in "(\\+|00|)", region in "[A-Z]{2}") {
            agree(&format!("{plus}{code}{rest}"), &region)?;
            agree(&format!("{plus}{code}{rest}"), "")?;
            agree(&rest, &region)?;
        }

        #[test]
        fn any_text_gives_a_number_that_is_its_own_normal_form(input in "(\\PC{0,24}|[+0-9() xX#;.\u{660}-\u{669}\u{ff10}-\u{ff19}\u{ff0b}-]{0,24}|.{0,12})", hint in proptest::sample::select(&HINTS[..])) {
            if let Ok(number) = of(&input, hint) {
                prop_assert!(number.starts_with('+') && number.len() <= DIGITS_MAX + 1);
                prop_assert!(number[1..].bytes().all(|b| b.is_ascii_digit()));
                prop_assert_eq!(of(&number, hint), Ok(number.clone()));
                prop_assert_eq!(of(&number[1..], ""), Ok(number));
            }
        }
    }

    #[test]
    fn common_forms_take_the_fast_path() {
        for (input, hint) in [
            ("+44 (0)113 496 0987", ""),
            ("+16505551212", ""),
            ("(650) 555-1212", "US"),
            ("16505551212", "US"),
            ("06 12 34 56 78", "FR"),
            ("0171 1234567", "DE"),
            ("+49 171 1234567", ""),
            ("33612345678", ""),
            ("0612345678", ""),
        ] {
            assert!(phone_plan::plain(input, country(hint), &mut Vec::new()).is_some(), "{input} {hint}");
        }
    }
}
