//! Metrics: one table of names, and the calls that record what happened, once a batch.

use crate::model::destination::Destination;
use crate::model::field::Field;
use crate::model::rejected::{Gate, Reason};
use crate::model::time::SECOND_MS;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::collections::HashMap;
use std::time::Duration;

/// Most tenants that have a label of their own; the others share `other`.
pub const TENANT_LABELS_MAX: usize = 200;
/// How often the exporter's buckets are tidied, scraped or not. Without it they grow for ever.
const UPKEEP: Duration = Duration::from_secs(5);

/// What a metric counts in. Shape: name, type, help. The table of metrics in the README is made from this.
pub const TABLE: &[(&str, &str, &str)] = &[
    ("lethe_rows_total", "counter", "Raw rows by tenant and outcome: written, gated, quarantined, expired; each row in exactly one."),
    ("lethe_rows_gated_total", "counter", "Gated rows by tenant and reason."),
    ("lethe_rows_quarantined_total", "counter", "Quarantined rows by tenant and reason."),
    (
        "lethe_destination_records_total",
        "counter",
        "Destination records by tenant, destination and outcome: written, below_minimum, too_old, not_mapped, opted_out.",
    ),
    ("lethe_fields_dropped_total", "counter", "Optional fields dropped from rows that went on, by tenant and schema field."),
    ("lethe_fields_minimised_total", "counter", "Fields kept out because the tenant does not need them, by tenant and schema field."),
    (
        "lethe_destination_fields_dropped_total",
        "counter",
        "User values that failed a destination's rule, by tenant, destination, field and reason.",
    ),
    ("lethe_scrubbed_total", "counter", "Personal data taken out of free text, by tenant and kind."),
    ("lethe_batch_rows", "histogram", "Rows of a committed batch."),
    ("lethe_transform_seconds", "histogram", "Time the line took for a batch."),
    ("lethe_commit_seconds", "histogram", "Time to produce a batch and commit it, without waiting for the line."),
    ("lethe_freshness_seconds", "histogram", "Age, since receipt, of a batch's oldest row when it was committed."),
    (
        "lethe_transactions_total",
        "counter",
        "Transactions by outcome: committed, aborted, recreated, fenced, void (given up unopened: a rebalance came before).",
    ),
    ("lethe_consumer_lag", "gauge", "Raw records not yet committed, by topic and partition."),
    (
        "lethe_directives_lag_seconds",
        "gauge",
        "How long this process has been behind the end of lethe.directives; 0: it has taken in everything.",
    ),
    (
        "lethe_stable_offset_stuck_seconds",
        "gauge",
        "How long an open transaction has held the last stable offset of a topic's partition at one place, by topic; 0: none does.",
    ),
    (
        "lethe_reload_refused",
        "gauge",
        "1 while a changed file was refused and the old one stays in force, by file: config, keyring, geoip.",
    ),
    (
        "lethe_schema_waiting_seconds",
        "gauge",
        "How long rows have waited for a schema from the registry, or a tenant for its own ids, by tenant; 0: nobody does.",
    ),
    ("lethe_schema_requests_total", "counter", "Requests to the schema registry by outcome: ok, unknown, refused, away."),
    ("lethe_records_bytes_total", "counter", "Bytes by direction: in, out."),
    ("lethe_tenant_paused", "gauge", "1 while the tenant stands still, by tenant and cause: directive, topic, schema."),
    ("lethe_directives_offset", "gauge", "Everything before this offset of lethe.directives has been taken in."),
    (
        "lethe_retention_overdue_seconds",
        "gauge",
        "How far the oldest thing in a topic, value or key, is past its window, by tenant and topic; 0 is in time. Alert on it.",
    ),
    ("lethe_retention_window_seconds", "gauge", "The window, by tenant and topic."),
    ("lethe_retention_oldest_record_seconds", "gauge", "Age of the oldest record that is still there, by tenant and topic."),
    ("lethe_retention_next_due_seconds", "gauge", "Time until the next record is due, by tenant and topic."),
    ("lethe_retention_cursor_lag_seconds", "gauge", "How late the cursor is, by tenant and topic."),
    ("lethe_retention_pending_partitions", "gauge", "Partitions that hold tombstones, or values that have one, by tenant and topic."),
    ("lethe_retention_pending_bytes", "gauge", "Keys and values whose tombstones are written and not yet seen gone, by tenant and topic."),
    ("lethe_retention_tombstones_total", "counter", "Tombstones committed, by tenant and topic."),
    ("lethe_retention_rolls_total", "counter", "Roll records written to idle partitions, by tenant and topic."),
    ("lethe_retention_look_seconds", "histogram", "Time of one look at all partitions: what a tick costs when nothing is due."),
    ("lethe_retention_faults_total", "counter", "Turns that failed and were taken up again."),
    ("lethe_aggregate_active", "gauge", "1 in the one process that counts, 0 in those that stand by."),
    (
        "lethe_aggregate_events_total",
        "counter",
        "Events read, by tenant and outcome: counted, folded (into `other`: too many groups), duplicate, late, published, null, unreadable.",
    ),
    ("lethe_aggregate_cells_total", "counter", "Counts published, by tenant (`-`: benchmarks)."),
    ("lethe_aggregate_open_days", "gauge", "Days that are still counted, by tenant: two around midnight, more only while it catches up."),
    (
        "lethe_aggregate_behind_seconds",
        "gauge",
        "How long ago the last published hour ended, by tenant: an hour and the lateness, at least.",
    ),
    ("lethe_erasure_pending", "gauge", "Erasures that are not certified yet, held ones included, by tenant."),
    ("lethe_erasure_oldest_seconds", "gauge", "Age of the oldest erasure that is not certified yet, by tenant; 0 for none. Alert on it."),
    ("lethe_request_deadline_at_risk", "gauge", "Open erasures and terminations that may miss their deadline, by tenant. Alert on it."),
    ("lethe_erasure_certificate_seconds", "histogram", "Time from an erasure's directive to its certificate."),
    (
        "lethe_sessions_events_total",
        "counter",
        "Events read, by tenant and outcome: counted, duplicate, late, anonymous, crowded, erased, restricted, withdrawn, null, unreadable.",
    ),
    ("lethe_sessions_written_total", "counter", "Session records and tombstones committed, by tenant."),
    ("lethe_sessions_open", "gauge", "Sessions of this process that can still change."),
    ("lethe_directives_unreadable", "gauge", "Records of lethe.directives that could not be read."),
];

/// The recorder, with its buckets. Errors: none of ours; a bucket list that the exporter refuses.
pub fn recorder() -> Result<PrometheusRecorder, String> {
    let seconds = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
    let rows = [1.0, 10.0, 100.0, 1_000.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0, 100_000.0];
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &seconds)
        .and_then(|b| b.set_buckets_for_metric(Matcher::Full("lethe_batch_rows".into()), &rows))
        .map_err(|e| format!("cannot start metrics: {e}"))?;
    Ok(builder.build_recorder())
}

/// Starts the recorder and its upkeep. Errors: it was started before.
pub fn start() -> Result<PrometheusHandle, String> {
    let recorder = recorder()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|e| format!("cannot start metrics: {e}"))?;
    for (name, kind, help) in TABLE {
        match *kind {
            "counter" => metrics::describe_counter!(*name, *help),
            "gauge" => metrics::describe_gauge!(*name, *help),
            _ => metrics::describe_histogram!(*name, *help),
        }
    }
    let upkeep = handle.clone();
    std::thread::Builder::new()
        .name("metrics".into())
        .spawn(move || {
            loop {
                std::thread::sleep(UPKEEP);
                upkeep.run_upkeep();
            }
        })
        .map_err(|e| format!("cannot start a thread: {e}"))?;
    Ok(handle)
}

/// One tenant's counts of one batch, as the line tallied them.
pub struct TenantCounts<'t> {
    /// Rows with an output record.
    pub written: u64,
    /// Rows expired.
    pub expired: u64,
    /// Rows gated.
    pub gated: &'t [u64],
    /// Rows quarantined.
    pub quarantined: &'t [u64],
    /// Records by destination.
    pub destination_written: &'t [u64],
    /// Fields dropped.
    pub dropped: &'t [u64],
}

/// Records one tenant's counts. `tenant` is a label made by [`TenantLabels`].
pub fn record_tenant(tenant: &str, c: &TenantCounts<'_>) {
    let tenant = tenant.to_owned();
    let outcomes =
        [("written", c.written), ("gated", c.gated.iter().sum()), ("quarantined", c.quarantined.iter().sum()), ("expired", c.expired)];
    for (outcome, n) in outcomes {
        metrics::counter!("lethe_rows_total", "tenant" => tenant.clone(), "outcome" => outcome).increment(n);
    }
    for (gate, n) in Gate::ALL.iter().zip(c.gated).filter(|(_, n)| **n > 0) {
        metrics::counter!("lethe_rows_gated_total", "tenant" => tenant.clone(), "reason" => gate.as_str()).increment(*n);
    }
    for (reason, n) in Reason::ALL.iter().zip(c.quarantined).filter(|(_, n)| **n > 0) {
        metrics::counter!("lethe_rows_quarantined_total", "tenant" => tenant.clone(), "reason" => reason.as_str()).increment(*n);
    }
    for (d, n) in Destination::ALL.iter().zip(c.destination_written).filter(|(_, n)| **n > 0) {
        count_destination(&tenant, d.as_str(), "written", *n);
    }
    for (field, n) in Field::NAMES.iter().zip(c.dropped).filter(|(_, n)| **n > 0) {
        metrics::counter!("lethe_fields_dropped_total", "tenant" => tenant.clone(), "field" => *field).increment(*n);
    }
}

/// Counts destination records by outcome.
pub fn count_destination(tenant: &str, destination: &'static str, outcome: &'static str, n: u64) {
    metrics::counter!("lethe_destination_records_total", "tenant" => tenant.to_owned(), "destination" => destination, "outcome" => outcome)
        .increment(n);
}

/// Records a batch once it is committed. Units: ms.
pub fn record_batch(rows: usize, bytes_in: usize, bytes_out: usize, transform: Duration, commit: Duration, oldest_age_ms: i64) {
    metrics::histogram!("lethe_batch_rows").record(rows as f64);
    metrics::histogram!("lethe_transform_seconds").record(transform.as_secs_f64());
    metrics::histogram!("lethe_commit_seconds").record(commit.as_secs_f64());
    metrics::histogram!("lethe_freshness_seconds").record(oldest_age_ms.max(0) as f64 / SECOND_MS as f64);
    metrics::counter!("lethe_records_bytes_total", "direction" => "in").increment(bytes_in as u64);
    metrics::counter!("lethe_records_bytes_total", "direction" => "out").increment(bytes_out as u64);
}

/// Says whether the newest version of a file (`config`, `keyring`, `geoip`) was refused.
pub fn refused(file: &'static str, refused: bool) {
    metrics::gauge!("lethe_reload_refused", "file" => file).set(f64::from(u8::from(refused)));
}

/// Labels of tenants: the first ones have their own, the rest are `other`.
pub struct TenantLabels(HashMap<String, String>);

impl TenantLabels {
    /// Gives labels in the order of the configuration.
    #[must_use]
    pub fn new<'t>(tenants: impl Iterator<Item = &'t str>) -> Self {
        TenantLabels(tenants.take(TENANT_LABELS_MAX).map(|t| (t.to_owned(), t.to_owned())).collect())
    }

    /// The label of a tenant.
    #[must_use]
    pub fn of(&self, tenant: &str) -> &str {
        self.0.get(tenant).map_or("other", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_beyond_the_cap_share_a_label() {
        let ids: Vec<String> = (0..TENANT_LABELS_MAX + 5).map(|i| format!("t{i}")).collect();
        let labels = TenantLabels::new(ids.iter().map(String::as_str));
        assert_eq!(labels.of("t0"), "t0");
        assert_eq!(labels.of("t204"), "other");
    }
}
