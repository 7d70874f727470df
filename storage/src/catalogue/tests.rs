//! The catalogue against a sorted map, and against damage to its files.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::model;

fn open(directory: &Path) -> (Catalogue, Condition) {
    open_durable(directory, u64::MAX)
}

/// With a journal that is durable up to an index.
fn open_durable(directory: &Path, index: u64) -> (Catalogue, Condition) {
    Catalogue::open(directory, Box::new(move |_, applied| applied.index <= index), Box::new(|_| ()))
}

fn body(group: u64, version: u64) -> Vec<u8> {
    format!("definition of {group} in version {version}, {}", "x".repeat((version * 97 % 500) as usize)).into_bytes()
}

/// Writes versions of a few groups, flushing now and then. The last body of each group.
fn fill(catalogue: &Catalogue, versions: u64) -> BTreeMap<u64, Vec<u8>> {
    let mut last = BTreeMap::new();
    for version in 1..=versions {
        let group = version % 7;
        let mut batch = Batch::new();
        batch.put(Table::Definition, group, b"stream", &body(group, version));
        batch.put(Table::Name, group, b"", format!("group-{group}").as_bytes());
        batch.applied(group, Applied { term: 1, index: version });
        catalogue.submit(batch).unwrap();
        last.insert(group, body(group, version));
        if version % 20 == 0 {
            catalogue.flush_and_wait().unwrap();
        }
    }
    catalogue.flush_and_wait().unwrap();
    last
}

fn definitions(catalogue: &Catalogue) -> BTreeMap<u64, Vec<u8>> {
    let rows = catalogue.scan(Table::Definition, None, 1000).unwrap();
    rows.into_iter().map(|row| (row.group, row.body)).collect()
}

#[derive(Clone, Debug)]
enum Operation {
    Put(u8, u64, u8, u8),
    Remove(u8, u64, u8),
    RemoveGroup(u64),
    Submit,
    Reopen,
    Page(u8, usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        10 => (0..4u8, 0..5u64, 0..4u8, any::<u8>()).prop_map(|(table, group, name, body)| Operation::Put(table, group, name, body)),
        3 => (0..4u8, 0..5u64, 0..4u8).prop_map(|(table, group, name)| Operation::Remove(table, group, name)),
        1 => (0..5u64).prop_map(Operation::RemoveGroup),
        4 => Just(Operation::Submit),
        1 => Just(Operation::Reopen),
        3 => (0..4u8, 1..5usize).prop_map(|(table, max)| Operation::Page(table, max)),
    ]
}

#[test]
fn catalogue_agrees_with_the_naive_one() {
    model::check(20, prop::collection::vec(operation(), 0..60), |operations| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalogue");
        let (mut catalogue, condition) = open(&path);
        assert_eq!(condition, Condition::New);
        let (mut naive, mut staged, mut batch) = (BTreeMap::new(), BTreeMap::new(), Batch::new());
        for operation in operations {
            match operation {
                Operation::Put(table, group, name, body) => {
                    batch.put(row::TABLES[table as usize], group, &[name], &[body; 3]);
                    staged.insert((table, group, name), body);
                }
                Operation::Remove(table, group, name) => {
                    batch.remove(row::TABLES[table as usize], group, &[name]);
                    staged.remove(&(table, group, name));
                }
                Operation::RemoveGroup(group) => {
                    batch.remove_group(group);
                    staged.retain(|(_, other, _), _| *other != group);
                }
                Operation::Submit => {
                    catalogue.submit(std::mem::take(&mut batch)).unwrap();
                    naive = staged.clone();
                }
                Operation::Reopen => {
                    drop(catalogue);
                    let (again, condition) = open(&path);
                    assert_eq!(condition, Condition::Trusted);
                    catalogue = again;
                }
                Operation::Page(table, max) => check_pages(&catalogue, &naive, table, max),
            }
        }
    });
}

fn check_pages(catalogue: &Catalogue, naive: &BTreeMap<(u8, u64, u8), u8>, table: u8, max: usize) {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = catalogue.scan(row::TABLES[table as usize], after.as_ref(), max).unwrap();
        found.extend(page.iter().map(|row| (row.group, row.name.clone(), row.body.clone())));
        match page.last() {
            Some(last) if page.len() == max => after = Some(last.clone()),
            _ => break,
        }
    }
    let of_table = naive.iter().filter(|((other, _, _), _)| *other == table);
    let wanted: Vec<_> = of_table.map(|((_, group, name), body)| (*group, vec![*name], vec![*body; 3])).collect();
    assert_eq!(found, wanted);
    for group in 0..5 {
        let rows = catalogue.scan_group(row::TABLES[table as usize], group, 100).unwrap();
        assert_eq!(rows.len(), wanted.iter().filter(|(other, _, _)| *other == group).count());
        let wanted = naive.get(&(table, group, 1)).map(|body| vec![*body; 3]);
        assert_eq!(catalogue.get(row::TABLES[table as usize], group, &[1]).unwrap(), wanted);
    }
}

#[test]
fn what_was_closed_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue");
    let (catalogue, _) = open(&path);
    let last = fill(&catalogue, 100);
    drop(catalogue);
    let (catalogue, condition) = open(&path);
    assert_eq!(condition, Condition::Trusted);
    assert_eq!(definitions(&catalogue), last);
    assert_eq!(catalogue.applied().unwrap()[2], (2, Applied { term: 1, index: 100 }));
}

#[test]
fn a_catalogue_ahead_of_the_journal_is_rebuilt() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue");
    drop(fill(&open(&path).0, 50));
    let (catalogue, condition) = open_durable(&path, 50);
    assert_eq!(condition, Condition::Trusted);
    drop(catalogue);
    let (catalogue, condition) = open_durable(&path, 49);
    let ahead = Doubt::Ahead { group: 1, applied: Applied { term: 1, index: 50 } };
    assert_eq!(condition, Condition::Rebuilt(ahead));
    assert!(definitions(&catalogue).is_empty());
    assert!(directory.path().join("catalogue.doubted").exists());
}

#[test]
fn a_process_that_died_opening_does_not_try_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue");
    drop(fill(&open(&path).0, 5));
    fs::write(directory.path().join("catalogue.opening"), b"").unwrap();
    assert_eq!(open(&path).1, Condition::Rebuilt(Doubt::DiedOpening));
    assert_eq!(open(&path).1, Condition::Trusted);
}

#[test]
fn its_owner_may_ask_for_a_rebuild_and_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let doubts = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&doubts);
    let on_doubt: OnDoubt = Box::new(move |doubt| told.lock().unwrap().push(doubt));
    let (catalogue, _) = Catalogue::open(&directory.path().join("catalogue"), Box::new(|_, _| true), on_doubt);
    fill(&catalogue, 10);
    catalogue.rebuild().unwrap();
    assert_eq!(*doubts.lock().unwrap(), [Doubt::Requested]);
    assert!(definitions(&catalogue).is_empty());
    assert_eq!(definitions(&catalogue), BTreeMap::new());
    let last = fill(&catalogue, 10);
    assert_eq!(definitions(&catalogue), last);
}

#[test]
fn without_a_place_there_is_no_catalogue_and_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), b"").unwrap();
    let (catalogue, condition) = open(&directory.path().join("file").join("catalogue"));
    assert!(matches!(condition, Condition::Rebuilt(Doubt::Failed(_))));
    assert_eq!(catalogue.get(Table::Name, 1, b""), Err(Unavailable));
    assert_eq!(catalogue.rebuild(), Err(Unavailable));
    assert!(catalogue.submit(Batch::new()).is_ok());
}

#[test]
fn a_value_under_another_key_is_damage() {
    let value = row::seal(b"one", b"body");
    assert_eq!(row::unseal(b"one", &value), Ok(&b"body"[..]));
    assert_eq!(row::unseal(b"two", &value), Err(Doubt::Damaged));
    assert_eq!(row::unseal(b"one", &value[..3]), Err(Doubt::Damaged));
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

/// Whatever happens to the files: an answer is right, or there is none.
#[test]
fn damaged_files_never_give_wrong_data() {
    let original = tempfile::tempdir().unwrap();
    let (catalogue, _) = open(&original.path().join("catalogue"));
    let mut history: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    (1..=200).for_each(|version| history.entry(version % 7).or_default().push(body(version % 7, version)));
    fill(&catalogue, 200);
    drop(catalogue);
    let files = files_below(&original.path().join("catalogue"));
    model::check(40, prop::collection::vec(damage(), 1..3), |damages| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalogue");
        for file in &files {
            let target = path.join(file.strip_prefix(original.path().join("catalogue")).unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(file, target).unwrap();
        }
        damages.iter().for_each(|damage| hurt(&path, damage));
        let (catalogue, condition) = open(&path);
        let rows = definitions(&catalogue);
        if matches!(condition, Condition::Rebuilt(_)) {
            assert!(rows.is_empty());
        }
        check_is_a_moment(&rows, &history, &catalogue.applied().unwrap());
        let last = fill(&catalogue, 30);
        assert_eq!(catalogue.scan(Table::Definition, None, 1000).unwrap().len(), rows.len().max(last.len()));
        drop(catalogue);
        assert_eq!(open(&path).1, Condition::Trusted);
    });
}

/// sled may come back with an older state, for its flush is no sync. That is right as long as each group's rows and its
/// `applied` are of one moment.
fn check_is_a_moment(rows: &BTreeMap<u64, Vec<u8>>, history: &BTreeMap<u64, Vec<Vec<u8>>>, applied: &[(u64, Applied)]) {
    assert_eq!(rows.len(), applied.len());
    for (group, applied) in applied {
        assert_eq!(applied.index % 7, *group);
        assert_eq!(rows[group], body(*group, applied.index));
        assert!(history[group].contains(&rows[group]));
    }
}
