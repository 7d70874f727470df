//! Advisories and metrics about deliveries (6.3), as JSON.

use serde_json::{Map, Value, json};

use super::api::Timestamp;
use super::consumer::{Advisory, Outputs};

/// Which consumer an advisory is about.
pub struct About<'a> {
    pub stream: &'a str,
    pub consumer: &'a str,
    pub account: &'a str,
    pub domain: &'a str,
}

const ADVISORY: &str = "$JS.EVENT.ADVISORY.CONSUMER";
const METRIC: &str = "$JS.EVENT.METRIC.CONSUMER";

/// The subject, the type and the fields of an advisory, in the order in which the genuine server writes them.
pub fn describe(event: &Advisory, outputs: &Outputs, about: &About<'_>) -> (String, &'static str, Map<String, Value>) {
    let text = |reference| String::from_utf8_lossy(outputs.text(reference)).into_owned();
    let (word, kind, fields) = match *event {
        Advisory::MaxDeliveries { stream_sequence, deliveries } => (
            "MAX_DELIVERIES",
            "io.nats.jetstream.advisory.v1.max_deliver",
            json!({"stream_seq": stream_sequence, "deliveries": deliveries}),
        ),
        Advisory::Naked { consumer_sequence, stream_sequence, deliveries } => (
            "MSG_NAKED",
            "io.nats.jetstream.advisory.v1.nak",
            json!({"consumer_seq": consumer_sequence, "stream_seq": stream_sequence, "deliveries": deliveries}),
        ),
        Advisory::Terminated { consumer_sequence, stream_sequence, deliveries, reason } => (
            "MSG_TERMINATED",
            "io.nats.jetstream.advisory.v1.terminated",
            terminated(consumer_sequence, stream_sequence, deliveries, &text(reason)),
        ),
        Advisory::Dropped { consumer_sequence, stream_sequence, deliveries, reason } => (
            "MSG_TERMINATED",
            "io.nats.jetstream.advisory.v1.terminated",
            terminated(consumer_sequence, stream_sequence, deliveries, reason.as_str()),
        ),
        Advisory::AckSample { consumer_sequence, stream_sequence, deliveries, delay } => (
            "ACK",
            "io.nats.jetstream.metric.v1.consumer_ack",
            json!({
                "consumer_seq": consumer_sequence,
                "stream_seq": stream_sequence,
                "ack_time": delay,
                "deliveries": deliveries,
            }),
        ),
        Advisory::Pinned { group, id } => (
            "PINNED",
            "io.nats.jetstream.advisory.v1.consumer_group_pinned",
            json!({"account": about.account, "group": text(group), "pinned_id": text(id)}),
        ),
        Advisory::Unpinned { group, reason } => (
            "UNPINNED",
            "io.nats.jetstream.advisory.v1.consumer_group_unpinned",
            json!({"account": about.account, "group": text(group), "reason": reason.as_str()}),
        ),
        Advisory::Paused { until, paused } => (
            "PAUSE",
            "io.nats.jetstream.advisory.v1.consumer_pause",
            json!({"paused": paused, "pause_until": pause_text(until)}),
        ),
    };
    let prefix = if word == "ACK" { METRIC } else { ADVISORY };
    let mut body = Map::new();
    body.insert("stream".into(), about.stream.into());
    body.insert("consumer".into(), about.consumer.into());
    if let Value::Object(fields) = fields {
        body.extend(fields);
    }
    if !about.domain.is_empty() {
        body.insert("domain".into(), about.domain.into());
    }
    (format!("{prefix}.{word}.{}.{}", about.stream, about.consumer), kind, body)
}

fn terminated(consumer_sequence: u64, stream_sequence: u64, deliveries: u32, reason: &str) -> Value {
    let mut fields =
        json!({"consumer_seq": consumer_sequence, "stream_seq": stream_sequence, "deliveries": deliveries});
    if !reason.is_empty() {
        fields["reason"] = reason.into();
    }
    fields
}

fn pause_text(until: i64) -> String {
    // 0 is how the consumer says that it was resumed.
    let until = if until == 0 { Timestamp::ZERO } else { Timestamp(until) };
    until.to_string()
}
