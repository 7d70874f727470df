//! What a user may publish and subscribe to (S-30..S-33), compiled from allow and deny lists.
//!
//! Deny wins. A wildcard subscription that only overlaps a deny is accepted; the router then leaves the denied
//! subjects out when it matches (S-32). Answers are cached by the router, so plain lists are enough here.

use crate::protocol::subject;
use std::time::Duration;

/// The lists as configured; an entry of a subscribe list may be `subject queue` (S-31).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PermissionRules {
    pub publish_allow: Option<Vec<String>>,
    pub publish_deny: Vec<String>,
    pub subscribe_allow: Option<Vec<String>>,
    pub subscribe_deny: Vec<String>,
    pub responses: Option<ResponseRule>,
}

/// Temporary permission to publish to the reply subjects of received messages (S-33).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseRule {
    /// Replies per request; negative means no limit, zero the default of one.
    pub messages_max: i64,
    /// How long a reply subject stays open; none means for ever, zero the default of two minutes.
    pub expires: Option<Duration>,
}

pub const RESPONSE_MESSAGES_DEFAULT: i64 = 1;
pub const RESPONSE_EXPIRES_DEFAULT: Duration = Duration::from_secs(120);

/// Compiled permissions of one user.
#[derive(Debug, Default)]
pub struct Permissions {
    rules: PermissionRules,
    publish_allow: Option<Vec<Pattern>>,
    publish_deny: Vec<Pattern>,
    subscribe_allow: Option<Vec<Pattern>>,
    subscribe_deny: Vec<Pattern>,
    responses: Option<ResponseRule>,
}

#[derive(Debug)]
struct Pattern {
    subject: Box<[u8]>,
    queue: Option<Box<[u8]>>,
}

/// An entry of a permission list is not a subject, or not `subject queue`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid permission subject {0:?}")]
pub struct InvalidPermission(pub String);

impl Permissions {
    pub fn compile(rules: &PermissionRules) -> Result<Permissions, InvalidPermission> {
        let mut permissions = Permissions {
            rules: rules.clone(),
            publish_allow: rules.publish_allow.as_deref().map(|list| patterns(list, false)).transpose()?,
            publish_deny: patterns(&rules.publish_deny, false)?,
            // An empty list of subscriptions allows everything, as in nats-server.
            subscribe_allow: rules
                .subscribe_allow
                .as_deref()
                .filter(|list| !list.is_empty())
                .map(|list| patterns(list, true))
                .transpose()?,
            subscribe_deny: patterns(&rules.subscribe_deny, true)?,
            responses: None,
        };
        if let Some(rule) = rules.responses {
            // Whoever may answer only may not publish at will.
            permissions.publish_allow.get_or_insert_default();
            permissions.responses = Some(ResponseRule {
                messages_max: if rule.messages_max == 0 { RESPONSE_MESSAGES_DEFAULT } else { rule.messages_max },
                expires: rule.expires.map(|expires| if expires.is_zero() { RESPONSE_EXPIRES_DEFAULT } else { expires }),
            });
        }
        Ok(permissions)
    }

    /// The lists that these permissions were compiled from.
    pub fn rules(&self) -> &PermissionRules {
        &self.rules
    }

    pub fn responses(&self) -> Option<ResponseRule> {
        self.responses
    }

    /// Whether the lists allow to publish; temporary permissions for replies are not looked at.
    pub fn can_publish(&self, subject: &[u8]) -> bool {
        let allowed = match &self.publish_allow {
            Some(allow) => allow.iter().any(|pattern| pattern.covers(subject)),
            None => true,
        };
        allowed && !self.publish_deny.iter().any(|pattern| pattern.covers(subject))
    }

    /// Whether a subscription may be made. Its deliveries still have to pass [`Permissions::can_receive`].
    pub fn can_subscribe(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.subscribe_allowed(subject, queue) && !self.is_denied(subject, queue)
    }

    /// Whether a message may be delivered to a subscription that was allowed.
    pub fn can_receive(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        !self.is_denied(subject, queue)
    }

    /// True when deliveries of this subscription need the check of [`Permissions::can_receive`].
    pub fn overlaps_deny(&self, subject: &[u8]) -> bool {
        self.subscribe_deny.iter().any(|pattern| subject::overlaps(&pattern.subject, subject))
    }

    fn subscribe_allowed(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let Some(allow) = &self.subscribe_allow else {
            return true;
        };
        let mut covering = allow.iter().filter(|pattern| pattern.covers(subject)).peekable();
        match queue {
            None => covering.any(|pattern| pattern.queue.is_none()),
            Some(queue) => {
                // With queue-qualified entries for the subject one of them must name the queue; otherwise a plain one will do.
                let mut plain = false;
                let mut qualified = false;
                for pattern in covering {
                    match &pattern.queue {
                        None => plain = true,
                        Some(allowed) if queue_matches(allowed, queue) => return true,
                        Some(_) => qualified = true,
                    }
                }
                plain && !qualified
            }
        }
    }

    fn is_denied(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.subscribe_deny.iter().filter(|pattern| pattern.covers(subject)).any(|pattern| {
            match (&pattern.queue, queue) {
                (None, _) => true,
                (Some(denied), Some(queue)) => queue_matches(denied, queue),
                (Some(_), None) => false,
            }
        })
    }
}

impl Pattern {
    fn covers(&self, subject: &[u8]) -> bool {
        subject::is_subset(subject, &self.subject)
    }
}

fn queue_matches(pattern: &[u8], queue: &[u8]) -> bool {
    pattern == queue || subject::is_subset(queue, pattern)
}

fn patterns(list: &[String], with_queue: bool) -> Result<Vec<Pattern>, InvalidPermission> {
    list.iter().map(|text| pattern(text, with_queue).ok_or_else(|| InvalidPermission(text.clone()))).collect()
}

fn pattern(text: &str, with_queue: bool) -> Option<Pattern> {
    let mut words = text.split_ascii_whitespace().map(str::as_bytes);
    let subject = words.next().filter(|subject| subject::is_valid(subject))?;
    let queue = words.next();
    if words.next().is_some() || queue.is_some_and(|queue| !with_queue || !subject::is_valid(queue)) {
        return None;
    }
    Some(Pattern { subject: subject.into(), queue: queue.map(Into::into) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| item.to_string()).collect()
    }

    fn subscribe(allow: &[&str], deny: &[&str]) -> Permissions {
        let rules = PermissionRules {
            subscribe_allow: Some(list(allow)),
            subscribe_deny: list(deny),
            ..PermissionRules::default()
        };
        Permissions::compile(&rules).unwrap()
    }

    #[test]
    fn queue_entries_limit_queue_names() {
        let only_queue = subscribe(&["foo v1"], &[]);
        assert!(only_queue.can_subscribe(b"foo", Some(b"v1")));
        assert!(!only_queue.can_subscribe(b"foo", Some(b"v2")));
        assert!(!only_queue.can_subscribe(b"foo", None));
        let both = subscribe(&["foo", "foo v1.*"], &[]);
        assert!(both.can_subscribe(b"foo", None));
        assert!(both.can_subscribe(b"foo", Some(b"v1.x")));
        assert!(!both.can_subscribe(b"foo", Some(b"v2")));
        let plain = subscribe(&["foo"], &["foo *.dev"]);
        assert!(plain.can_subscribe(b"foo", Some(b"a.prod")));
        assert!(!plain.can_subscribe(b"foo", Some(b"a.dev")));
        assert!(subscribe(&[], &["foo"]).can_subscribe(b"bar", None));
        assert!(!subscribe(&[], &["foo"]).can_subscribe(b"foo", Some(b"q")));
    }

    #[test]
    fn a_wildcard_may_not_be_wider_than_what_is_allowed() {
        let permissions = subscribe(&["foo.*"], &["foo.secret"]);
        assert!(permissions.can_subscribe(b"foo.*", None));
        assert!(!permissions.can_subscribe(b"foo.>", None));
        assert!(permissions.overlaps_deny(b"foo.*") && !permissions.can_receive(b"foo.secret", None));
        assert!(!permissions.can_subscribe(b"foo.secret", None));
    }

    #[test]
    fn allow_responses_turns_publishing_off() {
        let rules = PermissionRules {
            responses: Some(ResponseRule { messages_max: 0, expires: Some(Duration::ZERO) }),
            ..PermissionRules::default()
        };
        let permissions = Permissions::compile(&rules).unwrap();
        assert!(!permissions.can_publish(b"foo"));
        let rule = permissions.responses().unwrap();
        assert_eq!((rule.messages_max, rule.expires), (1, Some(RESPONSE_EXPIRES_DEFAULT)));
    }

    #[test]
    fn bad_entries_are_refused() {
        for bad in ["", "a..b", "a b c", "a b..c"] {
            let rules = PermissionRules { subscribe_deny: list(&[bad]), ..PermissionRules::default() };
            assert_eq!(Permissions::compile(&rules).unwrap_err(), InvalidPermission(bad.into()));
        }
        let rules = PermissionRules { publish_deny: list(&["a b"]), ..PermissionRules::default() };
        assert!(Permissions::compile(&rules).is_err());
    }
}
