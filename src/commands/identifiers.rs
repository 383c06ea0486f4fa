//! Identifiers as people give them to a command: as arguments, from a file (`@file`) or from standard input (`-`), one a line. They become
//! pseudonyms under every key of the tenant on the spot; no clear value is kept, written or shown.

use super::Failure;
use crate::config::Config;
use crate::model::directive::{PSEUDONYMS_MAX, Pseudonyms};
use crate::model::identifier::IdentifierType;
use crate::model::tenant::TenantId;
use crate::ops::keys;
use crate::transform::hash::{HmacKey, hmac128_prefixed_column};
use crate::transform::identify::pseudonyms_of;
use crate::transform::rules::KeyEpoch;
use std::collections::BTreeSet;
use std::io::Read;
use zeroize::Zeroizing;

/// What was given, unread. Shape: type and argument: a value, `-` or `@file`. No `Debug`: the values are clear.
#[derive(Default)]
pub struct Given(pub Vec<(IdentifierType, Zeroizing<String>)>);

impl Given {
    /// Adds the arguments of one type.
    pub fn add(&mut self, kind: IdentifierType, values: Vec<String>) {
        self.0.extend(values.into_iter().map(|value| (kind, Zeroizing::new(value))));
    }
}

/// The keys of a tenant, oldest first. Errors: the config does not name it, or the keyring has no key of it.
pub fn tenant_keys(config: &Config, tenant: &TenantId) -> Result<Vec<KeyEpoch>, Failure> {
    if config.tenant.iter().all(|t| t.id != *tenant) {
        return Err(Failure::Usage(format!("the config has no tenant {tenant}")));
    }
    let keyring = keys::load(&config.keys.file, std::env::var(keys::KEYRING_VARIABLE).ok())?;
    let entries = keyring.tenants.get(tenant).map_or(&[][..], Vec::as_slice);
    let usable =
        entries.iter().filter_map(|e| Some(KeyEpoch { epoch: e.epoch, from_ms: e.from_ms, key: HmacKey::new(e.key.as_ref()?.as_slice()) }));
    let keys: Vec<KeyEpoch> = usable.collect();
    if keys.is_empty() { Err(Failure::Usage(format!("the keyring has no key of tenant {tenant}"))) } else { Ok(keys) }
}

/// The pseudonyms of everything that was given, under every key, each once, in order.
///
/// Errors: a value fails the rule of its type (told by its place, never by itself), a file cannot be read, there are too many.
pub fn pseudonyms(given: &Given, keys: &[KeyEpoch]) -> Result<Pseudonyms, Failure> {
    let mut all = BTreeSet::new();
    let mut stdin_taken = false;
    for (kind, argument) in &given.0 {
        let name = kind.as_str();
        let text = match argument.as_str() {
            "-" if stdin_taken => return Err(Failure::Usage("standard input can be read for one type of identifier only".into())),
            "-" => {
                stdin_taken = true;
                Some(read_all(std::io::stdin(), name)?)
            }
            // The path is not told: it may be a value that begins with `@`.
            path if path.starts_with('@') => {
                let refused = |e| {
                    Failure::Usage(format!(
                        "{name}: cannot read the file named after `@`: {e}; give values that begin with @ on standard input"
                    ))
                };
                Some(read_all(std::fs::File::open(&path[1..]).map_err(refused)?, name)?)
            }
            _ => None,
        };
        match text {
            None => take(*kind, argument, keys, "the value", &mut all)?,
            Some(bytes) => {
                for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    let place = format!("line {}", i + 1);
                    let value = std::str::from_utf8(line).map_err(|_| Failure::Usage(format!("{name}: {place} is not UTF-8")))?;
                    if !value.trim().is_empty() {
                        take(*kind, value, keys, &place, &mut all)?;
                    }
                }
            }
        }
    }
    if all.len() > PSEUDONYMS_MAX {
        return Err(Failure::Usage(format!("{} pseudonyms are more than one request takes ({PSEUDONYMS_MAX}): split the list", all.len())));
    }
    Ok(Pseudonyms(all.into_iter().collect()))
}

fn take(
    kind: IdentifierType,
    value: &str,
    keys: &[KeyEpoch],
    place: &str,
    all: &mut BTreeSet<(crate::model::pseudonym::Epoch, crate::model::pseudonym::Pseudonym)>,
) -> Result<(), Failure> {
    let found = pseudonyms_of(kind, value, keys).map_err(|reason| {
        Failure::Usage(format!("{}: {place} cannot be an identifier of this type: {}", kind.as_str(), reason.as_str()))
    })?;
    all.extend(found);
    Ok(())
}

fn read_all(mut from: impl Read, name: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    from.read_to_end(&mut bytes).map_err(|e| Failure::Usage(format!("{name}: the list cannot be read: {e}")))?;
    Ok(bytes)
}

/// Who calls, as a pseudonym under the tenant's newest key.
#[must_use]
pub fn actor(keys: &[KeyEpoch]) -> String {
    let (Some(newest), Ok(user)) = (keys.last(), std::env::var("USER")) else { return "operator".into() };
    let span = crate::model::span::Span { start: 0, len: user.len() as u32 };
    let mut digests = Vec::new();
    hmac128_prefixed_column(&newest.key, b"operator\0", user.as_bytes(), &[span], &mut digests);
    digests.first().map_or_else(
        || "operator".into(),
        |d| format!("operator:{}", crate::model::pseudonym::text(newest.epoch, crate::model::pseudonym::Pseudonym(*d))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pseudonym::Epoch;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    fn keys() -> Vec<KeyEpoch> {
        (1..=2).map(|n| KeyEpoch { epoch: Epoch(n), from_ms: 0, key: HmacKey::new(&[n as u8; 32]) }).collect()
    }

    fn of(kind: IdentifierType, values: &[&str]) -> Result<Pseudonyms, Failure> {
        let mut given = Given::default();
        given.add(kind, values.iter().map(|v| (*v).to_owned()).collect());
        pseudonyms(&given, &keys())
    }

    #[test]
    fn a_list_is_read_by_lines_and_equals_its_values() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"jane@example.com\r\n\nJoe@Example.com").unwrap();
        let listed = of(IdentifierType::Email, &[&format!("@{}", file.path().display())]).unwrap();
        assert_eq!(listed, of(IdentifierType::Email, &["joe@example.com", " jane@example.com", "jane@example.com"]).unwrap());
        assert_eq!(listed.0.len(), 8, "two people under two keys, each in clear and hashed");
    }

    #[test]
    fn who_was_sent_hashed_is_found_by_the_clear_value() {
        let hash = |text: &str| -> String { Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect() };
        let cases: [(IdentifierType, &str, &[&str]); 3] = [
            (IdentifierType::Email, " Jane.Doe+promo@GMail.com", &["jane.doe+promo@gmail.com", "janedoe@gmail.com"]),
            (IdentifierType::Email, "Jane@Example.com", &["jane@example.com"]),
            (IdentifierType::Phone, "+49 (170) 123-4567", &["+491701234567", "491701234567"]),
        ];
        for (kind, clear, sent) in cases {
            let found = of(kind, &[clear]).unwrap().0;
            for form in sent {
                let hashed = of(kind, &[&hash(form)]).unwrap().0;
                assert!(hashed.len() == 2 && hashed.iter().all(|one| found.contains(one)), "{form}");
            }
        }
    }

    #[test]
    fn faults_name_the_place_and_never_the_value() {
        for (kind, value) in [
            (IdentifierType::Email, "secret-value"),
            (IdentifierType::Phone, "secret-value"),
            (IdentifierType::ExternalId, " "),
            (IdentifierType::ExternalId, "@secret-value"),
        ] {
            let text = of(kind, &[value]).unwrap_err().to_string();
            assert!(text.starts_with(kind.as_str()) && !text.contains("secret"), "{text}");
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"a@b.cd\nsecret-value\n").unwrap();
        let text = of(IdentifierType::Email, &[&format!("@{}", file.path().display())]).unwrap_err().to_string();
        assert!(text.contains("line 2") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn hostile_values_are_bytes() {
        let hostile = ["*", "$(rm -rf /)", "a\nb", "'; DROP TABLE--", ".*", "\u{0}", "-x", &"x".repeat(1 << 20)];
        let mut seen = BTreeSet::new();
        for value in hostile {
            seen.extend(of(IdentifierType::ExternalId, &[value]).unwrap().0);
        }
        assert_eq!(seen.len(), 2 * hostile.len(), "each is its own");
    }

    proptest! {
        #[test]
        fn never_panics(value in ".{0,60}") {
            for kind in [IdentifierType::Email, IdentifierType::Phone, IdentifierType::ExternalId] {
                if value != "-" {
                    let _ = of(kind, &[&value]);
                }
            }
        }
    }
}
