//! The answer of a router that knows nobody for a request, given where we subscribe more widely than the genuine server:
//! there each stream and each consumer has subjects of its own, and nobody is there when it is gone.

use std::sync::Arc;

use crate::account::{Account, ClientIdentity};
use crate::router;

/// Tells who asked that nobody listens to `subject`, if it wants to know and waits on `reply` itself.
#[cold]
pub fn tell(account: &Account, client: Option<&Arc<ClientIdentity>>, subject: &[u8], reply: Option<&[u8]>) {
    let asker = client.filter(|client| client.no_responders);
    if let (Some(client), Some(reply)) = (asker, reply)
        && let Some((outbound, answer)) = router::no_responders(account, client.id, subject, reply)
    {
        outbound.send_control(&answer);
    }
}
