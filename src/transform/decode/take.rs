//! What is made of a value, by where it goes: what fits is taken, what does not is dropped and counted. JSON and Avro share it.

use super::{EventTime, RowReader};
use crate::model::category::Category;
use crate::model::consent::Purpose;
use crate::model::field::Field;

/// Where a value goes.
#[derive(Clone, Copy)]
pub(super) enum To {
    Text(Field),
    List(Field),
    ListElement(Field),
    Kind,
    EventTime,
    ConsentAnswer(Purpose),
    ConsentGivenAt,
    OptOut,
    Items,
    Custom(u16),
}

impl<'a> RowReader<'_, '_, 'a> {
    /// Takes text.
    pub(super) fn take_text(&mut self, to: To, text: &'a str) {
        match to {
            To::Text(field) => self.set_text(field, text),
            To::List(field) => {
                self.row.clear_list(field);
                self.row.push(field, text);
            }
            To::ListElement(field) => {
                if !text.is_empty() {
                    self.row.push(field, text);
                }
            }
            To::Kind => self.set_kind(text),
            To::EventTime => self.set_time_text(text),
            To::ConsentGivenAt => self.set_given_at(crate::model::time::parse_rfc3339(text)),
            To::Custom(name) => self.row.set_custom(name, text),
            To::ConsentAnswer(_) | To::OptOut | To::Items => self.take_wrong_type(to),
        }
    }

    /// Takes a whole number; as a time it is seconds or milliseconds.
    pub(super) fn take_integer(&mut self, to: To, n: i64) {
        match to {
            To::EventTime => self.set_time_number(n),
            To::ConsentGivenAt => {
                self.set_given_at(match n {
                    ..0 => None,
                    0..100_000_000_000 => Some(n * 1_000),
                    _ => Some(n),
                });
            }
            To::Custom(name) => {
                let text = self.row.copied(&n.to_string());
                self.row.set_custom(name, text);
            }
            _ => self.take_wrong_type(to),
        }
    }

    /// Takes a boolean.
    pub(super) fn take_boolean(&mut self, to: To, b: bool) {
        match to {
            To::ConsentAnswer(purpose) => self.consent.set(purpose, Some(b)),
            To::OptOut => self.consent.opt_out_of_sale = b,
            To::Custom(name) => self.row.set_custom(name, if b { "true" } else { "false" }),
            _ => self.take_wrong_type(to),
        }
    }

    /// Takes `null`: absence.
    pub(super) fn take_null(&mut self, to: To) {
        match to {
            To::Text(field) => {
                if matches!(field, Field::EventId | Field::EventName | Field::Tenant) {
                    self.wrong_type[field as usize] = false;
                }
                self.row.set(field, "");
            }
            To::List(field) => self.row.clear_list(field),
            To::EventTime => self.event_time = EventTime::Absent,
            To::ConsentAnswer(purpose) => self.consent.set(purpose, None),
            To::ConsentGivenAt => self.consent.given_at_ms = None,
            To::OptOut => self.consent.opt_out_of_sale = false,
            To::Items => self.row.clear_items(),
            To::Kind => self.category = Category::Events,
            To::Custom(name) => self.row.clear_custom(name),
            To::ListElement(_) => {}
        }
    }

    /// Takes note of a value whose type nothing can be made of: dropped and counted.
    pub(super) fn take_wrong_type(&mut self, to: To) {
        match to {
            To::Text(field) => self.wrong_type(field),
            To::List(field) => {
                self.row.clear_list(field);
                self.dropped.add(field);
            }
            To::ListElement(field) => self.dropped.add(field),
            To::Kind => self.set_kind(""),
            To::EventTime => self.event_time = EventTime::Bad,
            To::ConsentAnswer(purpose) => {
                self.consent.set(purpose, None);
                self.dropped.add(Field::ConsentAnswer);
            }
            To::ConsentGivenAt => self.set_given_at(None),
            // An answer that cannot be read must not open the gate it was meant to close.
            To::OptOut => {
                self.consent.opt_out_of_sale = true;
                self.dropped.add(Field::ConsentAnswer);
            }
            To::Items => {
                self.row.clear_items();
                self.dropped.add(Field::Items);
            }
            To::Custom(name) => {
                self.row.clear_custom(name);
                self.dropped.add(Field::Custom);
            }
        }
    }

    /// Takes a number with a fraction.
    pub(super) fn take_fraction(&mut self, to: To, n: f64) {
        match to {
            To::Custom(name) if n.is_finite() => {
                let text = self.row.copied(&n.to_string());
                self.row.set_custom(name, text);
            }
            _ => self.take_wrong_type(to),
        }
    }
}
