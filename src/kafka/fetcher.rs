//! Reads raw topics for `run`: what brokers hand out, straight into a batch.
//!
//! librdkafka makes a message of each record, with memory of its own, and hands them over one by one; here a record is unpacked and copied once. Its
//! consumer is still the member of the group: see [`RawConsumer::join`](super::consumer::RawConsumer::join).

use super::client::Fault;
use super::consumer::{Place, ROLL_KEY};
use super::wire::{Fetching, Records};
use crate::config::kafka::KafkaConfig;
use crate::model::record::RawRecords;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How much to read at once.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Units: rows.
    pub rows: usize,
    /// The row that reaches so many is the last. Units: bytes.
    pub bytes: usize,
}

/// Reads the places it is told to.
pub struct Fetcher {
    shared: Arc<Fetching>,
    /// The place whose records are being read.
    reading: Option<Place>,
    records: Records,
    /// Where each place goes on, if that is known.
    positions: BTreeMap<Place, i64>,
}

impl Fetcher {
    /// Begins without any place. Shape: `sources` by their index in a place. Errors: no thread.
    pub fn start(config: &KafkaConfig, sources: &[String]) -> Result<Self, Fault> {
        let shared = Fetching::start(config, sources)?;
        Ok(Fetcher { shared, reading: None, records: Records::default(), positions: BTreeMap::new() })
    }

    /// Reads these places and no others, each from its offset on; `None` for the first there is. None of them stands.
    pub fn assign(&mut self, offsets: &BTreeMap<Place, Option<i64>>) {
        self.reading = None;
        self.positions = offsets.iter().filter_map(|(place, offset)| Some((*place, (*offset)?))).collect();
        self.shared.assign(offsets);
    }

    /// Stops reading places, or goes on with them from where they stopped.
    pub fn stand(&mut self, places: &[Place], stands: bool) {
        for place in places {
            self.reading = self.reading.filter(|reading| reading != place);
            self.shared.stand(*place, self.positions.get(place).copied(), stands);
        }
    }

    /// Where each place goes on, past markers of transactions too. Shape: places of which nothing is known yet are left out.
    #[must_use]
    pub fn positions(&self) -> &BTreeMap<Place, i64> {
        &self.positions
    }

    /// Places that cannot be read, as [`Fetcher::read`] told, and that gave nothing since.
    #[must_use]
    pub fn stuck(&self) -> Vec<Place> {
        self.shared.stuck()
    }

    /// Adds what came, up to `most`; waits for at most `wait` if nothing did. `next` learns where each place goes on. Units: `now_ms` stands in for a
    /// receipt that the broker does not tell.
    ///
    /// Errors: `Topic`, one cannot be read, the others can; `Stop`, nothing can. What was added counts all the same.
    pub fn read(
        &mut self,
        wait: Duration,
        most: Most,
        now_ms: impl Fn() -> i64,
        records: &mut RawRecords,
        next: &mut BTreeMap<Place, i64>,
    ) -> Result<(), Fault> {
        let (mut wait, rows) = (wait, records.rows.len() + most.rows);
        let bytes = records.bytes.len() + most.bytes;
        loop {
            let place = match self.reading {
                Some(place) => place,
                None => {
                    let Some(part) = self.shared.take(wait)? else { return Ok(()) };
                    self.records.begin(part.batches, part.aborted, part.from);
                    *self.reading.insert(part.place)
                }
            };
            wait = Duration::ZERO;
            let done = loop {
                if records.rows.len() >= rows || records.bytes.len() >= bytes {
                    break false;
                }
                let from = self.records.position();
                match self.records.next() {
                    Ok(Some(record)) if record.offset < from => {}
                    Ok(Some(record)) if record.value.is_none() && record.key == Some(ROLL_KEY) => {}
                    Ok(Some(record)) => {
                        let received_at_ms = if record.at_ms >= 0 { record.at_ms } else { now_ms() };
                        records.push(place.0, place.1, record.offset, received_at_ms, record.value.unwrap_or_default());
                    }
                    Ok(None) => break true,
                    Err(why) => {
                        self.reading = None;
                        let at = self.reached(place, next);
                        return Err(self.shared.spoiled(place, at, why));
                    }
                }
            };
            self.reached(place, next);
            if !done {
                return Ok(());
            }
            self.reading = None;
        }
    }

    fn reached(&mut self, place: Place, next: &mut BTreeMap<Place, i64>) -> i64 {
        let at = self.records.position();
        self.positions.insert(place, at);
        next.insert(place, at);
        at
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// Before librdkafka's mock cluster, which refuses what it is told to refuse. What it cannot show, a real broker does: see the journeys.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::client;
    use crate::kafka::mock::tests::of_three;
    use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
    use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Refusal};
    use std::time::Instant;

    const PARTITIONS: i32 = 3;
    const ALL: Most = Most { rows: usize::MAX >> 1, bytes: usize::MAX >> 1 };

    fn fetcher(config: &KafkaConfig) -> Fetcher {
        Fetcher::start(config, &["t".to_owned()]).unwrap()
    }

    /// Writes numbers over all partitions.
    fn write(config: &KafkaConfig, numbers: std::ops::Range<u32>) {
        let producer: ThreadedProducer<DefaultProducerContext> = client::producer(config).unwrap().create().unwrap();
        for number in numbers {
            let text = number.to_string();
            producer.send(BaseRecord::<str, str>::to("t").partition(number as i32 % PARTITIONS).payload(&text)).unwrap();
        }
        producer.flush(Duration::from_secs(20)).unwrap();
    }

    fn from(offset: Option<i64>) -> BTreeMap<Place, Option<i64>> {
        (0..PARTITIONS).map(|partition| ((0, partition), offset)).collect()
    }

    struct Reader {
        fetcher: Fetcher,
        records: RawRecords,
        next: BTreeMap<Place, i64>,
    }

    impl Reader {
        fn new(config: &KafkaConfig, offset: Option<i64>) -> Reader {
            let mut fetcher = fetcher(config);
            fetcher.assign(&from(offset));
            Reader { fetcher, records: RawRecords::default(), next: BTreeMap::new() }
        }

        /// Reads until so many rows are there and nothing else comes for a moment.
        fn read(&mut self, rows: usize, most: Most) -> Result<(), Fault> {
            let (mut began, mut before) = (Instant::now(), self.records.rows.len());
            while before < rows || began.elapsed() < Duration::from_millis(300) {
                assert!(began.elapsed() < Duration::from_secs(20), "{before} of {rows} rows came");
                self.fetcher.read(Duration::from_millis(50), most, || 0, &mut self.records, &mut self.next)?;
                let now = self.records.rows.len();
                assert!(now - before <= most.rows);
                if now > before {
                    (began, before) = (Instant::now(), now);
                }
            }
            Ok(())
        }

        /// The numbers of each partition, in their order.
        fn numbers(&self) -> Vec<Vec<u32>> {
            let mut all = vec![Vec::new(); PARTITIONS as usize];
            for row in &self.records.rows {
                all[row.partition as usize].push(std::str::from_utf8(row.payload.of(&self.records.bytes)).unwrap().parse().unwrap());
            }
            all
        }
    }

    fn due(numbers: std::ops::Range<u32>) -> Vec<Vec<u32>> {
        (0..PARTITIONS as u32).map(|p| numbers.clone().filter(|n| n % PARTITIONS as u32 == p).collect()).collect()
    }

    #[test]
    fn what_is_refused_for_a_moment_is_asked_again_and_read_once() {
        use Refusal::{
            RD_KAFKA_RESP_ERR__TRANSPORT as CUT, RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH as FENCED,
            RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR as DISK, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE as LEADERLESS,
            RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as LEADER, RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE as OFFSET,
            RD_KAFKA_RESP_ERR_UNKNOWN as UNKNOWN, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART as TOPIC,
        };
        let cases: [(Api, &[Refusal]); 3] = [
            (Api::Fetch, &[LEADER, TOPIC, FENCED, DISK, OFFSET, UNKNOWN, CUT]),
            (Api::ListOffsets, &[LEADER, OFFSET, CUT]),
            (Api::Metadata, &[LEADERLESS, CUT]),
        ];
        for (api, refusals) in cases {
            for refusal in refusals {
                let (mock, config) = of_three(PARTITIONS);
                write(&config, 0..300);
                mock.request_errors(api, &[*refusal, *refusal]);
                let mut reader = Reader::new(&config, None);
                reader.read(300, ALL).unwrap();
                write(&config, 300..600);
                reader.read(600, ALL).unwrap();
                assert_eq!(reader.numbers(), due(0..600), "{api:?} {refusal:?}");
                assert_eq!(reader.next.values().copied().collect::<Vec<_>>(), [200; 3]);
                assert_eq!(reader.fetcher.positions(), &reader.next);
            }
        }
    }

    #[test]
    fn a_topic_that_may_not_be_read_is_told_once_and_read_as_soon_as_it_may_be() {
        let (mock, config) = of_three(PARTITIONS);
        write(&config, 0..30);
        // The mock refuses each partition for this request, and a fetch only as a whole.
        mock.request_errors(Api::ListOffsets, &[Refusal::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 6]);
        let mut reader = Reader::new(&config, None);
        let mut told = 0;
        while let Err(fault) = reader.read(30, ALL) {
            assert!(matches!(&fault, Fault::Topic(text) if text == "this user may not read t: grant it READ on it"), "{fault:?}");
            told += 1;
        }
        assert_eq!((told, reader.numbers()), (3, due(0..30)), "once for each partition");
    }

    #[test]
    fn a_leader_that_moves_or_goes_away_loses_nothing() {
        let (mock, config) = of_three(PARTITIONS);
        let mut reader = Reader::new(&config, None);
        for turn in 0..6u32 {
            for partition in 0..PARTITIONS {
                mock.partition_leader("t", partition, Some(1 + (turn as i32 + partition) % 3)).unwrap();
            }
            if turn == 3 {
                mock.broker_down(2).unwrap();
                mock.broker_up(2).unwrap();
            }
            write(&config, turn * 300..(turn + 1) * 300);
            reader.read((turn as usize + 1) * 300, ALL).unwrap();
        }
        assert_eq!(reader.numbers(), due(0..1_800));
    }

    #[test]
    fn reading_goes_on_where_it_was_told_to_and_where_it_stood_still() {
        let (_mock, config) = of_three(PARTITIONS);
        write(&config, 0..3_000);
        // In the middle of a batch, and never more at once than is wanted.
        let mut reader = Reader::new(&config, Some(990));
        reader.read(30, Most { rows: 7, ..ALL }).unwrap();
        assert_eq!(reader.numbers(), due(2_970..3_000));

        let mut reader = Reader::new(&config, None);
        let few = Most { rows: 100, ..ALL };
        while reader.next.len() < 2 {
            reader.fetcher.read(Duration::from_secs(5), few, || 0, &mut reader.records, &mut reader.next).unwrap();
        }
        reader.fetcher.stand(&[(0, 0), (0, 1)], true);
        let of = |reader: &Reader, p: usize| reader.numbers()[p].len();
        let stood = [of(&reader, 0), of(&reader, 1)];
        let rows = stood[0] + stood[1] + 1_000;
        reader.read(rows, few).unwrap();
        assert_eq!([of(&reader, 0), of(&reader, 1)], stood, "what stands is not read");
        reader.fetcher.stand(&[(0, 0), (0, 1)], false);
        reader.read(3_000, few).unwrap();
        assert_eq!(reader.numbers(), due(0..3_000));

        // What was fetched before counts no more, and places that were not named are not read.
        reader.fetcher.assign(&BTreeMap::from([((0, 1), Some(998))]));
        reader.read(3_002, few).unwrap();
        assert_eq!(reader.numbers()[1][1_000..], [2_995, 2_998]);
        assert_eq!(reader.records.rows.len(), 3_002);
    }

    #[test]
    fn an_offset_that_is_not_there_means_the_first_that_is() {
        let (_mock, config) = of_three(PARTITIONS);
        write(&config, 0..300);
        let mut reader = Reader::new(&config, Some(5_000));
        reader.read(300, ALL).unwrap();
        assert_eq!(reader.numbers(), due(0..300));
    }

    #[test]
    fn nobody_there_is_waited_for() {
        let config = KafkaConfig { bootstrap_servers: "127.0.0.1:1".into(), ..KafkaConfig::default() };
        let mut reader = Reader::new(&config, None);
        reader.read(0, ALL).unwrap();
        assert!(reader.records.rows.is_empty() && reader.next.is_empty());
    }
}
