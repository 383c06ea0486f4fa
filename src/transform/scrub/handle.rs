//! `@somebody`: names on social networks.

use super::view::{View, in_word, step};
use super::{Found, Hit};

/// Longest handle, in characters.
const HANDLE_CHARS_MAX: usize = 64;

/// Appends every handle in the view. Bounds: `HANDLE_CHARS_MAX` characters after each `@`, and a domain of as many.
pub(super) fn find(view: &View, found: &mut Vec<Found>) {
    for at in memchr::memchr_iter(b'@', view.bytes()) {
        if !view.free_before(at) || matches!(view.before(at), b'@' | b'/' | b'.' | b'=') && view.before(at) != b'/' {
            continue;
        }
        let Some(mut end) = word(view, at + 1) else { continue };
        if view.at(end) == b'/' {
            continue; // a package scope: @angular/core
        }
        if view.at(end) == b'@' {
            end = word(view, end + 1).unwrap_or(end); // @ana@mastodon.example
        }
        found.push(Found { start: at, end, hit: Hit::Handle });
    }
}

fn word(view: &View, from: usize) -> Option<usize> {
    let text = &view.text()[from..];
    let first = text.chars().next()?;
    if !(in_word(first) && first.is_alphabetic() || first == '_') {
        return None;
    }
    let (mut chars, mut end, mut kept) = (0, from, from);
    for c in text.chars().take(HANDLE_CHARS_MAX + 1) {
        if !in_word(c) && !matches!(c, '_' | '.' | '-') {
            break;
        }
        chars += 1;
        end += c.len_utf8();
        if c != '.' && c != '-' {
            kept = end;
        }
    }
    step(chars);
    (2..=HANDLE_CHARS_MAX).contains(&chars).then_some(kept)
}
