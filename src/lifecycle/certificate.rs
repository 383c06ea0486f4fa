//! The certificate: what was erased, what was read to see it gone, and what is only inferred; signed, and verifiable with nothing but a public key.

use super::audit::{Found, PlaceAt, SweptRange};
use super::request::Request;
use super::signed::{SignatureFault, object, sha256_hex, sign, verify};
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a client cannot see, in words that stand in every certificate.
const STATEMENTS: [&str; 5] = [
    "observed: at read_back_ms no record of the named identifiers that occurred up to cutoff_ms was in the listed offset ranges, records of open and \
     aborted transactions included, and no tombstone written for them either",
    "observed: the raw topics begin after everything they held when every worker had taken the request in",
    "inferred: replaced and deleted log files are gone from the leaders' disks at bytes_gone_ms, by the brokers' file.delete.delay.ms",
    "inferred: followers, which clean independently and cannot be read, did as the leaders; the replicas in sync were all replicas whenever looked at, \
     from the tombstones to this certificate",
    "not covered: backups and mirrors of the cluster, and what was sent to destinations before the request",
];

/// The same for a termination.
const ENDED: [&str; 4] = [
    "observed: at read_back_ms none of the listed topics was there, and no consumer group of Lethe had an offset for one of them",
    "observed: the keys of the tenant were destroyed in the keyring of the process that signs this; copies of it elsewhere are the operator's",
    "inferred: deleted log files are gone from all replicas' disks at bytes_gone_ms, by the brokers' file.delete.delay.ms",
    "not covered: backups and mirrors of the cluster, and what was sent to destinations before the request",
];

/// A commitment to a pseudonym: whoever has the salt can check that it was meant, nobody else. Shape: SHA-256 of salt ‖ pseudonym, both as text, in hex.
#[must_use]
pub fn commitment(salt: &str, pseudonym: &str) -> String {
    sha256_hex(format!("{salt}{pseudonym}").as_bytes())
}

/// What a broker says about one topic. Units: ms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicFacts {
    /// Topic.
    pub topic: String,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// Fewest replicas of a partition.
    pub replicas: usize,
    /// Fewest replicas in sync of a partition.
    pub in_sync: usize,
}

/// When what was done. Units: ms since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// The directive was appended.
    pub received_ms: i64,
    /// `retain` took it in.
    pub accepted_ms: i64,
    /// Every worker had taken it in.
    pub suppressed_ms: i64,
    /// The last tombstone was committed.
    pub swept_ms: i64,
    /// The topics were read again and nothing was left.
    pub read_back_ms: i64,
    /// Replaced files are gone from disks.
    pub bytes_gone_ms: i64,
    /// The certificate was written.
    pub certified_ms: i64,
}

/// What was ended with a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When everything had to be gone. Units: ms since the epoch.
    pub deadline_ms: i64,
    /// Topics that were deleted.
    pub topics: Vec<String>,
    /// Consumer groups that have no offset for them any more.
    pub groups: Vec<String>,
    /// Keys that were destroyed.
    pub keys: usize,
}

fn erase() -> String {
    "erase".into()
}

/// A certificate, unsigned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// `certificate`.
    #[serde(rename = "type")]
    pub kind: String,
    /// 1.
    pub version: u32,
    /// What was asked for: `erase` or `terminate`.
    #[serde(rename = "kind", default = "erase")]
    pub order: String,
    /// The request's id.
    pub request: String,
    /// Tenant id.
    pub tenant: String,
    /// Place of the directive in `lethe.directives`.
    pub directive_offset: i64,
    /// Records that occurred up to then. Units: ms since the epoch.
    pub cutoff_ms: i64,
    /// See [`commitment`]; none where the request came without.
    pub commitments: Vec<String>,
    /// How many pseudonyms were named.
    pub pseudonyms: usize,
    /// What the sweeps found.
    pub found: Found,
    /// Where it was read and written.
    pub ranges: Vec<SweptRange>,
    /// Raw partitions, and the offset that their beginning has passed.
    pub raw: Vec<PlaceAt>,
    /// What the brokers say.
    pub topics: Vec<TopicFacts>,
    /// When.
    pub times: Times,
    /// Of a termination: what was ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// What was observed, and what is inferred.
    pub statements: Vec<String>,
}

impl Certificate {
    /// What every certificate says, and the statements of an erasure; of `times`, those that the request does not know. Errors: `None` while not
    /// every worker has taken the request in. Units: ms since the epoch.
    #[must_use]
    pub fn begin(name: &str, request: &Request, cutoff_ms: i64, times: Times) -> Option<Certificate> {
        let Request { received_ms, accepted_ms, suppressed_ms, .. } = *request;
        Some(Certificate {
            kind: "certificate".into(),
            version: 1,
            order: request.kind.clone(),
            request: name.to_owned(),
            tenant: request.tenant.clone(),
            directive_offset: request.offset,
            cutoff_ms,
            commitments: Vec::new(),
            pseudonyms: 0,
            found: request.found,
            ranges: Vec::new(),
            raw: Vec::new(),
            topics: Vec::new(),
            times: Times { received_ms, accepted_ms, suppressed_ms: suppressed_ms?, ..times },
            ended: None,
            statements: Certificate::statements(),
        })
    }

    /// The statements that stand in every certificate of erasure.
    #[must_use]
    pub fn statements() -> Vec<String> {
        STATEMENTS.iter().map(|s| (*s).to_owned()).collect()
    }

    /// The statements that stand in every certificate of termination.
    #[must_use]
    pub fn statements_of_end() -> Vec<String> {
        ENDED.iter().map(|s| (*s).to_owned()).collect()
    }

    /// Signs it.
    #[must_use]
    pub fn signed(&self, key: &SigningKey) -> Value {
        let mut members = object(self).unwrap_or_default();
        sign(&mut members, key);
        Value::Object(members)
    }
}

/// Why a certificate does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// It is not JSON, or not a certificate.
    #[error("is no certificate of Lethe")]
    NotOne,
    /// Its signature does not hold.
    #[error("does not hold: {0}")]
    Signature(#[from] SignatureFault),
}

/// Verifies a certificate. Errors: see [`CertificateFault`]; the signature is looked at first.
pub fn check(text: &[u8], key: &VerifyingKey) -> Result<Certificate, CertificateFault> {
    let members: Map<String, Value> = serde_json::from_slice(text).map_err(|_| CertificateFault::NotOne)?;
    verify(&members, key)?;
    let certificate: Certificate = serde_json::from_value(Value::Object(members)).map_err(|_| CertificateFault::NotOne)?;
    if certificate.kind == "certificate" && certificate.version == 1 { Ok(certificate) } else { Err(CertificateFault::NotOne) }
}

/// The certificate for people. Shape: lines of text.
#[must_use]
pub fn text(c: &Certificate) -> String {
    let t = &c.times;
    if let Some(ended) = &c.ended {
        return text_of_end(c, ended);
    }
    let mut out = format!(
        "Certificate of erasure\n\nrequest        {}\ntenant         {}\nreceived       {}\ncovers         records that occurred up to {}\nidentifiers    {} pseudonyms, {} commitments\n",
        c.request,
        c.tenant,
        time(t.received_ms),
        time(c.cutoff_ms),
        c.pseudonyms,
        c.commitments.len()
    );
    out.push_str(&format!(
        "erased         {} keys in {} partitions\n",
        c.found.erased,
        c.ranges.iter().filter(|r| r.tombstones > 0).count()
    ));
    stages(&mut out, t, "swept");
    out.push_str("\nRead and found empty of them\n");
    for r in &c.ranges {
        out.push_str(&format!("  {} partition {}: offsets {} to {}, {} tombstones\n", r.topic, r.partition, r.from, r.to, r.tombstones));
    }
    out.push_str("\nRaw partitions begin after\n");
    for p in &c.raw {
        out.push_str(&format!("  {} partition {}: offset {}\n", p.topic, p.partition, p.offset));
    }
    out.push_str("\nBrokers\n");
    for f in &c.topics {
        out.push_str(&format!(
            "  {}: {} of {} replicas in sync, file.delete.delay.ms {}, delete.retention.ms {}\n",
            f.topic, f.in_sync, f.replicas, f.file_delete_delay_ms, f.delete_retention_ms
        ));
    }
    grounds(&mut out, c);
    out
}

fn text_of_end(c: &Certificate, ended: &Ended) -> String {
    let mut out = format!(
        "Certificate of termination\n\nrequest        {}\ntenant         {}\nreceived       {}\ndeadline       {}\nkeys           {} destroyed\n",
        c.request,
        c.tenant,
        time(c.times.received_ms),
        time(ended.deadline_ms),
        ended.keys
    );
    stages(&mut out, &c.times, "deleted");
    out.push_str("\nDeleted topics\n");
    ended.topics.iter().for_each(|topic| out.push_str(&format!("  {topic}\n")));
    out.push_str("\nConsumer groups without an offset for them\n");
    ended.groups.iter().for_each(|group| out.push_str(&format!("  {group}\n")));
    grounds(&mut out, c);
    out
}

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| "-".to_owned(), |t| t.to_string())
}

fn stages(out: &mut String, t: &Times, gone: &str) {
    for (what, at) in [
        ("suppressed", t.suppressed_ms),
        (gone, t.swept_ms),
        ("read back", t.read_back_ms),
        ("bytes gone", t.bytes_gone_ms),
        ("certified", t.certified_ms),
    ] {
        out.push_str(&format!("{what:<14} {}\n", time(at)));
    }
}

fn grounds(out: &mut String, c: &Certificate) {
    out.push_str("\nWhat this rests on\n");
    c.statements.iter().for_each(|s| out.push_str(&format!("  {s}\n")));
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../schemas/certificate/example.json");
    const BAD: &str = include_str!("../../schemas/certificate/bad.json");

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[3; 32])
    }

    /// The example in the schemas is this one, signed with the key above.
    fn example() -> Certificate {
        Certificate {
            kind: "certificate".into(),
            version: 1,
            order: erase(),
            request: "5f0c2a9e3b7d4c61a8e2f19b0d6c7e84".into(),
            tenant: "acme".into(),
            directive_offset: 41,
            cutoff_ms: 1_790_000_300_000,
            commitments: vec![commitment("00112233445566778899aabbccddeeff", "1.AAECAwQFBgcICQoLDA0ODw")],
            pseudonyms: 1,
            found: Found { erased: 12, held: 0, other_identifiers: 1 },
            ranges: vec![SweptRange {
                topic: "acme.events".into(),
                partition: 0,
                from: 0,
                to: 120_344,
                tombstones_from: 120_332,
                tombstones_to: 120_345,
                tombstones: 12,
            }],
            raw: vec![PlaceAt { topic: "acme.raw.web".into(), partition: 0, offset: 98_100 }],
            topics: vec![TopicFacts {
                topic: "acme.events".into(),
                file_delete_delay_ms: 60_000,
                delete_retention_ms: 3_600_000,
                max_compaction_lag_ms: 3_600_000,
                replicas: 3,
                in_sync: 3,
            }],
            times: Times {
                received_ms: 1_790_000_000_000,
                accepted_ms: 1_790_000_001_000,
                suppressed_ms: 1_790_000_002_000,
                swept_ms: 1_790_000_003_000,
                read_back_ms: 1_790_090_000_000,
                bytes_gone_ms: 1_790_090_060_000,
                certified_ms: 1_790_090_061_000,
            },
            ended: None,
            statements: Certificate::statements(),
        }
    }

    fn ended() -> Certificate {
        let ended = Ended {
            deadline_ms: 1_792_592_000_000,
            topics: ["acme.events", "acme.raw.web"].map(str::to_owned).to_vec(),
            groups: vec!["lethe-run".into()],
            keys: 2,
        };
        let nothing = Certificate { commitments: Vec::new(), ranges: Vec::new(), raw: Vec::new(), topics: Vec::new(), ..example() };
        Certificate {
            order: "terminate".into(),
            pseudonyms: 0,
            found: Found::default(),
            ended: Some(ended),
            statements: Certificate::statements_of_end(),
            ..nothing
        }
    }

    #[test]
    fn a_termination_has_its_own_words_and_its_schemas_example_verifies() {
        let made = serde_json::to_string_pretty(&ended().signed(&key())).unwrap();
        assert_eq!(include_str!("../../schemas/certificate/terminate.json").trim_end(), made, "{made}");
        assert_eq!(check(made.as_bytes(), &key().verifying_key()), Ok(ended()));
        let text = text(&ended());
        for words in ["Certificate of termination", "acme.raw.web", "lethe-run", "2 destroyed", "deleted  "] {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }

    #[test]
    fn the_schemas_example_verifies_and_the_bad_one_does_not() {
        let made = serde_json::to_string_pretty(&example().signed(&key())).unwrap();
        assert_eq!(EXAMPLE.trim_end(), made, "{made}");
        assert_eq!(check(EXAMPLE.as_bytes(), &key().verifying_key()), Ok(example()));
        assert_eq!(check(BAD.as_bytes(), &key().verifying_key()), Err(CertificateFault::Signature(SignatureFault::Broken)));
        assert_eq!(check(b"{}", &key().verifying_key()), Err(CertificateFault::Signature(SignatureFault::Missing)));
        assert_eq!(check(b"x", &key().verifying_key()), Err(CertificateFault::NotOne));
    }

    #[test]
    fn an_entry_of_another_kind_is_no_certificate_though_it_is_signed() {
        let mut members = object(&serde_json::json!({ "type": "checkpoint" })).unwrap();
        sign(&mut members, &key());
        let text = serde_json::to_vec(&members).unwrap();
        assert_eq!(check(&text, &key().verifying_key()), Err(CertificateFault::NotOne));
    }

    #[test]
    fn no_digit_can_be_changed() {
        let text = example().signed(&key()).to_string();
        for (at, _) in text.match_indices(|c: char| c.is_ascii_digit()) {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'9' { b'8' } else { changed[at] + 1 };
            assert!(check(&changed, &key().verifying_key()).is_err(), "digit at {at}");
        }
    }

    #[test]
    fn people_can_read_it() {
        let text = text(&example());
        for words in
            ["5f0c2a9e3b7d4c61a8e2f19b0d6c7e84", "12 keys", "acme.raw.web partition 0: offset 98100", "inferred:", "2026-09-21T14:13:20Z"]
        {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }
}
