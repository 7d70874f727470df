//! What a disk will never give again, and the decision that it is gone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_storage::io::{CrashPoint, FaultKind};
use headwater_storage::loss::{self, Loss};
use headwater_storage::{DamageKind, GroupId, Io, Journal, JournalOptions, OpenError, Opened, SimIo};

use crate::support::*;

const BLOCK: u64 = 4096;

fn options() -> JournalOptions {
    // A mapping of a file with bad sectors is more than the simulated disk can do.
    JournalOptions { segment_bytes: Some(24 * 1024), first_segment_bytes: 24 * 1024, map_sealed: false, ..manual() }
}

fn try_open(io: &SimIo) -> Result<Opened, OpenError> {
    Journal::open(Arc::new(io.clone()), Path::new(DIRECTORY), options(), &mut |_| {})
}

fn find(io: &SimIo, accept: bool) -> Result<Vec<Loss>, OpenError> {
    let dynamic: Arc<dyn Io> = Arc::new(io.clone());
    loss::find(dynamic, Path::new(DIRECTORY), &options(), accept, &mut |_| {})
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "segment") && path.parent() == Some(Path::new(DIRECTORY))
}

fn segments(io: &SimIo) -> Vec<PathBuf> {
    io.paths().into_iter().filter(|path| is_segment(path)).collect()
}

/// The segment that is written, and a block of it that a start needs.
fn deciding(io: &SimIo) -> (PathBuf, u64) {
    for path in segments(io).into_iter().rev() {
        let content = io.content(&path).unwrap();
        for start in (0..content.len() as u64).step_by(BLOCK as usize) {
            if content[start as usize..].iter().take(BLOCK as usize).all(|byte| *byte == 0) {
                continue;
            }
            let probe = io.fork();
            probe.break_sectors(&path, start..start + BLOCK);
            if matches!(try_open(&probe), Err(OpenError::Unreadable { .. })) && start >= 3 * BLOCK {
                return (path, start);
            }
        }
    }
    panic!("no block keeps a start from happening");
}

#[test]
fn a_store_that_can_be_read_is_left_alone() {
    let stored = stored(true);
    let mutations = stored.io.mutations();
    assert_eq!(find(&stored.io, true).unwrap(), []);
    assert_eq!(stored.io.mutations(), mutations);
}

/// Every block of every segment, one at a time: the server starts afterwards, and only what lay there is missing.
#[test]
fn a_loss_that_is_accepted_costs_what_lay_there_and_no_more() {
    let stored = stored(false);
    let (mut accepted, mut lost_some) = (0, 0);
    for path in segments(&stored.io) {
        let content = stored.io.content(&path).unwrap();
        for start in (0..content.len() as u64).step_by(BLOCK as usize) {
            let what = format!("{} at {start}", path.display());
            let io = stored.io.fork();
            io.break_sectors(&path, start..start + BLOCK);
            let mutations = io.mutations();
            let told = find(&io, false).unwrap();
            assert_eq!(io.mutations(), mutations, "{what}: a look changes nothing");
            assert_eq!((told.len(), &told[0].file, told[0].unreadable.len()), (1, &path, 1), "{what}");
            assert_eq!(told[0].unreadable[0], start..(start + BLOCK).min(content.len() as u64), "{what}");
            let done = find(&io, true).unwrap();
            let kept = done[0].kept.clone().unwrap();
            assert_eq!(io.content(&kept).unwrap(), content, "{what}: the file itself is kept");
            assert_eq!(io.content(&path).unwrap().len(), content.len(), "{what}");
            assert_eq!(find(&io, false).unwrap(), [], "{what}: it can be read now");
            let opened = try_open(&io).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(opened.groups.iter().all(|group| !group.unreadable), "{what}");
            let mut lost = BTreeSet::new();
            for (group, sequence, location, length) in &stored.messages {
                let place = u64::from(location.offset)..u64::from(location.offset) + *length as u64;
                let is_hit = path.ends_with(format!("{:010}.segment", location.segment))
                    && place.start < start + BLOCK
                    && start < place.end;
                match opened.journal.read_message(GroupId(*group), *sequence) {
                    Ok(record) => assert_eq!(record.payload(), payload(*sequence), "{what}"),
                    Err(_) => drop(lost.insert((*group, *sequence, is_hit))),
                }
            }
            // The head of a batch says where its records are: what shares the batch may be lost with it, nothing else.
            assert!(
                start < 3 * BLOCK || lost.is_empty() || lost.iter().any(|(_, _, is_hit)| *is_hit),
                "{what}: {lost:?}"
            );
            lost_some += u32::from(!lost.is_empty());
            assert!(
                lost.is_empty() || !opened.report.damages.is_empty() || !opened.journal.stats().damages.is_empty(),
                "{what}"
            );
            opened.journal.abort();
            accepted += 1;
        }
    }
    assert!(accepted > 20 && lost_some > 0, "{accepted} {lost_some}");
}

#[test]
fn a_power_cut_at_any_step_leaves_the_file_or_its_copy() {
    let stored = stored(false);
    let (path, start) = deciding(&stored.io);
    let content = stored.io.content(&path).unwrap();
    let mut zeroed = content.clone();
    zeroed[start as usize..(start + BLOCK) as usize].fill(0);
    let steps = {
        let io = stored.io.fork();
        io.break_sectors(&path, start..start + BLOCK);
        let before = io.mutations();
        find(&io, true).unwrap();
        io.mutations() - before
    };
    let mut seen = BTreeSet::new();
    for step in 0..=steps {
        for seed in 0..4 {
            let io = stored.io.fork();
            io.break_sectors(&path, start..start + BLOCK);
            io.crash_at(CrashPoint(io.mutations() + step));
            let finished = find(&io, true).is_ok();
            io.crash(seed * 1000 + step);
            let what = format!("power cut at step {step}, seed {seed}");
            let there = io.content(&path).unwrap_or_else(|| panic!("{what}: the segment is gone"));
            assert!(there == content || there == zeroed, "{what}");
            let is_copy = there == zeroed;
            assert!(is_copy || !finished, "{what}: it was done");
            seen.insert(is_copy);
            if is_copy {
                let is_kept =
                    io.paths().into_iter().any(|kept| kept != path && io.content(&kept) == Some(content.clone()));
                assert!(is_kept, "{what}: the file itself is gone");
            }
            // Whatever is left over is in nobody's way.
            find(&io, true).unwrap();
            assert!(try_open(&io).is_ok(), "{what}");
            assert!(!io.paths().iter().any(|left| left.to_string_lossy().ends_with(".readable") && is_copy), "{what}");
        }
    }
    assert_eq!(seen, BTreeSet::from([false, true]));
}

#[test]
fn a_disk_that_is_full_or_fails_costs_neither_the_file_nor_space() {
    let stored = stored(false);
    let (path, start) = deciding(&stored.io);
    let content = stored.io.content(&path);
    let broken = || {
        let io = stored.io.fork();
        io.break_sectors(&path, start..start + BLOCK);
        io
    };
    let full = broken();
    full.set_capacity(Some(full.used_bytes() + BLOCK));
    let failing = [FaultKind::Write, FaultKind::Sync].map(|kind| {
        let io = broken();
        io.fail(kind, 0);
        io
    });
    for io in [full].into_iter().chain(failing) {
        let names = io.paths();
        let error = find(&io, true).unwrap_err();
        assert!(error.to_string().starts_with("copying what can be read of journal/"), "{error}");
        assert_eq!((io.paths(), io.content(&path)), (names, content.clone()));
        io.set_capacity(None);
        assert_eq!(find(&io, true).unwrap().len(), 1);
        assert!(try_open(&io).is_ok());
    }
}

#[test]
fn a_store_in_use_is_refused_and_one_that_lost_a_sector_twice_keeps_both_files() {
    let stored = stored(false);
    let opened = try_open(&stored.io).unwrap();
    assert!(matches!(find(&stored.io, true), Err(OpenError::Locked { .. })));
    assert!(matches!(find(&stored.io, false), Err(OpenError::Locked { .. })));
    opened.journal.abort();
    let io = stored.io.fork();
    let path = segments(&io)[0].clone();
    for (nth, name) in ["0000000001.segment", "0000000001.segment.1"].into_iter().enumerate() {
        let start = (3 + nth as u64) * BLOCK;
        io.break_sectors(&path, start..start + BLOCK);
        let kept = find(&io, true).unwrap()[0].kept.clone().unwrap();
        assert_eq!(kept, Path::new(DIRECTORY).join("quarantine").join(name));
    }
    let opened = try_open(&io).unwrap();
    assert!(opened.report.damages.iter().all(|damage| damage.kind != DamageKind::Unreadable));
}

/// A start that could make nothing of the copy put it where the file had been kept, which was gone with that.
#[test]
fn quarantine_replaces_nothing_that_is_kept_there() {
    let stored = stored(false);
    let (path, start) = deciding(&stored.io);
    let content = stored.io.content(&path).unwrap();
    let io = stored.io.fork();
    io.break_sectors(&path, start..start + BLOCK);
    let kept = find(&io, true).unwrap()[0].kept.clone().unwrap();
    // Too short for anything.
    io.set_content(&path, vec![7; 100]);
    try_open(&io).unwrap();
    assert_eq!(io.content(&kept), Some(content));
    let second = PathBuf::from(format!("{}.1", kept.display()));
    assert_eq!(io.content(&second), Some(vec![7; 100]));
    assert_eq!(io.content(&path), None);
}
