//! The JetStream API: requests on `$JS.API.>` of one account (6.1).
//!
//! A request is answered at once when it only reads, and after its entry is durable when it changes something.
//! Subjects that nobody knows get no answer at all, as in the genuine server.

mod account_info;
mod answer;
mod consumers;
mod direct_get;
mod messages;
mod streams;

use std::sync::Arc;

pub use answer::Answer;

use super::account::{Access, JetStreamAccount};
use super::api::error_codes;
use super::api::responses::{self, Body};
use super::api::{ApiError, validate};
use super::node::Node;
use crate::account::{Account, ClientIdentity, InternalMessage, InternalSubscriber};
use crate::protocol::headers;

/// What every API subject begins with.
pub const PREFIX: &str = "$JS.API.";
/// A request that needs a higher API level than ours is refused (P-16).
const REQUIRED_API_LEVEL: &str = "Nats-Required-Api-Level";

/// The API of one account, on its own prefix or on that of the domain.
pub struct ApiService {
    pub node: Arc<Node>,
    pub account: Arc<JetStreamAccount>,
    /// What the subjects of its requests begin with.
    pub prefix: String,
}

/// What a request that waits takes besides its texts.
const WAITING_OVERHEAD: usize = 512;

/// Why a snapshot fails: who asks for one is told so at once instead of waiting for it.
const NOT_YET: &str = "not supported by this release";

/// One request, borrowed from the connection's buffer.
pub struct Request<'a> {
    pub node: &'a Arc<Node>,
    pub account: &'a Arc<JetStreamAccount>,
    /// As the client wrote it.
    pub subject: &'a str,
    /// Behind the prefix.
    pub tokens: &'a [&'a str],
    pub reply: Option<&'a [u8]>,
    pub headers: &'a [u8],
    pub body: &'a [u8],
    pub client: Option<&'a Arc<ClientIdentity>>,
}

impl InternalSubscriber for ApiService {
    fn deliver(&self, _: &Arc<Account>, messages: &[InternalMessage<'_>]) {
        for message in messages {
            self.request(message);
        }
    }

    fn end_turn(&self, _lone: bool) {
        // What a request changes is written by the writer's thread: there is more to it than to a message, and creating
        // consumers one after another was a fifth slower with the other way.
        self.node.end_of_burst(false);
    }
}

impl ApiService {
    fn request(&self, message: &InternalMessage<'_>) {
        // A consumer's delivery, or an answer of this server, has somebody's choice of a reply subject for its destination
        // and somebody else's bytes for its content: nobody has asked for anything. Such a delivery has the subject under
        // which the message was stored, at that.
        if message.client.is_none() {
            return;
        }
        let Ok(subject) = std::str::from_utf8(message.subject) else { return };
        let Some(rest) = subject.strip_prefix(&*self.prefix) else { return };
        // Names hold no dots, so only a filter at the end needs more tokens than this; it is cut from the text.
        let tokens: Vec<&str> = rest.split('.').collect();
        let request = Request {
            node: &self.node,
            account: &self.account,
            subject,
            tokens: &tokens,
            reply: message.reply,
            headers: message.headers,
            body: message.payload,
            client: message.client,
        };
        request.dispatch();
    }
}

impl Request<'_> {
    fn dispatch(&self) {
        if self.account.access() == Access::System && self.tokens != ["INFO"] {
            return self.refuse_system();
        }
        match self.tokens {
            ["CONSUMER", "MSG", "NEXT", stream, consumer] => self.next_message(stream, consumer),
            ["CONSUMER", "MSG", "NEXT", ..] => self.no_responders(),
            ["DIRECT", "GET", stream] => self.direct_get(stream),
            ["DIRECT", "GET", stream, ..] => self.direct_get_last(stream),
            ["INFO"] => self.account_info(),
            ["STREAM", "CREATE", stream] => self.stream_create(stream),
            ["STREAM", "UPDATE", stream] => self.stream_update(stream),
            ["STREAM", "NAMES"] => self.stream_names(),
            ["STREAM", "LIST"] => self.stream_list(),
            ["STREAM", "INFO", stream] => self.stream_info(stream),
            ["STREAM", "DELETE", stream] => self.stream_delete(stream),
            ["STREAM", "PURGE", stream] => self.stream_purge(stream),
            ["STREAM", "SNAPSHOT", stream] => self.stream_snapshot(stream),
            ["STREAM", "RESTORE", _] => self.stream_restore(),
            ["STREAM", "MSG", "GET", stream] => self.message_get(stream),
            ["STREAM", "MSG", "DELETE", stream] => self.message_delete(stream),
            ["STREAM", "LEADER", "STEPDOWN", _] => self.refuse::<responses::StreamSteppedDown>(no_cluster()),
            ["STREAM", "PEER", "REMOVE", _] => self.refuse::<responses::PeerRemoved>(no_cluster()),
            ["STREAM", "PEER", "EVACUATE", _] => self.refuse::<responses::PeerEvacuated>(no_cluster()),
            ["STREAM", "CANCEL_MOVE", _] => self.refuse::<responses::MoveCancelled>(no_cluster()),
            ["CONSUMER", "CREATE", ..] => self.consumer_create(),
            ["CONSUMER", "DURABLE", "CREATE", _, _] => self.consumer_create(),
            ["CONSUMER", "NAMES", stream] => self.consumer_names(stream),
            ["CONSUMER", "LIST", stream] => self.consumer_list(stream),
            ["CONSUMER", "INFO", stream, consumer] => self.consumer_info(stream, consumer),
            ["CONSUMER", "DELETE", stream, consumer] => self.consumer_delete(stream, consumer),
            ["CONSUMER", "PAUSE", stream, consumer] => self.consumer_pause(stream, consumer),
            ["CONSUMER", "RESET", stream, consumer] => self.consumer_reset(stream, consumer),
            ["CONSUMER", "UNPIN", stream, consumer] => self.consumer_unpin(stream, consumer),
            ["CONSUMER", "LEADER", "STEPDOWN", _, _] => self.refuse::<responses::ConsumerSteppedDown>(no_cluster()),
            _ => {}
        }
    }

    /// Where the answer goes, to be kept until the change is durable.
    pub fn answer(&self) -> Answer {
        self.account.count_request();
        Answer::new(self)
    }

    /// As [`answer`](Self::answer), for what the genuine server answers behind the back of its API: it counts no such
    /// request, and no audit tells of it.
    pub fn unnoticed_answer(&self) -> Answer {
        Answer::unnoticed(self)
    }

    /// At most what is kept of the request until it is answered.
    fn waiting_bytes(&self) -> usize {
        WAITING_OVERHEAD + self.subject.len() + self.reply.map_or(0, <[u8]>::len) + self.body.len()
    }

    pub fn respond<B: Body>(&self, outcome: Result<B, ApiError>) {
        self.answer().send(outcome);
    }

    pub fn refuse<B: Body>(&self, error: ApiError) {
        self.respond::<B>(Err(error));
    }

    /// The system account asks for what others own, and is told so without being named itself. Requests about servers
    /// and accounts are not of this API.
    fn refuse_system(&self) {
        if !matches!(self.tokens, ["META" | "SERVER" | "ACCOUNT", ..]) {
            let unnamed = Request { client: None, ..*self };
            unnamed.refuse::<responses::System>(error_codes::NOT_ENABLED_FOR_ACCOUNT.error());
        }
    }

    /// What is true of every request before its body is looked at.
    pub fn admit(&self) -> Result<(), ApiError> {
        self.check_level()?;
        self.check_enabled()
    }

    pub fn check_enabled(&self) -> Result<(), ApiError> {
        match self.account.access() {
            Access::Enabled => Ok(()),
            Access::Disabled | Access::System => Err(error_codes::NOT_ENABLED_FOR_ACCOUNT.error()),
        }
    }

    pub fn check_level(&self) -> Result<(), ApiError> {
        match validate::required_level_is_met(headers::get_str(self.headers, REQUIRED_API_LEVEL)) {
            true => Ok(()),
            false => Err(error_codes::REQUIRED_API_LEVEL.error()),
        }
    }

    pub fn is_strict(&self) -> bool {
        self.node.options().strict
    }
}

fn no_cluster() -> ApiError {
    error_codes::CLUSTER_REQUIRED.error()
}
