//! Priority groups, compared by hand with nats-server 2.15.1.

use super::*;
use crate::jetstream::api::consumer_config::PriorityPolicy;

fn rig(priority_policy: PriorityPolicy, count: usize) -> Rig {
    let config = ConsumerConfig {
        priority_groups: vec!["g".into()],
        priority_policy,
        priority_timeout: 2 * SECOND,
        ack_wait: 100 * SECOND,
        ..explicit()
    };
    Rig::new(config, &vec!["a"; count])
}

#[test]
fn the_first_client_is_pinned_and_others_wait_until_it_is_gone() {
    let mut rig = rig(PriorityPolicy::PinnedClient, 10);
    assert_eq!(rig.pull("a", "1"), ["a: 1/1 x1 9 pin "], "a request without a group, as long as nobody is pinned");
    assert_eq!(rig.pull("a", r#"{"batch":1}"#), ["a: 400 Bad Request - Priority Group missing"]);
    assert_eq!(rig.pull("a", r#"{"group":"zz"}"#), ["a: 400 Bad Request - Invalid Priority Group"]);
    assert_eq!(rig.pull("a", r#"{"batch":2,"group":"g"}"#), ["pinned g 1", "a: 2/2 x1 8 pin 1", "a: 3/3 x1 7 pin 1"]);
    assert!(rig.pull("b", r#"{"batch":2,"group":"g"}"#).is_empty());
    assert_eq!(rig.why(), Some(Blocked::NoEligiblePull));
    let id = rig.info().priority_groups[0].pinned_client_id.clone();
    assert_eq!(rig.pull("a", &format!(r#"{{"group":"g","id":"{id}"}}"#)), ["a: 4/4 x1 6 pin 1"]);
    assert_eq!(rig.pull("a", r#"{"group":"g","id":"wrong"}"#), ["a: 423 Nats-Pin-Id mismatch"]);
    let told = rig.step(|consumer, _, out| assert!(consumer.unpin("g", out)));
    assert_eq!(told, ["unpinned g admin", "pinned g 2", "b: 5/5 x1 5 pin 2", "b: 6/6 x1 4 pin 2"]);
    assert_eq!(rig.wait(2 * SECOND), ["unpinned g timeout"]);
    let group = rig.info().priority_groups.remove(0);
    assert!(group.pinned_client_id.is_empty() && group.pinned_ts.is_zero());
    assert_eq!(
        rig.pull("a", r#"{"batch":1,"group":"g","id":"old"}"#),
        ["a: 423 Nats-Wrong-Pin-Id | messages 1 | bytes 0"]
    );
    let mut out = Outputs::default();
    assert!(!rig.consumer.unpin("zz", &mut out));
}

#[test]
fn requests_of_the_pinned_client_keep_it_pinned() {
    let mut rig = rig(PriorityPolicy::PinnedClient, 1);
    rig.pull("a", r#"{"group":"g"}"#);
    let id = rig.info().priority_groups[0].pinned_client_id.clone();
    rig.wait(3 * SECOND / 2);
    rig.pull("a", &format!(r#"{{"group":"g","id":"{id}"}}"#));
    assert!(rig.wait(3 * SECOND / 2).is_empty());
    assert_eq!(rig.wait(SECOND), ["unpinned g timeout"]);
}

#[test]
fn a_client_is_not_pinned_by_a_message_it_cannot_have() {
    let mut rig = rig(PriorityPolicy::PinnedClient, 1);
    let told = rig.pull("a", r#"{"group":"g","max_bytes":5}"#);
    assert_eq!(told, ["pinned g 1", "a: 409 Message Size Exceeds MaxBytes | messages 0 | bytes 5"]);
    assert!(rig.info().priority_groups[0].pinned_client_id.is_empty());
    assert_eq!(rig.pull("b", r#"{"group":"g"}"#), ["pinned g 2", "b: 1/1 x1 0 pin 2"]);
}

#[test]
fn overflow_serves_who_asks_for_less_or_sees_enough() {
    let mut rig = rig(PriorityPolicy::Overflow, 10);
    let expires = r#""expires":300000000,"group":"g""#;
    let left = "408 Request Timeout | messages 1 | bytes 0";
    assert!(rig.pull("a", &format!(r#"{{"batch":1,{expires},"min_pending":11}}"#)).is_empty());
    assert_eq!(rig.wait(SECOND), [format!("a: {left}")]);
    assert_eq!(rig.pull("b", &format!(r#"{{"batch":2,{expires},"min_pending":10}}"#)), ["b: 1/1 x1 9"]);
    assert_eq!(rig.wait(SECOND), [format!("b: {left}")]);
    assert!(rig.pull("c", &format!(r#"{{"batch":1,{expires},"min_ack_pending":2}}"#)).is_empty());
    assert_eq!(rig.wait(SECOND), [format!("c: {left}")]);
    assert_eq!(rig.pull("d", &format!(r#"{{"batch":1,{expires},"min_ack_pending":1}}"#)), ["d: 2/2 x1 8"]);
    assert_eq!(rig.pull("e", r#"{"group":"g","min_pending":100,"no_wait":true}"#), ["e: 404 No Messages"]);
    assert_eq!(rig.pull("f", r#"{"group":"g"}"#), ["f: 3/3 x1 7"]);
}

#[test]
fn a_waiting_overflow_request_lets_others_pass() {
    let mut rig = rig(PriorityPolicy::Overflow, 0);
    rig.pull("far", r#"{"batch":5,"group":"g","min_pending":3}"#);
    rig.pull("near", r#"{"batch":1,"group":"g"}"#);
    assert_eq!(rig.store("a"), ["near: 1/1 x1 0"]);
    assert!(rig.store("a").is_empty());
    assert!(rig.store("a").is_empty());
    assert_eq!(rig.store("a"), ["far: 2/2 x1 2"], "three were there; two are not enough");
}

#[test]
fn lower_priorities_are_served_first_and_equals_in_turn() {
    let mut rig = rig(PriorityPolicy::Prioritized, 0);
    rig.pull("low", r#"{"batch":5,"group":"g","priority":3}"#);
    rig.pull("x", r#"{"batch":2,"group":"g","priority":1}"#);
    rig.pull("y", r#"{"batch":2,"group":"g","priority":1}"#);
    rig.pull("none", "1");
    let mut told = Vec::new();
    for _ in 0..7 {
        told.extend(rig.store("a"));
    }
    let targets: Vec<&str> = told.iter().map(|told| told.split(':').next().unwrap_or_default()).collect();
    assert_eq!(targets, ["x", "y", "x", "y", "low", "low", "low"]);
}
