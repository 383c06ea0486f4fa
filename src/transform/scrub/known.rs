//! The row's own values, wherever they stand in its text as whole words, whatever their case and accents.

use memchr::memmem;

use super::view::{View, in_word, step, unspaced};
use super::{Found, Hit, ScrubRules};

/// The longest value that is looked for again from the next byte after a match inside of a word.
const RETRIED_BYTES_MAX: usize = 128;

/// Appends every whole-word match of a known value. Bounds: one linear search of the text per value.
///
/// A single letter is no value: it would take every "I" and "a" with it. In scripts without spaces any place counts as a word's edge,
/// so there a value of one character is no value either.
pub(super) fn find(text: &str, rules: &ScrubRules, known: &[(Hit, &str)], found: &mut Vec<Found>) {
    let view = View::folded(text);
    let mut matches = Vec::new();
    for (hit, value) in known.iter().filter(|(hit, _)| rules.on(*hit)) {
        let needle = View::folded(value.trim());
        if needle.text().chars().nth(1).is_none() || needle.bytes().len() > view.bytes().len() {
            continue;
        }
        step(view.bytes().len());
        let (finder, len) = (memmem::Finder::new(needle.bytes()), needle.bytes().len());
        let mut at = 0;
        while let Some(start) = finder.find(&view.bytes()[at..]).map(|i| at + i) {
            let whole = edge(&view, start, &needle, true) && edge(&view, start + len, &needle, false);
            if whole {
                matches.push(Found { start: view.origin(start), end: view.origin(start + len), hit: *hit });
            }
            // What begins inside of a part of a word may still be whole; long values are not tried again, which keeps the search linear.
            at = if whole || len > RETRIED_BYTES_MAX { start + len } else { start + 1 };
            step(len);
        }
    }
    found.extend(matches.into_iter().filter(|f| f.start < f.end && text.is_char_boundary(f.start) && text.is_char_boundary(f.end)));
}

/// Whether a word may begin (`before`) or end at `at`, given the value's own character there.
fn edge(view: &View, at: usize, needle: &View, before: bool) -> bool {
    let (outside, inside) = if before {
        (view.text()[..at].chars().next_back(), needle.text().chars().next())
    } else {
        (view.text()[at..].chars().next(), needle.text().chars().next_back())
    };
    let inside = inside.unwrap_or(' ');
    let joined = outside.is_some_and(|c| in_word(c) || c == '_' || ('\u{0300}'..='\u{036F}').contains(&c));
    !joined || unspaced(inside) || !inside.is_alphanumeric()
}
