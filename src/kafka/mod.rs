//! The only room with librdkafka in it.
