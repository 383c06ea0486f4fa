//! Pseudonyms: keyed, so that only the holder of the tenant's key can make one from a clear value.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;

/// The generation of a tenant's key. Units: counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u16);

/// First 16 bytes of HMAC-SHA-256(tenant key of the epoch, identifier type ‖ 0x00 ‖ normalised value). Still personal data: does not print in full.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pseudonym(pub [u8; 16]);

impl Pseudonym {
    /// Length of the text form without the epoch. Units: bytes.
    pub const TEXT_LEN: usize = 22;
}

impl fmt::Debug for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pseudonym({:02x}…)", self.0[0])
    }
}

/// Reads the text form. Errors: `None`, and never the text.
#[must_use]
pub fn read_text(text: &str) -> Option<(Epoch, Pseudonym)> {
    let (epoch, value) = text.split_once('.')?;
    let canonical = !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit()) && (epoch.len() == 1 || !epoch.starts_with('0'));
    if !canonical || value.len() != Pseudonym::TEXT_LEN {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
    Some((Epoch(epoch.parse().ok()?), Pseudonym(bytes.try_into().ok()?)))
}

/// The text form. Shape: `<epoch>.<base64url, 22 characters>`.
#[must_use]
pub fn text(epoch: Epoch, pseudonym: Pseudonym) -> String {
    format!("{}.{}", epoch.0, URL_SAFE_NO_PAD.encode(pseudonym.0))
}

/// Appends `<epoch>.<base64url, 22 characters>` to `out`.
pub fn write_text(epoch: Epoch, text: &[u8; 22], out: &mut Vec<u8>) {
    if epoch.0 < 10 {
        // Nearly always.
        out.extend_from_slice(&[b'0' + epoch.0 as u8, b'.']);
    } else {
        write_epoch(epoch, out);
    }
    out.extend_from_slice(text);
}

/// Appends `<epoch>.` to `out`.
fn write_epoch(epoch: Epoch, out: &mut Vec<u8>) {
    let mut digits = [0u8; 5];
    let mut n = epoch.0;
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.push(b'.');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_epoch_dot_base64url() {
        for (epoch, want) in [(1, "1."), (10, "10."), (65_535, "65535."), (0, "0.")] {
            let mut out = Vec::new();
            write_text(Epoch(epoch), b"abcdefghijklmnopqrstuv", &mut out);
            assert_eq!(out, format!("{want}abcdefghijklmnopqrstuv").into_bytes());
        }
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let p = Pseudonym(*b"0123456789abcdef");
        let written = text(Epoch(12), p);
        assert_eq!(read_text(&written), Some((Epoch(12), p)));
        let mut streamed = Vec::new();
        write_text(Epoch(12), written.as_bytes()[3..].try_into().unwrap(), &mut streamed);
        assert_eq!(streamed, written.as_bytes());
        let value = &written[3..];
        for bad in [
            "",
            ".",
            value,
            &format!(".{value}"),
            &format!("01.{value}"),
            &format!("+1.{value}"),
            &format!("70000.{value}"),
            &written[..24],
            &format!("{written}="),
        ] {
            assert_eq!(read_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn debug_does_not_print_it_in_full() {
        assert_eq!(format!("{:?}", Pseudonym([7; 16])), "Pseudonym(07…)");
    }
}
