//! How messages find their way through an account: a match cache per publisher, fan-out staged per subscriber,
//! queue groups, and the door to the services inside the server.

mod burst;
mod cache;
mod deliver;
mod keeping;
mod mail;
mod nesting;
mod no_responders;
mod publisher;
mod spaced_sid;

pub use crate::account::Outbound;
pub use burst::{Awaited, Burst};
pub use cache::{MatchCache, Rights, Verdict, is_reserved_reply};
pub use deliver::{Outgoing, Reached, deliver, write_line};
pub use mail::Letter;
pub use no_responders::no_responders;
pub use publisher::Publisher;

#[cfg(test)]
mod tests;
