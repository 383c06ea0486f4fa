//! Config files for journeys, built field by field.

use std::path::Path;
use toml::{Table, Value};

/// A `config.toml` in the making.
#[derive(Clone)]
pub struct TestConfig {
    table: Table,
}

/// One `[[tenant]]` of it.
#[derive(Clone)]
pub struct TestTenant {
    table: Table,
}

impl TestConfig {
    /// The least that runs: groups of its own, keys under `home`, and the floors lowered so that windows of seconds are possible.
    pub fn new(bootstrap: &str, namespace: &str, home: &Path) -> Self {
        let run = format!("{namespace}-run");
        Self { table: Table::new() }
            .set("kafka.bootstrap_servers", bootstrap)
            .set("run.group", run.as_str())
            .set("run.groups", vec![run.as_str()])
            .set("retain.group", format!("{namespace}-retain"))
            .set("retain.testing", true)
            // The broker is shared, and its topics for all tenants would be too.
            .set("topics.directives", format!("{namespace}.directives"))
            .set("topics.audit", format!("{namespace}.audit"))
            .set("topics.replication_factor", 1)
            .set("keys.file", home.join("keyring.toml").display().to_string())
            .set("keys.signing_file", home.join("signing.key").display().to_string())
    }

    /// Sets a field, as in `set("run.batch_events", 100)`.
    #[track_caller]
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        put(&mut self.table, path, value.into());
        self
    }

    /// Takes a field or a whole table out.
    #[track_caller]
    pub fn without(mut self, path: &str) -> Self {
        let (parents, name) = path.rsplit_once('.').unwrap_or(("", path));
        within(&mut self.table, parents).remove(name);
        self
    }

    /// Adds a tenant with one source, `<id>.raw.web`, and whatever `describe` sets.
    #[track_caller]
    pub fn tenant(mut self, id: &str, describe: impl FnOnce(TestTenant) -> TestTenant) -> Self {
        let plain =
            TestTenant { table: Table::new() }.set("id", id).set("profile", "web_analytics").set("sources", vec![format!("{id}.raw.web")]);
        let tenants = self.table.entry("tenant").or_insert_with(|| Value::Array(Vec::new()));
        tenants.as_array_mut().expect("[[tenant]] is a list").push(Value::Table(describe(plain).table));
        self
    }

    /// The ids of its tenants.
    pub fn tenants(&self) -> Vec<String> {
        let tenants = self.table.get("tenant").and_then(Value::as_array).into_iter().flatten();
        tenants.filter_map(|tenant| Some(tenant.get("id")?.as_str()?.to_owned())).collect()
    }

    /// The text of the file.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.table).expect("a table is TOML")
    }
}

impl TestTenant {
    /// Sets a field, as in `set("windows.events", "5s")`.
    #[track_caller]
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        put(&mut self.table, path, value.into());
        self
    }
}

#[track_caller]
fn put(table: &mut Table, path: &str, value: Value) {
    let (parents, name) = path.rsplit_once('.').unwrap_or(("", path));
    within(table, parents).insert(name.to_owned(), value);
}

#[track_caller]
fn within<'t>(table: &'t mut Table, path: &str) -> &'t mut Table {
    path.split('.').filter(|name| !name.is_empty()).fold(table, |table, name| {
        let inner = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
        inner.as_table_mut().unwrap_or_else(|| panic!("{name} is a field, not a table"))
    })
}

#[test]
fn a_config_is_written_as_people_write_it() {
    let config = TestConfig::new("127.0.0.1:9092", "n", Path::new("somewhere"))
        .set("run.batch_events", 100)
        .without("keys.signing_file")
        .tenant("acme", |tenant| tenant.set("windows.events", "5s").set("destinations", vec!["meta"]));
    let read: Table = config.to_toml().parse().unwrap();
    assert_eq!(read["run"]["batch_events"].as_integer(), Some(100));
    assert_eq!(read["run"]["groups"][0].as_str(), Some("n-run"));
    assert!(read["keys"].get("signing_file").is_none());
    assert_eq!(read["tenant"][0]["windows"]["events"].as_str(), Some("5s"));
    assert_eq!(read["tenant"][0]["sources"][0].as_str(), Some("acme.raw.web"));
    assert_eq!(config.tenants(), ["acme"]);
}
