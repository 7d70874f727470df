//! Streams and consumers as metrics. A bound number of each is told one by one; what is beyond shows as a count.

use crate::jetstream::api::{ConsumerInfo, StreamState};
use crate::jetstream::{Node, Replica};
use crate::monitor::exposition::{Exposition, Labels};

const STREAMS_MAX: usize = 10_000;
const CONSUMERS_MAX: usize = 20_000;

#[derive(Default)]
pub struct Assets {
    streams: Vec<(Labels, StreamState)>,
    ids_forgotten: Vec<(Labels, f64)>,
    consumers: Vec<(Labels, Consumer)>,
    streams_total: usize,
    held_back_total: usize,
    consumers_total: usize,
}

struct Consumer {
    info: ConsumerInfo,
    /// Of its stream.
    last_sequence: u64,
}

impl Assets {
    pub fn of(node: &Node) -> Assets {
        let mut assets = Assets::default();
        for account in node.accounts() {
            for stream in account.streams() {
                assets.add(account.name(), &stream);
            }
            assets.held_back_total += account.held_back().len();
        }
        assets
    }

    fn add(&mut self, account: &str, stream: &Replica) {
        self.streams_total += 1;
        if self.streams.len() >= STREAMS_MAX {
            self.consumers_total += usize::try_from(stream.totals().consumers).unwrap_or(0);
            return;
        }
        let labels = vec![("account", account.to_owned()), ("stream", stream.name().to_owned())];
        let state = stream.info().state;
        // The stream's lock is taken for each consumer anew, so that traffic gets its turn between them.
        for (name, _) in stream.consumer_configs() {
            self.consumers_total += 1;
            if self.consumers.len() >= CONSUMERS_MAX {
                continue;
            }
            if let Some(info) = stream.consumer_info(&name) {
                let mut labels = labels.clone();
                labels.push(("consumer", name));
                self.consumers.push((labels, Consumer { info, last_sequence: state.last_seq }));
            }
        }
        self.ids_forgotten.push((labels.clone(), stream.ids_forgotten() as f64));
        self.streams.push((labels, state));
    }

    pub fn write(&self, out: &mut Exposition) {
        out.gauge(
            "jetstream_streams",
            "Streams, those that are not told one by one included",
            self.streams_total as f64,
        );
        out.gauge(
            "jetstream_streams_held_back",
            "Streams that are kept and not served, because the store does not give what is needed",
            self.held_back_total as f64,
        );
        out.gauge(
            "jetstream_consumers",
            "Consumers, those that are not told one by one included",
            self.consumers_total as f64,
        );
        self.write_streams(out);
        self.write_consumers(out);
    }

    fn write_streams(&self, out: &mut Exposition) {
        let each = |value: fn(&StreamState) -> u64| {
            self.streams.iter().map(|(labels, state)| (labels.clone(), value(state) as f64)).collect::<Vec<_>>()
        };
        out.gauges("stream_messages", "Messages in the stream", each(|state| state.messages));
        out.gauges("stream_bytes", "Bytes of the stream's messages", each(|state| state.bytes));
        out.gauges("stream_first_sequence", "Sequence of the first message", each(|state| state.first_seq));
        out.gauges("stream_last_sequence", "Sequence of the last message", each(|state| state.last_seq));
        out.gauges("stream_subjects", "Subjects of the stream's messages", each(|state| state.num_subjects));
        out.gauges("stream_deleted", "Sequences missing between first and last", each(|state| state.num_deleted));
        out.gauges("stream_consumers", "Consumers of the stream", each(|state| state.consumer_count));
        out.gauges(
            "stream_lost_messages",
            "Messages that damage has taken",
            each(|state| state.lost.as_ref().map_or(0, |lost| lost.msgs.len() as u64)),
        );
        out.counters(
            "stream_message_ids_forgotten",
            "Message ids forgotten within the duplicate window, because more came than are held",
            self.ids_forgotten.clone(),
        );
    }

    fn write_consumers(&self, out: &mut Exposition) {
        let each = |value: fn(&Consumer) -> u64| {
            self.consumers.iter().map(|(labels, consumer)| (labels.clone(), value(consumer) as f64)).collect::<Vec<_>>()
        };
        out.gauges("consumer_pending", "Messages that were not delivered yet", each(|one| one.info.num_pending));
        out.gauges(
            "consumer_ack_pending",
            "Messages delivered and not acknowledged",
            each(|one| one.info.num_ack_pending),
        );
        out.gauges(
            "consumer_ack_floor_lag",
            "Sequences between the ack floor and the end of the stream",
            each(|one| one.last_sequence.saturating_sub(one.info.ack_floor.stream_seq)),
        );
        out.gauges(
            "consumer_ack_floor_stream_sequence",
            "Everything up to this sequence of the stream is acknowledged",
            each(|one| one.info.ack_floor.stream_seq),
        );
        out.gauges(
            "consumer_delivered_stream_sequence",
            "The highest sequence of the stream that was delivered",
            each(|one| one.info.delivered.stream_seq),
        );
        out.gauges(
            "consumer_delivered_consumer_sequence",
            "Deliveries, those repeated included",
            each(|one| one.info.delivered.consumer_seq),
        );
        out.gauges(
            "consumer_redelivered",
            "Messages that wait with more than one delivery",
            each(|one| one.info.num_redelivered),
        );
        out.gauges("consumer_waiting_pulls", "Pull requests that wait", each(|one| one.info.num_waiting));
        out.gauges("consumer_paused", "1 while the consumer is paused", each(|one| u64::from(one.info.paused)));
    }
}
