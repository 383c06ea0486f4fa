//! Destinations: one file each, and one row each in [`TABLE`]. A record's value is one element of the request that a forwarder sends.

pub mod ga4;
pub mod google;
pub mod google_ads;
pub mod google_ads_enhancement;
pub mod google_data_manager;
pub mod meta;
pub mod money;
pub mod names;
pub mod tiktok;

#[cfg(test)]
mod tests;

use crate::model::consent::Consent;
use crate::model::destination::Destination;
use crate::model::time::civil;
use crate::transform::batch::{Batch, Item, Number, NumberField, Pseudonymised, Released};
use crate::transform::enrich::ip;
use crate::transform::enriched::{ClickId, Enriched};
use crate::transform::forms::Forms;
use crate::transform::json::{self, Object};
use crate::transform::normalise::{Form, trim};
use crate::transform::route::Permit;
use money::Money;
use std::net::IpAddr;

/// What a tenant configured for a destination.
pub enum DestinationConfig {
    /// Meta Conversions API.
    Meta(meta::Config),
    /// Google Ads, shape A.
    GoogleAds(google::Config),
    /// Google Ads, shape B.
    GoogleAdsEnhancement(google::Config),
    /// Google Ads, shape C.
    GoogleDataManager(google::Config),
    /// TikTok Events API.
    Tiktok(tiktok::Config),
    /// GA4 Measurement Protocol.
    Ga4(ga4::Config),
}

impl DestinationConfig {
    /// Whether the tenant's settings name this event: then the name is the tenant's own word, and no person's.
    #[must_use]
    pub fn lists(&self, event: &str) -> bool {
        match self {
            Self::Meta(c) => c.events.lists(event),
            Self::Tiktok(c) => c.events.lists(event),
            Self::Ga4(c) => c.events.lists(event),
            Self::GoogleAds(c) | Self::GoogleAdsEnhancement(c) | Self::GoogleDataManager(c) => c.actions.of(event).is_some(),
        }
    }
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
    /// The person opted out of sale, and the destination's API has no flag to say so.
    OptedOut,
}

impl Skip {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Skip; 4] = [Skip::BelowMinimum, Skip::TooOld, Skip::NotMapped, Skip::OptedOut];

    /// The stable code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Skip::BelowMinimum => "below_minimum",
            Skip::TooOld => "too_old",
            Skip::NotMapped => "not_mapped",
            Skip::OptedOut => "opted_out",
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

/// A record that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<'c> {
    /// When it may be sent.
    pub window: SendWindow,
    /// What the request that carries it is addressed to: pixel, customer, conversion action, stream. Records with the same target fit in
    /// one request.
    pub target: &'c str,
}

/// Writes one destination's record.
pub type Write = for<'c> fn(&Row<'_>, &'c DestinationConfig, Permit, &mut Vec<u8>) -> Result<Written<'c>, Skip>;

/// One destination: what it wants and how its record is written.
pub struct Entry {
    /// Which.
    pub destination: Destination,
    /// Forms of user fields that its record may hold.
    pub forms: fn(&DestinationConfig) -> &'static [Form],
    /// Appends one record's JSON, or says why there is none (what was appended is then dropped).
    pub write: Write,
}

/// Every destination. Shape: by [`Destination`] number.
pub const TABLE: [Entry; Destination::COUNT] = [
    Entry { destination: Destination::Meta, forms: |_| meta::FORMS, write: meta::write },
    Entry { destination: Destination::GoogleAds, forms: |_| google_ads::FORMS, write: google_ads::write },
    Entry { destination: Destination::GoogleAdsEnhancement, forms: google::address_forms, write: google_ads_enhancement::write },
    Entry { destination: Destination::GoogleDataManager, forms: google::name_forms, write: google_data_manager::write },
    Entry { destination: Destination::Tiktok, forms: |_| tiktok::FORMS, write: tiktok::write },
    Entry { destination: Destination::Ga4, forms: |_| ga4::FORMS, write: ga4::write },
];

/// What a destination may see of one row: hashes, and the closed list of fields that may leave clear.
pub struct Row<'r> {
    pub(super) batch: &'r Batch<'r, Pseudonymised>,
    pub(super) forms: &'r Forms,
    pub(super) enriched: &'r Enriched,
    pub(super) row: usize,
    /// Units: ms since the epoch.
    pub now_ms: i64,
}

/// Longest cookie or click id that goes out. Units: bytes.
const ID_BYTES_MAX: usize = 512;

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

    /// The event's id.
    #[must_use]
    pub fn event_id(&self) -> &'r str {
        self.released(Released::EventId)
    }

    /// Where the event happened; `website` where it does not say.
    #[must_use]
    pub fn action_source(&self) -> &'r str {
        let given = self.released(Released::ActionSource);
        if given.is_empty() { "website" } else { given }
    }

    /// Writes the end user's address as a member, if it is a public one, or `any` is asked for. Shape: returns whether it did.
    /// Source: destinations.md 1.10.
    pub fn write_ip(&self, key: &str, any: bool, object: &mut Object<'_>) -> bool {
        use std::io::Write as _;
        let Some(given) = self.batch.address(self.row) else { return false };
        match ip::end_user(given).or(any.then_some(given)) {
            // Dotted decimal has one writing alone.
            Some(IpAddr::V4(_)) if given.is_ipv4() => {
                object.plain(key, self.released(Released::Ip).trim_ascii().as_bytes());
                true
            }
            // Writing to a Vec cannot fail.
            Some(address) => object.string_with(key, |out| write!(out, "{address}").is_ok()),
            None => false,
        }
    }

    /// The end user's user agent; empty when absent. Source: destinations.md 1.10.
    #[must_use]
    pub fn user_agent(&self) -> &'r str {
        trim(self.released(Released::UserAgent))
    }

    /// The order's id; empty when absent, or when it is an email address or an international phone number, which no platform may get as an
    /// order. Source: destinations.md §3 "never put personal data in custom_data", §4 "must not contain personal data".
    #[must_use]
    pub fn order_id(&self) -> &'r str {
        let id = trim(self.released(Released::OrderId));
        let phone = id.strip_prefix('+').is_some_and(|rest| rest.bytes().filter(u8::is_ascii_digit).count() >= 7);
        if id.contains('@') || phone { "" } else { id }
    }

    /// A cookie or click id as it came; empty when absent, or when it cannot be one. An address typed into a link must not travel as one.
    #[must_use]
    pub fn cookie(&self, field: Released) -> &'r str {
        let id = trim(self.released(field));
        let possible = id.len() <= ID_BYTES_MAX && id.bytes().all(|b| b.is_ascii_graphic() && !b"@\"'<>&#\\`".contains(&b));
        if possible { id } else { "" }
    }

    /// A click id: from `ids`, else from the page's URL.
    #[must_use]
    pub fn click_id(&self, id: ClickId) -> &'r str {
        let given = self.cookie(id.released());
        if given.is_empty() { self.url_click_id(id) } else { given }
    }

    /// The click id in the page's URL alone.
    #[must_use]
    pub fn url_click_id(&self, id: ClickId) -> &'r str {
        self.enriched.click_id(self.row, id)
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

    /// Appends the page's URL with its query reduced to UTM and the click ids in `keep`. Shape: false when there is none.
    pub fn push_url(&self, keep: &[&str], out: &mut Vec<u8>) -> bool {
        self.enriched.push_url(self.row, keep, out)
    }

    /// Appends the referrer's URL with its query reduced to UTM. Shape: false when there is none.
    pub fn push_referrer(&self, out: &mut Vec<u8>) -> bool {
        self.enriched.push_referrer(self.row, out)
    }

    /// A number of the event.
    #[must_use]
    pub fn number(&self, field: NumberField) -> Number<'r> {
        self.batch.number(field, self.row)
    }

    /// The event's value with its currency.
    #[must_use]
    pub fn money(&self) -> Option<Money<'r>> {
        Money::new(self.number(NumberField::Value), self.released(Released::Currency))
    }

    /// The items of the event.
    #[must_use]
    pub fn items(&self) -> &'r [Item<'r>] {
        self.batch.items(self.row)
    }

    /// Until when the record may be sent. Units: ms. Errors: that time has passed.
    ///
    /// An event that a fast clock dated ahead waits for its own time: no platform takes events from the future.
    pub fn window(&self, max_age_ms: i64) -> Result<SendWindow, Skip> {
        let head = &self.batch.heads[self.row];
        let not_after_ms = head.occurred_at_ms.saturating_add(max_age_ms);
        if self.now_ms > not_after_ms {
            return Err(Skip::TooOld);
        }
        let ahead = head.occurred_at_ms > head.received_at_ms;
        Ok(SendWindow { not_before_ms: ahead.then_some(head.occurred_at_ms), not_after_ms })
    }
}

/// Texts of an item, by their place in [`Item::texts`].
pub mod item {
    /// `id`.
    pub const ID: usize = 0;
    /// `name`.
    pub const NAME: usize = 1;
    /// `category`.
    pub const CATEGORY: usize = 2;
    /// `brand`.
    pub const BRAND: usize = 3;

    /// A text of an item without white space around it; empty when there is nothing else.
    #[must_use]
    pub fn text<'i>(item: &super::Item<'i>, at: usize) -> &'i str {
        item.texts.get(at).map_or("", |text| super::trim(text))
    }
}

/// Appends a number with its own spelling where it has one.
pub fn write_number(number: Number<'_>, out: &mut Vec<u8>) {
    if number.text.is_empty() { json::number(number.value, out) } else { out.extend_from_slice(number.text.as_bytes()) }
}

/// Writes a number member, left out when there is none.
pub fn number_if(object: &mut Object<'_>, key: &str, number: Number<'_>) {
    if number.is_present() {
        write_number(number, object.key(key));
    }
}

/// Largest number that is written as an integer: beyond it JSON's readers round.
const WHOLE_MAX: f64 = 9_007_199_254_740_991.0;

/// Writes a member that a platform takes as an integer alone; left out when there is none, or it is no whole number.
pub fn whole_if(object: &mut Object<'_>, key: &str, value: f64) {
    if (0.0..=WHOLE_MAX).contains(&value) && value.fract() == 0.0 {
        object.integer(key, value as i64);
    }
}

/// Appends `["hash", …]`.
#[inline]
pub fn write_hashes(hashes: &[[u8; 64]], out: &mut Vec<u8>) {
    if let [hash] = hashes {
        // Nearly always: copies of known lengths need no call.
        out.extend_from_slice(b"[\"");
        out.extend_from_slice(hash);
        return out.extend_from_slice(b"\"]");
    }
    list(hashes, out, |hash, out| {
        out.push(b'"');
        out.extend_from_slice(hash);
        out.push(b'"');
    });
}

/// Appends a JSON array.
pub fn list<T>(elements: impl IntoIterator<Item = T>, out: &mut Vec<u8>, mut write: impl FnMut(T, &mut Vec<u8>)) {
    out.push(b'[');
    let start = out.len();
    for element in elements {
        if out.len() > start {
            out.push(b',');
        }
        write(element, out);
    }
    out.push(b']');
}

/// Appends a date and time in UTC to the second: `2026-09-21`, `between`, `14:13:20`, `end`. Units: ms since the epoch.
pub fn write_time(ms: i64, between: u8, end: &str, out: &mut Vec<u8>) {
    let at = civil(ms);
    let year = at.year.clamp(0, 9_999) as u32;
    let mut two = |n: u32, after: &[u8]| {
        out.extend([b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]);
        out.extend_from_slice(after);
    };
    two(year / 100, b"");
    two(year % 100, b"-");
    two(at.month.into(), b"-");
    two(at.day.into(), &[between]);
    two(at.second_of_day / 3_600, b":");
    two(at.second_of_day / 60 % 60, b":");
    two(at.second_of_day % 60, end.as_bytes());
}
