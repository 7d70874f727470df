//! The reply to one API request, kept until it can be sent, and its audit advisory (6.3, `API`).

use std::sync::Arc;

use serde::Serialize;

use super::Request;
use crate::account::ClientIdentity;
use crate::jetstream::account::JetStreamAccount;
use crate::jetstream::advisory;
use crate::jetstream::api::error::ApiError;
use crate::jetstream::api::responses::{self, Body};
use crate::jetstream::node::Node;
use crate::router::Publisher;

const AUDIT_SUBJECT: &[u8] = b"$JS.EVENT.ADVISORY.API";
/// An audit quotes no more than this of a request or response.
const AUDIT_BYTES_MAX: usize = 64 * 1024;

/// Who asked what, and where the answer goes.
pub struct Answer {
    node: Arc<Node>,
    account: Arc<JetStreamAccount>,
    reply: Option<Box<[u8]>>,
    notice: Notice,
}

/// Whether anybody is to know of the request.
enum Notice {
    None,
    Counted,
    Audited(Audit),
}

struct Audit {
    subject: String,
    request: String,
    client: Option<Arc<ClientIdentity>>,
}

impl Answer {
    /// An answer that is neither counted nor audited.
    pub fn unnoticed(request: &Request<'_>) -> Self {
        Self {
            node: request.node.clone(),
            account: request.account.clone(),
            reply: request.reply.map(Into::into),
            notice: Notice::None,
        }
    }

    pub fn new(request: &Request<'_>) -> Self {
        let audited = request.account.account().has_interest(AUDIT_SUBJECT);
        let quoted = &request.body[..request.body.len().min(AUDIT_BYTES_MAX)];
        let audit = || Audit {
            subject: request.subject.to_owned(),
            request: String::from_utf8_lossy(quoted).into_owned(),
            client: request.client.cloned(),
        };
        let notice = if audited { Notice::Audited(audit()) } else { Notice::Counted };
        Self { notice, ..Self::unnoticed(request) }
    }

    /// Sends the reply and flushes it.
    pub fn send<B: Body>(self, outcome: Result<B, ApiError>) {
        self.count(outcome.is_err());
        self.send_bytes(&responses::encode(outcome));
    }

    /// As [`send`](Self::send), for a body that goes with an error.
    pub fn send_with<B: Body>(self, body: B, error: Option<ApiError>) {
        self.count(error.is_some());
        self.send_bytes(&responses::encode_with(body, error));
    }

    /// As [`send`](Self::send) while a stream is locked: the reply leaves with what else the publisher holds.
    pub fn send_on<B: Body>(self, publisher: &mut Publisher, outcome: Result<B, ApiError>) {
        self.count(outcome.is_err());
        self.publish(publisher, &responses::encode(outcome));
    }

    fn count(&self, is_error: bool) {
        if is_error && !matches!(self.notice, Notice::None) {
            self.account.count_error();
        }
    }

    fn send_bytes(self, response: &[u8]) {
        let mut publisher = Publisher::new(self.account.account());
        self.publish(&mut publisher, response);
        publisher.flush();
    }

    fn publish(self, publisher: &mut Publisher, response: &[u8]) {
        if let Some(reply) = &self.reply {
            publisher.publish(reply, None, &[], &[response]);
        }
        if let Notice::Audited(audit) = &self.notice {
            let quoted = &response[..response.len().min(AUDIT_BYTES_MAX)];
            let body = AuditBody {
                server: self.node.server_name(),
                client: audit.client.as_deref().map(|client| {
                    advisory::client_info(client, self.account.account().name(), self.node.server_name())
                }),
                subject: &audit.subject,
                request: &audit.request,
                response: &String::from_utf8_lossy(quoted),
                domain: self.node.domain().unwrap_or_default(),
            };
            let text = advisory::encode("io.nats.jetstream.advisory.v1.api_audit", self.node.now(), body);
            publisher.publish(AUDIT_SUBJECT, None, &[], &[&text]);
        }
    }
}

#[derive(Serialize)]
struct AuditBody<'a> {
    server: &'a str,
    client: Option<advisory::ClientInfo>,
    subject: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    request: &'a str,
    response: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    domain: &'a str,
}
