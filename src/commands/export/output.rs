//! Where an export goes: standard output, or a file that nobody else may read and that is there whole or not at all. Counts and hashes what passes.

use crate::commands::Failure;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A writer that counts and hashes.
pub(super) struct Output {
    to: BufWriter<Box<dyn Write>>,
    hash: Sha256,
    bytes: u64,
    file: Option<Pending>,
}

/// A file under another name until it is whole. Dropped before, it is removed.
struct Pending {
    file: File,
    at: PathBuf,
    is_whole: bool,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.is_whole {
            // Nothing better can be done about a file that cannot be removed.
            let _ = std::fs::remove_file(&self.at);
        }
    }
}

impl Output {
    /// Begins. `path`: none for standard output. Errors: the file cannot be made.
    pub(super) fn begin(path: Option<&Path>) -> Result<Self, Failure> {
        let (to, file): (Box<dyn Write>, _) = match path {
            None => (Box::new(io::stdout()), None),
            Some(path) => {
                let pending = Pending::beside(path)?;
                let handle = pending.file.try_clone().map_err(|e| cannot_write(path, &e))?;
                (Box::new(handle), Some(pending))
            }
        };
        Ok(Output { to: BufWriter::with_capacity(1 << 18, to), hash: Sha256::new(), bytes: 0, file })
    }

    /// Bytes so far, and their SHA-256 as hex, once all is handed over. Errors: it could not be written.
    pub(super) fn flushed(&mut self) -> io::Result<(u64, String)> {
        self.to.flush()?;
        Ok((self.bytes, self.hash.clone().finalize().iter().map(|b| format!("{b:02x}")).collect()))
    }

    /// Gives the file its name. Errors: it cannot be brought to the disk, or named.
    pub(super) fn finish(self, path: Option<&Path>) -> Result<(), Failure> {
        drop(self.to);
        match (self.file, path) {
            (Some(pending), Some(path)) => pending.become_whole(path),
            _ => Ok(()),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Pending {
    fn beside(path: &Path) -> Result<Self, Failure> {
        let Some(name) = path.file_name() else {
            return Err(Failure::Usage(format!("--output {}: is not the name of a file", path.display())));
        };
        if path.is_dir() {
            return Err(Failure::Usage(format!("--output {}: is a directory", path.display())));
        }
        let at = path.with_file_name(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id()));
        // A process of the same number may have been killed here.
        let _ = std::fs::remove_file(&at);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&at).map_err(|e| cannot_write(path, &e))?;
        Ok(Pending { file, at, is_whole: false })
    }

    fn become_whole(mut self, path: &Path) -> Result<(), Failure> {
        self.file.sync_all().and_then(|()| std::fs::rename(&self.at, path)).map_err(|e| cannot_write(path, &e))?;
        self.is_whole = true;
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The name, too, must outlive a loss of power; where a directory cannot be opened, the rename alone has to do.
        File::open(directory).and_then(|d| d.sync_all()).or(Ok(()))
    }
}

/// Writes a whole small file, as [`Output`] would. Errors: it cannot be written.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<(), Failure> {
    let mut pending = Pending::beside(path)?;
    pending.file.write_all(text.as_bytes()).map_err(|e| cannot_write(path, &e))?;
    pending.become_whole(path)
}

pub(super) fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("{}: cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_ours_alone_and_there_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("out.jsonl");
        std::fs::write(&path, "old").unwrap();
        let mut output = Output::begin(Some(&path)).unwrap();
        output.write_all(b"abc").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old", "not before it is whole");
        let (bytes, sha256) = output.flushed().unwrap();
        assert_eq!((bytes, sha256.as_str()), (3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
        output.finish(Some(&path)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(Output::begin(Some(&path)).unwrap());
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "what was given up leaves nothing");
        assert!(Output::begin(Some(home.path())).is_err() && Output::begin(Some(Path::new("/no/such/place/x"))).is_err());
    }
}
