//! What a group is tuned with, and how that reads in raft's own words. raft's defaults are unfit (one entry per message, no
//! limits, no quorum check), so every field that matters is set here.

use crate::ids::PeerId;
use raft::{Config, ReadOnlyOption};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Ticks without a leader before an election, at least; at most twice that.
    pub election_ticks: usize,
    pub heartbeat_ticks: usize,
    /// Payload bytes in one append message; more entries make more messages.
    pub message_bytes_max: usize,
    /// Append messages under way to one follower.
    pub inflight_messages_max: usize,
    /// Proposals not committed yet; beyond it `propose` refuses.
    pub uncommitted_entries_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            election_ticks: 10,
            heartbeat_ticks: 2,
            message_bytes_max: 1 << 20,
            inflight_messages_max: 256,
            uncommitted_entries_max: 1 << 20,
        }
    }
}

const UNCOMMITTED_BYTES_MAX: u64 = 64 << 20;
const COMMITTED_BYTES_PER_READY_MAX: u64 = 16 << 20;

impl Settings {
    pub(crate) fn raft_config(&self, peer: PeerId, applied: u64) -> Config {
        Config {
            id: peer.get(),
            applied,
            election_tick: self.election_ticks,
            heartbeat_tick: self.heartbeat_ticks,
            // Bounds membership changes only: other entries reach raft without their payload. `payload::attach` bounds those.
            max_size_per_msg: self.message_bytes_max as u64,
            max_inflight_msgs: self.inflight_messages_max,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: COMMITTED_BYTES_PER_READY_MAX,
            // A leader cut off must not believe in itself; a peer cut off must not depose one.
            check_quorum: true,
            pre_vote: true,
            // Clocks are not trusted: a linearizable read asks the quorum.
            read_only_option: ReadOnlyOption::Safe,
            skip_bcast_commit: false,
            batch_append: false,
            ..Config::default()
        }
    }
}
