//! Step 2: free text is scrubbed while the row's own clear values are still at hand; rows that speak of a special category are held back.

use crate::model::category::Category;
use crate::model::field::Field;
use crate::model::rejected::{Reason, Rejected};
use crate::model::span::Span;
use crate::transform::batch::{Batch, Clear};
use crate::transform::route::Route;
use crate::transform::rules::{Rules, TenantRules};
use crate::transform::scrub::{Hit, HitCounts, ScrubRules, SpecialCategory, scrub, special_category};

/// Longest scrubbed text of an item or custom variable; the rest is cut. Units: bytes.
const MAX_SHORT_TEXT_BYTES: usize = 1_024;

/// The scrubbed texts of all rows.
pub struct FreeTexts<'a> {
    arena: Vec<u8>,
    event_names: Vec<&'a str>,
    /// Event names in which something was found: row and text.
    scrubbed_names: Vec<(u32, Span)>,
    feedback: Vec<(u32, Span)>,
    customs: Vec<(u32, u16, Span)>,
    plain: ScrubRules,
    /// What was found.
    pub hits: HitCounts,
    /// Rows held back: row of the batch and category.
    pub special: Vec<(u32, SpecialCategory)>,
}

/// Where the known values of a row stand and what they are called in the text.
const KNOWN: [(Hit, Field); 7] = [
    (Hit::FirstName, Field::FirstName),
    (Hit::LastName, Field::LastName),
    (Hit::Street, Field::Street),
    (Hit::City, Field::City),
    (Hit::ExternalId, Field::ExternalId),
    (Hit::Email, Field::Email),
    (Hit::Phone, Field::Phone),
];

/// Scrubs the free texts of every open row.
///
/// Shape: rows in order. A row with a special category goes to `rejected` by its index in the input batch; its route must then be closed.
pub fn free_texts<'a>(batch: &Batch<'a, Clear>, routes: &[Route], rules: &Rules, rejected: &mut Vec<Rejected>) -> FreeTexts<'a> {
    let mut out = FreeTexts {
        arena: Vec::new(),
        event_names: Vec::with_capacity(batch.rows()),
        scrubbed_names: Vec::new(),
        feedback: Vec::new(),
        customs: Vec::new(),
        plain: ScrubRules::all(),
        hits: HitCounts::default(),
        special: Vec::new(),
    };
    for (row, route) in routes.iter().enumerate() {
        let name = batch.clear(Field::EventName, row).expose();
        out.event_names.push(name);
        if route.closed.is_some() {
            continue;
        }
        let tenant = &rules.tenants[usize::from(batch.heads[row].tenant)];
        if needs_scrub(name) {
            let span = out.scrubbed(name, &tenant.scrub, &[]);
            out.scrubbed_names.push((row as u32, span));
        }
        if batch.heads[row].category == Category::Feedback || !batch.customs(row).is_empty() {
            out.row(batch, row, tenant, rules, rejected);
        }
    }
    out
}

/// Whether a short text could hold anything that the scrub finds: a quick look that saves the long one.
fn needs_scrub(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    digits >= 5 || text.bytes().any(|b| b == b'@' || b == b'/') || !text.is_ascii()
}

impl<'a> FreeTexts<'a> {
    fn row(&mut self, batch: &Batch<'a, Clear>, row: usize, tenant: &TenantRules, rules: &Rules, rejected: &mut Vec<Rejected>) {
        let known: Vec<(Hit, &str)> = KNOWN
            .iter()
            .flat_map(|(hit, field)| batch.clear_all(*field, row).map(|v| (*hit, v.expose())))
            .filter(|(_, v)| v.chars().count() > 1)
            .collect();
        let text = batch.clear(Field::FeedbackText, row);
        let language = Some(batch.clear(Field::FeedbackLanguage, row).expose()).filter(|l| !l.is_empty());
        let customs: Vec<(u16, &str)> = batch.customs(row).iter().map(|c| (c.name, batch.clear_custom(c).expose())).collect();
        if tenant.special_categories {
            let texts = std::iter::once((Field::FeedbackText, text.expose())).chain(customs.iter().map(|(_, v)| (Field::Custom, *v)));
            for (field, text) in texts {
                if let Some(category) = special_category(text, language, &rules.special_terms) {
                    self.special.push((row as u32, category));
                    rejected.push(Rejected { row: batch.heads[row].input, reason: Reason::SpecialCategory, field: Some(field) });
                    return;
                }
            }
        }
        if text.is_present() {
            let span = self.scrubbed(text.expose(), &tenant.scrub, &known);
            self.feedback.push((row as u32, span));
        }
        for (name, value) in customs {
            let span = self.scrubbed(cut(value, MAX_SHORT_TEXT_BYTES), &tenant.scrub, &known);
            self.customs.push((row as u32, name, span));
        }
    }

    fn scrubbed(&mut self, text: &str, rules: &ScrubRules, known: &[(Hit, &str)]) -> Span {
        let start = self.arena.len();
        let hits = scrub(text, rules, known, &mut self.arena);
        self.hits.merge(&hits);
        Span::since(start, &self.arena)
    }

    /// The text behind a span.
    #[must_use]
    pub fn text(&self, span: Span) -> &str {
        std::str::from_utf8(span.of(&self.arena)).unwrap_or("")
    }

    /// The event's name, scrubbed.
    #[must_use]
    pub fn event_name(&self, row: usize) -> &str {
        let at = self.scrubbed_names.binary_search_by_key(&(row as u32), |(r, _)| *r);
        at.map_or(self.event_names[row], |at| self.text(self.scrubbed_names[at].1))
    }

    /// The feedback's text, scrubbed.
    #[must_use]
    pub fn feedback(&self, row: usize) -> &str {
        let at = self.feedback.binary_search_by_key(&(row as u32), |(r, _)| *r);
        at.map_or("", |at| self.text(self.feedback[at].1))
    }

    /// The custom variables: index in the allow-list and text.
    #[must_use]
    pub fn customs(&self, row: usize) -> Vec<(u16, Span)> {
        let row = row as u32;
        let from = self.customs.partition_point(|c| c.0 < row);
        self.customs[from..].iter().take_while(|c| c.0 == row).map(|c| (c.1, c.2)).collect()
    }

    /// Appends an item's text as an Avro optional string: product texts are scrubbed where they could hold anything personal.
    pub fn write_item_text(&self, text: &str, out: &mut Vec<u8>) {
        if !needs_scrub(text) {
            return crate::transform::avro::optional_string(text, out);
        }
        let mut scrubbed = Vec::with_capacity(text.len());
        scrub(cut(text, MAX_SHORT_TEXT_BYTES), &self.plain, &[], &mut scrubbed);
        crate::transform::avro::optional_string(std::str::from_utf8(&scrubbed).unwrap_or(""), out);
    }
}

/// The longest beginning of `text` of at most `max` bytes that does not split a character.
fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
