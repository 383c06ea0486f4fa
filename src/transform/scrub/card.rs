//! Payment card numbers: Luhn, and the ranges and lengths that issuers use.

use super::context::Topic;

/// How the digits stand: in one piece or in groups of so many.
pub(super) struct Shape<'a> {
    /// The digits' values, 0–9.
    pub digits: &'a [u8],
    /// Lengths of the groups.
    pub groups: &'a [usize],
}

/// Whether these 13 to 19 digits are a card's. 16 digits in fours need no issuer; other unissued prefixes need the word "card" nearby.
pub(super) fn is_card(shape: &Shape, topic: Option<Topic>) -> bool {
    let n = shape.digits.len();
    if !(13..=19).contains(&n) || !luhn(shape.digits) || shape.digits.iter().all(|d| *d == shape.digits[0]) {
        return false;
    }
    if topic == Some(Topic::Card) {
        return true;
    }
    let fours = shape.groups.len() > 1 && shape.groups[..shape.groups.len() - 1].iter().all(|g| *g == 4) && n >= 13;
    let amex = shape.groups == [4, 6, 5] || shape.groups == [4, 6, 4];
    if !(shape.groups.len() == 1 || fours || amex) {
        return false;
    }
    match issuer(shape.digits) {
        Issuer::Sure => n != 13 || !ean_13(shape.digits),
        Issuer::Loose => n >= 16 && (fours || topic != Some(Topic::Thing)),
        Issuer::None => n == 16 && fours,
    }
}

enum Issuer {
    Sure,
    Loose,
    None,
}

/// Ranges after ISO/IEC 7812 as the networks publish them.
fn issuer(digits: &[u8]) -> Issuer {
    let prefix = |n: usize| digits[..n].iter().fold(0u32, |p, d| p * 10 + u32::from(*d));
    let n = digits.len();
    let sure = match (digits[0], n) {
        (4, 13 | 16 | 19) => true,
        (5, 16) => (51..=55).contains(&prefix(2)),
        (2, 16) => (2221..=2720).contains(&prefix(4)),
        (3, 15) => matches!(prefix(2), 34 | 37),
        (3, 14) => matches!(prefix(2), 36 | 38 | 39) || (300..=305).contains(&prefix(3)),
        (3, 16) => (3528..=3589).contains(&prefix(4)),
        (6, 16) => prefix(4) == 6011 || (644..=659).contains(&prefix(3)) || prefix(2) == 62,
        _ => false,
    };
    if sure {
        Issuer::Sure
    } else if matches!(prefix(2), 50 | 56..=58 | 60..=69 | 36 | 38 | 35) {
        Issuer::Loose
    } else {
        Issuer::None
    }
}

/// ISO/IEC 7812-1 annex B.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| if i % 2 == 0 { u32::from(*d) } else { [0, 2, 4, 6, 8, 1, 3, 5, 7, 9][*d as usize % 10] })
        .sum();
    sum.is_multiple_of(10)
}

/// GS1's check digit: a 13-digit article number is no card even where Luhn agrees.
pub(super) fn ean_13(digits: &[u8]) -> bool {
    let sum: u32 = digits.iter().rev().enumerate().map(|(i, d)| u32::from(*d) * if i % 2 == 0 { 1 } else { 3 }).sum();
    sum.is_multiple_of(10)
}
