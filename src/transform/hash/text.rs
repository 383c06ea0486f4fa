//! Digests as text: lower-case hex and unpadded base64url, without tables or branches, so that no byte's value shows in the time taken.

/// Eight bytes of ones.
const ONES: u64 = 0x0101_0101_0101_0101;

/// A digest as lower-case hex. Shape: 32 bytes in, 64 characters out. Source: RFC 4648 §8.
#[inline(always)]
#[must_use]
pub fn hex32(digest: &[u8; 32]) -> [u8; 64] {
    let mut out = [0; 64];
    for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(digest) {
        *pair = [hex_digit(byte >> 4), hex_digit(byte & 15)];
    }
    out
}

/// `0`–`9` for 0–9, `a`–`f` for 10–15.
#[inline(always)]
fn hex_digit(nibble: u8) -> u8 {
    nibble + b'0' + if nibble > 9 { b'a' - b'0' - 10 } else { 0 }
}

/// Sixteen bytes as base64url without padding. Shape: 16 bytes in, 22 characters out. Source: RFC 4648 §5.
#[inline]
#[must_use]
pub fn base64url16(bytes: &[u8; 16]) -> [u8; 22] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *bytes;
    let mut out = [0; 22];
    out[..8].copy_from_slice(&eight_characters(u64::from_be_bytes([0, 0, a, b, c, d, e, f])));
    out[8..16].copy_from_slice(&eight_characters(u64::from_be_bytes([0, 0, g, h, i, j, k, l])));
    out[16..].copy_from_slice(&eight_characters(u64::from_be_bytes([0, 0, m, n, o, p, 0, 0]))[..6]);
    out
}

/// The eight characters of 48 bits, eight at a time in one word.
#[inline(always)]
fn eight_characters(bits: u64) -> [u8; 8] {
    // 48 bits → two of 24, four of 12, eight of 6, each in its own half, quarter, byte.
    let x = (bits << 8) & 0x00ff_ffff_0000_0000 | bits & 0x0000_0000_00ff_ffff;
    let x = (x << 4) & 0x0fff_0000_0fff_0000 | x & 0x0000_0fff_0000_0fff;
    let x = (x << 2) & 0x3f00_3f00_3f00_3f00 | x & 0x003f_003f_003f_003f;
    // A byte of `at_least(n)` is 1 where the value is n or more. No sum below leaves its byte, so nothing carries.
    let at_least = |n: u64| ((x + ONES * (128 - n)) >> 7) & ONES;
    let text = x + ONES * u64::from(b'A') + at_least(26) * u64::from(b'a' - b'A' - 26)
        - at_least(52) * u64::from(b'a' - b'0' + 26)
        - at_least(62) * u64::from(b'0' + 10 - b'-')
        + at_least(63) * u64::from(b'_' - b'-' - 1);
    text.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_in_every_place_reads_as_the_crate_and_the_formatter_write_it() {
        for byte in 0..=255u8 {
            for place in 0..32 {
                let mut digest = [0x5a; 32];
                digest[place] = byte;
                let slow: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(str::from_utf8(&hex32(&digest)).unwrap(), slow);
                let half: [u8; 16] = *digest.first_chunk().unwrap();
                assert_eq!(str::from_utf8(&base64url16(&half)).unwrap(), URL_SAFE_NO_PAD.encode(half));
            }
        }
    }

    proptest! {
        #[test]
        fn base64url_equals_the_crate(bytes in any::<[u8; 16]>()) {
            prop_assert_eq!(URL_SAFE_NO_PAD.encode(bytes).into_bytes(), base64url16(&bytes).to_vec());
        }
    }
}
