//! Bit flips, truncation and deletion in every kind of file and every region. What was durable elsewhere is never
//! lost, nothing wrong is ever returned, and what is lost is reported.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_storage::format::checksum_seed;
use headwater_storage::format::footer::FooterDirectory;
use headwater_storage::format::segment::{SEAL_OFFSET, SealSlot, SegmentHeader};
use headwater_storage::io::OpenMode;
use headwater_storage::{
    Damage, DamageKind, GroupId, Io, JournalOptions, Location, OpenError, Opened, ReadError, SimIo,
};

use crate::support::*;

/// Opens a damaged disk and checks every message that `hit` does not name.
fn check(stored: &Stored, io: &SimIo, what: &str, hit: impl Fn(Location, usize) -> bool) -> Opened {
    let opened = try_open(io).unwrap_or_else(|error| panic!("{what}: {error}"));
    let journal = &opened.journal;
    let mut lost = 0;
    for (group, sequence, place, length) in &stored.messages {
        match journal.read_message(GroupId(*group), *sequence) {
            Ok(record) => assert_eq!(record.payload(), payload(*sequence), "{what}: group {group} message {sequence}"),
            Err(ReadError::NotFound | ReadError::Damaged(_)) if hit(*place, *length) => lost += 1,
            Err(error) => panic!("{what}: group {group} message {sequence} at {place}: {error}; {:?}", opened.report),
        }
    }
    journal
        .replay(&mut |_| {}, &mut |_, record| assert_eq!(record.payload(), payload(record.header.sequence)))
        .unwrap();
    if lost > 0 {
        assert!(!journal.stats().damages.is_empty(), "{what}: {lost} lost and nothing reported");
    }
    // It goes on.
    append(journal, 9, 1, 1, b"after the damage");
    journal.drive();
    assert_eq!(journal.read_message(GroupId(9), 1).unwrap().payload(), b"after the damage");
    for (group, sequence, place, length) in &stored.messages {
        let readable = journal.read_message(GroupId(*group), *sequence).is_ok();
        assert!(readable || hit(*place, *length), "{what}: group {group} message {sequence} lost later");
    }
    opened
}

/// Bytes between two samples; `STRIDE=1 cargo test` tries every byte.
fn stride() -> usize {
    std::env::var("STRIDE").ok().and_then(|stride| stride.parse().ok()).unwrap_or(457)
}

fn number_of(path: &Path) -> u32 {
    path.file_name().unwrap().to_str().unwrap()[..10].parse().unwrap()
}

#[test]
fn a_flipped_bit_loses_at_most_the_record_it_hits() {
    for close in [true, false] {
        let stored = stored(close);
        for path in files(&stored.io) {
            let content = stored.io.content(&path).unwrap();
            let is_segment = path.extension().unwrap() == "segment";
            let number = number_of(&path);
            // The fixed pages, then a sample of everything else.
            let offsets =
                (0..48).chain(4096..4144).chain(8192..8240).step_by(5).chain((12288..content.len()).step_by(stride()));
            for offset in offsets {
                let io = stored.io.fork();
                let mut damaged = content.clone();
                damaged[offset] ^= 1 << (offset % 8);
                io.set_content(&path, damaged);
                let what = format!("close {close}: bit flip in {} at {offset}", path.display());
                let hit = |place: Location, length: usize| {
                    let range = place.offset as usize..place.offset as usize + length;
                    is_segment && place.segment == number && range.contains(&offset)
                };
                check(&stored, &io, &what, hit).journal.abort();
            }
        }
    }
}

#[test]
fn a_truncated_file_loses_only_what_was_cut_off() {
    for close in [true, false] {
        let stored = stored(close);
        for path in files(&stored.io) {
            let content = stored.io.content(&path).unwrap();
            let is_segment = path.extension().unwrap() == "segment";
            let number = number_of(&path);
            for length in
                [0, 1, 100, 4096, 8192, 12288, 12289].into_iter().chain((12352..content.len()).step_by(stride() * 11))
            {
                let io = stored.io.fork();
                io.set_content(&path, content[..length].to_vec());
                let what = format!("close {close}: {} truncated to {length}", path.display());
                // Without its pages at the start a file still serves what it has; without any data it has nothing.
                let hit = |place: Location, bytes: usize| {
                    is_segment && place.segment == number && place.offset as usize + bytes > length
                };
                check(&stored, &io, &what, hit).journal.abort();
            }
        }
    }
}

#[test]
fn a_missing_file_is_reported_and_nothing_else_is_lost() {
    let stored = stored(true);
    let holds_data = |number: u32| stored.messages.iter().any(|(_, _, place, _)| place.segment == number);
    for path in files(&stored.io) {
        let io = stored.io.fork();
        io.delete(&path);
        let number = number_of(&path);
        let is_data = path.extension().unwrap() == "segment" && holds_data(number);
        let opened = check(&stored, &io, &format!("{} deleted", path.display()), |place, _| place.segment == number);
        let missing = opened.report.damages.iter().any(|damage| damage.kind == DamageKind::Missing);
        assert_eq!(missing, is_data, "{}: {:?}", path.display(), opened.report.damages);
    }
}

#[test]
fn a_segment_without_any_header_is_read_with_what_the_others_know() {
    let stored = stored(true);
    for path in files(&stored.io).into_iter().filter(|path| path.extension().unwrap() == "segment") {
        let io = stored.io.fork();
        let mut content = stored.io.content(&path).unwrap();
        content[..12288].fill(0x55);
        io.set_content(&path, content);
        let opened = check(&stored, &io, &format!("{} without header", path.display()), |_, _| false);
        assert!(opened.report.damages.iter().any(|damage| damage.kind == DamageKind::Header));
    }
}

#[test]
fn unreadable_sectors_are_reported_and_the_rest_serves() {
    let stored = stored(true);
    for nth in 0..60 {
        let io = stored.io.fork();
        io.fail(headwater_storage::io::FaultKind::Read, nth);
        // One read fails: the journal must not panic, and must not lose the group.
        let Ok(opened) = try_open(&io) else { continue };
        let readable = stored
            .messages
            .iter()
            .filter(|(group, sequence, ..)| opened.journal.read_message(GroupId(*group), *sequence).is_ok())
            .count();
        assert!(readable >= stored.messages.len() - 40, "read {nth}: only {readable} readable");
    }
}

#[test]
fn the_scrubber_finds_what_nobody_reads() {
    let stored = stored(true);
    let opened = try_open(&stored.io).unwrap();
    opened.journal.drive();
    assert_eq!(opened.journal.scrub_now(), []);
    let (group, sequence, place, length) = stored.messages[20];
    let path = Path::new(DIRECTORY).join(format!("{:010}.segment", place.segment));
    let mut content = stored.io.content(&path).unwrap();
    content[place.offset as usize + length - 1] ^= 4;
    stored.io.set_content(&path, content);
    let damages = opened.journal.scrub_now();
    assert_eq!(damages.len(), 1);
    assert_eq!(
        (damages[0].kind, damages[0].group, damages[0].sequence, damages[0].offset),
        (DamageKind::Record, Some(GroupId(group)), Some(sequence), place.offset)
    );
}

#[test]
fn a_store_is_verified_without_a_server_and_without_a_change() {
    let stored = stored(true);
    let io: Arc<dyn Io> = Arc::new(stored.io.clone());
    let mutations = stored.io.mutations();
    let verify = || headwater_storage::verify::verify(io.clone(), Path::new(DIRECTORY), true, &mut |_| {}).unwrap();
    let report = verify();
    assert_eq!(report.damages, []);
    let five = &report.groups[0];
    assert_eq!((five.group, five.messages, five.indexes, five.sequences), (GroupId(5), 150, (1, 150), (1, 150)));
    assert_eq!(report.groups[1].checkpoint, Some(10));
    let (_, sequence, place, length) = stored.messages[20];
    let path = Path::new(DIRECTORY).join(format!("{:010}.segment", place.segment));
    let mut content = stored.io.content(&path).unwrap();
    content[place.offset as usize + length - 1] ^= 4;
    stored.io.set_content(&path, content);
    let report = verify();
    assert_eq!(report.damages.len(), 1);
    assert!(report.to_string().contains(&format!("Record group 5 index {sequence} sequence {sequence}")), "{report}");
    assert_eq!(stored.io.mutations(), mutations);
    let opened = try_open(&stored.io).unwrap();
    let locked = headwater_storage::verify::verify(io.clone(), Path::new(DIRECTORY), true, &mut |_| {});
    assert!(matches!(locked, Err(OpenError::Locked { .. })));
    opened.journal.close();
}

/// A start that could not read the tables of a sealed segment left out every entry in it, and said nothing.
#[test]
fn a_replay_finds_its_entries_without_the_tables_or_says_that_it_can_not() {
    let stored = stored(true);
    for nth in 0..40 {
        let io = stored.io.fork();
        let Ok(opened) = try_open(&io) else { panic!("nothing is wrong yet") };
        io.fail(headwater_storage::io::FaultKind::Read, nth);
        let mut replayed = 0;
        let report = opened.journal.replay(&mut |_| {}, &mut |_, _| replayed += 1);
        // 150 entries of group 5, and of group 6 those above its checkpoint.
        let complete = replayed == 150 + 140;
        let told = report.as_ref().map_or(true, |report| !report.damages.is_empty());
        assert!(complete || told, "read {nth} failed: {replayed} entries and not a word");
    }
}

/// A sector that can not be read any more ended the process of whoever touched it by way of a mapping.
#[test]
fn a_segment_with_a_bad_sector_is_not_mapped_once_that_is_known() {
    let stored = stored(true);
    let opened = try_open(&stored.io).unwrap();
    opened.journal.drive();
    let (group, sequence, place, length) = stored.messages[20];
    let path = Path::new(DIRECTORY).join(format!("{:010}.segment", place.segment));
    stored.io.break_sectors(&path, u64::from(place.offset)..u64::from(place.offset) + length as u64);
    let damages = opened.journal.scrub_now();
    assert!(damages.iter().any(|damage| damage.kind == DamageKind::Unreadable), "{damages:?}");
    // The tables are in the same block of this small segment: without them it is damaged, with them unreadable.
    let read = opened.journal.read_message(GroupId(group), sequence);
    assert!(matches!(read, Err(ReadError::Io(_) | ReadError::Damaged(_))), "{read:?}");
    let others = stored.messages.iter().filter(|(_, _, other, _)| other.offset.abs_diff(place.offset) > 8192);
    for (group, sequence, ..) in others {
        let record = opened.journal.read_message(GroupId(*group), *sequence).unwrap();
        assert_eq!(record.payload(), payload(*sequence));
    }
}

/// Every message of the segment was unreadable with the sector that its tables were in.
#[test]
fn messages_are_read_without_the_sector_of_their_tables() {
    let stored = stored(true);
    let opened = try_open(&stored.io).unwrap();
    opened.journal.drive();
    let segment = stored.messages[20].2.segment;
    let path = Path::new(DIRECTORY).join(format!("{segment:010}.segment"));
    let content = stored.io.content(&path).unwrap();
    let footer = content.windows(8).position(|window| window == b"HWFOOTER").unwrap();
    stored.io.break_sectors(&path, footer as u64..content.len() as u64);
    opened.journal.scrub_now();
    // Files are read in blocks.
    let whole = |place: &Location, length: usize| {
        place.segment != segment || place.offset as usize + length <= footer / 4096 * 4096
    };
    let mut inside = 0;
    for (group, sequence, place, length) in stored.messages.iter().filter(|(_, _, place, length)| whole(place, *length))
    {
        let record = opened.journal.read_message(GroupId(*group), *sequence);
        assert_eq!(record.unwrap().payload(), payload(*sequence), "{place} {length}");
        inside += usize::from(place.segment == segment);
    }
    assert!(inside > 20, "only {inside}");
}

/// A start that had to read one sector more than the disk gave was none at all.
#[test]
fn a_replay_passes_over_a_sector_that_can_not_be_read() {
    let stored = stored(true);
    let options = JournalOptions { map_sealed: false, ..manual() };
    let journal = open(&stored.io, options).journal;
    let (_, _, place, _) = stored.messages[20];
    let path = Path::new(DIRECTORY).join(format!("{:010}.segment", place.segment));
    let block = u64::from(place.offset) / 4096 * 4096;
    stored.io.break_sectors(&path, u64::from(place.offset)..u64::from(place.offset) + 1);
    let mut replayed = 0;
    let report = journal.replay(&mut |_| {}, &mut |_, record| {
        assert_eq!(record.payload(), payload(record.header.sequence));
        replayed += 1;
    });
    let hit = |place: &Location, length: usize| {
        let start = u64::from(place.offset);
        place.segment == stored.messages[20].2.segment && start < block + 4096 && start + length as u64 > block
    };
    // Of group 6 what is above its checkpoint.
    let entries = stored.messages.iter().filter(|(group, sequence, ..)| *group == 5 || *sequence > 10);
    let lost = entries.clone().filter(|(_, _, place, length)| hit(place, *length)).count();
    assert!(lost > 0);
    assert_eq!((replayed, report.unwrap().damages.len()), (entries.count() - lost, lost));
}

/// The directory of a footer is written anew after the start that found it damaged, so that the next one is quick again.
#[test]
fn a_damaged_footer_is_written_again() {
    let stored = stored(true);
    let sealed: Vec<PathBuf> = {
        let opened = try_open(&stored.io).unwrap();
        opened.journal.drive();
        opened.journal.close();
        let magic = |path: &PathBuf| {
            let content = stored.io.content(path).unwrap();
            content.windows(8).any(|window| window == b"HWFOOTER")
        };
        files(&stored.io).into_iter().filter(|path| path.extension().unwrap() == "segment").filter(magic).collect()
    };
    assert!(sealed.len() > 2);
    for path in sealed {
        let io = stored.io.fork();
        let mut content = io.content(&path).unwrap();
        let at = content.windows(8).position(|window| window == b"HWFOOTER").unwrap();
        content[at + 30] ^= 1;
        io.set_content(&path, content);
        let opened = try_open(&io).unwrap();
        // No gap in the log, as the segments around it made believe.
        let kinds: Vec<DamageKind> = opened.report.damages.iter().map(|damage| damage.kind).collect();
        assert_eq!(kinds, [DamageKind::Footer], "{}", path.display());
        opened.journal.drive();
        opened.journal.close();
        let opened = try_open(&io).unwrap();
        assert_eq!(opened.report.damages, [], "{}", path.display());
        opened.journal.close();
    }
}

/// The flipped term was taken for the group's last one, below which the terms of all later entries fell.
#[test]
fn a_flipped_bit_in_the_term_of_a_last_record_is_not_the_term_of_the_group() {
    let stored = stored(true);
    for (group, sequence, place, _) in stored.messages.iter().filter(|(_, sequence, ..)| *sequence == 150) {
        let io = stored.io.fork();
        let path = Path::new(DIRECTORY).join(format!("{:010}.segment", place.segment));
        let mut content = io.content(&path).unwrap();
        let term = place.offset as usize + 24;
        assert_eq!(content[term..term + 8], 1_u64.to_le_bytes());
        content[term + 4] ^= 1;
        io.set_content(&path, content);
        let opened = try_open(&io).unwrap();
        let found = opened.groups.iter().find(|found| found.group == GroupId(*group)).unwrap();
        assert_eq!((found.last_index, found.last_term), (*sequence, 1));
        assert!(matches!(opened.journal.read_message(GroupId(*group), *sequence), Err(ReadError::Damaged(_))));
    }
}

/// What a look says, record by record.
fn look(io: &SimIo) -> headwater_storage::verify::StoreReport {
    let io: Arc<dyn Io> = Arc::new(io.clone());
    headwater_storage::verify::verify(io, Path::new(DIRECTORY), true, &mut |_| {}).unwrap()
}

/// The store with all of its segments but the last sealed.
fn with_footers() -> (Stored, SimIo) {
    let stored = stored(true);
    let io = stored.io.fork();
    let opened = try_open(&io).unwrap();
    opened.journal.drive();
    opened.journal.close();
    assert_eq!(look(&io).damages, []);
    (stored, io)
}

/// The tables of a footer were not looked at: a server that used them reported every one, and `verify` none.
#[test]
fn a_look_finds_damage_in_the_tables_of_a_footer() {
    let (_, io) = with_footers();
    let mut sections = 0;
    for path in files(&io).into_iter().filter(|path| path.extension().unwrap() == "segment") {
        let content = io.content(&path).unwrap();
        let header = SegmentHeader::decode(&content).unwrap();
        let seed = checksum_seed(header.journal, header.number);
        let Some(slot) = SealSlot::decode(&content[SEAL_OFFSET as usize..], seed).flatten() else { continue };
        let start = slot.footer_offset as usize;
        let directory = FooterDirectory::decode(&content[start..start + slot.directory_length as usize]).unwrap();
        for group in &directory.groups {
            let at = start + group.section_offset as usize;
            let mut damaged = content.clone();
            damaged[at + group.section_length as usize / 2] ^= 1;
            io.set_content(&path, damaged);
            let found = look(&io).damages;
            assert_eq!(found.len(), 1);
            assert_eq!((found[0].kind, found[0].group), (DamageKind::Footer, Some(group.group)));
            assert_eq!(found[0].offset as usize, at);
            io.set_content(&path, content.clone());
            sections += 1;
        }
    }
    assert!(sections > 4);
}

/// A page of zeros hides the headers of the records in it, but the footer knows them.
#[test]
fn a_look_names_every_record_that_a_page_of_zeros_took() {
    let (stored, io) = with_footers();
    let (.., place, _) = stored.messages[20];
    let path = Path::new(DIRECTORY).join(format!("{:010}.segment", place.segment));
    let mut content = io.content(&path).unwrap();
    let page = place.offset as usize / 4096 * 4096;
    content[page..page + 4096].fill(0);
    io.set_content(&path, content);
    let hit = |offset: u32, length: usize| offset as usize + length > page && (offset as usize) < page + 4096;
    let lost =
        stored.messages.iter().filter(|(_, _, at, length)| at.segment == place.segment && hit(at.offset, *length));
    let found = look(&io).damages;
    for (group, sequence, at, _) in lost.clone() {
        let named = |damage: &&Damage| (damage.group, damage.sequence) == (Some(GroupId(*group)), Some(*sequence));
        let damage = found.iter().find(named);
        assert_eq!(damage.map(|damage| damage.offset), Some(at.offset), "group {group} message {sequence}: {found:?}");
    }
    assert!(lost.count() > 5);
}

#[test]
fn a_store_with_files_in_quarantine_is_not_well() {
    let (_, io) = with_footers();
    assert!(look(&io).quarantined.is_empty());
    let copy = Path::new(DIRECTORY).join("0000000500.segment");
    io.open(&copy, OpenMode::Create).unwrap();
    io.set_content(&copy, vec![0xa5; 100_000]);
    io.sync_dir(Path::new(DIRECTORY)).unwrap();
    try_open(&io).unwrap().journal.close();
    let report = look(&io);
    assert_eq!(report.damages, []);
    assert!(!report.is_well());
    assert!(report.to_string().contains("no other damage found"), "{report}");
}
