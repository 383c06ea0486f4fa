//! Everything at random: processes killed and frozen, the network cut and silent, the broker away, at moments that a seed decides, for each command.

use super::estate::Estate;
use super::run::{scene, settle};
use super::{Ground, Shown};
use crate::counts_are_published_once as counts;
use crate::retain_survives::{Written, assert_only_due_ones_went, keep_ms, keys, table};
use crate::sessions_are_exact as sessions;
use crate::support::broker::Broker;
use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::lethe::Lethe;
use crate::support::moments::Moments;
use crate::support::proxy::Proxy;
use crate::support::pseudonymised::produce;
use crate::support::wait::{eventually, eventually_within, heavy};
use crate::window_elapsed::prepared;
use lethe::ops::clock::now_ms;
use std::time::Duration;

/// How long the last of it may take to be put right: a session, a transaction and a client's longest wait, one after the other, on a busy machine.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

/// Before it is up it ends by the signal that asks it to stop; if it has ended by itself, that is the supervisor's to judge.
fn wait_until_up(process: &mut Lethe) {
    eventually("a process to be up", || (process.is_up() || !process.is_running()).then_some(()));
}

/// Processes of one kind, and what is done to them.
struct Mischief<'m> {
    broker: &'m Broker,
    proxy: &'m Proxy,
    moments: &'m mut Moments,
    start: Box<dyn Fn(usize) -> Lethe + 'm>,
    all: Vec<Lethe>,
    done: Vec<&'static str>,
}

impl<'m> Mischief<'m> {
    fn new(ground: &'m Ground, moments: &'m mut Moments, count: usize, start: impl Fn(usize) -> Lethe + 'm) -> Self {
        let (broker, proxy) = ground.behind_a_proxy();
        let all = (0..count).map(&start).collect();
        Self { broker, proxy, moments, start: Box::new(start), all, done: Vec::new() }
    }

    /// Puts whatever has ended back, as a supervisor does. What ends by itself has said why, and is not a success.
    fn supervise(&mut self) {
        for n in 0..self.all.len() {
            if !self.all[n].is_running() {
                let ended = std::mem::replace(&mut self.all[n], (self.start)(n)).finish();
                assert!(ended.status.code() != Some(0), "a job ended as if it were done: {}", ended.stderr);
                assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
                self.done.push("ended by itself");
            }
        }
    }

    /// One thing more goes wrong, and is mended.
    fn once(&mut self) {
        let n = self.moments.below(self.all.len() as u64) as usize;
        let some = |moments: &mut Moments, most_ms: u64| std::thread::sleep(Duration::from_millis(moments.below(most_ms)));
        self.done.push(match self.moments.below(10) {
            0..=2 => {
                self.all.remove(n).kill();
                self.all.insert(n, (self.start)(n));
                "killed"
            }
            3 | 4 => {
                self.all[n].freeze();
                some(self.moments, 10_000);
                self.all[n].thaw();
                "frozen"
            }
            5 => {
                wait_until_up(&mut self.all[n]);
                if self.all[n].is_running() {
                    self.all.remove(n).terminate_within(Duration::from_secs(60)).assert_done();
                    self.all.insert(n, (self.start)(n));
                }
                "asked to stop"
            }
            6 | 7 => {
                self.proxy.cut();
                "cut off"
            }
            8 => {
                self.proxy.silence(true);
                some(self.moments, 8_000);
                self.proxy.silence(false);
                "no answers"
            }
            _ => {
                self.broker.kill();
                some(self.moments, 3_000);
                self.broker.restart();
                "broker killed"
            }
        });
        some(self.moments, 3_000);
        self.supervise();
    }

    /// Ends everything well, once it is all there.
    fn end(mut self) {
        self.supervise();
        println!("{}: {}", self.done.len(), self.done.join(", "));
        for mut process in self.all.drain(..) {
            wait_until_up(&mut process);
            process.terminate_within(Duration::from_secs(60)).assert_done();
        }
    }
}

fn rounds(ground: &Ground) -> u32 {
    ground.times(6, 24)
}

fn journey(ground: &Ground, name: &str) -> Journey {
    let (broker, proxy) = ground.behind_a_proxy();
    Journey::on(broker, &format!("127.0.0.1:{}", proxy.port()), name)
}

/// Two workers of `run`.
pub fn run_at_random(ground: &Ground, moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let scene = scene(journey(ground, "run_at_random"), |config| config);
    let reader = scene.reader();
    let start = |n: usize| scene.worker(["a", "b"][n]);
    let mut mischief = Mischief::new(ground, moments, 2, start);
    for _ in 0..rounds(ground) {
        scene.produce(500);
        mischief.once();
    }
    scene.produce(500);
    eventually_within(SETTLED_WITHIN, "everything to be committed", || {
        mischief.supervise();
        (scene.lag(scene.tenant()) == 0).then_some(())
    });
    mischief.end();
    settle(&scene, reader)
}

/// Two processes that expire records.
pub fn retain_at_random(ground: &Ground, moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let journey = journey(ground, "retain_at_random");
    let (config, topic) = prepared(&journey, "16s");
    let config = config.set("kafka.session_timeout_ms", 6_000).set("kafka.transaction_timeout_ms", 4_000).set("retain.batch_records", 20);
    let keep = keep_ms(&journey, &config, &topic);
    let reader = kafka::Reader::start(journey.bootstrap(), &[&topic]);
    let mut written = Written::default();
    let start = |n: usize| journey.lethe(&config.clone().set("retain.instance", ["a", "b"][n])).args(["retain"]).start();
    let mut mischief = Mischief::new(ground, moments, 2, start);
    for round in 0..rounds(ground) {
        written.write(&journey, &topic, keys(round), "value");
        mischief.once();
    }
    eventually_within(SETTLED_WITHIN, "everything to be gone", || {
        mischief.supervise();
        let left = kafka::read_uncommitted(journey.bootstrap(), &topic);
        left.iter().all(|r| r.key_text() == "~roll").then_some(())
    });
    mischief.end();
    let all = reader.finish().remove(&topic).unwrap_or_default();
    assert_only_due_ones_went(&all, keep);
    assert!(table(&all).is_empty(), "a reader that kept up has what is gone");
    Shown { rows: written.len() as u64, of: all.len() as u64 }
}

/// An erasure, a hold and a `run` under way.
pub fn erasure_at_random(ground: &Ground, moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let estate = Estate::on(journey(ground, "erasure_at_random"));
    let start = |n: usize| if n == 0 { estate.worker() } else { estate.retain("") };
    let mut mischief = Mischief::new(ground, moments, 2, start);
    for _ in 0..3 {
        estate.produce(0..super::estate::PEOPLE);
        mischief.once();
    }
    let everyone = super::estate::PEOPLE;
    let wait = |mischief: &mut Mischief<'_>, what: &str, is_so: &dyn Fn() -> bool| {
        eventually_within(SETTLED_WITHIN, what, || {
            mischief.supervise();
            is_so().then_some(())
        });
    };
    wait(&mut mischief, "everybody's records", &|| estate.people_live() == [everyone; 2]);
    let before = estate.stored().len();
    let hold = estate.order(&["hold", "--email", "person0@example.com", "--reason", "case 7", "--until", "2099-01-01"]);
    let held = estate.order(&["erase", "--email", "person0@example.com"]);
    let erased = estate.order(&["erase", "--email", "person3@example.com"]);
    for _ in 3..rounds(ground) {
        mischief.once();
    }
    wait(&mut mischief, "a certificate", &|| estate.state(&erased) == "certified");
    wait(&mut mischief, "what is held to be told so", &|| estate.state(&held) == "held");
    assert_eq!(estate.people_live(), [everyone - 1; 2], "what is held stays, what is not goes");
    assert!(!estate.stored().is_empty());
    estate.journey.lethe(&estate.config).args(["release", "--request", &hold]).finish().assert_done();
    (0..3).for_each(|_| mischief.once());
    wait(&mut mischief, "the other certificate", &|| estate.state(&held) == "certified");
    assert_eq!(estate.people_live(), [everyone - 2; 2]);
    mischief.end();
    estate.assert_audited(&erased);
    estate.assert_audited(&held);
    Shown { rows: before as u64, of: estate.stored().len() as u64 }
}

/// Two processes of `sessions`.
pub fn sessions_at_random(ground: &Ground, moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let journey = journey(ground, "sessions_at_random");
    let acme = journey.tenant("a");
    let config = journey.config().set("sessions.group", format!("{}-sessions", journey.namespace())).set("sessions.batch_events", 200);
    let config = config.set("topics.partitions", i64::from(sessions::PARTITIONS)).set("kafka.session_timeout_ms", 6_000);
    let config = config.set("kafka.transaction_timeout_ms", 3_000).tenant(&acme, |t| t);
    journey.lethe(&config).args(["topics", "apply"]).finish().assert_done();
    let now_ms = now_ms();
    let all = sessions::events(now_ms);
    let (topic, sessions_topic) = (format!("{acme}.events"), format!("{acme}.sessions"));
    let rounds = rounds(ground);
    let start = |n: usize| journey.lethe(&config).env("LETHE_SESSIONS__INSTANCE", ["a", "b"][n]).args(["sessions"]).start();
    let mut mischief = Mischief::new(ground, moments, 2, start);
    for part in all.chunks(all.len().div_ceil(rounds as usize)) {
        produce(journey.bootstrap(), &topic, sessions::PARTITIONS, part);
        mischief.once();
    }
    let want = sessions::naive(&all, now_ms);
    eventually_within(SETTLED_WITHIN, "every event to be read", || {
        mischief.supervise();
        (kafka::lag(journey.bootstrap(), &format!("{}-sessions", journey.namespace()), &topic) == 0).then_some(())
    });
    mischief.end();
    journey.lethe(&config).args(["sessions", "--until-caught-up"]).finish().assert_done();
    let have = sessions::standing(&journey, &sessions_topic);
    assert!(
        have == want,
        "{} sessions, not {}; unlike: {:?}",
        have.len(),
        want.len(),
        want.iter().find(|(key, v)| have.get(key) != Some(v))
    );
    Shown { rows: all.len() as u64, of: want.len() as u64 }
}

/// Two processes of `aggregate`.
pub fn aggregate_at_random(ground: &Ground, moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let journey = journey(ground, "aggregate_at_random");
    let (config, tenants) = counts::prepared(&journey);
    let config = config.set("kafka.transaction_timeout_ms", 4_000);
    let now_ms = now_ms();
    let start_ms = now_ms.div_euclid(counts::DAY_MS) * counts::DAY_MS - 2 * counts::DAY_MS;
    let stored_ms = start_ms + counts::LATENESS_MS;
    let all: Vec<Vec<counts::Event>> = (0..tenants.len() as u64).map(|n| counts::events(start_ms, n + 3)).collect();
    let rounds = rounds(ground) as usize;
    let start = |_| journey.lethe(&config).args(["aggregate"]).start();
    let mut mischief = Mischief::new(ground, moments, 2, start);
    for round in 0..rounds {
        for (tenant, events) in tenants.iter().zip(&all) {
            let part = events.len().div_ceil(rounds);
            let some = events.iter().skip(round * part).take(part).cloned().collect::<Vec<_>>();
            produce(journey.bootstrap(), &format!("{tenant}.events"), counts::PARTITIONS, &some);
        }
        mischief.once();
    }
    for tenant in &tenants {
        let clock = (0..20).map(|n| counts::Event {
            id: format!("clock{n}"),
            stored_at_ms: stored_ms + 9 * counts::DAY_MS,
            ..counts::Event::default()
        });
        produce(journey.bootstrap(), &format!("{tenant}.events"), counts::PARTITIONS, &clock.collect::<Vec<_>>());
    }
    mischief.end();
    journey.lethe(&config).args(["aggregate", "--until-caught-up"]).finish().assert_done();
    let mut cells = 0;
    for (tenant, events) in tenants.iter().zip(&all) {
        let (have, want) = (counts::published(&journey, &format!("{tenant}.aggregates")), counts::expected(tenant, events));
        assert!(
            have == want,
            "{tenant}: {} cells, not {}; unlike: {:?}",
            have.len(),
            want.len(),
            want.iter().find(|(key, v)| have.get(*key) != Some(v))
        );
        cells += want.len() as u64;
    }
    Shown { rows: all.iter().map(Vec::len).sum::<usize>() as u64, of: cells }
}
