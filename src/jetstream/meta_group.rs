//! The meta group at work: creating and deleting streams, each answered once its entry is durable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use headwater_storage::{AppendClass, GroupId, Location, RecordKind, RecordRef, Urgency};
use parking_lot::MutexGuard;
use prost::Message;

use super::account::JetStreamAccount;
use super::api::responses::{Body, StreamCreated, StreamDeleted};
use super::api::{ApiError, StreamConfig, error_codes, json};
use super::checkpoint::is_last_part;
use super::core::refusal;
use super::group_log::{GroupLog, raft_kind};
use super::meta::{META_GROUP, MetaChange, MetaEffect, MetaEntry, MetaMachine, StreamDefinition};
use super::node::Node;
use super::replica::Replica;
use super::service::Answer;
use headwater_raft::EntryKind;

/// Fewer entries of the list are not worth a checkpoint.
const CHECKPOINT_ENTRIES: u64 = 1024;

/// The machine, its log, and who waits for what.
pub struct MetaGroup {
    pub machine: MetaMachine,
    pub log: GroupLog,
    /// Streams whose creation is under way, by account and name.
    creating: BTreeMap<(String, String), Creating>,
    waiting: VecDeque<(u64, Waiting)>,
    next_group: u64,
}

struct Creating {
    config: Arc<StreamConfig>,
    /// Further requests for the same stream.
    answers: Vec<Answer>,
}

enum Waiting {
    Create { account: String, name: String, answer: Option<Answer> },
    Delete { answer: Option<Answer> },
}

/// The meta group, locked, together with the node that carries out what it decides.
pub struct MetaGuard<'a> {
    node: &'a Arc<Node>,
    meta: MutexGuard<'a, MetaGroup>,
    /// Behind the guard, hence dropped after it.
    later: Later,
}

/// What leaves the server once the meta group is unlocked: a reply may reach a service that locks it.
#[derive(Default)]
struct Later(Vec<Box<dyn FnOnce()>>);

impl Drop for Later {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|send| send());
    }
}

impl MetaGroup {
    pub fn new(machine: MetaMachine, log: GroupLog) -> Self {
        let next_group = machine.next_group();
        Self { machine, log, creating: BTreeMap::new(), waiting: VecDeque::new(), next_group }
    }

    /// A checkpoint of everything applied: index, term, body.
    pub fn checkpoint(&self) -> Option<(u64, u64, Bytes)> {
        let (index, term) = self.log.checkpoint_at()?;
        Some((index, term, self.log.wrap_checkpoint(self.machine.checkpoint().into())))
    }

    /// The group has records here, whatever the list says: its number is never given again.
    pub fn reserve(&mut self, group: GroupId) {
        self.next_group = self.next_group.max(group.0.saturating_add(1));
    }

    /// Applies an entry at a restart.
    pub fn replay(&mut self, record: &RecordRef<'_>) -> MetaEffect {
        self.log.set_time(record.header.time);
        let effect = apply(&mut self.machine, record);
        self.next_group = self.next_group.max(self.machine.next_group());
        effect
    }

    /// Entries that no checkpoint covers.
    pub fn uncovered(&self) -> u64 {
        self.log.applied() - self.log.group().compacted()
    }

    /// A start applies all entries since the last checkpoint, of streams that are gone, too. A checkpoint is as large as the
    /// list, and made when there are as many entries.
    fn is_checkpoint_due(&self) -> bool {
        self.uncovered() >= CHECKPOINT_ENTRIES.max(self.machine.streams().len() as u64)
    }
}

impl<'a> MetaGuard<'a> {
    pub fn new(node: &'a Arc<Node>, meta: MutexGuard<'a, MetaGroup>) -> Self {
        Self { node, meta, later: Later::default() }
    }

    /// Configurations of the account's streams that are about to exist.
    pub fn creating(&self, account: &str) -> impl Iterator<Item = (String, Arc<StreamConfig>)> {
        let of_account = self.meta.creating.iter().filter(move |((owner, _), _)| owner == account);
        of_account.map(|((_, name), creating)| (name.clone(), creating.config.clone())).collect::<Vec<_>>().into_iter()
    }

    /// Answers a request for a stream that exists: at once, or with the request that creates it.
    pub fn after_pending(&mut self, account: &JetStreamAccount, name: &str, answer: Answer) {
        match self.meta.creating.get_mut(&(account.name().to_owned(), name.to_owned())) {
            Some(creating) => creating.answers.push(answer),
            None => self.send(answer, account.stream(name).map(|stream| created(&stream))),
        }
    }

    /// Answers once the meta group is unlocked.
    pub fn send<B: Body + 'static>(&mut self, answer: Answer, outcome: Result<B, ApiError>) {
        self.later.0.push(Box::new(move || answer.send(outcome)));
    }

    /// Proposes a new stream.
    ///
    /// # Errors
    /// When the journal takes nothing.
    pub fn create(
        &mut self,
        account: &JetStreamAccount,
        config: StreamConfig,
        answer: Option<Answer>,
    ) -> Result<(), (ApiError, Option<Answer>)> {
        let config = Arc::new(config);
        let group = self.meta.next_group;
        let (owner, name) = (account.name().to_owned(), config.name.clone());
        let created = self.node.now();
        let definition = StreamDefinition {
            group,
            account: owner.clone(),
            name: name.clone(),
            config: json::write(config.as_ref()).into(),
            created,
        };
        let index = match self.append(MetaChange::Created(definition)) {
            Ok(index) => index,
            Err(error) => return Err((error, answer)),
        };
        self.meta.next_group += 1;
        self.meta.creating.insert((owner.clone(), name.clone()), Creating { config, answers: Vec::new() });
        self.meta.waiting.push_back((index, Waiting::Create { account: owner, name, answer }));
        Ok(())
    }

    /// Proposes the end of a stream.
    ///
    /// # Errors
    /// When the journal takes nothing.
    pub fn delete(&mut self, stream: GroupId, answer: Option<Answer>) -> Result<(), (ApiError, Option<Answer>)> {
        match self.append(MetaChange::Deleted(stream.0)) {
            Ok(index) => self.meta.waiting.push_back((index, Waiting::Delete { answer })),
            Err(error) => return Err((error, answer)),
        }
        // To whoever asks from now on it is gone: one of the same name, or with its subjects, may follow in the log.
        self.node.conceal(stream);
        Ok(())
    }

    #[cfg(test)]
    pub fn uncovered(&self) -> u64 {
        self.meta.uncovered()
    }

    /// How many streams are in the list.
    #[cfg(test)]
    pub fn listed(&self) -> usize {
        self.meta.machine.streams().len()
    }

    /// A stream is served that the list has lost.
    pub fn list_again(&mut self, definition: StreamDefinition) {
        let stream = definition.name.clone();
        if let Err(error) = self.append(MetaChange::Created(definition)) {
            tracing::error!(stream, problem = %error, "the list of streams can not be repaired");
        }
    }

    /// A stream is gone whose deletion the list has lost.
    pub fn delete_again(&mut self, group: GroupId) {
        if let Err(error) = self.append(MetaChange::Deleted(group.0)) {
            tracing::error!(group = group.0, problem = %error, "the list of streams can not be repaired");
        }
    }

    fn append(&mut self, change: MetaChange) -> Result<u64, ApiError> {
        let body = Bytes::from(MetaEntry { change: Some(change) }.encode_to_vec());
        let now = self.node.now().max(self.meta.log.time() + 1);
        let shared = self.node.shared();
        let mut appender = shared.journal.append(AppendClass::Control).map_err(|error| refusal(&error))?;
        let placed = self.meta.log.append_control(Some(&mut appender), 0, &body, now);
        appender.finish(Urgency::Wake);
        placed.map(|placed| placed.index).map_err(|problem| error_codes::STREAM_STORE_FAILED.with(problem))
    }

    /// Records of the meta group have become durable, the last of them at `last`.
    pub fn complete<'r>(&mut self, records: impl Iterator<Item = (Location, RecordRef<'r>)>, last: Location) {
        let committed = self.meta.log.on_durable(last);
        for (_, record) in records {
            let header = &record.header;
            match header.kind {
                RecordKind::Checkpoint if is_last_part(record.payload()) => self.meta.log.compact(header.index),
                RecordKind::Entry if committed.as_ref().is_some_and(|range| range.contains(&header.index)) => {
                    let effect = apply(&mut self.meta.machine, &record);
                    let outcome = self.carry_out(effect);
                    self.answer(header.index, outcome);
                }
                _ => {}
            }
        }
        if let Some(committed) = committed {
            self.meta.log.advance_applied(*committed.end());
            if self.meta.is_checkpoint_due() {
                self.node.shared().journal.want_checkpoint(META_GROUP);
            }
        }
    }

    fn carry_out(&mut self, effect: MetaEffect) -> Result<(), ApiError> {
        match effect {
            MetaEffect::Start(definition) => {
                let group = GroupId(definition.group);
                if self.node.replica(group).is_some() || self.node.is_held_back(group) {
                    // Listed again after damage: it is there already.
                    return Ok(());
                }
                let key = (definition.account.clone(), definition.name.clone());
                let config = self.meta.creating.get(&key).map(|creating| creating.config.clone());
                self.node.start_stream(&definition, config)?;
                self.advise(&definition.account, &definition.name, "create", "CREATED");
                Ok(())
            }
            MetaEffect::Remove(group) => {
                if let Some((account, stream)) = self.node.remove_stream(group) {
                    self.advise(&account, &stream, "delete", "DELETED");
                }
                self.finish_removal(group);
                Ok(())
            }
            MetaEffect::None => Ok(()),
        }
    }

    /// A deletion is remembered until the journal has been told: in the same order on disk. While it takes nothing, the
    /// deletion stays on the list, and is gone through again when there is space and at the next start.
    fn finish_removal(&mut self, group: GroupId) {
        if self.node.give_up(group)
            && let Err(error) = self.append(MetaChange::Removed(group.0))
        {
            tracing::warn!(group = group.0, %error.description, "a deletion stays on the list of streams");
        }
    }

    pub fn finish_removals(&mut self) {
        let deleted: Vec<GroupId> = self.meta.machine.deleted().collect();
        for group in deleted {
            self.finish_removal(group);
        }
    }

    fn advise(&mut self, account: &str, stream: &str, action: &'static str, word: &'static str) {
        let Some(account) = self.node.account(account) else { return };
        let (node, stream) = (self.node.clone(), stream.to_owned());
        self.later.0.push(Box::new(move || node.advise_stream(&account, &stream, action, word)));
    }

    fn answer(&mut self, index: u64, outcome: Result<(), ApiError>) {
        while self.meta.waiting.front().is_some_and(|(waiting, _)| *waiting <= index) {
            let Some((_, waiting)) = self.meta.waiting.pop_front() else { return };
            match waiting {
                Waiting::Create { account, name, answer } => {
                    let stream = self.node.account(&account).and_then(|account| account.find(&name));
                    let creating = self.meta.creating.remove(&(account, name));
                    let answers = answer.into_iter().chain(creating.into_iter().flat_map(|creating| creating.answers));
                    for answer in answers {
                        let reply = outcome.clone().and_then(|()| {
                            stream.as_deref().map(created).ok_or_else(|| error_codes::STREAM_NOT_FOUND.error())
                        });
                        self.send(answer, reply);
                    }
                }
                Waiting::Delete { answer } => {
                    if let Some(answer) = answer {
                        self.send(answer, Ok(StreamDeleted::SUCCESS));
                    }
                }
            }
        }
    }

    /// Nothing more will become durable.
    pub fn fail(&mut self, error: &ApiError) {
        for (_, waiting) in std::mem::take(&mut self.meta.waiting) {
            match waiting {
                Waiting::Create { answer: Some(answer), .. } => self.send::<StreamCreated>(answer, Err(error.clone())),
                Waiting::Delete { answer: Some(answer) } => self.send::<StreamDeleted>(answer, Err(error.clone())),
                _ => {}
            }
        }
        for creating in std::mem::take(&mut self.meta.creating).into_values() {
            for answer in creating.answers {
                self.send::<StreamCreated>(answer, Err(error.clone()));
            }
        }
    }
}

fn created(stream: &Replica) -> StreamCreated {
    StreamCreated { info: Some(stream.info()), did_create: true }
}

fn apply(machine: &mut MetaMachine, record: &RecordRef<'_>) -> MetaEffect {
    if record.header.kind != RecordKind::Entry || raft_kind(record.header.tag) != EntryKind::Normal {
        return MetaEffect::None;
    }
    match MetaEntry::decode(record.payload()) {
        Ok(entry) => machine.apply(entry),
        Err(problem) => {
            tracing::error!(index = record.header.index, %problem, "an entry of the meta group can not be understood");
            MetaEffect::None
        }
    }
}
