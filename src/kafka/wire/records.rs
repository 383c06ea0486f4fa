//! Records into a batch, as it is stored (message format 2): <https://kafka.apache.org/documentation/#recordbatch>.

use super::codec::Codec;
use crate::model::varint;

/// Bytes before the first record.
pub(super) const HEADER: usize = 61;
/// Where the checksum stands, and where what it covers begins.
pub(super) const CRC_AT: usize = 17;
pub(super) const COVERED: usize = 21;
/// The bit that says that the batch belongs to a transaction.
pub(super) const TRANSACTIONAL: i16 = 0x10;
/// What `batchLength` leaves out: itself and what stands before it.
pub(super) const NOT_COUNTED: usize = 12;

/// A record's parts, lent. Shape: an empty key is none; `None` is a null value.
pub(in crate::kafka) struct Entry<'r> {
    /// The key.
    pub(in crate::kafka) key: &'r [u8],
    /// The value.
    pub(in crate::kafka) value: Option<&'r [u8]>,
    /// The headers, as [`crate::model::headers`] has them; empty for none.
    pub(in crate::kafka) headers: &'r [u8],
}

impl Entry<'_> {
    /// All but its length and what says where it stands in its batch. Units: bytes.
    fn bytes(&self) -> usize {
        let key = if self.key.is_empty() { varint::len(-1) } else { sized(self.key.len()) };
        let value = self.value.map_or(varint::len(-1), |value| sized(value.len()));
        1 + key + value + self.headers.len().max(1)
    }

    /// Wherever it stands. Units: bytes.
    pub(super) fn at_most(&self) -> usize {
        self.bytes() + 3 * varint::BYTES_MAX
    }
}

/// Who writes a batch, and which one it is.
#[derive(Clone, Copy)]
pub(super) struct Author {
    pub(super) id: i64,
    pub(super) epoch: i16,
    pub(super) sequence: i32,
}

/// How records are compressed, and memory to do it in.
pub(super) struct Packer {
    codec: Codec,
    scratch: Vec<u8>,
}

impl Packer {
    pub(super) fn new(codec: Codec) -> Self {
        Packer { codec, scratch: Vec::new() }
    }
}

/// Records of one partition that are not sealed yet. What can be compressed is, while it is still in the processor's cache: a batch of its own size
/// for each of a dozen partitions would not fit into it.
#[derive(Default)]
pub(super) struct Open {
    /// Those that are not compressed yet.
    records: Vec<u8>,
    /// Room for the header, and what is compressed; empty as long as nothing is.
    batch: Vec<u8>,
    /// All of them, before compression. Units: bytes.
    size: usize,
    /// Of the batch before. Units: bytes.
    expected: usize,
    count: i32,
    /// When the first of them was written, and the last. Units: ms since the epoch.
    first_ms: i64,
    last_ms: i64,
}

impl Open {
    pub(super) fn count(&self) -> i32 {
        self.count
    }

    /// Units: bytes, before compression.
    pub(super) fn len(&self) -> usize {
        self.size
    }

    /// Adds one record. Units: `now_ms` in ms since the epoch.
    pub(super) fn push(&mut self, entry: &Entry<'_>, now_ms: i64, packer: &mut Packer) {
        if self.count == 0 {
            (self.first_ms, self.last_ms) = (now_ms, now_ms);
        }
        self.last_ms = self.last_ms.max(now_ms);
        let (since, delta) = (now_ms - self.first_ms, i64::from(self.count));
        let out = &mut self.records;
        let (before, bytes) = (out.len(), entry.bytes());
        out.reserve(bytes + 3 * varint::BYTES_MAX);
        varint::put((bytes + varint::len(since) + varint::len(delta)) as i64, out);
        out.push(0);
        varint::put(since, out);
        varint::put(delta, out);
        put_bytes(out, (!entry.key.is_empty()).then_some(entry.key));
        put_bytes(out, entry.value);
        out.extend_from_slice(if entry.headers.is_empty() { &[0] } else { entry.headers });
        self.size += out.len() - before;
        self.count += 1;
        if let Some(block) = packer.codec.block().filter(|block| self.records.len() >= *block) {
            let whole = self.records.len() / block * block;
            self.begin(packer);
            packer.codec.blocks(&self.records[..whole], &mut packer.scratch, &mut self.batch);
            self.records.drain(..whole);
        }
    }

    fn begin(&mut self, packer: &Packer) {
        if self.batch.is_empty() {
            self.batch.reserve(self.expected.max(HEADER));
            self.batch.resize(HEADER, 0);
            packer.codec.begin(&mut self.batch);
        }
    }

    /// The batch of them, ready to be sent; what is left is empty and keeps the memory of what is not compressed.
    pub(super) fn seal(&mut self, author: Author, packer: &mut Packer) -> Vec<u8> {
        self.begin(packer);
        packer.codec.end(&self.records, &mut packer.scratch, &mut self.batch);
        let mut batch = std::mem::take(&mut self.batch);
        // A little more than the one before, so that it seldom has to grow.
        self.expected = batch.len() + batch.len() / 16;
        let length = (batch.len() - NOT_COUNTED) as i32;
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&0i64.to_be_bytes()); // The broker gives the offset.
        header.extend_from_slice(&length.to_be_bytes());
        header.extend_from_slice(&(-1i32).to_be_bytes()); // … and the leader's epoch.
        header.push(2);
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(&(packer.codec.bits() | TRANSACTIONAL).to_be_bytes());
        header.extend_from_slice(&(self.count - 1).to_be_bytes());
        header.extend_from_slice(&self.first_ms.to_be_bytes());
        header.extend_from_slice(&self.last_ms.to_be_bytes());
        header.extend_from_slice(&author.id.to_be_bytes());
        header.extend_from_slice(&author.epoch.to_be_bytes());
        header.extend_from_slice(&author.sequence.to_be_bytes());
        header.extend_from_slice(&self.count.to_be_bytes());
        batch[..HEADER].copy_from_slice(&header);
        let crc = crc32c::crc32c(&batch[COVERED..]);
        batch[CRC_AT..COVERED].copy_from_slice(&crc.to_be_bytes());
        self.clear();
        if batch.capacity() > batch.len() + batch.len() / 8 {
            batch.shrink_to_fit(); // it may be kept for a while
        }
        batch
    }

    /// Forgets all records, keeps the memory.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.batch.clear();
        (self.size, self.count) = (0, 0);
    }

    /// Keeps memory for so many bytes at most, once it is empty.
    pub(super) fn keep(&mut self, bytes: usize) {
        if self.count == 0 && self.records.capacity() + self.batch.capacity() > bytes {
            (self.records, self.batch) = (Vec::new(), Vec::new());
        }
        self.expected = self.expected.min(bytes);
    }
}

/// Bytes of something with its length before it.
fn sized(length: usize) -> usize {
    varint::len(length as i64) + length
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => varint::put_bytes(bytes, out),
        None => varint::put(-1, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::headers;
    use crate::model::record::AROUND;
    use bytes::Bytes;
    use kafka_protocol::records::{RecordBatchDecoder, TimestampType};
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};
    use std::io::Read;

    type Kept = (Vec<u8>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

    #[test]
    fn a_batch_of_one_record_is_as_large_as_the_line_reckons() {
        let noise: Vec<u8> = (0u32..1 << 15).flat_map(|n| Sha256::digest(n.to_be_bytes())).collect();
        let mut stored = Vec::new();
        headers::begin(1, &mut stored);
        headers::put("name", b"value", &mut stored);
        let entry = Entry { key: b"key", value: Some(&noise), headers: &stored };
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let (mut open, mut packer) = (Open::default(), Packer::new(codec));
            open.push(&entry, 1_790_000_000_000, &mut packer);
            let batch = open.seal(Author { id: 77, epoch: 3, sequence: 0 }, &mut packer).len();
            let parts = entry.key.len() + noise.len() + stored.len();
            assert!((parts + HEADER..=parts + AROUND).contains(&batch), "{codec:?}: {batch} bytes of {parts}");
        }
    }

    proptest! {
        #[test]
        fn another_reader_finds_the_records_that_were_written(
            all in prop::collection::vec(
                (
                    prop::collection::vec(any::<u8>(), 0..200),
                    prop::option::of(prop::collection::vec(any::<u8>(), 0..3000)),
                    prop::collection::vec(("[a-z]{1,9}", prop::collection::vec(any::<u8>(), 0..40)), 0..9),
                    0i64..100_000,
                ),
                1..60,
            ),
            sequence in 0..i32::MAX,
        ) {
            let (mut open, mut packer) = (Open::default(), Packer::new(Codec::None));
            let (mut packed, mut lz4) = (Open::default(), Packer::new(Codec::Lz4));
            let mut written: Vec<Kept> = Vec::new();
            for (key, value, headers, at_ms) in &all {
                let mut headers = headers.clone();
                headers.sort();
                headers.dedup_by(|a, b| a.0 == b.0);
                let mut stored = Vec::new();
                if !headers.is_empty() {
                    headers::begin(headers.len(), &mut stored);
                    headers.iter().for_each(|(name, value)| headers::put(name, value, &mut stored));
                }
                let entry = Entry { key, value: value.as_deref(), headers: &stored };
                open.push(&entry, 1_790_000_000_000 + at_ms, &mut packer);
                packed.push(&entry, 1_790_000_000_000 + at_ms, &mut lz4);
                written.push((key.clone(), value.clone(), headers));
            }
            let batch = open.seal(Author { id: 77, epoch: 3, sequence }, &mut packer);
            prop_assert_eq!(open.count(), 0);
            prop_assert_eq!(packed.len(), batch.len() - HEADER);
            let packed = packed.seal(Author { id: 77, epoch: 3, sequence }, &mut lz4);
            let mut unpacked = Vec::new();
            lz4_flex::frame::FrameDecoder::new(&packed[HEADER..]).read_to_end(&mut unpacked).unwrap();
            prop_assert!(unpacked == batch[HEADER..], "the same, compressed on the way");
            prop_assert_eq!(&packed[CRC_AT..COVERED], &crc32c::crc32c(&packed[COVERED..]).to_be_bytes());
            prop_assert_eq!(&packed[COVERED + 2..HEADER], &batch[COVERED + 2..HEADER]);
            let read = RecordBatchDecoder::decode_all(&mut Bytes::from(batch)).unwrap();
            let records: Vec<_> = read.into_iter().flat_map(|set| set.records).collect();
            prop_assert_eq!(records.len(), written.len());
            for (i, (record, (key, value, headers))) in records.iter().zip(&written).enumerate() {
                prop_assert!(record.transactional && !record.control);
                prop_assert_eq!((record.producer_id, record.producer_epoch, record.offset), (77, 3, i as i64));
                prop_assert_eq!(record.timestamp_type, TimestampType::Creation);
                prop_assert_eq!(record.timestamp, 1_790_000_000_000 + all[i].3);
                prop_assert_eq!(record.key.as_deref(), (!key.is_empty()).then_some(key.as_slice()));
                prop_assert_eq!(record.value.as_deref(), value.as_deref());
                let read: Vec<(String, Vec<u8>)> =
                    record.headers.iter().map(|(n, v)| (n.to_string(), v.as_deref().unwrap_or_default().to_vec())).collect();
                prop_assert_eq!(&read, headers);
            }
        }
    }
}
