//! Real files that are cut while they are mapped.

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::*;
use crate::io::{Io, RealIo};

const PAGE: usize = 4096;
/// In the process that is to end.
const VICTIM: &str = "LOST_PAGES_VICTIM";

fn write(path: &Path, pages: usize) {
    std::fs::write(path, vec![7; pages * PAGE]).unwrap();
}

fn cut(path: &Path, pages: usize) {
    OpenOptions::new().write(true).open(path).unwrap().set_len((pages * PAGE) as u64).unwrap();
}

fn map(path: &Path) -> (Bytes, Arc<LostPages>) {
    let lost = Arc::default();
    (RealIo::buffered().map(path, &lost).unwrap(), lost)
}

/// The process ended when somebody cut a file that it had mapped.
#[test]
fn a_page_that_was_cut_off_reads_as_zeros_and_its_file_is_marked() {
    let directory = tempfile::tempdir().unwrap();
    let (path, other) = (directory.path().join("cut"), directory.path().join("whole"));
    write(&path, 8);
    write(&other, 8);
    let ((bytes, lost), (whole, not_lost)) = (map(&path), map(&other));
    assert_eq!(bytes[5 * PAGE + 1], 7, "it was there once");
    cut(&path, 3);
    assert!(!lost.any(), "nobody has touched it yet");
    assert_eq!(bytes[5 * PAGE + 1], 0);
    assert_eq!(lost.first(), Some(5 * PAGE as u64));
    assert_eq!(bytes[3 * PAGE..], [0; 5 * PAGE]);
    assert_eq!(bytes[..3 * PAGE], [7; 3 * PAGE], "what is there is as it was");
    assert_eq!(lost.first(), Some(5 * PAGE as u64), "the one that was missed first");
    assert!(noticed() >= 5);
    assert!(whole.iter().all(|byte| *byte == 7) && !not_lost.any());
}

/// The zeros stay with the mapping that they were put in, and go with it.
#[test]
fn a_file_that_is_whole_again_is_read_by_the_next_mapping() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cut");
    write(&path, 4);
    let (bytes, lost) = map(&path);
    cut(&path, 1);
    assert_eq!(bytes[2 * PAGE], 0);
    write(&path, 4);
    let again = RealIo::buffered().map(&path, &lost).unwrap();
    assert_eq!((bytes[2 * PAGE], again[2 * PAGE]), (0, 7));
    drop(bytes);
    assert_eq!(again[..], [7; 4 * PAGE]);
    assert!(lost.any(), "that a page was missed is not forgotten");
}

#[test]
fn threads_that_miss_the_same_page_all_get_zeros() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let path = directory.path().join(round.to_string());
        write(&path, 16);
        let (bytes, lost) = map(&path);
        cut(&path, 0);
        let go = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !go.load(Ordering::Acquire) {
                        std::hint::spin_loop();
                    }
                    assert!(bytes.iter().step_by(64).all(|byte| *byte == 0));
                });
            }
            go.store(true, Ordering::Release);
        });
        assert!(lost.any());
    }
}

/// A mapping that goes away makes room for another one, at the same address and with the same slot.
#[test]
fn mappings_come_and_go_while_others_lose_pages() {
    let directory = tempfile::tempdir().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let path = directory.path().join(format!("whole{thread}"));
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    write(&path, 4);
                    let (bytes, lost) = map(&path);
                    assert_eq!(bytes[..], [7; 4 * PAGE]);
                    assert!(!lost.any(), "another file lost pages");
                }
            });
        }
        for _ in 0..300 {
            let path = directory.path().join("cut");
            write(&path, 4);
            let (bytes, lost) = map(&path);
            cut(&path, 2);
            assert_eq!(bytes.iter().filter(|byte| **byte == 0).count(), 2 * PAGE);
            assert_eq!(lost.first(), Some(2 * PAGE as u64));
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Runs one of the tests here again, in a process of its own, and tells the signal that ended it.
fn end_of(test: &str) -> Option<i32> {
    let mut victim = Command::new(std::env::current_exe().unwrap());
    let name = format!("io::lost_pages::tests::{test}");
    victim.args([&name, "--exact", "--test-threads=1"]).env(VICTIM, "1");
    victim.output().unwrap().status.signal()
}

fn is_victim() -> bool {
    std::env::var_os(VICTIM).is_some()
}

#[test]
fn a_fault_in_a_mapping_of_somebody_else_ends_the_process_as_before() {
    if !is_victim() {
        let name = "a_fault_in_a_mapping_of_somebody_else_ends_the_process_as_before";
        return assert_eq!(end_of(name), Some(libc::SIGBUS));
    }
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    write(&ours, 4);
    write(&theirs, 4);
    let (bytes, _) = map(&ours);
    // SAFETY: to be cut and touched is what it is for.
    let foreign = unsafe { memmap2::Mmap::map(&File::open(&theirs).unwrap()).unwrap() };
    cut(&ours, 1);
    cut(&theirs, 1);
    assert_eq!(bytes[2 * PAGE], 0);
    unreachable!("a byte of a page that is not there: {}", std::hint::black_box(foreign[2 * PAGE]));
}

#[test]
fn a_signal_that_somebody_sends_ends_the_process_as_before() {
    if !is_victim() {
        return assert_eq!(end_of("a_signal_that_somebody_sends_ends_the_process_as_before"), Some(libc::SIGBUS));
    }
    handler::install().unwrap();
    for _ in 0..2 {
        // The standard library's handler lets the first one pass, and no other.
        // SAFETY: a call without pointers.
        unsafe { libc::raise(libc::SIGBUS) };
    }
    unreachable!("two signals had no effect");
}
