//! What the journeys take from outside: Apache Kafka's jars, fetched once by Maven into the target directory, and programs of the system.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const INSTALL: &str = "install both with: apt-get install openjdk-17-jdk-headless maven";

/// The target directory of this build.
pub fn target_dir() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("cargo puts it in the target directory").to_owned()
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The class path of the broker and its tools. Errors: one sentence that says what to install or to look at.
pub fn class_path() -> Result<String, String> {
    if !answers("java", "-version") {
        return Err(format!("the journeys need a real Kafka broker and Java is missing: {INSTALL}"));
    }
    let pom = repository("docker/broker/pom.xml");
    let jars = made_once("kafka", &pom, |to| {
        if !answers("mvn", "-version") {
            return Err(format!("the journeys need a real Kafka broker and Maven, which fetches it, is missing: {INSTALL}"));
        }
        let mut fetch = Command::new("mvn");
        fetch.args(["-q", "-B", "-f"]).arg(&pom).arg("dependency:copy-dependencies");
        fetch.arg(format!("-DoutputDirectory={}", to.display()));
        must_succeed(&mut fetch, "Maven could not fetch Apache Kafka")
    })?;
    Ok(jars.join("*").display().to_string())
}

/// A directory under target that `make` fills and that depends on nothing but the content of `recipe`. It is made in its final place
/// (what is in it may know its own path) by one process at a time, and is whole when its marker stands.
/// Errors: those of `make`, and of the disk.
pub fn made_once(name: &str, recipe: &Path, make: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let text = std::fs::read(recipe).map_err(|e| format!("cannot read {}: {e}", recipe.display()))?;
    let stamp: String = Sha256::digest(text).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let at = target_dir().join(name).join(stamp);
    let marker = at.join(".whole");
    let on_disk = |e: std::io::Error| format!("cannot write {}: {e}", at.display());

    std::fs::create_dir_all(target_dir().join(name)).map_err(on_disk)?;
    let turn = File::create(target_dir().join(name).join("lock")).map_err(on_disk)?;
    turn.lock().map_err(on_disk)?;
    if !marker.exists() {
        let _ = std::fs::remove_dir_all(&at);
        std::fs::create_dir_all(&at).map_err(on_disk)?;
        make(&at)?;
        File::create(&marker).map_err(on_disk)?;
    }
    Ok(at)
}

/// Runs a command without input. Errors: `complaint` and the end of what the command said.
pub fn must_succeed(command: &mut Command, complaint: &str) -> Result<(), String> {
    let done = command.stdin(Stdio::null()).output().map_err(|e| format!("{complaint}: {e}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = [done.stdout, done.stderr].concat();
    Err(format!("{complaint}: {}", last_lines(&String::from_utf8_lossy(&said), 5)))
}

/// The last lines of a text, for a message.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A program of the system that a journey needs, as in `program("kcat", "-V", "kcat")`; fails with one sentence if it is missing.
#[track_caller]
pub fn program(name: &str, question: &str, package: &str) -> Command {
    assert!(answers(name, question), "this journey needs {name}: install it with: apt-get install {package}");
    Command::new(name)
}

fn answers(program: &str, question: &str) -> bool {
    let asked = Command::new(program).arg(question).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// A certificate for this machine that signs itself, and its key, both in PEM.
#[track_caller]
pub fn self_signed(home: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = (home.join(format!("{name}.pem")), home.join(format!("{name}.key")));
    let mut make = program("openssl", "version", "openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    make.args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout"]).arg(&key).arg("-out").arg(&certificate);
    assert!(make.stdin(Stdio::null()).stderr(Stdio::null()).status().unwrap().success(), "openssl makes a certificate");
    (certificate, key)
}
