//! `lethe export --breach-scope`: how much of whom an incident may have reached, for the notification. Counts and names of fields, no value.
//!
//! Two numbers for each topic: records stored while the incident lasted, and records that had been stored before and stood there to be read. Both
//! count a key once, and what was deleted since only as far as the brokers still have it; the document says so.

use super::output::write_whole;
use super::records::{Place, decoder, places, rfc3339};
use super::tell;
use crate::commands::Failure;
use crate::commands::identifiers;
use crate::commands::progress::Progress;
use crate::commands::proof::pretty;
use crate::commands::rights::instant;
use crate::config::{Config, TenantConfig};
use crate::derive::subjects::{Subject, Subjects, hash};
use crate::kafka::client::Fault;
use crate::kafka::peek::Peek;
use crate::kafka::topics::Admin;
use crate::kafka::whole::{Isolation, Seen, WholeReader};
use crate::lifecycle::audit::What;
use crate::lifecycle::decoded::{Decoder, fields_of};
use crate::lifecycle::newest::Newest;
use crate::lifecycle::signed::sha256_hex;
use crate::model::pseudonym::Epoch;
use crate::model::tenant::TenantId;
use crate::ops::say::{say, show};
use crate::ops::{clock, keys};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// Keys remembered in one pass over a partition. Units: some 50 bytes each.
const KEYS_MAX: usize = 2_000_000;
/// Subjects counted exactly. Units: some 10 bytes each; above, a sketch.
const EXACT_MAX: usize = 1_000_000;
/// What the document says of itself.
const READING: &str = "records: stored from `from` to before `to`, each key once; standing: stored before `from` and still there. What expired or was \
    erased since is counted only while the brokers still have it. A person counts once for each key epoch; anonymous records are nobody's.";

#[derive(Serialize)]
struct Scope {
    version: u32,
    request: String,
    by: String,
    from: String,
    to: String,
    looked_at: String,
    reading: &'static str,
    tenants: Vec<TenantScope>,
}

#[derive(Serialize)]
struct TenantScope {
    tenant: String,
    records: u64,
    subjects: Count,
    standing_records: u64,
    standing_subjects: Count,
    /// Raw events, clear, as producers wrote them.
    raw: Vec<RawScope>,
    categories: Vec<TopicScope>,
    /// Where records of the incident's time were ready to be sent, or sent.
    destinations: Vec<TopicScope>,
}

#[derive(Serialize)]
struct RawScope {
    topic: String,
    /// As offsets tell.
    records: u64,
}

#[derive(Serialize)]
struct TopicScope {
    /// The category, or the destination.
    name: String,
    topic: String,
    records: u64,
    subjects: Count,
    standing_records: u64,
    standing_subjects: Count,
    /// In how many of the records each field held something.
    fields: BTreeMap<String, u64>,
    undecoded: u64,
}

/// A number of people.
#[derive(Clone, Copy, Serialize)]
struct Count {
    count: u64,
    /// Relative standard error; 0: exact.
    error: f64,
}

/// People, exactly while they are a million at most. No `Debug`: the hashes stand for people.
#[derive(Default)]
struct People {
    exact: HashSet<u64>,
    sketch: Option<Subjects>,
}

impl People {
    fn add(&mut self, key: &[u8]) {
        let subject = key.split(|b| *b == b'/').next().unwrap_or_default();
        // An anonymous record's subject is the event itself.
        if subject.is_empty() || subject[0] == b'-' {
            return;
        }
        let hash = hash(subject);
        match &mut self.sketch {
            Some(sketch) => sketch.add(Subject::new(Epoch(0), hash), 0),
            None => {
                self.exact.insert(hash);
                if self.exact.len() > EXACT_MAX {
                    let mut sketch = Subjects::new();
                    self.exact.drain().for_each(|hash| sketch.add(Subject::new(Epoch(0), hash), 0));
                    self.sketch = Some(sketch);
                }
            }
        }
    }

    fn count(&self) -> Count {
        match &self.sketch {
            None => Count { count: self.exact.len() as u64, error: 0.0 },
            Some(sketch) => {
                let (count, error) = sketch.count();
                Count { count, error }
            }
        }
    }
}

/// Works out the scope, of one tenant or of all, and prints it as JSON or writes it. Errors: times that cannot be read; the brokers; the audit.
pub fn breach_scope(config: &Config, tenant: Option<&TenantId>, from: &str, to: &str, output: Option<&Path>) -> Result<(), Failure> {
    let (from_ms, to_ms) = (instant("--from", from)?, instant("--to", to)?);
    if from_ms >= to_ms {
        return Err(Failure::Usage("--from must be before --to".into()));
    }
    if let Some(unknown) = tenant.filter(|t| config.tenant.iter().all(|c| c.id != **t)) {
        return Err(Failure::Usage(format!("the config has no tenant {unknown}")));
    }
    let by =
        tenant.and_then(|t| identifiers::tenant_keys(config, t).ok()).map_or_else(|| identifiers::actor(&[]), |k| identifiers::actor(&k));
    let mut looking = Looking {
        reader: WholeReader::connect(&config.kafka, Isolation::Committed)?,
        peek: Peek::connect(&config.kafka)?,
        partitions: Admin::connect(&config.kafka)?.partitions()?,
        decoder: decoder()?,
        progress: Progress::begin(0, "records"),
        from_ms,
        to_ms,
    };
    let asked = config.tenant.iter().filter(|t| tenant.is_none_or(|only| *only == t.id));
    let tenants = asked.map(|t| looking.tenant(config, t)).collect::<Result<Vec<_>, Failure>>()?;
    drop(looking.progress);
    let scope = Scope {
        version: 1,
        request: keys::request_id()?,
        by,
        from: rfc3339(from_ms),
        to: rfc3339(to_ms),
        looked_at: rfc3339(clock::now_ms()),
        reading: READING,
        tenants,
    };
    let text = pretty(&serde_json::to_value(&scope).unwrap_or_default())? + "\n";
    let topics = scope.tenants.iter().flat_map(|t| t.categories.iter().chain(&t.destinations));
    let what = What::Export {
        scope: "breach".into(),
        format: "json".into(),
        pseudonyms: 0,
        finished: true,
        records: topics.map(|t| (t.topic.clone(), t.records)).collect(),
        sha256: sha256_hex(text.as_bytes()),
    };
    tell(config, &scope.by, tenant.map_or("", TenantId::as_str), &scope.request, &what)?;
    match output {
        None => show!("{text}"),
        Some(path) => {
            write_whole(path, &text)?;
            say!("request {}", scope.request);
        }
    }
    Ok(())
}

struct Looking {
    reader: WholeReader,
    peek: Peek,
    partitions: HashMap<String, u32>,
    decoder: Decoder,
    progress: Progress,
    from_ms: i64,
    to_ms: i64,
}

impl Looking {
    fn tenant(&mut self, config: &Config, t: &TenantConfig) -> Result<TenantScope, Failure> {
        let (mut during, mut before) = (People::default(), People::default());
        let (mut categories, mut destinations) = (Vec::new(), Vec::new());
        for place in places(config, &t.id)? {
            let mut found = self.topic(&place, &mut during, &mut before)?;
            match place.kind.strip_prefix("dest.") {
                Some(destination) => {
                    found.name = destination.to_owned();
                    destinations.push(found);
                }
                None => categories.push(found),
            }
        }
        let sum = |of: fn(&TopicScope) -> u64| categories.iter().chain(&destinations).map(of).sum();
        Ok(TenantScope {
            tenant: t.id.to_string(),
            records: sum(|t| t.records),
            subjects: during.count(),
            standing_records: sum(|t| t.standing_records),
            standing_subjects: before.count(),
            raw: t.sources().into_iter().map(|topic| self.raw(topic)).collect::<Result<_, Failure>>()?,
            categories,
            destinations,
        })
    }

    /// Raw records are counted by their offsets: who looks at incidents need not be allowed to read them.
    fn raw(&self, topic: String) -> Result<RawScope, Failure> {
        let partitions = self.partitions.get(&topic).copied().unwrap_or(0);
        if partitions == 0 {
            return Ok(RawScope { topic, records: 0 });
        }
        let ends = self.peek.ends(std::iter::once((topic.as_str(), partitions)))?;
        let (from, to) = (self.peek.since(&topic, partitions, self.from_ms)?, self.peek.since(&topic, partitions, self.to_ms)?);
        let range = |place: &(String, i32)| {
            let end = ends.get(place).copied().unwrap_or(0);
            to.get(place).copied().unwrap_or(end) - from.get(place).copied().unwrap_or(end)
        };
        let records = ends.keys().map(|place| range(place).max(0).unsigned_abs()).sum();
        Ok(RawScope { topic, records })
    }

    fn topic(&mut self, place: &Place, during: &mut People, before: &mut People) -> Result<TopicScope, Failure> {
        self.progress.say(&place.kind);
        let (mut ours, mut ours_before) = (People::default(), People::default());
        let (mut records, mut standing, mut undecoded) = (0, 0, 0);
        let mut fields: BTreeMap<String, u64> = BTreeMap::new();
        for (partition, low, high) in &place.ranges {
            let offsets = self.newest(place, (*partition, *low, *high))?;
            let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { continue };
            let Looking { reader, decoder, progress, from_ms, .. } = self;
            reader.read(&place.topic, &[(*partition, *first, last + 1)], |seen| {
                progress.step();
                let Some(value) = seen.value.filter(|_| offsets.binary_search(&seen.offset).is_ok()) else { return Ok(()) };
                if seen.stored_at_ms < *from_ms {
                    standing += 1;
                    [&mut *before, &mut ours_before].into_iter().for_each(|people| people.add(seen.key));
                    return Ok(());
                }
                records += 1;
                [&mut *during, &mut ours].into_iter().for_each(|people| people.add(seen.key));
                match decoder.value(&place.kind, value) {
                    Some(value) => fields_of(&value, "", &mut |name| *fields.entry(name.to_owned()).or_default() += 1),
                    None => undecoded += 1,
                }
                Ok(())
            })?;
        }
        Ok(TopicScope {
            name: place.kind.clone(),
            topic: place.topic.clone(),
            records,
            subjects: ours.count(),
            standing_records: standing,
            standing_subjects: ours_before.count(),
            fields,
            undecoded,
        })
    }

    /// The newest record of each key that was stored before the incident's end.
    fn newest(&mut self, place: &Place, range: (i32, i64, i64)) -> Result<Vec<i64>, Failure> {
        let mut newest = Newest::new(KEYS_MAX);
        loop {
            self.progress.add((range.2 - range.1).unsigned_abs());
            let (progress, to_ms) = (&mut self.progress, self.to_ms);
            self.reader.read(&place.topic, &[range], |seen: &Seen<'_>| -> Result<(), Fault> {
                progress.step();
                // A tombstone does not undo that the record could be read.
                if seen.value.is_some() && seen.stored_at_ms < to_ms {
                    newest.take(seen.key, seen.offset, true);
                }
                Ok(())
            })?;
            if !newest.end_pass() {
                return Ok(newest.offsets());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_counted_once_and_anonymous_records_are_nobodys() {
        let mut people = People::default();
        for key in ["1.a/1.x", "1.a/1.y", "1.b/1.x", "-1.c/1.c", "~roll", ""] {
            people.add(key.as_bytes());
        }
        assert_eq!((people.count().count, people.count().error), (3, 0.0));
        let mut many = People { exact: (0..EXACT_MAX as u64).collect(), sketch: None };
        many.add(b"1.z/1.x");
        let count = many.count();
        assert!(count.error > 0.0 && (count.count as f64 / EXACT_MAX as f64 - 1.0).abs() < 5.0 * count.error, "{}", count.count);
    }
}
