//! What the targets stand on: one tenant with every destination, a fixed key, rights in force, made once.

use lethe::config::compile::{RAW_EVENT_SCHEMA, compile};
use lethe::config::load;
use lethe::model::directive::InForce;
use lethe::model::keyring::{KeyEntry, Keyring};
use lethe::model::pseudonym::Epoch;
use lethe::transform::avro::single_object_prefix;
use lethe::transform::decode::{SchemaId, compile_avro};
use lethe::transform::enrich::device_table::DeviceTable;
use lethe::transform::enriched::Assets;
use lethe::transform::gates::Gates;
use lethe::transform::rules::Rules;
use std::sync::{Arc, OnceLock};

/// The time of all targets: 2026-09-21.
pub const NOW_MS: i64 = 1_790_000_000_000;
/// The registry's id of the raw event's schema.
pub const REGISTRY_ID: u32 = 1;

pub const CONFIG: &str = r#"
[[tenant]]
id = "acme"
profile = "ad_attribution"
destinations = ["meta", "google_ads", "google_ads_enhancement", "google_data_manager", "tiktok", "ga4"]
custom = ["plan", "note"]
network = true
city = true
zip_prefix = true
special_categories = true
[tenant.windows]
feedback = "30d"
replay = "1d"
media = "1d"
network = "3d"
[tenant.meta]
pixel_id = "1"
[tenant.google_ads]
customer_id = "1"
conversion_actions = { purchase = "2" }
[tenant.tiktok]
pixel_code = "P"
[tenant.ga4]
measurement_id = "G-1"
ip_override = true
"#;

pub struct World {
    pub rules: Rules,
    pub assets: Assets,
    pub gates: Gates,
    pub avro_prefix: Vec<u8>,
}

pub fn keyring(ids: impl Iterator<Item = lethe::model::tenant::TenantId>) -> Keyring {
    let entry = || KeyEntry { epoch: Epoch(1), from_ms: 0, key: Some([7; 32].into()) };
    Keyring { tenants: ids.map(|id| (id, vec![entry()])).collect() }
}

/// The tenant's rules, with the raw event's schema under an id of a registry too.
pub fn rules() -> Rules {
    let config = load::parse(CONFIG, std::iter::empty()).unwrap();
    assert_eq!(config.validate(), Vec::<String>::new());
    let mut rules = compile(&config, &keyring(config.tenant.iter().map(|t| t.id.clone()))).unwrap();
    rules.schemas.learn(SchemaId::Registry(REGISTRY_ID), Some(std::sync::Arc::new(compile_avro(RAW_EVENT_SCHEMA).unwrap())));
    rules
}

pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let rules = rules();
        let mut in_force = InForce::default();
        in_force.apply(
            0,
            NOW_MS,
            b"acme/erase/5f0c2a9e3b7d4c61a8e2f19b0d6c7e84",
            Some(include_bytes!("../../schemas/directive/erase.json")),
        );
        let gates = Gates::build(&in_force, &rules);
        assert!(gates.concern(0), "a right is in force");
        let assets = Assets { devices: Arc::new(DeviceTable::embedded().unwrap()), geo: None };
        World { rules, assets, gates, avro_prefix: single_object_prefix(RAW_EVENT_SCHEMA).unwrap() }
    })
}
