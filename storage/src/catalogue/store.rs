//! The store: sled, and the manifest over all its rows. Every method may fail or panic; the worker that calls them ends
//! it then. The only file that names sled.

use std::path::Path;

use super::row::{self, Applied, MANIFEST_KEY, Manifest, Row, TABLES, Table};
use super::{Batch, Doubt, IsDurable};

/// How long to wait for the lock of a store that is being closed, and between two looks.
const LOCK_WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(2);
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);
/// Little is read twice, and an idle server must stay small.
const CACHE_BYTES: u64 = 256 * 1024;
/// sled holds several buffers of this size.
const SEGMENT_BYTES: usize = 64 * 1024;

pub(super) struct Store {
    rows: sled::Db,
    manifest: Manifest,
}

impl From<sled::Error> for Doubt {
    fn from(error: sled::Error) -> Self {
        Doubt::Failed(error.to_string())
    }
}

/// The threads of a store that was just closed hold its lock a moment longer: that is no reason to doubt its rows.
fn open_unlocked(config: &sled::Config) -> sled::Result<sled::Db> {
    let deadline = std::time::Instant::now() + LOCK_WAIT_MAX;
    loop {
        match config.open() {
            // sled tells this one by its text only.
            Err(sled::Error::Io(problem))
                if problem.to_string().contains("acquire lock") && std::time::Instant::now() < deadline =>
            {
                std::thread::sleep(LOCK_PAUSE);
            }
            opened => return opened,
        }
    }
}

impl Store {
    /// Opens the store and checks every row of it.
    pub(super) fn open(directory: &Path, is_durable: &IsDurable) -> Result<Store, Doubt> {
        let config = sled::Config::new()
            .path(directory)
            .cache_capacity(CACHE_BYTES)
            .segment_size(SEGMENT_BYTES)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        let rows = open_unlocked(&config)?;
        let manifest = match rows.get(MANIFEST_KEY)? {
            Some(value) => Manifest::decode(&value)?,
            None => Manifest::default(),
        };
        let store = Store { rows, manifest };
        store.check()?;
        for (group, applied) in store.applied()? {
            if !is_durable(group, applied) {
                return Err(Doubt::Ahead { group, applied });
            }
        }
        Ok(store)
    }

    pub(super) fn apply(&mut self, batch: Batch) -> Result<(), Doubt> {
        let (mut changes, mut manifest) = (sled::Batch::default(), self.manifest);
        for key in self.keys_of_groups(&batch.removed_groups)? {
            if !batch.changes.contains_key(&key) {
                self.forget(&key, &mut manifest)?;
                changes.remove(key);
            }
        }
        for (key, body) in batch.changes {
            self.forget(&key, &mut manifest)?;
            match body {
                None => changes.remove(key),
                Some(body) => {
                    let value = row::seal(&key, &body);
                    manifest.add(&key, &value);
                    changes.insert(key, value);
                }
            }
        }
        changes.insert(MANIFEST_KEY, manifest.encode());
        self.rows.apply_batch(changes)?;
        self.manifest = manifest;
        Ok(())
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Doubt> {
        self.rows.get(key)?.map(|value| row::unseal(key, &value).map(<[u8]>::to_vec)).transpose()
    }

    /// The rows from `from` on whose keys begin with `within`.
    pub(super) fn scan(&self, from: &[u8], within: &[u8], max: usize) -> Result<Vec<Row>, Doubt> {
        let mut found = Vec::new();
        for entry in self.rows.range(from..).take(max) {
            let (key, value) = entry?;
            if !key.starts_with(within) {
                break;
            }
            found.push(row::read_row(&key, &value)?);
        }
        Ok(found)
    }

    pub(super) fn applied(&self) -> Result<Vec<(u64, Applied)>, Doubt> {
        let table = [Table::Applied as u8];
        self.scan(&table, &table, usize::MAX)?.iter().map(row::read_applied).collect()
    }

    pub(super) fn flush(&mut self) -> Result<(), Doubt> {
        self.rows.flush()?;
        Ok(())
    }

    /// Compares every row with its checksum, and all of them with the manifest.
    fn check(&self) -> Result<(), Doubt> {
        let mut found = Manifest::default();
        for entry in self.rows.iter() {
            let (key, value) = entry?;
            if key != MANIFEST_KEY {
                row::read_row(&key, &value)?;
                found.add(&key, &value);
            }
        }
        if found == self.manifest { Ok(()) } else { Err(Doubt::Damaged) }
    }

    fn keys_of_groups(&self, groups: &[u64]) -> Result<Vec<Vec<u8>>, Doubt> {
        let mut keys = Vec::new();
        for group in groups {
            for table in TABLES {
                for key in self.rows.scan_prefix(row::key(table, *group, b"")).keys() {
                    keys.push(key?.to_vec());
                }
            }
        }
        Ok(keys)
    }

    /// Takes a row that is about to change out of the manifest.
    fn forget(&self, key: &[u8], manifest: &mut Manifest) -> Result<(), Doubt> {
        if let Some(old) = self.rows.get(key)? {
            row::unseal(key, &old)?;
            manifest.take(key, &old);
        }
        Ok(())
    }
}
