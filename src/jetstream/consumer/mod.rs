//! Consumers as pure machines: a replicated part, [`ConsumerState`], that changes only by [`Delta`]s in the order of the
//! stream's log, and a part that lives on the leader, [`Consumer`], that takes inputs and says what to do in [`Outputs`].
//!
//! ```text
//! create entry applied      ConsumerState::start(config, stream)            on every replica
//! became leader             Consumer::new(settings, state.clone(), ctx)
//! request, ack, timer ...   consumer.<input>(.., ctx, out); consumer.deliver(bound, ctx, out)
//! out.deltas                proposed as one entry; applied on every replica with ConsumerState::apply
//! out.events                carried out in order; ReplyAfterCommit once the deltas are committed
//! ```

mod ack_body;
mod acks;
mod backlog;
mod checkpoint;
mod control;
mod deliver;
pub mod delta;
mod expiry;
mod filter;
pub mod flow_control;
mod inactivity;
mod info;
mod last_per_subject;
mod live;
mod outputs;
mod pending;
mod priority;
mod pull;
mod push;
mod rate_limit;
mod redelivery;
mod replay;
pub mod reply_subject;
mod request;
mod settings;
mod start;
mod state;
mod status;
mod timers;
mod unread;
mod varint;
mod view;

#[cfg(test)]
mod tests;

pub use ack_body::AckBody;
pub use checkpoint::MalformedState;
pub use control::{End, ResetError};
pub use deliver::{Blocked, PassBound, Progress};
pub use delta::{Delta, MalformedDelta};
pub use filter::Filter;
pub use live::Consumer;
pub use outputs::{Advisory, Delivery, DropReason, Event, Outputs, TextRef, UnpinReason};
pub use pending::{Pending, PendingMap};
pub use reply_subject::{AckToken, ReplyNumbers};
pub use settings::{PushSettings, Settings, StreamTraits};
pub use state::{ConsumerState, SequencePair};
pub use status::{BadRequest, Remaining, Status};
pub use unread::Undelivered;
pub use view::{Context, Environment, Interest, MessageSize, Run, StreamView, Unread};

/// The time of a deadline that is not set.
const NEVER: i64 = i64::MAX;
