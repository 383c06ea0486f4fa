//! National ids with letters in them: Spain, Italy, Finland, the United Kingdom, Ireland, Corsica, Portugal, China, Mexico, Singapore, India.

use super::context::{self, Topic};
use super::iban::Compact;
use super::national_id_plain::{date, resident, value};
use super::number::Group;
use super::view::{View, step};

/// The lettered id that the digits of `group` belong to. Bounds: 16 characters to the left, 18 to the right.
pub(super) fn lettered(view: &View, group: &Group) -> Option<(usize, usize)> {
    let letter_near = (group.start.saturating_sub(8)..group.end + 12).any(|i| view.at(i).is_ascii_alphabetic());
    step(group.len() + 20);
    if !letter_near {
        return None;
    }
    let mine = |(start, end): (usize, usize)| {
        (view.free_before(start) && view.free_after(end) && joined_free(view, start)).then_some((start, end))
    };
    let found = spanish(view, group).or_else(|| italian(view, group)).or_else(|| finnish(view, group)).or_else(|| french(view, group));
    let found = found.or_else(|| british(view, group)).or_else(|| irish(view, group));
    let found = found.or_else(|| chinese(view, group)).or_else(|| mexican(view, group)).or_else(|| portuguese(view, group));
    found.or_else(|| singaporean(view, group)).or_else(|| indian(view, group)).and_then(mine)
}

/// No dash or dot that ties the id to letters before it, as in a product code.
fn joined_free(view: &View, start: usize) -> bool {
    !(matches!(view.before(start), b'-' | b'.' | b'/') && view.before(start - 1).is_ascii_alphanumeric())
}

fn announced(view: &View, start: usize) -> bool {
    context::before(view, start) == Some(Topic::NationalId)
}

fn number(chars: &[u8]) -> Option<u64> {
    chars.iter().try_fold(0u64, |n, c| c.is_ascii_digit().then(|| n * 10 + u64::from(c - b'0')))
}

/// DNI (8 digits and a letter) and NIE (X, Y or Z, 7 digits and a letter); the letter is the rest modulo 23.
fn spanish(view: &View, group: &Group) -> Option<(usize, usize)> {
    let lead = match (view.before(group.start), group.start) {
        (b, at) if b"XYZxyz".contains(&b) => Some((at - 1, b)),
        (b'-', at) if at >= 2 && b"XYZ".contains(&view.before(at - 1)) => Some((at - 2, view.before(at - 1))),
        _ => None,
    };
    let start = lead.map_or(group.start, |(start, _)| start);
    let id = Compact::read(view, start, 9)?;
    let mut chars = id.chars;
    if let Some((_, letter)) = lead {
        chars[0] = b'0' + letter.to_ascii_uppercase() - b'X';
    }
    let rest = number(&chars[..8])? % 23;
    let letter = chars[8] == b"TRWAGMYFPDXBNJZSQVHLCKE"[rest as usize];
    let gap = view.before(id.end - 1);
    let apart = gap == b' ' || gap == b'/';
    let tidy = !apart && (gap.is_ascii_digit() || view.before(id.end).is_ascii_uppercase());
    (letter && (tidy && context::before(view, start) != Some(Topic::Thing) || announced(view, start))).then_some((start, id.end))
}

/// Codice fiscale: 16 characters, the last a check letter; digits may have been made letters to tell namesakes apart.
fn italian(view: &View, group: &Group) -> Option<(usize, usize)> {
    let back = (0..16).take_while(|i| view.before(group.start - (*i).min(group.start)).is_ascii_alphanumeric()).count();
    let spaced = back == 0 && view.before(group.start) == b' ' && view.before(group.start.saturating_sub(4)) == b' ';
    let start = group.start.checked_sub(if spaced { 8 } else { back })?;
    let code = Compact::read(view, start, 16)?;
    let c = &code.chars[..16];
    let digit = |i: usize| c[i].is_ascii_digit() || b"LMNPQRSTUV".contains(&c[i]);
    let shaped = c[..6].iter().all(u8::is_ascii_alphabetic)
        && [6, 7, 9, 10, 12, 13, 14].into_iter().all(digit)
        && b"ABCDEHLMPRST".contains(&c[8])
        && c[11].is_ascii_alphabetic();
    if !shaped || !c[15].is_ascii_alphabetic() {
        return None;
    }
    const ODD: [u32; 26] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let sum: u32 = c[..15]
        .iter()
        .enumerate()
        .map(|(i, b)| {
            let rank = if b.is_ascii_digit() { b - b'0' } else { b - b'A' };
            if i % 2 == 0 { ODD[rank as usize] } else { u32::from(rank) }
        })
        .sum();
    (u32::from(c[15] - b'A') == sum % 26).then_some((start, code.end))
}

/// Henkilötunnus: ddmmyy, a century sign, three digits, a check character modulo 31.
fn finnish(view: &View, group: &Group) -> Option<(usize, usize)> {
    let start = group.start;
    let sign = view.at(start + 6);
    if group.len() != 6 || !b"+-ABCDEFUVWXY".contains(&sign) {
        return None;
    }
    let bytes = view.bytes();
    let day = number(bytes.get(start..start + 6)?)?;
    let rest = number(bytes.get(start + 7..start + 10)?)?;
    let digits: Vec<u8> = bytes[start..start + 6].iter().map(|b| b - b'0').collect();
    let check = b"0123456789ABCDEFHJKLMNPRSTUVWXY"[((day * 1000 + rest) % 31) as usize];
    (date(value(&digits[..2]), value(&digits[2..4])) && view.at(start + 10) == check).then_some((start, start + 11))
}

/// NIR of a person born in Corsica (department 2A or 2B): 13 characters and a key, 97 minus the rest.
fn french(view: &View, group: &Group) -> Option<(usize, usize)> {
    let id = Compact::read(view, group.start, 15)?;
    let mut chars = id.chars;
    if chars[5] != b'2' || !matches!(chars[6], b'A' | b'B') {
        return None;
    }
    let less = if chars[6] == b'A' { 1_000_000 } else { 2_000_000 };
    chars[6] = b'0';
    let n = number(&chars[..13])?.checked_sub(less)?;
    (97 - n % 97 == number(&chars[13..15])?).then_some((group.start, id.end))
}

/// National Insurance number: no checksum, so it must be written in pairs (`AB 12 34 56 C`) or announced.
fn british(view: &View, group: &Group) -> Option<(usize, usize)> {
    let spaced = view.before(group.start) == b' ';
    let start = group.start.checked_sub(if spaced { 3 } else { 2 })?;
    let id = Compact::read(view, start, 9)?;
    let c = &id.chars[..9];
    let prefix = !b"DFIQUV".contains(&c[0])
        && !b"DFIQUVO".contains(&c[1])
        && ![b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"].iter().any(|p| p[..] == c[..2]);
    let shaped = c[..2].iter().all(u8::is_ascii_alphabetic)
        && number(&c[2..8]).is_some()
        && (b'A'..=b'D').contains(&c[8])
        && view.at(start).is_ascii_uppercase();
    let pairs = spaced && id.end - start == 13;
    (prefix && shaped && (pairs || announced(view, start))).then_some((start, id.end))
}

/// NRIC and FIN: a letter for the century, seven digits, a check letter modulo 11.
fn singaporean(view: &View, group: &Group) -> Option<(usize, usize)> {
    let start = group.start.checked_sub(1)?;
    let (century, letter) = (view.at(start), view.at(group.end));
    if group.len() != 7 || !letter.is_ascii_uppercase() {
        return None;
    }
    let digits = &view.bytes()[group.start..group.end];
    let sum: u32 = digits.iter().zip([2, 7, 6, 5, 4, 3, 2]).map(|(b, w)| u32::from(b - b'0') * w).sum();
    let (more, letters) = match century {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        _ => return None,
    };
    (letters[((sum + more) % 11) as usize] == letter).then_some((start, group.end + 1))
}

/// PAN: five letters, of which the fourth is P for a person, four digits, a letter.
fn indian(view: &View, group: &Group) -> Option<(usize, usize)> {
    let start = group.start.checked_sub(5)?;
    let letters = (start..group.start).all(|i| view.at(i).is_ascii_uppercase());
    let shaped = group.len() == 4 && letters && view.at(start + 3) == b'P' && view.at(group.end).is_ascii_uppercase();
    shaped.then_some((start, group.end + 1))
}

/// China's resident number whose check digit is ten: 17 digits and an X.
fn chinese(view: &View, group: &Group) -> Option<(usize, usize)> {
    if group.len() != 17 || !matches!(view.at(group.end), b'X' | b'x') {
        return None;
    }
    let digits: Vec<u8> = view.bytes()[group.start..group.end].iter().map(|b| b - b'0').collect();
    (resident(&digits) == Some(10)).then_some((group.start, group.end + 1))
}

/// CURP: four letters of the name, yymmdd, sex, five letters, a letter or digit, a check digit modulo 10.
fn mexican(view: &View, group: &Group) -> Option<(usize, usize)> {
    let start = group.start.checked_sub(4)?;
    let code = view.bytes().get(start..start + 18).filter(|_| group.len() == 6)?;
    let letters = code[..4].iter().chain(&code[10..16]).all(u8::is_ascii_uppercase);
    let digits: Vec<u8> = code[4..10].iter().map(|b| b - b'0').collect();
    let shaped = letters && matches!(code[10], b'H' | b'M' | b'X') && date(value(&digits[4..]), value(&digits[2..4]));
    // Ñ stands between N and O.
    let rank = |b: u8| match b {
        b'0'..=b'9' => Some(u32::from(b - b'0')),
        b'A'..=b'N' => Some(u32::from(b - b'A') + 10),
        b'O'..=b'Z' => Some(u32::from(b - b'A') + 11),
        _ => None,
    };
    let sum: Option<u32> = code[..17].iter().zip((2..=18).rev()).map(|(b, weight)| Some(rank(*b)? * weight)).sum();
    (shaped && code[17].is_ascii_digit() && (10 - sum? % 10) % 10 == u32::from(code[17] - b'0')).then_some((start, start + 18))
}

/// Cartão de Cidadão: eight digits, a check digit, two letters or digits, a check digit as Luhn's over all of them.
fn portuguese(view: &View, group: &Group) -> Option<(usize, usize)> {
    if !(8..=9).contains(&group.len()) {
        return None;
    }
    let id = Compact::read(view, group.start, 12)?;
    let c = &id.chars[..12];
    let shaped = number(&c[..9]).is_some() && c[9].is_ascii_alphabetic() && c[11].is_ascii_digit();
    let sum: u32 = c
        .iter()
        .enumerate()
        .map(|(i, b)| {
            let rank = if b.is_ascii_digit() { b - b'0' } else { b - b'A' + 10 };
            let twice = u32::from(rank) * if i % 2 == 0 { 2 } else { 1 };
            if i % 2 == 0 && twice > 9 { twice - 9 } else { twice }
        })
        .sum();
    (shaped && sum.is_multiple_of(10)).then_some((group.start, id.end))
}

/// PPS number: seven digits, a check letter modulo 23, sometimes one letter more; only where announced.
fn irish(view: &View, group: &Group) -> Option<(usize, usize)> {
    if group.len() != 7 || !view.at(group.end).is_ascii_alphabetic() || !announced(view, group.start) {
        return None;
    }
    let second = view.at(group.end + 1).to_ascii_uppercase();
    let more = second.is_ascii_alphabetic();
    let digits = &view.bytes()[group.start..group.end];
    let sum: u32 = digits.iter().zip((2..=8u32).rev()).map(|(b, w)| u32::from(b - b'0') * w).sum::<u32>()
        + if more { u32::from(second - b'A' + 1) * 9 } else { 0 };
    let check = b"WABCDEFGHIJKLMNOPQRSTUV"[(sum % 23) as usize];
    (view.at(group.end).to_ascii_uppercase() == check).then_some((group.start, group.end + 1 + usize::from(more)))
}
