//! All records of somebody, or of a tenant, decoded, in one stream.
//!
//! Order: topics as the config has them, partitions and offsets ascending, of each key the newest committed version, none that was deleted. A
//! reader that does the same with any Kafka client finds the same records in the same order; it costs a second reading of each partition and no
//! memory but 8 bytes for each record of one partition (see [`Newest`]), where sorting by key would need all of them, or a file of personal data.
//! What is erased or expires while the export is under way may be missing from it; what comes while it is under way is never in it.

use super::output::{Output, cannot_write, write_whole};
use super::tell;
use crate::commands::Failure;
use crate::commands::identifiers::{self, Given};
use crate::commands::progress::Progress;
use crate::commands::proof::pretty;
use crate::commands::rights::look;
use crate::config::Config;
use crate::config::compile::{NETWORK_SCHEMA, RECORD_SCHEMA};
use crate::kafka::client::Fault;
use crate::kafka::topics::Admin;
use crate::kafka::whole::{Isolation, Seen, WholeReader};
use crate::lifecycle::audit::What;
use crate::lifecycle::decoded::{Decoder, Stored};
use crate::lifecycle::manifest::{Asked, Manifest, ORDER, PartitionRead, TopicRead};
use crate::lifecycle::newest::Newest;
use crate::model::directive::Order;
use crate::model::header::Header;
use crate::model::pseudonym::{Epoch, Pseudonym};
use crate::model::tenant::TenantId;
use crate::ops::say::{say, say_aside};
use crate::ops::{clock, keys};
use crate::transform::avro::single_object_prefix;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Keys remembered in one pass over a partition. Units: some 50 bytes each.
const KEYS_MAX: usize = 2_000_000;
/// Records decoded at a time.
const BATCH_RECORDS: usize = 1_024;
/// And bytes: bodies of replays are up to a megabyte each.
const BATCH_BYTES: usize = 8 << 20;
/// Avro schema of sessions.
const SESSION_SCHEMA: &str = include_str!("../../../schemas/session/session.avsc");

/// What the output looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// One table, RFC 4180.
    Csv,
}

impl Format {
    fn as_str(self) -> &'static str {
        match self {
            Format::Jsonl => "jsonl",
            Format::Csv => "csv",
        }
    }
}

/// What is asked for.
pub struct Wish {
    /// Whose records.
    pub tenant: TenantId,
    /// Of whom; nobody: of everybody.
    pub given: Given,
    /// As what.
    pub format: Format,
    /// Where to; none: standard output.
    pub output: Option<PathBuf>,
}

/// Exports. Errors: as an erasure's; a topic that cannot be read; an output or an audit that cannot be written.
pub fn export(config: &Config, wish: &Wish) -> Result<(), Failure> {
    if config.tenant.iter().all(|t| t.id != wish.tenant) {
        return Err(Failure::Usage(format!("the config has no tenant {}", wish.tenant)));
    }
    // Who names nobody needs no key: the records of a tenant whose keys are destroyed are its own still.
    let keys = match identifiers::tenant_keys(config, &wish.tenant) {
        Err(_) if wish.given.0.is_empty() => Vec::new(),
        keys => keys?,
    };
    let people: HashSet<(Epoch, Pseudonym)> = identifiers::pseudonyms(&wish.given, &keys)?.0.into_iter().collect();
    if people.is_empty() && !wish.given.0.is_empty() {
        return Err(Failure::Usage("the list names nobody; without identifiers the whole tenant is exported".into()));
    }
    let mut counts = BTreeMap::new();
    for (kind, _) in &wish.given.0 {
        *counts.entry(kind.as_str().to_owned()).or_default() += 1;
    }
    let request = Asked {
        id: keys::request_id()?,
        tenant: wish.tenant.to_string(),
        scope: if people.is_empty() { "tenant" } else { "subject" }.into(),
        by: identifiers::actor(&keys),
        identifiers: counts,
    };
    let started_at = rfc3339(clock::now_ms());
    let places = places(config, &wish.tenant)?;
    let output = Output::begin(wish.output.as_deref())?;
    // Told before the first record leaves: a process that is killed has left its trace.
    let told = |records: BTreeMap<String, u64>, sha256: String| What::Export {
        scope: request.scope.clone(),
        format: wish.format.as_str().into(),
        pseudonyms: people.len(),
        finished: !sha256.is_empty(),
        records,
        sha256,
    };
    tell(config, &request.by, &request.tenant, &request.id, &told(BTreeMap::new(), String::new()))?;
    let mut reading = Reading::begin(config, &people, &places, Sink::new(wish.format, output)?)?;
    let topics = places.iter().map(|place| reading.topic(place)).collect::<Result<Vec<_>, _>>()?;
    let mut output = reading.sink.into_output()?;
    let (bytes, sha256) = output.flushed().map_err(|e| Failure::Failed(format!("the output cannot be written: {e}")))?;
    let by_topic = topics.iter().map(|t| (t.topic.clone(), t.records)).collect();
    tell(config, &request.by, &request.tenant, &request.id, &told(by_topic, sha256.clone()))?;
    output.finish(wish.output.as_deref())?;
    let manifest = Manifest {
        version: 1,
        request,
        format: wish.format.as_str().into(),
        file: wish.output.as_deref().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        bytes,
        sha256,
        started_at,
        finished_at: rfc3339(clock::now_ms()),
        records: topics.iter().map(|t| t.records).sum(),
        order: ORDER.into(),
        topics,
    };
    drop(reading.progress);
    hand_over(&manifest, wish.output.as_deref())
}

/// The manifest beside the file, and what people want to know; without a file, the manifest on standard error.
fn hand_over(manifest: &Manifest, path: Option<&Path>) -> Result<(), Failure> {
    let value = serde_json::to_value(manifest).unwrap_or_default();
    let undecoded: u64 = manifest.topics.iter().map(|t| t.undecoded).sum();
    if undecoded > 0 {
        say_aside!("{undecoded} records are of another schema: they are in the output as base64");
    }
    let Some(path) = path else {
        say_aside!("{value}");
        return Ok(());
    };
    let mut name = path.as_os_str().to_owned();
    name.push(".manifest.json");
    write_whole(Path::new(&name), &(pretty(&value)? + "\n"))?;
    say!("{} records in {}, manifest in {}", manifest.records, path.display(), Path::new(&name).display());
    say!("request {}", manifest.request.id);
    Ok(())
}

/// A time as the manifest has it. Units: ms since the epoch.
pub(super) fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |t| t.to_string())
}

/// A topic and the ranges of its partitions, fixed at the start.
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) kind: String,
    pub(super) ranges: Vec<(i32, i64, i64)>,
}

/// Every governed topic of a tenant with its committed ranges of now. Errors: a topic is not there or may not be read: nothing may be missing.
pub(super) fn places(config: &Config, tenant: &TenantId) -> Result<Vec<Place>, Failure> {
    let governed = config.governed().map_err(|faults| Failure::Usage(faults.join("; ")))?;
    let there = Admin::connect(&config.kafka)?.partitions()?;
    let reader = WholeReader::connect(&config.kafka, Isolation::Committed)?;
    let mut places = Vec::new();
    for g in governed.into_iter().filter(|g| g.tenant == tenant.as_str()) {
        let partitions = there.get(&g.topic).copied().unwrap_or(0);
        if partitions == 0 && is_terminated(config, tenant)? {
            continue;
        }
        if partitions == 0 {
            return Err(Failure::Failed(format!("topic {} is not there, or this user may not see it", g.topic)));
        }
        let mut ranges = Vec::new();
        for partition in 0..partitions as i32 {
            let (low, high) = reader.bounds(&g.topic, partition)?;
            ranges.push((partition, low, high));
        }
        places.push(Place { topic: g.topic, kind: g.short, ranges });
    }
    Ok(places)
}

/// Whether the tenant is being ended: its topics go one after the other, and what a hold keeps can still be handed out.
fn is_terminated(config: &Config, tenant: &TenantId) -> Result<bool, Failure> {
    let in_force = look(config)?;
    let mut all = in_force.all();
    Ok(all.any(|s| matches!(s.directive.order, Order::Terminate { .. }) && s.directive.tenant == tenant.as_str()))
}

/// The decoder of this version's schemas. Errors: a bug.
pub(super) fn decoder() -> Result<Decoder, Failure> {
    let prefix = |schema| single_object_prefix(schema).map_err(|e| Failure::Failed(e.to_string()));
    let record = (RECORD_SCHEMA, prefix(RECORD_SCHEMA)?);
    let network = (NETWORK_SCHEMA, prefix(NETWORK_SCHEMA)?);
    let session = (SESSION_SCHEMA, prefix(SESSION_SCHEMA)?);
    Decoder::new(record, network, session).map_err(|e| Failure::Failed(e.to_string()))
}

/// Takes records in the output's form.
enum Sink {
    Jsonl(Output),
    Csv(Box<csv::Writer<Output>>),
}

impl Sink {
    fn new(format: Format, output: Output) -> Result<Self, Failure> {
        Ok(match format {
            Format::Jsonl => Sink::Jsonl(output),
            Format::Csv => Sink::Csv(Box::new(csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(output))),
        })
    }

    fn into_output(self) -> Result<Output, Failure> {
        match self {
            Sink::Jsonl(output) => Ok(output),
            Sink::Csv(writer) => writer.into_inner().map_err(|e| cannot_write(Path::new("the output"), e.error())),
        }
    }
}

/// A record that waits to be decoded. No `Debug`: it may hold clear values.
struct Owned {
    partition: i32,
    offset: i64,
    stored_at_ms: i64,
    key: Vec<u8>,
    header: Option<Vec<u8>>,
    value: Vec<u8>,
}

impl Owned {
    fn lend<'r>(&'r self, place: &'r Place) -> Stored<'r> {
        Stored {
            topic: &place.topic,
            kind: &place.kind,
            partition: self.partition,
            offset: self.offset,
            stored_at_ms: self.stored_at_ms,
            key: &self.key,
            header: self.header.as_deref(),
            value: &self.value,
        }
    }
}

/// An export under way.
struct Reading<'e> {
    reader: WholeReader,
    decoder: Decoder,
    people: &'e HashSet<(Epoch, Pseudonym)>,
    sink: Sink,
    progress: Progress,
    read: u64,
    undecoded: u64,
}

impl<'e> Reading<'e> {
    fn begin(config: &Config, people: &'e HashSet<(Epoch, Pseudonym)>, places: &[Place], mut sink: Sink) -> Result<Self, Failure> {
        let all: i64 = places.iter().flat_map(|p| &p.ranges).map(|(_, from, to)| to - from).sum();
        let decoder = decoder()?;
        if let Sink::Csv(writer) = &mut sink {
            writer.write_record(decoder.columns()).map_err(|_| Failure::Failed("the output cannot be written".into()))?;
        }
        Ok(Reading {
            reader: WholeReader::connect(&config.kafka, Isolation::Committed)?,
            decoder,
            people,
            sink,
            progress: Progress::begin(2 * all.unsigned_abs(), "records"),
            read: 0,
            undecoded: 0,
        })
    }

    fn topic(&mut self, place: &Place) -> Result<TopicRead, Failure> {
        self.progress.say(&place.kind);
        self.undecoded = 0;
        let mut partitions = Vec::new();
        for (partition, from, to) in &place.ranges {
            let newest = self.newest(place, (*partition, *from, *to))?;
            let records = self.write(place, *partition, &newest)?;
            self.read += (to - from).unsigned_abs();
            self.progress.at(self.read);
            partitions.push(PartitionRead { partition: *partition, from: *from, to: *to, records });
        }
        Ok(TopicRead {
            topic: place.topic.clone(),
            kind: place.kind.clone(),
            records: partitions.iter().map(|p| p.records).sum(),
            undecoded: self.undecoded,
            partitions,
        })
    }

    /// The offsets of what is to be written of a partition.
    fn newest(&mut self, place: &Place, range: (i32, i64, i64)) -> Result<Vec<i64>, Failure> {
        let mut newest = Newest::new(KEYS_MAX);
        let span = (range.2 - range.1).unsigned_abs();
        loop {
            let (people, progress) = (self.people, &mut self.progress);
            self.reader.read(&place.topic, &[range], |seen| {
                progress.step();
                newest.take(seen.key, seen.offset, seen.value.is_some() && concerns(seen, people));
                Ok(())
            })?;
            self.read += span;
            self.progress.at(self.read);
            if !newest.end_pass() {
                return Ok(newest.offsets());
            }
            self.progress.add(span);
        }
    }

    /// Writes the records at these offsets, as far as they are still there. Returns how many.
    fn write(&mut self, place: &Place, partition: i32, offsets: &[i64]) -> Result<u64, Failure> {
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return Ok(0) };
        let (mut at, mut bytes, mut written) = (0, 0, 0);
        let mut batch: Vec<Owned> = Vec::new();
        let Reading { reader, decoder, sink, progress, undecoded, .. } = self;
        reader.read(&place.topic, &[(partition, *first, last + 1)], |seen| {
            progress.step();
            while offsets.get(at).is_some_and(|o| *o < seen.offset) {
                at += 1;
            }
            if offsets.get(at) != Some(&seen.offset) {
                return Ok(());
            }
            let Some(value) = seen.value else { return Ok(()) };
            bytes += value.len();
            batch.push(Owned {
                partition,
                offset: seen.offset,
                stored_at_ms: seen.stored_at_ms,
                key: seen.key.to_vec(),
                header: seen.header.map(<[u8]>::to_vec),
                value: value.to_vec(),
            });
            if batch.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
                written += batch.len() as u64;
                *undecoded += put(sink, decoder, place, &batch)?;
                batch.clear();
                bytes = 0;
            }
            Ok(())
        })?;
        written += batch.len() as u64;
        *undecoded += put(sink, decoder, place, &batch)?;
        Ok(written)
    }
}

/// Decodes and writes records in their order. Returns how many could not be decoded.
fn put(sink: &mut Sink, decoder: &Decoder, place: &Place, batch: &[Owned]) -> Result<u64, Fault> {
    let failed = |e: &dyn std::fmt::Display| Fault::Stop(format!("the output cannot be written: {e}"));
    let mut undecoded = 0;
    match sink {
        Sink::Jsonl(output) => {
            let lines: Vec<(Vec<u8>, bool)> = batch
                .par_iter()
                .map(|r| {
                    let (object, is_whole) = decoder.object(&r.lend(place));
                    let mut line = serde_json::to_vec(&object).unwrap_or_default();
                    line.push(b'\n');
                    (line, is_whole)
                })
                .collect();
            for (line, is_whole) in lines {
                output.write_all(&line).map_err(|e| failed(&e))?;
                undecoded += u64::from(!is_whole);
            }
        }
        Sink::Csv(writer) => {
            let rows: Vec<(Vec<String>, bool)> = batch.par_iter().map(|r| decoder.row(&r.lend(place))).collect();
            for (row, is_whole) in rows {
                writer.write_record(&row).map_err(|e| match e.kind() {
                    csv::ErrorKind::Io(e) => failed(e),
                    _ => failed(&"a row that is no row"),
                })?;
                undecoded += u64::from(!is_whole);
            }
        }
    }
    Ok(undecoded)
}

/// Whether a record carries one of these pseudonyms; nobody named: every record does.
pub(super) fn concerns(seen: &Seen<'_>, people: &HashSet<(Epoch, Pseudonym)>) -> bool {
    people.is_empty() || seen.header.and_then(Header::read).is_some_and(|h| h.identifiers().any(|p| people.contains(&(h.epoch, p))))
}
