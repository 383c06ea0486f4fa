//! How to reach a schema registry.

use super::duration;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// `[schema_registry]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchemaRegistryConfig {
    /// Base URLs of one registry, separated by commas: the next is asked where one does not answer. Empty: no registry, records are in Avro's
    /// single-object encoding.
    pub url: String,
    /// User name of basic authentication; needs `password_file`.
    pub username: String,
    /// File that holds the password and nothing else. Relative paths start at the config file's folder.
    pub password_file: PathBuf,
    /// File that holds a bearer token and nothing else; read again for each request, so that it may be rotated.
    pub token_file: PathBuf,
    /// PEM file of the authorities that signed the registry's certificate; empty: the system's.
    pub ca_file: PathBuf,
    /// How long a request may take.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Whether schemas are registered at start; if not, somebody else must have done it, and they are looked up alone.
    pub register: bool,
    /// How long after its receipt an event waits for a schema that the registry says it does not have; then it goes to quarantine.
    #[serde(with = "duration")]
    pub unknown_wait: Duration,
}

impl Default for SchemaRegistryConfig {
    fn default() -> Self {
        SchemaRegistryConfig {
            url: String::new(),
            username: String::new(),
            password_file: PathBuf::new(),
            token_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            timeout: Duration::from_secs(5),
            register: true,
            unknown_wait: Duration::from_secs(600),
        }
    }
}

impl SchemaRegistryConfig {
    /// Whether there is one.
    #[must_use]
    pub fn is_there(&self) -> bool {
        !self.url.is_empty()
    }

    /// Base URLs, without a slash at the end.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.url.split(',').map(|url| url.trim().trim_end_matches('/').to_owned()).collect()
    }

    /// Adds what is wrong with these settings to `faults`, a sentence each.
    pub fn validate(&self, faults: &mut Vec<String>) {
        let secret = |path: &PathBuf| !path.as_os_str().is_empty();
        for url in self.urls().iter().filter(|_| self.is_there()) {
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            match rest {
                None | Some("") => faults.push("schema_registry.url: must begin with http:// or https:// and name a host".into()),
                Some(rest) if rest.split('/').next().is_some_and(|host| host.contains('@')) => {
                    faults.push("schema_registry.url: must hold no password: use username and password_file".into());
                }
                Some(_) => {}
            }
        }
        if self.username.is_empty() == secret(&self.password_file) {
            faults.push("schema_registry.username and schema_registry.password_file: must be set both, or neither".into());
        }
        if !self.username.is_empty() && secret(&self.token_file) {
            faults.push("schema_registry.token_file: there is a username already: one of both".into());
        }
        if !(50..=60_000).contains(&self.timeout.as_millis()) {
            faults.push("schema_registry.timeout: must be between 50ms and 60s".into());
        }
        if self.unknown_wait > Duration::from_secs(86_400) {
            faults.push("schema_registry.unknown_wait: must be at most 24h".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(change: impl FnOnce(&mut SchemaRegistryConfig)) -> Vec<String> {
        let mut config = SchemaRegistryConfig::default();
        change(&mut config);
        let mut faults = Vec::new();
        config.validate(&mut faults);
        faults
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        assert_eq!(faults(|_| ()), Vec::<String>::new());
        assert_eq!(faults(|c| c.url = "http://a:8081, https://b/path/".into()), Vec::<String>::new());
        for url in ["registry:8081", "http://", "http://me:secret@registry:8081", "http://a:8081,b:8081"] {
            let told = faults(|c| c.url = url.into());
            assert!(told.len() == 1 && told[0].starts_with("schema_registry.url"), "{url}: {told:?}");
            assert!(!told[0].contains("secret"));
        }
        assert_eq!(faults(|c| c.username = "me".into()).len(), 1);
        assert_eq!(faults(|c| c.timeout = Duration::ZERO).len(), 1);
        assert_eq!(faults(|c| c.unknown_wait = Duration::from_secs(100_000)).len(), 1);
    }

    #[test]
    fn urls_come_without_blanks_and_slashes() {
        let config = SchemaRegistryConfig { url: "http://a:1/ ,http://b:2/x/".into(), ..SchemaRegistryConfig::default() };
        assert_eq!(config.urls(), ["http://a:1", "http://b:2/x"]);
    }
}
