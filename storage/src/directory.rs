//! HOT PATH: no lock, no log above trace.
//!
//! Where every group's records lie. Derived from the segments, in memory only; the journal keeps it under one lock.

pub(crate) mod dictionary;
pub(crate) mod group;
pub(crate) mod live;
pub(crate) mod sealed;
pub(crate) mod subject_filter;
pub(crate) mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::format::footer::FooterControl;
use crate::format::read_u32;
use crate::format::record::{GroupId, RecordHeader, RecordKind, RecordRef};
use crate::location::Location;
use crate::segment::Segment;
use group::{ControlRef, GroupDirectory};

/// Bytes before a checkpoint part's body: its number and the count of parts.
pub(crate) const PART_HEAD_BYTES: usize = 8;

#[derive(Default)]
pub(crate) struct Directory {
    groups: HashMap<GroupId, GroupDirectory, RandomState>,
    /// Groups that are gone, with the record that says so.
    removed: BTreeMap<GroupId, ControlRef>,
    /// What each segment holds beside messages and entries.
    controls: BTreeMap<u32, Vec<FooterControl>>,
    /// Which groups have entries or messages in a segment.
    residents: BTreeMap<u32, Vec<GroupId>>,
    /// Grows with each batch.
    stamp: u64,
}

/// What a batch brought, in order of append.
#[derive(Default)]
pub(crate) struct BatchSummary {
    /// Each group once, with its last index.
    pub(crate) groups: Vec<(GroupId, u64)>,
    pub(crate) controls: Vec<FooterControl>,
    pub(crate) has_messages: bool,
    /// Only of [`Directory::push_all`].
    pub(crate) runs: Vec<Run>,
}

/// Records of one group that follow each other in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub group: GroupId,
    /// How many there are, at least one.
    pub count: usize,
    /// Where the last one lies.
    pub last: Location,
}

impl Directory {
    pub(crate) fn group(&self, group: GroupId) -> Option<&GroupDirectory> {
        self.groups.get(&group)
    }

    pub(crate) fn group_mut(&mut self, group: GroupId) -> Option<&mut GroupDirectory> {
        self.groups.get_mut(&group)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = (GroupId, &GroupDirectory)> {
        self.groups.iter().map(|(group, directory)| (*group, directory))
    }

    pub(crate) fn groups_mut(&mut self) -> impl Iterator<Item = &mut GroupDirectory> {
        self.groups.values_mut()
    }

    pub(crate) fn group_or_new(&mut self, group: GroupId) -> &mut GroupDirectory {
        self.groups.entry(group).or_default()
    }

    /// A group that anything may still be entered for.
    pub(crate) fn group_unless_removed(&mut self, group: GroupId) -> Option<&mut GroupDirectory> {
        (!self.is_removed(group)).then(|| self.group_or_new(group))
    }

    pub(crate) fn is_removed(&self, group: GroupId) -> bool {
        self.removed.contains_key(&group)
    }

    /// Groups that are gone and of which something may be left.
    pub(crate) fn removed(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.removed.keys().copied()
    }

    pub(crate) fn residents(&self, segment: u32) -> &[GroupId] {
        self.residents.get(&segment).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn controls(&self, segment: u32) -> &[FooterControl] {
        self.controls.get(&segment).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn begin_batch(&mut self) -> BatchSummary {
        self.stamp += 1;
        BatchSummary::default()
    }

    /// Enters the records of a batch.
    pub(crate) fn push_all<'a>(
        &mut self,
        segment: &Arc<Segment>,
        records: impl Iterator<Item = (Location, RecordRef<'a>)>,
        out: &mut BatchSummary,
    ) {
        let mut records = records.peekable();
        while let Some((location, record)) = records.next() {
            self.push(segment, &record, location.offset, out);
            let group = record.header.group;
            if group == GroupId::JOURNAL {
                continue;
            }
            let mut run = Run { group, count: 1, last: location };
            // Most batches are long runs of one group's messages: from the second on they change its tables only.
            if let Some(directory) = self.groups.get_mut(&group).filter(|_| record.header.kind.is_numbered()) {
                while let Some((location, record)) =
                    records.next_if(|(_, next)| next.header.group == group && next.header.kind.is_numbered())
                {
                    out.has_messages |= record.header.kind.is_message();
                    directory.push(segment, &record.header, record.subject(), location.offset);
                    run = Run { count: run.count + 1, last: location, ..run };
                }
                if let Some(slot) = out.groups.get_mut(directory.stamp.1) {
                    slot.1 = directory.last_index;
                }
            }
            match out.runs.last_mut().filter(|before| before.group == group) {
                Some(before) => *before = Run { count: before.count + run.count, ..run },
                None => out.runs.push(run),
            }
        }
    }

    /// Enters one record. Control records count only once they are durable: see [`Directory::commit`].
    pub(crate) fn push(&mut self, segment: &Arc<Segment>, record: &RecordRef<'_>, offset: u32, out: &mut BatchSummary) {
        let header = &record.header;
        if header.group != GroupId::JOURNAL && !self.is_removed(header.group) {
            self.touch(header.group, out);
        }
        if header.kind.is_numbered() {
            out.has_messages |= header.kind.is_message();
            self.push_entry(segment, header, record.subject(), offset);
            if let Some(directory) = self.groups.get(&header.group)
                && let Some(slot) = out.groups.get_mut(directory.stamp.1)
            {
                slot.1 = directory.last_index;
            }
        } else {
            let control = control_of(record, offset);
            self.controls.entry(segment.number).or_default().push(control);
            out.controls.push(control);
        }
    }

    /// Enters an entry or a message.
    pub(crate) fn push_entry(&mut self, segment: &Arc<Segment>, header: &RecordHeader, subject: &[u8], offset: u32) {
        let known = self.residents.entry(segment.number).or_default();
        if self.removed.contains_key(&header.group) {
            if !known.contains(&header.group) {
                known.push(header.group);
            }
            return;
        }
        let directory = self.groups.entry(header.group).or_default();
        if directory.live.last().is_none_or(|span| span.segment.number != segment.number) {
            known.push(header.group);
        }
        directory.push(segment, header, subject, offset);
    }

    /// Enters a record that a scan found.
    pub(crate) fn push_scanned(
        &mut self,
        segment: &Arc<Segment>,
        record: &RecordRef<'_>,
        offset: u32,
        out: &mut BatchSummary,
    ) {
        let header = &record.header;
        if !segment.header.is_compacted() || !header.kind.is_numbered() {
            return self.push(segment, record, offset, out);
        }
        if header.kind.is_message() {
            // In a compacted segment messages have lost their place in the log.
            let header = RecordHeader { kind: RecordKind::Copied, ..*header };
            self.push_entry(segment, &header, record.subject(), offset);
        }
    }

    /// Enters a record with a wrong checksum, if its numbers are believable.
    pub(crate) fn push_damaged(&mut self, segment: &Arc<Segment>, header: &RecordHeader, offset: u32) {
        let believed = self.groups.get(&header.group).and_then(|group| group.believed(header));
        if let Some(header) = believed.filter(|_| !segment.header.is_compacted()) {
            self.push_entry(segment, &header, b"", offset);
        }
    }

    fn touch(&mut self, group: GroupId, out: &mut BatchSummary) {
        let directory = self.groups.entry(group).or_default();
        if directory.stamp.0 != self.stamp {
            directory.stamp = (self.stamp, out.groups.len());
            out.groups.push((group, directory.last_index));
        }
    }

    /// Notes a footer's content at a start.
    pub(crate) fn note_sealed(&mut self, segment: u32, residents: Vec<GroupId>, controls: Vec<FooterControl>) {
        self.residents.insert(segment, residents);
        self.controls.insert(segment, controls);
    }

    /// Makes a durable control record count.
    pub(crate) fn commit(&mut self, segment: u32, control: FooterControl, keep_older: bool) {
        let reference = ControlRef { segment, control };
        if control.kind == RecordKind::GroupRemoved {
            self.groups.remove(&control.group);
            self.removed.insert(control.group, reference);
            return;
        }
        if self.is_removed(control.group) || control.group == GroupId::JOURNAL {
            return;
        }
        let directory = self.groups.entry(control.group).or_default();
        match control.kind {
            RecordKind::State => set_latest(&mut directory.state, reference),
            RecordKind::Definition => set_latest(&mut directory.definition, reference),
            RecordKind::Checkpoint => directory.add_checkpoint_part(reference, keep_older),
            _ => {}
        }
    }

    /// Forgets a segment that is dead or was replaced.
    pub(crate) fn forget_segment(&mut self, segment: u32) {
        for group in self.residents.remove(&segment).unwrap_or_default() {
            if let Some(directory) = self.groups.get_mut(&group) {
                directory.forget_segment(segment);
            }
        }
        self.controls.remove(&segment);
    }

    /// Drops removal notes of groups that no segment holds anything of.
    pub(crate) fn forget_removed(&mut self) {
        let Self { removed, residents, controls, .. } = self;
        removed.retain(|group, note| {
            residents.values().any(|groups| groups.contains(group))
                || controls.iter().any(|(segment, controls)| {
                    let other = |control: &FooterControl| {
                        control.group == *group && (*segment, control.offset) != (note.segment, note.control.offset)
                    };
                    controls.iter().any(other)
                })
        });
    }

    /// True when a control record must survive its segment.
    pub(crate) fn needs_control(&self, segment: u32, control: &FooterControl) -> bool {
        let reference = ControlRef { segment, control: *control };
        if control.kind == RecordKind::GroupRemoved {
            return self.removed.get(&control.group).is_some_and(|note| note.location() == reference.location());
        }
        self.groups.get(&control.group).is_some_and(|directory| directory.needs_control(&reference))
    }
}

/// Enters a durable record of which only the latest counts.
fn set_latest(known: &mut Option<ControlRef>, record: ControlRef) {
    // An equal number is the same record at its new place.
    if known.is_none_or(|old| old.control.number <= record.control.number) {
        *known = Some(record);
    }
}

/// What the footer says about a control record.
pub(crate) fn control_of(record: &RecordRef<'_>, offset: u32) -> FooterControl {
    let header = &record.header;
    let head = record.payload().get(..PART_HEAD_BYTES).filter(|_| header.kind == RecordKind::Checkpoint);
    let (part, parts) = head.map_or((0, 0), |head| (read_u32(head, 0), read_u32(head, 4)));
    FooterControl {
        group: header.group,
        number: header.sequence,
        index: header.index,
        term: header.term,
        offset,
        length: header.record_bytes() as u32,
        part,
        parts,
        kind: header.kind,
    }
}
