//! Tables from files: the GeoIP database, loaded into memory and loaded again when the file was replaced.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use maxminddb::Reader;

/// How often the file is looked at, in milliseconds.
pub const CHECK_EVERY_MS: i64 = 10_000;

/// Why a GeoIP file was not taken. The path is the caller's to add; no content is quoted.
#[derive(Debug, thiserror::Error)]
pub enum GeoFileError {
    /// The file cannot be read.
    #[error("the geoip file cannot be read")]
    Unreadable(#[from] io::Error),
    /// The file is not a whole MMDB file.
    #[error("the geoip file is not a whole MMDB database")]
    Invalid,
    /// The file changed while it was read: try again.
    #[error("the geoip file changed while it was read")]
    Torn,
}

/// What tells one version of a file from the next.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    len: u64,
    inode: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Stamp { len: meta.len(), inode: meta.ino(), modified_s: meta.mtime(), modified_ns: meta.mtime_nsec() }
    }
}

/// A GeoIP file that is followed. Shape: readers handed out stay valid for as long as they are held, whatever happens to the file.
pub struct GeoFile {
    path: PathBuf,
    seen: Option<Stamp>,
    checked_at_ms: i64,
    reader: Arc<Reader<Vec<u8>>>,
}

impl GeoFile {
    /// Loads the file. Units: `now_ms` is milliseconds since the epoch. Errors: unreadable, not an MMDB file, or being written.
    pub fn open(path: &Path, now_ms: i64) -> Result<Self, GeoFileError> {
        let (seen, reader) = load(path)?;
        Ok(Self { path: path.to_path_buf(), seen: Some(seen), checked_at_ms: now_ms, reader: Arc::new(reader) })
    }

    /// The database in force.
    #[must_use]
    pub fn reader(&self) -> Arc<Reader<Vec<u8>>> {
        Arc::clone(&self.reader)
    }

    /// Reads the file anew at once, changed or not. Shape and errors: as [`GeoFile::refresh`]; a bad file is told of again.
    pub fn look_now(&mut self, now_ms: i64) -> bool {
        self.checked_at_ms = now_ms;
        self.read_anew()
    }

    /// Looks, at most every [`CHECK_EVERY_MS`], whether the file was replaced, and loads it. Shape: true if another database is in force now.
    /// Errors: none; a file that is gone, torn or no database leaves the old one in force and says so in the log, once for each version.
    pub fn refresh(&mut self, now_ms: i64) -> bool {
        if now_ms - self.checked_at_ms < CHECK_EVERY_MS {
            return false;
        }
        self.checked_at_ms = now_ms;
        self.stamp() != self.seen && self.read_anew()
    }

    /// Of a file that is gone there is none.
    fn stamp(&self) -> Option<Stamp> {
        fs::metadata(&self.path).ok().map(|m| Stamp::of(&m))
    }

    fn read_anew(&mut self) -> bool {
        self.seen = self.stamp();
        let loaded = load(&self.path);
        super::metrics::refused("geoip", loaded.is_err());
        match loaded {
            Ok((seen, reader)) => {
                self.seen = Some(seen);
                self.reader = Arc::new(reader);
                tracing::info!(file = %self.path.display(), "the geoip database was read anew");
                true
            }
            Err(error) => {
                if matches!(error, GeoFileError::Torn) {
                    self.seen = None; // whoever writes it is not done: look again next time
                }
                tracing::error!(file = %self.path.display(), cause = %error, "a changed geoip database was refused; the old one stays in force");
                false
            }
        }
    }
}

/// Reads and verifies a whole file. The stamp is taken before and after, so that a file caught half-written is not taken for a new one.
fn load(path: &Path) -> Result<(Stamp, Reader<Vec<u8>>), GeoFileError> {
    let before = Stamp::of(&fs::metadata(path)?);
    let bytes = fs::read(path)?;
    let after = Stamp::of(&fs::metadata(path)?);
    if before != after || bytes.len() as u64 != after.len {
        return Err(GeoFileError::Torn);
    }
    let reader = Reader::from_source(bytes).map_err(|_| GeoFileError::Invalid)?;
    reader.verify().map_err(|_| GeoFileError::Invalid)?;
    Ok((after, reader))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::enrich::geo::{locate, tests::database};

    fn country(file: &GeoFile) -> String {
        locate(&file.reader(), [21, 1, 2, 3].into(), false).country.to_string()
    }

    #[test]
    fn a_replaced_file_is_taken_and_a_bad_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("geo.mmdb");
        let (us, de) = (database(&[(21, "US", "CA", "Menlo Park")]), database(&[(21, "DE", "BE", "Berlin")]));
        let replace = |bytes: &[u8]| {
            fs::write(folder.path().join("next"), bytes).unwrap();
            fs::rename(folder.path().join("next"), &path).unwrap();
        };
        replace(&us);
        let mut file = GeoFile::open(&path, 0).unwrap();
        let held = file.reader();
        assert_eq!(country(&file), "US");
        assert!(!file.refresh(CHECK_EVERY_MS), "nothing changed");

        replace(&de);
        assert!(!file.refresh(CHECK_EVERY_MS + 1), "not looked at again so soon");
        assert!(file.refresh(2 * CHECK_EVERY_MS));
        assert_eq!(country(&file), "DE");
        assert_eq!(locate(&held, [21, 1, 2, 3].into(), false).country, "US", "a batch keeps the reader it began with");

        for (n, bad) in [&us[..us.len() / 2], &us[..us.len() - 20], b"", b"not a database"].into_iter().enumerate() {
            replace(bad);
            assert!(!file.refresh((3 + n as i64) * CHECK_EVERY_MS));
            assert_eq!(country(&file), "DE", "bad file {n}");
        }
        assert!(!file.look_now(7 * CHECK_EVERY_MS), "asked, it is read again and refused again");
        fs::remove_file(&path).unwrap();
        assert!(!file.refresh(10 * CHECK_EVERY_MS));
        assert_eq!(country(&file), "DE");
        replace(&us);
        assert!(file.look_now(10 * CHECK_EVERY_MS + 1), "asked, it is looked at whenever that is");
        assert_eq!(country(&file), "US");
    }

    #[test]
    fn a_bad_file_at_start_is_an_error_without_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("geo.mmdb");
        assert!(matches!(GeoFile::open(&path, 0), Err(GeoFileError::Unreadable(_))));
        fs::write(&path, b"secret").unwrap();
        let error = GeoFile::open(&path, 0).err().unwrap();
        assert!(matches!(error, GeoFileError::Invalid) && !format!("{error:?}{error}").contains("secret"));
    }
}
