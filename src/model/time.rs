//! Time as the line sees it: milliseconds since the epoch, given from outside.

/// One second. Units: ms.
pub const SECOND_MS: i64 = 1_000;
/// One hour. Units: ms.
pub const HOUR_MS: i64 = 3_600_000;
/// One day. Units: ms.
pub const DAY_MS: i64 = 86_400_000;

/// A civil date and time in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year.
    pub year: i32,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
    /// Second of the day, 0 to 86 399.
    pub second_of_day: u32,
}

/// The civil date and time of an instant, proleptic Gregorian calendar.
///
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`; checked against jiff below.
#[must_use]
pub fn civil(ms: i64) -> Civil {
    let seconds = ms.div_euclid(1_000);
    let days = seconds.div_euclid(86_400);
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u8;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u8;
    let year = (yoe + era * 400 + i64::from(month <= 2)) as i32;
    Civil { year, month, day, second_of_day: seconds.rem_euclid(86_400) as u32 }
}

/// Reads an RFC 3339 date-time. Units: ms since the epoch. Errors: `None`, and never the text.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    // jiff takes more than RFC 3339 (no offset, week dates …): the shape is checked first.
    let b = text.as_bytes();
    if b.len() < 20 || b[4] != b'-' || b[7] != b'-' || !matches!(b[10], b'T' | b't' | b' ') || b[13] != b':' || b[16] != b':' {
        return None;
    }
    text.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc3339() {
        assert_eq!(parse_rfc3339("2026-09-21T14:13:20Z"), Some(1_790_000_000_000));
        assert_eq!(parse_rfc3339("2026-09-21T16:13:20.5+02:00"), Some(1_790_000_000_500));
        for bad in
            ["", "2026-09-21", "2026-09-21T14:13:20", "yesterday", "2026-13-01T00:00:00Z", "20260921T141320Z", "２０26-09-21T14:13:20Z"]
        {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn civil_equals_jiff(ms in -60_000_000_000_000i64..250_000_000_000_000) {
            let t = jiff::Timestamp::from_millisecond(ms).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            let c = civil(ms);
            prop_assert_eq!((c.year, c.month, c.day), (i32::from(t.year()), t.month() as u8, t.day() as u8));
            prop_assert_eq!(c.second_of_day as i64, i64::from(t.hour()) * 3600 + i64::from(t.minute()) * 60 + i64::from(t.second()));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = parse_rfc3339(&text);
        }
    }
}
