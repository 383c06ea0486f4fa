//! The slow twin of the line: one row at a time, a tree of JSON, the hmac crate, apache-avro as the reader. Whatever the fast line does with
//! columns, arenas, quick looks and kernels, its keys, headers, records and quarantine must be these.

use super::decode::{MAX_DEPTH, MAX_ITEMS, MAX_LIST};
use super::destinations::names::Canonical;
use super::enrich::{ip, page};
use super::enriched::Assets;
use super::fixture::{KEY, NOW, Written, assets, records, rules, written};
use super::gates::Gates;
use super::line::{Transformed, transform, transform_in_chunks};
use super::normalise::{Day, Form, Hints, Normalised, country, normalise};
use super::own_values::Own;
use super::own_values::slow::{mask, mask_url};
use super::rules::{Rules, TenantRules, WithoutConsent};
use super::scrub::{Hit, scrub};
use crate::generator::{Expectation, Generator};
use crate::model::category::Category;
use crate::model::consent::Purpose;
use crate::model::destination::Destination;
use crate::model::field::Field;
use crate::model::partition::murmur2_positive;
use crate::model::record::RawRecords;
use crate::model::rejected::{Gate, Reason};
use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};

/// What the twin says of a row.
enum Fate {
    Quarantined(Reason, Option<Field>),
    Expired,
    Open(Box<Open>),
}

/// A row that is let through, unless consent closes it.
struct Open {
    /// The category's record, if any.
    record: Option<(Category, Row)>,
    network: Option<Row>,
    /// Destinations that may get one.
    destinations: Vec<Destination>,
    /// Key of records with identifiers.
    key: String,
    /// The tenant does not keep the category.
    off: bool,
}

struct Row {
    key: String,
    partition: u32,
    /// Header `lethe`: time and pseudonyms.
    identifiers: Vec<[u8; 16]>,
    value: Value,
}

fn pseudonym(kind: &str, value: &str) -> [u8; 16] {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&KEY).unwrap();
    mac.update(&[kind.as_bytes(), &[0], value.as_bytes()].concat());
    mac.finalize().into_bytes()[..16].try_into().unwrap()
}

fn shown(p: &[u8; 16]) -> String {
    format!("1.{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(p))
}

fn depth(text: &str) -> u32 {
    let (mut now, mut most, mut quoted, mut escaped) = (0_i64, 0_i64, false, false);
    for b in text.bytes() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => now += 1,
            b']' | b'}' if !quoted => now -= 1,
            _ => {}
        }
        most = most.max(now);
    }
    most as u32
}

fn parse(payload: &[u8]) -> Result<Map<String, Value>, Reason> {
    if payload.starts_with(&[0xc3, 1]) {
        return Err(Reason::UnknownSchema);
    }
    let text = std::str::from_utf8(payload).map_err(|_| Reason::Malformed)?.trim_start_matches('\u{feff}');
    let value: Value = serde_json::from_str(text).map_err(|_| Reason::Malformed)?;
    let Value::Object(row) = value else { return Err(Reason::Malformed) };
    let objects = ["user", "ids", "consent", "feedback", "custom"];
    let whole = objects.iter().all(|name| row.get(*name).is_none_or(|v| v.is_object() || v.is_null()));
    if depth(text) > MAX_DEPTH || !whole { Err(Reason::Malformed) } else { Ok(row) }
}

/// A text of the row; empty for absent or another type.
fn text<'v>(row: &'v Map<String, Value>, path: &str) -> &'v str {
    let found = match path.split_once('.') {
        None => row.get(path),
        Some((object, name)) => row.get(object).and_then(|o| o.get(name)),
    };
    found.and_then(|v| v.as_str().or_else(|| v.as_array()?.iter().find_map(|v| v.as_str().filter(|t| !t.is_empty())))).unwrap_or("")
}

fn address_of(row: &Map<String, Value>) -> &str {
    Some(text(row, "ip")).filter(|ip| ip.trim().parse::<std::net::IpAddr>().is_ok()).unwrap_or("")
}

fn list<'v>(row: &'v Map<String, Value>, name: &str) -> Vec<&'v str> {
    match row.get("user").and_then(|u| u.get(name)) {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().take(MAX_LIST).filter_map(Value::as_str).filter(|t| !t.is_empty()).collect(),
        _ => Vec::new(),
    }
}

fn number(value: Option<&Value>, most: f64) -> Option<f64> {
    let n = match value? {
        Value::Number(n) => n.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (0.0..=most).contains(&n).then_some(n)
}

fn when(value: Option<&Value>) -> Result<Option<i64>, ()> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(n)) => match n.as_i64().filter(|n| *n >= 0) {
            Some(n) if n < 100_000_000_000 => Ok(Some(n * 1_000)),
            Some(n) => Ok(Some(n)),
            None => Err(()),
        },
        Some(Value::String(text)) => text.parse::<jiff::Timestamp>().map(|t| Some(t.as_millisecond())).map_err(|_| ()),
        Some(_) => Err(()),
    }
}

fn checked(row: &Map<String, Value>, name: &str, fits: impl Fn(&str) -> bool) -> Result<(), Reason> {
    match row.get(name) {
        None | Some(Value::Null) => Err(Reason::MissingField),
        Some(Value::String(text)) if !text.is_empty() && fits(text) => Ok(()),
        Some(_) => Err(Reason::BadField),
    }
}

fn category_of(row: &Map<String, Value>) -> Category {
    Category::from_kind(text(row, "kind")).unwrap_or(Category::Events)
}

/// Required fields, in the order in which they are blamed.
fn check(row: &Map<String, Value>) -> Result<i64, (Reason, Option<Field>)> {
    let all = |text: &str, most: usize, odd: &str| text.len() <= most && text.chars().all(|c| c.is_ascii_alphanumeric() || odd.contains(c));
    if row.get("tenant").is_some_and(|t| !t.is_null() && t != "acme") {
        return Err((Reason::TenantMismatch, Some(Field::Tenant)));
    }
    checked(row, "event_id", |t| all(t, 128, "._:-")).map_err(|r| (r, Some(Field::EventId)))?;
    if matches!(category_of(row), Category::Events | Category::Conversions) {
        checked(row, "event_name", |t| all(t, 64, "_ .:-")).map_err(|r| (r, Some(Field::EventName)))?;
    }
    match when(row.get("event_time")) {
        Ok(None) => Err((Reason::MissingField, Some(Field::EventTime))),
        Err(()) => Err((Reason::BadTime, Some(Field::EventTime))),
        Ok(Some(at)) if at > NOW + 300_000 => Err((Reason::FutureTime, Some(Field::EventTime))),
        Ok(Some(at)) => Ok(at),
    }
}

fn consents(row: &Map<String, Value>, at: i64, purpose: Option<Purpose>, validity_ms: i64) -> bool {
    let Some(purpose) = purpose else { return true };
    let given_at = match row.get("consent").and_then(|c| c.get("given_at")).map(|g| when(Some(g))) {
        None | Some(Ok(None)) => at,
        Some(Ok(Some(given))) => given,
        Some(Err(())) => return false,
    };
    let answer = row.get("consent").and_then(|c| c.get(purpose.as_str())) == Some(&Value::Bool(true));
    answer && given_at <= NOW + 300_000 && NOW - given_at <= validity_ms
}

/// The row without the fields that the tenant keeps out.
fn minimised(whole: &Map<String, Value>, tenant: &TenantRules) -> Map<String, Value> {
    let mut row = whole.clone();
    let objects = ["user", "ids", "feedback"];
    for name in Field::NAMES.into_iter().filter(|n| !objects.contains(n)) {
        let kept = tenant.fields.as_ref().is_none_or(|allowed| !allowed.kept_out().any(|out| out == name));
        match name.split_once('.') {
            _ if kept => {}
            None => drop(row.remove(name)),
            Some((object, name)) => {
                if let Some(Value::Object(inner)) = row.get_mut(object) {
                    inner.remove(name);
                }
            }
        }
    }
    row
}

fn fate(payload: &[u8], rules: &Rules, assets: &Assets) -> Fate {
    let whole = match parse(payload) {
        Ok(row) => row,
        Err(reason) => return Fate::Quarantined(reason, None),
    };
    let at = match check(&whole) {
        Ok(at) => at,
        Err((reason, field)) => return Fate::Quarantined(reason, field),
    };
    let tenant = &rules.tenants[0];
    let row = minimised(&whole, tenant);
    if !tenant.allowed_categories[category_of(&row) as usize] {
        return Fate::Open(Box::new(Open { record: None, network: None, destinations: Vec::new(), key: String::new(), off: true }));
    }
    let category = tenant.category(category_of(&row));
    if category.is_some_and(|c| NOW - at > c.window_ms) {
        return Fate::Expired;
    }
    let allowed = |basis: crate::model::consent::Basis| consents(&row, at, basis.consent_needed(), tenant.consent_validity_ms);
    let full = category.is_some_and(|c| allowed(c.basis));
    let necessary = category.is_some() && !full && tenant.without_consent == WithoutConsent::Necessary;
    let network = tenant.category(Category::Network).is_some_and(|c| NOW - at <= c.window_ms && allowed(c.basis));
    let opted_out = row.get("consent").and_then(|c| c.get("opt_out_of_sale")) == Some(&Value::Bool(true));
    let sends = matches!(category_of(&row), Category::Events | Category::Conversions);
    let destinations: Vec<Destination> =
        tenant.destinations.iter().filter(|d| sends && !opted_out && allowed(d.basis)).map(|d| d.destination).collect();
    let named = full || network || !destinations.is_empty();
    let twin = Twin { row: &row, whole: &whole, at, tenant, assets, full };
    let with = |anonymous: bool, value: &dyn Fn(&Twin<'_>, &str) -> Value| {
        let ids = if anonymous { Vec::new() } else { twin.identifiers() };
        let (subject, key) = twin.key(&ids);
        let partition = murmur2_positive(subject.as_bytes());
        Row { key, partition, identifiers: ids.iter().map(|(_, p)| *p).collect(), value: value(&twin, &subject) }
    };
    let has_network = !(address_of(&row).is_empty() && text(&row, "user_agent").is_empty());
    Fate::Open(Box::new(Open {
        record: (full || necessary).then(|| (category_of(&row), with(!full, &|t, subject| t.record(subject)))),
        network: (network && has_network).then(|| with(false, &|t, subject| t.network(subject))),
        destinations,
        off: category.is_none(),
        key: if named { with(false, &|_, _| Value::Null).key } else { String::new() },
    }))
}

struct Twin<'t> {
    row: &'t Map<String, Value>,
    /// With the fields that are kept out: texts are searched for them, and a phone is read by its country, all the same.
    whole: &'t Map<String, Value>,
    at: i64,
    tenant: &'t TenantRules,
    assets: &'t Assets,
    full: bool,
}

/// `null` for nothing.
fn or_null(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { json!(text) }
}

impl Twin<'_> {
    fn hints(&self) -> Hints {
        Hints {
            phone_country: country(text(self.whole, "user.phone_country")),
            country: country(text(self.whole, "user.country")),
            today: Day { year: 2026, month: 9, day: 21 },
        }
    }

    /// Types and pseudonyms, each once.
    fn identifiers(&self) -> Vec<(&'static str, [u8; 16])> {
        let mut values: Vec<(&'static str, String)> =
            list(self.row, "external_id").iter().map(|v| ("external_id", v.trim().into())).collect();
        for (kind, form) in [("email", Form::EmailPlain), ("phone", Form::PhoneE164)] {
            for value in list(self.row, kind) {
                let mut out = Vec::new();
                if !matches!(normalise(form, value, &self.hints(), &mut out), Normalised::Dropped(_)) {
                    values.push((kind, String::from_utf8(out).unwrap()));
                }
            }
        }
        for kind in ["client_id", "ga_client_id", "fbp", "fbc", "ttp", "fingerprint"] {
            values.push((kind, text(self.row, &format!("ids.{kind}")).trim().into()));
        }
        let mut ids: Vec<(&'static str, [u8; 16])> = Vec::new();
        for (kind, value) in values.iter().filter(|(_, v)| !v.is_empty()) {
            let id = (*kind, pseudonym(kind, value));
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    fn event_id(&self) -> String {
        if self.tenant.clear_event_ids {
            text(self.row, "event_id").into()
        } else {
            shown(&pseudonym("event_id", text(self.row, "event_id")))
        }
    }

    fn key(&self, ids: &[(&'static str, [u8; 16])]) -> (String, String) {
        let order = self.tenant.subject_order.iter().map(|kind| kind.as_str());
        let named = order.filter_map(|kind| ids.iter().find(|(k, _)| *k == kind)).next();
        let subject = match named {
            Some((_, p)) => shown(p),
            None => format!("-{}", shown(&pseudonym("event_id", text(self.row, "event_id")))),
        };
        let key = format!("{subject}/{}", self.event_id());
        (subject, key)
    }

    fn own(&self) -> Vec<Own<'_>> {
        let mut own: Vec<Own<'_>> = Vec::new();
        for (hit, path) in [
            (Hit::FirstName, "user.first_name"),
            (Hit::LastName, "user.last_name"),
            (Hit::Street, "user.street"),
            (Hit::City, "user.city"),
            (Hit::City, "user.zip"),
        ] {
            own.push((hit, text(self.whole, path)));
        }
        own.extend(list(self.whole, "email").into_iter().map(|v| (Hit::Email, v)));
        own.extend(list(self.whole, "phone").into_iter().map(|v| (Hit::Phone, v)));
        own.push((Hit::Name, text(self.whole, "feedback.author")));
        own.extend(list(self.whole, "external_id").into_iter().map(|v| (Hit::ExternalId, v)));
        for path in [
            "ids.client_id",
            "ids.session_id",
            "ids.ga_client_id",
            "ids.fbp",
            "ids.fbc",
            "ids.ttp",
            "ids.fingerprint",
            "event_id",
            "order_id",
        ] {
            if path != "event_id" || !self.tenant.clear_event_ids {
                own.push((Hit::ExternalId, text(self.whole, path)));
            }
        }
        own.push((Hit::Ip, address_of(self.whole)));
        own.push((Hit::DateOfBirth, text(self.whole, "user.date_of_birth")));
        own.retain(|(hit, v)| v.len() > if *hit == Hit::DateOfBirth { 5 } else { 1 });
        own
    }

    /// Every text is masked and scrubbed, without a quick look.
    fn scrubbed(&self, text: &str) -> String {
        let own = self.own();
        let masked = mask(text, &own).unwrap_or_else(|| text.to_owned());
        let mut out = Vec::new();
        scrub(&masked, &self.tenant.scrub, &own, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn network(&self, subject: &str) -> Value {
        json!({
            "event_id": self.event_id(), "occurred_at": self.at, "received_at": NOW, "tenant": "acme", "subject": subject,
            "ip": or_null(address_of(self.row)), "user_agent": or_null(text(self.row, "user_agent")),
        })
    }

    fn record(&self, subject: &str) -> Value {
        let category = category_of(self.row);
        let basis = self.tenant.category(category).unwrap().basis.as_str();
        let ids: Vec<Value> = if self.full {
            self.identifiers().iter().map(|(kind, p)| json!({"type": kind, "pseudonym": shown(p)})).collect()
        } else {
            Vec::new()
        };
        let name = text(self.row, "event_name");
        let name = if Canonical::read(name).is_some() { name.to_owned() } else { self.scrubbed(name) };
        let mut record = json!({
            "event_id": self.event_id(), "category": category.as_str(),
            "event_name": or_null(&name),
            "occurred_at": self.at, "received_at": NOW, "tenant": "acme", "subject": subject, "identifiers": ids, "key_epoch": 1,
            "legal_basis": if self.full { basis } else { "necessary" },
        });
        for part in [self.consent(), self.context(), self.commerce(), self.rest()] {
            record.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        }
        record
    }

    fn consent(&self) -> Value {
        let Some(Value::Object(c)) = self.row.get("consent") else { return json!({"consent": null}) };
        let answer = |name: &str| c.get(name).filter(|v| v.is_boolean()).cloned().unwrap_or(Value::Null);
        json!({"consent": {
            "functional": answer("functional"), "analytics": answer("analytics"), "ads": answer("ads"),
            "personalization": answer("personalization"), "given_at": when(c.get("given_at")).ok().flatten(),
            "version": or_null(c.get("version").and_then(Value::as_str).unwrap_or("")),
            "opt_out_of_sale": c.get("opt_out_of_sale") == Some(&Value::Bool(true)),
        }})
    }

    fn context(&self) -> Value {
        let (mut arenas, mut address) = (page::Arenas::default(), Vec::new());
        let own: Vec<Own<'_>> = self.own().into_iter().filter(|(hit, _)| *hit != Hit::City).collect();
        let url = |name: &str| {
            let url = text(self.row, name).replace(['\t', '\n', '\r'], "");
            mask_url(&url, &own).unwrap_or(url)
        };
        let page = page::read(&url("url"), false, &mut arenas);
        let referrer = page::referrer(&url("referrer"), false, &mut arenas).map(|r| r.host);
        let plain = |span: crate::model::span::Span| std::str::from_utf8(span.of(&arenas.record)).unwrap().to_owned();
        let (host, path) = page.map_or_else(Default::default, |p| (plain(p.host), plain(p.path)));
        let referrer = referrer.map(plain).unwrap_or_default();
        let utm = page.map_or_else(Default::default, |p| {
            [p.campaign.source, p.campaign.medium, p.campaign.campaign, p.campaign.term, p.campaign.content].map(plain)
        });
        let platform = page.and_then(|p| p.click_platform).map_or("", page::ClickPlatform::as_str);
        let platform = match platform {
            "" if ["gclid", "wbraid", "gbraid", "dclid"].iter().any(|id| !text(self.row, &format!("ids.{id}")).is_empty()) => "google",
            "" if ["fbclid", "fbc"].iter().any(|id| !text(self.row, &format!("ids.{id}")).is_empty()) => "meta",
            "" if !text(self.row, "ids.ttclid").is_empty() => "tiktok",
            other => other,
        };
        ip::truncate(address_of(self.row), &mut address);
        let only_full = |value: Value| if self.full { value } else { Value::Null };
        let country = country(text(self.row, "user.country"));
        let agent = text(self.row, "user_agent");
        let device = (!agent.is_empty()).then(|| {
            let d = &self.assets.devices.lookup(agent).device;
            json!({
                "class": d.class.as_str(), "is_bot": d.is_bot,
                "os": only_full(or_null(&d.os)), "os_major": only_full(or_null(&d.os_major)),
                "browser": only_full(or_null(&d.browser)), "browser_major": only_full(or_null(&d.browser_major)),
            })
        });
        let names = ["source", "medium", "campaign", "term", "content"];
        let mut campaign: Map<String, Value> = names.iter().zip(&utm).map(|(name, value)| ((*name).into(), or_null(value))).collect();
        campaign.insert("click_platform".into(), or_null(platform));
        let has_campaign = self.full && campaign.values().any(|v| !v.is_null());
        json!({
            "geo": country.map(|c| json!({"country": c.as_str(), "region": null, "city": null})),
            "ip_truncated": only_full(or_null(std::str::from_utf8(&address).unwrap())),
            "device": device,
            "page": (!(host.is_empty() && referrer.is_empty())).then(|| json!({
                "host": or_null(&host), "path": only_full(or_null(&path)), "referrer_host": only_full(or_null(&referrer)),
            })),
            "campaign": if has_campaign { Value::Object(campaign) } else { Value::Null },
        })
    }

    fn amount(&self, value: Option<&Value>) -> Value {
        let Some(n) = number(value, f64::MAX) else { return Value::Null };
        if !self.tenant.exact_amounts {
            return json!(n);
        }
        // The spelling is the test of `exact_amounts`, at the encoder; here its value.
        json!(n)
    }

    fn commerce(&self) -> Value {
        if !self.full {
            return json!({"value": null, "currency": null, "order": null, "items": [], "payout": null, "cost": null, "quantity": null});
        }
        let currency = text(self.row, "currency");
        let currency = if currency.len() == 3 && currency.bytes().all(|b| b.is_ascii_alphabetic()) { currency } else { "" };
        let order = text(self.row, "order_id").trim();
        let items = self.row.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        let items = items.iter().take(MAX_ITEMS).filter_map(Value::as_object).map(|item| {
            let label = |name: &str| or_null(&self.scrubbed(item.get(name).and_then(Value::as_str).unwrap_or("")));
            json!({
                "id": label("id"), "name": label("name"), "category": label("category"), "brand": label("brand"),
                "price": self.amount(item.get("price")), "quantity": number(item.get("quantity"), f64::MAX),
            })
        });
        json!({
            "value": self.amount(self.row.get("value")), "currency": or_null(currency),
            "order": if order.is_empty() { Value::Null } else { json!(shown(&pseudonym("order_id", order))) },
            "items": items.collect::<Vec<_>>(), "payout": self.amount(self.row.get("payout")), "cost": self.amount(self.row.get("cost")),
            "quantity": number(self.row.get("quantity"), f64::MAX),
        })
    }

    fn rest(&self) -> Value {
        let nothing = json!({"custom": {}, "feedback": null, "session": null, "age_band": null, "zip_prefix": null, "body": null});
        if !self.full {
            return nothing;
        }
        let mut rest = nothing;
        let customs = self.row.get("custom").and_then(Value::as_object).into_iter().flatten();
        let allowed = customs.filter(|(name, _)| self.tenant.custom_allowed.contains(name));
        rest["custom"] = allowed.map(|(name, v)| (name.clone(), json!(self.scrubbed(v.as_str().unwrap())))).collect::<Map<_, _>>().into();
        let category = category_of(self.row);
        if category == Category::Feedback {
            let f = self.row.get("feedback").cloned().unwrap_or_default();
            let author = text(self.row, "feedback.author").trim();
            rest["feedback"] = json!({
                "text": or_null(&self.scrubbed(text(self.row, "feedback.text"))),
                "rating": number(f.get("rating"), f64::MAX), "nps": number(f.get("nps"), 10.0), "csat": number(f.get("csat"), f64::MAX),
                "channel": or_null(text(self.row, "feedback.channel")), "language": or_null(text(self.row, "feedback.language")),
                "survey_id": or_null(text(self.row, "feedback.survey_id")), "question_id": or_null(text(self.row, "feedback.question_id")),
                "author": if author.is_empty() { Value::Null } else { json!(shown(&pseudonym("author", author))) },
            });
        }
        let session = text(self.row, "ids.session_id").trim();
        if !session.is_empty() {
            rest["session"] = json!(shown(&pseudonym("session_id", session)));
        }
        rest["age_band"] = or_null(age_band(text(self.row, "user.date_of_birth")));
        if matches!(category, Category::Replay | Category::Media) {
            rest["body"] = Some(text(self.row, "body")).filter(|body| !body.is_empty()).map_or(Value::Null, |body| json!(body.as_bytes()));
        }
        rest
    }
}

/// By jiff's calendar.
fn age_band(birth: &str) -> &'static str {
    let Ok(birth) = birth.parse::<jiff::civil::Date>() else { return "" };
    let years = (jiff::civil::date(2026, 9, 21) - birth).get_days() as f64 / 365.2425;
    match years + 0.0001 {
        y if y < 18.0 => "0-17",
        y if y < 25.0 => "18-24",
        y if y < 35.0 => "25-34",
        y if y < 45.0 => "35-44",
        y if y < 55.0 => "45-54",
        y if y < 65.0 => "55-64",
        _ => "65+",
    }
}

const ALL_ON: &str = "custom = ['plan', 'variant']\nwithout_consent = 'necessary'\nnetwork = true\ndestinations = ['meta', 'google_ads']\n\
    [tenant.meta]\npixel_id = '1234567890'\n[tenant.windows]\nfeedback = '365d'\nmedia = '30d'\nnetwork = '3d'\n[tenant.google_ads]\ncustomer_id = '1234567890'\n\
    conversion_actions = { purchase = '9' }\n";

fn generated(seed: u64, rows: u64) -> (RawRecords, Vec<Expectation>) {
    let generator = Generator::new(seed, "acme", NOW).with_population(300);
    let (mut payloads, mut expectations) = (Vec::new(), Vec::new());
    for i in 0..rows {
        let mut payload = Vec::new();
        expectations.push(generator.generate(i, &mut payload).expectation);
        payloads.push(payload);
    }
    (records(&payloads), expectations)
}

/// Takes the record off the front, which must be this one.
fn take(out: &mut std::iter::Peekable<std::vec::IntoIter<Written>>, topic: &str, row: &Row, at: i64, i: usize) {
    let got = out.next().unwrap_or_else(|| panic!("row {i}: nothing in {topic}"));
    assert_eq!(got.topic, topic, "row {i}");
    assert_eq!((got.key.as_str(), got.partition_hash), (row.key.as_str(), Some(row.partition)), "row {i}");
    assert_eq!(got.header(), (1, at, row.identifiers.clone()), "row {i}");
    let (got, want) = (got.json(), &row.value);
    for (name, value) in want.as_object().unwrap() {
        assert_eq!(&got[name], value, "row {i}: {name}");
    }
    assert_eq!(got.as_object().unwrap().len(), want.as_object().unwrap().len(), "row {i}: fields");
}

fn agrees(tenant: &str, seed: u64, rows: u64) {
    let (rules, assets) = (rules(tenant), assets());
    let (records, expectations) = generated(seed, rows);
    let transformed = transform(&records, &rules, &assets, NOW);
    let mut out = written(&rules, &transformed).into_iter().peekable();
    let (mut written, mut expired, mut quarantined, mut gated) = (0, 0, 0, 0);
    for (i, record) in records.rows.iter().enumerate() {
        match fate(record.payload.of(&records.bytes), &rules, &assets) {
            Fate::Quarantined(reason, field) => {
                assert_eq!(expectations[i], Expectation::Quarantined(reason, field), "row {i}");
                let got = out.next().unwrap();
                let mut want = json!({"reason": reason.as_str(), "topic": "acme.raw.web", "partition": 0, "offset": i, "received_at": NOW});
                if let Some(field) = field {
                    want["field"] = json!(field.name());
                }
                assert_eq!((got.topic.as_str(), got.key.as_str(), got.headers.len()), ("acme.quarantine", "", 0), "row {i}");
                assert_eq!(got.json(), want, "row {i}");
                quarantined += 1;
            }
            Fate::Expired => {
                assert_eq!(expectations[i], Expectation::Expired, "row {i}");
                expired += 1;
            }
            Fate::Open(open) => {
                // Of a category that is off, age does not matter.
                assert!(expectations[i] == Expectation::Good || open.off, "row {i}");
                let at = when(parse(record.payload.of(&records.bytes)).unwrap().get("event_time")).unwrap().unwrap();
                let mut any = false;
                if let Some((category, row)) = &open.record {
                    take(&mut out, &format!("acme.{}", category.as_str()), row, at, i);
                    any = true;
                }
                if let Some(row) = &open.network {
                    take(&mut out, "acme.network", row, at, i);
                    any = true;
                }
                for d in &open.destinations {
                    if let Some(got) = out.next_if(|w| w.topic == format!("acme.dest.{}", d.as_str()) && w.key == open.key) {
                        let header = |name: &str| got.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()).unwrap();
                        assert_eq!(header("destination"), d.as_str().as_bytes(), "row {i}");
                        assert_eq!((header("tenant"), header("consent")), (b"acme".to_vec(), b"granted".to_vec()), "row {i}");
                        any = true;
                    }
                }
                if any { written += 1 } else { gated += 1 }
            }
        }
    }
    assert!(out.next().is_none(), "records that nobody expected");
    let tally = &transformed.tallies[0];
    assert_eq!((tally.written, tally.expired, tally.rows()), (written, expired, rows));
    assert_eq!((tally.quarantined.iter().sum::<u64>(), tally.gated.iter().sum::<u64>()), (quarantined, gated));
}

#[test]
fn the_twin_agrees_with_everything_on() {
    agrees(ALL_ON, 1, 6_000);
}

#[test]
fn the_twin_agrees_with_the_least() {
    agrees("", 2, 3_000);
}

#[test]
fn the_twin_agrees_with_clear_event_ids_and_another_subject() {
    agrees("event_id = 'clear'\nsubject = ['email', 'client_id']\nnetwork = true\n[tenant.windows]\nnetwork = '1d'", 3, 3_000);
}

#[test]
fn the_twin_agrees_with_fields_kept_out() {
    for (seed, minimise) in [
        (6, "minimise = { fields = ['user.external_id', 'user.phone', 'url', 'custom', 'value', 'feedback.nps', 'user_agent', 'items'] }"),
        (
            7,
            "minimise = { fields = ['user', 'ids.client_id', 'feedback', 'ip', 'order_id', 'user.country'], categories = ['events', 'feedback'] }",
        ),
        (8, "minimise = { fields = ['event_id'] }"),
        (9, "minimise = { categories = ['conversions', 'network'] }"),
    ] {
        agrees(&format!("{minimise}\n{ALL_ON}"), seed, 2_000);
    }
}

#[test]
fn what_is_kept_out_reaches_no_record_and_no_destination_and_is_counted() {
    let minimise = "minimise = { fields = ['user.external_id', 'action_source', 'value', 'currency', 'user_agent', 'ids.fbp', 'custom'] }";
    let (rules, assets) = (rules(&format!("{minimise}\n{ALL_ON}")), assets());
    let row = format!(
        r#"{{"event_id":"e1","event_name":"purchase","event_time":{NOW},"action_source":"system_generated","value":9,"currency":"EUR","user":{{"email":["jane@example.com",
        "j2@example.com"],"phone":"+4915112345678","first_name":"Janina","external_id":"u1"}},"ids":{{"fbp":"fb.1.1.2","gclid":"Cj0secret"}},
        "ip":"93.184.216.34","user_agent":"Mozilla/5.0","url":"https://shop.example/secretpath?utm_source=s","order_id":"o-77",
        "items":[{{"id":"sku9"}}],"custom":{{"plan":"gold of Janina"}},"consent":{{"analytics":true,"ads":true,"given_at":{NOW}}}}}"#
    );
    let out = transform(&records(&[row]), &rules, &assets, NOW);
    let sha = |text: &str| <sha2::Sha256 as sha2::Digest>::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let records = written(&rules, &out);
    let topics: Vec<&str> = records.iter().map(|r| r.topic.as_str()).collect();
    assert_eq!(topics, ["acme.events", "acme.network", "acme.dest.meta"], "and no conversion for Google: there is no click and no address");
    for record in &records {
        let text = String::from_utf8_lossy(&record.value).into_owned();
        let secrets = ["jane@", "Janina", "93.184", "secretpath", "o-77", "sku9", "Cj0secret", "shop.example", "utm"];
        let hashed = [sha("jane@example.com"), sha("j2@example.com"), sha("janina"), sha("4915112345678"), sha("+4915112345678")];
        for secret in secrets.into_iter().map(String::from).chain(hashed) {
            assert!(!text.contains(&secret), "{secret} in {}", record.topic);
        }
        assert_eq!(record.header().2, [pseudonym("external_id", "u1"), pseudonym("fbp", "fb.1.1.2")]);
    }
    assert_eq!(records[0].json()["custom"]["plan"], "gold of [first_name]", "kept out, and still found in a text");
    assert!(String::from_utf8_lossy(&records[2].value).contains(&sha("u1")));
    let counted: Vec<(&str, u64)> = out.tallies[0].minimised.iter().map(|(field, n)| (field.name(), *n)).collect();
    let want = ["user.email", "user.phone", "user.first_name", "ids.gclid", "ip", "url", "order_id", "items"];
    assert_eq!(counted, want.map(|name| (name, 1)));
}

fn bytes(rules: &Rules, transformed: &Transformed) -> (Vec<Written>, String) {
    let t = &transformed.tallies[0];
    let counts = (t.written, t.gated, t.quarantined, t.expired, t.destination_written, &t.dropped, &t.form_drops, &t.scrubbed);
    (written(rules, transformed), format!("{counts:?}"))
}

#[test]
fn the_same_bytes_in_any_chunking_and_on_any_number_of_threads() {
    let (rules, assets) = (rules(ALL_ON), assets());
    let (records, _) = generated(4, 3_000);
    let want = bytes(&rules, &transform(&records, &rules, &assets, NOW));
    assert!(want.0.len() > 3_000);
    for rows in [1, 7, 100, 1_024, 5_000] {
        assert!(
            bytes(&rules, &transform_in_chunks(&records, &rules, &assets, (&Gates::default(), &rules.schemas), NOW, rows)) == want,
            "chunks of {rows}"
        );
    }
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let got = pool.install(|| transform(&records, &rules, &assets, NOW));
        assert!(bytes(&rules, &got) == want, "{threads} threads");
    }
}

#[test]
fn a_row_that_only_the_network_topic_could_have_got_is_gated_for_consent() {
    let rules = rules("network = true\n[tenant.windows]\nnetwork = '1d'");
    let row = format!(r#"{{"event_id":"e","event_name":"n","event_time":{NOW}}}"#);
    let log = format!(r#"{{"event_id":"e","kind":"media","event_time":{NOW}}}"#);
    let out = transform(&records(&[row, log]), &rules, &assets(), NOW);
    assert_eq!((out.tallies[0].gated[Gate::Consent as usize], out.tallies[0].gated[Gate::CategoryOff as usize]), (1, 1));
}
