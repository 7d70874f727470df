//! What a disk does not give at once it may give a moment later: the reads of a start are tried again before it counts
//! that they failed. Also reads whole files as far as that goes.
//!
//! ```text
//! read -> wrong content or end of file  -> damage, known for good
//!      |-> refused -> again, some times -> refused still: nobody knows what is there
//! ```

use std::cell::Cell;
use std::io;
use std::time::Duration;

use tracing::warn;

use crate::error::ReadError;
use crate::io::IoFile;
use crate::options::JournalOptions;

/// Before each further attempt at one read.
const PAUSES: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(500)];
/// All pauses of one start together: a disk that is gone is not waited for piece by piece.
const PAUSES_MAX: Duration = Duration::from_secs(10);
/// Bytes read at once when a whole file is read.
const READ_BYTES: usize = 1024 * 1024;
/// The unit that an unreadable stretch is narrowed down to.
pub(crate) const UNREADABLE_BYTES: usize = 4096;

/// True when the disk refused. Where a file ends before what is read, that is known for good.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound)
}

/// True when the disk refused to give a record.
pub(crate) fn is_refused(error: &ReadError) -> bool {
    matches!(error, ReadError::Io(error) if is_refusal(error))
}

/// How often and how long what failed is tried again.
pub(crate) struct Patience {
    left: Cell<Duration>,
    sleeps: bool,
}

impl Patience {
    /// For one start.
    pub(crate) fn new(options: &JournalOptions) -> Self {
        Self { left: Cell::new(PAUSES_MAX), sleeps: !options.manual }
    }

    /// The last outcome of some attempts, of which only one that passes is followed by another.
    pub(crate) fn retry<T, E: std::fmt::Display>(
        &self,
        mut attempt: impl FnMut() -> Result<T, E>,
        passes: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        for pause in PAUSES {
            match attempt() {
                Err(error) if passes(&error) && self.pause(pause) => warn!(%error, "a read failed and is tried again"),
                outcome => return outcome,
            }
        }
        attempt()
    }

    /// Bytes of a file.
    pub(crate) fn read_at(&self, file: &dyn IoFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.retry(|| file.read_at(buffer, offset), is_refusal)
    }

    /// A whole file.
    pub(crate) fn read_whole(&self, file: &dyn IoFile, length: u32) -> Whole {
        Whole::read(length, &mut |buffer, offset| self.read_at(file, buffer, offset))
    }

    fn pause(&self, pause: Duration) -> bool {
        let Some(left) = self.left.get().checked_sub(pause) else { return false };
        self.left.set(left);
        if self.sleeps {
            std::thread::sleep(pause);
        }
        true
    }
}

/// A whole file, as far as it can be read.
pub(crate) struct Whole {
    pub(crate) bytes: Vec<u8>,
    /// Where stretches of `bytes` begin that could not be read; they are zero.
    pub(crate) unreadable: Vec<u32>,
    /// What the disk said when it first refused one of them.
    pub(crate) refusal: Option<io::Error>,
}

impl Whole {
    /// Reads without trying again.
    pub(crate) fn of(file: &dyn IoFile, length: u32) -> Self {
        Self::read(length, &mut |buffer, offset| file.read_at(buffer, offset))
    }

    fn read(length: u32, read_at: &mut dyn FnMut(&mut [u8], u64) -> io::Result<()>) -> Self {
        let mut whole = Self { bytes: vec![0; length as usize], unreadable: Vec::new(), refusal: None };
        for (number, chunk) in whole.bytes.chunks_mut(READ_BYTES).enumerate() {
            let start = (number * READ_BYTES) as u64;
            if read_at(chunk, start).is_ok() {
                continue;
            }
            for (number, piece) in chunk.chunks_mut(UNREADABLE_BYTES).enumerate() {
                let start = start + (number * UNREADABLE_BYTES) as u64;
                if let Err(error) = read_at(piece, start) {
                    piece.fill(0);
                    whole.unreadable.push(start as u32);
                    whole.refusal = whole.refusal.take().or(Some(error).filter(is_refusal));
                }
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience() -> Patience {
        Patience::new(&JournalOptions { manual: true, ..JournalOptions::default() })
    }

    #[test]
    fn a_refusal_is_asked_again_and_the_end_of_a_file_is_not() {
        for (kind, attempts) in [(io::ErrorKind::Other, 4), (io::ErrorKind::UnexpectedEof, 1)] {
            let mut count = 0;
            let attempt = || {
                count += 1;
                Err::<(), io::Error>(kind.into())
            };
            assert!(patience().retry(attempt, is_refusal).is_err());
            assert_eq!(count, attempts, "{kind}");
        }
    }

    #[test]
    fn patience_ends_however_much_there_is_to_read() {
        let patience = patience();
        let mut count = 0;
        for _ in 0..1000 {
            let _ = patience.retry(
                || {
                    count += 1;
                    Err::<(), io::Error>(io::ErrorKind::Other.into())
                },
                is_refusal,
            );
        }
        assert!(count < 1100, "{count} attempts at 1000 reads");
    }
}
