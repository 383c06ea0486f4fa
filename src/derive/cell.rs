//! A published count: its group, its key in the topic, its JSON and back.

use crate::derive::money::Micros;
use crate::model::time::{DAY_MS, HOUR_MS, civil};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// How long a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// An hour.
    Hour,
    /// A day, in UTC.
    Day,
}

impl Window {
    /// Its length. Units: ms.
    #[must_use]
    pub fn length_ms(self) -> i64 {
        match self {
            Window::Hour => HOUR_MS,
            Window::Day => DAY_MS,
        }
    }

    /// When the window that holds an instant began. Units: ms since the epoch.
    #[must_use]
    pub fn start_ms(self, at_ms: i64) -> i64 {
        at_ms.div_euclid(self.length_ms()) * self.length_ms()
    }

    fn as_str(self) -> &'static str {
        match self {
            Window::Hour => "hour",
            Window::Day => "day",
        }
    }
}

/// Stands between the parts of a group's bytes; no byte of UTF-8.
const BETWEEN: u8 = 0xff;

/// A group's parts as bytes, in order: event name, country, device class, campaign source.
pub type GroupBytes = Box<[u8]>;

/// Writes a group's bytes over `out`.
pub fn write_group(parts: [&str; 4], out: &mut Vec<u8>) {
    out.clear();
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            out.push(BETWEEN);
        }
        out.extend_from_slice(part.as_bytes());
    }
}

/// A group as it is published. Absent parts are empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name of the event.
    pub event_name: String,
    /// Country.
    pub country: String,
    /// Class of device.
    pub device_class: String,
    /// Source of the campaign.
    pub campaign_source: String,
}

impl Group {
    /// A group from its bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Group {
        let mut parts = bytes.split(|b| *b == BETWEEN).map(|part| String::from_utf8_lossy(part).into_owned());
        let mut next = || parts.next().unwrap_or_default();
        Group { event_name: next(), country: next(), device_class: next(), campaign_source: next() }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> GroupBytes {
        let mut out = Vec::new();
        write_group([&self.event_name, &self.country, &self.device_class, &self.campaign_source], &mut out);
        out.into()
    }
}

/// The sum of the values in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    /// ISO 4217; `XXX` where the events named none.
    pub currency: String,
    /// Decimal text.
    pub sum: String,
}

/// A published count. Shape: `schemas/aggregate/aggregate.schema.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Whose events; absent in a benchmark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// How many tenants a benchmark is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<u64>,
    /// Hour or day.
    pub window: Window,
    /// When it began, RFC 3339, UTC.
    pub start: String,
    /// The group; null: all groups that were too small to be shown.
    pub group: Option<Group>,
    /// No count is over fewer people.
    pub k: u64,
    /// Events, anonymous ones included.
    pub events: u64,
    /// Distinct subjects.
    pub subjects: u64,
    /// Relative standard error of `subjects`; 0: exact.
    pub subjects_error: f64,
    /// Sums by currency, where at least `k` subjects have a value.
    pub values: Vec<Sum>,
}

/// A text's units of RFC 3339. Units: ms since the epoch, whole seconds.
#[must_use]
pub fn time_text(at_ms: i64) -> String {
    let c = civil(at_ms);
    let (h, m, s) = (c.second_of_day / 3_600, c.second_of_day / 60 % 60, c.second_of_day % 60);
    format!("{:04}-{:02}-{:02}T{h:02}:{m:02}:{s:02}Z", c.year, c.month, c.day)
}

impl Cell {
    /// The record's key: `<hour|day>/<start>/<group…>`, parts of the group escaped.
    #[must_use]
    pub fn key(&self) -> String {
        let (window, start) = (self.window.as_str(), &self.start);
        match &self.group {
            None => format!("{window}/{start}/other"),
            Some(g) => {
                let parts = [&g.event_name, &g.country, &g.device_class, &g.campaign_source].map(|part| escaped(part));
                format!("{window}/{start}/{}", parts.join("/"))
            }
        }
    }

    /// When its window began. Units: ms since the epoch. Errors: `None` for a text that is no time.
    #[must_use]
    pub fn start_ms(&self) -> Option<i64> {
        crate::model::time::parse_rfc3339(&self.start)
    }

    /// Sums by currency.
    pub(super) fn sums(&self) -> BTreeMap<Box<str>, Micros> {
        self.values.iter().filter_map(|v| Some((v.currency.as_str().into(), Micros::of_text(&v.sum)?))).collect()
    }

    /// The record's value.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Texts and numbers only: nothing that JSON could refuse.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a record's value. Errors: `None` for anything else.
    #[must_use]
    pub fn read(json: &[u8]) -> Option<Cell> {
        serde_json::from_slice(json).ok()
    }
}

/// A part with `/` and `%` escaped, so that keys of two groups never meet.
fn escaped(part: &str) -> Cow<'_, str> {
    if part.contains(['/', '%']) { part.replace('%', "%25").replace('/', "%2F").into() } else { part.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = include_str!("../../schemas/aggregate/example.json");

    #[test]
    fn the_example_is_what_is_written() {
        let cell = Cell::read(EXAMPLE.as_bytes()).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&cell.to_json()).unwrap();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(EXAMPLE).unwrap());
        assert_eq!(cell.key(), "day/2026-09-21T00:00:00Z/purchase/DE/mobile/newsletter");
        assert_eq!(cell.start_ms(), Some(1_789_948_800_000));
        assert_eq!(time_text(1_789_948_800_000), cell.start);
        assert!(Cell::read(include_bytes!("../../schemas/aggregate/bad.json")).is_none(), "it names a subject");
    }

    #[test]
    fn the_schema_has_the_fields_of_the_record() {
        let schema: serde_json::Value = serde_json::from_str(include_str!("../../schemas/aggregate/aggregate.schema.json")).unwrap();
        let example: serde_json::Value = serde_json::from_str(EXAMPLE).unwrap();
        for field in example.as_object().unwrap().keys() {
            assert!(schema["properties"].get(field).is_some(), "{field}");
        }
        for field in schema["required"].as_array().unwrap() {
            assert!(example.get(field.as_str().unwrap()).is_some(), "{field}");
        }
    }

    proptest! {
        #[test]
        fn keys_and_bytes_tell_groups_apart(a in proptest::array::uniform4("[a/%]{0,3}"), b in proptest::array::uniform4("[a/%]{0,3}")) {
            let cell = |parts: &[String; 4]| {
                let mut bytes = Vec::new();
                write_group([&parts[0], &parts[1], &parts[2], &parts[3]], &mut bytes);
                let group = Group::of(&bytes);
                assert_eq!(&*group.bytes(), &bytes[..]);
                Cell { group: Some(group), ..Cell::read(EXAMPLE.as_bytes()).unwrap() }
            };
            prop_assert_eq!(cell(&a).key() == cell(&b).key(), a == b);
            prop_assert_ne!(cell(&a).key(), Cell { group: None, ..cell(&a) }.key());
        }
    }
}
