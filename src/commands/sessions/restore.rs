//! Reads a partition's sessions back from its topic.

use crate::commands::framing::Framing;
use crate::config::kafka::KafkaConfig;
use crate::derive::session::Session;
use crate::derive::sessions::Sessions;
use crate::kafka::client::Fault;
use crate::kafka::ends::Ends;
use crate::kafka::peek::Peek;
use crate::model::header::Header;
use crate::model::time::SECOND_MS;
use std::time::{Duration, Instant};

/// How much earlier than its end a session may have been stored: an event may be dated ahead of its receipt. Units: ms.
const AHEAD_MS: i64 = 86_400 * SECOND_MS;
/// How long a transaction of an owner before may still be open: longer than any lives.
const PATIENCE: Duration = Duration::from_secs(70);
const NAP: Duration = Duration::from_millis(100);

/// Reads topics back.
pub(super) struct Restore {
    peek: Peek,
    ends: Ends,
}

impl Restore {
    pub fn connect(config: &KafkaConfig) -> Result<Self, Fault> {
        Ok(Restore { peek: Peek::connect(config)?, ends: Ends::connect(config)? })
    }

    /// Takes back in what can still change. Shape: `framing` is that of sessions, with the label of whose they are.
    ///
    /// Errors: a transaction that does not end; brokers or a registry that do not answer.
    pub fn read(&self, topic: &str, partition: i32, (framing, tenant): (&Framing, &str), sessions: &mut Sessions) -> Result<(), Fault> {
        let partitions = partition as u32 + 1;
        let end = |ends: Result<_, Fault>| -> Result<i64, Fault> {
            let ends: crate::kafka::ends::EndsOf = ends?;
            Ok(ends.get(&(topic.to_owned(), partition)).copied().unwrap_or(0))
        };
        // The owner before may have committed its offsets, and the end of its transaction not have reached this topic: without it the newest
        // sessions would not be seen.
        let all = end(self.ends.all([(topic, partitions)].into_iter()))?;
        let until = Instant::now() + PATIENCE;
        while end(self.ends.stable([(topic, partitions)].into_iter()))? < all {
            if Instant::now() > until {
                return Err(Fault::Retry(format!("{topic}: a transaction does not end")));
            }
            std::thread::sleep(NAP);
        }
        let mut from = self.peek.since(topic, partitions, sessions.settled_ms().saturating_sub(AHEAD_MS))?;
        from.retain(|(_, p), _| *p == partition);
        let mut fault = None;
        self.peek.read(&from, |standing| {
            let Some((subject, id)) = Session::read_key(standing.key).filter(|_| fault.is_none()) else { return };
            let identifiers = standing.header.and_then(Header::read).into_iter().flat_map(|h| h.identifiers()).collect();
            match framing.prefix_of(standing.value, tenant) {
                Ok([]) => sessions.restore(subject, id, None),
                Ok(prefix) => sessions.restore(subject, id, Session::read(prefix, standing.value, identifiers)),
                Err(unknown) => fault = Some(unknown),
            }
        })?;
        fault.map_or(Ok(()), Err)
    }
}
