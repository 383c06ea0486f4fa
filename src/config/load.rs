//! Reads the file and the environment into a `Config`; every fault has the name of its field.

use super::Config;
use serde_path_to_error::Segment;
use std::path::{Path, PathBuf};

/// Prefix of environment variables that override a scalar field of a table: `LETHE_KAFKA__BOOTSTRAP_SERVERS`.
pub const ENV_PREFIX: &str = "LETHE_";

/// Said of text that is not TOML; the parser's own words may quote it.
const NOT_TOML: &str = "this is not TOML: a quote, a bracket or an equals sign is missing, or a name stands twice";
/// The longest name of a field, in characters.
const FIELD_CHARS_MAX: usize = 40;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The file is not TOML, or a field is unknown or of the wrong type.
    #[error("{path}: {fault}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Field and fault.
        fault: String,
    },
    /// Fields contradict each other or are out of range.
    #[error("{path}: {}", faults.join("; "))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// One sentence each.
        faults: Vec<String>,
    },
}

/// Reads and checks a configuration. `env` is the process's environment, given from outside.
///
/// Errors: one line that names each field; relative paths of the file are taken from its folder.
pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
    let mut config = parse(&text, env).map_err(|fault| ConfigError::Malformed { path: path.into(), fault })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let (admin, registry) = (&mut config.admin, &mut config.schema_registry);
    for file in [
        &mut config.keys.file,
        &mut config.keys.signing_file,
        &mut config.geoip.file,
        &mut admin.tls_certificate,
        &mut admin.tls_key,
        &mut admin.token_file,
        &mut registry.password_file,
        &mut registry.token_file,
        &mut registry.ca_file,
    ] {
        if !file.as_os_str().is_empty() && file.is_relative() {
            *file = folder.join(&*file);
        }
    }
    let kafka = &mut config.kafka;
    for file in
        [&mut kafka.sasl_password_file, &mut kafka.ssl_ca_location, &mut kafka.ssl_certificate_location, &mut kafka.ssl_key_location]
    {
        if !file.is_empty() && Path::new(file).is_relative() {
            *file = folder.join(&*file).display().to_string();
        }
    }
    let faults = config.validate();
    if !faults.is_empty() {
        return Err(ConfigError::Invalid { path: path.into(), faults });
    }
    Ok(config)
}

/// Reads a configuration without checking how its fields agree. Errors: field and fault, in one line.
pub fn parse(text: &str, env: impl Iterator<Item = (String, String)>) -> Result<Config, String> {
    let mut table: toml::Table = toml::from_str(text).map_err(|e: toml::de::Error| {
        let before = e.span().map_or("", |s| text.get(..s.start).unwrap_or(text));
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        format!("line {}, column {column}: {NOT_TOML}", before.matches('\n').count() + 1)
    })?;
    let mut vars: Vec<(String, String)> = env.filter(|(name, _)| name.starts_with(ENV_PREFIX) && name.contains("__")).collect();
    vars.sort();
    for (name, value) in vars {
        set(&mut table, &name, &value)?;
    }
    serde_path_to_error::deserialize(table).map_err(|e| format!("{}: {}", place(e.path()), unquoted(e.inner().message())))
}

/// Where a field stands: `tenant[0].windows.events`. What cannot be a field's name is not named.
fn place(path: &serde_path_to_error::Path) -> String {
    let mut place = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => place.push_str(&format!("[{index}]")),
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                place.push_str(if place.is_empty() { "" } else { "." });
                place.push_str(if is_name(name) { name } else { "?" });
            }
            Segment::Unknown => place.push('?'),
        }
    }
    place
}

/// What a parser says of a field, without the value that it quotes: somebody may have put a password there.
fn unquoted(message: &str) -> String {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = message.rsplit_once(", expected ").map_or("of another kind", |(_, expected)| expected);
    match message.split_once('`').filter(|_| message.starts_with("unknown field")) {
        Some((_, rest)) => match rest.split_once('`').filter(|(name, _)| is_name(name)) {
            Some((name, _)) => format!("unknown field `{name}`, expected {expected}"),
            None => format!("unknown field, expected {expected}"),
        },
        None if ["invalid ", "unknown "].iter().any(|quotes| message.starts_with(quotes)) => format!("must be {}", in_words(expected)),
        // What is missing, and our own words.
        None => message,
    }
}

/// A parser's name of a type, as people say it.
fn in_words(expected: &str) -> String {
    match expected {
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "a whole number from 0".into(),
        "i8" | "i16" | "i32" | "i64" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        other => other.into(),
    }
}

/// Whether a field may be called so. What is none is a value in a field's place.
fn is_name(text: &str) -> bool {
    text == "ga4" || (1..=FIELD_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b"_.-".contains(&b))
}

/// Overrides one field of a table. The variable's text is read as the type that the field has.
fn set(table: &mut toml::Table, name: &str, value: &str) -> Result<(), String> {
    let (section, field) = name[ENV_PREFIX.len()..].split_once("__").unwrap_or_default();
    let (section, field) = (section.to_ascii_lowercase(), field.to_ascii_lowercase());
    let defaults = toml::Table::try_from(Config::default()).unwrap_or_default();
    let known = defaults.get(&section).and_then(|s| s.get(&field));
    let fault = |what: &str| format!("{name}: {what}");
    let parsed = match known {
        None => return Err(fault("there is no such field to override")),
        Some(toml::Value::Integer(_)) => toml::Value::Integer(value.parse().map_err(|_| fault("must be an integer"))?),
        Some(toml::Value::Boolean(_)) => toml::Value::Boolean(value.parse().map_err(|_| fault("must be true or false"))?),
        Some(toml::Value::Float(_)) => toml::Value::Float(value.parse().map_err(|_| fault("must be a number"))?),
        Some(toml::Value::String(_)) => toml::Value::String(value.to_owned()),
        Some(_) => return Err(fault("only scalar fields can be overridden")),
    };
    match table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new())) {
        toml::Value::Table(section) => {
            section.insert(field, parsed);
            Ok(())
        }
        _ => Err(fault("the file does not have a table there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_string(), (*b).to_string())).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn the_environment_overrides_scalars() {
        let config =
            parse("[kafka]\nbootstrap_servers='a:1'", env(&[("LETHE_KAFKA__BOOTSTRAP_SERVERS", "b:2"), ("LETHE_RUN__BATCH_EVENTS", "7")]))
                .unwrap();
        assert_eq!((config.kafka.bootstrap_servers.as_str(), config.run.batch_events), ("b:2", 7));
        for (name, value) in [("LETHE_RUN__BATCH_EVENTS", "x"), ("LETHE_RUN__NO_SUCH", "1"), ("LETHE_RUN__GROUPS", "a")] {
            let fault = parse("", env(&[(name, value)])).unwrap_err();
            assert!(fault.starts_with(name) && !fault.contains('\n'), "{fault}");
        }
    }

    #[test]
    fn a_typo_is_refused_by_name() {
        let fault = parse("[run]\nbatch_event = 1", env(&[])).unwrap_err();
        assert!(fault.contains("batch_event"), "{fault}");
        let fault = parse("[run]\nbatch_wait = \"soon\"", env(&[])).unwrap_err();
        assert!(fault.starts_with("run.batch_wait: must be a duration"), "{fault}");
        let fault = parse("[run\n", env(&[])).unwrap_err();
        assert!(fault.starts_with("line 1"), "{fault}");
        let fault = parse("[[tenant]]\nid = 'a'\nprofile = 'x'\n", env(&[])).unwrap_err();
        assert!(fault.starts_with("tenant[0].profile: must be one of") && fault.contains("web_analytics"), "{fault}");
        assert_eq!(parse("[run]\nworkers = 'many'", env(&[])).unwrap_err(), "run.workers: must be a whole number from 0 to 65535");
    }

    #[test]
    fn files_are_taken_from_the_configs_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(folder.path().join("pw"), "x").unwrap();
        std::fs::write(
            &path,
            "[kafka]\nsasl_password_file = 'pw'\n[keys]\nfile = 'ring'\n[[tenant]]\nid = 'a'\nprofile = 'web_analytics'\n",
        )
        .unwrap();
        let config = load(&path, env(&[])).unwrap();
        assert_eq!(std::path::Path::new(&config.kafka.sasl_password_file), folder.path().join("pw"));
        assert_eq!(config.keys.file, folder.path().join("ring"));
    }

    /// No value here is a name or a number that any message says of itself.
    const SECRET: &str = "hunter2, expected `Hunter2`";

    #[test]
    fn no_message_quotes_a_value() {
        let silent = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("config.toml");
            std::fs::write(&path, text).unwrap();
            if let Err(fault) = load(&path, env(&[])) {
                let said = format!("{fault} {fault:?}");
                assert!(!said.to_ascii_lowercase().contains("hunter2"), "{text}: {said}");
            }
        };
        let defaults = toml::Table::try_from(Config::default()).unwrap();
        let values = [
            format!("\"{SECRET}\""),
            "7364911".into(),
            "-7364911".into(),
            "73649.11".into(),
            format!("[\"{SECRET}\"]"),
            format!("{{ a = \"{SECRET}\" }}"),
        ];
        // Of a number nobody makes a secret, and the least of one field may be another's.
        for (section, fields) in defaults.iter().filter_map(|(name, fields)| Some((name, fields.as_table()?))) {
            for (field, value) in fields.keys().flat_map(|field| values.iter().map(move |value| (field, value))) {
                silent(&format!("[{section}]\n{field} = {value}\n"));
            }
        }
        let profile = "[[tenant]]\nid = 'a'\nprofile = 'web_analytics'\n";
        for field in [
            "id",
            "profile",
            "plan",
            "sources",
            "subject",
            "event_id",
            "destinations",
            "windows",
            "topics",
            "purposes",
            "meta",
            "google_ads",
            "tiktok",
            "ga4",
            "custom",
            "minimise",
        ] {
            values.iter().for_each(|value| {
                silent(&format!("{profile}{field} = {value}\n").replace("id = 'a'\nprofile = 'web_analytics'\nid", "id"))
            });
        }
        for line in [
            "sasl_password = hunter2",
            "sasl_password = \"hunter2",
            "sasl_password = 'hunter2' hunter2",
            "\"hunter2\" = 1",
            "hunter2",
            "[hunter2",
            "sasl_password_file = 'hunter2'\nsasl_password_file = 'hunter2'",
            "password = \"\"\"hunter2",
            "sasl_username = 'x\nhunter2'",
        ] {
            silent(&format!("[kafka]\n{line}\n"));
        }
    }
}
