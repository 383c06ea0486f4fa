//! Events made by their grammar, a planted value in every field that is somebody's, in every shape JSON allows: nothing of it may come out but in
//! bodies for destinations and in the network topic.

use crate::engine::Told;
use crate::mutate::{Dice, MARK};
use crate::targets::line;
use crate::world::{NOW_MS, world};
use std::fmt::Write;

/// The input is a tape of choices.
pub fn run(tape: &[u8], told: &mut Told) {
    let mut seed = [0u8; 8];
    for (i, byte) in tape.iter().enumerate() {
        seed[i % 8] = seed[i % 8].wrapping_mul(31).wrapping_add(*byte);
    }
    let event = event(&mut Dice(u64::from_le_bytes(seed)));
    line(&world().rules, event.as_bytes(), true, told);
}

pub fn seeds() -> Vec<Vec<u8>> {
    (0..64u64).map(|n| n.to_le_bytes().to_vec()).collect()
}

/// A value with the mark in a form that the field takes.
fn personal(field: &str, dice: &mut Dice) -> String {
    match field {
        "email" => format!("{MARK}{}@{MARK}.example", dice.below(9)),
        "phone" => format!("+1 650 555 {:04} {MARK}", dice.below(9_999)),
        "country" | "phone_country" => dice.of(&["US", "de", "Atlantis", MARK]).to_owned(),
        "gender" => dice.of(&["f", "Male", MARK]).to_owned(),
        "date_of_birth" => dice.of(&["1997-02-16", "16/2/97", MARK]).to_owned(),
        _ if dice.one_in(4) => format!("{MARK} {MARK}"),
        _ => MARK.to_uppercase(),
    }
}

/// A text that people write, with what is personal in it in a shape the scrub knows, or as the row's own value.
fn written(own: &str, dice: &mut Dice) -> String {
    let email = format!("{MARK}@{MARK}.example");
    let mut text = String::new();
    for _ in 0..dice.below(6) {
        text += &match dice.below(6) {
            0 => email.clone(),
            1 => format!("({email})"),
            2 => own.to_owned(),
            3 => format!("https://shop.example/?q={MARK}"),
            4 => format!("mailto:{}", email.to_uppercase()),
            _ => dice.of(&["hello", "2026-09-21", "12.50 EUR", "\u{1f600}", "naïve", "SKU-1"]).to_owned(),
        };
        text += dice.of(&[" ", ", ", "\n", " – ", "\t"]);
    }
    text
}

/// JSON text of a string, its characters spelled one way or the other.
fn quoted(text: &str, dice: &mut Dice) -> String {
    let escapes = dice.one_in(3);
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if (c as u32) < 0x20 || escapes && dice.one_in(3) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(out, "\\u{unit:04x}").unwrap();
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A field's value as a string, a list, or something else altogether.
fn shaped(text: &str, dice: &mut Dice) -> String {
    let text = quoted(text, dice);
    match dice.below(10) {
        0 => format!("[{text},{text}]"),
        1 => format!("[[{text}]]"),
        2 => format!("{{{text}:{text}}}"),
        3 => "null".into(),
        _ => text,
    }
}

fn members(names: &[&str], dice: &mut Dice, value: impl Fn(&str, &mut Dice) -> String) -> String {
    let mut all = Vec::new();
    for name in names {
        for _ in 0..dice.of(&[&0, &1, &1, &1, &1, &2]).to_owned() {
            let text = value(name, dice);
            all.push(format!("{}:{}", quoted(name, dice), shaped(&text, dice)));
        }
    }
    format!("{{{}}}", all.join(","))
}

fn event(dice: &mut Dice) -> String {
    let people = [
        "email",
        "phone",
        "phone_country",
        "first_name",
        "last_name",
        "gender",
        "date_of_birth",
        "street",
        "city",
        "state",
        "zip",
        "country",
        "external_id",
        MARK,
    ];
    let ids = [
        "client_id",
        "session_id",
        "ga_client_id",
        "fbp",
        "fbc",
        "ttp",
        "ttclid",
        "gclid",
        "wbraid",
        "gbraid",
        "dclid",
        "fbclid",
        "fingerprint",
        "new",
    ];
    // Texts name the row's own values only where the row has them for certain.
    let own = MARK.to_uppercase();
    let user = members(&people, dice, personal);
    let with_name =
        format!("{},\"last_name\":{}}}", user.trim_end_matches('}').trim_end_matches(','), quoted(&own, dice)).replace("{,", "{");
    let url = format!(
        "https://{MARK}:{MARK}@shop.example.com/u/{MARK}@{MARK}.example/x?utm_source={MARK}%40{MARK}.example&q={MARK}&gclid={MARK}&fbclid={MARK}#{MARK}"
    );
    let kind = dice.of(&["event", "conversion", "feedback", "replay", "log", MARK]);
    let time = NOW_MS - dice.below(1_000_000) as i64;
    let mut parts = vec![
        format!("\"event_id\":{}", quoted(&format!("{MARK}-{}", dice.below(99)), dice)),
        format!("\"event_time\":{time}"),
        format!("\"event_name\":{}", quoted(dice.of(&["Purchase", "page_view", "generate_lead"]), dice)),
        format!("\"kind\":{}", quoted(kind, dice)),
        format!("\"user\":{with_name}"),
        format!("\"ids\":{}", members(&ids, dice, |_, _| MARK.to_owned())),
        format!("\"url\":{}", shaped(&url, dice)),
        format!("\"referrer\":{}", shaped(&url, dice)),
        format!("\"user_agent\":{}", shaped(&format!("Mozilla/5.0 ({MARK}; {MARK}) {MARK}/1.0 Chrome/120.0"), dice)),
        format!("\"ip\":{}", quoted(dice.of(&["203.0.113.7", "2001:db8::1", MARK]), dice)),
        format!("\"order_id\":{}", shaped(MARK, dice)),
        format!("\"{MARK}\":{}", shaped(MARK, dice)),
        format!("\"feedback\":{{\"text\":{},\"author\":{},\"nps\":7}}", shaped(&written(&own, dice), dice), shaped(MARK, dice)),
        format!("\"custom\":{{\"plan\":{},\"{MARK}\":{}}}", shaped(&written(&own, dice), dice), shaped(MARK, dice)),
        format!("\"items\":[{{\"id\":\"SKU-1\",\"name\":{},\"price\":1}}]", shaped(&written(&own, dice), dice)),
        "\"consent\":{\"functional\":true,\"analytics\":true,\"ads\":true}".to_owned(),
        "\"value\":12.5,\"currency\":\"EUR\"".to_owned(),
    ];
    for _ in 0..dice.below(5) {
        let (from, to) = (dice.below(parts.len()), dice.below(parts.len()));
        if dice.one_in(2) {
            parts.swap(from, to);
        } else if from > 5 {
            parts.remove(from);
        }
    }
    let space = dice.of(&["", " ", "\n\t "]);
    format!("{space}{{{space}{}{space}}}{space}", parts.join(&format!("{space},{space}")))
}
