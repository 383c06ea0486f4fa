//! The row's own values where text is not prose: event names, path segments, campaign values, item texts. `scrub` finds what has a shape;
//! a name or an id of the row's own person has none, and stands between `-`, `_` or `%20` as often as between spaces.

use crate::transform::scrub::Hit;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// A clear value of the row, and what it is called where it stood.
pub type Own<'a> = (Hit, &'a str);

/// Which pairs of neighbouring bytes a text has, case aside: a quick look that tells most values apart from most texts.
struct Pairs {
    bits: [u64; 16],
    /// The text may spell a value in other bytes.
    any: bool,
}

impl Pairs {
    fn of(text: &[u8]) -> Pairs {
        let mut pairs = Pairs { bits: [0; 16], any: false };
        for pair in text.windows(2) {
            let (word, bit) = Self::place(pair[0], pair[1]);
            pairs.bits[word] |= bit;
        }
        // `%20` and other punctuation cannot hide a letter or digit; `%41` and `%C3` can.
        let hides = |pair: &[u8]| pair[0] == b'%' && !matches!(pair[1], b'2' | b'5');
        pairs.any = !text.is_ascii() || text.windows(2).any(hides);
        pairs
    }

    fn place(a: u8, b: u8) -> (usize, u64) {
        let n = usize::from(a & 31) << 5 | usize::from(b & 31);
        (n >> 6, 1 << (n & 63))
    }

    /// Whether `value` may stand in the text.
    fn may_hold(&self, value: &str) -> bool {
        self.any
            || value.as_bytes().windows(2).filter(|p| p.iter().all(u8::is_ascii_alphanumeric)).all(|p| {
                let (word, bit) = Self::place(p[0], p[1]);
                self.bits[word] & bit != 0
            })
    }
}

/// Whether one of `values` may stand in `text`: never a wrong no.
#[must_use]
pub fn may_hold(text: &[u8], values: &[Own<'_>]) -> bool {
    let pairs = Pairs::of(text);
    values.iter().any(|(_, value)| pairs.may_hold(value.trim()))
}

/// The text with every whole-word occurrence of a value replaced by its tag, case and accents aside; `None` if there is none. A word's edge
/// is whatever is no letter or digit. A value of one character is none.
#[must_use]
pub fn mask(text: &str, values: &[Own<'_>]) -> Option<String> {
    let pairs = Pairs::of(text.as_bytes());
    let mut found: Vec<(usize, usize, Hit)> = Vec::new();
    let mut folded: Vec<(char, usize)> = Vec::new();
    for (hit, value) in values {
        let value = value.trim();
        if !pairs.may_hold(value) {
            continue;
        }
        if folded.is_empty() {
            folded = fold(text);
        }
        let needle = fold(value);
        if needle.len() < 2 {
            continue;
        }
        let letter = |at: Option<&(char, usize)>| at.is_some_and(|(c, _)| c.is_alphanumeric());
        for start in 0..(folded.len() + 1).saturating_sub(needle.len()) {
            let end = start + needle.len();
            let same = folded[start..end].iter().zip(&needle).all(|(a, b)| a.0 == b.0);
            let whole = same && !letter(start.checked_sub(1).and_then(|at| folded.get(at))) && !letter(folded.get(end));
            if whole {
                found.push((folded[start].1, folded.get(end).map_or(text.len(), |(_, at)| *at), *hit));
            }
        }
    }
    if found.is_empty() {
        return None;
    }
    found.sort_unstable_by_key(|(start, end, _)| (*start, std::cmp::Reverse(*end)));
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for (start, end, hit) in found {
        if start >= from {
            out.push_str(&text[from..start]);
            out.push_str(hit.tag());
        }
        from = from.max(end);
    }
    out.push_str(&text[from..]);
    Some(out)
}

/// A path of which every segment that holds a value is `:name` or `:id` instead; `None` if there is none.
#[must_use]
pub fn mask_path(path: &str, values: &[Own<'_>]) -> Option<String> {
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
#[must_use]
pub fn mask_url(url: &str, values: &[Own<'_>]) -> Option<String> {
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
    text.char_indices()
        .flat_map(|(at, c)| std::iter::once(c).nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).map(move |c| (c, at)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANA: [Own<'_>; 3] = [(Hit::FirstName, "Ana"), (Hit::LastName, " Müller "), (Hit::ExternalId, "cust-42")];

    #[test]
    fn whole_words_go_and_parts_stay() {
        for (text, want) in [
            ("signup_ana", Some("signup_[first_name]")),
            ("ANA.MULLER", Some("[first_name].[last_name]")),
            ("banana", None),
            ("cust-42", Some("[external_id]")),
            ("cust-421", None),
            ("Mu\u{308}ller!", Some("[last_name]!")),
            ("", None),
        ] {
            assert_eq!(mask(text, &ANA).as_deref(), want, "{text}");
            assert!(want.is_none() || may_hold(text.as_bytes(), &ANA));
        }
    }

    #[test]
    fn segments_of_a_path() {
        for (path, want) in
            [("/u/ana-m%C3%BCller/orders", Some("/u/:name/orders")), ("/c/cust-42", Some("/c/:id")), ("/p/banana", None), ("/", None)]
        {
            assert_eq!(mask_path(path, &ANA).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn urls() {
        for (url, want) in [
            (
                "https://a.example/u/ana?utm_source=to+ana&x=ana#ana",
                Some("https://a.example/u/:name?utm_source=to%20%5Bfirst%5Fname%5D&x=ana#ana"),
            ),
            ("https://ana.example/", None),
            ("https://a.example?utm_term=%41na", Some("https://a.example?utm_term=%5Bfirst%5Fname%5D")),
            ("/c/cust-42", Some("/c/:id")),
            ("", None),
        ] {
            assert_eq!(mask_url(url, &ANA).as_deref(), want, "{url}");
            assert!(want.is_none() || may_hold(url.as_bytes(), &ANA));
        }
    }

    proptest! {
        #[test]
        fn the_quick_look_never_misses(text in "[ -~äöüéß]{0,30}", value in "[a-zA-Zäé]{2,5}", at in 0usize..30) {
            let mut text = text;
            let at = (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap();
            text.insert_str(at, &format!("-{}-", value.to_uppercase()));
            let values = [(Hit::FirstName, value.as_str())];
            prop_assert!(may_hold(text.as_bytes(), &values));
            prop_assert!(mask(&text, &values).is_some());
            let _ = mask_path(&text, &values);
        }
    }
}
