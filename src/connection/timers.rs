//! One sorted queue of deadlines for all connections, so that an idle connection costs no timer of its own.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::time::Instant;
use tokio::sync::Notify;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// The client had to say who it is by now.
    Authentication,
    /// The same, after an alarm that came late.
    LateAuthentication,
    Ping,
    /// What waits for the socket had to be written by now.
    WriteDeadline,
    /// The user's credentials end.
    Expiry,
}

#[derive(Default)]
pub struct Timers {
    queue: Mutex<BTreeSet<(Instant, u64, Alarm)>>,
    earlier: Notify,
}

impl Timers {
    /// Sets an alarm for a connection. One of a connection that has gone since is ignored when it is due.
    pub fn set(&self, at: Instant, connection: u64, alarm: Alarm) {
        let mut queue = self.queue.lock();
        let is_first = queue.first().is_none_or(|(first, ..)| at < *first);
        queue.insert((at, connection, alarm));
        drop(queue);
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// Waits until alarms are due and takes them out.
    pub async fn due(&self) -> Vec<(u64, Alarm)> {
        loop {
            let next = self.queue.lock().first().map(|(at, ..)| *at);
            match next {
                None => self.earlier.notified().await,
                Some(at) if at <= Instant::now() => return self.take(Instant::now()),
                Some(at) => tokio::select! {
                    // Both arms can be dropped without harm: the queue is the only state.
                    () = tokio::time::sleep_until(at.into()) => {}
                    () = self.earlier.notified() => {}
                },
            }
        }
    }

    fn take(&self, now: Instant) -> Vec<(u64, Alarm)> {
        let mut queue = self.queue.lock();
        let later = queue.split_off(&(now, u64::MAX, Alarm::Expiry));
        let due = std::mem::replace(&mut *queue, later);
        due.into_iter().map(|(_, connection, alarm)| (connection, alarm)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn alarms_are_taken_in_order_when_due() {
        let timers = Timers::default();
        let now = Instant::now();
        timers.set(now + Duration::from_secs(2), 3, Alarm::Ping);
        timers.set(now + Duration::from_secs(1), 2, Alarm::Ping);
        timers.set(now, 1, Alarm::Authentication);
        assert_eq!(timers.take(now), [(1, Alarm::Authentication)]);
        assert_eq!(timers.take(now + Duration::from_secs(5)), [(2, Alarm::Ping), (3, Alarm::Ping)]);
        assert!(timers.take(now + Duration::from_secs(5)).is_empty());
    }
}
