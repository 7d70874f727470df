//! Segment files that somebody cuts while they are mapped. To touch what is gone ended the process; it costs what was cut
//! off, which is told, and nothing else.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater_storage::{
    DamageKind, GroupId, Health, Io, Journal, JournalOptions, Location, ReadError, RealIo, ReplayReport,
};
use tempfile::TempDir;

use crate::support::*;

const SEGMENT_BYTES: u32 = 128 * 1024;
const MESSAGES: u64 = 1500;
const GROUPS: [u64; 2] = [5, 6];

/// A journal on a real disk, of several sealed segments, which are mapped from now on.
struct Rig {
    directory: TempDir,
    journal: Journal,
    places: BTreeMap<(u64, u64), (Location, usize)>,
}

fn options() -> JournalOptions {
    JournalOptions { segment_bytes: Some(SEGMENT_BYTES), first_segment_bytes: SEGMENT_BYTES, ..manual() }
}

fn open_at(directory: &Path) -> Journal {
    let io: Arc<dyn Io> = Arc::new(RealIo::buffered());
    let journal = Journal::open(io, directory, options(), &mut |_| {}).unwrap().journal;
    journal.drive();
    journal
}

fn subject(sequence: u64) -> String {
    format!("s.{}", sequence % 3)
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let journal = open_at(directory.path());
        for sequence in 1..=MESSAGES {
            for group in GROUPS {
                append_on(&journal, group, sequence, sequence, subject(sequence).as_bytes(), &payload(sequence));
            }
            if sequence % 20 == 0 {
                journal.drive();
            }
        }
        journal.close();
        // Again, so that all tables are where footers are.
        let mut rig = Self { journal: open_at(directory.path()), directory, places: BTreeMap::new() };
        for group in GROUPS {
            for sequence in 1..=MESSAGES {
                let place = rig.journal.locate(GroupId(group), sequence).unwrap();
                let length = rig.journal.read_message(GroupId(group), sequence).unwrap().bytes().len();
                rig.places.insert((group, sequence), (place, length));
            }
        }
        assert!(rig.sealed().len() > 3, "{:?}", rig.sealed());
        rig
    }

    /// All segments with messages but the last one.
    fn sealed(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.places.values().map(|(place, _)| place.segment).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.pop();
        numbers
    }

    fn path(&self, segment: u32) -> PathBuf {
        self.directory.path().join(format!("{segment:010}.segment"))
    }

    fn cut(&self, segment: u32, length: u64) {
        OpenOptions::new().write(true).open(self.path(segment)).unwrap().set_len(length).unwrap();
    }

    fn footer_offset(&self, segment: u32) -> u64 {
        let content = std::fs::read(self.path(segment)).unwrap();
        content.windows(8).position(|window| window == b"HWFOOTER").unwrap() as u64
    }

    /// Reads everything but what `without` names, and tells how many messages `segment` has lost by being cut.
    fn check(&self, segment: u32, length: u64, without: impl Fn(u64) -> bool) -> usize {
        let mut lost = 0;
        for ((group, sequence), (place, bytes)) in &self.places {
            if without(*sequence) {
                continue;
            }
            let what = format!("segment {segment} cut to {length}: group {group} message {sequence} at {place}");
            match self.journal.read_message(GroupId(*group), *sequence) {
                Ok(record) => assert_eq!(record.payload(), payload(*sequence), "{what}"),
                Err(ReadError::Damaged(_) | ReadError::Io(_)) => {
                    assert!(place.segment == segment && u64::from(place.offset) + *bytes as u64 > length, "{what}");
                    lost += 1;
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
        lost
    }

    fn kinds_in(&self, segment: u32) -> Vec<DamageKind> {
        let damages = self.journal.stats().damages;
        assert!(damages.iter().all(|damage| damage.segment == segment), "{damages:?}");
        damages.into_iter().map(|damage| damage.kind).collect()
    }
}

#[test]
fn a_segment_that_is_cut_while_it_is_mapped_loses_only_what_was_cut_off() {
    for part in 0..8 {
        let rig = Rig::new();
        let segment = rig.sealed()[part % 3];
        let length = rig.footer_offset(segment) * part as u64 / 7;
        rig.cut(segment, length);
        let lost = rig.check(segment, length, |_| false);
        let cut_off = rig
            .places
            .values()
            .filter(|(place, bytes)| place.segment == segment && u64::from(place.offset) + *bytes as u64 > length);
        assert_eq!(lost, cut_off.count());
        let kinds = rig.kinds_in(segment);
        assert!(kinds.contains(&DamageKind::Truncated), "{kinds:?}");
        // And it goes on: another look finds the same, and new messages are taken.
        assert_eq!(rig.check(segment, length, |_| false), lost);
        append(&rig.journal, 9, 1, 1, b"after the damage");
        rig.journal.drive();
        assert_eq!(rig.journal.read_message(GroupId(9), 1).unwrap().payload(), b"after the damage");
        assert!(matches!(rig.journal.health(), Health::Ok));
        rig.journal.scrub_now();
        assert!(!rig.kinds_in(segment).is_empty());
    }
}

/// Tables are checked when they are loaded. Those that turned into zeros afterwards gave every message the first subject,
/// so that a filter passed over messages that were still there.
#[test]
fn tables_that_are_cut_off_are_not_believed() {
    let rig = Rig::new();
    let all: Vec<u64> = (1..=MESSAGES).filter(|sequence| sequence % 3 == 1).collect();
    let matching = || {
        let mut cursor = rig.journal.scan(GroupId(5), 1);
        let mut found = Vec::new();
        while let Some(record) = cursor.next_matching(&|subject| subject == b"s.1").unwrap() {
            assert_eq!(record.payload(), payload(record.header.sequence));
            found.push(record.header.sequence);
        }
        found
    };
    assert_eq!(matching(), all);
    let segment = rig.sealed()[1];
    let length = rig.footer_offset(segment);
    rig.cut(segment, length);
    assert_eq!(matching(), all);
    assert_eq!(rig.check(segment, length, |_| false), 0, "no record was cut off");
    assert!(rig.kinds_in(segment).contains(&DamageKind::Truncated));
    let moved = |((group, sequence), (place, _)): (&(u64, u64), &(Location, usize))| {
        rig.journal.locate(GroupId(*group), *sequence) != Some(*place)
    };
    assert!(!rig.places.iter().any(moved));
    // The scrubber writes them again, from the records.
    rig.journal.scrub_now();
    assert!(std::fs::metadata(rig.path(segment)).unwrap().len() > length);
    assert_eq!(matching(), all);
    rig.journal.close();
    assert_eq!(open_at(rig.directory.path()).stats().damages, []);
}

#[test]
fn a_cursor_goes_on_behind_what_was_cut_off() {
    let rig = Rig::new();
    let segment = rig.sealed()[1];
    let length = rig.footer_offset(segment) / 2;
    let mut cursor = rig.journal.scan(GroupId(5), 1);
    let in_segment = |sequence: u64| rig.places[&(5, sequence)].0.segment == segment;
    let begin = (1..).find(|sequence| in_segment(*sequence)).unwrap();
    // It stands in the segment, whose mapping it holds.
    while cursor.next().unwrap().unwrap().header.sequence < begin {}
    rig.cut(segment, length);
    let (mut read, mut failed) = (Vec::new(), 0);
    loop {
        match cursor.next() {
            Ok(Some(record)) => {
                assert_eq!(record.payload(), payload(record.header.sequence));
                read.push(record.header.sequence);
            }
            Ok(None) => break,
            Err(ReadError::Damaged(_) | ReadError::Io(_)) => failed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    let whole = |(place, bytes): (Location, usize)| {
        place.segment != segment || u64::from(place.offset) + bytes as u64 <= length
    };
    let expected: Vec<u64> = (begin + 1..=MESSAGES).filter(|sequence| whole(rig.places[&(5, *sequence)])).collect();
    assert_eq!(read, expected);
    assert!(failed > 0, "what was cut off is told, one by one where the tables still say what there was");
}

/// Whoever holds a message holds a share of the mapping, and nothing of what he does with it passes by a checksum.
#[test]
fn a_page_that_only_a_holder_of_a_message_misses_is_reported_too() {
    let rig = Rig::new();
    let segment = rig.sealed()[1];
    let (key, (place, _)) = rig.places.iter().rfind(|(_, (place, _))| place.segment == segment).unwrap();
    let record = rig.journal.read_message(GroupId(key.0), key.1).unwrap();
    rig.cut(segment, 4096);
    assert!(record.payload().iter().all(|byte| *byte == 0));
    assert_eq!(rig.journal.stats().damages, [], "nobody knows yet");
    rig.journal.drive();
    assert_eq!(rig.kinds_in(segment), [DamageKind::Truncated]);
    assert_eq!(rig.journal.stats().damages[0].offset, place.offset / 4096 * 4096);
    assert_eq!(rig.journal.stats().damaged_records, 1);
}

/// Nobody panics, whatever he is about to do when the ground goes away.
#[test]
fn readers_go_on_while_segments_are_cut_under_them() {
    for round in 0..6 {
        let rig = Rig::new();
        let (last, done) = (*rig.sealed().last().unwrap(), AtomicBool::new(false));
        // What was checked may vanish before it is looked at here.
        let is_right = |payload_read: &[u8], sequence: u64| {
            payload_read == payload(sequence) || payload_read.ends_with(&[0]) || payload_read.starts_with(&[0])
        };
        std::thread::scope(|scope| {
            for reader in 0..3u64 {
                let (journal, places, done) = (rig.journal.clone(), &rig.places, &done);
                scope.spawn(move || {
                    let mut step = reader * 97 + round;
                    while !done.load(Ordering::Relaxed) {
                        step += 1;
                        let (group, sequence) = (5 + step % 2, step * 7919 % MESSAGES + 1);
                        match journal.read_message(GroupId(group), sequence) {
                            Ok(record) => assert!(is_right(record.payload(), sequence)),
                            Err(_) => assert!(places[&(group, sequence)].0.segment <= last),
                        }
                        let mut cursor = journal.scan(GroupId(group), sequence);
                        for _ in 0..20 {
                            match cursor.next_matching(&|subject| subject == b"s.2") {
                                Ok(Some(record)) => assert!(is_right(record.payload(), record.header.sequence)),
                                Ok(None) => break,
                                Err(_) => {}
                            }
                        }
                    }
                });
            }
            for part in [3, 2, 1, 0] {
                for segment in rig.sealed() {
                    let length = std::fs::metadata(rig.path(segment)).unwrap().len();
                    rig.cut(segment, length.min(u64::from(SEGMENT_BYTES) * part / 4));
                    std::thread::sleep(Duration::from_millis(1 + round));
                }
                rig.journal.drive();
            }
            done.store(true, Ordering::Relaxed);
        });
        for ((group, sequence), (place, _)) in &rig.places {
            let read = rig.journal.read_message(GroupId(*group), *sequence);
            assert_eq!(read.is_ok_and(|record| record.payload() == payload(*sequence)), place.segment > last);
        }
    }
}

#[test]
fn what_is_put_back_is_there_after_the_next_start() {
    let rig = Rig::new();
    let segment = rig.sealed()[1];
    let content = std::fs::read(rig.path(segment)).unwrap();
    rig.cut(segment, 20 * 1024);
    assert!(rig.check(segment, 20 * 1024, |_| false) > 0);
    std::fs::write(rig.path(segment), content).unwrap();
    rig.journal.close();
    let journal = open_at(rig.directory.path());
    for (group, sequence) in rig.places.keys() {
        assert_eq!(journal.read_message(GroupId(*group), *sequence).unwrap().payload(), payload(*sequence));
    }
    assert_eq!(journal.stats().damages, []);
}

/// A copy gets a checksum of its own, and tables without the messages that can't be read look as if there were no more:
/// compaction would make zeros true, or make away with what is left.
#[test]
fn a_cut_segment_is_not_compacted_away() {
    let rig = Rig::new();
    let segments = rig.sealed();
    let segment = segments[1];
    let length = rig.footer_offset(segment) / 2;
    rig.cut(segment, length);
    for group in GROUPS {
        append_checkpoints(&rig.journal, group, MESSAGES, b"everything");
        for sequence in (1..=MESSAGES).filter(|sequence| sequence % 5 > 0) {
            rig.journal.release_message(GroupId(group), sequence);
        }
    }
    rig.journal.set_live(GroupId(9), 0, &Default::default());
    for _ in 0..20 {
        rig.journal.drive();
        append_state(&rig.journal, 9, b"time goes by");
    }
    assert!(rig.journal.stats().segments_compacted > 0, "the others are");
    assert!(rig.path(segment).exists());
    rig.check(segment, length, |sequence| sequence % 5 > 0);
}

#[test]
fn an_erase_in_a_cut_segment_fails_and_nothing_else_does() {
    let rig = Rig::new();
    let segment = rig.sealed()[1];
    rig.cut(segment, 16 * 1024);
    let (hit, _) = rig.places.iter().rfind(|(_, (place, _))| place.segment == segment).unwrap();
    assert!(rig.journal.erase_message(GroupId(hit.0), hit.1).is_err());
    assert!(matches!(rig.journal.health(), Health::Ok), "only what can't be written is final");
    let (other, _) = rig.places.iter().find(|(_, (place, _))| place.segment != segment).unwrap();
    rig.journal.erase_message(GroupId(other.0), other.1).unwrap();
    assert!(rig.journal.read_message(GroupId(other.0), other.1).unwrap().is_erased());
}

#[test]
fn a_replay_passes_over_what_is_cut_off_and_says_so() {
    let rig = Rig::new();
    let segment = rig.sealed()[1];
    let length = rig.footer_offset(segment) / 2;
    rig.cut(segment, length);
    let mut replayed = 0;
    let ReplayReport { entries, damages, .. } = rig
        .journal
        .replay(&mut |_| {}, &mut |_, record| {
            assert_eq!(record.payload(), payload(record.header.sequence));
            replayed += 1;
        })
        .unwrap();
    let whole = rig
        .places
        .values()
        .filter(|(place, bytes)| place.segment != segment || u64::from(place.offset) + *bytes as u64 <= length);
    assert_eq!((entries, replayed), (whole.clone().count() as u64, whole.count()));
    assert!(!damages.is_empty() || !rig.kinds_in(segment).is_empty());
}
