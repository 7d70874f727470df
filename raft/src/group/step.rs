//! Messages from other peers. raft trusts what it steps and panics at what cannot be; whatever a confused or stale peer could
//! send is sorted out here first.

use super::Group;
use crate::ids::PeerId;
use crate::membership;
use crate::output::StepError;
use raft::ProgressState;
use raft::StateRole;
use raft::eraftpb::{EntryType, Message, MessageType};

/// No honest number comes near: beyond it, arithmetic on indexes could overflow.
const NUMBER_MAX: u64 = 1 << 62;

impl Group {
    pub fn step(&mut self, message: Message) -> Result<(), StepError> {
        self.flush();
        self.admit(&message)?;
        if self.is_stale_rejection(&message) {
            return Ok(());
        }
        // What raft refuses here (a response from a removed peer) is nothing to act on.
        let _ = self.node.step(message);
        self.check();
        Ok(())
    }

    fn admit(&self, message: &Message) -> Result<(), StepError> {
        use MessageType::*;
        let from_peer = PeerId::from_raw(message.from).is_some_and(|from| from != self.peer);
        let kind = MessageType::try_from(message.msg_type).map_err(|_| StepError::Stray)?;
        // A term of 0 marks a message as local to raft, or as a question that any leader may answer.
        let timely = (message.term == 0) == (kind == MsgReadIndex);
        if message.to != self.peer.get() || !from_peer || !timely || !has_sane_numbers(message) {
            return Err(StepError::Stray);
        }
        let last = self.node.raft.raft_log.last_index();
        let fits = match kind {
            MsgAppend => is_continuous(message),
            MsgSnapshot => {
                let metadata = message.get_snapshot().get_metadata();
                metadata.index > 0 && metadata.term > 0 && metadata.term <= message.term
            }
            MsgAppendResponse => message.reject || message.index <= last || self.node.raft.state != StateRole::Leader,
            MsgReadIndex | MsgReadIndexResp => message.entries.len() == 1,
            MsgHeartbeat if message.commit > last && message.term >= self.term() => {
                return Err(StepError::LostLog { commit: message.commit, last });
            }
            MsgTimeoutNow => self.may_campaign(),
            MsgHeartbeat | MsgHeartbeatResponse => true,
            MsgRequestVote | MsgRequestVoteResponse | MsgRequestPreVote | MsgRequestPreVoteResponse => true,
            // Proposals are made where the payload is; the rest is for raft's own ears.
            MsgPropose | MsgTransferLeader | MsgHup | MsgBeat | MsgUnreachable | MsgSnapStatus | MsgCheckQuorum => {
                false
            }
        };
        if fits { Ok(()) } else { Err(StepError::Stray) }
    }

    /// raft-rs issue 557, not fixed in 0.7.0: while probing, a rejection that was under way when its sender already
    /// acknowledged more moves `next_idx` back to or before `matched`. No follower rejects what it has acknowledged, so such a
    /// rejection is old and is dropped; the next heartbeat lets the probe go on.
    fn is_stale_rejection(&self, message: &Message) -> bool {
        #[cfg(any(test, feature = "sim"))]
        if self.trusts_stale_rejections {
            return false;
        }
        let raft = &self.node.raft;
        let ours = raft.state == StateRole::Leader && message.term == raft.term;
        if !ours || message.msg_type() != MessageType::MsgAppendResponse || !message.reject {
            return false;
        }
        let Some(progress) = raft.prs().get(message.from) else { return false };
        if progress.state == ProgressState::Replicate || message.request_snapshot != 0 {
            return false;
        }
        let hint = match message.log_term {
            0 => message.reject_hint,
            term => raft.raft_log.find_conflict_by_term(message.reject_hint, term).0,
        };
        progress.matched > 0 && message.index.min(hint + 1) <= progress.matched
    }

    /// Switches the guard above off, for tests that show it is needed.
    #[cfg(any(test, feature = "sim"))]
    pub fn trust_stale_rejections(&mut self, trust: bool) {
        self.trusts_stale_rejections = trust;
    }
}

fn has_sane_numbers(message: &Message) -> bool {
    let Message { term, log_term, index, commit, commit_term, reject_hint, request_snapshot, .. } = message;
    [term, log_term, index, commit, commit_term, reject_hint, request_snapshot]
        .iter()
        .all(|number| **number < NUMBER_MAX)
}

fn is_continuous(message: &Message) -> bool {
    // raft takes an unknown entry for one of term 0.
    let has_place = (message.index == 0) == (message.log_term == 0);
    let mut term = message.log_term;
    has_place
        && message.entries.iter().zip(message.index + 1..).all(|(entry, index)| {
            let follows = entry.index == index && entry.term >= term && entry.term <= message.term;
            term = entry.term;
            let kind_fits = match EntryType::try_from(entry.entry_type) {
                Ok(EntryType::EntryNormal) => true,
                Ok(EntryType::EntryConfChangeV2) => membership::decode_change(&entry.data).is_some(),
                _ => false,
            };
            follows && entry.term > 0 && kind_fits
        })
}
