//! A configuration in the form in which decisions and limits use it: a limit is there or it is not.

use super::super::api::StreamConfig;
use super::super::api::stream_config::{Discard, Retention, StorageType};
use super::super::api::time::{DurationNs, SECOND};

#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub storage: StorageType,
    pub retention: Retention,
    pub sealed: bool,
    pub discard_old: bool,
    /// Publishes are refused at a limit, so that every one must be held against the limits.
    pub refuses_at_limits: bool,
    pub refuses_at_subject_limit: bool,
    pub messages_max: Option<u64>,
    pub bytes_max: Option<u64>,
    pub per_subject_max: Option<u64>,
    pub message_size_max: Option<usize>,
    pub age_max: Option<DurationNs>,
    pub allows_rollup: bool,
    pub allows_ttl: bool,
    /// The life of delete markers, in seconds.
    pub marker_seconds: Option<u64>,
    pub dedupes: bool,
}

impl Rules {
    pub fn of(config: &StreamConfig) -> Self {
        let limit = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
        let (messages_max, bytes_max) = (limit(config.max_msgs), limit(config.max_bytes));
        let discard_old = config.discard == Discard::Old;
        let refuses_at_subject_limit = config.discard_new_per_subject && !discard_old;
        Self {
            storage: config.storage,
            retention: config.retention,
            sealed: config.sealed,
            discard_old,
            refuses_at_limits: !discard_old
                && (messages_max.is_some() || bytes_max.is_some() || refuses_at_subject_limit),
            refuses_at_subject_limit,
            messages_max,
            bytes_max,
            per_subject_max: limit(config.max_msgs_per_subject),
            message_size_max: usize::try_from(config.max_msg_size).ok(),
            age_max: Some(config.max_age).filter(|age| *age > 0),
            allows_rollup: config.allow_rollup_hdrs && !config.deny_purge,
            allows_ttl: config.allow_msg_ttl,
            marker_seconds: limit(config.subject_delete_marker_ttl / SECOND),
            dedupes: config.duplicate_window > 0 && config.mirror.is_none(),
        }
    }

    /// Takes out whatever makes messages leave by themselves.
    pub fn suspend_limits(&mut self) {
        (self.messages_max, self.bytes_max, self.per_subject_max, self.age_max) = (None, None, None, None);
        if self.retention == Retention::Interest {
            self.retention = Retention::Limits;
        }
    }
}
