//! What a start tells while it goes on, and about what it found.

use std::time::{Duration, Instant};

use headwater_storage::{Progress, RecoveryReport};

/// Work longer than this is reported while it goes on.
pub const QUIET: Duration = Duration::from_secs(1);

/// Tells how far a long start has come, once a second.
pub struct Reporter {
    next: Instant,
}

impl Reporter {
    pub fn new() -> Self {
        Self { next: Instant::now() + QUIET }
    }

    pub fn report(&mut self, progress: Progress) {
        if Instant::now() >= self.next {
            self.next = Instant::now() + QUIET;
            let Progress { phase, done, total } = progress;
            tracing::info!(phase, done, total, "recovering the store");
        }
    }
}

pub fn announce(report: &RecoveryReport) {
    if report.torn_tail {
        tracing::warn!("the last batch was not complete and never acknowledged: it was cut off");
    }
    for damage in &report.damages {
        tracing::error!(%damage, "the store is damaged");
    }
}
