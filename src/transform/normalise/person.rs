//! Gender and birth date, which only Meta takes.

use super::text::{self, DropReason};

/// A day of the proleptic Gregorian calendar, ordered. Units: none; `month` and `day` count from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Day {
    /// Common era.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// First year in which a birth date is believed. Source: destinations.md §3 db.
const EARLIEST_YEAR: u16 = 1900;

/// `m`/`male` → `m`, `f`/`female` → `f`. Source: destinations.md §3 ge (D9).
pub(super) fn gender(input: &str, out: &mut Vec<u8>) -> Result<(), DropReason> {
    let word = text::trim(input);
    let letter = match word {
        "" => return Err(DropReason::Empty),
        _ if word.eq_ignore_ascii_case("m") || word.eq_ignore_ascii_case("male") => b'm',
        _ if word.eq_ignore_ascii_case("f") || word.eq_ignore_ascii_case("female") => b'f',
        _ => return Err(DropReason::NotAGender),
    };
    out.push(letter);
    Ok(())
}

/// `YYYYMMDD`, from eight digits in that order or from three groups, whatever stands between them; a time of day behind them is passed
/// over. Source: destinations.md §3 db (D10); the grouping is that of Meta's own parameter builder.
pub(super) fn birth_date(input: &str, today: Day, out: &mut Vec<u8>) -> Result<(), DropReason> {
    let trimmed = text::trim(input);
    if trimmed.is_empty() {
        return Err(DropReason::Empty);
    }
    let born = eight_digits(trimmed.as_bytes()).or_else(|| three_groups(trimmed.as_bytes())).ok_or(DropReason::BadDate)?;
    if born.year < EARLIEST_YEAR || born > today || !is_calendar_day(born) {
        return Err(DropReason::BadDate);
    }
    let (y, m, d) = (born.year, born.month, born.day);
    let digit = |n: u16| b'0' + (n % 10) as u8;
    out.extend([digit(y / 1000), digit(y / 100), digit(y / 10), digit(y)]);
    out.extend([digit(u16::from(m) / 10), digit(m.into()), digit(u16::from(d) / 10), digit(d.into())]);
    Ok(())
}

/// `YYYYMMDD` as it stands.
fn eight_digits(text: &[u8]) -> Option<Day> {
    if text.len() != 8 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(Day { year: number(&text[..4]), month: number(&text[4..6]) as u8, day: number(&text[6..]) as u8 })
}

/// Three groups of digits: the one over 31 is the year, the first that remains is the month unless it is over 12.
fn three_groups(text: &[u8]) -> Option<Day> {
    let mut groups = [0u16; 3];
    let mut found = 0;
    let mut rest = text;
    while let Some(at) = rest.iter().position(u8::is_ascii_digit) {
        if found == 3 && is_time(rest) {
            break;
        }
        let length = rest[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        if length > 4 {
            return None;
        }
        *groups.get_mut(found)? = number(&rest[at..at + length]);
        found += 1;
        rest = &rest[at + length..];
    }
    let year_at = groups.iter().position(|&n| n > 31).filter(|_| found == 3)?;
    let year = groups[year_at];
    let (first, second) = match year_at {
        0 => (groups[1], groups[2]),
        1 => (groups[0], groups[2]),
        _ => (groups[0], groups[1]),
    };
    let (month, day) = if first > 12 { (second, first) } else { (first, second) };
    Some(Day { year, month: u8::try_from(month).ok()?, day: u8::try_from(day).ok()? })
}

/// Whether a time of day follows a date: `T00:00`, ` 9:30`.
fn is_time(behind: &[u8]) -> bool {
    let Some((b'T' | b't' | b' ', time)) = behind.split_first() else { return false };
    let hour = time.iter().take_while(|b| b.is_ascii_digit()).count();
    (1..=2).contains(&hour) && time.get(hour) == Some(&b':')
}

fn number(digits: &[u8]) -> u16 {
    digits.iter().fold(0, |n, b| n * 10 + u16::from(b - b'0'))
}

fn is_calendar_day(day: Day) -> bool {
    let leap = day.year.is_multiple_of(4) && (!day.year.is_multiple_of(100) || day.year.is_multiple_of(400));
    let days = match day.month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&day.day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Day = Day { year: 2026, month: 11, day: 22 };

    fn date(input: &str) -> Result<String, DropReason> {
        let mut out = Vec::new();
        birth_date(input, TODAY, &mut out).map(|()| String::from_utf8(out).expect("text"))
    }

    #[test]
    fn four_words_are_genders() {
        for (input, expected) in [("m", Ok("m")), (" MALE ", Ok("m")), ("F", Ok("f")), ("Female", Ok("f"))] {
            let mut out = Vec::new();
            assert_eq!(gender(input, &mut out).map(|()| std::str::from_utf8(&out).expect("text")), expected);
        }
        for input in ["mr", "x", "non-binary", "weiblich", "ｍ"] {
            assert_eq!(gender(input, &mut Vec::new()), Err(DropReason::NotAGender));
        }
        assert_eq!(gender(" ", &mut Vec::new()), Err(DropReason::Empty));
    }

    #[test]
    fn dates_in_the_orders_that_are_understood() {
        for input in [
            "19970216",
            "1997-02-16",
            "1997-2-16",
            "2/16/1997",
            "02/16/1997",
            "16/2/1997",
            "16.02.1997",
            " 1997/02/16 ",
            "1997-16-02",
            "1997-02-16T00:00:00Z",
            "1997-02-16 9:30",
            "1997 - 02 - 16",
            "02, 16, 1997",
            "1997年2月16日",
            "1997_02_16",
        ] {
            assert_eq!(date(input).as_deref(), Ok("19970216"), "{input}");
        }
        assert_eq!(date("2000-02-29").as_deref(), Ok("20000229"));
        assert_eq!(date("20261122").as_deref(), Ok("20261122"));
        assert_eq!(date("3/4/1900").as_deref(), Ok("19000304"));
    }

    #[test]
    fn dates_that_are_none_or_unbelievable_are_dropped() {
        for input in [
            "16021997",
            "1997-02-31",
            "1900-02-29",
            "2026-11-23",
            "1899-12-31",
            "02/16/97",
            "01/02/03",
            "1997-02",
            "1997-02-16-01",
            "1997-02-16 01",
            "1997-02-16T000000",
            "16-Feb-1997",
            "1997--16",
            "0000-00-00",
            "1997-00-10",
            "1997-10-00",
            "19970229",
            "１９９７0216",
            "99999-01-01",
        ] {
            assert_eq!(date(input), Err(DropReason::BadDate), "{input}");
        }
    }
}
