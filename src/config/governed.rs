//! Which topics exist because of the config, which of them `retain` governs and by what times, and the settings that follow.

use super::Config;
use super::tenant::TenantConfig;
use crate::lifecycle::horizon::{Governance, govern};
use crate::lifecycle::settings::{self, BrokerTimes, Derived};
use crate::model::time::DAY_MS;
use std::time::Duration;

/// How long `T.notices` are kept. Units: ms.
const NOTICES_MS: i64 = 90 * DAY_MS;
/// How long `lethe.audit` is kept: twelve months. Units: ms.
const AUDIT_MS: i64 = 366 * DAY_MS;

/// A topic whose records `retain` lets expire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Governed {
    /// Tenant id.
    pub tenant: String,
    /// `events`, `dest.meta` …
    pub short: String,
    /// The topic's name.
    pub topic: String,
    /// Its times.
    pub governance: Governance,
}

/// A topic as the config wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// The topic's name.
    pub name: String,
    /// What it is, in a few words.
    pub what: String,
    /// Partitions when it is made.
    pub partitions: u16,
    /// Settings and why.
    pub settings: Vec<Derived>,
    /// Why the brokers cannot keep its window whatever the topic's settings, if they cannot.
    pub fault: Option<String>,
}

impl Config {
    /// Every governed topic, tenant by tenant.
    ///
    /// Errors: windows that cannot be read or kept, a sentence each that names the field and what to change.
    pub fn governed(&self) -> Result<Vec<Governed>, Vec<String>> {
        let (mut found, mut faults) = (Vec::new(), Vec::new());
        for tenant in &self.tenant {
            for (field, short, window_ms) in windows(tenant, &mut faults) {
                match self.govern(tenant, &field, window_ms) {
                    Ok(governance) => {
                        found.push(Governed { tenant: tenant.id.to_string(), topic: tenant.topic(&short), short, governance });
                    }
                    Err(fault) => faults.push(fault),
                }
            }
        }
        faults.dedup();
        if faults.is_empty() { Ok(found) } else { Err(faults) }
    }

    fn govern(&self, tenant: &TenantConfig, field: &str, window_ms: i64) -> Result<Governance, String> {
        let testing = self.retain.testing;
        let lateness_ms = tenant.max_lateness_ms()?;
        // Windows of seconds beside raw windows of a day: in tests the default lateness makes room.
        let lateness_ms = if testing && tenant.max_lateness.is_empty() { lateness_ms.min(window_ms / 8) } else { lateness_ms };
        govern(window_ms, lateness_ms, i64::from(self.kafka.transaction_timeout_ms), testing).map_err(|short| {
            format!(
                "tenant {}: windows.{field}: {} is too short: tombstones must be written {} before its end (the horizon) and a row may come {} late \
                 (max_lateness); lengthen the window, or shorten max_lateness or kafka.transaction_timeout_ms",
                tenant.id,
                text(window_ms),
                text(short.horizon_ms),
                text(short.lateness_ms)
            )
        })
    }

    /// The longest that anything of a tenant may take to be gone once it is to go: its raw window, or the horizon of a topic. Units: ms.
    #[must_use]
    pub fn longest_wait_ms(&self, tenant: &str) -> i64 {
        let raw = self.tenant.iter().find(|t| t.id.as_str() == tenant).and_then(|t| t.other_window_ms("raw").ok()).unwrap_or(DAY_MS);
        let governed = self.governed().unwrap_or_default();
        let horizons = governed.iter().filter(|g| g.tenant == tenant).map(|g| g.governance.timing.horizon_ms());
        horizons.chain([raw]).max().unwrap_or(raw)
    }

    /// Every topic that the config wants, with its settings. `broker`: what the brokers do on their own.
    ///
    /// Errors: as [`Config::governed`].
    pub fn topic_plans(&self, broker: BrokerTimes) -> Result<Vec<TopicPlan>, Vec<String>> {
        let governed = self.governed()?;
        let (partitions, testing) = (self.topics.partitions, self.retain.testing);
        let plain = |name: &str, what: &str, partitions, settings| TopicPlan {
            name: name.into(),
            what: what.into(),
            partitions,
            settings,
            fault: None,
        };
        let mut plans = vec![
            plain(&self.topics.directives, "what is in force", 1, settings::directives()),
            plain(&self.topics.audit, "audit, kept twelve months", 1, settings::deleted(AUDIT_MS, broker)),
        ];
        if self.tenant.iter().any(|t| t.benchmarks) {
            plans.push(plain(&self.topics.benchmarks, "counts over several tenants", 1, settings::aggregates()));
        }
        let mut faults = Vec::new();
        for tenant in &self.tenant {
            let mut by_age = |name: String, what: &str, window: Result<i64, String>, faults: &mut Vec<String>| match window {
                Ok(ms) => plans.push(TopicPlan {
                    what: format!("{what} of {}, window {}", tenant.id, text(ms)),
                    partitions,
                    settings: settings::deleted(ms, broker),
                    fault: settings::deleted_fault(ms, broker),
                    name,
                }),
                Err(fault) => faults.push(fault),
            };
            for source in tenant.sources() {
                by_age(source, "raw events", tenant.other_window_ms("raw"), &mut faults);
            }
            by_age(tenant.topic("quarantine"), "rejected rows", tenant.other_window_ms("quarantine"), &mut faults);
            by_age(tenant.topic("notices"), "notices", Ok(NOTICES_MS), &mut faults);
            plans.push(plain(&tenant.topic("aggregates"), &format!("counts of {}", tenant.id), partitions, settings::aggregates()));
            for g in governed.iter().filter(|g| g.tenant == tenant.id.as_str()) {
                let times = &g.governance;
                let what = format!(
                    "{} of {}, window {}, horizon {}, tombstones {} after storage",
                    g.short,
                    g.tenant,
                    text(times.window_ms),
                    text(times.timing.horizon_ms()),
                    text(times.keep_ms)
                );
                plans.push(plain(&g.topic, &what, partitions, settings::compacted(&times.timing, testing)));
            }
        }
        if faults.is_empty() { Ok(plans) } else { Err(faults) }
    }
}

/// Field, short name and window of every governed topic of a tenant. Units: ms.
fn windows(tenant: &TenantConfig, faults: &mut Vec<String>) -> Vec<(String, String, i64)> {
    let mut found = Vec::new();
    for category in tenant.categories() {
        match tenant.window_ms(category) {
            Ok(Some(ms)) => found.push((category.as_str().to_owned(), category.as_str().to_owned(), ms)),
            Ok(None) => {}
            Err(fault) => faults.push(fault),
        }
    }
    match tenant.other_window_ms("dest") {
        Ok(ms) => found.extend(tenant.destinations.iter().map(|d| ("dest".to_owned(), format!("dest.{}", d.as_str()), ms))),
        Err(fault) => faults.push(fault),
    }
    found
}

/// A duration as people write it. Units: ms.
#[must_use]
pub fn text(ms: i64) -> String {
    let ms = u64::try_from(ms).unwrap_or_default();
    // Years and months are averages to humantime: days are what the config says.
    let (days, rest) = (ms / DAY_MS as u64, ms % DAY_MS as u64);
    let short = humantime::format_duration(Duration::from_millis(rest)).to_string();
    match (days, rest) {
        (0, _) => short,
        (_, 0) => format!("{days}d"),
        _ => format!("{days}d {short}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::parse;

    fn config(text: &str) -> Config {
        parse(text, std::iter::empty()).unwrap()
    }

    #[test]
    fn every_preset_can_be_kept() {
        for profile in ["server_side_tracking", "customer_feedback", "web_analytics", "ad_attribution", "affiliate"] {
            let config =
                config(&format!("[[tenant]]\nid = 'a'\nprofile = '{profile}'\ndestinations = ['meta']\n[tenant.meta]\npixel_id = '1'"));
            let governed = config.governed().unwrap();
            assert!(governed.iter().any(|g| g.topic == "a.dest.meta") && governed.iter().any(|g| g.topic == "a.logs"), "{profile}");
        }
    }

    #[test]
    fn a_window_shorter_than_its_horizon_names_what_to_change() {
        let faults = config("[[tenant]]\nid = 'a'\nprofile = 'web_analytics'\nwindows = { events = '2h' }").governed().unwrap_err();
        assert_eq!(faults.len(), 1);
        for word in ["tenant a: windows.events: 2h", "max_lateness", "kafka.transaction_timeout_ms", "horizon"] {
            assert!(faults[0].contains(word), "{}", faults[0]);
        }
    }

    #[test]
    fn seconds_are_for_tests() {
        let text = "[[tenant]]\nid = 'a'\nprofile = 'web_analytics'\nwindows = { events = '5s' }";
        assert!(config(text).governed().is_err());
        let tested = config(&format!("[retain]\ntesting = true\n{text}")).governed().unwrap();
        let events = tested.iter().find(|g| g.short == "events").unwrap();
        assert_eq!(events.governance.window_ms, 5_000);
    }

    #[test]
    fn the_plan_has_every_topic_once() {
        let plans = config("[[tenant]]\nid = 'a'\nprofile = 'web_analytics'").topic_plans(BrokerTimes::default()).unwrap();
        let mut names: Vec<&str> = plans.iter().map(|p| p.name.as_str()).collect();
        names.sort_unstable();
        let all = [
            "a.aggregates",
            "a.conversions",
            "a.events",
            "a.logs",
            "a.notices",
            "a.quarantine",
            "a.raw.web",
            "a.replay",
            "a.sessions",
            "lethe.audit",
            "lethe.directives",
        ];
        assert_eq!(names, all);
        assert!(plans.iter().all(|p| p.settings.iter().any(|d| d.name == "message.timestamp.type" && d.value == "LogAppendTime")));
        assert_eq!(plans.iter().find(|p| p.name == "lethe.directives").unwrap().partitions, 1);
    }

    #[test]
    fn durations_read_as_written() {
        for (ms, want) in [(DAY_MS * 365, "365d"), (90_000, "1m 30s"), (DAY_MS + 1, "1d 1ms"), (0, "0s")] {
            assert_eq!(text(ms), want);
        }
    }
}
