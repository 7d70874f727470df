//! The store: sled. Every method may fail or panic; the worker that calls them ends it then. The only file that names
//! sled.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Doubt;
use crate::format::catalogue_row::{self, Row};

/// How long to wait for the lock of a store that is being closed, and between two looks.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// Little is read twice.
const CACHE_BYTES: u64 = 256 * 1024;
/// sled holds several buffers of this size.
const SEGMENT_BYTES: usize = 64 * 1024;

pub(super) struct Store {
    rows: sled::Db,
    journal: u64,
}

impl From<sled::Error> for Doubt {
    fn from(error: sled::Error) -> Self {
        Doubt::Failed(error.to_string())
    }
}

/// The threads of a store that was just closed hold its lock a moment longer: that is no reason to doubt its rows.
fn open_unlocked(config: &sled::Config) -> sled::Result<sled::Db> {
    let deadline = Instant::now() + LOCK_WAIT_MAX;
    loop {
        match config.open() {
            // sled tells this one by its text only.
            Err(sled::Error::Io(problem))
                if problem.to_string().contains("acquire lock") && Instant::now() < deadline =>
            {
                std::thread::sleep(LOCK_PAUSE);
            }
            opened => return opened,
        }
    }
}

impl Store {
    /// Opens the store of a journal and reads every row of it.
    pub(super) fn open(directory: &Path, journal: u64) -> Result<(Store, Vec<Row>), Doubt> {
        let config = sled::Config::new()
            .path(directory)
            .cache_capacity(CACHE_BYTES)
            .segment_size(SEGMENT_BYTES)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        let rows = open_unlocked(&config)?;
        let mut found = Vec::new();
        for entry in rows.iter() {
            let (key, value) = entry?;
            found.push(catalogue_row::read(journal, &key, &value)?);
        }
        Ok((Store { rows, journal }, found))
    }

    /// Writes rows as far as a crash of the process goes. A power cut may take them back.
    pub(super) fn apply(&mut self, rows: &[Row]) -> Result<(), Doubt> {
        let mut changes = sled::Batch::default();
        for row in rows {
            let key = catalogue_row::key(self.journal, row.segment);
            match row.sound_at {
                Some(sound_at) => changes.insert(&key, &catalogue_row::value(&key, sound_at)),
                None => changes.remove(&key),
            }
        }
        self.rows.apply_batch(changes)?;
        self.rows.flush()?;
        Ok(())
    }
}
