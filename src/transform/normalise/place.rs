//! Addresses: city, state and postal code, by each destination's rule.

use super::country::Country;
use super::name;
use super::text::{self, DIGIT, DropReason, PUNCTUATION, SPACE};

/// Lower case, no white space, punctuation or ASCII digits; letters of every script stay. Source: destinations.md §3 ct (D11).
pub(super) fn city_meta(input: &str, out: &mut Vec<u8>) -> Result<(), DropReason> {
    if input.is_ascii() {
        text::push_ascii_lower(input, SPACE | PUNCTUATION | DIGIT, out);
    } else {
        text::push_unicode_lower(input, |c| !c.is_whitespace() && !text::is_punctuation(c) && !c.is_ascii_digit(), out);
    }
    Ok(())
}

/// Lower case, no white space, no punctuation: a city or state in clear. Source: destinations.md §5 (D27).
pub(super) fn plain_tiktok(input: &str, out: &mut Vec<u8>) -> Result<(), DropReason> {
    name::joined(input, out)
}

/// Trim only: what Google Ads gets in clear. Source: destinations.md §4.
pub(super) fn trimmed(input: &str, out: &mut Vec<u8>) -> Result<(), DropReason> {
    text::push_trimmed(input, out);
    Ok(())
}

/// As a city, then names of states (US, or no country) and provinces (CA) become their two letters. Source: destinations.md §3 st (D12).
pub(super) fn state_meta(input: &str, country: Option<Country>, out: &mut Vec<u8>) -> Result<(), DropReason> {
    let start = out.len();
    city_meta(input, out)?;
    let table: &[(&str, &str)] = match country {
        None | Some(Country::US) => &US_STATES,
        Some(Country::CA) => &CA_PROVINCES,
        Some(_) => return Ok(()),
    };
    let cleaned = &out[start..];
    if cleaned.len() > 2
        && let Ok(at) = table.binary_search_by_key(&cleaned, |(name, _)| name.as_bytes())
    {
        let letters = table[at].1;
        out.truncate(start);
        out.extend_from_slice(letters.as_bytes());
    }
    Ok(())
}

/// Fewest characters of a postal code. Source: destinations.md §3 zp.
const POSTAL_CODE_CHARS_MIN: usize = 2;

/// Characters of a US ZIP code without its extension.
const ZIP_CHARS: usize = 5;

/// Lower case, no white space, no country prefix, cut at the dash or after five in the US. Source: destinations.md §3 zp (D13).
pub(super) fn zip_meta(input: &str, country: Option<Country>, out: &mut Vec<u8>) -> Result<(), DropReason> {
    let start = out.len();
    if input.is_ascii() {
        text::push_ascii_lower(input, SPACE, out);
    } else {
        text::push_unicode_lower(input, |c| !c.is_whitespace(), out);
    }
    if out.len() == start {
        return Err(DropReason::Empty);
    }
    let prefix = country_prefix(&out[start..]);
    out.drain(start..start + prefix);
    let code = &out[start..];
    let kept = if country == Some(Country::US) { first_chars(code, ZIP_CHARS) } else { memchr::memchr(b'-', code).unwrap_or(code.len()) };
    out.truncate(start + kept);
    if first_chars(&out[start..], POSTAL_CODE_CHARS_MIN - 1) == kept { Err(DropReason::TooShort) } else { Ok(()) }
}

/// Bytes of a prefix such as `f-` or `se-` that stands before a digit.
fn country_prefix(code: &[u8]) -> usize {
    match code {
        [a, b'-', d, ..] if a.is_ascii_lowercase() && d.is_ascii_digit() => 2,
        [a, b, b'-', d, ..] if a.is_ascii_lowercase() && b.is_ascii_lowercase() && d.is_ascii_digit() => 3,
        _ => 0,
    }
}

/// Bytes of the first `chars` characters of UTF-8 text.
fn first_chars(text: &[u8], chars: usize) -> usize {
    text.iter().enumerate().filter(|(_, b)| **b & 0xC0 != 0x80).nth(chars).map_or(text.len(), |(at, _)| at)
}

/// Lower case, no white space, no dashes. Source: destinations.md §5 zip_code (D26).
pub(super) fn zip_tiktok(input: &str, out: &mut Vec<u8>) -> Result<(), DropReason> {
    if input.is_ascii() {
        let start = out.len();
        text::push_ascii_lower(input, SPACE, out);
        let kept = text::retain(&mut out[start..], |b| b != b'-');
        out.truncate(start + kept);
    } else {
        text::push_unicode_lower(input, |c| c != '-' && !c.is_whitespace(), out);
    }
    Ok(())
}

/// Without `.` and `~`, trimmed, case kept. Source: destinations.md §6 postal_code.
pub(super) fn postal_ga4(input: &str, out: &mut Vec<u8>) -> Result<(), DropReason> {
    if input.is_ascii() && !input.contains(['.', '~']) {
        out.extend_from_slice(text::trim(input).as_bytes());
        return Ok(());
    }
    let composed = text::nfc(input);
    let kept: String = composed.chars().filter(|c| !matches!(c, '.' | '~')).collect();
    out.extend_from_slice(text::nfc(text::trim(&kept)).as_bytes());
    Ok(())
}

/// US states, the District of Columbia and the territories, as [`city_meta`] leaves their names. Source: ANSI INCITS 38.
const US_STATES: [(&str, &str); 58] = [
    ("alabama", "al"),
    ("alaska", "ak"),
    ("americansamoa", "as"),
    ("arizona", "az"),
    ("arkansas", "ar"),
    ("california", "ca"),
    ("colorado", "co"),
    ("connecticut", "ct"),
    ("delaware", "de"),
    ("districtofcolumbia", "dc"),
    ("florida", "fl"),
    ("georgia", "ga"),
    ("guam", "gu"),
    ("hawaii", "hi"),
    ("idaho", "id"),
    ("illinois", "il"),
    ("indiana", "in"),
    ("iowa", "ia"),
    ("kansas", "ks"),
    ("kentucky", "ky"),
    ("louisiana", "la"),
    ("maine", "me"),
    ("maryland", "md"),
    ("massachusetts", "ma"),
    ("michigan", "mi"),
    ("minnesota", "mn"),
    ("mississippi", "ms"),
    ("missouri", "mo"),
    ("montana", "mt"),
    ("nebraska", "ne"),
    ("nevada", "nv"),
    ("newhampshire", "nh"),
    ("newjersey", "nj"),
    ("newmexico", "nm"),
    ("newyork", "ny"),
    ("northcarolina", "nc"),
    ("northdakota", "nd"),
    ("northernmarianaislands", "mp"),
    ("ohio", "oh"),
    ("oklahoma", "ok"),
    ("oregon", "or"),
    ("pennsylvania", "pa"),
    ("puertorico", "pr"),
    ("rhodeisland", "ri"),
    ("southcarolina", "sc"),
    ("southdakota", "sd"),
    ("tennessee", "tn"),
    ("texas", "tx"),
    ("unitedstatesvirginislands", "vi"),
    ("usvirginislands", "vi"),
    ("utah", "ut"),
    ("vermont", "vt"),
    ("virginia", "va"),
    ("virginislands", "vi"),
    ("washington", "wa"),
    ("westvirginia", "wv"),
    ("wisconsin", "wi"),
    ("wyoming", "wy"),
];

/// Canadian provinces and territories, as [`city_meta`] leaves their names. Source: Canada Post.
const CA_PROVINCES: [(&str, &str); 14] = [
    ("alberta", "ab"),
    ("britishcolumbia", "bc"),
    ("manitoba", "mb"),
    ("newbrunswick", "nb"),
    ("newfoundlandandlabrador", "nl"),
    ("northwestterritories", "nt"),
    ("novascotia", "ns"),
    ("nunavut", "nu"),
    ("ontario", "on"),
    ("princeedwardisland", "pe"),
    ("quebec", "qc"),
    ("québec", "qc"),
    ("saskatchewan", "sk"),
    ("yukon", "yt"),
];

#[cfg(test)]
mod tests {
    use super::super::country::country;
    use super::*;

    fn text_of(run: impl FnOnce(&mut Vec<u8>) -> Result<(), DropReason>) -> Result<String, DropReason> {
        let mut out = b"b-4".to_vec();
        run(&mut out).map(|()| String::from_utf8(out[3..].to_vec()).expect("text"))
    }

    #[test]
    fn cities_keep_their_letters() {
        for (input, meta, tiktok) in [
            ("New York", "newyork", "newyork"),
            ("São Paulo", "sãopaulo", "sãopaulo"),
            ("Saint-Étienne", "saintétienne", "saintétienne"),
            ("東京", "東京", "東京"),
            ("Paris 75001", "paris", "paris75001"),
            ("St. John's", "stjohns", "stjohns"),
        ] {
            assert_eq!(text_of(|out| city_meta(input, out)).as_deref(), Ok(meta));
            assert_eq!(text_of(|out| plain_tiktok(input, out)).as_deref(), Ok(tiktok));
        }
        assert_eq!(text_of(|out| trimmed(" New York ", out)).as_deref(), Ok("New York"));
    }

    #[test]
    fn states_become_letters_only_where_the_country_says_so() {
        for (input, hint, expected) in [
            ("California", "US", "ca"),
            ("California", "", "ca"),
            ("CA", "US", "ca"),
            ("D.C.", "US", "dc"),
            ("District of Columbia", "", "dc"),
            ("Puerto Rico", "US", "pr"),
            ("Guam", "US", "gu"),
            ("Ontario", "CA", "on"),
            ("Québec", "CA", "qc"),
            ("Ontario", "", "ontario"),
            ("California", "CA", "california"),
            ("California", "MX", "california"),
            ("Bayern", "DE", "bayern"),
            ("New South Wales", "AU", "newsouthwales"),
        ] {
            assert_eq!(text_of(|out| state_meta(input, country(hint), out)).as_deref(), Ok(expected), "{input} {hint}");
        }
    }

    #[test]
    fn the_tables_are_sorted_for_the_search() {
        assert!(US_STATES.is_sorted() && CA_PROVINCES.is_sorted());
    }

    #[test]
    fn postal_codes_by_country() {
        for (input, hint, expected) in [
            ("94035-1234", "US", Ok("94035")),
            ("94035-1234", "", Ok("94035")),
            ("940351234", "US", Ok("94035")),
            ("940351234", "", Ok("940351234")),
            ("1229-076", "PT", Ok("1229")),
            ("M1 1AE", "GB", Ok("m11ae")),
            ("F-75001", "FR", Ok("75001")),
            ("SE-114 55", "SE", Ok("11455")),
            ("F-AB", "", Err(DropReason::TooShort)),
            ("K1A 0B1", "CA", Ok("k1a0b1")),
            ("〒100-0001", "JP", Ok("〒100")),
            ("1", "", Err(DropReason::TooShort)),
            ("-", "", Err(DropReason::TooShort)),
            ("é", "", Err(DropReason::TooShort)),
            (" ", "", Err(DropReason::Empty)),
            ("100\u{3000}0001", "JP", Ok("1000001")),
        ] {
            assert_eq!(text_of(|out| zip_meta(input, country(hint), out)).as_deref(), expected.as_deref(), "{input} {hint}");
        }
        assert_eq!(text_of(|out| zip_tiktok(" 94035-1234 ", out)).as_deref(), Ok("940351234"));
        assert_eq!(text_of(|out| zip_tiktok("M1\u{a0}1AE", out)).as_deref(), Ok("m11ae"));
        assert_eq!(text_of(|out| postal_ga4(" 94.025-1234~ ", out)).as_deref(), Ok("94025-1234"));
        assert_eq!(text_of(|out| postal_ga4("SW1A 1AA", out)).as_deref(), Ok("SW1A 1AA"));
    }
}
