//! librdkafka's in-process mock cluster, for `lethe demo`: nothing to install, nothing kept.
//!
//! It takes transactions but keeps no offsets committed in one, never compacts and knows no settings of topics: a demo, proof of nothing.

use super::client::Fault;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// A mock cluster of one broker; ends when dropped.
pub struct MockBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl MockBroker {
    /// Starts it. Errors: no port is free.
    pub fn start() -> Result<Self, Fault> {
        let cluster = MockCluster::new(1).map_err(|e| Fault::of_request("start the mock cluster", &e))?;
        Ok(MockBroker { cluster })
    }

    /// Where it listens.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Makes a topic. Errors: the name is taken.
    pub fn create_topic(&self, name: &str, partitions: u16) -> Result<(), Fault> {
        let made = self.cluster.create_topic(name, i32::from(partitions), 1);
        made.map_err(|e| Fault::of_request(&format!("create topic {name}"), &e))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::kafka::KafkaConfig;

    /// A mock cluster of three brokers with a topic `t`, for what a real one cannot be told to do; and what clients need to know of it.
    pub(in crate::kafka) fn of_three(partitions: i32) -> (MockCluster<'static, DefaultProducerContext>, KafkaConfig) {
        let cluster = MockCluster::new(3).unwrap();
        cluster.create_topic("t", partitions, 3).unwrap();
        let config = KafkaConfig { bootstrap_servers: cluster.bootstrap_servers(), ..KafkaConfig::default() };
        (cluster, config)
    }
}
