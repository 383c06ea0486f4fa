//! Permissions: what this user may do, against the least that its role needs.

use super::Finding;
use crate::config::Config;
use crate::config::roles::Role;
use crate::kafka::client::Fault;
use crate::kafka::permissions::{Authorised, Permissions};
use crate::kafka::transaction::TransactionalProducer;
use crate::model::access::{Grant, Operation, Resource};
use std::collections::BTreeMap;

/// How many missing permissions of one kind are named.
const NAMED_MAX: usize = 3;

pub(super) fn look(config: &Config, roles: &[Role]) -> Vec<Finding> {
    let permissions = match Permissions::connect(&config.kafka) {
        Ok(permissions) => permissions,
        Err(fault) => return vec![Finding::warn("permissions", fault.to_string(), "")],
    };
    roles.iter().map(|role| of_role(config, role, &permissions)).collect()
}

fn of_role(config: &Config, role: &Role, permissions: &Permissions) -> Finding {
    let grants = config.grants(role);
    let mend = format!("lethe topics acls --role {}, and run what it prints", role.name());
    match missing(config, &grants, permissions) {
        Err(fault) => Finding::warn("permissions", format!("{}: the brokers do not tell: {fault}", role.user()), mend),
        Ok((lacks, _)) if !lacks.is_empty() => {
            let more = if lacks.len() > NAMED_MAX { format!("; and {} more", lacks.len() - NAMED_MAX) } else { String::new() };
            let named = lacks.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join("; ");
            Finding::fail("permissions", format!("for `{}` this user lacks {named}{more}", role.name()), mend)
        }
        Ok((_, asked)) => Finding::pass("permissions", format!("for `{}` this user may do what it must ({asked} looked at)", role.name())),
    }
}

/// What is missing, a phrase each, and how many permissions were looked at.
fn missing(config: &Config, grants: &[Grant], permissions: &Permissions) -> Result<(Vec<String>, usize), Fault> {
    let names = |resource: Resource| -> Vec<String> {
        let mut names: Vec<String> =
            grants.iter().filter(|g| g.resource == resource && !g.prefixed).flat_map(|g| g.names.iter().cloned()).collect();
        names.sort();
        names.dedup();
        names
    };
    let (topics, groups) = (names(Resource::Topic), names(Resource::Group));
    let topics = if topics.is_empty() { BTreeMap::new() } else { permissions.of_topics(&topics)? };
    let groups = if groups.is_empty() { BTreeMap::new() } else { permissions.of_groups(&groups)? };
    let (mut lacks, mut asked) = (Vec::new(), 0);
    for grant in grants.iter().filter(|g| !g.prefixed) {
        let (told, what) = match grant.resource {
            Resource::Topic => (&topics, "topic"),
            Resource::Group => (&groups, "group"),
            _ => continue,
        };
        for name in &grant.names {
            asked += grant.operations.len();
            match told.get(name) {
                Some(Authorised::Operations(may)) => {
                    let lacking: Vec<String> = grant.operations.iter().filter(|o| !may.contains(o)).map(Operation::to_string).collect();
                    if !lacking.is_empty() {
                        lacks.push(format!("{} on {what} {name}", lacking.join(", ")));
                    }
                }
                Some(Authorised::Hidden) => lacks.push(format!("every permission on {what} {name}")),
                // A topic that is missing is told by another check; a group is made by its first member.
                Some(Authorised::Missing | Authorised::Unknown) | None => {}
            }
        }
    }
    // One that is no prefix is a process's own, and asking with it would fence that process.
    for grant in grants.iter().filter(|g| g.resource == Resource::TransactionalId && g.prefixed) {
        for prefix in &grant.names {
            asked += grant.operations.len();
            // An id of its own: nobody who works is fenced by it.
            if let Err(fault) = TransactionalProducer::connect(&config.kafka, &format!("{prefix}doctor")) {
                lacks.push(format!("Write on transactional ids {prefix}… ({fault})"));
            }
        }
    }
    Ok((lacks, asked))
}
