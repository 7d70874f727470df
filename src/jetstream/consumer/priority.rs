//! Which waiting request gets the next message (ADR-42; D-04 to D-06): the first one that listens, has room for it and
//! may have it under the consumer's priority policy.

use bytes::Bytes;

use super::NEVER;
use super::live::Consumer;
use super::outputs::{Advisory, Outputs, TextRef, UnpinReason};
use super::pull::Pull;
use super::status::{Remaining, Status};
use super::view::{Context, Interest};
use crate::jetstream::api::consumer_config::PriorityPolicy;

/// The client to which a consumer with `pinned_client` is bound for the time being.
#[derive(Clone, Debug)]
pub struct Pin {
    id: Bytes,
    since: i64,
    until: i64,
}

impl Pin {
    pub fn id(&self) -> &[u8] {
        &self.id
    }

    pub fn since(&self) -> i64 {
        self.since
    }

    pub fn is(&self, id: &[u8]) -> bool {
        self.id == id
    }

    pub fn renew(&mut self, now: i64, timeout: i64) {
        self.until = now.saturating_add(timeout);
    }
}

/// The message that looks for a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub sequence: u64,
    pub deliveries: u32,
    /// How many messages there are with this one.
    pub pending: u64,
}

/// The request that gets the message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub target: TextRef,
    pub pin: TextRef,
    /// The request ends with this message, though it had bytes left.
    pub completed: Option<Remaining>,
}

/// What the policy says to one request.
enum Turn {
    Yes,
    /// Not now, but it may wait.
    NotNow,
    /// Never: it believes to be pinned and is not.
    WrongPin,
}

impl Consumer {
    /// Finds the request for a message and counts it there. `None` when nobody who waits may have it.
    pub(super) fn claim_pull(
        &mut self,
        candidate: Candidate,
        context: &Context<'_>,
        out: &mut Outputs,
    ) -> Option<Claim> {
        let mut cycled = 0;
        loop {
            let has_pin = self.pin.is_some();
            match self.ask_front(&candidate, context, out)? {
                Turn::Yes => {}
                Turn::NotNow => {
                    self.pulls.cycle();
                    cycled += 1;
                    if cycled >= self.pulls.len() {
                        return None;
                    }
                    continue;
                }
                Turn::WrongPin => {
                    self.end_front(Status::WrongPinId, out);
                    continue;
                }
            }
            if let Some(claim) = self.serve_front(&candidate, context, out) {
                return Some(claim);
            }
            if !has_pin {
                // It was pinned for this message, which it cannot have.
                self.pin = None;
            }
        }
    }

    /// Drops requests from the front until one is still wanted, then applies the policy to it.
    fn ask_front(&mut self, candidate: &Candidate, context: &Context<'_>, out: &mut Outputs) -> Option<Turn> {
        loop {
            let pass = self.pass;
            let pull = self.pulls.front_mut()?;
            if pull.is_expired(context.now) {
                self.end_front(Status::RequestTimeout, out);
                continue;
            }
            if pull.checked_in_pass != pass {
                match context.environment.interest(&pull.reply) {
                    Interest::Present => pull.checked_in_pass = pass,
                    Interest::Gone => {
                        self.pulls.remove_front();
                        continue;
                    }
                    Interest::GoneBehindImport => {
                        self.end_front(Status::InterestExpired, out);
                        continue;
                    }
                }
            }
            return Some(match self.settings.priority_policy {
                PriorityPolicy::None | PriorityPolicy::Prioritized => Turn::Yes,
                PriorityPolicy::Overflow => match self.pulls.front() {
                    Some(pull) if self.overflows_to(pull, candidate.pending) => Turn::Yes,
                    _ => Turn::NotNow,
                },
                PriorityPolicy::PinnedClient => self.ask_pinned(context, out),
            });
        }
    }

    /// False when every request that waits must go on waiting, however much there is to deliver.
    pub(super) fn any_eligible(&self) -> bool {
        let pending = self.backlog.messages();
        match self.settings.priority_policy {
            PriorityPolicy::None | PriorityPolicy::Prioritized => true,
            PriorityPolicy::Overflow => self.pulls.iter().any(|pull| self.overflows_to(pull, pending)),
            PriorityPolicy::PinnedClient => self.pin.is_none() || self.pulls.iter().any(|pull| pull.id.is_some()),
        }
    }

    /// Served only when enough waits, or enough is being worked on.
    fn overflows_to(&self, pull: &Pull, pending: u64) -> bool {
        if pull.min_pending <= 0 && pull.min_ack_pending <= 0 {
            return true;
        }
        let reached = |min: i64, value: u64| u64::try_from(min).is_ok_and(|min| min > 0 && min <= value);
        reached(pull.min_pending, pending) || reached(pull.min_ack_pending, self.state.pending.len() as u64)
    }

    fn ask_pinned(&mut self, context: &Context<'_>, out: &mut Outputs) -> Turn {
        let Some(pull) = self.pulls.front_mut() else { return Turn::NotNow };
        match (&self.pin, &pull.id) {
            (Some(pin), Some(id)) if pin.is(id) => Turn::Yes,
            (Some(_), None) => Turn::NotNow,
            (_, Some(_)) => Turn::WrongPin,
            // A request that names no group is served as long as nobody is pinned.
            (None, None) if !pull.has_group => Turn::Yes,
            (None, None) => {
                let id = Bytes::copy_from_slice(&context.environment.unique_id());
                pull.id = Some(id.as_ref().into());
                let until = context.now.saturating_add(self.settings.pin_timeout);
                let advisory = Advisory::Pinned { group: self.hold_group(out), id: out.hold(&id) };
                self.pin = Some(Box::new(Pin { id, since: context.now, until }));
                out.advisory(advisory);
                Turn::Yes
            }
        }
    }

    /// Counts the message to the first request; `None` when the message is too large for it, which ends it.
    fn serve_front(&mut self, candidate: &Candidate, context: &Context<'_>, out: &mut Outputs) -> Option<Claim> {
        let size = match self.pulls.front_mut()?.bytes {
            0 => 0,
            _ => i64::try_from(self.message_bytes(candidate, context)).unwrap_or(i64::MAX),
        };
        let pull = self.pulls.front_mut()?;
        if pull.bytes > 0 {
            if size > pull.bytes {
                self.end_front(Status::MessageTooLarge, out);
                return None;
            }
            pull.bytes -= size;
            if pull.bytes == 0 {
                // Nothing more fits.
                pull.left = 1;
            }
        }
        let target = out.hold_once(&pull.reply, &mut pull.text);
        let remaining = Remaining { messages: pull.left - 1, bytes: pull.bytes };
        let completed = Some(remaining).filter(|remaining| remaining.messages <= 0 && remaining.bytes > 0);
        self.pulls.serve_front(context.now, self.settings.serves_by_priority());
        Some(Claim { target, pin: self.hold_pin(out), completed })
    }

    fn end_front(&mut self, status: impl Fn(Remaining) -> Status, out: &mut Outputs) {
        if let Some(mut pull) = self.pulls.remove_front() {
            pull.status(status(pull.remaining()), out);
        }
    }

    fn hold_pin(&mut self, out: &mut Outputs) -> TextRef {
        if self.settings.priority_policy != PriorityPolicy::PinnedClient {
            return TextRef::NONE;
        }
        // Without a pin the header is there and empty.
        let id = self.pin.as_ref().map_or_else(Bytes::new, |pin| pin.id.clone());
        out.hold_once(&id, &mut self.pin_text)
    }

    fn hold_group(&self, out: &mut Outputs) -> TextRef {
        out.hold_copy(self.settings.priority_groups.first().map_or(&[], |group| group.as_bytes()))
    }

    /// Ends the pin of a group, so that the next request is pinned; false when there is no such group.
    pub fn unpin(&mut self, group: &str, out: &mut Outputs) -> bool {
        if !self.settings.priority_groups.iter().any(|known| **known == *group) {
            return false;
        }
        self.end_pin(UnpinReason::Admin, out);
        true
    }

    pub(super) fn end_pin(&mut self, reason: UnpinReason, out: &mut Outputs) {
        self.pin = None;
        let advisory = Advisory::Unpinned { group: self.hold_group(out), reason };
        out.advisory(advisory);
    }

    pub(super) fn pin_deadline(&self) -> i64 {
        self.pin.as_ref().map_or(NEVER, |pin| pin.until)
    }
}
