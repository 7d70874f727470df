//! The JetStream API in types: configurations, infos, requests, responses and errors, exactly as they stand on the wire.
//!
//! Pure: no clock, no I/O, no state of the server.

pub mod consumer_config;
pub mod error;
pub mod error_codes;
mod skip;
pub mod time;

pub use consumer_config::ConsumerConfig;
pub use error::ApiError;
pub use time::{DurationNs, Timestamp};
