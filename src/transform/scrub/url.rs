//! URLs that say something about a person: with a query, a user, or the page of a profile. Others pass.

use super::view::{View, step};
use super::{Found, Hit};

/// Sites where the first part of the path is a person.
const PROFILES: [&str; 18] = [
    "facebook.com",
    "instagram.com",
    "twitter.com",
    "x.com",
    "t.me",
    "telegram.me",
    "wa.me",
    "tiktok.com",
    "linkedin.com",
    "snapchat.com",
    "vk.com",
    "ok.ru",
    "threads.net",
    "github.com",
    "paypal.me",
    "venmo.com",
    "xing.com",
    "reddit.com",
];

/// Appends every personal URL. Bounds: the text is cut at white space and each piece looked at once.
pub(super) fn find(view: &View, found: &mut Vec<Found>) {
    let text = view.text();
    let mut from = 0;
    while let Some(mark) = memchr::memchr3(b':', b'?', b'.', &view.bytes()[from..]).map(|i| from + i) {
        // Back to where the piece begins, but not into one already seen.
        let start = text[from..mark].rfind(ends_url).map_or(from, |i| from + i + text[from + i..].chars().next().map_or(1, char::len_utf8));
        let end = text[mark..].find(ends_url).map_or(text.len(), |i| mark + i);
        step(end - from);
        if let Some((start, end)) = personal(view, start, end) {
            found.push(Found { start, end, hit: Hit::Url });
        }
        from = end;
    }
}

/// White space, quotes, brackets, and the scripts and punctuation that follow a URL without a space.
fn ends_url(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '"' | '<' | '>' | '[' | ']' | '{' | '}' | '|' | '\\' | '^' | '`' | '«' | '»' | '“' | '”' | '„' | '\u{2E80}'..='\u{D7FF}' | '\u{FF00}'..='\u{FFEF}')
}

fn personal(view: &View, start: usize, end: usize) -> Option<(usize, usize)> {
    let piece = &view.text()[start..end];
    let (scheme, host_at) = match piece.find("://") {
        Some(at) => {
            let name = piece[..at].bytes().rev().take_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b)).count();
            if name == 0 {
                return None;
            }
            (at - name, at + 3)
        }
        None => {
            let bare = piece.trim_start_matches(['(', '\'', ',', ';', '*', '_', '-', '=']);
            let skipped = piece.len() - bare.len();
            (skipped, skipped)
        }
    };
    let trimmed = trim_end(piece);
    let body = trimmed.get(host_at..)?;
    let host_len = body.find(['/', '?', '#']).unwrap_or(body.len());
    let (authority, rest) = body.split_at(host_len);
    let host = authority.rsplit('@').next()?.split(':').next()?;
    let schemed = host_at > scheme;
    if !(named(host) || schemed && !host.is_empty()) {
        return None;
    }
    let user = schemed && authority.contains('@');
    let query = rest.find('?').is_some_and(|i| rest.len() > i + 1 && (schemed || rest[i..].contains('=')));
    let fragment = rest.find('#').is_some_and(|i| rest[i..].contains('='));
    (user || query || fragment || profile(host, rest)).then_some((start + scheme, start + trimmed.len()))
}

/// `www.example.com`, `example.com`: a dot, and letters after the last one.
fn named(host: &str) -> bool {
    let ending = host.rsplit_once('.').map_or("", |(_, e)| e);
    ending.len() >= 2
        && ending.bytes().all(|b| b.is_ascii_alphabetic())
        && host.split('.').all(|l| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))
}

fn profile(host: &str, path: &str) -> bool {
    let host = host.strip_prefix("www.").or_else(|| host.strip_prefix("m.")).unwrap_or(host);
    let host = host.split_once('.').filter(|(sub, rest)| sub.len() == 2 && rest.contains('.')).map_or(host, |(_, rest)| rest);
    PROFILES.iter().any(|p| p.eq_ignore_ascii_case(host))
        && path.trim_start_matches('/').bytes().take_while(|b| b.is_ascii_alphanumeric() || b"._-@+".contains(b)).count() > 1
}

/// Punctuation at the end belongs to the sentence; a closing bracket too, unless it was opened inside.
fn trim_end(piece: &str) -> &str {
    let opened = piece.contains('(');
    let mut piece = piece;
    loop {
        let cut = piece.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '*', '_', '’', '…']);
        let cut = match cut.strip_suffix(')') {
            Some(inner) if !opened => inner,
            _ => cut,
        };
        if cut.len() == piece.len() {
            return cut;
        }
        piece = cut;
    }
}
