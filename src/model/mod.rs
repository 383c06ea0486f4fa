//! Nouns shared by the rooms: no I/O, no clock, no threads.

pub mod access;
pub mod category;
pub mod consent;
pub mod destination;
pub mod directive;
pub mod field;
pub mod header;
pub mod headers;
pub mod identifier;
pub mod keyring;
pub mod partition;
pub mod pseudonym;
pub mod record;
pub mod rejected;
pub mod span;
pub mod tenant;
pub mod time;
pub mod varint;
