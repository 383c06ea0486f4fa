//! How a batch is filled: a row at a time.

use super::{Batch, Clear, Custom, Extra, Item, Number, NumberField, RowHead};
use crate::model::field::Field;
use std::net::IpAddr;

/// Builds one row at a time; a row that turns out bad leaves nothing behind.
pub struct RowBuilder<'b, 'a> {
    batch: &'b mut Batch<'a, Clear>,
    row: usize,
    items: usize,
    extras: usize,
    customs: usize,
}

impl<'b, 'a> RowBuilder<'b, 'a> {
    /// Starts a row at the end of `batch`. The batch must have room: decoding is given chunks of its capacity.
    pub fn start(batch: &'b mut Batch<'a, Clear>) -> Self {
        let row = batch.heads.len();
        debug_assert!(row < batch.capacity);
        let (items, extras, customs) = (batch.items.len(), batch.extras.len(), batch.customs.len());
        RowBuilder { batch, row, items, extras, customs }
    }

    /// Keeps text that does not stand in the input as it is, such as text with escapes.
    pub fn copied(&mut self, text: &str) -> &'a str {
        self.batch.arena.alloc_str(text)
    }

    /// Sets a text field; the last one wins.
    #[inline]
    pub fn set(&mut self, field: Field, text: &'a str) {
        let at = field as usize * self.batch.capacity + self.row;
        self.batch.texts[at] = text;
        self.batch.present |= 1 << field as usize;
    }

    /// Sets what the text of [`Field::Ip`] says.
    pub fn set_address(&mut self, address: IpAddr) {
        self.batch.addresses[self.row] = Some(address);
    }

    /// The text of a field.
    #[inline]
    #[must_use]
    pub fn get(&self, field: Field) -> &'a str {
        self.batch.text(field as usize, self.row)
    }

    /// Forgets the fields of an object: of two objects under one key the last wins.
    pub fn forget(&mut self, texts: std::ops::RangeInclusive<usize>, numbers: &[NumberField]) {
        for field in texts.clone() {
            self.batch.texts[field * self.batch.capacity + self.row] = "";
        }
        let row = self.row as u32;
        if self.batch.extras.len() > self.extras {
            self.batch.extras.retain(|e| e.row != row || !texts.contains(&(e.field as usize)));
        }
        for field in numbers {
            self.set_number(*field, Number::NONE);
        }
    }

    /// Forgets all values of a list field: the last list wins.
    pub fn clear_list(&mut self, field: Field) {
        self.set(field, "");
        let row = self.row as u32;
        if self.batch.extras.len() > self.extras {
            self.batch.extras.retain(|e| e.row != row || e.field != field);
        }
    }

    /// Adds a value to a list field.
    pub fn push(&mut self, field: Field, value: &'a str) {
        if self.get(field).is_empty() {
            self.set(field, value);
        } else {
            self.batch.extras.push(Extra { row: self.row as u32, field, value });
        }
    }

    /// Sets a number.
    pub fn set_number(&mut self, field: NumberField, number: Number<'a>) {
        let at = field as usize * self.batch.capacity + self.row;
        self.batch.numbers[at] = number;
    }

    /// Forgets the row's items: the last list wins.
    pub fn clear_items(&mut self) {
        self.batch.items.truncate(self.items);
    }

    /// Adds an item.
    pub fn push_item(&mut self, texts: [&'a str; 4], price: Number<'a>, quantity: Number<'a>) {
        self.batch.items.push(Item { row: self.row as u32, texts, price, quantity });
    }

    /// Forgets the row's custom variables: the last object wins.
    pub fn clear_customs(&mut self) {
        self.batch.customs.truncate(self.customs);
    }

    /// Sets a custom variable; the last one of a name wins.
    pub fn set_custom(&mut self, name: u16, value: &'a str) {
        let row = self.row as u32;
        let own = &mut self.batch.customs[self.customs..];
        match own.iter_mut().find(|c| c.name == name) {
            Some(c) => c.value = value,
            None => self.batch.customs.push(Custom { row, name, value }),
        }
    }

    /// Forgets one custom variable.
    pub fn clear_custom(&mut self, name: u16) {
        let own = self.batch.customs.split_off(self.customs);
        self.batch.customs.extend(own.into_iter().filter(|c| c.name != name));
    }

    /// Ends a good row.
    pub fn finish(self, head: RowHead) {
        self.batch.heads.push(head);
    }

    /// Ends a bad row: nothing of it stays.
    pub fn abandon(self) {
        let b = self.batch;
        for column in b.texts.chunks_exact_mut(b.capacity) {
            column[self.row] = "";
        }
        for column in b.numbers.chunks_exact_mut(b.capacity) {
            column[self.row] = Number::NONE;
        }
        b.addresses[self.row] = None;
        b.items.truncate(self.items);
        b.extras.truncate(self.extras);
        b.customs.truncate(self.customs);
    }
}
