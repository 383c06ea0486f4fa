//! The keeper: a small shell process that outlives this one just long enough to end what it started and to remove its files.
//!
//! `Drop` is not enough: statics are never dropped, and a test process may be killed. The keeper reads from a pipe whose other end only
//! this process holds, so the end of this process, of whatever kind, is the end of its input.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

const SCRIPT: &str = r#"
root=$1; keep=$2; pids=
while read -r verb pid; do
  case $verb in
    watch) pids="$pids $pid" ;;
    forget) left=; for p in $pids; do [ "$p" = "$pid" ] || left="$left $p"; done; pids=$left ;;
  esac
done
for p in $pids; do kill -9 "$p" 2>/dev/null; done
[ -n "$keep" ] || for again in 1 2 3 4 5; do rm -rf "$root" 2>/dev/null && break; sleep 0.2; done
"#;

struct Keeper {
    root: PathBuf,
    pipe: Mutex<ChildStdin>,
}

fn keeper() -> &'static Keeper {
    static KEEPER: OnceLock<Keeper> = OnceLock::new();
    KEEPER.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("journeys-{}", std::process::id()));
        // A process of the same number may have left its files on purpose.
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).expect("the target directory is writable");
        #[allow(clippy::zombie_processes)] // it ends after this process
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "keeper"])
            .arg(&root)
            .arg(std::env::var("LETHE_KEEP").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // an interrupt from the terminal ends the tests, not their keeper
            .spawn()
            .expect("a shell is there");
        let pipe = Mutex::new(shell.stdin.take().expect("piped above"));
        Keeper { root, pipe }
    })
}

fn tell(verb: &str, pid: u32) {
    let mut pipe = keeper().pipe.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(pipe, "{verb} {pid}").expect("the keeper listens");
}

/// An empty directory with this name, removed when this process ends.
pub fn directory(name: &str) -> PathBuf {
    let path = keeper().root.join(name);
    std::fs::create_dir_all(&path).expect("the target directory is writable");
    path
}

/// A child process that is killed when dropped, or by the keeper when this process ends without dropping it.
pub struct Kept(Child);

impl Kept {
    /// Starts `command`.
    pub fn spawn(command: &mut Command) -> std::io::Result<Self> {
        let _ = keeper(); // its root and pipe come first, whoever else may start at the same time
        let child = command.spawn()?;
        tell("watch", child.id());
        Ok(Self(child))
    }

    /// The child, to wait for or to take its pipes from.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Sends a signal; a child that has ended already does not mind.
    pub fn signal(&self, signal: rustix::process::Signal) {
        // Until it is waited for, an ended child keeps its number: no stranger can be hit.
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, signal);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        tell("forget", self.0.id());
    }
}
