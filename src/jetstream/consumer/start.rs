//! Where a new consumer begins (U-03, U-04): decided once, when its creation is applied, from the stream as it is then.

use super::filter::Filter;
use super::last_per_subject::LastPerSubject;
use super::state::ConsumerState;
use super::view::StreamView;
use crate::jetstream::api::ConsumerConfig;
use crate::jetstream::api::consumer_config::DeliverPolicy;

impl ConsumerState {
    /// The state of a consumer that is being created. Every replica computes the same one: the stream is at the
    /// same point of the log.
    pub fn start(config: &ConsumerConfig, stream: &dyn StreamView) -> Self {
        let filter = Filter::new(config.filters());
        let mut list = None;
        let next = match config.deliver_policy {
            _ if config.opt_start_seq > 0 => config.opt_start_seq.max(stream.first_sequence()),
            DeliverPolicy::LastPerSubject if !stream.keeps_one_per_subject() => {
                let sequences = stream.last_per_subject(&filter);
                let resume = stream.last_sequence();
                let next = sequences.iter().min().copied().unwrap_or(resume);
                list = Some(LastPerSubject::new(sequences, resume)).filter(|list| !list.sequences().is_empty());
                bounded(next, stream)
            }
            policy => bounded(start_by_policy(policy, config, &filter, stream), stream),
        };
        let mut state = Self::new(config.ack_policy, next);
        state.last_per_subject = list.map(Box::new);
        state.pause_until = config.pause_until.filter(|until| !until.is_zero()).map_or(0, |until| until.0.max(0));
        state
    }
}

fn start_by_policy(policy: DeliverPolicy, config: &ConsumerConfig, filter: &Filter, stream: &dyn StreamView) -> u64 {
    match policy {
        DeliverPolicy::All | DeliverPolicy::LastPerSubject | DeliverPolicy::ByStartSequence => stream.first_sequence(),
        DeliverPolicy::Last if filter.is_all() => stream.last_sequence(),
        DeliverPolicy::Last => stream.last_matching(filter).unwrap_or(0),
        DeliverPolicy::New => stream.last_sequence() + 1,
        DeliverPolicy::ByStartTime => {
            let time = config.opt_start_time.map_or(i64::MIN, |time| time.0);
            let at_time = stream.sequence_at_time(time);
            // Without a match in between there is no reason to walk there.
            match stream.next_matching(stream.first_sequence(), filter) {
                Some(first) if !filter.is_all() && first > at_time && first < stream.last_sequence() => first,
                _ => at_time,
            }
        }
    }
}

/// Neither before the first message nor beyond the one that comes next.
fn bounded(next: u64, stream: &dyn StreamView) -> u64 {
    let end = stream.last_sequence() + 1;
    next.min(end).max(stream.first_sequence().min(end)).max(1)
}
