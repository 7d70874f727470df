//! How messages reach streams and consumers: the services that subscribe on their behalf.

use std::sync::Arc;

use super::account::JetStreamAccount;
use super::consumer::reply_subject;
use super::no_responders;
use super::node::Node;
use super::replica::Replica;
use super::shared::QUEUE_BYTES_HIGH;
use crate::account::{Account, InternalMessage, InternalSubscriber};

/// What is published to a stream's subjects.
pub struct Ingest {
    pub node: Arc<Node>,
    pub replica: Arc<Replica>,
}

impl InternalSubscriber for Ingest {
    /// HOT PATH: one lock of the stream and two of the journal's queue per burst.
    fn deliver(&self, account: &Arc<Account>, messages: &[InternalMessage<'_>]) {
        let queued = self.replica.publish(messages);
        if queued > QUEUE_BYTES_HIGH {
            // Back-pressure instead of refusals: whoever publishes to streams is not read until the queue is shorter.
            self.node.close_gate(account);
        }
    }

    fn end_turn(&self, lone: bool) {
        self.node.end_of_burst(lone);
    }
}

/// Acknowledgements, on `$JS.ACK.>`.
pub struct Acks(pub Arc<JetStreamAccount>);

impl InternalSubscriber for Acks {
    fn deliver(&self, account: &Arc<Account>, messages: &[InternalMessage<'_>]) {
        for message in messages {
            if !self.ack(message) {
                no_responders::tell(account, message.client, message.subject, message.reply);
            }
        }
    }
}

impl Acks {
    /// False when no consumer has the subject.
    fn ack(&self, message: &InternalMessage<'_>) -> bool {
        let Some(token) = reply_subject::parse(message.subject) else { return false };
        let (Ok(stream), Ok(consumer)) = (std::str::from_utf8(token.stream), std::str::from_utf8(token.consumer))
        else {
            return false;
        };
        let replica = self.0.find(stream);
        replica.is_some_and(|replica| replica.ack(consumer, &token.numbers, message.payload, message.reply))
    }
}

/// Answers to flow control, on `$JS.FC.>`.
pub struct FlowControl(pub Arc<JetStreamAccount>);

impl InternalSubscriber for FlowControl {
    fn deliver(&self, account: &Arc<Account>, messages: &[InternalMessage<'_>]) {
        for message in messages {
            if !self.answered(message) {
                no_responders::tell(account, message.client, message.subject, message.reply);
            }
        }
    }
}

impl FlowControl {
    /// False when no consumer has the subject.
    fn answered(&self, message: &InternalMessage<'_>) -> bool {
        let Ok(subject) = std::str::from_utf8(message.subject) else { return false };
        let tokens: Vec<&str> = subject.split('.').collect();
        // `$JS.FC.<stream>.<consumer>.<id>`, or with domain and account in front of the stream.
        let (stream, consumer) = match tokens.as_slice() {
            ["$JS", "FC", stream, consumer, _] | ["$JS", "FC", _, _, stream, consumer, ..] => (*stream, *consumer),
            _ => return false,
        };
        let replica = self.0.find(stream);
        replica.is_some_and(|replica| replica.flow_control(consumer, message.subject, message.headers))
    }
}
