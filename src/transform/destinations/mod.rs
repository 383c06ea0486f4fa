//! Destinations: one file each, and one row each in [`TABLE`]. A record's value is one element of the request that a forwarder sends.

pub mod google_ads;
pub mod meta;

use crate::model::consent::Consent;
use crate::model::destination::Destination;
use crate::transform::batch::{Batch, Item, Number, NumberField, Pseudonymised, Released};
use crate::transform::enriched::{ClickId, Enriched};
use crate::transform::forms::{Forms, Wanted};
use crate::transform::json;
use crate::transform::normalise::Form;
use crate::transform::route::Permit;

/// What a tenant configured for a destination.
pub enum DestinationConfig {
    /// Meta Conversions API.
    Meta(meta::Config),
    /// Google Ads, shape A.
    GoogleAds(google_ads::Config),
}

/// Why a destination's record was not written though it was permitted. A closed set, the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Skip {
    /// Below the destination's minimum of identifiers or fields.
    BelowMinimum,
    /// Too old for the destination.
    TooOld,
    /// The event is not one that the destination is configured for.
    NotMapped,
}

impl Skip {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Skip; 3] = [Skip::BelowMinimum, Skip::TooOld, Skip::NotMapped];

    /// The stable code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Skip::BelowMinimum => "below_minimum",
            Skip::TooOld => "too_old",
            Skip::NotMapped => "not_mapped",
        }
    }
}

/// When a written record may be sent. Units: ms since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendWindow {
    /// Too early before that.
    pub not_before_ms: Option<i64>,
    /// Useless or harmful after that.
    pub not_after_ms: i64,
}

/// One destination: what it wants and how its record is written.
pub struct Entry {
    /// Which.
    pub destination: Destination,
    /// Forms of user fields that its record may hold.
    pub forms: &'static [Form],
    /// Appends one record's JSON, or says why there is none (what was appended is then dropped).
    pub write: fn(&Row<'_>, &DestinationConfig, Permit, &mut Vec<u8>) -> Result<SendWindow, Skip>,
}

/// Every destination. Shape: by [`Destination`] number; one without an entry is refused by the config.
pub const TABLE: [Option<Entry>; Destination::COUNT] = [
    Some(Entry { destination: Destination::Meta, forms: meta::FORMS, write: meta::write }),
    Some(Entry { destination: Destination::GoogleAds, forms: google_ads::FORMS, write: google_ads::write }),
    None,
    None,
    None,
    None,
];

/// The forms that each destination wants.
#[must_use]
pub fn wanted() -> Wanted {
    std::array::from_fn(|i| TABLE[i].as_ref().map_or(&[][..], |e| e.forms))
}

/// What a destination may see of one row: hashes, and the closed list of fields that may leave clear.
pub struct Row<'r> {
    pub(super) batch: &'r Batch<'r, Pseudonymised>,
    pub(super) forms: &'r Forms,
    pub(super) enriched: &'r Enriched,
    pub(super) row: usize,
    /// Units: ms since the epoch.
    pub now_ms: i64,
}

impl<'r> Row<'r> {
    /// The event's own time. Units: ms since the epoch.
    #[must_use]
    pub fn occurred_at_ms(&self) -> i64 {
        self.batch.heads[self.row].occurred_at_ms
    }

    /// Consent as it came.
    #[must_use]
    pub fn consent(&self) -> &Consent {
        &self.batch.heads[self.row].consent
    }

    /// A field that may leave clear; empty when absent.
    #[must_use]
    pub fn released(&self, field: Released) -> &'r str {
        self.batch.released(field, self.row)
    }

    /// Hashes of a form, lower-case hex.
    #[must_use]
    pub fn hashes(&self, form: Form) -> &'r [[u8; 64]] {
        self.forms.hashes(form, self.row)
    }

    /// An unhashed form; empty when absent.
    #[must_use]
    pub fn plain(&self, form: Form) -> &'r str {
        self.forms.plain(form, self.row)
    }

    /// A click id: from `ids`, else from the URL.
    #[must_use]
    pub fn click_id(&self, id: ClickId) -> &'r str {
        let given = self.released(id.released());
        if given.is_empty() { self.enriched.click_id(self.row, id) } else { given }
    }

    /// The click id in the page's URL alone.
    #[must_use]
    pub fn url_click_id(&self, id: ClickId) -> &'r str {
        self.enriched.click_id(self.row, id)
    }

    /// The page's URL with its query reduced to UTM and the click ids in `keep`; empty when there is none.
    #[must_use]
    pub fn url(&self, keep: &[&str]) -> String {
        self.batch.reduced_url(self.row, keep)
    }

    /// A number of the event.
    #[must_use]
    pub fn number(&self, field: NumberField) -> Number<'r> {
        self.batch.number(field, self.row)
    }

    /// The items of the event.
    #[must_use]
    pub fn items(&self) -> &'r [Item<'r>] {
        self.batch.items(self.row)
    }

    /// Whether a form has a value.
    #[must_use]
    pub fn has(&self, form: Form) -> bool {
        !self.hashes(form).is_empty()
    }
}

/// Appends a number with its own spelling where it has one.
pub fn write_number(number: Number<'_>, out: &mut Vec<u8>) {
    if number.text.is_empty() { json::number(number.value, out) } else { out.extend_from_slice(number.text.as_bytes()) }
}

/// Appends `["hash", …]`.
pub fn write_hashes(hashes: &[[u8; 64]], out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, hash) in hashes.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(hash);
        out.push(b'"');
    }
    out.push(b']');
}
