//! Services that publish to services: how deep that goes on one thread, and who goes on beyond.
//!
//! Streams can be wired in a circle: each republishes, or pushes by a consumer, into the other. Every step calls the
//! next one's service from inside its own, so without a bound one message would grow the stack until the process
//! dies, and the thread would never come back to its connections. Beyond the bounds below a mail goes to a thread of
//! its own, in order, which such a circle keeps busy half of the time and nobody waits for.

use super::mail::Mail;
use crate::account::Account;
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Calls of services within each other on one thread.
const DEPTH_MAX: u32 = 4;
/// Mails delivered within one outermost call: with many services the work of a few levels would be no bound.
const MAILS_MAX: u32 = 64;
/// Mail that waits for the thread; beyond it is dropped, as nobody was promised anything about it.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// The thread rests as long as it worked after so many mails.
const TURN_MAILS: u32 = 64;
const REST_MAX: Duration = Duration::from_millis(100);
/// The thread ends when nothing came for so long.
const IDLE: Duration = Duration::from_secs(1);
const WARNING_PAUSE: Duration = Duration::from_secs(10);

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static MAILS: Cell<u32> = const { Cell::new(0) };
}

static WAITING: Mutex<Waiting> =
    Mutex::new(Waiting { mails: VecDeque::new(), bytes: 0, has_thread: false, warned: None, dropped: 0 });
static ARRIVED: Condvar = Condvar::new();

struct Waiting {
    mails: VecDeque<(Arc<Account>, Mail)>,
    bytes: usize,
    has_thread: bool,
    warned: Option<Instant>,
    dropped: u64,
}

/// One level of calls; over when dropped, also by a panic.
pub struct Level(());

/// Begins a call of services, unless this thread is in too many of them.
pub fn enter() -> Option<Level> {
    let depth = DEPTH.get();
    let mails = if depth == 0 { 0 } else { MAILS.get() };
    if depth >= DEPTH_MAX || mails >= MAILS_MAX {
        return None;
    }
    DEPTH.set(depth + 1);
    MAILS.set(mails + 1);
    Some(Level(()))
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Leaves a mail, all of whose messages are copies, to the thread.
#[cold]
pub fn hand_over(account: &Arc<Account>, mail: Mail) {
    let mut waiting = WAITING.lock();
    let bytes = mail.bytes();
    if waiting.bytes + bytes > WAITING_BYTES_MAX || !waiting.ensure_thread() {
        return waiting.count_dropped(account);
    }
    waiting.bytes += bytes;
    waiting.mails.push_back((Arc::clone(account), mail));
    ARRIVED.notify_one();
}

impl Waiting {
    fn ensure_thread(&mut self) -> bool {
        if !self.has_thread {
            match std::thread::Builder::new().name("circles".into()).spawn(work) {
                Ok(_) => self.has_thread = true,
                Err(problem) => tracing::error!(%problem, "no thread for services that publish to services"),
            }
        }
        self.has_thread
    }

    fn count_dropped(&mut self, account: &Account) {
        self.dropped += 1;
        if self.warned.is_none_or(|warned| warned.elapsed() > WARNING_PAUSE) {
            let (account, dropped) = (account.name(), std::mem::take(&mut self.dropped));
            tracing::warn!(account, dropped, "streams publish into each other without end: messages are dropped");
            self.warned = Some(Instant::now());
        }
    }
}

/// The thread: one mail after the other, and rests in between.
fn work() {
    let mut began = Instant::now();
    let mut turn = 0;
    loop {
        let mut waiting = WAITING.lock();
        while waiting.mails.is_empty() {
            let timed_out = ARRIVED.wait_for(&mut waiting, IDLE).timed_out();
            if timed_out && waiting.mails.is_empty() {
                waiting.has_thread = false;
                return;
            }
            (began, turn) = (Instant::now(), 0);
        }
        let Some((account, mail)) = waiting.mails.pop_front() else { continue };
        waiting.bytes -= mail.bytes();
        drop(waiting);
        let level = enter();
        // A defect in one service must not stop the others.
        if catch_unwind(AssertUnwindSafe(|| mail.deliver(&account, None, &[]))).is_err() {
            tracing::error!(account = account.name(), "a message could not be handed to a service");
        }
        drop(level);
        turn += 1;
        if turn == TURN_MAILS {
            std::thread::sleep(began.elapsed().min(REST_MAX));
            (began, turn) = (Instant::now(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_bounded_in_depth_and_in_number() {
        let levels: Vec<Level> = std::iter::from_fn(enter).collect();
        assert_eq!(levels.len(), DEPTH_MAX as usize);
        drop(levels);
        let outermost = enter();
        assert_eq!(std::iter::from_fn(|| enter().map(drop)).count(), MAILS_MAX as usize - 1);
        drop(outermost);
        assert!(enter().is_some(), "the next outermost call begins anew");
    }
}
