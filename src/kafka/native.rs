//! Librdkafka's own calls where rust-rdkafka's would set the pace: handing over a record (it looks the topic up by name and copies every header's
//! name into a C string first: a dozen allocations for a record with eight headers), and waiting until all are written. And what it does not have: giving
//! a client its brokers again, and passing over a hint that would crash it.

#![allow(unsafe_code)]

use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};
use std::ffi::{CStr, CString, c_int, c_void};
#[cfg(test)]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The partition that leaves the choice to the producer.
const UNASSIGNED: i32 = -1;

/// A topic as a producer knows it. It must not outlive that producer.
pub(super) struct Topic {
    native: *mut c::rd_kafka_topic_t,
    name: String,
}

// SAFETY: librdkafka's topics are reference-counted and locked; any thread may use and release one.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

impl Topic {
    /// Makes the topic known to the producer; nothing is asked of the brokers here. `None`: librdkafka does not take the name.
    pub(super) fn open<C: ProducerContext>(producer: &ThreadedProducer<C>, name: &str) -> Option<Topic> {
        let text = CString::new(name).ok()?;
        // SAFETY: the producer lives; the name is copied; no settings of the topic's own.
        let native = unsafe { c::rd_kafka_topic_new(producer.client().native_ptr(), text.as_ptr(), std::ptr::null_mut()) };
        (!native.is_null()).then(|| Topic { native, name: name.to_owned() })
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: it came from `rd_kafka_topic_new` and is released once.
        unsafe { c::rd_kafka_topic_destroy(self.native) }
    }
}

/// A record's parts, lent: librdkafka copies them. Shape: an empty key is none; `None` is a null value.
pub(super) struct Parts<'r> {
    /// The partition; `None` leaves it to the producer.
    pub(super) partition: Option<i32>,
    /// The key.
    pub(super) key: &'r [u8],
    /// The value.
    pub(super) value: Option<&'r [u8]>,
}

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

/// Waits until nothing is under way any more, and lets nothing linger meanwhile. rust-rdkafka's flush looks ten times a second, which a transaction cannot
/// wait for, and lets records linger in between. Errors: librdkafka's; it took longer than `timeout`.
pub(super) fn flush<C: ProducerContext>(producer: &ThreadedProducer<C>, timeout: Duration) -> Result<(), RDKafkaErrorCode> {
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the producer lives. Its events are served by its own thread, which the call neither needs nor keeps from it.
    match unsafe { c::rd_kafka_flush(producer.client().native_ptr(), timeout_ms) } {
        c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(code.into()),
    }
}

/// Puts a record into the producer's queue. Errors: librdkafka's; nothing was taken then.
pub(super) fn produce<'r, C: ProducerContext>(
    producer: &ThreadedProducer<C>,
    topic: &Topic,
    parts: &Parts<'_>,
    headers: impl ExactSizeIterator<Item = (&'r str, &'r [u8])>,
) -> Result<(), RDKafkaErrorCode> {
    let count = headers.len();
    // SAFETY: the list is new, and names and values are copied into it by their lengths.
    let list = unsafe {
        let list = if count == 0 { std::ptr::null_mut() } else { c::rd_kafka_headers_new(count) };
        for (name, value) in headers {
            c::rd_kafka_header_add(list, name.as_ptr().cast(), name.len() as isize, value.as_ptr().cast(), value.len() as isize);
        }
        list
    };
    let mem = |bytes: Option<&[u8]>| {
        let (ptr, size) = bytes.map_or((std::ptr::null_mut(), 0), |bytes| (bytes.as_ptr().cast_mut().cast(), bytes.len()));
        c::rd_kafka_vu_s__bindgen_ty_1 { mem: c::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr, size } }
    };
    let part = |vtype, u| c::rd_kafka_vu_t { vtype, u };
    let all = [
        part(c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT, c::rd_kafka_vu_s__bindgen_ty_1 { rkt: topic.native }),
        part(c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION, c::rd_kafka_vu_s__bindgen_ty_1 { i32_: parts.partition.unwrap_or(UNASSIGNED) }),
        part(c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS, c::rd_kafka_vu_s__bindgen_ty_1 { i: c::RD_KAFKA_MSG_F_COPY }),
        part(c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE, mem(parts.value)),
        part(c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS, c::rd_kafka_vu_s__bindgen_ty_1 { headers: list }),
        part(c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY, mem(Some(parts.key).filter(|key| !key.is_empty()))),
    ];
    // SAFETY: the producer and the topic live, and the topic is this producer's; key and value are copied (F_COPY) before the call returns; the
    // headers belong to the record if it is taken, and to us if not.
    unsafe {
        let error = c::rd_kafka_produceva(producer.client().native_ptr(), all.as_ptr(), all.len());
        if error.is_null() {
            return Ok(());
        }
        let code = c::rd_kafka_error_code(error);
        c::rd_kafka_error_destroy(error);
        if !list.is_null() {
            c::rd_kafka_headers_destroy(list);
        }
        Err(code.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::config::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::message::Message;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseRecord, DefaultProducerContext};
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

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
