//! Fear: a deployment, a scale-out or a scale-in costs records, or takes for ever.
//!
//! Shown: SIGTERM under load ends a worker within 10 s with exit code 0, and a second one goes on where it stopped; members that join and
//! leave one after the other, under each of Kafka's ways to share partitions, lose and double nothing. So does a worker that waits for what another's
//! open transaction holds back, which it is told of for as long as that transaction may last.

use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::scene::Scene;
use crate::support::wait::{PATIENCE, eventually, heavy};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn asked_to_stop_it_stops_soon_and_another_goes_on() {
    let _turn = heavy();
    let scene = Scene::new(Journey::new("asked_to_stop"), |config| config.set("run.batch_events", 5_000));
    scene.produce(60_000);
    let reader = scene.reader();
    let mut first = scene.worker("a");
    first.wait_until_ready();
    eventually("the first records", || (reader.seen() > 0).then_some(()));
    first.terminate_within(SOON).assert_done();
    assert!(scene.lag(scene.tenant()) > 0, "it was stopped too late to show anything");
    let next = scene.worker("b");
    scene.wait_until_done();
    next.terminate_within(SOON).assert_done();
    scene.check(reader);
}

#[test]
fn a_worker_that_waits_for_an_open_transaction_stops_soon() {
    let scene = Scene::new(Journey::new("stops_while_it_waits"), |config| config);
    scene.produce(500);
    let mut settings = kafka::client(scene.bootstrap());
    settings.set("transactional.id", format!("{}-holder", scene.group())).set("transaction.timeout.ms", "60000");
    let holder: BaseProducer = settings.create().unwrap();
    holder.init_transactions(PATIENCE).unwrap();
    let observer: BaseConsumer = kafka::client(scene.bootstrap()).set("group.id", scene.group()).create().unwrap();
    let mut pending = TopicPartitionList::new();
    for partition in kafka::partitions_of(scene.bootstrap(), &scene.raw_topic(scene.tenant())) {
        pending.add_partition_offset(&scene.raw_topic(scene.tenant()), partition, Offset::Offset(0)).unwrap();
    }
    holder.begin_transaction().unwrap();
    holder.send_offsets_to_transaction(&pending, &observer.group_metadata().unwrap(), PATIENCE).unwrap();
    let worker = scene.worker("a");
    eventually("the worker to wait", || worker.stderr().contains("asking again").then_some(()));
    worker.terminate_within(SOON).assert_done();
    holder.abort_transaction(PATIENCE).unwrap();
    let reader = scene.reader();
    let next = scene.worker("b");
    scene.wait_until_done();
    next.terminate_within(SOON).assert_done();
    scene.check(reader);
}

#[test]
fn asked_to_catch_up_it_ends_by_itself() {
    let scene = Scene::new(Journey::new("asked_to_catch_up"), |config| config);
    scene.produce(5_000);
    let reader = scene.reader();
    scene.journey.lethe(&scene.config).args(["run", "--until-caught-up"]).finish().assert_done();
    assert_eq!(scene.lag(scene.tenant()), 0);
    scene.check(reader);
}

fn members_come_and_go(name: &str, setting: &str, value: &str) {
    let _turn = heavy();
    let scene = Scene::new(Journey::new(name), |config| config.set(setting, value).set("run.batch_events", 1_000));
    let reader = scene.reader();
    let mut a = scene.worker("a");
    a.wait_until_ready();
    scene.produce(20_000);
    let mut b = scene.worker("b");
    b.wait_until_ready();
    scene.produce(20_000);
    a.terminate_within(SOON).assert_done();
    let mut c = scene.worker("c");
    scene.produce(20_000);
    c.wait_until_ready();
    scene.produce(20_000);
    b.terminate_within(SOON).assert_done();
    scene.produce(5_000);
    scene.wait_until_done();
    c.terminate_within(SOON).assert_done();
    scene.check(reader);
}

#[test]
fn members_come_and_go_by_range() {
    members_come_and_go("members_by_range", "kafka.partition_assignment_strategy", "range");
}

#[test]
fn members_come_and_go_cooperatively() {
    members_come_and_go("members_cooperatively", "kafka.partition_assignment_strategy", "cooperative-sticky");
}

#[test]
fn members_come_and_go_under_the_new_protocol() {
    members_come_and_go("members_new_protocol", "kafka.group_protocol", "consumer");
}
