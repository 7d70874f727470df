//! What must hold in every run, checked as it happens:
//! - one leader per term, and one vote per peer and term;
//! - an index, once applied anywhere, holds the same entry everywhere and for ever;
//! - equal applied index, equal state;
//! - what was acknowledged stays applied; what was reported lost never happens;
//! - a read sees everything acknowledged before it was asked;
//! - no group panics, a leader's next entry for a peer is after what the peer has (raft-rs issue 557);
//! - once all is healed, everyone agrees and new proposals are acknowledged.

use crate::election::mix;
use crate::ids::{GroupId, PeerId};
use crate::transport::{Body, Envelope};
use bytes::Bytes;
use raft::eraftpb::MessageType;
use std::collections::BTreeMap;
use std::fmt;

/// A broken promise, with what is needed to see it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub seed: u64,
    pub now: u64,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SEED={} step {}: {}", self.seed, self.now, self.what)
    }
}

impl std::error::Error for Violation {}

#[derive(Debug, Default)]
struct Facts {
    leaders: BTreeMap<u64, PeerId>,
    votes: BTreeMap<(PeerId, u64), u64>,
    /// Term and payload hash by index.
    applied: BTreeMap<u64, (u64, u64)>,
    states: BTreeMap<u64, u64>,
    acked: u64,
    lost: Vec<(u64, u64)>,
}

#[derive(Debug, Default)]
pub struct Checker {
    groups: BTreeMap<GroupId, Facts>,
    /// What was acknowledged when the read was asked.
    reads: BTreeMap<u64, u64>,
}

impl Checker {
    fn facts(&mut self, group: GroupId) -> &mut Facts {
        self.groups.entry(group).or_default()
    }

    pub fn leads(&mut self, group: GroupId, term: u64, peer: PeerId) -> Result<(), String> {
        match self.facts(group).leaders.insert(term, peer) {
            Some(other) if other != peer => Err(format!("{group:?}: {other} and {peer} both lead term {term}")),
            _ => Ok(()),
        }
    }

    /// Looks at a message as it leaves.
    pub fn sent(&mut self, envelope: &Envelope) -> Result<(), String> {
        let Body::Raft(message) = &envelope.body else { return Ok(()) };
        let candidate = match message.msg_type() {
            MessageType::MsgRequestVote => message.from,
            MessageType::MsgRequestVoteResponse if !message.reject => message.to,
            _ => return Ok(()),
        };
        let Envelope { group, from, .. } = *envelope;
        match self.facts(group).votes.insert((from, message.term), candidate) {
            Some(other) if other != candidate => Err(format!("{group:?}: {from} votes twice in term {}", message.term)),
            _ => Ok(()),
        }
    }

    pub fn applied(&mut self, group: GroupId, index: u64, term: u64, payload: &Bytes) -> Result<(), String> {
        let hash = payload.iter().fold(term, |hash, byte| mix(hash ^ u64::from(*byte)));
        match self.facts(group).applied.insert(index, (term, hash)) {
            Some(before) if before != (term, hash) => {
                Err(format!("{group:?}: entry {index} of term {} became another, of term {term}", before.0))
            }
            _ => Ok(()),
        }
    }

    pub fn state(&mut self, group: GroupId, applied: u64, hash: u64) -> Result<(), String> {
        match self.facts(group).states.insert(applied, hash) {
            Some(before) if before != hash => Err(format!("{group:?}: two states after entry {applied}")),
            _ => Ok(()),
        }
    }

    pub fn acknowledged(&mut self, group: GroupId, index: u64) {
        let facts = self.facts(group);
        facts.acked = facts.acked.max(index);
    }

    /// The proposal that was entry `index` of `term` was reported lost.
    pub fn lost(&mut self, group: GroupId, index: u64, term: u64) {
        self.facts(group).lost.push((index, term));
    }

    pub fn read_asked(&mut self, group: GroupId, request: u64) {
        let acked = self.facts(group).acked;
        self.reads.insert(request, acked);
    }

    pub fn read_answered(&mut self, group: GroupId, request: u64, index: u64) -> Result<(), String> {
        match self.reads.remove(&request) {
            Some(acked) if index < acked => {
                Err(format!("{group:?}: a read at {index} misses entry {acked}, acknowledged before it was asked"))
            }
            Some(_) => Ok(()),
            None => Err(format!("{group:?}: read {request} was answered twice, or never asked")),
        }
    }

    /// At the end, with everyone at `applied`.
    pub fn finished(&mut self, group: GroupId, applied: u64) -> Result<(), String> {
        let facts = self.facts(group);
        if applied < facts.acked {
            return Err(format!("{group:?}: entry {} was acknowledged and is gone, all end at {applied}", facts.acked));
        }
        match facts.lost.iter().find(|(index, term)| facts.applied.get(index).is_some_and(|entry| entry.0 == *term)) {
            Some((index, term)) => {
                Err(format!("{group:?}: entry {index} of term {term} was reported lost and applied"))
            }
            None => Ok(()),
        }
    }
}
