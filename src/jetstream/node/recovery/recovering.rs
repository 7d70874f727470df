//! One group between its checkpoint and its last entry.

use headwater_raft::{CheckpointBody, EntryKind, GroupState, RecoverError, TermLog};
use headwater_storage::{GroupId, Record, RecoveredGroup, SequenceSet};

use super::super::super::checkpoint;
use super::super::super::consumer_table::ConsumerTable;
use super::super::super::core::Core;
use super::super::super::group_log::{GroupLog, raft_kind};
use super::super::super::meta::{META_GROUP, MetaMachine, StreamDefinition};
use super::super::super::stream::StreamMachine;
use super::super::StartError;
use super::unreadable;

/// Why a group does not go on. Entries and checkpoints that are damaged are gone, and it goes on without them; these may
/// be good, and would be replaced.
pub const REFUSED: &str = "the disk refuses to give what is stored of it";

/// Where nothing is known of a stream but its messages, a gap between them is put down to damage unless it is longer.
const LOST_MAX: u64 = 1 << 20;

pub struct Recovering {
    pub state: GroupState,
    pub log: TermLog,
    pub time: i64,
    pub machine: Option<(StreamMachine, ConsumerTable)>,
    /// Messages whose bytes were still to be overwritten at the checkpoint.
    pub erasures: SequenceSet,
    /// None while the stream is not known (yet): the list of streams comes first in the journal.
    pub core: Option<Core>,
    /// What the group itself says that it is, and the last index that this reflects.
    pub definition: Option<(u64, StreamDefinition)>,
    /// Only a checkpoint says it: the record for it is missing or damaged.
    pub undefined: bool,
    /// The last entry that gave the stream another configuration.
    pub updated: u64,
    /// Entries since the last message that could not be read.
    pub damaged: u64,
    /// Something of the log is lost: what is known of the stream's limits may be outdated.
    pub incomplete: bool,
    /// Entries are lost that a damaged checkpoint covered: consumers may be lost with it, and what they did.
    pub fell_back: bool,
    /// There is no checkpoint any more, and the log does not begin with the stream: what is left are messages.
    pub forgotten: bool,
    /// Why the group can not be served.
    pub broken: Option<String>,
    /// The last index of the log, and its term: the entry itself may be damaged.
    pub last: (u64, u64),
    /// The highest sequence of a message that is stored, 0 without any.
    pub last_sequence: u64,
}

impl Recovering {
    pub fn new() -> Self {
        Self {
            state: GroupState::bootstrap(&[GroupLog::peer()]),
            log: TermLog::new(0, 0),
            time: 0,
            machine: None,
            erasures: SequenceSet::new(),
            core: None,
            definition: None,
            undefined: false,
            updated: 0,
            damaged: 0,
            incomplete: false,
            fell_back: false,
            forgotten: false,
            broken: None,
            last: (0, 0),
            last_sequence: 0,
        }
    }

    /// Takes in what the journal knows of a group: its definition, its state and its checkpoint. Gives the machine of the meta
    /// group.
    ///
    /// # Errors
    /// When the disk refuses some of it, or this version does not understand it. The definition is taken in all the same.
    pub fn restore(&mut self, recovered: RecoveredGroup) -> Result<Option<MetaMachine>, StartError> {
        let group = recovered.group;
        if let Some(definition) = recovered.definition {
            match <StreamDefinition as prost::Message>::decode(definition.body) {
                Ok(known) if known.group == group.0 => self.definition = Some((definition.index, known)),
                _ => tracing::error!(group = group.0, "a stream's own definition can not be understood"),
            }
        }
        if recovered.unreadable {
            return Err(unreadable(group, &REFUSED));
        }
        self.last = (recovered.last_index, recovered.last_term);
        self.last_sequence = recovered.last_sequence;
        let covered = recovered.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.index);
        let has_gap = recovered.last_index > covered && recovered.first_index > covered + 1;
        let is_gone = recovered.last_index == 0 && recovered.last_sequence > 0;
        self.fell_back = recovered.fell_back && has_gap;
        self.forgotten = recovered.checkpoint.is_none() && (has_gap || is_gone);
        self.incomplete = recovered.fell_back || has_gap || is_gone;
        if let Some(body) = &recovered.state {
            self.state = GroupState::decode(body).map_err(|problem| unreadable(group, &problem))?;
            let (commit, term) = (self.state.commit(), self.state.term());
            if commit > self.last.0 {
                // It was there, whatever is left of it.
                self.last = (commit, term.max(self.last.1));
            }
        }
        if is_gone && self.last.0 == 0 {
            // An index that is missing tells the next start, too, that this is not the beginning.
            self.last = (1, self.state.term().max(1));
        }
        let mut body = None;
        if let Some(checkpoint) = recovered.checkpoint {
            let wrapped = CheckpointBody::decode(checkpoint.body).map_err(|problem| unreadable(group, &problem))?;
            self.state = self.state.clone().with_checkpoint(checkpoint.index, &wrapped);
            self.log = TermLog::new(checkpoint.index, checkpoint.term);
            body = Some(wrapped.machine);
        }
        if group == META_GROUP {
            let machine = match body {
                Some(body) => MetaMachine::restore(&body).map_err(|problem| unreadable(group, &problem))?,
                None => MetaMachine::new(),
            };
            return Ok(Some(machine));
        }
        if let Some(body) = body {
            let restored = checkpoint::restore(body).map_err(|problem| unreadable(group, &problem))?;
            self.take_definition(self.log.compacted(), restored.definition);
            self.time = restored.time;
            self.machine = Some((restored.machine, restored.consumers));
            self.erasures = restored.erasures;
        }
        Ok(None)
    }

    /// What a checkpoint says that the group is, unless a later record is known.
    fn take_definition(&mut self, index: u64, definition: Option<StreamDefinition>) {
        self.undefined = self.definition.is_none();
        if self.definition.as_ref().is_none_or(|(known, _)| *known < index)
            && let Some(definition) = definition
        {
            self.definition = Some((index, definition));
        }
    }

    /// Takes the entry into the log. Entries before it that can not be read are gone: this server holds the only copy.
    ///
    /// # Errors
    /// When the log contradicts itself.
    pub fn take_in(&mut self, record: &Record) -> Result<(), RecoverError> {
        let Record { header, .. } = record;
        let after = self.log.last();
        if header.index > after + 1 {
            self.fill(header.index - 1, self.log.last_term())?;
            let (group, first, last) = (header.group.0, after + 1, header.index - 1);
            tracing::error!(group, first, last, "entries of a log can not be read: what they changed is lost");
        }
        self.log.recover(header.index, header.term, raft_kind(header.tag), record.payload())?;
        self.time = self.time.max(header.time);
        Ok(())
    }

    fn fill(&mut self, last: u64, term: u64) -> Result<(), RecoverError> {
        self.incomplete = true;
        if let Some(core) = &mut self.core {
            // One of them may have raised a limit: nothing more may leave because of the old one.
            core.suspend_limits();
        }
        for index in self.log.last() + 1..=last {
            self.log.recover(index, term, EntryKind::Normal, b"")?;
            self.damaged += 1;
        }
        Ok(())
    }

    /// Applies an entry that was taken in.
    pub fn apply(&mut self, record: &Record) {
        let Some(core) = &mut self.core else { return };
        let config = core.config().clone();
        core.replay(&record.as_ref(), self.damaged);
        if record.header.sequence > 0 {
            self.damaged = 0;
        }
        if !std::sync::Arc::ptr_eq(&config, core.config()) {
            self.updated = record.header.index;
        }
    }

    /// The end of the log may be what is damaged. Its indexes and sequences were given, and are not given again.
    pub fn fill_end(&mut self, group: GroupId) {
        let (last, term) = self.last;
        let after = self.log.last();
        if self.broken.is_some() {
            return;
        }
        if last > after {
            if let Err(problem) = self.fill(last, term) {
                self.broken = Some(unreadable(group, &problem).to_string());
                return;
            }
            let (group, first) = (group.0, after + 1);
            tracing::error!(group, first, last, "the end of a log is damaged: what it changed is lost");
        }
        self.lose_end();
    }

    /// What is damaged and no message follows. Of some of it the journal knows what it was.
    fn lose_end(&mut self) {
        let Some(core) = self.core.as_mut().filter(|_| self.forgotten || self.damaged > 0) else { return };
        core.replay_held();
        let before = core.machine.last_sequence();
        core.lose(self.last_sequence + 1, self.damaged.max(if self.forgotten { LOST_MAX } else { 0 }));
        let known = core.machine.last_sequence() - before;
        core.machine.pass_over(self.damaged.saturating_sub(known));
    }

    /// Says what damage may have cost that nobody would miss otherwise.
    pub fn report(&self, stream: &str) {
        if self.forgotten {
            let (messages, consumers) =
                self.core.as_ref().map_or((0, 0), |core| (core.machine.messages(), core.consumers.len()));
            tracing::error!(
                stream,
                messages,
                consumers,
                "nothing is left of a stream's checkpoints: it has the messages that are stored, and consumers that are not \
                 in the log are lost"
            );
        } else if self.fell_back {
            tracing::error!(
                stream,
                index = self.log.compacted(),
                "a stream goes on from an older checkpoint, since the latest is damaged: what consumers were made or did \
                 between the two is lost"
            );
        }
    }
}
