//! What the demo prints: each story as two columns, the totals, and where to look next. Colours on a terminal alone.

use super::find::{Kind, Story};
use crate::commands::generate::{Expected, grouped, rate};
use crate::commands::run::Done;
use crate::ops::say::{say, show};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::IsTerminal;

/// Widths of the columns: what a value is, what went in, what came out. Units: characters.
const COLUMNS: [usize; 3] = [16, 42, 46];

/// One line of a story: its name, what went in and what came out of it, as JSON pointers.
type Line = (&'static str, &'static [&'static str], &'static [&'static str]);

const LINES: [Line; 18] = [
    ("event id", &["/event_id"], &["/event_id"]),
    ("event", &["/event_name"], &["/event_name"]),
    ("external id", &["/user/external_id"], &["external_id"]),
    ("e-mail", &["/user/email"], &["email"]),
    ("phone", &["/user/phone"], &["phone"]),
    ("client id", &["/ids/client_id"], &["client_id"]),
    ("name", &["/user/first_name", "/user/last_name"], &[]),
    ("date of birth", &["/user/date_of_birth"], &["/age_band"]),
    ("address", &["/user/street", "/user/zip", "/user/city", "/user/country"], &["/geo/country", "/geo/region", "/geo/city"]),
    ("IP address", &["/ip"], &["/ip_truncated"]),
    ("user agent", &["/user_agent"], &["/device/class", "/device/os", "/device/os_major", "/device/browser", "/device/browser_major"]),
    ("page", &["/url"], &["/page/host", "/page/path"]),
    ("campaign", &["/url"], &["/campaign/source", "/campaign/medium", "/campaign/campaign", "/campaign/click_platform"]),
    ("value", &["/value", "/currency"], &["/value", "/currency"]),
    ("order id", &["/order_id"], &["/order"]),
    ("feedback", &["/feedback/text"], &["/feedback/text"]),
    ("rating", &["/feedback/rating"], &["/feedback/rating"]),
    ("consent", &["/consent/version"], &["/legal_basis"]),
];

/// Standard output, and whether it is a terminal that takes colours.
pub struct Screen {
    colours: bool,
}

impl Screen {
    /// Standard output as it is.
    pub fn of_stdout() -> Self {
        Screen { colours: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    /// What is about to happen.
    pub fn title(&self, brokers: &str, kafka: bool, events: u64) {
        let what = if kafka { format!("the brokers at {brokers}") } else { "a mock broker in this process".to_string() };
        say!("{}  {} synthetic events through the job, on {what}\n", self.bold("lethe demo"), grouped(events));
    }

    /// Each story, side by side.
    pub fn stories(&self, stories: &[Story]) {
        stories.iter().for_each(|story| show!("{}", self.story(story)));
    }

    fn story(&self, story: &Story) -> String {
        let title = match story.kind {
            Kind::Purchase => "A purchase, with consent to everything",
            Kind::Feedback => "Feedback that says more than it should",
            Kind::Refused => "A page view of somebody who refused",
            Kind::Unsafe => "An event whose id is an e-mail address",
        };
        let mut out = format!(
            "{}\n",
            self.bold(&format!("── {title} {}", "─".repeat(COLUMNS.iter().sum::<usize>().saturating_sub(title.chars().count() + 4))))
        );
        let record = story.records.iter().find(|(topic, _)| !topic.contains(".dest.") && !topic.ends_with(".quarantine"));
        let came_to = story.records.first().map_or("nothing: no consent, so nothing was written", |(topic, _)| topic);
        let head = record.map_or(came_to, |(topic, _)| topic);
        out.push_str(&self.row("", "what went in", head, true));
        for (name, from, to) in LINES {
            let before = joined(&story.raw, from);
            let is_told = record.is_some() || matches!(name, "event id" | "event" | "e-mail" | "IP address" | "page");
            if before.is_empty() || !is_told {
                continue;
            }
            let after = record.map_or(String::new(), |(_, value)| joined(value, to));
            let after = if record.is_some() && after.is_empty() { "–" } else { &after };
            out.push_str(&self.row(name, &before, after, false));
        }
        for (topic, value) in story.records.iter().filter(|(topic, _)| topic.contains(".dest.") || topic.ends_with(".quarantine")) {
            out.push_str(&format!("  {}\n", self.bold(topic)));
            for line in wrapped(&shortened(value).to_string(), COLUMNS.iter().sum::<usize>() - 4) {
                out.push_str(&format!("    {}\n", self.green(&line)));
            }
        }
        out.push('\n');
        out
    }

    fn row(&self, name: &str, before: &str, after: &str, head: bool) -> String {
        let [a, b, c] = COLUMNS;
        let (name, before, after) = (padded(name, a - 2), padded(before, b - 2), cut(after, c));
        let (before, after) = if head { (self.bold(&before), self.bold(&after)) } else { (self.red(&before), self.green(&after)) };
        format!("  {}{before}  {after}\n", self.dim(&name)).trim_end().to_owned() + "\n"
    }

    /// What came of all rows, and how fast.
    pub fn totals(&self, expected: &Expected, done: &Done, records: &BTreeMap<String, u64>) {
        let t = &done.tally;
        let (gated, quarantined): (u64, u64) = (t.gated.iter().sum(), t.quarantined.iter().sum());
        let sum = t.written + gated + quarantined + t.expired;
        say!("{}", self.bold("── All rows, each in exactly one outcome"));
        let width = grouped(sum).len();
        let line = |sign: &str, n: u64, what: &str, why: &str| {
            say!("{}", format!("  {sign} {:>width$}  {what:<13}{}", grouped(n), self.dim(why)).trim_end())
        };
        line(" ", t.written, "written", "pseudonymised, and sent where consent allows");
        line("+", gated, "gated", "no consent, or nothing that any destination takes");
        line(
            "+",
            quarantined,
            "quarantined",
            &format!("refused with a reason and a field name; the generator broke {}", grouped(expected.all_quarantined())),
        );
        line("+", t.expired, "expired", &format!("older than may be kept; the generator dated {} back", grouped(expected.expired)));
        let verdict = if sum == expected.rows { "rows in" } else { "rows in, some of them left by an earlier demo" };
        line("=", sum, verdict, "");
        say!("\n{}", self.bold("── Records, by topic"));
        for (topic, n) in records {
            say!("  {:>9}  {topic}", grouped(*n));
        }
        if let Some((began, ended)) = done.span {
            let time = ended.duration_since(began);
            let speed = grouped(rate(sum, time));
            say!(
                "\n  {} rows in {:.2} s: {} rows/s from raw bytes to committed records",
                grouped(sum),
                time.as_secs_f64(),
                self.bold(&speed)
            );
        }
    }

    /// Where to go from here.
    pub fn next(&self, kafka: bool) {
        say!("\n{}", self.bold("── Next"));
        let mut lines = vec![
            ("README.md", "what Lethe promises, and how it keeps it"),
            ("config.toml", "every setting, with its default and the reason"),
            ("lethe run --help", "the job you just saw, on your own topics"),
        ];
        if !kafka {
            lines.push(("lethe demo --kafka", "the same on a real broker"));
        }
        lines.into_iter().for_each(|(what, why)| say!("  {what:<20}{}", self.dim(why)));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }

    fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }
}

/// The values at some pointers, one after the other; a name without a slash is a type of identifier.
fn joined(value: &Value, pointers: &[&str]) -> String {
    let text = |pointer: &&str| -> Option<String> {
        let found = if pointer.starts_with('/') {
            value.pointer(pointer)?
        } else {
            let all = value["identifiers"].as_array()?;
            &all.iter().find(|i| i["type"] == **pointer)?["pseudonym"]
        };
        match found {
            Value::String(s) => Some(s.clone()),
            Value::Number(n) => Some(n.to_string()),
            Value::Array(all) => Some(all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")),
            _ => None,
        }
    };
    pointers.iter().filter_map(text).collect::<Vec<_>>().join(" ")
}

/// The same value with long hashes cut, so that a body fits a few lines.
fn shortened(value: &Value) -> Value {
    match value {
        Value::String(s) if s.len() == 64 && s.bytes().all(|b| b.is_ascii_hexdigit()) => Value::String(format!("{}…", &s[..8])),
        Value::String(s) => Value::String(cut(s, 60)),
        Value::Array(all) => all.iter().map(shortened).collect(),
        Value::Object(o) => o.iter().map(|(k, v)| (k.clone(), shortened(v))).collect(),
        other => other.clone(),
    }
}

/// At most `width` characters; what is cut is marked.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width { text.to_owned() } else { text.chars().take(width - 1).chain(['…']).collect() }
}

fn padded(text: &str, width: usize) -> String {
    format!("{:<width$}", cut(text, width))
}

/// JSON broken after commas into lines of at most `width` characters, where there are commas.
fn wrapped(json: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for part in json.split_inclusive(',') {
        let length = part.chars().count();
        if used + length > width && used > 0 {
            lines.push(String::new());
            used = 0;
        }
        used += length;
        if let Some(line) = lines.last_mut() {
            line.push_str(part);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn story(kind: Kind, records: Vec<(String, Value)>) -> String {
        let raw = json!({"event_id": "e1", "user": {"email": "ana@example.com"}, "value": 12.5, "currency": "EUR"});
        let screen = Screen { colours: false };
        screen.story(&Story::told(kind, raw, records))
    }

    #[test]
    fn a_story_has_what_went_in_next_to_what_came_out() {
        let record = json!({"event_id": "1.x", "identifiers": [{"type": "email", "pseudonym": "1.abc"}], "value": 12.5, "currency": "EUR"});
        let body = json!({"em": ["a".repeat(64)]});
        let text = story(Kind::Purchase, vec![("demo.conversions".into(), record), ("demo.dest.meta".into(), body)]);
        let line = text.lines().find(|l| l.contains("e-mail")).unwrap();
        assert!(line.contains("ana@example.com") && line.contains("1.abc"), "{text}");
        assert!(text.contains("demo.dest.meta") && text.contains("aaaaaaaa…"), "{text}");
        assert!(!text.contains('\u{1b}'), "no colours unless asked for");
    }

    #[test]
    fn a_story_of_nothing_says_so() {
        let text = story(Kind::Refused, Vec::new());
        assert!(text.contains("nothing was written") && !text.contains("12.5"), "{text}");
    }

    #[test]
    fn lines_break_at_commas() {
        assert_eq!(wrapped("aa,bb,cc", 6), ["aa,bb,", "cc"]);
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(padded("ab", 4), "ab  ");
    }
}
