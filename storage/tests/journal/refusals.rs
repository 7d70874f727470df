//! A disk that refuses to read. What it refuses may be good: it comes back with the disk, whatever was done meanwhile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use headwater_storage::io::FaultKind;
use headwater_storage::verify::verify;
use headwater_storage::{
    AppendClass, DamageKind, GroupId, Io, Journal, JournalOptions, OpenError, Opened, SimIo, Urgency,
};

use crate::support::*;

const BLOCK: u64 = 4096;

fn options(map_sealed: bool) -> JournalOptions {
    JournalOptions { segment_bytes: Some(24 * 1024), first_segment_bytes: 24 * 1024, map_sealed, ..manual() }
}

fn try_open_with(io: &SimIo, map_sealed: bool) -> Result<Opened, OpenError> {
    Journal::open(Arc::new(io.clone()), Path::new(DIRECTORY), options(map_sealed), &mut |_| {})
}

/// Does with an opened journal what a server does, and keeps its hands off what was refused. Returns the groups that it
/// went on with.
fn serve(opened: Opened) -> BTreeSet<u64> {
    let Opened { journal, groups, .. } = opened;
    let mut served: BTreeSet<u64> =
        groups.iter().filter(|group| !group.unreadable).map(|group| group.group.0).collect();
    // It ends with an error only where no file can be opened, and then there is no start.
    let Ok(report) = journal.replay(&mut |_| {}, &mut |_, _| {}) else { return BTreeSet::new() };
    for damage in report.damages {
        assert_eq!(damage.kind, DamageKind::Unreadable, "{damage}");
        served.remove(&damage.group.unwrap().0);
    }
    for group in &served {
        assert_eq!(groups.iter().find(|known| known.group.0 == *group).unwrap().last_index, 150);
        append(&journal, *group, 151, 151, &payload(151));
    }
    // Enough for another segment: the old ones are sealed, looked through, recycled where they may be.
    for index in 1..=100 {
        append(&journal, 9, index, index, &payload(index));
        if index % 20 == 0 {
            journal.drive();
        }
    }
    journal.release_messages_before(GroupId(9), 90);
    for group in &served {
        append_state(&journal, *group, b"later");
        append_checkpoint(&journal, *group, 151, b"later");
        journal.drive();
    }
    journal.close();
    served
}

/// Everything is there, and what was appended meanwhile.
fn check(stored: &Stored, io: &SimIo, served: &BTreeSet<u64>, what: &str) {
    io.mend();
    let opened = try_open_with(io, true).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(opened.report.damages, [], "{what}");
    for (group, sequence, ..) in &stored.messages {
        let record = opened.journal.read_message(GroupId(*group), *sequence);
        let record = record.unwrap_or_else(|error| panic!("{what}: group {group} message {sequence}: {error}"));
        assert_eq!(record.payload(), payload(*sequence), "{what}");
    }
    for group in [5, 6] {
        let is_served = served.contains(&group);
        let recovered = opened.groups.iter().find(|known| known.group.0 == group).unwrap();
        assert_eq!(recovered.last_index, 150 + u64::from(is_served), "{what}");
        let known = if is_served { Some(&b"later"[..]) } else { (group == 5).then_some(&b"state of five"[..]) };
        assert_eq!(recovered.state.as_deref(), known, "{what}: state of {group}");
        let checkpoint = recovered.checkpoint.as_ref().map(|checkpoint| checkpoint.index);
        assert_eq!(checkpoint, if is_served { Some(151) } else { (group == 6).then_some(10) }, "{what}");
    }
    let mut replayed = BTreeSet::new();
    let visit = &mut |_, record: headwater_storage::Record| {
        replayed.insert((record.header.group.0, record.header.index));
    };
    let report = opened.journal.replay(&mut |_| {}, visit).unwrap();
    assert!(report.damages.is_empty(), "{what}: {:?}", report.damages);
    for (group, from) in [(5, 1), (6, 11)] {
        let whole = served.contains(&group) || (from..=150).all(|index| replayed.contains(&(group, index)));
        assert!(whole, "{what}: the log of {group} has lost entries");
    }
    opened.journal.abort();
}

fn segment_path(number: u32) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{number:010}.segment"))
}

/// How many reads a start and its replay take.
fn reads_of(io: &SimIo, map_sealed: bool) -> u64 {
    let io = io.fork();
    let opened = try_open_with(&io, map_sealed).unwrap();
    opened.journal.replay(&mut |_| {}, &mut |_, _| {}).unwrap();
    io.count_of(FaultKind::Read)
}

/// A hiccup of the drive at the wrong moment: the messages behind it were reported as damaged, and gone for good with the
/// next footer, checkpoint or batch.
#[test]
fn a_read_that_fails_for_a_moment_costs_a_start_nothing() {
    for close in [true, false] {
        let stored = stored(close);
        for map_sealed in [true, false] {
            for nth in 0..reads_of(&stored.io, map_sealed) {
                let io = stored.io.fork();
                io.refuse_reads(nth, 2);
                let what = format!("close {close}, mapped {map_sealed}: read {nth} fails");
                let opened = try_open_with(&io, map_sealed).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(opened.report.damages, [], "{what}");
                let served = serve(opened);
                assert_eq!(served, BTreeSet::from([5, 6]), "{what}");
                check(&stored, &io, &served, &what);
            }
        }
    }
}

/// Neither a torn tail, nor a footer, nor a later entry takes the place of what the disk refused to give.
#[test]
fn what_a_disk_refuses_during_a_start_is_there_at_the_next_one() {
    let mut refused = 0;
    for close in [true, false] {
        let stored = stored(close);
        for map_sealed in [true, false] {
            for nth in 0..reads_of(&stored.io, map_sealed) {
                let io = stored.io.fork();
                io.refuse_reads(nth, u64::MAX);
                let what = format!("close {close}, mapped {map_sealed}: all reads from {nth} on fail");
                let served = match try_open_with(&io, map_sealed) {
                    Ok(opened) => serve(opened),
                    Err(OpenError::Unreadable { .. }) => {
                        refused += 1;
                        BTreeSet::new()
                    }
                    Err(error) => panic!("{what}: {error}"),
                };
                check(&stored, &io, &served, &what);
            }
        }
    }
    assert!(refused > 20, "only {refused} starts were refused");
}

#[test]
fn a_bad_sector_costs_nothing_that_comes_back_when_it_is_read_again() {
    let (mut served_all, mut served_some, mut refused) = (0, 0, 0);
    for close in [true, false] {
        let stored = stored(close);
        for path in files(&stored.io) {
            let length = stored.io.content(&path).unwrap().len() as u64;
            for start in (0..length).step_by(BLOCK as usize) {
                let io = stored.io.fork();
                io.break_sectors(&path, start..start + BLOCK);
                let what = format!("close {close}: {} at {start}", path.display());
                let served = match try_open_with(&io, false) {
                    Ok(opened) => serve(opened),
                    Err(OpenError::Unreadable { file, .. }) => {
                        assert_eq!(file, path, "{what}");
                        refused += 1;
                        BTreeSet::new()
                    }
                    Err(error) => panic!("{what}: {error}"),
                };
                served_all += u32::from(served.len() == 2);
                served_some += u32::from(served.len() == 1);
                check(&stored, &io, &served, &what);
            }
        }
    }
    // A sector of a sealed segment hurts only whose it is; one of the last segment ends the start.
    assert!(served_all > 0 && served_some > 0 && refused > 0, "{served_all} {served_some} {refused}");
}

/// With the only file that said whose it was unreadable, another journal was begun, and that file put away.
#[test]
fn a_journal_of_one_segment_is_not_begun_anew_because_its_header_is_refused() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    append(&journal, 5, 1, 1, b"kept");
    journal.drive();
    journal.close();
    let path = segment_path(1);
    io.break_sectors(&path, 0..3 * BLOCK);
    let error = try_open(&io).err().expect("nobody knows what is in it");
    assert!(error.to_string().contains("0000000001.segment can not be read at offset 0"), "{error}");
    io.mend();
    let opened = try_open(&io).unwrap();
    assert_eq!(opened.journal.read_message(GroupId(5), 1).unwrap().payload(), b"kept");
}

#[test]
fn a_look_at_a_store_reports_what_is_refused_and_changes_nothing() {
    for close in [true, false] {
        let stored = stored(close);
        let holds =
            |path: &PathBuf| stored.messages.iter().any(|(_, _, place, _)| *path == segment_path(place.segment));
        for path in files(&stored.io).into_iter().filter(holds) {
            let length = stored.io.content(&path).unwrap().len() as u64;
            for start in (0..length).step_by(BLOCK as usize) {
                let io = stored.io.fork();
                io.break_sectors(&path, start..start + BLOCK);
                let mutations = io.mutations();
                let dynamic: Arc<dyn Io> = Arc::new(io.clone());
                let report = verify(dynamic, Path::new(DIRECTORY), true, &mut |_| {}).unwrap();
                let told = report
                    .damages
                    .iter()
                    .any(|damage| damage.kind == DamageKind::Unreadable && segment_path(damage.segment) == path);
                assert!(told, "close {close}: {} at {start}: {report}", path.display());
                assert_eq!(io.mutations(), mutations);
            }
        }
    }
}

/// The kernel has a limit of mappings, and some file systems know none: every message of the segment was unreadable.
#[test]
fn segments_that_can_not_be_mapped_are_read_all_the_same() {
    for refused_from_the_start in [true, false] {
        let stored = stored(true);
        let refuse = || stored.io.refuse_maps();
        if refused_from_the_start {
            refuse();
        }
        let opened = try_open_with(&stored.io, true).unwrap();
        refuse();
        let journal = &opened.journal;
        for (group, sequence, ..) in &stored.messages {
            assert_eq!(journal.read_message(GroupId(*group), *sequence).unwrap().payload(), payload(*sequence));
        }
        let mut cursor = journal.scan(GroupId(5), 1);
        let mut count = 0;
        while let Some(record) = cursor.next_matching(&|subject| subject == b"s.1").unwrap() {
            assert_eq!(record.payload(), payload(record.header.sequence));
            count += 1;
        }
        assert_eq!(count, 50);
        let mut replayed = 0;
        assert_eq!(journal.replay(&mut |_| {}, &mut |_, _| replayed += 1).unwrap().damages, []);
        assert_eq!(replayed, 150 + 140);
        assert_eq!(journal.stats().damages, []);
    }
}

/// The entry that shows that a log was replaced was read once, and a refusal taken for "the same term": what the snapshot had
/// voided was the group's log again.
#[test]
fn a_log_that_a_snapshot_replaced_does_not_come_back_because_its_entry_is_refused() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    for index in 1..=20 {
        let mut appender = journal.append(AppendClass::Message).unwrap();
        let term = if index < 10 { 1 } else { 3 };
        appender.record(&header(5, index, term, index, b"s", b"of another leader"), &[b"s", b"of another leader"]);
        appender.finish(Urgency::Wake);
    }
    journal.drive();
    let mut appender = journal.append(AppendClass::Control).unwrap();
    appender.checkpoint(GroupId(5), 10, 2, Bytes::from_static(b"a snapshot of term 2"));
    appender.finish(Urgency::Wake);
    journal.drive();
    journal.close();
    let mut held_back = 0;
    for map_sealed in [true, false] {
        for nth in 0..reads_of(&io, map_sealed) {
            let io = io.fork();
            io.refuse_reads(nth, u64::MAX);
            let what = format!("mapped {map_sealed}: all reads from {nth} on fail");
            match try_open_with(&io, map_sealed) {
                Ok(opened) if opened.groups[0].unreadable => {
                    held_back += 1;
                    assert!(!opened.report.damages.is_empty(), "{what}");
                }
                Ok(opened) => {
                    let group = &opened.groups[0];
                    assert_eq!((group.last_index, group.last_term), (10, 2), "{what}");
                }
                Err(OpenError::Unreadable { .. }) => {}
                Err(error) => panic!("{what}: {error}"),
            }
        }
    }
    assert!(held_back > 0);
    let group = &open(&io, manual()).groups[0];
    assert_eq!((group.last_index, group.last_term), (10, 2));
}
