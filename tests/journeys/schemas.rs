//! Fear: a schema says one thing and its example another, or whoever validates by it is told nothing.
//!
//! Shown with another house's validator: every example under `schemas` holds by its schema, and every bad one does not.

use crate::support::outside::repository;
use crate::support::python::{assert_schema, faults_by_schema};
use serde_json::Value;

/// Schema, examples, bad examples.
const SCHEMAS: [(&str, &[&str], &[&str]); 11] = [
    ("aggregate/aggregate.schema.json", &["aggregate/example.json"], &["aggregate/bad.json"]),
    ("audit/entry.schema.json", &["audit/entry.json"], &["audit/bad_report.json"]),
    ("audit/report.schema.json", &["audit/report.json"], &["audit/bad_report.json"]),
    ("certificate/certificate.schema.json", &["certificate/example.json", "certificate/terminate.json"], &[]),
    ("directive/directive.schema.json", &["directive/erase.json", "directive/hold.json"], &["directive/bad.json"]),
    ("export/breach_scope.schema.json", &["export/breach_scope.json"], &["export/bad_breach_scope.json"]),
    ("export/manifest.schema.json", &["export/manifest.json"], &["export/bad_manifest.json"]),
    ("notice/notice.schema.json", &["notice/request.json", "notice/special_category.json"], &["notice/bad.json"]),
    ("quarantine/quarantine.schema.json", &["quarantine/example.json"], &["quarantine/bad.json"]),
    ("status/request.schema.json", &["status/request.json"], &["status/bad.json"]),
    ("status/status.schema.json", &["status/status.json"], &[]),
];

#[test]
fn examples_hold_and_bad_ones_do_not() {
    let read = |path: &&str| -> Value {
        let text = std::fs::read_to_string(repository(&format!("schemas/{path}"))).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    for (schema, good, bad) in SCHEMAS {
        assert_schema(schema, &good.iter().map(read).collect::<Vec<_>>());
        let bad: Vec<Value> = bad.iter().map(read).collect();
        for (document, faults) in bad.iter().zip(faults_by_schema(schema, &bad)) {
            assert!(!faults.is_empty(), "{schema} takes {document}");
        }
    }
}
