//! A schema registry's stand-in: answers as the documented REST API does, and can be told to be away, slow or unwell.
//!
//! Source: Confluent Platform documentation, "Schema Registry API Reference": paths, media type, error codes; where that is silent, the answers
//! are those of Karapace (main of 2026-06-23), asked on 2026-11-23.

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Connections are closed without an answer.
    Away,
    /// Every request is answered by this status and error code.
    Failing(u16, u32),
    /// An answer takes so long.
    Slow(Duration),
}

struct State {
    mood: Mood,
    schemas: BTreeMap<u32, String>,
    /// Ids of a subject's versions, the first being version 1.
    subjects: BTreeMap<String, Vec<u32>>,
    levels: BTreeMap<String, String>,
    authorization: Option<String>,
    /// Method and path of every request.
    asked: Vec<String>,
}

/// The server; it ends with the test process.
#[derive(Clone)]
pub struct StandIn {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

type Answer = (u16, Value);

fn failure(status: u16, code: u32, message: &str) -> Answer {
    (status, json!({ "error_code": code, "message": message }))
}

/// Without an error code of the API, as Karapace answers.
fn unauthorized() -> Answer {
    (401, json!({ "message": "Unauthorized" }))
}

impl StandIn {
    /// Listens on a free port.
    pub fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (schemas, subjects, levels) = Default::default();
        let state = State { mood, schemas, subjects, levels, authorization: None, asked: Vec::new() };
        let registry = Self { address: listener.local_addr().expect("it is bound"), state: Arc::new(Mutex::new(state)) };
        let shared = registry.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || shared.serve(stream, None));
            }
        });
        registry
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_mood(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// Listens on another port too, by TLS with this certificate and key, for those who show this header.
    pub fn listen_by_tls(&self, certificate: &Path, key: &Path, authorization: &str) -> String {
        let mut builder = SslAcceptor::mozilla_modern_v5(SslMethod::tls_server()).expect("OpenSSL");
        builder.set_certificate_chain_file(certificate).expect("a certificate");
        builder.set_private_key_file(key, SslFiletype::PEM).expect("its key");
        let (acceptor, shared, wanted) = (Arc::new(builder.build()), self.clone(), authorization.to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, acceptor, wanted) = (shared.clone(), Arc::clone(&acceptor), wanted.clone());
                std::thread::spawn(move || {
                    if let Ok(stream) = acceptor.accept(stream) {
                        shared.serve(stream, Some(&wanted));
                    }
                });
            }
        });
        format!("https://{address}")
    }

    /// From now on requests without this header are refused.
    pub fn demand(&self, authorization: &str) {
        self.state().authorization = Some(authorization.to_owned());
    }

    /// Registers a schema as somebody else would, and returns its id.
    pub fn register(&self, subject: &str, schema: &str) -> u32 {
        let (status, answer) = self.state().register(subject, schema);
        assert_eq!(status, 200, "{answer}");
        answer["id"].as_u64().expect("an id") as u32
    }

    /// Makes an id known that was not, outside of any subject.
    pub fn know(&self, id: u32, schema: &str) {
        self.state().schemas.insert(id, schema.to_owned());
    }

    /// The ids of a subject's versions.
    pub fn versions(&self, subject: &str) -> Vec<u32> {
        self.state().subjects.get(subject).cloned().unwrap_or_default()
    }

    /// How many requests there were whose method and path begin so.
    pub fn asked(&self, begins: &str) -> usize {
        self.state().asked.iter().filter(|request| request.starts_with(begins)).count()
    }

    /// Requests of one connection, until it is closed, if each shows the header that is wanted.
    fn serve(&self, stream: impl Read + Write, wanted: Option<&str>) {
        let mut stream = BufReader::new(stream);
        while let Some((method, path, authorization, body)) = read_request(&mut stream) {
            let mood = self.state().mood;
            if let Mood::Slow(time) = mood {
                std::thread::sleep(time);
            }
            let (status, answer) = match mood {
                Mood::Away => return,
                Mood::Failing(status, code) => failure(status, code, "Error while forwarding the request to the master."),
                _ if wanted.is_some() && authorization.as_deref() != wanted => unauthorized(),
                _ => self.answer(&method, &path, authorization.as_deref(), &body),
            };
            let text = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/vnd.schemaregistry.v1+json\r\nContent-Length: {}\r\n\r\n",
                text.len()
            );
            if stream.get_mut().write_all((head + &text).as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, method: &str, path: &str, authorization: Option<&str>, body: &str) -> Answer {
        let mut state = self.state();
        state.asked.push(format!("{method} {path}"));
        if state.authorization.as_deref().is_some_and(|wanted| authorization != Some(wanted)) {
            return unauthorized();
        }
        let path = path.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let schema = || serde_json::from_str::<Value>(body).ok().and_then(|v| Some(v["schema"].as_str()?.to_owned())).unwrap_or_default();
        match (method, &parts[..]) {
            ("GET", ["subjects"]) => (200, json!(state.subjects.keys().collect::<Vec<_>>())),
            ("GET", ["schemas", "ids", id]) => match id.parse().ok().and_then(|id: u32| state.schemas.get(&id)) {
                Some(schema) => (200, json!({ "schema": schema })),
                None => failure(404, 40403, "Schema not found"),
            },
            ("POST", ["subjects", subject, "versions"]) => state.register(subject, &schema()),
            ("POST", ["subjects", subject]) => state.look_up(subject, &schema()),
            ("GET", ["subjects", subject, "versions"]) => match state.subjects.get(*subject) {
                Some(ids) => (200, json!((1..=ids.len()).collect::<Vec<_>>())),
                None => failure(404, 40401, "Subject 'it' not found."),
            },
            ("GET", ["subjects", subject, "versions", version]) => state.version(subject, version),
            ("POST", ["compatibility", "subjects", subject, "versions", version]) => {
                let (status, answer) = state.version(subject, version);
                if status == 404 {
                    return failure(404, 40402, "Version -1 not found.");
                }
                let latest = answer["schema"].as_str().unwrap_or_default();
                (200, json!({ "is_compatible": state.takes(subject, latest, &schema()) }))
            }
            ("GET", ["config"]) => (200, json!({ "compatibilityLevel": "BACKWARD" })),
            ("GET", ["config", subject]) => (200, json!({ "compatibilityLevel": state.level(subject) })),
            ("PUT", ["config", subject]) => {
                let level = serde_json::from_str::<Value>(body).unwrap_or_default()["compatibility"].clone();
                state.levels.insert((*subject).to_owned(), level.as_str().unwrap_or("BACKWARD").to_owned());
                (200, json!({ "compatibility": level }))
            }
            _ => failure(404, 404, "HTTP 404 Not Found"),
        }
    }
}

impl State {
    fn level(&self, subject: &str) -> &str {
        self.levels.get(subject).map_or("BACKWARD", String::as_str)
    }

    /// Whether a subject's level lets this schema follow.
    fn takes(&self, subject: &str, latest: &str, next: &str) -> bool {
        let (Ok(old), Ok(new)) = (Schema::parse_str(latest), Schema::parse_str(next)) else { return false };
        let backward = || SchemaCompatibility::can_read(&old, &new).is_ok();
        let forward = || SchemaCompatibility::can_read(&new, &old).is_ok();
        match self.level(subject) {
            "NONE" => true,
            "FORWARD" => forward(),
            "FULL" => backward() && forward(),
            _ => backward(),
        }
    }

    fn register(&mut self, subject: &str, schema: &str) -> Answer {
        if Schema::parse_str(schema).is_err() {
            return failure(422, 42201, "Invalid schema");
        }
        let same = |text: &str| serde_json::from_str::<Value>(text).ok() == serde_json::from_str::<Value>(schema).ok();
        let ids = self.subjects.get(subject).cloned().unwrap_or_default();
        if let Some(id) = ids.iter().find(|id| same(&self.schemas[id])) {
            return (200, json!({ "id": id }));
        }
        if let Some(latest) = ids.last()
            && !self.takes(subject, &self.schemas[latest].clone(), schema)
        {
            return failure(409, 409, "Incompatible schema, compatibility_mode=BACKWARD. Incompatibilities: x");
        }
        let known = self.schemas.iter().find(|(_, text)| same(text)).map(|(id, _)| *id);
        let id = known.unwrap_or_else(|| self.schemas.keys().max().map_or(1, |id| id + 1));
        self.schemas.entry(id).or_insert_with(|| schema.to_owned());
        self.subjects.entry(subject.to_owned()).or_default().push(id);
        (200, json!({ "id": id }))
    }

    fn look_up(&self, subject: &str, schema: &str) -> Answer {
        let Some(ids) = self.subjects.get(subject) else { return failure(404, 40401, "Subject 'it' not found.") };
        let same = |text: &str| serde_json::from_str::<Value>(text).ok() == serde_json::from_str::<Value>(schema).ok();
        match ids.iter().position(|id| same(&self.schemas[id])) {
            Some(at) => self.version(subject, &(at + 1).to_string()),
            None => failure(404, 40403, "Schema not found"),
        }
    }

    fn version(&self, subject: &str, version: &str) -> Answer {
        let Some(ids) = self.subjects.get(subject) else { return failure(404, 40401, "Subject 'it' not found.") };
        let number = if version == "latest" { ids.len() } else { version.parse().unwrap_or(0) };
        match number.checked_sub(1).and_then(|at| ids.get(at)) {
            Some(id) => (200, json!({ "subject": subject, "id": id, "version": number, "schema": self.schemas[id] })),
            None => failure(404, 40402, "Version not found."),
        }
    }
}

/// Method, path, authorization and body. `None`: the connection is closed.
fn read_request(reader: &mut impl BufRead) -> Option<(String, String, Option<String>, String)> {
    let mut request = String::new();
    if reader.read_line(&mut request).ok()? == 0 {
        return None;
    }
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = request.split_whitespace().map(str::to_owned);
    Some((words.next()?, words.next()?, authorization, String::from_utf8(body).ok()?))
}
