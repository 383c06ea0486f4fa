//! The audit: entries chained by hash, one chain a writer, and signed checkpoints over the heads of all chains.
//!
//! ```text
//! chain:  entry 1 <── entry 2 <── checkpoint 3 <── entry 4      each holds its own hash and that of the one before
//!                                     │ signed: heads of all chains
//! ```
//! An edit breaks the entry's own hash, or the link of the next; a removal or a reorder breaks the numbers; all of it up to a checkpoint rewritten
//! breaks the signature; a tail that was cut off shows by a checkpoint that was kept elsewhere.

use super::signed::{canonical, object, sha256_hex, sign, verify};
use crate::model::directive::Outcome;
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const HASH: &str = "hash";

/// A partition and an offset in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceAt {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// What a sweep read and wrote in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweptRange {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// First offset read.
    pub from: i64,
    /// One past the last offset read.
    pub to: i64,
    /// The request's tombstones lie at or after this offset.
    pub tombstones_from: i64,
    /// They lie before this one.
    pub tombstones_to: i64,
    /// How many were written.
    pub tombstones: u64,
}

/// What a sweep found for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Keys that got a tombstone; of a sweep, that were to get one.
    pub erased: u64,
    /// Keys that a legal hold keeps.
    pub held: u64,
    /// Other identifiers that occurred in the same records.
    pub other_identifiers: u64,
}

/// What was decided or done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// A record of `lethe.directives` was taken in, or why not.
    Directive {
        /// Its kind; empty where it could not be read.
        kind: String,
        /// Its place.
        offset: i64,
        /// When it was appended. Units: ms since the epoch.
        stored_at_ms: i64,
        /// What became of it.
        outcome: Outcome,
        /// Whether the config names its tenant.
        tenant_known: bool,
        /// Who gave it, as it says.
        given_by: String,
        /// How many pseudonyms it names.
        pseudonyms: usize,
        /// Whether it lifts or releases what it ordered before.
        ends: bool,
        /// Whether it is a hold for a security incident.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        incident: bool,
    },
    /// Every worker has taken the requests in; where the topics ended then.
    Suppressed {
        /// Raw topics.
        raw: Vec<PlaceAt>,
        /// Governed topics, uncommitted records included.
        governed: Vec<PlaceAt>,
    },
    /// Tombstones, in the same transaction.
    Erased {
        /// Where.
        topic: String,
        /// How many, by request.
        keys: BTreeMap<String, u64>,
    },
    /// One pass over the tenant's topics; its tombstones are committed.
    Swept {
        /// Where.
        ranges: Vec<SweptRange>,
        /// By request.
        found: BTreeMap<String, Found>,
    },
    /// The deadline may be missed; the tenant is told.
    AtRisk {},
    /// What was swept must be swept again.
    Again {
        /// Why.
        why: String,
    },
    /// The topics of a tenant are about to be deleted.
    Deleting {
        /// Which are there.
        topics: Vec<String>,
        /// Longest time that the brokers keep deleted files, once this is known no more. Units: ms.
        file_delete_delay_ms: i64,
    },
    /// None of a tenant's topics is there any more, nor what groups had committed for them.
    Deleted {},
    /// The keys of a tenant were destroyed in the keyring of this process.
    KeysDestroyed {
        /// How many; none where the keyring is elsewhere.
        keys: usize,
    },
    /// Nothing is left; the certificate.
    Certified {
        /// As `certificate verify` takes it.
        certificate: Value,
    },
    /// The directive was forgotten: it had served.
    Forgotten {},
    /// Records are handed out, or were.
    Export {
        /// `subject`, `tenant`, or `breach`: counts alone.
        scope: String,
        /// `jsonl`, `csv` or `json`.
        format: String,
        /// How many pseudonyms were looked for.
        pseudonyms: usize,
        /// The output is whole; said before the first record leaves: it is not.
        finished: bool,
        /// How many records, by topic.
        records: BTreeMap<String, u64>,
        /// Of the output, as hex; empty while it is not whole.
        sha256: String,
    },
    /// The heads of all chains, signed.
    Checkpoint {
        /// Number and hash of the newest entry of each chain.
        heads: BTreeMap<String, Head>,
    },
}

/// The newest entry of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number. Units: counts from 1.
    pub n: u64,
    /// Its hash.
    pub hash: String,
}

/// One entry, without its hash and signature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The writer's chain.
    pub chain: String,
    /// Its number in the chain. Units: counts from 1.
    pub n: u64,
    /// Hash of the entry before; empty for the first.
    pub previous: String,
    /// When. Units: ms since the epoch.
    pub at_ms: i64,
    /// Who decided: a service's name, or a pseudonym.
    pub actor: String,
    /// Tenant; empty where none is concerned.
    pub tenant: String,
    /// Requests concerned.
    pub requests: Vec<String>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// The writer's end of a chain. Cheap to clone: a clone is advanced, and kept once its entries are committed.
#[derive(Clone, Debug)]
pub struct Chain {
    name: String,
    head: Head,
}

impl Chain {
    /// A chain that goes on after `head`.
    #[must_use]
    pub fn new(name: &str, head: Option<Head>) -> Chain {
        Chain { name: name.to_owned(), head: head.unwrap_or(Head { n: 0, hash: String::new() }) }
    }

    /// Its name: the record key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its head; `None` before the first entry.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        (self.head.n > 0).then_some(&self.head)
    }

    /// The bytes of the next entry; a checkpoint is signed with `key`. Units: `at_ms` in ms since the epoch.
    pub fn append(
        &mut self,
        at_ms: i64,
        actor: &str,
        tenant: &str,
        requests: Vec<String>,
        what: What,
        key: Option<&SigningKey>,
    ) -> (Entry, Vec<u8>) {
        let entry = Entry {
            chain: self.name.clone(),
            n: self.head.n + 1,
            previous: self.head.hash.clone(),
            at_ms,
            actor: actor.to_owned(),
            tenant: tenant.to_owned(),
            requests,
            what,
        };
        let mut members = object(&entry).unwrap_or_default();
        if let Some(key) = key {
            sign(&mut members, key);
        }
        let hash = sha256_hex(&canonical(&Value::Object(members.clone())));
        members.insert(HASH.into(), Value::String(hash.clone()));
        self.head = Head { n: entry.n, hash };
        (entry, canonical(&Value::Object(members)))
    }
}

/// An entry read back: its members without the hash, and the hash.
///
/// Errors: it is no entry, or its hash does not fit.
pub fn read(value: &[u8]) -> Result<(Entry, Map<String, Value>, String), &'static str> {
    let Ok(Value::Object(mut members)) = serde_json::from_slice(value) else { return Err("is no audit entry") };
    if canonical(&Value::Object(members.clone())) != value {
        return Err("was changed: it is not in canonical form");
    }
    let Some(Value::String(hash)) = members.remove(HASH) else { return Err("is no audit entry") };
    if sha256_hex(&canonical(&Value::Object(members.clone()))) != hash {
        return Err("was changed: its hash does not fit");
    }
    let mut plain = members.clone();
    plain.remove("signature");
    let entry = serde_json::from_value(Value::Object(plain)).map_err(|_| "is no audit entry")?;
    Ok((entry, members, hash))
}

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditFault {
    /// Offset in `lethe.audit`; -1 for what is not there.
    pub offset: i64,
    /// Chain, if known.
    pub chain: String,
    /// Number in the chain, if known.
    pub n: u64,
    /// What is wrong.
    pub fault: String,
}

/// What a verification found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Entries read.
    pub entries: u64,
    /// Checkpoints among them whose signature holds.
    pub checkpoints: u64,
    /// Entries after the newest checkpoint: linked, and not signed yet.
    pub after_last_checkpoint: u64,
    /// What is wrong.
    pub faults: Vec<AuditFault>,
    /// To be kept elsewhere, for `--expect-checkpoint`.
    pub newest_checkpoint: Option<Value>,
}

/// Verifies an audit, entry by entry.
pub struct Audit<'k> {
    key: &'k VerifyingKey,
    heads: BTreeMap<String, Head>,
    /// Entries of each chain that the newest checkpoint does not cover, and the one that it ends with.
    recent: BTreeMap<String, Vec<Head>>,
    first_offset: Option<i64>,
    report: Report,
    expected: Option<Value>,
}

impl<'k> Audit<'k> {
    /// Begins. `expected`: a checkpoint that was kept elsewhere.
    #[must_use]
    pub fn new(key: &'k VerifyingKey, expected: Option<Value>) -> Self {
        Audit { key, heads: BTreeMap::new(), recent: BTreeMap::new(), first_offset: None, report: Report::default(), expected }
    }

    /// Takes one record of the topic.
    pub fn take(&mut self, offset: i64, chain: &[u8], value: &[u8]) {
        self.report.entries += 1;
        self.report.after_last_checkpoint += 1;
        let cut = *self.first_offset.get_or_insert(offset) > 0;
        let key = String::from_utf8_lossy(chain).into_owned();
        let (entry, members, hash) = match read(value) {
            Ok(read) => read,
            Err(fault) => {
                // The next of the chain is linked to what stood here.
                self.fault(offset, &key, 0, fault);
                return;
            }
        };
        if entry.chain != key {
            self.fault(offset, &entry.chain, entry.n, "stands under another chain's key");
        }
        match self.heads.get(&entry.chain) {
            Some(head) if entry.n != head.n + 1 => {
                let fault = format!("follows number {}: entries are missing, doubled or out of order", head.n);
                self.fault(offset, &entry.chain, entry.n, &fault);
            }
            Some(head) if entry.previous != head.hash => {
                self.fault(offset, &entry.chain, entry.n, "is not linked to the entry before: that one was replaced");
            }
            None if entry.n > 1 && !(cut && self.report.checkpoints == 0) => {
                self.fault(offset, &entry.chain, entry.n, "is the first of its chain that is there: entries before it are missing");
            }
            _ => {}
        }
        if let What::Checkpoint { heads } = &entry.what {
            self.checkpoint(offset, &entry, heads, &members, &hash, cut);
        }
        let head = Head { n: entry.n, hash };
        self.recent.entry(entry.chain.clone()).or_default().push(head.clone());
        self.heads.insert(entry.chain, head);
    }

    /// Compares a checkpoint with the chains. Another writer's entry may have come between the checkpoint's look at the chains and the
    /// checkpoint itself: such a chain goes on after the head that is named, and the next checkpoint covers the rest.
    fn checkpoint(
        &mut self,
        offset: i64,
        entry: &Entry,
        heads: &BTreeMap<String, Head>,
        members: &Map<String, Value>,
        hash: &str,
        cut: bool,
    ) {
        if let Err(fault) = verify(members, self.key) {
            self.fault(offset, &entry.chain, entry.n, &format!("is a checkpoint, but {fault}"));
            return;
        }
        for (chain, head) in heads {
            match self.heads.get(chain) {
                Some(known) if known == head => {}
                Some(_) if *chain != entry.chain && self.recent.get(chain).is_some_and(|all| all.contains(head)) => {}
                // What the oldest checkpoint speaks of was deleted by age: the chain goes on from there.
                None if cut && self.report.checkpoints == 0 => {
                    self.heads.insert(chain.clone(), head.clone());
                    self.recent.entry(chain.clone()).or_default().push(head.clone());
                }
                _ => self.fault(offset, chain, head.n, "is not what the checkpoint says: the chain was rewritten or cut"),
            }
        }
        let is_new = |chain: &String| self.recent.get(chain).and_then(|all| all.first()).is_some_and(|first| first.n == 1);
        let unknown: Vec<(String, u64)> = self
            .heads
            .iter()
            .filter(|(c, _)| !heads.contains_key(*c) && (**c == entry.chain || !is_new(c)))
            .map(|(c, h)| (c.clone(), h.n))
            .collect();
        for (chain, n) in unknown {
            self.fault(offset, &chain, n, "is a chain that the checkpoint does not know");
        }
        for (chain, all) in &mut self.recent {
            if let Some(head) = heads.get(chain) {
                all.retain(|h| h.n >= head.n);
            }
        }
        self.report.checkpoints += 1;
        self.report.after_last_checkpoint = 0;
        let mut whole = members.clone();
        whole.insert(HASH.into(), Value::String(hash.to_owned()));
        let whole = Value::Object(whole);
        if self.expected.as_ref() == Some(&whole) {
            self.expected = None;
        }
        self.report.newest_checkpoint = Some(whole);
    }

    fn fault(&mut self, offset: i64, chain: &str, n: u64, fault: &str) {
        self.report.faults.push(AuditFault { offset, chain: chain.to_owned(), n, fault: fault.to_owned() });
    }

    /// Ends.
    #[must_use]
    pub fn finish(mut self) -> Report {
        if self.expected.take().is_some() {
            self.fault(-1, "", 0, "the expected checkpoint is not there: the end was cut off, or everything was replaced");
        }
        self.report.ok = self.report.faults.is_empty();
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[3; 32])
    }

    /// Two chains, interleaved, a checkpoint in the middle and one at the end.
    fn log() -> Vec<(String, Vec<u8>)> {
        let (mut a, mut b) = (Chain::new("a", None), Chain::new("b", None));
        let mut out = Vec::new();
        for i in 0..10 {
            let chain = if i % 3 == 0 { &mut b } else { &mut a };
            let (_, bytes) = chain.append(i, "retain", "acme", vec![format!("r{i}")], What::Again { why: "x".into() }, None);
            out.push((chain.name().to_owned(), bytes));
            if i % 5 == 4 {
                let heads = [&a, &b].into_iter().filter_map(|c| Some((c.name().to_owned(), c.head()?.clone()))).collect();
                let (_, bytes) = a.append(i, "retain", "", Vec::new(), What::Checkpoint { heads }, Some(&key()));
                out.push(("a".into(), bytes));
            }
        }
        out
    }

    fn verified(log: &[(String, Vec<u8>)], first: i64, expected: Option<Value>) -> Report {
        let public = key().verifying_key();
        let mut audit = Audit::new(&public, expected);
        for (i, (chain, value)) in log.iter().enumerate() {
            audit.take(first + i as i64, chain.as_bytes(), value);
        }
        audit.finish()
    }

    #[test]
    fn an_untouched_log_holds() {
        let report = verified(&log(), 0, None);
        assert!(report.ok, "{:?}", report.faults);
        assert_eq!((report.entries, report.checkpoints, report.after_last_checkpoint), (12, 2, 0));
        assert!(verified(&[], 0, None).ok);
    }

    #[test]
    fn every_byte_counts() {
        let log = log();
        for place in 0..log.len() {
            for at in (0..log[place].1.len()).step_by(7) {
                let mut changed = log.clone();
                changed[place].1[at] ^= 1;
                let report = verified(&changed, 0, None);
                assert!(!report.ok, "entry {place} byte {at}");
                assert_eq!(report.faults[0].offset, place as i64);
            }
        }
    }

    #[test]
    fn every_removal_and_every_swap_is_found() {
        let log = log();
        for place in 0..log.len() - 1 {
            let mut removed = log.clone();
            removed.remove(place);
            assert!(!verified(&removed, 0, None).ok, "removed {place}");
            let mut doubled = log.clone();
            doubled.insert(place, log[place].clone());
            assert!(!verified(&doubled, 0, None).ok, "doubled {place}");
        }
        for place in (0..log.len() - 1).filter(|p| log[*p].0 == log[p + 1].0) {
            let mut swapped = log.clone();
            swapped.swap(place, place + 1);
            assert!(!verified(&swapped, 0, None).ok, "swapped {place}");
        }
    }

    #[test]
    fn a_whole_chain_removed_or_rewritten_breaks_the_checkpoint() {
        let without: Vec<_> = log().into_iter().filter(|(chain, _)| chain == "a").collect();
        assert!(!verified(&without, 0, None).ok);
        let mut rewritten = log();
        let mut other = Chain::new("b", None);
        for (_, value) in rewritten.iter_mut().filter(|(chain, _)| chain == "b") {
            *value = other.append(1, "somebody", "acme", Vec::new(), What::Again { why: "forged".into() }, None).1;
        }
        let report = verified(&rewritten, 0, None);
        assert!(report.faults.iter().all(|f| f.fault.contains("checkpoint")) && !report.ok, "{:?}", report.faults);
    }

    /// Another writer's entries that come between a checkpoint's look at the chains and the checkpoint.
    #[test]
    fn an_entry_that_a_checkpoint_could_not_know_is_covered_by_the_next() {
        let (mut a, mut b) = (Chain::new("a", None), Chain::new("b", None));
        let mut log: Vec<(String, Vec<u8>)> = Vec::new();
        let again = || What::Again { why: "x".into() };
        let heads = |chains: &[&Chain]| chains.iter().filter_map(|c| Some((c.name().to_owned(), c.head()?.clone()))).collect();
        let mut late = None;
        for i in 0..4 {
            log.push(("a".into(), a.append(i, "retain", "acme", Vec::new(), again(), None).1));
            let heads = match &late {
                None => heads(&[&a]),
                Some(b) => heads(&[&a, b]),
            };
            log.push(("b".into(), b.append(i, "export", "acme", Vec::new(), again(), None).1));
            late = Some(b.clone());
            log.push(("b".into(), b.append(i, "export", "acme", Vec::new(), again(), None).1));
            log.push(("a".into(), a.append(i, "retain", "", Vec::new(), What::Checkpoint { heads }, Some(&key())).1));
        }
        let report = verified(&log, 0, None);
        assert!(report.ok, "{:?}", report.faults);
        for place in (0..log.len() - 4).filter(|p| log[*p].0 == "b") {
            let mut removed = log.clone();
            removed.remove(place);
            assert!(!verified(&removed, 0, None).ok, "removed {place}");
        }
        let without: Vec<_> = log.into_iter().filter(|(chain, _)| chain == "a").collect();
        assert!(!verified(&without, 0, None).ok);
    }

    #[test]
    fn what_retention_took_is_not_missed_and_a_cut_tail_is() {
        let log = log();
        let kept = verified(&log[4..], 4, None);
        assert!(kept.ok, "{:?}", kept.faults);
        let newest = verified(&log, 0, None).newest_checkpoint;
        assert!(verified(&log, 0, newest.clone()).ok);
        assert!(verified(&log[..9], 0, None).ok, "the end alone tells nothing");
        assert!(!verified(&log[..9], 0, newest).ok);
        assert!(!verified(&log[4..], 0, None).ok, "nothing was deleted by age, and yet the beginning is missing");
    }

    #[test]
    fn every_kind_of_entry_is_read_as_it_was_written() {
        let (place, range) = (
            PlaceAt { topic: "t".into(), partition: 0, offset: 1 },
            SweptRange { topic: "t".into(), partition: 0, from: 0, to: 1, tombstones_from: 1, tombstones_to: 2, tombstones: 1 },
        );
        for what in [
            What::Directive {
                kind: "erase".into(),
                offset: 1,
                stored_at_ms: 2,
                outcome: Outcome::InForce,
                tenant_known: true,
                given_by: "operator".into(),
                pseudonyms: 1,
                ends: false,
                incident: false,
            },
            What::Suppressed { raw: vec![place.clone()], governed: vec![place] },
            What::Swept { ranges: vec![range], found: BTreeMap::from([("r".into(), Found::default())]) },
            What::Erased { topic: "t".into(), keys: BTreeMap::from([("r".into(), 1)]) },
            What::Again { why: "x".into() },
            What::Certified { certificate: serde_json::json!({ "a": 1 }) },
            What::Forgotten {},
            What::Export {
                scope: "subject".into(),
                format: "csv".into(),
                pseudonyms: 2,
                finished: true,
                records: BTreeMap::from([("t".into(), 3)]),
                sha256: "00".into(),
            },
            What::Checkpoint { heads: BTreeMap::from([("a".into(), Head { n: 1, hash: "h".into() })]) },
        ] {
            let (entry, bytes) = Chain::new("a", None).append(5, "retain", "acme", vec!["r".into()], what, Some(&key()));
            assert_eq!(read(&bytes).map(|(read, _, _)| read), Ok(entry));
        }
    }

    #[test]
    fn the_schemas_example_is_an_entry() {
        let text = include_str!("../../schemas/audit/entry.json");
        let value: Value = serde_json::from_str(text).unwrap();
        let (entry, _, _) = read(&canonical(&value)).unwrap();
        assert!(matches!(entry.what, What::Swept { .. }), "{entry:?}");
        let bad: Value = serde_json::from_str(include_str!("../../schemas/audit/bad.json")).unwrap();
        assert_eq!(read(&canonical(&bad)).unwrap_err(), "was changed: its hash does not fit");
    }

    #[test]
    fn a_checkpoint_of_another_key_is_none() {
        let mut chain = Chain::new("a", None);
        let (_, bytes) =
            chain.append(0, "x", "", Vec::new(), What::Checkpoint { heads: BTreeMap::new() }, Some(&SigningKey::from_bytes(&[9; 32])));
        let report = verified(&[("a".into(), bytes)], 0, None);
        assert!(report.faults[0].fault.contains("another key"), "{:?}", report.faults);
    }
}
