//! International bank account numbers: ISO 13616 lengths, ISO 7064 mod 97.

use super::view::{View, step};

/// Length by country, from SWIFT's IBAN registry (release 99, read 2026-11).
const LENGTHS: [(&[u8; 2], usize); 88] = [
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
];

/// The IBAN whose two check digits begin at `digits`. Bounds: 34 characters and a separator before each.
pub(super) fn at(view: &View, digits: usize) -> Option<(usize, usize)> {
    let start = digits.checked_sub(2)?;
    let country = [view.at(start).to_ascii_uppercase(), view.at(start + 1).to_ascii_uppercase()];
    let (_, len) = LENGTHS.iter().find(|(code, _)| **code == country)?;
    if !view.free_before(start) {
        return None;
    }
    let compact = Compact::read(view, start, *len)?;
    (view.free_after(compact.end) && mod_97(&compact.chars[..*len])).then_some((start, compact.end))
}

fn mod_97(chars: &[u8]) -> bool {
    let rest = chars[4..].iter().chain(&chars[..4]).fold(0u32, |rest, c| match c {
        b'0'..=b'9' => (rest * 10 + u32::from(c - b'0')) % 97,
        _ => (rest * 100 + u32::from(c - b'A') + 10) % 97,
    });
    rest == 1
}

/// Letters and digits of a code, upper case, read over single spaces, dashes, dots and slashes.
pub(super) struct Compact {
    /// The characters; as many as asked for are set.
    pub chars: [u8; 34],
    /// Where the last one ends in the view.
    pub end: usize,
}

impl Compact {
    /// Exactly `len` letters or digits (34 at most) from `start`.
    pub(super) fn read(view: &View, start: usize, len: usize) -> Option<Self> {
        let (mut chars, mut at) = ([0; 34], start);
        for (i, slot) in chars.iter_mut().take(len).enumerate() {
            if i > 0 && matches!(view.at(at), b' ' | b'-' | b'.' | b'/') {
                at += 1;
            }
            let b = view.at(at);
            if !b.is_ascii_alphanumeric() {
                step(at - start);
                return None;
            }
            *slot = b.to_ascii_uppercase();
            at += 1;
        }
        step(at - start);
        Some(Self { chars, end: at })
    }
}
