//! A pull request as a client sends it (L-01, L-02): nothing, a number, or JSON. Reading it and holding it against the
//! limits decides nothing about messages; what is wrong is answered with a status.

use bytes::Bytes;

use super::live::Consumer;
use super::outputs::{Outputs, TextRef};
use super::pull::{PRIORITY_NONE, Pull};
use super::status::{BadRequest, Status};
use super::view::Context;
use crate::jetstream::api::consumer_config::PriorityPolicy;
use crate::jetstream::api::json;
use crate::jetstream::api::requests::NextRequest;
use crate::jetstream::api::time::{MILLISECOND, SECOND};

const PRIORITY_MAX: i64 = 9;
/// Heartbeats come no more often, whatever the client asks for.
const HEARTBEAT_MIN: i64 = MILLISECOND;
/// A full queue is searched for requests that are over at most this often.
const FULL_SWEEP_INTERVAL: i64 = SECOND;

impl Consumer {
    /// A pull request, with the subject to which messages and statuses go.
    pub fn pull_request(&mut self, reply: &[u8], body: &[u8], context: &Context<'_>, out: &mut Outputs) {
        self.inactivity.touch(context.now);
        let mut pull = empty_pull(reply);
        match self.accept(body, &mut pull, context, out) {
            Err(status) => pull.status(status, out),
            Ok(Admission::Refused) => {}
            Ok(Admission::Waits) => self.pulls.add(pull, self.settings.serves_by_priority()),
        }
    }

    fn accept(
        &mut self,
        body: &[u8],
        pull: &mut Pull,
        context: &Context<'_>,
        out: &mut Outputs,
    ) -> Result<Admission, Status> {
        if self.settings.is_push() {
            return Err(Status::PushBased);
        }
        let request = read(body, pull, out)?;
        self.check_limits(&request)?;
        if pull.has_group {
            self.check_group(&request, context)?;
        }
        if request.expires != 0 {
            pull.expires = context.now.saturating_add(request.expires);
        }
        if request.idle_heartbeat > 0 {
            pull.heartbeat = request.idle_heartbeat.max(HEARTBEAT_MIN);
            pull.heartbeat_at = context.now.saturating_add(pull.heartbeat);
        }
        if self.pulls.len() >= self.settings.waiting_max
            && context.now.saturating_sub(self.swept_at) > FULL_SWEEP_INTERVAL
        {
            self.sweep_pulls(context, out);
        }
        if pull.no_wait {
            self.check_no_wait(pull, context, out)?;
        }
        if self.pulls.len() >= self.settings.waiting_max {
            // A client with heartbeats finds out by missing them; an answer would make it ask again at once.
            return if pull.heartbeat == 0 { Err(Status::WaitingExceeded) } else { Ok(Admission::Refused) };
        }
        Ok(Admission::Waits)
    }

    fn check_limits(&self, request: &NextRequest) -> Result<(), Status> {
        let settings = &self.settings;
        let exceeds = |value: i64, max: i64| max > 0 && value > max;
        if exceeds(request.batch, settings.request_batch_max) {
            return Err(Status::BatchExceeded { max: settings.request_batch_max });
        }
        if exceeds(request.expires, settings.request_expires_max) {
            return Err(Status::ExpiresExceeded { max: settings.request_expires_max });
        }
        if exceeds(request.max_bytes, settings.request_bytes_max) {
            return Err(Status::BytesExceeded { max: settings.request_bytes_max });
        }
        Ok(())
    }

    fn check_group(&mut self, request: &NextRequest, context: &Context<'_>) -> Result<(), Status> {
        let policy = self.settings.priority_policy;
        if (request.min_pending != 0 || request.min_ack_pending != 0) && policy != PriorityPolicy::Overflow {
            return Err(Status::BadRequest(BadRequest::NotOverflow));
        }
        if !request.id.is_empty() && policy != PriorityPolicy::PinnedClient {
            return Err(Status::BadRequest(BadRequest::NotPinned));
        }
        if !(0..=PRIORITY_MAX).contains(&request.priority) {
            return Err(Status::BadRequest(BadRequest::PriorityOutOfRange));
        }
        if policy == PriorityPolicy::None {
            return Ok(());
        }
        if request.group.is_empty() {
            return Err(Status::BadRequest(BadRequest::GroupMissing));
        }
        if !self.settings.priority_groups.iter().any(|group| **group == *request.group) {
            return Err(Status::BadRequest(BadRequest::GroupInvalid));
        }
        if let Some(pin) = &mut self.pin {
            if pin.is(request.id.as_bytes()) {
                pin.renew(context.now, self.settings.pin_timeout);
            } else if !request.id.is_empty() {
                return Err(Status::PinIdMismatch);
            }
        }
        Ok(())
    }

    /// A request that does not wait is answered from what is there, unless others have asked for that already.
    fn check_no_wait(&mut self, pull: &Pull, context: &Context<'_>, out: &mut Outputs) -> Result<(), Status> {
        let queued = self.redeliveries.len(&mut self.state.pending) as u64;
        let available = self.num_pending(context.stream) + queued;
        if available == 0 {
            return if pull.expires == 0 { Err(Status::NoMessages) } else { Ok(()) };
        }
        let wanted = self.sweep_pulls(context, out);
        let is_spoken_for = u64::try_from(wanted).is_ok_and(|wanted| available < wanted);
        if is_spoken_for { Err(Status::RequestsPending) } else { Ok(()) }
    }
}

enum Admission {
    Waits,
    /// Without an answer.
    Refused,
}

fn empty_pull(reply: &[u8]) -> Pull {
    Pull {
        reply: Bytes::copy_from_slice(reply),
        left: 1,
        bytes: 0,
        expires: 0,
        no_wait: false,
        served: false,
        heartbeat: 0,
        heartbeat_at: 0,
        has_group: false,
        priority: PRIORITY_NONE,
        min_pending: 0,
        min_ack_pending: 0,
        id: None,
        checked_in_pass: 0,
        text: TextRef::NONE,
    }
}

fn read(body: &[u8], pull: &mut Pull, out: &mut Outputs) -> Result<NextRequest, Status> {
    let body = body.trim_ascii();
    let mut request = NextRequest { batch: 1, ..NextRequest::default() };
    if body.first() != Some(&b'{') {
        // What is no number asks for one message.
        request.batch = std::str::from_utf8(body).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        pull.left = request.batch;
        return Ok(request);
    }
    request = json::read::<NextRequest>(body, false).map_err(|problem| {
        let problem = problem.replace("field JSApiConsumerGetNextRequest.", "field .");
        Status::BadRequest(BadRequest::Json(out.hold_copy(problem.as_bytes())))
    })?;
    if request.idle_heartbeat > 0 && request.idle_heartbeat.saturating_mul(2) > request.expires {
        return Err(Status::BadRequest(BadRequest::HeartbeatTooLarge));
    }
    pull.has_group = true;
    pull.left = request.batch;
    pull.bytes = request.max_bytes.max(0);
    pull.no_wait = request.no_wait;
    pull.priority = request.priority;
    pull.min_pending = request.min_pending;
    pull.min_ack_pending = request.min_ack_pending;
    pull.id = (!request.id.is_empty()).then(|| request.id.as_bytes().into());
    Ok(request)
}
