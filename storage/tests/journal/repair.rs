//! A footer that is found damaged while the journal runs is written anew, from the records of its segment.

use std::path::{Path, PathBuf};

use headwater_storage::format::checksum_seed;
use headwater_storage::format::footer::FooterDirectory;
use headwater_storage::format::segment::{DATA_OFFSET, SEAL_OFFSET, SealSlot, SegmentHeader};
use headwater_storage::io::CrashPoint;
use headwater_storage::{DamageKind, GroupId, Opened, SimIo};

use crate::support::*;

/// Where the parts of a footer lie: an offset in each.
struct Parts {
    slot: usize,
    directory: usize,
    sections: Vec<usize>,
}

impl Parts {
    /// `None` when the segment is not sealed.
    fn of(content: &[u8]) -> Option<Self> {
        let header = SegmentHeader::decode(content)?;
        let seed = checksum_seed(header.journal, header.number);
        let slot = SealSlot::decode(&content[SEAL_OFFSET as usize..], seed).flatten()?;
        let start = slot.footer_offset as usize;
        let directory = FooterDirectory::decode(&content[start..start + slot.directory_length as usize])?;
        let middle = |offset: u32, length: u32| start + (offset + length / 2) as usize;
        Some(Self {
            slot: SEAL_OFFSET as usize + 20,
            directory: start + 30,
            sections: directory.groups.iter().map(|group| middle(group.section_offset, group.section_length)).collect(),
        })
    }

    fn all(&self) -> Vec<usize> {
        [self.slot, self.directory].into_iter().chain(self.sections.iter().copied()).collect()
    }
}

fn sealed(io: &SimIo) -> Vec<(PathBuf, Vec<u8>, Parts)> {
    let found = files(io).into_iter().filter(|path| path.extension().is_some_and(|end| end == "segment"));
    let parts = found.filter_map(|path| {
        let content = io.content(&path)?;
        let parts = Parts::of(&content)?;
        Some((path, content, parts))
    });
    parts.collect()
}

/// A running journal whose segments all have their footers, but for the one being written.
fn running(stored: &Stored) -> (SimIo, Opened) {
    let io = stored.io.fork();
    let opened = try_open(&io).unwrap();
    opened.journal.drive();
    assert!(opened.journal.scrub_now().is_empty());
    (io, opened)
}

fn flip(io: &SimIo, path: &Path, content: &[u8], at: usize) {
    let mut damaged = content.to_vec();
    damaged[at] ^= 1;
    io.set_content(path, damaged);
}

fn check_messages(stored: &Stored, opened: &Opened, erased: Option<u64>) {
    for (group, sequence, ..) in stored.messages.iter().filter(|(_, sequence, ..)| Some(*sequence) != erased) {
        let record = opened.journal.read_message(GroupId(*group), *sequence).unwrap();
        assert_eq!(record.payload(), payload(*sequence));
    }
}

fn footer_damages(opened: &Opened) -> usize {
    opened.report.damages.iter().filter(|damage| damage.kind == DamageKind::Footer).count()
}

/// The scrubber looked at the directory of a footer only: a bad section was rebuilt in memory, by each start again, once
/// somebody asked for it.
#[test]
fn every_part_of_a_footer_that_went_bad_is_as_it_was_after_a_check() {
    let stored = stored(true);
    let (mut parts_tried, mut files_tried) = (0, 0);
    for (path, content, parts) in sealed(&running(&stored).0) {
        files_tried += 1;
        for at in parts.all() {
            let (io, opened) = running(&stored);
            flip(&io, &path, &content, at);
            let damages = opened.journal.scrub_now();
            let kind = if at == parts.slot { DamageKind::SealSlot } else { DamageKind::Footer };
            assert_eq!(damages.iter().map(|damage| damage.kind).collect::<Vec<_>>(), [kind], "{} {at}", path.display());
            let found = io.content(&path).unwrap();
            if at == parts.slot {
                // It names another segment that followed, as of now.
                let page = SEAL_OFFSET as usize..DATA_OFFSET as usize;
                assert!(found[..page.start] == content[..page.start] && found[page.end..] == content[page.end..]);
                assert!(Parts::of(&found).is_some());
            } else {
                assert!(found == content, "{} {at}: not as it was", path.display());
            }
            check_messages(&stored, &opened, None);
            opened.journal.close();
            io.crash(7);
            let opened = try_open(&io).unwrap();
            assert_eq!(opened.report.damages, []);
            assert_eq!(opened.journal.scrub_now(), []);
            parts_tried += 1;
        }
    }
    assert!(files_tried > 2 && parts_tried > 3 * files_tried, "{files_tried} {parts_tried}");
}

#[test]
fn a_power_cut_while_a_footer_is_written_anew_loses_nothing() {
    let stored = stored(true);
    for (path, content, parts) in sealed(&running(&stored).0).into_iter().take(2) {
        for at in parts.all() {
            for cut in 0..4 {
                let (io, opened) = running(&stored);
                flip(&io, &path, &content, at);
                io.crash_at(CrashPoint(io.mutations() + cut));
                opened.journal.scrub_now();
                opened.journal.abort();
                io.crash(cut * 1000 + at as u64);
                let opened = try_open(&io).unwrap();
                check_messages(&stored, &opened, None);
                opened.journal.drive();
                opened.journal.scrub_now();
                opened.journal.close();
                let opened = try_open(&io).unwrap();
                assert_eq!(opened.report.damages, [], "{} {at} {cut}", path.display());
                assert_eq!(opened.journal.scrub_now(), [], "{} {at} {cut}", path.display());
            }
        }
    }
}

/// The tables of an erased record are not what they were, and readers use those. So the start after that writes them.
#[test]
fn what_the_records_do_not_give_back_is_left_to_the_next_start() {
    const ERASED: u64 = 20;
    let stored = stored(true);
    let place = stored.messages.iter().find(|(group, sequence, ..)| (*group, *sequence) == (5, ERASED)).unwrap().2;
    let hit = |path: &Path| path.to_str().is_some_and(|path| path.contains(&format!("{:010}.segment", place.segment)));
    let (io, opened) = running(&stored);
    opened.journal.erase_message(GroupId(5), ERASED).unwrap();
    let (path, content, parts) = sealed(&io).into_iter().find(|(path, ..)| hit(path)).unwrap();
    // A good footer stays as it is.
    assert_eq!(opened.journal.scrub_now(), []);
    assert!(io.content(&path).unwrap() == content);
    flip(&io, &path, &content, parts.sections[0]);
    assert_eq!(opened.journal.scrub_now().len(), 1);
    // Once and again: it is not taken for good, and not made good by mistake.
    opened.journal.scrub_now();
    check_messages(&stored, &opened, Some(ERASED));
    opened.journal.close();
    let opened = try_open(&io).unwrap();
    assert_eq!((footer_damages(&opened), opened.report.damages.len()), (1, 1), "{:?}", opened.report.damages);
    check_messages(&stored, &opened, Some(ERASED));
    opened.journal.drive();
    opened.journal.close();
    let opened = try_open(&io).unwrap();
    assert_eq!(opened.report.damages, []);
    assert_eq!(opened.journal.scrub_now(), []);
    check_messages(&stored, &opened, Some(ERASED));
    assert!(opened.journal.read_message(GroupId(5), ERASED).unwrap().is_erased());
}

#[test]
fn the_footer_of_a_compacted_segment_is_written_anew_too() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    for sequence in 1..=1000 {
        for group in [5, 6] {
            let subject = format!("s.{}", sequence % 7);
            append_on(&journal, group, sequence, sequence, subject.as_bytes(), &payload(sequence));
        }
        journal.drive();
    }
    for group in [5, 6] {
        append_checkpoints(&journal, group, 1000, b"checkpoint");
        for sequence in (1..=1000).filter(|sequence| sequence % 5 != 0) {
            journal.release_message(GroupId(group), sequence);
        }
    }
    for round in 0..30 {
        append_state(&journal, 5, &[round]);
        journal.drive();
    }
    assert!(journal.stats().segments_compacted > 0);
    let is_compacted = |content: &[u8]| SegmentHeader::decode(content).is_some_and(|header| header.is_compacted());
    let compacted: Vec<_> = sealed(&io).into_iter().filter(|(_, content, _)| is_compacted(content)).collect();
    let mut tried = 0;
    for (path, content, parts) in compacted {
        for at in parts.sections.into_iter().chain([parts.directory]) {
            flip(&io, &path, &content, at);
            journal.scrub_now();
            assert!(io.content(&path).unwrap() == content, "{} {at}", path.display());
            tried += 1;
        }
    }
    assert!(tried > 2, "{tried}");
    for sequence in (5..=1000).step_by(5) {
        assert_eq!(journal.read_message(GroupId(5), sequence).unwrap().payload(), payload(sequence));
    }
}
