//! The least that each role needs on the brokers, by this config.

use super::Config;
use super::tenant::TenantConfig;
use crate::model::access::{Grant, Operation, Resource};
use crate::model::destination::Destination;
use crate::model::tenant::TenantId;
use Operation::{Alter, AlterConfigs, Create, Delete, Describe, DescribeConfigs, Read, Write};

/// Who works on the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// `lethe topics apply`, `pause`, `resume`, `rate-limit`, `doctor`.
    Operator,
    /// `lethe run`.
    Run,
    /// `lethe retain`.
    Retain,
    /// `lethe aggregate`.
    Aggregate,
    /// `lethe sessions`.
    Sessions,
    /// `lethe status`, and requests of data subjects and authorities.
    PrivacyOfficer,
    /// Writes a tenant's raw events.
    Producer(TenantId),
    /// Reads a tenant's pseudonymised records.
    Analyst(TenantId),
    /// Sends a tenant's records to a destination.
    Forwarder(TenantId, Destination),
}

impl Role {
    /// Its name on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Role::Operator => "operator",
            Role::Run => "run",
            Role::Retain => "retain",
            Role::Aggregate => "aggregate",
            Role::Sessions => "sessions",
            Role::PrivacyOfficer => "privacy-officer",
            Role::Producer(_) => "producer",
            Role::Analyst(_) => "analyst",
            Role::Forwarder(..) => "forwarder",
        }
    }

    /// Names of all roles, on the command line.
    pub const NAMES: [&'static str; 9] =
        ["operator", "run", "retain", "aggregate", "sessions", "privacy-officer", "producer", "analyst", "forwarder"];

    /// The tenant whose people have it; `None` for Lethe's own.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Role::Producer(tenant) | Role::Analyst(tenant) | Role::Forwarder(tenant, _) => Some(tenant),
            Role::Operator | Role::Run | Role::Retain | Role::Aggregate | Role::Sessions | Role::PrivacyOfficer => None,
        }
    }

    /// The name of the user who has this role, unless one is chosen.
    #[must_use]
    pub fn user(&self) -> String {
        match self {
            Role::Operator => "lethe-operator".into(),
            Role::Run => "lethe-run".into(),
            Role::Retain => "lethe-retain".into(),
            Role::Aggregate => "lethe-aggregate".into(),
            Role::Sessions => "lethe-sessions".into(),
            Role::PrivacyOfficer => "lethe-privacy-officer".into(),
            Role::Producer(tenant) => format!("{tenant}-producer"),
            Role::Analyst(tenant) => format!("{tenant}-analyst"),
            Role::Forwarder(tenant, destination) => format!("{tenant}-forwarder-{}", destination.as_str()),
        }
    }

    /// What it is for, in a few words.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Role::Operator => "topics apply, pause, resume, rate-limit, doctor".into(),
            Role::Run => "lethe run".into(),
            Role::Retain => "lethe retain".into(),
            Role::Aggregate => "lethe aggregate".into(),
            Role::Sessions => "lethe sessions".into(),
            Role::PrivacyOfficer => "status, requests and exports, of every tenant: directives are one topic".into(),
            Role::Producer(tenant) => format!("produces raw events of {tenant}, and can read nothing"),
            Role::Analyst(tenant) => format!("reads pseudonymised records and counts of {tenant}; groups named {tenant}.analyst…"),
            Role::Forwarder(tenant, d) => {
                format!("sends records of {tenant} to {}; groups named {tenant}.forward.{}…", d.as_str(), d.as_str())
            }
        }
    }
}

impl Config {
    /// Every role that this config knows.
    #[must_use]
    pub fn roles(&self) -> Vec<Role> {
        let mut roles = vec![Role::Operator, Role::Run, Role::Retain, Role::Aggregate, Role::Sessions, Role::PrivacyOfficer];
        for tenant in &self.tenant {
            roles.push(Role::Producer(tenant.id.clone()));
            roles.push(Role::Analyst(tenant.id.clone()));
            roles.extend(tenant.destinations.iter().map(|d| Role::Forwarder(tenant.id.clone(), *d)));
        }
        roles
    }

    /// The least that a role needs.
    #[must_use]
    pub fn grants(&self, role: &Role) -> Vec<Grant> {
        let of = |id: &TenantId| self.tenant.iter().find(|t| t.id == *id);
        let grants = match role {
            Role::Operator => self.operator(),
            Role::Run => self.run_grants(),
            Role::Retain => self.retain_grants(),
            Role::Aggregate => self.aggregate_grants(),
            Role::Sessions => self.sessions_grants(),
            Role::PrivacyOfficer => self.privacy_officer(),
            Role::Producer(id) => of(id).map_or_else(Vec::new, |t| vec![topics(t.sources(), &[Write, Describe])]),
            Role::Analyst(id) => of(id).map_or_else(Vec::new, |t| {
                let records = t.output_topics().into_iter().filter(|(short, _)| is_for_analysts(short)).map(|(_, name)| name);
                vec![topics(records.collect(), &[Read, Describe]), groups(vec![format!("{id}.analyst")], true, &[Read])]
            }),
            Role::Forwarder(id, d) => of(id).map_or_else(Vec::new, |t| {
                let bodies = vec![t.topic(&format!("dest.{}", d.as_str()))];
                vec![topics(bodies, &[Read, Describe]), groups(vec![format!("{id}.forward.{}", d.as_str())], true, &[Read])]
            }),
        };
        grants.into_iter().filter(|g| g.resource == Resource::Cluster || !g.names.is_empty()).collect()
    }

    fn sources(&self) -> Vec<String> {
        self.tenant.iter().flat_map(TenantConfig::sources).collect()
    }

    fn outputs(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let all = self.tenant.iter().flat_map(TenantConfig::output_topics);
        all.filter(|(short, _)| wanted(short)).map(|(_, name)| name).collect()
    }

    /// Lethe's own topics, as far as this config has them.
    fn own(&self) -> Vec<String> {
        let benchmarks = self.tenant.iter().any(|t| t.benchmarks).then(|| self.topics.benchmarks.clone());
        [self.topics.directives.clone(), self.topics.audit.clone()].into_iter().chain(benchmarks).collect()
    }

    fn run_grants(&self) -> Vec<Grant> {
        let mut read = self.sources();
        read.push(self.topics.directives.clone());
        vec![
            topics(read, &[Read, Describe]),
            topics(self.outputs(|_| true), &[Write, Describe]),
            groups(vec![self.run.group.clone()], false, &[Read, Describe]),
            readers(),
            transactions(format!("{}-", self.run.group)),
        ]
    }

    fn retain_grants(&self) -> Vec<Grant> {
        let trimmed = self.tenant.iter().filter(|t| t.trim_raw).flat_map(TenantConfig::sources).collect();
        // What a terminated tenant had goes, switched off by now or not: brokers do not even name a topic to who may not describe it.
        let ended: Vec<String> = self.tenant.iter().flat_map(TenantConfig::topics_ever).collect();
        let mut told = self.outputs(|short| short == "notices");
        told.push(self.topics.audit.clone());
        let mut others = self.sources();
        others.extend(self.outputs(|short| !is_governed(short)));
        others.extend(self.own());
        vec![
            topics(self.outputs(is_governed), &[Read, Write, Describe, DescribeConfigs]),
            // Settings of every topic are checked before the first record; raw topics and directives are read up to what matters.
            topics(others, &[Describe, DescribeConfigs]),
            topics([self.sources(), vec![self.topics.directives.clone(), self.topics.audit.clone()]].concat(), &[Read]),
            topics(told, &[Write]),
            topics(trimmed, &[Write]),
            topics(ended, &[Describe, Delete]),
            groups(vec![self.retain.group.clone()], false, &[Read, Describe]),
            groups(self.groups_beside_retain(), false, &[Read, Describe]),
            readers(),
            transactions(format!("{}-", self.retain.group)),
            Grant { resource: Resource::Cluster, names: Vec::new(), prefixed: false, operations: vec![DescribeConfigs] },
        ]
    }

    /// Groups whose members may write for a tenant, or have committed something for its topics.
    fn groups_beside_retain(&self) -> Vec<String> {
        let own = [&self.run.group, &self.sessions.group, &self.aggregate.group];
        let all: std::collections::BTreeSet<String> = self.run.groups.iter().chain(own).cloned().collect();
        all.into_iter().collect()
    }

    fn aggregate_grants(&self) -> Vec<Grant> {
        let mut counts = self.outputs(|short| short == "aggregates");
        counts.extend(self.tenant.iter().any(|t| t.benchmarks).then(|| self.topics.benchmarks.clone()));
        let mut read = self.outputs(|short| short == "events");
        read.push(self.topics.directives.clone());
        vec![
            topics(read, &[Read, Describe]),
            // What is published is read back: no count is published twice.
            topics(counts, &[Read, Write, Describe]),
            groups(vec![self.aggregate.group.clone()], false, &[Read, Describe]),
            readers(),
            Grant {
                resource: Resource::TransactionalId,
                names: vec![self.aggregate.group.clone()],
                prefixed: false,
                operations: vec![Write, Describe],
            },
        ]
    }

    fn sessions_grants(&self) -> Vec<Grant> {
        let mut read = self.outputs(|short| short == "events");
        read.push(self.topics.directives.clone());
        vec![
            topics(read, &[Read, Describe]),
            // The state is what is written: it is read back on assignment.
            topics(self.outputs(|short| short == "sessions"), &[Read, Write, Describe]),
            groups(vec![self.sessions.group.clone()], false, &[Read, Describe]),
            readers(),
            transactions(format!("{}-", self.sessions.group)),
        ]
    }

    fn operator(&self) -> Vec<Grant> {
        let mut all = self.sources();
        all.extend(self.outputs(|_| true));
        all.extend(self.own());
        let both: Vec<String> = self.run.groups.iter().chain([&self.retain.group]).cloned().collect();
        vec![
            topics(all, &[Create, Alter, Describe, DescribeConfigs, AlterConfigs]),
            topics(vec![self.topics.directives.clone()], &[Read, Write]),
            // `doctor` looks at the oldest record of each governed topic and reads of it the time alone.
            topics(self.outputs(is_governed), &[Read]),
            // Whether a group has members may take a commit to find out.
            groups(both, false, &[Read, Describe]),
            readers(),
            Grant { resource: Resource::Cluster, names: Vec::new(), prefixed: false, operations: vec![Describe, DescribeConfigs] },
        ]
    }

    fn privacy_officer(&self) -> Vec<Grant> {
        let both: Vec<String> = self.run.groups.iter().chain([&self.retain.group]).cloned().collect();
        vec![
            topics(vec![self.topics.directives.clone()], &[Read, Write, Describe]),
            topics([self.outputs(|_| true), vec![self.topics.audit.clone()]].concat(), &[Read, Describe]),
            // An export tells the audit before the first record leaves.
            topics(vec![self.topics.audit.clone()], &[Write]),
            transactions(format!("{}-export", self.retain.group)),
            topics(self.sources(), &[Describe]),
            groups(both, false, &[Describe]),
            readers(),
        ]
    }
}

/// Records without clear values: neither the clear network identifiers, nor what goes to destinations, nor what only officers read.
fn is_for_analysts(short: &str) -> bool {
    !short.starts_with("dest.") && !["network", "quarantine", "notices"].contains(&short)
}

/// Whether `retain` lets its records expire, by its short name.
fn is_governed(short: &str) -> bool {
    !["quarantine", "notices", "aggregates"].contains(&short)
}

fn topics(names: Vec<String>, operations: &[Operation]) -> Grant {
    Grant { resource: Resource::Topic, names, prefixed: false, operations: operations.to_vec() }
}

fn groups(names: Vec<String>, prefixed: bool, operations: &[Operation]) -> Grant {
    Grant { resource: Resource::Group, names, prefixed, operations: operations.to_vec() }
}

/// Readers outside of any group: librdkafka asks who coordinates theirs all the same, and takes a refusal for an error.
fn readers() -> Grant {
    groups(vec!["lethe-".into()], true, &[Describe])
}

fn transactions(prefix: String) -> Grant {
    Grant { resource: Resource::TransactionalId, names: vec![prefix], prefixed: true, operations: vec![Write, Describe] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::parse;

    fn config() -> Config {
        let tenant =
            |id: &str| format!("[[tenant]]\nid='{id}'\nprofile='web_analytics'\ndestinations=['meta']\n[tenant.meta]\npixel_id='1'\n");
        parse(&(tenant("a") + &tenant("ab")), std::iter::empty()).unwrap()
    }

    #[test]
    fn a_tenants_people_are_granted_nothing_of_another() {
        let config = config();
        let tenant = |id: &str| TenantId::try_from(id.to_string()).unwrap();
        for role in [Role::Producer(tenant("a")), Role::Analyst(tenant("a")), Role::Forwarder(tenant("a"), Destination::ALL[0])] {
            for grant in config.grants(&role) {
                assert!(!grant.prefixed || grant.names.iter().all(|n| n.starts_with("a.")), "{role:?}: {grant:?}");
                assert!(grant.names.iter().all(|n| n.starts_with("a.")), "{role:?}: {grant:?}");
                assert_ne!(grant.resource, Resource::Cluster);
            }
        }
    }

    #[test]
    fn nobody_but_the_jobs_and_officers_sees_clear_values() {
        let config = config();
        let analyst = config.grants(&Role::Analyst(TenantId::try_from("a".to_string()).unwrap()));
        let names: Vec<&String> = analyst.iter().flat_map(|g| &g.names).collect();
        assert!(names.iter().any(|n| *n == "a.events"));
        assert!(names.iter().all(|n| !n.contains("raw") && !n.contains("dest") && !n.contains("network")), "{names:?}");
    }

    #[test]
    fn every_governed_topic_is_retains() {
        let config = config();
        let grants = config.grants(&Role::Retain);
        for governed in config.governed().unwrap() {
            assert!(grants[0].names.contains(&governed.topic), "{}", governed.topic);
        }
        assert_eq!(grants[0].names.len(), config.governed().unwrap().len());
    }

    #[test]
    fn retain_sees_and_deletes_what_was_switched_off() {
        let ended = |grant: &Grant| grant.operations.contains(&Delete) && grant.operations.contains(&Describe);
        let grants = config().grants(&Role::Retain);
        let names: Vec<&String> = grants.iter().filter(|g| ended(g)).flat_map(|g| &g.names).collect();
        for name in ["a.dest.tiktok", "a.network", "ab.dest.meta", "ab.events", "a.notices", "a.raw.web"] {
            assert!(names.iter().any(|n| *n == name), "{name}: {names:?}");
        }
    }
}
