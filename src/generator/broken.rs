//! The rows that must not get through, one fault each.

use super::Expectation;
use super::random::Random;
use crate::model::field::Field;
use crate::model::rejected::Reason;

/// What is wrong with a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    Cut,
    NotAnObject,
    UserNotAnObject,
    BadUtf8,
    TooDeep,
    NoEventId,
    NoEventName,
    NoEventTime,
    IdIsEmail,
    IdHasSpace,
    IdTooLong,
    NameHasMarkup,
    TimeIsWord,
    TimeIsBoolean,
    Future,
    OtherTenant,
    UnknownSchema,
}

/// Faults and how many rows of 10,000 have them.
const SHARES: [(Fault, u64); 17] = [
    (Fault::Cut, 5),
    (Fault::NotAnObject, 3),
    (Fault::UserNotAnObject, 2),
    (Fault::BadUtf8, 3),
    (Fault::TooDeep, 2),
    (Fault::NoEventId, 4),
    (Fault::NoEventName, 4),
    (Fault::NoEventTime, 4),
    (Fault::IdIsEmail, 4),
    (Fault::IdHasSpace, 3),
    (Fault::IdTooLong, 2),
    (Fault::NameHasMarkup, 3),
    (Fault::TimeIsWord, 3),
    (Fault::TimeIsBoolean, 3),
    (Fault::Future, 6),
    (Fault::OtherTenant, 6),
    (Fault::UnknownSchema, 3),
];

/// Avro's single-object marker, a fingerprint of no schema, and a few bytes; none is a line break, so that files of lines stay readable.
const UNKNOWN_SCHEMA: &[u8] = b"\xc3\x01\xde\xad\xbe\xef\xde\xad\xbe\xef\x02\x04ab";

impl Fault {
    /// Mostly none.
    pub fn draw(random: &mut Random) -> Option<Fault> {
        let mut at = random.below(10_000);
        for (fault, share) in SHARES {
            if at < share {
                return Some(fault);
            }
            at -= share;
        }
        None
    }

    /// Whether the row must be of a kind that needs an event name.
    pub fn needs_a_name(self) -> bool {
        matches!(self, Fault::NoEventName | Fault::NameHasMarkup)
    }

    /// What must become of the row. Shape: no field where the whole row is at fault.
    pub fn expectation(self) -> Expectation {
        let (reason, field) = match self {
            Fault::Cut | Fault::NotAnObject | Fault::BadUtf8 | Fault::TooDeep | Fault::UserNotAnObject => (Reason::Malformed, None),
            Fault::NoEventId => (Reason::MissingField, Some(Field::EventId)),
            Fault::NoEventName => (Reason::MissingField, Some(Field::EventName)),
            Fault::NoEventTime => (Reason::MissingField, Some(Field::EventTime)),
            Fault::IdIsEmail | Fault::IdHasSpace | Fault::IdTooLong => (Reason::BadField, Some(Field::EventId)),
            Fault::NameHasMarkup => (Reason::BadField, Some(Field::EventName)),
            Fault::TimeIsWord | Fault::TimeIsBoolean => (Reason::BadTime, Some(Field::EventTime)),
            Fault::Future => (Reason::FutureTime, Some(Field::EventTime)),
            Fault::OtherTenant => (Reason::TenantMismatch, Some(Field::Tenant)),
            Fault::UnknownSchema => (Reason::UnknownSchema, None),
        };
        Expectation::Quarantined(reason, field)
    }

    /// Breaks a row that was written whole, from `start` on.
    pub fn damage(self, start: usize, out: &mut Vec<u8>) {
        match self {
            Fault::Cut => {
                let half = (out.len() - start) / 2;
                out.truncate(start + half);
            }
            Fault::NotAnObject => {
                out.insert(start, b'[');
                out.push(b']');
            }
            Fault::BadUtf8 => {
                let body = out.len() - 1;
                out.splice(body..body, b",\"action_source\":\"\xff\xfe\"".iter().copied());
            }
            Fault::TooDeep => {
                let body = out.len() - 1;
                let nested = [&b",\"deep\":"[..], &[b'['; 40], &[b']'; 40]].concat();
                out.splice(body..body, nested);
            }
            Fault::UnknownSchema => {
                out.truncate(start);
                out.extend_from_slice(UNKNOWN_SCHEMA);
            }
            _ => {}
        }
    }
}
