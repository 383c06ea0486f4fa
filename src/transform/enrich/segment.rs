//! What in a path segment, a host label or a campaign name could be a person: emails, phones, UUIDs, long tokens.
//!
//! The tests look at the text after percent-decoding, thrice if need be (`user%2540example.com` is an email too), with the wide and the
//! Arabic-Indic digits read as digits. When in doubt they take out: a ten-digit product number is lost as `:phone`.

use crate::transform::bits::{self, is, within};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// Shortest text that can be a token. Shorter opaque ids are too many product codes.
const TOKEN_BYTES_MIN: usize = 20;
/// Digits a phone may have (E.164).
const PHONE_DIGITS_MAX: usize = 15;
/// Fewer digits than this are no phone in any writing.
const PHONE_DIGITS_MIN: usize = 7;

/// What a text was found to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Finding {
    Email,
    Phone,
    Id,
    Token,
}

impl Finding {
    const fn mark(self) -> &'static [u8] {
        match self {
            Finding::Email => b":email",
            Finding::Phone => b":phone",
            Finding::Id => b":id",
            Finding::Token => b":token",
        }
    }
}

/// Appends a path with what could be a person replaced, segment by segment. Shape: the same number of segments.
#[inline]
pub(super) fn push_path(path: &str, out: &mut Vec<u8>) {
    if is_harmless(path.as_bytes(), b'/') {
        out.extend_from_slice(path.as_bytes());
        return;
    }
    for (i, segment) in path.split('/').enumerate() {
        if i > 0 {
            out.push(b'/');
        }
        push_segment(segment, out);
    }
}

/// Appends a host in lower case with its telling labels replaced. Shape: the same number of labels, unless the whole is an email.
#[inline]
pub(super) fn push_host(host: &str, out: &mut Vec<u8>) {
    let start = out.len();
    if is_harmless(host.as_bytes(), b'.') {
        out.extend_from_slice(host.as_bytes());
    } else if host.contains('%') {
        push_segment(host, out);
    } else {
        for (i, label) in host.split('.').enumerate() {
            if i > 0 {
                out.push(b'.');
            }
            push_segment(label, out);
        }
    }
    out[start..].make_ascii_lowercase();
}

/// Appends decoded free text (a campaign name) with emails and phones inside it replaced.
pub(super) fn push_text(text: &str, out: &mut Vec<u8>) {
    if is_harmless(text.as_bytes(), b' ') {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let flat = flatten(text);
    // Found only under a further layer of encoding, or in other digits: there is no place to cut, so the whole goes.
    let hidden = (flat != text).then(|| find_email(&flat).map(|_| Finding::Email).or_else(|| find_phone(&flat).map(|_| Finding::Phone)));
    if let Some(finding) = hidden.flatten() {
        out.extend_from_slice(finding.mark());
        return;
    }
    push_replacing(
        text,
        find_email,
        Finding::Email,
        &mut |rest, out| {
            push_replacing(rest, find_phone, Finding::Phone, &mut |plain, out| out.extend_from_slice(plain.as_bytes()), out);
        },
        out,
    );
}

type Push<'a> = &'a mut dyn FnMut(&str, &mut Vec<u8>);

/// Appends `text` with each hit replaced by its mark; what lies between goes to `between`.
fn push_replacing(mut text: &str, find: fn(&str) -> Option<(usize, usize)>, finding: Finding, between: Push<'_>, out: &mut Vec<u8>) {
    while let Some((from, to)) = find(text) {
        between(&text[..from], out);
        out.extend_from_slice(finding.mark());
        text = &text[to..];
    }
    between(text, out);
}

/// Whether [`push_text`] would leave a text of letters, digits, `-`, `_` and `.` as it is, at a glance.
#[inline]
pub(super) fn is_harmless_word(word: &[u8]) -> bool {
    word.len() < PHONE_DIGITS_MIN || word.len() < TOKEN_BYTES_MIN && bits::count(word, |b| within(b, b'0', b'9')) < PHONE_DIGITS_MIN
}

/// Nothing encoded, no `@`, too few digits for a phone, no part long enough for a token: nearly all real paths, hosts and campaigns.
#[inline]
fn is_harmless(text: &[u8], separator: u8) -> bool {
    bits::count(text, |b| is(b, b'@') | is(b, b'%') | within(b, 0x80, 0xff)) == 0
        && bits::count(text, |b| within(b, b'0', b'9')) < PHONE_DIGITS_MIN
        && (text.len() < TOKEN_BYTES_MIN || text.split(|&b| b == separator).all(|part| part.len() < TOKEN_BYTES_MIN))
}

fn push_segment(segment: &str, out: &mut Vec<u8>) {
    let flat = flatten(segment);
    let hidden = || (flat != segment && find_phone(&flat).is_some()).then_some(Finding::Phone);
    if let Some(finding) = of_the_whole(&flat).or_else(hidden) {
        out.extend_from_slice(finding.mark());
        return;
    }
    let start = out.len();
    push_replacing(segment, find_phone, Finding::Phone, &mut |plain, out| out.extend_from_slice(plain.as_bytes()), out);
    // What is left beside a mark may tell by itself.
    let tells = |left: &str| {
        let flat = flatten(left);
        left != segment && (of_the_whole(&flat).is_some() || find_phone(&flat).is_some())
    };
    if std::str::from_utf8(&out[start..]).is_ok_and(tells) {
        out.truncate(start);
        out.extend_from_slice(Finding::Phone.mark());
    }
}

/// What takes a segment out whole.
fn of_the_whole(flat: &str) -> Option<Finding> {
    if find_email(flat).is_some() {
        Some(Finding::Email)
    } else if holds_uuid(flat) {
        Some(Finding::Id)
    } else if is_token(flat) {
        Some(Finding::Token)
    } else {
        None
    }
}

/// The text as a reader would see it: percent-decoded until nothing changes (three times at most), digits and `@` as ASCII.
fn flatten(text: &str) -> Cow<'_, str> {
    let mut flat = Cow::Borrowed(text);
    for _ in 0..3 {
        if !flat.contains('%') {
            break;
        }
        flat = Cow::Owned(percent_decode_str(&flat).decode_utf8_lossy().into_owned());
    }
    if flat.is_ascii() || flat.chars().all(|c| plain_char(c) == c) {
        return flat;
    }
    Cow::Owned(flat.chars().map(plain_char).collect())
}

fn plain_char(c: char) -> char {
    let zeros = ['\u{660}', '\u{6f0}', '\u{966}', '\u{9e6}', '\u{e50}', '\u{ff10}'];
    let digit = zeros.iter().find_map(|&zero| (c as u32).checked_sub(zero as u32).filter(|&d| d < 10));
    match (digit, c) {
        (Some(d), _) => char::from(b'0' + d as u8),
        (None, '\u{ff20}' | '\u{fe6b}') => '@',
        (None, '\u{ff0b}') => '+',
        (None, '\u{ff0e}' | '\u{3002}') => '.',
        (None, '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ff0d}') => '-',
        (None, '\u{a0}' | '\u{3000}' | '\u{2007}' | '\u{202f}') => ' ',
        (None, c) => c,
    }
}

/// First `local@domain.tld`. Shape: byte range.
fn find_email(text: &str) -> Option<(usize, usize)> {
    let outside = |c: char| c.is_whitespace() || c.is_control() || "@,;<>()[]{}\"'`|/\\=&?:!".contains(c);
    let mut floor = 0;
    for at in memchr::memchr_iter(b'@', text.as_bytes()) {
        let from = text[floor..at].char_indices().rev().take_while(|&(_, c)| !outside(c)).last().map_or(at, |(i, _)| floor + i);
        let domain = text[at + 1..].find(outside).map_or(&text[at + 1..], |end| &text[at + 1..at + 1 + end]);
        let domain = domain.trim_end_matches('.');
        let has_dot = domain.rsplit_once('.').is_some_and(|(name, tld)| !name.is_empty() && !tld.is_empty());
        if from < at && has_dot {
            let mut end = at + 1 + domain.len();
            // `a@b.c@d.e`: what follows belongs to it, or the mark before it would read as a name.
            while text[end..].trim_start_matches('.').starts_with('@') {
                let next = text.len() - text[end..].trim_start_matches('.').len() + 1;
                end = text[next..].find(outside).map_or(text.len(), |more| next + more);
            }
            return Some((from, end));
        }
        floor = at + 1;
    }
    None
}

/// First run of digits that could be a phone: with `+` 7-15 digits, written with separators 8 or more unless dates (two phones may stand side by
/// side), bare 9-15. Shape: byte range.
fn find_phone(text: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let (end, digits) = digit_run(bytes, at);
        let separated = digits < end - at;
        let plus = at > 0 && bytes[at - 1] == b'+' || at > 1 && bytes[at - 2..at] == *b"+(";
        let min = if plus { PHONE_DIGITS_MIN } else { 9 - usize::from(separated) };
        let run = &bytes[at..end];
        if digits >= min && (separated || digits <= PHONE_DIGITS_MAX) && !(separated && (is_dates(run) || !plus && is_dated_version(run))) {
            let opening = bytes[..at].iter().rev().take_while(|b| matches!(b, b'+' | b'(')).count();
            return Some((at - opening, end));
        }
        at = end;
    }
    None
}

/// Digits and single or double separators from `from` on. Shape: end (after the last digit), number of digits.
fn digit_run(bytes: &[u8], from: usize) -> (usize, usize) {
    let (mut end, mut digits, mut gap) = (from, 0, 0);
    for (i, &b) in bytes.iter().enumerate().skip(from) {
        if b.is_ascii_digit() {
            (end, digits, gap) = (i + 1, digits + 1, 0);
        } else if matches!(b, b' ' | b'-' | b'.' | b'(' | b')' | b'/' | b'_') && gap < 2 {
            gap += 1;
        } else {
            break;
        }
    }
    (end, digits)
}

/// `2026-11-22`, `22.11.2026`, `20261122-20261130` and the like.
fn is_dates(run: &[u8]) -> bool {
    let day_month = |x: u32, y: u32| (1..=31).contains(&x) && (1..=31).contains(&y) && x.min(y) <= 12;
    let is_year = |y: u32| (1900..2100).contains(&y);
    let is_date = |a, b, c| match (number(a), number(b), number(c)) {
        (Some(a), Some(b), Some(c)) => (is_year(a) && day_month(b, c)) || (is_year(c) && day_month(a, b)),
        _ => false,
    };
    let parts: Vec<&[u8]> = run.split(|b| !b.is_ascii_digit()).collect();
    let mut rest = parts.as_slice();
    while !rest.is_empty() {
        rest = match rest {
            [day, more @ ..] if is_day(day) => more,
            [a, b, c, more @ ..] if is_date(a, b, c) => more,
            _ => return false,
        };
    }
    true
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok())
}

/// `20261122`.
fn is_day(part: &[u8]) -> bool {
    let day = number(part).map(|n| (n / 10_000, n / 100 % 100, n % 100));
    part.len() == 8 && day.is_some_and(|(y, m, d)| (1990..2050).contains(&y) && (1..=12).contains(&m) && (1..=31).contains(&d))
}

/// A release named by its day: `2.20110530`, `2.20101014.3063`, `212.20110530.20120530`.
fn is_dated_version(run: &[u8]) -> bool {
    let parts: Vec<&[u8]> = run.split(|b| *b == b'.').collect();
    let days = parts.iter().filter(|part| is_day(part)).count();
    let short = parts.iter().filter(|part| part.len() <= 4 && number(part).is_some()).count();
    days > 0 && parts.len() > 1 && days + short == parts.len()
}

/// A UUID anywhere in the text.
fn holds_uuid(text: &str) -> bool {
    text.as_bytes()
        .windows(36)
        .any(|w| w.iter().enumerate().all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { *b == b'-' } else { b.is_ascii_hexdigit() }))
}

/// An opaque value: 16 hex digits in a row, or 20 characters with letters and digits mixed other than in a readable slug.
fn is_token(text: &str) -> bool {
    let words = || text.as_bytes().split(|b| !b.is_ascii_alphanumeric());
    let is_hex = |w: &[u8]| w.len() >= 16 && w.iter().all(u8::is_ascii_hexdigit) && w.iter().any(u8::is_ascii_digit);
    if words().any(is_hex) {
        return true;
    }
    text.len() >= TOKEN_BYTES_MIN && words().any(|w| is_scrambled(w, text.len()))
}

/// Letters and digits that alternate (`k3J9x`), or capitals that do (`QWxpY2VCb29rX`), as no word, version or model name does.
fn is_scrambled(word: &[u8], of: usize) -> bool {
    let changes = |kind: fn(&u8) -> bool| word.windows(2).filter(|w| kind(&w[0]) != kind(&w[1])).count();
    let to_digit = changes(u8::is_ascii_digit);
    let to_capital = changes(u8::is_ascii_uppercase);
    let mixed = word.len() >= 6 && to_digit >= 2;
    let long = word.len() >= TOKEN_BYTES_MIN && to_digit >= 1;
    let cased = word.len() >= 10 && to_digit >= 1 && to_capital >= 3;
    let unbroken = word.len() == of && to_capital >= 6;
    mixed || long || cased || unbroken
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(push: fn(&str, &mut Vec<u8>), text: &str) -> String {
        let mut out = Vec::new();
        push(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn paths_keep_their_shape_and_lose_their_people() {
        for (path, expected) in [
            ("/", "/"),
            ("/p/512", "/p/512"),
            ("/en/shop/shoes", "/en/shop/shoes"),
            ("/users/user@example.com/edit", "/users/:email/edit"),
            ("/users/user%40example.com", "/users/:email"),
            ("/users/user%2540example.com", "/users/:email"),
            ("/u/ana%EF%BC%A0example.com", "/u/:email"),
            ("/u/mailto:ana@example.com", "/u/:email"),
            ("/@handle", "/@handle"),
            ("/call/+12125558512", "/call/:phone"),
            ("/call/%2B1%20(212)%20555-8512", "/call/:phone"),
            ("/call/2125558512", "/call/:phone"),
            ("/call/212-555-8512/now", "/call/:phone/now"),
            ("/call/2125558512-2125558513", "/call/:phone"),
            ("/call/+165055512121969-12-31T2s:59:60+25200[", "/call/:phone"),
            ("/call/+1%20650%20555%20121251212", "/call/:phone"),
            ("/sale/20261122-20261130", "/sale/20261122-20261130"),
            ("/sale/2026-11-22_2026-11-30", "/sale/2026-11-22_2026-11-30"),
            ("/call/contact-2125558512-now", "/call/contact-:phone-now"),
            ("/call/%D9%A2%D9%A1%D9%A2%D9%A5%D9%A5%D9%A5%D9%A8%D9%A5%D9%A1%D9%A2", "/call/:phone"),
            ("/o/123e4567-e89b-12d3-a456-426614174000", "/o/:id"),
            ("/o/order-123E4567-E89B-12D3-A456-426614174000", "/o/:id"),
            ("/s/5f0d1df1fc49e304", "/s/:token"),
            ("/s/4242424242424242", "/s/:token"),
            ("/s/Cj0KCQjwe4093df8432a8be5", "/s/:token"),
            ("/s/dGhpcyBpcyBhIHNlY3JldA", "/s/:token"),
            ("/s/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N", "/s/:token"),
            ("/s/abc;jsessionid=0123456789ABCDEF0123456789ABCDEF", "/s/:token"),
            ("/blog/2026-11-22", "/blog/2026-11-22"),
            ("/blog/10-best-restaurants-in-paris-2026", "/blog/10-best-restaurants-in-paris-2026"),
            ("/blog/best-4x4-trucks-and-iphone15-cases", "/blog/best-4x4-trucks-and-iphone15-cases"),
            ("/blog/internationalisation-considerations", "/blog/internationalisation-considerations"),
            ("/S%C3%A3o-Paulo/caf%C3%A9", "/S%C3%A3o-Paulo/caf%C3%A9"),
            ("/p/12345678", "/p/12345678"),
            ("/f/tool-2.20110530.tar.gz", "/f/tool-2.20110530.tar.gz"),
            ("/f/tool-2.20101014.3063.zip", "/f/tool-2.20101014.3063.zip"),
            ("/f/2.20117030", "/f/:phone"),
            ("/f/+2.20110530", "/f/:phone"),
            ("/f/212.20110530.20120530", "/f/212.20110530.20120530"),
            ("/f/2.20110530-12", "/f/:phone"),
            ("//a//", "//a//"),
        ] {
            assert_eq!(with(push_path, path), expected, "{path}");
        }
    }

    #[test]
    fn hosts() {
        for (host, expected) in [
            ("WWW.Example.com", "www.example.com"),
            ("d111111abcdef8.cloudfront.net", "d111111abcdef8.cloudfront.net"),
            ("5551234567.example.com", ":phone.example.com"),
            ("ec2-203-0-113-25.compute.example.com", "ec:phone.compute.example.com"),
            ("0123456789abcdef0123456789abcdef.example.com", ":token.example.com"),
            ("user%40example.com", ":email"),
        ] {
            assert_eq!(with(push_host, host), expected, "{host}");
        }
    }

    #[test]
    fn campaign_names() {
        for (text, expected) in [
            ("autumn 12", "autumn 12"),
            ("spring sale 2026-11-22", "spring sale 2026-11-22"),
            ("mail to ana@example.com today", "mail to :email today"),
            ("ana@example.com,bob@example.org", ":email,:email"),
            ("ana@0.0@0.a to b@c.d..@e!", ":email to :email!"),
            ("ana%40example.com", ":email"),
            ("call +1 (212) 555-8512 or 020 7946 0958!", "call :phone or :phone!"),
            ("ana@example.com 2125558512", ":email :phone"),
            ("120210000000000001", "120210000000000001"),
            ("秋の大感謝祭", "秋の大感謝祭"),
            ("２１２５５５８５１２", ":phone"),
        ] {
            assert_eq!(with(push_text, text), expected, "{text}");
        }
    }

    proptest! {
        /// Wherever an email or a phone stands and however it is encoded, no 8 bytes of it come out.
        #[test]
        fn nothing_of_a_person_is_left(before in "[a-zé/ .-]{0,12}", local in "[a-z]{8,12}", digits in "[2-9][0-9]{9,11}", after in "[/ .-][a-zé]{0,12}", encode in any::<bool>()) {
            for personal in [format!("{local}@example-mail.com"), format!("+{digits}"), digits.clone(), format!("{}-{}-{}", &digits[..3], &digits[3..6], &digits[6..])] {
                let text = format!("{before}{personal}{after}");
                let encoded: String = if encode { text.bytes().map(|b| if b == b'/' { "/".into() } else { format!("%{b:02X}") }).collect() } else { text };
                for out in [with(push_path, &encoded), with(push_text, &encoded)] {
                    let seen = flatten(&out).replace(['-', ' ', '.'], "");
                    prop_assert!(!seen.contains(&local) && !seen.contains(&digits[..8]), "{} -> {}", encoded, out);
                }
            }
        }

        #[test]
        fn random_tokens_do_not_pass(token in "[A-Za-z0-9]{32,64}|[A-Za-z0-9]{16,24}[_-][A-Za-z0-9]{16,24}") {
            prop_assume!(token.bytes().filter(u8::is_ascii_digit).count() >= 4);
            let out = with(push_path, &["/t/", &token].concat());
            prop_assert!(!out.contains(&token), "{}", out);
        }

        /// The gate says "harmless" only where the slow tests find nothing.
        #[test]
        fn the_fast_gate_hides_nothing(path in "(/[a-z0-9.+@%()_-]{0,24}){1,3}") {
            let slow: Vec<String> = path.split('/').map(|s| with(push_segment, s)).collect();
            prop_assert_eq!(with(push_path, &path), slow.join("/"));
        }

        #[test]
        fn hostile_text_never_panics(text in "\\PC{0,60}|[@+%0-9()./ -]{0,40}|.{0,20}") {
            with(push_path, &text);
            with(push_host, &text);
            with(push_text, &text);
        }
    }
}
