//! The router against its promises, without sockets: what is delivered is read from the peers' queues.

use super::*;
use crate::account::{Account, Outbound, PermissionRules, Permissions, Sink, Subscription, Transport};
use crate::protocol::subject;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn peer() -> Arc<Outbound> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let outbound = Outbound::new(NEXT.fetch_add(1, Ordering::Relaxed), Transport::Owner, usize::MAX, Arc::default());
    outbound.set_takes_headers(true);
    Arc::new(outbound)
}

fn subscribe(
    account: &Account,
    outbound: &Arc<Outbound>,
    subject: &str,
    queue: Option<&str>,
    sid: &str,
    filter: Option<Arc<Permissions>>,
) -> Arc<Subscription> {
    let sink = Sink::Client { outbound: Arc::clone(outbound), sid: sid.as_bytes().into() };
    let subscription = Arc::new(Subscription::new(subject.as_bytes(), queue.map(str::as_bytes), sink, filter));
    outbound.subscriptions.insert(Arc::clone(&subscription));
    account.interest.insert(Arc::clone(&subscription));
    subscription
}

/// Everything queued for the peer.
fn received(outbound: &Outbound) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(batch) = outbound.begin_write() {
        batch.slices().for_each(|slice| all.extend_from_slice(slice));
        let len = batch.len();
        outbound.end_write(batch, len);
    }
    all
}

/// Subject and sid of each delivery of an empty payload.
fn deliveries(outbound: &Outbound) -> Vec<(String, String)> {
    let text = String::from_utf8(received(outbound)).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!((words[0], words.len()), ("MSG", 4), "{line}");
            (words[1].to_string(), words[2].to_string())
        })
        .collect()
}

#[test]
fn publishing_from_inside_writes_what_clients_expect() {
    let account = Arc::new(Account::new("A"));
    let (new, old) = (peer(), peer());
    old.set_takes_headers(false);
    subscribe(&account, &new, "a.*", None, "1", None);
    subscribe(&account, &old, "a.>", None, "2", None);
    let mut publisher = Publisher::new(&account);
    let headers = b"NATS/1.0\r\nA: b\r\n\r\n";
    assert_eq!(publisher.publish(b"a.b", Some(b"re"), headers, &[b"he", b"llo"]), 2);
    assert_eq!(publisher.publish(b"x", None, b"", &[]), 0);
    let mut cache = MatchCache::default();
    assert_eq!(publisher.publish_with_line(&mut cache, b"a.b", b"shown", &mut Vec::new(), b"", b"x"), 2);
    assert_eq!(publisher.publish_with_line(&mut cache, b"a.b", b"other", &mut Vec::new(), headers, b"y"), 2);
    drop(publisher);
    let expected = "HMSG a.b 1 re 18 23\r\nNATS/1.0\r\nA: b\r\n\r\nhello\r\nMSG shown 1 1\r\nx\r\nHMSG other 1 18 19\r\nNATS/1.0\r\nA: b\r\n\r\ny\r\n";
    assert_eq!(String::from_utf8(received(&new)).unwrap(), expected);
    let expected = "MSG a.b 2 re 5\r\nhello\r\nMSG shown 2 1\r\nx\r\nMSG other 2 1\r\ny\r\n";
    assert_eq!(String::from_utf8(received(&old)).unwrap(), expected);
    assert_eq!(account.counters.read().messages_out, 6);
}

#[test]
fn a_cache_serves_any_account_without_mixing_them_up() {
    let accounts = [Arc::new(Account::new("A")), Arc::new(Account::new("B"))];
    let peers = [peer(), peer()];
    for (account, peer) in accounts.iter().zip(&peers) {
        subscribe(account, peer, "a", None, "1", None);
    }
    let mut cache = MatchCache::default();
    for _ in 0..3 {
        for (account, peer) in accounts.iter().zip(&peers) {
            Publisher::new(account).publish_cached(&mut cache, b"a", None, b"", &[b""]);
            assert_eq!(deliveries(peer).len(), 1);
        }
    }
}

#[test]
fn a_limit_is_exact_with_many_publishers() {
    let account = Arc::new(Account::new("A"));
    let (plain, member) = (peer(), peer());
    let limited = subscribe(&account, &plain, "a", None, "1", None);
    let in_group = subscribe(&account, &member, "a", Some("q"), "1", None);
    assert!(limited.limit(777) && in_group.limit(333));
    account.interest.touch();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut cache = MatchCache::default();
                for _ in 0..20 {
                    let mut publisher = Publisher::new(&account);
                    for _ in 0..50 {
                        publisher.publish_cached(&mut cache, b"a", None, b"", &[b""]);
                    }
                }
            });
        }
    });
    assert_eq!((deliveries(&plain).len(), deliveries(&member).len()), (777, 333));
    assert!(account.interest.is_empty() && plain.subscriptions.is_empty());
}

#[test]
fn counts_are_right_without_a_limit_too() {
    let account = Arc::new(Account::new("A"));
    let peer = peer();
    let plain = subscribe(&account, &peer, "a.*", None, "1", None);
    let grouped = subscribe(&account, &peer, "a.>", Some("q"), "2", None);
    let mut publisher = Publisher::new(&account);
    for number in 0..2000 {
        publisher.publish(format!("a.{}", number % 700).as_bytes(), None, b"", &[b""]);
    }
    drop(publisher);
    assert_eq!((plain.delivered(), grouped.delivered(), peer.delivered().messages), (2000, 2000, 4000));
}

fn token() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]", Just("*".to_string())]
}

fn pattern() -> impl Strategy<Value = String> {
    (proptest::collection::vec(token(), 1..4), any::<bool>()).prop_map(|(mut tokens, rest)| {
        if rest {
            tokens.push(">".into());
        }
        tokens.join(".")
    })
}

fn rule() -> impl Strategy<Value = String> {
    (pattern(), proptest::option::of("[pq*]")).prop_map(|(subject, queue)| match queue {
        Some(queue) => format!("{subject} {queue}"),
        None => subject,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_is_delivered_is_never_denied(
        allow in proptest::option::of(proptest::collection::vec(rule(), 1..4)),
        deny in proptest::collection::vec(rule(), 0..4),
        wanted in proptest::collection::vec((pattern(), proptest::option::of("[pq]")), 1..8),
        published in proptest::collection::vec("[ab](\\.[ab]){0,3}", 1..20),
    ) {
        let rules = PermissionRules { subscribe_allow: allow.clone(), subscribe_deny: deny.clone(), ..PermissionRules::default() };
        let permissions = Arc::new(Permissions::compile(&rules).unwrap());
        let account = Arc::new(Account::new("A"));
        let peer = peer();
        let mut made = Vec::new();
        for (sid, (subject, queue)) in wanted.iter().enumerate() {
            if permissions.can_subscribe(subject.as_bytes(), queue.as_ref().map(|queue| queue.as_bytes())) {
                let filter = permissions.overlaps_deny(subject.as_bytes()).then(|| Arc::clone(&permissions));
                made.push(subscribe(&account, &peer, subject, queue.as_deref(), &sid.to_string(), filter));
            }
        }
        let mut cache = MatchCache::default();
        for subject in &published {
            Publisher::new(&account).publish_cached(&mut cache, subject.as_bytes(), None, b"", &[b""]);
            let got = deliveries(&peer);
            for (shown, sid) in &got {
                let (_, queue) = &wanted[sid.parse::<usize>().unwrap()];
                for rule in &deny {
                    let (denied, denied_queue) = rule.split_once(' ').map_or((rule.as_str(), None), |(s, q)| (s, Some(q)));
                    let applies = match (denied_queue, queue) {
                        (None, _) => true,
                        (Some(denied), Some(queue)) => denied == "*" || denied == queue,
                        (Some(_), None) => false,
                    };
                    prop_assert!(!(applies && subject::matches(denied.as_bytes(), shown.as_bytes())), "{shown} {sid} {rule}");
                }
                if let Some(allow) = &allow {
                    let inside = allow.iter().any(|rule| subject::matches(rule.split(' ').next().unwrap().as_bytes(), shown.as_bytes()));
                    prop_assert!(inside, "{shown} was not allowed");
                }
            }
            // And nothing else is left out: every plain subscription that may have it got it.
            let due = made.iter().filter(|made| made.queue.is_none()).filter(|made| {
                subject::matches(&made.subject, subject.as_bytes()) && permissions.can_receive(subject.as_bytes(), None)
            });
            let plain = got.iter().filter(|(_, sid)| wanted[sid.parse::<usize>().unwrap()].1.is_none()).count();
            prop_assert_eq!(plain, due.count());
        }
    }
}

/// A large message; how many clients it was staged for.
fn publish_large(publisher: &mut Publisher, subject: &str) -> usize {
    publisher.publish(subject.as_bytes(), None, b"", &[&[b'x'; 1 << 20]])
}

#[test]
fn one_message_to_many_subscriptions_of_a_client_is_not_staged_for_all_of_them_at_once() {
    let account = Arc::new(Account::new("A"));
    let slow = Arc::new(Outbound::new(u64::MAX, Transport::Owner, 16 << 20, Arc::default()));
    let other = peer();
    for sid in 0..200 {
        subscribe(&account, &slow, "a", None, &sid.to_string(), None);
        subscribe(&account, &slow, "a", Some(&format!("queue{sid}")), &format!("queue{sid}"), None);
    }
    subscribe(&account, &other, "a", None, "1", None);
    let mut publisher = Publisher::new(&account);
    let reached = publish_large(&mut publisher, "a");
    drop(publisher);
    assert!(slow.is_closed(), "it was ended in the middle of the fan-out");
    assert!(reached < 30, "{reached} copies were made for a client that may have 16 waiting");
    assert_eq!(received(&other).len(), b"MSG a 1 1048576\r\n\r\n".len() + (1 << 20));
}

#[test]
fn who_is_ending_counts_as_nobody() {
    let account = Arc::new(Account::new("A"));
    let ending = peer();
    subscribe(&account, &ending, "a", None, "1", None);
    let mut publisher = Publisher::new(&account);
    assert_eq!(publisher.publish(b"a", None, b"", &[b"x"]), 1);
    publisher.flush();
    ending.close(crate::protocol::error::ClosedReason::Kicked);
    assert_eq!(publisher.publish(b"a", None, b"", &[b"x"]), 0);
}

#[test]
fn a_fan_out_that_is_flushed_on_the_way_reaches_each_once_and_in_order() {
    let account = Arc::new(Account::new("A"));
    let peers = [peer(), peer(), peer()];
    for sid in 0..12 {
        subscribe(&account, &peers[sid % 3], "a", None, &sid.to_string(), None);
    }
    let mut publisher = Publisher::new(&account);
    assert_eq!(publish_large(&mut publisher, "a"), 12);
    assert_eq!(publisher.publish(b"a", None, b"", &[b"y"]), 12);
    drop(publisher);
    for peer in &peers {
        let bytes = received(peer);
        let text = String::from_utf8(bytes).unwrap();
        let sizes: Vec<&str> =
            text.lines().filter(|line| line.starts_with("MSG")).map(|line| &line[line.len() - 2..]).collect();
        assert_eq!(sizes, ["76", "76", "76", "76", " 1", " 1", " 1", " 1"]);
    }
    assert_eq!(account.counters.read().messages_out, 24);
}

#[test]
fn answers_in_a_burst_are_kept_when_its_messages_for_an_overloaded_peer_are_dropped() {
    let account = Arc::new(Account::new("A"));
    let slow = Arc::new(Outbound::new(u64::MAX, Transport::Owner, 1000, Arc::default()));
    subscribe(&account, &slow, "a", None, "1", None);
    slow.send_control(&[b'.'; 800]);
    let mut burst = Burst::take();
    burst.set_drop_overloaded(true);
    let mut cache = MatchCache::default();
    let at = cache.look_up(b"a", &account, &Rights::default());
    let letter = Letter { subject: b"a", reply: None, headers: b"", payload: &[b"x"] };
    let message = Outgoing { letter, shown_as: None, tail: &[b"1\r\nx\r\n"], size: 1, buffer: b"" };
    burst.stage_control(&slow, b"+OK\r\n");
    deliver(&mut burst, &mut cache, at, &account, &message);
    burst.stage_control(&slow, b"PONG\r\n");
    burst.flush();
    assert_eq!(burst.take_traffic().messages_out, 0);
    burst.give_back();
    assert_eq!(received(&slow)[800..], *b"+OK\r\nPONG\r\n");
}
