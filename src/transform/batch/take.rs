//! Takes values out of a batch, as though they had never come: for minimisation.

use super::{Batch, Clear, Number, NumberField};
use crate::model::field::Field;

impl Batch<'_, Clear> {
    /// Takes a text of a row out, further values of a list field included. Returns whether there was one.
    pub fn take_text(&mut self, field: Field, row: usize) -> bool {
        let at = field as usize * self.capacity + row;
        if std::mem::take(&mut self.texts[at]).is_empty() {
            return false;
        }
        if matches!(field, Field::Email | Field::Phone | Field::ExternalId) {
            self.extras.retain(|e| e.row as usize != row || e.field != field);
        }
        true
    }

    /// Takes a number of a row out. Returns whether there was one.
    pub fn take_number(&mut self, field: NumberField, row: usize) -> bool {
        let number = &mut self.numbers[field as usize * self.capacity + row];
        std::mem::replace(number, Number::NONE).is_present()
    }

    /// Takes the items or the custom variables of a row out. Returns whether there were any.
    pub fn take_list(&mut self, field: Field, row: usize) -> bool {
        let before = (self.items.len(), self.customs.len());
        if field == Field::Items {
            self.items.retain(|i| i.row as usize != row);
        } else {
            self.customs.retain(|c| c.row as usize != row);
        }
        (self.items.len(), self.customs.len()) != before
    }
}
