//! Synthetic raw events from a seed: pure, for `demo`, `generate`, benches and tests.
//!
//! Event `i` of a seed is always the same bytes, in whatever order or chunks events are asked for: each has a random stream of its own
//! ([`random`]). People are drawn from a population and keep their name, country, device and habits ([`people`], [`user_agents`]);
//! [`event`] writes the JSON, [`broken`] the rows that must not get through. Each row comes with what is expected of it, so that tests can count.
//!
//! Nobody in it is real: names and numbers are put together from lists, addresses are of documentation and benchmark ranges or drawn evenly.
//!
//! Shares, drawn independently, of 10,000 rows:
//!
//! | rows | variety |
//! |---|---|
//! | 15 | `malformed`: cut in the middle, an array, `user` not an object, invalid UTF-8, nested 40 deep |
//! | 12 | `missing_field`: no `event_id`, no `event_name`, no `event_time` |
//! | 12 | `bad_field`: an email, a space or 129 characters as `event_id`; an `event_name` with `<` |
//! | 6 | `bad_time`: a word, a boolean |
//! | 6 | `future_time`: an hour to a year ahead |
//! | 6 | `tenant_mismatch` |
//! | 3 | `unknown_schema`: Avro with a fingerprint that nobody knows |
//! | 20 | expired: two years old |
//! | 300 | anonymous: no user, no ids |
//! | 300 | one bad optional field, or one that the schema does not know |
//! | 40 | an event id that holds a phone or order number |
//! | 10 | a byte order mark; 10 more with white space; a conversion in 1,000 with a key twice |
//!
//! Not made: rows above 1 MiB (a broker takes none by default) and special categories (which words count is the tenant's configuration).

mod broken;
mod event;
mod json;
mod people;
mod random;
mod text;
mod user_agents;

use random::Random;

use crate::model::category::Category;
use crate::model::field::Field;
use crate::model::rejected::Reason;

/// What a row must become under rules that keep every category.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// A good row: written if its consent allows.
    Good,
    /// A row for quarantine, with the reason and the field to blame.
    Quarantined(Reason, Option<Field>),
    /// A row whose event is two years old.
    Expired,
}

/// The consent that a row carries, judged at `now` under the default validity of six months.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsentMix {
    /// All purposes, given within the last weeks.
    All,
    /// Statistics and functional, no advertising.
    AnalyticsOnly,
    /// Advertising without statistics.
    AdsOnly,
    /// All purposes refused.
    Denied,
    /// All purposes, but given seven months ago.
    Expired,
    /// No consent object at all.
    Absent,
    /// All purposes, and `opt_out_of_sale`.
    OptOutOfSale,
}

impl ConsentMix {
    /// Whether statistics are allowed now.
    #[must_use]
    pub const fn analytics(self) -> bool {
        matches!(self, ConsentMix::All | ConsentMix::AnalyticsOnly | ConsentMix::OptOutOfSale)
    }

    /// Whether advertising is allowed now, the opt-out of sale left aside.
    #[must_use]
    pub const fn ads(self) -> bool {
        matches!(self, ConsentMix::All | ConsentMix::AdsOnly | ConsentMix::OptOutOfSale)
    }
}

/// A record key: `cust-<number>`. Shape: at most 16 bytes of ASCII.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    bytes: [u8; 16],
    len: u8,
}

impl Key {
    fn of(person: u64) -> Self {
        let mut text = Vec::with_capacity(16);
        text.extend_from_slice(b"cust-");
        text::push_number(&mut text, person);
        let mut bytes = [0; 16];
        let len = text.len().min(16);
        bytes[..len].copy_from_slice(&text[..len]);
        Key { bytes, len: len as u8 }
    }

    /// The key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What was generated: what tests need to count, next to the payload in the caller's buffer.
#[derive(Clone, Copy)]
pub struct Generated {
    /// The Kafka key: the person's number, also for anonymous rows.
    pub key: Key,
    /// What the row must become.
    pub expectation: Expectation,
    /// The category its kind picks; for broken rows the one it would have had.
    pub category: Category,
    /// Its consent.
    pub consent: ConsentMix,
    /// Whether no identifier of a subject stands in it.
    pub anonymous: bool,
}

/// A stream of synthetic events. Shape: pure; the same four inputs give the same bytes for event `i`.
pub struct Generator {
    seed: u64,
    now_ms: i64,
    tenant: String,
    population: u64,
}

/// How many people the default population has.
pub const POPULATION: u64 = 100_000;

/// How far back from `now_ms` the events lie, in milliseconds: three hours.
pub const SPREAD_MS: i64 = 3 * 3_600_000;

impl Generator {
    /// A generator for a tenant. Units: `now_ms` is milliseconds since the epoch; good events lie in the [`SPREAD_MS`] before it.
    #[must_use]
    pub fn new(seed: u64, tenant: &str, now_ms: i64) -> Self {
        Self { seed, now_ms, tenant: tenant.to_string(), population: POPULATION }
    }

    /// The same with another number of people, at least 1.
    #[must_use]
    pub fn with_population(mut self, population: u64) -> Self {
        self.population = population.max(1);
        self
    }

    /// Appends the payload of event `i` and says what it is.
    pub fn generate(&self, i: u64, payload: &mut Vec<u8>) -> Generated {
        let mut random = Random::new(self.seed, random::EVENT, i);
        let person = random.below(self.population);
        let draft = event::Draft::draw(&mut random);
        let from = people::Person::of(self.seed, person);
        event::write(&event::Facts { i, tenant: &self.tenant, now_ms: self.now_ms, draft: &draft, person: &from }, &mut random, payload);
        Generated {
            key: Key::of(person),
            expectation: draft.expectation(),
            category: draft.category,
            consent: draft.consent,
            anonymous: draft.anonymous,
        }
    }
}

#[cfg(test)]
mod tests;
