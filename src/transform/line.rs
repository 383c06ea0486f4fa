//! The whole line over one batch: the only place where rayon splits it.

use crate::model::category::Category;
use crate::model::destination::Destination;
use crate::model::field::Field;
use crate::model::headers;
use crate::model::record::{AROUND, HeaderName, OutputChunk, OutputRecord, RawRecords};
use crate::model::rejected::{Gate, Reason, Rejected};
use crate::model::span::Span;
use crate::transform::batch::Batch;
use crate::transform::decode::{Dropped, decode};
use crate::transform::destinations::{self, Skip, TABLE, Written};
use crate::transform::encode::{Encodable, Origin, RowKey, push_with, quarantine, special_category_notice};
use crate::transform::enriched::{Assets, enriched};
use crate::transform::forms::{FormDrop, Forms, forms};
use crate::transform::free_text::free_texts;
use crate::transform::gates::Gates;
use crate::transform::identify::{hints as row_hints, identify};
use crate::transform::json;
use crate::transform::minimise::{Part, TakenOut, forget, is_wanted, minimise};
use crate::transform::pseudonymise::pseudonymise;
use crate::transform::route::{Closed, Permit, Primary, Route, route};
use crate::transform::rules::{DestinationRules, Rules, SharedHeaders};
use crate::transform::schemas::Schemas;
use bumpalo::Bump;
use rayon::prelude::*;
use std::ops::Range;

/// Rows of one piece of work. Units: rows. Small enough that a piece's columns stay in a core's own cache, large enough to fill hash kernels.
pub const CHUNK_ROWS: usize = 512;

/// What the line made of a batch. Shape: a chunk holds at most [`CHUNK_ROWS`] rows of one tenant; chunks are in the order of the rows.
#[derive(Default)]
pub struct Transformed {
    /// Output records.
    pub chunks: Vec<OutputChunk>,
    /// Counts, by tenant index.
    pub tallies: Vec<Tally>,
}

/// What became of a tenant's rows. Every row is in exactly one of `written`, `gated`, `quarantined`, `expired`.
#[derive(Clone, Default)]
pub struct Tally {
    /// Rows with at least one output record.
    pub written: u64,
    /// Rows kept out on purpose, by [`Gate`].
    pub gated: [u64; Gate::ALL.len()],
    /// Rows rejected, by [`Reason`].
    pub quarantined: [u64; Reason::ALL.len()],
    /// Rows received too long ago, or whose window has passed.
    pub expired: u64,
    /// Records written, by destination.
    pub destination_written: [u64; Destination::COUNT],
    /// Records not written though permitted, by destination and [`Skip`].
    pub destination_skipped: [[u64; Skip::ALL.len()]; Destination::COUNT],
    /// Optional fields dropped, by field.
    pub dropped: Vec<u64>,
    /// Fields that the tenant keeps out, by field.
    pub minimised: std::collections::BTreeMap<Field, u64>,
    /// Values that failed a destination's rule, by destination, field and reason.
    pub form_drops: std::collections::BTreeMap<(Destination, Field, &'static str), u64>,
    /// Personal data taken out of free text, by kind.
    pub scrubbed: std::collections::BTreeMap<&'static str, u64>,
}

impl Tally {
    /// All rows of the tenant: the sum over the four outcomes.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.written + self.expired + self.gated.iter().sum::<u64>() + self.quarantined.iter().sum::<u64>()
    }

    /// Adds another count to this one.
    pub fn merge(&mut self, other: &Tally) {
        if other.rows() == 0 {
            return; // most tenants of many, in most pieces
        }
        self.written += other.written;
        self.expired += other.expired;
        add(&mut self.gated, &other.gated);
        add(&mut self.quarantined, &other.quarantined);
        add(&mut self.destination_written, &other.destination_written);
        for (a, b) in self.destination_skipped.iter_mut().zip(&other.destination_skipped) {
            add(a, b);
        }
        self.dropped.resize(Field::COUNT, 0);
        add(&mut self.dropped, &other.dropped);
        for (field, n) in &other.minimised {
            *self.minimised.entry(*field).or_default() += n;
        }
        for (key, n) in &other.form_drops {
            *self.form_drops.entry(*key).or_default() += n;
        }
        for (key, n) in &other.scrubbed {
            *self.scrubbed.entry(key).or_default() += n;
        }
    }
}

fn add(to: &mut [u64], from: &[u64]) {
    to.iter_mut().zip(from).for_each(|(a, b)| *a += b);
}

/// Transforms a batch.
///
/// Shape: rows in, output records in the order of the rows, whatever the number of threads. Units: `now_ms` in ms since the epoch.
/// Errors: none; a row that cannot be written is in its tenant's tally and, if rejected, in its quarantine topic.
#[must_use]
pub fn transform(records: &RawRecords, rules: &Rules, assets: &Assets, now_ms: i64) -> Transformed {
    transform_in_chunks(records, rules, assets, (&Gates::default(), &rules.schemas), now_ms, CHUNK_ROWS)
}

/// Transforms a batch, with people's rights in force and the schemas that are known by now. Shape, units, errors: as [`transform`].
#[must_use]
pub fn transform_known(records: &RawRecords, rules: &Rules, assets: &Assets, known: (&Gates, &Schemas), now_ms: i64) -> Transformed {
    transform_in_chunks(records, rules, assets, known, now_ms, CHUNK_ROWS)
}

/// The same in pieces of `chunk_rows`, at least 1, so that tests can show that the bytes do not depend on it.
pub(super) fn transform_in_chunks(
    records: &RawRecords,
    rules: &Rules,
    assets: &Assets,
    known: (&Gates, &Schemas),
    now_ms: i64,
    chunk_rows: usize,
) -> Transformed {
    let done: Vec<(OutputChunk, usize, Tally)> =
        pieces(records, rules, chunk_rows).into_par_iter().map(|range| piece(records, range, rules, assets, known, now_ms)).collect();
    let mut out = Transformed { chunks: Vec::with_capacity(done.len()), tallies: vec![Tally::default(); rules.tenants.len()] };
    for (chunk, tenant, tally) in done {
        out.chunks.push(chunk);
        out.tallies[tenant].merge(&tally);
    }
    out
}

/// Puts each tenant's rows together, in their order, so that pieces are as large as they can be: one row by itself costs four times as much as one of
/// many. Shape: a partition is of one tenant, so its rows keep their order.
pub fn group_by_tenant(records: &mut RawRecords, rules: &Rules) {
    records.rows.sort_by_key(|row| rules.sources[usize::from(row.source)].tenant);
}

/// Ranges of rows, each of one tenant, so that what is counted by the piece is counted for the right one. Units: `rows_max`, at least 1.
fn pieces(records: &RawRecords, rules: &Rules, rows_max: usize) -> Vec<Range<usize>> {
    let tenant = |row: usize| rules.sources[usize::from(records.rows[row].source)].tenant;
    let (mut pieces, mut from, end) = (Vec::new(), 0, records.rows.len());
    for row in 1..=end {
        if row == end || row - from == rows_max || tenant(row) != tenant(from) {
            pieces.push(from..row);
            from = row;
        }
    }
    pieces
}

fn piece(
    records: &RawRecords,
    range: Range<usize>,
    rules: &Rules,
    assets: &Assets,
    (gates, schemas): (&Gates, &Schemas),
    now_ms: i64,
) -> (OutputChunk, usize, Tally) {
    let tenant = usize::from(rules.sources[usize::from(records.rows[range.start].source)].tenant);
    let arena = Bump::new();
    let mut batch = Batch::new(&arena, range.len());
    let (mut rejected, mut dropped, mut drops) = (Vec::new(), Dropped::default(), Vec::new());
    let bytes: usize = records.rows[range.clone()].iter().map(|r| r.payload.len as usize).sum();

    decode(records, range.clone(), rules, schemas, &mut batch, &mut rejected, &mut dropped);
    let mut routes = route(&batch.heads, rules, now_ms);
    let (minimised, mut taken) = (is_wanted(&batch.heads, rules), TakenOut::new());
    if minimised {
        minimise(&mut batch, &routes, rules, Part::Content, &mut taken);
    }
    let mut hints = row_hints(&batch);
    let texts = free_texts(&batch, &routes, rules, &mut rejected);
    texts.apply(&mut batch);
    for (row, ..) in &texts.special {
        routes[*row as usize].hold_back();
    }
    let identifiers = identify(&batch, &routes, &hints, |tenant| gates.concern(tenant), &mut drops);
    if minimised {
        minimise(&mut batch, &routes, rules, Part::Rest, &mut taken);
        hints = row_hints(&batch);
    }
    let enriched = enriched(&batch, &routes, &hints, rules, assets);
    let forms = forms(&batch, &identifiers, &routes, &hints, &rules.wanted, &mut drops);
    let mut pseudonyms = pseudonymise(identifiers, &batch.heads, rules);
    gates.shut(&mut batch.heads, &mut routes, &pseudonyms, rules, now_ms);
    if minimised {
        forget(&mut pseudonyms, &batch.heads, rules);
    }
    let batch = batch.pseudonymised();

    let columns = Encodable { batch: &batch, pseudonyms: &pseudonyms, enriched: &enriched, texts: &texts, rules, schemas };
    let mut encoder = Encoder {
        columns,
        forms: &forms,
        rules,
        now_ms,
        out: OutputChunk { arena: Vec::with_capacity(bytes + bytes / 2), ..OutputChunk::default() },
        tally: Tally::default(),
    };
    encoder.rows(records, &routes, &mut rejected);
    encoder.count_fields(&dropped, &drops, &texts.hits);
    for field in taken {
        *encoder.tally.minimised.entry(field).or_default() += 1;
    }
    (encoder.out, tenant, encoder.tally)
}

struct Encoder<'e> {
    columns: Encodable<'e>,
    forms: &'e Forms,
    rules: &'e Rules,
    now_ms: i64,
    out: OutputChunk,
    /// Of the one tenant whose piece it is.
    tally: Tally,
}

impl Encoder<'_> {
    /// Encodes all rows, good and rejected, in the order of the input.
    fn rows(&mut self, records: &RawRecords, routes: &[Route], rejected: &mut [Rejected]) {
        rejected.sort_by_key(|r| r.row);
        let mut next = rejected.iter().peekable();
        for (row, route) in routes.iter().enumerate() {
            let input = self.columns.batch.heads[row].input;
            while let Some(r) = next.next_if(|r| r.row < input) {
                self.quarantine(records, *r);
            }
            if let Some(r) = next.next_if(|r| r.row == input) {
                self.quarantine(records, *r);
            } else {
                self.row(records, row, route);
            }
        }
        for r in next {
            self.quarantine(records, *r);
        }
    }

    fn quarantine(&mut self, records: &RawRecords, rejected: Rejected) {
        let record = &records.rows[rejected.row as usize];
        let source = &self.rules.sources[usize::from(record.source)];
        let (origin, rules) = (Origin { topic: &source.topic, record }, &self.rules.tenants[usize::from(source.tenant)]);
        quarantine(rules.quarantine, rejected.reason, rejected.field, &origin, &mut self.out);
        if rejected.reason == Reason::SpecialCategory {
            let special = &self.columns.texts.special;
            let found = special.iter().find(|(row, ..)| self.columns.batch.heads[*row as usize].input == rejected.row);
            if let Some((_, category, field)) = found {
                special_category_notice(rules.notices, category.name(), *field, &origin, &mut self.out);
            }
        }
        self.tally.quarantined[rejected.reason as usize] += 1;
    }

    fn row(&mut self, records: &RawRecords, row: usize, route: &Route) {
        match route.closed {
            Some(Closed::Expired) => {
                self.tally.expired += 1;
                return;
            }
            Some(Closed::Gated(gate)) => {
                self.tally.gated[gate as usize] += 1;
                return;
            }
            None => {}
        }
        let marks = (self.out.arena.len(), self.out.records.len());
        let mut destinations = [None; Destination::COUNT];
        let too_large = self.records_of(row, route, &mut destinations);
        if too_large {
            self.out.arena.truncate(marks.0);
            self.out.records.truncate(marks.1);
            let input = self.columns.batch.heads[row].input;
            self.quarantine(records, Rejected { row: input, reason: Reason::EncodeTooLarge, field: None });
            return;
        }
        let tally = &mut self.tally;
        for (i, outcome) in destinations.into_iter().enumerate() {
            match outcome {
                Some(Ok(())) => tally.destination_written[i] += 1,
                Some(Err(skip)) => tally.destination_skipped[i][skip as usize] += 1,
                None => {}
            }
        }
        if self.out.records.len() > marks.1 {
            tally.written += 1;
        } else {
            tally.gated[route.gate_if_nothing_came() as usize] += 1;
        }
    }

    /// Writes all records of a row. Returns whether one of them is larger than its topic takes.
    fn records_of(&mut self, row: usize, route: &Route, destinations: &mut [Option<Result<(), Skip>>; Destination::COUNT]) -> bool {
        let rules = self.rules;
        let tenant = &rules.tenants[usize::from(self.columns.batch.heads[row].tenant)];
        let first = self.out.records.len();
        let anonymous = route.primary == Primary::Necessary && route.granted.is_empty() && !route.network;
        let key = self.columns.row_key(row, anonymous, &mut self.out);
        if let (Some(category), true) = (tenant.category(self.columns.batch.heads[row].category), route.primary != Primary::None) {
            let key = if route.primary == Primary::Necessary && !anonymous { self.columns.row_key(row, true, &mut self.out) } else { key };
            self.columns.record(row, key, category.topic, category.basis, route.primary == Primary::Full, &mut self.out);
        }
        if route.network
            && let Some(category) = tenant.category(Category::Network)
        {
            self.columns.network(row, key, category.topic, &mut self.out);
        }
        for d in &tenant.destinations {
            if let Some(permit) = route.permit(d.destination, d.basis) {
                destinations[d.destination as usize] = Some(self.destination(row, key, d, permit));
            }
        }
        self.out.records[first..].iter().any(|r| record_bytes(r) > rules.topics[usize::from(r.topic.0)].max_record_bytes)
    }

    fn destination(&mut self, row: usize, key: RowKey, d: &DestinationRules, permit: Permit) -> Result<(), Skip> {
        let entry = &TABLE[d.destination as usize];
        let start = self.out.arena.len();
        let view =
            destinations::Row { batch: self.columns.batch, forms: self.forms, enriched: self.columns.enriched, row, now_ms: self.now_ms };
        let Written { window, target } = match (entry.write)(&view, &d.config, permit, &mut self.out.arena) {
            Ok(written) => written,
            Err(skip) => {
                self.out.arena.truncate(start);
                return Err(skip);
            }
        };
        let value = Span::since(start, &self.out.arena);
        let out = &mut self.out.arena;
        let start = out.len();
        headers::begin(1 + SharedHeaders::COUNT + 2 + usize::from(window.not_before_ms.is_some()), out);
        out.extend_from_within(key.lethe());
        out.extend_from_slice(d.headers.of(permit.consent()));
        headers::put(HeaderName::Target.as_str(), target.as_bytes(), out);
        let mut time = |name: HeaderName, ms: i64| headers::put_with(name.as_str(), out, |out| json::integer(ms, out));
        time(HeaderName::NotAfter, window.not_after_ms);
        if let Some(ms) = window.not_before_ms {
            time(HeaderName::NotBefore, ms);
        }
        push_with(d.topic, key, value, Span::since(start, &self.out.arena), &mut self.out);
        Ok(())
    }

    fn count_fields(&mut self, dropped: &Dropped, drops: &[FormDrop], hits: &crate::transform::scrub::HitCounts) {
        let tally = &mut self.tally;
        tally.dropped = dropped.0.iter().map(|n| u64::from(*n)).collect();
        for (hit, n) in hits.iter().filter(|(_, n)| *n > 0) {
            *tally.scrubbed.entry(hit.name()).or_default() += u64::from(n);
        }
        for drop in drops {
            for destination in drop.destinations.iter() {
                *tally.form_drops.entry((destination, drop.field, drop.reason.as_str())).or_default() += 1;
            }
        }
    }
}

/// What a record takes in its topic when it is the only one of its batch and nothing of it can be compressed. Units: bytes.
fn record_bytes(record: &OutputRecord) -> usize {
    [record.key, record.value, record.headers].iter().map(|part| part.len as usize).sum::<usize>() + AROUND
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::fixture;
    use crate::transform::rules::Source;

    #[test]
    fn what_is_dropped_is_counted_for_its_own_tenant() {
        let mut rules = fixture::rules("");
        rules.sources.push(Source { topic: "zeta.raw.web".into(), tenant: 1 });
        let mut records = RawRecords::default();
        for source in [0, 0, 0, 1, 1, 0] {
            records.push(source, 0, 0, fixture::NOW, b"{}");
        }
        assert_eq!(pieces(&records, &rules, 2), [0..2, 2..3, 3..5, 5..6]);
        assert_eq!(pieces(&records, &rules, 100), [0..3, 3..5, 5..6]);
        assert!(pieces(&RawRecords::default(), &rules, 1).is_empty());
    }

    #[test]
    fn tenants_rows_are_put_together_in_their_order() {
        let mut rules = fixture::rules("");
        rules.sources.push(Source { topic: "zeta.raw.web".into(), tenant: 1 });
        rules.sources.push(Source { topic: "zeta.raw.app".into(), tenant: 0 });
        let mut records = RawRecords::default();
        for (source, offset) in [(1, 7), (0, 1), (2, 4), (1, 8), (0, 2), (2, 5)] {
            records.push(source, 0, offset, fixture::NOW, format!("{{\"n\":{offset}}}").as_bytes());
        }
        group_by_tenant(&mut records, &rules);
        let order: Vec<(u16, i64)> = records.rows.iter().map(|row| (row.source, row.offset)).collect();
        assert_eq!(order, [(0, 1), (2, 4), (0, 2), (2, 5), (1, 7), (1, 8)]);
        assert!(records.rows.iter().all(|row| row.payload.of(&records.bytes) == format!("{{\"n\":{}}}", row.offset).as_bytes()));
    }
}
