//! IP addresses: truncated for the pseudonymised record, or whole and public for a destination.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Appends the network of an address: `a.b.c.0` (/24) or, for IPv6, the /48 in the text form of RFC 5952.
///
/// Shape: appends at most 18 bytes and returns true; false and nothing appended when the text is not an address.
/// Addresses that carry an IPv4 address inside (`::ffff:a.b.c.d`, and 6to4 `2002:…`, whose /48 *is* the IPv4 address) are truncated as IPv4.
/// Source: events.md §2; RFC 4291 §2.5.5.2, RFC 3056 §2, RFC 5952 §4.
pub fn truncate(ip: &str, out: &mut Vec<u8>) -> bool {
    let address = ip.trim_ascii().parse();
    if let Ok(address) = address {
        push_network(address, out);
    }
    address.is_ok()
}

/// The same of an address that was read already.
#[inline]
pub fn push_network(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(v4) => push_ipv4_network(v4, out),
        IpAddr::V6(v6) => match embedded_ipv4(v6) {
            Some(v4) => push_ipv4_network(v4, out),
            None => push_ipv6_network(v6, out),
        },
    }
}

/// The end user's address, for destinations: public addresses only, IPv4-mapped ones as IPv4.
///
/// Shape: `None` for text that is no address, and for private, loopback, unspecified, link-local, carrier-shared and multicast ones.
/// Source: destinations.md 1.10; RFC 1918, 4193, 6598, 3927.
#[must_use]
pub fn parse_end_user(ip: &str) -> Option<IpAddr> {
    end_user(ip.trim_ascii().parse().ok()?)
}

/// The same of an address that was read already.
#[must_use]
pub fn end_user(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4).then_some(IpAddr::V4(v4)),
        IpAddr::V6(v6) => is_public_v6(v6).then_some(IpAddr::V6(v6)),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    !(a == 0 || shared || ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.is_broadcast())
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_unique_local() || ip.is_unicast_link_local())
}

fn embedded_ipv4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = ip.segments();
    let six_to_four = || {
        let ([a, b], [c, d]) = (s[1].to_be_bytes(), s[2].to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    ip.to_ipv4_mapped().or_else(|| (s[0] == 0x2002).then(six_to_four))
}

fn push_ipv4_network(ip: Ipv4Addr, out: &mut Vec<u8>) {
    let [a, b, c, _] = ip.octets();
    for number in [a, b, c] {
        push_decimal(number, out);
        out.push(b'.');
    }
    out.push(b'0');
}

/// The last five groups of a /48 are zero, so the longest run of zeros is always the one at the end.
fn push_ipv6_network(ip: Ipv6Addr, out: &mut Vec<u8>) {
    let groups = &ip.segments()[..3];
    let kept = groups.iter().rposition(|&g| g != 0).map_or(0, |last| last + 1);
    for (i, &group) in groups[..kept].iter().enumerate() {
        if i > 0 {
            out.push(b':');
        }
        push_hex(group, out);
    }
    out.extend_from_slice(b"::");
}

fn push_decimal(n: u8, out: &mut Vec<u8>) {
    if n >= 100 {
        out.push(b'0' + n / 100);
    }
    if n >= 10 {
        out.push(b'0' + n / 10 % 10);
    }
    out.push(b'0' + n % 10);
}

fn push_hex(n: u16, out: &mut Vec<u8>) {
    let digits = (16 - n.leading_zeros()).div_ceil(4).max(1);
    for i in (0..digits).rev() {
        out.push(b"0123456789abcdef"[usize::from(n >> (4 * i) & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn truncated(ip: &str) -> Option<String> {
        let mut out = b"before".to_vec();
        let ok = truncate(ip, &mut out);
        let text = String::from_utf8(out.split_off(6)).unwrap();
        assert!(ok || text.is_empty(), "nothing is appended on failure");
        ok.then_some(text)
    }

    /// Slow and obvious: mask the bits, let std print.
    fn naive(ip: &str) -> Option<String> {
        let v6 = match ip.trim_ascii().parse::<IpAddr>().ok()?.to_canonical() {
            IpAddr::V4(v4) => return Some(Ipv4Addr::from(u32::from(v4) & 0xffff_ff00).to_string()),
            IpAddr::V6(v6) => u128::from(v6),
        };
        if v6 >> 112 == 0x2002 {
            return Some(Ipv4Addr::from((v6 >> 80) as u32 & 0xffff_ff00).to_string());
        }
        Some(Ipv6Addr::from(v6 >> 80 << 80).to_string())
    }

    #[test]
    fn networks_not_hosts() {
        for (ip, network) in [
            ("21.222.251.117", "21.222.251.0"),
            ("0.0.0.0", "0.0.0.0"),
            ("255.255.255.255", "255.255.255.0"),
            (" 203.0.113.7 ", "203.0.113.0"),
            ("2001:db8:85a3:8d3:1319:8a2e:370:7348", "2001:db8:85a3::"),
            ("2001:DB8:0:1::1", "2001:db8::"),
            ("2001:db8::1", "2001:db8::"),
            ("0:0:5:1::", "0:0:5::"),
            ("::1", "::"),
            ("::ffff:203.0.113.7", "203.0.113.0"),
            ("::ffff:cb00:7107", "203.0.113.0"),
            ("2002:cb00:7107::1", "203.0.113.0"),
        ] {
            assert_eq!(truncated(ip).as_deref(), Some(network), "{ip}");
        }
    }

    #[test]
    fn not_an_address() {
        for ip in [
            "",
            " ",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "1.2.3.256",
            "1.2.3.4:80",
            "[::1]",
            "fe80::1%eth0",
            "::1::",
            "localhost",
            "１.2.3.4",
            "1.2.3.4, 5.6.7.8",
        ] {
            assert_eq!(truncated(ip), None, "{ip}");
            assert_eq!(parse_end_user(ip), None, "{ip}");
        }
    }

    #[test]
    fn only_public_addresses_go_to_destinations() {
        for ip in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "0.0.0.0",
            "169.254.1.1",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
        ] {
            assert_eq!(parse_end_user(ip), None, "{ip}");
        }
        for (ip, kept) in [
            ("203.0.113.7", "203.0.113.7"),
            ("2A02:26F0::1", "2a02:26f0::1"),
            ("::ffff:8.8.8.8", "8.8.8.8"),
            ("100.128.0.1", "100.128.0.1"),
        ] {
            assert_eq!(parse_end_user(ip).map(|i| i.to_string()).as_deref(), Some(kept), "{ip}");
        }
    }

    proptest! {
        #[test]
        fn truncation_equals_the_naive_twin(bits in any::<u128>(), shape in 0..5u8) {
            let ip = match shape {
                0 => IpAddr::V4(Ipv4Addr::from(bits as u32)),
                1 => IpAddr::V6(Ipv6Addr::from(bits)),
                2 => IpAddr::V6(Ipv4Addr::from(bits as u32).to_ipv6_mapped()),
                3 => IpAddr::V6(Ipv6Addr::from(bits >> 16 | 0x2002 << 112)),
                _ => IpAddr::V6(Ipv6Addr::from(bits & 0xffff_0000_ffff << 80)),
            };
            let text = ip.to_string();
            prop_assert_eq!(truncated(&text), naive(&text));
        }

        #[test]
        fn any_text_gives_what_the_naive_twin_gives(text in "\\PC{0,30}|[0-9a-f:.]{0,40}") {
            prop_assert_eq!(truncated(&text), naive(&text));
            prop_assert!(parse_end_user(&text).is_none() || naive(&text).is_some());
        }
    }
}
