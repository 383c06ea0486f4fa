//! The readers besides the line's own: values one by one, config and keys, what stands in Lethe's own topics, files from outside.

use crate::engine::Told;
use crate::mutate::MARK;
use crate::world::{CONFIG, NOW_MS, world};
use ed25519_dalek::SigningKey;
use lethe::config::compile::{RECORD_SCHEMA, compile};
use lethe::config::load;
use lethe::derive::aggregate::{Aggregate, Lateness, Rules as CountingRules, Until};
use lethe::derive::cell::Cell;
use lethe::derive::session::Session;
use lethe::derive::sessions::{Fate, Rules as SessionRules, Sessions};
use lethe::kafka::directives::Mark;
use lethe::lifecycle::audit::Audit;
use lethe::lifecycle::hold::Holds;
use lethe::lifecycle::request::{Requests, State};
use lethe::lifecycle::signed::{canonical, sha256_hex, sign};
use lethe::lifecycle::{audit, certificate};
use lethe::model::directive::{Directive, InForce, Outcome};
use lethe::model::header::Header;
use lethe::model::identifier::IdentifierType;
use lethe::model::{pseudonym, time};
use lethe::transform::enrich::{device, geo, ip, page};
use lethe::transform::gates::Gates;
use lethe::transform::normalise::{self, Form, Hints, Normalised, country, e164};
use lethe::transform::scrub::{Hit, ScrubRules, SpecialTerms, special_category};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::OnceLock;

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

/// The first line, and the rest.
fn split(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|b| *b == b'\n') {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (b"", input),
    }
}

pub fn text_seeds() -> Vec<Vec<u8>> {
    let mut texts: Vec<String> = [
        "US\n(650) 555-1212", "DE\n+49 (0)171 1234567 ext. 7", "\nJane.Doe+promo@Gmail.com", "FR\nJean-Luc O'Brien", "GB\nM1 1AE", "US\n94025-1234",
        "\n1997-02-16", "US\nCalifornia", "\nSão Paulo 12", "IT\n+39 06 1234567", "\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "Ana\nAna here, mail ana@example.org or +1 650 555 1212, card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00, 219-09-9999, @ana, 1.2.3.4 2001:db8::1",
        "\nname at example dot com, jane(at)example.org, https://x.example/?a=b", "de\nIch bin schwanger und habe Depressionen", "\nΟΔΥΣΣΕΥΣ İstanbul ß ﬁ",
        "\n44444444 4444 4444 1234567890123456789 12-34-56 00.00.00.00 +++---(((", "\n[email] [phone] [em ail]",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push(format!("{MARK}\n{MARK} {MARK}@{MARK}.example"));
    texts.into_iter().map(String::into_bytes).collect()
}

pub fn normalise(input: &[u8], _: &mut Told) {
    let (first, rest) = split(input);
    let text = String::from_utf8_lossy(rest);
    let hint = country(&String::from_utf8_lossy(first));
    let today = normalise::Day { year: 2026, month: 9, day: 21 };
    let mut out = b"before".to_vec();
    for hints in [Hints { phone_country: hint, country: hint, today }, Hints { today, ..Hints::default() }] {
        for form in Form::ALL {
            out.truncate(6);
            match normalise::normalise(form, &text, &hints, &mut out) {
                Normalised::Dropped(_) => assert_eq!(out, b"before", "{}: dropped, and yet something is left", form.as_str()),
                _ => assert!(out.len() > 6 && std::str::from_utf8(&out).is_ok(), "{}: no text", form.as_str()),
            }
        }
        out.truncate(6);
        if e164(&text, hint, &mut out) == Normalised::Text {
            assert!(out.len() <= 6 + 16 && out[6] == b'+' && out[7..].iter().all(u8::is_ascii_digit), "no E.164 number");
        }
    }
}

pub fn url_seeds() -> Vec<Vec<u8>> {
    [
        "https://shop.example.com/thanks?utm_source=google&utm_medium=cpc&gclid=Cj0&fbclid=IwAR#x",
        "http://u:p@EXAMPLE.com:8080/a/../b%2Fc/jane@example.org?x=1&utm_term=a+b",
        "https://[2001:db8::1]/u/8f14e45fceea167a",
        "//x.example",
        "https://xn--mnchen-3ya.example/%F0%9F%98%80/+16505551212",
        "203.0.113.7",
        "::ffff:203.0.113.7",
        "2002:cb00:7107::1",
        "android-app://com.example/x",
        "https://example.com",
        "https://a.example/?utm_campaign=https://b.example/?c=d@e.example",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub fn url(input: &[u8], _: &mut Told) {
    let text = String::from_utf8_lossy(input);
    let mut arenas = page::Arenas::default();
    let page = page::read(&text, true, &mut arenas);
    let _ = page::referrer(&text, true, &mut arenas);
    assert!(std::str::from_utf8(&arenas.record).is_ok() && std::str::from_utf8(&arenas.clear).is_ok(), "no text");
    let keep = ["gclid", "fbclid"];
    let mut once = Vec::new();
    if page.is_some_and(|page| arenas.urls.push(page.reduced, &keep, &mut once)) {
        let once = String::from_utf8(once).unwrap();
        if input.len() > 600 {
            return; // what percent-encoding makes three times as long may be cut, and a segment that is cut may look like something else
        }
        let mut twice = Vec::new();
        let again = page::read(&once, true, &mut arenas).expect("a reduced URL is none");
        assert!(arenas.urls.push(again.reduced, &keep, &mut twice));
        assert_eq!(twice, once.as_bytes(), "a reduced URL is reduced again");
    }
}

pub fn scrub(input: &[u8], _: &mut Told) {
    static RULES: OnceLock<ScrubRules> = OnceLock::new();
    let rules = RULES.get_or_init(ScrubRules::all);
    let (first, rest) = split(input);
    let (own, text) = (String::from_utf8_lossy(first), String::from_utf8_lossy(rest));
    let known = [(Hit::FirstName, own.as_ref())];
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    lethe::transform::scrub::scrub(&text, rules, &known, &mut once);
    let once = String::from_utf8(once).unwrap();
    let again = lethe::transform::scrub::scrub(&once, rules, &known, &mut twice);
    assert_eq!((again.total(), twice.as_slice()), (0, once.as_bytes()), "a second pass changes something");
}

pub fn special(input: &[u8], _: &mut Told) {
    static TERMS: OnceLock<SpecialTerms> = OnceLock::new();
    let (language, text) = split(input);
    let language = String::from_utf8_lossy(language);
    let _ = special_category(
        &String::from_utf8_lossy(text),
        Some(&language).filter(|l| !l.is_empty()).map(AsRef::as_ref),
        TERMS.get_or_init(SpecialTerms::builtin),
    );
}

pub fn device_seeds() -> Vec<Vec<u8>> {
    [
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/129.0.0.0", "Googlebot/2.1 (+http://www.google.com/bot.html)", "curl/8.5.0",
        "Dalvik/2.1.0 (Linux; U; Android 14; SM-S918B Build/UP1A)", "kq7xmarkz9w/1.0 CFNetwork/1 Darwin/20",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub fn device(input: &[u8], told: &mut Told) {
    let text = String::from_utf8_lossy(input);
    let device = &world().assets.devices.lookup(&text).device;
    told.bytes(format!("{device:?}").as_bytes());
    static RULES: OnceLock<device::DeviceRules> = OnceLock::new();
    told.bytes(format!("{:?}", RULES.get_or_init(|| device::DeviceRules::embedded().unwrap()).read(&text)).as_bytes());
}

pub fn address(input: &[u8], _: &mut Told) {
    let text = String::from_utf8_lossy(input);
    let mut out = Vec::new();
    if ip::truncate(&text, &mut out) {
        assert!(
            out.len() <= 18 && std::str::from_utf8(&out).is_ok_and(|t| t.parse::<std::net::IpAddr>().is_ok() || t.contains("::")),
            "no network"
        );
    } else {
        assert!(out.is_empty());
    }
    let _ = ip::parse_end_user(&text);
}

pub fn config_seeds() -> Vec<Vec<u8>> {
    let reference = include_str!("../../config.toml");
    let short: String = reference
        .lines()
        .filter(|l| !l.trim_start().starts_with('#') && !l.is_empty())
        .map(|l| l.split(" # ").next().unwrap_or(l).to_owned() + "\n")
        .collect();
    vec![
        CONFIG.as_bytes().to_vec(),
        short.into_bytes(),
        b"[kafka]\nbootstrap_servers = 'a:1'\nsasl_password_file = 7\n[run]\nbatch_wait = 'kq7xmarkz9w'\n".to_vec(),
    ]
}

/// A value may be a secret that somebody put in the wrong place: names of fields come back, values do not.
pub fn config(input: &[u8], told: &mut Told) {
    let text = String::from_utf8_lossy(input);
    match load::parse(&text, [("LETHE_RUN__BATCH_EVENTS".to_owned(), MARK.to_owned())].into_iter()) {
        Err(error) => told.bytes(error.as_bytes()),
        Ok(_) => panic!("a number that is none was taken"),
    }
    match load::parse(&text, std::iter::empty()) {
        // The name of a field that does not exist is told; a mark in its place is no value.
        Err(error) if error.contains("unknown field") || error.contains("unknown variant") || error.contains("duplicate") => {}
        Err(error) => {
            let field = error.split(": ").next().unwrap_or_default().to_owned();
            told.bytes(&error.as_bytes()[field.len()..]);
        }
        Ok(config) => {
            if config.validate().is_empty() {
                let _ = compile(&config, &crate::world::keyring(config.tenant.iter().map(|t| t.id.clone())));
            }
        }
    }
}

pub fn keyring_seeds() -> Vec<Vec<u8>> {
    let key = |tenant: &str, epoch: u16, key: &str| {
        format!("[[key]]\ntenant = \"{tenant}\"\nepoch = {epoch}\nfrom = \"2026-01-0{epoch}T00:00:00Z\"\nkey = \"{key}\"\n")
    };
    let good = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    [
        key("acme", 1, good) + &key("acme", 2, good),
        key("acme", 1, MARK),
        format!("[[key]]\ntenant = \"acme\"\nkey = {MARK}\n"),
        "# ß\n[[key]]\nkey = 'ß".into(),
    ]
    .map(String::into_bytes)
    .to_vec()
}

pub fn keyring(input: &[u8], told: &mut Told) {
    if let Err(error) = lethe::ops::keys::load(Path::new("keyring.toml"), Some(String::from_utf8_lossy(input).into_owned())) {
        // A tenant's id is told, and is nobody's secret.
        let told_of = format!("{error} {error:?}");
        told.bytes(told_of.rsplit(" epoch ").next().unwrap_or(&told_of).as_bytes());
    }
    let text = String::from_utf8_lossy(input);
    let _ = (lethe::lifecycle::signed::read_private(&text), lethe::lifecycle::signed::read_public(&text));
}

pub fn directive_seeds() -> Vec<Vec<u8>> {
    let example = [
        include_str!("../../schemas/directive/erase.json"),
        include_str!("../../schemas/directive/hold.json"),
        include_str!("../../schemas/directive/bad.json"),
    ];
    let mut seeds: Vec<Vec<u8>> = example.iter().map(|t| t.as_bytes().to_vec()).collect();
    let more = [
        r#""kind":"pause","paused":true"#,
        r#""kind":"rate_limit","events_per_second":5"#,
        r#""kind":"restrict","pseudonyms":["1.AAECAwQFBgcICQoLDA0ODw"],"lifted":true"#,
        r#""kind":"withdraw","pseudonyms":["1.AAECAwQFBgcICQoLDA0ODw"],"purpose":"ads""#,
        r#""kind":"terminate","deadline_ms":1"#,
        r#""kind":"erase","pseudonyms":["kq7xmarkz9w@kq7xmarkz9w.example"]"#,
    ];
    seeds.extend(more.iter().map(|m| format!(r#"{{"id":"r1","tenant":"acme","issued_at_ms":1,{m}}}"#).into_bytes()));
    seeds
}

pub fn directive(input: &[u8], told: &mut Told) {
    let mut in_force = InForce::default();
    let (first, rest) = split(input);
    in_force.apply(0, 1, first, Some(rest));
    let key = serde_json::from_slice::<Directive>(input).map(|d| d.key()).unwrap_or_default();
    in_force.apply(1, i64::MAX, key.as_bytes(), Some(input));
    in_force.apply(i64::MAX - 1, i64::MIN, key.as_bytes(), Some(input));
    for refused in in_force.refused.iter().filter(|r| r.outcome == Outcome::Malformed) {
        told.bytes(format!("{refused:?}").as_bytes());
    }
    let gates = Gates::build(&in_force, &world().rules);
    let _ = (gates.concern(0), in_force.is_paused("acme"), in_force.rate_limit("acme"));
    let holds = Holds::build(&in_force);
    let _ = holds.cover("acme", "events", Some(&[1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]));
    in_force.apply(5, 5, key.as_bytes(), None);
}

pub fn certificate_seeds() -> Vec<Vec<u8>> {
    vec![include_bytes!("../../schemas/certificate/example.json").to_vec(), include_bytes!("../../schemas/certificate/bad.json").to_vec()]
}

pub fn certificate(input: &[u8], told: &mut Told) {
    let key = signing_key();
    if let Err(error) = certificate::check(input, &key.verifying_key()) {
        told.error(&error);
    }
    // Past the signature, as a forger with the key would come.
    let Ok(mut members) = serde_json::from_slice::<Map<String, Value>>(input) else { return };
    sign(&mut members, &key);
    match certificate::check(&canonical(&Value::Object(members)), &key.verifying_key()) {
        Ok(certificate) => drop(certificate::text(&certificate)),
        Err(error) => told.error(&error),
    }
}

pub fn audit_seeds() -> Vec<Vec<u8>> {
    let mut seeds =
        vec![include_bytes!("../../schemas/audit/entry.json").to_vec(), include_bytes!("../../schemas/audit/bad.json").to_vec()];
    let heads = [("b".to_owned(), audit::Head { n: 1, hash: MARK.into() })].into();
    for what in [audit::What::Again { why: MARK.into() }, audit::What::Checkpoint { heads }] {
        seeds.push(audit::Chain::new("a", None).append(1, "retain", "acme", vec!["r".into()], what, Some(&signing_key())).1);
    }
    seeds
}

pub fn audit(input: &[u8], told: &mut Told) {
    let key = signing_key();
    let public = key.verifying_key();
    let mut verified = Audit::new(&public, None);
    verified.take(0, b"retain", input);
    if let Ok(Value::Object(mut members)) = serde_json::from_slice(input) {
        // With a hash that fits, and signed.
        members.remove("hash");
        sign(&mut members, &key);
        let hash = sha256_hex(&canonical(&Value::Object(members.clone())));
        members.insert("hash".into(), hash.into());
        let bytes = canonical(&Value::Object(members));
        for offset in [1, 2] {
            verified.take(offset, b"retain", &bytes);
        }
        let mut requests = Requests::default();
        match audit::read(&bytes) {
            Ok((entry, ..)) => requests.take(&entry),
            Err(error) => told.error(&error),
        }
        assert!(requests.open().all(|(_, r)| r.state() != State::Done), "an open request that is done");
    }
    for fault in verified.finish().faults {
        told.bytes(fault.fault.as_bytes());
    }
}

fn record_prefix() -> &'static [u8] {
    let rules = &world().rules;
    let events = rules.topics.iter().position(|t| t.schema == Some(lethe::config::compile::RECORD_SCHEMA)).unwrap();
    rules.schemas.prefix(lethe::model::record::TopicIndex(events as u16))
}

/// Bodies of records that the line wrote.
pub fn record_seeds() -> Vec<Vec<u8>> {
    use lethe::model::record::RawRecords;
    let world = world();
    assert!(!RECORD_SCHEMA.is_empty());
    let mut seeds = Vec::new();
    for payload in crate::targets::json_seeds() {
        let mut records = RawRecords::default();
        records.push(0, 0, 0, NOW_MS, &payload);
        let out = lethe::transform::transform(&records, &world.rules, &world.assets, NOW_MS);
        for chunk in &out.chunks {
            seeds.extend(chunk.records.iter().filter_map(|r| r.value.of(&chunk.arena).strip_prefix(record_prefix()).map(<[u8]>::to_vec)));
        }
    }
    assert!(!seeds.is_empty(), "the line writes records");
    seeds
}

fn counting() -> CountingRules {
    CountingRules { k: 10, lateness: Lateness::of_all(3_600_000), groups_max: 1_000 }
}

fn sessions() -> Sessions {
    Sessions::new(SessionRules { gap_ms: 1_800_000, lateness_ms: 3_600_000 }, 0)
}

pub fn record(input: &[u8], _: &mut Told) {
    let bytes = [record_prefix(), input].concat();
    let Some(event) = lethe::derive::record::read(record_prefix(), &bytes) else { return };
    let mut sessions = sessions();
    for stored_at_ms in [event.occurred_at_ms, i64::MIN, i64::MAX] {
        sessions.take(&event, std::iter::empty(), stored_at_ms);
        sessions.passed(stored_at_ms);
        sessions.drain(|_, _, session| {
            if let Some(session) = session {
                let mut out = Vec::new();
                session.write(b"P", "acme", event.subject, &mut out);
                assert_eq!(
                    Session::read(b"P", &out, session.identifiers.clone()).as_ref(),
                    Some(session),
                    "a session that cannot be read back"
                );
            }
        });
    }
    let mut aggregate = Aggregate::new(counting(), Until::NOTHING, &[(0, None)]);
    let counted = lethe::derive::aggregate::Event {
        occurred_at_ms: event.occurred_at_ms,
        key: lethe::derive::subjects::hash(event.event_id.as_bytes()),
        group: [event.event_name, event.country, event.device_class, event.campaign[0]],
        subject: None,
        value: event.value.map(|amount| (event.currency, amount)),
    };
    for stored_at_ms in [event.occurred_at_ms, i64::MAX, i64::MIN] {
        aggregate.take(0, 0, stored_at_ms, &counted);
        aggregate.passed(0, 1, stored_at_ms);
    }
    aggregate.close();
}

pub fn session_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for body in record_seeds() {
        let bytes = [record_prefix(), &body].concat();
        if let Some(event) = lethe::derive::record::read(record_prefix(), &bytes) {
            let mut out = Vec::new();
            Session::of(&event, Vec::new()).write(b"", "acme", event.subject, &mut out);
            seeds.push(out);
        }
    }
    seeds
}

pub fn session(input: &[u8], _: &mut Told) {
    let Some(session) = Session::read(b"", input, Vec::new()) else { return };
    let mut sessions = sessions();
    let id = session.id;
    sessions.restore("1.subject", id, Some(session.clone()));
    sessions.restore("1.subject", id.wrapping_add(1), Some(session.clone()));
    sessions.restore("1.subject", id, None);
    sessions.passed(session.end_ms);
    sessions.judge(|_, _, at_ms| if at_ms % 2 == 0 { Fate::Remove } else { Fate::Leave });
    sessions.drain(|_, _, _| ());
    sessions.passed(i64::MAX);
    let _ = sessions.open();
}

pub fn cell_seeds() -> Vec<Vec<u8>> {
    vec![include_bytes!("../../schemas/aggregate/example.json").to_vec(), include_bytes!("../../schemas/aggregate/bad.json").to_vec()]
}

pub fn cell(input: &[u8], _: &mut Told) {
    let Some(cell) = Cell::read(input) else { return };
    let _ = (cell.key(), cell.start_ms());
    let start = cell.start_ms().unwrap_or(0);
    let mut aggregate = Aggregate::new(counting(), Until { hours_ms: start.saturating_add(1), days_ms: i64::MIN }, &[(0, None)]);
    aggregate.restore(&cell);
    aggregate.passed(0, 1, i64::MAX);
    aggregate.close();
}

pub fn small_seeds() -> Vec<Vec<u8>> {
    vec![
        b"lethe1 directives=41 epoch=2".to_vec(),
        b"1.AAECAwQFBgcICQoLDA0ODw".to_vec(),
        b"1.AAECAwQFBgcICQoLDA0ODw/00000000000000ff".to_vec(),
        b"2026-09-21T14:13:20.123456789+02:00".to_vec(),
        vec![1, 0, 1, 0, 0, 0, 1, 2, 3, 4, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7],
    ]
}

pub fn small(input: &[u8], _: &mut Told) {
    if let Some(header) = Header::read(input) {
        assert_eq!(header.identifiers().count(), (input.len() - 11) / 16);
    }
    let text = String::from_utf8_lossy(input);
    if let Some(mark) = Mark::read(&text) {
        assert_eq!(Mark::read(&mark.to_text()), Some(mark));
    }
    if let Some((epoch, p)) = pseudonym::read_text(&text) {
        assert_eq!(pseudonym::read_text(&pseudonym::text(epoch, p)), Some((epoch, p)));
    }
    if let Some(lateness) = Lateness::read(&text) {
        assert_eq!(Lateness::read(&lateness.to_text()), Some(lateness));
    }
    let _ = (Session::read_key(input), time::parse_rfc3339(&text));
}

/// A database of one network, kept as a file.
pub fn geoip_seeds() -> Vec<Vec<u8>> {
    vec![include_bytes!("corpus/geoip/small").to_vec()]
}

pub fn geoip(input: &[u8], _: &mut Told) {
    let Ok(reader) = maxminddb::Reader::from_source(input.to_vec()) else { return };
    if reader.verify().is_err() {
        return;
    }
    for address in ["21.1.2.3", "203.0.113.7", "2001:db8::1", "::", "255.255.255.255"] {
        let _ = geo::locate(&reader, address.parse().unwrap(), true);
    }
}

/// What an operator gives on the command line.
pub fn identifiers(input: &[u8], told: &mut Told) {
    let text = String::from_utf8_lossy(split(input).1).into_owned();
    // `-` and `@` would read standard input and files.
    let text = text.trim_start_matches(['-', '@']).to_owned();
    for kind in [IdentifierType::Email, IdentifierType::Phone, IdentifierType::ExternalId, IdentifierType::ClientId] {
        let mut given = lethe::commands::identifiers::Given::default();
        given.add(kind, vec![text.clone()]);
        if let Err(error) = lethe::commands::identifiers::pseudonyms(&given, &world().rules.tenants[0].keys) {
            told.error(&error);
        }
    }
}
