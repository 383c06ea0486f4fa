//! Records out of batches, as brokers hand them out (message format 2): <https://kafka.apache.org/documentation/#recordbatch>.
//!
//! What is compressed is unpacked piece by piece into memory that is used again, and each record is lent out of it: one record after the other is looked
//! at while it is still in the processor's cache, however large its batch is.

use super::codec::Codec;
use super::records::{COVERED, CRC_AT, HEADER, NOT_COUNTED, TRANSACTIONAL};
use crate::model::varint;
use bytes::{Buf, Bytes};
use std::collections::HashSet;
use std::io::Read;

/// Where a batch says in which format it is.
const FORMAT_AT: usize = 16;
/// The bits of a batch whose records have the time at which the broker stored them, and of a batch that ends transactions.
const STORED_TIME: i16 = 0x08;
const CONTROL: i16 = 0x20;
/// What a control record says: its version, then this.
const ABORT: [u8; 2] = [0, 0];
/// So much is unpacked at once; LZ4's blocks are as long and go straight where they are read. Units: bytes.
const UNPACKED: usize = 64 << 10;
/// No record is longer: what claims to be would have this process's memory. Units: bytes.
const RECORD_MAX: usize = 100 << 20;
/// So much memory is kept for what comes next. Units: bytes.
const KEPT: usize = 4 << 20;

/// Why a batch cannot be read. No variant quotes what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::kafka) enum Unreadable {
    #[error("its checksum is wrong")]
    Checksum,
    #[error("its message format is older than Kafka 0.11, or unknown")]
    Format,
    #[error("its compression is unknown")]
    Codec,
    #[error("it ends too early, or is not compressed as it says")]
    Short,
    #[error("a record in it is longer or shorter than it says")]
    Record,
}

/// A batch's header. Shape: `bytes` is all of the batch.
struct Batch {
    bytes: Bytes,
    attributes: i16,
    base_offset: i64,
    last_offset: i64,
    first_ms: i64,
    max_ms: i64,
    producer: i64,
    count: i32,
}

impl Batch {
    /// Takes the first batch off. Returns `None` if it is not whole: brokers cut where they must.
    fn take(from: &mut Bytes) -> Result<Option<Batch>, Unreadable> {
        let Some(length) = from.get(8..NOT_COUNTED) else { return Ok(None) };
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        let length = usize::try_from(length).map_err(|_| Unreadable::Short)? + NOT_COUNTED;
        if from.len() < length {
            return Ok(None);
        }
        if from.get(FORMAT_AT) != Some(&2) {
            return Err(Unreadable::Format);
        }
        if length < HEADER {
            return Err(Unreadable::Short);
        }
        let bytes = from.split_to(length);
        let mut rest = bytes.slice(..HEADER);
        let base_offset = rest.get_i64();
        rest.advance(COVERED - 8);
        let attributes = rest.get_i16();
        let last_offset = base_offset + i64::from(rest.get_i32());
        let (first_ms, max_ms, producer) = (rest.get_i64(), rest.get_i64(), rest.get_i64());
        rest.advance(2 + 4); // the producer's epoch and sequence
        let count = rest.get_i32();
        Ok(Some(Batch { bytes, attributes, base_offset, last_offset, first_ms, max_ms, producer, count }))
    }

    fn has(&self, bit: i16) -> bool {
        self.attributes & bit != 0
    }

    fn check(&self) -> Result<(), Unreadable> {
        let told = &self.bytes[CRC_AT..COVERED];
        let is_right = crc32c::crc32c(&self.bytes[COVERED..]).to_be_bytes() == told;
        if is_right { Ok(()) } else { Err(Unreadable::Checksum) }
    }
}

/// Cuts off what is not a whole batch, or cannot be read. Returns the offset after what is left; `None` if not even one is whole.
///
/// Errors: the first one cannot be read; with its offset.
pub(super) fn check(batches: &mut Bytes) -> Result<Option<i64>, (i64, Unreadable)> {
    let (mut rest, mut next, mut length) = (batches.clone(), None, 0);
    loop {
        let at = rest.get(..8).map_or(0, |mut offset| offset.get_i64());
        match Batch::take(&mut rest).and_then(|batch| batch.map(|b| b.check().map(|()| b)).transpose()) {
            Ok(Some(batch)) => (next, length) = (Some(batch.last_offset + 1), length + batch.bytes.len()),
            Err(why) if next.is_none() => return Err((at, why)),
            Ok(None) | Err(_) => break,
        }
    }
    batches.truncate(length);
    Ok(next)
}

/// A record, lent.
pub(in crate::kafka) struct Record<'r> {
    pub(in crate::kafka) offset: i64,
    /// Units: ms since the epoch; below zero if its producer told none.
    pub(in crate::kafka) at_ms: i64,
    pub(in crate::kafka) key: Option<&'r [u8]>,
    pub(in crate::kafka) value: Option<&'r [u8]>,
}

/// Memory that records are unpacked into.
#[derive(Default)]
struct Unpacked {
    bytes: Vec<u8>,
    /// What was unpacked and not read yet.
    from: usize,
    to: usize,
}

impl Unpacked {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.from..self.to).unwrap_or_default()
    }

    /// Unpacks some more. Errors: there is no more, or nothing that can be unpacked.
    fn more(&mut self, source: &mut dyn Read) -> Result<(), Unreadable> {
        self.bytes.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        if self.bytes.len() < self.to + UNPACKED {
            self.bytes.resize(2 * (self.to + UNPACKED), 0);
        }
        // What the libraries say of it might quote it.
        match source.read(&mut self.bytes[self.to..]) {
            Ok(0) | Err(_) => Err(Unreadable::Short),
            Ok(length) => {
                self.to += length;
                Ok(())
            }
        }
    }
}

/// The records of a partition's batches, without those of transactions that were aborted.
#[derive(Default)]
pub(in crate::kafka) struct Records {
    batches: Bytes,
    /// Transactions that were aborted: producer and first offset, the earliest last.
    aborted: Vec<(i64, i64)>,
    /// Producers in the middle of one of those.
    given_up: HashSet<i64>,
    open: Option<(Batch, i32, Box<dyn Read + Send>)>,
    unpacked: Unpacked,
    /// The offset after all that was read.
    position: i64,
}

impl Records {
    /// Goes on with other batches, from the offset `from` on. `aborted`: producer and first offset of transactions that were aborted.
    pub(in crate::kafka) fn begin(&mut self, batches: Bytes, mut aborted: Vec<(i64, i64)>, from: i64) {
        if self.unpacked.bytes.len() > KEPT {
            self.unpacked = Unpacked::default();
        }
        aborted.sort_unstable_by_key(|(_, first)| std::cmp::Reverse(*first));
        self.given_up.clear();
        (self.batches, self.aborted, self.open, self.position) = (batches, aborted, None, from);
    }

    /// The offset after all that was read, markers of transactions and records that were aborted among it.
    pub(in crate::kafka) fn position(&self) -> i64 {
        self.position
    }

    /// The next record, be it one before the offset to go on from: brokers hand out whole batches. Errors: a batch cannot be read; what comes after it
    /// is not tried.
    pub(in crate::kafka) fn next(&mut self) -> Result<Option<Record<'_>>, Unreadable> {
        while self.open.is_some() || self.open_next()? {
            match &mut self.open {
                Some((batch, left @ 1.., source)) => {
                    *left -= 1;
                    let range = record(&mut self.unpacked, source.as_mut())?;
                    let read = parse(&self.unpacked.bytes[range], batch).ok_or(Unreadable::Record)?;
                    self.position = self.position.max(read.offset.saturating_add(1));
                    return Ok(Some(read));
                }
                Some((batch, ..)) => {
                    self.position = self.position.max(batch.last_offset + 1);
                    self.open = None;
                }
                None => {}
            }
        }
        Ok(None)
    }

    /// Opens the next batch that has something to be read. Returns whether there is one.
    fn open_next(&mut self) -> Result<bool, Unreadable> {
        while let Some(batch) = Batch::take(&mut self.batches)? {
            while let Some((producer, _)) = self.aborted.pop_if(|(_, first)| *first <= batch.last_offset) {
                self.given_up.insert(producer);
            }
            let packed = batch.bytes.slice(HEADER..);
            if batch.has(CONTROL) {
                if is_abort(&packed, &batch) {
                    self.given_up.remove(&batch.producer);
                }
            } else if !(batch.has(TRANSACTIONAL) && self.given_up.contains(&batch.producer)) {
                let codec = Codec::of_bits(batch.attributes).ok_or(Unreadable::Codec)?;
                let source = codec.reader(packed).map_err(|_| Unreadable::Short)?;
                (self.unpacked.from, self.unpacked.to) = (0, 0);
                let count = batch.count;
                self.open = Some((batch, count, source));
                return Ok(true);
            }
            self.position = self.position.max(batch.last_offset + 1);
        }
        Ok(false)
    }
}

/// Whether a control batch, which is never compressed, ends a transaction by giving it up.
fn is_abort(packed: &[u8], batch: &Batch) -> bool {
    let mut rest = packed;
    let read = varint::take_bytes(&mut rest).and_then(|bytes| parse(bytes, batch));
    read.and_then(|r| r.key?.get(2..4)).is_some_and(|kind| kind == ABORT)
}

/// Where the next record lies in what is unpacked, without its length.
fn record(unpacked: &mut Unpacked, source: &mut dyn Read) -> Result<std::ops::Range<usize>, Unreadable> {
    loop {
        let mut rest = unpacked.rest();
        let before = rest.len();
        if let Some(length) = varint::take(&mut rest) {
            let length = usize::try_from(length).ok().filter(|n| *n <= RECORD_MAX).ok_or(Unreadable::Record)?;
            if rest.len() >= length {
                let start = unpacked.from + before - rest.len();
                unpacked.from = start + length;
                return Ok(start..start + length);
            }
        } else if before > varint::BYTES_MAX {
            return Err(Unreadable::Record);
        }
        unpacked.more(source)?;
    }
}

/// Shape: the outer `None` is what cannot be read, the inner one a null.
fn bytes<'r>(from: &mut &'r [u8]) -> Option<Option<&'r [u8]>> {
    let Ok(length) = usize::try_from(varint::take(from)?) else { return Some(None) };
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(Some(bytes))
}

/// A record without its length; its headers are not looked at.
fn parse<'r>(record: &'r [u8], batch: &Batch) -> Option<Record<'r>> {
    let (_, mut rest) = record.split_first()?; // attributes, of which there are none
    let since = varint::take(&mut rest)?;
    let offset = batch.base_offset.wrapping_add(varint::take(&mut rest)?);
    let (key, value) = (bytes(&mut rest)?, bytes(&mut rest)?);
    let at_ms = if batch.has(STORED_TIME) { batch.max_ms } else { batch.first_ms.wrapping_add(since) };
    Some(Record { offset, at_ms, key, value })
}

#[cfg(test)]
mod tests {
    use super::super::codec::Codec as Compression;
    use super::super::records::{Author, Entry, Open, Packer};
    use super::*;
    use crate::model::headers;
    use proptest::prelude::*;

    type Kept = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

    /// Where attributes and the producer's id stand in a header.
    const ATTRIBUTES_AT: usize = 21;
    const MAX_MS_AT: usize = 35;

    fn author(id: i64) -> Author {
        Author { id, epoch: 0, sequence: 0 }
    }

    /// As a broker has it in the end: at an offset, with bits set and cleared.
    fn stored(mut batch: Vec<u8>, offset: i64, set: i16, cleared: i16) -> Vec<u8> {
        batch[..8].copy_from_slice(&offset.to_be_bytes());
        let bits = i16::from_be_bytes([batch[ATTRIBUTES_AT], batch[ATTRIBUTES_AT + 1]]) & !cleared | set;
        batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&bits.to_be_bytes());
        let crc = crc32c::crc32c(&batch[COVERED..]).to_be_bytes();
        batch[CRC_AT..COVERED].copy_from_slice(&crc);
        batch
    }

    /// A batch of a transaction: one record for each value, each with itself as its key.
    fn of_values(producer: i64, offset: i64, values: &[&[u8]]) -> Vec<u8> {
        let (mut open, mut packer) = (Open::default(), Packer::new(Compression::Lz4));
        for value in values {
            open.push(&Entry { key: value, value: Some(value), headers: &[] }, 1_790_000_000_000, &mut packer);
        }
        stored(open.seal(author(producer), &mut packer), offset, 0, 0)
    }

    fn marker(producer: i64, offset: i64, kind: u8) -> Vec<u8> {
        let (mut open, mut packer) = (Open::default(), Packer::new(Compression::None));
        open.push(&Entry { key: &[0, 0, 0, kind], value: Some(&[0; 6]), headers: &[] }, 1_790_000_000_000, &mut packer);
        stored(open.seal(author(producer), &mut packer), offset, CONTROL, 0)
    }

    fn all(batches: Vec<u8>, aborted: Vec<(i64, i64)>) -> Result<(Vec<Kept>, i64), Unreadable> {
        let (mut records, mut read) = (Records::default(), Vec::new());
        records.begin(Bytes::from(batches), aborted, 0);
        while let Some(record) = records.next()? {
            read.push((record.offset, record.at_ms, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec)));
        }
        Ok((read, records.position()))
    }

    fn values(batches: &[Vec<u8>], aborted: Vec<(i64, i64)>) -> (Vec<String>, i64) {
        let (read, position) = all(batches.concat(), aborted).unwrap();
        (read.into_iter().map(|(.., value)| String::from_utf8(value.unwrap()).unwrap()).collect(), position)
    }

    fn a_record() -> impl Strategy<Value = (Vec<u8>, Option<Vec<u8>>, usize, i64)> {
        let value = prop_oneof![
            9 => prop::option::of(prop::collection::vec(any::<u8>(), 0..3000)),
            1 => prop::collection::vec(any::<u8>(), 150_000..200_000).prop_map(Some),
        ];
        (prop::collection::vec(any::<u8>(), 0..200), value, 0..3usize, 0i64..100_000)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            written in prop::collection::vec(prop::collection::vec(a_record(), 1..40), 1..5),
            first in 0i64..1 << 40,
            codec in prop::sample::select(vec![Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]),
            by_broker in any::<bool>(),
        ) {
            let (mut bytes, mut due, mut offset) = (Vec::new(), Vec::<Kept>::new(), first);
            for batch in &written {
                let (mut open, mut packer) = (Open::default(), Packer::new(codec));
                for (i, (key, value, headers, at_ms)) in batch.iter().enumerate() {
                    let mut stored = Vec::new();
                    headers::begin(*headers, &mut stored);
                    (0..*headers).for_each(|_| headers::put("a", b"b", &mut stored));
                    let entry = Entry { key, value: value.as_deref(), headers: &stored };
                    open.push(&entry, 1_790_000_000_000 + at_ms, &mut packer);
                    let at_ms = if by_broker { 77 } else { 1_790_000_000_000 + at_ms };
                    due.push((offset + i as i64, at_ms, (!key.is_empty()).then(|| key.clone()), value.clone()));
                }
                let mut sealed = open.seal(author(1), &mut packer);
                if by_broker {
                    sealed[MAX_MS_AT..MAX_MS_AT + 8].copy_from_slice(&77i64.to_be_bytes());
                }
                bytes.extend(stored(sealed, offset, if by_broker { STORED_TIME } else { 0 }, TRANSACTIONAL));
                offset += batch.len() as i64;
            }
            prop_assert_eq!(check(&mut Bytes::from(bytes.clone())), Ok(Some(offset)));
            let (read, position) = all(bytes, vec![]).unwrap();
            prop_assert_eq!(position, offset);
            prop_assert!(read == due);
        }

        /// A checksum would tell; what is behind it must not panic either, nor ask for memory that is not there.
        #[test]
        fn bytes_that_are_none_are_refused_or_read(
            at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
            codec in prop::sample::select(vec![Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]),
        ) {
            let (mut open, mut packer) = (Open::default(), Packer::new(codec));
            for i in 0..50u8 {
                open.push(&Entry { key: &[i; 9], value: Some(&[i; 99]), headers: &[] }, 0, &mut packer);
            }
            let mut batch = stored(open.seal(author(1), &mut packer), 5, 0, 0);
            for (index, byte) in at {
                let place = index.index(batch.len());
                batch[place] = byte;
            }
            let whole = batch.clone();
            batch.truncate(cut.index(batch.len()));
            for bytes in [whole, batch] {
                let _ = check(&mut Bytes::from(bytes.clone()));
                let _ = all(bytes, vec![(1, 0)]);
            }
        }
    }

    #[test]
    fn transactions_that_were_aborted_are_not_read() {
        let batches = [
            of_values(1, 0, &[b"a", b"b"]),
            of_values(2, 2, &[b"c"]),
            of_values(1, 3, &[b"d"]),
            marker(2, 4, 1),
            marker(1, 5, 0),
            of_values(1, 6, &[b"e"]),
            stored(of_values(1, 7, &[b"f"]), 7, 0, TRANSACTIONAL),
            marker(1, 8, 1),
        ];
        assert_eq!(values(&batches, vec![(1, 0)]), (vec!["c".into(), "e".into(), "f".into()], 9));
        assert_eq!(values(&batches, vec![]).0.len(), 6, "as the broker says, not as the markers do");
        // The same producer once more, the later one told first; and one that did not end yet.
        let batches = [batches.as_slice(), &[of_values(1, 9, &[b"g"]), marker(1, 10, 0), of_values(1, 11, &[b"h"])]].concat();
        assert_eq!(values(&batches, vec![(1, 9), (1, 0)]), (vec!["c".into(), "e".into(), "f".into(), "h".into()], 12));
    }

    #[test]
    fn what_is_not_whole_is_left_and_what_is_wrong_is_named() {
        let (first, second) = (of_values(1, 0, &[b"a", b"b"]), of_values(1, 7, &[b"c"]));
        let cut = [first.clone(), second[..second.len() - 1].to_vec()].concat();
        assert_eq!(check(&mut Bytes::from(cut.clone())), Ok(Some(2)));
        assert_eq!(all(cut, vec![]).unwrap().1, 2);
        assert_eq!(check(&mut Bytes::from(first[..60].to_vec())), Ok(None));
        let mut spoilt = [first.clone(), second].concat();
        *spoilt.last_mut().unwrap() ^= 1;
        let (mut good, mut bad) = (Bytes::from(spoilt.clone()), Bytes::from(spoilt[first.len()..].to_vec()));
        assert_eq!((check(&mut good), good), (Ok(Some(2)), Bytes::from(first.clone())), "what comes before is read");
        assert_eq!(check(&mut bad), Err((7, Unreadable::Checksum)));
        let mut old = first.clone();
        old[FORMAT_AT] = 1;
        assert_eq!(check(&mut Bytes::from(old)), Err((0, Unreadable::Format)));
        assert_eq!(all(stored(first, 0, 7, 0), vec![]).unwrap_err(), Unreadable::Codec);
    }

    #[test]
    fn a_batch_whose_last_records_were_compacted_away_is_passed_over_whole() {
        let mut batch = of_values(1, 10, &[b"a", b"b", b"c"]);
        batch[23..27].copy_from_slice(&9i32.to_be_bytes()); // the last offset's distance from the first
        let batch = stored(batch, 10, 0, 0);
        assert_eq!(check(&mut Bytes::from(batch.clone())), Ok(Some(20)));
        assert_eq!(all(batch, vec![]).unwrap().1, 20);
    }
}
