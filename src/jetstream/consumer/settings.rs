//! A consumer's configuration as its machine uses it: digested once, so that no step parses or looks anything up.

use bytes::Bytes;

use super::filter::Filter;
use crate::jetstream::api::ConsumerConfig;
use crate::jetstream::api::consumer_config::{AckPolicy, PriorityPolicy, ReplayPolicy};
use crate::jetstream::api::time::MILLISECOND;

const ACK_WAIT_DEFAULT: i64 = 30_000 * MILLISECOND;
/// A client may choose a nanosecond, and the server would do nothing but deliver.
const REDELIVERY_WAIT_MIN: i64 = 5 * MILLISECOND;
const MAX_WAITING_DEFAULT: usize = 512;
const INACTIVE_THRESHOLD_DEFAULT: i64 = 5_000 * MILLISECOND;
const PIN_TIMEOUT_DEFAULT: i64 = 120_000 * MILLISECOND;
/// Rate limits burst by the largest message; where that is not known, by the usual largest payload.
const BURST_BYTES_DEFAULT: u64 = 1 << 20;

/// What a consumer must know of its stream besides its content.
#[derive(Clone, Debug, Default)]
pub struct StreamTraits {
    /// Acknowledging may remove the message: retention by interest or as a work queue.
    pub removes_acked: bool,
    /// The largest message that the stream or else the server accepts; 0 when it is not known.
    pub message_bytes_max: u64,
    /// The fixed part of reply subjects, by [`super::reply_subject::prefix`] or its second form.
    pub reply_prefix: Bytes,
    /// The fixed part of flow control subjects, by [`super::flow_control::prefix`] or its second form.
    pub flow_prefix: Bytes,
    /// Spreads the removal of inactive consumers; any number that differs between consumers.
    pub jitter: u64,
}

/// The part of the settings that only a push consumer has.
#[derive(Clone, Debug)]
pub struct PushSettings {
    pub subject: Bytes,
    pub flow_control: bool,
    /// 0 for none.
    pub heartbeat: i64,
    /// Bytes per second; 0 is without limit.
    pub rate_bytes: u64,
    pub burst_bytes: u64,
}

/// The digested configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    pub ack_policy: AckPolicy,
    pub ack_wait: i64,
    /// Replaces `ack_wait`, by number of deliveries; the last value repeats.
    pub backoff: Box<[i64]>,
    /// 0 is without limit.
    pub deliveries_max: u32,
    /// `usize::MAX` is without limit.
    pub ack_pending_max: usize,
    pub waiting_max: usize,
    /// Limits for one pull request; 0 is without limit.
    pub request_batch_max: i64,
    pub request_expires_max: i64,
    pub request_bytes_max: i64,
    pub filter: Filter,
    pub headers_only: bool,
    pub replay_original: bool,
    /// How many of a hundred acks are reported.
    pub sample_percent: u8,
    pub push: Option<Box<PushSettings>>,
    /// 0 for never.
    pub inactive_threshold: i64,
    pub priority_policy: PriorityPolicy,
    pub priority_groups: Box<[Box<str>]>,
    pub pin_timeout: i64,
    pub stream: StreamTraits,
}

impl Settings {
    pub fn new(config: &ConsumerConfig, stream: StreamTraits) -> Self {
        let tracks_acks = config.ack_policy != AckPolicy::None;
        let ack_pending_max = usize::try_from(config.max_ack_pending).ok().filter(|max| *max > 0 && tracks_acks);
        Self {
            ack_policy: config.ack_policy,
            ack_wait: positive(config.ack_wait).unwrap_or(ACK_WAIT_DEFAULT),
            backoff: config.backoff.as_slice().into(),
            deliveries_max: u32::try_from(config.max_deliver).unwrap_or(0),
            ack_pending_max: ack_pending_max.unwrap_or(usize::MAX),
            waiting_max: usize::try_from(config.max_waiting).ok().filter(|max| *max > 0).unwrap_or(MAX_WAITING_DEFAULT),
            request_batch_max: config.max_batch.max(0),
            request_expires_max: config.max_expires.max(0),
            request_bytes_max: config.max_bytes.max(0),
            filter: Filter::new(config.filters()),
            headers_only: config.headers_only,
            replay_original: config.replay_policy == ReplayPolicy::Original,
            sample_percent: sample_percent(&config.sample_freq),
            push: config.is_push().then(|| Box::new(push_settings(config, &stream))),
            inactive_threshold: inactive_threshold(config, stream.jitter),
            priority_policy: config.priority_policy,
            priority_groups: config.priority_groups.iter().map(|group| group.as_str().into()).collect(),
            pin_timeout: positive(config.priority_timeout).unwrap_or(PIN_TIMEOUT_DEFAULT),
            stream,
        }
    }

    /// Waiting pull requests are served by their priority, not in turn.
    pub fn serves_by_priority(&self) -> bool {
        self.priority_policy == PriorityPolicy::Prioritized
    }

    pub fn is_push(&self) -> bool {
        self.push.is_some()
    }

    /// Deliveries are remembered until they are acknowledged.
    pub fn tracks_acks(&self) -> bool {
        self.ack_policy != AckPolicy::None
    }

    /// How long after its `deliveries`-th delivery a message is delivered again, in nanoseconds; `None` for never. Nothing
    /// waits for the end of a wait of 0: such a message is delivered again when something else has them looked at.
    pub fn redelivery_wait(&self, deliveries: u32) -> Option<i64> {
        if matches!(self.ack_policy, AckPolicy::None | AckPolicy::FlowControl) {
            return None;
        }
        let attempt = deliveries.saturating_sub(1) as usize;
        let wait = self.backoff.get(attempt).or(self.backoff.last()).copied().unwrap_or(self.ack_wait);
        Some(if wait > 0 { wait.max(REDELIVERY_WAIT_MIN) } else { 0 })
    }
}

fn positive(value: i64) -> Option<i64> {
    Some(value).filter(|value| *value > 0)
}

fn push_settings(config: &ConsumerConfig, stream: &StreamTraits) -> PushSettings {
    PushSettings {
        subject: Bytes::copy_from_slice(config.deliver_subject.as_bytes()),
        flow_control: config.flow_control,
        heartbeat: config.idle_heartbeat.max(0),
        rate_bytes: config.rate_limit_bps / 8,
        burst_bytes: if stream.message_bytes_max > 0 { stream.message_bytes_max } else { BURST_BYTES_DEFAULT },
    }
}

/// `"30"` and `"30%"` both mean 30 of 100.
fn sample_percent(frequency: &str) -> u8 {
    let number = frequency.strip_suffix('%').unwrap_or(frequency);
    number.parse::<i64>().map_or(0, |percent| percent.clamp(0, 100) as u8)
}

fn inactive_threshold(config: &ConsumerConfig, jitter: u64) -> i64 {
    let jitter = (100 + (jitter % 900) as i64) * MILLISECOND;
    match positive(config.inactive_threshold) {
        Some(threshold) if config.is_push() => threshold,
        Some(threshold) => threshold.saturating_add(jitter),
        None if config.is_durable() => 0,
        None => INACTIVE_THRESHOLD_DEFAULT + jitter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_replaces_the_ack_wait_and_its_last_value_repeats() {
        let ack_wait = 6 * MILLISECOND;
        let mut config = ConsumerConfig { ack_policy: AckPolicy::Explicit, ack_wait, ..Default::default() };
        assert_eq!(Settings::new(&config, StreamTraits::default()).redelivery_wait(3), Some(ack_wait));
        config.backoff = vec![10 * MILLISECOND, 20 * MILLISECOND];
        let settings = Settings::new(&config, StreamTraits::default());
        let waits = [1, 2, 3, 9].map(|deliveries| settings.redelivery_wait(deliveries));
        assert_eq!(waits, [10, 20, 20, 20].map(|wait| Some(wait * MILLISECOND)));
        config.ack_policy = AckPolicy::None;
        assert_eq!(Settings::new(&config, StreamTraits::default()).redelivery_wait(1), None);
    }

    #[test]
    fn sampling_takes_numbers_with_and_without_percent() {
        for (text, percent) in [("", 0), ("30", 30), ("100%", 100), ("-1", 0), ("x", 0), ("500", 100)] {
            assert_eq!(sample_percent(text), percent, "{text}");
        }
    }

    #[test]
    fn only_durables_live_without_a_threshold() {
        let mut config = ConsumerConfig::default();
        assert_eq!(inactive_threshold(&config, 0), 5_100 * MILLISECOND);
        config.durable_name = "d".into();
        assert_eq!(inactive_threshold(&config, 0), 0);
        config.inactive_threshold = 10;
        assert_eq!(inactive_threshold(&config, 901), 10 + 101 * MILLISECOND);
        config.deliver_subject = "x".into();
        assert_eq!(inactive_threshold(&config, 901), 10);
    }
}
