//! Free text made safe to keep: personal data found in it is replaced by its type in brackets.
//!
//! What it finds: addresses of people and machines that have a shape or a checksum (emails, phones, cards, IBANs, wallets, IPs, URLs that
//! carry a query, national ids, handles), numbers of documents and bank accounts and names of people where the words before them say so, and
//! the row's own known values. What it does not find: names that stand alone, postal addresses and anything else that only meaning gives
//! away. Dates, times, prices, versions and product codes pass.
//!
//! Three properties, each tested: the work is linear in the text whatever it holds (no regular expressions; every look-around has a limit
//! in bytes); a second pass changes nothing; no input panics.
//!
//! ```
//! use lethe::transform::scrub::{Hit, ScrubRules, scrub};
//! let mut out = Vec::new();
//! let counts = scrub("Ana here, mail ana@example.org", &ScrubRules::all(), &[(Hit::FirstName, "ana")], &mut out);
//! assert_eq!(out, b"[first_name] here, mail [email]");
//! assert_eq!(counts.get(Hit::Email), 1);
//! ```

mod card;
mod context;
mod crypto;
mod document;
mod email;
mod handle;
mod hit;
mod iban;
mod ip;
mod known;
mod national_id;
mod national_id_plain;
mod number;
mod person;
mod phone;
pub mod special;
mod url;
mod view;

pub use hit::{Hit, HitCounts};
pub use special::{SpecialCategory, SpecialTerms, special_category};

use std::borrow::Cow;

use rlibphonenumber::Region;
use view::View;
pub(crate) use view::{fold_char, unspaced};

/// After so many passes a text that still yields hits is replaced whole: only an adversary's text gets there.
const PASSES_MAX: usize = 8;

/// Countries whose national phone formats and ids `ScrubRules::all` looks for.
const COUNTRIES_ALL: [[u8; 2]; 37] = [
    *b"US", *b"GB", *b"DE", *b"FR", *b"ES", *b"IT", *b"NL", *b"BE", *b"PT", *b"PL", *b"SE", *b"DK", *b"FI", *b"NO", *b"AT", *b"CH", *b"IE",
    *b"CZ", *b"SK", *b"RO", *b"BG", *b"HR", *b"SI", *b"EE", *b"LT", *b"LV", *b"LU", *b"GR", *b"JP", *b"BR", *b"AU", *b"IN", *b"TR", *b"RU",
    *b"UA", *b"CN", *b"KR",
];

/// What to look for: which kinds, and whose national formats. Compiled once per tenant.
#[derive(Clone, Debug)]
pub struct ScrubRules {
    kinds: u32,
    countries: Vec<[u8; 2]>,
    regions: Vec<([u8; 2], Region)>,
}

impl ScrubRules {
    /// Every kind, and the national formats of 37 countries.
    #[must_use]
    pub fn all() -> Self {
        Self::new(&Hit::ALL, &COUNTRIES_ALL)
    }

    /// Only `kinds`, with the national phone formats and ids of `countries` (ISO 3166 two-letter codes, upper case; unknown ones are ignored).
    #[must_use]
    pub fn new(kinds: &[Hit], countries: &[[u8; 2]]) -> Self {
        let regions = countries.iter().filter_map(|c| Some((*c, std::str::from_utf8(c).ok()?.parse().ok()?))).collect();
        Self { kinds: kinds.iter().fold(0, |set, hit| set | 1 << *hit as u32), countries: countries.to_vec(), regions }
    }

    /// The same without some kinds, by their names. Errors: the name that no kind has.
    pub fn without(mut self, kinds: &[String]) -> Result<Self, String> {
        for kind in kinds {
            let hit = Hit::ALL.into_iter().find(|hit| hit.name() == kind).ok_or_else(|| kind.clone())?;
            self.kinds &= !(1 << hit as u32);
        }
        Ok(self)
    }

    fn on(&self, hit: Hit) -> bool {
        self.kinds & 1 << hit as u32 != 0
    }

    fn in_country(&self, countries: &[[u8; 2]]) -> bool {
        countries.iter().any(|c| self.countries.contains(c))
    }
}

/// A stretch of the text that is personal data. Shape: bytes, end exclusive, on character boundaries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Found {
    start: usize,
    end: usize,
    hit: Hit,
}

/// Appends `text` to `out` with every hit replaced by its tag; returns how many hits by kind. `known` are the row's own clear values:
/// whole-word matches, whatever their case and accents, become the tag of their kind. Shape: UTF-8 in, UTF-8 out; hits that overlap
/// become one, named by the longest. Errors: none.
pub fn scrub(text: &str, rules: &ScrubRules, known: &[(Hit, &str)], out: &mut Vec<u8>) -> HitCounts {
    let mut counts = HitCounts::default();
    let mut current = Cow::Borrowed(text);
    for pass in 0..PASSES_MAX {
        let found = find(&current, rules, known);
        if found.is_empty() {
            break;
        }
        if pass + 1 == PASSES_MAX {
            counts.add(found[0].hit);
            out.extend_from_slice(found[0].hit.tag().as_bytes());
            return counts;
        }
        current = Cow::Owned(replace(&current, &found, &mut counts));
    }
    out.extend_from_slice(current.as_bytes());
    counts
}

fn replace(text: &str, found: &[Found], counts: &mut HitCounts) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for f in found {
        out.push_str(&text[from..f.start]);
        out.push_str(f.hit.tag());
        counts.add(f.hit);
        from = f.end;
    }
    out.push_str(&text[from..]);
    out
}

/// All hits of one pass, in order, none overlapping.
fn find(text: &str, rules: &ScrubRules, known: &[(Hit, &str)]) -> Vec<Found> {
    let mut found = Vec::new();
    if !known.is_empty() {
        known::find(text, rules, known, &mut found);
    }
    let triggers = view::triggers(text);
    let view = View::plain(text, triggers.exotic);
    let mut shapes = Vec::new();
    if rules.on(Hit::Name) {
        person::find(&view, &mut shapes);
    }
    if triggers.shapes {
        if rules.on(Hit::Email) {
            email::find(&view, &mut shapes);
        }
        if rules.on(Hit::Handle) {
            handle::find(&view, &mut shapes);
        }
        if rules.on(Hit::Url) {
            url::find(&view, &mut shapes);
        }
        if rules.on(Hit::Ip) {
            ip::find_v6(&view, &mut shapes);
        }
        if rules.on(Hit::Crypto) {
            crypto::find(&view, &mut shapes);
        }
        document::find(&view, rules, &mut shapes);
        number::find(&view, rules, known, &mut shapes);
    } else if rules.on(Hit::Email) {
        email::find_spelled(&view, &mut shapes);
    }
    found.extend(shapes.iter().map(|f| Found { start: view.origin(f.start), end: view.origin(f.end), ..*f }));
    settle(text, found)
}

/// Drops what overlaps a tag that is already there, then joins hits that overlap each other into one named by the longest (the first of
/// equals), so that no rest of the shorter one stays behind.
fn settle(text: &str, mut found: Vec<Found>) -> Vec<Found> {
    if found.is_empty() {
        return found;
    }
    let tags = hit::tags_in(text);
    let mut next_tag = 0;
    // A checksum says more than a phone's shape, and a known value more than a title, so of two hits on the same bytes these come last.
    found.sort_unstable_by_key(|f| (f.start, std::cmp::Reverse(f.end), matches!(f.hit, Hit::Phone | Hit::Name), f.hit));
    found.retain(|f| {
        while tags.get(next_tag).is_some_and(|t| t.1 <= f.start) {
            next_tag += 1;
        }
        tags.get(next_tag).is_none_or(|t| t.0 >= f.end)
    });
    let mut settled: Vec<Found> = Vec::with_capacity(found.len());
    let mut longest = 0;
    for f in found {
        match settled.last_mut() {
            Some(last) if f.start < last.end => {
                if f.end - f.start > longest {
                    longest = f.end - f.start;
                    last.hit = f.hit;
                }
                last.end = last.end.max(f.end);
            }
            _ => {
                longest = f.end - f.start;
                settled.push(f);
            }
        }
    }
    settled
}

#[cfg(test)]
mod tests;
