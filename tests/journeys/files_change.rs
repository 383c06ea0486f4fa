//! Fear: a new tenant or key means an interruption, or a typo in a file stops what worked; and the listener tells strangers what they need not know.
//!
//! Shown: a changed config and keyring are taken up without a restart, by themselves and on SIGHUP; a bad one is refused, told in log and metric, and
//! the old stays in force; windows reach `retain` the same way. The listener asks for its token over TLS, and the status page shows what is measured.

use crate::support::config::TestConfig;
use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::lethe::Lethe;
use crate::support::outside::{program, repository, self_signed};
use crate::support::scene::Scene;
use crate::support::wait::eventually;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Events of a tenant that are written to its topic of events.
fn written(scene: &Scene, tenant: &str) -> i64 {
    kafka::watermarks(scene.bootstrap(), &format!("{tenant}.events")).iter().map(|(_, end)| end).sum()
}

/// Starts a job with a config file that the journey goes on to change.
fn start(scene: &Scene, command: &str, config: &TestConfig) -> (Lethe, PathBuf) {
    let call = scene.journey.lethe(config).args([command]);
    let file = call.config_file();
    let mut begun = call.start();
    begun.wait_until_ready();
    (begun, file)
}

fn refused(job: &Lethe, file: &str) -> f64 {
    job.metrics().sum("lethe_reload_refused", &[("file", file)])
}

/// What the status page shows, once its script has run in a browser.
pub fn page(address: &str) -> String {
    let mut browser = program("chromium", "--version", "chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=8000", "--dump-dom"]);
    let done = browser.arg(format!("http://{address}/")).stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The status and the body of an answer; no status: no connection.
fn curl(arguments: &[&str]) -> (String, String) {
    let mut curl = program("curl", "--version", "curl");
    let done =
        curl.args(["--silent", "--max-time", "20", "--write-out", "\n%{http_code}"]).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

#[test]
fn changed_files_are_taken_up_and_bad_ones_are_not() {
    let journey = Journey::new("files_change");
    let (acme, zeta) = (journey.tenant("a"), journey.tenant("z"));
    let one = journey.config().tenant(&acme, |t| t);
    let both = one.clone().tenant(&zeta, |t| t);
    let scene = Scene::with(journey, both.clone());
    let keyring = scene.journey.home().join("keyring.toml");
    let places = scene.journey.home().join("places.mmdb");
    std::fs::copy(repository("tests/fuzz/corpus/geoip/small"), &places).unwrap();
    let scene_config = scene.config.clone().set("geoip.file", places.display().to_string());
    let (run, file) = start(&scene, "run", &scene_config.clone().without("tenant").tenant(&acme, |t| t));
    scene.produce_to(&acme, 200);
    scene.produce_to(&zeta, 200);
    eventually("rows of the first tenant", || (written(&scene, &acme) > 0).then_some(()));
    assert_eq!(written(&scene, &zeta), 0, "nobody works for a tenant that the config does not name");

    std::fs::write(&file, scene_config.to_toml().replace("web_analytics", "web_analitics")).unwrap();
    eventually("the bad config to be refused", || (refused(&run, "config") == 1.0).then_some(()));
    assert!(run.stderr().contains("the old one stays in force"), "{}", run.stderr());
    let before = written(&scene, &acme);
    scene.produce_to(&acme, 200);
    eventually("the old config to go on", || (written(&scene, &acme) > before).then_some(()));

    std::fs::write(&file, scene_config.to_toml()).unwrap();
    eventually("rows of the second tenant", || (written(&scene, &zeta) > 0).then_some(()));
    assert_eq!(refused(&run, "config"), 0.0);

    let good = std::fs::read_to_string(&keyring).unwrap();
    std::fs::write(&keyring, "torn").unwrap();
    eventually("the bad keyring to be refused", || (refused(&run, "keyring") == 1.0).then_some(()));
    std::fs::write(&keyring, good).unwrap();
    eventually("the keyring to be taken again", || (refused(&run, "keyring") == 0.0).then_some(()));
    scene.journey.lethe(&scene.config).args(["keys", "rotate", "--tenant", &acme]).finish().assert_done();
    let epoch = |epoch: &str| {
        kafka::committed(scene.bootstrap(), &scene.group(), &scene.raw_topic(&acme)).iter().any(|c| c.metadata.contains(epoch))
    };
    eventually("an offset under the new key", || epoch("epoch=2").then_some(()));
    hang_up_is_heard(&run, &places);
    let shown = page(run.http());
    for words in ["Lethe <span id=\"job\">run", "All is in order.", &acme, &zeta, "written", "in order"] {
        assert!(shown.contains(words), "the page does not show {words:?}: {shown}");
    }
    let ended = run.terminate_within(std::time::Duration::from_secs(60));
    ended.assert_done();
}

/// On SIGHUP everything is read at once, changed or not, whether events come or not; a bad file is told of each time.
fn hang_up_is_heard(run: &Lethe, places: &Path) {
    let read = |words: &str| run.stderr().matches(words).count();
    let before = (read("files were read anew"), read("the geoip database was read anew"));
    run.hang_up();
    eventually("everything to be read anew", || {
        let now = (read("files were read anew"), read("the geoip database was read anew"));
        (now.0 > before.0 && now.1 > before.1).then_some(())
    });
    let good = std::fs::read(places).unwrap();
    std::fs::write(places, "no database").unwrap();
    for times in 1..=3 {
        if times == 3 {
            std::fs::remove_file(places).unwrap();
        }
        run.hang_up();
        eventually("the bad database to be refused", || (read("a changed geoip database was refused") >= times).then_some(()));
        assert_eq!(refused(run, "geoip"), 1.0);
    }
    std::fs::write(places, good).unwrap();
    run.hang_up();
    eventually("the good database to be taken", || (refused(run, "geoip") == 0.0).then_some(()));
}

#[test]
fn windows_change_and_strangers_are_shown_nothing() {
    let journey = Journey::new("windows_change");
    let acme = journey.tenant("a");
    let home = journey.home().to_owned();
    let ((certificate, key), token) = (self_signed(&home, "listener"), home.join("token"));
    std::fs::write(&token, "sixteen-characters-and-more\n").unwrap();

    let config = journey.config().set("topics.partitions", 1).tenant(&acme, |t| t.set("windows.events", "60d"));
    let shorter = config.clone().without("tenant").tenant(&acme, |t| t.set("windows.events", "30d"));
    journey.set_up(&config);
    let scene_window = |job: &Lethe| job.metrics().sum("lethe_retention_window_seconds", &[("topic", &format!("{acme}.events"))]);
    let call = journey.lethe(&config).args(["retain"]);
    let file = call.config_file();
    let mut retain = call.start();
    retain.wait_until_ready();
    eventually("the first window", || (scene_window(&retain) == 60.0 * 86_400.0).then_some(()));
    journey.lethe(&shorter).args(["topics", "apply"]).finish().assert_done();
    std::fs::write(&file, shorter.to_toml()).unwrap();
    retain.hang_up();
    eventually("the new window", || (scene_window(&retain) == 30.0 * 86_400.0).then_some(()));
    // A config that is torn, and one whose windows the topics cannot keep.
    for bad in ["[[tenant]".to_owned(), shorter.clone().without("tenant").tenant(&acme, |t| t.set("windows.events", "10d")).to_toml()] {
        eventually("nothing to be refused", || (refused(&retain, "config") == 0.0).then_some(()));
        std::fs::write(&file, bad).unwrap();
        retain.hang_up();
        eventually("the bad config to be refused", || (refused(&retain, "config") == 1.0).then_some(()));
        assert!(retain.stderr().contains("the old one stays in force"), "{}", retain.stderr());
        assert_eq!(scene_window(&retain), 30.0 * 86_400.0);
        std::fs::write(&file, shorter.to_toml()).unwrap();
        retain.hang_up();
    }
    eventually("nothing to be refused", || (refused(&retain, "config") == 0.0).then_some(()));
    drop(retain);

    let open =
        shorter.clone().set("admin.tls_certificate", certificate.display().to_string()).set("admin.tls_key", key.display().to_string());
    let guarded = open.clone().set("admin.token_file", token.display().to_string());
    journey.lethe(&open).env("LETHE_RETAIN__HTTP", "0.0.0.0:1").args(["retain"]).finish().assert_refused(2, "admin.token_file must be set");
    let job = journey.lethe(&guarded).args(["retain"]).start();
    let url = |path: &str| format!("https://{}{path}", job.http());
    let authority = certificate.to_str().unwrap();
    eventually("/readyz over TLS, without a token", || (curl(&["--cacert", authority, &url("/readyz")]).0 == "200").then_some(()));
    let bearer = "Authorization: Bearer sixteen-characters-and-more";
    for path in ["/metrics", "/"] {
        assert_eq!(curl(&["--cacert", authority, &url(path)]).0, "401", "{path}");
        assert_eq!(curl(&["--cacert", authority, "--header", "Authorization: Bearer guessed", &url(path)]).0, "401", "{path}");
        let (status, body) = curl(&["--cacert", authority, "--header", bearer, &url(path)]);
        assert!(status == "200" && body.contains("lethe_"), "{path}: {status}");
        assert_eq!(curl(&["--cacert", authority, "--user", "anybody:sixteen-characters-and-more", &url(path)]).0, "200", "{path}");
    }
    assert_eq!(curl(&["--cacert", authority, "--tls-max", "1.2", &url("/readyz")]).0, "000", "TLS 1.2 is refused");
    assert!(curl(&["--cacert", authority, &url("/")]).1.contains("token is missing"));
}
