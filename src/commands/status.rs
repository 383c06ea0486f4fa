//! `lethe status`: every governed topic, its times, the oldest record that is there, what is due next and what is still to be cleaned; and what is in
//! force: requests that are open, holds, pauses and limits.

use super::Failure;
use super::proof::read_audit;
use super::retain::read_pending;
use super::rights;
use super::status_request::{deadline_ms, state_text};
use crate::config::Config;
use crate::config::governed::{Governed, text};
use crate::kafka::client::Fault;
use crate::kafka::consumer::{Generation, Place, RawConsumer};
use crate::kafka::readback::ReadBack;
use crate::kafka::topics::Admin;
use crate::lifecycle::audit::read;
use crate::lifecycle::request::{Request, Requests, State};
use crate::model::directive::{ALL_TENANTS, Order};
use crate::model::tenant::TenantId;
use crate::ops::clock;
use crate::ops::say::say;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the brokers may answer that they are not ready.
const PATIENCE: Duration = Duration::from_secs(15);

/// One governed topic. Units: ms, and ms since the epoch for points in time.
#[derive(Serialize)]
pub(super) struct TopicStatus {
    tenant: String,
    pub(super) topic: String,
    window_ms: i64,
    max_lateness_ms: i64,
    horizon_ms: i64,
    tombstone_after_ms: i64,
    partitions: u32,
    oldest_record_ms: Option<i64>,
    next_due_ms: Option<i64>,
    pending_partitions: u32,
    pub(super) overdue_ms: i64,
    pub(super) exists: bool,
}

#[derive(Serialize)]
struct Status {
    now_ms: i64,
    topics: Vec<TopicStatus>,
    /// None where this user may not read of them.
    requests: Option<Vec<RequestLine>>,
}

/// One request that is open or in force. Units: ms since the epoch.
#[derive(Serialize)]
struct RequestLine {
    request: String,
    tenant: String,
    kind: &'static str,
    state: State,
    received_ms: i64,
    deadline_ms: Option<i64>,
}

/// Prints the state of retention, of one tenant or of all.
///
/// Errors: an unknown tenant, brokers that do not answer.
pub fn status(config: &Config, tenant: Option<&TenantId>, json: bool) -> Result<(), Failure> {
    let governed = config.governed().map_err(|faults| Failure::Usage(faults.join("; ")))?;
    if let Some(id) = tenant.filter(|id| !config.tenant.iter().any(|t| t.id == **id)) {
        return Err(Failure::Usage(format!("tenant {id}: the config has no such tenant")));
    }
    let governed: Vec<Governed> = governed.into_iter().filter(|g| tenant.is_none_or(|id| g.tenant == id.as_str())).collect();
    let now_ms = clock::now_ms();
    let topics = survey(config, &governed, now_ms)?;
    let requests = requests(config, tenant).map_err(|failure| tracing::warn!(cause = %failure, "requests are not shown"));
    let status = Status { now_ms, topics, requests: requests.ok() };
    if json {
        let text = serde_json::to_string_pretty(&status).map_err(|_| Failure::Failed("the status cannot be written as JSON".into()))?;
        say!("{text}");
    } else {
        print_table(&status);
    }
    Ok(())
}

/// Requests that are open, and orders that last until they are taken back; what people asked for and has been carried out is left out: it may be of
/// many. Shape: the oldest first. Errors: the brokers; no right to read directives or audit.
fn requests(config: &Config, tenant: Option<&TenantId>) -> Result<Vec<RequestLine>, Failure> {
    let in_force = rights::look(config)?;
    let mut known = Requests::slim();
    read_audit(config, |_, _, value| {
        if let Ok((entry, _, _)) = read(value) {
            known.take(&entry);
        }
    })?;
    let mut lines = Vec::new();
    for standing in in_force.all().filter(|s| tenant.is_none_or(|id| [id.as_str(), ALL_TENANTS].contains(&s.directive.tenant.as_str()))) {
        let d = &standing.directive;
        let request = known.name_of(d);
        // A directive that is newer than what the audit tells of: `retain` has not taken it in.
        let found = known.by_id.get(&request).filter(|r| standing.stored_at_ms <= r.received_ms);
        let state = found.map_or(State::Accepted, Request::state);
        let lasts = match d.order {
            Order::Hold { released, .. } => !released,
            Order::Pause { paused } => paused,
            Order::RateLimit { events_per_second } => events_per_second.is_some(),
            Order::Restrict { lifted: true, .. } => false,
            _ => !matches!(state, State::Done | State::Certified),
        };
        if lasts {
            let deadline_ms = deadline_ms(config, d.order.kind(), standing.stored_at_ms, Some(standing));
            let (kind, tenant, received_ms) = (d.order.kind(), d.tenant.clone(), standing.stored_at_ms);
            lines.push(RequestLine { request, tenant, kind, state, received_ms, deadline_ms });
        }
    }
    lines.sort_by(|a, b| (a.received_ms, &a.request).cmp(&(b.received_ms, &b.request)));
    Ok(lines)
}

/// The state of governed topics, in their order. Errors: brokers that do not answer.
pub(super) fn survey(config: &Config, governed: &[Governed], now_ms: i64) -> Result<Vec<TopicStatus>, Failure> {
    let names: Vec<String> = governed.iter().map(|g| g.topic.clone()).collect();
    let there = Admin::connect(&config.kafka)?.partitions()?;
    let group = RawConsumer::observe(&config.kafka, &config.retain.group, &names, Arc::new(Generation::default()))?;
    let readback = ReadBack::connect(&config.kafka)?;
    let mut topics = Vec::new();
    for (i, g) in governed.iter().enumerate() {
        let partitions = there.get(&g.topic).copied().unwrap_or(0);
        let places: Vec<Place> = (0..partitions as i32).map(|p| (i as u16, p)).collect();
        topics.push(look(g, &places, &group, &readback, now_ms)?);
    }
    Ok(topics)
}

fn look(g: &Governed, places: &[Place], group: &RawConsumer, readback: &ReadBack, now_ms: i64) -> Result<TopicStatus, Failure> {
    let times = &g.governance;
    let committed = if places.is_empty() { Default::default() } else { committed(group, places)? };
    let from_start: Vec<(i32, i64)> = places.iter().map(|(_, p)| (*p, 0)).collect();
    let at_cursor: Vec<(i32, i64)> = places.iter().map(|place| (place.1, committed.get(place).map_or(0, |(offset, _)| *offset))).collect();
    let oldest = readback.first_at(&g.topic, &from_start)?;
    let next = readback.first_at(&g.topic, &at_cursor)?;
    let records = || oldest.values().filter(|left| !left.is_roll);
    let pending = places.iter().filter(|place| {
        let cursor = committed.get(place);
        let behind = oldest.get(&place.1).is_some_and(|left| !left.is_roll && cursor.is_some_and(|(offset, _)| left.offset < *offset));
        behind || cursor.is_some_and(|(_, text)| read_pending(text).is_some())
    });
    Ok(TopicStatus {
        tenant: g.tenant.clone(),
        topic: g.topic.clone(),
        window_ms: times.window_ms,
        max_lateness_ms: times.lateness_ms,
        horizon_ms: times.timing.horizon_ms(),
        tombstone_after_ms: times.keep_ms,
        partitions: places.len() as u32,
        oldest_record_ms: records().map(|left| left.stored_at_ms).min(),
        next_due_ms: next.values().filter(|left| !left.is_null).map(|left| times.due_ms(left.stored_at_ms)).min(),
        pending_partitions: pending.count() as u32,
        overdue_ms: records().map(|left| times.overdue_ms(left.stored_at_ms, left.is_null, now_ms)).max().unwrap_or(0),
        exists: !places.is_empty(),
    })
}

/// What the group has committed. A cluster that never had a group says for a moment that nobody coordinates it.
fn committed(group: &RawConsumer, places: &[Place]) -> Result<HashMap<Place, (i64, String)>, Fault> {
    let until = Instant::now() + PATIENCE;
    loop {
        match group.committed_texts(places) {
            Err(Fault::Retry(_)) if Instant::now() < until => std::thread::sleep(Duration::from_millis(100)),
            done => return done,
        }
    }
}

fn print_table(status: &Status) {
    let head = ["tenant", "topic", "window", "horizon", "oldest record", "next due", "pending"].map(str::to_owned);
    let mut rows = vec![head];
    for t in &status.topics {
        let oldest = match (t.exists, t.oldest_record_ms, t.overdue_ms) {
            (false, _, _) => "topic is missing".to_owned(),
            (_, None, _) => "-".to_owned(),
            (_, Some(at), 0) => format!("{} ago", coarse(status.now_ms - at)),
            (_, Some(at), overdue) => format!("{} ago, OVERDUE by {}", coarse(status.now_ms - at), coarse(overdue)),
        };
        let due = t
            .next_due_ms
            .map_or("-".to_owned(), |at| if at <= status.now_ms { "now".into() } else { format!("in {}", coarse(at - status.now_ms)) });
        let pending =
            if t.pending_partitions == 0 { "-".to_owned() } else { format!("{} of {} partitions", t.pending_partitions, t.partitions) };
        rows.push([t.tenant.clone(), t.topic.clone(), text(t.window_ms), coarse(t.horizon_ms), oldest, due, pending]);
    }
    print_rows(&rows);
    let Some(requests) = status.requests.as_ref().filter(|all| !all.is_empty()) else { return };
    say!("");
    let mut rows = vec![["request", "tenant", "kind", "state", "given", "deadline"].map(str::to_owned)];
    for r in requests {
        let deadline = r
            .deadline_ms
            .map_or("-".to_owned(), |at| if at < status.now_ms { "MISSED".into() } else { format!("in {}", coarse(at - status.now_ms)) });
        let given = format!("{} ago", coarse((status.now_ms - r.received_ms).max(0)));
        let state = if r.state == State::Done { "in force".into() } else { state_text(r.state) };
        rows.push([r.request.clone(), r.tenant.clone(), r.kind.to_owned(), state, given, deadline]);
    }
    print_rows(&rows);
}

fn print_rows<const N: usize>(rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        say!("{}", cells.join("  ").trim_end());
    }
}

/// A duration in whole seconds where it is longer than some. Units: ms.
fn coarse(ms: i64) -> String {
    text(if ms >= 10_000 { ms - ms % 1_000 } else { ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_names_what_is_printed() {
        let text = include_str!("../../schemas/status/status.schema.json");
        let schema: serde_json::Value = serde_json::from_str(text).unwrap();
        let topic = TopicStatus {
            tenant: "acme".into(),
            topic: "acme.events".into(),
            window_ms: 1,
            max_lateness_ms: 1,
            horizon_ms: 1,
            tombstone_after_ms: 1,
            partitions: 1,
            oldest_record_ms: None,
            next_due_ms: Some(1),
            pending_partitions: 0,
            overdue_ms: 0,
            exists: true,
        };
        let line = RequestLine {
            request: "r".into(),
            tenant: "acme".into(),
            kind: "erase",
            state: State::Held,
            received_ms: 1,
            deadline_ms: None,
        };
        let printed = serde_json::to_value(Status { now_ms: 1, topics: vec![topic], requests: Some(vec![line]) }).unwrap();
        let names = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(names(&printed), names(&schema["properties"]));
        assert_eq!(names(&printed["topics"][0]), names(&schema["properties"]["topics"]["items"]["properties"]));
        assert_eq!(names(&printed["requests"][0]), names(&schema["properties"]["requests"]["items"]["properties"]));
    }
}
