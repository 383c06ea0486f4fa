//! Where an address is, from a GeoIP database (MMDB) that is handed in.
//!
//! The database is bytes in memory, never a mapped file: a mapped file that somebody truncates kills the process.

use std::net::IpAddr;

use maxminddb::{PathElement, Reader};

/// A GeoIP database in memory, with cities or only countries.
pub type GeoReader = Reader<Vec<u8>>;

/// Whereabouts. Shape: borrowed from the database; an empty text means unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Geo<'a> {
    /// ISO 3166-1 alpha-2, upper case.
    pub country: &'a str,
    /// ISO 3166-2 without the country's part, such as `CA`.
    pub region: &'a str,
    /// City, English name.
    pub city: &'a str,
}

/// Looks an address up; `with_city` says whether the city may be read at all.
///
/// Shape: all empty when the database does not know the address or is damaged there. Source: events.md §2 (`geo`).
#[must_use]
pub fn locate(reader: &GeoReader, address: IpAddr, with_city: bool) -> Geo<'_> {
    let Ok(found) = reader.lookup(address) else { return Geo::default() };
    let text = |path: &[PathElement<'_>]| found.decode_path::<&str>(path).ok().flatten().unwrap_or("");
    let country = text(&[PathElement::Key("country"), PathElement::Key("iso_code")]);
    if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_uppercase()) {
        return Geo::default();
    }
    Geo {
        country,
        region: text(&[PathElement::Key("subdivisions"), PathElement::Index(0), PathElement::Key("iso_code")]),
        city: if with_city { text(&[PathElement::Key("city"), PathElement::Key("names"), PathElement::Key("en")]) } else { "" },
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A database of a few IPv4 /8 networks, built here: format of MaxMind's specification 2.0 (record size 24, IPv4 tree).
    pub fn database(entries: &[(u8, &str, &str, &str)]) -> Vec<u8> {
        let mut data = Vec::new();
        let offsets: Vec<usize> = entries
            .iter()
            .map(|(_, country, region, city)| {
                let at = data.len();
                let region = list(&[map(&[("iso_code", text(region))])]);
                let city = map(&[("names", map(&[("en", text(city))]))]);
                data.extend(map(&[("country", map(&[("iso_code", text(country))])), ("subdivisions", region), ("city", city)]));
                at
            })
            .collect();
        // Eight levels, one node for each prefix: node n has the children 2n+1 and 2n+2.
        let nodes = 255;
        let mut out = Vec::new();
        for node in 0..nodes {
            for bit in 0..2 {
                let child = 2 * node + 1 + bit;
                let entry = entries.iter().position(|(first, ..)| child == nodes + usize::from(*first));
                let record = if child < nodes { child } else { entry.map_or(nodes, |e| nodes + 16 + offsets[e]) };
                out.extend_from_slice(&(record as u32).to_be_bytes()[1..]);
            }
        }
        out.extend([0; 16]);
        out.extend(data);
        out.extend(b"\xab\xcd\xefMaxMind.com");
        let number = |n: u8, kind: u8| vec![kind << 5 | 1, n];
        out.extend(map(&[
            ("node_count", number(255, 6)),
            ("record_size", number(24, 5)),
            ("ip_version", number(4, 5)),
            ("database_type", text("Test")),
            ("languages", list(&[text("en")])),
            ("binary_format_major_version", number(2, 5)),
            ("binary_format_minor_version", vec![5 << 5]),
            ("build_epoch", vec![1, 2, 1]),
            ("description", map(&[("en", text("Made by a test"))])),
        ]));
        out
    }

    fn text(s: &str) -> Vec<u8> {
        [&[2 << 5 | s.len() as u8], s.as_bytes()].concat()
    }

    fn map(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let body = pairs.iter().flat_map(|(k, v)| [text_key(k), v.clone()].concat());
        [7 << 5 | pairs.len() as u8].into_iter().chain(body).collect()
    }

    /// Keys may be longer than the 28 bytes a size of five bits can say.
    fn text_key(s: &str) -> Vec<u8> {
        if s.len() < 29 { text(s) } else { [&[2 << 5 | 29, s.len() as u8 - 29], s.as_bytes()].concat() }
    }

    fn list(items: &[Vec<u8>]) -> Vec<u8> {
        [vec![items.len() as u8, 4], items.concat()].concat()
    }

    fn reader() -> GeoReader {
        Reader::from_source(database(&[(21, "US", "CA", "Menlo Park"), (203, "DE", "BE", "Berlin"), (9, "xx", "", "")])).unwrap()
    }

    #[test]
    fn addresses_have_a_country_and_only_if_allowed_a_city() {
        let reader = reader();
        let at = |ip: &str, with_city| locate(&reader, ip.parse().unwrap(), with_city);
        assert_eq!(at("21.222.251.117", true), Geo { country: "US", region: "CA", city: "Menlo Park" });
        assert_eq!(at("203.0.113.7", false), Geo { country: "DE", region: "BE", city: "" });
        assert_eq!(at("8.8.8.8", true), Geo::default());
        assert_eq!(at("9.9.9.9", true), Geo::default(), "no country code");
        assert_eq!(at("2001:db8::1", true), Geo::default(), "an IPv4 database");
    }

    proptest! {
        #[test]
        fn a_damaged_database_never_panics(at in 0usize..2000, byte in any::<u8>(), ip in any::<u32>()) {
            let mut bytes = database(&[(21, "US", "CA", "Menlo Park"), (203, "DE", "BE", "Berlin")]);
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(reader) = Reader::from_source(bytes) {
                for first in [21, 203, ip >> 24] {
                    let ip = std::net::Ipv4Addr::from(first << 24 | ip >> 8);
                    prop_assert!(matches!(locate(&reader, ip.into(), true).country.len(), 0 | 2));
                }
            }
        }
    }
}
