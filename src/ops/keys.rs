//! The keyring file: TOML, mode 0600, one entry a key generation. Read whole or refused; its faults never quote it.

use crate::model::keyring::{KeyEntry, Keyring};
use crate::model::pseudonym::Epoch;
use crate::model::tenant::TenantId;
use crate::model::time::parse_rfc3339;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// Environment variable that holds the keyring's text in place of the file.
pub const KEYRING_VARIABLE: &str = "LETHE_KEYRING";
/// Length of a key. Units: bytes.
const KEY_BYTES: usize = 32;

/// Why there is no keyring.
#[derive(Debug, thiserror::Error)]
#[error("keyring {path}: {fault}")]
pub struct KeyringError {
    path: PathBuf,
    fault: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    key: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    tenant: TenantId,
    epoch: u16,
    /// RFC 3339.
    from: String,
    /// Base64 of 32 bytes; absent once destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// Reads the keyring from the environment variable if it is set, else from the file.
///
/// Errors: the file is missing, readable by others, torn, or a key is short, or a generation is missing.
pub fn load(path: &Path, variable: Option<String>) -> Result<Keyring, KeyringError> {
    match variable {
        Some(text) => read(&Zeroizing::new(text)).map_err(|fault| KeyringError { path: KEYRING_VARIABLE.into(), fault }),
        None => load_file(path).map_err(|fault| KeyringError { path: path.into(), fault }),
    }
}

fn load_file(path: &Path) -> Result<Keyring, String> {
    let metadata = std::fs::metadata(path).map_err(|e| {
        format!("cannot be read: {e}; put it back or, where no tenant has records yet, make one with `lethe keys new --tenant T`")
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("is readable by others (mode {mode:04o}); run `chmod 600` on it"));
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|e| format!("cannot be read: {e}"))?);
    read(&text)
}

fn read(text: &str) -> Result<Keyring, String> {
    // The parser's own words quote the text: only the place is passed on.
    let file: File = toml::from_str(text).map_err(|e: toml::de::Error| {
        let line = e.span().map_or(1, |s| text[..s.start.min(text.len())].matches('\n').count() + 1);
        format!("is not a keyring: line {line}")
    })?;
    let mut keyring = Keyring::default();
    for entry in &file.key {
        let what = format!("tenant {} epoch {}", entry.tenant, entry.epoch);
        let from_ms = parse_rfc3339(&entry.from).ok_or_else(|| format!("{what}: `from` is not an RFC 3339 time"))?;
        let key = entry.key.as_ref().map(|text| read_key(text)).transpose().map_err(|fault| format!("{what}: {fault}"))?;
        keyring.tenants.entry(entry.tenant.clone()).or_default().push(KeyEntry { epoch: Epoch(entry.epoch), from_ms, key });
    }
    for (tenant, entries) in &mut keyring.tenants {
        entries.sort_by_key(|e| e.epoch);
        for (i, entry) in entries.iter().enumerate() {
            if usize::from(entry.epoch.0) != i + 1 {
                return Err(format!("tenant {tenant}: epoch {} is missing", i + 1));
            }
        }
        if entries.windows(2).any(|w| w[0].from_ms > w[1].from_ms) {
            return Err(format!("tenant {tenant}: an epoch begins before the one it follows"));
        }
    }
    Ok(keyring)
}

fn read_key(text: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, String> {
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| "the key is not base64".to_string())?);
    let key: [u8; KEY_BYTES] =
        bytes.as_slice().try_into().map_err(|_| format!("the key has {} bytes, it must have {KEY_BYTES}", bytes.len()))?;
    if key.iter().all(|b| *b == key[0]) {
        return Err("the key is not random".into());
    }
    Ok(Zeroizing::new(key))
}

/// Adds a generation for a tenant, random, in force from `from_ms`. Returns its number.
///
/// Errors: the file cannot be read or written; with `first`, the tenant has a key already; without, it has none.
pub fn add(path: &Path, tenant: &TenantId, from_ms: i64, first: bool) -> Result<Epoch, KeyringError> {
    let fail = |fault: String| KeyringError { path: path.into(), fault };
    let mut keyring = if path.exists() { load_file(path).map_err(fail)? } else { Keyring::default() };
    let entries = keyring.tenants.entry(tenant.clone()).or_default();
    match (first, entries.is_empty()) {
        (true, false) => return Err(fail(format!("tenant {tenant} has a key; `lethe keys rotate` begins a new epoch"))),
        (false, true) => return Err(fail(format!("tenant {tenant} has no key; `lethe keys new` makes one"))),
        _ => {}
    }
    let epoch = Epoch(u16::try_from(entries.len() + 1).map_err(|_| fail("too many epochs".into()))?);
    let key = random_key().map_err(fail)?;
    // The first generation covers whatever was received before it existed.
    let from_ms = if first { 0 } else { from_ms };
    entries.push(KeyEntry { epoch, from_ms, key: Some(key) });
    write(path, &keyring).map_err(fail)?;
    Ok(epoch)
}

/// A keyring in memory alone, with one random key for a tenant: what was made with it can be linked to nobody once the process ends.
///
/// Errors: the system gives no random bytes.
pub fn temporary(tenant: &TenantId) -> Result<Keyring, KeyringError> {
    let key = random_key().map_err(|fault| KeyringError { path: "in memory".into(), fault })?;
    let mut keyring = Keyring::default();
    keyring.tenants.insert(tenant.clone(), vec![KeyEntry { epoch: Epoch(1), from_ms: 0, key: Some(key) }]);
    Ok(keyring)
}

fn random_key() -> Result<Zeroizing<[u8; KEY_BYTES]>, String> {
    let mut key = Zeroizing::new([0u8; KEY_BYTES]);
    getrandom::fill(key.as_mut_slice()).map_err(|_| "the system gives no random bytes".to_string())?;
    Ok(key)
}

/// Wipes all keys of a tenant; the generations stay as names, so that a gap is never taken for a loss. Returns how many were wiped.
///
/// Errors: the file cannot be read or written.
pub fn destroy(path: &Path, tenant: &TenantId) -> Result<usize, KeyringError> {
    let fail = |fault: String| KeyringError { path: path.into(), fault };
    let mut keyring = load_file(path).map_err(fail)?;
    let entries = keyring.tenants.get_mut(tenant).ok_or_else(|| fail(format!("holds no key of tenant {tenant}")))?;
    let wiped = entries.iter_mut().filter_map(|e| e.key.take()).count();
    write(path, &keyring).map_err(fail)?;
    Ok(wiped)
}

/// The same as often as one likes, for a tenant that may have no key. Returns how many generations are destroyed then.
///
/// Errors: the file cannot be read or written.
pub fn destroy_whatever(path: &Path, tenant: &TenantId) -> Result<usize, KeyringError> {
    let keyring = load_file(path).map_err(|fault| KeyringError { path: path.into(), fault })?;
    let entries = keyring.tenants.get(tenant).map_or(&[][..], Vec::as_slice);
    if entries.iter().any(|e| e.key.is_some()) {
        destroy(path, tenant)?;
    }
    Ok(entries.len())
}

/// Writes the file beside itself and renames it, so that a crash leaves the old one or the new one.
fn write(path: &Path, keyring: &Keyring) -> Result<(), String> {
    let key = keyring
        .tenants
        .iter()
        .flat_map(|(tenant, entries)| entries.iter().map(move |e| (tenant, e)))
        .map(|(tenant, e)| {
            Ok(Entry {
                tenant: tenant.clone(),
                epoch: e.epoch.0,
                from: jiff::Timestamp::from_millisecond(e.from_ms).map_err(|_| "a time is out of range".to_string())?.to_string(),
                key: e.key.as_ref().map(|k| STANDARD.encode(k.as_slice())),
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    let text = Zeroizing::new(toml::to_string(&File { key }).map_err(|_| "cannot be written".to_string())?);
    let temporary = path.with_extension("new");
    let written = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).and_then(|mut file| {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(b"# Lethe's keyring. Whoever has it can link pseudonyms to people: keep it secret, keep copies of it.\n")?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    });
    written.map_err(|e| format!("cannot be written: {e}"))
}

/// A request's id: 128 random bits, as hex, which nobody can guess and nobody else has. Errors: the system gives no random bytes.
pub fn request_id() -> Result<String, KeyringError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|_| KeyringError { path: "request id".into(), fault: "the system gives no random bytes".into() })?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// When the file was last changed, to notice a new one. Shape: modification time in ns, inode. Errors: `None` when it is not there.
#[must_use]
pub fn stamp(path: &Path) -> Option<(i64, u64)> {
    std::fs::metadata(path).ok().map(|m| (m.mtime() * 1_000_000_000 + m.mtime_nsec(), m.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> TenantId {
        TenantId::try_from("acme".to_string()).unwrap()
    }

    fn fault(text: &str) -> String {
        read(text).err().unwrap()
    }

    #[test]
    fn new_rotate_destroy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring.toml");
        assert!(add(&path, &tenant(), 5, false).is_err(), "nothing to rotate");
        assert_eq!(add(&path, &tenant(), 5, true).unwrap(), Epoch(1));
        assert!(add(&path, &tenant(), 5, true).is_err(), "a second first key would orphan every record");
        assert_eq!(add(&path, &tenant(), 1_790_000_000_000, false).unwrap(), Epoch(2));
        let keyring = load(&path, None).unwrap();
        let entries = &keyring.tenants[&tenant()];
        assert_eq!(entries.iter().map(|e| e.from_ms).collect::<Vec<_>>(), [0, 1_790_000_000_000]);
        assert_ne!(entries[0].key.as_ref().unwrap().as_slice(), entries[1].key.as_ref().unwrap().as_slice());
        assert_eq!(destroy_whatever(&path, &TenantId::try_from("other".to_string()).unwrap()).unwrap(), 0);
        assert_eq!(destroy(&path, &tenant()).unwrap(), 2);
        assert_eq!(destroy_whatever(&path, &tenant()).unwrap(), 2, "whoever was killed after it does it again");
        let keyring = load(&path, None).unwrap();
        assert!(keyring.tenants[&tenant()].iter().all(|e| e.key.is_none()));
    }

    #[test]
    fn a_keyring_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring.toml");
        add(&path, &tenant(), 0, true).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let fault = load(&path, None).err().unwrap().to_string();
        assert!(fault.contains("readable by others") && fault.contains("chmod 600"), "{fault}");
    }

    #[test]
    fn short_missing_and_torn_keys_are_refused_without_quoting_them() {
        let good = STANDARD.encode((0u8..32).collect::<Vec<_>>());
        let entry = |epoch: u16, key: &str| format!("[[key]]\ntenant='acme'\nepoch={epoch}\nfrom='2026-01-01T00:00:00Z'\nkey='{key}'\n");
        assert!(read(&entry(1, &good)).is_ok());
        assert!(fault(&entry(1, &good[..20])).contains("bytes"), "{}", fault(&entry(1, &good[..20])));
        assert!(fault(&entry(2, &good)).contains("epoch 1 is missing"));
        assert!(fault(&entry(1, &STANDARD.encode([7u8; 32]))).contains("not random"));
        let torn = fault(&format!("{}[[key]]\ntenant='acm", entry(1, &good)));
        assert!(torn.starts_with("is not a keyring: line 7") && !torn.contains(&good), "{torn}");
    }
}
