//! Picks a few events of the demo, and finds what became of each: in the raw topic by what it holds, in the others by its place or its time.

use crate::config::compile::RECORD_SCHEMA;
use crate::kafka::peek::Standing;
use crate::model::tenant::TenantId;
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use serde_json::Value;
use std::collections::BTreeSet;

/// What stands before the body of a record in Avro's single-object encoding: marker and fingerprint. Units: bytes.
const AVRO_PREFIX: usize = 10;

/// Which events are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A purchase with consent to everything.
    Purchase,
    /// Feedback whose text holds personal data.
    Feedback,
    /// A page view without consent.
    Refused,
    /// An event whose id is an e-mail address.
    Unsafe,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Purchase, Kind::Feedback, Kind::Refused, Kind::Unsafe];

    /// Whether an event is one to tell of.
    fn fits(self, e: &Value) -> bool {
        let consent = |purpose: &str| e["consent"][purpose].as_bool();
        let text = |pointer: &str| e.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let id_is_email = text("/event_id").contains('@');
        match self {
            _ if self != Kind::Unsafe && (id_is_email || e["event_time"].as_i64().is_none()) => false,
            Kind::Purchase => {
                let whole = ["/user/email", "/user/first_name", "/user/country", "/user_agent", "/url", "/order_id", "/ids/client_id"];
                consent("ads") == Some(true)
                    && consent("analytics") == Some(true)
                    && e["consent"].get("opt_out_of_sale").is_none()
                    && text("/event_name").eq_ignore_ascii_case("purchase")
                    && e["value"].is_number()
                    && text("/ip").contains('.')
                    && !text("/user_agent").contains("compatible")
                    && text("/url").contains("gclid=")
                    && e["user"]["phone"].as_str().is_some_and(|p| p.starts_with('+'))
                    && whole.iter().all(|p| !text(p).is_empty() && text(p).is_ascii())
            }
            Kind::Feedback => {
                consent("analytics") == Some(true) && text("/feedback/text").contains('@') && text("/feedback/text").is_ascii()
            }
            Kind::Refused => {
                consent("analytics") == Some(false)
                    && consent("ads") == Some(false)
                    && text("/event_name") == "page_view"
                    && !text("/user/email").is_empty()
            }
            Kind::Unsafe => id_is_email,
        }
    }
}

/// One event, and what became of it.
pub struct Story {
    /// What kind of event.
    pub kind: Kind,
    /// The raw event.
    pub raw: Value,
    /// The records that came of it: topic and value; Avro decoded.
    pub records: Vec<(String, Value)>,
    place: (i32, i64),
    occurred_at_ms: Option<i64>,
}

#[cfg(test)]
impl Story {
    /// A story for a test of how it is told.
    pub fn told(kind: Kind, raw: Value, records: Vec<(String, Value)>) -> Self {
        Story { kind, raw, records, place: (0, 0), occurred_at_ms: None }
    }
}

/// Looks through the topics.
pub struct Finder {
    stories: Vec<Story>,
    times: BTreeSet<i64>,
    twice: BTreeSet<i64>,
    quarantine: String,
    schema: Option<Schema>,
}

impl Finder {
    /// A finder for a tenant's topics.
    pub fn new(tenant: &TenantId) -> Self {
        Finder {
            stories: Vec::new(),
            times: BTreeSet::new(),
            twice: BTreeSet::new(),
            quarantine: format!("{tenant}.quarantine"),
            schema: Schema::parse_str(RECORD_SCHEMA).ok(),
        }
    }

    /// Takes note of a raw record. All of them come before the first output record.
    pub fn see_raw(&mut self, record: &Standing<'_>) {
        let Ok(raw) = serde_json::from_slice::<Value>(record.value) else { return };
        let occurred_at_ms = raw["event_time"].as_i64();
        if let Some(ms) = occurred_at_ms
            && !self.times.insert(ms)
        {
            self.twice.insert(ms);
        }
        let place = (record.partition, record.offset);
        for kind in Kind::ALL {
            // A few of each, as another event of the same millisecond would take a story away.
            if self.stories.iter().filter(|s| s.kind == kind).count() < 3 && kind.fits(&raw) {
                self.stories.push(Story { kind, raw: raw.clone(), records: Vec::new(), place, occurred_at_ms });
            }
        }
    }

    /// Takes note of an output record.
    pub fn see_record(&mut self, record: &Standing<'_>) {
        if record.topic == self.quarantine {
            let Ok(value) = serde_json::from_slice::<Value>(record.value) else { return };
            let place = (value["partition"].as_i64(), value["offset"].as_i64());
            let found = self.stories.iter_mut().find(|s| (Some(s.place.0.into()), Some(s.place.1)) == place);
            found.into_iter().for_each(|s| s.records.push((record.topic.to_owned(), value.clone())));
        } else if let Some(ms) = record.occurred_at_ms
            && let Some(story) = self.stories.iter_mut().find(|s| s.occurred_at_ms == Some(ms))
            && let Some(value) = decoded(self.schema.as_ref(), record.value)
        {
            story.records.push((record.topic.to_owned(), value));
        }
    }

    /// One story of each kind.
    pub fn stories(mut self) -> Vec<Story> {
        self.stories.retain(|s| s.occurred_at_ms.is_none_or(|ms| !self.twice.contains(&ms)));
        let mut told = BTreeSet::new();
        self.stories.retain(|s| told.insert(s.kind as u8));
        self.stories.sort_by_key(|s| s.kind as u8);
        self.stories.iter_mut().for_each(|s| s.records.sort_by(|a, b| a.0.cmp(&b.0)));
        self.stories
    }
}

/// A record's value: JSON as it is, Avro as JSON.
fn decoded(schema: Option<&Schema>, value: &[u8]) -> Option<Value> {
    if value.first() == Some(&b'{') {
        return serde_json::from_slice(value).ok();
    }
    let mut body = value.get(AVRO_PREFIX..)?;
    let reader = GenericDatumReader::builder(schema?).build().ok()?;
    reader.read_value(&mut body).ok()?.try_into().ok()
}
