//! The producer before librdkafka's mock cluster, which refuses what it is told to refuse. What it cannot show, real brokers do: see the journeys' faults.

use super::{Entry, Put, WireProducer};
use crate::config::kafka::KafkaConfig;
use crate::kafka::client::Fault;
use crate::kafka::consumer::Membership;
use crate::kafka::mock::tests::of_three;
use crate::kafka::transaction::NextOffset;
use crate::model::headers;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Refusal};
use std::time::{Duration, Instant};

type Mock = MockCluster<'static, DefaultProducerContext>;

const PARTITIONS: i32 = 3;

fn cluster() -> (Mock, KafkaConfig) {
    let (mock, config) = of_three(PARTITIONS);
    (mock, KafkaConfig { batch_size: 16_384, ..config })
}

fn producer(config: &KafkaConfig) -> WireProducer {
    WireProducer::connect(config, "id", || false).unwrap()
}

fn member() -> Membership {
    Membership { group: "g".into(), generation: -1, id: String::new(), instance: None }
}

/// Writes records that no other call does. Shape: `count` of them over all partitions, more than one batch each.
fn write(producer: &mut WireProducer, turn: usize, count: usize) -> Result<(), Fault> {
    producer.begin()?;
    let topic = producer.topic("t");
    for i in 0..count {
        let (key, value) = (format!("{turn}-{i}"), vec![b'v'; 100]);
        let put = Put { topic, partition: i as i32 % PARTITIONS };
        let mut headers = Vec::new();
        headers::begin(1, &mut headers);
        headers::put("turn", key.as_bytes(), &mut headers);
        producer.put(put, &Entry { key: key.as_bytes(), value: Some(&value), headers: &headers }, 1_790_000_000_000)?;
    }
    Ok(())
}

fn commit(producer: &mut WireProducer) -> Result<(), Fault> {
    let offsets = [NextOffset { topic: "t".into(), partition: 0, offset: 7, metadata: "mark".into() }];
    producer.prepare(&offsets, &member())?;
    producer.end(true)
}

/// All records of the topic, by partition in their order: key, and whether header and value are what was written.
fn read(config: &KafkaConfig, count: usize) -> Vec<Vec<String>> {
    let reader: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &config.bootstrap_servers).set("group.id", "reader").create().unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset("t", partition, Offset::Beginning).unwrap();
    }
    reader.assign(&all).unwrap();
    let mut keys = vec![Vec::new(); PARTITIONS as usize];
    let (mut seen, mut quiet) = (0, Instant::now());
    while seen < count || quiet.elapsed() < Duration::from_millis(300) {
        assert!(quiet.elapsed() < Duration::from_secs(20), "{seen} of {count} records came");
        if let Some(Ok(message)) = reader.poll(Duration::from_millis(50)) {
            let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
            assert_eq!(message.payload().unwrap(), [b'v'; 100]);
            let header = message.headers().unwrap().get(0);
            assert_eq!((header.key, header.value), ("turn", Some(key.as_bytes())));
            keys[message.partition() as usize].push(key);
            (seen, quiet) = (seen + 1, Instant::now());
        }
    }
    keys
}

fn due(turns: &[usize], count: usize) -> Vec<Vec<String>> {
    let of = |p: usize| turns.iter().flat_map(move |t| (0..count).filter(move |i| i % 3 == p).map(move |i| format!("{t}-{i}"))).collect();
    (0..PARTITIONS as usize).map(of).collect()
}

#[test]
fn what_is_written_is_read_by_another_client_in_every_compression() {
    for compression in ["none", "lz4", "zstd", "snappy", "gzip"] {
        let (_mock, config) = cluster();
        let config = KafkaConfig { compression: compression.into(), ..config };
        let mut producer = producer(&config);
        for turn in 0..3 {
            write(&mut producer, turn, 1_000).unwrap();
            commit(&mut producer).unwrap();
        }
        assert_eq!(read(&config, 3_000), due(&[0, 1, 2], 1_000), "{compression}");
    }
}

#[test]
fn what_is_refused_for_a_moment_is_asked_again_and_stored_once() {
    use Refusal::{
        RD_KAFKA_RESP_ERR__TRANSPORT as CUT, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS as CONCURRENT,
        RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS as LOADING, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE as AWAY,
        RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE as LEADERLESS, RD_KAFKA_RESP_ERR_NOT_COORDINATOR as MOVED,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS as REPLICAS, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as LEADER,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as LATE,
    };
    let coordinators = [LOADING, MOVED, AWAY, CONCURRENT, CUT];
    let cases: [(Api, &[Refusal]); 7] = [
        (Api::Produce, &[LEADER, REPLICAS, LATE, LEADERLESS, CUT]),
        (Api::AddPartitionsToTxn, &coordinators),
        (Api::AddOffsetsToTxn, &coordinators),
        (Api::TxnOffsetCommit, &[LOADING, MOVED, AWAY, CUT]),
        (Api::EndTxn, &coordinators),
        (Api::InitProducerId, &coordinators),
        (Api::FindCoordinator, &[AWAY, CUT]),
    ];
    for (api, refusals) in cases {
        for refusal in refusals {
            let (mock, config) = cluster();
            mock.request_errors(api, &[*refusal, *refusal]);
            let mut producer = producer(&config);
            write(&mut producer, 0, 1_000).unwrap();
            commit(&mut producer).unwrap();
            assert_eq!(read(&config, 1_000), due(&[0], 1_000), "{api:?} {refusal:?}");
        }
    }
}

#[test]
fn what_is_refused_for_good_says_what_to_do() {
    use Refusal::{
        RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED as NO_GROUP, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION as OLD_MEMBER,
        RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH as OLD_EPOCH, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE as STATE,
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as LARGE, RD_KAFKA_RESP_ERR_PRODUCER_FENCED as FENCED,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as NO_TOPIC, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED as NO_ID,
    };
    type IsRight = fn(&Fault) -> bool;
    let cases: [(Api, Refusal, IsRight); 11] = [
        (Api::Produce, LARGE, |f| matches!(f, Fault::Topic(t) if t.contains("topic t partition"))),
        (Api::Produce, NO_TOPIC, |f| matches!(f, Fault::Topic(t) if t.contains("topic t partition"))),
        (Api::Produce, OLD_EPOCH, |f| matches!(f, Fault::Fenced(_))),
        (Api::Produce, STATE, |f| matches!(f, Fault::Recreate(_))),
        (Api::AddPartitionsToTxn, NO_TOPIC, |f| matches!(f, Fault::Topic(t) if t.contains("topic t partition"))),
        (Api::AddPartitionsToTxn, FENCED, |f| matches!(f, Fault::Fenced(_))),
        (Api::AddOffsetsToTxn, NO_GROUP, |f| matches!(f, Fault::Stop(_))),
        (Api::TxnOffsetCommit, OLD_MEMBER, |f| matches!(f, Fault::Abort(_))),
        (Api::TxnOffsetCommit, NO_GROUP, |f| matches!(f, Fault::Stop(t) if t.contains("the group g: grant it READ"))),
        (Api::EndTxn, STATE, |f| matches!(f, Fault::Recreate(_))),
        (Api::EndTxn, NO_ID, |f| matches!(f, Fault::Stop(t) if t.contains("the transactional id id: grant it WRITE"))),
    ];
    for (api, refusal, is_right) in cases {
        let (mock, config) = cluster();
        let mut producer = producer(&config);
        mock.request_errors(api, &[refusal, refusal, refusal]);
        let fault = write(&mut producer, 0, 1_000).and_then(|()| commit(&mut producer)).unwrap_err();
        assert!(is_right(&fault), "{api:?} {refusal:?}: {fault:?}");
        mock.clear_request_errors(api);
        // After a fault of a topic or a member the same producer goes on; after others nothing may.
        if matches!(fault, Fault::Topic(_) | Fault::Abort(_)) {
            producer.end(false).unwrap();
            write(&mut producer, 1, 1_000).unwrap();
            commit(&mut producer).unwrap();
        } else if api == Api::Produce || api == Api::EndTxn {
            assert!(matches!(producer.begin(), Err(Fault::Recreate(_))), "{api:?} {refusal:?}");
        }
    }
}

#[test]
fn a_topic_that_is_not_there_is_to_blame_after_a_while() {
    let (mock, config) = cluster();
    drop(mock.create_topic("u", 1, 1));
    let mut producer = producer(&config);
    producer.begin().unwrap();
    let topic = producer.topic("u");
    let put = Put { topic, partition: 5 };
    let begun = Instant::now();
    let fault =
        producer.put(put, &Entry { key: b"k", value: None, headers: &[] }, 0).and_then(|()| producer.prepare(&[], &member())).unwrap_err();
    assert!(matches!(&fault, Fault::Topic(text) if text.contains("topic u partition 5")), "{fault:?}");
    assert!(begun.elapsed() > Duration::from_secs(2), "it might have turned up");
}

#[test]
fn a_leader_that_moves_or_goes_away_loses_nothing() {
    let (mock, config) = cluster();
    let mut producer = producer(&config);
    for turn in 0..6 {
        for partition in 0..PARTITIONS {
            mock.partition_leader("t", partition, Some(1 + (turn as i32 + partition) % 3)).unwrap();
        }
        write(&mut producer, turn, 500).unwrap();
        if turn == 3 {
            mock.broker_down(2).unwrap();
            mock.broker_up(2).unwrap();
        }
        commit(&mut producer).unwrap();
    }
    assert_eq!(read(&config, 3_000), due(&[0, 1, 2, 3, 4, 5], 500));
}

#[test]
fn nobody_there_is_told_and_a_stop_is_heard() {
    let config = KafkaConfig { bootstrap_servers: "127.0.0.1:1".into(), ..KafkaConfig::default() };
    let fault = WireProducer::connect(&config, "id", || true).err().unwrap();
    assert!(matches!(&fault, Fault::Retry(text) if text.contains("127.0.0.1:1")), "{fault:?}");
}

#[test]
fn keys_go_where_librdkafka_sends_them() {
    let (_mock, config) = cluster();
    let producer = producer(&config);
    // CRC-32 of the key: librdkafka's `consistent` partitioner; "123456789" is the checksum's own test vector, 0xcbf43926.
    assert_eq!(producer.partition(b"123456789", 7), (0xcbf4_3926_u32 % 7) as i32);
}
