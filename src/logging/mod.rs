//! The log: lines as nats-server writes them (F-13), from `tracing` events of all crates.
//!
//! Logging never blocks. A line goes into a bounded queue, a thread of its own writes it; when the destination does
//! not take more (a pipe that nobody reads, appendix D 4) lines are dropped and counted. Secrets must not get here:
//! passwords live in `config::Secret`, CONNECT lines go through `protocol::connect::redacted` first.

mod file;
mod layer;
mod line;
mod queue;
mod sink;
mod syslog;
pub mod timezone;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt;

use crate::config::LogOptions;

pub use layer::LogLayer;
pub use sink::LogError;

use line::Formatter;
use queue::Queue;
use sink::Sink;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Fatal,
    Error,
    Warning,
    Info,
    Debug,
    Trace,
}

/// The running log. Clones share it.
#[derive(Clone)]
pub struct Logger {
    shared: Arc<Shared>,
}

/// New options, their destination open: nothing can fail any more when [`Logger::reconfigure`] takes them.
pub struct NextLog {
    options: LogOptions,
    sink: Sink,
}

impl NextLog {
    /// Opens the destination. The running log stays as it is.
    ///
    /// # Errors
    /// When the file or the syslog can not be opened.
    pub fn open(options: &LogOptions) -> Result<NextLog, LogError> {
        Ok(NextLog { options: options.clone(), sink: Sink::open(options)? })
    }
}

struct Shared {
    queue: Arc<Queue>,
    formatter: Formatter,
    /// The least severe level that is written, as [`Severity`].
    level: AtomicU8,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Logger {
    /// Opens the destination and starts the writing thread.
    pub fn start(options: &LogOptions) -> Result<Self, LogError> {
        Ok(Self::with_sink(options, Sink::open(options)?))
    }

    fn with_sink(options: &LogOptions, sink: Sink) -> Self {
        let formatter = Formatter::new();
        formatter.configure(options, sink.format());
        let queue = Queue::start(sink, formatter.clone());
        let level = AtomicU8::new(level_of(options) as u8);
        Self { shared: Arc::new(Shared { queue, formatter, level }) }
    }

    /// Makes this the log of all `tracing` events of the process. Fails when there is one already.
    pub fn install(&self) -> Result<(), LogError> {
        let subscriber = tracing_subscriber::registry().with(self.layer());
        tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadyInstalled)
    }

    /// The layer for a subscriber of one's own.
    pub fn layer(&self) -> LogLayer {
        LogLayer::new(self.clone())
    }

    /// Takes over new options at a reload; the next line goes to their destination.
    pub fn reconfigure(&self, next: NextLog) {
        let NextLog { options, sink } = next;
        self.shared.formatter.configure(&options, sink.format());
        self.shared.queue.replace_sink(sink);
        self.shared.level.store(level_of(&options) as u8, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Closes the log file and opens it again by name, for rotation by other programs (SIGUSR1).
    pub fn reopen(&self) {
        self.shared.queue.reopen();
    }

    /// True when a line of this severity would be written: one relaxed load.
    pub fn is_enabled(&self, severity: Severity) -> bool {
        severity as u8 <= self.shared.level.load(Ordering::Relaxed)
    }

    /// Writes a line whatever the level; the way to say why the process ends is [`Severity::Fatal`].
    pub fn write(&self, severity: Severity, text: impl Display) {
        let line = self.shared.formatter.line(severity, format_args!("{text}"));
        self.shared.queue.push(severity, line);
    }

    /// Lines that were dropped because the destination took no more.
    pub fn dropped(&self) -> u64 {
        self.shared.queue.dropped()
    }

    /// Waits until everything is written, but no longer than this. True when it is.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.shared.queue.flush(timeout)
    }
}

fn level_of(options: &LogOptions) -> Severity {
    match (options.trace, options.debug) {
        (true, _) => Severity::Trace,
        (false, true) => Severity::Debug,
        (false, false) => Severity::Info,
    }
}

#[cfg(test)]
mod tests;
