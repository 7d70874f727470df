//! The read-only half of opening, for tools.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::open::Opening;
use super::patience::Whole;
use super::quarantine::QUARANTINE;
use super::read_only::ReadOnly;
use crate::directory::group::GroupDirectory;
use crate::directory::table::number_at;
use crate::error::OpenError;
use crate::format::footer::{FooterDirectory, Section};
use crate::format::record::GroupId;
use crate::format::segment::{SEAL_OFFSET, SealSlot};
use crate::io::Io;
use crate::options::JournalOptions;
use crate::report::{Damage, DamageKind, Progress};
use crate::scan::{BadBytes, Found, scan};
use crate::verify::{GroupSummary, SegmentSummary, StoreReport};

/// Reads a store that no server uses, and changes nothing.
pub(crate) fn look(
    io: Arc<dyn Io>,
    path: &Path,
    options: JournalOptions,
    every_record: bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<StoreReport, OpenError> {
    let io: Arc<dyn Io> = Arc::new(ReadOnly(io));
    let _lock = io.lock(path).map_err(OpenError::lock(path))?;
    let mut opening = Opening::new(io.clone(), path, options);
    opening.read_only = true;
    opening.discover()?;
    opening.load(progress)?;
    opening.settle()?;
    let quarantined = match io.list(&path.join(QUARANTINE)) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(OpenError::Io { during: "listing the quarantine", source }),
    };
    let mut report = StoreReport { journal: opening.journal, quarantined, ..StoreReport::default() };
    for segment in opening.segments.values() {
        report.segments.push(SegmentSummary {
            number: segment.number,
            file_bytes: segment.length.load(Ordering::Acquire),
            data_end: segment.data_end(),
            record_count: segment.record_count.load(Ordering::Acquire),
            sealed: segment.is_sealed(),
            compacted: segment.header.is_compacted(),
        });
    }
    let groups = opening.directory.groups().filter(|(_, group)| !group.is_empty());
    let groups: Vec<_> = groups.map(|(id, group)| (summary(id, group), group.definition)).collect();
    for (summary, definition) in groups {
        let definition = match definition {
            Some(definition) => opening.control_payload(definition.segment, &definition.control)?,
            None => None,
        };
        report.groups.push(GroupSummary { definition, ..summary });
    }
    report.groups.sort_by_key(|group| group.group);
    report.damages = opening.report.damages.clone();
    if every_record {
        let total = opening.segments.len() as u64;
        for (done, segment) in opening.segments.values().enumerate() {
            progress(Progress { phase: "verify", done: done as u64, total });
            if segment.is_sealed() {
                report.damages.extend(check(&*io, segment)?);
            }
        }
        report.damages.sort();
        report.damages.dedup();
    }
    report.recovery = opening.report;
    Ok(report)
}

/// Everything that is wrong in a sealed segment: with its records, with the tables of its footer, and where the tables name a
/// record that is not there.
fn check(io: &dyn Io, segment: &crate::segment::Segment) -> Result<Vec<Damage>, OpenError> {
    let file = segment.file(io).map_err(OpenError::io("opening a segment"))?;
    let Whole { bytes, unreadable, .. } = Whole::of(&*file, segment.length.load(Ordering::Acquire));
    segment.close_file();
    let mut good = Vec::new();
    let outcome = scan(segment.scan_input(&bytes), &mut |offset, found| {
        if let Found::Record(_) = found {
            good.push(offset);
        }
    });
    let mut named = check_footer(segment, &Bytes::from(bytes));
    named.retain(|offset, damage| damage.kind != DamageKind::Record || good.binary_search(offset).is_err());
    // Whoever knows more about one record tells of it.
    for (offset, what) in &outcome.bad {
        if !matches!(what, BadBytes::Record(None)) || !named.contains_key(offset) {
            named.insert(*offset, Damage::of(segment.number, *offset, what));
        }
    }
    let mut damages: Vec<Damage> = named.into_values().collect();
    damages.extend(unreadable.into_iter().map(|offset| Damage::at(segment.number, offset, DamageKind::Unreadable)));
    Ok(damages)
}

/// By offset: sections that are damaged, and every record that the footer names.
fn check_footer(segment: &crate::segment::Segment, bytes: &Bytes) -> BTreeMap<u32, Damage> {
    let at = |offset, kind| (offset, Damage::at(segment.number, offset, kind));
    let slot = bytes.get(SEAL_OFFSET as usize..).and_then(|page| SealSlot::decode(page, segment.seed).flatten());
    let Some(slot) = slot else { return BTreeMap::from([at(SEAL_OFFSET, DamageKind::SealSlot)]) };
    let part = |offset: u32, length: u32| {
        let start = slot.footer_offset.saturating_add(offset) as usize;
        let range = start..start.saturating_add(length as usize);
        if range.end > bytes.len() { Bytes::new() } else { bytes.slice(range) }
    };
    let Some(directory) = FooterDirectory::decode(&part(0, slot.directory_length)) else {
        return BTreeMap::from([at(slot.footer_offset, DamageKind::Footer)]);
    };
    let mut found = BTreeMap::new();
    for control in &directory.controls {
        let (offset, damage) = at(control.offset, DamageKind::Record);
        found.insert(offset, Damage { group: Some(control.group), ..damage });
    }
    for numbers in &directory.groups {
        let group = Some(numbers.group);
        let section = part(numbers.section_offset, numbers.section_length);
        let Some(section) = Section::decode(section, segment.seed, numbers.section_checksum) else {
            let (offset, damage) = at(slot.footer_offset.saturating_add(numbers.section_offset), DamageKind::Footer);
            found.insert(offset, Damage { group, ..damage });
            continue;
        };
        let named = |offset| Damage { group, ..at(offset, DamageKind::Record).1 };
        for position in 0..section.entry_count() {
            let Some(offset) = section.entry(position) else { continue };
            found.entry(offset).or_insert_with(|| named(offset)).index = number_at(&section.index_runs, position);
        }
        for position in 0..section.message_count() {
            let Some(offset) = section.message(position) else { continue };
            found.entry(offset).or_insert_with(|| named(offset)).sequence = number_at(&section.sequence_runs, position);
        }
    }
    found
}

fn summary(id: GroupId, group: &GroupDirectory) -> GroupSummary {
    let mut summary = GroupSummary {
        group: id,
        indexes: (group.first_index(), group.last_index),
        checkpoint: group.checkpoint().map(|checkpoint| checkpoint.index),
        has_state: group.state.is_some(),
        segments: group.live.len() + group.sealed.len(),
        ..GroupSummary::default()
    };
    let mut lowest = u64::MAX;
    for span in &group.live {
        summary.entries += span.entries.len() as u64;
        summary.messages += span.message_count() as u64;
        summary.record_bytes += span.record_bytes;
        lowest = lowest.min(span.first_sequence().unwrap_or(u64::MAX));
        summary.sequences.1 = summary.sequences.1.max(span.last_sequence().unwrap_or(0));
    }
    for span in &group.sealed {
        summary.entries += u64::from(span.numbers.entry_count);
        summary.messages += u64::from(span.numbers.message_count);
        summary.record_bytes += span.numbers.record_bytes;
        if span.has_messages() {
            lowest = lowest.min(span.numbers.first_sequence);
            summary.sequences.1 = summary.sequences.1.max(span.numbers.last_sequence);
        }
    }
    summary.sequences.0 = if lowest == u64::MAX { 0 } else { lowest };
    summary
}
