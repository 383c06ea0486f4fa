//! The Ed25519 key that signs certificates and checkpoints: PEM, mode 0600, its public half beside it.

use crate::config::Config;
use ed25519_dalek::SigningKey;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Why there is no signing key. Its text never quotes it.
#[derive(Debug, thiserror::Error)]
#[error("signing key {path}: {fault}")]
pub struct SigningFault {
    path: PathBuf,
    fault: String,
}

/// Where the public half is: the same name with `.pub`.
#[must_use]
pub fn public_path(config: &Config) -> PathBuf {
    let mut name = config.keys.signing_file.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

/// The text of the private key. Errors: missing, or readable by others.
pub fn read(path: &Path) -> Result<Zeroizing<String>, SigningFault> {
    let fail = |fault: String| SigningFault { path: path.into(), fault };
    let metadata = std::fs::metadata(path).map_err(|e| fail(format!("cannot be read: {e}; `lethe keys new` makes it")))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(fail(format!("is readable by others (mode {mode:04o}); run `chmod 600` on it")));
    }
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(|e| fail(format!("cannot be read: {e}")))
}

/// 32 random bytes as a key. Errors: the system gives none.
pub fn random() -> Result<SigningKey, SigningFault> {
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(seed.as_mut_slice())
        .map_err(|_| SigningFault { path: "in memory".into(), fault: "the system gives no random bytes".into() })?;
    Ok(SigningKey::from_bytes(&seed))
}

/// Writes both halves, unless the private one is there. Returns whether it was written. Errors: the files cannot be written.
pub fn write_if_absent(path: &Path, public: &Path, private_pem: &str, public_pem: &str) -> Result<bool, SigningFault> {
    let fail = |e: std::io::Error| SigningFault { path: path.into(), fault: format!("cannot be written: {e}") };
    // Two commands at once: one of them makes it.
    let mut file = match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
        Err(e) => return Err(fail(e)),
    };
    file.write_all(private_pem.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::write(public, public_pem).map_err(fail)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_refused_when_others_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, public) = (dir.path().join("signing.key"), dir.path().join("signing.key.pub"));
        assert!(read(&path).unwrap_err().to_string().contains("keys new"));
        assert!(write_if_absent(&path, &public, "private", "public").unwrap());
        assert!(!write_if_absent(&path, &public, "other", "other").unwrap());
        assert_eq!((read(&path).unwrap().as_str(), std::fs::read_to_string(&public).unwrap().as_str()), ("private", "public"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("chmod 600"));
        assert_ne!(random().unwrap().to_bytes(), random().unwrap().to_bytes());
    }
}
