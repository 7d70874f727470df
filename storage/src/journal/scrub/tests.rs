//! When segments are checked, on a clock of the test's own, and what is remembered of it.

use std::path::{Path, PathBuf};

use super::*;
use crate::format::record::{GroupId, RecordHeader, RecordKind};
use crate::io::SimIo;
use crate::journal::{AppendClass, Urgency};
use crate::report::DamageKind;

const HOUR: i64 = 3600 * 1_000_000_000;
const WEEK: i64 = 7 * 24 * HOUR;
const PATIENCE: Duration = Duration::from_secs(20);
const DIRECTORY: &str = "journal";

fn options(catalogue: Option<PathBuf>) -> JournalOptions {
    let segment_bytes = 32 * 1024;
    JournalOptions {
        segment_bytes: Some(segment_bytes),
        first_segment_bytes: segment_bytes,
        manual: true,
        catalogue,
        ..JournalOptions::default()
    }
}

fn open(io: &SimIo, options: JournalOptions) -> Journal {
    let journal = Journal::open(Arc::new(io.clone()), Path::new(DIRECTORY), options, &mut |_| {}).unwrap().journal;
    journal.drive();
    journal
}

fn append(journal: &Journal, indexes: std::ops::RangeInclusive<u64>, payload: &[u8]) {
    for index in indexes {
        let blank = RecordHeader::of_payload(GroupId(5), RecordKind::Entry, payload.len());
        let mut appender = journal.append(AppendClass::Message).unwrap();
        appender.record(&RecordHeader { index, term: 1, ..blank }, &[payload]);
        appender.finish(Urgency::Wake);
        journal.drive();
    }
}

/// Several sealed segments and one that is written.
fn filled(io: &SimIo, options: JournalOptions) -> Journal {
    let journal = open(io, options);
    append(&journal, 1..=100, &[7; 2000]);
    assert!(sealed(&journal) > 3);
    journal
}

fn sealed(journal: &Journal) -> u64 {
    journal.shared.segments.read().values().filter(|segment| segment.is_sealed()).count() as u64
}

/// Lets the scrubber work at an instant until nothing is due. The bytes that it read.
fn scrub_at(scrub: &mut Scrub, journal: &Journal, now: i64) -> u64 {
    let before = journal.stats().scrubbed_bytes;
    let deadline = Instant::now() + PATIENCE;
    scrub.rest = Duration::ZERO;
    while scrub.check.is_some() || next_due(&journal.shared, now).is_some() {
        assert!(Instant::now() < deadline, "there is no end to it");
        if !scrub.advance(&journal.shared, Duration::from_secs(1), now) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    // And once more, to find out that nothing is left.
    scrub.advance(&journal.shared, LOOK_PAUSE, now);
    journal.stats().scrubbed_bytes - before
}

/// Ends a journal and its scrubber as a stop does, and opens it again.
fn restart(io: &SimIo, journal: Journal, mut scrub: Scrub, catalogue: &Path) -> (Journal, Scrub) {
    scrub.stop();
    journal.close();
    (open(io, options(Some(catalogue.to_owned()))), Scrub::default())
}

/// A batch that was larger than what the rate had allowed was read all the same and the rest forgotten: with large
/// batches the scrubber read without a pause.
#[test]
fn the_scrubber_keeps_to_its_rate_whatever_the_size_of_batches() {
    const BATCH_BYTES: usize = 1024 * 1024;
    let (rate, seconds) = (256 * 1024, 60);
    let options = JournalOptions {
        segment_bytes: Some(4 * 1024 * 1024),
        first_segment_bytes: 4 * 1024 * 1024,
        scrub_bytes_per_second: rate,
        scrub_delay: Duration::ZERO,
        scrub_period: Duration::ZERO,
        ..options(None)
    };
    let journal = open(&SimIo::new(), options);
    append(&journal, 1..=20, &vec![7; BATCH_BYTES]);
    let (mut scrub, now) = (Scrub::default(), wall_clock() + HOUR);
    for _ in 0..seconds * 100 {
        scrub.advance(&journal.shared, Duration::from_millis(10), now);
    }
    let allowed = rate * seconds + BATCH_BYTES as u64 + 4096;
    let read = journal.stats().scrubbed_bytes;
    assert!(read <= allowed, "{read} bytes read in {seconds} s at {rate} a second");
    assert!(read >= allowed / 2, "{read} bytes are too few: it goes on");
}

/// The next round began as soon as one was over, so that a server without work read its disk for ever.
#[test]
fn a_segment_is_checked_a_while_after_it_was_made_and_then_once_in_a_period() {
    let journal = filled(&SimIo::new(), options(None));
    let (mut scrub, start) = (Scrub::default(), wall_clock());
    assert_eq!(scrub_at(&mut scrub, &journal, start), 0, "what was just written is not read");
    assert_eq!(journal.stats().segments_due, 0);
    let all = scrub_at(&mut scrub, &journal, start + HOUR);
    assert!(all > sealed(&journal) * 20_000, "{all}");
    assert_eq!(scrub_at(&mut scrub, &journal, start + HOUR), 0);
    assert_eq!(scrub_at(&mut scrub, &journal, start + WEEK), 0);
    assert_eq!(journal.stats().checked_since, Some(start + HOUR));
    assert_eq!(scrub_at(&mut scrub, &journal, start + WEEK + HOUR), all);
    // A clock that goes back says nothing about when that was.
    assert_eq!(scrub_at(&mut scrub, &journal, start + HOUR), all);
}

#[test]
fn what_was_found_sound_before_a_start_is_not_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let (io, catalogue) = (SimIo::new(), directory.path().join("catalogue"));
    let journal = filled(&io, options(Some(catalogue.clone())));
    let (mut scrub, start) = (Scrub::default(), wall_clock());
    let all = scrub_at(&mut scrub, &journal, start + HOUR);
    assert!(matches!(scrub.memory, Memory::Closing(_)), "nothing is due: it is not kept open");
    append(&journal, 101..=150, &[7; 2000]);
    let (journal, mut scrub) = restart(&io, journal, scrub, &catalogue);
    let fresh = scrub_at(&mut scrub, &journal, start + 2 * HOUR);
    assert!(fresh > 0 && fresh < all, "only what was written since: {fresh} of {all}");
    let (journal, mut scrub) = restart(&io, journal, scrub, &catalogue);
    assert_eq!(scrub_at(&mut scrub, &journal, start + WEEK), 0);
    let (journal, mut scrub) = restart(&io, journal, scrub, &catalogue);
    let again = scrub_at(&mut scrub, &journal, start + WEEK + 2 * HOUR);
    assert!(again >= all + fresh, "{again} of {all} and {fresh}");
}

/// The process ends at any moment: what is remembered is true, and what is not remembered is read once more.
#[test]
fn a_crash_costs_at_most_another_reading() {
    let directory = tempfile::tempdir().unwrap();
    let (io, catalogue) = (SimIo::new(), directory.path().join("catalogue"));
    let mut journal = filled(&io, options(Some(catalogue.clone())));
    let now = wall_clock() + HOUR;
    let all = scrub_at(&mut Scrub::default(), &journal, now);
    std::fs::remove_dir_all(&catalogue).unwrap();
    let mut least = u64::MAX;
    for life in 0..8 {
        journal.abort();
        io.crash(life);
        journal = open(&io, options(Some(catalogue.clone())));
        let mut scrub = Scrub::default();
        let read = journal.stats().scrubbed_bytes;
        let deadline = Instant::now() + PATIENCE;
        // A bit further each time, and then gone without a word.
        while journal.stats().scrubbed_bytes - read < all / 3 && next_due(&journal.shared, now).is_some() {
            assert!(Instant::now() < deadline);
            if !scrub.advance(&journal.shared, Duration::from_secs(1), now) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        least = least.min(journal.stats().scrubbed_bytes - read);
        if life % 2 == 0 {
            scrub.stop();
        }
    }
    assert_eq!(least, 0, "it comes to an end although no life is long enough for a round");
}

#[test]
fn without_its_catalogue_everything_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let (io, catalogue) = (SimIo::new(), directory.path().join("catalogue"));
    let journal = filled(&io, options(Some(catalogue.clone())));
    let (mut scrub, now) = (Scrub::default(), wall_clock() + HOUR);
    let all = scrub_at(&mut scrub, &journal, now);
    let (journal, mut scrub) = restart(&io, journal, scrub, &catalogue);
    assert_eq!(scrub_at(&mut scrub, &journal, now), 0);
    scrub.stop();
    journal.close();
    std::fs::remove_dir_all(&catalogue).unwrap();
    let journal = open(&io, options(Some(catalogue.clone())));
    assert_eq!(scrub_at(&mut Scrub::default(), &journal, now), all);
    journal.close();
    // A file where the directory should be, and nothing that could be moved or removed.
    let nowhere = directory.path().join("file").join("catalogue");
    std::fs::write(directory.path().join("file"), b"").unwrap();
    let journal = open(&io, options(Some(nowhere)));
    let mut scrub = Scrub::default();
    assert_eq!(scrub_at(&mut scrub, &journal, now), all);
    assert!(matches!(scrub.memory, Memory::Missing));
    assert_eq!(scrub_at(&mut scrub, &journal, now + HOUR), 0, "while it runs it knows what it has read");
}

#[test]
fn a_damaged_segment_is_checked_again_at_the_next_start_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let (io, catalogue) = (SimIo::new(), directory.path().join("catalogue"));
    let journal = filled(&io, options(Some(catalogue.clone())));
    let (mut scrub, now) = (Scrub::default(), wall_clock() + HOUR);
    let all = scrub_at(&mut scrub, &journal, now);
    let path = journal.shared.segments.read().values().find(|segment| segment.is_sealed()).unwrap().path.clone();
    let mut content = io.content(&path).unwrap();
    content[20_000] ^= 1;
    io.set_content(&path, content);
    // A reader stumbles over it, and what else is bad there is wanted to be known.
    let unreadable = (1..=100).filter(|index| journal.read_entry(GroupId(5), *index).is_err()).count();
    assert_eq!(unreadable, 1);
    let one = scrub_at(&mut scrub, &journal, now);
    assert!(one > 0 && one < all / 2);
    let (journal, mut scrub) = restart(&io, journal, scrub, &catalogue);
    let again = scrub_at(&mut scrub, &journal, now);
    assert!(again > 0 && again < all / 2, "{again} of {all}");
    assert!(journal.stats().damages.iter().any(|damage| damage.kind == DamageKind::Record));
    assert_eq!(scrub_at(&mut scrub, &journal, now), 0, "but it is not read for ever");
}
