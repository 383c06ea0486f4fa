//! Step 3: every identifier of a row in its one normalised form, ready for the keyed hash.

use crate::model::field::Field;
use crate::model::identifier::IdentifierType;
use crate::model::pseudonym::{Epoch, Pseudonym};
use crate::model::span::Span;
use crate::model::time::civil;
use crate::transform::batch::{Batch, Clear};
use crate::transform::forms::{FormDrop, FormDrops};
use crate::transform::hash::{hmac128_column, sha256_hex_column};
use crate::transform::normalise::{Day, DropReason, Form, Hints, Normalised, country, normalise, trim};
use crate::transform::route::{Primary, Route};
use crate::transform::rules::KeyEpoch;

/// One value to be pseudonymised.
#[derive(Clone, Copy)]
pub struct Identifier {
    /// What it is.
    pub kind: IdentifierType,
    /// `type ‖ 0x00 ‖ value` in the arena.
    pub input: Span,
}

impl Identifier {
    /// The normalised value alone.
    #[must_use]
    pub fn value<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        self.input.of(arena).get(self.kind.as_str().len() + 1..).unwrap_or(&[])
    }
}

/// Identifiers of all rows. Shape: those of row `r` are `all[first[r]..first[r + 1]]`: first the subject's identifiers in the order of
/// [`IdentifierType::SUBJECTS`], then the event's other ids.
pub struct Identifiers {
    /// Inputs of the keyed hash.
    pub arena: Vec<u8>,
    /// All of them, row by row.
    pub all: Vec<Identifier>,
    first: Vec<u32>,
}

impl Identifiers {
    /// Where the identifiers of a row stand in `all`.
    #[must_use]
    pub fn of_row(&self, row: usize) -> std::ops::Range<usize> {
        self.first[row] as usize..self.first[row + 1] as usize
    }

    /// The normalised values of one type in a row.
    pub fn values(&self, row: usize, kind: IdentifierType) -> impl Iterator<Item = &[u8]> {
        self.all[self.of_row(row)].iter().filter(move |i| i.kind == kind).map(|i| i.value(&self.arena))
    }

    fn push_plain(&mut self, kind: IdentifierType, value: &str, row_start: usize) {
        let value = trim(value);
        if !value.is_empty() {
            let start = self.arena.len();
            self.begin(kind);
            self.arena.extend_from_slice(value.as_bytes());
            self.push_once(kind, start, row_start);
        }
    }

    /// Keeps what was appended since `start` as an identifier, unless the row has it already.
    fn push_once(&mut self, kind: IdentifierType, start: usize, row_start: usize) {
        let input = Span::since(start, &self.arena);
        let twice = self.all[row_start..].iter().any(|i| i.kind == kind && i.input.of(&self.arena) == input.of(&self.arena));
        if twice {
            self.arena.truncate(start);
        } else {
            self.all.push(Identifier { kind, input });
        }
    }

    /// Errors: the value fails its rule; nothing is pushed.
    fn push_form(&mut self, kind: IdentifierType, form: Form, value: &str, hints: &Hints, row_start: usize) -> Result<(), DropReason> {
        let start = self.arena.len();
        self.begin(kind);
        match normalise(form, value, hints, &mut self.arena) {
            Normalised::Dropped(reason) => {
                self.arena.truncate(start);
                return Err(reason);
            }
            _ => self.push_once(kind, start, row_start),
        }
        Ok(())
    }

    fn begin(&mut self, kind: IdentifierType) {
        self.arena.extend_from_slice(kind.as_str().as_bytes());
        self.arena.push(0);
    }
}

/// Normalises the identifiers of every open row.
///
/// Shape: one range a row; closed rows have none, rows of which only the necessary part is written have their event id alone, unless somebody
/// of the tenant (`looked_up`, by its index) has to be looked up.
#[must_use]
pub fn identify(
    batch: &Batch<'_, Clear>,
    routes: &[Route],
    hints: &[Hints],
    looked_up: impl Fn(u16) -> bool,
    drops: &mut FormDrops,
) -> Identifiers {
    let rows = batch.rows();
    let mut ids =
        Identifiers { arena: Vec::with_capacity(rows * 160), all: Vec::with_capacity(rows * 5), first: Vec::with_capacity(rows + 1) };
    for row in 0..rows {
        let row_start = ids.all.len();
        ids.first.push(row_start as u32);
        let route = &routes[row];
        if route.closed.is_some() {
            continue;
        }
        // Every destination takes emails and phones in some form, all made from the identifier's own.
        let mut dropped = |field, outcome: Result<(), DropReason>| {
            if let Err(reason) = outcome {
                drops.push(FormDrop { destinations: route.granted, field, reason });
            }
        };
        let written = route.primary == Primary::Full || route.network || !route.granted.is_empty();
        let personal = written || looked_up(batch.heads[row].tenant);
        if personal {
            for kind in IdentifierType::SUBJECTS {
                match kind {
                    IdentifierType::ExternalId => {
                        for value in batch.clear_all(Field::ExternalId, row) {
                            ids.push_plain(kind, value.expose(), row_start);
                        }
                    }
                    IdentifierType::Email => {
                        for value in batch.clear_all(Field::Email, row) {
                            dropped(Field::Email, ids.push_form(kind, Form::EmailPlain, value.expose(), &hints[row], row_start));
                        }
                    }
                    IdentifierType::Phone => {
                        for value in batch.clear_all(Field::Phone, row) {
                            dropped(Field::Phone, ids.push_form(kind, Form::PhoneE164, value.expose(), &hints[row], row_start));
                        }
                    }
                    _ => ids.push_plain(kind, batch.clear(field_of(kind), row).expose(), row_start),
                }
            }
        }
        ids.push_plain(IdentifierType::EventId, batch.clear(Field::EventId, row).expose(), row_start);
        if personal {
            for kind in [IdentifierType::SessionId, IdentifierType::OrderId, IdentifierType::Author] {
                ids.push_plain(kind, batch.clear(field_of(kind), row).expose(), row_start);
            }
        }
    }
    ids.first.push(ids.all.len() as u32);
    ids
}

/// The pseudonyms of one clear value under each of these keys: by the very steps that the line takes. An email address or phone number that a
/// producer sends hashed is known by its hash alone, so those of its SHA-256 in every form that destinations take are among them.
///
/// Errors: the value is empty, or fails the rule of its type.
pub fn pseudonyms_of(kind: IdentifierType, value: &str, keys: &[KeyEpoch]) -> Result<Vec<(Epoch, Pseudonym)>, DropReason> {
    let mut ids = Identifiers { arena: Vec::new(), all: Vec::new(), first: Vec::new() };
    let forms: &[Form] = match kind {
        IdentifierType::Email => &[Form::EmailPlain, Form::EmailGoogle, Form::EmailGa4],
        IdentifierType::Phone => &[Form::PhoneE164, Form::PhoneDigits],
        _ => &[],
    };
    match forms.first() {
        Some(own) => ids.push_form(kind, *own, value, &Hints::default(), 0)?,
        None => ids.push_plain(kind, value, 0),
    }
    for form in forms {
        let (mut clear, mut hashed) = (Vec::new(), Vec::new());
        if normalise(*form, value, &Hints::default(), &mut clear) == Normalised::Text {
            sha256_hex_column(&clear, &[Span { start: 0, len: clear.len() as u32 }], &mut hashed);
        }
        for hex in &hashed {
            ids.push_form(kind, *form, std::str::from_utf8(hex).unwrap_or_default(), &Hints::default(), 0)?;
        }
    }
    let inputs: Vec<Span> = ids.all.iter().map(|i| i.input).collect();
    if inputs.is_empty() {
        return Err(DropReason::Empty);
    }
    let (mut all, mut digests) = (Vec::with_capacity(keys.len()), Vec::new());
    for key in keys {
        hmac128_column(&key.key, &ids.arena, &inputs, &mut digests);
        all.extend(digests.iter().map(|d| (key.epoch, Pseudonym(*d))));
    }
    Ok(all)
}

/// What each row's own fields say about its other fields. Shape: one entry a row.
#[must_use]
pub fn hints(batch: &Batch<'_, Clear>) -> Vec<Hints> {
    (0..batch.rows())
        .map(|row| {
            let read = |field| Some(batch.clear(field, row)).filter(|t| t.is_present()).and_then(|t| country(t.expose()));
            let today = civil(batch.heads[row].received_at_ms);
            Hints {
                phone_country: read(Field::PhoneCountry),
                country: read(Field::Country),
                today: Day { year: today.year.clamp(0, 9_999) as u16, month: today.month, day: today.day },
            }
        })
        .collect()
}

/// Where an identifier stands in the raw event.
#[must_use]
pub fn field_of(kind: IdentifierType) -> Field {
    match kind {
        IdentifierType::ExternalId => Field::ExternalId,
        IdentifierType::Email => Field::Email,
        IdentifierType::Phone => Field::Phone,
        IdentifierType::ClientId => Field::ClientId,
        IdentifierType::GaClientId => Field::GaClientId,
        IdentifierType::Fbp => Field::Fbp,
        IdentifierType::Fbc => Field::Fbc,
        IdentifierType::Ttp => Field::Ttp,
        IdentifierType::Fingerprint => Field::Fingerprint,
        IdentifierType::EventId => Field::EventId,
        IdentifierType::SessionId => Field::SessionId,
        IdentifierType::OrderId => Field::OrderId,
        IdentifierType::Author => Field::FeedbackAuthor,
    }
}
