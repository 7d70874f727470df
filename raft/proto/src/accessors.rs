//! The getters and setters `raft` 0.7 calls, in the manner of protobuf 2. (prost's derive writes the setters of enum fields.)

use crate::eraftpb::*;
use bytes::Bytes;

/// A macro because Rust has no way to say "this method for that field" otherwise; one line a field.
macro_rules! accessors {
    ($($message:ident { $($kind:ident $field:ident: $type:ty { $($name:ident)* })* })*) => { $(
        impl $message { $( accessors!(@$kind $field $type, $($name)*); )* }
    )* };
    (@number $field:ident $type:ty, $get:ident $set:ident) => {
        #[inline] pub fn $get(&self) -> $type { self.$field }
        #[inline] pub fn $set(&mut self, value: $type) { self.$field = value; }
    };
    (@choice $field:ident $type:ty, $get:ident) => {
        #[inline] pub fn $get(&self) -> $type { self.$field() }
    };
    (@bytes $field:ident $type:ty, $get:ident $set:ident $take:ident) => {
        #[inline] pub fn $get(&self) -> &[u8] { &self.$field }
        #[inline] pub fn $set(&mut self, value: $type) { self.$field = value; }
        #[inline] pub fn $take(&mut self) -> $type { std::mem::take(&mut self.$field) }
    };
    (@list $field:ident $type:ty, $get:ident $set:ident $mut:ident $take:ident) => {
        #[inline] pub fn $get(&self) -> &[$type] { &self.$field }
        #[inline] pub fn $set(&mut self, value: Vec<$type>) { self.$field = value; }
        #[inline] pub fn $mut(&mut self) -> &mut Vec<$type> { &mut self.$field }
        #[inline] pub fn $take(&mut self) -> Vec<$type> { std::mem::take(&mut self.$field) }
    };
    (@message $field:ident $type:ty, $has:ident $get:ident $set:ident $mut:ident $take:ident) => {
        #[inline] pub fn $has(&self) -> bool { self.$field.is_some() }
        #[inline] pub fn $get(&self) -> &$type {
            match &self.$field { Some(value) => value, None => protobuf::Message::default_instance() }
        }
        #[inline] pub fn $set(&mut self, value: $type) { self.$field = Some(value); }
        #[inline] pub fn $mut(&mut self) -> &mut $type { self.$field.get_or_insert_default() }
        #[inline] pub fn $take(&mut self) -> $type { self.$field.take().unwrap_or_default() }
    };
}

accessors! {
    Entry {
        choice entry_type: EntryType { get_entry_type }
        number term: u64 { get_term set_term }
        number index: u64 { get_index set_index }
        bytes data: Bytes { get_data set_data take_data }
        bytes context: Bytes { get_context set_context take_context }
    }
    SnapshotMetadata {
        message conf_state: ConfState { has_conf_state get_conf_state set_conf_state mut_conf_state take_conf_state }
        number index: u64 { get_index set_index }
        number term: u64 { get_term set_term }
    }
    Snapshot {
        bytes data: Bytes { get_data set_data take_data }
        message metadata: SnapshotMetadata { has_metadata get_metadata set_metadata mut_metadata take_metadata }
    }
    Message {
        choice msg_type: MessageType { get_msg_type }
        number to: u64 { get_to set_to }
        number from: u64 { get_from set_from }
        number term: u64 { get_term set_term }
        number log_term: u64 { get_log_term set_log_term }
        number index: u64 { get_index set_index }
        list entries: Entry { get_entries set_entries mut_entries take_entries }
        number commit: u64 { get_commit set_commit }
        number commit_term: u64 { get_commit_term set_commit_term }
        message snapshot: Snapshot { has_snapshot get_snapshot set_snapshot mut_snapshot take_snapshot }
        number request_snapshot: u64 { get_request_snapshot set_request_snapshot }
        number reject: bool { get_reject set_reject }
        number reject_hint: u64 { get_reject_hint set_reject_hint }
        bytes context: Bytes { get_context set_context take_context }
        number deprecated_priority: u64 { get_deprecated_priority set_deprecated_priority }
        number priority: i64 { get_priority set_priority }
    }
    HardState {
        number term: u64 { get_term set_term }
        number vote: u64 { get_vote set_vote }
        number commit: u64 { get_commit set_commit }
    }
    ConfState {
        list voters: u64 { get_voters set_voters mut_voters take_voters }
        list learners: u64 { get_learners set_learners mut_learners take_learners }
        list voters_outgoing: u64 { get_voters_outgoing set_voters_outgoing mut_voters_outgoing take_voters_outgoing }
        list learners_next: u64 { get_learners_next set_learners_next mut_learners_next take_learners_next }
        number auto_leave: bool { get_auto_leave set_auto_leave }
    }
    ConfChange {
        number id: u64 { get_id set_id }
        choice change_type: ConfChangeType { get_change_type }
        number node_id: u64 { get_node_id set_node_id }
        bytes context: Bytes { get_context set_context take_context }
    }
    ConfChangeSingle {
        choice change_type: ConfChangeType { get_change_type }
        number node_id: u64 { get_node_id set_node_id }
    }
    ConfChangeV2 {
        choice transition: ConfChangeTransition { get_transition }
        list changes: ConfChangeSingle { get_changes set_changes mut_changes take_changes }
        bytes context: Bytes { get_context set_context take_context }
    }
}
