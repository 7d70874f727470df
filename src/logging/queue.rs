//! The bounded queue between those who log and the thread that writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Severity;
use super::line::Formatter;
use super::sink::Sink;

/// Bytes that wait for the destination. More are dropped.
pub(super) const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) struct Queue {
    /// Guards the lines and the orders to the writing thread.
    state: Mutex<State>,
    /// Signals the writing thread.
    work: Condvar,
    /// Signals those who wait for the queue to drain.
    drained: Condvar,
}

/// What the thread has to do, in order.
enum Job {
    Line(Severity, String),
    /// Lines from here on go to another destination.
    ReplaceSink(Sink),
    Reopen,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Of the lines in `jobs`.
    bytes: usize,
    dropped: u64,
    /// Dropped lines that the log has not mentioned yet.
    dropped_unsaid: u64,
    /// The thread holds lines that it has not written yet.
    is_writing: bool,
    is_closed: bool,
}

impl Queue {
    /// Starts the thread. Nobody joins it: it may hang in a write that nobody can interrupt.
    pub fn start(sink: Sink, formatter: Formatter) -> Arc<Self> {
        let queue =
            Arc::new(Self { state: Mutex::new(State::default()), work: Condvar::new(), drained: Condvar::new() });
        let writer = Arc::clone(&queue);
        let run = move || {
            let mut sink = sink;
            while writer.write_once(&mut sink, &formatter) {}
        };
        // Without the thread lines are dropped and counted, which is all that can be done.
        let _ = std::thread::Builder::new().name("log".into()).spawn(run);
        queue
    }

    /// Adds a line, or counts it as dropped.
    pub fn push(&self, severity: Severity, line: String) {
        let mut state = self.state.lock();
        if state.bytes + line.len() > QUEUE_BYTES_MAX {
            state.dropped += 1;
            state.dropped_unsaid += 1;
            return;
        }
        state.bytes += line.len();
        state.jobs.push_back(Job::Line(severity, line));
        drop(state);
        self.work.notify_one();
    }

    pub fn replace_sink(&self, sink: Sink) {
        self.state.lock().jobs.push_back(Job::ReplaceSink(sink));
        self.work.notify_one();
    }

    pub fn reopen(&self) {
        self.state.lock().jobs.push_back(Job::Reopen);
        self.work.notify_one();
    }

    pub fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.state.lock();
        while state.is_writing || !state.is_idle() {
            if self.drained.wait_until(&mut state, deadline).timed_out() {
                return !state.is_writing && state.is_idle();
            }
        }
        true
    }

    /// The thread ends when everything is written.
    pub fn close(&self) {
        self.state.lock().is_closed = true;
        self.work.notify_one();
    }

    /// Waits for something to do and does it. False when there will be no more.
    fn write_once(&self, sink: &mut Sink, formatter: &Formatter) -> bool {
        let mut state = self.state.lock();
        while state.is_idle() {
            if state.is_closed {
                return false;
            }
            self.work.wait(&mut state);
        }
        let jobs = std::mem::take(&mut state.jobs);
        let dropped = std::mem::take(&mut state.dropped_unsaid);
        state.bytes = 0;
        state.is_writing = true;
        drop(state);

        let mut lines = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job {
                Job::Line(severity, line) => lines.push((severity, line)),
                Job::ReplaceSink(next) => {
                    sink.write(&std::mem::take(&mut lines), formatter);
                    *sink = next;
                }
                Job::Reopen => {
                    sink.write(&std::mem::take(&mut lines), formatter);
                    sink.reopen(formatter);
                }
            }
        }
        if dropped > 0 {
            let text = format_args!("{dropped} log lines were dropped: the destination does not keep up");
            lines.push((Severity::Warning, formatter.line(Severity::Warning, text)));
        }
        sink.write(&lines, formatter);
        self.state.lock().is_writing = false;
        self.drained.notify_all();
        true
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.dropped_unsaid == 0
    }
}
