//! The process under test: this very binary, called again to do what the command line says, with its steps within the journeys' reach.
//!
//! A fault is told by text, parts separated by `;`:
//!
//! - `<step>:<nth>:<deed>`: when the step is reached for the nth time (`<step>@<path>`: since that file was there), do the deed: `kill` (SIGKILL), `stop` (SIGSTOP, until somebody sends SIGCONT),
//!   `sleep=<ms>`, `hold=<path>` (until the file is there; `<path>.reached` says that it waits), `clock=<ms>` (the process's clock is off by that);
//! - `plant:<bug>`: the bug is there from the start.

use lethe::faults::{Armed, Planted, Step, arm, step_clock};
use rustix::process::{Signal, getpid, kill_process};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The test that is the process under test.
pub const TEST: &str = "faults::armed::faulty_process";
/// Variable: the fault.
pub const FAULT: &str = "LETHE_FAULT";
/// Variable: the command line, an argument a line.
pub const ARGUMENTS: &str = "LETHE_FAULTY_ARGS";

/// Does nothing where nobody asks for it.
#[test]
fn faulty_process() {
    let (Ok(fault), Ok(arguments)) = (std::env::var(FAULT), std::env::var(ARGUMENTS)) else { return };
    arm(armed(&fault));
    let code = lethe::cli::main(std::iter::once("lethe").chain(arguments.split('\n')).map(OsString::from));
    std::process::exit(code.into());
}

fn armed(fault: &str) -> Armed {
    let (mut planted, mut deeds) = (Vec::new(), Vec::new());
    for part in fault.split(';').filter(|part| !part.is_empty()) {
        let words: Vec<&str> = part.splitn(3, ':').collect();
        match words[..] {
            ["plant", bug] => planted.push(Planted::ALL.into_iter().find(|b| b.as_str() == bug).expect("a bug that can be planted")),
            [step, nth, deed] => {
                let (step, since) = step.split_once('@').unwrap_or((step, ""));
                let step = Step::ALL.into_iter().find(|s| s.as_str() == step).expect("a step");
                let nth = nth.parse::<u64>().expect("which time");
                deeds.push(Deed { step, since: PathBuf::from(since), left: Mutex::new(nth), deed: deed.to_owned() });
            }
            _ => panic!("no fault: {part}"),
        }
    }
    let reached = move |step| deeds.iter().filter(|deed| deed.step == step && deed.is_due()).for_each(|deed| act(&deed.deed));
    Armed { reached: Box::new(reached), planted }
}

struct Deed {
    step: Step,
    /// Counted from when this file is there; empty: from the start.
    since: PathBuf,
    /// How many times are left, this one included.
    left: Mutex<u64>,
    deed: String,
}

impl Deed {
    fn is_due(&self) -> bool {
        if !self.since.as_os_str().is_empty() && !self.since.exists() {
            return false;
        }
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = *left == 1;
        *left = left.saturating_sub(1);
        is_due
    }
}

fn act(deed: &str) {
    let (verb, object) = deed.split_once('=').unwrap_or((deed, ""));
    let signal = |signal| kill_process(getpid(), signal).expect("a signal to oneself");
    match verb {
        "kill" => {
            signal(Signal::KILL);
            // The signal may take a moment, in which nothing more may happen here.
            loop {
                std::thread::park();
            }
        }
        "stop" => signal(Signal::STOP),
        "sleep" => std::thread::sleep(Duration::from_millis(object.parse().expect("milliseconds"))),
        "clock" => step_clock(object.parse().expect("milliseconds")),
        "hold" => {
            std::fs::write(format!("{object}.reached"), "").expect("the journey's directory is writable");
            while !Path::new(object).exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        _ => panic!("no deed: {deed}"),
    }
}

/// A gate at a step, in the journey's hands.
pub struct Gate(PathBuf);

impl Gate {
    /// A gate of this name, shut.
    pub fn new(home: &Path, name: &str) -> Self {
        Self(home.join(name))
    }

    /// The deed that stops there.
    pub fn deed(&self) -> String {
        format!("hold={}", self.0.display())
    }

    /// Whether somebody stands before it, or has gone through.
    pub fn is_reached(&self) -> bool {
        Path::new(&format!("{}.reached", self.0.display())).exists()
    }

    /// Lets everybody through.
    pub fn open(&self) {
        std::fs::write(&self.0, "").expect("the journey's directory is writable");
    }
}
