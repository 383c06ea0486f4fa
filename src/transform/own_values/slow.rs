//! A slow, obvious twin of [`super::OwnValues`]: each value against each place.

use super::Own;
use crate::transform::scrub::{Hit, fold_char};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// The text with every whole-word occurrence of a value replaced by its tag, case and accents aside; `None` if there is none. A word's edge
/// is whatever is no letter or digit. A value of one character is none.
pub(crate) fn mask(text: &str, values: &[Own<'_>]) -> Option<String> {
    let mut found: Vec<(usize, usize, usize)> = Vec::new();
    let folded = fold(text);
    for (index, (_, value)) in values.iter().enumerate() {
        let needle = fold(value.trim());
        if needle.len() < 2 {
            continue;
        }
        let letter = |at: Option<&(char, usize)>| at.is_some_and(|(c, _)| c.is_alphanumeric());
        for start in 0..(folded.len() + 1).saturating_sub(needle.len()) {
            let end = start + needle.len();
            let same = folded[start..end].iter().zip(&needle).all(|(a, b)| a.0 == b.0);
            let whole = same && !letter(start.checked_sub(1).and_then(|at| folded.get(at))) && !letter(folded.get(end));
            if whole {
                found.push((folded[start].1, folded.get(end).map_or(text.len(), |(_, at)| *at), index));
            }
        }
    }
    if found.is_empty() {
        return None;
    }
    found.sort_unstable_by_key(|(start, end, index)| (*start, std::cmp::Reverse(*end), *index));
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for (start, end, index) in found {
        if start >= from {
            out.push_str(&text[from..start]);
            out.push_str(values[index].0.tag());
        }
        from = from.max(end);
    }
    out.push_str(&text[from..]);
    Some(out)
}

/// A path of which every segment that holds a value is `:name` or `:id` instead; `None` if there is none.
pub(crate) fn mask_path(path: &str, values: &[Own<'_>]) -> Option<String> {
    let mut changed = false;
    let segments = path.split('/').map(|segment| {
        let text = percent_decode_str(segment).decode_utf8_lossy();
        let hit = values.iter().find(|own| mask(&text, std::slice::from_ref(own)).is_some());
        changed |= hit.is_some();
        match hit {
            None => segment,
            Some((Hit::Name | Hit::FirstName | Hit::LastName, _)) => ":name",
            Some(_) => ":id",
        }
    });
    let masked = segments.collect::<Vec<_>>().join("/");
    changed.then_some(masked)
}

/// A URL of which the path and the UTM values hold none of the values; `None` if they held none. What else stands in the query goes nowhere
/// but where a click id is asked for.
pub(crate) fn mask_url(url: &str, values: &[Own<'_>]) -> Option<String> {
    let (address, rest) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
    let host_at = address.find("://").map_or(0, |at| at + 3);
    let path_at = address[host_at..].find(['/', '\\']).map_or(address.len(), |at| host_at + at);
    let path = mask_path(&address[path_at..], values);
    let query = rest.split('&').map(|pair| mask_utm(pair, values));
    let (mut changed, mut out) = (path.is_some(), address[..path_at].to_owned());
    out.push_str(path.as_deref().unwrap_or(&address[path_at..]));
    for (i, (pair, masked)) in rest.split('&').zip(query).enumerate() {
        changed |= masked.is_some();
        out.push_str(if i > 0 { "&" } else { "" });
        out.push_str(masked.as_deref().unwrap_or(pair));
    }
    changed.then_some(out)
}

fn mask_utm(pair: &str, values: &[Own<'_>]) -> Option<String> {
    let (name, value) = pair.split_once('=').filter(|(name, _)| name.trim_start_matches('?').starts_with("utm_"))?;
    let spaced = value.replace('+', " ");
    let masked = mask(&percent_decode_str(&spaced).decode_utf8_lossy(), values)?;
    Some(format!("{name}={}", utf8_percent_encode(&masked, NON_ALPHANUMERIC)))
}

/// Characters in lower case without accents, each with the place in bytes that it came from.
fn fold(text: &str) -> Vec<(char, usize)> {
    let mut out = Vec::new();
    for (at, c) in text.char_indices() {
        for part in std::iter::once(c).nfkd().filter(|c| !is_combining_mark(*c)) {
            let mut folded = String::new();
            fold_char(part, &mut folded);
            out.extend(folded.chars().map(|c| (c, at)));
        }
    }
    out
}
