//! Permissions on the brokers, in Kafka's words.

use std::fmt;

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Read records, join a group.
    Read,
    /// Write records, use a transactional id.
    Write,
    /// Make topics.
    Create,
    /// Delete topics or records.
    Delete,
    /// Add partitions.
    Alter,
    /// Know that it is there, and its offsets.
    Describe,
    /// Read settings.
    DescribeConfigs,
    /// Change settings.
    AlterConfigs,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a permission is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// Topics.
    Topic,
    /// Consumer groups.
    Group,
    /// Transactional ids.
    TransactionalId,
    /// The cluster as a whole.
    Cluster,
}

/// One permission: the operations on every one of the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What it is about.
    pub resource: Resource,
    /// Names; for the cluster none.
    pub names: Vec<String>,
    /// The names are prefixes.
    pub prefixed: bool,
    /// What may be done.
    pub operations: Vec<Operation>,
}
