//! Money: a value with its currency, or neither (destinations.md 1.11).

use super::write_number;
use crate::transform::batch::Number;

/// A value that a platform takes. Shape: the value is finite and not negative, the currency an upper-case code of ISO 4217. The value is
/// never rounded: the yen has no decimals, the Kuwaiti dinar three.
#[derive(Clone, Copy)]
pub struct Money<'r> {
    value: Number<'r>,
    currency: [u8; 3],
}

impl<'r> Money<'r> {
    /// Takes a value and its currency together. Shape: `None` if one of them is missing or bad.
    #[must_use]
    pub fn new(value: Number<'r>, currency: &str) -> Option<Money<'r>> {
        let mut currency: [u8; 3] = currency.as_bytes().try_into().ok()?;
        currency.make_ascii_uppercase();
        let valid = value.value.is_finite() && value.value >= 0.0 && is_known(currency);
        valid.then_some(Money { value, currency })
    }

    /// Appends the value as a JSON number.
    pub fn write_value(&self, out: &mut Vec<u8>) {
        write_number(self.value, out);
    }

    /// The currency's code.
    #[must_use]
    pub fn currency(&self) -> &str {
        std::str::from_utf8(&self.currency).unwrap_or("")
    }
}

/// Whether a code of upper-case letters is a currency's: by its first two letters, a bit for each third one. A search through the list was a
/// hundredth of the line.
fn is_known(code: [u8; 3]) -> bool {
    const KNOWN: [u32; 26 * 26] = {
        let (mut known, mut n) = ([0; 26 * 26], 0);
        while n < CURRENCIES.len() {
            let [a, b, c] = *CURRENCIES[n];
            known[(a - b'A') as usize * 26 + (b - b'A') as usize] |= 1 << (c - b'A');
            n += 1;
        }
        known
    };
    let [a, b, c] = code.map(|letter| letter.wrapping_sub(b'A'));
    a < 26 && b < 26 && c < 26 && KNOWN[usize::from(a) * 26 + usize::from(b)] >> c & 1 == 1
}

/// Currencies in use, without metals, units of account and codes for testing. Source: ISO 4217, read November 2026.
#[rustfmt::skip]
const CURRENCIES: [&[u8; 3]; 165] = [
    b"AED", b"AFN", b"ALL", b"AMD", b"AOA", b"ARS", b"AUD", b"AWG", b"AZN", b"BAM", b"BBD", b"BDT", b"BHD", b"BIF", b"BMD",
    b"BND", b"BOB", b"BOV", b"BRL", b"BSD", b"BTN", b"BWP", b"BYN", b"BZD", b"CAD", b"CDF", b"CHE", b"CHF", b"CHW", b"CLF",
    b"CLP", b"CNY", b"COP", b"COU", b"CRC", b"CUP", b"CVE", b"CZK", b"DJF", b"DKK", b"DOP", b"DZD", b"EGP", b"ERN", b"ETB",
    b"EUR", b"FJD", b"FKP", b"GBP", b"GEL", b"GHS", b"GIP", b"GMD", b"GNF", b"GTQ", b"GYD", b"HKD", b"HNL", b"HTG", b"HUF",
    b"IDR", b"ILS", b"INR", b"IQD", b"IRR", b"ISK", b"JMD", b"JOD", b"JPY", b"KES", b"KGS", b"KHR", b"KMF", b"KPW", b"KRW",
    b"KWD", b"KYD", b"KZT", b"LAK", b"LBP", b"LKR", b"LRD", b"LSL", b"LYD", b"MAD", b"MDL", b"MGA", b"MKD", b"MMK", b"MNT",
    b"MOP", b"MRU", b"MUR", b"MVR", b"MWK", b"MXN", b"MXV", b"MYR", b"MZN", b"NAD", b"NGN", b"NIO", b"NOK", b"NPR", b"NZD",
    b"OMR", b"PAB", b"PEN", b"PGK", b"PHP", b"PKR", b"PLN", b"PYG", b"QAR", b"RON", b"RSD", b"RUB", b"RWF", b"SAR", b"SBD",
    b"SCR", b"SDG", b"SEK", b"SGD", b"SHP", b"SLE", b"SOS", b"SRD", b"SSP", b"STN", b"SVC", b"SYP", b"SZL", b"THB", b"TJS",
    b"TMT", b"TND", b"TOP", b"TRY", b"TTD", b"TWD", b"TZS", b"UAH", b"UGX", b"USD", b"USN", b"UYI", b"UYU", b"UYW", b"UZS",
    b"VED", b"VES", b"VND", b"VUV", b"WST", b"XAD", b"XAF", b"XCD", b"XCG", b"XOF", b"XPF", b"YER", b"ZAR", b"ZMW", b"ZWG",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn money(value: f64, currency: &str) -> Option<String> {
        let mut out = Vec::new();
        let money = Money::new(Number { value, text: "" }, currency)?;
        money.write_value(&mut out);
        Some(format!("{} {}", String::from_utf8(out).expect("text"), money.currency()))
    }

    #[test]
    fn a_value_goes_with_a_known_currency_or_not_at_all() {
        assert_eq!(money(42.5, "usd").as_deref(), Some("42.5 USD"));
        assert_eq!(money(0.0, "JPY").as_deref(), Some("0 JPY"));
        assert_eq!(money(1.234, "KWD").as_deref(), Some("1.234 KWD"));
        for (value, currency) in
            [(1.0, ""), (1.0, "XXX"), (1.0, "USDT"), (1.0, "ÜS"), (-1.0, "EUR"), (f64::NAN, "EUR"), (f64::INFINITY, "EUR")]
        {
            assert_eq!(money(value, currency), None, "{value} {currency}");
        }
    }

    #[test]
    fn a_value_keeps_its_own_spelling() {
        let mut out = Vec::new();
        Money::new(Number { value: 12.1, text: "12.10" }, "EUR").expect("money").write_value(&mut out);
        assert_eq!(out, b"12.10");
    }

    #[test]
    fn a_code_is_known_if_it_is_in_the_list() {
        for code in (0..=u32::from_be_bytes([0, 255, 255, 255])).map(|n| n.to_be_bytes()) {
            let code = [code[1], code[2], code[3]];
            assert_eq!(is_known(code), CURRENCIES.binary_search(&&code).is_ok(), "{code:?}");
        }
    }
}
