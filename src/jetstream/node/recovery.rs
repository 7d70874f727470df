//! A start: checkpoints are restored, entries after them applied, in one pass over the journal.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_raft::{CheckpointBody, EntryKind, GroupState, RecoverError, TermLog};
use headwater_storage::{
    GroupId, Io, Journal, JournalOptions, MemoryLog, Opened, Progress, Record, RecoveredGroup, RecoveryReport,
};

use super::super::api::account_info::AccountLimits;
use super::super::api::stream_config::StorageType;
use super::super::api::{StreamConfig, json};
use super::super::checkpoint;
use super::super::consumer_table::ConsumerTable;
use super::super::core::{Core, Start};
use super::super::group_log::{GroupLog, raft_kind};
use super::super::meta::{META_GROUP, MetaMachine, StreamDefinition};
use super::super::meta_group::MetaGroup;
use super::super::replica::Replica;
use super::super::shared::{NodeOptions, Shared};
use super::super::store::Store;
use super::super::stream::StreamMachine;
use super::super::usage::Usage;
use super::{StartError, identity};
use crate::account::Account;

/// Work longer than this is reported while it goes on.
const QUIET: Duration = Duration::from_secs(1);

pub struct Recovered {
    pub shared: Arc<Shared>,
    pub meta: MetaGroup,
    pub replicas: Vec<Arc<Replica>>,
    pub usages: BTreeMap<String, Arc<Usage>>,
}

/// A group between its checkpoint and its last entry.
struct Recovering {
    state: GroupState,
    log: TermLog,
    time: i64,
    machine: Option<(StreamMachine, ConsumerTable)>,
    /// Entries of a group whose stream is not known (yet): the definition comes first in the journal.
    core: Option<Core>,
    created: i64,
    /// The last index of the log, and its term: the entry itself may be damaged.
    last: (u64, u64),
    /// Entries since the last message that could not be read.
    damaged: u64,
    /// Why the group can not be served.
    broken: Option<String>,
}

pub fn recover(
    io: Arc<dyn Io>,
    directory: &Path,
    journal_options: JournalOptions,
    options: NodeOptions,
    accounts: &[(Arc<Account>, Option<AccountLimits>)],
) -> Result<Recovered, StartError> {
    let started = Instant::now();
    let mut reporter = Reporter::new();
    let Opened { journal, groups, report } =
        Journal::open(io, directory, journal_options, &mut |progress| reporter.report(progress))?;
    announce(&report);
    let shared = Arc::new(Shared::new(journal.clone(), options));
    let mut recovery = Recovery { shared, accounts, usages: BTreeMap::new(), meta: None, groups: BTreeMap::new() };
    for group in groups {
        recovery.restore(group)?;
    }
    recovery.start_known();
    let mut failed = None;
    let replay = journal.replay(&mut |progress| reporter.report(progress), &mut |_, record| {
        if let Err(problem) = recovery.replay(&record) {
            failed.get_or_insert(problem);
        }
    })?;
    if let Some(problem) = failed {
        return Err(problem);
    }
    for damage in &replay.damages {
        tracing::error!(%damage, "an entry of the log is damaged");
    }
    let recovered = recovery.finish()?;
    let (streams, entries) = (recovered.replicas.len(), replay.entries);
    if started.elapsed() > QUIET {
        tracing::info!(streams, entries, seconds = started.elapsed().as_secs(), "store recovered");
    } else {
        tracing::debug!(streams, entries, "store recovered");
    }
    Ok(recovered)
}

fn announce(report: &RecoveryReport) {
    if report.torn_tail {
        tracing::warn!("the last batch was not complete and never acknowledged: it was cut off");
    }
    for damage in &report.damages {
        tracing::error!(%damage, "the store is damaged");
    }
}

struct Recovery<'a> {
    shared: Arc<Shared>,
    accounts: &'a [(Arc<Account>, Option<AccountLimits>)],
    usages: BTreeMap<String, Arc<Usage>>,
    meta: Option<MetaGroup>,
    groups: BTreeMap<GroupId, Recovering>,
}

impl Recovery<'_> {
    /// Takes in what the journal knows of a group: its state and its checkpoint. A stream of which that can not be
    /// understood is kept and not served; the others are.
    fn restore(&mut self, recovered: RecoveredGroup) -> Result<(), StartError> {
        let group = recovered.group;
        let last = (recovered.last_index, recovered.last_term);
        let recovering = match Self::restored(recovered, group == META_GROUP) {
            Ok((recovering, meta)) => {
                if let Some(machine) = meta {
                    // The log is completed by the replay; until then this one stands for it.
                    let placeholder = GroupLog::create(group).map_err(|problem| unreadable(group, &problem))?;
                    self.meta = Some(MetaGroup::new(machine, placeholder));
                }
                recovering
            }
            Err(problem) if group == META_GROUP => return Err(problem),
            Err(problem) => {
                let state = GroupState::bootstrap(&[GroupLog::peer()]);
                Recovering { broken: Some(problem.to_string()), ..Recovering::new(state, TermLog::new(0, 0)) }
            }
        };
        self.groups.insert(group, Recovering { last, ..recovering });
        Ok(())
    }

    fn restored(recovered: RecoveredGroup, is_meta: bool) -> Result<(Recovering, Option<MetaMachine>), StartError> {
        let group = recovered.group;
        let mut state = match &recovered.state {
            Some(body) => GroupState::decode(body).map_err(|problem| unreadable(group, &problem))?,
            None => GroupState::bootstrap(&[GroupLog::peer()]),
        };
        let mut log = TermLog::new(0, 0);
        let mut body = None;
        if let Some(checkpoint) = recovered.checkpoint {
            let wrapped = CheckpointBody::decode(checkpoint.body).map_err(|problem| unreadable(group, &problem))?;
            state = state.with_checkpoint(checkpoint.index, &wrapped);
            log = TermLog::new(checkpoint.index, checkpoint.term);
            body = Some(wrapped.machine);
        }
        let mut recovering = Recovering::new(state, log);
        if is_meta {
            let machine = match body {
                Some(body) => MetaMachine::restore(&body).map_err(|problem| unreadable(group, &problem))?,
                None => MetaMachine::new(),
            };
            return Ok((recovering, Some(machine)));
        }
        if let Some(body) = body {
            let restored = checkpoint::restore(body).map_err(|problem| unreadable(group, &problem))?;
            recovering.time = restored.time;
            recovering.machine = Some((restored.machine, restored.consumers));
        }
        Ok((recovering, None))
    }

    /// Makes the cores of streams that the meta checkpoint knows.
    fn start_known(&mut self) {
        let definitions: Vec<StreamDefinition> =
            self.meta.iter().flat_map(|meta| meta.machine.streams().cloned()).collect();
        for definition in definitions {
            self.start(&definition);
        }
    }

    fn start(&mut self, definition: &StreamDefinition) {
        let group = GroupId(definition.group);
        let account = self.account(&definition.account);
        let usage = self.usages.entry(definition.account.clone()).or_default().clone();
        let recovering = self
            .groups
            .entry(group)
            .or_insert_with(|| Recovering::new(GroupState::bootstrap(&[GroupLog::peer()]), TermLog::new(0, 0)));
        if recovering.core.is_some() {
            return;
        }
        let (machine, consumers) = match recovering.machine.take() {
            Some(restored) => restored,
            None => match json::read::<StreamConfig>(&definition.config, false) {
                Ok(config) => (StreamMachine::new(Arc::new(config), identity(group)), ConsumerTable::default()),
                Err(problem) => {
                    tracing::error!(stream = definition.name, problem, "a stream's definition can not be understood");
                    return;
                }
            },
        };
        let store = match machine.config().storage {
            StorageType::File => Store::file(self.shared.journal.clone(), group),
            StorageType::Memory => Store::Memory(MemoryLog::new()),
        };
        let Ok(log) = GroupLog::create(group) else { return };
        recovering.created = definition.created;
        recovering.core = Some(Core::new(Start {
            shared: self.shared.clone(),
            account,
            usage,
            name: definition.name.as_str().into(),
            log,
            machine,
            consumers,
            store,
        }));
    }

    /// The account of that name, or one that nobody connects to when there is none.
    fn account(&self, name: &str) -> Arc<Account> {
        let known = self.accounts.iter().find(|(account, _)| account.name() == name);
        known.map_or_else(|| Arc::new(Account::new(name)), |(account, _)| account.clone())
    }

    /// Applies one entry after the checkpoint of its group.
    fn replay(&mut self, record: &Record) -> Result<(), StartError> {
        let header = &record.header;
        let Some(recovering) = self.groups.get_mut(&header.group).filter(|group| group.broken.is_none()) else {
            return Ok(());
        };
        if let Err(problem) = recovering.take_in(record) {
            let problem = unreadable(header.group, &problem);
            if header.group == META_GROUP {
                return Err(problem);
            }
            recovering.broken = Some(problem.to_string());
            return Ok(());
        }
        if header.group == META_GROUP {
            if let Some(meta) = &mut self.meta {
                meta.replay(&record.as_ref());
            }
            self.start_known();
        } else if let Some(core) = &mut recovering.core {
            core.replay(&record.as_ref(), recovering.damaged);
            if header.sequence > 0 {
                recovering.damaged = 0;
            }
        }
        Ok(())
    }

    /// Everything is applied: the groups go on from where their logs end.
    fn finish(mut self) -> Result<Recovered, StartError> {
        let mut meta = match self.meta.take() {
            Some(meta) => meta,
            None => {
                let log = GroupLog::create(META_GROUP).map_err(|problem| unreadable(META_GROUP, &problem))?;
                MetaGroup::new(MetaMachine::new(), log)
            }
        };
        let mut replicas = Vec::new();
        for (group, mut recovering) in std::mem::take(&mut self.groups) {
            meta.reserve(group);
            recovering.fill_end(group);
            let Recovering { state, log, time, core, created, broken, .. } = recovering;
            if let Some(problem) = broken {
                tracing::error!(group = group.0, problem, "a stream can not be read: it is kept and not served");
                continue;
            }
            let restarted =
                GroupLog::restart(group, state, log, time).map_err(|problem| unreadable(group, &problem))?;
            if group == META_GROUP {
                meta.log = restarted;
                continue;
            }
            let Some(mut core) = core else {
                let deleted = meta.machine.deleted().any(|deleted| deleted == group);
                if !deleted {
                    tracing::error!(group = group.0, "records of a stream that is not in the list of streams are kept");
                }
                continue;
            };
            let known = meta.machine.streams().any(|definition| definition.group == group.0);
            if !known {
                continue;
            }
            if !core.is_memory() {
                core.log = restarted;
                core.release_with_next_checkpoint();
            }
            replicas.push(Arc::new(Replica::new(core, created)));
        }
        Ok(Recovered { shared: self.shared, meta, replicas, usages: self.usages })
    }
}

impl Recovering {
    /// Takes the entry into the log. Entries before it that can not be read are gone: this server holds the only copy.
    ///
    /// # Errors
    /// When the log contradicts itself.
    fn take_in(&mut self, record: &Record) -> Result<(), RecoverError> {
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
        for index in self.log.last() + 1..=last {
            self.log.recover(index, term, EntryKind::Normal, b"")?;
            self.damaged += 1;
        }
        Ok(())
    }

    /// The end of the log may be what is damaged. Its indexes and sequences were given, and are not given again.
    fn fill_end(&mut self, group: GroupId) {
        let (last, term) = self.last;
        let after = self.log.last();
        if self.broken.is_some() || last <= after {
            return;
        }
        if let Err(problem) = self.fill(last, term) {
            self.broken = Some(unreadable(group, &problem).to_string());
            return;
        }
        tracing::error!(
            group = group.0,
            first = after + 1,
            last,
            "the end of a log is damaged: what it changed is lost"
        );
        if let Some(core) = &mut self.core {
            core.replay_held();
            let next = core.machine.last_sequence() + 1 + self.damaged;
            core.lose(next, self.damaged);
        }
    }

    fn new(state: GroupState, log: TermLog) -> Self {
        Self { state, log, time: 0, machine: None, core: None, created: 0, last: (0, 0), damaged: 0, broken: None }
    }
}

fn unreadable(group: GroupId, problem: &dyn std::fmt::Display) -> StartError {
    StartError::Recover(format!("group {}: {problem}", group.0))
}

/// Tells how far a long start has come, once a second.
struct Reporter {
    next: Instant,
}

impl Reporter {
    fn new() -> Self {
        Self { next: Instant::now() + QUIET }
    }

    fn report(&mut self, progress: Progress) {
        if Instant::now() >= self.next {
            self.next = Instant::now() + QUIET;
            let Progress { phase, done, total } = progress;
            tracing::info!(phase, done, total, "recovering the store");
        }
    }
}
