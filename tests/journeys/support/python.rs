//! A Python with clients of other houses (confluent-kafka, fastavro), for journeys that let somebody else read what Lethe wrote.

use super::outside::{made_once, must_succeed, repository};
use lethe::model::time::HOUR_MS;
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

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

/// Has every record of these topics of a tenant checked by other clients, and returns their summary (see `read_back.py`). The wait for a
/// click's age is the tenant's own. Units: ms.
#[track_caller]
pub fn read_back_waiting(click_wait_ms: i64, bootstrap: &str, tenant: &str, topics: &[String]) -> Value {
    let mut reader = Command::new(python());
    reader.arg(repository("tests/journeys/support/read_back.py")).args([bootstrap, tenant]).arg(repository("schemas"));
    let done = reader.args(topics).env("CLICK_WAIT_MS", click_wait_ms.to_string()).output().expect("python starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).expect("a summary")
}

/// The same, with the default wait.
#[track_caller]
pub fn read_back(bootstrap: &str, tenant: &str, topics: &[String]) -> Value {
    read_back_waiting(6 * HOUR_MS, bootstrap, tenant, topics)
}

/// What is wrong with documents by one of our schemas (a path under `schemas`), as other people's validators see it. Shape: as many as documents.
#[track_caller]
pub fn faults_by_schema(schema: &str, documents: &[Value]) -> Vec<Vec<String>> {
    let mut validator = Command::new(python());
    validator.arg(repository("tests/journeys/support/validate.py")).arg(repository(&format!("schemas/{schema}")));
    let mut process = validator.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("python starts");
    let mut input = process.stdin.take().expect("a pipe");
    input.write_all(Value::from(documents).to_string().as_bytes()).expect("python reads");
    drop(input);
    let done = process.wait_with_output().expect("python ends");
    assert!(done.status.success(), "{schema} could not be applied");
    serde_json::from_slice(&done.stdout).expect("faults")
}

/// Holds documents against one of our schemas.
#[track_caller]
pub fn assert_schema(schema: &str, documents: &[Value]) {
    assert!(!documents.is_empty(), "nothing to hold against {schema}");
    for (document, faults) in documents.iter().zip(faults_by_schema(schema, documents)) {
        assert!(faults.is_empty(), "{schema}: {faults:?}: {document}");
    }
}
