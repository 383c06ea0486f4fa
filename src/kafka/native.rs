//! Librdkafka's own calls, for what rust-rdkafka does not have: telling who a member of a group is, giving a client its brokers again, and passing over a
//! hint that would crash it.

#![allow(unsafe_code)]

use super::consumer::Membership;
use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use std::ffi::{CStr, c_char, c_int, c_void};
#[cfg(test)]
use std::sync::atomic::{AtomicUsize, Ordering};

/// Gives a client the brokers of its config once more: `host:port`, with commas between. Those it has are not added twice.
pub(super) fn add_brokers<C: ClientContext>(client: &Client<C>, brokers: &CStr) {
    // SAFETY: the client lives, and the list is copied.
    unsafe { c::rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) };
}

/// `RD_KAFKA_OP_RES_HANDLED`.
const HANDLED: c_int = 1;

/// How many hints were passed over.
#[cfg(test)]
static HINTS: AtomicUsize = AtomicUsize::new(0);

/// Passes over a broker's hint of who leads a partition instead of it (KIP-951). The linker puts this in the place of librdkafka's own function, which
/// applies the hint (`build.rs`).
///
/// A broker that starts or loses its controller refuses with the hint that nobody leads. librdkafka (2.6 to 2.15 at least) then reads memory that was
/// never written, and the process ends by SIGSEGV (its issue 5280), or the partition has no leader for good (5430). Without the hint a client asks who
/// leads, as it does after every such refusal.
// SAFETY: the name is librdkafka's own behind the linker's prefix, so nobody else has it; the caller keeps and frees what is passed.
#[unsafe(no_mangle)]
extern "C" fn __wrap_rd_kafka_metadata_update_op(_client: *mut c::rd_kafka_t, _hint: *mut c_void) -> c_int {
    #[cfg(test)]
    HINTS.fetch_add(1, Ordering::Relaxed);
    HANDLED
}

/// Who a consumer is in its group now. `None`: it has none.
pub(super) fn membership<C: ClientContext>(client: &Client<C>) -> Option<Membership> {
    // SAFETY: the client lives.
    let metadata = unsafe { c::rd_kafka_consumer_group_metadata(client.native_ptr()) };
    if metadata.is_null() {
        return None;
    }
    // SAFETY: what is pointed to is the metadata's own, ends with a zero, and is copied before it is freed.
    let text = |from: *const c_char| (!from.is_null()).then(|| unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned());
    // SAFETY: the metadata is ours; it is freed once, and not used after that.
    unsafe {
        let member = Membership {
            group: text(c::rd_kafka_consumer_group_metadata_group_id(metadata)).unwrap_or_default(),
            generation: c::rd_kafka_consumer_group_metadata_generation_id(metadata),
            id: text(c::rd_kafka_consumer_group_metadata_member_id(metadata)).unwrap_or_default(),
            instance: text(c::rd_kafka_consumer_group_metadata_group_instance_id(metadata)),
        };
        c::rd_kafka_consumer_group_metadata_destroy(metadata);
        Some(member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::config::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::message::Message;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
    use std::time::Duration;

    #[test]
    fn a_hint_of_the_leader_is_passed_over_and_the_leader_is_found() {
        let cluster = MockCluster::new(2).unwrap();
        cluster.create_topic("t", 1, 2).unwrap();
        let settings = |more: &[(&str, &str)]| {
            let mut all = ClientConfig::new();
            all.set("bootstrap.servers", cluster.bootstrap_servers());
            more.iter().for_each(|(name, value)| {
                all.set(*name, *value);
            });
            all
        };
        let producer: ThreadedProducer<DefaultProducerContext> = settings(&[]).create().unwrap();
        let reader: BaseConsumer = settings(&[("group.id", "g")]).create().unwrap();
        let mut all = TopicPartitionList::new();
        all.add_partition_offset("t", 0, Offset::Beginning).unwrap();
        reader.assign(&all).unwrap();
        for round in 0..6u8 {
            cluster.partition_leader("t", 0, Some(1 + i32::from(round % 2))).unwrap();
            producer.send(BaseRecord::<(), _>::to("t").partition(0).payload(&[round])).unwrap();
            let came = (0..300).find_map(|_| reader.poll(Duration::from_millis(100))?.ok()?.payload().map(<[u8]>::to_vec));
            assert_eq!(came, Some(vec![round]));
        }
        assert!(HINTS.load(Ordering::Relaxed) > 0, "the linker has put ours in the place of librdkafka's");
    }
}
