//! The line: bytes in, records out. Pure: no I/O, no clock, no Kafka types, no randomness.
//!
//! ```text
//! records ─ decode ─ route ─┬─ free_text, enriched ─┐
//!                           ├─ identify ─ pseudonymise ═ the door ═ encode ─ records
//!                           └─ forms (normalise, hash) ─┘
//! ```
//! Steps stand in this order because each needs what the one before gives, and nothing is worked out for a row that will not be written:
//! `route` therefore comes before the costly steps, and what needs clear values (`free_text`, `enriched`, `forms`) before the door; `gates`, which
//! looks people up by pseudonym, after it. `minimise` stands between them where a tenant keeps fields out.

pub mod avro;
pub mod batch;
pub mod bits;
pub mod decode;
pub mod destinations;
pub mod encode;
pub mod enrich;
pub mod enriched;
pub mod forms;
pub mod free_text;
pub mod gates;
pub mod hash;
pub mod identify;
pub mod json;
pub mod line;
pub mod minimise;
pub mod normalise;
pub mod own_values;
pub mod pseudonymise;
pub mod ready;
pub mod route;
pub mod rules;
pub mod schemas;
pub mod scrub;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod naive;

pub use line::{Tally, Transformed, group_by_tenant, transform, transform_known};
