//! A start: checkpoints are restored, entries after them applied, in one pass over the journal.
//!
//! The list of streams is the meta group's. Where that is damaged, what each stream's group says about itself takes its
//! place: no stream is lost with the list.

mod recovering;
mod reporter;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use headwater_storage::{DamageKind, GroupId, Io, Journal, JournalOptions, MemoryLog, Opened, Record, RecoveredGroup};

use super::super::api::stream_config::StorageType;
use super::super::api::{StreamConfig, json};
use super::super::consumer_table::ConsumerTable;
use super::super::core::{Core, Start};
use super::super::group_log::GroupLog;
use super::super::held_back::HeldBack;
use super::super::meta::{META_GROUP, MetaEffect, MetaMachine, StreamDefinition};
use super::super::meta_group::MetaGroup;
use super::super::replica::Replica;
use super::super::shared::{NodeOptions, Shared};
use super::super::store::Store;
use super::super::stream::StreamMachine;
use super::super::usage::Usage;
use super::{StartError, identity};
use crate::account::Account;
use recovering::{REFUSED, Recovering};
use reporter::{QUIET, Reporter, announce};

pub struct Recovered {
    pub shared: Arc<Shared>,
    pub meta: MetaGroup,
    pub replicas: Vec<Arc<Replica>>,
    pub held_back: Vec<Arc<HeldBack>>,
    pub usages: BTreeMap<String, Arc<Usage>>,
    pub repairs: Repairs,
}

/// What the node does about damage once it can write again.
#[derive(Default)]
pub struct Repairs {
    /// Streams that the list has lost: they enter it again.
    pub listed_again: Vec<StreamDefinition>,
    /// Streams that are gone, and whose deletion the list has lost.
    pub deleted_again: Vec<GroupId>,
    /// Streams whose own group does not say what they are, or not the latest.
    pub undefined: Vec<GroupId>,
    /// Groups that have lost entries. A checkpoint ends the matter: otherwise each start would stumble over it anew.
    pub incomplete: Vec<GroupId>,
}

pub fn recover(
    io: Arc<dyn Io>,
    directory: &Path,
    journal_options: JournalOptions,
    options: NodeOptions,
    find_account: &dyn Fn(&str) -> Arc<Account>,
) -> Result<Recovered, StartError> {
    let started = Instant::now();
    let mut reporter = Reporter::new();
    let Opened { journal, groups, removed, report } =
        Journal::open(io, directory, journal_options, &mut |progress| reporter.report(progress))?;
    announce(&report);
    let shared = Arc::new(Shared::new(journal.clone(), options));
    let removed: BTreeSet<GroupId> = removed.into_iter().collect();
    let (usages, groups_by_id) = (BTreeMap::new(), BTreeMap::new());
    let mut recovery = Recovery { shared, find_account, usages, meta: None, groups: groups_by_id, removed };
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
        if let Some(group) = damage.group.filter(|_| damage.kind == DamageKind::Unreadable) {
            recovery.stop(group)?;
        }
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

struct Recovery<'a> {
    shared: Arc<Shared>,
    find_account: &'a dyn Fn(&str) -> Arc<Account>,
    usages: BTreeMap<String, Arc<Usage>>,
    meta: Option<MetaGroup>,
    groups: BTreeMap<GroupId, Recovering>,
    /// Groups that the journal has given up.
    removed: BTreeSet<GroupId>,
}

impl Recovery<'_> {
    /// Takes in what the journal knows of a group. A stream of which that can not be understood is kept and not served;
    /// the others are.
    fn restore(&mut self, recovered: RecoveredGroup) -> Result<(), StartError> {
        let group = recovered.group;
        let mut recovering = Recovering::new();
        match recovering.restore(recovered) {
            Ok(None) => {}
            Ok(Some(machine)) => {
                // The log is completed by the replay; until then this one stands for it.
                let placeholder = GroupLog::create(group).map_err(|problem| unreadable(group, &problem))?;
                self.meta = Some(MetaGroup::new(machine, placeholder));
            }
            Err(problem) if group == META_GROUP => return Err(problem),
            Err(problem) => recovering.broken = Some(reason(problem)),
        }
        self.groups.insert(group, recovering);
        Ok(())
    }

    /// Makes the cores of streams that the list has before any entry.
    fn start_known(&mut self) {
        let definitions: Vec<StreamDefinition> =
            self.meta.iter().flat_map(|meta| meta.machine.streams().cloned()).collect();
        for definition in definitions {
            self.start(&definition);
        }
    }

    /// Makes the core of a stream that says itself what it is. The list comes first in the journal: if the stream was in
    /// it, that entry is lost, and so may be others of its time.
    fn start_unlisted(&mut self, group: GroupId) {
        let Some(recovering) = self.groups.get_mut(&group).filter(|recovering| recovering.core.is_none()) else {
            return;
        };
        let Some((_, definition)) = recovering.definition.clone() else { return };
        recovering.incomplete = true;
        self.start(&definition);
    }

    fn start(&mut self, definition: &StreamDefinition) {
        let group = GroupId(definition.group);
        let account = (self.find_account)(&definition.account);
        let usage = self.usages.entry(definition.account.clone()).or_default().clone();
        let recovering = self.groups.entry(group).or_insert_with(Recovering::new);
        if recovering.core.is_some() || recovering.broken.is_some() || self.removed.contains(&group) {
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
        let mut core = Core::new(Start {
            shared: self.shared.clone(),
            account,
            usage,
            name: definition.name.as_str().into(),
            created: definition.created,
            log,
            machine,
            consumers,
            store,
        });
        if recovering.incomplete {
            core.suspend_limits();
        }
        if recovering.forgotten {
            core.begin_with_first_stored();
        }
        recovering.core = Some(core);
    }

    /// Applies one entry after the checkpoint of its group.
    fn replay(&mut self, record: &Record) -> Result<(), StartError> {
        let group = record.header.group;
        if group != META_GROUP {
            self.start_unlisted(group);
        }
        let Some(recovering) = self.groups.get_mut(&group).filter(|group| group.broken.is_none()) else {
            return Ok(());
        };
        if let Err(problem) = recovering.take_in(record) {
            let problem = unreadable(group, &problem);
            if group == META_GROUP {
                return Err(problem);
            }
            recovering.broken = Some(reason(problem));
            return Ok(());
        }
        if group != META_GROUP {
            recovering.apply(record);
            return Ok(());
        }
        match self.meta.as_mut().map(|meta| meta.replay(&record.as_ref())) {
            Some(MetaEffect::Start(definition)) => self.start(&definition),
            // Nobody will ask for it again; a list may name many that came and went.
            Some(MetaEffect::Remove(group)) => drop(self.groups.remove(&group)),
            Some(MetaEffect::None) | None => {}
        }
        Ok(())
    }

    /// The disk refuses entries of a group: it is kept as it is, and not served. Without the list of streams there is no
    /// start.
    fn stop(&mut self, group: GroupId) -> Result<(), StartError> {
        let problem = unreadable(group, &REFUSED);
        if group == META_GROUP {
            return Err(problem);
        }
        if let Some(recovering) = self.groups.get_mut(&group) {
            recovering.broken.get_or_insert(reason(problem));
        }
        Ok(())
    }

    /// Everything is applied: the groups go on from where their logs end.
    fn finish(mut self) -> Result<Recovered, StartError> {
        let mut repairs = Repairs::default();
        let mut meta = self.finish_meta(&mut repairs)?;
        let (meta_incomplete, unlisted) = (repairs.incomplete.contains(&META_GROUP), self.unlisted(&meta));
        // The last entries of a list may be gone without a trace in it. But who was in it and is no more was deleted.
        let may_be_lost = |group: GroupId| meta_incomplete || group.0 >= meta.machine.next_group();
        let (mut again, mut names) = (BTreeMap::new(), BTreeSet::new());
        // Of two streams with one name the older one was deleted.
        for (group, definition) in unlisted.into_iter().rev() {
            let (account, stream) = (definition.account.clone(), definition.name.clone());
            let is_taken = meta.machine.find(&account, &stream).is_some();
            if !may_be_lost(group) || is_taken || !names.insert((account, stream.clone())) {
                continue;
            }
            tracing::error!(group = group.0, stream, "the list of streams had lost a stream: it is in it again");
            self.start_unlisted(group);
            again.insert(group, definition);
        }
        let (mut replicas, mut held_back) = (Vec::new(), Vec::new());
        for (group, recovering) in std::mem::take(&mut self.groups) {
            let definition = meta.machine.get(group);
            if definition.is_some() && self.removed.contains(&group) {
                tracing::error!(group = group.0, "the list of streams had lost the deletion of a stream");
                repairs.deleted_again.push(group);
                continue;
            }
            let is_deleted = meta.machine.is_deleted(group);
            let Some(definition) = definition.or_else(|| again.get(&group)).cloned() else {
                if !is_deleted {
                    tracing::error!(group = group.0, "records of a stream that is not in the list of streams are kept");
                }
                continue;
            };
            let own = recovering.definition.clone().map(|(_, own)| own);
            match finish_stream(group, &definition.name, recovering, &mut repairs) {
                Ok(replica) => replicas.push(replica),
                Err(problem) => {
                    let stream = definition.name.clone();
                    let reason = reason(problem);
                    tracing::error!(
                        stream,
                        group = group.0,
                        reason,
                        "a stream can not be read: it is kept and not served"
                    );
                    held_back.push(Arc::new(hold_back(own, definition, reason)));
                }
            }
        }
        for group in self.removed {
            meta.reserve(group);
        }
        repairs.listed_again = again.into_values().collect();
        Ok(Recovered { shared: self.shared, meta, replicas, held_back, usages: self.usages, repairs })
    }

    fn finish_meta(&mut self, repairs: &mut Repairs) -> Result<MetaGroup, StartError> {
        let unreadable = |problem| unreadable(META_GROUP, &problem);
        let mut meta = match self.meta.take() {
            Some(meta) => meta,
            None => MetaGroup::new(MetaMachine::new(), GroupLog::create(META_GROUP).map_err(unreadable)?),
        };
        self.groups.keys().for_each(|group| meta.reserve(*group));
        match self.groups.remove(&META_GROUP) {
            Some(mut recovering) => {
                recovering.fill_end(META_GROUP);
                if recovering.incomplete {
                    repairs.incomplete.push(META_GROUP);
                }
                let Recovering { state, log, time, .. } = recovering;
                meta.log = GroupLog::restart(META_GROUP, state, log, time).map_err(unreadable)?;
            }
            // Nothing at all is left of the list where there are streams.
            None if !self.groups.is_empty() => repairs.incomplete.push(META_GROUP),
            None => {}
        }
        Ok(meta)
    }

    /// Streams that say themselves what they are, and of which the list knows nothing.
    fn unlisted(&self, meta: &MetaGroup) -> Vec<(GroupId, StreamDefinition)> {
        let unknown = |group: &GroupId| !meta.machine.is_deleted(*group) && meta.machine.get(*group).is_none();
        let groups = self.groups.iter().filter(|(group, _)| unknown(group));
        groups.filter_map(|(group, recovering)| Some((*group, recovering.definition.clone()?.1))).collect()
    }
}

/// The stream that a group holds.
fn finish_stream(
    group: GroupId,
    stream: &str,
    mut recovering: Recovering,
    repairs: &mut Repairs,
) -> Result<Arc<Replica>, StartError> {
    recovering.fill_end(group);
    recovering.report(stream);
    let Recovering { state, log, time, core, definition, undefined, updated, incomplete, broken, erasures, .. } =
        recovering;
    if let Some(problem) = broken {
        return Err(StartError::Recover { group, problem });
    }
    let Some(mut core) = core else {
        return Err(unreadable(group, &"its definition can not be understood"));
    };
    let latest = definition.as_ref().filter(|(index, _)| core.is_memory() || *index >= updated);
    let latest = latest.and_then(|(_, definition)| json::read::<StreamConfig>(&definition.config, false).ok());
    if core.is_memory() {
        // Its log is gone with the process, and updates with it.
        core.resume_limits(latest.map(Arc::new));
    } else {
        core.log = GroupLog::restart(group, state, log, time).map_err(|problem| unreadable(group, &problem))?;
        if incomplete {
            core.resume_limits(latest.map(Arc::new));
            repairs.incomplete.push(group);
        }
        core.release_with_next_checkpoint(&erasures);
    }
    if undefined || definition.is_none_or(|(_, known)| known != core.definition()) {
        repairs.undefined.push(group);
    }
    Ok(Arc::new(Replica::new(core)))
}

fn unreadable(group: GroupId, problem: &dyn std::fmt::Display) -> StartError {
    StartError::Recover { group, problem: problem.to_string() }
}

/// Why a stream is held back, for whoever knows already which one it is.
fn reason(problem: StartError) -> String {
    match problem {
        StartError::Recover { problem, .. } => problem,
        other => other.to_string(),
    }
}

/// What is known of a stream that can not be served: by its own definition, which follows its updates, or by the list of
/// streams.
fn hold_back(own: Option<StreamDefinition>, listed: StreamDefinition, reason: String) -> HeldBack {
    let readable = |definition: &StreamDefinition| json::read::<StreamConfig>(&definition.config, false).ok();
    let config = own.as_ref().and_then(readable).or_else(|| readable(&listed));
    let config = config.unwrap_or_else(|| StreamConfig { name: listed.name.clone(), ..StreamConfig::default() });
    HeldBack { group: GroupId(listed.group), account: listed.account, config: Arc::new(config), reason }
}
