//! `lethe export`: all records of somebody or of a tenant, the records of processing, or the scope of an incident.

mod breach;
mod output;
mod processing;
mod records;

pub use breach::breach_scope;
pub use processing::records_of_processing;
pub use records::{Format, Wish, export};

use super::Failure;
use crate::config::Config;
use crate::kafka::client::Fault;
use crate::kafka::consumer::RawConsumer;
use crate::kafka::transaction::TransactionalProducer;
use crate::kafka::whole::{Isolation, WholeReader};
use crate::lifecycle::audit::{Chain, Head, What, read};
use crate::ops::clock;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The chain of exports in the audit, one a tenant: one writer at a time, each fencing the one before.
const CHAIN: &str = "export";
/// How often an entry is tried again that another export came in the way of.
const TRIES: u32 = 20;
/// How long a transaction of another writer of the audit may stay open.
const OPEN_WAIT: Duration = Duration::from_secs(60);

/// Appends one entry to the audit. Errors: it cannot be written, and then nothing may be handed over.
fn tell(config: &Config, actor: &str, tenant: &str, request: &str, what: &What) -> Result<(), Failure> {
    let chain = if tenant.is_empty() { CHAIN.to_owned() } else { format!("{CHAIN}/{tenant}") };
    let mut last = None;
    for tried in 1..=TRIES {
        match append(config, &chain, actor, tenant, request, what) {
            Err(fault @ (Fault::Fenced(_) | Fault::Abort(_) | Fault::Recreate(_) | Fault::Retry(_))) => last = Some(fault),
            Err(fault) => return Err(fault.into()),
            Ok(()) => return Ok(()),
        }
        // Two that came in each other's way must not do so again at the same pace.
        std::thread::sleep(Duration::from_millis(u64::from(tried * 20 + std::process::id() % 89)));
    }
    Err(Failure::Failed(format!("the audit does not take the entry: {}", last.map_or_else(String::new, |f| f.to_string()))))
}

fn append(config: &Config, chain: &str, actor: &str, tenant: &str, request: &str, what: &What) -> Result<(), Fault> {
    // The fence ends every transaction of another export: what is read after it is all there is of the chain.
    let id = format!("{}-{}", config.retain.group, chain.replace('/', "-"));
    let mut producer = TransactionalProducer::connect(&config.kafka, &id)?;
    let mut chain = Chain::new(chain, head(config, chain)?);
    let (_, bytes) = chain.append(clock::now_ms(), actor, tenant, vec![request.to_owned()], what.clone(), None);
    let topic = &config.topics.audit;
    let looker = RawConsumer::observe(&config.kafka, &config.retain.group, std::slice::from_ref(topic), Arc::default())?;
    let member = looker.membership().ok_or_else(|| Fault::Retry("no group to look at".into()))?;
    let transaction = producer.begin()?;
    if let Err(fault) = transaction.put(topic, Some(0), chain.name().as_bytes(), &bytes) {
        transaction.abort()?;
        return Err(fault);
    }
    transaction.commit_or_abort(&[], &member)
}

/// The newest entry of the chain. Errors: the brokers; another writer's transaction stays open, and an entry of ours may lie behind it.
fn head(config: &Config, chain: &str) -> Result<Option<Head>, Fault> {
    let topic = &config.topics.audit;
    let (low, end) = WholeReader::connect(&config.kafka, Isolation::Uncommitted)?
        .bounds(topic, 0)
        .map_err(|e| Fault::Stop(format!("{e}; `lethe topics apply` makes the topic")))?;
    let stable = WholeReader::connect(&config.kafka, Isolation::Committed)?;
    let until = Instant::now() + OPEN_WAIT;
    while stable.bounds(topic, 0)?.1 < end {
        if Instant::now() > until {
            return Err(Fault::Stop(format!("{topic}: a transaction is open")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut head = None;
    stable.read(topic, &[(0, low, end)], |seen| {
        if seen.key == chain.as_bytes()
            && let Ok((entry, _, hash)) = read(seen.value.unwrap_or_default())
        {
            head = Some(Head { n: entry.n, hash });
        }
        Ok(())
    })?;
    Ok(head)
}
