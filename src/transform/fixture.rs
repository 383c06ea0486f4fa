//! What the tests of the line stand on: rules from a tenant's configuration, a fixed key, records from payloads, output read back.

use crate::config::Config;
use crate::config::compile::{NETWORK_SCHEMA, RECORD_SCHEMA, compile};
use crate::model::header::Header;
use crate::model::keyring::{KeyEntry, Keyring};
use crate::model::pseudonym::Epoch;
use crate::model::record::{OutputRecord, RawRecords};
use crate::model::tenant::TenantId;
use crate::transform::enrich::device_table::DeviceTable;
use crate::transform::enriched::Assets;
use crate::transform::line::Transformed;
use crate::transform::rules::Rules;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The time of all tests: 2026-09-21.
pub const NOW: i64 = 1_790_000_000_000;
/// The key of all tests.
pub const KEY: [u8; 32] = [7; 32];

/// Rules of one tenant, `acme`, with these further lines of configuration.
pub fn rules(tenant: &str) -> Rules {
    let text = format!("[[tenant]]\nid = 'acme'\nprofile = 'web_analytics'\nsources = ['acme.raw.web']\n{tenant}");
    let config: Config = toml::from_str(&text).unwrap();
    let mut keyring = Keyring::default();
    let entry = KeyEntry { epoch: Epoch(1), from_ms: 0, key: Some(Zeroizing::new(KEY)) };
    keyring.tenants.insert(TenantId::try_from("acme".to_owned()).unwrap(), vec![entry]);
    compile(&config, &keyring).unwrap()
}

/// Device rules, no geography.
pub fn assets() -> Assets {
    Assets { devices: Arc::new(DeviceTable::embedded().unwrap()), geo: None }
}

/// Raw records of source 0, received `NOW`, offsets from 0.
pub fn records(payloads: &[impl AsRef<[u8]>]) -> RawRecords {
    let mut records = RawRecords::default();
    for (i, payload) in payloads.iter().enumerate() {
        records.push(0, 0, i as i64, NOW, payload.as_ref());
    }
    records
}

/// An output record with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub topic: String,
    pub partition_hash: Option<u32>,
    pub key: String,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Written {
    /// The header `lethe`: epoch, time, pseudonyms.
    pub fn header(&self) -> (u16, i64, Vec<[u8; 16]>) {
        let header = Header::read(&self.headers.iter().find(|(name, _)| *name == "lethe").unwrap().1).unwrap();
        (header.epoch.0, header.occurred_at_ms, header.identifiers().map(|p| p.0).collect())
    }

    /// The value: JSON, or Avro read by apache-avro with the schema file.
    pub fn json(&self) -> serde_json::Value {
        if self.value.first() == Some(&b'{') {
            return serde_json::from_slice(&self.value).unwrap();
        }
        let schema = if self.topic.ends_with(".network") { NETWORK_SCHEMA } else { RECORD_SCHEMA };
        let schema = apache_avro::Schema::parse_str(schema).unwrap();
        assert_eq!(self.value[..2], [0xc3, 1]);
        // Its own canonical form is canonical only once it has been read again.
        let canonical = apache_avro::Schema::parse_str(&schema.canonical_form()).unwrap();
        assert_eq!(self.value[2..10], *canonical.fingerprint::<apache_avro::rabin::Rabin>().bytes);
        let mut body = &self.value[10..];
        let value = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut body).unwrap();
        assert!(body.is_empty(), "bytes after the record");
        value.try_into().unwrap()
    }
}

/// All records of an output, in order.
pub fn written(rules: &Rules, transformed: &Transformed) -> Vec<Written> {
    let of = |chunk: &crate::model::record::OutputChunk, r: &OutputRecord| Written {
        topic: rules.topics[usize::from(r.topic.0)].name.clone(),
        partition_hash: r.partition_hash,
        key: String::from_utf8(r.key.of(&chunk.arena).to_vec()).unwrap(),
        value: r.value.of(&chunk.arena).to_vec(),
        headers: r.headers(&chunk.arena).map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
    };
    transformed.chunks.iter().flat_map(|chunk| chunk.records.iter().map(move |r| of(chunk, r))).collect()
}
