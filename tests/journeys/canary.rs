//! Fear: a personal value gets out. Marked values in every field of the input, and malformed rows around them: no marker, nor any part of
//! eight characters of one, in any output's key, value or header, in quarantine, logs, metrics or error text.

use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::python::assert_schema;
use crate::support::wait::{PATIENCE, eventually};
use lethe::ops::clock::now_ms;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Where a marker may stand clear, besides the raw topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum May {
    /// Nowhere.
    Never,
    /// In destination bodies, which their APIs require.
    Sent,
    /// There, and in the network topic.
    Network,
}

/// Makes markers and remembers them.
#[derive(Default)]
struct Markers {
    state: u64,
    /// Part of eight bytes, lower case: the marker's field and where it may stand.
    parts: HashMap<[u8; 8], (String, May)>,
    made: usize,
}

impl Markers {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn keep(&mut self, field: &str, may: May, marker: String) -> String {
        for part in marker.to_lowercase().as_bytes().windows(8) {
            self.parts.insert(part.try_into().unwrap(), (field.to_owned(), may));
        }
        self.made += 1;
        marker
    }

    /// Sixteen letters.
    fn word(&mut self, field: &str, may: May) -> String {
        let word = (0..16).map(|_| char::from(b'a' + (self.next() % 26) as u8)).collect();
        self.keep(field, may, word)
    }

    /// An address, both sides of its `@` marked.
    fn email(&mut self, field: &str) -> String {
        format!("{}@{}.example", self.word(field, May::Never), self.word(field, May::Never))
    }

    /// A German mobile number, as digits; the country code and prefix are no secret.
    fn phone(&mut self, field: &str) -> String {
        let digits: String = (0..8).map(|i| char::from(b'0' + if i == 0 { 2 + self.next() % 8 } else { self.next() % 10 } as u8)).collect();
        format!("49171{}", self.keep(field, May::Never, digits))
    }

    /// What stands in these bytes and may not stand in `place`.
    fn leaks(&self, place: &str, bytes: &[u8]) -> Vec<String> {
        let lower = bytes.to_ascii_lowercase();
        let sent = place.contains(".dest.");
        let found = lower.windows(8).filter_map(|part| self.parts.get(part));
        let mut leaks: Vec<String> = found
            .filter(|(_, may)| match may {
                May::Never => true,
                May::Sent => !sent,
                May::Network => !(sent || place.ends_with(".network")),
            })
            .map(|(field, _)| format!("{place}: {field}"))
            .collect();
        leaks.dedup();
        leaks
    }
}

/// An event with a marker in every field that can hold one, and the row's own name and ids again in its texts.
fn marked(m: &mut Markers, id: &str, kind: &str) -> Value {
    let (first, last, external) =
        (m.word("user.first_name", May::Never), m.word("user.last_name", May::Never), m.word("user.external_id", May::Never));
    let (client, order) = (m.word("ids.client_id", May::Never), format!("ORD-{}", m.word("order_id", May::Sent)));
    let phone = m.phone("user.phone");
    let agent = m.word("user_agent", May::Network);
    let prose = format!(
        "Hello {first} {last}, write to {} or {} at {} dot com, call +{} or 0171 {}, card 4111 1111 1111 1111, id {external}, \
         from {client}, see https://x.example/?q={} and @{}",
        m.email("feedback.text"),
        m.word("feedback.text, spelled out", May::Never),
        m.word("feedback.text, spelled out", May::Never),
        m.phone("feedback.text"),
        &m.phone("feedback.text, national")[5..],
        m.word("feedback.text, query", May::Never),
        m.word("feedback.text, handle", May::Never),
    );
    let url = format!(
        "https://{}:{}@shop.example/u/{}/{first}-{last}/c/{external}/{phone}/order?email={}&x={}&utm_source={}&utm_medium={first}&utm_campaign=to_{last}\
         &utm_term={}&utm_content={external}&gclid=Cj0{}&fbclid=IwAR{}&ttclid=E.C.P.{}#{}",
        m.word("url user", May::Never),
        m.word("url password", May::Never),
        m.email("url path"),
        m.email("url query"),
        m.word("url query", May::Never),
        m.email("url utm_source"),
        m.phone("url utm_term"),
        m.word("url gclid", May::Sent),
        m.word("url fbclid", May::Sent),
        m.word("url ttclid", May::Sent),
        m.word("url fragment", May::Never),
    );
    let mut event = json!({
        "event_id": id, "kind": kind, "event_name": format!("signup_{first}"), "event_time": now_ms(),
        "user": {
            "email": [m.email("user.email"), m.email("user.email, second")], "phone": [format!("+{phone}"), m.phone("user.phone, second")],
            "phone_country": m.word("user.phone_country", May::Never), "first_name": first, "last_name": last,
            "gender": m.word("user.gender", May::Never), "date_of_birth": format!("1990-01-02{}", m.word("user.date_of_birth", May::Never)),
            "street": m.word("user.street", May::Never), "city": m.word("user.city", May::Sent), "state": m.word("user.state", May::Sent),
            "zip": format!("abc{}", m.word("user.zip", May::Never)), "country": m.word("user.country", May::Never), "external_id": external,
        },
        "ids": {
            "client_id": client, "session_id": m.word("ids.session_id", May::Never), "ga_client_id": m.word("ids.ga_client_id", May::Sent),
            "fbp": format!("fb.1.1790000000000.{}", m.word("ids.fbp", May::Sent)),
            "fbc": format!("fb.1.1790000000000.{}", m.word("ids.fbc", May::Sent)), "ttp": m.word("ids.ttp", May::Sent),
            "ttclid": m.word("ids.ttclid", May::Sent), "gclid": m.word("ids.gclid", May::Sent), "wbraid": m.word("ids.wbraid", May::Sent),
            "gbraid": m.word("ids.gbraid", May::Sent), "dclid": m.word("ids.dclid", May::Sent), "fbclid": m.word("ids.fbclid", May::Sent),
            "fingerprint": m.word("ids.fingerprint", May::Never),
        },
        "ip": "93.184.216.34", "user_agent": format!("Mozilla/5.0 (Windows NT 10.0; {agent}) Chrome/120.0 Safari/537.36"),
        "url": url, "referrer": format!("https://{}@www.google.com/{}?q={}", m.word("referrer user", May::Never), m.email("referrer path"), m.word("referrer query", May::Never)),
        "value": 12.5, "currency": m.word("currency", May::Never), "order_id": order, "payout": m.word("payout", May::Never),
        "cost": { m.word("cost", May::Never): 1 }, "quantity": [m.word("quantity", May::Never)],
        "items": [
            { "id": format!("+{}", m.phone("items.id")), "name": format!("Gift for {first}"), "category": m.email("items.category"), "brand": format!("by {last}"),
              m.word("items, unknown key", May::Never): m.word("items, unknown", May::Never) },
            m.word("items", May::Never),
        ],
        "action_source": m.word("action_source", May::Never),
        "consent": {
            "functional": true, "analytics": true, "ads": true, "personalization": m.word("consent.personalization", May::Never),
            "version": m.email("consent.version"), m.word("consent, unknown key", May::Never): true,
        },
        "feedback": {
            "text": prose, "rating": 5, "nps": m.word("feedback.nps", May::Never), "channel": m.email("feedback.channel"),
            "language": m.email("feedback.language"), "survey_id": m.phone("feedback.survey_id"), "question_id": m.email("feedback.question_id"),
            "author": m.word("feedback.author", May::Never),
        },
        "custom": {
            "note": format!("{first} {} +{}", m.email("custom.note"), m.phone("custom.note")), "long": format!("{}{}", "x".repeat(1_015), m.email(" custom.long")),
            m.word("custom, name", May::Never): m.word("custom, value", May::Never),
        },
        m.word("unknown key", May::Never): { m.word("unknown key inside", May::Never): [m.word("unknown value", May::Never)] },
    });
    event["custom"]["long"] = json!(format!("{} {}", "x".repeat(1_010), m.email("custom.long")));
    if kind == "event" {
        event["body"] = json!(m.word("body", May::Never));
    }
    event
}

/// Rows that must not get through, each with markers where its fault is.
fn malformed(m: &mut Markers) -> Vec<Vec<u8>> {
    let whole = |m: &mut Markers| marked(m, &format!("ok-{}", m.made), "event");
    let mut rows: Vec<Vec<u8>> = Vec::new();
    let text = whole(m).to_string();
    rows.push(text.as_bytes()[..text.len() / 2].to_vec());
    rows.push([text.as_bytes(), m.word("after the end", May::Never).as_bytes()].concat());
    rows.push(m.email("not JSON").into_bytes());
    rows.push([b"\"\xff", m.word("invalid UTF-8", May::Never).as_bytes(), b"\""].concat());
    rows.push(format!("{{\"{}\":1e999}}", m.word("key before a bad number", May::Never)).into_bytes());
    rows.push(format!("{{\"event_time\":{}}}", m.word("bare word", May::Never)).into_bytes());
    rows.push(format!("{}\"{}\"{}", "[".repeat(40), m.word("too deep", May::Never), "]".repeat(40)).into_bytes());
    for fingerprint in [[0xde; 8], *b"\0\0\0\0\0\0\0\0"] {
        rows.push([&[0xc3, 1][..], &fingerprint, m.email("Avro of an unknown schema").as_bytes()].concat());
    }
    rows.push([&[0, 0, 0, 0, 7][..], m.email("Confluent framing").as_bytes()].concat());
    rows.push([&[0xc3, 1][..], m.word("torn Avro", May::Never).as_bytes()].concat());
    for (field, value) in [
        ("event_id", json!(m.email("event_id"))),
        ("event_id", json!({ m.word("event_id", May::Never): 1 })),
        ("event_name", json!(format!("<{}>", m.word("event_name", May::Never)))),
        ("event_time", json!(m.word("event_time", May::Never))),
        ("event_time", json!(now_ms() + 99_999_999)),
        ("tenant", json!(m.word("tenant", May::Never))),
        ("user", json!([m.email("user is a list")])),
        ("ids", json!(m.word("ids is text", May::Never))),
    ] {
        let mut event = whole(m);
        event[field] = value;
        rows.push(event.to_string().into_bytes());
    }
    rows
}

#[test]
fn no_personal_value_gets_out() {
    let journey = Journey::new("no_personal_value_gets_out");
    let acme = journey.tenant("acme");
    let config = journey.config().tenant(&acme, |t| {
        t.set("custom", vec!["note", "long"])
            .set("destinations", vec!["meta", "google_ads", "google_ads_enhancement", "google_data_manager", "tiktok", "ga4"])
            .set("tiktok.pixel_code", "PIXELCODE")
            .set("ga4.measurement_id", "G-XXXXXXX")
            .set("network", true)
            .set("zip_prefix", true)
            .set("special_categories", true)
            .set("without_consent", "necessary")
            .set("windows.network", "1d")
            .set("windows.feedback", "30d")
            .set("windows.media", "1d")
            .set("meta.pixel_id", "1234567890")
            .set("google_ads.customer_id", "1234567890")
            .set("google_ads.conversion_actions.Purchase", "987654321")
    });
    journey.set_up(&config);
    let names = "events conversions feedback replay media logs network dest.meta dest.google_ads dest.google_ads_enhancement \
                 dest.google_data_manager dest.tiktok dest.ga4 quarantine notices aggregates";
    let topics: Vec<String> = names.split_whitespace().map(|name| format!("{acme}.{name}")).collect();

    let mut m = Markers { state: 42, ..Markers::default() };
    let phone_id = m.keep("event_id like a phone", May::Sent, "491715566778899".into());
    let order_id = format!("ORD-{}", m.word("event_id like an order number", May::Sent));
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for (id, kind) in [
        (phone_id.as_str(), "event"),
        (order_id.as_str(), "conversion"),
        ("f-1", "feedback"),
        ("l-1", "log"),
        ("r-1", "replay"),
        ("m-1", "media"),
        ("w-1", &m.word("kind", May::Never)),
    ] {
        rows.push(marked(&mut m, id, kind).to_string().into_bytes());
    }
    for consent in [json!(null), json!({"analytics": false, "ads": true}), json!({"analytics": true, "opt_out_of_sale": true})] {
        let mut event = marked(&mut m, "c-1", "conversion");
        (event["consent"], event["event_name"]) = (consent, json!("Purchase"));
        rows.push(event.to_string().into_bytes());
    }
    let mut special = marked(&mut m, "s-1", "feedback");
    special["feedback"]["text"] = json!(format!("I have cancer and my name is {}", m.word("special category", May::Never)));
    special["feedback"]["language"] = json!("en");
    rows.push(special.to_string().into_bytes());
    rows.extend(malformed(&mut m));
    let count = rows.len();
    let keyed = rows.into_iter().map(|row| (Some(m.email("the raw record's key")), Some(row))).collect::<Vec<_>>();
    kafka::produce(journey.bootstrap(), &format!("{acme}.raw.web"), keyed);

    let mut run = journey.lethe(&config).args(["run"]).env("RUST_LOG", "trace").start();
    run.wait_until_ready();
    let metrics = eventually("all rows to be counted", || {
        let metrics = run.metrics();
        (metrics.sum("lethe_rows_total", &[]) >= count as f64).then_some(metrics)
    });
    let done = run.terminate_within(PATIENCE);
    done.assert_done();
    assert_eq!(metrics.sum("lethe_rows_total", &[]), count as f64);
    assert!(metrics.sum("lethe_rows_total", &[("outcome", "quarantined")]) > 15.0, "{}", metrics.text);

    let mut leaks = m.leaks("metrics", metrics.text.as_bytes());
    leaks.extend(m.leaks("stdout", done.stdout.as_bytes()));
    leaks.extend(m.leaks("stderr", done.stderr.as_bytes()));
    let mut seen = HashMap::new();
    for topic in &topics {
        for record in kafka::read_committed(journey.bootstrap(), topic) {
            *seen.entry(topic.strip_prefix(&format!("{acme}.")).unwrap()).or_insert(0) += 1;
            leaks.extend(record.bytes().flat_map(|bytes| m.leaks(topic, bytes)));
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("93.184.216.34");
            if record.bytes().any(text) && !(topic.contains(".dest.") || topic.ends_with(".network")) {
                leaks.push(format!("{topic}: ip"));
            }
        }
    }
    for (short, schema) in [("quarantine", "quarantine/quarantine.schema.json"), ("notices", "notice/notice.schema.json")] {
        let all = kafka::read_committed(journey.bootstrap(), &format!("{acme}.{short}"));
        assert_schema(schema, &all.iter().map(kafka::Record::json).collect::<Vec<_>>());
    }
    leaks.sort();
    leaks.dedup();
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
    for topic in ["events", "conversions", "feedback", "replay", "media", "logs", "network", "dest.meta", "quarantine", "notices"] {
        assert!(seen.contains_key(topic), "nothing in {topic}, so nothing was shown of it: {seen:?}");
    }
    // The search finds what is there: destination bodies hold the event id, the raw topic everything.
    let raw = kafka::read_committed(journey.bootstrap(), &format!("{acme}.raw.web"));
    assert!(raw.iter().all(|record| record.bytes().any(|bytes| !m.leaks("raw", bytes).is_empty())));
}
