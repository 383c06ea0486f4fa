//! Steps 3 and 4 for destinations: each form that a permitted destination wants, normalised column by column and hashed in one go.
//! A value that several destinations want in the same form, or whose forms turn out equal, is normalised and hashed once.

use crate::model::destination::{Destination, DestinationSet};
use crate::model::field::Field;
use crate::model::identifier::IdentifierType;
use crate::model::span::Span;
use crate::transform::batch::{Batch, Clear};
use crate::transform::hash::sha256_hex_column;
use crate::transform::identify::Identifiers;
use crate::transform::normalise::{DropReason, Form, Hints, Normalised, normalise, of_identifier};
use crate::transform::route::Route;

/// The forms that each destination wants. Shape: by [`Destination`] number.
pub type Wanted = [Vec<Form>; Destination::COUNT];

/// A value dropped because it failed its rule.
#[derive(Clone, Copy, Debug)]
pub struct FormDrop {
    /// Destinations that do not get it.
    pub destinations: DestinationSet,
    /// The raw field.
    pub field: Field,
    /// Why.
    pub reason: DropReason,
}

/// All of them.
pub type FormDrops = Vec<FormDrop>;

/// Forms of all rows. Shape: `refs[form * rows + row]` is a range of `values`.
pub struct Forms {
    rows: usize,
    arena: Vec<u8>,
    values: Vec<Span>,
    /// Numbers of the values that came as hashes, in order.
    given: Vec<u32>,
    refs: Vec<(u32, u32)>,
    hex: Vec<[u8; 64]>,
}

impl Forms {
    fn range(&self, form: Form, row: usize) -> std::ops::Range<usize> {
        let (from, to) = self.refs[form as usize * self.rows + row];
        from as usize..to as usize
    }

    /// Hashes of a hashed form, lower-case hex, in the order of the row's values.
    pub fn hashes(&self, form: Form, row: usize) -> &[[u8; 64]] {
        debug_assert!(form.is_hashed());
        &self.hex[self.range(form, row)]
    }

    /// Text of an unhashed form; empty when there is none.
    #[must_use]
    pub fn plain(&self, form: Form, row: usize) -> &str {
        debug_assert!(!form.is_hashed());
        let text = self.values[self.range(form, row)].first().map_or(&[][..], |s| s.of(&self.arena));
        std::str::from_utf8(text).unwrap_or("")
    }
}

/// Normalises and hashes what the permitted destinations want.
///
/// Shape: rows in order; a row without a permitted destination has nothing. Errors: a value that fails its rule is dropped and counted.
#[must_use]
pub fn forms(
    batch: &Batch<'_, Clear>,
    identifiers: &Identifiers,
    routes: &[Route],
    hints: &[Hints],
    wanted: &Wanted,
    drops: &mut FormDrops,
) -> Forms {
    let rows = batch.rows();
    let mut out = Forms {
        rows,
        arena: Vec::with_capacity(rows * 128),
        values: Vec::with_capacity(rows * 10),
        given: Vec::new(),
        refs: vec![(0, 0); Form::COUNT * rows],
        hex: Vec::new(),
    };
    let mut seen = DestinationSet::default();
    routes.iter().for_each(|r| r.granted.iter().for_each(|d| seen.insert(d)));
    // Hashed forms first, so that their values are one run for the hash kernels.
    for hashed in [true, false] {
        for form in Form::ALL.iter().copied().filter(|f| f.is_hashed() == hashed) {
            let mut wanting = DestinationSet::default();
            seen.iter().filter(|d| wanted[*d as usize].contains(&form)).for_each(|d| wanting.insert(d));
            if wanting.is_empty() || !batch.may_have(form.field()) {
                continue;
            }
            let mut last = None;
            for row in 0..rows {
                let getting = routes[row].granted.and(wanting);
                if getting.is_empty() {
                    continue;
                }
                match last.filter(|last| is_same(batch, form, hints, row, *last)) {
                    Some(last) => out.refs[form as usize * rows + row] = out.refs[form as usize * rows + last],
                    None => {
                        let good = out.row(batch, identifiers, (form, getting), row, &hints[row], drops);
                        last = good.then_some(row);
                    }
                }
            }
        }
        if hashed {
            let mut hex = Vec::new();
            sha256_hex_column(&out.arena, &out.values, &mut hex);
            out.keep_given_hashes(&mut hex);
            out.hex = hex;
        }
    }
    out
}

/// Whether a form would make the same of two rows at a glance: towns and countries repeat from row to row.
fn is_same(batch: &Batch<'_, Clear>, form: Form, hints: &[Hints], a: usize, b: usize) -> bool {
    let repeats = !matches!(form.field(), Field::Email | Field::Phone | Field::ExternalId); // those are lists, and of one person
    repeats && hints[a] == hints[b] && batch.clear(form.field(), a).expose() == batch.clear(form.field(), b).expose()
}

impl Forms {
    /// Takes a row's values in this form. Shape: false if one of them was dropped.
    fn row(
        &mut self,
        batch: &Batch<'_, Clear>,
        ids: &Identifiers,
        (form, getting): (Form, DestinationSet),
        row: usize,
        hints: &Hints,
        drops: &mut FormDrops,
    ) -> bool {
        let before = drops.len();
        let mut dropped = |reason| drops.push(FormDrop { destinations: getting, field: form.field(), reason });
        let from = self.values.len();
        let identifier = match form {
            Form::EmailPlain | Form::EmailGoogle | Form::EmailGa4 => Some(IdentifierType::Email),
            Form::PhoneDigits | Form::PhoneE164 => Some(IdentifierType::Phone),
            _ => None,
        };
        match identifier {
            // The identifier's own form is the one every other form is made from: the costly part is done once.
            Some(kind) => {
                // An identifier that the tenant keeps out is known by now, and sent to nobody.
                let let_in = batch.clear(form.field(), row).is_present();
                for own in ids.values(row, kind).filter(|_| let_in) {
                    match of_identifier(form, own) {
                        Some(text) => {
                            let start = self.arena.len();
                            self.arena.extend_from_slice(text);
                            self.keep(start, false, from);
                        }
                        None => self.value(form, std::str::from_utf8(own).unwrap_or(""), hints, from, &mut dropped),
                    }
                }
            }
            None => {
                for value in batch.clear_all(form.field(), row) {
                    self.value(form, value.expose(), hints, from, &mut dropped);
                }
            }
        }
        let to = self.values.len();
        self.refs[form as usize * self.rows + row] = self.shared(form, row, from, to).unwrap_or((from as u32, to as u32));
        drops.len() == before
    }

    fn value(&mut self, form: Form, value: &str, hints: &Hints, from: usize, dropped: &mut impl FnMut(DropReason)) {
        let start = self.arena.len();
        match normalise(form, value, hints, &mut self.arena) {
            Normalised::Dropped(reason) => {
                self.arena.truncate(start);
                dropped(reason);
            }
            outcome => self.keep(start, outcome == Normalised::AlreadyHashed, from),
        }
    }

    /// Keeps what was appended since `start` as a value, unless the row has it already in this form.
    fn keep(&mut self, start: usize, given: bool, from: usize) {
        let span = Span::since(start, &self.arena);
        let twice = self.values[from..].iter().any(|s| s.of(&self.arena) == span.of(&self.arena));
        if twice {
            self.arena.truncate(start);
            return;
        }
        if given {
            self.given.push(self.values.len() as u32);
        }
        self.values.push(span);
    }

    /// Points to an earlier form of the same field with the same values, if there is one, and forgets the new copy.
    fn shared(&mut self, form: Form, row: usize, from: usize, to: usize) -> Option<(u32, u32)> {
        if from == to || !form.is_hashed() {
            return None;
        }
        let twin = form.earlier_hashed().iter().find_map(|f| {
            let (a, b) = self.refs[*f as usize * self.rows + row];
            let same = (b - a) as usize == to - from
                && (a as usize..b as usize).zip(from..to).all(|(i, j)| self.values[i].of(&self.arena) == self.values[j].of(&self.arena));
            same.then_some((a, b))
        })?;
        let start = self.values[from].start as usize;
        self.values.truncate(from);
        self.arena.truncate(start);
        let kept = self.given.partition_point(|given| (*given as usize) < from);
        self.given.truncate(kept);
        Some(twin)
    }

    /// A value that came hashed passes through: it is never hashed again. Source: destinations.md 1.6.
    fn keep_given_hashes(&self, hex: &mut [[u8; 64]]) {
        for at in &self.given {
            let at = *at as usize;
            if let Ok(given) = <&[u8; 64]>::try_from(self.values[at].of(&self.arena)) {
                hex[at] = *given;
            }
        }
    }
}
