//! Email addresses: the base rule that all destinations share, and what Google does to Gmail's local parts.

use super::text::{self, CLASS, DropReason, SPACE};

/// How a destination treats the local part of a Gmail address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Gmail {
    /// As it is (Meta, TikTok).
    Untouched,
    /// Without dots (GA4).
    WithoutDots,
    /// Without dots and without everything from the first `+` (Google Ads).
    WithoutDotsAndSuffix,
}

/// NFC, trim, lower case, one `@`, a dot inside the domain; then the destination's Gmail rule. Source: destinations.md 1.7, §4, §6.
pub(super) fn email(input: &str, gmail: Gmail, out: &mut Vec<u8>) -> Result<(), DropReason> {
    let start = out.len();
    if input.is_ascii() {
        text::push_ascii_lower(text::trim(input), 0, out);
    } else {
        text::push_unicode_lower(input, |_| true, out);
    }
    let Some(address) = out.get(start..).filter(|address| !address.is_empty()) else { return Err(DropReason::Empty) };
    let at = local_length(address).ok_or(DropReason::NotAnEmail)?;
    if gmail != Gmail::Untouched && is_gmail(&address[at + 1..]) {
        rewrite_local_part(start, at, gmail, out);
        if out.get(start) == Some(&b'@') {
            return Err(DropReason::NotAnEmail);
        }
    }
    Ok(())
}

/// Whether a domain, in lower case, is one of Gmail's.
pub(super) fn is_gmail(domain: &[u8]) -> bool {
    matches!(domain, b"gmail.com" | b"googlemail.com")
}

/// Length of the local part if the address matches `^[^\s@]+@[^\s@]+\.[^\s@]+$`.
fn local_length(address: &[u8]) -> Option<usize> {
    let at = memchr::memchr(b'@', address)?;
    let domain = &address[at + 1..];
    let dotted = domain.len() >= 3 && memchr::memchr(b'.', &domain[1..domain.len() - 1]).is_some();
    let blank = if address.is_ascii() {
        address.iter().fold(0, |classes, &b| classes | CLASS[usize::from(b)]) & SPACE != 0
    } else {
        std::str::from_utf8(address).is_ok_and(|address| address.chars().any(char::is_whitespace))
    };
    (at > 0 && dotted && !blank && memchr::memchr(b'@', domain).is_none()).then_some(at)
}

/// Takes dots, and the suffix where asked, out of the `at` bytes of local part that begin at `start`.
fn rewrite_local_part(start: usize, at: usize, gmail: Gmail, out: &mut Vec<u8>) {
    let mut write = start;
    for read in start..start + at {
        match out[read] {
            b'+' if gmail == Gmail::WithoutDotsAndSuffix => break,
            b'.' => {}
            kept => {
                out[write] = kept;
                write += 1;
            }
        }
    }
    out.drain(write..start + at);
    compose(start, out);
}

/// A dot taken from between a letter and its accent leaves text that composes.
fn compose(start: usize, out: &mut Vec<u8>) {
    if out[start..].is_ascii() {
        return;
    }
    let composed = std::str::from_utf8(&out[start..]).map(|address| text::nfc(address).into_owned());
    if let Ok(composed) = composed {
        out.truncate(start);
        out.extend_from_slice(composed.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(input: &str, gmail: Gmail) -> Result<String, DropReason> {
        let mut out = b"before".to_vec();
        email(input, gmail, &mut out).map(|()| String::from_utf8(out[6..].to_vec()).expect("text"))
    }

    #[test]
    fn only_gmail_proper_is_rewritten() {
        for (input, plain, ga4, google) in [
            (" Jane.Doe+x@Gmail.com ", "jane.doe+x@gmail.com", "janedoe+x@gmail.com", "janedoe@gmail.com"),
            ("j.d+a+b@googlemail.com", "j.d+a+b@googlemail.com", "jd+a+b@googlemail.com", "jd@googlemail.com"),
            ("Jane.Doe+x@example.com", "jane.doe+x@example.com", "jane.doe+x@example.com", "jane.doe+x@example.com"),
            ("a.b+c@gmail.co.uk", "a.b+c@gmail.co.uk", "a.b+c@gmail.co.uk", "a.b+c@gmail.co.uk"),
            ("a.b@mail.gmail.com", "a.b@mail.gmail.com", "a.b@mail.gmail.com", "a.b@mail.gmail.com"),
            ("ÄÖ@Bücher.example", "äö@bücher.example", "äö@bücher.example", "äö@bücher.example"),
            ("e.\u{301}x@gmail.com", "e.\u{301}x@gmail.com", "éx@gmail.com", "éx@gmail.com"),
        ] {
            assert_eq!(of(input, Gmail::Untouched).as_deref(), Ok(plain));
            assert_eq!(of(input, Gmail::WithoutDots).as_deref(), Ok(ga4));
            assert_eq!(of(input, Gmail::WithoutDotsAndSuffix).as_deref(), Ok(google));
        }
    }

    #[test]
    fn what_is_no_address_is_dropped() {
        for input in ["a", "a@b", "@b.c", "a@.c", "a@b.", "a@@b.c", "a@b@c.d", "a b@c.d", "a@b c.d", "a\u{a0}b@c.d", "a@b\u{b}.d"] {
            assert_eq!(of(input, Gmail::Untouched), Err(DropReason::NotAnEmail), "{input}");
        }
        assert_eq!(of(" \u{3000}", Gmail::Untouched), Err(DropReason::Empty));
        assert_eq!(of("+tag@gmail.com", Gmail::WithoutDotsAndSuffix), Err(DropReason::NotAnEmail));
        assert_eq!(of("...@gmail.com", Gmail::WithoutDots), Err(DropReason::NotAnEmail));
    }

    #[test]
    fn a_domain_may_begin_or_end_with_a_dot_if_another_is_inside() {
        for input in ["a@.b.c", "a@b.c.", "a@xn--bcher-kva.example"] {
            assert_eq!(of(input, Gmail::Untouched).as_deref(), Ok(input));
        }
    }
}
