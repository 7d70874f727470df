//! Recycling, compaction, erasing.

use std::path::Path;
use std::sync::Arc;

use headwater_storage::{GroupId, Journal, JournalOptions, RealIo, RecordHeader, RecordKind, SimIo, Urgency};

use crate::support::*;

const GROUP: GroupId = GroupId(5);

/// A journal whose requests for checkpoints and notices of space can be looked at.
fn watched(io: &SimIo) -> (Journal, Arc<Watch>) {
    let journal = open(io, manual()).journal;
    let watch = Arc::new(Watch::default());
    journal.start(watch.clone());
    (journal, watch)
}

#[test]
fn a_stream_with_a_limit_lives_in_a_few_files_for_ever() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    for sequence in 1..=5000 {
        append(&journal, 5, sequence, sequence, &payload(sequence));
        journal.release_messages_before(GROUP, sequence.saturating_sub(100));
        if sequence % 50 == 0 {
            append_checkpoint(&journal, 5, sequence, b"checkpoint");
        }
        if sequence % 5 == 0 {
            journal.drive();
        }
    }
    let stats = journal.stats();
    assert!(stats.segments_recycled > 5, "{stats:?}");
    assert!(stats.segments + stats.spares < 12, "{stats:?}");
    for sequence in 4950..=5000 {
        assert_eq!(journal.read_message(GROUP, sequence).unwrap().payload(), payload(sequence));
    }
    assert!(journal.read_message(GROUP, 1).is_err());
    journal.close();
    let opened = open(&io, manual());
    assert_eq!(opened.report.damages, []);
    assert_eq!(opened.journal.read_message(GROUP, 4990).unwrap().payload(), payload(4990));
}

/// Files are never made shorter: what a smaller segment left of one would be lost until the store is gone.
#[test]
fn a_file_is_used_to_its_end_though_segments_became_smaller() {
    const SMALL_BYTES: u32 = 16 * 1024;
    let io = SimIo::new();
    let write = |journal: &Journal, sequences: std::ops::Range<u64>| {
        let mut ends = Vec::new();
        for sequence in sequences {
            append(journal, 5, sequence, sequence, &payload(sequence));
            journal.release_messages_before(GROUP, sequence.saturating_sub(500));
            if sequence % 50 == 0 {
                append_checkpoint(journal, 5, sequence, b"checkpoint");
            }
            journal.drive();
            ends.extend(journal.locate(GROUP, sequence).map(|place| place.offset));
        }
        ends
    };
    let journal = open(&io, manual()).journal;
    write(&journal, 1..3000);
    journal.close();
    let length = |path: &std::path::PathBuf| io.content(path).unwrap().len();
    assert!(files(&io).iter().all(|path| length(path) >= 64 * 1024));
    let opened = open(&io, JournalOptions { segment_bytes: Some(SMALL_BYTES), ..manual() });
    let before = opened.journal.stats().segments_recycled;
    let ends = write(&opened.journal, 3000..6000);
    assert!(opened.journal.stats().segments_recycled > before + 5, "{:?}", opened.journal.stats());
    let beyond = ends.iter().filter(|end| **end > SMALL_BYTES).count();
    assert!(beyond > ends.len() / 2, "{beyond} of {} messages lie behind what a small segment takes", ends.len());
    opened.journal.close();
    let opened = open(&io, JournalOptions { segment_bytes: Some(SMALL_BYTES), ..manual() });
    assert_eq!(opened.report.damages, []);
    assert_eq!(opened.journal.read_message(GROUP, 5900).unwrap().payload(), payload(5900));
}

#[test]
fn a_disk_that_filled_up_makes_no_smaller_segments() {
    const MIB: u64 = 1024 * 1024;
    let io = SimIo::new();
    let options = JournalOptions { segment_bytes: None, first_segment_bytes: 4 * 1024 * 1024, ..manual() };
    let write = |journal: &Journal, sequences: std::ops::RangeInclusive<u64>| {
        for sequence in sequences {
            append(journal, 5, sequence, sequence, &vec![1; MIB as usize]);
            journal.drive();
        }
    };
    let lengths = || {
        let mut lengths: Vec<u64> =
            files(&io).iter().map(|path| io.content(path).unwrap().len() as u64 / MIB).collect();
        lengths.sort_unstable();
        lengths
    };
    // A 128th of it are 8 MiB and something.
    io.set_capacity(Some(1200 * MIB));
    let journal = open(&io, options.clone()).journal;
    write(&journal, 1..=12);
    journal.close();
    let before = lengths();
    assert_eq!((before[0], before[1]), (4, 8), "the first one is small");
    io.set_capacity(Some(io.used_bytes() + 600 * MIB));
    let journal = open(&io, options).journal;
    write(&journal, 13..=40);
    let after = lengths();
    assert!(after.len() > before.len(), "{after:?}");
    assert!(after[1..].iter().all(|length| *length == 8), "{after:?}");
}

#[test]
fn survivors_of_sparse_segments_move_together() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    let survives = |sequence: u64| sequence.is_multiple_of(20);
    for sequence in 1..=3000 {
        append(&journal, 5, sequence, sequence, &payload(sequence));
        append(&journal, 6, sequence, sequence, b"short-lived");
        if sequence % 5 == 0 {
            journal.drive();
        }
    }
    append_state(&journal, 7, b"an idle group's state");
    for group in [5, 6] {
        append_checkpoints(&journal, group, 3000, b"checkpoint");
    }
    journal.drive();
    for sequence in (1..=3000).filter(|sequence| !survives(*sequence)) {
        journal.release_message(GROUP, sequence);
    }
    journal.release_messages_before(GroupId(6), 3001);
    let before = journal.stats().segments;
    append_state(&journal, 6, b"look");
    journal.drive();
    let stats = journal.stats();
    assert!(stats.segments_compacted > 3 && stats.segments < before / 2, "{before} segments before: {stats:?}");
    let check = |journal: &Journal| {
        let mut cursor = journal.scan(GROUP, 1);
        let mut found = Vec::new();
        while let Some(record) = cursor.next().unwrap() {
            assert_eq!(record.payload(), payload(record.header.sequence));
            if survives(record.header.sequence) {
                found.push(record.header.sequence);
            }
        }
        assert_eq!(found, (1..=3000).filter(|sequence| survives(*sequence)).collect::<Vec<_>>());
        assert_eq!(journal.read_message(GROUP, 40).unwrap().payload(), payload(40));
    };
    check(&journal);
    journal.close();
    let opened = open(&io, manual());
    assert_eq!(opened.report.damages, []);
    assert_eq!(opened.groups.iter().map(|group| group.group.0).collect::<Vec<_>>(), [5, 6, 7]);
    assert_eq!(opened.groups[2].state.as_deref(), Some(&b"an idle group's state"[..]));
    check(&opened.journal);
}

#[test]
fn gaps_of_any_width_are_released_with_what_lies_around_them() {
    const FAR: u64 = 1 << 62;
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    append(&journal, 5, 1, 1, b"before a purge far beyond the end");
    append(&journal, 5, 2, FAR, b"after it");
    append(&journal, 6, 1, FAR, b"the first of its stream");
    append(&journal, 6, 2, FAR + 2, b"behind a small gap");
    journal.drive();
    journal.release_messages_before(GROUP, FAR + 1);
    journal.release_message(GROUP, FAR);
    journal.remove_group(GroupId(6));
    journal.drive();
    // The same once the tables are in a footer.
    for index in 3..=300 {
        append(&journal, 5, index, FAR + index, &payload(index));
        journal.drive();
    }
    journal.release_messages_before(GROUP, FAR + 300);
    append_checkpoint(&journal, 5, 299, b"checkpoint");
    append_state(&journal, 5, b"look");
    journal.drive();
    assert_eq!(journal.read_message(GROUP, FAR + 300).unwrap().payload(), payload(300));
}

#[test]
fn a_message_beyond_a_wide_gap_outlives_what_is_released_before_it() {
    const FAR: u64 = 1 << 33;
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    append(&journal, 5, 1, 1, b"before a purge far beyond the end");
    append(&journal, 5, 2, FAR, b"after it");
    // Until the segment is sealed.
    for index in 1..=2000 {
        append(&journal, 6, index, index, &payload(index));
        journal.drive();
    }
    append_checkpoints(&journal, 5, 2, b"checkpoint");
    append_checkpoints(&journal, 6, 2000, b"checkpoint");
    journal.release_messages_before(GROUP, FAR);
    journal.release_messages_before(GroupId(6), 2001);
    for round in 0..10u8 {
        append_state(&journal, 6, &[round]);
        journal.drive();
    }
    assert!(journal.stats().segments_recycled > 0);
    assert_eq!(journal.read_message(GROUP, FAR).unwrap().payload(), b"after it");
    journal.close();
    let opened = open(&io, manual());
    assert_eq!(opened.report.damages, []);
    assert_eq!(opened.journal.read_message(GROUP, FAR).unwrap().payload(), b"after it");
}

#[test]
fn a_reader_keeps_its_segment_from_being_recycled() {
    let io = SimIo::new();
    let journal = open(&io, JournalOptions { tail_bytes_max: 1024, ..manual() }).journal;
    for sequence in 1..=1000 {
        append(&journal, 5, sequence, sequence, &payload(sequence));
        journal.drive();
    }
    let held = journal.read_message(GROUP, 3).unwrap();
    append_checkpoints(&journal, 5, 1000, b"checkpoint");
    journal.drive();
    journal.release_messages_before(GROUP, 1001);
    append_state(&journal, 5, b"look");
    journal.drive();
    for sequence in 1001..=2000 {
        append(&journal, 5, sequence, sequence, &payload(sequence));
        journal.drive();
    }
    assert!(journal.stats().segments_recycled > 0);
    assert_eq!(held.payload(), payload(3));
    assert!(
        Path::new(DIRECTORY).join("0000000001.segment").exists()
            || io.content(&Path::new(DIRECTORY).join("0000000001.segment")).is_some()
    );
}

#[test]
fn a_removed_group_never_comes_back() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    for index in 1..=500 {
        append(&journal, 5, index, index, &payload(index));
        append(&journal, 6, index, index, &payload(index));
        journal.drive();
    }
    let mut appender = journal.append(headwater_storage::AppendClass::Control).unwrap();
    appender.record(&RecordHeader { kind: RecordKind::GroupRemoved, ..header(5, 0, 0, 0, b"", b"") }, &[]);
    appender.finish(Urgency::Wake);
    journal.remove_group(GROUP);
    journal.drive();
    assert!(journal.read_message(GROUP, 400).is_err());
    for index in 501..=1500 {
        append(&journal, 6, index, index, &payload(index));
        if index % 100 == 0 {
            append_checkpoint(&journal, 6, index, b"checkpoint");
            journal.release_messages_before(GroupId(6), index - 20);
            journal.drive();
        }
    }
    journal.close();
    let opened = open(&io, manual());
    assert_eq!(opened.groups.iter().map(|group| group.group.0).collect::<Vec<_>>(), [6]);
}

#[test]
fn a_group_without_checkpoint_is_asked_for_one() {
    let io = SimIo::new();
    let (journal, watch) = watched(&io);
    append(&journal, 5, 1, 0, b"an entry that holds its segment");
    for index in 1..=1500 {
        append(&journal, 6, index, index, &payload(index));
        journal.drive();
    }
    append_checkpoints(&journal, 6, 1500, b"checkpoint");
    journal.release_messages_before(GroupId(6), 1501);
    journal.drive();
    append_state(&journal, 6, b"look");
    journal.drive();
    assert!(watch.wanted.lock().contains(&GROUP));
    append_checkpoints(&journal, 5, 1, b"checkpoint");
    journal.drive();
    assert!(journal.stats().segments < 5, "{:?}", journal.stats());
}

/// Who was asked at a bad moment was never asked again, and held every later segment until the next start.
#[test]
fn a_checkpoint_that_could_not_be_written_is_asked_for_again() {
    let io = SimIo::new();
    let (journal, watch) = watched(&io);
    append(&journal, 5, 1, 0, b"an entry that holds its segment");
    for index in 1..=1500 {
        append(&journal, 6, index, index, &payload(index));
        if index % 5 == 0 {
            journal.drive();
        }
    }
    append_checkpoints(&journal, 6, 1500, b"checkpoint");
    // The first segment would be dead but for that entry, and the others live on.
    journal.release_messages_before(GroupId(6), 500);
    let is_asked = || {
        watch.wanted.lock().clear();
        append_state(&journal, 6, b"look");
        journal.drive();
        watch.wanted.lock().contains(&GROUP)
    };
    assert!(is_asked());
    assert!(is_asked(), "it was not answered");
    let held = journal.stats().segments;
    append_checkpoints(&journal, 5, 1, b"checkpoint");
    journal.drive();
    assert!(!is_asked(), "it was answered");
    assert_eq!(journal.stats().segments, held - 1, "{:?}", journal.stats());
}

/// Each group was below its bound, and a start read what all of them had written.
#[test]
fn what_all_groups_have_a_start_read_is_bounded() {
    let io = SimIo::new();
    let options = JournalOptions { checkpoint_bytes: 1 << 40, replay_bytes_max: 25_000, ..manual() };
    let journal = open(&io, options).journal;
    let watch = Arc::new(Watch::default());
    journal.start(watch.clone());
    let write = |group: u64, first: u64| {
        (first..first + 10).for_each(|index| append(&journal, group, index, index, &[7; 1000]));
        append_state(&journal, group, b"look");
        journal.drive();
    };
    write(5, 1);
    assert_eq!(*watch.wanted.lock(), []);
    write(6, 1);
    write(6, 11);
    assert!(watch.wanted.lock().iter().all(|group| *group == GroupId(6)), "the one with the most");
    assert!(!watch.wanted.lock().is_empty());
    append_checkpoint(&journal, 6, 20, b"checkpoint");
    journal.drive();
    watch.wanted.lock().clear();
    append_state(&journal, 5, b"look");
    journal.drive();
    assert_eq!(*watch.wanted.lock(), []);
    assert_eq!(journal.unsaved().iter().map(|unsaved| unsaved.group.0).collect::<Vec<_>>(), [5]);
}

/// What a purge removed lay there until the stream had written as much again as makes a checkpoint due.
#[test]
fn a_purge_gives_space_back_once_a_checkpoint_is_wanted() {
    let io = SimIo::new();
    let (journal, watch) = watched(&io);
    let mut index = 0;
    let mut fill = |journal: &Journal| {
        for _ in 0..1500 {
            index += 1;
            append(journal, 5, index, index, &payload(index));
            if index % 5 == 0 {
                journal.drive();
            }
        }
        index
    };
    // Without a clock it is asked in each pass.
    let is_asked = || std::mem::take(&mut *watch.wanted.lock()).contains(&GROUP);
    let answer = |index: u64| {
        append_checkpoints(&journal, 5, index, b"checkpoint");
        journal.drive();
        is_asked();
        journal.release_messages_before(GROUP, index + 1);
        append_state(&journal, 6, b"look");
        journal.drive();
    };
    let last = fill(&journal);
    let filled = journal.stats().segments;
    append_state(&journal, 6, b"look");
    journal.drive();
    assert!(!is_asked(), "by itself it is not asked for");
    journal.want_checkpoint(GROUP);
    journal.drive();
    assert!(is_asked());
    answer(last);
    assert!(!is_asked(), "it was answered");
    assert!(filled > 5 && journal.stats().segments < 4, "{filled} segments, then {:?}", journal.stats());

    // One that was appended before knows nothing of what was removed since.
    let last = fill(&journal);
    append_checkpoint(&journal, 5, last, b"too early");
    journal.want_checkpoint(GROUP);
    journal.drive();
    assert!(is_asked());
    append_state(&journal, 6, b"look");
    journal.drive();
    assert!(is_asked(), "and it is asked again");
    answer(last);
    assert!(!is_asked());
}

#[test]
fn nobody_is_asked_for_a_checkpoint_of_a_group_that_is_gone() {
    let io = SimIo::new();
    let (journal, watch) = watched(&io);
    append(&journal, 5, 1, 1, b"short-lived");
    journal.want_checkpoint(GROUP);
    let mut appender = journal.append(headwater_storage::AppendClass::Control).unwrap();
    appender.record(&RecordHeader { kind: RecordKind::GroupRemoved, ..header(5, 0, 0, 0, b"", b"") }, &[]);
    appender.finish(Urgency::Wake);
    journal.remove_group(GROUP);
    journal.drive();
    journal.want_checkpoint(GROUP);
    journal.drive();
    assert_eq!(*watch.wanted.lock(), []);
}

/// Records that are small beside their entry in the footer: a segment of survivors outgrows the space that was reserved. What a compaction had
/// taken from the spares was gone then, or nothing was reclaimed any more.
#[test]
fn a_compaction_without_room_for_its_footer_gives_back_what_it_took() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    let mut last = 0;
    while journal.stats().segments < 6 {
        for _ in 0..50 {
            last += 1;
            append_on(&journal, 5, last, last, format!("a.subject.of.its.own.{last}").as_bytes(), b"small");
        }
        journal.drive();
    }
    append_checkpoints(&journal, 5, last, b"checkpoint");
    journal.drive();
    let survives = |sequence: u64| sequence.is_multiple_of(3);
    (1..=last).filter(|sequence| !survives(*sequence)).for_each(|sequence| journal.release_message(GROUP, sequence));
    let before = journal.stats();
    io.set_capacity(Some(io.used_bytes()));
    let check = || {
        for sequence in (1..=last).filter(|sequence| survives(*sequence)) {
            assert_eq!(journal.read_message(GROUP, sequence).unwrap().payload(), b"small");
        }
    };
    for round in 0..5 {
        append_state(&journal, 6, &[round]);
        journal.drive();
        let stats = journal.stats();
        assert!(stats.compacted_bytes > before.compacted_bytes, "it was tried");
        assert_eq!((stats.segments_compacted, stats.segments), (0, before.segments));
        assert_eq!(stats.spares, before.spares, "round {round}");
        check();
    }
    io.set_capacity(None);
    append_state(&journal, 6, b"look");
    journal.drive();
    assert!(journal.stats().segments_compacted > 1, "{:?}", journal.stats());
    check();
}

#[test]
fn an_erased_message_is_gone_from_disk_and_stays_valid() {
    for seal in [false, true] {
        let io = SimIo::new();
        let journal = open(&io, manual()).journal;
        for sequence in 1..=20 {
            append_on(&journal, 5, sequence, sequence, b"secret.subject", format!("secret {sequence}!").as_bytes());
        }
        journal.drive();
        for sequence in 21..=if seal { 800 } else { 30 } {
            append(&journal, 5, sequence, sequence, &payload(sequence));
            journal.drive();
        }
        let found = |io: &SimIo, text: &str| {
            let contains = |path: &std::path::PathBuf| {
                let content = io.content(path).unwrap();
                content.windows(text.len()).any(|window| window == text.as_bytes())
            };
            io.paths().iter().any(contains)
        };
        assert!(found(&io, "secret 7!"));
        journal.erase_message(GROUP, 7).unwrap();
        assert!(!found(&io, "secret 7!"));
        let check = |journal: &Journal| {
            let record = journal.read_message(GROUP, 7).unwrap();
            assert!(record.is_erased() && record.payload().is_empty() && record.subject().is_empty());
            assert_eq!(journal.read_message(GROUP, 6).unwrap().payload(), b"secret 6!");
            assert_eq!(journal.read_message(GROUP, 8).unwrap().payload(), b"secret 8!");
            assert_eq!(journal.scrub_now(), []);
        };
        check(&journal);
        journal.close();
        let opened = open(&io, manual());
        assert_eq!(opened.report.damages, []);
        check(&opened.journal);
    }
}

#[test]
fn a_torn_erase_is_an_erase_or_nothing() {
    for cut in 0..4 {
        for seed in 0..20 {
            let io = SimIo::new();
            let journal = open(&io, manual()).journal;
            let body = b"a secret that spans some sectors ".repeat(60);
            for sequence in 1..=5 {
                append(&journal, 5, sequence, sequence, &body);
            }
            journal.drive();
            io.crash_at(headwater_storage::io::CrashPoint(io.mutations() + cut));
            let _ = journal.erase_message(GROUP, 3);
            journal.abort();
            io.crash(seed);
            let opened = open(&io, manual());
            assert_eq!(opened.report.damages, []);
            let record = opened.journal.read_message(GROUP, 3).unwrap();
            assert!(record.is_erased() || record.payload() == body);
            assert!(record.is_erased() || cut < 2);
            assert_eq!(opened.journal.read_message(GROUP, 4).unwrap().payload(), body);
        }
    }
}

#[test]
fn real_files_are_recycled_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let options = JournalOptions {
        segment_bytes: Some(256 * 1024),
        first_segment_bytes: 256 * 1024,
        tail_bytes_max: 64 * 1024,
        ..JournalOptions::default()
    };
    let io = Arc::new(RealIo::probe(directory.path()).unwrap());
    let path = directory.path().join("journal");
    let journal = headwater_storage::Journal::open(io.clone(), &path, options.clone(), &mut |_| {}).unwrap().journal;
    let watch = Arc::new(Watch::default());
    journal.start(watch.clone());
    for sequence in 1..=20_000u64 {
        append(&journal, 5, sequence, sequence, &payload(sequence));
        journal.release_messages_before(GROUP, sequence.saturating_sub(1000));
        if sequence % 500 == 0 {
            append_checkpoint(&journal, 5, sequence, b"checkpoint");
            watch.wait(GROUP, sequence);
            let oldest = sequence.saturating_sub(999).max(1);
            assert_eq!(journal.read_message(GROUP, oldest).unwrap().payload(), payload(oldest));
        }
    }
    watch.wait(GROUP, 20_000);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let stats = journal.stats();
    assert!(stats.segments_recycled > 0, "{stats:?}");
    journal.close();
    let opened = headwater_storage::Journal::open(io, &path, options, &mut |_| {}).unwrap();
    assert_eq!(opened.report.damages, []);
    for sequence in 19_001..=20_000 {
        assert_eq!(opened.journal.read_message(GROUP, sequence).unwrap().payload(), payload(sequence));
    }
}

/// Ninety groups that share every segment, and of each a random two thirds of the messages are dead: what lives comes out
/// of the rewriting whole, in order, and in less space; and so it does after another start.
#[test]
fn compaction_of_a_jumble_of_live_and_dead_keeps_what_lives() {
    const GROUPS: u64 = 90;
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    let mut random = 7_u64;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let mut last = vec![0_u64; GROUPS as usize];
    for _ in 0..12_000 {
        let group = below(GROUPS);
        last[group as usize] += 1;
        let sequence = last[group as usize];
        append(&journal, group + 2, sequence, sequence, &payload(group * 1000 + sequence));
        if below(20) == 0 {
            journal.drive();
        }
    }
    journal.drive();
    let before = journal.stats();
    let mut live: Vec<Vec<u64>> = vec![Vec::new(); GROUPS as usize];
    for group in 0..GROUPS {
        append_checkpoints(&journal, group + 2, last[group as usize], b"checkpoint");
        for sequence in 1..=last[group as usize] {
            if below(3) == 0 {
                live[group as usize].push(sequence);
            } else {
                journal.release_message(GroupId(group + 2), sequence);
            }
        }
    }
    let check = |journal: &Journal| {
        for group in 0..GROUPS {
            let id = GroupId(group + 2);
            for sequence in &live[group as usize] {
                let record = journal.read_message(id, *sequence).unwrap();
                assert_eq!(record.payload(), payload(group * 1000 + sequence), "group {group} message {sequence}");
            }
            let mut cursor = journal.scan(id, 1);
            let mut next = || cursor.next().unwrap().map(|record| record.header.sequence);
            let found: Vec<u64> = std::iter::from_fn(&mut next).collect();
            assert!(found.is_sorted() && live[group as usize].iter().all(|sequence| found.contains(sequence)));
        }
    };
    for round in 0..30 {
        append_state(&journal, 2, &[round]);
        journal.drive();
    }
    let after = journal.stats();
    assert!(after.segments_compacted > 10, "{after:?}");
    assert!(after.segments < before.segments, "{} segments, before {}", after.segments, before.segments);
    check(&journal);
    assert_eq!(journal.scrub_now(), []);
    journal.close();
    let opened = open(&io, manual());
    assert_eq!(opened.report.damages, []);
    check(&opened.journal);
}
