//! Groups at rest cost nothing: no tick, no heartbeat.
//!
//! The rules:
//! - A leader whose members all hold and have committed everything, for a while, tells them to sleep, and stops ticking. A member on
//!   a node that is known to be down is not waited for, if a quorum is there: one dead node must not keep thousands awake.
//! - A follower told so agrees only if all of it is true for itself too (same term, same leader, nothing more in its log). One
//!   that does not get the message just stays awake, asks for votes after a while, and thereby wakes the others.
//! - Anything wakes a group: a proposal, a read, any message of a peer.
//! - The liveness of the leader is watched per node, not per group: when the link to a node goes down, the groups it leads wake
//!   and may elect; when it comes back, the groups that went to sleep without it wake and bring it up to date.
//! - A restarted replica is awake and knows no leader. Its request for votes is refused (the others know one) and wakes the
//!   leader, whose heartbeat answers it.
//!
//! Sleeping is safe because no decision rests on a clock: linearizable reads ask the quorum.

use crate::ids::{GroupId, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// Longer than two election timeouts: a group that is merely slow does not doze off between messages.
const QUIET_TICKS: u32 = 40;

#[derive(Debug, Default)]
pub(crate) struct Sleep {
    pub asleep: bool,
    /// Poisoned.
    pub is_dead: bool,
    is_listed: bool,
    quiet_ticks: u32,
    /// What was committed at the last tick.
    commit: u64,
}

impl Sleep {
    /// Whether the group must be added to the ticking ones.
    pub fn wake(&mut self, has_peers: bool) -> bool {
        if std::mem::take(&mut self.asleep) {
            self.quiet_ticks = 0;
        }
        !self.is_dead && has_peers && !std::mem::replace(&mut self.is_listed, true)
    }

    /// Whether the leader should go to sleep now.
    pub fn tick(&mut self, is_quiet: bool, commit: u64) -> bool {
        let idle = std::mem::replace(&mut self.commit, commit) == commit;
        self.quiet_ticks = if is_quiet && idle { self.quiet_ticks + 1 } else { 0 };
        let falls_asleep = self.quiet_ticks >= QUIET_TICKS;
        self.asleep |= falls_asleep;
        falls_asleep
    }

    /// Whether the group stays among the ticking ones.
    pub fn ticks(&mut self) -> bool {
        self.is_listed = !self.asleep && !self.is_dead;
        self.is_listed
    }
}

/// Who is to be woken by what happens to a node.
#[derive(Debug, Default)]
pub(crate) struct Sleepers {
    led_by: BTreeMap<NodeId, BTreeSet<GroupId>>,
    without: BTreeMap<NodeId, BTreeSet<GroupId>>,
}

impl Sleepers {
    pub fn led_by(&mut self, node: NodeId, group: GroupId) {
        self.led_by.entry(node).or_default().insert(group);
    }

    pub fn without(&mut self, node: NodeId, group: GroupId) {
        self.without.entry(node).or_default().insert(group);
    }

    pub fn take_led_by(&mut self, node: NodeId) -> BTreeSet<GroupId> {
        self.led_by.remove(&node).unwrap_or_default()
    }

    pub fn take_without(&mut self, node: NodeId) -> BTreeSet<GroupId> {
        self.without.remove(&node).unwrap_or_default()
    }
}
