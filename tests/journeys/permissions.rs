//! Fear: one password opens everything; or the rights are so tight that something fails at night; or nobody sees what is wrong.
//!
//! Shown on a broker with TLS 1.3, SASL/SCRAM and an authorizer: the command lines of `topics acls`, run as they are printed, let each role do its
//! work and nothing of another tenant's; `doctor` passes where all is well and names each fault that is caused.

use crate::support::config::TestConfig;
use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::lethe::Finished;
use crate::support::scene::busy;
use crate::support::wait::eventually;
use lethe::generator::Generator;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const USERS: [&str; 12] = [
    "lethe-operator",
    "lethe-run",
    "lethe-retain",
    "lethe-aggregate",
    "lethe-sessions",
    "lethe-privacy-officer",
    "acme-producer",
    "acme-analyst",
    "acme-forwarder-meta",
    "zeta-producer",
    "zeta-analyst",
    "stranger",
];

struct Secured {
    journey: Journey,
    config: TestConfig,
    authority: PathBuf,
    bootstrap: String,
}

impl Secured {
    /// Two tenants, keys, and not a single permission.
    fn new() -> Self {
        let journey = Journey::with_secured_broker("permissions", &USERS);
        let (bootstrap, authority) = journey.broker().secure();
        let (bootstrap, authority) = (bootstrap.to_owned(), authority.to_owned());
        for user in USERS {
            let file = journey.home().join(user);
            std::fs::write(&file, format!("{user}-password\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let config = journey.config().set("topics.partitions", 1).set("kafka.transaction_timeout_ms", 2_000).set("retain.testing", false);
        let config = config.tenant("acme", busy).tenant("zeta", |tenant| tenant);
        for tenant in config.tenants() {
            journey.lethe(&config).args(["keys", "new", "--tenant", &tenant]).finish().assert_done();
        }
        Secured { journey, config, authority, bootstrap }
    }

    /// The config of somebody who comes by the secure listener.
    fn of(&self, user: &str) -> TestConfig {
        let file = self.journey.home().join(user).display().to_string();
        let config = self.config.clone().set("kafka.bootstrap_servers", self.bootstrap.as_str()).set("kafka.security_protocol", "sasl_ssl");
        let config = config.set("kafka.sasl_mechanism", "SCRAM-SHA-512").set("kafka.sasl_username", user);
        config.set("kafka.sasl_password_file", file).set("kafka.ssl_ca_location", self.authority.display().to_string())
    }

    fn lethe(&self, user: &str, arguments: &[&str]) -> Finished {
        self.journey.lethe(&self.of(user)).args(arguments).finish()
    }

    /// A client of another house: what a tenant's own people would use.
    fn client(&self, user: &str) -> ClientConfig {
        let mut config = kafka::client(&self.bootstrap);
        config.set("security.protocol", "sasl_ssl").set("sasl.mechanism", "SCRAM-SHA-512").set("sasl.username", user);
        config.set("sasl.password", format!("{user}-password")).set("ssl.ca.location", self.authority.display().to_string());
        config
    }

    /// What becomes of records that this user produces: the first failure.
    fn produce(&self, user: &str, topic: &str, values: &[String]) -> Result<(), Code> {
        let producer: BaseProducer<Outcome> =
            self.client(user).set("message.timeout.ms", "30000").create_with_context(Outcome::default()).unwrap();
        for value in values {
            producer.send(BaseRecord::<str, str>::to(topic).payload(value)).map_err(|(e, _)| e.rdkafka_error_code().unwrap())?;
        }
        producer.flush(Duration::from_secs(40)).unwrap();
        producer.context().0.lock().unwrap().take().expect("a delivery report")
    }

    /// How many records this user reads of a topic, as a member of a group.
    fn read(&self, user: &str, group: &str, topic: &str) -> Result<usize, Code> {
        let mut config = self.client(user);
        config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[topic]).unwrap();
        let mut count = 0;
        eventually(&format!("{user} to read {topic} in group {group}"), || {
            loop {
                match consumer.poll(Duration::from_millis(200)) {
                    None => return None,
                    Some(Ok(_)) => count += 1,
                    Some(Err(KafkaError::PartitionEOF(_))) => return Some(Ok(count)),
                    Some(Err(e)) => match e.rdkafka_error_code() {
                        Some(code @ (Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed)) => return Some(Err(code)),
                        _ => println!("{user} reads {topic} in {group}: {e}"),
                    },
                }
            }
        })
    }

    /// The findings of `doctor`, its exit code checked.
    fn doctor(&self, config: &TestConfig, arguments: &[&str], code: i32) -> Value {
        let done = self.journey.lethe(config).args([&["doctor", "--json"], arguments].concat()).finish();
        done.assert_code(code);
        serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}", done.stdout))
    }
}

/// The fate of what was produced.
#[derive(Default)]
struct Outcome(Mutex<Option<Result<(), Code>>>);

impl rdkafka::ClientContext for Outcome {}

impl ProducerContext for Outcome {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let outcome = result.as_ref().map(|_| ()).map_err(|(e, _)| e.rdkafka_error_code().unwrap());
        let mut all = self.0.lock().unwrap();
        *all = Some(all.take().unwrap_or(Ok(())).and(outcome));
    }
}

/// The findings of one check that did not pass: detail and what to do.
fn told(report: &Value, check: &str) -> String {
    let findings = report["findings"].as_array().unwrap().iter().filter(|f| f["check"] == check && f["verdict"] != "pass");
    findings.map(|f| format!("{} {} -> {}\n", f["verdict"], f["detail"], f["mend"])).collect()
}

/// Raw events of a tenant, as its producer would send them.
fn events(tenant: &str) -> Vec<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let generator = Generator::new(7, tenant, now.as_millis() as i64);
    let event = |i| {
        let mut payload = Vec::new();
        generator.generate(i, &mut payload);
        String::from_utf8_lossy(&payload).into_owned()
    };
    (0..50).map(event).collect()
}

#[test]
fn each_role_can_do_its_work_and_nothing_else() {
    let secured = Secured::new();
    secured.lethe("lethe-run", &["run"]).assert_code(1);
    let printed = secured.lethe("lethe-operator", &["topics", "acls"]);
    printed.assert_done();
    let lines: Vec<String> = printed
        .stdout
        .lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| l.replace(&secured.bootstrap, secured.journey.bootstrap()))
        .collect();
    secured.journey.broker().acl_lines(lines.iter().map(String::as_str));

    secured.lethe("lethe-operator", &["topics", "apply"]).assert_done();
    for tenant in ["acme", "zeta"] {
        let user = format!("{tenant}-producer");
        assert_eq!(secured.produce(&user, &format!("{tenant}.raw.web"), &events(tenant)), Ok(()));
    }
    secured.lethe("lethe-run", &["run", "--until-caught-up"]).assert_done();
    secured.lethe("lethe-retain", &["retain", "--until-caught-up"]).assert_done();
    secured.lethe("lethe-aggregate", &["aggregate", "--until-caught-up"]).assert_done();
    secured.lethe("lethe-sessions", &["sessions", "--until-caught-up"]).assert_done();
    officer_works(&secured);
    secured.lethe("lethe-operator", &["pause", "--tenant", "acme"]).assert_done();
    secured.lethe("lethe-operator", &["resume", "--tenant", "acme"]).assert_done();
    assert!(secured.read("acme-analyst", "acme.analyst.reports", "acme.events").is_ok_and(|records| records > 0));
    assert!(secured.read("acme-forwarder-meta", "acme.forward.meta", "acme.dest.meta").is_ok());

    let topic = Err(Code::TopicAuthorizationFailed);
    assert_eq!(secured.produce("acme-producer", "zeta.raw.web", &["{}".to_owned()]), topic);
    assert_eq!(secured.produce("acme-producer", "acme.events", &["{}".to_owned()]), topic);
    assert_eq!(secured.produce("stranger", "acme.raw.web", &["{}".to_owned()]), topic);
    for (user, group, of) in [
        ("acme-analyst", "acme.analyst.reports", "zeta.events"),
        ("acme-analyst", "acme.analyst.reports", "acme.raw.web"),
        ("acme-analyst", "acme.analyst.reports", "acme.dest.meta"),
        ("acme-analyst", "acme.analyst.reports", "acme.network"),
        ("acme-forwarder-meta", "acme.forward.meta", "acme.dest.google_ads"),
        ("acme-forwarder-meta", "acme.forward.meta", "zeta.dest.meta"),
        ("zeta-analyst", "zeta.analyst", "acme.events"),
    ] {
        assert_eq!(secured.read(user, group, of), Err(Code::TopicAuthorizationFailed), "{user} reads {of}");
    }
    assert_eq!(secured.read("acme-analyst", "zeta.analyst", "acme.events"), Err(Code::GroupAuthorizationFailed));
    doctor_sees_what_is_wrong(&secured);
}

/// What people ask of a privacy officer, from its order to what is known of it; and no other role of Lethe's may give such an order.
fn officer_works(secured: &Secured) {
    let officer = |arguments: &[&str]| secured.lethe("lethe-privacy-officer", arguments);
    officer(&["status"]).assert_done();
    let person = ["--tenant", "acme", "--external-id", "nobody"];
    let request = officer(&[&["erase"], &person[..]].concat()).assert_done().request();
    officer(&["status", "--request", &request, "--json"]).assert_done();
    officer(&[&["withdraw", "--purpose", "ads"], &person[..]].concat()).assert_done();
    let file = secured.journey.home().join("acme.jsonl");
    let export = ["export", "--tenant", "acme", "--format", "jsonl", "--output"];
    officer(&[&export[..], &[file.to_str().unwrap()]].concat()).assert_done();
    assert!(std::fs::read_to_string(&file).unwrap().lines().count() > 20, "records of the tenant");
    officer(&[&["export", "--format", "jsonl"], &person[..]].concat()).assert_done();
    officer(&["export", "--breach-scope", "--from", "2020-01-01", "--to", "2090-01-01"]).assert_done();
    officer(&["audit", "verify"]).assert_done();
    let stolen = secured.journey.home().join("stolen.jsonl");
    for user in ["lethe-run", "acme-analyst"] {
        secured.lethe(user, &[&export[..], &[stolen.to_str().unwrap()]].concat()).assert_code(1);
        assert!(!stolen.exists(), "{user} exports nothing");
    }
    for user in ["lethe-run", "lethe-aggregate", "lethe-sessions", "acme-analyst"] {
        secured.lethe(user, &[&["erase"], &person[..]].concat()).assert_code(1);
    }
    assert_eq!(secured.produce("lethe-sessions", "acme.events", &["{}".to_owned()]), Err(Code::TopicAuthorizationFailed));
    assert_eq!(secured.read("lethe-aggregate", "lethe-x", "acme.events"), Err(Code::GroupAuthorizationFailed));
}

fn doctor_sees_what_is_wrong(secured: &Secured) {
    let operator = secured.of("lethe-operator");
    let healthy = secured.doctor(&operator, &["--role", "operator"], 0);
    assert_eq!(healthy["verdict"], "warn", "one broker has one replica alone: {healthy:#}");
    assert!(told(&healthy, "replicas").contains("one copy alone"), "{healthy:#}");
    for check in ["brokers", "topics", "cleaner", "stable offsets", "clocks", "permissions", "keyring"] {
        assert!(healthy["findings"].as_array().unwrap().iter().any(|f| f["check"] == check), "{check} is looked at");
        assert_eq!(told(&healthy, check), "", "{check}");
    }
    assert_eq!(told(&secured.doctor(&secured.of("lethe-run"), &["--role", "run"], 0), "permissions"), "");
    assert_eq!(told(&secured.doctor(&secured.of("lethe-retain"), &["--role", "retain"], 0), "permissions"), "");
    for role in ["aggregate", "sessions", "privacy-officer"] {
        let of_role = secured.doctor(&secured.of(&format!("lethe-{role}")), &["--role", role], 0);
        assert_eq!(told(&of_role, "permissions"), "", "{role}");
    }
    let without = told(&secured.doctor(&secured.of("lethe-run"), &["--role", "retain"], 1), "permissions");
    assert!(without.contains("acme.events") && without.contains("lethe topics acls --role retain"), "{without}");

    let admin: AdminClient<DefaultClientContext> = kafka::client(secured.journey.bootstrap()).create().unwrap();
    let wrong = AlterConfig::new(ResourceSpecifier::Topic("acme.events")).set("cleanup.policy", "delete");
    kafka::block_on(admin.alter_configs([&wrong], &AdminOptions::new())).unwrap();
    let keyring = secured.journey.home().join("keyring.toml");
    std::fs::set_permissions(&keyring, std::fs::Permissions::from_mode(0o644)).unwrap();
    let geoip = secured.journey.home().join("places.mmdb");
    std::fs::write(&geoip, "no database").unwrap();
    let mut settings = kafka::client(secured.journey.bootstrap());
    // Longer than this journey: a transaction that a slow machine lets time out hangs no more.
    settings.set("transactional.id", "somebody-elses").set("transaction.timeout.ms", "600000");
    let hanging: BaseProducer = settings.create().unwrap();
    hanging.init_transactions(Duration::from_secs(60)).unwrap();
    hanging.begin_transaction().unwrap();
    hanging.send(BaseRecord::<str, str>::to("zeta.sessions").key("k").payload("v")).map_err(|(e, _)| e).unwrap();
    hanging.flush(Duration::from_secs(10)).unwrap();

    let wrong = operator.clone().set("geoip.file", geoip.display().to_string()).set("keys.signing_file", "/no/such/signing.key");
    let report = secured.doctor(&wrong, &["--role", "operator"], 1);
    let unsigned = told(&report, "signing key");
    assert!(unsigned.starts_with("\"warn\"") && unsigned.contains("lethe retain"), "{unsigned}");
    for (check, detail, mend) in [
        ("topics", "acme.events: cleanup.policy is delete and must be compact", "lethe topics apply"),
        ("keyring", "readable by others", "0600"),
        ("geoip", "places.mmdb", "rename it"),
        ("stable offsets", "zeta.sessions", "kafka-transactions.sh"),
    ] {
        let told = told(&report, check);
        assert!(told.starts_with("\"fail\"") && told.contains(detail) && told.contains(mend), "{check}: {told}");
    }
    drop(hanging);
    let [port] = crate::support::broker::free_ports();
    let nobody = secured.doctor(&operator.clone().set("kafka.bootstrap_servers", format!("127.0.0.1:{port}")), &[], 1);
    assert!(told(&nobody, "brokers").contains("no broker answers"), "{nobody:#}");

    std::fs::set_permissions(&keyring, std::fs::Permissions::from_mode(0o600)).unwrap();
    let broker = secured.journey.broker();
    broker.stop();
    broker.set("log.cleaner.enable=false");
    broker.restart();
    let off = told(&secured.doctor(&operator, &["--role", "operator"], 1), "cleaner");
    assert!(off.starts_with("\"fail\"") && off.contains("log.cleaner.enable=true"), "{off}");
    let refused = secured.lethe("lethe-retain", &["retain"]);
    refused.assert_code(1);
    assert!(refused.stderr.contains("the windows cannot be kept") && refused.stderr.contains("cleaner"), "{}", refused.stderr);
}
