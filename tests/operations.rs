//! What operators rely on and no compiler checks: the table of metrics, rules, runbook and dashboards say the same as the code.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use lethe::ops::metrics::{TABLE, recorder};
use saphyr::{LoadableYamlNode, Yaml};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BEGIN: &str = "<!-- metrics: made from the code; LETHE_WRITE_README=1 cargo test --test operations -->\n";
const END: &str = "<!-- /metrics -->";
/// What Prometheus adds by itself.
const FROM_ELSEWHERE: [&str; 1] = ["up"];

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn the_readme_shows_every_metric() {
    let mut table = String::from("| metric | type | meaning |\n|---|---|---|\n");
    for (name, kind, help) in TABLE {
        table.push_str(&format!("| `{name}` | {kind} | {help} |\n"));
    }
    let readme = text("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("README.md has a place for the table");
    let (shown, after) = rest.split_once(END).expect("README.md has an end of the table");
    if shown != table && std::env::var_os("LETHE_WRITE_README").is_some() {
        std::fs::write(repository("README.md"), format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(shown == table, "README.md's metrics differ from the code: LETHE_WRITE_README=1 cargo test --test operations");
}

#[test]
fn what_is_measured_is_in_the_table_and_the_other_way_round() {
    let (mut files, mut named) = (Vec::new(), BTreeSet::new());
    rust_files(&repository("src"), &mut files);
    for file in files.iter().filter(|file| !file.ends_with("ops/metrics.rs")) {
        named.extend(recorded(&std::fs::read_to_string(file).unwrap()));
    }
    let own = text("src/ops/metrics.rs");
    named.extend(recorded(own.split_once("pub fn start").expect("the table comes before").1));
    let table: BTreeSet<String> = TABLE.iter().map(|(name, _, _)| (*name).to_owned()).collect();
    assert_eq!(named, table, "left: what src records; right: TABLE");
    assert_eq!(table.len(), TABLE.len(), "a name stands twice");
}

/// Names given to `counter!`, `gauge!` and `histogram!`.
fn recorded(text: &str) -> Vec<String> {
    let calls = ["counter!(", "gauge!(", "histogram!("].map(|call| text.split(call).skip(1));
    let arguments = calls.into_iter().flatten().map(str::trim_start);
    arguments.filter_map(|rest| Some(rest.strip_prefix('"')?.split_once('"')?.0.to_owned())).filter(|n| n.starts_with("lethe_")).collect()
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn names_and_units_are_as_prometheus_expects() {
    for (name, kind, help) in TABLE {
        assert!(name.starts_with("lethe_") && help.ends_with('.'), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == "counter", "{name}: counters, and they alone, end in _total");
        assert!(["_ms", "_millis", "_kb", "_mb", "_percent"].iter().all(|unit| !name.ends_with(unit)), "{name}: base units only");
    }
}

#[test]
fn an_exporter_that_nobody_scrapes_stays_flat() {
    const SAMPLES: u32 = 4_000_000;
    let grown = |tidy: bool| {
        let recorder = recorder().unwrap();
        let handle = recorder.handle();
        let before = resident_bytes();
        metrics::with_local_recorder(&recorder, || {
            let histogram = metrics::histogram!("lethe_commit_seconds");
            for i in 0..SAMPLES {
                histogram.record(f64::from(i % 100) / 100.0);
                if tidy && i % 10_000 == 0 {
                    handle.run_upkeep();
                }
            }
        });
        resident_bytes().saturating_sub(before)
    };
    let flat = grown(true);
    let steep = grown(false);
    println!("{SAMPLES} samples: {flat} bytes with upkeep, {steep} without");
    // A sample is a float of 8 bytes: without upkeep each of them stays.
    assert!(flat < u64::from(SAMPLES) * 2, "{flat} bytes were kept");
    assert!(steep > u64::from(SAMPLES) * 6, "the test would not notice: {steep} bytes");
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[track_caller]
fn promtool(arguments: &[&str]) {
    let there = Command::new("promtool").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(
        there.is_ok_and(|s| s.success()),
        "this test needs promtool: install it with: apt-get install --no-install-recommends prometheus"
    );
    let done = Command::new("promtool").args(arguments).current_dir(repository("docker/prometheus")).stdin(Stdio::null()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "promtool {arguments:?}: {said}");
}

#[test]
fn rules_are_valid_and_every_alert_fires_when_it_should() {
    promtool(&["check", "rules", "recording.rules.yml", "alerts.rules.yml"]);
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["test", "rules", "alerts.test.yml"]);
    let tests = text("docker/prometheus/alerts.test.yml");
    for alert in alerts() {
        let fired = tests.split(&format!("alertname: {}\n", alert.name)).skip(1).any(|rest| rest.trim_start().starts_with("exp_alerts:\n"));
        assert!(fired, "alerts.test.yml does not cause {}", alert.name);
    }
}

/// A rule of either kind: alerts have a name and a runbook, recording rules a name.
struct Rule {
    name: String,
    expression: String,
    runbook: String,
}

fn yaml(text: &str) -> Yaml<'_> {
    Yaml::load_from_str(text).expect("it is YAML").into_iter().next().expect("it has a document")
}

/// The rules of a file, all of one kind: `alert` or `record`.
fn rules(file: &str, kind: &str) -> Vec<Rule> {
    let text = text(file);
    let document = yaml(&text);
    let get = |rule: &Yaml<'_>, name: &str| rule.as_mapping_get(name).and_then(|v| v.as_str()).map(str::to_owned);
    let mut found = Vec::new();
    for group in document.as_mapping_get("groups").and_then(|g| g.as_vec()).expect("groups") {
        for rule in group.as_mapping_get("rules").and_then(|r| r.as_vec()).expect("rules") {
            let runbook = rule.as_mapping_get("annotations").and_then(|a| get(a, "runbook_url")).unwrap_or_default();
            found.push(Rule { name: get(rule, kind).expect("one kind"), expression: get(rule, "expr").expect("expr"), runbook });
        }
    }
    found
}

fn alerts() -> Vec<Rule> {
    rules("docker/prometheus/alerts.rules.yml", "alert")
}

fn recording_rules() -> Vec<Rule> {
    rules("docker/prometheus/recording.rules.yml", "record")
}

#[test]
fn every_alert_has_its_place_in_the_runbook() {
    let runbook = text("docker/prometheus/RUNBOOK.md");
    let headings: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = alerts();
    let names: Vec<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(headings, names, "left: the runbook's sections; right: the alerts");
    for alert in &alerts {
        assert_eq!(alert.runbook, format!("docker/prometheus/RUNBOOK.md#{}", alert.name.to_lowercase()));
        let section = runbook.split(&format!("## {}\n", alert.name)).nth(1).unwrap().split("\n## ").next().unwrap();
        assert!(section.len() > 150, "{}: the runbook says too little", alert.name);
    }
}

/// Names of series in an expression: words that hold `lethe_`, and what Prometheus has of its own.
fn series(expression: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    // Label values may hold anything.
    let outside: String = expression.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
    outside.split(|c| !is_name(c)).filter(|word| word.contains("lethe_") || FROM_ELSEWHERE.contains(word)).map(str::to_owned).collect()
}

#[track_caller]
fn assert_known(place: &str, expression: &str) {
    let recorded: Vec<String> = recording_rules().into_iter().map(|rule| rule.name).collect();
    let names = series(expression);
    assert!(!names.is_empty(), "{place}: {expression} asks for nothing of ours");
    for name in names {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let histogram = base.is_some_and(|base| TABLE.iter().any(|(n, kind, _)| *n == base && *kind == "histogram"));
        let plain = TABLE.iter().any(|(n, kind, _)| *n == name && *kind != "histogram");
        let known = histogram || plain || recorded.contains(&name) || FROM_ELSEWHERE.contains(&name.as_str());
        assert!(known, "{place}: {name} is no series that Lethe has");
    }
}

#[test]
fn rules_ask_only_for_what_is_measured() {
    alerts().iter().chain(&recording_rules()).for_each(|rule| assert_known(&rule.name, &rule.expression));
}

/// The panels of a dashboard.
fn panels(file: &str) -> Vec<serde_json::Value> {
    let board: serde_json::Value = serde_json::from_str(&text(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    board["panels"].as_array().expect("panels").clone()
}

const DASHBOARDS: [&str; 2] = ["docker/grafana/pipeline.json", "docker/grafana/privacy.json"];

#[test]
fn every_panel_says_what_it_shows_and_what_to_do() {
    let alerts: Vec<String> = alerts().iter().map(|alert| alert.name.to_lowercase()).collect();
    for file in DASHBOARDS {
        for panel in panels(file) {
            let title = panel["title"].as_str().expect("a title");
            assert!(panel["description"].as_str().is_some_and(|d| d.len() > 30), "{file}: {title}: a description");
            assert!(panel["fieldConfig"]["defaults"]["unit"].as_str().is_some_and(|u| !u.is_empty()), "{file}: {title}: a unit");
            let link = panel["links"][0]["url"].as_str().unwrap_or_default();
            let anchor = link.split_once('#').map(|(_, anchor)| anchor).unwrap_or_default();
            assert!(alerts.iter().any(|alert| alert == anchor), "{file}: {title}: {link} is no section of the runbook");
        }
    }
}

#[test]
fn every_query_of_a_dashboard_parses_and_asks_for_what_is_measured() {
    let mut rules = String::from("groups:\n  - name: dashboards\n    rules:\n");
    for file in DASHBOARDS {
        for (i, panel) in panels(file).iter().enumerate() {
            for (j, target) in panel["targets"].as_array().expect("targets").iter().enumerate() {
                let query = target["expr"].as_str().expect("a query");
                assert_known(file, query);
                let query = query.replace("$__rate_interval", "1m").replace("$tenant", "acme");
                let quoted = serde_json::to_string(&query).unwrap();
                rules.push_str(&format!("      - record: panel_{}_{i}_{j}\n        expr: {quoted}\n", file.len()));
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("queries.rules.yml");
    std::fs::write(&file, rules).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
}

#[test]
fn what_is_deployed_is_yaml_and_names_what_is_there() {
    for file in [
        "docker/compose.yml",
        "docker/kubernetes/lethe.yml",
        "docker/grafana/provisioning/datasources/lethe.yml",
        "docker/grafana/provisioning/dashboards/lethe.yml",
    ] {
        let text = text(file);
        let documents = Yaml::load_from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(documents.iter().all(|document| document.as_mapping().is_some()), "{file}");
    }
    let compose = text("docker/compose.yml");
    for line in compose.lines().filter_map(|line| line.trim().strip_prefix("- .")) {
        let path = line.split(':').next().unwrap();
        let path = path.strip_prefix('/').map_or_else(|| path.trim_start_matches("./").to_owned(), |beside| format!("docker/{beside}"));
        assert!(repository(path.trim_start_matches('/')).exists(), "docker/compose.yml mounts {path}, which is not there");
    }
    let manifest = text("docker/kubernetes/lethe.yml");
    for kind in ["PodDisruptionBudget", "livenessProbe", "readinessProbe", "runAsNonRoot: true", "readOnlyRootFilesystem: true"] {
        assert!(manifest.contains(kind), "docker/kubernetes/lethe.yml: {kind}");
    }
    for unit in ["run", "retain", "sessions", "aggregate"] {
        let unit_text = text(&format!("docker/systemd/lethe-{unit}.service"));
        for line in ["ProtectSystem=strict", "NoNewPrivileges=yes", "RestartPreventExitStatus=2", "ExecReload=/bin/kill -HUP $MAINPID"] {
            assert!(unit_text.contains(line), "lethe-{unit}.service: {line}");
        }
        assert!(unit_text.contains(&format!("ExecStart=/usr/bin/lethe --config /etc/lethe/config.toml {unit}\n")), "lethe-{unit}.service");
        // Whoever ends a tenant destroys its keys; nobody else writes anywhere.
        assert_eq!(unit_text.contains("ReadWritePaths=/etc/lethe"), unit == "retain", "lethe-{unit}.service");
    }
    let image = text("docker/Dockerfile");
    assert!(image.contains(":nonroot") && image.matches("\nFROM ").count() == 2, "two stages, and not as root");
}

/// The newest schema and every released one of a kind: a schema that is changed gets a further copy here, `<kind>.v<n>.avsc`, when it is released.
fn avro_schemas(kind: &str) -> (Schema, Vec<(PathBuf, Schema)>) {
    let parse =
        |path: &Path| Schema::parse_str(&std::fs::read_to_string(path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut released: Vec<PathBuf> =
        std::fs::read_dir(repository(&format!("schemas/{kind}/released"))).unwrap().map(|f| f.unwrap().path()).collect();
    released.sort();
    (parse(&repository(&format!("schemas/{kind}/{kind}.avsc"))), released.into_iter().map(|path| (path.clone(), parse(&path))).collect())
}

#[test]
fn schemas_evolve_with_full_compatibility() {
    for kind in ["record", "network", "session", "raw_event"] {
        let (newest, released) = avro_schemas(kind);
        assert!(!released.is_empty(), "{kind}: nothing was released");
        for (path, old) in &released {
            // Somebody with the old schema reads what is written now, and the other way round.
            SchemaCompatibility::mutual_read(&newest, old).unwrap_or_else(|e| panic!("{kind} against {}: {e}", path.display()));
        }
    }
    let (newest, _) = avro_schemas("session");
    let without_default =
        Schema::parse_str(&newest.canonical_form().replacen("\"fields\":[", "\"fields\":[{\"name\":\"added\",\"type\":\"long\"},", 1))
            .unwrap();
    assert!(SchemaCompatibility::mutual_read(&newest, &without_default).is_err(), "the test would not notice");
}
