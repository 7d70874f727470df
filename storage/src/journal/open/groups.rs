//! What an opened journal holds of each group: its latest state, its latest checkpoint, its log.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::super::checkpoint::join_parts;
use super::super::shared::Shared;
use crate::directory::group::{CheckpointRef, ControlRef};
use crate::format::record::GroupId;
use crate::report::{Damage, DamageKind, RecoveryReport};

/// What the journal holds of a group.
#[derive(Clone, Debug)]
pub struct RecoveredGroup {
    /// The group.
    pub group: GroupId,
    /// Payload of the latest `State` record.
    pub state: Option<Bytes>,
    /// The latest `Definition` record.
    pub definition: Option<RecoveredDefinition>,
    /// The latest complete checkpoint that can be read.
    pub checkpoint: Option<RecoveredCheckpoint>,
    /// A later checkpoint is damaged: what it held is lost where the log does not reach back that far.
    pub fell_back: bool,
    /// The lowest index of the unbroken log that ends at the last index; above the last one when there is none.
    pub first_index: u64,
    /// The last index, of the log or of the checkpoint.
    pub last_index: u64,
    /// Its term.
    pub last_term: u64,
}

/// A definition as it was written.
#[derive(Clone, Debug)]
pub struct RecoveredDefinition {
    /// The last index that it reflects.
    pub index: u64,
    /// What the layer above wrote.
    pub body: Bytes,
}

/// A checkpoint as it was written.
#[derive(Clone, Debug)]
pub struct RecoveredCheckpoint {
    /// The last index it covers.
    pub index: u64,
    /// The term of that index.
    pub term: u64,
    /// What the layer above wrote.
    pub body: Bytes,
}

impl Shared {
    pub(super) fn recovered_groups(&self, report: &mut RecoveryReport) -> Vec<RecoveredGroup> {
        let ids: BTreeSet<GroupId> = {
            let directory = self.directory.read();
            let groups = directory.groups().filter(|(_, group)| !group.is_empty());
            groups.map(|(id, _)| id).collect()
        };
        let mut recovered = Vec::with_capacity(ids.len());
        for id in ids {
            let latest = self.directory.read().group(id).map(|group| (group.state, group.definition));
            let (state, definition) = latest.unwrap_or_default();
            let known = report.damages.len();
            let checkpoint = self.best_checkpoint(id, report);
            let fell_back = report.damages.len() > known;
            let last_part = self.directory.read().group(id).and_then(|group| *group.checkpoint()?.parts.last()?);
            let diverging = last_part.map_or(Vec::new(), |part| self.diverging(&[part.control]));
            let mut directory = self.directory.write();
            let Some(group) = directory.group_mut(id) else { continue };
            group.drop_older_checkpoints();
            for (_, index) in diverging {
                group.truncate(index);
            }
            let (first_index, last_index, last_term) = (group.first_index(), group.last_index, group.last_term);
            let wanted = checkpoint.as_ref().map_or(1, |checkpoint| checkpoint.index + 1);
            if last_index >= wanted && first_index > wanted {
                let mut damage = Damage::at(0, 0, DamageKind::Gap);
                (damage.group, damage.index) = (Some(id), Some(wanted));
                report.damages.push(damage);
            }
            drop(directory);
            let state = state.and_then(|state| self.latest_body(&state, report));
            let definition = definition.and_then(|definition| {
                let body = self.latest_body(&definition, report)?;
                Some(RecoveredDefinition { index: definition.control.index, body })
            });
            recovered.push(RecoveredGroup {
                group: id,
                state,
                definition,
                checkpoint,
                fell_back,
                first_index,
                last_index,
                last_term,
            });
        }
        recovered
    }

    /// The payload of a record of which only the latest counts.
    fn latest_body(&self, control: &ControlRef, report: &mut RecoveryReport) -> Option<Bytes> {
        let payload = self.payload_at(control.location()).ok();
        if payload.is_none() {
            report.damages.push(control_damage(control, DamageKind::Record));
        }
        payload
    }

    /// The latest checkpoint that is complete and readable.
    fn best_checkpoint(&self, group: GroupId, report: &mut RecoveryReport) -> Option<RecoveredCheckpoint> {
        loop {
            let latest: CheckpointRef = self.directory.read().group(group)?.checkpoint()?.clone();
            if let Some(body) = self.checkpoint_body(&latest) {
                return Some(RecoveredCheckpoint { index: latest.index, term: latest.term, body });
            }
            if let Some(part) = latest.parts.iter().flatten().next() {
                report.damages.push(control_damage(part, DamageKind::Checkpoint));
            }
            let mut directory = self.directory.write();
            directory.group_mut(group)?.checkpoints.retain(|checkpoint| checkpoint.number != latest.number);
        }
    }

    fn checkpoint_body(&self, checkpoint: &CheckpointRef) -> Option<Bytes> {
        let read = |part: &Option<ControlRef>| self.payload_at(part.as_ref()?.location()).ok();
        let parts: Option<Vec<Bytes>> = checkpoint.parts.iter().map(read).collect();
        join_parts(&parts?)
    }
}

fn control_damage(control: &ControlRef, kind: DamageKind) -> Damage {
    let mut damage = Damage::at(control.segment, control.control.offset, kind);
    damage.group = Some(control.control.group);
    damage
}
