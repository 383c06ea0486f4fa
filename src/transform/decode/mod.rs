//! Step 1: bytes in, columns out. Rows that fail become `Rejected`; a bad optional field is dropped and counted, its row goes on.

mod avro;
mod json;
mod members;
mod take;

pub use avro::{AvroProgram, Programs, SchemaId, compile as compile_avro, compile_with as compile_avro_with, framing};

use crate::model::category::Category;
use crate::model::consent::Consent;
use crate::model::field::Field;
use crate::model::record::{RawRecord, RawRecords};
use crate::model::rejected::{Reason, Rejected};
use crate::transform::batch::{Batch, Clear, Number, NumberField, RowBuilder, RowHead};
use crate::transform::bits::{self, is, is_alphanumeric, within};
use crate::transform::rules::{Rules, TenantRules};
use crate::transform::schemas::Schemas;
use crate::transform::scrub::{ScrubRules, scrub};

/// Largest raw event. Units: bytes.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// Deepest nesting of a raw event; the event itself is level 1.
pub const MAX_DEPTH: u32 = 32;
/// Most values of a list field (`user.email` …); further ones are dropped and counted.
pub const MAX_LIST: usize = 16;
/// Most items of an event; further ones are dropped and counted.
pub const MAX_ITEMS: usize = 200;

/// Fields that were dropped from rows that went on: counts by field.
pub struct Dropped(pub [u32; Field::COUNT]);

impl Default for Dropped {
    fn default() -> Self {
        Dropped([0; Field::COUNT])
    }
}

impl Dropped {
    /// Counts one.
    #[inline]
    pub fn add(&mut self, field: Field) {
        self.0[field as usize] += 1;
    }

    /// Adds another count to this one.
    pub fn merge(&mut self, other: &Dropped) {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a += b;
        }
    }
}

/// The event time as it was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EventTime {
    Absent,
    Bad,
    At(i64),
}

/// What a reader (JSON or Avro) fills while it walks one event.
struct RowReader<'r, 'b, 'a> {
    row: RowBuilder<'b, 'a>,
    dropped: &'r mut Dropped,
    custom_allowed: &'r [String],
    /// How many levels a member of the object being read may still nest.
    depth_left: u32,
    event_time: EventTime,
    category: Category,
    consent: Consent,
    /// `event_id`, `event_name`, `tenant` were there, but empty or not text.
    wrong_type: [bool; 3],
}

impl<'a> RowReader<'_, '_, 'a> {
    /// A text field had a value of another type.
    fn wrong_type(&mut self, field: Field) {
        match field {
            Field::EventId | Field::EventName | Field::Tenant => {
                self.row.set(field, "");
                self.wrong_type[field as usize] = true;
            }
            _ => {
                self.row.set(field, "");
                self.dropped.add(field);
            }
        }
    }

    fn set_text(&mut self, field: Field, text: &'a str) {
        if matches!(field, Field::EventId | Field::EventName | Field::Tenant) {
            // An empty id is there, but bad: it must not read as absent.
            self.wrong_type[field as usize] = text.is_empty();
        }
        self.row.set(field, text);
    }

    fn set_kind(&mut self, kind: &str) {
        match Category::from_kind(kind) {
            Some(category) => self.category = category,
            None => {
                self.category = Category::Events;
                self.dropped.add(Field::Kind);
            }
        }
    }

    fn set_time_number(&mut self, n: i64) {
        self.event_time = match n {
            ..0 => EventTime::Bad,
            0..100_000_000_000 => EventTime::At(n * 1_000),
            _ => EventTime::At(n),
        };
    }

    fn set_time_text(&mut self, text: &str) {
        self.event_time = crate::model::time::parse_rfc3339(text).map_or(EventTime::Bad, EventTime::At);
    }

    /// Takes the time of the consent. One that cannot be read makes the consent as old as time itself: expired, never granted.
    fn set_given_at(&mut self, at_ms: Option<i64>) {
        if at_ms.is_none() {
            self.dropped.add(Field::ConsentGivenAt);
        }
        self.consent.given_at_ms = Some(at_ms.unwrap_or(i64::MIN));
    }

    /// Takes a number, or drops and counts it when it is negative or out of its range.
    fn set_number(&mut self, field: NumberField, number: Number<'a>) {
        let limit = match field {
            NumberField::Nps => 10.0,
            _ => f64::MAX,
        };
        if (0.0..=limit).contains(&number.value) {
            self.row.set_number(field, number);
        } else {
            self.row.set_number(field, Number::NONE);
            self.dropped.add(field.field());
        }
    }
}

/// Reads a decimal number from text, such as the value `"12.50"`. Errors: `None` for anything that is not a finite decimal number.
fn number_from_text(text: &str) -> Option<Number<'_>> {
    let text = text.trim_ascii();
    if text.is_empty() || text.len() > 40 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')) {
        return None;
    }
    let value: f64 = text.parse().ok().filter(|v: &f64| v.is_finite())?;
    Some(Number { value, text: if is_json_number(text) { text } else { "" } })
}

/// Whether `text` is spelled as JSON spells numbers.
fn is_json_number(text: &str) -> bool {
    let b = text.as_bytes();
    let b = b.strip_prefix(b"-").unwrap_or(b);
    let digits = |b: &[u8]| b.iter().take_while(|c| c.is_ascii_digit()).count();
    let whole = digits(b);
    if whole == 0 || (whole > 1 && b[0] == b'0') {
        return false;
    }
    let mut rest = &b[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let n = digits(fraction);
        if n == 0 {
            return false;
        }
        rest = &fraction[n..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
        let n = digits(exponent);
        return n > 0 && n == exponent.len();
    }
    rest.is_empty()
}

/// Reads `rows` of `records` into `batch`.
///
/// Shape: one row of the batch a good record, in order; a rejected record is in `rejected` by its index. Whether a row is dated ahead is
/// judged against its receipt, so that a replay decides as the first pass did.
pub fn decode<'a>(
    records: &'a RawRecords,
    range: std::ops::Range<usize>,
    rules: &Rules,
    schemas: &Schemas,
    batch: &mut Batch<'a, Clear>,
    rejected: &mut Vec<Rejected>,
    dropped: &mut Dropped,
) {
    let (first, mut marks) = (range.start, json::Marks::new());
    for (i, record) in records.rows[range].iter().enumerate() {
        let input = (first + i) as u32;
        if let Err((reason, field)) = decode_row(records, record, input, (rules, schemas), &mut marks, batch, dropped) {
            rejected.push(Rejected { row: input, reason, field });
        }
    }
}

fn decode_row<'a>(
    records: &'a RawRecords,
    record: &RawRecord,
    input: u32,
    (rules, schemas): (&Rules, &Schemas),
    marks: &mut json::Marks,
    batch: &mut Batch<'a, Clear>,
    dropped: &mut Dropped,
) -> Result<(), (Reason, Option<Field>)> {
    let payload = record.payload.of(&records.bytes);
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err((Reason::TooLarge, None));
    }
    let source = &rules.sources[usize::from(record.source)];
    let tenant = &rules.tenants[usize::from(source.tenant)];
    let before = dropped.0;
    let mut reader = RowReader {
        row: RowBuilder::start(batch),
        dropped: &mut *dropped,
        custom_allowed: &tenant.custom_allowed,
        depth_left: MAX_DEPTH,
        event_time: EventTime::Absent,
        category: Category::Events,
        consent: Consent::default(),
        wrong_type: [false; 3],
    };
    let read = match avro::framing(payload) {
        Some(framing) => avro::read(framing, payload, schemas, &mut reader),
        None => json::read(payload, marks, &mut reader).map_err(|()| Reason::Malformed),
    };
    let checked = read.map_err(|reason| (reason, None)).and_then(|()| check(&mut reader, tenant, record, rules));
    match checked {
        Ok(occurred_at_ms) => {
            let head = RowHead {
                input,
                tenant: source.tenant,
                category: reader.category,
                occurred_at_ms,
                received_at_ms: record.received_at_ms,
                consent: reader.consent,
            };
            reader.row.finish(head);
            Ok(())
        }
        Err(e) => {
            reader.row.abandon();
            // Only what was dropped from rows that went on is counted.
            dropped.0 = before;
            Err(e)
        }
    }
}

/// The rules on required fields, and on optional ones whose values come from a closed set. Units of the answer: the event time in ms.
fn check(
    reader: &mut RowReader<'_, '_, '_>,
    tenant: &TenantRules,
    record: &RawRecord,
    rules: &Rules,
) -> Result<i64, (Reason, Option<Field>)> {
    let named = reader.row.get(Field::Tenant);
    if reader.wrong_type[Field::Tenant as usize] || (!named.is_empty() && named != tenant.id.as_str()) {
        return Err((Reason::TenantMismatch, Some(Field::Tenant)));
    }
    required_text(reader, Field::EventId, is_event_id)?;
    if matches!(reader.category, Category::Events | Category::Conversions) {
        required_text(reader, Field::EventName, is_event_name)?;
    } else if reader.wrong_type[Field::EventName as usize] || !is_event_name(reader.row.get(Field::EventName)) {
        reader.row.set(Field::EventName, "");
        reader.dropped.add(Field::EventName);
    }
    for field in [Field::Url, Field::Referrer] {
        without_breaks(&mut reader.row, field);
    }
    let address = reader.row.get(Field::Ip);
    if !address.is_empty() {
        match address.trim_ascii().parse() {
            Ok(address) => reader.row.set_address(address),
            Err(_) => {
                reader.row.set(Field::Ip, "");
                reader.dropped.add(Field::Ip);
            }
        }
    }
    for (field, valid) in CLOSED {
        let text = reader.row.get(*field);
        let keeps = text.is_empty() || valid(text) && says_nothing_personal(text, &tenant.scrub);
        if !keeps {
            reader.row.set(*field, "");
            reader.dropped.add(*field);
        }
    }
    match reader.event_time {
        EventTime::Absent => Err((Reason::MissingField, Some(Field::EventTime))),
        EventTime::Bad => Err((Reason::BadTime, Some(Field::EventTime))),
        EventTime::At(ms) if ms > record.received_at_ms.saturating_add(rules.future_tolerance_ms) => {
            Err((Reason::FutureTime, Some(Field::EventTime)))
        }
        EventTime::At(ms) => Ok(ms),
    }
}

/// Takes tabs and line ends out of a URL: whoever reads one passes over them wherever they stand (WHATWG), so `/a\tna` is `/ana`, and every step
/// has to see the same.
fn without_breaks(row: &mut RowBuilder<'_, '_>, field: Field) {
    let url = row.get(field);
    if memchr::memchr3(b'\t', b'\n', b'\r', url.as_bytes()).is_some() {
        let url = row.copied(&url.replace(['\t', '\n', '\r'], ""));
        row.set(field, url);
    }
}

fn required_text(reader: &RowReader<'_, '_, '_>, field: Field, valid: fn(&str) -> bool) -> Result<(), (Reason, Option<Field>)> {
    let text = reader.row.get(field);
    if reader.wrong_type[field as usize] || (!text.is_empty() && !valid(text)) {
        return Err((Reason::BadField, Some(field)));
    }
    if text.is_empty() { Err((Reason::MissingField, Some(field))) } else { Ok(()) }
}

/// A check on the text of a field.
type TextCheck = fn(&str) -> bool;

/// Optional fields of which only a closed form is taken.
const CLOSED: &[(Field, TextCheck)] = &[
    (Field::Currency, |t| t.len() == 3 && t.bytes().all(|b| b.is_ascii_alphabetic())),
    (Field::ActionSource, is_action_source),
    (Field::FeedbackChannel, is_word),
    (Field::FeedbackLanguage, |t| t.len() <= 35 && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')),
    (Field::FeedbackSurveyId, is_word),
    (Field::FeedbackQuestionId, is_word),
    (Field::ConsentVersion, is_word),
];

fn is_event_id(t: &str) -> bool {
    t.len() <= 128 && !bits::holds(t.as_bytes(), |b| !(is_alphanumeric(b) | within(b, b'-', b'.') | is(b, b'_') | is(b, b':')))
}

fn is_event_name(t: &str) -> bool {
    t.len() <= 64 && !bits::holds(t.as_bytes(), |b| !(is_alphanumeric(b) | within(b, b'-', b'.') | is(b, b'_') | is(b, b':') | is(b, b' ')))
}

fn is_word(t: &str) -> bool {
    t.len() <= 64 && is_event_id(t)
}

/// Whether a word that goes into records as it is could not be a phone, card or id number. Fewer than seven digits are none, and nine in a
/// row are one whatever the scrub makes of them: a word gives no context to tell by.
fn says_nothing_personal(t: &str, rules: &ScrubRules) -> bool {
    let b = t.as_bytes();
    let digits = b.iter().filter(|c| c.is_ascii_digit()).count();
    let is_date = b.len() == 10 && b[4] == b'-' && b[7] == b'-' && digits == 8;
    let in_a_row = || b.split(|c| !c.is_ascii_digit()).map(<[u8]>::len).max().unwrap_or(0);
    digits < 7 || is_date || in_a_row() < 9 && scrub(t, rules, &[], &mut Vec::new()).total() == 0
}

fn is_action_source(t: &str) -> bool {
    matches!(
        t,
        "email" | "website" | "app" | "phone_call" | "chat" | "physical_store" | "system_generated" | "business_messaging" | "other"
    )
}

#[cfg(test)]
mod tests;
