//! How the sessions of a partition lie in memory between batches: one block of bytes a subject, without the structure that only work needs.
//!
//! ```text
//! | end of the first to end 8, ms, LE | number of sessions | session | session | …
//! session: id 8 | flags 1 | epoch | start | length | events | entry? | exit? | campaign? | hashes of events, 8 each | identifiers, 16 each
//! ```
//! Numbers are as in Avro, so small ones are short. A page or campaign is its distance from the start and its texts.

use crate::derive::avro::{Bytes, bytes, long};
use crate::derive::session::{Campaign, Page, Session};
use crate::model::pseudonym::{self, Epoch, Pseudonym};

/// A session, and whether the topic has it.
pub(super) struct Held {
    pub session: Session,
    /// It differs from the topic.
    pub touched: bool,
    /// The topic has a version of it.
    pub written: bool,
}

/// A subject as a key: a pseudonym without its text, which is half as long again and would lie elsewhere.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Pseudonym(Epoch, Pseudonym),
    /// Of another form.
    Text(Box<str>),
}

impl Name {
    pub fn of(subject: &str) -> Name {
        pseudonym::read_text(subject).map_or_else(|| Name::Text(subject.into()), |(epoch, p)| Name::Pseudonym(epoch, p))
    }

    pub fn text(&self) -> String {
        match self {
            Name::Pseudonym(epoch, p) => pseudonym::text(*epoch, *p),
            Name::Text(text) => text.to_string(),
        }
    }
}

const WRITTEN: u8 = 1;
const ENTRY: u8 = 2;
const EXIT: u8 = 4;
/// The exit is the entry: a session of one page.
const ONE_PAGE: u8 = 8;
const CAMPAIGN: u8 = 16;

/// Packs the sessions of one subject, none of which differs from the topic.
pub(super) fn pack(all: &[Held]) -> Box<[u8]> {
    let mut out = Vec::with_capacity(256);
    let first_end_ms = all.iter().map(|held| held.session.end_ms).min().unwrap_or(i64::MAX);
    out.extend_from_slice(&first_end_ms.to_le_bytes());
    long(all.len() as i64, &mut out);
    all.iter().for_each(|held| write(held, &mut out));
    out.into_boxed_slice()
}

/// The earliest end of them. Units: ms since the epoch.
pub(super) fn first_end_ms(packed: &[u8]) -> i64 {
    packed.first_chunk().map_or(i64::MAX, |bytes| i64::from_le_bytes(*bytes))
}

/// Unpacks them. Only bytes that [`pack`] did not write are torn: they hold nothing.
pub(super) fn unpack(packed: &[u8]) -> Vec<Held> {
    let mut body = Bytes(packed.get(8..).unwrap_or_default());
    let n = body.long().unwrap_or(0);
    (0..n).map_while(|_| read(&mut body)).collect()
}

fn write(held: &Held, out: &mut Vec<u8>) {
    let s = &held.session;
    let one_page = s.entry.is_some() && s.entry == s.exit;
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    let pages = flag(s.entry.is_some(), ENTRY) | flag(s.exit.is_some() && !one_page, EXIT) | flag(one_page, ONE_PAGE);
    out.extend_from_slice(&s.id.to_le_bytes());
    out.push(pages | flag(held.written, WRITTEN) | flag(s.campaign.is_some(), CAMPAIGN));
    for n in [i64::from(s.epoch.0), s.start_ms, s.end_ms - s.start_ms, s.events as i64] {
        long(n, out);
    }
    let mut texts = |at_ms: i64, texts: &[Box<str>]| {
        long(at_ms - s.start_ms, out);
        texts.iter().for_each(|text| bytes(text.as_bytes(), out));
    };
    s.entry.iter().for_each(|page| texts(page.at_ms, &page.texts));
    s.exit.iter().filter(|_| !one_page).for_each(|page| texts(page.at_ms, &page.texts));
    s.campaign.iter().for_each(|c| texts(c.at_ms, &c.texts));
    long(s.seen.len() as i64, out);
    s.seen.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
    long(s.identifiers.len() as i64, out);
    s.identifiers.iter().for_each(|p| out.extend_from_slice(&p.0));
}

fn read(body: &mut Bytes<'_>) -> Option<Held> {
    let id = u64::from_le_bytes(*body.take(8)?.first_chunk()?);
    let flags = *body.take(1)?.first()?;
    let epoch = Epoch(u16::try_from(body.long()?).ok()?);
    let start_ms = body.long()?;
    let end_ms = start_ms.checked_add(body.long()?)?;
    let events = u64::try_from(body.long()?).ok()?;
    let mut page = |is: u8| -> Option<Option<Page>> {
        Some(if flags & is == 0 { None } else { Some(Page { at_ms: start_ms.checked_add(body.long()?)?, texts: texts(body)? }) })
    };
    let (entry, exit) = (page(ENTRY)?, page(EXIT)?);
    let exit = if flags & ONE_PAGE == 0 { exit } else { entry.clone() };
    let campaign =
        if flags & CAMPAIGN == 0 { None } else { Some(Campaign { at_ms: start_ms.checked_add(body.long()?)?, texts: texts(body)? }) };
    let n = usize::try_from(body.long()?).ok()?;
    let seen = body.take(n.checked_mul(8)?)?.as_chunks::<8>().0.iter().map(|hash| u64::from_le_bytes(*hash)).collect();
    let n = usize::try_from(body.long()?).ok()?;
    let identifiers = body.take(n.checked_mul(16)?)?.as_chunks::<16>().0.iter().map(|p| Pseudonym(*p)).collect();
    let session = Session { id, epoch, start_ms, end_ms, events, entry, exit, campaign, seen, identifiers };
    Some(Held { session, touched: false, written: flags & WRITTEN != 0 })
}

fn texts<const N: usize>(body: &mut Bytes<'_>) -> Option<[Box<str>; N]> {
    let mut texts = [const { String::new() }; N];
    for text in &mut texts {
        *text = body.text()?.to_owned();
    }
    Some(texts.map(String::into_boxed_str))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn session() -> impl Strategy<Value = (Session, bool)> {
        let page = || proptest::option::of((-9i64..9_000_000, proptest::array::uniform2("\\PC{0,12}")));
        let campaign = proptest::option::of((-9i64..9_000_000, proptest::array::uniform6("\\PC{0,6}")));
        let many = (proptest::collection::vec(any::<u64>(), 0..9), proptest::collection::vec(any::<[u8; 16]>(), 0..4));
        let numbers = (any::<u64>(), any::<u16>(), -1i64 << 47..1 << 47, 0i64..9_000_000, any::<u32>());
        (numbers, page(), page(), campaign, many, any::<(bool, bool)>()).prop_map(
            |(n, entry, exit, campaign, many, (one_page, written))| {
                let page =
                    |p: Option<(i64, [String; 2])>| p.map(|(at, texts)| Page { at_ms: n.2 + at, texts: texts.map(String::into_boxed_str) });
                let campaign = campaign.map(|(at, texts)| Campaign { at_ms: n.2 + at, texts: texts.map(String::into_boxed_str) });
                let (entry, exit) = (page(entry), page(exit));
                let exit = if one_page { entry.clone() } else { exit };
                let (start_ms, end_ms, events) = (n.2, n.2 + n.3, u64::from(n.4));
                let identifiers = many.1.into_iter().map(Pseudonym).collect();
                let epoch = Epoch(n.1);
                (Session { id: n.0, epoch, start_ms, end_ms, events, entry, exit, campaign, seen: many.0, identifiers }, written)
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks(all in proptest::collection::vec(session(), 0..5)) {
            let held: Vec<Held> = all.iter().map(|(s, written)| Held { session: s.clone(), touched: false, written: *written }).collect();
            let packed = pack(&held);
            let back: Vec<(Session, bool)> = unpack(&packed).into_iter().map(|h| (h.session, h.written)).collect();
            prop_assert_eq!(first_end_ms(&packed), all.iter().map(|(s, _)| s.end_ms).min().unwrap_or(i64::MAX));
            prop_assert_eq!(back, all);
        }

        #[test]
        fn torn_bytes_hold_nothing_and_never_panic(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (unpack(&noise), first_end_ms(&noise));
        }

        #[test]
        fn names_keep_their_text(epoch: u16, bytes: [u8; 16], other in "\\PC{0,30}") {
            let text = pseudonym::text(Epoch(epoch), Pseudonym(bytes));
            let name = Name::of(&text);
            prop_assert!(matches!(name, Name::Pseudonym(..)));
            prop_assert_eq!(name.text(), text);
            prop_assert_eq!(Name::of(&other).text(), other);
        }
    }
}
