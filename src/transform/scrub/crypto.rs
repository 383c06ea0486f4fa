//! Addresses of crypto wallets, told by their checksums: Bitcoin's base58check and bech32; and Ethereum's 40 hexadecimal digits.
//!
//! Source: Bitcoin wiki "Base58Check encoding", BIP 173 and BIP 350, EIP-55 (read 2026-11).

use super::view::{View, step};
use super::{Found, Hit};
use sha2::{Digest, Sha256};

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const BASE32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// Lengths of an address, in characters.
const LENGTHS: std::ops::RangeInclusive<usize> = 26..=90;

/// Appends every address. Bounds: each byte is in one word; words of other lengths are passed over; a checksum looks at 90 characters.
pub(super) fn find(view: &View, found: &mut Vec<Found>) {
    let bytes = view.bytes();
    let mut at = 0;
    while at < bytes.len() {
        let len = bytes[at..].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        step(len + 1);
        let end = at + len;
        if LENGTHS.contains(&len) && view.free_before(at) && view.free_after(end) && is_address(&bytes[at..end]) {
            found.push(Found { start: at, end, hit: Hit::Crypto });
        }
        at = end + 1;
    }
}

fn is_address(word: &[u8]) -> bool {
    step(word.len() * word.len());
    match word {
        [b'1' | b'3', ..] if word.len() <= 35 => base58(word),
        [b'0', b'x', hex @ ..] => hex.len() == 40 && hex.iter().all(u8::is_ascii_hexdigit),
        [b'b' | b'B', b'c' | b'C', b'1', ..] => bech32(word),
        _ => false,
    }
}

/// 25 bytes, of which the last four are the first of the others' double SHA-256.
fn base58(word: &[u8]) -> bool {
    let mut number = [0u8; 25];
    for c in word {
        let Some(digit) = BASE58.iter().position(|b| b == c) else { return false };
        let mut carry = digit;
        for byte in number.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        if carry > 0 {
            return false;
        }
    }
    Sha256::digest(Sha256::digest(&number[..21]))[..4] == number[21..]
}

/// The checksum of BIP 173, or of BIP 350.
fn bech32(word: &[u8]) -> bool {
    let same_case = !(word.iter().any(u8::is_ascii_lowercase) && word.iter().any(u8::is_ascii_uppercase));
    let values = word[3..].iter().map(|c| BASE32.iter().position(|b| *b == c.to_ascii_lowercase()));
    let Some(values) = values.collect::<Option<Vec<usize>>>() else { return false };
    // The human-readable part `bc`, expanded.
    let check = [3usize, 3, 0, 2, 3].into_iter().chain(values).fold(1usize, |check, value| {
        let top = check >> 25;
        let generators = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
        let mixed = (0..5).filter(|i| top >> i & 1 == 1).fold(0, |mixed, i| mixed ^ generators[i]);
        (check & 0x1ff_ffff) << 5 ^ value ^ mixed
    });
    same_case && (check == 1 || check == 0x2bc8_30a3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_standards_own_examples() {
        for good in [
            "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
            "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
            "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        ] {
            assert!(is_address(good.as_bytes()), "{good}");
            let mut torn = good.as_bytes().to_vec();
            torn.swap(10, 11);
            assert!(torn[0] == b'0' || !is_address(&torn), "{good}");
        }
        assert!(!is_address(b"5f2b8c1e9d0a4b7c6e3f1a2d4c5b6a7e8f90a1b2"));
    }
}
