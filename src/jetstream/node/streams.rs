//! The life of a stream on this node: it is started, served to its account, updated, removed.

use std::collections::HashSet;
use std::sync::Arc;

use headwater_storage::{AppendClass, GroupId, MemoryLog, RecordHeader, RecordKind, Urgency};

use super::{Node, identity};
use crate::jetstream::account::JetStreamAccount;
use crate::jetstream::advisory;
use crate::jetstream::api::stream_config::StorageType;
use crate::jetstream::api::{ApiError, StreamConfig, error_codes, json};
use crate::jetstream::consumer::End;
use crate::jetstream::consumer_table::ConsumerTable;
use crate::jetstream::core::{Core, Start};
use crate::jetstream::group_log::GroupLog;
use crate::jetstream::ingest::Ingest;
use crate::jetstream::meta::StreamDefinition;
use crate::jetstream::replica::Replica;
use crate::jetstream::store::Store;
use crate::jetstream::stream::StreamMachine;
use crate::router::Publisher;

impl Node {
    /// Puts a stream into its account and subscribes to its subjects.
    pub(super) fn serve(self: &Arc<Self>, replica: &Arc<Replica>) {
        let Some(account) = self.account(replica.account().name()) else {
            let (stream, account) = (replica.name().to_owned(), replica.account().name().to_owned());
            tracing::warn!(stream, account, "a stream's account has no JetStream: the stream is kept, not served");
            self.strays.lock().push(replica.clone());
            return;
        };
        account.insert(replica.clone());
        self.subscribe(replica);
    }

    /// Makes the subscriptions those of the stream's configuration.
    pub fn subscribe(self: &Arc<Self>, replica: &Arc<Replica>) {
        // Under the stream's lock, or a configuration that is no longer in force could be followed last.
        replica.with(|core, _| self.follow_subjects(replica, core.config()));
    }

    /// As [`subscribe`](Self::subscribe), for whoever has locked the stream.
    pub fn follow_subjects(self: &Arc<Self>, replica: &Arc<Replica>, config: &StreamConfig) {
        self.leave_others(replica, config);
        // A sealed stream, too: publishers are told that it is.
        self.subscribe_to(replica, config);
    }

    /// Leaves the subjects that a configuration does not name.
    fn leave_others(&self, replica: &Arc<Replica>, config: &StreamConfig) {
        let wanted: HashSet<&str> = config.subjects.iter().map(String::as_str).collect();
        let mut subscriptions = replica.subscriptions.lock();
        if let Some(held) = subscriptions.take() {
            let (kept, gone): (Vec<_>, Vec<_>) =
                held.into_iter().partition(|(subject, _)| wanted.contains(subject.as_str()));
            *subscriptions = Some(kept);
            for (_, id) in gone {
                replica.account().unsubscribe_internal(id);
            }
        }
    }

    /// Subscribes to what a configuration names and is not subscribed to yet.
    pub fn subscribe_to(self: &Arc<Self>, replica: &Arc<Replica>, config: &StreamConfig) {
        let mut subscriptions = replica.subscriptions.lock();
        let Some(subscriptions) = subscriptions.as_mut() else { return };
        let known: HashSet<String> = subscriptions.iter().map(|(subject, _)| subject.clone()).collect();
        for subject in config.subjects.iter().filter(|subject| !known.contains(*subject)) {
            let ingest = Arc::new(Ingest { node: self.clone(), replica: replica.clone() });
            let id = replica.account().subscribe_internal(subject.as_bytes(), None, ingest);
            subscriptions.push((subject.clone(), id));
        }
    }

    /// An entry of the meta group says that a stream exists.
    pub fn start_stream(
        self: &Arc<Self>,
        definition: &StreamDefinition,
        config: Option<Arc<StreamConfig>>,
    ) -> Result<(), ApiError> {
        let account =
            self.account_of_stream(&definition.account).ok_or_else(|| error_codes::NOT_ENABLED_FOR_ACCOUNT.error())?;
        let config = match config {
            Some(config) => config,
            None => Arc::new(
                json::read::<StreamConfig>(&definition.config, false)
                    .map_err(|problem| error_codes::STREAM_CREATE.with(problem))?,
            ),
        };
        let group = GroupId(definition.group);
        let log = GroupLog::create(group).map_err(|problem| error_codes::STREAM_CREATE.with(problem))?;
        let store = self.store_for(&config, group);
        let core = Core::new(Start {
            shared: self.shared.clone(),
            account: account.account().clone(),
            usage: account.usage().clone(),
            name: definition.name.as_str().into(),
            created: definition.created,
            log,
            machine: StreamMachine::new(config, identity(group)),
            consumers: ConsumerTable::default(),
            store,
        });
        let replica = Arc::new(Replica::new(core));
        replica.with(|core, _| {
            core.lead();
            self.define(&replica, core);
        });
        self.replicas.write().insert(group, replica.clone());
        self.serve(&replica);
        Ok(())
    }

    pub(super) fn store_for(&self, config: &StreamConfig, group: GroupId) -> Store {
        match config.storage {
            StorageType::File => Store::file(self.shared.journal.clone(), group),
            StorageType::Memory => Store::Memory(MemoryLog::new()),
        }
    }

    /// The stream is there, and can not be served.
    pub fn is_held_back(&self, group: GroupId) -> bool {
        let of_accounts = self.accounts().into_iter().flat_map(|account| account.held_back());
        of_accounts.chain(self.held_back.lock().iter().cloned()).any(|stream| stream.group == group)
    }

    /// A stream's deletion is under way: its account has it no more.
    pub fn conceal(&self, group: GroupId) {
        let Some(replica) = self.replica(group) else { return };
        if let Some(account) = self.account(replica.account().name())
            && account.find(replica.name()).is_some_and(|found| found.group() == group)
        {
            account.remove(replica.name());
        }
    }

    /// An entry of the meta group says that a stream is gone. The names of its account and its own, if it was here.
    /// Its records are still there.
    pub fn remove_stream(&self, group: GroupId) -> Option<(String, String)> {
        self.conceal(group);
        let Some(replica) = self.replicas.write().remove(&group) else {
            let held_back = self.accounts().iter().find_map(|account| account.forget_held_back(group))?;
            return Some((held_back.account.clone(), held_back.name().to_owned()));
        };
        // Closed first: a stream that its account gets back meanwhile must not subscribe again.
        replica.with(|core, _| core.closed = true);
        replica.unsubscribe();
        self.strays.lock().retain(|stray| stray.group() != group);
        let gone = error_codes::STREAM_NOT_FOUND.error();
        replica.with(|core, publisher| {
            core.end_consumers(End::Deleted, publisher);
            core.fail(&gone, publisher);
            core.let_go();
        });
        Some((replica.account().name().to_owned(), replica.name().to_owned()))
    }

    /// Tells the journal that a group's records are dead. False when it takes nothing just now.
    pub fn give_up(&self, group: GroupId) -> bool {
        let header = RecordHeader { time: self.now(), ..RecordHeader::of_payload(group, RecordKind::GroupRemoved, 0) };
        match self.shared.journal.append(AppendClass::Control) {
            Ok(mut appender) => {
                appender.record(&header, &[]);
                appender.finish(Urgency::Lazy);
                self.shared.journal.remove_group(group);
                true
            }
            Err(problem) => {
                tracing::warn!(group = group.0, %problem, "the records of a deleted stream can not be given up yet");
                false
            }
        }
    }

    /// Deletions that were decided, before the last stop or since, and not carried out.
    pub(super) fn finish_removals(self: &Arc<Self>) {
        self.meta().finish_removals();
    }

    pub fn advise_stream(&self, account: &JetStreamAccount, stream: &str, action: &str, word: &str) {
        let mut publisher = Publisher::new(account.account());
        let body = advisory::StreamAction { stream, action, domain: self.domain().unwrap_or_default() };
        let suffix = format!("STREAM.{word}.{stream}");
        advisory::publish(&mut publisher, account.account(), &suffix, "stream_action", self.now(), body);
    }

    /// A stream has another configuration.
    pub fn stream_updated(self: &Arc<Self>, replica: &Arc<Replica>) {
        self.subscribe(replica);
        if let Some(account) = self.account(replica.account().name()) {
            self.advise_stream(&account, replica.name(), "modify", "UPDATED");
        }
    }
}
