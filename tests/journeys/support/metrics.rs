//! A look at the HTTP endpoints without an HTTP client: one request, one answer, and Prometheus' text format read back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer to a GET.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// Asks `host:port` for `path`. Errors: no connection, no answer in time, or an answer that is not HTTP.
pub fn http_get(address: &str, path: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // HTTP/1.0: the answer ends with the connection and is not cut in chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let not_http = || std::io::Error::other("the answer is not HTTP");
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(not_http)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(not_http)?;
    Ok(Answer { status, body: body.to_owned() })
}

/// What `/metrics` said at one moment.
#[derive(Debug, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
    /// The text as it came, e.g. for `promtool check metrics` or a search for what must not be there.
    pub text: String,
}

/// One line of it.
#[derive(Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

impl Metrics {
    /// Reads the text format.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let samples = lines.map(|line| sample(line).unwrap_or_else(|| panic!("not a sample: {line}"))).collect();
        Self { samples, text: text.to_owned() }
    }

    /// The sum of all samples of this name that have these labels among theirs; 0 if there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let of_name = self.samples.iter().filter(|sample| sample.name == name);
        of_name.filter(|sample| labels.iter().all(|(key, value)| sample.label(key) == Some(value))).map(|sample| sample.value).sum()
    }

    /// All samples of this name.
    pub fn of(&self, name: &str) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| sample.name == name).collect()
    }
}

impl Sample {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn sample(line: &str) -> Option<Sample> {
    let Some((name, rest)) = line.split_once('{') else {
        let mut words = line.split_whitespace();
        return Some(Sample { name: words.next()?.to_owned(), labels: Vec::new(), value: words.next()?.parse().ok()? });
    };
    let mut labels = Vec::new();
    let mut rest = rest;
    while !rest.starts_with('}') {
        let (key, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.push((key.trim_start_matches(',').to_owned(), value));
        rest = after;
    }
    let value = rest[1..].split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The text up to the closing quote, escapes undone, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[test]
fn metrics_are_read_with_their_labels() {
    let text = "# TYPE lethe_rows_total counter\nlethe_rows_total{tenant=\"a\",outcome=\"written\"} 3\n\
                lethe_rows_total{tenant=\"b\",outcome=\"written\"} 4 1700000000\nup 1\nodd{path=\"a\\\"},{b\"} 2.5\n";
    let metrics = Metrics::parse(text);
    assert_eq!(metrics.sum("lethe_rows_total", &[("outcome", "written")]), 7.0);
    assert_eq!(metrics.sum("lethe_rows_total", &[("outcome", "written"), ("tenant", "b")]), 4.0);
    assert_eq!(metrics.sum("up", &[]), 1.0);
    assert_eq!(metrics.of("odd")[0].label("path"), Some("a\"},{b"));
}
