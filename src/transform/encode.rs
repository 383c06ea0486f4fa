//! Step 7: output bytes. Takes only a pseudonymised batch; a destination record needs its `Permit`.

use crate::model::category::Category;
use crate::model::consent::{Basis, Purpose};
use crate::model::field::Field;
use crate::model::header;
use crate::model::identifier::IdentifierType;
use crate::model::partition::murmur2_positive;
use crate::model::pseudonym::write_text;
use crate::model::record::{OutputChunk, OutputRecord, RawRecord, TopicIndex};
use crate::model::rejected::Reason;
use crate::model::span::Span;
use crate::transform::avro::{constant, long, optional_boolean, optional_double, optional_long, optional_string, string, string_with};
use crate::transform::batch::{Batch, Number, NumberField, Pseudonymised, Released};
use crate::transform::enriched::Enriched;
use crate::transform::free_text::FreeTexts;
use crate::transform::hash::base64url16;
use crate::transform::json::Object;
use crate::transform::pseudonymise::Pseudonyms;
use crate::transform::ready::Ready;
use crate::transform::rules::{Rules, TenantRules};
use crate::transform::schemas::Schemas;

/// Names as they are appended. Shape: by their numbers.
macro_rules! names {
    ($all:path) => {{
        let (mut names, mut n) = ([const { Ready::new(&[]) }; $all.len()], 0);
        while n < names.len() {
            names[$all[n] as usize] = constant($all[n].as_str());
            n += 1;
        }
        names
    }};
}

static CATEGORIES: [Ready; Category::ALL.len()] = names!(Category::ALL);
/// Those of the identifiers that records list.
static KINDS: [Ready; IdentifierType::SUBJECTS.len()] = names!(IdentifierType::SUBJECTS);

/// The pseudonymised columns of one chunk: all that an encoder may read.
pub struct Encodable<'e> {
    /// Rows, behind the door.
    pub batch: &'e Batch<'e, Pseudonymised>,
    /// Their pseudonyms.
    pub pseudonyms: &'e Pseudonyms,
    /// Their enrichment.
    pub enriched: &'e Enriched,
    /// Their scrubbed texts.
    pub texts: &'e FreeTexts<'e>,
    /// The rules.
    pub rules: &'e Rules,
    /// The schemas.
    pub schemas: &'e Schemas,
}

/// Key, partition and header that all records of one row share.
#[derive(Clone, Copy)]
pub struct RowKey {
    /// `<subject>/<event id>`.
    pub key: Span,
    /// The subject alone.
    pub subject: Span,
    partition_hash: u32,
    /// `lethe` as a record's only header.
    header: Span,
}

impl RowKey {
    /// `lethe` as one of several headers.
    #[must_use]
    pub fn lethe(&self) -> std::ops::Range<usize> {
        let start = self.header.start as usize;
        start + 1..start + self.header.len as usize
    }
}

impl Encodable<'_> {
    /// Which tenant a row belongs to.
    #[must_use]
    pub fn tenant(&self, row: usize) -> &TenantRules {
        &self.rules.tenants[usize::from(self.batch.heads[row].tenant)]
    }

    /// Writes the key of a row, and its headers where there is none but `lethe`.
    #[must_use]
    pub fn row_key(&self, row: usize, anonymous: bool, out: &mut OutputChunk) -> RowKey {
        let start = out.arena.len();
        self.pseudonyms.write_subject(row, self.tenant(row), anonymous, &mut out.arena);
        let subject = Span::since(start, &out.arena);
        let partition_hash = murmur2_positive(subject.of(&out.arena));
        out.arena.push(b'/');
        self.write_event_id(row, &mut out.arena);
        let key = Span::since(start, &out.arena);
        let start = out.arena.len();
        let named = self.pseudonyms.subjects(row).filter(|_| !anonymous).map(|(_, p)| *p);
        header::write_alone(self.pseudonyms.epoch(row), self.batch.heads[row].occurred_at_ms, named, &mut out.arena);
        RowKey { key, subject, partition_hash, header: Span::since(start, &out.arena) }
    }

    fn write_event_id(&self, row: usize, out: &mut Vec<u8>) {
        if self.tenant(row).clear_event_ids {
            out.extend_from_slice(self.batch.released(Released::EventId, row).as_bytes());
        } else {
            self.pseudonyms.write(row, IdentifierType::EventId, out);
        }
    }

    /// Writes the record of the row's own category.
    pub fn record(&self, row: usize, key: RowKey, topic: TopicIndex, basis: Basis, full: bool, out: &mut OutputChunk) {
        let start = out.arena.len();
        out.arena.extend_from_slice(self.schemas.prefix(topic));
        let head = &self.batch.heads[row];
        let tenant = self.tenant(row);
        string_with(&mut out.arena, |o| self.write_event_id(row, o));
        CATEGORIES[head.category as usize].push(&mut out.arena);
        optional_string(self.texts.event_name(row), &mut out.arena);
        long(head.occurred_at_ms, &mut out.arena);
        long(head.received_at_ms, &mut out.arena);
        string(tenant.id.as_str().as_bytes(), &mut out.arena);
        long(i64::from(key.subject.len), &mut out.arena);
        let subject = key.subject.start as usize..(key.subject.start + key.subject.len) as usize;
        out.arena.extend_from_within(subject);
        self.write_identifiers(row, full, &mut out.arena);
        long(i64::from(self.pseudonyms.epoch(row).0), &mut out.arena);
        string(if full { basis.as_str() } else { "necessary" }.as_bytes(), &mut out.arena);
        self.write_consent(row, &mut out.arena);
        self.write_context(row, full, &mut out.arena);
        self.write_commerce(row, full, &mut out.arena);
        self.write_rest(row, full, &mut out.arena);
        push(topic, key, start, out);
    }

    fn write_identifiers(&self, row: usize, full: bool, out: &mut Vec<u8>) {
        let n = if full { self.pseudonyms.subjects(row).count() } else { 0 };
        if n > 0 {
            long(n as i64, out);
            for (kind, p) in self.pseudonyms.subjects(row) {
                KINDS[*kind as usize].push(out);
                string_with(out, |o| write_text(self.pseudonyms.epoch(row), &base64url16(&p.0), o));
            }
        }
        out.push(0);
    }

    fn write_consent(&self, row: usize, out: &mut Vec<u8>) {
        let consent = &self.batch.heads[row].consent;
        if !consent.present {
            return out.push(0);
        }
        out.push(2);
        for purpose in Purpose::ALL {
            optional_boolean(consent.answer(purpose), out);
        }
        optional_long(consent.given_at_ms.filter(|ms| *ms != i64::MIN), out);
        optional_string(self.batch.released(Released::ConsentVersion, row), out);
        out.push(u8::from(consent.opt_out_of_sale));
    }

    /// geo, ip_truncated, device, page, campaign.
    fn write_context(&self, row: usize, full: bool, out: &mut Vec<u8>) {
        let e = self.enriched;
        let r = e.row(row);
        if r.country.is_none() && (!full || r.region.is_empty() && r.city.is_empty()) {
            out.push(0);
        } else {
            out.push(2);
            optional_string(r.country(), out);
            optional_string(if full { e.text(r.region) } else { "" }, out);
            optional_string(if full { e.text(r.city) } else { "" }, out);
        }
        optional_string(if full { e.text(r.ip_truncated) } else { "" }, out);
        match &r.device {
            None => out.push(0),
            Some(d) => {
                out.push(2);
                out.extend_from_slice(d.record(full));
            }
        }
        if r.host.is_empty() && r.referrer_host.is_empty() {
            out.push(0);
        } else {
            out.push(2);
            optional_string(e.text(r.host), out);
            optional_string(if full { e.text(r.path) } else { "" }, out);
            optional_string(if full { e.text(r.referrer_host) } else { "" }, out);
        }
        let platform = r.click_platform;
        if !full || (platform.is_empty() && r.utm.iter().all(Span::is_empty)) {
            out.push(0);
        } else {
            out.push(2);
            for span in r.utm {
                optional_string(e.text(span), out);
            }
            optional_string(platform, out);
        }
    }

    /// value, currency, order, items, payout, cost, quantity.
    fn write_commerce(&self, row: usize, full: bool, out: &mut Vec<u8>) {
        if !full {
            return out.extend_from_slice(&[0; 7]);
        }
        let b = self.batch;
        self.amount(row, b.number(NumberField::Value, row), out);
        optional_string(b.released(Released::Currency, row), out);
        self.optional_pseudonym(row, IdentifierType::OrderId, out);
        let items = b.items(row);
        if !items.is_empty() {
            long(items.len() as i64, out);
            for item in items {
                for text in item.texts {
                    optional_string(text, out);
                }
                self.amount(row, item.price, out);
                optional_double(item.quantity.value, out);
            }
        }
        out.push(0);
        self.amount(row, b.number(NumberField::Payout, row), out);
        self.amount(row, b.number(NumberField::Cost, row), out);
        optional_double(b.number(NumberField::Quantity, row).value, out);
    }

    /// A value of `["null", "double", "string"]`: the tenant chooses between arithmetic and exactness.
    fn amount(&self, row: usize, number: Number<'_>, out: &mut Vec<u8>) {
        if !number.is_present() || !self.tenant(row).exact_amounts {
            return optional_double(number.value, out);
        }
        long(2, out);
        string_with(out, |o| super::destinations::write_number(number, o));
    }

    /// custom, feedback, session, age_band, zip_prefix, body.
    fn write_rest(&self, row: usize, full: bool, out: &mut Vec<u8>) {
        if !full {
            return out.extend_from_slice(&[0; 6]);
        }
        let b = self.batch;
        let customs = self.texts.customs(row);
        if !customs.is_empty() {
            long(customs.len() as i64, out);
            for (name, text) in customs {
                string(self.tenant(row).custom_allowed[usize::from(name)].as_bytes(), out);
                string(self.texts.text(text).as_bytes(), out);
            }
        }
        out.push(0);
        if b.heads[row].category == Category::Feedback {
            out.push(2);
            optional_string(self.texts.feedback(row), out);
            for field in [NumberField::Rating, NumberField::Nps, NumberField::Csat] {
                optional_double(b.number(field, row).value, out);
            }
            for field in [Released::FeedbackChannel, Released::FeedbackLanguage, Released::FeedbackSurveyId, Released::FeedbackQuestionId] {
                optional_string(b.released(field, row), out);
            }
            self.optional_pseudonym(row, IdentifierType::Author, out);
        } else {
            out.push(0);
        }
        self.optional_pseudonym(row, IdentifierType::SessionId, out);
        let e = self.enriched.row(row);
        optional_string(e.age_band, out);
        optional_string(self.enriched.text(e.zip_prefix), out);
        let opaque = matches!(b.heads[row].category, Category::Replay | Category::Media);
        optional_string(if opaque { b.released(Released::Body, row) } else { "" }, out);
    }

    fn optional_pseudonym(&self, row: usize, kind: IdentifierType, out: &mut Vec<u8>) {
        match self.pseudonyms.find(row, kind) {
            None => out.push(0),
            Some(p) => {
                out.push(2);
                string_with(out, |o| write_text(self.pseudonyms.epoch(row), &base64url16(&p.0), o));
            }
        }
    }

    /// Writes the network topic's record, if the row has an address or a user agent. Returns whether it did.
    pub fn network(&self, row: usize, key: RowKey, topic: TopicIndex, out: &mut OutputChunk) -> bool {
        let (ip, agent) = (self.batch.released(Released::Ip, row), self.batch.released(Released::UserAgent, row));
        if ip.is_empty() && agent.is_empty() {
            return false;
        }
        let start = out.arena.len();
        let head = &self.batch.heads[row];
        out.arena.extend_from_slice(self.schemas.prefix(topic));
        string_with(&mut out.arena, |o| self.write_event_id(row, o));
        long(head.occurred_at_ms, &mut out.arena);
        long(head.received_at_ms, &mut out.arena);
        string(self.tenant(row).id.as_str().as_bytes(), &mut out.arena);
        long(i64::from(key.subject.len), &mut out.arena);
        let subject = key.subject.start as usize..(key.subject.start + key.subject.len) as usize;
        out.arena.extend_from_within(subject);
        optional_string(ip, &mut out.arena);
        optional_string(agent, &mut out.arena);
        push(topic, key, start, out);
        true
    }
}

/// Ends a record of a row: its value was appended since `start`, its only header is `lethe`.
fn push(topic: TopicIndex, key: RowKey, start: usize, out: &mut OutputChunk) {
    push_with(topic, key, Span::since(start, &out.arena), key.header, out);
}

/// Ends a record of a row with headers of its own.
pub fn push_with(topic: TopicIndex, key: RowKey, value: Span, headers: Span, out: &mut OutputChunk) {
    out.records.push(OutputRecord { topic, partition_hash: Some(key.partition_hash), key: key.key, value, headers });
}

/// Where a row came from: its topic and its place there.
pub struct Origin<'o> {
    /// The raw topic.
    pub topic: &'o str,
    /// The raw record.
    pub record: &'o RawRecord,
}

/// Writes a quarantine record: why and where, never what.
pub fn quarantine(topic: TopicIndex, reason: Reason, field: Option<Field>, origin: &Origin<'_>, out: &mut OutputChunk) {
    let start = out.arena.len();
    let mut o = Object::open(&mut out.arena);
    o.string("reason", reason.as_str());
    write_origin(field, origin, &mut o);
    o.close();
    push_plain(topic, Span::NONE, start, out);
}

/// Writes what the tenant is told of a row that speaks of a special category. Shape: the key is the rule that held the row back.
pub fn special_category_notice(topic: TopicIndex, category: &str, field: Field, origin: &Origin<'_>, out: &mut OutputChunk) {
    let start = out.arena.len();
    out.arena.extend_from_slice(b"special_category/");
    out.arena.extend_from_slice(category.as_bytes());
    let key = Span::since(start, &out.arena);
    let start = out.arena.len();
    let mut o = Object::open(&mut out.arena);
    o.string("type", "special_category");
    o.string("category", category);
    write_origin(Some(field), origin, &mut o);
    o.close();
    push_plain(topic, key, start, out);
}

fn write_origin(field: Option<Field>, origin: &Origin<'_>, o: &mut Object<'_>) {
    if let Some(field) = field {
        o.string("field", field.name());
    }
    o.string("topic", origin.topic);
    o.integer("partition", i64::from(origin.record.partition));
    o.integer("offset", origin.record.offset);
    o.integer("received_at", origin.record.received_at_ms);
}

/// Ends a record about a row, not of a subject: no headers, and the producer picks the partition.
fn push_plain(topic: TopicIndex, key: Span, start: usize, out: &mut OutputChunk) {
    let value = Span::since(start, &out.arena);
    out.records.push(OutputRecord { topic, partition_hash: None, key, value, headers: Span::NONE });
}
