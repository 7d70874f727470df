//! The leader's side of the stream's consumers: inputs go in, deliveries, statuses and deltas come out.

use std::sync::Arc;

use bytes::Bytes;
use headwater_storage::Urgency;

use super::{Answered, Cause, Core};
use crate::account::{Subscription, Watch};
use crate::jetstream::advisory;
use crate::jetstream::api::consumer_config::AckPolicy;
use crate::jetstream::api::responses::{ConsumerPaused, ConsumerReset};
use crate::jetstream::api::stream_config::Retention;
use crate::jetstream::api::{ApiError, ConsumerConfig, ConsumerInfo, StreamConfig, Timestamp, error_codes, validate};
use crate::jetstream::consumer::{AckBody, End};
use crate::jetstream::consumer::{
    Consumer, Context, Outputs, PassBound, Progress, Undelivered, reply_subject::ReplyNumbers,
};
use crate::jetstream::live::{Listeners, Listening, Live, Surroundings, settings};
use crate::jetstream::stream::{ConsumerChange, Control, Outcome};
use crate::jetstream::view::View;
use crate::jetstream::workers::{Job, Then};
use crate::router::Publisher;

/// What one pass delivers while the stream is locked: the client works on it while the next one is read.
const PASS: PassBound = PassBound { messages: 256, bytes: PASS_BYTES_MAX };
/// For a push consumer that the workers serve: it is far behind, and fewer, larger writes cost a quarter less.
const LONG_PASS: PassBound = PassBound { messages: 512, bytes: PASS_BYTES_MAX };
/// However large messages are, little waits for the client's socket.
const PASS_BYTES_MAX: u64 = 256 * 1024;
/// Passes done right after an apply; longer work goes to the workers.
const PASSES_INLINE: usize = 8;

/// What became of an input to a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Carried out, and on its way into the log.
    Taken,
    /// There is no such consumer, or it is about to be taken up.
    Unknown,
}

/// What became of a run of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivered {
    /// A rule stops it, or there is nothing left.
    Idle,
    /// There is more to deliver.
    More,
}

impl Core {
    /// Makes the leader's half of a consumer.
    pub fn take_up(&mut self, id: u64) {
        let Some(record) = self.consumers.get(id) else { return };
        let settings = self.settings_of(&record.config, &record.name, id);
        let (name, config, state) = (Arc::from(record.name.as_str()), record.config.clone(), record.state.clone());
        let listeners = Listeners(&self.account);
        let view = View { machine: &self.machine, store: &self.store };
        let now = self.shared.now();
        let context = Context { now, stream: &view, environment: &listeners };
        let consumer = Consumer::new(settings, state, &context);
        let deadline = consumer.deadline();
        // Nobody listens until the first look.
        let watch = self.watch(id, &consumer);
        self.live.insert(id, Live { consumer, name, config, interest_seen: 0, watch, is_aside: false });
        if let (Some(interest), Some(live)) = (self.interest_of(id), self.live.get_mut(&id)) {
            live.follow_interest(Some(interest), now);
        }
        if let Some(at) = deadline {
            self.set_timer(at);
        }
    }

    fn settings_of(&self, config: &ConsumerConfig, name: &str, id: u64) -> crate::jetstream::consumer::Settings {
        let stream = self.config();
        let removes_acked = stream.retention != Retention::Limits;
        let bytes_max = u64::try_from(stream.max_msg_size).ok().filter(|bytes| *bytes > 0);
        let bytes_max = bytes_max.unwrap_or_else(|| self.shared.limits().payload_bytes_max);
        settings(config, name, &self.name, removes_acked, bytes_max, id)
    }

    /// A control entry was applied: brings the leader's half up to date.
    pub(super) fn follow_consumer(&mut self, control: &Control, publisher: &mut Publisher) {
        let Control::Consumer { change, id, .. } = control else { return };
        match change {
            ConsumerChange::Create => {
                self.created(*id);
                let name = self.consumers.get(*id).map(|record| record.name.clone());
                if let Some(name) = name {
                    self.take_up(*id);
                    self.advise_consumer(&name, "create", "CREATED", publisher);
                    self.tell_paused(*id, publisher);
                    // Not at once: the answer tells of the consumer before its first delivery.
                    self.shared.queue(Job::deliver(self.log.id(), *id));
                }
            }
            ConsumerChange::Update => {
                self.tell_paused(*id, publisher);
                self.consumer_updated(*id, publisher);
            }
            ConsumerChange::Delete => {
                if let Some(mut live) = self.live.remove(id) {
                    let mut outputs = Outputs::default();
                    live.consumer.end(End::Deleted, &mut outputs);
                    let name = live.name.clone();
                    self.carry_out_of(&live, &outputs, publisher);
                    self.advise_consumer(&name, "delete", "DELETED", publisher);
                }
            }
            ConsumerChange::Delta => {}
        }
    }

    /// The stream has another configuration, of which consumers depend on this and that.
    pub(super) fn consumers_follow_stream(&mut self, before: &StreamConfig, publisher: &mut Publisher) {
        let config = self.config();
        if (before.retention, before.max_msg_size) != (config.retention, config.max_msg_size) {
            let ids: Vec<u64> = self.live.keys().copied().collect();
            ids.into_iter().for_each(|id| self.consumer_updated(id, publisher));
        }
    }

    /// Whoever creates or updates a paused consumer is reminded of that.
    pub(super) fn tell_paused(&mut self, id: u64, publisher: &mut Publisher) {
        self.with_consumer(id, publisher, |live, context, outputs| live.consumer.tell_paused(context, outputs));
    }

    fn consumer_updated(&mut self, id: u64, publisher: &mut Publisher) {
        let Some(record) = self.consumers.get(id) else { return };
        let settings = self.settings_of(&record.config, &record.name, id);
        let config = record.config.clone();
        self.with_consumer(id, publisher, |live, context, outputs| {
            live.config = config;
            // The deliver subject may be another one.
            live.interest_seen = 0;
            live.consumer.config_updated(settings, context, outputs);
        });
        if let Some(mut live) = self.live.remove(&id) {
            live.watch = self.watch(id, &live.consumer);
            self.live.insert(id, live);
        }
        self.deliver(id, publisher);
    }

    fn advise_consumer(&self, consumer: &str, action: &str, word: &str, publisher: &mut Publisher) {
        let domain = self.shared.options.domain.as_deref().unwrap_or_default();
        let body = advisory::ConsumerAction { stream: &self.name, consumer, action, domain };
        let suffix = format!("CONSUMER.{word}.{}.{consumer}", self.name);
        advisory::publish(publisher, &self.account, &suffix, "consumer_action", self.shared.now(), body);
    }

    /// One input to a consumer; what comes out is carried out.
    pub fn with_consumer(
        &mut self,
        id: u64,
        publisher: &mut Publisher,
        input: impl FnOnce(&mut Live, &Context<'_>, &mut Outputs),
    ) -> Input {
        let Some(mut live) = self.live.remove(&id) else { return Input::Unknown };
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.clear();
        {
            let listeners = Listeners(&self.account);
            let view = View { machine: &self.machine, store: &self.store };
            let context = Context { now: self.shared.now(), stream: &view, environment: &listeners };
            input(&mut live, &context, &mut outputs);
        }
        // The consumer is put back first: what it wants done may apply entries of its own at once.
        let left = self.carry_out_events(&live, &outputs, publisher);
        if let Some(at) = live.consumer.deadline() {
            self.set_timer(at);
        }
        self.live.insert(id, live);
        self.carry_out_rest(id, &outputs, left, publisher);
        outputs.clear();
        self.outputs = outputs;
        Input::Taken
    }

    fn carry_out_of(&mut self, live: &Live, outputs: &Outputs, publisher: &mut Publisher) {
        self.carry_out_events(live, outputs, publisher);
    }

    fn carry_out_events(
        &mut self,
        live: &Live,
        outputs: &Outputs,
        publisher: &mut Publisher,
    ) -> crate::jetstream::live::Leftover {
        let around = Surroundings {
            account: &self.account,
            stream: &self.name,
            domain: self.shared.options.domain.as_deref().unwrap_or_default(),
            store: &self.store,
            now: self.shared.now(),
        };
        self.staged |= !outputs.events.is_empty();
        live.carry_out(outputs, &around, publisher, &mut self.cache)
    }

    fn carry_out_rest(
        &mut self,
        id: u64,
        outputs: &Outputs,
        left: crate::jetstream::live::Leftover,
        publisher: &mut Publisher,
    ) {
        let deltas = (!outputs.deltas.is_empty()).then(|| {
            let mut body = Vec::new();
            outputs.encode_deltas(&mut body);
            let urgency = if outputs.urgent { Urgency::Wake } else { Urgency::Lazy };
            (Control::Consumer { change: ConsumerChange::Delta, id, body }, urgency)
        });
        if deltas.is_some() || !left.replies.is_empty() {
            self.log_deltas(deltas, left.replies, publisher);
        }
        if !left.undelivered.is_empty() {
            self.take_back(id, &left.undelivered, publisher);
        }
        if left.delete && !self.deleting.contains(&id) {
            self.propose_end(id, Urgency::Lazy, publisher, None);
        }
    }

    /// Deliveries that came to nothing are done again, by others or later.
    fn take_back(&mut self, id: u64, undelivered: &[(u64, Bytes, Undelivered)], publisher: &mut Publisher) {
        self.with_consumer(id, publisher, |live, context, outputs| {
            for (sequence, target, why) in undelivered {
                live.consumer.not_delivered(*sequence, target, *why, context, outputs);
            }
        });
        let now = self.shared.now();
        if self.live.get(&id).is_some_and(|live| live.consumer.wants_messages(now)) {
            self.shared.queue(Job::deliver(self.log.id(), id));
        }
    }

    /// Messages have left the stream: pending ones of each consumer go too.
    pub(super) fn tell_consumers_of_removals(&mut self, cause: Cause, publisher: &mut Publisher) {
        if self.live.is_empty() {
            return;
        }
        let ids: Vec<u64> = self.live.keys().copied().collect();
        let effects = std::mem::take(&mut self.effects);
        for id in ids {
            self.with_consumer(id, publisher, |live, context, outputs| {
                if cause == Cause::Purge {
                    return live.consumer.stream_purged(context, outputs);
                }
                for removed in &effects.removed {
                    live.consumer.message_removed(removed.sequence, effects.subject(removed), context.now, outputs);
                }
                if let Some(before) = effects.removed_before {
                    live.consumer.messages_removed_before(before, context.now, outputs);
                }
            });
        }
        self.effects = effects;
    }

    /// Writes what consumers have staged. The stream is still locked: the next thread that delivers must not overtake.
    pub fn send_in_order(&mut self, publisher: &mut Publisher) {
        if std::mem::take(&mut self.staged) {
            publisher.send();
        }
    }

    /// Everything that may be delivered now is, or is queued for the workers.
    pub fn deliver_all(&mut self, publisher: &mut Publisher) {
        if self.live.is_empty() {
            return;
        }
        let now = self.shared.now();
        let wants = |live: &Live| !live.is_aside && live.consumer.wants_messages(now);
        let ids: Vec<u64> = self.live.iter().filter(|(_, live)| wants(live)).map(|(id, _)| *id).collect();
        for id in ids {
            self.deliver(id, publisher);
        }
    }

    /// Delivers a little at once; more is left to the workers.
    pub fn deliver(&mut self, id: u64, publisher: &mut Publisher) {
        for _ in 0..PASSES_INLINE {
            if publisher.pressure().is_some() {
                break;
            }
            if self.deliver_pass(id, PASS, publisher) == Delivered::Idle {
                return;
            }
            // The client works on these while the next ones are read.
            self.send_in_order(publisher);
            if publisher.pressure().is_some() {
                self.put_aside(id);
            }
        }
        self.shared.queue(Job::deliver(self.log.id(), id));
    }

    /// One pass on the thread of a worker, and what the worker is to do then.
    pub fn deliver_in_background(&mut self, id: u64, publisher: &mut Publisher) -> Then {
        let Some(live) = self.live.get_mut(&id) else { return Then::Done };
        live.is_aside = false;
        let bound = if live.consumer.settings().is_push() { LONG_PASS } else { PASS };
        if self.deliver_pass(id, bound, publisher) == Delivered::Idle {
            return Then::Done;
        }
        self.send_in_order(publisher);
        let Some(peer) = publisher.pressure() else { return Then::More };
        self.put_aside(id);
        Then::Later(Box::new(move |wake| peer.on_drained(peer.stall_bytes() / 2, wake)))
    }

    /// A consumer that outruns its subscriber must not fill the subscriber's queue: neither what the log then has of
    /// its deliveries nor anything else that is stored makes it go on before a worker does.
    fn put_aside(&mut self, id: u64) {
        if let Some(live) = self.live.get_mut(&id) {
            live.is_aside = live.waits_as_a_whole();
        }
    }

    /// One pass of deliveries.
    fn deliver_pass(&mut self, id: u64, bound: PassBound, publisher: &mut Publisher) -> Delivered {
        if self.failed || self.suspended || !self.unlogged.is_empty() || self.is_updating(id) {
            return Delivered::Idle;
        }
        let mut progress = Progress { delivered: 0, blocked: None };
        let interest = self.interest_of(id);
        self.store.begin_pass();
        let mut is_aside = false;
        let input = self.with_consumer(id, publisher, |live, context, outputs| {
            live.follow_interest(interest, context.now);
            is_aside = live.is_aside;
            if !is_aside {
                progress = live.consumer.deliver(bound, context, outputs);
            }
        });
        let idle = input != Input::Taken || is_aside || progress.blocked.is_some();
        if let Some(at) = self.store.end_pass(idle, self.shared.now()) {
            self.set_timer(at);
        }
        if idle { Delivered::Idle } else { Delivered::More }
    }

    /// The deadlines of consumers have come, or not: each looks for itself.
    pub(super) fn consumer_timers(&mut self, now: i64, publisher: &mut Publisher) {
        if self.suspended {
            return;
        }
        let due = |live: &Live| live.consumer.deadline().is_some_and(|at| at <= now);
        let ids: Vec<u64> = self.live.iter().filter(|(_, live)| due(live)).map(|(id, _)| *id).collect();
        for id in ids {
            self.with_consumer(id, publisher, |live, context, outputs| live.consumer.timer(context, outputs));
            self.deliver(id, publisher);
        }
        let next = self.live.values().filter_map(|live| live.consumer.deadline()).min();
        if let Some(at) = next {
            self.set_timer(at);
        }
    }

    /// Has [`look_for_interest`](Self::look_for_interest) called when somebody begins or ceases to listen.
    fn watch(&self, id: u64, consumer: &Consumer) -> Option<Watch> {
        let push = consumer.settings().push.as_ref()?;
        Some(Watch::new(&self.account, &push.subject, (self.log.id().0, id)))
    }

    /// Somebody may have begun or ceased to listen to a push consumer.
    pub fn look_for_interest(&mut self, id: u64, publisher: &mut Publisher) {
        let Some(interest) = self.interest_of(id) else { return };
        self.with_consumer(id, publisher, |live, context, _| {
            live.follow_interest(Some(interest), context.now);
        });
        if interest.present {
            self.deliver(id, publisher);
        }
    }

    /// Whether somebody listens to a push consumer, unless nothing has changed since it was last asked.
    fn interest_of(&self, id: u64) -> Option<Listening> {
        let live = self.live.get(&id)?;
        let push = live.consumer.settings().push.as_ref()?;
        // The generation first: what changes meanwhile is looked at again.
        let seen = self.account.interest_generation();
        if seen == live.interest_seen {
            return None;
        }
        let group = Some(live.config.deliver_group.as_bytes()).filter(|group| !group.is_empty());
        // Wildcards do not count, nor does a queue group that is not the consumer's.
        let listens = |subscription: &Arc<Subscription>| {
            *subscription.subject == *push.subject && subscription.queue.as_deref() == group
        };
        Some(Listening { present: self.account.interest.any_match(&push.subject, listens), seen })
    }

    pub fn pull(
        &mut self,
        consumer: &str,
        reply: &[u8],
        body: &[u8],
        level_is_met: bool,
        publisher: &mut Publisher,
    ) -> bool {
        let Ok(id) = self.id_of(consumer) else { return false };
        let input = self.with_consumer(id, publisher, |live, context, outputs| {
            match level_is_met || live.consumer.settings().is_push() {
                true => live.consumer.pull_request(reply, body, context, outputs),
                false => Consumer::refuse_api_level(reply, outputs),
            }
        });
        self.serve_pulls(id, publisher);
        input != Input::Unknown
    }

    /// A request has come: it is served, or told that there is nothing.
    fn serve_pulls(&mut self, id: u64, publisher: &mut Publisher) {
        if self.live.get(&id).is_some_and(|live| live.consumer.settings().serves_by_priority()) {
            // What arrives together is weighed together: of two requests the second may be the more urgent.
            self.shared.queue(Job::deliver(self.log.id(), id));
        } else {
            self.deliver(id, publisher);
        }
    }

    pub fn ack(
        &mut self,
        consumer: &str,
        numbers: &ReplyNumbers,
        body: &[u8],
        reply: Option<&[u8]>,
        publisher: &mut Publisher,
    ) -> bool {
        let Some(id) = self.consumers.id(consumer) else { return false };
        if self.failed || self.unlogged.is_full() || (reply.is_some() && self.has_too_many_replies()) {
            return true;
        }
        let mut takes_acks = true;
        self.with_consumer(id, publisher, |live, context, outputs| {
            takes_acks = live.consumer.settings().ack_policy != AckPolicy::None;
            if takes_acks {
                live.consumer.ack(numbers, body, reply, context, outputs);
            }
        });
        if !takes_acks {
            return false;
        }
        let now = self.shared.now();
        if reply.is_some() && matches!(AckBody::parse(body), AckBody::AckAndNext(_)) {
            self.serve_pulls(id, publisher);
        } else if self.live.get(&id).is_some_and(|live| live.consumer.wants_messages(now)) {
            self.deliver(id, publisher);
        }
        true
    }

    pub fn flow_control(&mut self, consumer: &str, subject: &[u8], headers: &[u8], publisher: &mut Publisher) -> bool {
        let Some(id) = self.consumers.id(consumer) else { return false };
        let mut has_flow_control = false;
        self.with_consumer(id, publisher, |live, context, outputs| {
            has_flow_control = live.config.flow_control;
            live.consumer.flow_control_reply(subject, headers, context, outputs);
        });
        self.deliver(id, publisher);
        has_flow_control
    }

    /// `done` is called once the pause is durable; `bytes` is what the request takes until then.
    pub fn pause_consumer(
        &mut self,
        name: &str,
        until: Timestamp,
        bytes: usize,
        publisher: &mut Publisher,
        done: Answered<ConsumerPaused>,
    ) {
        let Ok(id) = self.id_of(name) else {
            return done(self, publisher, Err(error_codes::CONSUMER_NOT_FOUND.error()));
        };
        if let Some(error) = self.refused_to_wait() {
            return done(self, publisher, Err(error));
        }
        let until = if until.is_zero() { Timestamp(0) } else { until };
        let mut paused = false;
        let input = self.with_consumer(id, publisher, |live, context, outputs| {
            paused = live.consumer.pause(until.0, context, outputs);
        });
        if input != Input::Taken {
            return done(self, publisher, Err(error_codes::CONSUMER_NOT_FOUND.error()));
        }
        let remaining = until.0.saturating_sub(self.shared.now()).max(0);
        let reply = ConsumerPaused {
            paused,
            pause_until: if until.0 == 0 { Timestamp::ZERO } else { until },
            pause_remaining: if paused { remaining } else { 0 },
        };
        self.after_commit(
            bytes,
            publisher,
            Box::new(move |core, publisher, outcome| done(core, publisher, outcome.map(|_| reply))),
        );
        if !paused {
            self.deliver(id, publisher);
        }
    }

    /// `done` is called once the reset is durable; `bytes` is what the request takes until then.
    pub fn reset_consumer(
        &mut self,
        name: &str,
        sequence: u64,
        bytes: usize,
        publisher: &mut Publisher,
        done: Answered<ConsumerReset>,
    ) {
        let Ok(id) = self.id_of(name) else {
            return done(self, publisher, Err(error_codes::CONSUMER_NOT_FOUND.error()));
        };
        if let Some(error) = self.refused_to_wait() {
            return done(self, publisher, Err(error));
        }
        let mut reset = Ok(0);
        let input = self.with_consumer(id, publisher, |live, context, outputs| {
            let config = live.config.clone();
            reset = live.consumer.reset(sequence, &config, context, outputs);
        });
        if input != Input::Taken {
            return done(self, publisher, Err(error_codes::CONSUMER_NOT_FOUND.error()));
        }
        let reset_seq = match reset {
            Ok(sequence) => sequence,
            Err(problem) => return done(self, publisher, Err(error_codes::CONSUMER_INVALID_RESET.with(problem))),
        };
        let name = name.to_owned();
        let answer = move |core: &mut Core, publisher: &mut Publisher, outcome: Result<Outcome, ApiError>| {
            let info = core.consumer_info(&name, publisher);
            let reply = outcome.and_then(|_| match info {
                Some(info) => Ok(ConsumerReset { info: Some(info), reset_seq }),
                None => Err(error_codes::CONSUMER_NOT_FOUND.error()),
            });
            done(core, publisher, reply);
        };
        self.after_commit(bytes, publisher, Box::new(answer));
        self.deliver(id, publisher);
    }

    pub fn unpin_consumer(&mut self, name: &str, group: &str, publisher: &mut Publisher) -> Result<(), ApiError> {
        let id = self.id_of(name)?;
        if group.is_empty() {
            return Err(error_codes::INVALID_JSON.with("consumer group not specified"));
        }
        let mut known = false;
        self.with_consumer(id, publisher, |live, _, outputs| known = live.consumer.unpin(group, outputs));
        if !known {
            return Err(error_codes::CONSUMER_INVALID_PRIORITY_GROUP.error());
        }
        self.deliver(id, publisher);
        Ok(())
    }

    /// As the consumer is now, even if its end is under way: for whoever asked before that.
    pub fn consumer_info(&mut self, name: &str, publisher: &mut Publisher) -> Option<ConsumerInfo> {
        let (id, record) = self.consumers.find(name)?;
        let (created, config, stored_name) = (record.created, record.config.clone(), record.name.clone());
        let mut info = None;
        let mut config = (*config).clone();
        self.with_consumer(id, publisher, |live, context, outputs| {
            info = Some(live.consumer.info(context, outputs));
            config.pause_until = live.consumer.state().pause_until().map(Timestamp);
        });
        let mut info = info?;
        validate::set_static_consumer(&mut config);
        info.stream_name = self.name.to_string();
        info.name = stored_name;
        info.created = Timestamp(created);
        info.config = Some(validate::with_dynamic_consumer(&config));
        Some(info)
    }

    /// The stream ends: everybody who waits is told.
    pub fn end_consumers(&mut self, end: End, publisher: &mut Publisher) {
        for (_, mut live) in std::mem::take(&mut self.live) {
            let mut outputs = Outputs::default();
            live.consumer.end(end, &mut outputs);
            self.carry_out_of(&live, &outputs, publisher);
        }
    }
}
