//! What an export says of itself: asked by whom and for whom, read where, how much, and the hash of the output. No value of any record.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What was read of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRead {
    /// Partition.
    pub partition: i32,
    /// First offset.
    pub from: i64,
    /// One past the last offset: where committed records ended at the start.
    pub to: i64,
    /// Records written.
    pub records: u64,
}

/// What was read of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRead {
    /// Topic.
    pub topic: String,
    /// `events`, `dest.meta` …
    pub kind: String,
    /// Records written.
    pub records: u64,
    /// Of them, records whose value is of another schema: they are in the output as base64.
    pub undecoded: u64,
    /// Partitions.
    pub partitions: Vec<PartitionRead>,
}

/// Who asked for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The request's id.
    pub id: String,
    /// Tenant id.
    pub tenant: String,
    /// `subject` or `tenant`.
    pub scope: String,
    /// Who: a service's name, or a pseudonym.
    pub by: String,
    /// How many identifiers were given, by type.
    pub identifiers: BTreeMap<String, u64>,
}

/// The manifest. Times in RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this form.
    pub version: u32,
    /// The request.
    pub request: Asked,
    /// `jsonl` or `csv`.
    pub format: String,
    /// The file's name; empty for standard output.
    pub file: String,
    /// Its size. Units: bytes.
    pub bytes: u64,
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
    /// When the ends of the topics were fixed.
    pub started_at: String,
    /// When the output was whole.
    pub finished_at: String,
    /// Records in it.
    pub records: u64,
    /// In which order they stand, and which they are.
    pub order: String,
    /// Topics, in the output's order.
    pub topics: Vec<TopicRead>,
}

/// What [`Manifest::order`] says.
pub const ORDER: &str =
    "topics in this order, partitions and offsets ascending; of each key the newest committed version, none that was deleted";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_example_is_a_manifest() {
        let text = include_str!("../../schemas/export/manifest.json");
        let read: Manifest = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::from_str::<serde_json::Value>(text).unwrap());
        assert_eq!(read.order, ORDER);
    }
}
