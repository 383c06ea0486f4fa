//! Measures, beside the jobs and on a thread of its own, what they do not see in passing: lag, stable offsets, how far directives were read.

use crate::config::Config;
use crate::config::kafka::KafkaConfig;
use crate::kafka::client::Fault;
use crate::kafka::consumer::RawConsumer;
use crate::kafka::ends::{Ends, EndsOf};
use crate::kafka::topics::Admin;
use crate::model::time::SECOND_MS;
use crate::ops::clock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How often it looks. Units: ms.
const LOOK_EVERY_MS: i64 = 5 * SECOND_MS;
/// How often it looks whether to end.
const NAP: Duration = Duration::from_millis(200);

/// What is watched.
pub(super) struct Watch {
    /// The topic of directives, and everything before which offset this process has taken in.
    pub directives: (String, Arc<AtomicI64>),
    /// Topics whose stable offsets are watched.
    pub stable: Vec<String>,
    /// Consumers whose partitions' lag is told. Not held: a consumer leaves its group when its job lets go of it.
    pub consumers: Vec<Weak<RawConsumer>>,
}

impl Watch {
    /// What a job of this config watches: directives and, for `retain`, everything that a hanging transaction would stop.
    pub fn new(config: &Config, taken_in: Arc<AtomicI64>, stable: Vec<String>) -> Self {
        Watch { directives: (config.topics.directives.clone(), taken_in), stable, consumers: Vec::new() }
    }

    /// Starts watching, until `stop`. Errors: no thread.
    pub fn start(self, config: &KafkaConfig, stop: impl Fn() -> bool + Send + 'static) -> Result<(), String> {
        let config = config.clone();
        let body = move || {
            let mut state = State::default();
            let mut next_ms = 0;
            while !stop() {
                if clock::now_ms() >= next_ms {
                    if let Err(fault) = state.look(&self, &config, clock::now_ms()) {
                        // What cannot be asked grows old: the gauges say so, the jobs themselves tell why.
                        tracing::debug!(%fault, "ends of partitions are not to be had");
                    }
                    next_ms = clock::now_ms() + LOOK_EVERY_MS;
                }
                std::thread::sleep(NAP);
            }
        };
        std::thread::Builder::new().name("watch".into()).spawn(body).map(drop).map_err(|e| format!("cannot start a thread: {e}"))
    }
}

#[derive(Default)]
struct State {
    connected: Option<(Ends, Admin)>,
    behind: Behind,
    stuck: Stuck,
    told: BTreeSet<(String, i32)>,
}

impl State {
    fn look(&mut self, watch: &Watch, config: &KafkaConfig, now_ms: i64) -> Result<(), Fault> {
        let (topic, taken_in) = &watch.directives;
        let seconds = |ms: i64| ms as f64 / SECOND_MS as f64;
        let taken_in = taken_in.load(Ordering::SeqCst);
        metrics::gauge!("lethe_directives_lag_seconds").set(seconds(self.behind.lag_ms(taken_in, now_ms)));
        if self.connected.is_none() {
            self.connected = Some((Ends::connect(config)?, Admin::connect(config)?));
        }
        let Some((ends, admin)) = &self.connected else { return Ok(()) };
        let end = ends.all([(topic.as_str(), 1)].into_iter())?.into_values().next().unwrap_or(0);
        self.behind.saw_end(end, now_ms);
        metrics::gauge!("lethe_directives_lag_seconds").set(seconds(self.behind.lag_ms(taken_in, now_ms)));
        lag(&mut self.told, watch, ends)?;
        if watch.stable.is_empty() {
            return Ok(());
        }
        let there = admin.partitions()?;
        let topics: Vec<(&str, u32)> = watch.stable.iter().filter_map(|t| Some((t.as_str(), *there.get(t)?))).collect();
        // In this order: what is written in between makes a topic look stable, never stuck.
        let all = ends.all(topics.iter().copied())?;
        let stable = ends.stable(topics.iter().copied())?;
        for (topic, stuck_ms) in self.stuck.measure(&all, &stable, now_ms) {
            metrics::gauge!("lethe_stable_offset_stuck_seconds", "topic" => topic).set(seconds(stuck_ms));
        }
        Ok(())
    }
}

/// Tells the lag of partitions that are this process's, and 0 for those that were.
fn lag(told: &mut BTreeSet<(String, i32)>, watch: &Watch, ends: &Ends) -> Result<(), Fault> {
    let mut ours = BTreeMap::new();
    for consumer in watch.consumers.iter().filter_map(Weak::upgrade) {
        let places = consumer.assignment()?;
        if places.is_empty() {
            continue;
        }
        let committed = consumer.committed_texts(&places)?;
        for place in places {
            let next = committed.get(&place).map_or(0, |(offset, _)| *offset);
            ours.insert((consumer.source(place.0).to_owned(), place.1), next);
        }
    }
    let mut partitions: BTreeMap<&str, u32> = BTreeMap::new();
    for (topic, partition) in ours.keys() {
        let most = partitions.entry(topic).or_default();
        *most = (*most).max(*partition as u32 + 1);
    }
    let ends = ends.all(partitions.into_iter())?;
    let gauge = |(topic, partition): &(String, i32), lag: i64| {
        metrics::gauge!("lethe_consumer_lag", "topic" => topic.clone(), "partition" => partition.to_string()).set(lag as f64);
    };
    told.iter().filter(|place| !ours.contains_key(*place)).for_each(|place| gauge(place, 0));
    for (place, next) in &ours {
        gauge(place, ends.get(place).map_or(0, |end| (end - next).max(0)));
    }
    *told = ours.into_keys().collect();
    Ok(())
}

/// How long somebody has been behind an end that moves on. Shape: one end at a time is waited for, so that steady traffic is no lag.
#[derive(Default)]
struct Behind {
    waiting: Option<(i64, i64)>,
    asked_ms: Option<i64>,
}

impl Behind {
    fn saw_end(&mut self, end: i64, now_ms: i64) {
        self.asked_ms = Some(now_ms);
        self.waiting.get_or_insert((end, now_ms));
    }

    /// Units: ms. Also grows while the end cannot be asked for.
    fn lag_ms(&mut self, taken_in: i64, now_ms: i64) -> i64 {
        if self.waiting.is_some_and(|(end, _)| taken_in >= end) {
            self.waiting = None;
        }
        let unasked = self.asked_ms.map_or(0, |at| now_ms - at);
        let unasked = if unasked > 2 * LOOK_EVERY_MS { unasked } else { 0 };
        self.waiting.map_or(0, |(_, since)| now_ms - since).max(unasked)
    }
}

/// Since when each partition's stable offset has stood still before its end.
#[derive(Default)]
struct Stuck(BTreeMap<(String, i32), (i64, i64)>);

impl Stuck {
    /// For how long the worst partition of each topic has been stuck. Units: ms.
    fn measure(&mut self, all: &EndsOf, stable: &EndsOf, now_ms: i64) -> BTreeMap<String, i64> {
        let mut worst = BTreeMap::new();
        for (place, end) in all {
            let stuck_ms = match stable.get(place) {
                Some(stable) if stable < end => {
                    let since = self.0.entry(place.clone()).or_insert((*stable, now_ms));
                    if since.0 != *stable {
                        *since = (*stable, now_ms);
                    }
                    now_ms - since.1
                }
                _ => {
                    self.0.remove(place);
                    0
                }
            };
            let of_topic = worst.entry(place.0.clone()).or_insert(0);
            *of_topic = stuck_ms.max(*of_topic);
        }
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_the_age_of_the_oldest_end_that_was_not_reached() {
        let mut behind = Behind::default();
        behind.saw_end(10, 1_000);
        assert_eq!(behind.lag_ms(10, 1_000), 0, "nothing new");
        behind.saw_end(12, 2_000);
        assert_eq!(behind.lag_ms(11, 3_000), 1_000);
        behind.saw_end(15, 4_000);
        assert_eq!(behind.lag_ms(12, 4_000), 0, "new ones come all the time, and are taken in");
        behind.saw_end(15, 5_000);
        assert_eq!(behind.lag_ms(14, 65_000), 60_000);
    }

    #[test]
    fn brokers_that_do_not_answer_are_lag() {
        let mut behind = Behind::default();
        assert_eq!(behind.lag_ms(0, 1_000), 0, "it has not begun");
        behind.saw_end(0, 1_000);
        assert_eq!(behind.lag_ms(0, 6_000), 0);
        assert_eq!(behind.lag_ms(0, 61_000), 60_000);
    }

    #[test]
    fn a_stable_offset_is_stuck_only_while_it_stands_still() {
        let at = |offset: i64| EndsOf::from([(("t".to_owned(), 0), offset), (("t".to_owned(), 1), 5)]);
        let mut stuck = Stuck::default();
        assert_eq!(stuck.measure(&at(9), &at(7), 0)["t"], 0);
        assert_eq!(stuck.measure(&at(12), &at(7), 60_000)["t"], 60_000);
        assert_eq!(stuck.measure(&at(13), &at(8), 61_000)["t"], 0, "it moves");
        assert_eq!(stuck.measure(&at(13), &at(8), 62_000)["t"], 1_000);
        assert_eq!(stuck.measure(&at(13), &at(13), 63_000)["t"], 0);
    }
}
