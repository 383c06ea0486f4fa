//! Email addresses, as written and as spelled out to fool machines.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::view::{View, in_word, step, unspaced};
use super::{Found, Hit};

/// The longest domain, in bytes (RFC 1035).
const DOMAIN_BYTES_MAX: usize = 253;

/// The longest local part, in bytes (RFC 5321).
const LOCAL_BYTES_MAX: usize = 64;

/// Providers whose name makes an address even without its ending: `ana@gmail`.
const PROVIDERS: [&str; 32] = [
    "gmail",
    "googlemail",
    "hotmail",
    "yahoo",
    "outlook",
    "live",
    "icloud",
    "proton",
    "protonmail",
    "gmx",
    "web",
    "aol",
    "wanadoo",
    "orange",
    "laposte",
    "libero",
    "virgilio",
    "wp",
    "onet",
    "interia",
    "sapo",
    "ziggo",
    "telia",
    "t-online",
    "mail",
    "yandex",
    "rambler",
    "seznam",
    "naver",
    "qq",
    "rediffmail",
    "ukr",
];

/// Endings believed after a plain " at … dot …".
const ENDINGS: [&str; 44] = [
    "com", "org", "net", "edu", "gov", "io", "co", "info", "biz", "eu", "de", "fr", "es", "it", "pt", "nl", "pl", "se", "dk", "fi", "no",
    "at", "ch", "be", "ie", "uk", "us", "ca", "au", "br", "jp", "cz", "ro", "gr", "hu", "dev", "ru", "ua", "tr", "in", "cn", "kr", "mx",
    "za",
];

/// Words that stand before a plain " at " without being anybody's name.
const NOT_LOCAL: [&str; 20] = [
    "us",
    "me",
    "look",
    "looking",
    "find",
    "visit",
    "more",
    "out",
    "check",
    "it",
    "site",
    "website",
    "online",
    "shop",
    "page",
    "here",
    "them",
    "and",
    "is",
    "available",
];

static SPELLED_AT: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let words = [
        "at",
        "ät",
        "arroba",
        "arobase",
        "chiocciola",
        "malpa",
        "małpa",
        "apenstaartje",
        "snabel-a",
        "snabela",
        "klammeraffe",
        "собака",
        "παπάκι",
        "zavináč",
        "アット",
        "アットマーク",
        "a",
    ];
    let mut patterns = Vec::new();
    for word in words {
        for (open, close) in [("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"), ("( ", " )"), ("[ ", " ]"), ("_", "_"), (" ", " ")] {
            if word != "a" || open == "(" || open == "[" {
                patterns.push(format!("{open}{word}{close}"));
            }
        }
    }
    AhoCorasick::builder().ascii_case_insensitive(true).match_kind(MatchKind::LeftmostLongest).build(patterns).ok()
});

const SPELLED_DOT: [&str; 14] =
    ["dot", "punkt", "point", "punto", "ponto", "kropka", "punt", "prick", "точка", "крапка", "τελεία", "tečka", "nokta", "ドット"];

/// Appends every email address in the view. Bounds: each `@` looks back to the one before it and forward over one domain.
pub(super) fn find(view: &View, found: &mut Vec<Found>) {
    let mut floor = 0;
    for at in memchr::memchr_iter(b'@', view.bytes()) {
        if at < floor {
            continue;
        }
        if let Some((start, end)) = address(view, at, floor) {
            found.push(Found { start, end, hit: Hit::Email });
            floor = end;
        } else {
            floor = at + 1;
        }
    }
    find_spelled(view, found);
}

fn address(view: &View, at: usize, floor: usize) -> Option<(usize, usize)> {
    let (mut local_end, mut domain_start) = (at, at + 1);
    let spaced = view.before(at) == b' ' && view.at(at + 1) == b' ';
    if spaced {
        (local_end, domain_start) = (at - 1, at + 2);
    }
    let quoted = quoted_start(view, local_end, floor);
    let start = quoted.or_else(|| local_start(view, local_end, floor))?;
    if let Some(end) = literal(view, domain_start) {
        return Some((start, end));
    }
    let domain_end = domain(view, domain_start)?;
    let domain = &view.text()[domain_start..domain_end];
    let local = &view.text()[start..local_end];
    let provider = domain.split('.').next().is_some_and(|first| is_one_of(first, &PROVIDERS));
    let ending = domain.rsplit_once('.').map(|(_, ending)| ending);
    let good = match ending {
        None => provider,
        Some(ending) => is_ending(ending) || domain.parse::<std::net::Ipv4Addr>().is_ok(),
    };
    let believed = !spaced || provider || local.contains(|c: char| c.is_ascii_digit() || c == '.' || c == '_');
    (good && believed).then_some((start, domain_end))
}

/// Where a local part in quotes begins, if one ends at `end`: `"jane doe"`. Bounds: 64 bytes, the longest there is (RFC 5321).
fn quoted_start(view: &View, end: usize, floor: usize) -> Option<usize> {
    if view.before(end) != b'"' {
        return None;
    }
    let reach = view.floor(end.saturating_sub(LOCAL_BYTES_MAX)).max(floor);
    let inside = view.text().get(reach..end - 1)?;
    step(inside.len());
    inside.rfind(['"', '\n']).filter(|at| inside[*at..].starts_with('"') && at + 1 < inside.len()).map(|at| reach + at)
}

/// The end of a machine's address in square brackets: `[192.0.2.1]`, `[IPv6:2001:db8::1]`. Bounds: 48 bytes.
fn literal(view: &View, start: usize) -> Option<usize> {
    let inside = view.text().get(start..)?.strip_prefix('[')?;
    let len = inside.bytes().take(48).position(|b| b == b']')?;
    step(len);
    let address = &inside[..len];
    let is_v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().is_ok();
    let good = address.parse::<std::net::Ipv4Addr>().is_ok() || address.strip_prefix("IPv6:").is_some_and(is_v6);
    good.then_some(start + len + 2)
}

fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|w| w.eq_ignore_ascii_case(word))
}

fn is_ending(label: &str) -> bool {
    label.len() >= 2 && label.len() <= 63 && (label.chars().all(char::is_alphabetic) || label.to_ascii_lowercase().starts_with("xn--"))
}

/// Where the local part that ends at `end` begins. A script without spaces belongs to it only if the whole of it is written so.
fn local_start(view: &View, end: usize, floor: usize) -> Option<usize> {
    let mut start = end;
    let last = view.text()[floor..end].chars().next_back()?;
    for c in view.text()[floor..end].chars().rev() {
        step(1);
        let part = matches!(c, '.' | '_' | '%' | '+' | '-' | '\'' | '&' | '#' | '$' | '*' | '~' | '!')
            || in_word(c)
            || (unspaced(last) && unspaced(c) && c.is_alphanumeric());
        if !part {
            break;
        }
        start -= c.len_utf8();
    }
    // Quotes and list marks in front belong to the sentence.
    let local = &view.text()[start..end];
    let trimmed = local.trim_start_matches(['.', '\'', '-', '*', '#', '!', '&', '~', '+', '%', '$']);
    (!trimmed.is_empty()).then_some(end - trimmed.len())
}

/// Where the domain that begins at `start` ends: labels of letters, digits and hyphens between single dots, no dot at the end.
fn domain(view: &View, start: usize) -> Option<usize> {
    let text = &view.text()[start..];
    let first = text.chars().next()?;
    let mut end = start;
    let mut kept = None;
    for c in text.chars() {
        step(1);
        if end - start > DOMAIN_BYTES_MAX {
            break;
        }
        let label = in_word(c) || (unspaced(first) && unspaced(c) && c.is_alphanumeric());
        if !(label || matches!(c, '-' | '.' | '_')) {
            break;
        }
        if c == '.' && view.before(end) == b'.' {
            break;
        }
        end += c.len_utf8();
        if label {
            kept = Some(end);
        }
    }
    let kept = kept?;
    // "ana@example.com.Thanks": a capital after a lower-case ending starts a sentence; "a@b.com.2" ends at its last believable label.
    let mut end = kept;
    while let Some((head, tail)) = view.text()[start..end].rsplit_once('.') {
        let sentence = tail.starts_with(char::is_uppercase) && head.ends_with(char::is_lowercase) && head.contains('.');
        if (is_ending(tail) && !sentence) || !head.contains('.') || view.text()[start..end].parse::<std::net::Ipv4Addr>().is_ok() {
            break;
        }
        end = start + head.len();
    }
    (end > start).then_some(end)
}

/// Appends addresses whose `@` is a word: `ana (at) example (dot) com`, `ana at example dot com`.
pub(super) fn find_spelled(view: &View, found: &mut Vec<Found>) {
    let Some(words) = SPELLED_AT.as_ref() else { return };
    let mut floor = 0;
    for m in words.find_iter(view.bytes()) {
        if m.start() < floor {
            continue;
        }
        let plain = view.at(m.start()) == b' ';
        if let Some((start, end)) = spelled(view, (m.start(), m.end()), floor, plain) {
            found.push(Found { start, end, hit: Hit::Email });
            floor = end;
        }
    }
}

fn spelled(view: &View, at: (usize, usize), floor: usize, plain: bool) -> Option<(usize, usize)> {
    let local_end = at.0 - usize::from(!plain && view.before(at.0) == b' ' && at.0 > floor);
    let reach = view.floor(local_end.saturating_sub(64)).max(floor).min(local_end);
    let mut start = local_start(view, local_end, reach)?;
    let local = &view.text()[start..local_end];
    if plain && is_one_of(local, &NOT_LOCAL) {
        return None;
    }
    // "ana dot lopez at …"
    for _ in 0..3 {
        let head = &view.text()[floor..start];
        let Some(before) = SPELLED_DOT.iter().find_map(|dot| head.strip_suffix(' ')?.strip_suffix(dot)?.strip_suffix(' ')) else { break };
        let end = floor + before.len();
        match local_start(view, end, view.floor(end.saturating_sub(64)).max(floor).min(end)) {
            Some(more) => start = more,
            None => break,
        }
    }
    let from = at.1 + usize::from(!plain && view.at(at.1) == b' ');
    let (end, spelled_dots) = spelled_domain(view, from)?;
    let domain = &view.text()[from..end];
    let provider = domain.split(['.', ' ', '(', '[', '{']).next().is_some_and(|first| is_one_of(first, &PROVIDERS));
    let ending = domain.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or("");
    let believed = if plain { provider || (spelled_dots && is_one_of(ending, &ENDINGS)) } else { is_ending(ending) };
    believed.then_some((start, end))
}

/// A domain with at least one dot, written or spelled. Returns its end, and whether a dot was spelled. Bounds: six labels of 63 bytes.
fn spelled_domain(view: &View, from: usize) -> Option<(usize, bool)> {
    let mut end = label_end(view, from)?;
    let (mut dots, mut spelled) = (0, false);
    for _ in 0..5 {
        let Some((next, word)) = dot_end(view, end) else { break };
        let Some(label) = label_end(view, next) else { break };
        (end, dots, spelled) = (label, dots + 1, spelled | word);
    }
    (dots > 0).then_some((end, spelled))
}

fn label_end(view: &View, from: usize) -> Option<usize> {
    let reach = view.floor((from + 63).min(view.bytes().len()));
    let text = view.text().get(from..reach.max(from))?;
    let len: usize = text.chars().take_while(|c| in_word(*c) || *c == '-').map(char::len_utf8).sum();
    step(len);
    (len > 0).then_some(from + len)
}

/// The end of a dot at `from`: `.`, `(.)`, ` dot `, `(dot)`, `[punkt]`, `_dot_`.
fn dot_end(view: &View, from: usize) -> Option<(usize, bool)> {
    let rest = view.text().get(from..)?;
    if rest.starts_with('.') {
        return Some((from + 1, false));
    }
    let inner = rest.trim_start_matches([' ', '(', '[', '{', '<', '_']);
    let opened = rest.len() - inner.len();
    if opened == 0 || opened > 3 {
        return None;
    }
    let word = SPELLED_DOT.iter().chain(&["."]).find(|dot| inner.get(..dot.len()).is_some_and(|head| head.eq_ignore_ascii_case(dot)))?;
    let after = &inner[word.len()..];
    let tail = after.trim_start_matches([' ', ')', ']', '}', '>', '_']);
    let closed = after.len() - tail.len();
    (1..=3).contains(&closed).then_some((from + opened + word.len() + closed, true))
}
