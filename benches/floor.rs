//! The floor of W1: reads the same input and writes records of the same number, sizes, headers and topics, exactly once, with Lethe's own client and
//! nothing between. What is written is made of the bytes that were read. It runs until it is stopped: `peers/floor.sh` is its place.
//!
//! Environment: `BOOTSTRAP`, `GROUP`, as the side-by-side benchmark gives them.
#![allow(clippy::unwrap_used, reason = "a bench may stop where it stands")]

use crossbeam_channel::{Sender, bounded};
use lethe::config::kafka::KafkaConfig;
use lethe::kafka::consumer::{Generation, Place, RawConsumer};
use lethe::kafka::fetcher::{Fetcher, Most};
use lethe::kafka::transaction::{NextOffset, TransactionalProducer};
use lethe::model::record::{HeaderName, OutputChunk, OutputRecord, RawRecords, TopicIndex};
use lethe::model::span::Span;
use lethe::model::{header, headers};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What Lethe writes of W1's events, its few rejected ones among them. Shape: topic, records for a thousand events, bytes of a value, headers besides
/// `lethe`.
const OUTPUTS: [(&str, u64, usize, usize); 3] = [("w1.events", 1000, 375, 0), ("w1.meta", 699, 1148, 6), ("w1.google_ads", 287, 512, 7)];
const HEADERS: [HeaderName; 7] = [
    HeaderName::Destination,
    HeaderName::Tenant,
    HeaderName::Consent,
    HeaderName::Rules,
    HeaderName::Target,
    HeaderName::NotAfter,
    HeaderName::NotBefore,
];
/// Units: bytes of a key, of the header `lethe`, of another header's value.
const KEY: usize = 49;
const LETHE: usize = 19;
const HEADER: usize = 8;
const PARTITIONS: u32 = 4;
const PIECE_ROWS: usize = 1024;
const BATCH_ROWS: usize = 60_000;
const BATCH_WAIT: Duration = Duration::from_millis(700);

struct Piece {
    chunk: OutputChunk,
    rows: usize,
    next: BTreeMap<Place, i64>,
}

fn main() {
    let env = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: this bench needs a broker with W1's topics"));
    let config = KafkaConfig { bootstrap_servers: env("BOOTSTRAP"), ..KafkaConfig::default() };
    let group = env("GROUP");
    let (topics, generation) = (["w1.raw".to_owned()], Arc::new(Generation::default()));
    let consumer = Arc::new(RawConsumer::join(&config, &group, &topics, Arc::clone(&generation)).unwrap());
    let fetcher = Fetcher::start(&config, &topics).unwrap();
    let mut producer = TransactionalProducer::connect(&config, &group).unwrap();
    let (to, from) = bounded(16);
    let reader = Arc::clone(&consumer);
    std::thread::spawn(move || read(&reader, &generation, fetcher, &to));
    loop {
        let (transaction, began) = (producer.begin().unwrap(), Instant::now());
        let (mut rows, mut next) = (0, BTreeMap::new());
        while rows < BATCH_ROWS && (rows == 0 || began.elapsed() < BATCH_WAIT) {
            let Ok(piece) = from.recv_timeout(Duration::from_millis(50)) else { continue };
            let Piece { chunk, rows: more, next: reached } = piece;
            transaction.produce(&chunk, |_| true, |record| (OUTPUTS[usize::from(record.topic.0)].0, PARTITIONS)).unwrap();
            rows += more;
            next.extend(reached);
        }
        let offsets = next.into_iter().map(|((_, partition), offset)| NextOffset {
            topic: "w1.raw".into(),
            partition,
            offset,
            metadata: String::new(),
        });
        let member = consumer.membership().unwrap();
        transaction.commit(&offsets.collect::<Vec<_>>(), &member).map_err(|(fault, _)| fault).unwrap();
    }
}

fn read(consumer: &RawConsumer, generation: &Generation, mut fetcher: Fetcher, to: &Sender<Piece>) {
    let (mut records, mut next, mut first, mut seen) = (RawRecords::default(), BTreeMap::new(), Instant::now(), 0);
    let most = Most { rows: PIECE_ROWS, bytes: usize::MAX >> 1 };
    loop {
        consumer.attend().unwrap();
        if std::mem::replace(&mut seen, generation.current()) != generation.current() {
            fetcher.assign(&consumer.assignment().unwrap().into_iter().map(|place| (place, None)).collect());
        }
        let before = records.rows.len();
        fetcher.read(Duration::from_millis(50), Most { rows: PIECE_ROWS - before, ..most }, || 0, &mut records, &mut next).unwrap();
        if before == 0 {
            first = Instant::now();
        }
        if records.rows.len() >= PIECE_ROWS || (!records.rows.is_empty() && first.elapsed() > Duration::from_millis(100)) {
            let rows = records.rows.len();
            let chunk = lend(std::mem::take(&mut records));
            if to.send(Piece { chunk, rows, next: std::mem::take(&mut next) }).is_err() {
                return;
            }
            records.bytes.reserve(PIECE_ROWS * 800);
            records.rows.reserve(PIECE_ROWS);
        }
    }
}

/// Records over the bytes that were read: nothing is copied here.
fn lend(records: RawRecords) -> OutputChunk {
    let mut chunk = OutputChunk { arena: records.bytes, ..OutputChunk::default() };
    let end = chunk.arena.len();
    let headers = OUTPUTS.map(|(.., count)| {
        let start = chunk.arena.len();
        headers::begin(1 + count, &mut chunk.arena);
        headers::put(header::NAME, &[0; LETHE], &mut chunk.arena);
        HEADERS[..count].iter().for_each(|name| headers::put(name.as_str(), &[0; HEADER], &mut chunk.arena));
        Span::since(start, &chunk.arena)
    });
    for row in &records.rows {
        let from = row.payload.start as usize;
        let span = |at: usize, length: usize| {
            let at = at.min(end.saturating_sub(length));
            Span { start: at as u32, len: length.min(end) as u32 }
        };
        // Seven of ten may go to Meta …: by the offset, as good as any other way.
        let turn = row.offset as u64 * 7919 % 1000;
        for (topic, (_, _, value, _)) in OUTPUTS.iter().enumerate().filter(|(_, (_, share, ..))| turn < *share) {
            chunk.records.push(OutputRecord {
                topic: TopicIndex(topic as u16),
                partition_hash: Some(turn as u32),
                key: span(from, KEY),
                value: span(from, *value),
                headers: headers[topic],
            });
        }
    }
    chunk
}
