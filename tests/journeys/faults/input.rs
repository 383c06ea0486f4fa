//! Faults of what comes in and of what surrounds a worker: poison, duplicates, wrong times, clocks, keys, the kill switch.

use super::run::{scene, settle};
use super::{Ground, Shown};
use crate::support::journey::Journey;
use crate::support::kafka::{self, Record};
use crate::support::moments::Moments;
use crate::support::outside::repository;
use crate::support::scene::{Scene, busy, rows};
use crate::support::wait::{eventually, heavy};
use lethe::generator::Generator;
use lethe::ops::clock::now_ms;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Stands in every poisonous payload, where a person's value would.
const MARK: &str = "qzleakqz-person-7421@example.com";

type Poison = (&'static str, Option<Vec<u8>>);

/// What nobody should send, each with what it is.
fn poison() -> Vec<Poison> {
    let event = |more: &str| {
        format!(r#"{{"event_id":"x","event_name":"view","kind":"event","event_time":{},"user":{{"email":"{MARK}"}}{more}"#, now_ms())
    };
    let whole = |more: &str| Some(format!("{}}}", event(more)).into_bytes());
    let big = "a".repeat(1 << 20);
    let raw = |head: &[u8], tail: &[u8]| Some([head, MARK.as_bytes(), tail].concat());
    vec![
        ("a null value", None),
        ("an empty value", Some(Vec::new())),
        ("not JSON", raw(b"hello ", b"")),
        ("torn JSON", Some(event(r#","value":"#).into_bytes())),
        ("an array", raw(b"[\"", b"\"]")),
        ("a string", raw(b"\"", b"\"")),
        ("two objects", Some(format!("{0}}}{0}}}", event("")).into_bytes())),
        ("a byte order mark", Some([&b"\xef\xbb\xbf"[..], event("}").as_bytes()].concat())),
        ("only spaces", Some(vec![b' '; 4_096])),
        ("NUL bytes", raw(b"\0\0\0\0\0", b"\0")),
        ("a bomb of arrays", Some([format!("{},\"x\":", event("")).into_bytes(), vec![b'['; 200_000]].concat())),
        ("a bomb of objects", Some([format!("{},\"x\":", event("")).into_bytes(), b"{\"a\":".repeat(100_000)].concat())),
        ("a closed bomb", whole(&format!(",\"custom\":{}{}", "[".repeat(500), "]".repeat(500)))),
        ("a number without end", whole(&format!(",\"value\":{}", "9".repeat(10_000)))),
        ("an exponent without end", whole(",\"value\":1e999999999")),
        ("a tiny exponent", whole(",\"value\":1e-999999999")),
        ("NaN", whole(",\"value\":NaN")),
        (
            "a time of long ago",
            Some(format!(r#"{{"event_id":"x","event_name":"{MARK}","kind":"event","event_time":-99999999999999999999}}"#).into_bytes()),
        ),
        ("a time as text", Some(format!(r#"{{"event_id":"x","event_name":"v","kind":"event","event_time":"{MARK}"}}"#).into_bytes())),
        ("invalid UTF-8 in a value", Some([event(",\"order_id\":\"").as_bytes(), b"\xff\xc0\xaf\"}"].concat())),
        ("invalid UTF-8 in a name", Some([event(",\"").as_bytes(), b"\xed\xa0\x80\":1}"].concat())),
        ("a lone surrogate", whole(r#","order_id":"\ud800""#)),
        ("surrogates the wrong way round", whole(r#","user":{"email":"\udc00\ud800@example.com"}"#)),
        ("a name twice", whole(&format!(r#","user":{{"email":"other-{MARK}"}},"user":{{}}"#))),
        ("the id twice", whole(r#","event_id":"y""#)),
        (
            "a mebibyte as an e-mail",
            Some(
                format!(
                    r#"{{"event_id":"m","event_name":"v","kind":"event","event_time":{},"user":{{"email":"{}"}}}}"#,
                    now_ms(),
                    &big[..1_000_000]
                )
                .into_bytes(),
            ),
        ),
        (
            "a mebibyte as an id",
            Some(
                format!(r#"{{"event_id":"{}","event_name":"v","kind":"event","event_time":{}}}"#, &big[..1_000_000], now_ms()).into_bytes(),
            ),
        ),
        ("a mebibyte of backslashes", whole(&format!(",\"order_id\":\"{}\"", "\\\\".repeat(500_000)))),
        ("more than a mebibyte", whole(&format!(",\"order_id\":\"{big}{big}{big}\""))),
        ("ten thousand members", whole(&(0..10_000).map(|n| format!(",\"f{n}\":{n}")).collect::<String>())),
        ("ten thousand items", whole(&format!(",\"items\":[{}]", vec!["{\"id\":\"i\",\"price\":1}"; 10_000].join(",")))),
        ("a schema nobody knows, by number", raw(b"\0\0\x0f\x42\x3f", b"")),
        ("a schema nobody knows, by fingerprint", raw(b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08", b"")),
        ("a torn fingerprint", raw(b"\xc3\x01\x01", b"")),
        ("every byte", Some((0..=255).cycle().take(10_000).collect())),
    ]
}

/// Everything that should not be sent, between rows that should, with and without keys.
pub fn poisoned(_: &Ground, moments: &mut Moments) -> Shown {
    poisoned_with(moments, "poisoned", "")
}

/// The same where a worker logs what it rejects.
pub fn poisoned_and_logged(_: &Ground, moments: &mut Moments) -> Shown {
    poisoned_with(moments, "poisoned_and_logged", "plant:log_rejected")
}

fn poisoned_with(moments: &mut Moments, name: &str, plant: &str) -> Shown {
    let _turn = heavy();
    let scene = scene(Journey::new(name), |config| config);
    let reader = scene.reader();
    let mut worker = scene.faulty_worker("a", plant);
    let topic = scene.raw_topic(scene.tenant());
    let mut settings = kafka::client(scene.bootstrap());
    // Much fits into a batch that is packed well.
    settings.set("compression.type", "lz4").set("message.max.bytes", "8000000").set("linger.ms", "0").set("batch.num.messages", "8");
    let producer: BaseProducer = settings.create().expect("a producer");
    for (n, (what, value)) in poison().into_iter().enumerate() {
        if n.is_multiple_of(6) {
            scene.produce(1 + moments.below(50));
        }
        for key in [None, Some(MARK)] {
            let mut record = BaseRecord::<str, [u8]>::to(&topic).partition(moments.below(4) as i32);
            (record.key, record.payload) = (key, value.as_deref());
            producer.send(record).map_err(|(error, _)| error).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
    producer.flush(Duration::from_secs(60)).expect("the broker takes poison");
    scene.produce(100);
    scene.wait_until_done();
    assert!(worker.is_running(), "it gave up: {}", worker.stderr());
    let metrics = worker.metrics();
    let produced: i64 = kafka::watermarks(scene.bootstrap(), &topic).iter().map(|(_, end)| end).sum();
    assert_eq!(rows(&metrics), produced as u64, "each row in one outcome");
    let mut leaks = Vec::new();
    let mut look = |place: &str, bytes: &[u8]| {
        if memchr::memmem::find(bytes, b"qzleakqz").is_some() {
            leaks.push(place.to_owned());
        }
    };
    look("the log", worker.stderr().as_bytes());
    look("the metrics", metrics.text.as_bytes());
    for topic in scene.output_topics() {
        let all: Vec<Record> = kafka::read_uncommitted(scene.bootstrap(), &topic);
        all.iter().for_each(|record| record.bytes().for_each(|bytes| look(&topic, bytes)));
    }
    leaks.dedup();
    assert!(leaks.is_empty(), "a clear value leaked into {}", leaks.join(", "));
    let id = worker.id();
    let peak_kib = peak_kib(id);
    assert!(peak_kib < 1_500_000, "{peak_kib} KiB for a few rows");
    settle(&scene, reader)
}

/// The most memory that a process has had. Units: KiB.
fn peak_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(u64::MAX)
}

/// The same events again: in a batch, in later ones, after a restart, from other partitions.
pub fn duplicated(_: &Ground, _: &mut Moments) -> Shown {
    let _turn = heavy();
    let scene = scene(Journey::new("duplicated"), |config| config);
    let reader = scene.reader();
    let generator = Generator::new(11, scene.tenant(), now_ms());
    let events: Vec<Vec<u8>> = (0..600)
        .map(|n| {
            let mut payload = Vec::new();
            generator.generate(n, &mut payload);
            payload
        })
        .collect();
    let topic = scene.raw_topic(scene.tenant());
    let again = |shift: usize| {
        let keyed = events.iter().enumerate().map(|(n, payload)| (Some(format!("k{}", n + shift)), Some(payload.as_slice())));
        kafka::produce(scene.bootstrap(), &topic, keyed);
    };
    let distinct = || {
        let records = kafka::read_committed(scene.bootstrap(), &format!("{}.events", scene.tenant()));
        records.iter().map(Record::key_text).collect::<BTreeSet<_>>()
    };
    let worker = scene.worker("a");
    again(0);
    scene.wait_until_done();
    let first = distinct();
    again(0);
    again(0);
    scene.wait_until_done();
    worker.terminate_within(Duration::from_secs(10)).assert_done();
    let _next = scene.worker("b");
    again(1);
    again(2);
    scene.wait_until_done();
    assert!(!first.is_empty());
    assert_eq!(distinct(), first, "what comes again lands on the key of the first time");
    let expected = scene.check_but_order(reader);
    Shown { rows: expected.rows, of: expected.records }
}

/// Events of long ago and of the future, and a worker whose clock is stepped by an hour, forth and back.
pub fn times_and_clocks(_: &Ground, moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let scene = scene(Journey::new("times_and_clocks"), |config| config);
    let reader = scene.reader();
    let first = 2 + moments.below(4);
    let fault = format!("committed:{first}:clock=3600000;committed:{}:clock=-3600000;committed:{}:clock=0", first + 4, first + 8);
    let worker = scene.faulty_worker("a", &fault);
    let hour = 3_600_000;
    for n in 0..12 {
        scene.produce(150);
        let times = [-400 * 24 * hour, -30 * 24 * hour, -23 * hour, -hour, 4 * 60_000, 6 * 60_000, hour, 400 * 24 * hour];
        let events = times.iter().enumerate().map(|(t, shift)| {
            let event = format!(
                r#"{{"event_id":"t{n}-{t}","event_name":"view","kind":"event","event_time":{},"user":{{"email":"a{n}@example.com"}},"consent":{{"analytics":true}}}}"#,
                now_ms() + shift
            );
            (None::<&[u8]>, Some(event.into_bytes()))
        });
        kafka::produce(scene.bootstrap(), &scene.raw_topic(scene.tenant()), events);
        scene.wait_until_done();
    }
    let future = worker.metrics().sum("lethe_rows_quarantined_total", &[("reason", "future_time")]);
    assert!(future >= 36.0, "{future} rows of the future, of 36 and some of the generator's");
    let shown = settle(&scene, reader);
    worker.terminate_within(Duration::from_secs(10)).assert_done();
    shown
}

/// A key is rotated while batches are under way.
pub fn key_rotated_under_load(_: &Ground, _: &mut Moments) -> Shown {
    let _turn = heavy();
    let scene = scene(Journey::new("key_rotated_under_load"), |config| config);
    let reader = scene.reader();
    let mut worker = scene.worker("a");
    worker.wait_until_ready();
    for n in 0..12 {
        scene.produce(300);
        if n == 3 {
            scene.journey.lethe(&scene.config).args(["keys", "rotate", "--tenant", scene.tenant()]).finish().assert_done();
        }
    }
    eventually("the new key to be taken up", || {
        scene.produce(50);
        let committed = kafka::committed(scene.bootstrap(), &scene.group(), &scene.raw_topic(scene.tenant()));
        committed.iter().any(|c| c.metadata.contains("epoch=2")).then_some(())
    });
    settle(&scene, reader)
}

/// A keyring from an old backup takes the place of the one in use.
pub fn keyring_rolled_back_under_load(_: &Ground, _: &mut Moments) -> Shown {
    let _turn = heavy();
    let scene = scene(Journey::new("keyring_rolled_back"), |config| config);
    let file = scene.journey.home().join("keyring.toml");
    let old = std::fs::read_to_string(&file).expect("a keyring");
    scene.journey.lethe(&scene.config).args(["keys", "rotate", "--tenant", scene.tenant()]).finish().assert_done();
    let good = std::fs::read_to_string(&file).expect("a keyring");
    let put = |text: &str| {
        let next = file.with_extension("next");
        std::fs::write(&next, text).expect("the journey's directory is writable");
        std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o600)).expect("the mode of a file");
        std::fs::rename(&next, &file).expect("the journey's directory is writable");
    };
    let reader = scene.reader();
    let mut worker = scene.worker("a");
    worker.wait_until_ready();
    scene.produce(500);
    scene.wait_until_done();
    put(&old);
    let refused = |refused: f64| {
        eventually(&format!("the old keyring to be refused: {refused}"), || {
            scene.produce(50);
            (worker.metrics().sum("lethe_reload_refused", &[("file", "keyring")]) == refused).then_some(())
        });
    };
    refused(1.0);
    assert!(worker.stderr().contains("rolled back"), "{}", worker.stderr());
    scene.wait_until_done();
    put(&good);
    refused(0.0);
    let shown = settle(&scene, reader);
    assert!(worker.is_running(), "it gave up: {}", worker.stderr());
    shown
}

/// The GeoIP file torn, emptied, cut, no database or gone, again and again: the one that was read stays in force for every row.
pub fn geoip_torn_under_load(ground: &Ground, moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let journey = Journey::new("geoip_torn");
    let (file, next) = (journey.home().join("places.mmdb"), journey.home().join("places.next"));
    // Of 21.0.0.0/8, where one person of two hundred is.
    let good = std::fs::read(repository("tests/fuzz/corpus/geoip/small")).expect("a database");
    let put = |bytes: &[u8]| {
        std::fs::write(&next, bytes).expect("the journey's directory is writable");
        std::fs::rename(&next, &file).expect("the journey's directory is writable");
    };
    put(&good);
    let scene = scene(journey, |config| config.set("geoip.file", file.display().to_string()));
    let reader = scene.reader();
    let mut worker = scene.worker("a");
    worker.wait_until_ready();
    let refused = |refused: f64| {
        worker.hang_up();
        eventually(&format!("the file to be refused: {refused}"), || {
            (worker.metrics().sum("lethe_reload_refused", &[("file", "geoip")]) == refused).then_some(())
        });
    };
    for n in 0..ground.times(5, 20) {
        scene.produce(1_000 + moments.below(2_000));
        match n % 5 {
            0 => std::fs::write(&file, &good[..good.len() / 2]).expect("the journey's directory is writable"),
            1 => std::fs::remove_file(&file).expect("a file to remove"),
            2 => put(b""),
            3 => put(&good[..moments.below(good.len() as u64) as usize]),
            _ => put(b"no database"),
        }
        refused(1.0);
        scene.produce(500);
        put(&good);
        refused(0.0);
    }
    let shown = settle(&scene, reader);
    assert!(worker.is_running(), "it gave up: {}", worker.stderr());
    shown
}

/// Records larger than their topic takes for a while: the tenant stands still, and loses nothing.
pub fn output_larger_than_taken(_: &Ground, _: &mut Moments) -> Shown {
    let _turn = heavy();
    let scene = scene(Journey::new("output_larger_than_taken"), |config| config);
    let reader = scene.reader();
    let mut worker = scene.worker("a");
    worker.wait_until_ready();
    let topic = format!("{}.events", scene.tenant());
    let labels = [("tenant", scene.tenant()), ("cause", "topic")];
    let wait_for = |stands: f64| {
        eventually(&format!("the tenant to stand still: {stands}"), || {
            (worker.metrics().sum("lethe_tenant_paused", &labels) == stands).then_some(())
        });
    };
    scene.produce(200);
    scene.wait_until_done();
    kafka::lower(scene.bootstrap(), &topic, &[("max.message.bytes", "300")]);
    scene.produce(500);
    wait_for(1.0);
    assert!(worker.stderr().contains(&topic), "the topic is not named");
    kafka::lower(scene.bootstrap(), &topic, &[("max.message.bytes", "1048588")]);
    scene.wait_until_done();
    wait_for(0.0);
    assert!(worker.is_running());
    settle(&scene, reader)
}

/// Pause and resume one tenant of two, again and again, while rows of both come.
pub fn kill_switch_toggled(ground: &Ground, moments: &mut Moments) -> Shown {
    toggled(ground, moments, "kill_switch_toggled", "")
}

/// The same where the second tenant's pause is not heard.
pub fn kill_switch_not_heard(ground: &Ground, moments: &mut Moments) -> Shown {
    toggled(ground, moments, "kill_switch_not_heard", "plant:forget_tenant")
}

fn toggled(ground: &Ground, moments: &mut Moments, name: &str, plant: &str) -> Shown {
    let _turn = heavy();
    let journey = Journey::new(name);
    let config = [journey.tenant("one"), journey.tenant("two")].iter().fold(journey.config(), |config, id| config.tenant(id, busy));
    let scene = Scene::with(journey, config.set("run.batch_events", 200).set("kafka.transaction_timeout_ms", 4_000));
    let reader = scene.reader();
    let (mut a, mut b) = (scene.faulty_worker("a", plant), scene.faulty_worker("b", plant));
    a.wait_until_ready();
    b.wait_until_ready();
    let order = |verb: &str, tenant: &str| {
        scene.journey.lethe(&scene.config).args([verb, "--tenant", tenant]).finish().assert_done();
    };
    let ends = |tenant: &str| {
        let topics = scene.output_topics().into_iter().filter(|topic| topic.starts_with(&format!("{tenant}.")));
        topics.map(|topic| kafka::watermarks(scene.bootstrap(), &topic)).collect::<Vec<_>>()
    };
    for n in 0..ground.times(4, 50) as usize {
        let (off, on) = (&scene.tenants[n % 2], &scene.tenants[(n + 1) % 2]);
        scene.produce_to(off, 200 + moments.below(800));
        order("pause", off);
        if n < 2 || moments.below(4) == 0 {
            let then = ends(off);
            scene.produce_to(off, 200);
            scene.produce_to(on, 200);
            eventually("the other tenant to go on", || (scene.lag(on) == 0).then_some(()));
            assert_eq!(ends(off), then, "something of a tenant was written after its pause");
        }
        order("resume", off);
    }
    let shown = settle(&scene, reader);
    assert!(a.is_running() && b.is_running());
    shown
}
