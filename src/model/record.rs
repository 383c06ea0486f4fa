//! Records before and after the line: owned bytes with their positions.

use crate::model::headers;
use crate::model::span::Span;

/// One raw record's place and bytes. Shape: `payload` points into [`RawRecords::bytes`].
#[derive(Clone, Copy, Debug)]
pub struct RawRecord {
    /// Index of the source (raw topic) in the rules.
    pub source: u16,
    /// Partition of the raw topic.
    pub partition: i32,
    /// Offset in that partition.
    pub offset: i64,
    /// Receipt: the broker's append time. Units: ms since the epoch.
    pub received_at_ms: i64,
    /// The value; empty when the record has none.
    pub payload: Span,
}

/// A batch of raw records with their bytes. No `Debug`, no `Clone`: the bytes are clear personal data.
#[derive(Default)]
pub struct RawRecords {
    /// Payloads, one after the other.
    pub bytes: Vec<u8>,
    /// The records, in the order in which each partition gave them.
    pub rows: Vec<RawRecord>,
}

impl RawRecords {
    /// Adds one record. Units: `received_at_ms` in ms since the epoch.
    pub fn push(&mut self, source: u16, partition: i32, offset: i64, received_at_ms: i64, payload: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.rows.push(RawRecord { source, partition, offset, received_at_ms, payload: Span::since(start, &self.bytes) });
    }

    /// Forgets all records, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
    }
}

/// Index of an output topic in the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicIndex(pub u16);

/// The names of the headers that a destination's record has besides [`crate::model::header::NAME`]. A closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderName {
    /// Destination by name.
    Destination,
    /// Tenant id.
    Tenant,
    /// `granted`, `denied` or `not_required`.
    Consent,
    /// Version of the rules that made the record.
    Rules,
    /// Sending is useless or harmful from then on. Units: ms since the epoch, decimal text.
    NotAfter,
    /// Sending is too early until then. Units: ms since the epoch, decimal text.
    NotBefore,
    /// What the request is addressed to: pixel, customer, conversion action, stream. Records with the same target fit in one request.
    Target,
}

impl HeaderName {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            HeaderName::Destination => "destination",
            HeaderName::Tenant => "tenant",
            HeaderName::Consent => "consent",
            HeaderName::Rules => "rules",
            HeaderName::NotAfter => "not-after",
            HeaderName::NotBefore => "not-before",
            HeaderName::Target => "target",
        }
    }
}

/// One output record. Shape: spans point into the arena of the [`OutputChunk`] that holds it.
#[derive(Clone, Copy, Debug)]
pub struct OutputRecord {
    /// Where it goes.
    pub topic: TopicIndex,
    /// murmur2 of the subject; `None` leaves the partition to the producer.
    pub partition_hash: Option<u32>,
    /// The key; empty for none.
    pub key: Span,
    /// The value.
    pub value: Span,
    /// The headers, as [`headers`] has them; empty for none.
    pub headers: Span,
}

/// What a batch of one record of a MiB takes besides key, value and headers, at most: its own header, the record's numbers, and what a codec adds where
/// there is nothing to compress. Units: bytes.
pub const AROUND: usize = 320;

impl OutputRecord {
    /// The headers' names and values. Shape: `arena` is its chunk's.
    pub fn headers<'a>(&self, arena: &'a [u8]) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        headers::read(self.headers.of(arena))
    }
}

/// Output records of consecutive input rows, with their bytes.
#[derive(Default)]
pub struct OutputChunk {
    /// Keys, values and headers.
    pub arena: Vec<u8>,
    /// The records, in the order of their rows.
    pub records: Vec<OutputRecord>,
}
