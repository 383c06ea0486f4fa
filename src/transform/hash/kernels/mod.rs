//! The kernels in processor instructions, and so `unsafe`.
//!
//! What they rely on, and who answers for it:
//! - the instructions exist: a `Hasher` is only ever made for a kernel that the processor can run;
//! - every span lies in the arena: `Window` settles that before a kernel sees it.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod shani;

use super::recipe::Recipe;
#[cfg(target_arch = "x86_64")]
use super::window::Values;
use super::{Hasher, Kernel, portable};
use crate::model::span::Span;

/// SHA-256 round constants. Source: FIPS 180-4 §4.2.2.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
static ROUND: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// The padding of a block, for every length: the 64 bytes from `64 - n` on are zero but for 0x80 at place n; from 65 on, all zero.
#[cfg(target_arch = "x86_64")]
static PADDING: [u8; 130] = {
    let mut bytes = [0; 130];
    bytes[64] = 0x80;
    bytes
};

/// Whether the processor has what the SHA-NI kernel uses.
pub(super) fn shani_is_available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether the processor and the operating system have what the AVX-512 kernel uses.
pub(super) fn avx512_is_available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("bmi2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Runs the recipe two values at a time. Shape: `out` is as long as `values`.
pub(super) fn run_shani<const N: usize>(by: Hasher, recipe: &Recipe<'_>, arena: &[u8], values: &[Span], out: &mut [[u8; N]]) {
    assert_eq!(by.kernel, Kernel::ShaNi);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `by` was made for this kernel, so the processor has its instructions.
    unsafe {
        shani::run(recipe, arena, values, out);
    }
    #[cfg(not(target_arch = "x86_64"))]
    portable::run(recipe, arena, values, out);
}

/// Runs the recipe 32 values at a time. Shape: `out` is as long as `values`.
pub(super) fn run_avx512<const N: usize>(by: Hasher, recipe: &Recipe<'_>, arena: &[u8], values: &[Span], out: &mut [[u8; N]]) {
    assert_eq!(by.kernel, Kernel::Avx512);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `by` was made for this kernel, so the processor has its instructions.
    unsafe {
        avx512::run(recipe, arena, values, out);
    }
    #[cfg(not(target_arch = "x86_64"))]
    portable::run(recipe, arena, values, out);
}

/// Runs the recipe on values one by one: what is too long or too little for lanes.
#[cfg(target_arch = "x86_64")]
fn one_by_one<const N: usize>(recipe: &Recipe<'_>, values: &Values<'_>, out: &mut [[u8; N]]) {
    for (position, &place) in values.places().iter().enumerate() {
        out[usize::from(place)] = portable::one(recipe, values.span(position).of(values.arena()));
    }
}
