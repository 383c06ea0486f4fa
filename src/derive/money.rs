//! Amounts as whole millionths of a currency unit, so that a sum is exact whatever the order.

/// Millionths of one unit.
const MICRO: i128 = 1_000_000;
/// Amounts from here on are no amounts. Units: currency units.
const LIMIT: f64 = 1e15;

/// Millionths of a currency unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub i128);

impl Micros {
    /// A double, rounded to millionths. Errors: `None` for what is not finite or from a quadrillion on.
    #[must_use]
    pub fn of_double(value: f64) -> Option<Micros> {
        (value.is_finite() && value.abs() < LIMIT).then(|| Micros((value * MICRO as f64).round() as i128))
    }

    /// Decimal text; digits behind the sixth are cut off. Errors: `None` for other text, and for what is too large.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Micros> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        if !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            // An exponent: rare enough for the double's way.
            return Micros::of_double(text.parse().ok()?);
        }
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && part.is_empty() || whole.len() > 15 || part.contains('.') {
            return None;
        }
        let mut micros = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()? * MICRO };
        let mut scale = MICRO / 10;
        for digit in part.bytes().take(6) {
            micros += i128::from(digit - b'0') * scale;
            scale /= 10;
        }
        Some(Micros(if negative { -micros } else { micros }))
    }

    /// Decimal text without an exponent or needless zeros.
    #[must_use]
    pub fn to_text(self) -> String {
        let (sign, n) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let text = format!("{sign}{}.{:06}", n / MICRO as u128, n % MICRO as u128);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// The sum; it stops at the largest number there is.
    #[must_use]
    pub fn plus(self, other: Micros) -> Micros {
        Micros(self.0.saturating_add(other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_and_doubles_mean_the_same() {
        for (text, want) in
            [("0", "0"), ("19.99", "19.99"), ("-0.5", "-0.5"), (".5", "0.5"), ("3.", "3"), ("1.2345678", "1.234567"), ("1e3", "1000")]
        {
            assert_eq!(Micros::of_text(text).unwrap().to_text(), want, "{text}");
        }
        assert_eq!(Micros::of_double(0.1).unwrap().plus(Micros::of_double(0.2).unwrap()).to_text(), "0.3");
        for bad in ["", ".", "-", "1.2.3", "x", "1234567890123456", "1e300", "NaN", "inf"] {
            assert_eq!(Micros::of_text(bad), None, "{bad}");
        }
        assert_eq!(Micros::of_double(f64::INFINITY), None);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(n in -1_000_000_000_000_000_000i128..1_000_000_000_000_000_000) {
            prop_assert_eq!(Micros::of_text(&Micros(n).to_text()), Some(Micros(n)));
        }

        #[test]
        fn never_panics(text in ".{0,20}") {
            let _ = Micros::of_text(&text);
        }
    }
}
