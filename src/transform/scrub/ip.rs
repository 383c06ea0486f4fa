//! IP addresses: dotted quads and the colon forms of v6.

use super::context::{self, Topic};
use super::view::{View, step};
use super::{Found, Hit};

/// The longest textual form of a v6 address, in bytes.
const V6_BYTES_MAX: usize = 45;

/// The dotted quad that begins with the digits at `start`. Bounds: 15 bytes.
pub(super) fn v4_at(view: &View, start: usize) -> Option<usize> {
    let before = view.before(start);
    if !view.free_before(start) || before == b'.' && view.before(start - 1).is_ascii_alphanumeric() || before == b',' {
        return None;
    }
    let mut at = start;
    let mut small = true;
    for part in 0..4 {
        if part > 0 {
            if view.at(at) != b'.' {
                return None;
            }
            at += 1;
        }
        let digits = (0..4).take_while(|i| view.at(at + i).is_ascii_digit()).count();
        step(digits + 1);
        let value = view.text().get(at..at + digits)?.parse::<u16>().ok()?;
        if digits > 3 || value > 255 {
            return None;
        }
        small &= value < 20;
        at += digits;
    }
    let more =
        view.at(at) == b'.' && view.at(at + 1).is_ascii_alphanumeric() || view.at(at) == b'-' && view.at(at + 1).is_ascii_alphanumeric();
    if !view.free_after(at) || more {
        return None;
    }
    // "version 1.2.3.4", "§ 3.1.2.4": numbers of things have small parts, but a big one near such a word is no address either.
    let topic = context::before(view, start);
    (topic != Some(Topic::Version) && !(small && topic == Some(Topic::Thing))).then_some(at)
}

/// Appends every v6 address in the view. Bounds: each run of hexadecimal digits, colons and dots is read once; only its first 45 bytes are parsed.
pub(super) fn find_v6(view: &View, found: &mut Vec<Found>) {
    let bytes = view.bytes();
    let mut done = 0;
    for colon in memchr::memchr_iter(b':', bytes) {
        if colon < done {
            continue;
        }
        let part = |b: u8| b.is_ascii_hexdigit() || b == b':' || b == b'.';
        let start = colon - bytes[done..colon].iter().rev().take(4).take_while(|b| b.is_ascii_hexdigit()).count();
        let len = bytes[start..].iter().take_while(|b| part(**b)).count();
        step(len + 4);
        done = start + len;
        let run = &bytes[start..done];
        let run = run.strip_suffix(b".").unwrap_or(run);
        let run = if run.ends_with(b"::") { run } else { run.strip_suffix(b":").unwrap_or(run) };
        let mut end = start + run.len();
        if run.len() > V6_BYTES_MAX || !view.free_before(start) || !view.free_after(end) || !is_v6(&view.text()[start..end]) {
            continue;
        }
        if view.at(end) == b'%' {
            let zone = bytes[end + 1..].iter().take(16).take_while(|b| b.is_ascii_alphanumeric()).count();
            end += if zone > 0 { zone + 1 } else { 0 };
        }
        found.push(Found { start, end, hit: Hit::Ip });
        done = done.max(end);
    }
}

/// Whether it is an address that could be somebody's: not `::`, not `std::vec`, not `a::b`.
fn is_v6(text: &str) -> bool {
    let groups = || text.split([':', '.']).filter(|g| !g.is_empty());
    text.parse::<std::net::Ipv6Addr>().is_ok()
        && groups().count() >= 2
        && groups().any(|g| g.len() >= 3)
        && text.bytes().any(|b| b.is_ascii_digit())
}
