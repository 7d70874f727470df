//! What a client may not do: it is told, and so is the log.

use super::Session;
use crate::protocol::error;
use crate::router::Burst;
use std::time::{Duration, Instant};

/// A client that goes on subscribing is told each time, the log so often.
const TELL_AGAIN: Duration = Duration::from_secs(2);

impl Session {
    #[cold]
    pub(super) fn refuse_publish(&self, subject: &[u8], burst: &mut Burst) {
        self.log_error(format_args!("Publish Violation - Subject {:?}", String::from_utf8_lossy(subject)));
        self.say_error(burst, &error::publish_violation(subject));
    }

    #[cold]
    pub(super) fn refuse_reply(&self, reply: &[u8], burst: &mut Burst) {
        self.log_error(format_args!("Publish Violation - Reply {:?}", String::from_utf8_lossy(reply)));
        self.say_error(burst, &error::reply_violation(reply));
    }

    #[cold]
    pub(super) fn refuse_subscription(&self, subject: &[u8], queue: Option<&[u8]>, sid: &[u8], burst: &mut Burst) {
        let [shown, sid] = [subject, sid].map(String::from_utf8_lossy);
        let of_group = queue.map(|queue| format!("Queue: {:?}, ", String::from_utf8_lossy(queue))).unwrap_or_default();
        self.log_error(format_args!("Subscription Violation - Subject {shown:?}, {of_group}SID {sid}"));
        self.say_error(burst, &error::subscribe_violation(subject, queue));
    }

    #[cold]
    pub(super) fn refuse_more_subscriptions(&mut self, burst: &mut Burst) {
        let now = Instant::now();
        if self.subscriptions_refused_at.is_none_or(|last| now.duration_since(last) >= TELL_AGAIN) {
            self.subscriptions_refused_at = Some(now);
            self.log_error(format_args!("{}", error::MAX_SUBSCRIPTIONS));
        }
        self.say_error(burst, error::MAX_SUBSCRIPTIONS);
    }

    pub(super) fn log_error(&self, text: std::fmt::Arguments<'_>) {
        tracing::error!("{} - {text}", self.connection.label());
    }
}
