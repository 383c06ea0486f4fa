//! National numbering plans, reduced to what tells a phone number from another number. Source: ITU-T E.164 national plans, read 2026-11.

/// How a country's numbers look.
pub(super) struct Plan {
    country: [u8; 2],
    code: u16,
    /// The digit dialled first inside the country.
    pub trunk: Option<u8>,
    /// Fewest and most digits of the national number, the trunk digit not counted.
    pub least: usize,
    pub most: usize,
    /// First digits that exist, one bit each.
    firsts: u16,
    /// Usual groupings, where no trunk zero marks the number.
    pub written: &'static [&'static [usize]],
}

impl Plan {
    /// Whether a national number without its trunk digit may belong to the plan.
    pub(super) fn fits(&self, national: &[u8]) -> bool {
        (self.least..=self.most).contains(&national.len()) && self.firsts & 1 << national[0] != 0
    }
}

const fn digits(first: u8, last: u8) -> u16 {
    let mut set = 0;
    let mut d = first;
    while d <= last {
        set |= 1 << d;
        d += 1;
    }
    set
}

const ANY: u16 = digits(1, 9);
const NONE: &[&[usize]] = &[];
const NINE: &[&[usize]] = &[&[3, 3, 3], &[3, 2, 2, 2], &[2, 3, 2, 2], &[3, 6]];
const EIGHT: &[&[usize]] = &[&[2, 2, 2, 2], &[3, 2, 3]];

const fn zero(country: &[u8; 2], code: u16, least: usize, most: usize) -> Plan {
    Plan { country: *country, code, trunk: Some(0), least, most, firsts: ANY, written: NONE }
}

const fn open(country: &[u8; 2], code: u16, least: usize, most: usize, firsts: u16, written: &'static [&'static [usize]]) -> Plan {
    Plan { country: *country, code, trunk: None, least, most, firsts, written }
}

const PLANS: [Plan; 43] = [
    open(b"US", 1, 10, 10, digits(2, 9), NONE),
    open(b"CA", 1, 10, 10, digits(2, 9), NONE),
    zero(b"GB", 44, 9, 10),
    zero(b"DE", 49, 6, 11),
    zero(b"FR", 33, 9, 9),
    open(b"ES", 34, 9, 9, digits(6, 9), NINE),
    open(
        b"IT",
        39,
        8,
        11,
        1 | 1 << 3,
        &[&[3, 7], &[3, 6], &[3, 3, 4], &[3, 3, 3], &[3, 4, 3], &[2, 8], &[2, 4, 4], &[3, 5], &[4, 6], &[4, 5], &[2, 7], &[3, 2, 2, 3]],
    ),
    zero(b"NL", 31, 9, 9),
    zero(b"BE", 32, 8, 9),
    open(b"PT", 351, 9, 9, 1 << 2 | 1 << 3 | digits(7, 9), NINE),
    open(b"PL", 48, 9, 9, ANY, NINE),
    zero(b"SE", 46, 7, 9),
    open(b"DK", 45, 8, 8, digits(2, 9), EIGHT),
    zero(b"FI", 358, 6, 10),
    open(b"NO", 47, 8, 8, digits(2, 9), EIGHT),
    zero(b"AT", 43, 7, 12),
    zero(b"CH", 41, 9, 9),
    zero(b"IE", 353, 7, 9),
    open(b"CZ", 420, 9, 9, digits(2, 9), NINE),
    zero(b"SK", 421, 9, 9),
    zero(b"RO", 40, 9, 9),
    zero(b"BG", 359, 8, 9),
    zero(b"HR", 385, 8, 9),
    zero(b"SI", 386, 8, 8),
    open(b"EE", 372, 7, 8, digits(3, 8), &[&[4, 4], &[3, 4]]),
    open(b"LV", 371, 8, 8, 1 << 2 | 1 << 6, EIGHT),
    zero(b"LT", 370, 8, 8),
    open(b"LU", 352, 6, 9, digits(2, 9), &[&[3, 3, 3]]),
    open(b"GR", 30, 10, 10, 1 << 2 | 1 << 6, &[&[3, 3, 4], &[3, 7], &[4, 6], &[2, 4, 4]]),
    open(b"HU", 36, 8, 9, ANY, &[&[2, 2, 3, 4], &[2, 1, 3, 4], &[2, 2, 3, 3]]),
    zero(b"JP", 81, 9, 10),
    open(b"BR", 55, 10, 11, ANY, &[&[2, 5, 4], &[2, 4, 4], &[2, 1, 4, 4]]),
    zero(b"AU", 61, 9, 9),
    zero(b"IN", 91, 10, 10),
    zero(b"ZA", 27, 9, 9),
    zero(b"TR", 90, 10, 10),
    zero(b"IL", 972, 8, 9),
    zero(b"NZ", 64, 8, 10),
    open(b"MX", 52, 10, 10, ANY, &[&[2, 4, 4], &[3, 3, 4]]),
    zero(b"KR", 82, 8, 10),
    zero(b"UA", 380, 9, 9),
    Plan {
        country: *b"RU",
        code: 7,
        trunk: Some(8),
        least: 10,
        most: 10,
        firsts: digits(3, 9),
        written: &[&[1, 3, 3, 2, 2], &[1, 3, 3, 4], &[1, 3, 7], &[1, 4, 2, 2, 2]],
    },
    open(b"CN", 86, 9, 11, 1 << 1, &[&[3, 4, 4], &[3, 8]]),
];

/// The plan of a country.
pub(super) fn plan_of(country: [u8; 2]) -> Option<&'static Plan> {
    PLANS.iter().find(|p| p.country == country)
}

/// The plan of a calling code.
pub(super) fn by_code(code: u16) -> Option<&'static Plan> {
    PLANS.iter().find(|p| p.code == code)
}

/// The calling code that the digits begin with, and its length. Source: ITU E.164 assigned country codes.
pub(super) fn calling_code(digits: &[u8]) -> Option<(u16, usize)> {
    let take = |n: usize| digits.get(..n).map(|d| d.iter().fold(0u16, |v, d| v * 10 + u16::from(*d)));
    if matches!(digits.first(), Some(1 | 7)) {
        return Some((u16::from(digits[0]), 1));
    }
    let two = take(2)?;
    if matches!(two, 20 | 27 | 30..=34 | 36 | 39..=41 | 43..=49 | 51..=58 | 60..=66 | 81 | 82 | 84 | 86 | 90..=95 | 98) {
        return Some((two, 2));
    }
    let three = take(3)?;
    matches!(two, 21..=26 | 29 | 35 | 37 | 38 | 42 | 50 | 59 | 67..=69 | 80 | 85 | 87 | 88 | 96 | 97 | 99).then_some((three, 3))
}

/// North American 3-3-4, an optional 1 in front, written the same way throughout.
pub(super) fn nanp(digits: &[u8], lengths: &[usize], gaps: &[&str], paren: bool) -> bool {
    let (lengths, digits, gaps) = match (lengths.first(), digits) {
        (Some(1), [1, rest @ ..]) => (&lengths[1..], rest, gaps.get(1..).unwrap_or(&[])),
        _ => (lengths, digits, gaps),
    };
    let shaped = lengths == [3, 3, 4] && (gaps[0] == gaps[1] && matches!(gaps[0], "-" | "." | " ") || paren || gaps[0].starts_with(')'));
    shaped && digits[0] >= 2 && digits[3] >= 2
}
