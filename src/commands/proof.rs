//! `lethe certificate` and `lethe audit`: proofs shown and verified.

use super::Failure;
use crate::config::Config;
use crate::kafka::client::Fault;
use crate::kafka::whole::{Isolation, WholeReader};
use crate::lifecycle::audit::{Audit, Report, read};
use crate::lifecycle::certificate::{check, text};
use crate::lifecycle::request::{Request, Requests};
use crate::lifecycle::signed::read_public;
use crate::ops::keys_signing;
use crate::ops::say::{say, show};
use ed25519_dalek::VerifyingKey;
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// Gives every record of the audit, in order: offset, chain, value. Errors: the brokers.
pub(super) fn read_audit(config: &Config, mut each: impl FnMut(i64, &[u8], &[u8])) -> Result<(), Failure> {
    let reader = WholeReader::connect(&config.kafka, Isolation::Committed)?;
    let topic = &config.topics.audit;
    let (low, high) = reader.bounds(topic, 0).map_err(|e| Fault::Stop(format!("{e}; `lethe topics apply` makes the topic")))?;
    reader.read(topic, &[(0, low, high)], |seen| {
        each(seen.offset, seen.key, seen.value.unwrap_or_default());
        Ok(())
    })?;
    Ok(())
}

/// How far a request has come, by the audit. Errors: the brokers.
pub(super) fn request(config: &Config, name: &str) -> Result<Option<Request>, Failure> {
    let mut requests = Requests::only(name);
    read_audit(config, |_, _, value| {
        if let Ok((entry, _, _)) = read(value) {
            requests.take(&entry);
        }
    })?;
    Ok(requests.by_id.remove(name))
}

/// Prints a request's certificate. Errors: there is none yet.
pub fn show_certificate(config: &Config, request: &str, readable: bool) -> Result<(), Failure> {
    let found = self::request(config, request)?.ok_or_else(|| Failure::Failed("no request of this id is known".into()))?;
    let certificate = found
        .certificate
        .as_ref()
        .ok_or_else(|| Failure::Failed(format!("request {request} is not certified; see `lethe status --request {request}`")))?;
    if readable {
        let certificate =
            serde_json::from_value(certificate.clone()).map_err(|_| Failure::Failed("the certificate cannot be read".into()))?;
        show!("{}", text(&certificate));
    } else {
        say!("{}", pretty(certificate)?);
    }
    Ok(())
}

/// Verifies a certificate with nothing but a public key. Errors: it does not hold.
pub fn verify_certificate(file: &Path, public_key: &Path) -> Result<(), Failure> {
    let key = public(public_key)?;
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|mut f| f.read_to_end(&mut bytes))
    };
    read.map_err(|e| Failure::Usage(format!("{}: cannot be read: {e}", file.display())))?;
    let certificate = check(&bytes, &key).map_err(|e| Failure::Failed(format!("{} {e}", file.display())))?;
    say!("the certificate of request {} of tenant {} holds", certificate.request, certificate.tenant);
    Ok(())
}

/// Verifies the audit. Errors: something is wrong with it; each place is printed.
pub fn verify_audit(config: &Config, expect: Option<&Path>, json: bool) -> Result<(), Failure> {
    let key = public(&keys_signing::public_path(config))?;
    let expected = expect.map(checkpoint).transpose()?;
    let mut audit = Audit::new(&key, expected);
    read_audit(config, |offset, chain, value| audit.take(offset, chain, value))?;
    let report = audit.finish();
    if json {
        say!("{}", pretty(&serde_json::to_value(&report).unwrap_or_default())?);
    } else {
        print_report(&report);
    }
    if report.ok { Ok(()) } else { Err(Failure::Failed(format!("the audit does not hold: {} faults", report.faults.len()))) }
}

fn print_report(report: &Report) {
    for f in &report.faults {
        let place = if f.offset < 0 { String::new() } else { format!("offset {}, chain {:?}, number {}: ", f.offset, f.chain, f.n) };
        say!("{place}{}", f.fault);
    }
    say!("{} entries, {} checkpoints, {} entries after the newest", report.entries, report.checkpoints, report.after_last_checkpoint);
}

/// A checkpoint, or a report of `--json` that holds one.
fn checkpoint(path: &Path) -> Result<Value, Failure> {
    let fault = |what: String| Failure::Usage(format!("{}: {what}", path.display()));
    let bytes = std::fs::read(path).map_err(|e| fault(format!("cannot be read: {e}")))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| fault("is not JSON".into()))?;
    match value.get("newest_checkpoint") {
        Some(Value::Null) => Err(fault("holds no checkpoint".into())),
        Some(inner) => Ok(inner.clone()),
        None if value.get("what").and_then(Value::as_str) == Some("checkpoint") => Ok(value),
        None => Err(fault("holds no checkpoint".into())),
    }
}

fn public(path: &Path) -> Result<VerifyingKey, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::Usage(format!("public key {}: cannot be read: {e}", path.display())))?;
    read_public(&text).ok_or_else(|| Failure::Usage(format!("{} is no Ed25519 public key in PEM", path.display())))
}

pub(super) fn pretty(value: &Value) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|_| Failure::Failed("cannot be written as JSON".into()))
}
