//! Fear: at night a dashboard is empty or an alert never fires, because a name, a label or a rule differs from what the processes say.
//!
//! Shown with a real Prometheus that scrapes a real `run` and `retain` by the rules that are shipped: every query of the dashboards and every rule is
//! answered without an error, those that must have data do, and alerts that can be caused at once are: a keyring and a config that were spoilt, a
//! stranger's record among the directives, a process that is gone. The shipped waiting times (`for`) are taken out, everything else is as shipped.

use crate::files_change::page;
use crate::support::broker::free_ports;
use crate::support::config::TestConfig;
use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::keeper::Kept;
use crate::support::lethe::Lethe;
use crate::support::metrics::http_get;
use crate::support::outside::{program, repository};
use crate::support::scene::busy;
use crate::support::wait::{PATIENCE, eventually, eventually_within};
use lethe::ops::clock::now_ms;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Panels that are rightly empty here: what they show did not happen. Everything else has data.
const QUIET: [&str; 2] = ["Tombstones", "Waiting for a schema"];

struct Prometheus {
    address: String,
    _process: Kept,
}

impl Prometheus {
    /// Scrapes these every second, by the rules of the repository.
    fn start(home: &Path, jobs: &[(&str, &str)]) -> Self {
        for file in ["recording.rules.yml", "alerts.rules.yml"] {
            let text = std::fs::read_to_string(repository("docker/prometheus").join(file)).unwrap();
            let text: Vec<String> =
                text.lines().filter(|l| !l.trim().starts_with("for:")).map(|l| l.replace("interval: 30s", "interval: 1s")).collect();
            std::fs::write(home.join(file), text.join("\n")).unwrap();
        }
        let jobs: String =
            jobs.iter().map(|(job, at)| format!("  - job_name: {job}\n    static_configs: [{{ targets: [\"{at}\"] }}]\n")).collect();
        let global = "global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\nrule_files: [recording.rules.yml, alerts.rules.yml]\n";
        std::fs::write(home.join("prometheus.yml"), format!("{global}scrape_configs:\n{jobs}")).unwrap();
        let [port] = free_ports();
        let address = format!("127.0.0.1:{port}");
        let mut command = program("prometheus", "--version", "prometheus");
        command.arg(format!("--web.listen-address={address}")).arg("--config.file=prometheus.yml").arg("--storage.tsdb.path=data");
        command
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(home.join("prometheus.log")).unwrap());
        let process = Kept::spawn(&mut command).unwrap();
        let prometheus = Self { address, _process: process };
        eventually("Prometheus to be ready", || http_get(&prometheus.address, "/-/ready").ok().filter(|a| a.status == 200).map(drop));
        prometheus
    }

    /// The samples that a query has now.
    #[track_caller]
    fn ask(&self, query: &str) -> Vec<Value> {
        let path = format!("/api/v1/query?query={}", utf8_percent_encode(query, NON_ALPHANUMERIC));
        let answer = http_get(&self.address, &path).expect("Prometheus answers");
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_else(|e| panic!("{query}: {e}: {}", answer.body));
        assert_eq!(body["status"], "success", "{query}: {body}");
        body["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {body}")).clone()
    }

    fn fires(&self, alert: &str) -> bool {
        !self.ask(&format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}")).is_empty()
    }
}

/// Title and query of every panel.
fn panels(tenant: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for board in ["pipeline", "privacy"] {
        let text = std::fs::read_to_string(repository("docker/grafana").join(board).with_extension("json")).unwrap();
        let board: Value = serde_json::from_str(&text).unwrap();
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "30s").replace("$tenant", tenant);
                found.push((panel["title"].as_str().unwrap().to_owned(), query));
            }
        }
    }
    found
}

/// How much time pictures show. Units: s.
const PICTURED_SECONDS: u64 = 120;

/// The folder for pictures, if somebody asks for them.
fn pictures() -> Option<PathBuf> {
    std::env::var_os("LETHE_PICTURES").map(|folder| std::path::absolute(folder).expect("a path"))
}

/// Takes a picture of a page, once its script has run.
fn picture(folder: &Path, name: &str, url: &str, size: &str) {
    let mut browser = program("chromium", "--version", "chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]);
    browser.arg("--virtual-time-budget=12000").arg(format!("--window-size={size}"));
    browser.arg(format!("--screenshot={}", folder.join(name).display()));
    assert!(browser.arg(url).stdin(Stdio::null()).output().unwrap().status.success());
}

/// Pictures of the status pages, and of the dashboards' panels as their queries are answered; Grafana draws them in its own way.
fn take_pictures(folder: &Path, home: &Path, prometheus: &Prometheus, tenant: &str, jobs: &[(&str, &Lethe, &str)]) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, job, size) in jobs {
        picture(folder, &format!("status-{name}.png"), &format!("http://{}/", job.http()), size);
    }
    let page = std::fs::read_to_string(repository("tests/journeys/support/panels.html")).unwrap();
    for (board, size) in [("pipeline", "1200,1230"), ("privacy", "1200,1060")] {
        let text = std::fs::read_to_string(repository("docker/grafana").join(board).with_extension("json")).unwrap();
        let page = page.replace("@BOARD@", &text).replace("@PROMETHEUS@", &format!("http://{}", prometheus.address));
        let page = page.replace("@TENANT@", tenant).replace("@SECONDS@", &PICTURED_SECONDS.to_string());
        let file = home.join(board).with_extension("html");
        std::fs::write(&file, page).unwrap();
        picture(folder, &format!("{board}.png"), &format!("file://{}", file.display()), size);
    }
}

#[test]
fn every_query_and_alert_works_on_a_real_run() {
    let journey = Journey::new("sres_watch");
    let (folder, begun) = (pictures(), Instant::now());
    let acme = if folder.is_some() { "acme".to_owned() } else { journey.tenant("a") };
    let config = journey.config().set("topics.partitions", 2).set("kafka.session_timeout_ms", 6_000).tenant(&acme, busy);
    journey.set_up(&config);
    let start = |command: &str| {
        let call = journey.lethe(&config).args([command]);
        let file = call.config_file();
        let mut job = call.start();
        job.wait_until_ready();
        (job, file)
    };
    let (run, file) = start("run");
    let (retain, _) = start("retain");
    let prometheus = Prometheus::start(journey.home(), &[("lethe-run", run.http()), ("lethe-retain", retain.http())]);
    let now_ms = now_ms();
    let generator = lethe::generator::Generator::new(5, &acme, now_ms);
    let mut made = 0;
    let empty = || -> BTreeSet<String> {
        panels(&acme).into_iter().filter(|(_, q)| prometheus.ask(q).is_empty()).map(|(title, _)| title).collect()
    };
    let quiet: BTreeSet<String> = QUIET.iter().map(|t| (*t).to_owned()).collect();
    let seconds = if folder.is_some() { PICTURED_SECONDS } else { 0 };
    eventually_within(2 * PATIENCE, "every panel to have data", || {
        // Load goes on, so that there are rates.
        let events = (made..made + 500).map(|i| {
            let mut payload = Vec::new();
            let generated = generator.generate(i, &mut payload);
            (Some(generated.key.as_bytes().to_vec()), Some(payload))
        });
        kafka::produce(journey.bootstrap(), &format!("{acme}.raw.web"), events);
        made += 500;
        let missing: Vec<String> = empty().difference(&quiet).cloned().collect();
        println!("without data: {missing:?}");
        (missing.is_empty() && begun.elapsed() >= Duration::from_secs(seconds)).then_some(())
    });
    officers_see(&journey, &config, &acme, &retain);
    if let Some(folder) = folder {
        take_pictures(&folder, journey.home(), &prometheus, &acme, &[("run", &run, "960,620"), ("retain", &retain, "960,1000")]);
    }
    for rule in prometheus_rules(&prometheus) {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    for calm in
        ["LetheDown", "LetheKeyringProblem", "LetheFileRefused", "LetheDirectiveUnreadable", "LetheSchemaWaiting", "LetheRetentionOverdue"]
    {
        assert!(!prometheus.fires(calm), "{calm} fires and nothing is wrong");
    }

    let keyring = journey.home().join("keyring.toml");
    let good = std::fs::read_to_string(&keyring).unwrap();
    std::fs::write(&keyring, "torn").unwrap();
    eventually("LetheKeyringProblem", || prometheus.fires("LetheKeyringProblem").then_some(()));
    std::fs::write(&keyring, good).unwrap();
    std::fs::write(&file, "[run\n").unwrap();
    eventually("LetheFileRefused", || prometheus.fires("LetheFileRefused").then_some(()));
    let directives = format!("{}.directives", journey.namespace());
    kafka::produce(journey.bootstrap(), &directives, [(Some("somebody/else/1"), Some("no directive"))]);
    eventually("LetheDirectiveUnreadable", || prometheus.fires("LetheDirectiveUnreadable").then_some(()));
    run.terminate_within(Duration::from_secs(60)).assert_done();
    eventually("LetheDown", || prometheus.fires("LetheDown").then_some(()));
}

/// The status page of the process that sees to requests: what is open, by when, what is held; and a page that a reader of screens can walk.
fn officers_see(journey: &Journey, config: &TestConfig, tenant: &str, retain: &Lethe) {
    let order = |arguments: &[&str]| {
        let done = journey.lethe(config).args(arguments).finish();
        done.assert_done();
        done.request()
    };
    let hold = order(&["hold", "--tenant", tenant, "--reason", "case 7", "--until", "2099-01-31"]);
    let erasure = order(&["erase", "--tenant", tenant, "--external-id", "nobody-at-all"]);
    let shown = eventually("the page to show both", || Some(page(retain.http())).filter(|p| p.contains(&hold) && p.contains(&erasure)));
    for words in
        ["Open requests", "erase", "deadline", "Holds", "2099-01-31 00:00 UTC", "Last certificate", "None yet.", "All is in order."]
    {
        assert!(shown.contains(words), "the page does not show {words:?}: {shown}");
    }
    assert!(!shown.contains("nobody-at-all") && !shown.contains("case 7"), "nothing of anybody");
    let body = shown.split("<main>").nth(1).unwrap();
    assert!(body.matches("<caption>").count() == body.matches("<table>").count() && body.contains("aria-live=\"polite\""), "{body}");
    assert!(body.contains("<th scope=\"col\">") && body.contains("<th scope=\"row\">") && shown.contains("<html lang=\"en\">"));
}

fn prometheus_rules(prometheus: &Prometheus) -> Vec<Value> {
    let body = http_get(&prometheus.address, "/api/v1/rules").expect("Prometheus answers").body;
    let body: Value = serde_json::from_str(&body).unwrap();
    let groups = body["data"]["groups"].as_array().unwrap().clone();
    let rules: Vec<Value> = groups.iter().flat_map(|g| g["rules"].as_array().unwrap().clone()).collect();
    assert!(rules.len() > 15, "{}", rules.len());
    rules
}
