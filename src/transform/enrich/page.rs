//! The page: host, path, referrer host, campaign and click ids from a URL, and the reduced URL a destination gets.
//!
//! Arenas apart, so that they cannot be mixed up: what the pseudonymised record may hold, click ids, what destinations may see.
//! Source: events.md §1 (`url`), §2 (`page`, `campaign`); design.md §1.3.

use super::parts::{Parts, with_parts};
use super::segment;
use crate::model::span::Span;
use crate::transform::bits::{self, is, is_alphanumeric, within};
use crate::transform::json;
use std::borrow::Cow;

/// Longest campaign value kept, in bytes; the rest is cut.
pub const CAMPAIGN_BYTES_MAX: usize = 256;
/// Longest click id accepted, in bytes; a longer one is dropped (real ones are below 300).
pub const CLICK_ID_BYTES_MAX: usize = 512;
/// Longest path kept, in bytes; the rest is cut.
pub const PATH_BYTES_MAX: usize = 2048;

/// An advertising platform that marks its clicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClickPlatform {
    /// `gclid`, `wbraid`, `gbraid`, `dclid`.
    Google,
    /// `fbclid`.
    Meta,
    /// `ttclid`.
    TikTok,
    /// `msclkid`: only its presence is noted.
    Microsoft,
}

impl ClickPlatform {
    /// The word used in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ClickPlatform::Google => "google",
            ClickPlatform::Meta => "meta",
            ClickPlatform::TikTok => "tiktok",
            ClickPlatform::Microsoft => "microsoft",
        }
    }
}

/// UTM values, decoded, emails and phones in them replaced. Shape: spans of the record arena; empty when absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Campaign {
    /// `utm_source`.
    pub source: Span,
    /// `utm_medium`.
    pub medium: Span,
    /// `utm_campaign`.
    pub campaign: Span,
    /// `utm_term`.
    pub term: Span,
    /// `utm_content`.
    pub content: Span,
}

/// Click ids, decoded. Shape: spans of the clear arena; empty when absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClickIds {
    /// Google Ads.
    pub gclid: Span,
    /// Google Ads, web to app.
    pub wbraid: Span,
    /// Google Ads, app to web.
    pub gbraid: Span,
    /// Google Display.
    pub dclid: Span,
    /// Meta.
    pub fbclid: Span,
    /// TikTok.
    pub ttclid: Span,
}

/// Where in [`Urls`] a URL stands as destinations may see it: no user name, no fragment, path and UTM values scrubbed, of the query only UTM and
/// click ids. Shape: the default stands for a URL that there is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reduced {
    /// Scheme, host, port and path, in the arena of reduced URLs.
    base: Span,
    /// Which of the parameters, first and end.
    parameters: (u32, u32),
}

/// What is read from a page's URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Host in lower case, `:ip` for an address. Span of the record arena.
    pub host: Span,
    /// Path, scrubbed. Span of the record arena.
    pub path: Span,
    /// UTM values.
    pub campaign: Campaign,
    /// Click ids, in the clear arena.
    pub clicks: ClickIds,
    /// Whose click id stands last in the query: platforms append theirs, so the last is the latest click.
    pub click_platform: Option<ClickPlatform>,
    /// What destinations may see of it, if it was asked for.
    pub reduced: Reduced,
}

/// What is read from a referrer's URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Referrer {
    /// Host, as [`Page::host`].
    pub host: Span,
    /// What destinations may see of it, if it was asked for.
    pub reduced: Reduced,
}

/// Where what is read goes: one arena for each kind of reader, so that they cannot be mixed up. No `Debug`: click ids are clear.
#[derive(Default)]
pub struct Arenas {
    /// What a record may hold.
    pub record: Vec<u8>,
    /// Click ids.
    pub clear: Vec<u8>,
    /// What destinations may see.
    pub urls: Urls,
}

/// URLs as destinations may see them, in pieces: a URL is reduced once, and each destination takes the click ids it may have. No `Debug`.
#[derive(Default)]
pub struct Urls {
    arena: Vec<u8>,
    parameters: Vec<Parameter>,
}

/// A parameter that may stay in a reduced URL. Shape: `name=value`, encoded, in the arena of reduced URLs.
#[derive(Clone, Copy)]
struct Parameter {
    /// Name of the click id; `None` for a campaign value, which every destination gets.
    click: Option<&'static str>,
    text: Span,
}

impl Urls {
    /// Appends a reduced URL; of the click ids only those in `keep`. Shape: false, with nothing appended, if there is none. Source: events.md §1
    /// (`url`), destinations.md §3 ("never put personal data in URL query strings").
    pub fn push(&self, url: Reduced, keep: &[&str], out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(url.base.of(&self.arena));
        let mut separator = b'?';
        for parameter in &self.parameters[url.parameters.0 as usize..url.parameters.1 as usize] {
            if parameter.click.is_none_or(|name| keep.contains(&name)) {
                out.push(separator);
                separator = b'&';
                out.extend_from_slice(parameter.text.of(&self.arena));
            }
        }
        !url.base.is_empty()
    }

    /// Keeps what a destination may see before the query. Shape: `path` is scrubbed already.
    fn reduce(&mut self, parts: &Parts<'_>, path: &[u8]) -> Reduced {
        let out = &mut self.arena;
        let start = out.len();
        out.extend_from_slice(parts.scheme.as_bytes());
        out.extend_from_slice(b"://");
        let host = out.len();
        out.extend_from_slice(parts.host.as_bytes());
        out[host..].make_ascii_lowercase();
        if let Some(port) = parts.port {
            out.push(b':');
            json::integer(port.into(), out);
        }
        out.extend_from_slice(path);
        let first = self.parameters.len() as u32;
        Reduced { base: Span::since(start, out), parameters: (first, first) }
    }

    /// Keeps a parameter of the URL that was reduced last: a click id as it came, a campaign value without whoever it holds.
    fn keep(&mut self, reduced: &mut Reduced, pair: &Pair<'_>, click: Option<&'static str>) {
        let start = self.arena.len();
        if click.is_some() || pair.harmless {
            self.arena.extend_from_slice(pair.text.as_bytes());
        } else {
            self.arena.extend_from_slice(&pair.text.as_bytes()[..pair.text.len() - pair.value.len()]);
            push_reduced(pair.value, &mut self.arena);
        }
        self.parameters.push(Parameter { click, text: Span::since(start, &self.arena) });
        reduced.parameters.1 += 1;
    }
}

/// Reads a page's URL, and reduces it for destinations where `reduce` asks for it.
///
/// Shape: `None`, with nothing appended, for text that is no URL or has no host. Of a repeated parameter the first value that is not blank counts.
#[inline]
#[must_use]
pub fn read(url: &str, reduce: bool, arenas: &mut Arenas) -> Option<Page> {
    with_parts(url, |parts| {
        let mut page = Page { host: push_host(parts, &mut arenas.record), path: push_path(parts, &mut arenas.record), ..Page::default() };
        if reduce {
            page.reduced = arenas.urls.reduce(parts, page.path.of(&arenas.record));
        }
        read_query(parts.query, |pair, name, meaning| read_parameter(&mut page, pair, (name, meaning), reduce, arenas));
        page
    })
}

/// Reads a referrer's URL in the same way; of its query destinations see UTM alone. Shape: as [`read`].
#[inline]
#[must_use]
pub fn referrer(url: &str, reduce: bool, arenas: &mut Arenas) -> Option<Referrer> {
    with_parts(url, |parts| {
        let mut referrer = Referrer { host: push_host(parts, &mut arenas.record), reduced: Reduced::default() };
        if reduce {
            let start = arenas.record.len();
            let path = push_path(parts, &mut arenas.record);
            referrer.reduced = arenas.urls.reduce(parts, path.of(&arenas.record));
            arenas.record.truncate(start);
            read_query(parts.query, |pair, _, meaning| {
                if let Meaning::Campaign(_) = meaning {
                    arenas.urls.keep(&mut referrer.reduced, pair, None);
                }
            });
        }
        referrer
    })
}

fn push_host(parts: &Parts<'_>, record: &mut Vec<u8>) -> Span {
    let start = record.len();
    if parts.host_is_ip {
        record.extend_from_slice(b":ip");
    } else {
        segment::push_host(parts.host, record);
    }
    Span::since(start, record)
}

fn push_path(parts: &Parts<'_>, record: &mut Vec<u8>) -> Span {
    let start = record.len();
    segment::push_path(parts.path, record);
    if record.len() - start > PATH_BYTES_MAX {
        record.truncate(start + PATH_BYTES_MAX);
        // Not in the middle of `%C3`.
        if let Some(at) = record[record.len() - 2..].iter().position(|&b| b == b'%') {
            record.truncate(record.len() - 2 + at);
        }
    }
    Span::since(start, record)
}

/// A parameter of a query, still encoded. Shape: `name=value`, the value not empty.
struct Pair<'q> {
    text: &'q str,
    value: &'q str,
    /// Letters, digits, `-`, `_`, `.`: nothing to decode.
    plain: bool,
    /// Plain, and nobody in it at a glance.
    harmless: bool,
}

/// Calls `each` for every parameter of the first level that means something and has a value.
#[inline]
fn read_query(query: &str, mut each: impl FnMut(&Pair<'_>, &'static str, Meaning)) {
    let mut pair = |from: usize, value_at: Option<usize>, end: usize, plain: bool| {
        let Some(value_at) = value_at.filter(|at| *at < end) else { return };
        let Some((name, meaning)) = meaning(&query[from..value_at - 1]) else { return };
        let value = &query[value_at..end];
        let harmless = plain && segment::is_harmless_word(value.as_bytes());
        each(&Pair { text: &query[from..end], value, plain, harmless }, name, meaning);
    };
    let (mut from, mut value_at, mut plain) = (0, None, true);
    for at in bits::places(query.as_bytes(), |b| !(is_alphanumeric(b) | within(b, b'-', b'.') | is(b, b'_'))) {
        match query.as_bytes()[at] {
            b'&' => {
                pair(from, value_at, at, plain);
                (from, value_at, plain) = (at + 1, None, true);
            }
            b'=' if value_at.is_none() => value_at = Some(at + 1),
            _ => plain &= value_at.is_none(),
        }
    }
    pair(from, value_at, query.len(), plain);
}

/// What a parameter that is looked at means.
#[derive(Clone, Copy)]
enum Meaning {
    Campaign(fn(&mut Campaign) -> &mut Span),
    /// A click id, and where it goes: of Microsoft's only the presence is noted.
    Click(ClickPlatform, Option<fn(&mut ClickIds) -> &mut Span>),
}

/// A parameter's own name and meaning; `None` for one that nobody looks at.
fn meaning(name: &str) -> Option<(&'static str, Meaning)> {
    use ClickPlatform::{Google, Meta, Microsoft, TikTok};
    use Meaning::{Campaign, Click};
    // Most others are told by their length alone.
    if !(5..=12).contains(&name.len()) {
        return None;
    }
    Some(match name {
        "utm_source" => ("utm_source", Campaign(|c| &mut c.source)),
        "utm_medium" => ("utm_medium", Campaign(|c| &mut c.medium)),
        "utm_campaign" => ("utm_campaign", Campaign(|c| &mut c.campaign)),
        "utm_term" => ("utm_term", Campaign(|c| &mut c.term)),
        "utm_content" => ("utm_content", Campaign(|c| &mut c.content)),
        "gclid" => ("gclid", Click(Google, Some(|c| &mut c.gclid))),
        "wbraid" => ("wbraid", Click(Google, Some(|c| &mut c.wbraid))),
        "gbraid" => ("gbraid", Click(Google, Some(|c| &mut c.gbraid))),
        "dclid" => ("dclid", Click(Google, Some(|c| &mut c.dclid))),
        "fbclid" => ("fbclid", Click(Meta, Some(|c| &mut c.fbclid))),
        "ttclid" => ("ttclid", Click(TikTok, Some(|c| &mut c.ttclid))),
        "msclkid" => ("msclkid", Click(Microsoft, None)),
        _ => return None,
    })
}

fn read_parameter(page: &mut Page, pair: &Pair<'_>, (name, meaning): (&'static str, Meaning), reduce: bool, arenas: &mut Arenas) {
    let mut click = None;
    match meaning {
        Meaning::Campaign(slot) => push_campaign(slot(&mut page.campaign), pair, &mut arenas.record),
        Meaning::Click(platform, slot) => {
            // Nearly always plain, which needs no decoding and no look.
            let id = if pair.plain { Cow::Borrowed(pair.value.as_bytes()) } else { decoded(pair.value) };
            if !is_click_id(&id, pair.plain) {
                return;
            }
            click = Some(name);
            page.click_platform = Some(platform);
            let Some(slot) = slot else { return };
            let slot = slot(&mut page.clicks);
            if slot.is_empty() {
                let start = arenas.clear.len();
                arenas.clear.extend_from_slice(&id);
                *slot = Span::since(start, &arenas.clear);
            }
        }
    }
    if reduce {
        arenas.urls.keep(&mut page.reduced, pair, click);
    }
}

fn push_campaign(slot: &mut Span, pair: &Pair<'_>, record: &mut Vec<u8>) {
    if !slot.is_empty() {
        return;
    }
    let start = record.len();
    if pair.harmless {
        record.extend_from_slice(pair.value.as_bytes());
        *slot = Span::since(start, record);
        return;
    }
    let bytes = decoded(pair.value);
    let text = String::from_utf8_lossy(&bytes);
    segment::push_text(text.trim(), record);
    if record.len() - start > CAMPAIGN_BYTES_MAX {
        let mut end = start + CAMPAIGN_BYTES_MAX;
        while record[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        record.truncate(end);
    }
    *slot = Span::since(start, record);
}

/// Percent and `+` decoded. Shape: borrowed when there is nothing to decode.
pub(crate) fn decoded(value: &str) -> Cow<'_, [u8]> {
    let bytes = value.as_bytes();
    let Some(first) = bytes.iter().position(|b| matches!(b, b'%' | b'+')) else { return Cow::Borrowed(bytes) };
    let hex = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16)).map(|d| d as u8);
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(&bytes[..first]);
    let mut at = first;
    while let Some(b) = bytes.get(at) {
        at += 1;
        match (b, hex(at), hex(at + 1)) {
            (b'+', _, _) => out.push(b' '),
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 2;
            }
            _ => out.push(*b),
        }
    }
    Cow::Owned(out)
}

/// Printable ASCII without spaces, quotes or `@`: an address typed into a link is no click id and must not travel as one.
fn is_click_id(id: &[u8], plain: bool) -> bool {
    (1..=CLICK_ID_BYTES_MAX).contains(&id.len()) && (plain || id.iter().all(|b| b.is_ascii_graphic() && !b"@\"'<>&#\\`".contains(b)))
}

/// A campaign value as it came, unless it held somebody.
fn push_reduced(value: &str, out: &mut Vec<u8>) {
    let clear = decoded(value);
    let clear = String::from_utf8_lossy(&clear);
    let start = out.len();
    segment::push_text(&clear, out);
    if out[start..] == *clear.as_bytes() {
        out.truncate(start);
        out.extend_from_slice(value.as_bytes());
    } else {
        let scrubbed = out.split_off(start);
        out.extend(url::form_urlencoded::byte_serialize(&scrubbed).flat_map(str::bytes));
    }
}

#[cfg(test)]
mod tests;
