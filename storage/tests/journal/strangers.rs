//! Files that are not where they should be, or should not be here at all: somebody has restored, copied or tidied up.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_storage::format::segment::{FORMAT_VERSION, HEADER_BYTES, HEADER_COPY_OFFSET};
use headwater_storage::io::OpenMode;
use headwater_storage::verify::{StoreReport, verify};
use headwater_storage::{DamageKind, GroupId, Io, OpenError, Opened, SimIo};

use crate::support::*;

fn segment_path(number: u32) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{number:010}.segment"))
}

/// Puts a file there, durably.
fn put(io: &SimIo, path: &Path, content: Vec<u8>) {
    io.open(path, OpenMode::Create).unwrap();
    io.sync_dir(Path::new(DIRECTORY)).unwrap();
    io.set_content(path, content);
}

fn swap(io: &SimIo, left: &Path, right: &Path) {
    let (of_left, of_right) = (io.content(left).unwrap(), io.content(right).unwrap());
    io.set_content(left, of_right);
    io.set_content(right, of_left);
}

/// Segments with messages, in order; the last one is the newest.
fn with_messages(stored: &Stored) -> Vec<u32> {
    let mut numbers: Vec<u32> = stored.messages.iter().map(|(_, _, place, _)| place.segment).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn look(io: &SimIo) -> StoreReport {
    let mutations = io.mutations();
    let dynamic: Arc<dyn Io> = Arc::new(io.clone());
    let report = verify(dynamic, Path::new(DIRECTORY), true, &mut |_| {}).unwrap();
    assert_eq!(io.mutations(), mutations, "a look changes nothing");
    report
}

/// All messages are served, and go on being so while the journal works.
fn check(stored: &Stored, io: &SimIo, what: &str) -> Opened {
    let opened = try_open(io).unwrap_or_else(|error| panic!("{what}: {error}"));
    let read_all = |when: &str| {
        for (group, sequence, ..) in &stored.messages {
            let record = opened.journal.read_message(GroupId(*group), *sequence);
            let record =
                record.unwrap_or_else(|error| panic!("{what}, {when}: group {group} message {sequence}: {error}"));
            assert_eq!(record.payload(), payload(*sequence), "{what}, {when}");
        }
    };
    read_all("at once");
    for index in 1..=200 {
        append(&opened.journal, 9, index, index, &payload(index));
        if index % 20 == 0 {
            opened.journal.drive();
        }
    }
    read_all("later");
    opened
}

fn kinds_of(opened: &Opened) -> Vec<DamageKind> {
    opened.report.damages.iter().map(|damage| damage.kind).collect()
}

/// Under the other's name neither was readable, and one that came to stand behind the newest was taken for empty and
/// overwritten.
#[test]
fn segments_with_each_others_names_are_served_as_what_they_are() {
    for close in [true, false] {
        let stored = stored(close);
        let mut numbers: Vec<u32> = with_messages(&stored);
        numbers.push(*numbers.last().unwrap() + 2);
        for (at, left) in numbers.iter().enumerate() {
            for right in &numbers[at + 1..] {
                let io = stored.io.fork();
                if io.content(&segment_path(*right)).is_none() {
                    continue;
                }
                swap(&io, &segment_path(*left), &segment_path(*right));
                let what = format!("close {close}: {left} and {right} swapped");
                assert!(look(&io).damages.iter().all(|damage| damage.kind == DamageKind::Misnamed), "{what}");
                let opened = check(&stored, &io, &what);
                assert_eq!(kinds_of(&opened), [DamageKind::Misnamed; 2], "{what}");
                opened.journal.close();
                check(&stored, &io, &format!("{what}, second start")).journal.close();
            }
        }
    }
}

#[test]
fn a_copy_of_a_segment_is_put_aside_and_a_renamed_one_is_found() {
    let stored = stored(true);
    for number in with_messages(&stored) {
        for copy in [number + 1, 500, 4_000_000_000, u32::MAX] {
            let content = stored.io.content(&segment_path(number)).unwrap();
            if stored.io.content(&segment_path(copy)).is_some() {
                continue;
            }
            let io = stored.io.fork();
            put(&io, &segment_path(copy), content.clone());
            let what = format!("{number} copied to {copy}");
            assert_eq!(look(&io).damages.len(), 1, "{what}");
            let opened = check(&stored, &io, &what);
            assert_eq!(kinds_of(&opened), [DamageKind::Segment], "{what}");
            let kept = Path::new(DIRECTORY).join("quarantine").join(format!("{copy:010}.segment"));
            assert_eq!(io.content(&kept), Some(content.clone()), "{what}: nothing is thrown away");
            let highest = io.paths().iter().filter_map(|path| path.file_stem()?.to_str()?.parse::<u32>().ok()).max();
            assert!(highest == Some(copy) || copy < u32::MAX / 2, "{what}: numbers go on from {highest:?}");
            opened.journal.close();
            let aside = look(&io).to_string();
            assert!(aside.contains(&format!("in quarantine since an earlier start: {copy:010}.segment")), "{aside}");
            // Now the original goes.
            let io = stored.io.fork();
            put(&io, &segment_path(copy), content.clone());
            io.delete(&segment_path(number));
            let opened = check(&stored, &io, &format!("{number} renamed to {copy}"));
            assert_eq!(kinds_of(&opened), [DamageKind::Misnamed]);
            opened.journal.close();
        }
    }
}

#[test]
fn what_belongs_to_others_is_left_alone_or_put_aside_and_never_used() {
    let (stored, other) = (stored(true), stored_elsewhere());
    for number in [2, 4, 500] {
        let io = stored.io.fork();
        let foreign = segment_path(number);
        put(&io, &foreign, other.clone());
        let names = ["notes.txt", "0000000001.segment.bak", "1.segment", "lost+found", "core", "00000000zz.segment"];
        for name in names {
            put(&io, &Path::new(DIRECTORY).join(name), b"mine".to_vec());
        }
        put(&io, &segment_path(501), Vec::new());
        put(&io, &segment_path(502), vec![0xa5; 100_000]);
        let report = look(&io);
        let damaged: Vec<u32> = report.damages.iter().map(|damage| damage.segment).collect();
        assert!([number, 501, 502].iter().all(|number| damaged.contains(number)), "{report}");
        let opened = check(&stored, &io, &format!("a foreign {number}"));
        opened.journal.close();
        for name in names {
            assert_eq!(io.content(&Path::new(DIRECTORY).join(name)).as_deref(), Some(&b"mine"[..]), "{name}");
        }
        let kept = Path::new(DIRECTORY).join("quarantine").join(foreign.file_name().unwrap());
        assert!(io.content(&kept).is_some_and(|content| content == other), "{number}");
    }
}

/// A segment of a journal with another identity.
fn stored_elsewhere() -> Vec<u8> {
    let other = stored(true);
    other.io.content(&segment_path(with_messages(&other)[1])).unwrap()
}

#[test]
fn a_file_that_may_not_be_opened_ends_the_start_by_its_name_and_a_look_goes_on() {
    let stored = stored(true);
    for path in files(&stored.io) {
        let io = stored.io.fork();
        io.forbid(&path);
        let mutations = io.mutations();
        let error = try_open(&io).err().expect("nobody knows what is in it");
        assert!(error.to_string().starts_with(&format!("opening {}: ", path.display())), "{error}");
        assert_eq!(io.mutations(), mutations, "{}", path.display());
        let report = look(&io);
        let kinds: Vec<DamageKind> = report.damages.iter().map(|damage| damage.kind).collect();
        assert!(kinds.contains(&DamageKind::Unreadable), "{}: {report}", path.display());
        assert!(!kinds.contains(&DamageKind::Missing), "{}: {report}", path.display());
        io.mend();
        let opened = check(&stored, &io, "allowed again");
        assert_eq!(kinds_of(&opened), []);
    }
}

#[test]
fn a_store_on_a_medium_that_is_mounted_read_only_is_looked_at_and_not_served() {
    for close in [true, false] {
        let stored = stored(close);
        let writable = look(&stored.io).to_string();
        stored.io.set_read_only();
        assert_eq!(look(&stored.io).to_string(), writable);
        let error = try_open(&stored.io).err().expect("it could not go on");
        assert!(error.to_string().contains("read-only"), "{error}");
        stored.io.mend();
        check(&stored, &stored.io, "writable again");
    }
}

/// Puts another format version into the headers of a segment, with the checksums that belong there.
fn set_version(io: &SimIo, path: &Path, copies: &[usize], version: u32) {
    let mut content = io.content(path).unwrap();
    for page in copies {
        content[page + 12..page + 16].copy_from_slice(&version.to_le_bytes());
        let sum = crc32fast::hash(&content[page + 12..page + HEADER_BYTES]);
        content[page + 8..page + 12].copy_from_slice(&sum.to_le_bytes());
    }
    io.set_content(path, content);
}

/// All segments went to quarantine, and the server began anew, empty; a newer one among older ones was read as if it were old.
#[test]
fn a_segment_of_another_format_version_ends_the_start_and_changes_nothing() {
    let stored = stored(true);
    let segments = with_messages(&stored);
    let copies = [0, HEADER_COPY_OFFSET as usize];
    for (of, pages) in [(&segments[..], &copies[..]), (&segments[..1], &copies), (&segments[2..], &copies[..1])] {
        let io = stored.io.fork();
        of.iter().for_each(|number| set_version(&io, &segment_path(*number), pages, FORMAT_VERSION + 1));
        let mutations = io.mutations();
        let error = try_open(&io).err().expect("nobody knows how to read it");
        let expected = format!("{} is of format version {}", segment_path(of[0]).display(), FORMAT_VERSION + 1);
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(matches!(error, OpenError::Version { .. }));
        assert_eq!(io.mutations(), mutations);
        let dynamic: Arc<dyn Io> = Arc::new(io.clone());
        let look = verify(dynamic, Path::new(DIRECTORY), true, &mut |_| {});
        assert!(matches!(look, Err(OpenError::Version { .. })), "{of:?}");
    }
}

/// A store of one segment with a wrong byte in each copy of its header was put aside, and the server open and empty.
#[test]
fn segments_of_which_none_can_be_identified_end_the_start() {
    let stored = stored(true);
    for content in [None, Some(Vec::new()), Some(vec![0xa5; 100_000])] {
        let io = stored.io.fork();
        let segments: Vec<PathBuf> =
            files(&io).into_iter().filter(|path| path.extension().unwrap() == "segment").collect();
        for path in &segments {
            let mut damaged = io.content(path).unwrap();
            for page in [0, HEADER_COPY_OFFSET as usize] {
                damaged[page + 30] ^= 1;
            }
            io.set_content(path, content.clone().unwrap_or(damaged));
        }
        let mutations = io.mutations();
        let error = try_open(&io).err().expect("what is stored must not be given up");
        assert!(matches!(error, OpenError::Unidentified { files, .. } if files == segments.len()), "{error}");
        assert_eq!(io.mutations(), mutations);
        let report = look(&io);
        let unidentified = report.damages.iter().filter(|damage| damage.kind == DamageKind::Segment).count();
        assert_eq!(unidentified, segments.len(), "{report}");
    }
}
