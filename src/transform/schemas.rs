//! Avro schemas in force: those of raw events that can be read, and what stands before the records that are written.
//!
//! The config alone gives those of Avro's single-object encoding. Of a schema registry more is learnt as time goes by, so whoever runs the line
//! hands in what is known then; the line itself asks nobody.

use crate::model::record::{RawRecords, TopicIndex};
use crate::transform::decode::{AvroProgram, Programs, SchemaId, framing};
use std::sync::Arc;

/// What is known of schemas. Cheap to clone: programs are shared.
#[derive(Clone, Default)]
pub struct Schemas {
    readers: Programs,
    /// By [`TopicIndex`].
    prefixes: Vec<Arc<[u8]>>,
}

impl Schemas {
    /// Nothing is known, of so many output topics.
    #[must_use]
    pub fn of_topics(topics: usize) -> Self {
        Schemas { readers: Programs::new(), prefixes: vec![Arc::from([]); topics] }
    }

    /// From now on events with this id can be read; `None`: no event with it ever will be.
    pub fn learn(&mut self, id: SchemaId, program: Option<Arc<AvroProgram>>) {
        self.readers.insert(id, program);
    }

    /// Takes in what another one can read.
    pub fn learn_all(&mut self, readers: &Programs) {
        self.readers.extend(readers.iter().map(|(id, program)| (*id, program.clone())));
    }

    /// What stands before the body of a topic's Avro records: single-object marker and fingerprint, or the registry's magic byte and id.
    pub fn set_prefix(&mut self, topic: TopicIndex, prefix: &[u8]) {
        self.prefixes[usize::from(topic.0)] = Arc::from(prefix);
    }

    /// The same. Shape: empty for topics whose records are not Avro, and while a registry has not given an id.
    #[must_use]
    pub fn prefix(&self, topic: TopicIndex) -> &[u8] {
        &self.prefixes[usize::from(topic.0)]
    }

    /// Whether it is known what to do with events of this id.
    #[must_use]
    pub fn has(&self, id: SchemaId) -> bool {
        self.readers.contains_key(&id)
    }

    /// How events with this id are read.
    #[must_use]
    pub fn reader(&self, id: SchemaId) -> Option<&AvroProgram> {
        self.readers.get(&id)?.as_deref()
    }

    /// Rows whose schema's id in a registry nobody has looked up yet. Shape: indices of rows in their order, and the id.
    #[must_use]
    pub fn unknown(&self, records: &RawRecords) -> Vec<(usize, u32)> {
        let id = |payload: &[u8]| match framing(payload)? {
            (id @ SchemaId::Registry(n), _) if !self.readers.contains_key(&id) => Some(n),
            _ => None,
        };
        records.rows.iter().enumerate().filter_map(|(row, record)| Some((row, id(record.payload.of(&records.bytes))?))).collect()
    }
}

/// What stands before a body in Confluent's wire format.
///
/// Source: Confluent Platform documentation, "Wire format", read 2026-11-22: a magic byte 0, then the schema's id, 4 bytes, big-endian.
#[must_use]
pub fn registry_prefix(id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_be_bytes();
    [0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_unknown_ids_are_found_and_no_others() {
        let mut records = RawRecords::default();
        for payload in [&b"{}"[..], &[0, 0, 0, 1, 7, 9], &[0, 0, 0], &[], &[0, 0, 0, 0, 3], &[0xc3, 1, 0, 0, 0, 0, 0, 0, 0, 0]] {
            records.push(0, 0, 0, 0, payload);
        }
        let mut schemas = Schemas::of_topics(1);
        assert_eq!(schemas.unknown(&records), [(1, 263), (4, 3)]);
        schemas.learn(SchemaId::Registry(263), None);
        assert_eq!(schemas.unknown(&records), [(4, 3)]);
        assert!(schemas.reader(SchemaId::Registry(263)).is_none());
    }

    #[test]
    fn the_id_is_big_endian_behind_a_zero() {
        assert_eq!(registry_prefix(0x0102_0304), [0, 1, 2, 3, 4]);
    }
}
