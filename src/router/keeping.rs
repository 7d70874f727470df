//! What the match caches of all publishers keep. Each publisher has a cache of its own, so without a common bound they
//! would take memory for publishers times subjects times subscribers.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What a cache keeps without asking: a few subjects with a few targets each. Nobody has to match those anew because
/// others keep much.
pub const OWN_BYTES_MAX: usize = 8 * 1024;
/// What all caches together keep beyond that.
const SHARED_BYTES_MAX: usize = 256 << 20;

static LEFT: AtomicUsize = AtomicUsize::new(SHARED_BYTES_MAX);

/// Whether a match may be kept for the next burst. What it takes of the common bound is given back when it is dropped.
#[derive(Default)]
pub enum Keeping {
    /// It is among the first few of its cache.
    #[default]
    Own,
    Shared {
        bytes: usize,
    },
    /// Too much is kept already: it is good for this burst, and computed anew in the next.
    NotKept,
}

impl Keeping {
    /// For a match of so many bytes in a cache that keeps `kept` of them already.
    pub fn ask(bytes: usize, kept: usize) -> Keeping {
        if kept + bytes <= OWN_BYTES_MAX {
            return Keeping::Own;
        }
        let taken = LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map_or(Keeping::NotKept, |_| Keeping::Shared { bytes })
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if let Keeping::Shared { bytes } = self {
            LEFT.fetch_add(*bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use parking_lot::{Mutex, MutexGuard};

    /// What is left belongs to the whole process: one test at a time takes it.
    pub fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock()
    }

    /// Lets nobody keep much while the result lives. Other tests publish meanwhile, so a little may be left.
    pub fn take_all(_alone: &MutexGuard<'static, ()>) -> Vec<Keeping> {
        let mut shares = Vec::new();
        let mut bytes = SHARED_BYTES_MAX;
        while bytes > 0 {
            match Keeping::ask(bytes, OWN_BYTES_MAX) {
                shared @ Keeping::Shared { .. } => shares.push(shared),
                _ => bytes /= 2,
            }
        }
        shares
    }

    #[test]
    fn what_is_kept_of_matches_is_bounded_and_given_back() {
        assert!(matches!(Keeping::ask(OWN_BYTES_MAX, 0), Keeping::Own));
        assert!(matches!(Keeping::ask(SHARED_BYTES_MAX + 1, 0), Keeping::NotKept));
        let alone = alone();
        let shares = take_all(&alone);
        assert!(matches!(Keeping::ask(SHARED_BYTES_MAX / 64, 0), Keeping::NotKept));
        assert!(matches!(Keeping::ask(100, OWN_BYTES_MAX - 100), Keeping::Own));
        drop(shares);
        assert!(matches!(Keeping::ask(SHARED_BYTES_MAX / 2, 0), Keeping::Shared { .. }));
    }
}
