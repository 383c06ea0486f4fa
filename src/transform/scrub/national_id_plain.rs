//! National ids made of digits only, told by their checksums, their dates and the way they are written.
//!
//! A checksum of one digit lets one random number in ten through, so an unformatted number counts only in the tenant's countries, and
//! where neither a date nor a second check digit stands behind it, only next to a word that announces it.

use super::ScrubRules;
use super::card::{ean_13, luhn};
use super::context::Topic;

/// A US social security or taxpayer number: 3-2-4, or announced.
pub(super) fn is_ssn(digits: &[u8], lengths: &[usize], gaps: &[&str], topic: Option<Topic>) -> bool {
    if digits.len() != 9 {
        return false;
    }
    let (area, group, serial) = (value(&digits[..3]), value(&digits[3..5]), value(&digits[5..]));
    let itin = area >= 900 && matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99);
    let issued = area != 0 && area != 666 && (area < 900 || itin) && group != 0 && serial != 0;
    let written = lengths == [3, 2, 4] && gaps[0] == gaps[1] && matches!(gaps[0], "-" | " ");
    let announced = topic == Some(Topic::Ssn);
    issued
        && (announced
            || written && matches!(topic, None | Some(Topic::NationalId))
            || written && gaps[0] == "-" && topic != Some(Topic::Thing))
}

/// How a number stands in the text.
struct Written<'a> {
    digits: &'a [u8],
    lengths: &'a [usize],
    gaps: &'a [&'a str],
    announced: bool,
    /// In one piece, with nothing said against it.
    plain: bool,
}

impl Written<'_> {
    fn groups(&self, lengths: &[usize], gap: &str) -> bool {
        self.lengths == lengths && self.gaps.iter().all(|g| *g == gap)
    }
}

/// Whether the number is a national id of any country known here.
pub(super) fn is_id(digits: &[u8], lengths: &[usize], gaps: &[&str], topic: Option<Topic>, rules: &ScrubRules) -> bool {
    let announced = matches!(topic, Some(Topic::NationalId | Topic::Ssn));
    let plain = lengths.len() == 1 && matches!(topic, None | Some(Topic::NationalId | Topic::Ssn));
    if topic == Some(Topic::Version) || digits.iter().all(|d| *d == digits[0]) {
        return false;
    }
    let w = Written { digits, lengths, gaps, announced, plain };
    match digits.len() {
        8 => announced && bsn(digits),
        9 => announced && (bsn(digits) || nif(digits) || afm(digits) || taj(digits) || australian_tfn(digits) || acn(digits)),
        10 => ten(&w),
        11 => eleven(&w, rules),
        12 => {
            announced && my_number(digits)
                || (plain && rules.in_country(&[*b"SE"]) || w.groups(&[8, 4], "-"))
                    && swedish(&digits[2..])
                    && matches!(value(&digits[..2]), 19 | 20)
                || (announced || w.groups(&[4, 4, 4], " ") && topic.is_none()) && aadhaar(digits)
        }
        13 => thirteen(&w, rules),
        15 => nir(digits),
        18 => (plain || announced) && lengths.len() == 1 && chinese(digits),
        _ => false,
    }
}

fn ten(w: &Written) -> bool {
    let d = w.digits;
    let tied = w.groups(&[6, 4], "-") || w.groups(&[6, 4], "+");
    (tied || w.announced) && (swedish(d) || danish(d, w.announced && tied))
        || (w.groups(&[6, 4], "/") || w.announced) && czech(d)
        || (w.groups(&[4, 6], " ") || w.announced) && austrian(d)
        || w.announced && (nhs(d) || bulgarian(d) || australian_medicare(d))
        || w.lengths == [4, 5, 1] && w.gaps == [" ", " "] && w.announced && australian_medicare(d)
}

fn eleven(w: &Written, rules: &ScrubRules) -> bool {
    let d = w.digits;
    let plain = |country: &[u8; 2]| w.announced || w.plain && rules.in_country(&[*country]);
    let belgian_groups = w.lengths == [2, 2, 2, 3, 2] || w.groups(&[6, 3, 2], " ") || w.lengths == [6, 3, 2] || w.lengths == [6, 5];
    plain(b"PL") && pesel(d)
        || plain(b"TR") && turkish(d)
        || (w.announced || w.lengths == [3, 3, 3, 2] && w.gaps == ["-", "-", " "]) && snils(d)
        || (plain(b"DE") || w.groups(&[2, 3, 3, 3], " ")) && steuer_id(d)
        || (plain(b"BE") || belgian_groups) && belgian(d)
        || (plain(b"NO") || w.groups(&[6, 5], " ")) && norwegian(d)
        || (plain(b"EE") || plain(b"LT")) && baltic(d)
        || w.groups(&[6, 5], "-") && latvian(d)
        || (w.announced || w.lengths == [3, 3, 3, 2] && w.gaps == [".", ".", "-"]) && cpf(d)
        || w.announced && (mod_11_10(d) || date(value(&d[..2]), value(&d[2..4])) && luhn(d) || abn(d) || australian_medicare(d))
}

fn thirteen(w: &Written, rules: &ScrubRules) -> bool {
    let d = w.digits;
    let swiss = d[..3] == [7, 5, 6] && (w.plain || w.lengths == [3, 4, 4, 2]) && ean_13(d);
    let local = |countries: &[[u8; 2]]| w.announced || w.plain && rules.in_country(countries);
    let korean = w.groups(&[6, 7], "-") && date(value(&d[4..6]), value(&d[2..4])) && (1..=8).contains(&d[6]);
    let thai = (w.announced || w.lengths == [1, 4, 5, 2, 1] && w.gaps.iter().all(|g| *g == w.gaps[0])) && thai(d);
    korean
        || thai
        || swiss
        || local(&[*b"RO"]) && romanian(d)
        || local(&[*b"SI", *b"HR"]) && yugoslav(d)
        || local(&[*b"LU"]) && luxembourg(d)
}

/// The number that the digits write.
pub(super) fn value(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |v, d| v * 10 + u32::from(*d))
}

/// Whether day and month exist.
pub(super) fn date(day: u32, month: u32) -> bool {
    (1..=31).contains(&day) && (1..=12).contains(&month)
}

fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(d, w)| u32::from(*d) * w).sum()
}

/// Australia's tax file number: modulo 11. Source: python-stdnum's description, read 2026-11.
fn australian_tfn(d: &[u8]) -> bool {
    weighted(d, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11)
}

/// Australia's company number: modulo 10.
fn acn(d: &[u8]) -> bool {
    (10 - weighted(&d[..8], &[8, 7, 6, 5, 4, 3, 2, 1]) % 10) % 10 == u32::from(d[8])
}

/// Australia's business number: the first digit less one, modulo 89.
fn abn(d: &[u8]) -> bool {
    d[0] > 0 && (weighted(d, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]) - 10).is_multiple_of(89)
}

/// Australia's Medicare: eight digits, a check digit modulo 10, the card's issue, perhaps the person's place on it.
fn australian_medicare(d: &[u8]) -> bool {
    (2..=6).contains(&d[0]) && weighted(&d[..8], &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == u32::from(d[8])
}

/// Thailand: modulo 11.
fn thai(d: &[u8]) -> bool {
    d[0] > 0 && (11 - weighted(&d[..12], &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 10 == u32::from(d[12])
}

/// India's Aadhaar: the Verhoeff check over the dihedral group of ten; it begins with no 0 or 1.
fn aadhaar(d: &[u8]) -> bool {
    const PERMUTED: [[u8; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    // Rotations 0 to 4, reflections 5 to 9.
    let product = |a: u8, b: u8| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let check = d.iter().rev().enumerate().fold(0, |check, (i, digit)| product(check, PERMUTED[i % 8][usize::from(*digit)]));
    d[0] > 1 && check == 0
}

/// Turkey: no zero in front, two check digits.
fn turkish(d: &[u8]) -> bool {
    let (odd, even) = (weighted(d, &[1, 0, 1, 0, 1, 0, 1, 0, 1]), weighted(d, &[0, 1, 0, 1, 0, 1, 0, 1]));
    d[0] != 0 && (odd * 7 + 90 - even) % 10 == u32::from(d[9]) && (odd + even + u32::from(d[9])) % 10 == u32::from(d[10])
}

/// Russia's insurance number: modulo 101.
fn snils(d: &[u8]) -> bool {
    weighted(d, &[9, 8, 7, 6, 5, 4, 3, 2, 1]) % 101 % 100 == value(&d[9..])
}

/// Greece's tax number: powers of two, modulo 11.
fn afm(d: &[u8]) -> bool {
    weighted(d, &[256, 128, 64, 32, 16, 8, 4, 2]) % 11 % 10 == u32::from(d[8])
}

/// Hungary's insurance number: modulo 10.
fn taj(d: &[u8]) -> bool {
    weighted(d, &[3, 7, 3, 7, 3, 7, 3, 7]) % 10 == u32::from(d[8])
}

/// Japan's My Number: modulo 11.
fn my_number(d: &[u8]) -> bool {
    let rest = weighted(d, &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    u32::from(d[11]) == if rest <= 1 { 0 } else { 11 - rest }
}

/// China: six digits of a place, yyyymmdd, a serial, a check digit by ISO 7064 mod 11-2; one that is X has a letter, see `national_id`.
fn chinese(d: &[u8]) -> bool {
    resident(&d[..17]) == Some(u32::from(d[17]))
}

/// The check digit of 17 digits, 10 for an X. Errors: `None` for a day that does not exist.
pub(super) fn resident(d: &[u8]) -> Option<u32> {
    let sum = weighted(d, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    let born = matches!(value(&d[6..8]), 18..=20) && date(value(&d[12..14]), value(&d[10..12]));
    (born && d[0] > 0).then(|| (12 - sum % 11) % 11)
}

/// Netherlands: the eleven test; eight digits have a zero in front.
fn bsn(d: &[u8]) -> bool {
    let (head, last) = d.split_at(d.len() - 1);
    let sum = weighted(head, if d.len() == 9 { &[9, 8, 7, 6, 5, 4, 3, 2] } else { &[8, 7, 6, 5, 4, 3, 2] });
    (sum + 11 - u32::from(last[0])).is_multiple_of(11)
}

/// Portugal: modulo 11 over eight digits.
fn nif(d: &[u8]) -> bool {
    let rest = 11 - weighted(&d[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    matches!(d[0], 1 | 2 | 3 | 5 | 6 | 8 | 9) && u32::from(d[8]) == if rest > 9 { 0 } else { rest }
}

/// Sweden: yymmdd (day + 60 for coordination numbers) and Luhn.
fn swedish(d: &[u8]) -> bool {
    let day = value(&d[4..6]);
    date(if day > 60 { day - 60 } else { day }, value(&d[2..4])) && luhn(d)
}

/// Denmark: ddmmyy; the check modulo 11 no longer holds for all, so an announced one passes without.
fn danish(d: &[u8], announced: bool) -> bool {
    date(value(&d[..2]), value(&d[2..4])) && (announced || weighted(d, &[4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11))
}

/// Czechia and Slovakia: yymmdd, month + 50 for women, the whole divisible by 11.
fn czech(d: &[u8]) -> bool {
    let month = value(&d[2..4]) % 50;
    let month = if month > 20 { month - 20 } else { month };
    date(value(&d[4..6]), month) && d.iter().fold(0, |r, x| (r * 10 + u32::from(*x)) % 11) == 0
}

/// Austria: three digits, a check digit modulo 11, ddmmyy.
fn austrian(d: &[u8]) -> bool {
    let sum = weighted(d, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]);
    d[0] != 0 && date(value(&d[4..6]), value(&d[6..8])) && sum % 11 == u32::from(d[3])
}

/// England and Wales: modulo 11.
fn nhs(d: &[u8]) -> bool {
    let rest = 11 - weighted(&d[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    u32::from(d[9]) == rest % 11 && rest != 10
}

/// Bulgaria: yymmdd (month + 20 or + 40) and modulo 11.
fn bulgarian(d: &[u8]) -> bool {
    let month = value(&d[2..4]) % 20;
    date(value(&d[4..6]), month) && weighted(&d[..9], &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10 == u32::from(d[9])
}

/// Poland: yymmdd (month + 20 a century) and modulo 10.
fn pesel(d: &[u8]) -> bool {
    date(value(&d[4..6]), value(&d[2..4]) % 20) && weighted(d, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
}

/// Germany: no zero in front, among the first ten one digit two or three times, ISO 7064 mod 11,10.
fn steuer_id(d: &[u8]) -> bool {
    let mut times = [0; 10];
    d[..10].iter().for_each(|x| times[*x as usize] += 1);
    let repeated = times.iter().filter(|t| **t > 1).count() == 1 && times.iter().all(|t| *t <= 3);
    d[0] != 0 && repeated && mod_11_10(d)
}

/// ISO 7064 mod 11,10: Germany's and Croatia's (OIB) check digit.
fn mod_11_10(d: &[u8]) -> bool {
    let product = d[..d.len() - 1].iter().fold(10, |p, x| {
        let sum = (u32::from(*x) + p) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == u32::from(d[d.len() - 1])
}

/// Belgium: yymmdd, a serial, 97 minus the rest; born since 2000 with a 2 in front.
fn belgian(d: &[u8]) -> bool {
    let head = d[..9].iter().fold(0u64, |v, x| v * 10 + u64::from(*x));
    let check = u64::from(value(&d[9..]));
    let month = value(&d[2..4]) % 20;
    date(value(&d[4..6]).max(1), month.max(1)) && (97 - head % 97 == check || 97 - (2_000_000_000 + head) % 97 == check)
}

/// Norway: ddmmyy (day + 40 for D-numbers) and two check digits modulo 11.
fn norwegian(d: &[u8]) -> bool {
    let day = value(&d[..2]) % 40;
    let one = weighted(d, &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]);
    let two = weighted(d, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]);
    date(day, value(&d[2..4])) && one.is_multiple_of(11) && two.is_multiple_of(11)
}

/// Estonia and Lithuania: century and sex, yymmdd, modulo 11 with two sets of weights.
fn baltic(d: &[u8]) -> bool {
    let first = weighted(&d[..10], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11;
    let check = if first < 10 { first } else { weighted(&d[..10], &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10 };
    (1..=8).contains(&d[0]) && date(value(&d[5..7]), value(&d[3..5])) && check == u32::from(d[10])
}

/// Latvia: ddmmyy and modulo 11.
fn latvian(d: &[u8]) -> bool {
    let sum = weighted(&d[..10], &[1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    date(value(&d[..2]), value(&d[2..4])) && (1101 - sum) % 11 == u32::from(d[10])
}

/// Brazil: two check digits modulo 11.
fn cpf(d: &[u8]) -> bool {
    let check = |n: usize| {
        let sum: u32 = d[..n].iter().zip((2..=n as u32 + 1).rev()).map(|(x, w)| u32::from(*x) * w).sum();
        sum * 10 % 11 % 10
    };
    check(9) == u32::from(d[9]) && check(10) == u32::from(d[10])
}

/// Romania: sex and century, yymmdd, modulo 11.
fn romanian(d: &[u8]) -> bool {
    let rest = weighted(&d[..12], &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
    d[0] != 0 && date(value(&d[5..7]), value(&d[3..5])) && u32::from(d[12]) == if rest == 10 { 1 } else { rest }
}

/// Slovenia and its neighbours (EMŠO, JMBG): ddmmyyy and modulo 11.
fn yugoslav(d: &[u8]) -> bool {
    let rest = (11 - weighted(&d[..12], &[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11) % 11;
    date(value(&d[..2]), value(&d[2..4])) && (d[4] == 9 || d[4] == 0) && rest == u32::from(d[12])
}

/// Luxembourg: yyyymmdd, Luhn over the first twelve.
fn luxembourg(d: &[u8]) -> bool {
    matches!(value(&d[..2]), 19 | 20) && date(value(&d[6..8]), value(&d[4..6])) && luhn(&d[..12])
}

/// France: sex, yymm, department, serial; the key is 97 minus the rest.
fn nir(d: &[u8]) -> bool {
    let n = d[..13].iter().fold(0u64, |v, x| v * 10 + u64::from(*x));
    let month = value(&d[3..5]);
    matches!(d[0], 1..=4 | 7 | 8) && (matches!(month, 1..=12 | 20..=42 | 50..=99)) && 97 - n % 97 == u64::from(value(&d[13..]))
}
