//! What the match caches of all publishers keep of wide matches. Each publisher has a cache of its own, so without a
//! common bound they would take memory for publishers times subscribers.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A match of more targets than this is wide. All others of a cache are bounded by its entries.
const NARROW_TARGETS_MAX: usize = 64;
/// Targets of all wide matches that are kept; one takes between one and two hundred bytes.
const WIDE_TARGETS_MAX: usize = 2 << 20;

static LEFT: AtomicUsize = AtomicUsize::new(WIDE_TARGETS_MAX);

/// Whether a match may be kept for the next burst. What it takes of the common bound is given back when it is dropped.
#[derive(Default)]
pub enum Keeping {
    #[default]
    Narrow,
    Wide {
        targets: usize,
    },
    /// Too much is kept already: it is good for this burst, and computed anew in the next.
    NotKept,
}

impl Keeping {
    pub fn ask(targets: usize) -> Keeping {
        if targets <= NARROW_TARGETS_MAX {
            return Keeping::Narrow;
        }
        let taken = LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(targets));
        taken.map_or(Keeping::NotKept, |_| Keeping::Wide { targets })
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if let Keeping::Wide { targets } = self {
            LEFT.fetch_add(*targets, Ordering::Relaxed);
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

    /// Lets nobody keep anything wide while the result lives. Other tests publish meanwhile, so a little may be left.
    pub fn take_all(_alone: &MutexGuard<'static, ()>) -> Vec<Keeping> {
        let mut shares = Vec::new();
        let mut targets = WIDE_TARGETS_MAX;
        while targets > NARROW_TARGETS_MAX {
            match Keeping::ask(targets) {
                wide @ Keeping::Wide { .. } => shares.push(wide),
                _ => targets /= 2,
            }
        }
        shares
    }

    #[test]
    fn what_is_kept_of_wide_matches_is_bounded_and_given_back() {
        assert!(matches!(Keeping::ask(NARROW_TARGETS_MAX), Keeping::Narrow));
        assert!(matches!(Keeping::ask(WIDE_TARGETS_MAX + 1), Keeping::NotKept));
        let alone = alone();
        let shares = take_all(&alone);
        assert!(matches!(Keeping::ask(NARROW_TARGETS_MAX * 16), Keeping::NotKept));
        drop(shares);
        assert!(matches!(Keeping::ask(WIDE_TARGETS_MAX / 2), Keeping::Wide { .. }));
    }
}
