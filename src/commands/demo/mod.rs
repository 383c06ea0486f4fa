//! `lethe demo`: the job itself on twenty thousand synthetic events, and what went in next to what came out.
//!
//! Nothing needs to be installed: the broker is librdkafka's mock cluster in this process, the key is in memory alone. With `--kafka` the
//! broker is the configured one, and the topics of the tenant `demo` are made there.

mod find;
mod show;

use super::Failure;
use super::generate::{self, Wish};
use super::run::{Done, End, work};
use crate::config::{Config, TenantConfig, load};
use crate::kafka::mock::MockBroker;
use crate::kafka::peek::{Peek, Places};
use crate::kafka::topics::Admin;
use crate::model::tenant::TenantId;
use crate::ops::keys;
use std::collections::BTreeMap;
use std::path::Path;

/// The configuration.
const CONFIG: &str = include_str!("demo.toml");
/// How many events are made.
const EVENTS: u64 = 20_000;
/// Their seed.
const SEED: u64 = 42;

/// Runs the demo. With `kafka`, on the brokers that `file` or the environment name.
///
/// Errors: no broker answers, or the job fails.
pub fn demo(file: &Path, kafka: bool) -> Result<(), Failure> {
    let screen = show::Screen::of_stdout();
    let mut config = load::parse(CONFIG, std::iter::empty()).map_err(Failure::Failed)?;
    let Some(tenant) = config.tenant.first().map(|t| t.id.clone()) else {
        return Err(Failure::Failed("the demo's configuration has no tenant".into()));
    };
    // Kept until the end: the mock cluster lives as long as it does.
    let _mock = if kafka {
        on_brokers(&mut config, file)?;
        None
    } else {
        Some(on_mock(&mut config)?)
    };
    screen.title(&config.kafka.bootstrap_servers, kafka, EVENTS);
    let peek = Peek::connect(&config.kafka)?;
    let topics = topics_of(&config)?;
    let before = peek.ends(topics.iter().map(|(name, n)| (name.as_str(), *n)))?;
    let wish = Wish { tenant: tenant.clone(), events: EVENTS, seed: SEED };
    let expected = generate::produce(&config, &wish, &format!("{tenant}.raw.web"))?;
    let keyring = keys::temporary(&tenant)?;
    let end = if kafka { End::CaughtUp } else { End::Rows(EVENTS) };
    let done = work(config, keyring, end)?;
    let (found, records) = look(&peek, &before, &tenant)?;
    screen.stories(&found);
    screen.totals(&expected, &done, &records);
    screen.next(kafka);
    adds_up(expected.rows, &done)
}

/// Every row that went in must have come out as something.
fn adds_up(rows: u64, done: &Done) -> Result<(), Failure> {
    match done.tally.rows() {
        n if n >= rows => Ok(()),
        n => Err(Failure::Failed(format!("{rows} rows went in, and {n} were accounted for"))),
    }
}

/// Starts the mock cluster and makes the topics.
fn on_mock(config: &mut Config) -> Result<MockBroker, Failure> {
    let mock = MockBroker::start()?;
    config.kafka.bootstrap_servers = mock.bootstrap_servers();
    for name in names(config) {
        mock.create_topic(&name, config.topics.partitions)?;
    }
    mock.create_topic(&config.topics.directives, 1)?;
    Ok(mock)
}

/// Takes the brokers from the config file, if there is one, and from the environment, and makes the topics.
fn on_brokers(config: &mut Config, file: &Path) -> Result<(), Failure> {
    let theirs = if file.exists() { load(file, std::env::vars())? } else { load::parse("", std::env::vars()).map_err(Failure::Usage)? };
    config.kafka = theirs.kafka;
    config.topics = theirs.topics;
    super::topics::apply(config, false, true)
}

/// The raw and output topics of the demo's tenant.
fn names(config: &Config) -> Vec<String> {
    let of = |t: &TenantConfig| t.sources().into_iter().chain(t.output_topics().into_iter().map(|(_, name)| name));
    config.tenant.iter().flat_map(of).collect()
}

fn topics_of(config: &Config) -> Result<BTreeMap<String, u32>, Failure> {
    let there = Admin::connect(&config.kafka)?.partitions()?;
    Ok(names(config).into_iter().filter_map(|name| there.get(&name).map(|n| (name.clone(), *n))).collect())
}

/// Reads what this demo wrote: the events to be told of, and how many records each topic got.
fn look(peek: &Peek, before: &Places, tenant: &TenantId) -> Result<(Vec<find::Story>, BTreeMap<String, u64>), Failure> {
    let mut finder = find::Finder::new(tenant);
    let is_raw = |topic: &str| topic.contains(".raw.");
    let (raw, out): (Places, Places) = before.clone().into_iter().partition(|((topic, _), _)| is_raw(topic));
    peek.read(&raw, |record| finder.see_raw(record))?;
    let mut records = BTreeMap::new();
    peek.read(&out, |record| {
        *records.entry(record.topic.to_owned()).or_default() += 1;
        finder.see_record(record);
    })?;
    Ok((finder.stories(), records))
}
