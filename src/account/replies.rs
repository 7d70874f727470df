//! The reply subjects that a user may publish to because it was asked (allow_responses, S-33).

use super::permissions::ResponseRule;
use std::collections::HashMap;
use std::time::Instant;

/// Above this many open replies the expired ones are dropped, and then the oldest, so a client that is asked
/// a lot and never answers costs a bounded amount.
const OPEN_MAX: usize = 4096;

pub struct ReplyTracker {
    rule: ResponseRule,
    open: HashMap<Box<[u8]>, Open>,
}

struct Open {
    since: Instant,
    used: u64,
}

impl ReplyTracker {
    pub fn new(rule: ResponseRule) -> ReplyTracker {
        ReplyTracker { rule, open: HashMap::new() }
    }

    /// A message with this reply subject was delivered.
    pub fn opened(&mut self, reply: &[u8], now: Instant) {
        if self.open.len() >= OPEN_MAX {
            self.prune(now);
        }
        self.open.insert(reply.into(), Open { since: now, used: 0 });
    }

    /// Uses one permission to publish to `subject`, if there is one.
    pub fn consume(&mut self, subject: &[u8], now: Instant) -> bool {
        let rule = self.rule;
        let Some(open) = self.open.get_mut(subject) else {
            return false;
        };
        open.used += 1;
        if is_spent(open, &rule, now) {
            self.open.remove(subject);
            return false;
        }
        true
    }

    fn prune(&mut self, now: Instant) {
        let rule = self.rule;
        self.open.retain(|_, open| {
            let answered = rule.messages_max > 0 && open.used >= rule.messages_max.unsigned_abs();
            !answered && !is_spent(open, &rule, now)
        });
        if self.open.len() >= OPEN_MAX {
            // Make room for a while, not for one: the oldest quarter goes.
            let mut ages: Vec<Instant> = self.open.values().map(|open| open.since).collect();
            let (_, cut, _) = ages.select_nth_unstable(OPEN_MAX / 4);
            let cut = *cut;
            self.open.retain(|_, open| open.since > cut);
        }
    }
}

fn is_spent(open: &Open, rule: &ResponseRule, now: Instant) -> bool {
    let used_up = rule.messages_max > 0 && open.used > rule.messages_max.unsigned_abs();
    used_up || rule.expires.is_some_and(|expires| now.saturating_duration_since(open.since) > expires)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn replies_are_limited_by_number_and_time() {
        let rule = ResponseRule { messages_max: 2, expires: Some(Duration::from_secs(10)) };
        let mut tracker = ReplyTracker::new(rule);
        let start = Instant::now();
        assert!(!tracker.consume(b"r", start));
        tracker.opened(b"r", start);
        assert!(tracker.consume(b"r", start) && tracker.consume(b"r", start) && !tracker.consume(b"r", start));
        tracker.opened(b"s", start);
        assert!(!tracker.consume(b"s", start + Duration::from_secs(11)));
    }

    #[test]
    fn open_replies_are_bounded() {
        let mut tracker = ReplyTracker::new(ResponseRule { messages_max: 1, expires: None });
        let start = Instant::now();
        for number in 0..3 * OPEN_MAX as u64 {
            tracker.opened(&number.to_le_bytes(), start + Duration::from_micros(number));
        }
        assert!(tracker.open.len() <= OPEN_MAX);
        assert!(tracker.consume(&(3 * OPEN_MAX as u64 - 1).to_le_bytes(), start));
    }
}
