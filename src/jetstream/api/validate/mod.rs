//! What a configuration must fulfil, and what it becomes by default.
//!
//! The order of the checks is part of the behaviour: of several faults the same one is reported as by the genuine
//! server. Nothing stricter is invented (appendix C 30).

mod consumer;
mod consumer_config;
mod consumer_update;
mod environment;
mod limits;
mod metadata;
mod names;
mod sources;
mod stream;
mod stream_config;
mod stream_update;
mod subject_tree;
mod subjects;

pub use consumer::{ConsumerCreate, ConsumerName, OtherConsumer, check_consumer};
pub use consumer_update::check_consumer_update;
pub use environment::{AccountTiers, Environment, ServerLimits};
pub use limits::reserved_bytes;
pub use metadata::{
    API_LEVEL, SERVER_VERSION, remove_dynamic, required_level_is_met, set_static_consumer, set_static_stream, supports,
    with_dynamic_consumer, with_dynamic_stream,
};
pub use names::{is_valid_group_name, is_valid_name};
pub use stream::{StreamCreate, check_create};
pub use stream_update::check_update;

/// Longest description of a stream or consumer, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 4 * 1024;
/// Largest sum of the keys and values of metadata, in bytes.
const METADATA_BYTES_MAX: usize = 128 * 1024;
/// Longest name of a stream or consumer, in bytes.
const NAME_BYTES_MAX: usize = 255;
