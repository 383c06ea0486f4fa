//! Data minimisation: fields that the tenant does not need are taken out of the batch, as though they had never come, and counted.
//!
//! In three places, each as early as what comes before allows. Content (free text, items, URLs, bodies) goes before it is scrubbed. What may name
//! a person goes after the scrub, which needs a row's own values to find them in its texts, and after `identify`, because somebody who objected or
//! was erased is known by it. Pseudonyms of such identifiers go once the gates have looked at them, before anything is encoded.

use crate::model::field::Field;
use crate::model::identifier::IdentifierType;
use crate::transform::batch::{Batch, Clear, NumberField, RowHead};
use crate::transform::identify::field_of;
use crate::transform::pseudonymise::Pseudonyms;
use crate::transform::route::Route;
use crate::transform::rules::Rules;

/// Which fields are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed([bool; Field::COUNT]);

/// Without these a row cannot be judged: they are always let in.
pub const REQUIRED: [Field; 8] = [
    Field::EventId,
    Field::EventName,
    Field::EventTime,
    Field::Kind,
    Field::Tenant,
    Field::Consent,
    Field::ConsentAnswer,
    Field::ConsentGivenAt,
];
/// Content: nothing in the row depends on it.
const CONTENT: [Field; 6] = [Field::FeedbackText, Field::Items, Field::Custom, Field::Url, Field::Referrer, Field::Body];

impl Allowed {
    /// These names of fields, or of objects with all that is in them. Errors: the first name that the schema does not have.
    pub fn of(names: &[String]) -> Result<Allowed, String> {
        let mut allowed = [false; Field::COUNT];
        REQUIRED.iter().for_each(|f| allowed[*f as usize] = true);
        for name in names {
            let mut known = false;
            for (slot, field) in allowed.iter_mut().zip(Field::NAMES) {
                let inside = field.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
                if inside && field != Field::Unknown.name() {
                    (*slot, known) = (true, true);
                }
            }
            if !known {
                return Err(name.clone());
            }
        }
        Ok(Allowed(allowed))
    }

    /// Whether a field is let in.
    #[must_use]
    pub fn has(&self, field: Field) -> bool {
        self.0[field as usize]
    }

    /// Names of the fields that are kept out; objects stand there by what is in them.
    pub fn kept_out(&self) -> impl Iterator<Item = &'static str> {
        let objects = [Field::User, Field::Ids, Field::Feedback, Field::Unknown];
        let at = move |n: &usize| !self.0[*n] && !objects.iter().any(|o| *o as usize == *n);
        (0..Field::COUNT).filter(at).map(|n| Field::NAMES[n])
    }
}

/// Which part of the fields is taken out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What nothing else depends on.
    Content,
    /// All the rest.
    Rest,
}

/// What was taken out. Shape: a field, once for each row.
pub type TakenOut = Vec<Field>;

/// Whether any tenant of the piece keeps fields out: if not, nothing here costs anything.
#[must_use]
pub fn is_wanted(heads: &[RowHead], rules: &Rules) -> bool {
    rules.minimises && heads.iter().any(|h| rules.tenants[usize::from(h.tenant)].fields.is_some())
}

/// Takes one part of the fields out of every open row.
pub fn minimise(batch: &mut Batch<'_, Clear>, routes: &[Route], rules: &Rules, part: Part, taken: &mut TakenOut) {
    for (row, route) in routes.iter().enumerate() {
        let tenant = batch.heads[row].tenant;
        let Some(allowed) = rules.tenants[usize::from(tenant)].fields.as_deref().filter(|_| route.closed.is_none()) else { continue };
        let mine = |field: &Field| !allowed.has(*field) && CONTENT.contains(field) == (part == Part::Content);
        for field in Field::TEXTS.into_iter().filter(mine) {
            if batch.take_text(field, row) {
                taken.push(field);
            }
        }
        for number in NumberField::ALL.into_iter().filter(|n| mine(&n.field())) {
            if batch.take_number(number, row) {
                taken.push(number.field());
            }
        }
        for field in [Field::Items, Field::Custom].into_iter().filter(mine) {
            if batch.take_list(field, row) {
                taken.push(field);
            }
        }
    }
}

/// Takes the pseudonyms of identifiers that are kept out, once nothing has to be looked up by them any more.
pub fn forget(pseudonyms: &mut Pseudonyms, heads: &[RowHead], rules: &Rules) {
    pseudonyms.keep(|row, kind: IdentifierType| {
        let tenant = &rules.tenants[usize::from(heads[row].tenant)];
        tenant.fields.as_deref().is_none_or(|allowed| allowed.has(field_of(kind)))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fields_or_whole_objects() {
        let allowed = Allowed::of(&["user.email".into(), "ids".into(), "value".into()]).unwrap();
        assert!(allowed.has(Field::Email) && allowed.has(Field::Fbp) && allowed.has(Field::Value) && allowed.has(Field::EventId));
        assert!(!allowed.has(Field::Phone) && !allowed.has(Field::Url) && !allowed.has(Field::PhoneCountry));
        let out: Vec<&str> = allowed.kept_out().collect();
        assert!(out.contains(&"user.phone") && !out.contains(&"user") && !out.contains(&"unknown") && !out.contains(&"consent"), "{out:?}");
        for wrong in ["user.emai", "e", "unknown", "", "user."] {
            assert_eq!(Allowed::of(&[wrong.into()]), Err(wrong.into()));
        }
    }
}
