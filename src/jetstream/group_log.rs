//! A group's place in the journal: proposals become records, durable positions become committed ranges.
//!
//! A position is a place in the journal as one growing number. A memory stream has no journal; its positions are
//! counted and durable at once, so that the code path is the same.

use std::ops::RangeInclusive;

use bytes::Bytes;
use headwater_raft::{
    Append, CheckpointBody, EntryKind, Group, GroupConfig, GroupState, NodeId, PeerId, ProposeError, RestartError,
    Settings, TermLog,
};
use headwater_storage::{
    AppendClass, AppendError, Appender, GroupId, Journal, Location, RecordHeader, RecordKind, Urgency,
};

const TAG_EMPTY: u8 = 0xf1;
const TAG_MEMBERSHIP: u8 = 0xf2;

/// One raft group and the clock of its log.
pub struct GroupLog {
    group: Group,
    id: GroupId,
    /// Log time of the last entry: time never stands still and never goes back (reliability.md, clock jumps).
    time: i64,
    position: u64,
    /// Raft's state as it was last written since the start.
    state: Option<Bytes>,
}

/// Where an entry was placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub index: u64,
    pub term: u64,
}

impl GroupLog {
    /// The only peer of a group on a single server.
    pub fn peer() -> PeerId {
        PeerId::new(NodeId(1), 1)
    }

    /// A group that has no records yet.
    ///
    /// # Errors
    /// Never for a new group; the type is raft's.
    pub fn create(id: GroupId) -> Result<Self, RestartError> {
        Self::restart(id, GroupState::bootstrap(&[Self::peer()]), TermLog::new(0, 0), 0)
    }

    /// A group whose entries up to the end of `log` are in the journal and applied.
    ///
    /// # Errors
    /// When state and log contradict each other: the group must not be served.
    pub fn restart(id: GroupId, state: GroupState, log: TermLog, time: i64) -> Result<Self, RestartError> {
        let applied = log.last();
        let group = Group::new(GroupConfig {
            group: id,
            peer: Self::peer(),
            settings: Settings::default(),
            state,
            log,
            applied,
            seed: id.0,
        })?;
        Ok(Self { group, id, time, position: 0, state: None })
    }

    pub fn id(&self) -> GroupId {
        self.id
    }

    pub fn group(&self) -> &Group {
        &self.group
    }

    pub fn is_leader(&self) -> bool {
        self.group.is_leader()
    }

    /// The time of the last entry.
    pub fn time(&self) -> i64 {
        self.time
    }

    /// The time of an entry that was applied at a restart.
    pub fn set_time(&mut self, time: i64) {
        self.time = self.time.max(time);
    }

    /// Takes the lead; what raft wants written goes to the appender, or nowhere for a memory stream.
    pub fn lead(&mut self, mut appender: Option<&mut Appender<'_>>) {
        self.group.campaign();
        while self.group.needs_ready() {
            let output = self.group.ready();
            if let Some(state) = &output.state {
                self.write(appender.as_deref_mut(), RecordKind::State, (0, 0, 0), state);
                self.state = Some(state.clone());
            }
            for Append { index, term, kind, payload } in &output.appends {
                self.write(appender.as_deref_mut(), RecordKind::Entry, (*index, *term, raft_tag(*kind)), payload);
            }
            self.written();
        }
    }

    /// Takes the lead of a group in the journal, unless it has it. A full disk may not have room even for that.
    pub fn take_lead(&mut self, journal: &Journal) -> Result<(), AppendError> {
        if !self.is_leader() {
            let mut appender = journal.append(AppendClass::Control)?;
            self.lead(Some(&mut appender));
            appender.finish(Urgency::Lazy);
        }
        Ok(())
    }

    /// Reserves the place of the next entry; it must be written before anything else happens to the group.
    pub fn propose(&mut self) -> Result<Placed, ProposeError> {
        self.propose_many(1)
    }

    /// Reserves the places of the next `count` entries, which follow each other; gives the first.
    pub fn propose_many(&mut self, count: u64) -> Result<Placed, ProposeError> {
        let proposed = self.group.propose(count)?;
        Ok(Placed { index: proposed.first_index, term: proposed.term })
    }

    /// Notes where the last entry was written.
    pub fn placed(&mut self, location: Location) {
        self.position = position(location);
    }

    /// Appends a control entry of this log time.
    ///
    /// # Errors
    /// When the group does not lead or has too much under way; nothing was appended.
    pub fn append_control(
        &mut self,
        appender: Option<&mut Appender<'_>>,
        tag: u8,
        payload: &Bytes,
        time: i64,
    ) -> Result<Placed, ProposeError> {
        let placed = self.propose()?;
        self.set_time(time);
        self.write(appender, RecordKind::Entry, (placed.index, placed.term, tag), payload);
        self.written();
        Ok(placed)
    }

    /// Writes a checkpoint of the entries up to `index`. `anew` has the state written once more, so that it keeps no older
    /// segment. Where it is large, most of it is written by and by.
    ///
    /// # Errors
    /// When the journal does not take it; nothing was written.
    pub fn write_checkpoint(
        &self,
        journal: &Journal,
        (index, term, body): (u64, u64, Bytes),
        anew: bool,
    ) -> Result<(), AppendError> {
        let mut appender = journal.append_large(AppendClass::Control, body.len())?;
        if let Some(state) = self.state.as_ref().filter(|_| anew) {
            appender.record(&self.header(RecordKind::State, (0, 0, 0), state), &[state]);
        }
        appender.checkpoint(self.id, index, term, body);
        appender.finish(Urgency::Lazy);
        Ok(())
    }

    /// The last entry that a checkpoint can cover now, and its term: none before there is an entry. It may be one that a
    /// checkpoint covers already.
    pub fn checkpoint_at(&self) -> Option<(u64, u64)> {
        let index = self.applied();
        self.group.entry_term(index).filter(|_| index > 0).map(|term| (index, term))
    }

    /// The body of a checkpoint record: what the machine made of it, and the members as of the same entry.
    pub fn wrap_checkpoint(&self, machine: Bytes) -> Bytes {
        CheckpointBody::new(&self.group.membership(), machine).encode()
    }

    fn write(&mut self, appender: Option<&mut Appender<'_>>, kind: RecordKind, place: (u64, u64, u8), payload: &Bytes) {
        let header = self.header(kind, place, payload);
        match appender {
            Some(appender) => self.position = position(appender.record(&header, &[payload])),
            None => self.position += 1,
        }
    }

    fn header(&self, kind: RecordKind, (index, term, tag): (u64, u64, u8), payload: &Bytes) -> RecordHeader {
        RecordHeader {
            group: self.id,
            index,
            term,
            kind,
            tag,
            sequence: 0,
            time: self.time,
            subject_len: 0,
            headers_len: 0,
            payload_len: payload.len() as u32,
        }
    }

    /// The end of a turn that appended something.
    pub fn written(&mut self) -> Option<RangeInclusive<u64>> {
        self.group.written(self.position)
    }

    /// Everything up to this place is durable: what may be applied now.
    pub fn on_durable(&mut self, location: Location) -> Option<RangeInclusive<u64>> {
        self.group.on_durable(position(location))
    }

    /// A memory stream: what was appended counts as durable.
    pub fn on_remembered(&mut self) -> Option<RangeInclusive<u64>> {
        self.position += 1;
        self.group.written(self.position);
        self.group.on_durable(self.position)
    }

    pub fn advance_applied(&mut self, index: u64) {
        self.group.advance_applied(index);
    }

    pub fn applied(&self) -> u64 {
        self.group.applied()
    }

    /// Entries that are appended and not yet applied.
    pub fn in_flight(&self) -> u64 {
        self.group.last_index() - self.group.applied()
    }

    /// A durable checkpoint covers everything up to `index`.
    pub fn compact(&mut self, index: u64) {
        self.group.compact(index);
    }
}

/// The tag under which an entry of raft's own is recorded; the machines never see it.
pub fn raft_tag(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Normal => 0,
        EntryKind::Empty => TAG_EMPTY,
        EntryKind::Membership => TAG_MEMBERSHIP,
    }
}

/// Which kind of entry a tag stands for.
pub fn raft_kind(tag: u8) -> EntryKind {
    match tag {
        TAG_EMPTY => EntryKind::Empty,
        TAG_MEMBERSHIP => EntryKind::Membership,
        _ => EntryKind::Normal,
    }
}

fn position(location: Location) -> u64 {
    u64::from(location.segment) << 32 | u64::from(location.offset)
}
