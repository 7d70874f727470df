//! A stream as a pure machine: what a publish becomes, and what every entry of the log changes. No clock, no I/O, no
//! randomness: replicas that apply the same entries are equal, and say so with [`StreamMachine::state_hash`].
//!
//! ```text
//! leader    decide(publish)  -> Accept { sequence, time }   the record goes to the journal and the followers
//!           decide_control   -> time                        likewise for purges, deletes, expiry, updates, consumers;
//!           control_appended                                once the log has taken it
//! all       apply_message / apply_control -> Effects        in log order, once committed
//! anybody   queries                                         over the applied state
//! ```
//!
//! Applying a removal reads the message that goes. So a removed message must stay readable until a checkpoint that has
//! the removal is durable: until then the removal may be applied again. [`Releases`] keeps that order.
//!
//! Pointers of one stream: `first <= last + 1`; everything in `first..=last` that is not `deleted` is stored;
//! `last < next_sequence`, the difference being in flight.

mod apply;
mod batch;
mod checkpoint;
mod consumers;
mod content;
mod control;
mod decide;
mod decide_batch;
mod effects;
mod expire;
mod fast_batch;
mod fast_batches;
mod fast_reply;
mod in_flight;
mod incomplete;
mod interest;
mod links;
mod machine;
mod markers;
mod publish_headers;
mod purge;
mod queries;
mod releases;
mod remove;
mod rules;
mod source;
#[cfg(test)]
pub mod tests;

pub use batch::{
    Abandoned, BatchBudget, BatchLimits, Commit, OpenBatches, StagedMessage, Step, without_required_level,
};
pub use checkpoint::MalformedCheckpoint;
pub use consumers::{Consumers, Interest, LostInterest, NoConsumers};
pub use content::message_bytes;
pub use control::{ConsumerChange, Control, MESSAGE, MESSAGE_OF_BATCH, MalformedControl};
pub use decide::{Accept, Publish, Refusal, Room};
pub use effects::{Effects, Outcome, Removed};
pub use fast_batch::{Committed, Notice};
pub use fast_batches::{FastBatches, FastLimits, FastMessage, Ticket};
pub use fast_reply::{FastReply, Operation, is_of_fast_batch};
pub use in_flight::IN_FLIGHT_MAX;
pub use machine::{MessageEntry, StreamMachine};
pub use markers::Marker;
pub use publish_headers::{PublishHeaders, Rollup, Ttl};
pub use queries::{SubjectsPage, TooManySubjects};
pub use releases::{Releasable, Releases};
pub use source::{MessageRef, MessageSource, MessageView, Unreadable};
