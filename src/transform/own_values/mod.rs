//! The row's own values where text is not prose: event names, path segments, campaign values, item texts. `scrub` finds what has a shape;
//! a name or an id of the row's own person has none, and stands between `-`, `_` or `%20` as often as between spaces.
//!
//! Nearly all texts are ASCII and hold none of the values. So a row's values are made ready once, and a look at a text asks one table at the
//! beginning of each word, whatever the number of values, and allocates nothing but what a URL with something encoded is decoded into.

#[cfg(test)]
pub(crate) mod slow;

use crate::transform::bits::word_starts;
use crate::transform::enrich::page;
use crate::transform::normalise::trim;
use crate::transform::scrub::{Hit, fold_char};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, percent_decode_str, utf8_percent_encode};
use std::borrow::Cow;
use std::ops::Range;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// A clear value of the row, and what it is called where it stood.
pub type Own<'a> = (Hit, &'a str);

/// Which values a text is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// All but places: a town or postal code in a path says where the page is about, not where the person lives.
    NotPlaces,
}

/// The values of one row, made ready for looking. No `Debug`: they are clear.
#[derive(Default)]
pub struct OwnValues<'a> {
    values: Vec<Own<'a>>,
    /// What each value is searched for as, without white space around it: as it came, in either case, if it is ASCII, else folded. Numbered as
    /// `values`.
    needles: Vec<Cow<'a, str>>,
    /// With which two bytes a value begins: a bit for each [`beginning`]. Values that are not ASCII once folded cannot stand in a text that is.
    beginnings: [u64; 16],
}

/// A number for the first two bytes of a value, in either case: five bits of each. Others may share it.
#[inline(always)]
fn beginning(a: u8, b: u8) -> (usize, u32) {
    (usize::from(a & 0x1f) / 2, u32::from(a & 1) << 5 | u32::from(b & 0x1f))
}

/// A whole-word occurrence. Shape: bytes of the text, number of the value.
struct Occurrence {
    at: Range<usize>,
    value: usize,
}

impl<'a> OwnValues<'a> {
    /// Forgets the values: those of the next row come.
    pub fn clear(&mut self) {
        self.values.clear();
        self.needles.clear();
        self.beginnings = [0; 16];
    }

    /// Adds a value. What has a single character, or none, is no value.
    pub fn add(&mut self, hit: Hit, value: &'a str) {
        let trimmed = trim(value);
        let as_it_came = trimmed.is_ascii();
        let needle = if as_it_came { Cow::Borrowed(trimmed) } else { Cow::Owned(folded(trimmed)) };
        if as_it_came || needle.is_ascii() {
            let [a, b, ..] = *needle.as_bytes() else { return };
            let (word, bit) = beginning(a, b);
            self.beginnings[word] |= 1 << bit;
        } else if needle.chars().nth(1).is_none() {
            return;
        }
        self.needles.push(needle);
        self.values.push((hit, value));
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> &[Own<'a>] {
        &self.values
    }

    /// The text with every whole-word occurrence of a value replaced by its tag, case and accents aside; `None` if there is none. A word's
    /// edge is whatever is no letter or digit. Of occurrences that overlap the first counts, and the longest of those.
    #[must_use]
    pub fn mask(&self, text: &str, which: Which) -> Option<String> {
        let mut found = Vec::new();
        self.search(text, which, |occurrence| found.push(occurrence));
        if found.is_empty() {
            return None;
        }
        found.sort_unstable_by_key(|f| (f.at.start, std::cmp::Reverse(f.at.end), f.value));
        let (mut out, mut from) = (String::with_capacity(text.len()), 0);
        for f in found {
            if f.at.start >= from {
                out.push_str(&text[from..f.at.start]);
                out.push_str(self.values[f.value].0.tag());
            }
            from = from.max(f.at.end);
        }
        out.push_str(&text[from..]);
        Some(out)
    }

    /// The first of the values that stands in the text.
    fn held_by(&self, text: &str, which: Which) -> Option<Hit> {
        let mut first = None;
        self.search(text, which, |f| first = Some(first.map_or(f.value, |n: usize| n.min(f.value))));
        first.map(|n| self.values[n].0)
    }

    /// A URL of which the path and the UTM values hold none of the values; `None` if they held none. What else stands in the query goes
    /// nowhere but where a click id is asked for. In the path a segment that holds a value is `:name` or `:id` instead.
    #[must_use]
    pub fn mask_url(&self, url: &str, which: Which) -> Option<String> {
        if self.is_surely_clean(url.as_bytes(), which) {
            return None; // what stands in a piece of it stands in the whole: whatever ends a segment or a value is a word's edge
        }
        let (address, rest) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
        let host_at = address.find("://").map_or(0, |at| at + 3);
        let path_at = address[host_at..].find(['/', '\\']).map_or(address.len(), |at| host_at + at);
        let (host, path) = address.split_at(path_at);
        let held = |segment: &str| self.held_by(&percent_decode_str(segment).decode_utf8_lossy(), which);
        let in_path = path.split('/').any(|segment| held(segment).is_some());
        let in_query = rest.split('&').any(|pair| utm(pair).is_some_and(|(_, value)| self.held_by(&text(&value), which).is_some()));
        if !in_path && !in_query {
            return None;
        }
        let mut out = host.to_owned();
        for (i, segment) in path.split('/').enumerate() {
            out.push_str(if i > 0 { "/" } else { "" });
            out.push_str(match held(segment) {
                None => segment,
                Some(Hit::Name | Hit::FirstName | Hit::LastName) => ":name",
                Some(_) => ":id",
            });
        }
        for (i, pair) in rest.split('&').enumerate() {
            out.push_str(if i > 0 { "&" } else { "" });
            let masked = utm(pair).and_then(|(name, value)| Some((name, self.mask(&text(&value), which)?)));
            match masked {
                None => out.push_str(pair),
                Some((name, value)) => {
                    out.push_str(name);
                    out.push('=');
                    out.extend(utf8_percent_encode(&value, NON_ALPHANUMERIC));
                }
            }
        }
        Some(out)
    }

    /// A quick look at a URL as a whole: none of the values stands anywhere in it, whether `+` is a space, as in its query, or itself.
    fn is_surely_clean(&self, url: &[u8], which: Which) -> bool {
        let holds_none = |text: &[u8]| {
            let text = if memchr::memchr(b'%', text).is_some() { percent_decode(text).into() } else { Cow::Borrowed(text) };
            let mut clean = text.is_ascii();
            if clean {
                self.search_ascii(&text, which, |_| clean = false);
            }
            clean
        };
        let spaced = || url.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect::<Vec<u8>>();
        // Before the first segment of a path stands a `/`, but for those that begin with a backslash.
        memchr::memchr(b'\\', url).is_none() && holds_none(url) && (memchr::memchr(b'+', url).is_none() || holds_none(&spaced()))
    }

    fn search(&self, text: &str, which: Which, found: impl FnMut(Occurrence)) {
        if self.needles.is_empty() {
        } else if text.is_ascii() {
            self.search_ascii(text.as_bytes(), which, found);
        } else {
            self.search_folded(text, which, found);
        }
    }

    fn wanted(&self, value: usize, which: Which) -> bool {
        which == Which::All || self.values[value].0 != Hit::City
    }

    fn search_ascii(&self, text: &[u8], which: Which, mut found: impl FnMut(Occurrence)) {
        word_starts(text, |start| {
            let Some([a, b]) = text.get(start..).and_then(<[u8]>::first_chunk) else { return false };
            let (word, bit) = beginning(*a, *b);
            if self.beginnings[word] >> bit & 1 == 1 {
                self.search_at(text, start, which, &mut found);
            }
            true
        });
    }

    /// The values that stand at `start`, where a word begins.
    #[cold]
    fn search_at(&self, text: &[u8], start: usize, which: Which, found: &mut impl FnMut(Occurrence)) {
        for value in (0..self.needles.len()).filter(|n| self.wanted(*n, which)) {
            let needle = self.needles[value].as_bytes();
            let end = start + needle.len();
            let whole = !text.get(end).is_some_and(u8::is_ascii_alphanumeric);
            if whole && text.get(start..end).is_some_and(|t| t.eq_ignore_ascii_case(needle)) {
                found(Occurrence { at: start..end, value });
            }
        }
    }

    fn search_folded(&self, text: &str, which: Which, mut found: impl FnMut(Occurrence)) {
        let (mut folded, mut origins) = (String::with_capacity(text.len()), Vec::with_capacity(text.len() + 1));
        for (at, c) in text.char_indices() {
            push_folded(c.encode_utf8(&mut [0; 4]), &mut folded);
            origins.resize(folded.len(), at);
        }
        origins.push(text.len());
        for value in (0..self.needles.len()).filter(|n| self.wanted(*n, which)) {
            let needle = match &self.needles[value] {
                Cow::Borrowed(ascii) => Cow::Owned(ascii.to_ascii_lowercase()),
                Cow::Owned(folded) => Cow::Borrowed(folded.as_str()),
            };
            let finder = memchr::memmem::Finder::new(needle.as_bytes());
            let mut from = 0;
            while let Some(start) = folded.get(from..).and_then(|rest| finder.find(rest.as_bytes())).map(|at| from + at) {
                let end = start + needle.len();
                let before = folded[..start].chars().next_back().is_some_and(char::is_alphanumeric);
                let after = folded[end..].chars().next().is_some_and(char::is_alphanumeric);
                if !before && !after {
                    found(Occurrence { at: origins[start]..origins[end], value });
                }
                from = start + folded[start..].chars().next().map_or(1, char::len_utf8);
            }
        }
    }
}

/// Whether a pair's name is a campaign parameter's.
fn is_campaign(mut pair: &[u8]) -> bool {
    while let Some(rest) = pair.strip_prefix(b"?") {
        pair = rest;
    }
    pair.starts_with(b"utm_")
}

/// The name and the decoded value of a campaign parameter; `None` for any other.
fn utm(pair: &str) -> Option<(&str, Cow<'_, [u8]>)> {
    let (name, value) = pair.split_once('=').filter(|(name, _)| is_campaign(name.as_bytes()))?;
    Some((name, page::decoded(value)))
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The text in lower case, without accents, look-alikes made ASCII.
fn folded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push_folded(text, &mut out);
    out
}

/// Appends the text in lower case, without accents, look-alikes made ASCII.
fn push_folded(text: &str, out: &mut String) {
    if text.is_ascii() {
        let start = out.len();
        out.push_str(text);
        out[start..].make_ascii_lowercase();
        return;
    }
    text.nfkd().filter(|c| !is_combining_mark(*c)).for_each(|c| fold_char(c, out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANA: [Own<'_>; 3] = [(Hit::FirstName, "Ana"), (Hit::LastName, " Müller "), (Hit::ExternalId, "cust-42")];

    fn of<'a>(values: &[Own<'a>]) -> OwnValues<'a> {
        let mut own = OwnValues::default();
        // What another row had must leave no trace.
        for (hit, value) in [(Hit::FirstName, "Zoë"), (Hit::City, "banana"), (Hit::LastName, "cu")] {
            own.add(hit, value);
        }
        own.clear();
        values.iter().for_each(|(hit, value)| own.add(*hit, value));
        own
    }

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
            assert_eq!(of(&ANA).mask(text, Which::All).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn letters_that_others_write_otherwise_are_the_same() {
        let own = [(Hit::FirstName, "Łukasz"), (Hit::LastName, "Großmann")];
        for text in ["lukasz-grossmann", "ŁUKASZ GROẞMANN"] {
            assert_eq!(of(&own).mask(text, Which::All).map(|t| t.replace(' ', "-")).as_deref(), Some("[first_name]-[last_name]"), "{text}");
        }
    }

    #[test]
    fn urls() {
        for (url, want) in [
            ("https://a.example/u/ana-m%C3%BCller/orders", Some("https://a.example/u/:name/orders")),
            (
                "https://a.example/u/ana?utm_source=to+ana&x=ana#ana",
                Some("https://a.example/u/:name?utm_source=to%20%5Bfirst%5Fname%5D&x=ana#ana"),
            ),
            ("https://ana.example/", None),
            ("https://a.example?utm_term=%41na", Some("https://a.example?utm_term=%5Bfirst%5Fname%5D")),
            ("/c/cust-42", Some("/c/:id")),
            ("/p/banana", None),
            ("https://a.example/??utm_term=ana", Some("https://a.example/??utm_term=%5Bfirst%5Fname%5D")),
            ("/p?a&?utm_term=ana", Some("/p?a&?utm_term=%5Bfirst%5Fname%5D")),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(of(&ANA).mask_url(url, Which::All).as_deref(), want, "{url}");
        }
    }

    #[test]
    fn a_path_may_begin_with_a_backslash() {
        let own = [(Hit::ExternalId, "\\ana")];
        assert_eq!(of(&own).mask_url("https://a.example\\ana", Which::All).as_deref(), Some("https://a.example:id"));
    }

    #[test]
    fn a_town_in_a_path_stays() {
        let own = [(Hit::City, "Paris"), (Hit::FirstName, "Paris")];
        assert_eq!(of(&own[..1]).mask_url("/hotels/paris", Which::NotPlaces), None);
        assert_eq!(of(&own).mask_url("/hotels/paris", Which::NotPlaces).as_deref(), Some("/hotels/:name"));
        assert_eq!(of(&own[..1]).mask("paris", Which::All).as_deref(), Some("[city]"));
    }

    #[test]
    fn many_values() {
        let names: Vec<String> = (0..100).map(|n| format!("id{n}")).collect();
        let own: Vec<Own<'_>> = names.iter().map(|n| (Hit::ExternalId, n.as_str())).collect();
        assert_eq!(of(&own).mask("id7 id99 id100 id33", Which::All).as_deref(), Some("[external_id] [external_id] id100 [external_id]"));
    }

    proptest! {
        #[test]
        fn finds_what_the_slow_twin_finds(
            text in "([a-cA-C]{0,4}|[-_ /.&=?%+äÉ\\\\]{0,2}|utm_x=|%20|%C3%A4|ﬁ|Ł|ß){0,14}",
            values in proptest::collection::vec("[a-cA-C]{1,3}|[abäÉ-]{1,4}|\\\\a| ?[a-c]-[a-c] ?|ss|l", 0..40),
        ) {
            let values: Vec<Own<'_>> =
                values.iter().enumerate().map(|(i, v)| (if i % 3 == 0 { Hit::FirstName } else { Hit::ExternalId }, v.as_str())).collect();
            let own = of(&values);
            prop_assert_eq!(own.mask(&text, Which::All), slow::mask(&text, &values));
            prop_assert_eq!(own.mask_url(&text, Which::NotPlaces), slow::mask_url(&text, &values));
        }
    }
}
