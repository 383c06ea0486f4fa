//! `lethe status --request ID`: how far one request has come, with times, its deadline and whether it will be met.

use super::Failure;
use super::proof::{self, pretty};
use super::rights::look;
use crate::config::Config;
use crate::kafka::consumer::{RawConsumer, places_of};
use crate::kafka::topics::Admin;
use crate::lifecycle::audit::Found;
use crate::lifecycle::request::{Request, State};
use crate::lifecycle::termination::Termination;
use crate::model::directive::{Order, Standing};
use crate::ops::clock;
use crate::ops::say::say;
use serde::Serialize;
use std::sync::Arc;

/// Units: ms since the epoch.
#[derive(Debug, Serialize)]
struct RequestStatus {
    request: String,
    tenant: String,
    kind: String,
    state: State,
    /// Whether it has its effect: of a hold, once every cursor has passed it.
    in_force: bool,
    received_ms: i64,
    accepted_ms: Option<i64>,
    suppressed_ms: Option<i64>,
    swept_ms: Option<i64>,
    /// Of a termination: when its topics were seen gone, and how many keys were destroyed.
    deleted_ms: Option<i64>,
    keys_destroyed: Option<usize>,
    read_back_ms: Option<i64>,
    bytes_gone_ms: Option<i64>,
    certified_ms: Option<i64>,
    /// Since when its deadline is known to be at risk.
    at_risk_ms: Option<i64>,
    /// Partitions swept and to be swept.
    partitions_swept: usize,
    partitions: usize,
    found: Found,
    deadline_ms: Option<i64>,
    expected_ms: Option<i64>,
    deadline_will_be_met: Option<bool>,
    /// Of a hold: its minimum end.
    until_ms: Option<i64>,
    refused: Option<&'static str>,
}

/// Shows one request. Errors: nobody knows it; the brokers.
pub fn status(config: &Config, id: &str, json: bool) -> Result<(), Failure> {
    let in_force = look(config)?;
    let known = proof::request(config, id)?;
    let request = known.as_ref();
    // One id may have been given to several by whoever produces directives: the audit says whose it is.
    let standing = match request.filter(|r| r.refused.is_none()) {
        Some(r) => in_force.get(&r.key(id)),
        None => in_force.of_request(id).next(),
    };
    let standing = standing.map(Arc::as_ref);
    if standing.is_none() && request.is_none() {
        return Err(Failure::Failed("no request of this id is known".into()));
    }
    let passed = match standing {
        Some(s) if matches!(s.directive.order, Order::Hold { released: false, .. }) => cursors_passed(config, s)?,
        _ => true,
    };
    let status = describe(config, id, standing, request, passed);
    if json {
        say!("{}", pretty(&serde_json::to_value(&status).unwrap_or_default())?);
    } else {
        print_status(&status);
    }
    Ok(())
}

fn describe(config: &Config, id: &str, standing: Option<&Standing>, request: Option<&Request>, passed: bool) -> RequestStatus {
    // A directive that is newer than what the audit tells of: `retain` has not taken it in.
    let request = request.filter(|r| standing.is_none_or(|s| s.stored_at_ms <= r.received_ms));
    let tenant = request.map(|r| r.tenant.clone()).or_else(|| standing.map(|s| s.directive.tenant.clone())).unwrap_or_default();
    let kind = request.map(|r| r.kind.clone()).or_else(|| standing.map(|s| s.directive.order.kind().to_owned())).unwrap_or_default();
    let state = request.map_or(State::Accepted, Request::state);
    let received_ms = request.map(|r| r.received_ms).or(standing.map(|s| s.stored_at_ms)).unwrap_or_default();
    let open = matches!(state, State::Accepted | State::Suppressing | State::Scheduled | State::Sweeping | State::AwaitingCleaner);
    let end = standing.and_then(Termination::of);
    let deadline_ms = deadline_ms(config, &kind, received_ms, standing);
    let expected_ms = match (kind.as_str(), end) {
        ("erase", _) if open => Some(clock::now_ms().max(received_ms + config.longest_wait_ms(&tenant))),
        (_, Some(end)) if open => Some(clock::now_ms().max(end.begins_ms() + request.map_or(0, |r| r.file_delete_delay_ms))),
        _ => None,
    };
    let will = request.and_then(|r| r.certified_ms).or(expected_ms);
    RequestStatus {
        request: id.to_owned(),
        kind,
        state,
        in_force: passed && request.is_some_and(|r| r.refused.is_none()),
        received_ms,
        accepted_ms: request.map(|r| r.accepted_ms),
        suppressed_ms: request.and_then(|r| r.suppressed_ms),
        swept_ms: request.and_then(|r| r.swept_ms),
        deleted_ms: request.and_then(|r| r.deleted_ms),
        keys_destroyed: request.and_then(|r| r.keys),
        read_back_ms: request.and_then(|r| certified_time(r, "read_back_ms")),
        bytes_gone_ms: request.and_then(|r| certified_time(r, "bytes_gone_ms")),
        certified_ms: request.and_then(|r| r.certified_ms),
        at_risk_ms: request.and_then(|r| r.at_risk_ms),
        partitions_swept: request.map_or(0, partitions_swept),
        partitions: request.map_or(0, |r| r.governed.len()),
        found: request.map(|r| r.found).unwrap_or_default(),
        deadline_ms,
        expected_ms,
        // A hold may last longer than any deadline: nobody can tell.
        deadline_will_be_met: deadline_ms.zip(will).map(|(deadline, will)| will <= deadline),
        until_ms: standing.and_then(|s| if let Order::Hold { until_ms, .. } = s.directive.order { Some(until_ms) } else { None }),
        refused: request.and_then(|r| r.refused),
        tenant,
    }
}

/// By when a request must be done, if it has a deadline. Units: ms since the epoch.
pub(super) fn deadline_ms(config: &Config, kind: &str, received_ms: i64, standing: Option<&Standing>) -> Option<i64> {
    let erasure = || (kind == "erase").then_some(received_ms + config.retain.erasure_deadline.as_millis() as i64);
    standing.and_then(Termination::of).map(|end| end.deadline_ms).or_else(erasure)
}

/// A state for people.
pub(super) fn state_text(state: State) -> String {
    serde_json::to_value(state).ok().and_then(|v| v.as_str().map(|t| t.replace('_', " "))).unwrap_or_default()
}

/// What only the certificate tells. Units: ms since the epoch.
fn certified_time(request: &Request, name: &str) -> Option<i64> {
    request.certificate.as_ref()?.get("times")?.get(name)?.as_i64()
}

/// How many partitions the last sweep, or the one under way, is done with.
fn partitions_swept(request: &Request) -> usize {
    if request.swept_ms.is_some() {
        return request.ranges.len();
    }
    request.governed.iter().filter(|p| request.topics_swept.contains(&p.topic)).count()
}

/// Whether every cursor of the tenant says that it has taken the directive in.
fn cursors_passed(config: &Config, standing: &Standing) -> Result<bool, Failure> {
    let governed = config.governed().map_err(|faults| Failure::Usage(faults.join("; ")))?;
    let topics: Vec<String> = governed.iter().filter(|g| g.tenant == standing.directive.tenant).map(|g| g.topic.clone()).collect();
    let there = Admin::connect(&config.kafka)?.partitions()?;
    let places = places_of(topics.iter().map(String::as_str).enumerate(), &there);
    if places.is_empty() {
        return Ok(true);
    }
    let group = RawConsumer::observe(&config.kafka, &config.retain.group, &topics, Arc::default())?;
    let committed = group.committed(&places)?;
    Ok(places.iter().all(|p| committed.get(p).and_then(|(_, mark)| *mark).is_some_and(|m| m.directives > standing.offset)))
}

fn print_status(s: &RequestStatus) {
    let time =
        |ms: Option<i64>| ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).map_or_else(|| "-".to_owned(), |t| t.to_string());
    let state = state_text(s.state);
    say!("request     {}\ntenant      {}\nkind        {}\nstate       {state}", s.request, s.tenant, s.kind);
    if let Some(why) = s.refused {
        say!("refused     {why}");
    }
    for (name, at) in [
        ("received", Some(s.received_ms)),
        ("accepted", s.accepted_ms),
        ("suppressed", s.suppressed_ms),
        (if s.kind == "terminate" { "deleted" } else { "swept" }, s.swept_ms.or(s.deleted_ms)),
        ("read back", s.read_back_ms),
        ("bytes gone", s.bytes_gone_ms),
        ("certified", s.certified_ms),
    ] {
        say!("{name:<11} {}", time(at));
    }
    if s.kind == "hold" {
        say!("in force    {}\nuntil       {} at least", if s.in_force { "yes" } else { "not yet" }, time(s.until_ms));
        return;
    }
    say!("swept       {} of {} partitions", s.partitions_swept, s.partitions);
    say!(
        "found       {} erased, {} held, {} other identifiers in the same records",
        s.found.erased,
        s.found.held,
        s.found.other_identifiers
    );
    if let (Some(deadline), met) = (s.deadline_ms, s.deadline_will_be_met) {
        let word = met.map_or("open: a hold keeps it", |met| if met { "will be met" } else { "WILL NOT BE MET" });
        say!("deadline    {}, {word}", time(Some(deadline)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn the_schema_names_what_is_printed_and_the_example_has_all_of_it() {
        let schema: Value = serde_json::from_str(include_str!("../../schemas/status/request.schema.json")).unwrap();
        let example: Value = serde_json::from_str(include_str!("../../schemas/status/request.json")).unwrap();
        let config = crate::config::load::parse("[[tenant]]\nid='acme'\nprofile='web_analytics'\n", std::iter::empty()).unwrap();
        let request = Request { tenant: "acme".into(), kind: "erase".into(), ..Request::default() };
        let printed = serde_json::to_value(describe(&config, "r", None, Some(&request), true)).unwrap();
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&printed), names(&schema["properties"]));
        assert_eq!(names(&printed), names(&example));
        assert_eq!(names(&printed), schema["required"].as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_owned()).collect());
        let states = |s: State| schema["properties"]["state"]["enum"].as_array().unwrap().contains(&serde_json::to_value(s).unwrap());
        use State::{Accepted, AwaitingCleaner, Certified, Done, Held, Refused, Scheduled, Suppressing, Sweeping};
        for state in [Accepted, Suppressing, Scheduled, Sweeping, Held, AwaitingCleaner, Certified, Done, Refused] {
            assert!(states(state), "{state:?}");
        }
    }
}
