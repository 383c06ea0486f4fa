//! The page: host, path, referrer host, campaign and click ids from a URL, and the reduced URL a destination gets.
//!
//! Two arenas, so that the two cannot be mixed up: what the pseudonymised record may hold goes to one, click ids to the other.
//! Source: events.md §1 (`url`), §2 (`page`, `campaign`); design.md §1.3.

use std::borrow::Cow;

use super::parts::{Parts, with_parts};
use super::segment;
use crate::model::span::Span;

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
}

/// Reads a page's URL: what a record may hold into `record`, click ids into `clear`.
///
/// Shape: `None`, with nothing appended, for text that is no URL or has no host. Of a repeated parameter the first value that is not blank counts.
#[inline]
#[must_use]
pub fn read(url: &str, record: &mut Vec<u8>, clear: &mut Vec<u8>) -> Option<Page> {
    with_parts(url, |parts| {
        let mut page = Page { host: push_host(parts, record), path: push_path(parts, record), ..Page::default() };
        for pair in parameters(parts.query) {
            read_parameter(&mut page, pair, record, clear);
        }
        page
    })
}

/// Reads the host of a referrer. Shape: as [`Page::host`]; `None` for text that is no URL or has no host.
#[inline]
#[must_use]
pub fn referrer_host(url: &str, record: &mut Vec<u8>) -> Option<Span> {
    with_parts(url, |parts| push_host(parts, record))
}

/// Appends the URL as a destination may see it: no user name, no fragment, path and UTM values scrubbed, and of the query only UTM and the
/// click ids in `keep`, in their order.
///
/// Shape: `None`, with nothing appended, for text that is no URL or has no host. Source: events.md §1 (`url`), destinations.md §3 ("never put
/// personal data in URL query strings").
#[must_use]
pub fn destination_url(url: &str, keep: &[&str], out: &mut Vec<u8>) -> Option<Span> {
    with_parts(url, |parts| {
        let start = out.len();
        out.extend_from_slice(parts.scheme.as_bytes());
        out.extend_from_slice(b"://");
        let host = out.len();
        out.extend_from_slice(parts.host.as_bytes());
        out[host..].make_ascii_lowercase();
        if let Some(port) = parts.port {
            out.extend_from_slice(format!(":{port}").as_bytes());
        }
        push_path(parts, out);
        let mut separator = b'?';
        for (name, value) in parameters(parts.query) {
            let utm = matches!(name, "utm_source" | "utm_medium" | "utm_campaign" | "utm_term" | "utm_content");
            if value.is_empty()
                || !(utm || keep.contains(&name) && (is_plain(value) && value.len() <= CLICK_ID_BYTES_MAX || is_click_id(&decoded(value))))
            {
                continue;
            }
            out.push(separator);
            separator = b'&';
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            push_reduced(value, utm, out);
        }
        Span::since(start, out)
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

/// `name=value` pairs, still encoded, of the first level.
fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = Some(query).filter(|q| !q.is_empty());
    std::iter::from_fn(move || {
        let text = rest?;
        // Names and values are short: a plain loop beats a vectorised search here.
        let end = text.bytes().position(|b| b == b'&').unwrap_or(text.len());
        rest = text.get(end + 1..);
        let pair = &text[..end];
        Some(match pair.bytes().position(|b| b == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, ""),
        })
    })
}

fn read_parameter(page: &mut Page, (name, value): (&str, &str), record: &mut Vec<u8>, clear: &mut Vec<u8>) {
    if value.is_empty() || !(5..=12).contains(&name.len()) {
        return;
    }
    let (slot, platform) = match name {
        "utm_source" => return push_campaign(&mut page.campaign.source, value, record),
        "utm_medium" => return push_campaign(&mut page.campaign.medium, value, record),
        "utm_campaign" => return push_campaign(&mut page.campaign.campaign, value, record),
        "utm_term" => return push_campaign(&mut page.campaign.term, value, record),
        "utm_content" => return push_campaign(&mut page.campaign.content, value, record),
        "gclid" => (Some(&mut page.clicks.gclid), ClickPlatform::Google),
        "wbraid" => (Some(&mut page.clicks.wbraid), ClickPlatform::Google),
        "gbraid" => (Some(&mut page.clicks.gbraid), ClickPlatform::Google),
        "dclid" => (Some(&mut page.clicks.dclid), ClickPlatform::Google),
        "fbclid" => (Some(&mut page.clicks.fbclid), ClickPlatform::Meta),
        "ttclid" => (Some(&mut page.clicks.ttclid), ClickPlatform::TikTok),
        "msclkid" => (None, ClickPlatform::Microsoft),
        _ => return,
    };
    // Nearly always letters, digits, `-` and `_`, which need no decoding and no look.
    let id = if is_plain(value) { Cow::Borrowed(value.as_bytes()) } else { decoded(value) };
    if !is_click_id(&id) {
        return;
    }
    page.click_platform = Some(platform);
    if let Some(slot) = slot.filter(|s| s.is_empty()) {
        let start = clear.len();
        clear.extend_from_slice(&id);
        *slot = Span::since(start, clear);
    }
}

fn push_campaign(slot: &mut Span, value: &str, record: &mut Vec<u8>) {
    if !slot.is_empty() {
        return;
    }
    let start = record.len();
    if value.len() <= CAMPAIGN_BYTES_MAX && is_plain(value) {
        segment::push_text(value, record);
        *slot = Span::since(start, record);
        return;
    }
    let bytes = decoded(value);
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

/// Letters, digits, `-`, `_`, `.`: no branch in the loop, so that it becomes vector code.
fn is_plain(value: &str) -> bool {
    value.bytes().fold(true, |all, b| all & (b.is_ascii_alphanumeric() | (b == b'-') | (b == b'_') | (b == b'.')))
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
fn is_click_id(id: &[u8]) -> bool {
    (1..=CLICK_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(|b| b.is_ascii_graphic() && !b"@\"'<>&#\\`".contains(b))
}

/// A parameter's value as it came, unless it is a campaign value that held somebody.
fn push_reduced(value: &str, utm: bool, out: &mut Vec<u8>) {
    if !utm || (is_plain(value) && segment::is_harmless_text(value)) {
        out.extend_from_slice(value.as_bytes());
        return;
    }
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
