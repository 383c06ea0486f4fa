//! One session: what it is made of, its record in `T.sessions`, and back.

use crate::derive::avro::{Bytes, bytes, long, optional_text};
use crate::derive::record::Event;
use crate::model::pseudonym::{Epoch, Pseudonym};
use sha2::{Digest, Sha256};

/// Of how many of its events a session remembers a hash: a replay of an older one would count again. 32 KiB in the record, at most.
pub const SEEN_MAX: usize = 4_096;

/// A page and when it was seen. Units: ms since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// When.
    pub at_ms: i64,
    /// Host and path.
    pub texts: [Box<str>; 2],
}

/// A campaign and when it was seen. Units: ms since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// When.
    pub at_ms: i64,
    /// Source, medium, campaign, term, content, platform of the click id.
    pub texts: [Box<str>; 6],
}

/// A session. Prints no pseudonym in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Made of the event that opened it.
    pub id: u64,
    /// The key's generation.
    pub epoch: Epoch,
    /// Its first event. Units: ms since the epoch.
    pub start_ms: i64,
    /// Its last event. Units: ms since the epoch.
    pub end_ms: i64,
    /// How many.
    pub events: u64,
    /// Page of the first event that has one.
    pub entry: Option<Page>,
    /// Page of the last event that has one.
    pub exit: Option<Page>,
    /// Campaign of the first event that has one.
    pub campaign: Option<Campaign>,
    /// Hashes of its newest events' ids.
    pub seen: Vec<u64>,
    /// Pseudonyms of all identifiers of its events, in order.
    pub identifiers: Vec<Pseudonym>,
}

/// 64 bits of an event id, the same for ever.
#[must_use]
pub fn event_hash(event_id: &str) -> u64 {
    let digest = Sha256::digest(event_id.as_bytes());
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn boxed<const N: usize>(texts: [&str; N]) -> [Box<str>; N] {
    texts.map(Box::from)
}

impl Session {
    /// A session of one event.
    #[must_use]
    pub fn of(event: &Event<'_>, identifiers: Vec<Pseudonym>) -> Session {
        let at_ms = event.occurred_at_ms;
        let hash = event_hash(event.event_id);
        let is_there = |texts: &[&str]| texts.iter().any(|text| !text.is_empty());
        let page = is_there(&[event.host, event.path]).then(|| Page { at_ms, texts: boxed([event.host, event.path]) });
        let campaign = is_there(&event.campaign).then(|| Campaign { at_ms, texts: boxed(event.campaign) });
        let (epoch, entry, exit) = (event.epoch, page.clone(), page);
        let mut session =
            Session { id: hash, epoch, start_ms: at_ms, end_ms: at_ms, events: 1, entry, exit, campaign, seen: vec![hash], identifiers };
        session.identifiers.sort_unstable();
        session.identifiers.dedup();
        session
    }

    /// Takes another session's events in.
    pub fn join(&mut self, other: Session) {
        self.start_ms = self.start_ms.min(other.start_ms);
        self.end_ms = self.end_ms.max(other.end_ms);
        self.events += other.events;
        // Of two at the same time, the entry is what was there first, the exit what came last.
        if other.entry.as_ref().is_some_and(|o| self.entry.as_ref().is_none_or(|s| o.at_ms < s.at_ms)) {
            self.entry = other.entry;
        }
        if other.exit.as_ref().is_some_and(|o| self.exit.as_ref().is_none_or(|s| o.at_ms >= s.at_ms)) {
            self.exit = other.exit;
        }
        if other.campaign.as_ref().is_some_and(|o| self.campaign.as_ref().is_none_or(|s| o.at_ms < s.at_ms)) {
            self.campaign = other.campaign;
        }
        self.seen.extend(other.seen);
        let forgotten = self.seen.len().saturating_sub(SEEN_MAX);
        self.seen.drain(..forgotten);
        for identifier in other.identifiers {
            if let Err(at) = self.identifiers.binary_search(&identifier) {
                self.identifiers.insert(at, identifier);
            }
        }
    }

    /// The record's key.
    #[must_use]
    pub fn key(subject: &str, id: u64) -> String {
        format!("{subject}/{id:016x}")
    }

    /// Subject and id of a key. Errors: `None` for a key of another kind.
    #[must_use]
    pub fn read_key(key: &[u8]) -> Option<(&str, u64)> {
        let (subject, id) = std::str::from_utf8(key).ok()?.rsplit_once('/')?;
        Some((subject, u64::from_str_radix(id, 16).ok()?))
    }

    /// Appends the record's value: `schemas/session/session.avsc` behind `prefix`.
    pub fn write(&self, prefix: &[u8], tenant: &str, subject: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(prefix);
        bytes(format!("{:016x}", self.id).as_bytes(), out);
        bytes(tenant.as_bytes(), out);
        bytes(subject.as_bytes(), out);
        for n in [i64::from(self.epoch.0), self.start_ms, self.end_ms, self.end_ms - self.start_ms, self.events as i64] {
            long(n, out);
        }
        for page in [&self.entry, &self.exit] {
            write_optional(page.as_ref().map(|p| (p.at_ms, &p.texts[..])), out);
        }
        write_optional(self.campaign.as_ref().map(|c| (c.at_ms, &c.texts[..])), out);
        long(self.seen.len() as i64 * 8, out);
        self.seen.iter().for_each(|hash| out.extend_from_slice(&hash.to_be_bytes()));
    }

    /// Reads a record's value back. Its identifiers stand in the header. Errors: `None` for another schema or torn bytes.
    #[must_use]
    pub fn read(prefix: &[u8], record: &[u8], identifiers: Vec<Pseudonym>) -> Option<Session> {
        let mut body = Bytes(record.strip_prefix(prefix)?);
        let id = u64::from_str_radix(body.text()?, 16).ok()?;
        body.text()?; // tenant
        body.text()?; // subject
        let epoch = Epoch(u16::try_from(body.long()?).ok()?);
        let (start_ms, end_ms) = (body.long()?, body.long()?);
        body.long()?; // duration_ms
        let events = u64::try_from(body.long()?).ok()?;
        let mut page = || -> Option<Option<Page>> {
            Some(if body.is_there()? { Some(Page { at_ms: body.long()?, texts: boxed(body.optional_texts()?) }) } else { None })
        };
        let (entry, exit) = (page()?, page()?);
        let campaign = if body.is_there()? { Some(Campaign { at_ms: body.long()?, texts: boxed(body.optional_texts()?) }) } else { None };
        let seen = body.bytes()?.as_chunks::<8>().0.iter().map(|hash| u64::from_be_bytes(*hash)).collect();
        Some(Session { id, epoch, start_ms, end_ms, events, entry, exit, campaign, seen, identifiers })
    }
}

/// Writes a nullable record of a time and nullable texts.
fn write_optional(record: Option<(i64, &[Box<str>])>, out: &mut Vec<u8>) {
    let Some((at_ms, texts)) = record else { return out.push(0) };
    out.push(2);
    long(at_ms, out);
    texts.iter().for_each(|text| optional_text(text, out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use apache_avro::Schema;
    use apache_avro::reader::datum::GenericDatumReader;
    use apache_avro::types::Value;
    use proptest::prelude::*;

    const SCHEMA: &str = include_str!("../../schemas/session/session.avsc");

    fn session(t: &[String], n: &[i64], there: &[bool]) -> Session {
        let text = |i: usize| t[i].as_str();
        let page = |is: bool, i: usize| is.then(|| Page { at_ms: n[i], texts: boxed([text(i), text(i + 1)]) });
        Session {
            id: n[0] as u64,
            epoch: Epoch(3),
            start_ms: n[1],
            end_ms: n[1] + 5,
            events: 7,
            entry: page(there[0], 0),
            exit: page(there[1], 2),
            campaign: there[2].then(|| Campaign { at_ms: n[2], texts: boxed([0, 1, 2, 3, 4, 5].map(text)) }),
            seen: n.iter().map(|n| *n as u64).collect(),
            identifiers: vec![Pseudonym([1; 16])],
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_avro_and_reads_back(
            t in proptest::collection::vec("\\PC{0,20}", 6), n in proptest::collection::vec(-1i64 << 40..1 << 40, 4..9),
            there in proptest::collection::vec(any::<bool>(), 3),
        ) {
            let session = session(&t, &n, &there);
            let mut out = Vec::new();
            session.write(b"PREFIX", "acme", "1.subject", &mut out);
            prop_assert_eq!(&Session::read(b"PREFIX", &out, session.identifiers.clone()), &Some(session.clone()));
            let schema = Schema::parse_str(SCHEMA).unwrap();
            let mut body = &out[6..];
            let value = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut body).unwrap();
            prop_assert!(body.is_empty());
            let Value::Record(fields) = value else { panic!("a record") };
            let field = |name: &str| fields.iter().find(|(n, _)| n == name).unwrap().1.clone();
            prop_assert_eq!(field("subject"), Value::String("1.subject".into()));
            prop_assert_eq!(field("duration_ms"), Value::Long(5));
            prop_assert_eq!(field("started_at"), Value::TimestampMillis(session.start_ms));
            for cut in 0..out.len() {
                let _ = Session::read(b"PREFIX", &out[..cut], Vec::new());
            }
        }
    }

    #[test]
    fn keys_read_back() {
        let key = Session::key("1.abc", 255);
        assert_eq!(key, "1.abc/00000000000000ff");
        assert_eq!(Session::read_key(key.as_bytes()), Some(("1.abc", 255)));
        assert_eq!(Session::read_key(b"~roll"), None);
    }
}
