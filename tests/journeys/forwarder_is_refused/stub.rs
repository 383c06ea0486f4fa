//! The platforms' end: an HTTP server that takes a POST to `/<destination>/<target>`, has it validated and remembers what it saw.

use super::now_ms;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// One event that was taken.
#[derive(Clone)]
pub struct Sent {
    pub destination: &'static str,
    pub target: String,
    pub at_ms: i64,
}

#[derive(Default)]
struct Seen {
    sent: Vec<Sent>,
    refused: Vec<String>,
}

/// Says what is wrong with a request, or how many events it has.
pub type Validate = fn(destination: &str, target: &str, body: &Value, now_ms: i64) -> Result<usize, String>;

/// The server; it ends with the test process.
pub struct Stub {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Stub {
    /// Listens on a free port.
    pub fn start(validate: Validate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, validate, &seen));
            }
        });
        Self { address, seen }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many events were taken, by destination.
    pub fn arrived(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        self.sent().iter().for_each(|sent| *counts.entry(sent.destination).or_default() += 1);
        counts
    }

    /// Every event that was taken.
    pub fn sent(&self) -> Vec<Sent> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).sent.clone()
    }

    /// Every request that was refused, and why.
    pub fn refused(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).refused.clone()
    }
}

/// One request; the client's `Connection: close` is what urllib always sends.
fn serve(stream: TcpStream, validate: Validate, seen: &Mutex<Seen>) {
    let mut reader = BufReader::new(stream);
    let (mut request, mut length) = (String::new(), 0);
    if reader.read_line(&mut request).is_err() {
        return;
    }
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).is_err() || header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let path = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/');
    let (destination, target) = path.split_once('/').unwrap_or((path, ""));
    let outcome = take(destination, target, &body, validate, seen);
    let status = if outcome.is_ok() { "200 OK" } else { "400 Bad Request" };
    if let Err(fault) = outcome {
        seen.lock().unwrap_or_else(PoisonError::into_inner).refused.push(format!("{destination}: {fault}"));
    }
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = reader.into_inner().write_all(answer.as_bytes());
}

fn take(destination: &str, target: &str, body: &[u8], validate: Validate, seen: &Mutex<Seen>) -> Result<(), String> {
    let destination = *super::DESTINATIONS.iter().find(|name| **name == destination).ok_or("no such destination")?;
    let body: Value = serde_json::from_slice(body).map_err(|fault| fault.to_string())?;
    let at_ms = now_ms();
    let events = validate(destination, target, &body, at_ms)?;
    let sent = vec![Sent { destination, target: target.to_owned(), at_ms }; events];
    seen.lock().unwrap_or_else(PoisonError::into_inner).sent.extend(sent);
    Ok(())
}
