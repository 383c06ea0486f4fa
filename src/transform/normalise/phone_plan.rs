//! The fast path for phone numbers: plain digits decided by tables that answer only when the library's answer is certain. Prefix
//! patterns are not run here: a number is left to the library when its first two digits could begin one.

use std::sync::OnceLock;

use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumber, Region};

use super::country::Country;
use super::phone::DIGITS_MAX;
use super::text::{self, DropReason};

/// Fewest digits that are decided here; shorter numbers are rare and full of exceptions.
const DIGITS_MIN: usize = 7;

/// What the numbering plans say, for regions that lead their calling code and a few that share one. Shape: how a match of the national
/// prefix pattern can begin (one or two digits); whether a leading zero before another digit always goes; how a match of the
/// international prefix can begin; the regions. Source: libphonenumber's metadata 9.0.43, read November 2026; the tests hold every row
/// against the library.
const PREFIXES: [(&str, bool, &str, &str); 40] = [
    (
        "0",
        true,
        "00",
        "AE AF AL AM AT AZ BA BD BE BG CD CH DE DZ EC EG ER ET FR GE GF GH GP HR ID IE IN IQ IR JO KE KG KH KI LA LB LK LR LY MA MC MD ME MK MM MN MQ MW MY NA NG NL NP PH PK PM PS PY RE RO RS SA SD SE SK SL SO SS SY TH TR TZ UA UG VE VN XK YE ZA ZM ZW",
    ),
    (
        "",
        false,
        "00",
        "AC AD AO AW BF BH BI BJ BN BT BW BZ CF CG CI CK CM CW CY CZ DJ DK EE ES FK FM GI GL GM GN GQ GR GT GW GY HK HN HT IO IT KM KW LS LV ML MO MR MT MZ NC NE NI NO NR NU OM PA PF PL PT QA SH SN SR ST SV SZ TG TK TL TN TO TV UZ VU WF",
    ),
    ("0", false, "00", "BO CO KR RW"),
    ("0", true, "00 01", "IL NZ TW UY"),
    ("1", false, "01", "CA MH PR US"),
    ("8", false, "81", "KZ RU TM"),
    ("", false, "0", "CV WS"),
    ("", false, "00 01", "MV SB"),
    ("0", true, "00 99", "FI KP"),
    ("", false, "00 01 02", "SC"),
    ("", false, "00 01 02 03", "SG"),
    ("", false, "00 02 03 04 05 06 07", "MU"),
    ("", false, "00 05", "FJ"),
    ("", false, "00 09", "MX"),
    ("", false, "00 10 11", "IS"),
    ("", false, "00 11 12 15 16 17 18", "CL"),
    ("", false, "00 14", "PG"),
    ("", false, "00 16", "TD"),
    ("", false, "01", "PW"),
    ("", false, "81", "TJ"),
    ("0", true, "00 10", "SI"),
    ("0", true, "00 19", "PE"),
    ("0", true, "01", "JP"),
    ("0", true, "11", "CU"),
    ("0 1 2 5 8", false, "00", "NF"),
    ("0 10", true, "00", "LI"),
    ("0 11 12 17", true, "00 11 12 17", "CN"),
    ("0 11 22 23 24 26 28 29 33 34 35 36 37 38", false, "00", "AR"),
    ("0 18", true, "00", "GB"),
    ("0 18", true, "00 14", "AU"),
    ("0 2 4 5 6 7 8 9", true, "00", "MG"),
    ("0 8", false, "00", "LT"),
    ("0 8", true, "81", "BY"),
    ("0 90", false, "00", "BR"),
    ("01 06 07", false, "00", "GA"),
    ("06", false, "00", "HU"),
    ("10", false, "00", "FO"),
    ("15", false, "00", "LU"),
    ("19", false, "00", "CR"),
    ("8 9", false, "00", "SM"),
];

/// A set of two-digit beginnings, one bit each.
type Beginnings = u128;

/// A numbering plan, as far as plain numbers need it.
#[derive(Clone, Copy)]
struct Plan {
    /// Calling code.
    code: u16,
    /// Lengths that a national number can have, one bit each.
    lengths: u32,
    /// Lengths that are possible for local calls only.
    local: u32,
    /// Beginnings of the national prefix.
    prefix: Beginnings,
    /// The prefix may be a zero, and a zero before another digit always is one.
    trunk_zero: bool,
    /// Beginnings of the international prefix.
    international: Beginnings,
}

/// Every plan, by calling code (for the region that leads it) and by region.
struct Plans {
    by_code: Vec<Option<Plan>>,
    by_region: Vec<Option<Plan>>,
    codes: Vec<bool>,
}

/// Decides a plain number: optional `+`, digits, spaces, dots, dashes, brackets. Shape: `None` leaves it to the library.
pub(super) fn plain(input: &str, country: Option<Country>, out: &mut Vec<u8>) -> Option<Result<(), DropReason>> {
    let (buffer, count, plus) = scan(text::trim(input).as_bytes())?;
    let mut digits = buffer.get(..count)?;
    let plans = plans();
    if !plus {
        match country {
            Some(country) => return national(plans, digits, country, out),
            None if digits.starts_with(b"00") => digits = &digits[2..],
            None if digits.starts_with(b"0") => return Some(Err(DropReason::NoCountryHint)),
            None => {}
        }
    }
    let (plan, rest) = calling_code(plans, digits)?;
    push(plan, without_trunk_zero(plan, rest)?, out)
}

/// The digits in a buffer, their number, and whether a plus sign stands first. Shape: `None` when anything else is in the text.
fn scan(input: &[u8]) -> Option<([u8; DIGITS_MAX + 2], usize, bool)> {
    let mut digits = [0u8; DIGITS_MAX + 2];
    let (mut count, mut plus) = (0, false);
    for (at, &byte) in input.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                *digits.get_mut(count)? = byte;
                count += 1;
            }
            b'+' if at == 0 || (at == 1 && input.first() == Some(&b'(')) => plus = true,
            b' ' | b'-' | b'.' | b'(' | b')' => {}
            _ => return None,
        }
    }
    (count >= DIGITS_MIN).then_some((digits, count, plus))
}

/// A number without `+` in a row whose country is known.
fn national(plans: &Plans, digits: &[u8], country: Country, out: &mut Vec<u8>) -> Option<Result<(), DropReason>> {
    let [a, b] = country.as_bytes();
    let plan = plans.by_region.get(region_index(a, b))?.as_ref()?;
    if begins(plan.international, digits) {
        return None;
    }
    let Some(rest) = strip_code(plan.code, digits) else { return push(plan, without_trunk_zero(plan, digits)?, out) };
    // Too long for this country: then the calling code it begins with is one. Otherwise the library weighs both readings.
    let longest = (u32::BITS - plan.lengths.leading_zeros()).saturating_sub(1) as usize;
    let too_long = digits.len() > longest && plan.local & (1 << digits.len()) == 0;
    if !too_long || begins(plan.prefix, rest) || rest.first() == Some(&b'0') {
        return None;
    }
    push(plan, rest, out)
}

/// The shortest prefix of `digits` that is a calling code, as the library looks for it, and what follows.
fn calling_code<'p, 'd>(plans: &'p Plans, digits: &'d [u8]) -> Option<(&'p Plan, &'d [u8])> {
    let mut code = 0usize;
    for (at, digit) in digits.iter().take(3).enumerate() {
        code = code * 10 + usize::from(digit - b'0');
        if code == 0 {
            return None;
        }
        if *plans.codes.get(code)? {
            return Some((plans.by_code.get(code)?.as_ref()?, &digits[at + 1..]));
        }
    }
    None
}

/// The national number once its trunk zero is gone. Shape: `None` when a prefix could be there that needs its pattern.
fn without_trunk_zero<'d>(plan: &Plan, digits: &'d [u8]) -> Option<&'d [u8]> {
    let number = match digits {
        [b'0', rest @ ..] if plan.trunk_zero => rest,
        _ => digits,
    };
    (number.first() != Some(&b'0') && !begins(plan.prefix, number)).then_some(number)
}

/// Appends the number if its length is possible; a length that is not may still be a local one, which the library knows.
fn push(plan: &Plan, number: &[u8], out: &mut Vec<u8>) -> Option<Result<(), DropReason>> {
    if plan.lengths & (1 << number.len()) == 0 {
        return None;
    }
    let start = out.len();
    out.push(b'+');
    if plan.code >= 100 {
        out.push(b'0' + (plan.code / 100) as u8);
    }
    if plan.code >= 10 {
        out.push(b'0' + (plan.code / 10 % 10) as u8);
    }
    out.push(b'0' + (plan.code % 10) as u8);
    out.extend_from_slice(number);
    if out.len() - start > DIGITS_MAX + 1 {
        out.truncate(start);
        return Some(Err(DropReason::NotAPhone));
    }
    Some(Ok(()))
}

/// Whether the first two digits are in the set. Shape: fewer than two count as in it.
fn begins(set: Beginnings, digits: &[u8]) -> bool {
    match digits {
        [a, b, ..] => set & (1 << (u32::from(a - b'0') * 10 + u32::from(b - b'0'))) != 0,
        _ => true,
    }
}

/// What follows the calling code, if the digits begin with it.
fn strip_code(code: u16, digits: &[u8]) -> Option<&[u8]> {
    if digits.first() == Some(&b'0') {
        return None;
    }
    let mut read = 0u16;
    for (at, digit) in digits.iter().take(3).enumerate() {
        read = read * 10 + u16::from(digit - b'0');
        if read == code {
            return digits.get(at + 1..);
        }
    }
    None
}

fn region_index(a: u8, b: u8) -> usize {
    usize::from(a.wrapping_sub(b'A')) * 26 + usize::from(b.wrapping_sub(b'A'))
}

/// The table above, joined with the lengths that the library itself reports.
fn plans() -> &'static Plans {
    static PLANS: OnceLock<Plans> = OnceLock::new();
    PLANS.get_or_init(|| {
        let mut plans = Plans { by_code: vec![None; 1000], by_region: vec![None; 26 * 26], codes: vec![false; 1000] };
        for code in PHONE_NUMBER_UTIL.get_supported_calling_codes() {
            if let Some(known) = usize::try_from(code).ok().and_then(|code| plans.codes.get_mut(code)) {
                *known = true;
            }
        }
        for (prefix, trunk_zero, international, regions) in PREFIXES {
            for region in regions.split(' ') {
                let Some((plan, leads)) = plan(prefix, trunk_zero, international, region) else { continue };
                if let [a, b] = *region.as_bytes()
                    && let Some(slot) = plans.by_region.get_mut(region_index(a, b))
                {
                    *slot = Some(plan);
                }
                if leads && let Some(slot) = plans.by_code.get_mut(usize::from(plan.code)) {
                    *slot = Some(plan);
                }
            }
        }
        plans
    })
}

/// One region's plan, and whether the region leads its calling code.
fn plan(prefix: &str, trunk_zero: bool, international: &str, region: &str) -> Option<(Plan, bool)> {
    let region: Region = region.parse().ok()?;
    let code = PHONE_NUMBER_UTIL.get_country_code_for_region(region)?;
    let leads = PHONE_NUMBER_UTIL.get_region_for_country_code(code) == Some(region);
    let lengths = |wanted| (2..=17u32).filter(|&n| reported_length(code, n) == Some(wanted)).fold(0u32, |set, n| set | 1 << n);
    let plan = Plan {
        code: u16::try_from(code).ok()?,
        lengths: lengths(NumberLengthType::IsPossible),
        local: lengths(NumberLengthType::IsPossibleLocalOnly),
        prefix: beginnings(prefix),
        trunk_zero,
        international: beginnings(international),
    };
    Some((plan, leads))
}

/// What the library says of national numbers of `digits` digits; it looks at nothing but the length.
fn reported_length(code: i32, digits: u32) -> Option<NumberLengthType> {
    let number = PhoneNumber { country_code: code, national_number: 10u64.pow(digits - 1), ..PhoneNumber::default() };
    PHONE_NUMBER_UTIL.is_possible_number_with_reason(&number).ok()
}

/// `"0 18"`: everything that begins with 0, and what begins with 18.
fn beginnings(listed: &str) -> Beginnings {
    let mut set = 0;
    for beginning in listed.split_ascii_whitespace() {
        let value: u32 = beginning.bytes().fold(0, |n, b| n * 10 + u32::from(b - b'0'));
        set |= if beginning.len() == 1 { 0x3FF << (value * 10) } else { 1 << value };
    }
    set
}

#[cfg(test)]
mod tests {
    use proptest::test_runner::{Config, TestRunner};

    use super::super::country::country;
    use super::super::phone::by_library;
    use super::*;

    #[test]
    fn beginnings_are_sets_of_two_digits() {
        assert!(begins(beginnings("0 18"), b"07") && begins(beginnings("0 18"), b"189"));
        assert!(!begins(beginnings("0 18"), b"19") && !begins(beginnings(""), b"00") && begins(0, b"1"));
    }

    /// Every row, every possible length, with and without trunk zero, calling code and international prefix: the library agrees.
    #[test]
    fn every_row_agrees_with_the_library() {
        let mut runner = TestRunner::new_with_rng(Config::default(), proptest::test_runner::TestRng::deterministic_rng(Default::default()));
        let mut decided = 0;
        for region in PREFIXES.iter().flat_map(|row| row.3.split(' ')) {
            let hint = country(region);
            let plan = plans().by_region[region_index(region.as_bytes()[0], region.as_bytes()[1])].expect("a row for each");
            for length in (DIGITS_MIN..=15).filter(|n| plan.lengths >> n & 1 == 1) {
                for _ in 0..60 {
                    use rand::RngExt;
                    let digits: String = (0..length).map(|_| char::from(b'0' + runner.rng().random_range(0..10u8))).collect();
                    for (text, hint) in [
                        (digits.clone(), hint),
                        (format!("0{digits}"), hint),
                        (format!("{}{digits}", plan.code), hint),
                        (format!("+{}{digits}", plan.code), None),
                        (format!("+{}0{digits}", plan.code), None),
                    ] {
                        let (mut fast, mut slow) = (Vec::new(), Vec::new());
                        let Some(answer) = plain(&text, hint, &mut fast) else { continue };
                        decided += 1;
                        assert_eq!((answer, &fast), (by_library(&text, hint, &mut slow), &slow), "{text} {region}");
                    }
                }
            }
        }
        assert!(decided > 50_000, "{decided}");
    }

    #[test]
    fn the_table_leads_nearly_every_calling_code() {
        let missing: Vec<_> =
            PHONE_NUMBER_UTIL.get_supported_calling_codes().filter(|&code| plans().by_code[code as usize].is_none()).collect();
        assert!(missing.iter().all(|code| (800..=999).contains(code)), "{missing:?}");
    }
}
