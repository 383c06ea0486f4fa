//! `lethe topics acls`: the commands that give each role the least it needs, and nothing else.

use super::Failure;
use crate::config::Config;
use crate::config::roles::Role;
use crate::model::access::{Grant, Resource};
use crate::model::tenant::TenantId;
use crate::ops::say::say;

/// Which roles, and how the commands look.
pub struct Wish {
    /// Only this role, by its name.
    pub role: Option<String>,
    /// Only the people of this tenant.
    pub tenant: Option<TenantId>,
    /// Name of the command: `kafka-acls.sh`, `kafka-acls`.
    pub command: String,
}

/// Prints the commands. Errors: the config knows no such tenant or role.
pub fn acls(config: &Config, wish: &Wish) -> Result<(), Failure> {
    if let Some(unknown) = wish.tenant.as_ref().filter(|id| config.tenant.iter().all(|t| t.id != **id)) {
        return Err(Failure::Usage(format!("the config has no tenant {unknown}")));
    }
    let roles: Vec<Role> = config.roles().into_iter().filter(|role| wanted(role, wish)).collect();
    if roles.is_empty() {
        return Err(Failure::Usage(
            "the config knows no such role: a forwarder needs a destination, Lethe's own roles have no tenant".into(),
        ));
    }
    for role in roles {
        say!("# {}: {}", role.user(), role.what());
        for grant in config.grants(&role) {
            say!("{}", line(&wish.command, &config.kafka.bootstrap_servers, &role.user(), &grant));
        }
    }
    Ok(())
}

/// The roles by their names on the command line. Errors: the name of one that does not exist.
pub fn roles(config: &Config, names: &[String]) -> Result<Vec<Role>, Failure> {
    let found: Vec<Role> = config.roles().into_iter().filter(|role| names.iter().any(|name| name == role.name())).collect();
    match names.iter().find(|name| found.iter().all(|role| role.name() != name.as_str())) {
        Some(unknown) => Err(Failure::Usage(format!("this config has nobody with the role {unknown}"))),
        None => Ok(found),
    }
}

fn wanted(role: &Role, wish: &Wish) -> bool {
    let of_role = wish.role.as_ref().is_none_or(|name| name == role.name());
    of_role && wish.tenant.as_ref().is_none_or(|id| role.tenant() == Some(id))
}

/// One command. Names of tenants, topics and groups need no quotes: Kafka takes letters, digits, `.`, `_` and `-` only.
fn line(command: &str, bootstrap: &str, user: &str, grant: &Grant) -> String {
    let mut line = format!("{command} --bootstrap-server {bootstrap} --add --allow-principal User:{user}");
    for operation in &grant.operations {
        line.push_str(&format!(" --operation {operation}"));
    }
    if grant.prefixed {
        line.push_str(" --resource-pattern-type prefixed");
    }
    let option = match grant.resource {
        Resource::Topic => "--topic",
        Resource::Group => "--group",
        Resource::TransactionalId => "--transactional-id",
        Resource::Cluster => "--cluster",
    };
    match grant.names.as_slice() {
        [] => line.push_str(&format!(" {option}")),
        names => names.iter().for_each(|name| line.push_str(&format!(" {option} {name}"))),
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::access::Operation;

    #[test]
    fn a_command_is_as_kafkas_tool_takes_it() {
        let grant = |resource, names: &[&str], prefixed, operations: &[Operation]| Grant {
            resource,
            names: names.iter().map(ToString::to_string).collect(),
            prefixed,
            operations: operations.to_vec(),
        };
        let topics = grant(Resource::Topic, &["a.raw.web", "a.raw.app"], false, &[Operation::Write, Operation::Describe]);
        assert_eq!(
            line("kafka-acls.sh", "b:9092", "u", &topics),
            "kafka-acls.sh --bootstrap-server b:9092 --add --allow-principal User:u --operation Write --operation Describe --topic a.raw.web --topic a.raw.app"
        );
        let ids = grant(Resource::TransactionalId, &["run-"], true, &[Operation::Write]);
        assert!(line("k", "b:1", "u", &ids).ends_with("--operation Write --resource-pattern-type prefixed --transactional-id run-"));
        let cluster = grant(Resource::Cluster, &[], false, &[Operation::DescribeConfigs]);
        assert!(line("k", "b:1", "u", &cluster).ends_with("--operation DescribeConfigs --cluster"));
    }
}
