//! The binary as an operator meets it: arguments, environment, signals, exit codes, what it prints and what it measures.

use super::broker::free_ports;
use super::keeper::Kept;
use super::metrics::{Metrics, http_get};
use super::outside::last_lines;
use super::wait::{PATIENCE, eventually, eventually_within};
use rustix::process::Signal;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A call that has not been made yet.
pub struct Invocation {
    command: Command,
    stdout: PathBuf,
    stderr: PathBuf,
    http: String,
    input: Vec<u8>,
    fault: Option<String>,
    elsewhere: [Option<Stdio>; 2],
}

/// A call under way; killed when dropped.
pub struct Lethe {
    process: Kept,
    stdout: PathBuf,
    stderr: PathBuf,
    http: String,
}

/// A call that has ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Invocation {
    /// A call with this config, written to a file of its own in `home`. Its HTTP port is free and its own, whatever the config says.
    #[track_caller]
    pub fn new(home: &Path, config: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let call = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = home.join(format!("{call}.config.toml"));
        std::fs::write(&file, config).expect("the journey's directory is writable");
        let mut invocation = Self::bare(home, &format!("{call}"));
        invocation.command.arg("--config").arg(file);
        let [port] = free_ports();
        invocation.http = format!("127.0.0.1:{port}");
        for field in ["LETHE_RUN__HTTP", "LETHE_RETAIN__HTTP", "LETHE_AGGREGATE__HTTP", "LETHE_SESSIONS__HTTP"] {
            invocation.command.env(field, &invocation.http);
        }
        invocation
    }

    /// A call without a config, e.g. `demo` or `--help`; `name` is that of its output files in `home`.
    pub fn bare(home: &Path, name: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lethe"));
        command.current_dir(home);
        // Only what a journey sets overrides its config.
        for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LETHE_")) {
            command.env_remove(variable);
        }
        let file = |suffix: &str| home.join(format!("{name}.{suffix}"));
        Self {
            command,
            stdout: file("stdout"),
            stderr: file("stderr"),
            http: String::new(),
            input: Vec::new(),
            fault: None,
            elsewhere: [None, None],
        }
    }

    /// The config file that was written for it.
    #[track_caller]
    pub fn config_file(&self) -> PathBuf {
        let file = self.command.get_args().skip_while(|argument| *argument != "--config").nth(1);
        PathBuf::from(file.expect("not a bare call"))
    }

    /// Where it will answer HTTP: `host:port`.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// Adds arguments.
    pub fn args<A: AsRef<std::ffi::OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// What it reads on standard input, at most 64 KiB; nothing by default.
    #[track_caller]
    pub fn input(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.input = text.into();
        assert!(self.input.len() <= 65_536, "more than a pipe holds");
        self
    }

    /// Lets its standard output go elsewhere than into the journey's files.
    pub fn stdout_to(mut self, to: impl Into<Stdio>) -> Self {
        self.elsewhere[0] = Some(to.into());
        self
    }

    /// The same for its standard error.
    pub fn stderr_to(mut self, to: impl Into<Stdio>) -> Self {
        self.elsewhere[1] = Some(to.into());
        self
    }

    /// Lets a process of the journeys' own binary do it, whose steps are within reach: see [`crate::faults::armed`].
    pub fn faulty(mut self, fault: &str) -> Self {
        self.fault = Some(fault.to_owned());
        self
    }

    /// The same call, made by this very binary under a fault.
    fn armed(mut self) -> Self {
        let Some(fault) = &self.fault else { return self };
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["--exact", crate::faults::armed::TEST, "--nocapture", "--test-threads=1"]);
        command.current_dir(self.command.get_current_dir().expect("the journey's directory"));
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let arguments: Vec<&str> = self.command.get_args().map(|a| a.to_str().expect("arguments in UTF-8")).collect();
        command.env(crate::faults::armed::FAULT, fault).env(crate::faults::armed::ARGUMENTS, arguments.join("\n"));
        self.command = command;
        self
    }

    /// Starts it.
    #[track_caller]
    pub fn start(self) -> Lethe {
        let mut this = self.armed();
        let create = |path: &Path| Stdio::from(File::create(path).expect("the journey's directory is writable"));
        let [stdout, stderr] = std::mem::take(&mut this.elsewhere);
        this.command.stdin(Stdio::piped());
        this.command.stdout(stdout.unwrap_or_else(|| create(&this.stdout))).stderr(stderr.unwrap_or_else(|| create(&this.stderr)));
        let mut process = Kept::spawn(&mut this.command).expect("the binary was built");
        let mut pipe = process.child().stdin.take().expect("piped above");
        let _ = pipe.write_all(&this.input); // it may end without reading
        Lethe { process, stdout: this.stdout, stderr: this.stderr, http: this.http }
    }

    /// Starts it and waits for its end, at most `PATIENCE`.
    #[track_caller]
    pub fn finish(self) -> Finished {
        self.start().finish()
    }
}

impl Lethe {
    /// Waits for its end, at most `PATIENCE`.
    #[track_caller]
    pub fn finish(self) -> Finished {
        self.finish_within(PATIENCE)
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish_within(mut self, patience: Duration) -> Finished {
        let stderr = self.stderr.clone();
        let status = eventually_within(patience, &format!("the end of lethe, which says in {}", stderr.display()), || {
            self.process.child().try_wait().expect("it is our child")
        });
        Finished { status, stdout: self.stdout(), stderr: self.stderr() }
    }

    /// Asks it to stop (SIGTERM) and waits: it must end by itself within `patience`.
    #[track_caller]
    pub fn terminate_within(self, patience: Duration) -> Finished {
        self.process.signal(Signal::TERM);
        self.finish_within(patience)
    }

    /// Kills it (SIGKILL).
    #[track_caller]
    pub fn kill(self) -> Finished {
        self.process.signal(Signal::KILL);
        self.finish()
    }

    /// Asks it to read its files anew (SIGHUP).
    pub fn hang_up(&self) {
        self.process.signal(Signal::HUP);
    }

    /// Freezes it (SIGSTOP): a zombie in the making.
    pub fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets it go on after `freeze`.
    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.process.child().try_wait().expect("it is our child").is_none()
    }

    /// Whether it answers HTTP: from then on it takes signals.
    pub fn is_up(&self) -> bool {
        http_get(&self.http, "/healthz").is_ok()
    }

    /// Its process id, e.g. to read `/proc`.
    pub fn id(&mut self) -> u32 {
        self.process.child().id()
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it has logged so far.
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Where it answers HTTP: `host:port`.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// Waits until `/readyz` says yes; fails at once if the process ends before.
    #[track_caller]
    pub fn wait_until_ready(&mut self) {
        eventually("/readyz to say yes", || {
            assert!(self.is_running(), "lethe ended before it was ready: {}", last_lines(&self.stderr(), 10));
            http_get(&self.http, "/readyz").ok().filter(|answer| answer.status == 200)
        });
    }

    /// What `/metrics` says now.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&eventually("/metrics", || http_get(&self.http, "/metrics").ok().filter(|answer| answer.status == 200)).body)
    }
}

impl Finished {
    /// Asserts exit code 0.
    #[track_caller]
    pub fn assert_done(&self) -> &Self {
        self.assert_code(0)
    }

    /// Asserts an exit code: 1 failed, 2 usage or config error.
    #[track_caller]
    pub fn assert_code(&self, code: i32) -> &Self {
        let (out, err) = (last_lines(&self.stdout, 10), last_lines(&self.stderr, 20));
        assert_eq!(self.status.code(), Some(code), "{}\nstdout: {out}\nstderr: {err}", self.status);
        self
    }

    /// Asserts a refusal as people should meet it: this exit code, and one line on standard error that holds `words`.
    #[track_caller]
    pub fn assert_refused(&self, code: i32, words: &str) -> &Self {
        self.assert_code(code);
        let lines: Vec<&str> = self.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
        assert!(matches!(lines[..], [line] if line.contains(words)), "not one line with {words:?}:\n{}", self.stderr);
        self
    }

    /// The id in the last line of standard output, `request ID`.
    #[track_caller]
    pub fn request(&self) -> String {
        let last = self.stdout.lines().last().unwrap_or_default();
        last.strip_prefix("request ").unwrap_or_else(|| panic!("no request in the last line {last:?}")).to_owned()
    }
}

impl Drop for Lethe {
    /// A journey that fails says what its processes said last: where it ran, their files may be out of reach.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the last lines of {}:\n{}", self.stderr.display(), last_lines(&self.stderr(), 30));
        }
    }
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// CPU time of a process and its threads so far. Units: ms.
#[track_caller]
pub fn cpu_ms(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process is there");
    let fields: Vec<f64> =
        stat.rsplit(')').next().into_iter().flat_map(str::split_whitespace).skip(1).filter_map(|word| word.parse().ok()).collect();
    // User and system time are fields 14 and 15; the kernel counts them in hundredths of a second.
    (fields[10] + fields[11]) * 10.0
}
