//! Linearizable reads without writing an entry: the leader confirms with a quorum that it still leads.

use super::Group;
use crate::output::{Output, Read, ReadError, Role};
use raft::{INVALID_ID, ReadState, StateRole};

/// raft keeps pending reads without bound; this is ours.
const PENDING_READS_MAX: usize = 4096;

impl Group {
    /// Asks for an index to read at. The answer comes out of [`Group::ready`]; a follower's question may get lost, so its caller
    /// asks again after a while. `request` must be new.
    pub fn read_index(&mut self, request: u64) -> Result<(), ReadError> {
        self.flush();
        let raft = &self.node.raft;
        if raft.leader_id == INVALID_ID {
            return Err(ReadError::NoLeader);
        }
        // raft would drop the question without a word.
        if raft.state == StateRole::Leader && !raft.commit_to_current_term() {
            return Err(ReadError::NotYet);
        }
        if self.reads.len() >= PENDING_READS_MAX || raft.pending_read_count() >= PENDING_READS_MAX {
            return Err(ReadError::Full);
        }
        let context = [self.peer.get().to_le_bytes(), request.to_le_bytes()].concat();
        self.node.read_index(context);
        self.reads.push(request);
        Ok(())
    }

    pub(super) fn collect_reads(&mut self, answers: Vec<ReadState>, output: &mut Output) {
        for answer in answers {
            let Some(request) = self.own_request(&answer.request_ctx) else { continue };
            if let Some(at) = self.reads.iter().position(|waiting| *waiting == request) {
                self.reads.swap_remove(at);
                output.reads.push(Read { request, index: answer.index });
            }
        }
        if follows(self.seen) != follows(self.role()) {
            output.reads_lost.append(&mut self.reads);
        }
    }

    fn own_request(&self, context: &[u8]) -> Option<u64> {
        let request = context.strip_prefix(&self.peer.get().to_le_bytes())?;
        Some(u64::from_le_bytes(request.try_into().ok()?))
    }
}

/// Term and leader: a read asked under one pair is not answered under another.
fn follows(role: Role) -> (u64, u64) {
    match role {
        Role::Leader { term } => (term, u64::MAX),
        Role::Follower { term, leader } => (term, leader.map_or(0, |leader| leader.get())),
        Role::Candidate { term } => (term, 0),
    }
}
