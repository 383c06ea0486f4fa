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

const HOST: u8 = 1;
const PATH: u8 = 2;
const QUERY: u8 = 4;

/// Which bytes may stand in which part without the `url` crate changing anything.
const ORDINARY: [u8; 256] = {
    let mut table = [0; 256];
    let (mut i, in_path, in_query) = (0, b"_.-~!$&'()*+,;=:@%/", b"_.-~!$&()*+,;=:@%/?");
    while i < in_path.len() {
        table[in_path[i] as usize] |= PATH;
        table[in_query[i] as usize] |= QUERY;
        i += 1;
    }
    let mut b = 0;
    while b < 256 {
        if (b as u8).is_ascii_alphanumeric() {
            table[b] = HOST | PATH | QUERY;
        }
        b += 1;
    }
    table[b'-' as usize] |= HOST;
    table[b'.' as usize] |= HOST;
    table
};

fn span_of(bytes: &[u8], part: u8) -> usize {
    bytes.iter().position(|&b| ORDINARY[usize::from(b)] & part == 0).unwrap_or(bytes.len())
}

/// `http(s)://name/path?query#fragment` in plain ASCII; `None` for anything that needs thought.
fn split_ordinary(url: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = match url.strip_prefix("https://") {
        Some(rest) => ("https", rest),
        None => ("http", url.strip_prefix("http://")?),
    };
    let (host, rest) = rest.split_at(span_of(rest.as_bytes(), HOST));
    if !is_ordinary_name(host) {
        return None;
    }
    let (path, rest) = rest.split_at(span_of(rest.as_bytes(), PATH));
    let path = match path.as_bytes().first() {
        None => "/",
        Some(b'/') if !has_dot_segment(path) => path,
        _ => return None, // a port, a user name, a dot segment
    };
    let (query, rest) = match rest.strip_prefix('?') {
        Some(query) => query.split_at(span_of(query.as_bytes(), QUERY)),
        None => ("", rest),
    };
    let fragment_is_plain = || rest.bytes().all(|b| b.is_ascii_graphic());
    let ends = rest.is_empty() || (rest.starts_with('#') && fragment_is_plain());
    ends.then_some(Parts { scheme, host, host_is_ip: false, port: None, path, query })
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
