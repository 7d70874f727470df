//! Many Raft groups over one journal. Time, network and disk come from outside; everything here is a pure machine.

mod election;
mod group;
mod ids;
mod log;
mod logger;
mod membership;
mod output;
mod payload;
mod settings;
mod state;
mod writes;

pub use group::{Group, GroupConfig, RestartError};
pub use ids::{GroupId, NodeId, PeerId};
pub use log::{EntryKind, RecoverError, TermLog};
pub use membership::{Change, Membership, Step, plan};
pub use output::{Append, Install, Output, ProposeError, Proposed, Read, ReadError, Role, StepError};
pub use payload::{EntrySource, Missing, attach};
pub use settings::Settings;
pub use state::{CheckpointBody, GroupState, StateError};
