//! SUB and UNSUB, and what a reload does to subscriptions.

use super::Session;
use crate::account::{Permissions, ReplyTracker, Sink, Subscription};
use crate::connection::connection::Update;
use crate::protocol::error::{self, ClosedReason};
use crate::protocol::subject;
use crate::router::Burst;
use std::sync::Arc;

/// Queue group of the server's own services.
const SYSTEM_QUEUE: &[u8] = b"_sys_";

impl Session {
    pub(super) fn subscribe(&mut self, subject: &[u8], queue: Option<&[u8]>, sid: &[u8], burst: &mut Burst) {
        self.active = true;
        let permissions = self.rights.permissions.as_ref();
        let allowed = permissions.is_none_or(|permissions| permissions.can_subscribe(subject, queue));
        if !allowed || queue == Some(SYSTEM_QUEUE) {
            return self.refuse_subscription(subject, queue, sid, burst);
        }
        let settings = self.hub.settings.load();
        if settings.subscription_tokens_max.is_some_and(|max| subject::token_count(subject) > max) {
            return self.say_error(burst, &error::too_many_tokens(subject));
        }
        let outbound = &self.connection.outbound;
        if outbound.subscriptions.len() >= self.subscriptions_max {
            return self.refuse_more_subscriptions(burst);
        }
        if outbound.subscriptions.get(sid).is_none() {
            if !subject::is_valid(subject) {
                return self.say_error(burst, error::INVALID_SUBJECT);
            }
            let filter = permissions.filter(|permissions| permissions.overlaps_deny(subject)).cloned();
            let sink = Sink::Client { outbound: Arc::clone(outbound), sid: sid.into() };
            let subscription = Arc::new(Subscription::new(subject, queue, sink, filter));
            outbound.subscriptions.insert(Arc::clone(&subscription));
            self.account.interest.insert(subscription);
        }
        self.say_ok(burst);
    }

    pub(super) fn unsubscribe(&mut self, sid: &[u8], max: Option<u64>, burst: &mut Burst) {
        self.active = true;
        if let Some(subscription) = self.connection.outbound.subscriptions.get(sid) {
            // What this burst delivered so far has to be counted before the limit is looked at.
            if let Some(cache) = &mut self.cache {
                cache.settle();
            }
            match max {
                Some(max) if subscription.limit(max) => self.account.interest.touch(),
                _ => self.account.end_subscription(&subscription),
            }
        }
        self.say_ok(burst);
    }

    /// What a reload made of the limits and of the user's permissions. Subscriptions that are not allowed any more end.
    pub fn take_over(&mut self, update: Update, burst: &mut Burst) {
        let settings = Arc::clone(&self.hub.settings.load());
        let before = self.limits.payload_bytes_max;
        self.apply_limits(&settings);
        if self.connection.outbound.subscriptions.len() > self.subscriptions_max {
            // Nobody could say which of them should go.
            return self.connection.refuse(error::MAX_SUBSCRIPTIONS, ClosedReason::MaxSubscriptions);
        }
        let permissions = update.permissions;
        self.rights.permissions = permissions.clone();
        self.cache = None;
        let outbound = Arc::clone(&self.connection.outbound);
        for subscription in outbound.subscriptions.list(usize::MAX) {
            let (subject, queue) = (&*subscription.subject, subscription.queue.as_deref());
            if permissions.as_ref().is_some_and(|permissions| !permissions.can_subscribe(subject, queue)) {
                self.account.end_subscription(&subscription);
                self.say_error(burst, &error::subscription_revoked(subject, queue, subscription.sid()));
            } else {
                let filter = permissions.as_ref().filter(|permissions| permissions.overlaps_deny(subject));
                subscription.set_receive_filter(filter.cloned());
            }
        }
        self.account.interest.touch();
        let responses = permissions.as_deref().and_then(Permissions::responses);
        *outbound.replies.lock() = responses.map(|rule| Box::new(ReplyTracker::new(rule)));
        if self.connection.is_authenticated() {
            let user = self.connection.user();
            self.connection.set_profile(&self.account, user, permissions, self.limits.payload_bytes_max);
        }
        if self.limits.payload_bytes_max != before {
            self.connection.send_info(&self.hub);
        }
    }
}
