//! What is computed for each value: the states to start from, the bytes that stand in front, and the second hash of an HMAC.

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// Bytes in one block of SHA-256.
pub(super) const BLOCK: usize = 64;

/// Longest prefix in bytes, so that it always lies in the first block.
pub const PREFIX_LEN_MAX: usize = BLOCK - 1;

/// SHA-256 state before the first block. Source: FIPS 180-4 §5.3.3.
const INITIAL: [u32; 8] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Length in bits of what the outer hash of an HMAC reads: one block of key, one digest.
pub(super) const OUTER_BITS: u32 = ((BLOCK + 32) * 8) as u32;

/// A key of HMAC-SHA-256 as the two states it leads to, so that a short value costs two compressions and the key itself is not kept.
///
/// The states are as good as the key: they are wiped on drop, and cannot be printed, cloned or serialised.
///
/// ```compile_fail
/// let key = lethe::transform::hash::HmacKey::new(&[7; 32]);
/// println!("{key:?}");
/// ```
/// ```compile_fail
/// let key = lethe::transform::hash::HmacKey::new(&[7; 32]);
/// let _ = key.clone();
/// ```
pub struct HmacKey {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl HmacKey {
    /// Precomputes the states of a key. Shape: any length; more than 64 bytes are hashed first. Source: RFC 2104 §2.
    #[must_use]
    pub fn new(key: &[u8]) -> HmacKey {
        let mut block = Zeroizing::new([0u8; BLOCK]);
        if key.len() > BLOCK {
            let mut digest = Sha256::digest(key);
            block[..32].copy_from_slice(&digest);
            digest.as_mut_slice().zeroize();
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let mut states = HmacKey { inner: INITIAL, outer: INITIAL };
        let mut padded = Zeroizing::new(*block);
        padded.iter_mut().for_each(|byte| *byte ^= 0x36);
        compress256(&mut states.inner, std::slice::from_ref(&*padded));
        padded.iter_mut().for_each(|byte| *byte ^= 0x36 ^ 0x5c);
        compress256(&mut states.outer, std::slice::from_ref(&*padded));
        states
    }
}

impl Drop for HmacKey {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

/// One computation, the same for a whole column.
pub(super) struct Recipe<'k> {
    /// State before the first block of prefix ‖ value.
    pub start: &'k [u32; 8],
    /// Bytes already in that state.
    pub start_len: u32,
    /// For an HMAC, the state before the inner digest is hashed again.
    pub outer: Option<&'k [u32; 8]>,
    /// The prefix, followed by zeros.
    pub prefix: [u8; BLOCK],
    /// Its length, at most [`PREFIX_LEN_MAX`].
    pub prefix_len: usize,
}

impl<'k> Recipe<'k> {
    pub fn sha256() -> Recipe<'static> {
        Recipe { start: &INITIAL, start_len: 0, outer: None, prefix: [0; BLOCK], prefix_len: 0 }
    }

    pub fn hmac(key: &'k HmacKey, prefix: &[u8]) -> Recipe<'k> {
        assert!(prefix.len() <= PREFIX_LEN_MAX, "a prefix of {} bytes, the most is {PREFIX_LEN_MAX}", prefix.len());
        let mut padded = [0; BLOCK];
        padded[..prefix.len()].copy_from_slice(prefix);
        Recipe { start: &key.inner, start_len: BLOCK as u32, outer: Some(&key.outer), prefix: padded, prefix_len: prefix.len() }
    }
}
