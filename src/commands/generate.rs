//! `lethe generate`: synthetic events from a seed, to a file or to a tenant's raw topic, and what must become of them.

use super::Failure;
use super::progress::Progress;
use crate::config::Config;
use crate::generator::{Expectation, Generated, Generator};
use crate::kafka::produce::PlainProducer;
use crate::kafka::topics::Admin;
use crate::model::category::Category;
use crate::model::field::Field;
use crate::model::tenant::TenantId;
use crate::ops::clock;
use crate::ops::say::{say_aside, show};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// What is made.
pub struct Wish {
    /// The tenant that the events name.
    pub tenant: TenantId,
    /// How many.
    pub events: u64,
    /// The seed: the same one gives the same events, but for their times.
    pub seed: u64,
}

/// What was made, and what must become of it under rules that keep every category.
#[derive(Default)]
pub struct Expected {
    /// Rows.
    pub rows: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Good rows: written if their consent allows.
    pub good: u64,
    /// Rows dated two years back.
    pub expired: u64,
    /// Rows for quarantine, by reason and field.
    pub quarantined: BTreeMap<(&'static str, Option<Field>), u64>,
    /// Good rows that allow statistics.
    pub analytics: u64,
    /// Good rows that allow advertising.
    pub ads: u64,
    /// Good rows, by category.
    pub categories: BTreeMap<Category, u64>,
}

impl Expected {
    /// Counts one row.
    pub fn add(&mut self, row: &Generated, bytes: usize) {
        self.rows += 1;
        self.bytes += bytes as u64;
        match row.expectation {
            Expectation::Expired => self.expired += 1,
            Expectation::Quarantined(reason, field) => *self.quarantined.entry((reason.as_str(), field)).or_default() += 1,
            Expectation::Good => {
                self.good += 1;
                self.analytics += u64::from(row.consent.analytics());
                self.ads += u64::from(row.consent.ads());
                *self.categories.entry(row.category).or_default() += 1;
            }
        }
    }

    /// Rows for quarantine.
    #[must_use]
    pub fn all_quarantined(&self) -> u64 {
        self.quarantined.values().sum()
    }
}

/// Writes events to a file, a line each; `-` is standard output.
///
/// Errors: the file cannot be written.
pub fn to_file(wish: &Wish, path: &Path) -> Result<(), Failure> {
    let fail = |e: std::io::Error| Failure::Failed(format!("cannot write {}: {e}", path.display()));
    let to_stdout = path.as_os_str() == "-";
    let sink: Box<dyn Write> =
        if to_stdout { Box::new(std::io::stdout().lock()) } else { Box::new(std::fs::File::create(path).map_err(fail)?) };
    let mut sink = std::io::BufWriter::with_capacity(1 << 20, sink);
    let start = Instant::now();
    let made = each(wish, |_, payload| {
        payload.push(b'\n');
        sink.write_all(payload)
    });
    let expected = match made.and_then(|expected| sink.flush().map(|()| expected)) {
        // A reader that has had enough, such as `head`.
        Err(e) if to_stdout && e.kind() == ErrorKind::BrokenPipe => return Ok(()),
        made => made.map_err(fail)?,
    };
    drop(sink);
    let place = path.display().to_string();
    if to_stdout {
        say_aside!("{}", summary(&expected, "standard output", start).trim_end())
    } else {
        show!("{}", summary(&expected, &place, start))
    }
    Ok(())
}

/// Produces events to the tenant's first raw topic.
///
/// Errors: the tenant is not configured, its topic is missing, the brokers refuse.
pub fn to_topic(config: &Config, wish: &Wish) -> Result<(), Failure> {
    let Some(tenant) = config.tenant.iter().find(|t| t.id == wish.tenant) else {
        return Err(Failure::Usage(format!("the config names no tenant {}; with --output FILE none is needed", wish.tenant)));
    };
    let Some(topic) = tenant.sources().into_iter().next() else {
        return Err(Failure::Usage(format!("tenant {} has no raw topic", wish.tenant)));
    };
    if !Admin::connect(&config.kafka)?.partitions()?.contains_key(&topic) {
        return Err(Failure::Failed(format!("topic {topic} is missing; make it with `lethe topics apply`")));
    }
    let start = Instant::now();
    let expected = produce(config, wish, &topic)?;
    show!("{}", summary(&expected, &format!("topic {topic}"), start));
    Ok(())
}

/// Produces events to a topic, and waits until the brokers have them. Errors: as [`PlainProducer`].
pub fn produce(config: &Config, wish: &Wish, topic: &str) -> Result<Expected, Failure> {
    let producer = PlainProducer::connect(&config.kafka, topic)?;
    let expected = each(wish, |row, payload| Ok::<(), Failure>(producer.send(row.key.as_bytes(), payload)?))?;
    let delivered = producer.finish()?;
    if delivered == expected.rows { Ok(expected) } else { Err(Failure::Failed(format!("{delivered} of {} events arrived", expected.rows))) }
}

/// Makes the events one by one, showing progress on a terminal.
fn each<E>(wish: &Wish, mut take: impl FnMut(&Generated, &mut Vec<u8>) -> Result<(), E>) -> Result<Expected, E> {
    let generator = Generator::new(wish.seed, wish.tenant.as_str(), clock::now_ms());
    let (mut expected, mut payload) = (Expected::default(), Vec::with_capacity(4_096));
    let mut progress = Progress::begin(wish.events, "events");
    for i in 0..wish.events {
        payload.clear();
        let row = generator.generate(i, &mut payload);
        expected.add(&row, payload.len());
        take(&row, &mut payload)?;
        progress.step();
    }
    Ok(expected)
}

/// Units: events per second.
pub fn rate(events: u64, time: Duration) -> u64 {
    (events as f64 / time.as_secs_f64().max(1e-6)) as u64
}

/// A number with its thousands apart.
#[must_use]
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

fn summary(e: &Expected, place: &str, start: Instant) -> String {
    let time = start.elapsed();
    let mut out = format!(
        "{} events, {:.1} MB, to {place} in {:.1} s ({}/s)\n",
        grouped(e.rows),
        e.bytes as f64 / 1e6,
        time.as_secs_f64(),
        grouped(rate(e.rows, time))
    );
    let mut line = |n: u64, what: &str| out.push_str(&format!("{:>12}  {what}\n", grouped(n)));
    let categories: Vec<String> = e.categories.iter().map(|(c, n)| format!("{} {}", c.as_str(), grouped(*n))).collect();
    line(e.good, &format!("good: {}", categories.join(", ")));
    line(e.analytics, "of the good ones allow statistics");
    line(e.ads, "of the good ones allow advertising");
    line(e.expired, "must expire");
    line(e.all_quarantined(), "must be quarantined:");
    for ((reason, field), n) in &e.quarantined {
        line(*n, &format!("  {reason}{}", field.map_or(String::new(), |f| format!(" ({})", f.name()))));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(events: u64) -> Wish {
        Wish { tenant: TenantId::try_from("acme".to_string()).unwrap(), events, seed: 7 }
    }

    #[test]
    fn every_row_is_expected_once() {
        let mut lines = 0;
        let expected = each(&wish(5_000), |_, payload| {
            lines += 1;
            assert!(!payload.contains(&b'\n'));
            Ok::<(), Failure>(())
        });
        let expected = expected.unwrap();
        assert_eq!((lines, expected.rows), (5_000, 5_000));
        assert_eq!(expected.good + expected.expired + expected.all_quarantined(), expected.rows);
        assert_eq!(expected.categories.values().sum::<u64>(), expected.good);
        let text = summary(&expected, "nowhere", Instant::now());
        assert!(text.starts_with("5,000 events") && text.contains("must be quarantined"));
    }

    #[test]
    fn a_file_has_a_line_an_event() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        to_file(&wish(300), &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.split(|b| *b == b'\n').count(), 301);
    }

    #[test]
    fn a_folder_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(to_file(&wish(1), folder.path()).unwrap_err().exit_code(), 1);
    }

    #[test]
    fn thousands_stand_apart() {
        let texts = [0, 12, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "12", "999", "1,000", "1,234,567"]);
    }
}
