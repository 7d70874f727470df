//! Changes that belong together: the catalogue applies all of a batch or nothing of it.

use std::collections::BTreeMap;

use super::row::{self, Applied, Table};

#[derive(Default, Debug)]
pub struct Batch {
    /// The last change of each row: its body, or `None` for a row that goes.
    pub(super) changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Groups of which nothing stays, but for what `changes` says.
    pub(super) removed_groups: Vec<u64>,
}

impl Batch {
    pub fn new() -> Batch {
        Batch::default()
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.removed_groups.is_empty()
    }

    pub fn put(&mut self, table: Table, group: u64, name: &[u8], body: &[u8]) {
        self.changes.insert(row::key(table, group, name), Some(body.to_vec()));
    }

    pub fn remove(&mut self, table: Table, group: u64, name: &[u8]) {
        self.changes.insert(row::key(table, group, name), None);
    }

    /// Removes every row of a group; changes of it that were made before are void, later ones count.
    pub fn remove_group(&mut self, group: u64) {
        self.changes.retain(|key, _| key.get(1..9) != Some(&group.to_be_bytes()));
        self.removed_groups.push(group);
    }

    /// With this batch the group's rows reflect its log up to here. Every batch says so for the groups it changes.
    pub fn applied(&mut self, group: u64, applied: Applied) {
        self.put(Table::Applied, group, b"", &row::applied_body(applied));
    }
}
