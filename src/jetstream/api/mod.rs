//! The JetStream API in types: configurations, infos, requests, responses and errors, exactly as they stand on the wire.
//!
//! Pure: no clock, no I/O, no state of the server.

pub mod account_info;
pub mod batch_flow;
pub mod cluster_info;
pub mod consumer_config;
pub mod consumer_info;
pub mod duration;
pub mod error;
pub mod error_codes;
#[cfg(test)]
mod golden;
pub mod json;
pub mod message_get;
pub mod metadata;
pub mod pub_ack;
pub mod requests;
pub mod responses;
mod skip;
pub mod stream_config;
pub mod stream_info;
pub mod stream_source;
pub mod subjects;
pub mod time;
pub mod validate;

pub use consumer_config::ConsumerConfig;
pub use consumer_info::ConsumerInfo;
pub use error::ApiError;
pub use metadata::Metadata;
pub use pub_ack::PubAck;
pub use stream_config::StreamConfig;
pub use stream_info::{StreamInfo, StreamState};
pub use time::{DurationNs, Timestamp};

/// What a test sees of something that writes itself.
#[cfg(test)]
fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}
