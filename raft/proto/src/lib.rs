//! The messages of tikv's `raft` 0.7.0 as hand-kept prost 0.14 structs. It takes the place of the published `raft-proto`
//! (see `[patch.crates-io]` in the workspace), whose build needs `protoc` and whose byte fields copy.
//!
//! Owns: the eleven messages, their wire numbers (kept equal to the published ones), the accessors `raft` calls, and the
//! [`protobuf::Message`] shim that `raft` 0.7 asks for. Bytes are always parsed by prost; protobuf 2 is linked and never parses.

mod accessors;
mod confchange;
mod confstate;
pub mod eraftpb;
mod shim;

pub use confchange::{ConfChangeI, new_conf_change_single, parse_conf_change, stringify_conf_change};
pub use confstate::conf_state_eq;

pub mod prelude {
    //! All message and enum types.
    pub use crate::eraftpb::{
        ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType,
        HardState, Message, MessageType, Snapshot, SnapshotMetadata,
    };
}
