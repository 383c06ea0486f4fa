//! A URL taken apart: the ordinary ones by a scan without allocation, all others by the `url` crate, with the same result.

use url::{Host, Url};

/// Longest URL that is looked at, in bytes; a longer one counts as none.
pub const URL_BYTES_MAX: usize = 16 * 1024;

/// The parts of a URL that has a host. User name, password and fragment are not among them, by design. No `Debug`: it holds clear text.
pub(super) struct Parts<'a> {
    /// Scheme, lower case.
    pub scheme: &'a str,
    /// Host; may hold capitals.
    pub host: &'a str,
    /// Whether the host is an IP address and not a name.
    pub host_is_ip: bool,
    /// Port, unless it is the scheme's own.
    pub port: Option<u16>,
    /// Path, percent-encoded, as the WHATWG standard serialises it.
    pub path: &'a str,
    /// Query without `?`, percent-encoded; empty if there is none.
    pub query: &'a str,
}

/// Takes a URL apart and hands the parts over. Shape: `None` for text that is no URL, has no host or is too long. Errors: none are reported,
/// because a URL parser's own text may quote the URL.
#[inline]
pub(super) fn with_parts<R>(url: &str, read: impl FnOnce(&Parts<'_>) -> R) -> Option<R> {
    if url.len() > URL_BYTES_MAX {
        return None;
    }
    if let Some(parts) = split_ordinary(url) {
        return Some(read(&parts));
    }
    let parsed = Url::parse(url).ok()?;
    let host = parsed.host()?;
    let parts = Parts {
        scheme: parsed.scheme(),
        host: parsed.host_str().filter(|h| !h.is_empty())?,
        host_is_ip: !matches!(host, Host::Domain(_)),
        port: parsed.port(),
        path: parsed.path(),
        query: parsed.query().unwrap_or(""),
    };
    Some(read(&parts))
}

/// How many bytes of `text` can be a host.
fn host_len(text: &str) -> usize {
    text.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'.' || b == b'-')).unwrap_or(text.len())
}

/// Nothing in a path that the `url` crate would encode or reject. No branch in the loop, so that it becomes vector code.
fn is_ordinary_path(text: &str) -> bool {
    let odd = |b: u8| {
        !b.is_ascii_graphic()
            | (b == b'"')
            | (b == b'<')
            | (b == b'>')
            | (b'['..=b'^').contains(&b)
            | (b == b'`')
            | (b >= b'{' && b != b'~')
    };
    !text.bytes().fold(false, |any, b| any | odd(b))
}

/// The same for a query.
fn is_ordinary_query(text: &str) -> bool {
    let odd = |b: u8| !b.is_ascii_graphic() | (b == b'"') | (b == b'<') | (b == b'>') | (b == b'\'');
    !text.bytes().fold(false, |any, b| any | odd(b))
}

/// `http(s)://name/path?query#fragment` in plain ASCII; `None` for anything that needs thought.
fn split_ordinary(url: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = match url.strip_prefix("https://") {
        Some(rest) => ("https", rest),
        None => ("http", url.strip_prefix("http://")?),
    };
    let (host, rest) = rest.split_at(host_len(rest));
    if !is_ordinary_name(host) {
        return None;
    }
    let (port, rest) = match rest.strip_prefix(':') {
        Some(rest) => ordinary_port(scheme, rest)?,
        None => (None, rest),
    };
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = match path.as_bytes().first() {
        None => "/",
        Some(b'/') if is_ordinary_path(path) && !has_dot_segment(path) => path,
        _ => return None, // a user name, a dot segment, something to encode
    };
    let fragment_is_plain = fragment.bytes().all(|b| b.is_ascii_graphic());
    (is_ordinary_query(query) && fragment_is_plain).then_some(Parts { scheme, host, host_is_ip: false, port, path, query })
}

/// A port in its usual writing that is not the scheme's own, and what follows it.
fn ordinary_port<'a>(scheme: &str, rest: &'a str) -> Option<(Option<u16>, &'a str)> {
    let (digits, rest) = rest.split_at(rest.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len()));
    let port: u16 = digits.parse().ok().filter(|_| !digits.starts_with('0'))?;
    let own = if scheme == "https" { 443 } else { 80 };
    (port != own).then_some((Some(port), rest))
}

/// A name of at least one label, none empty, none in punycode, the last not a number (that would be an IPv4 address).
fn is_ordinary_name(host: &str) -> bool {
    let mut last = &b""[..];
    for label in host.as_bytes().split(|&b| b == b'.') {
        let punycode = label.len() >= 4 && label[2..4] == *b"--";
        if label.is_empty() || punycode {
            return false;
        }
        last = label;
    }
    !last.first().is_none_or(u8::is_ascii_digit)
}

/// Whether a segment starts with a dot, plain or encoded.
fn has_dot_segment(path: &str) -> bool {
    memchr::memchr_iter(b'/', path.as_bytes()).any(|at| matches!(path.as_bytes()[at + 1..], [b'.', ..] | [b'%', b'2', b'e' | b'E', ..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (String, String, Option<u16>, String, String);

    fn owned(p: &Parts<'_>) -> Owned {
        (p.scheme.into(), p.host.to_ascii_lowercase(), p.port, p.path.into(), p.query.into())
    }

    /// The oracle: the `url` crate alone.
    fn oracle(url: &str) -> Option<Owned> {
        let u = Url::parse(url).ok()?;
        let host = u.host_str().filter(|h| !h.is_empty())?.to_ascii_lowercase();
        Some((u.scheme().into(), host, u.port(), u.path().into(), u.query().unwrap_or("").into()))
    }

    #[test]
    fn ordinary_urls_take_the_fast_path() {
        for url in [
            "https://shop.example.com/p/512?utm_source=google&utm_campaign=a%20b&gclid=Cj0-_x",
            "http://Example.COM",
            "https://example.com/?q=1#top",
            "https://example.com/a.b/c",
            "https://example.com?x=1",
            "http://Shop.example.com:8443/a",
        ] {
            assert!(split_ordinary(url).is_some(), "{url}");
            assert_eq!(with_parts(url, owned), oracle(url), "{url}");
        }
    }

    #[test]
    fn odd_urls_equal_the_oracle() {
        for url in [
            "",
            "x",
            "//example.com/",
            "mailto:ana@example.com",
            "tel:+12125558512",
            "https://",
            "https:///a",
            "http:/example.com",
            "HTTPS://EXAMPLE.com/A",
            "https://user:pass@example.com:8443/a",
            "https://ana@example.com/",
            "https://example.com:443/",
            "https://example.com:/",
            "https://1.2.3.4/",
            "https://example.com/a/../b",
            "https://example.com/./b",
            "https://example.com/%2e%2E/b",
            "https://example.com/a b",
            "https://example.com\\a",
            "https://bücher.example/ü?ü=ü#ü",
            "https://xn--bcher-kva.example/",
            "https://a..b/",
            "https://a.b./",
            "https://[2001:db8::1]/x",
            "https://0x7f.1/",
            "https://ex_ample.com/",
            "android-app://com.Example.App/path",
            "https://example.com/'?a='",
            " https://example.com/ ",
            "https://exa\nmple.com/",
            "https://example.com/?a?b",
            "https://example.com/^|[]{}",
            "file:///etc/passwd",
            "https://example.com/a#b c",
            "blob:https://example.com/x",
        ] {
            assert_eq!(with_parts(url, owned), oracle(url), "{url}");
        }
        assert!(with_parts(&format!("https://example.com/{}", "a".repeat(URL_BYTES_MAX)), |_| ()).is_none());
    }

    proptest! {
        #[test]
        fn any_url_equals_the_oracle(url in "(https?://|HTTP://|app://)[a-zA-Z0-9.:@_%é-]{0,16}(/[ -~é]{0,16}){0,3}(\\?[ -~]{0,20})?(#[ -~é]{0,6})?") {
            prop_assert_eq!(with_parts(&url, owned), oracle(&url));
        }

        #[test]
        fn any_text_equals_the_oracle(url in "\\PC{0,40}") {
            prop_assert_eq!(with_parts(&url, owned), oracle(&url));
        }
    }
}
