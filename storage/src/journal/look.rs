//! The read-only half of opening, for tools.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::open::Opening;
use super::patience::Whole;
use super::quarantine::QUARANTINE;
use super::read_only::ReadOnly;
use crate::directory::group::GroupDirectory;
use crate::error::OpenError;
use crate::format::record::GroupId;
use crate::io::Io;
use crate::options::JournalOptions;
use crate::report::{Damage, Progress};
use crate::scan::scan;
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

fn check(io: &dyn Io, segment: &crate::segment::Segment) -> Result<Vec<Damage>, OpenError> {
    let file = segment.file(io).map_err(OpenError::io("opening a segment"))?;
    let Whole { bytes, unreadable, .. } = Whole::of(&*file, segment.length.load(Ordering::Acquire));
    segment.close_file();
    let outcome = scan(segment.scan_input(&bytes), &mut |_, _| {});
    let mut damages: Vec<Damage> =
        outcome.bad.iter().map(|(offset, what)| Damage::of(segment.number, *offset, what)).collect();
    let blind = |offset| Damage::at(segment.number, offset, crate::report::DamageKind::Unreadable);
    damages.extend(unreadable.into_iter().map(blind));
    Ok(damages)
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
