//! A turn of a group: what was proposed becomes part of the log, what raft wants done is handed out, and what the journal made
//! durable is told to raft.

use super::Group;
use crate::log::{ENTRIES_PER_MESSAGE_MAX, EntryKind, is_membership};
use crate::output::{Append, Install, Output};
use crate::state::GroupState;
use raft::StateRole;
use raft::eraftpb::{Entry, HardState, Message, MessageType, SnapshotMetadata};
use std::ops::RangeInclusive;

impl Group {
    /// The driver has appended all that was proposed and handed out so far, at or before `position`. Must follow every turn that
    /// appended something; messages wait for it. Returns what became committed, as [`Group::on_durable`] does.
    pub fn written(&mut self, position: u64) -> Option<RangeInclusive<u64>> {
        self.flush();
        self.writes.close(position);
        self.settle();
        self.take_committed()
    }

    /// The journal is durable up to `position`. Returns what became committed and may be applied; for a group of one that is all
    /// there is to do. A replicated group has messages to send now: call [`Group::ready`].
    pub fn on_durable(&mut self, position: u64) -> Option<RangeInclusive<u64>> {
        self.flush();
        self.writes.durable(position);
        self.settle();
        self.take_committed()
    }

    /// Whether a turn is due: [`Group::ready`] has something to say, or [`Group::written`] was not called for what was proposed.
    pub fn needs_ready(&self) -> bool {
        let log = &self.node.raft.raft_log;
        self.proposed > 0
            || self.writes.is_open()
            || !self.outgoing.is_empty()
            || self.needs_raft_ready()
            || self.membership_unsaved
            || self.membership_changed
            || self.log().snapshot_wanted()
            || self.handed < log.committed.min(log.persisted)
    }

    fn needs_raft_ready(&self) -> bool {
        let raft = &self.node.raft;
        !raft.msgs.is_empty()
            || !raft.raft_log.unstable.entries.is_empty()
            || raft.raft_log.unstable.snapshot.is_some()
            || !raft.read_states.is_empty()
            || (raft.term, raft.vote) != self.saved
            || self.role() != self.seen
    }

    /// The end of a turn: everything the group wants done.
    pub fn ready(&mut self) -> Output {
        self.flush();
        let mut output = Output::default();
        if self.needs_raft_ready() {
            self.raft_ready(&mut output);
        }
        self.save_state(&mut output);
        output.messages.append(&mut self.outgoing);
        output.committed = self.take_committed();
        output.snapshot_wanted = self.log().snapshot_wanted();
        if std::mem::take(&mut self.membership_changed) {
            output.membership = Some(self.membership());
        }
        self.check();
        output
    }

    fn raft_ready(&mut self, output: &mut Output) {
        let mut ready = self.node.ready();
        let number = ready.number();
        if !ready.snapshot().is_empty() {
            output.install = Some(self.install(ready.snapshot().get_metadata().clone()));
        }
        let entries = ready.take_entries();
        self.append(&entries, output);
        self.collect_reads(ready.take_read_states(), output);
        let leads = self.node.raft.state == StateRole::Leader;
        let messages = if leads { ready.take_messages() } else { ready.take_persisted_messages() };
        self.node.advance_append_async(ready);
        // The state is part of what messages wait for, so it is handed out before they are attached.
        self.save_state(output);
        let (snapshots, messages): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| message.msg_type() == MessageType::MsgSnapshot);
        output.snapshots = snapshots;
        self.release(number, messages, leads);
        let role = self.role();
        if role != self.seen {
            self.seen = role;
            output.role = Some(role);
        }
    }

    fn install(&mut self, metadata: SnapshotMetadata) -> Install {
        let (index, term) = (metadata.index, metadata.term);
        self.node.mut_store().reset(index, term);
        self.writes.install(index);
        (self.applied, self.handed, self.installing) = (index, index, index);
        (self.membership_index, self.membership_unsaved, self.membership_changed) = (index, true, true);
        Install { index, term, membership: self.membership() }
    }

    fn append(&mut self, entries: &[Entry], output: &mut Output) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        self.node.mut_store().append_entries(entries);
        self.writes.entries(first.index, last.index);
        output.appends = entries.iter().map(to_append).collect();
    }

    /// A leader's messages may overtake its own write, but only when its term is durable: a sole voter is elected on the spot,
    /// and a learner that heard of the term must never hear different entries of the same term after a crash.
    fn release(&mut self, number: u64, messages: Vec<Message>, leads: bool) {
        let (now, later) = match leads && self.term_durable == self.term() {
            true => (messages, Vec::new()),
            false => (Vec::new(), messages),
        };
        self.outgoing.extend(now);
        if let Some(messages) = self.writes.attach(number, later) {
            self.outgoing.extend(messages);
            self.node.on_persist_ready(number);
        }
    }

    /// Hands out a state record when the promise (term, vote) or the members changed. How far the log is committed rides along:
    /// losing that is harmless, so it alone is no reason to write.
    fn save_state(&mut self, output: &mut Output) {
        let raft = &self.node.raft;
        if (raft.term, raft.vote) == self.saved && !self.membership_unsaved {
            return;
        }
        self.saved = (raft.term, raft.vote);
        self.membership_unsaved = false;
        // Not past what is durable: a recovered log must reach what its state calls committed.
        let commit = raft.raft_log.committed.min(raft.raft_log.persisted);
        let state = GroupState {
            hard: HardState { term: raft.term, vote: raft.vote, commit },
            conf: self.conf_state(),
            conf_index: self.membership_index,
        };
        self.writes.state(raft.term);
        output.state = Some(state.encode());
    }

    /// Tells raft of the proposals. The entries go straight into the log: raft's list of unstable entries would copy each of
    /// them three times, only to hand them back for writing what the caller has written already.
    pub(super) fn flush(&mut self) {
        let count = std::mem::take(&mut self.proposed);
        if count == 0 {
            return;
        }
        let raft = &mut self.node.raft;
        assert!(raft.state == StateRole::Leader && raft.raft_log.unstable.entries.is_empty());
        let first = raft.raft_log.store.last() + 1;
        let term = raft.term;
        raft.raft_log.store.append(term, count);
        raft.raft_log.unstable.offset = first + count;
        self.writes.entries(first, first + count - 1);
        if self.has_peers() {
            for _ in 0..count.div_ceil(ENTRIES_PER_MESSAGE_MAX) {
                self.node.raft.bcast_append();
            }
        }
    }

    fn settle(&mut self) {
        while let Some(settled) = self.writes.settle() {
            self.term_durable = self.term_durable.max(settled.term);
            if settled.number > 0 {
                self.node.on_persist_ready(settled.number);
            }
            if settled.install > 0 && settled.install == self.installing {
                self.installing = 0;
                self.node.advance_apply_to(settled.install);
            }
            if let Some(term) = self.log().term(settled.last).filter(|_| settled.last > 0) {
                self.node.raft.on_persist_entries(settled.last, term);
            }
            self.outgoing.extend(settled.messages);
        }
        self.check();
    }

    fn take_committed(&mut self) -> Option<RangeInclusive<u64>> {
        let log = &self.node.raft.raft_log;
        let until = log.committed.min(log.persisted);
        let first = self.handed + 1;
        (first <= until).then(|| {
            self.handed = until;
            first..=until
        })
    }
}

fn to_append(entry: &Entry) -> Append {
    let kind = match (is_membership(entry), entry.data.is_empty()) {
        (true, _) => EntryKind::Membership,
        (false, true) => EntryKind::Empty,
        (false, false) => EntryKind::Normal,
    };
    Append { index: entry.index, term: entry.term, kind, payload: entry.data.clone() }
}
