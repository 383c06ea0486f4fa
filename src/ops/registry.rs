//! A client of a schema registry: registers, looks up and fetches schemas. Knows nothing of what they mean.
//!
//! Source: Confluent Platform documentation, "Schema Registry API Reference", read 2026-11-22; Karapace answers the same.

use crate::config::registry::SchemaRegistryConfig;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// Largest answer that is read. Units: bytes.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// How deep references of schemas may go, and how many there may be in all.
const REFERENCES_MAX: usize = 100;

/// Why there is no answer. Shape: by what to do about it; no text of the registry's own stands in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryFault {
    /// It is away, overloaded, or cannot reach its leader: ask again.
    #[error("the schema registry does not answer: {0}")]
    Away(String),
    /// It answers that it has no such schema, subject or version.
    #[error("the schema registry does not have it")]
    Unknown,
    /// It refuses: somebody must change something before it is asked again.
    #[error("the schema registry refuses: {0}")]
    Refused(String),
}

/// A schema as it was registered.
#[derive(Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its text.
    pub schema: String,
    /// `AVRO`, `JSON`, `PROTOBUF`.
    pub kind: String,
    /// Texts of the schemas that it names types of, and of those that these do.
    pub others: Vec<String>,
}

/// A connection to a registry.
pub struct Registry {
    agent: Agent,
    config: SchemaRegistryConfig,
    urls: Vec<String>,
    /// Which URL is asked first.
    first: AtomicUsize,
}

#[derive(Deserialize)]
struct Id {
    id: u32,
}

#[derive(Deserialize)]
struct Text {
    schema: String,
    #[serde(rename = "schemaType", default)]
    kind: Option<String>,
    #[serde(default)]
    references: Option<Vec<Reference>>,
}

#[derive(Deserialize, Clone, PartialEq, Eq)]
struct Reference {
    subject: String,
    version: u32,
}

#[derive(Deserialize)]
struct Compatible {
    is_compatible: bool,
}

#[derive(Deserialize)]
struct ErrorCode {
    error_code: u32,
}

impl Registry {
    /// Makes a client; nothing is asked yet. `None`: the config names no registry. Errors: the authorities' file.
    pub fn new(config: &SchemaRegistryConfig) -> Result<Option<Self>, String> {
        if !config.is_there() {
            return Ok(None);
        }
        let roots = if config.ca_file.as_os_str().is_empty() { RootCerts::PlatformVerifier } else { authorities(&config.ca_file)? };
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(roots).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(config.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent("lethe")
            .build()
            .new_agent();
        Ok(Some(Registry { agent, urls: config.urls(), config: config.clone(), first: AtomicUsize::new(0) }))
    }

    /// The id of a schema under a subject: registered if the config says so, else looked up. Doing it again changes nothing.
    ///
    /// Errors: `Refused` for a schema that is incompatible with the subject's, and where it may not be registered.
    pub fn id_of(&self, subject: &str, schema: &str) -> Result<u32, RegistryFault> {
        let subject = escaped(subject);
        let (path, why) = if self.config.register {
            // Some registries say so to users who may not write it.
            (format!("/subjects/{subject}/versions"), "it denies this user the subject: look at schema_registry.username or token_file")
        } else {
            (format!("/subjects/{subject}"), "the schema is not registered, and schema_registry.register is false")
        };
        match self.post::<Id>(&path, schema) {
            Err(RegistryFault::Unknown) => Err(RegistryFault::Refused(why.into())),
            id => Ok(id?.id),
        }
    }

    /// Whether a subject has this schema. Errors: `Unknown` if not.
    pub fn look_up(&self, subject: &str, schema: &str) -> Result<u32, RegistryFault> {
        Ok(self.post::<Id>(&format!("/subjects/{}", escaped(subject)), schema)?.id)
    }

    /// Whether a schema could be a subject's next version; one without versions takes any.
    pub fn is_compatible(&self, subject: &str, schema: &str) -> Result<bool, RegistryFault> {
        match self.post::<Compatible>(&format!("/compatibility/subjects/{}/versions/latest", escaped(subject)), schema) {
            Err(RegistryFault::Unknown) => Ok(true),
            answer => Ok(answer?.is_compatible),
        }
    }

    /// The names of all subjects.
    pub fn subjects(&self) -> Result<Vec<String>, RegistryFault> {
        self.ask("/subjects", None)
    }

    /// A schema and those that it names types of. Errors: `Unknown` for an id that the registry says it does not have.
    pub fn schema(&self, id: u32) -> Result<Registered, RegistryFault> {
        let Text { schema, kind, references } = self.ask(&format!("/schemas/ids/{id}"), None)?;
        let (mut others, mut seen, mut open) = (Vec::new(), Vec::new(), references.unwrap_or_default());
        while let Some(reference) = open.pop() {
            if seen.contains(&reference) {
                continue;
            }
            if seen.len() >= REFERENCES_MAX {
                return Err(RegistryFault::Refused("the schema names too many others".into()));
            }
            let path = format!("/subjects/{}/versions/{}", escaped(&reference.subject), reference.version);
            let other: Text = self.ask(&path, None)?;
            open.extend(other.references.unwrap_or_default());
            others.push(other.schema);
            seen.push(reference);
        }
        Ok(Registered { schema, kind: kind.unwrap_or_else(|| "AVRO".into()), others })
    }

    fn post<T: for<'a> Deserialize<'a>>(&self, path: &str, schema: &str) -> Result<T, RegistryFault> {
        let body = serde_json::json!({ "schema": schema }).to_string();
        self.ask(path, Some(&body))
    }

    /// Asks each URL in turn until one answers. Shape: what answered is asked first from then on.
    fn ask<T: for<'a> Deserialize<'a>>(&self, path: &str, body: Option<&str>) -> Result<T, RegistryFault> {
        let first = self.first.load(Ordering::Relaxed);
        let mut told = RegistryFault::Away("no URL".into());
        for i in 0..self.urls.len() {
            let at = (first + i) % self.urls.len();
            match self.ask_one(&self.urls[at], path, body) {
                Err(fault @ RegistryFault::Away(_)) => told = fault,
                answer => {
                    self.first.store(at, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(told)
    }

    fn ask_one<T: for<'a> Deserialize<'a>>(&self, base: &str, path: &str, body: Option<&str>) -> Result<T, RegistryFault> {
        let away = |what: &str| RegistryFault::Away(format!("{base}: {what}"));
        let url = format!("{base}{path}");
        let authorization = self.authorization()?;
        let sent = match body {
            None => {
                let mut request = self.agent.get(&url).header("Accept", MEDIA_TYPE);
                if let Some(value) = &authorization {
                    request = request.header("Authorization", value);
                }
                request.call()
            }
            Some(body) => {
                let mut request = self.agent.post(&url).header("Accept", MEDIA_TYPE).header("Content-Type", MEDIA_TYPE);
                if let Some(value) = &authorization {
                    request = request.header("Authorization", value);
                }
                request.send(body)
            }
        };
        let mut answer = sent.map_err(|e| away(&e.to_string()))?;
        let status = answer.status().as_u16();
        let bytes = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(|e| away(&e.to_string()))?;
        if (200..300).contains(&status) {
            return serde_json::from_slice(&bytes).map_err(|_| away("its answer is not a schema registry's"));
        }
        let code = serde_json::from_slice::<ErrorCode>(&bytes).ok().map(|e| e.error_code);
        Err(fault(base, status, code))
    }

    fn authorization(&self) -> Result<Option<String>, RegistryFault> {
        // Files are not named: somebody may have put the secret there.
        let secret = |field: &str, path: &Path| {
            let text = std::fs::read_to_string(path);
            text.map(|text| text.trim().to_owned())
                .map_err(|e| RegistryFault::Away(format!("schema_registry.{field}: the file cannot be read: {e}")))
        };
        if !self.config.username.is_empty() {
            let pair = format!("{}:{}", self.config.username, secret("password_file", &self.config.password_file)?);
            return Ok(Some(format!("Basic {}", STANDARD.encode(pair))));
        }
        if self.config.token_file.as_os_str().is_empty() {
            return Ok(None);
        }
        Ok(Some(format!("Bearer {}", secret("token_file", &self.config.token_file)?)))
    }
}

/// What an answer that is no success means. A 404 without the registry's own code is somebody else's: a proxy, a wrong path.
fn fault(base: &str, status: u16, code: Option<u32>) -> RegistryFault {
    let refused = |what: &str| RegistryFault::Refused(format!("{base}: {what} ({})", code.unwrap_or_else(|| status.into())));
    match (status, code) {
        (404, Some(40401..=40499)) => RegistryFault::Unknown,
        (401 | 403, _) => refused("this user may not do that: look at schema_registry.username, password_file or token_file"),
        (409, _) => refused("the schema is incompatible with those that the subject has"),
        (422, Some(42205)) => refused("the subject is read-only"),
        (422, _) => refused("it takes the schema for invalid"),
        (400 | 405 | 406 | 413 | 415, _) => refused("it does not understand the request"),
        _ => RegistryFault::Away(format!("{base}: status {status}{}", code.map_or(String::new(), |c| format!(", error code {c}")))),
    }
}

/// What a subject's name may hold as it is, in a path.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

fn escaped(subject: &str) -> String {
    utf8_percent_encode(subject, ESCAPED).to_string()
}

/// The certificates of a PEM file. Errors: there is none in it.
fn authorities(path: &Path) -> Result<RootCerts, String> {
    let told = |what: String| format!("schema_registry.ca_file {}: {what}", path.display());
    let bytes = std::fs::read(path).map_err(|e| told(e.to_string()))?;
    let certificates: Vec<_> =
        parse_pem(&bytes).filter_map(|item| if let Ok(PemItem::Certificate(c)) = item { Some(c) } else { None }).collect();
    if certificates.is_empty() {
        return Err(told("holds no certificate in PEM".into()));
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_what_to_do() {
        use RegistryFault::{Away, Refused, Unknown};
        let of = |status, code| fault("http://r", status, code);
        assert!(matches!(of(404, Some(40403)), Unknown));
        assert!(matches!(of(404, Some(40401)), Unknown));
        assert!(matches!(of(404, Some(40406)), Unknown), "a version that was deleted");
        assert!(matches!(of(404, None), Away(_)), "a proxy's word about the path is not the registry's about the id");
        assert!(matches!(of(404, Some(404)), Away(_)));
        for (status, code) in
            [(500, Some(50001)), (500, Some(50002)), (500, Some(50003)), (503, None), (502, None), (429, None), (301, None)]
        {
            assert!(matches!(of(status, code), Away(_)), "{status} {code:?}");
        }
        for (status, code) in [(409, Some(409)), (422, Some(42201)), (401, Some(40101)), (403, None)] {
            assert!(matches!(of(status, code), Refused(_)), "{status} {code:?}");
        }
        assert!(of(409, Some(409)).to_string().contains("incompatible"));
    }

    #[test]
    fn nobody_is_a_registry_that_is_away() {
        let config = SchemaRegistryConfig {
            url: "http://127.0.0.1:1,http://127.0.0.1:2".into(),
            timeout: std::time::Duration::from_millis(200),
            ..SchemaRegistryConfig::default()
        };
        let registry = Registry::new(&config).unwrap().unwrap();
        assert!(matches!(registry.schema(1), Err(RegistryFault::Away(_))));
        assert!(Registry::new(&SchemaRegistryConfig::default()).unwrap().is_none());
    }

    #[test]
    fn names_cannot_leave_their_place_in_the_path() {
        assert_eq!(escaped("acme.events-value"), "acme.events-value");
        assert_eq!(escaped(":.ctx:a/../b?"), "%3A.ctx%3Aa%2F..%2Fb%3F");
    }
}
