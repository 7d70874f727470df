//! The answer of a router that knows nobody for a request, given where we subscribe more widely than the genuine server:
//! there each stream and each consumer has subjects of its own, and nobody is there when it is gone.

use std::sync::Arc;

use crate::account::Account;
use crate::protocol::headers;
use crate::router::Publisher;

/// Tells whoever waits on `reply` that nobody listens to `subject`.
pub fn tell(account: &Arc<Account>, subject: &[u8], reply: &[u8]) {
    let mut block = headers::status(503, "");
    headers::append(&mut block, "Nats-Subject", subject);
    let mut publisher = Publisher::new(account);
    publisher.publish(reply, None, &block, &[]);
    publisher.flush();
}
