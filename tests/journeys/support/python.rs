//! A Python with clients of other houses (confluent-kafka, fastavro), for journeys that let somebody else read what Lethe wrote.

use super::outside::{made_once, must_succeed, repository};
use std::path::PathBuf;
use std::process::Command;

/// The interpreter: `LETHE_TEST_PYTHON` if that is set, else one in a virtual environment of its own under target, made once.
/// Fails with one sentence that says what to install.
#[track_caller]
pub fn python() -> PathBuf {
    if let Some(given) = std::env::var_os("LETHE_TEST_PYTHON").filter(|path| !path.is_empty()) {
        return PathBuf::from(given);
    }
    let requirements = repository("tests/journeys/support/requirements.txt");
    let made = made_once("python", &requirements, |at| {
        let missing = "this journey needs Python with venv (install it with: apt-get install python3-venv)";
        must_succeed(Command::new("python3").args(["-m", "venv"]).arg(at), missing)?;
        let mut pip = Command::new(at.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&requirements);
        must_succeed(&mut pip, "pip could not install the other clients")
    });
    made.unwrap_or_else(|sentence| panic!("{sentence}")).join("bin/python")
}
