//! The pull requests that wait for messages (L-01 to L-06): first in, first served, message by message in turn.

use std::collections::VecDeque;

use bytes::Bytes;

use super::NEVER;
use super::outputs::{Outputs, TextRef};
use super::status::{Remaining, Status};
use super::view::{Context, Interest};

/// The priority of a request that names none: behind all that do.
pub const PRIORITY_NONE: i64 = i64::MAX;

/// A waiting request.
#[derive(Clone, Debug)]
pub struct Pull {
    pub reply: Bytes,
    /// How many messages it still takes, as the client counts: a request for none gets one.
    pub left: i64,
    /// How many bytes it still takes; 0 is without limit.
    pub bytes: i64,
    /// 0 for never.
    pub expires: i64,
    pub no_wait: bool,
    /// Something was delivered to it.
    pub served: bool,
    /// 0 for none.
    pub heartbeat: i64,
    pub heartbeat_at: i64,
    /// The client sent a request in JSON, so it could name a group.
    pub has_group: bool,
    pub priority: i64,
    pub min_pending: i64,
    pub min_ack_pending: i64,
    /// The pin the client believes to have.
    pub id: Option<Box<[u8]>>,
    /// The delivery pass in which somebody was found listening.
    pub checked_in_pass: u64,
    /// Where an output buffer holds the reply subject.
    pub text: TextRef,
}

impl Pull {
    pub fn remaining(&self) -> Remaining {
        Remaining { messages: self.left, bytes: self.bytes }
    }

    pub fn is_expired(&self, now: i64) -> bool {
        self.expires != 0 && now >= self.expires
    }

    /// The next time at which something is to be said to this client.
    fn deadline(&self) -> i64 {
        let expires = if self.expires == 0 { NEVER } else { self.expires };
        let heartbeat = if self.heartbeat == 0 { NEVER } else { self.heartbeat_at };
        expires.min(heartbeat)
    }

    /// Sends this client a status.
    pub fn status(&mut self, status: Status, out: &mut Outputs) {
        let target = out.hold_once(&self.reply, &mut self.text);
        out.status(target, status);
    }
}

/// What a heartbeat reports.
#[derive(Clone, Copy, Debug)]
pub struct HeartbeatFacts {
    pub last_consumer: u64,
    pub last_stream: u64,
}

/// The queue.
#[derive(Clone, Debug)]
pub struct PullQueue {
    pulls: VecDeque<Pull>,
    /// Nothing is due before this time; it may be too early, never too late.
    deadline: i64,
    /// How many of them do not wait.
    no_wait: usize,
}

impl Default for PullQueue {
    fn default() -> Self {
        Self { pulls: VecDeque::new(), deadline: NEVER, no_wait: 0 }
    }
}

impl PullQueue {
    pub fn len(&self) -> usize {
        self.pulls.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pulls.is_empty()
    }

    pub fn deadline(&self) -> i64 {
        if self.pulls.is_empty() { NEVER } else { self.deadline }
    }

    /// True when there is something to say to some client now.
    pub fn is_due(&self, now: i64) -> bool {
        self.pulls.iter().any(|pull| pull.deadline() <= now)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pull> {
        self.pulls.iter()
    }

    pub fn front(&self) -> Option<&Pull> {
        self.pulls.front()
    }

    pub fn front_mut(&mut self) -> Option<&mut Pull> {
        self.pulls.front_mut()
    }

    /// Some request ends as soon as there is nothing to deliver.
    pub fn any_no_wait(&self) -> bool {
        self.no_wait > 0
    }

    /// Adds a request behind all others, or behind those of its priority.
    pub fn add(&mut self, pull: Pull, by_priority: bool) {
        self.deadline = if self.pulls.is_empty() { pull.deadline() } else { self.deadline.min(pull.deadline()) };
        self.no_wait += usize::from(pull.no_wait);
        self.place(pull, by_priority);
    }

    fn place(&mut self, pull: Pull, by_priority: bool) {
        if !by_priority {
            self.pulls.push_back(pull);
            return;
        }
        let behind = self.pulls.iter().rposition(|other| other.priority <= pull.priority);
        self.pulls.insert(behind.map_or(0, |index| index + 1), pull);
    }

    /// Moves the first request behind all others.
    pub fn cycle(&mut self) {
        if self.pulls.len() > 1 {
            self.pulls.rotate_left(1);
        }
    }

    pub fn remove_front(&mut self) -> Option<Pull> {
        let pull = self.pulls.pop_front()?;
        self.no_wait -= usize::from(pull.no_wait);
        Some(pull)
    }

    /// Counts one message to the first request: it leaves when it has all it wanted, else others have their turn.
    pub fn serve_front(&mut self, now: i64, by_priority: bool) {
        let Some(pull) = self.pulls.front_mut() else { return };
        pull.served = true;
        pull.left -= 1;
        if pull.left <= 0 {
            self.remove_front();
            return;
        }
        if pull.heartbeat > 0 {
            pull.heartbeat_at = now.saturating_add(pull.heartbeat);
        }
        if self.pulls.len() > 1
            && let Some(pull) = self.pulls.pop_front()
        {
            self.place(pull, by_priority);
        }
    }

    /// A message was not sent after all: the request may have another. False when it does not wait any more.
    pub fn credit(&mut self, reply: &[u8]) -> bool {
        let pull = self.pulls.iter_mut().find(|pull| pull.reply == reply);
        pull.map(|pull| pull.left += 1).is_some()
    }

    /// A message did not reach anybody: neither would another one, nor a status.
    pub fn forget(&mut self, reply: &[u8]) {
        let Some(at) = self.pulls.iter().position(|pull| pull.reply == reply) else { return };
        if let Some(pull) = self.pulls.remove(at) {
            self.no_wait -= usize::from(pull.no_wait);
        }
    }

    /// Ends what has expired or has nobody listening, and, at the end of the stream, what does not wait; sends
    /// heartbeats. Returns how many messages the remaining requests take.
    pub fn sweep(
        &mut self,
        end_of_stream: bool,
        facts: HeartbeatFacts,
        context: &Context<'_>,
        out: &mut Outputs,
    ) -> i64 {
        let now = context.now;
        let mut wanted = 0i64;
        let (mut deadline, mut no_wait) = (NEVER, 0);
        self.pulls.retain_mut(|pull| {
            if pull.is_expired(now) {
                pull.status(Status::RequestTimeout(pull.remaining()), out);
                return false;
            }
            if end_of_stream && pull.no_wait && (pull.expires == 0 || pull.served) {
                pull.status(Status::NoMessages, out);
                return false;
            }
            match context.environment.interest(&pull.reply) {
                Interest::Present => {}
                Interest::Gone => return false,
                Interest::GoneBehindImport => {
                    pull.status(Status::InterestExpired(pull.remaining()), out);
                    return false;
                }
            }
            if pull.heartbeat > 0 && now >= pull.heartbeat_at {
                let HeartbeatFacts { last_consumer, last_stream } = facts;
                pull.status(Status::IdleHeartbeat { last_consumer, last_stream, stalled: TextRef::NONE }, out);
                pull.heartbeat_at = now.saturating_add(pull.heartbeat);
            }
            wanted = wanted.saturating_add(pull.left);
            deadline = deadline.min(pull.deadline());
            no_wait += usize::from(pull.no_wait);
            true
        });
        (self.deadline, self.no_wait) = (deadline, no_wait);
        self.release_memory();
        wanted
    }

    /// Ends all requests with a status.
    pub fn end_all(&mut self, status: impl Fn(&Pull) -> Status, out: &mut Outputs) {
        for mut pull in std::mem::take(&mut self.pulls) {
            let status = status(&pull);
            pull.status(status, out);
        }
        (self.deadline, self.no_wait) = (NEVER, 0);
    }

    fn release_memory(&mut self) {
        if self.pulls.is_empty() && self.pulls.capacity() > 16 {
            self.pulls = VecDeque::new();
        }
    }
}
