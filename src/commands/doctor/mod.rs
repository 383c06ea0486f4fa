//! `lethe doctor`: looks at everything that Lethe's promises stand on, and names the command that mends what is wrong.

mod access;
mod cluster;
mod files;
mod registry;

use super::{Failure, terminated};
use crate::config::Config;
use crate::config::roles::Role;
use crate::kafka::topics::Admin;
use crate::ops::say::say;
use serde::Serialize;
use std::borrow::Cow;
use std::time::Duration;

/// How long brokers may take to answer before they count as away.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Pass,
    Warn,
    Fail,
}

/// One check.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    detail: String,
    /// What to do; empty for a pass.
    mend: String,
}

impl Finding {
    fn pass(check: &'static str, detail: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Pass, detail: detail.into(), mend: String::new() }
    }

    fn warn(check: &'static str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Warn, detail: detail.into(), mend: mend.into() }
    }

    fn fail(check: &'static str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Fail, detail: detail.into(), mend: mend.into() }
    }
}

#[derive(Serialize)]
struct Report {
    verdict: Verdict,
    findings: Vec<Finding>,
}

/// Looks, prints a table or JSON. `roles`: whose permissions are looked for; none: those of `run` and `retain`.
///
/// Errors: a check failed.
pub fn doctor(config: &Config, roles: &[Role], json: bool) -> Result<(), Failure> {
    let answer = Admin::connect(&config.kafka).and_then(|admin| {
        let admin = admin.with_patience(PATIENCE);
        Ok((admin.partitions()?, admin))
    });
    // What a terminated tenant has no more is as it should be. Who may not read directives is told so by another check.
    let live = if answer.is_ok() { terminated::without_begun(config).unwrap_or(Cow::Borrowed(config)) } else { Cow::Borrowed(config) };
    let config = live.as_ref();
    let mut findings = files::look(config);
    findings.extend(registry::look(config));
    match answer {
        Err(fault) => {
            findings.push(Finding::fail("brokers", fault.to_string(), "kafka.* in the config; `nc -vz HOST PORT` from this machine"))
        }
        Ok((there, admin)) => {
            findings.extend(cluster::look(config, &admin, &there));
            let both = [Role::Run, Role::Retain];
            findings.extend(access::look(config, if roles.is_empty() { &both } else { roles }));
            findings.extend(files::look_at_epochs(config, &there));
        }
    }
    let verdict = findings.iter().map(|f| f.verdict).max().unwrap_or(Verdict::Pass);
    let report = Report { verdict, findings };
    if json {
        let text = serde_json::to_string_pretty(&report).map_err(|_| Failure::Failed("the findings cannot be written as JSON".into()))?;
        say!("{text}");
    } else {
        print_table(&report);
    }
    match report.findings.iter().filter(|f| f.verdict == Verdict::Fail).count() {
        0 => Ok(()),
        n => Err(Failure::Failed(format!("{n} of {} checks failed", report.findings.len()))),
    }
}

fn print_table(report: &Report) {
    let width = report.findings.iter().map(|f| f.check.len()).max().unwrap_or(0);
    for f in &report.findings {
        let verdict = match f.verdict {
            Verdict::Pass => "pass",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        };
        say!("{verdict}  {:<width$}  {}", f.check, f.detail);
        if !f.mend.is_empty() {
            say!("      {:<width$}  -> {}", "", f.mend);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_names_what_is_printed() {
        let text = include_str!("../../../schemas/doctor/doctor.schema.json");
        let schema: serde_json::Value = serde_json::from_str(text).unwrap();
        let report = Report { verdict: Verdict::Fail, findings: vec![Finding::warn("brokers", "one is away", "start it")] };
        let printed = serde_json::to_value(report).unwrap();
        let names = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(names(&printed), names(&schema["properties"]));
        assert_eq!(names(&printed["findings"][0]), names(&schema["properties"]["findings"]["items"]["properties"]));
        let verdicts = &schema["properties"]["verdict"]["enum"];
        for verdict in [Verdict::Pass, Verdict::Warn, Verdict::Fail] {
            assert!(verdicts.as_array().unwrap().contains(&serde_json::to_value(verdict).unwrap()));
        }
    }
}
