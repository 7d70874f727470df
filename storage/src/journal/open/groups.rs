//! What an opened journal holds of each group: its latest state, its latest checkpoint, its log.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::super::checkpoint::join_parts;
use super::super::patience::{Patience, is_refused};
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
    /// The disk refused to give its state, its definition or its checkpoint. Nobody knows what they are: the group must not
    /// go on from what is here, or that takes their place. The definition is here all the same if it could be read.
    pub unreadable: bool,
    /// A later checkpoint is damaged: what it held is lost where the log does not reach back that far.
    pub fell_back: bool,
    /// The lowest index of the unbroken log that ends at the last index; above the last one when there is none.
    pub first_index: u64,
    /// The last index, of the log or of a checkpoint, be it damaged or not.
    pub last_index: u64,
    /// Its term.
    pub last_term: u64,
    /// The highest sequence of a message that is stored, 0 without any.
    pub last_sequence: u64,
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

/// The disk refused: what it was asked for may be good.
struct Refused;

impl Shared {
    pub(super) fn recovered_groups(&self, report: &mut RecoveryReport, patience: &Patience) -> Vec<RecoveredGroup> {
        let ids: BTreeSet<GroupId> = {
            let directory = self.directory.read();
            let groups = directory.groups().filter(|(_, group)| !group.is_empty());
            groups.map(|(id, _)| id).collect()
        };
        let recovered = ids.into_iter().filter_map(|id| {
            let known = report.damages.len();
            match self.recovered_group(id, report, patience) {
                Ok(group) => group,
                Err(Refused) => {
                    report.damages[known..].iter_mut().for_each(|damage| damage.kind = DamageKind::Unreadable);
                    Some(self.refused_group(id, patience))
                }
            }
        });
        recovered.collect()
    }

    /// A group of which only the numbers of its log are certain, and what it is if that can be read. Nothing of it is
    /// forgotten.
    fn refused_group(&self, id: GroupId, patience: &Patience) -> RecoveredGroup {
        let definition = self.directory.read().group(id).and_then(|group| group.definition);
        let definition = definition.and_then(|control| {
            let body = self.payload(&control, patience).ok().flatten()?;
            Some(RecoveredDefinition { index: control.control.index, body })
        });
        let directory = self.directory.read();
        let numbers = directory
            .group(id)
            .map(|group| (group.first_index(), group.last_index, group.last_term, group.last_sequence));
        let (first_index, last_index, last_term, last_sequence) = numbers.unwrap_or_default();
        RecoveredGroup {
            group: id,
            state: None,
            definition,
            checkpoint: None,
            unreadable: true,
            fell_back: false,
            first_index,
            last_index,
            last_term,
            last_sequence,
        }
    }

    fn recovered_group(
        &self,
        id: GroupId,
        report: &mut RecoveryReport,
        patience: &Patience,
    ) -> Result<Option<RecoveredGroup>, Refused> {
        let latest = self.directory.read().group(id).map(|group| (group.state, group.definition));
        let (state, definition) = latest.unwrap_or_default();
        let known = report.damages.len();
        let checkpoint = self.best_checkpoint(id, report, patience)?;
        let fell_back = report.damages.len() > known;
        let state = match state {
            Some(state) => self.latest_body(&state, report, patience)?,
            None => None,
        };
        let definition = match definition {
            Some(control) => self
                .latest_body(&control, report, patience)?
                .map(|body| RecoveredDefinition { index: control.control.index, body }),
            None => None,
        };
        let last_part = self.directory.read().group(id).and_then(|group| *group.checkpoint()?.parts.last()?);
        let replaced_by = match last_part {
            Some(part) => {
                let is_diverging = patience.retry(|| self.is_diverging(&part.control), is_refused).map_err(|_| {
                    report.damages.push(control_damage(&part, DamageKind::Record));
                    Refused
                })?;
                Some(part.control).filter(|_| is_diverging)
            }
            None => None,
        };
        let mut directory = self.directory.write();
        let Some(group) = directory.group_mut(id) else { return Ok(None) };
        group.drop_older_checkpoints();
        if let Some(snapshot) = replaced_by {
            group.void_after(snapshot.index, snapshot.term);
        }
        let (first_index, last_index, last_term) = (group.first_index(), group.last_index, group.last_term);
        let last_sequence = group.last_sequence;
        let wanted = checkpoint.as_ref().map_or(1, |checkpoint| checkpoint.index + 1);
        if last_index >= wanted && first_index > wanted {
            let mut damage = Damage::at(0, 0, DamageKind::Gap);
            (damage.group, damage.index) = (Some(id), Some(wanted));
            report.damages.push(damage);
        }
        Ok(Some(RecoveredGroup {
            group: id,
            state,
            definition,
            checkpoint,
            unreadable: false,
            fell_back,
            first_index,
            last_index,
            last_term,
            last_sequence,
        }))
    }

    /// The payload of a record of which only the latest counts.
    fn latest_body(
        &self,
        control: &ControlRef,
        report: &mut RecoveryReport,
        patience: &Patience,
    ) -> Result<Option<Bytes>, Refused> {
        let payload = self.payload(control, patience);
        if !matches!(payload, Ok(Some(_))) {
            report.damages.push(control_damage(control, DamageKind::Record));
        }
        payload
    }

    /// The latest checkpoint that is complete and readable. Damaged ones are forgotten, but for the indexes that they cover,
    /// and one that the disk refuses is not.
    fn best_checkpoint(
        &self,
        id: GroupId,
        report: &mut RecoveryReport,
        patience: &Patience,
    ) -> Result<Option<RecoveredCheckpoint>, Refused> {
        let mut damaged = Vec::new();
        let best = loop {
            let latest = {
                let directory = self.directory.read();
                let Some(group) = directory.group(id) else { break None };
                let complete = group.checkpoints.iter().filter(|checkpoint| checkpoint.is_complete());
                complete.rev().find(|checkpoint| !damaged.contains(&checkpoint.number)).cloned()
            };
            let Some(latest) = latest else { break None };
            let body = self.checkpoint_body(&latest, patience);
            if let Ok(Some(body)) = body {
                break Some(RecoveredCheckpoint { index: latest.index, term: latest.term, body });
            }
            if let Some(part) = latest.parts.iter().flatten().next() {
                report.damages.push(control_damage(part, DamageKind::Checkpoint));
            }
            body?;
            damaged.push(latest.number);
        };
        if let Some(group) = self.directory.write().group_mut(id) {
            group.forget_checkpoints(&damaged);
        }
        Ok(best)
    }

    fn checkpoint_body(&self, checkpoint: &CheckpointRef, patience: &Patience) -> Result<Option<Bytes>, Refused> {
        let mut parts = Vec::with_capacity(checkpoint.parts.len());
        for part in &checkpoint.parts {
            let Some(part) = part else { return Ok(None) };
            let Some(payload) = self.payload(part, patience)? else { return Ok(None) };
            parts.push(payload);
        }
        Ok(join_parts(&parts))
    }

    /// The payload of a control record, unless it is damaged.
    fn payload(&self, control: &ControlRef, patience: &Patience) -> Result<Option<Bytes>, Refused> {
        match patience.retry(|| self.payload_at(control.location()), is_refused) {
            Err(error) if is_refused(&error) => {
                if let Some(segment) = self.segment(control.segment) {
                    segment.set_refused();
                }
                Err(Refused)
            }
            payload => Ok(payload.ok()),
        }
    }
}

fn control_damage(control: &ControlRef, kind: DamageKind) -> Damage {
    let mut damage = Damage::at(control.segment, control.control.offset, kind);
    damage.group = Some(control.control.group);
    damage
}
