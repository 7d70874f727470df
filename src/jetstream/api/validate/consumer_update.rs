//! Which fields of an existing consumer may change.

use super::super::consumer_config::ConsumerConfig;
use super::super::error::ApiError;
use super::super::error_codes;

/// Checks that `new`, which is valid in itself, may replace `old`.
pub fn check_consumer_update(
    old: &ConsumerConfig,
    new: &ConsumerConfig,
    deliver_has_interest: &dyn Fn(&str) -> bool,
) -> Result<(), ApiError> {
    let immutable = [
        (old.deliver_policy != new.deliver_policy, "deliver policy can not be updated"),
        (old.mem_storage != new.mem_storage, "storage type can not be updated"),
        (old.direct != new.direct, "direct can not be updated"),
        (old.sourcing != new.sourcing, "sourcing can not be updated"),
        (old.opt_start_seq != new.opt_start_seq, "start sequence can not be updated"),
        (old.opt_start_time != new.opt_start_time, "start time can not be updated"),
        (old.ack_policy != new.ack_policy, "ack policy can not be updated"),
        (old.replay_policy != new.replay_policy, "replay policy can not be updated"),
        (old.idle_heartbeat != new.idle_heartbeat, "heart beats can not be updated"),
        (old.flow_control != new.flow_control, "flow control can not be updated"),
    ];
    if let Some((_, text)) = immutable.iter().find(|(changed, _)| *changed) {
        return Err(error_codes::CONSUMER_CREATE.with(text));
    }
    if old.deliver_subject != new.deliver_subject {
        if old.is_pull() {
            return Err(error_codes::CONSUMER_CREATE.with("can not update pull consumer to push based"));
        }
        if new.is_pull() {
            return Err(error_codes::CONSUMER_CREATE.with("can not update push consumer to pull based"));
        }
        if deliver_has_interest(&old.deliver_subject) {
            return Err(error_codes::CONSUMER_NAME_EXIST.error());
        }
    }
    if old.max_waiting != new.max_waiting {
        return Err(error_codes::CONSUMER_CREATE.with("max waiting can not be updated"));
    }
    Ok(())
}
