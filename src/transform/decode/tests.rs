//! Every rule of the raw event's fields, as tables: what is taken, what is dropped and counted, what sends the row to quarantine.

use super::*;
use crate::model::consent::Purpose;
use crate::transform::fixture::{NOW, records, rules};
use std::sync::LazyLock;

/// A row as it was read.
struct Row {
    head: RowHead,
    /// `(field, values)` of the text columns that hold something.
    texts: Vec<(&'static str, Vec<String>)>,
    numbers: Vec<(&'static str, f64)>,
    items: Vec<([String; 4], f64, f64)>,
    customs: Vec<(u16, String)>,
    /// `(field, count)` of what was dropped.
    dropped: Vec<(&'static str, u32)>,
}

impl Row {
    fn text(&self, field: Field) -> Vec<&str> {
        self.texts.iter().filter(|(name, _)| *name == field.name()).flat_map(|(_, v)| v.iter().map(String::as_str)).collect()
    }
}

fn read(payload: &[u8]) -> Result<Row, (&'static str, Option<&'static str>)> {
    static RULES: LazyLock<Rules> = LazyLock::new(|| rules("custom = ['plan', 'variant']"));
    let rules = &*RULES;
    let records = records(&[payload]);
    let arena = bumpalo::Bump::new();
    let (mut batch, mut rejected, mut dropped) = (Batch::new(&arena, 1), Vec::new(), Dropped::default());
    decode(&records, 0..1, rules, &rules.schemas, &mut batch, &mut rejected, &mut dropped);
    if let [only] = rejected[..] {
        assert_eq!((batch.rows(), dropped.0.iter().sum::<u32>()), (0, 0), "nothing of a rejected row stays");
        return Err((only.reason.as_str(), only.field.map(Field::name)));
    }
    let values = |f: Field| batch.clear_all(f, 0).map(|v| v.expose().to_owned()).collect::<Vec<_>>();
    Ok(Row {
        head: batch.heads[0],
        texts: Field::TEXTS.iter().map(|f| (f.name(), values(*f))).filter(|(_, v)| !v.is_empty()).collect(),
        numbers: NumberField::ALL.iter().map(|f| (f.field().name(), batch.number(*f, 0).value)).filter(|(_, v)| !v.is_nan()).collect(),
        items: batch.items(0).iter().map(|i| (i.texts.map(str::to_owned), i.price.value, i.quantity.value)).collect(),
        customs: batch.customs(0).iter().map(|c| (c.name, batch.clear_custom(c).expose().to_owned())).collect(),
        dropped: Field::NAMES.iter().zip(dropped.0).filter(|(_, n)| *n > 0).map(|(name, n)| (*name, n)).collect(),
    })
}

/// An event with these further members.
fn event(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"event_id":"e-1","event_name":"page_view","event_time":{NOW}{comma}{members}}}"#)
}

fn good(members: &str) -> Row {
    read(event(members).as_bytes()).unwrap_or_else(|e| panic!("{members}: {e:?}"))
}

fn bad(payload: &str) -> (&'static str, Option<&'static str>) {
    read(payload.as_bytes()).err().unwrap_or_else(|| panic!("taken: {payload}"))
}

#[test]
fn every_text_field_is_read_where_the_schema_has_it() {
    for field in Field::TEXTS.into_iter().filter(|f| !matches!(f, Field::EventId | Field::EventName | Field::Tenant)) {
        let value = match field {
            Field::Currency => "EUR",
            Field::Ip => "192.0.2.1",
            Field::ActionSource => "website",
            _ => "word",
        };
        let path: Vec<&str> = field.name().split('.').collect();
        let member = |json: &str| match path[..] {
            [name] => format!(r#""{name}":{json}"#),
            [object, name] => format!(r#""{object}":{{"{name}":{json}}}"#),
            _ => unreachable!(),
        };
        assert_eq!(good(&member(&format!("{value:?}"))).text(field), [value]);
        let escaped = format!("\"\\u{:04x}{}\"", u32::from(value.as_bytes()[0]), &value[1..]);
        assert_eq!(good(&member(&escaped)).text(field), [value], "{}: with an escape", field.name());
        let null = good(&member("null"));
        assert!(null.text(field).is_empty() && null.dropped.is_empty(), "{}: null is absence", field.name());
        for wrong in ["5", "-5.5", "true", "{\"a\":[1]}", "18446744073709551615"] {
            let row = good(&member(wrong));
            assert!(row.text(field).is_empty(), "{}: {wrong}", field.name());
            assert_eq!(row.dropped, [(field.name(), 1)], "{}: {wrong}", field.name());
        }
        // Twice: the last wins, whatever it is.
        let twice = |last: &str| match path[..] {
            [name] => format!(r#""{name}":"first","{name}":{last}"#),
            [object, name] => format!(r#""{object}":{{"{name}":"first","{name}":{last}}}"#),
            _ => unreachable!(),
        };
        assert_eq!(good(&twice(&format!("{value:?}"))).text(field), [value]);
        assert!(good(&twice("null")).text(field).is_empty(), "{}", field.name());
        assert!(good(&twice("7")).text(field).is_empty(), "{}", field.name());
    }
}

#[test]
fn escapes_in_names_and_white_space_anywhere_change_nothing() {
    let spaced = format!(
        "\r\n\t{{ \"\\u0065vent_id\" :\t\"e\" , \"event_name\":\"n\",\n\"event_time\" : {NOW} , \"items\" : [ {{ \"n\\u0061me\" : \"\\u00e9\" ,\r\"price\" : 1.5 }} ,\t{{ }} ] , \
         \"user\" : {{ \"em\\u0061il\" : [ \"a\" , \"b\" ,\n\"\\u0063\" ] }} , \"custom\" : {{ \"pl\\u0061n\" : \"p\" }} }}\r\n"
    );
    let row = read(spaced.as_bytes()).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!((row.text(Field::EventId), row.text(Field::Email)), (vec!["e"], vec!["a", "b", "c"]));
    assert_eq!(row.items.iter().map(|(texts, ..)| texts[1].as_str()).collect::<Vec<_>>(), ["é", ""]);
    assert_eq!((row.items[0].1, row.customs, row.dropped), (1.5, vec![(0, "p".to_owned())], vec![]));
}

#[test]
fn lists() {
    for (field, name) in [(Field::Email, "email"), (Field::Phone, "phone"), (Field::ExternalId, "external_id")] {
        let user = |json: &str| good(&format!(r#""user":{{"{name}":{json}}}"#));
        assert_eq!(user(r#"["a","b","c"]"#).text(field), ["a", "b", "c"]);
        assert_eq!(user(r#"["a",null,"","b"]"#).text(field), ["a", "b"]);
        let mixed = user(r#"["a",5,{"x":1},["y"],"b"]"#);
        assert_eq!((mixed.text(field), mixed.dropped.clone()), (vec!["a", "b"], vec![(field.name(), 3)]));
        let many: Vec<String> = (0..MAX_LIST + 3).map(|i| format!("\"{i}\"")).collect();
        let many = user(&format!("[{}]", many.join(",")));
        assert_eq!((many.text(field).len(), many.dropped), (MAX_LIST, vec![(field.name(), 3)]));
        let twice = good(&format!(r#""user":{{"{name}":["a","b"],"{name}":"c"}}"#));
        assert_eq!(twice.text(field), ["c"]);
        let objects = good(&format!(r#""user":{{"{name}":["a","b"],"city":"x"}},"user":{{"{name}":["c"]}}"#));
        assert_eq!((objects.text(field), objects.text(Field::City)), (vec!["c"], vec![]), "of two objects the last wins, whole");
        assert!(user("[]").text(field).is_empty());
    }
}

#[test]
fn required_fields() {
    let of = |id: &str, name: &str, time: &str| {
        let member = |key: &str, json: &str| if json.is_empty() { String::new() } else { format!("\"{key}\":{json},") };
        format!("{{{}{}{}\"value\":1}}", member("event_id", id), member("event_name", name), member("event_time", time))
    };
    let now = NOW.to_string();
    let long = format!("\"{}\"", "a".repeat(129));
    for (id, want) in [
        ("", ("missing_field", Some("event_id"))),
        ("null", ("missing_field", Some("event_id"))),
        ("\"\"", ("bad_field", Some("event_id"))),
        ("7", ("bad_field", Some("event_id"))),
        ("[\"a\"]", ("bad_field", Some("event_id"))),
        ("\"a@b\"", ("bad_field", Some("event_id"))),
        ("\"a b\"", ("bad_field", Some("event_id"))),
        ("\"é\"", ("bad_field", Some("event_id"))),
        ("\"a\\u0000\"", ("bad_field", Some("event_id"))),
        (long.as_str(), ("bad_field", Some("event_id"))),
    ] {
        assert_eq!(bad(&of(id, "\"n\"", &now)), want, "{id}");
    }
    for (name, want) in [
        ("", "missing_field"),
        ("null", "missing_field"),
        ("\"\"", "bad_field"),
        ("true", "bad_field"),
        ("\"<b>\"", "bad_field"),
        (&long[..67], "bad_field"),
    ] {
        let name = if name.len() == 67 { format!("{name}\"") } else { name.to_owned() };
        assert_eq!(bad(&of("\"e\"", &name, &now)), (want, Some("event_name")), "{name}");
    }
    for (time, want) in [
        ("", "missing_field"),
        ("null", "missing_field"),
        ("\"\"", "bad_time"),
        ("\"yesterday\"", "bad_time"),
        ("\"1790000000000\"", "bad_time"),
        ("true", "bad_time"),
        ("{}", "bad_time"),
        ("[1]", "bad_time"),
        ("-1", "bad_time"),
        ("1790000000000.5", "bad_time"),
        ("18446744073709551615", "bad_time"),
        ("9223372036854775807", "future_time"),
        ("99999999999", "future_time"),
        ("\"2026-09-21\"", "bad_time"),
        ("\"2026-09-21T14:18:21Z\"", "future_time"),
    ] {
        assert_eq!(bad(&of("\"e\"", "\"n\"", time)), (want, Some("event_time")), "{time}");
    }
    for (time, want) in [
        ("1790000000", NOW),
        ("1790000000000", NOW),
        ("1790000300000", NOW + 300_000),
        ("\"2026-09-21T14:13:20Z\"", NOW),
        ("\"2026-09-21T16:13:20.250+02:00\"", NOW + 250),
        ("0", 0),
    ] {
        assert_eq!(read(of("\"e\"", "\"n\"", time).as_bytes()).ok().unwrap().head.occurred_at_ms, want, "{time}");
    }
    assert_eq!(bad(&of("\"e\"", "\"n\"", "1790000300001")), ("future_time", Some("event_time")));
    // Twice: the last wins, here too.
    let twice = format!(r#"{{"event_id":"a@b","event_id":"ok","event_name":5,"event_name":"n","event_time":"x","event_time":{now}}}"#);
    assert_eq!(read(twice.as_bytes()).ok().unwrap().text(Field::EventId), ["ok"]);
    assert_eq!(bad(&format!(r#"{{"event_id":"a","event_id":null,"event_name":"n","event_time":{now}}}"#)).0, "missing_field");
}

#[test]
fn the_tenant_is_the_topics() {
    assert!(good(r#""tenant":"acme""#).dropped.is_empty());
    assert!(good(r#""tenant":null"#).dropped.is_empty());
    for other in ["\"other\"", "\"\"", "\"Acme\"", "5", "[\"acme\"]"] {
        assert_eq!(bad(&event(&format!("\"tenant\":{other}"))), ("tenant_mismatch", Some("tenant")), "{other}");
    }
}

#[test]
fn kinds() {
    for (kind, want) in [
        ("\"event\"", Category::Events),
        ("\"conversion\"", Category::Conversions),
        ("\"feedback\"", Category::Feedback),
        ("\"replay\"", Category::Replay),
        ("\"media\"", Category::Media),
        ("\"log\"", Category::Logs),
        ("null", Category::Events),
    ] {
        let row = good(&format!("\"kind\":{kind}"));
        assert_eq!((row.head.category, row.dropped.len()), (want, 0), "{kind}");
    }
    for kind in ["\"Event\"", "\"sessions\"", "\"network\"", "\"\"", "3", "{}"] {
        let row = good(&format!("\"kind\":\"media\",\"kind\":{kind}"));
        assert_eq!((row.head.category, row.dropped), (Category::Events, vec![("kind", 1)]), "{kind}");
    }
    let nameless = format!(r#"{{"event_id":"e","event_time":{NOW},"kind":"log"}}"#);
    assert!(read(nameless.as_bytes()).is_ok(), "a log needs no name");
    let odd = read(format!(r#"{{"event_id":"e","event_time":{NOW},"kind":"log","event_name":"a@b"}}"#).as_bytes()).ok().unwrap();
    assert_eq!((odd.text(Field::EventName).len(), odd.dropped), (0, vec![("event_name", 1)]));
}

#[test]
fn numbers() {
    for (json, want) in [
        ("12.50", Some(12.5)),
        ("0", Some(0.0)),
        ("1e3", Some(1000.0)),
        ("\"12.50\"", Some(12.5)),
        ("\" 7 \"", Some(7.0)),
        ("\"+5\"", Some(5.0)),
        ("123456789012345678901234567890", Some(123_456_789_012_345_678_901_234_567_890.0)),
        ("-1", None),
        ("\"-1\"", None),
        ("\"twelve\"", None),
        ("\"\"", None),
        ("\"1e400\"", None),
        ("\"NaN\"", None),
        ("\"inf\"", None),
        ("\"0x10\"", None),
        ("\"\\u0031\"", None),
        ("true", None),
        ("[1]", None),
        ("{\"a\":1}", None),
    ] {
        for name in ["value", "payout", "cost", "quantity"] {
            let row = good(&format!("\"{name}\":{json}"));
            assert_eq!(row.numbers, want.map(|n| (name, n)).into_iter().collect::<Vec<_>>(), "{name}: {json}");
            assert_eq!(row.dropped.len(), usize::from(want.is_none()), "{name}: {json}");
        }
    }
    let null = good("\"value\":5,\"value\":null");
    assert!(null.numbers.is_empty() && null.dropped.is_empty());
    assert!(good("\"value\":5,\"value\":\"x\"").numbers.is_empty(), "the last wins, even a bad one");
    for (nps, fine) in [("0", true), ("10", true), ("10.5", false), ("11", false), ("-1", false)] {
        assert_eq!(good(&format!("\"feedback\":{{\"nps\":{nps}}}")).numbers.len(), usize::from(fine), "{nps}");
    }
    for infinite in ["\"value\":1e400", "\"event_time\":1e400", "\"x\":1e400", "\"items\":[{\"price\":1e400}]", "\"ip\":-1e999"] {
        assert_eq!(bad(&event(infinite)), ("malformed", None), "{infinite}");
    }
}

#[test]
fn items() {
    let row =
        good(r#""items":[{"id":"i","name":"n","category":"c","brand":"b","price":"1.5","quantity":2,"colour":"red"},{},7,null,["x"]]"#);
    let texts = ["i", "n", "c", "b"].map(str::to_owned);
    assert_eq!(row.items.len(), 2);
    assert!(row.items[0].0 == texts && row.items[0].1 == 1.5 && row.items[0].2 == 2.0 && row.items[1].1.is_nan());
    assert_eq!(row.dropped, [("items", 3), ("unknown", 1)]);
    let row = good(r#""items":[{"id":"a","id":5,"name":"n","name":null,"price":1,"price":"x","quantity":-1}]"#);
    assert!(row.items[0].0.iter().all(String::is_empty) && row.items[0].1.is_nan() && row.items[0].2.is_nan(), "the last wins");
    let many = vec!["{\"id\":\"a\"}"; MAX_ITEMS + 2].join(",");
    let row = good(&format!("\"items\":[{many}]"));
    assert_eq!((row.items.len(), row.dropped), (MAX_ITEMS, vec![("items", 2)]));
    for wrong in ["{}", "5", "\"x\""] {
        let row = good(&format!("\"items\":[{{\"id\":\"a\"}}],\"items\":{wrong}"));
        assert!(row.items.is_empty() && row.dropped == [("items", 1)], "{wrong}");
    }
    assert!(good("\"items\":[{\"id\":\"a\"}],\"items\":null").items.is_empty());
}

#[test]
fn consent() {
    let of = |json: &str| good(&format!("\"consent\":{json}"));
    let row = of(r#"{"functional":true,"analytics":false,"ads":null,"given_at":1790000000,"version":"2026-03","opt_out_of_sale":true}"#);
    let c = row.head.consent;
    assert_eq!(Purpose::ALL.map(|p| c.answer(p)), [Some(true), Some(false), None, None]);
    assert!(c.present && c.opt_out_of_sale && c.given_at_ms == Some(NOW) && row.text(Field::ConsentVersion) == ["2026-03"]);
    for wrong in ["1", "\"true\"", "{}", "[true]"] {
        let row = of(&format!("{{\"ads\":true,\"ads\":{wrong}}}"));
        assert_eq!((row.head.consent.answer(Purpose::Ads), row.dropped), (None, vec![("consent.answer", 1)]), "{wrong}");
        let row = of(&format!("{{\"opt_out_of_sale\":{wrong}}}"));
        assert!(row.head.consent.opt_out_of_sale, "an opt-out that cannot be read is one: {wrong}");
    }
    for (given, want) in [("\"2026-09-21T14:13:20Z\"", Some(NOW)), ("null", None), ("\"soon\"", Some(i64::MIN)), ("-1", Some(i64::MIN))] {
        assert_eq!(of(&format!("{{\"ads\":true,\"given_at\":{given}}}")).head.consent.given_at_ms, want, "{given}");
    }
    assert!(!of("null").head.consent.present && !good("").head.consent.present && of("{}").head.consent.present);
    let twice = good(r#""consent":{"ads":true,"version":"1"},"consent":{"analytics":true}"#);
    assert_eq!(twice.head.consent.answer(Purpose::Ads), None, "of two objects the last wins, whole");
    assert!(twice.text(Field::ConsentVersion).is_empty());
    assert!(!good(r#""consent":{"ads":true},"consent":null"#).head.consent.present);
}

#[test]
fn words_that_go_into_records_as_they_are_say_nothing_personal() {
    for (member, kept) in [
        (r#""consent":{"version":"2026-03-01"}"#, true),
        (r#""consent":{"version":"v2.1"}"#, true),
        (r#""consent":{"version":"ana@example.com"}"#, false),
        (r#""consent":{"version":"4111111111111111"}"#, false),
        (r#""consent":{"version":"DE89370400440532013000"}"#, false),
        (r#""feedback":{"survey_id":"post-purchase"}"#, true),
        (r#""feedback":{"survey_id":"491701234567"}"#, false),
        (r#""feedback":{"question_id":"Ana Example"}"#, false),
        (r#""feedback":{"language":"pt-BR"}"#, true),
        (r#""feedback":{"language":"ana@b"}"#, false),
        (r#""ip":"2001:db8::1""#, true),
        (r#""ip":"999.1.1.1""#, false),
        (r#""ip":"ana@example.com""#, false),
        (r#""currency":"eur""#, true),
        (r#""currency":"EURO""#, false),
        (r#""action_source":"website""#, true),
        (r#""action_source":"Ana""#, false),
    ] {
        let row = good(member);
        assert_eq!(row.dropped.is_empty(), kept, "{member}");
        assert_eq!(row.texts.len(), if kept { 3 } else { 2 }, "{member}");
    }
}

#[test]
fn custom_variables() {
    let row = good(r#""custom":{"plan":"pro","other":"x","variant":7}"#);
    assert_eq!((row.customs, row.dropped), (vec![(0, "pro".into()), (1, "7".into())], vec![("custom", 1)]));
    let row = good(r#""custom":{"plan":true,"variant":1.5}"#);
    assert_eq!(row.customs, [(0, "true".into()), (1, "1.5".into())]);
    for last in ["null", "{}", "[1]"] {
        assert!(good(&format!(r#""custom":{{"plan":"a","plan":{last}}}"#)).customs.is_empty(), "{last}");
    }
    assert_eq!(good(r#""custom":{"plan":"a"},"custom":{"variant":"b"}"#).customs, [(1, "b".into())]);
    assert!(good(r#""custom":{"plan":"a"},"custom":null"#).customs.is_empty());
}

#[test]
fn an_object_that_is_not_an_object_is_malformed() {
    for object in ["user", "ids", "consent", "feedback", "custom"] {
        for wrong in ["[]", "\"x\"", "5", "true"] {
            assert_eq!(bad(&event(&format!("\"{object}\":{wrong}"))), ("malformed", None), "{object}: {wrong}");
        }
        assert!(good(&format!("\"{object}\":null")).dropped.is_empty());
    }
}

#[test]
fn depth_32_passes_and_33_is_malformed_wherever_it_stands() {
    // (what stands before the nested value, after it, and at which level the value's own brackets are)
    for (before, after, level) in [
        ("\"x\":", "", 2),
        ("\"ip\":", "", 2),
        ("\"value\":", "", 2),
        ("\"kind\":", "", 2),
        ("\"event_time\":1,\"event_time\":", &format!(",\"event_time\":{NOW}"), 2),
        ("\"items\":", "", 2),
        ("\"items\":[", "]", 3),
        ("\"items\":[{\"x\":", "}]", 4),
        ("\"items\":[{\"id\":", "}]", 4),
        ("\"items\":[{\"price\":", "}]", 4),
        ("\"user\":{\"x\":", "}", 3),
        ("\"user\":{\"city\":", "}", 3),
        ("\"user\":{\"email\":", "}", 3),
        ("\"user\":{\"email\":[", "]}", 4),
        ("\"user\":{\"email\":[\"a\",{\"x\":", "}]}", 5),
        ("\"consent\":{\"ads\":", "}", 3),
        ("\"consent\":{\"given_at\":", "}", 3),
        ("\"feedback\":{\"nps\":", "}", 3),
        ("\"custom\":{\"plan\":", "}", 3),
        ("\"custom\":{\"other\":", "}", 3),
    ] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = |deepest: usize| {
                let n = deepest + 1 - level;
                event(&format!("{before}{}1{}{after}", open.repeat(n), close.repeat(n)))
            };
            assert!(read(nested(32).as_bytes()).is_ok(), "{before}{open} 32");
            assert_eq!(read(nested(33).as_bytes()).err(), Some(("malformed", None)), "{before}{open} 33");
        }
    }
}

#[test]
fn what_is_not_one_well_formed_object() {
    let whole = event("");
    for text in [
        "",
        " ",
        "null",
        "[]",
        "5",
        "\"x\"",
        "{",
        "{}{}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":01}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":tru}",
    ] {
        assert_eq!(bad(text), ("malformed", None), "{text}");
    }
    assert_eq!(bad(&format!("{whole} x")), ("malformed", None));
    for cut in 0..whole.len() {
        assert_eq!(bad(&whole[..cut]), ("malformed", None), "cut at {cut}");
    }
    for marks in 1..3 {
        assert!(read(format!("{}{whole}", "\u{feff}".repeat(marks)).as_bytes()).is_ok());
    }
    assert_eq!(bad(&format!(" \u{feff}{whole}")), ("malformed", None));
    for bytes in [&b"\xff"[..], b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80"] {
        for place in ["ip", "x", "value"] {
            let payload = [event("").trim_end_matches('}').as_bytes(), b",\"", place.as_bytes(), b"\":\"", bytes, b"\"}"].concat();
            assert_eq!(read(&payload).err(), Some(("malformed", None)), "{place}");
        }
    }
    for member in [
        r#""ip":"\ud800""#,
        r#""x":"\udc00a""#,
        r#""value":"\ud800""#,
        r#""\ud800":1"#,
        r#""x":{"\ud800":1}"#,
        r#""items":[{"id":"\ud800"}]"#,
    ] {
        assert_eq!(bad(&event(member)), ("malformed", None), "half a surrogate pair: {member}");
    }
    assert_eq!(good(r#""user_agent":"\ud83d\ude00""#).text(Field::UserAgent), ["😀"]);
    assert_eq!(bad("\u{c3}\u{1}"), ("malformed", None));
    let large = event(&format!("\"x\":\"{}\"", "a".repeat(MAX_PAYLOAD_BYTES)));
    assert_eq!(bad(&large), ("too_large", None));
    let just = MAX_PAYLOAD_BYTES - event("\"x\":\"\"").len();
    assert!(read(event(&format!("\"x\":\"{}\"", "a".repeat(just))).as_bytes()).is_ok());
}

#[test]
fn unknown_fields_are_counted() {
    let row = good(r#""a":1,"b":{"c":[null,"x",true,1.5,-2]},"user":{"nickname":"x"},"ids":{"x":1},"consent":{"x":1},"feedback":{"x":1}"#);
    assert_eq!(row.dropped, [("unknown", 6)]);
    assert_eq!(row.texts.len(), 2);
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    #[test]
    fn no_damage_panics(at in 0usize..400, byte: u8) {
        let mut payload = include_bytes!("../../../schemas/raw_event/example.json").to_vec();
        let at = at % payload.len();
        payload[at] = byte;
        let _ = read(&payload);
    }
}
