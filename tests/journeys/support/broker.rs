//! A real Apache Kafka broker: one KRaft node on free ports, up in seconds, gone with the test process.

use super::kafka;
use super::keeper::{self, Kept};
use super::outside::{class_path, last_lines, must_succeed, repository};
use super::wait::PATIENCE;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rustix::process::Signal;
use std::collections::HashMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Small and quick to start: the compiler's first tier is enough for journeys, and the machine has other work.
const JAVA_OPTIONS: [&str; 5] = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"];

/// What a broker that is not ours must answer for the journeys to hold: setting, the largest or the only value that suits.
const MUST_SUIT: [(&str, Suits); 8] = [
    ("auto.create.topics.enable", Suits::Exactly("false")),
    ("offsets.topic.replication.factor", Suits::Exactly("1")),
    ("log.cleaner.enable", Suits::Exactly("true")),
    ("log.cleaner.backoff.ms", Suits::AtMost(1_000)),
    ("log.retention.check.interval.ms", Suits::AtMost(1_000)),
    ("log.segment.delete.delay.ms", Suits::AtMost(1_000)),
    ("group.initial.rebalance.delay.ms", Suits::AtMost(500)),
    ("group.consumer.session.timeout.ms", Suits::AtMost(10_000)),
];

enum Suits {
    Exactly(&'static str),
    AtMost(u64),
}

/// A broker, ours or one that was there.
pub struct Broker {
    bootstrap: String,
    data: PathBuf,
    own: Option<Own>,
    secure: Option<Secure>,
}

/// The listener with TLS 1.3 and SCRAM.
struct Secure {
    bootstrap: String,
    authority: PathBuf,
}

/// What is needed to start a broker of ours again.
struct Own {
    home: PathBuf,
    class_path: String,
    sasl: String,
    /// How far its clock is off from its next start on, in seconds.
    clock: Mutex<i64>,
    process: Mutex<Option<Kept>>,
}

impl Drop for Own {
    /// A journey that fails says what its broker said last.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (log, runs) = (self.home.join("broker.log"), self.process.get_mut().is_ok_and(|process| process.is_some()));
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            eprintln!(
                "the last lines of {} (the broker is {}):\n{}",
                log.display(),
                if runs { "started" } else { "stopped" },
                last_lines(&text, 40)
            );
        }
    }
}

impl Broker {
    /// The broker that all journeys share: the one at `KAFKA_BOOTSTRAP` if that is set, else one started on first use.
    /// Fails, never skips, with one sentence that says what is missing.
    #[track_caller]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Broker, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match std::env::var("KAFKA_BOOTSTRAP") {
            Ok(bootstrap) if !bootstrap.is_empty() => Self::reuse(bootstrap),
            _ => Self::start(&[]),
        });
        match shared {
            Ok(broker) => broker,
            Err(sentence) => panic!("{sentence}"),
        }
    }

    /// A broker for one journey alone, to kill and restart; gone when dropped.
    #[track_caller]
    pub fn start_own() -> Self {
        match Self::start(&[]) {
            Ok(broker) => broker,
            Err(sentence) => panic!("{sentence}"),
        }
    }

    /// `start_own`, with one listener more: TLS 1.3 and nothing older, SASL/SCRAM-SHA-512, for these users with the password `<user>-password`.
    #[track_caller]
    pub fn start_secured(users: &[&str]) -> Self {
        assert!(!users.is_empty(), "nobody could use it");
        match Self::start(users) {
            Ok(broker) => broker,
            Err(sentence) => panic!("{sentence}"),
        }
    }

    /// `start_own`, with one listener more, which tells its clients to come by another port of this machine: that of a proxy. `format`: how its storage
    /// is formatted besides.
    #[track_caller]
    pub fn start_behind(proxy_port: u16, format: &[&str]) -> (Self, u16) {
        let [port] = free_ports();
        let more = move |settings: &mut String| {
            let mut added = with_more(settings, "listeners", &format!("BEHIND://127.0.0.1:{port}"));
            added += &with_more(settings, "advertised.listeners", &format!("BEHIND://127.0.0.1:{proxy_port}"));
            added += &with_more(settings, "listener.security.protocol.map", "BEHIND:PLAINTEXT");
            settings.push_str(&added);
        };
        let broker = class_path().and_then(|class_path| {
            let broker = Self::prepare(&class_path, &[], format, more)?;
            broker.launch().map(|()| broker)
        });
        (broker.unwrap_or_else(|sentence| panic!("{sentence}")), port)
    }

    /// `host:port` of the listener with TLS and SCRAM, and the PEM file of the authority that signed its certificate.
    #[track_caller]
    pub fn secure(&self) -> (&str, &Path) {
        let secure = self.secure.as_ref().expect("started by start_secured");
        (&secure.bootstrap, &secure.authority)
    }

    /// `host:port` of the listener where everybody may do everything.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// `host:port` of the listener that asks for a user (SASL/PLAIN over plain text: `lethe`, `operator` or `stranger`, password
    /// `<user>-password`) and lets each do only what an ACL grants.
    #[track_caller]
    pub fn sasl_bootstrap(&self) -> &str {
        &self.own("a SASL listener").sasl
    }

    /// Where the broker keeps partitions: one directory `<topic>-<partition>` each.
    #[track_caller]
    pub fn log_dir(&self) -> &Path {
        assert!(self.data.is_dir(), "this journey reads the broker's files: unset KAFKA_BOOTSTRAP or use a broker on this machine");
        &self.data
    }

    /// Kills it at once (SIGKILL); connections break, nothing is flushed by the broker.
    #[track_caller]
    pub fn kill(&self) {
        drop(self.process().take());
    }

    /// Stops it as an operator would (SIGTERM), and waits until it has gone.
    #[track_caller]
    pub fn stop(&self) {
        if let Some(mut process) = self.process().take() {
            process.signal(Signal::TERM);
            let _ = process.child().wait();
        }
    }

    /// Starts it again after `kill` or `stop`, on the same ports and data, and returns once it answers.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        if let Err(sentence) = self.launch() {
            panic!("{sentence}");
        }
    }

    /// Changes a setting from the next start on: `name=value`. Of two lines for one setting the later one counts.
    #[track_caller]
    pub fn set(&self, line: &str) {
        let file = self.own("settings").home.join("server.properties");
        let text = std::fs::read_to_string(&file).expect("the broker's directory is readable");
        std::fs::write(file, format!("{text}\n{line}\n")).expect("the broker's directory is writable");
    }

    /// `restart`, with a clock that is off by so much.
    #[track_caller]
    pub fn restart_with_clock(&self, off_s: i64) {
        *self.own("a clock of its own").clock.lock().unwrap_or_else(PoisonError::into_inner) = off_s;
        self.stop();
        self.restart();
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing answers.
    #[track_caller]
    pub fn freeze(&self) {
        self.process().as_ref().expect("the broker runs").signal(Signal::STOP);
    }

    /// Lets it go on after `freeze`.
    #[track_caller]
    pub fn thaw(&self) {
        self.process().as_ref().expect("the broker runs").signal(Signal::CONT);
    }

    /// Grants or denies by `kafka-acls`, e.g. `["--add", "--allow-principal", "User:lethe", "--operation", "Read", "--topic", "t"]`.
    #[track_caller]
    pub fn acls(&self, arguments: &[&str]) {
        let mut tool = self.tool("AclCommand");
        tool.args(["--bootstrap-server", &self.bootstrap]).args(arguments);
        must_succeed(&mut tool, "kafka-acls failed").unwrap_or_else(|sentence| panic!("{sentence}"));
    }

    /// Runs whole command lines of `kafka-acls`, word by word as they are, in one JVM: a JVM each would take a minute.
    #[track_caller]
    pub fn acl_lines<'l>(&self, lines: impl IntoIterator<Item = &'l str>) {
        let source = "import java.nio.file.*; public class AclLines { public static void main(String[] a) throws Exception { \
                      for (String line : Files.readAllLines(Path.of(a[0]))) \
                      org.apache.kafka.tools.AclCommand.main(line.split(\" \")); } }";
        let home = &self.own("permissions").home;
        std::fs::write(home.join("AclLines.java"), source).expect("the broker's directory is writable");
        let arguments = lines.into_iter().map(|line| line.split_once(' ').expect("a command and its arguments").1);
        std::fs::write(home.join("acl-lines"), arguments.collect::<Vec<_>>().join("\n")).expect("the broker's directory is writable");
        let class_path = class_path().unwrap_or_else(|sentence| panic!("{sentence}"));
        let mut tool = java(&class_path, home.join("AclLines.java").to_str().expect("a path in UTF-8"));
        tool.arg(home.join("acl-lines"));
        must_succeed(&mut tool, "kafka-acls failed").unwrap_or_else(|sentence| panic!("{sentence}"));
    }

    /// One of Kafka's own tools by its class, ready for its arguments: `ConsoleProducer`, `ConsoleConsumer`, `TopicCommand`, …
    #[track_caller]
    pub fn tool(&self, class: &str) -> Command {
        let class_path = class_path().unwrap_or_else(|sentence| panic!("{sentence}"));
        java(&class_path, &format!("org.apache.kafka.tools.{class}"))
    }

    #[track_caller]
    fn own(&self, what: &str) -> &Own {
        self.own.as_ref().unwrap_or_else(|| panic!("this journey needs {what}, which only a broker of our own has: unset KAFKA_BOOTSTRAP"))
    }

    #[track_caller]
    fn process(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.own("to end and restart its broker").process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries again with other ports: between choosing a free port and listening on it, somebody else may have taken it.
    fn start(users: &[&str]) -> Result<Self, String> {
        let class_path = class_path()?;
        let mut last = String::new();
        for _ in 0..3 {
            let broker = Self::prepare(&class_path, users, &[], |_| ())?;
            match broker.launch() {
                Ok(()) => return Ok(broker),
                Err(sentence) => last = sentence,
            }
        }
        Err(last)
    }

    /// Writes the settings and formats the storage.
    fn prepare(class_path: &str, users: &[&str], formatted: &[&str], change: impl FnOnce(&mut String)) -> Result<Self, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let home = keeper::directory(&format!("broker-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let data = home.join("data");
        let [port, sasl_port, controller_port, secure_port] = free_ports();
        let template = repository("docker/broker/server.properties.in");
        let mut settings = std::fs::read_to_string(&template)
            .map_err(|e| format!("cannot read {}: {e}", template.display()))?
            .replace("@PORT@", &port.to_string())
            .replace("@SASL_PORT@", &sasl_port.to_string())
            .replace("@CONTROLLER_PORT@", &controller_port.to_string())
            .replace("@DATA@", &data.display().to_string());
        let secure = (!users.is_empty()).then(|| secure_listener(&home, secure_port, &mut settings)).transpose()?;
        settings.push('\n');
        change(&mut settings);
        std::fs::write(home.join("server.properties"), settings).map_err(|e| format!("cannot write {}: {e}", home.display()))?;
        let own = Own {
            home,
            class_path: class_path.to_owned(),
            sasl: format!("127.0.0.1:{sasl_port}"),
            clock: Mutex::default(),
            process: Mutex::new(None),
        };
        let mut format = java(class_path, "kafka.tools.StorageTool");
        // Any cluster id will do: a base64 UUID. The data directory is new each time.
        format.args(["format", "-t", "bGV0aGVqb3VybmV5czAwMQ", "-c"]).arg(own.home.join("server.properties"));
        format.args(formatted);
        for user in users {
            format.args(["--add-scram", &format!("SCRAM-SHA-512=[name={user},password={user}-password]")]);
        }
        must_succeed(&mut format, "the broker's storage could not be formatted")?;
        Ok(Self { bootstrap: format!("127.0.0.1:{port}"), data, own: Some(own), secure })
    }

    /// Starts the process and waits until it answers a request.
    fn launch(&self) -> Result<(), String> {
        let own = self.own("a process");
        let log_path = own.home.join("broker.log");
        let log =
            File::options().create(true).append(true).open(&log_path).map_err(|e| format!("cannot write {}: {e}", log_path.display()))?;
        let errors = log.try_clone().map_err(|e| format!("cannot write {}: {e}", log_path.display()))?;
        let mut server = java(&own.class_path, "kafka.Kafka");
        server.current_dir(&own.home).arg(own.home.join("server.properties")).stdin(Stdio::null()).stdout(log).stderr(errors);
        let off_s = *own.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if off_s != 0 {
            server.env("LD_PRELOAD", wrong_clock(&own.home)?).env("CLOCK_OFF_S", off_s.to_string());
        }
        let mut process = Kept::spawn(&mut server).map_err(|e| format!("the broker could not be started: {e}"))?;

        let deadline = Instant::now() + PATIENCE;
        loop {
            if kafka::answers(&self.bootstrap, Duration::from_millis(500)) {
                *self.process() = Some(process);
                return Ok(());
            }
            let ended = process.child().try_wait().is_ok_and(|status| status.is_some());
            if ended || Instant::now() > deadline {
                let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                return Err(format!("the broker did not come up; it said: {}", last_lines(&log, 5)));
            }
        }
    }

    /// Takes a broker that is there, if its settings suit.
    fn reuse(bootstrap: String) -> Result<Self, String> {
        let settings = broker_settings(&bootstrap)?;
        for (name, suits) in MUST_SUIT {
            let value = settings.get(name).map_or("", String::as_str);
            let (fine, wanted) = match suits {
                Suits::Exactly(only) => (value == only, only.to_owned()),
                Suits::AtMost(most) => (value.parse().is_ok_and(|given: u64| given <= most), format!("at most {most}")),
            };
            if !fine {
                return Err(format!(
                    "the broker at KAFKA_BOOTSTRAP does not suit the journeys: {name} is {value:?} and must be {wanted} (see docker/broker/server.properties.in)"
                ));
            }
        }
        let data = settings.get("log.dirs").or_else(|| settings.get("log.dir")).map(PathBuf::from).unwrap_or_default();
        Ok(Self { bootstrap, data, own: None, secure: None })
    }
}

/// Makes a key and a certificate, and adds the listener to the settings: of two lines for one setting the later one counts.
fn secure_listener(home: &Path, port: u16, settings: &mut String) -> Result<Secure, String> {
    let (store, authority) = (home.join("broker.p12"), home.join("authority.pem"));
    let keytool = |arguments: &[&str]| {
        let mut tool = Command::new("keytool");
        tool.args(arguments).args(["-alias", "broker", "-storetype", "PKCS12", "-storepass", "changeit", "-keystore"]).arg(&store);
        tool
    };
    let make = ["-genkeypair", "-keyalg", "EC", "-dname", "CN=127.0.0.1", "-ext", "SAN=ip:127.0.0.1", "-validity", "2"];
    must_succeed(&mut keytool(&make), "keytool, which comes with Java, could not make a key")?;
    let export = ["-exportcert", "-rfc", "-file", authority.to_str().expect("a path in UTF-8")];
    must_succeed(&mut keytool(&export), "keytool could not export a certificate")?;
    let address = format!("SECURE://127.0.0.1:{port}");
    let mut added = with_more(settings, "listeners", &address) + &with_more(settings, "advertised.listeners", &address);
    added += &with_more(settings, "listener.security.protocol.map", "SECURE:SASL_SSL");
    for (name, value) in [
        ("sasl.enabled.mechanisms", "SCRAM-SHA-512"),
        ("scram-sha-512.sasl.jaas.config", "org.apache.kafka.common.security.scram.ScramLoginModule required;"),
        ("ssl.enabled.protocols", "TLSv1.3"),
        ("ssl.keystore.type", "PKCS12"),
        ("ssl.keystore.location", store.to_str().expect("a path in UTF-8")),
        ("ssl.keystore.password", "changeit"),
        ("ssl.key.password", "changeit"),
    ] {
        added += &format!("listener.name.secure.{name}={value}\n");
    }
    settings.push('\n');
    settings.push_str(&added);
    Ok(Secure { bootstrap: format!("127.0.0.1:{port}"), authority })
}

/// The line of a setting that the template has, with one value more. Added at the end: of two lines for one setting the later one counts.
fn with_more(settings: &str, name: &str, more: &str) -> String {
    let line = settings.lines().find(|line| line.starts_with(&format!("{name}="))).expect("the template sets it").to_owned();
    format!("{line},{more}\n")
}

/// Three brokers: every topic three times, written while two of them are in sync.
pub struct Cluster {
    nodes: Vec<Broker>,
    bootstrap: String,
}

impl Cluster {
    const NODES: usize = 3;

    /// Starts them. Gone when dropped.
    #[track_caller]
    pub fn start() -> Self {
        let class_path = class_path().unwrap_or_else(|sentence| panic!("{sentence}"));
        let controllers: [u16; Self::NODES] = free_ports();
        let voters: Vec<String> = (1..).zip(controllers).map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
        let node = |id: usize| {
            let voters = voters.join(",");
            let controller = controllers[id - 1];
            Broker::prepare(&class_path, &[], &[], |settings| {
                let last = settings.find("CONTROLLER://127.0.0.1:").expect("the template has a controller");
                let end = settings[last..].find('\n').map_or(settings.len(), |n| last + n);
                settings.replace_range(last..end, &format!("CONTROLLER://127.0.0.1:{controller}"));
                for (name, value) in [
                    ("node.id", id.to_string()),
                    ("controller.quorum.voters", voters),
                    ("default.replication.factor", "3".into()),
                    ("min.insync.replicas", "2".into()),
                    ("offsets.topic.replication.factor", "3".into()),
                    ("transaction.state.log.replication.factor", "3".into()),
                    ("transaction.state.log.min.isr", "2".into()),
                    // A follower that is away is out of sync soon.
                    ("replica.lag.time.max.ms", "3000".into()),
                    // Who led at first leads again soon after it has come back.
                    ("leader.imbalance.check.interval.seconds", "3".into()),
                    ("leader.imbalance.per.broker.percentage", "0".into()),
                ] {
                    settings.push_str(&format!("{name}={value}\n"));
                }
            })
        };
        let nodes: Result<Vec<Broker>, String> = (1..=Self::NODES).map(node).collect();
        let nodes = nodes.unwrap_or_else(|sentence| panic!("{sentence}"));
        // None answers before most of them are there.
        let launched: Vec<Result<(), String>> = std::thread::scope(|scope| {
            let threads: Vec<_> = nodes.iter().map(|node| scope.spawn(|| node.launch())).collect();
            threads.into_iter().map(|thread| thread.join().expect("a broker starts or says why")).collect()
        });
        launched.into_iter().for_each(|done| done.unwrap_or_else(|sentence| panic!("{sentence}")));
        let bootstrap = nodes.iter().map(Broker::bootstrap).collect::<Vec<_>>().join(",");
        Self { nodes, bootstrap }
    }

    /// Kills all of them at once, and starts them again after a while.
    #[track_caller]
    pub fn away_for(&self, time: Duration) {
        self.nodes.iter().for_each(Broker::kill);
        std::thread::sleep(time);
        std::thread::scope(|scope| {
            self.nodes.iter().for_each(|node| {
                scope.spawn(|| node.restart());
            });
        });
    }

    /// Where all of them listen.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// One of them, from 0: to kill, to stop, to restart.
    pub fn node(&self, n: usize) -> &Broker {
        &self.nodes[n]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Waits until every partition of a topic has at least so many replicas in sync, or, with `shrunken`, until one has fewer.
    #[track_caller]
    pub fn wait_for_replicas(&self, topic: &str, count: usize, shrunken: bool) {
        super::wait::eventually(&format!("replicas of {topic} in sync: {count}, shrunken: {shrunken}"), || {
            let fewest = kafka::fewest_in_sync(&self.bootstrap, topic)?;
            ((fewest < count) == shrunken).then_some(())
        });
    }
}

fn java(class_path: &str, class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(JAVA_OPTIONS).arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn").args(["-cp", class_path, class]);
    command
}

/// The library that gives a process another time of day, built from `clock.c` beside this file. Errors: the compiler.
fn wrong_clock(home: &Path) -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journeys/support/clock.c");
    let library = home.join("clock.so");
    must_succeed(Command::new("gcc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source), "clock.c could not be built")?;
    Ok(library)
}

/// Ports that were free a moment ago, all different.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("there are free ports"));
    listeners.map(|listener| listener.local_addr().expect("it is bound").port())
}

fn broker_settings(bootstrap: &str) -> Result<HashMap<String, String>, String> {
    if !kafka::answers(bootstrap, Duration::from_secs(10)) {
        return Err(format!("no broker answers at KAFKA_BOOTSTRAP ({bootstrap}): start one there, or unset it and one is started"));
    }
    let cannot = |e: rdkafka::error::KafkaError| format!("the broker at KAFKA_BOOTSTRAP does not tell its settings: {e}");
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", bootstrap).create().map_err(cannot)?;
    let cluster = admin.inner().fetch_metadata(None, PATIENCE).map_err(cannot)?;
    let [only] = cluster.brokers() else {
        return Err("the journeys need a cluster of one broker at KAFKA_BOOTSTRAP".to_owned());
    };
    let asked = [ResourceSpecifier::Broker(only.id())];
    let answers = kafka::block_on(admin.describe_configs(&asked, &AdminOptions::new())).map_err(cannot)?;
    let resource = answers.into_iter().next().and_then(Result::ok).ok_or("the broker at KAFKA_BOOTSTRAP does not tell its settings")?;
    Ok(resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
}
