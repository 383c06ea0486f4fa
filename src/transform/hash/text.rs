//! Digests as text: lower-case hex and unpadded base64url, without tables or branches, so that no byte's value shows in the time taken.

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
    let mut digits = [0; 32];
    digits[..8].copy_from_slice(&eight_digits(u64::from_be_bytes([0, 0, a, b, c, d, e, f])));
    digits[8..16].copy_from_slice(&eight_digits(u64::from_be_bytes([0, 0, g, h, i, j, k, l])));
    digits[16..24].copy_from_slice(&eight_digits(u64::from_be_bytes([0, 0, m, n, o, p, 0, 0])));
    digits.iter_mut().for_each(|digit| *digit = base64url_character(*digit));
    let mut text = [0; 22];
    text.copy_from_slice(&digits[..22]);
    text
}

/// The eight base-64 digits of 48 bits.
#[inline(always)]
fn eight_digits(bits: u64) -> [u8; 8] {
    // 48 bits → two of 24, four of 12, eight of 6, each in its own half, quarter, byte.
    let x = ((bits << 8) & 0x00ff_ffff_0000_0000) | (bits & 0x0000_0000_00ff_ffff);
    let x = ((x << 4) & 0x0fff_0000_0fff_0000) | (x & 0x0000_0fff_0000_0fff);
    let x = ((x << 2) & 0x3f00_3f00_3f00_3f00) | (x & 0x003f_003f_003f_003f);
    x.to_be_bytes()
}

/// `A`–`Z`, `a`–`z`, `0`–`9`, `-`, `_` for 0–63.
#[inline(always)]
fn base64url_character(digit: u8) -> u8 {
    // How far the character lies from its digit: 65, from 26 on 71, from 52 on -4, at 62 -17, at 63 32.
    let mut offset = 65_u8;
    offset = offset.wrapping_add(if digit >= 26 { 71 - 65 } else { 0 });
    offset = offset.wrapping_sub(if digit >= 52 { 71 + 4 } else { 0 });
    offset = offset.wrapping_sub(if digit >= 62 { 17 - 4 } else { 0 });
    offset = offset.wrapping_add(if digit >= 63 { 32 + 17 } else { 0 });
    digit.wrapping_add(offset)
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
