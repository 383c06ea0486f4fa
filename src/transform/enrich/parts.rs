//! A URL taken apart: the ordinary ones by a scan without allocation, all others by the `url` crate, with the same result.

use crate::transform::bits::{self, BLOCK, is, is_alphanumeric, of_block_at, within};
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

/// A bit each: what the `url` crate would encode, reject or read otherwise in a path, in a query and in a fragment.
const ODD_IN_PATH: u8 = 1;
const ODD_IN_QUERY: u8 = 2;
const ODD_IN_FRAGMENT: u8 = 4;

/// By byte: where it is odd.
const ODD: [u8; 256] = {
    let mut odd = [0; 256];
    let mut b = 0;
    while b < 256 {
        let byte = b as u8;
        if !byte.is_ascii_graphic() {
            odd[b] = ODD_IN_PATH | ODD_IN_QUERY | ODD_IN_FRAGMENT;
        } else if matches!(byte, b'"' | b'<' | b'>') {
            odd[b] = ODD_IN_PATH | ODD_IN_QUERY;
        } else if matches!(byte, b'['..=b'^' | b'`' | b'{'..=b'}') {
            odd[b] = ODD_IN_PATH;
        } else if byte == b'\'' {
            odd[b] = ODD_IN_QUERY;
        }
        b += 1;
    }
    odd
};

/// `http(s)://name/path?query#fragment` in plain ASCII; `None` for anything that needs thought.
fn split_ordinary(url: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = match url.strip_prefix("https://") {
        Some(rest) => ("https", rest),
        None => ("http", url.strip_prefix("http://")?),
    };
    let bytes = rest.as_bytes();
    // What is none of these has to be looked at: it ends a part or may be odd.
    let mut looks = bits::places(bytes, |b| !(is_alphanumeric(b) | within(b, b'-', b'.')));
    let mut at = looks.next().unwrap_or(rest.len());
    let host = &rest[..at];
    if !begins_with_ordinary_name(bytes, at) {
        return None;
    }
    let mut port = None;
    if bytes.get(at) == Some(&b':') {
        let end = looks.next().unwrap_or(rest.len());
        port = Some(ordinary_port(scheme, &rest[at + 1..end])?);
        at = end;
    }
    let path_at = at;
    if !matches!(bytes.get(at), None | Some(b'/' | b'?' | b'#')) {
        return None; // a user name, something to encode
    }
    let (mut path_end, mut query_end, mut odd) = (None, None, ODD_IN_PATH);
    while let Some(b) = bytes.get(at) {
        match b {
            b'/' if odd == ODD_IN_PATH && matches!(bytes[at + 1..], [b'.', ..] | [b'%', b'2', b'e' | b'E', ..]) => return None, // `..`
            b'?' if odd == ODD_IN_PATH => (path_end, odd) = (Some(at), ODD_IN_QUERY),
            b'#' if odd != ODD_IN_FRAGMENT => (query_end, odd) = (Some(at), ODD_IN_FRAGMENT),
            b if ODD[usize::from(*b)] & odd != 0 => return None,
            _ => {}
        }
        at = looks.next().unwrap_or(rest.len());
    }
    let query_end = query_end.unwrap_or(rest.len());
    let path = &rest[path_at..path_end.unwrap_or(query_end)];
    let query = path_end.map_or("", |end| &rest[end + 1..query_end]);
    Some(Parts { scheme, host, host_is_ip: false, port, path: if path.is_empty() { "/" } else { path }, query })
}

/// A port in its usual writing that is not the scheme's own.
fn ordinary_port(scheme: &str, digits: &str) -> Option<u16> {
    let port: u16 = digits.parse().ok().filter(|_| !digits.starts_with('0'))?;
    let own = if scheme == "https" { 443 } else { 80 };
    (port != own).then_some(port)
}

/// Whether the first `len` bytes are a name of at least one label, none empty, none that could be punycode, the last not a number (that would be an IPv4
/// address). Shape: they are letters, digits, `-` and `.`; a name longer than most is not looked at.
fn begins_with_ordinary_name(bytes: &[u8], len: usize) -> bool {
    if len >= BLOCK {
        return false;
    }
    let inside = !(u64::MAX << len);
    let (dots, hyphens) = (of_block_at(bytes, 0, |b| is(b, b'.')) & inside, of_block_at(bytes, 0, |b| is(b, b'-')) & inside);
    let starts = dots << 1 | 1;
    let empty = starts & (dots | !inside) != 0;
    let punycode = starts << 2 & hyphens & hyphens >> 1 != 0;
    let last = BLOCK - 1 - starts.leading_zeros() as usize;
    !empty && !punycode && !bytes[last].is_ascii_digit()
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
