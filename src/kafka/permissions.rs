//! What this user may do: the brokers tell the operations that are authorised on topics and groups, if they are asked to. rust-rdkafka has no call
//! for it, so librdkafka's own is called here, the one place of this room that does so.

#![allow(unsafe_code)]

use super::client::{self, Fault, Quiet, REQUEST_TIMEOUT};
use crate::config::kafka::KafkaConfig;
use crate::model::access::Operation;
use rdkafka::admin::AdminClient;
use rdkafka::bindings as c;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::os::raw::c_char;

/// Longest error text that librdkafka writes for us. Units: bytes.
const ERROR_TEXT_BYTES: usize = 256;

/// What is authorised on one topic or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorised {
    /// These operations.
    Operations(BTreeSet<Operation>),
    /// It is not there, or this user may not know of it.
    Hidden,
    /// It is not there.
    Missing,
    /// The brokers do not tell.
    Unknown,
}

/// Asks for permissions.
pub struct Permissions {
    client: AdminClient<Quiet>,
}

impl Permissions {
    /// Connects. Errors: settings that librdkafka refuses.
    pub fn connect(config: &KafkaConfig) -> Result<Self, Fault> {
        let client = client::base(config)?.create_with_context(Quiet).map_err(|e| Fault::of_request("create admin client", &e))?;
        Ok(Permissions { client })
    }

    /// What is authorised on topics. Shape: by name, those that were asked for. Errors: the brokers do not answer.
    pub fn of_topics(&self, topics: &[String]) -> Result<BTreeMap<String, Authorised>, Fault> {
        let names = texts(topics)?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: the names outlive the collection, which copies them; the collection, the event and all that they lend are freed below, after
        // everything was copied out of them; counts come from the calls that gave the arrays.
        let event = self.ask(c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, |rk, options, queue| unsafe {
            let collection = c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            c::rd_kafka_DescribeTopics(rk, collection, options, queue);
            c::rd_kafka_TopicCollection_destroy(collection);
        })?;
        let mut found = BTreeMap::new();
        // SAFETY: as above; the event lives until the end of this function.
        unsafe {
            let mut count = 0;
            let described = c::rd_kafka_DescribeTopics_result_topics(c::rd_kafka_event_DescribeTopics_result(event.0), &mut count);
            for (i, name) in topics.iter().enumerate().take(count) {
                let one = *described.add(i);
                let mut operations = 0;
                let error = c::rd_kafka_error_code(c::rd_kafka_TopicDescription_error(one));
                let first = c::rd_kafka_TopicDescription_authorized_operations(one, &mut operations);
                found.insert(name.clone(), authorised(error, first, operations));
            }
        }
        Ok(found)
    }

    /// What is authorised on groups. Shape: by name, those that were asked for. Errors: the brokers do not answer.
    pub fn of_groups(&self, groups: &[String]) -> Result<BTreeMap<String, Authorised>, Fault> {
        let names = texts(groups)?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: as in `of_topics`; the names are copied by the call.
        let event = self.ask(c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, |rk, options, queue| unsafe {
            c::rd_kafka_DescribeConsumerGroups(rk, pointers.as_mut_ptr(), pointers.len(), options, queue);
        })?;
        let mut found = BTreeMap::new();
        // SAFETY: as in `of_topics`.
        unsafe {
            let mut count = 0;
            let result = c::rd_kafka_event_DescribeConsumerGroups_result(event.0);
            let described = c::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
            for (i, name) in groups.iter().enumerate().take(count) {
                let one = *described.add(i);
                let mut operations = 0;
                let error = c::rd_kafka_error_code(c::rd_kafka_ConsumerGroupDescription_error(one));
                let first = c::rd_kafka_ConsumerGroupDescription_authorized_operations(one, &mut operations);
                found.insert(name.clone(), authorised(error, first, operations));
            }
        }
        Ok(found)
    }

    /// Makes one request and waits for its answer.
    fn ask(
        &self,
        what: c::rd_kafka_admin_op_t,
        request: impl FnOnce(*mut c::rd_kafka_t, *mut c::rd_kafka_AdminOptions_t, *mut c::rd_kafka_queue_t),
    ) -> Result<Event, Fault> {
        let rk = self.client.inner().native_ptr();
        let timeout_ms = REQUEST_TIMEOUT.as_millis() as i32;
        let mut text = [0 as c_char; ERROR_TEXT_BYTES];
        // SAFETY: the client outlives the call; options and queue are made and destroyed here; the event is handed to its owner, which frees it.
        let event = unsafe {
            let options = c::rd_kafka_AdminOptions_new(rk, what);
            let refused = c::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
            if !refused.is_null() {
                c::rd_kafka_error_destroy(refused);
            }
            c::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, text.as_mut_ptr(), text.len());
            let queue = c::rd_kafka_queue_new(rk);
            request(rk, options, queue);
            let event = c::rd_kafka_queue_poll(queue, timeout_ms + 1_000);
            c::rd_kafka_queue_destroy(queue);
            c::rd_kafka_AdminOptions_destroy(options);
            event
        };
        if event.is_null() {
            return Err(Fault::Retry("permissions: no answer in time".into()));
        }
        let event = Event(event);
        // SAFETY: it is not null and lives.
        let error = unsafe { c::rd_kafka_event_error(event.0) };
        match error {
            c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(event),
            code => Err(Fault::Retry(format!("permissions: {}", rdkafka::error::RDKafkaErrorCode::from(code)))),
        }
    }
}

/// An answer of librdkafka, freed when dropped.
struct Event(*mut c::rd_kafka_event_t);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it came from a poll and is destroyed once.
        unsafe { c::rd_kafka_event_destroy(self.0) }
    }
}

fn texts(names: &[String]) -> Result<Vec<CString>, Fault> {
    names.iter().map(|name| CString::new(name.as_str()).map_err(|_| Fault::Stop("a name holds a zero byte".into()))).collect()
}

/// Reads one answer.
///
/// # Safety
/// `first` points at `count` operations, or is null.
unsafe fn authorised(error: c::rd_kafka_resp_err_t, first: *const c::rd_kafka_AclOperation_t, count: usize) -> Authorised {
    use c::rd_kafka_resp_err_t as e;
    match error {
        e::RD_KAFKA_RESP_ERR_NO_ERROR if first.is_null() => Authorised::Unknown,
        e::RD_KAFKA_RESP_ERR_NO_ERROR => {
            // SAFETY: the caller's word.
            let told = unsafe { std::slice::from_raw_parts(first, count) };
            Authorised::Operations(told.iter().filter_map(|o| operation(*o)).collect())
        }
        e::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED | e::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED => Authorised::Hidden,
        e::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | e::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC | e::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND => {
            Authorised::Missing
        }
        _ => Authorised::Unknown,
    }
}

fn operation(told: c::rd_kafka_AclOperation_t) -> Option<Operation> {
    use c::rd_kafka_AclOperation_t as o;
    match told {
        o::RD_KAFKA_ACL_OPERATION_READ => Some(Operation::Read),
        o::RD_KAFKA_ACL_OPERATION_WRITE => Some(Operation::Write),
        o::RD_KAFKA_ACL_OPERATION_CREATE => Some(Operation::Create),
        o::RD_KAFKA_ACL_OPERATION_DELETE => Some(Operation::Delete),
        o::RD_KAFKA_ACL_OPERATION_ALTER => Some(Operation::Alter),
        o::RD_KAFKA_ACL_OPERATION_DESCRIBE => Some(Operation::Describe),
        o::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS => Some(Operation::DescribeConfigs),
        o::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS => Some(Operation::AlterConfigs),
        _ => None,
    }
}
