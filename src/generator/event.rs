//! Writes one raw event as JSON, with the variety that producers show.

use super::broken::Fault;
use super::json::Object;
use super::people::{Person, push_email};
use super::random::Random;
use super::text::{push_date, push_digits, push_hex, push_money, push_number, push_rfc3339};
use super::{ConsentMix, Expectation, SPREAD_MS, user_agents};
use crate::model::category::Category;

const DAY_MS: i64 = 86_400_000;

/// The choices that decide what becomes of a row.
pub struct Draft {
    pub fault: Option<Fault>,
    pub category: Category,
    pub consent: ConsentMix,
    pub anonymous: bool,
    pub expired: bool,
}

impl Draft {
    /// Draws a row's fate.
    pub fn draw(random: &mut Random) -> Self {
        let fault = Fault::draw(random);
        let category = match random.below(100) {
            0..70 => Category::Events,
            70..88 => Category::Conversions,
            _ if fault.is_some_and(Fault::needs_a_name) => Category::Events,
            88..93 => Category::Feedback,
            93..97 => Category::Logs,
            97..99 => Category::Replay,
            _ => Category::Media,
        };
        let consent = match random.below(100) {
            0..64 => ConsentMix::All,
            64..76 => ConsentMix::AnalyticsOnly,
            76..79 => ConsentMix::AdsOnly,
            79..89 => ConsentMix::Denied,
            89..92 => ConsentMix::Expired,
            92..96 => ConsentMix::Absent,
            _ => ConsentMix::OptOutOfSale,
        };
        Draft { fault, category, consent, anonymous: random.one_of(300), expired: random.one_of(20) }
    }

    /// What must become of the row. A fault is found before the age is looked at.
    pub fn expectation(&self) -> Expectation {
        match (self.fault, self.expired) {
            (Some(fault), _) => fault.expectation(),
            (None, true) => Expectation::Expired,
            (None, false) => Expectation::Good,
        }
    }
}

/// All that one row is written from.
pub struct Facts<'a> {
    pub i: u64,
    pub tenant: &'a str,
    pub now_ms: i64,
    pub draft: &'a Draft,
    pub person: &'a Person,
}

/// Appends the row.
pub fn write(facts: &Facts<'_>, random: &mut Random, out: &mut Vec<u8>) {
    let (draft, start) = (facts.draft, out.len());
    if random.one_of(10) {
        out.extend_from_slice("\u{feff}".as_bytes());
    }
    let time_ms = event_time(draft, facts.now_ms, random);
    let mut row = Object::open(out);
    if random.one_of(10) {
        row.spaced();
    }
    write_head(facts, time_ms, random, &mut row);
    if draft.fault == Some(Fault::UserNotAnObject) {
        row.raw("user", b"[\"x\"]");
    } else if !draft.anonymous {
        write_user(facts.person, random, &mut row);
        write_ids(facts.person, time_ms, random, &mut row);
    }
    write_network(facts.person, random, &mut row);
    write_page(facts, random, &mut row);
    match draft.category {
        Category::Conversions => write_sale(facts, random, &mut row),
        Category::Feedback => write_feedback(facts.person, random, &mut row),
        Category::Replay | Category::Media => row.raw("body", b"\"eyJ0eXBlIjozLCJkYXRhIjp7fX0=\""),
        _ => {}
    }
    write_consent(draft.consent, facts.now_ms, random, &mut row);
    if random.one_of(2_000) {
        let mut custom = row.object("custom");
        custom.text("plan", random.pick(&["free", "pro", "premium"]));
        custom.text("variant", random.pick(&["a", "b"]));
        custom.close();
    }
    if random.one_of(300) {
        let (name, value) = random.pick(&BAD_OPTIONAL);
        row.raw(name, value);
    }
    row.close();
    if let Some(fault) = draft.fault {
        fault.damage(start, out);
    }
}

/// Fields that are dropped and counted while the row goes on: a wrong type, a bad value, an unknown name. None is written elsewhere in a row
/// that could lose something by it, except `ip` and `value`, where the last one wins.
const BAD_OPTIONAL: [(&str, &[u8]); 12] = [
    ("value", b"-1"),
    ("value", b"\"twelve\""),
    ("currency", b"\"EURO\""),
    ("quantity", b"\"many\""),
    ("ip", b"\"999.1.1.1\""),
    ("ip", b"12"),
    ("referrer", b"\"not a url\""),
    ("referrer", b"null"),
    ("order_id", b"{\"id\":1}"),
    ("cost", b"true"),
    ("debug", b"{\"trace\":[1,2,{\"a\":null}]}"),
    ("sdk_version", b"\"4.2.1\""),
];

fn event_time(draft: &Draft, now_ms: i64, random: &mut Random) -> i64 {
    let back = random.below(SPREAD_MS as u64) as i64;
    match draft.fault {
        Some(Fault::Future) => now_ms + 3_600_000 + back * 1000,
        _ if draft.expired => now_ms - 730 * DAY_MS - back,
        _ => now_ms - back,
    }
}

fn write_head(facts: &Facts<'_>, time_ms: i64, random: &mut Random, row: &mut Object<'_>) {
    write_event_id(facts, random, row);
    let draft = facts.draft;
    match draft.category {
        Category::Events if random.one_of(6_000) => {} // the default kind
        Category::Conversions => row.text("kind", "conversion"),
        Category::Feedback => row.text("kind", "feedback"),
        Category::Replay => row.text("kind", "replay"),
        Category::Media => row.text("kind", "media"),
        Category::Logs => row.text("kind", "log"),
        _ => row.text("kind", "event"),
    }
    const EVENTS: [&str; 12] = [
        "page_view",
        "PageView",
        "page_view",
        "view_item",
        "ViewContent",
        "search",
        "add_to_cart",
        "AddToCart",
        "begin_checkout",
        "sign_up",
        "video: 50",
        "scroll.depth",
    ];
    match draft.fault {
        Some(Fault::NoEventName) => {}
        Some(Fault::NameHasMarkup) => row.text("event_name", "<b>purchase</b>"),
        _ => match draft.category {
            Category::Events => row.text("event_name", random.pick(&EVENTS)),
            Category::Conversions => {
                row.text("event_name", random.pick(&["Purchase", "purchase", "Purchase", "Lead", "generate_lead", "Subscribe"]))
            }
            _ => {}
        },
    }
    match draft.fault {
        Some(Fault::NoEventTime) => {}
        Some(Fault::TimeIsWord) => row.text("event_time", "yesterday"),
        Some(Fault::TimeIsBoolean) => row.raw("event_time", b"true"),
        _ => match random.below(20) {
            0 => row.number("event_time", time_ms.div_euclid(1000)),
            1 | 2 => row.with("event_time", |out| push_rfc3339(time_ms, out)),
            _ => row.number("event_time", time_ms),
        },
    }
    if draft.fault == Some(Fault::OtherTenant) {
        row.text("tenant", "somebody-else");
    } else if random.one_of(3_000) {
        row.text("tenant", facts.tenant);
    }
}

/// Sixteen random hex digits and the event's number, so that ids never repeat; at times a phone or an order number stands in front.
fn write_event_id(facts: &Facts<'_>, random: &mut Random, row: &mut Object<'_>) {
    let (bits, odd) = (random.bits(), random.below(500));
    match facts.draft.fault {
        Some(Fault::NoEventId) => return,
        Some(Fault::IdIsEmail) => return row.with("event_id", |out| push_email(facts.person, out)),
        Some(Fault::IdHasSpace) => return row.text("event_id", "order 12"),
        Some(Fault::IdTooLong) => return row.with("event_id", |out| out.extend_from_slice(&[b'a'; 129])),
        _ => {}
    }
    row.with("event_id", |out| match odd {
        0 => {
            let mut phone = Vec::with_capacity(20);
            push_digits(facts.person.locale.international, facts.person.digits, &mut phone);
            out.extend(phone.iter().filter(|b| b.is_ascii_digit()));
            out.push(b'.');
            push_number(out, facts.i);
        }
        1 => {
            out.extend_from_slice(b"ORD-2026-");
            push_number(out, 4_000_000 + facts.i);
        }
        _ => {
            push_hex(bits, 16, out);
            push_hex(facts.i, 8, out);
        }
    });
}

fn write_user(person: &Person, random: &mut Random, row: &mut Object<'_>) {
    let locale = person.locale;
    let mut user = row.object("user");
    if person.has(0, 14) {
        match random.below(32) {
            0 => user.list("email", |out| push_email(person, out), |out| out.extend_from_slice(b"second@example.org")),
            1 => user.with("email", |out| {
                out.push(b' ');
                let start = out.len();
                push_email(person, out);
                out[start..start + 1].make_ascii_uppercase();
                out.push(b' ');
            }),
            _ => user.with("email", |out| push_email(person, out)),
        }
    }
    if person.has(1, 11) {
        let national = person.has(2, 7);
        user.with("phone", |out| push_digits(if national { locale.national } else { locale.international }, person.digits, out));
        if national && random.one_of(5_000) {
            user.text("phone_country", locale.country);
        }
    }
    if person.has(3, 10) {
        user.text("first_name", person.first);
        user.text("last_name", person.last);
    }
    if person.has(4, 3) {
        user.text("gender", random.pick(&["f", "m", "Female", "male", "x"]));
        user.with("date_of_birth", |out| push_date(person.digits % 13_000, out));
    }
    if person.has(5, 8) {
        if person.city == "São Paulo" && random.one_of(5_000) {
            user.raw("city", br#""S\u00e3o Paulo""#);
        } else {
            user.text("city", person.city);
        }
        user.with("zip", |out| push_digits(locale.zip, person.digits >> 7, out));
        user.with("street", |out| {
            push_number(out, person.digits % 300 + 1);
            out.extend_from_slice(b" Example Street");
        });
    }
    user.text("country", locale.country);
    // Without this one a person is known by email or client id alone.
    if person.has(6, 13) {
        user.with("external_id", |out| {
            out.extend_from_slice(b"cust-");
            push_number(out, person.number);
        });
    }
    user.close();
}

fn write_ids(person: &Person, time_ms: i64, random: &mut Random, row: &mut Object<'_>) {
    let mut ids = row.object("ids");
    ids.with("client_id", |out| push_hex(person.address ^ person.digits, 16, out));
    if random.one_of(6_000) {
        ids.with("session_id", |out| push_hex(person.digits ^ (time_ms / 1_800_000) as u64, 12, out));
    }
    if person.has(7, 8) {
        ids.with("ga_client_id", |out| {
            push_number(out, person.digits % 2_000_000_000);
            out.push(b'.');
            push_number(out, 1_700_000_000 + person.number);
        });
    }
    if person.has(8, 7) {
        ids.with("fbp", |out| {
            out.extend_from_slice(b"fb.1.1789");
            push_number(out, 100_000_000 + person.number);
            out.push(b'.');
            push_number(out, person.address % 10_000_000_000);
        });
    }
    if person.has(9, 2) {
        ids.with("ttp", |out| push_hex(person.digits.rotate_left(9), 16, out));
    }
    if random.one_of(200) {
        ids.with("fingerprint", |out| push_hex(person.address, 16, out));
    }
    ids.close();
}

fn write_network(person: &Person, random: &mut Random, row: &mut Object<'_>) {
    let bits = person.address;
    match person.has(10, 15) {
        true => row.with("ip", |out| {
            for (i, byte) in [20 + (bits & 127) as u8, (bits >> 8) as u8, (bits >> 16) as u8, (bits >> 24) as u8].into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                push_number(out, byte.into());
            }
        }),
        false => row.with("ip", |out| {
            out.extend_from_slice(b"2001:db8");
            for shift in [0, 12, 24, 36] {
                out.push(b':');
                push_hex(bits >> shift & 0xfff | 0x1000, 4, out);
            }
            out.extend_from_slice(b"::1");
        }),
    }
    match random.below(100) {
        0..2 => {}
        2..8 => row.text("user_agent", random.pick(&user_agents::AUTOMATA)),
        _ => row.text("user_agent", person.user_agent),
    }
}

fn write_page(facts: &Facts<'_>, random: &mut Random, row: &mut Object<'_>) {
    if !matches!(facts.draft.category, Category::Events | Category::Conversions | Category::Replay) {
        return;
    }
    row.with("url", |out| push_url(facts.person, random, out));
    const REFERRERS: [&str; 10] = [
        "https://www.google.com/",
        "https://www.google.com/",
        "https://m.facebook.com/",
        "https://l.instagram.com/?u=https%3A%2F%2Fshop.example.com",
        "https://www.tiktok.com/",
        "https://duckduckgo.com/",
        "https://www.baidu.com/link?url=x",
        "https://yandex.ru/search/?text=%D0%BA%D1%83%D0%BF%D0%B8%D1%82%D1%8C",
        "android-app://com.google.android.gm/",
        "https://bücher.example/ü",
    ];
    if random.one_of(7_000) {
        row.text("referrer", random.pick(&REFERRERS));
    }
}

fn push_url(person: &Person, random: &mut Random, out: &mut Vec<u8>) {
    let add = |out: &mut Vec<u8>, text: &str| out.extend_from_slice(text.as_bytes());
    add(
        out,
        random.pick(&["https://shop.example.com", "https://shop.example.com", "https://www.example.com", "https://Shop.Example.com:8443"]),
    );
    match random.below(64) {
        0 => {
            add(out, "/account/");
            push_email(person, out);
        }
        1 => {
            add(out, "/reset/");
            push_hex(random.bits(), 16, out);
            push_hex(random.bits(), 16, out);
        }
        2 => add(out, "/caf%C3%A9/men%C3%BC"),
        3 => add(out, "/blog/10-best-shoes-of-2026"),
        4..20 => add(out, "/"),
        n => {
            add(out, "/p/");
            push_number(out, n * 17 + random.below(800));
        }
    }
    if random.one_of(1_500) {
        return;
    }
    let (source, medium) =
        random.pick(&[("google", "cpc"), ("facebook", "paid_social"), ("newsletter", "email"), ("tiktok", "paid_social"), ("bing", "cpc")]);
    add(out, "?utm_source=");
    add(out, source);
    add(out, "&utm_medium=");
    add(out, medium);
    add(out, "&utm_campaign=");
    add(out, random.pick(&["autumn_12", "autumn%20sale", "black+friday", "%E7%A7%8B", "brand", "120210000000000001"]));
    if random.one_of(50) {
        add(out, "&utm_content=to+ana%40example.com");
    }
    let bits = random.bits();
    let mut click = |name: &str, prefix: &str| {
        add(out, name);
        add(out, prefix);
        push_hex(bits, 16, out);
    };
    match source {
        "google" if bits & 7 == 0 => click("&wbraid=", "Clk"),
        "google" => click("&gclid=", "Cj0KCQjw"),
        "facebook" => click("&fbclid=", "IwAR"),
        "tiktok" => click("&ttclid=", "E.C.P."),
        "bing" => click("&msclkid=", ""),
        _ => {}
    }
    if random.one_of(100) {
        add(out, "&email=");
        push_email(person, out);
        add(out, "#top");
    }
}

fn write_sale(facts: &Facts<'_>, random: &mut Random, row: &mut Object<'_>) {
    let locale = facts.person.locale;
    let cents = 100 + random.below(50_000);
    if random.one_of(500) {
        row.with("value", |out| push_money(cents, locale.decimals, out));
    } else {
        row.bare("value", |out| push_money(cents, locale.decimals, out));
    }
    if random.one_of(10) {
        row.text("currency", "CHF"); // a key twice: the last wins
    }
    row.text("currency", locale.currency);
    row.with("order_id", |out| {
        out.extend_from_slice(b"ORD-");
        push_number(out, facts.i);
    });
    if random.one_of(7_000) {
        let count = 1 + random.below(4);
        row.bare("items", |out| {
            out.push(b'[');
            for n in 0..count {
                if n > 0 {
                    out.push(b',');
                }
                let mut item = Object::open(out);
                item.with("id", |out| {
                    out.extend_from_slice(b"SKU-");
                    push_number(out, random.below(5_000));
                });
                item.text("name", random.pick(&["Shoe", "Hemd, blau", "時計", "Кружка"]));
                item.bare("price", |out| push_money(cents / count, locale.decimals, out));
                item.number("quantity", 1 + random.below(3) as i64);
                item.close();
            }
            out.push(b']');
        });
    }
}

fn write_feedback(person: &Person, random: &mut Random, row: &mut Object<'_>) {
    let mut feedback = row.object("feedback");
    feedback.with("text", |out| {
        out.extend_from_slice(person.locale.text.as_bytes());
        if person.has(11, 3) {
            out.extend_from_slice(b" ");
            push_email(person, out);
        }
    });
    feedback.number("rating", 1 + random.below(5) as i64);
    feedback.number("nps", random.below(11) as i64);
    feedback.text("channel", random.pick(&["email", "web", "app"]));
    feedback.text("language", person.locale.language);
    feedback.text("survey_id", "post-purchase");
    feedback.close();
}

fn write_consent(mix: ConsentMix, now_ms: i64, random: &mut Random, row: &mut Object<'_>) {
    let (analytics, ads, days) = match mix {
        ConsentMix::Absent => return,
        ConsentMix::Denied => (false, false, 20),
        ConsentMix::AnalyticsOnly => (true, false, 20),
        ConsentMix::AdsOnly => (false, true, 20),
        ConsentMix::Expired => (true, true, 210),
        ConsentMix::All | ConsentMix::OptOutOfSale => (true, true, 20),
    };
    let given_ms = now_ms - days * DAY_MS - random.below(10 * DAY_MS as u64) as i64;
    let mut consent = row.object("consent");
    consent.flag("functional", analytics || ads);
    consent.flag("analytics", analytics);
    consent.flag("ads", ads);
    if ads {
        consent.flag("personalization", random.one_of(7_000));
    }
    consent.number("given_at", given_ms);
    consent.text("version", "2026-03");
    if mix == ConsentMix::OptOutOfSale {
        consent.flag("opt_out_of_sale", true);
    }
    consent.close();
}
