//! The columnar batch: one column a field, text borrowed from the input or from an arena, never a struct of `String`s per event.
//!
//! A `Batch<Clear>` lets anything be read through [`Batch::clear`]; the pseudonymise step trades it for a `Batch<Pseudonymised>`, from
//! which only the closed list of [`Released`] fields can be read: what a destination, the network topic or an opaque body needs clear.

mod row;
mod take;

use crate::model::category::Category;
use crate::model::consent::Consent;
use crate::model::field::Field;
use bumpalo::Bump;
pub use row::RowBuilder;
use std::marker::PhantomData;
use std::net::IpAddr;

/// State of a batch whose clear values can be read.
pub struct Clear;
/// State of a batch behind the pseudonymise door.
pub struct Pseudonymised;

/// A clear value on loan. No `Debug`, `Display`, `Serialize`, `Hash` or `PartialEq`: it can only be exposed.
///
/// ```compile_fail
/// fn print(v: lethe::transform::batch::ClearText<'_>) { println!("{v:?}"); }
/// ```
/// ```compile_fail
/// fn compare(a: lethe::transform::batch::ClearText<'_>, b: lethe::transform::batch::ClearText<'_>) -> bool { a == b }
/// ```
#[derive(Clone, Copy)]
pub struct ClearText<'a>(&'a str);

impl<'a> ClearText<'a> {
    /// The one door: every caller of it is counted by `tests/house.rs`.
    #[inline]
    #[must_use]
    pub fn expose(self) -> &'a str {
        self.0
    }

    /// Whether there is a value.
    #[inline]
    #[must_use]
    pub fn is_present(self) -> bool {
        !self.0.is_empty()
    }
}

/// A number of the event. Shape: the value, and its JSON spelling as it came, so that `12.10` stays `12.10`.
#[derive(Clone, Copy)]
pub struct Number<'a> {
    /// The value; NaN when absent.
    pub value: f64,
    /// The spelling: a valid JSON number, or empty where only the value is known (Avro).
    pub text: &'a str,
}

impl<'a> Number<'a> {
    /// No number.
    pub const NONE: Number<'a> = Number { value: f64::NAN, text: "" };

    /// Whether there is a number.
    #[must_use]
    pub fn is_present(&self) -> bool {
        !self.value.is_nan()
    }
}

/// The number columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // the schema's names
pub enum NumberField {
    Value,
    Payout,
    Cost,
    Quantity,
    Rating,
    Nps,
    Csat,
}

impl NumberField {
    /// How many number columns there are.
    pub const COUNT: usize = 7;
    /// Every number column, in order.
    pub const ALL: [NumberField; NumberField::COUNT] = [
        NumberField::Value,
        NumberField::Payout,
        NumberField::Cost,
        NumberField::Quantity,
        NumberField::Rating,
        NumberField::Nps,
        NumberField::Csat,
    ];

    /// The schema field.
    #[must_use]
    pub fn field(self) -> Field {
        match self {
            NumberField::Value => Field::Value,
            NumberField::Payout => Field::Payout,
            NumberField::Cost => Field::Cost,
            NumberField::Quantity => Field::Quantity,
            NumberField::Rating => Field::FeedbackRating,
            NumberField::Nps => Field::FeedbackNps,
            NumberField::Csat => Field::FeedbackCsat,
        }
    }
}

/// One item of an order.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    /// Row it belongs to.
    pub row: u32,
    /// `id`, `name`, `category`, `brand`.
    pub texts: [&'a str; 4],
    /// Unit price.
    pub price: Number<'a>,
    /// How many.
    pub quantity: Number<'a>,
}

/// A further value of a list field, or a custom variable.
#[derive(Clone, Copy)]
pub struct Extra<'a> {
    /// Row it belongs to.
    pub row: u32,
    /// Which list field.
    pub field: Field,
    value: &'a str,
}

/// A custom variable on the tenant's allow-list.
#[derive(Clone, Copy)]
pub struct Custom<'a> {
    /// Row it belongs to.
    pub row: u32,
    /// Index in the tenant's allow-list.
    pub name: u16,
    value: &'a str,
}

/// Where a row came from, and what decides about it.
#[derive(Clone, Copy)]
pub struct RowHead {
    /// Index in the input batch.
    pub input: u32,
    /// Index of the tenant in the rules.
    pub tenant: u16,
    /// Which category.
    pub category: Category,
    /// The event's own time. Units: ms since the epoch.
    pub occurred_at_ms: i64,
    /// Receipt. Units: ms since the epoch.
    pub received_at_ms: i64,
    /// Consent as it came.
    pub consent: Consent,
}

/// Rows as columns. Shape: up to `capacity` rows; text column `f` of row `r` at `texts[f * capacity + r]`. No `Debug`, `Clone` or `Serialize`.
pub struct Batch<'a, State> {
    arena: &'a Bump,
    capacity: usize,
    texts: Vec<&'a str>,
    numbers: Vec<Number<'a>>,
    /// What the texts of [`Field::Ip`] say, where there is one: read once, as it is what nearly every row has.
    addresses: Vec<Option<IpAddr>>,
    /// A bit for each text field that a row has or had.
    present: u64,
    /// One head a row.
    pub heads: Vec<RowHead>,
    items: Vec<Item<'a>>,
    extras: Vec<Extra<'a>>,
    customs: Vec<Custom<'a>>,
    state: PhantomData<State>,
}

/// Fields that may leave clear, because a destination's API, the network topic or an opaque body requires it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Released {
    /// Event id: destination bodies deduplicate on it.
    EventId = Field::EventId as u8,
    /// Event name.
    EventName = Field::EventName as u8,
    /// End user's IP address: destinations, network topic.
    Ip = Field::Ip as u8,
    /// End user's user agent: destinations, network topic.
    UserAgent = Field::UserAgent as u8,
    /// `_fbp` cookie.
    Fbp = Field::Fbp as u8,
    /// `_fbc` cookie.
    Fbc = Field::Fbc as u8,
    /// `_ttp` cookie.
    Ttp = Field::Ttp as u8,
    /// TikTok click id.
    Ttclid = Field::Ttclid as u8,
    /// Google click id.
    Gclid = Field::Gclid as u8,
    /// Google click id (web to app).
    Wbraid = Field::Wbraid as u8,
    /// Google click id (app to web).
    Gbraid = Field::Gbraid as u8,
    /// Display click id.
    Dclid = Field::Dclid as u8,
    /// Facebook click id.
    Fbclid = Field::Fbclid as u8,
    /// Client id of the Google tag.
    GaClientId = Field::GaClientId as u8,
    /// Session id, for GA4.
    SessionId = Field::SessionId as u8,
    /// Currency.
    Currency = Field::Currency as u8,
    /// Order id: destinations deduplicate on it.
    OrderId = Field::OrderId as u8,
    /// Where the event happened.
    ActionSource = Field::ActionSource as u8,
    /// Version of the consent text.
    ConsentVersion = Field::ConsentVersion as u8,
    /// Feedback channel.
    FeedbackChannel = Field::FeedbackChannel as u8,
    /// Feedback language.
    FeedbackLanguage = Field::FeedbackLanguage as u8,
    /// Survey.
    FeedbackSurveyId = Field::FeedbackSurveyId as u8,
    /// Question.
    FeedbackQuestionId = Field::FeedbackQuestionId as u8,
    /// Opaque body of a replay or media record.
    Body = Field::Body as u8,
}

const _: () = assert!(Field::TEXT_COUNT <= u64::BITS as usize, "a bit for each text field");

impl<'a, State> Batch<'a, State> {
    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.heads.len()
    }

    #[inline]
    fn text(&self, field: usize, row: usize) -> &'a str {
        self.texts[field * self.capacity + row]
    }

    /// A number of a row.
    #[inline]
    #[must_use]
    pub fn number(&self, field: NumberField, row: usize) -> Number<'a> {
        self.numbers[field as usize * self.capacity + row]
    }

    /// The items of a row.
    #[must_use]
    pub fn items(&self, row: usize) -> &[Item<'a>] {
        let row = row as u32;
        let from = self.items.partition_point(|i| i.row < row);
        let to = from + self.items[from..].partition_point(|i| i.row == row);
        &self.items[from..to]
    }

    /// The custom variables of a row.
    #[must_use]
    pub fn customs(&self, row: usize) -> &[Custom<'a>] {
        let row = row as u32;
        let from = self.customs.partition_point(|i| i.row < row);
        let to = from + self.customs[from..].partition_point(|i| i.row == row);
        &self.customs[from..to]
    }

    fn extras_of(&self, field: Field, row: usize) -> impl Iterator<Item = &Extra<'a>> {
        let row = row as u32;
        let from = self.extras.partition_point(|i| i.row < row);
        self.extras[from..].iter().take_while(move |e| e.row == row).filter(move |e| e.field == field)
    }

    /// The address of [`Released::Ip`]. Shape: `None` without one.
    #[inline]
    #[must_use]
    pub fn address(&self, row: usize) -> Option<IpAddr> {
        // The text decides: it is what minimisation takes out.
        self.addresses[row].filter(|_| !self.text(Field::Ip as usize, row).is_empty())
    }

    /// A field that may leave clear.
    #[inline]
    #[must_use]
    pub fn released(&self, field: Released, row: usize) -> &'a str {
        self.text(field as usize, row)
    }
}

impl<'a> Batch<'a, Clear> {
    /// An empty batch for up to `capacity` rows; text that has to be unescaped goes to `arena`.
    #[must_use]
    pub fn new(arena: &'a Bump, capacity: usize) -> Self {
        Batch {
            arena,
            capacity,
            texts: vec![""; Field::TEXT_COUNT * capacity],
            numbers: vec![Number::NONE; NumberField::COUNT * capacity],
            addresses: vec![None; capacity],
            present: 0,
            heads: Vec::with_capacity(capacity),
            items: Vec::new(),
            extras: Vec::new(),
            customs: Vec::new(),
            state: PhantomData,
        }
    }

    /// Whether any row may have this field: false only if none has.
    #[must_use]
    pub fn may_have(&self, field: Field) -> bool {
        self.present >> field as usize & 1 == 1
    }

    /// The value of a text field; of a list field, its first value.
    #[inline]
    #[must_use]
    pub fn clear(&self, field: Field, row: usize) -> ClearText<'a> {
        ClearText(self.text(field as usize, row))
    }

    /// All values of a list field, in their order.
    pub fn clear_all(&self, field: Field, row: usize) -> impl Iterator<Item = ClearText<'a>> {
        let first = Some(self.clear(field, row)).filter(|t| t.is_present());
        // Without a first value there is no further one, and most pieces have none at all.
        let further = first.filter(|_| !self.extras.is_empty()).map(|_| self.extras_of(field, row).map(|e| ClearText(e.value)));
        first.into_iter().chain(further.into_iter().flatten())
    }

    /// The value of a custom variable.
    #[must_use]
    pub fn clear_custom(&self, custom: &Custom<'a>) -> ClearText<'a> {
        ClearText(custom.value)
    }

    /// Puts another text in the place of a row's, one without what is personal in it.
    pub fn replace(&mut self, field: Field, row: usize, text: &str) {
        self.texts[field as usize * self.capacity + row] = self.arena.alloc_str(text);
    }

    /// The same for a text of an item of the row.
    pub fn replace_item_text(&mut self, row: usize, item: usize, which: usize, text: &str) {
        let from = self.items.partition_point(|i| (i.row as usize) < row);
        if let Some(text_of) = self.items.get_mut(from + item).and_then(|i| i.texts.get_mut(which)) {
            *text_of = self.arena.alloc_str(text);
        }
    }

    /// Through the door: from here on only [`Released`] fields can be read.
    #[must_use]
    pub fn pseudonymised(self) -> Batch<'a, Pseudonymised> {
        Batch {
            arena: self.arena,
            capacity: self.capacity,
            texts: self.texts,
            numbers: self.numbers,
            addresses: self.addresses,
            present: self.present,
            heads: self.heads,
            items: self.items,
            extras: self.extras,
            customs: self.customs,
            state: PhantomData,
        }
    }
}
