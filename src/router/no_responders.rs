//! The answer to a request that nobody is there for (C-23): the asker alone gets it, where it waits itself.

use crate::account::{Account, Outbound, Subscription};
use crate::protocol::headers;
use std::sync::Arc;

/// What the connection `asker` is told after it asked on `subject` and nobody was there. None when it does not wait for
/// `reply` with a subscription of its own. Whether it wants to be told is for the caller to know.
pub fn no_responders(account: &Account, asker: u64, subject: &[u8], reply: &[u8]) -> Option<(Arc<Outbound>, Vec<u8>)> {
    let waiting = |subscription: &Subscription| {
        let outbound = subscription.outbound().filter(|outbound| outbound.id() == asker)?;
        subscription.queue.is_none().then(|| Arc::clone(outbound))
    };
    let mut found = None;
    account.interest.any_match(reply, |subscription| {
        found = waiting(subscription).map(|outbound| (outbound, subscription.sid().to_vec()));
        found.is_some()
    });
    let (outbound, sid) = found?;
    let mut block = headers::status(503, "");
    headers::append(&mut block, "Nats-Subject", subject);
    let sizes = format!(" {0} {0}\r\n", block.len());
    Some((outbound, [b"HMSG ", reply, b" ", &sid, sizes.as_bytes(), &block, b"\r\n"].concat()))
}
