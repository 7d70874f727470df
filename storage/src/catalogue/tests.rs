//! The catalogue against a sorted map, against crashes, and against damage to its files.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;

use super::*;
use crate::model;

const JOURNAL: u64 = 0x5eed;
const PATIENCE: Duration = Duration::from_secs(20);

fn open(directory: &Path) -> (Catalogue, BTreeMap<u32, i64>) {
    open_of(directory, JOURNAL)
}

fn open_of(directory: &Path, journal: u64) -> (Catalogue, BTreeMap<u32, i64>) {
    let catalogue = Catalogue::open(directory, journal).unwrap();
    let rows = opened(&catalogue).expect("a catalogue can be opened");
    (catalogue, rows.into_iter().map(|row| (row.segment, row.sound_at.unwrap())).collect())
}

/// `None` when there is none.
fn opened(catalogue: &Catalogue) -> Option<Vec<Row>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match catalogue.poll() {
            Opening::Rows(rows) => return Some(rows),
            Opening::Unavailable => return None,
            Opening::Pending => assert!(Instant::now() < deadline, "opening takes for ever"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn rows_of(directory: &Path) -> BTreeMap<u32, i64> {
    let (catalogue, rows) = open(directory);
    catalogue.let_go().wait();
    rows
}

fn put(catalogue: &Catalogue, segment: u32, sound_at: i64) {
    assert!(catalogue.put(Row { segment, sound_at: Some(sound_at) }));
}

fn is_doubted(directory: &Path) -> bool {
    Place { directory: directory.to_owned(), journal: JOURNAL }.doubted().exists()
}

/// The time of a segment's `version`-th check.
fn time(segment: u32, version: i64) -> i64 {
    version * 1000 + i64::from(segment)
}

/// Checks a few segments again and again.
fn fill(directory: &Path, versions: i64) -> BTreeMap<u32, i64> {
    let (catalogue, mut rows) = open(directory);
    for version in 1..=versions {
        let segment = (version % 7) as u32;
        put(&catalogue, segment, time(segment, version));
        rows.insert(segment, time(segment, version));
    }
    catalogue.let_go().wait();
    rows
}

#[derive(Clone, Debug)]
enum Operation {
    Put(u32, i64),
    Remove(u32),
    Reopen,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        10 => (0..9u32, any::<i64>()).prop_map(|(segment, time)| Operation::Put(segment, time)),
        3 => (0..9u32).prop_map(Operation::Remove),
        1 => Just(Operation::Reopen),
    ]
}

#[test]
fn catalogue_agrees_with_the_naive_one() {
    model::check(20, prop::collection::vec(operation(), 0..60), |operations| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalogue");
        let (mut catalogue, _) = open(&path);
        let mut naive = BTreeMap::new();
        for operation in operations.into_iter().chain([Operation::Reopen]) {
            match operation {
                Operation::Put(segment, time) => {
                    put(&catalogue, segment, time);
                    naive.insert(segment, time);
                }
                Operation::Remove(segment) => {
                    assert!(catalogue.put(Row { segment, sound_at: None }));
                    naive.remove(&segment);
                }
                Operation::Reopen => {
                    catalogue.let_go().wait();
                    let (again, rows) = open(&path);
                    assert_eq!(rows, naive);
                    catalogue = again;
                }
            }
        }
        assert!(!is_doubted(&path));
    });
}

#[test]
fn one_that_was_let_go_of_writes_what_waits_and_tells_when_another_may_be_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue");
    let (catalogue, _) = open(&path);
    (1..=200).for_each(|segment| put(&catalogue, segment, 7));
    let closing = catalogue.let_go();
    let deadline = Instant::now() + PATIENCE;
    while !closing.is_done() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(rows_of(&path).len(), 200);
}

/// Whatever a crash leaves of the files: each row that comes back was once put.
#[test]
fn a_crash_at_any_time_leaves_rows_that_are_true() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue");
    let (catalogue, _) = open(&path);
    for version in 1..=150 {
        let segment = (version % 7) as u32;
        put(&catalogue, segment, time(segment, version));
        if version % 15 == 0 {
            // The thread is at work meanwhile: the files are copied in the middle of it.
            let copy = tempfile::tempdir().unwrap();
            copy_files(&path, &copy.path().join("catalogue"));
            check_truth(&rows_of(&copy.path().join("catalogue")), version);
        }
    }
    catalogue.let_go().wait();
    assert_eq!(rows_of(&path).len(), 7);
}

/// Each row is of a check that took place.
fn check_truth(rows: &BTreeMap<u32, i64>, versions: i64) {
    for (segment, found) in rows {
        let version = (found - i64::from(*segment)) / 1000;
        assert_eq!(*found, time(*segment, version));
        assert!((1..=versions).contains(&version) && version % 7 == i64::from(*segment), "{segment} at {found}");
    }
}

fn copy_files(source: &Path, target: &Path) {
    for file in files_below(source) {
        let copy = target.join(file.strip_prefix(source).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        // One that has gone meanwhile is not part of the picture.
        let _ = fs::copy(file, copy);
    }
}

#[test]
fn a_catalogue_of_another_journal_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue");
    let rows = fill(&path, 50);
    assert_eq!(rows_of(&path), rows);
    let (catalogue, found) = open_of(&path, JOURNAL + 1);
    assert!(found.is_empty() && is_doubted(&path));
    catalogue.let_go().wait();
}

#[test]
fn a_process_that_died_opening_does_not_try_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue");
    fill(&path, 5);
    fs::write(directory.path().join("catalogue.opening"), b"").unwrap();
    assert!(rows_of(&path).is_empty() && is_doubted(&path));
    assert_eq!(fill(&path, 5), rows_of(&path));
}

#[test]
fn without_a_place_there_is_no_catalogue_and_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), b"").unwrap();
    let catalogue = Catalogue::open(&directory.path().join("file").join("catalogue"), JOURNAL).unwrap();
    assert_eq!(opened(&catalogue), None);
    assert!(!catalogue.put(Row { segment: 1, sound_at: Some(1) }));
    catalogue.let_go().wait();
}

#[derive(Clone, Debug)]
enum Damage {
    Delete(usize),
    Truncate(usize, u64),
    Flip(usize, u64, u8),
    /// A page of something else.
    Overwrite(usize, u64, u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    let (file, at) = (any::<usize>, any::<u64>);
    prop_oneof![
        2 => file().prop_map(Damage::Delete),
        4 => (file(), at()).prop_map(|(file, at)| Damage::Truncate(file, at)),
        8 => (file(), at(), 0..8u8).prop_map(|(file, at, bit)| Damage::Flip(file, at, bit)),
        3 => (file(), at(), any::<u8>()).prop_map(|(file, at, byte)| Damage::Overwrite(file, at, byte)),
    ]
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn hurt(directory: &Path, damage: &Damage) {
    let files = files_below(directory);
    if files.is_empty() {
        return;
    }
    let (Damage::Delete(file) | Damage::Truncate(file, _) | Damage::Flip(file, ..) | Damage::Overwrite(file, ..)) =
        damage;
    let path = &files[file % files.len()];
    let mut content = fs::read(path).unwrap();
    let place = |at: &u64| (*at % content.len().max(1) as u64) as usize;
    match damage {
        Damage::Delete(_) => return fs::remove_file(path).unwrap(),
        Damage::Truncate(_, at) => {
            let at = place(at);
            content.truncate(at);
        }
        Damage::Flip(_, at, bit) => {
            let at = place(at);
            content.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << bit);
        }
        Damage::Overwrite(_, at, byte) => {
            let at = place(at) / 4096 * 4096;
            content.iter_mut().skip(at).take(4096).for_each(|old| *old = *byte);
        }
    }
    fs::write(path, content).unwrap();
}

/// Whatever happens to the files: a row is true, or it is not there; and the next rows are kept.
#[test]
fn damaged_files_never_give_wrong_rows() {
    let original = tempfile::tempdir().unwrap();
    let source = original.path().join("catalogue");
    let all = fill(&source, 200);
    model::check(40, prop::collection::vec(damage(), 1..3), |damages| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalogue");
        copy_files(&source, &path);
        damages.iter().for_each(|damage| hurt(&path, damage));
        let (catalogue, rows) = open(&path);
        check_truth(&rows, 200);
        assert!(!is_doubted(&path) || rows.is_empty(), "what is doubted is not used");
        all.keys().for_each(|segment| put(&catalogue, *segment, time(*segment, 1000)));
        catalogue.let_go().wait();
        let again = rows_of(&path);
        assert!(again.values().all(|found| *found / 1000 == 1000), "{again:?}");
        assert_eq!(again.len(), all.len());
    });
}
