//! The pull protocol: what a request gets, in which order, and with which last word. Compared by hand with nats-server 2.15.1.

use super::*;

#[test]
fn a_request_for_more_than_there_is_waits_for_the_rest() {
    let mut rig = Rig::new(explicit(), &["a", "a"]);
    assert_eq!(rig.pull("r", "3"), ["r: 1/1 x1 1", "r: 2/2 x1 0"]);
    assert_eq!(rig.info().num_waiting, 1);
    assert_eq!(rig.store("a"), ["r: 3/3 x1 0"]);
    assert_eq!(rig.info().num_waiting, 0);
}

#[test]
fn requests_are_served_in_turn() {
    let mut rig = Rig::new(explicit(), &[]);
    rig.pull("a", "3");
    rig.pull("b", "2");
    let mut told = Vec::new();
    for _ in 0..6 {
        told.extend(rig.store("x"));
    }
    assert_eq!(told, ["a: 1/1 x1 0", "b: 2/2 x1 0", "a: 3/3 x1 0", "b: 4/4 x1 0", "a: 5/5 x1 0"]);
}

#[test]
fn without_waiting_a_request_gets_what_is_there_and_a_404() {
    let mut rig = Rig::new(explicit(), &["a", "a", "a"]);
    let request = r#"{"batch":2,"no_wait":true}"#;
    assert_eq!(rig.pull("r", request), ["r: 1/1 x1 2", "r: 2/2 x1 1"]);
    assert_eq!(rig.pull("r", request), ["r: 3/3 x1 0", "r: 404 No Messages"]);
    assert_eq!(rig.pull("r", request), ["r: 404 No Messages"]);
}

#[test]
fn without_waiting_but_with_an_expiry_a_request_waits_for_the_first_message_only() {
    let mut rig = Rig::new(explicit(), &["a", "a"]);
    let request = r#"{"batch":5,"no_wait":true,"expires":1000000000}"#;
    assert_eq!(rig.pull("r", request), ["r: 1/1 x1 1", "r: 2/2 x1 0", "r: 404 No Messages"]);
    assert!(rig.pull("r", request).is_empty());
    assert_eq!(rig.store("a"), ["r: 3/3 x1 0", "r: 404 No Messages"]);
    rig.config.ack_wait = 100 * SECOND;
    rig.change_leader();
    assert!(rig.pull("r", request).is_empty());
    assert_eq!(rig.wait(2 * SECOND), ["r: 408 Request Timeout | messages 5 | bytes 0"]);
}

#[test]
fn a_request_that_ends_says_what_is_left() {
    let mut rig = Rig::new(explicit(), &[]);
    rig.pull("r", r#"{"expires":300000000}"#);
    rig.pull("s", r#"{"batch":3,"expires":300000000,"max_bytes":100,"idle_heartbeat":100000000}"#);
    let beat = "s: 100 Idle Heartbeat | Nats-Last-Consumer: 0 | Nats-Last-Stream: 0";
    let told = rig.wait(SECOND);
    let timeouts = ["r: 408 Request Timeout | messages 0 | bytes 0", "s: 408 Request Timeout | messages 3 | bytes 100"];
    assert_eq!(told, [beat, beat, timeouts[0], timeouts[1]]);
}

#[test]
fn bytes_are_counted_as_the_client_counts_them() {
    // "S.a" and two bytes, with a reply subject of 39.
    let mut rig = Rig::new(explicit(), &["S.a", "S.a", "S.a", "S.a", "S.a"]);
    assert_eq!(
        rig.pull("r", r#"{"batch":2,"max_bytes":150}"#),
        ["r: 1/1 x1 4", "r: 2/2 x1 3", "r: 409 Batch Completed | messages 0 | bytes 62"]
    );
    assert_eq!(
        rig.pull("r", r#"{"batch":2,"max_bytes":30}"#),
        ["r: 409 Message Size Exceeds MaxBytes | messages 2 | bytes 30"]
    );
    assert_eq!(
        rig.pull("r", r#"{"batch":9,"max_bytes":100}"#),
        ["r: 3/3 x1 2", "r: 4/4 x1 1", "r: 409 Message Size Exceeds MaxBytes | messages 7 | bytes 12"]
    );
    assert_eq!(rig.pull("r", r#"{"batch":9,"max_bytes":44}"#), ["r: 5/5 x1 0"]);
    assert_eq!(rig.info().num_waiting, 0, "with no byte left it is over");
}

#[test]
fn headers_only_counts_the_header_instead_of_the_payload() {
    let config = ConsumerConfig { headers_only: true, ..explicit() };
    let mut rig = Rig::new(config, &["S.a"]);
    // Without the two bytes of payload, with "NATS/1.0\r\nNats-Msg-Size: 2\r\n\r\n".
    let size = 42 + 30;
    assert_eq!(
        rig.pull("r", &format!(r#"{{"max_bytes":{}}}"#, size - 1)),
        [format!("r: 409 Message Size Exceeds MaxBytes | messages 0 | bytes {}", size - 1)]
    );
    assert_eq!(rig.pull("r", &format!(r#"{{"max_bytes":{size}}}"#)), ["r: 1/1 x1 0"]);
}

#[test]
fn what_is_wrong_with_a_request_is_said_exactly() {
    let config = ConsumerConfig { max_batch: 2, max_expires: 90 * SECOND, max_bytes: 200, ..explicit() };
    let mut rig = Rig::new(config, &[]);
    let into = "400 Bad Request - json: cannot unmarshal";
    for (body, status) in [
        ("3", "409 Exceeded MaxRequestBatch of 2".to_owned()),
        (r#"{"expires":91000000000}"#, "409 Exceeded MaxRequestExpires of 1m30s".to_owned()),
        (r#"{"max_bytes":201}"#, "409 Exceeded MaxRequestMaxBytes of 200".to_owned()),
        ("{", "400 Bad Request - unexpected end of JSON input".to_owned()),
        (r#"{"batch":"x"}"#, format!("{into} string into Go struct field .batch of type int")),
        (r#"{"batch":1.5}"#, format!("{into} number 1.5 into Go struct field .batch of type int")),
        (r#"{"no_wait":1}"#, format!("{into} number into Go struct field .no_wait of type bool")),
        (r#"{"expires":"1s"}"#, format!("{into} string into Go struct field .expires of type time.Duration")),
        ("{'a':1}", r"400 Bad Request - invalid character '\'' looking for beginning of object key string".to_owned()),
        (r#"{"a" 1}"#, "400 Bad Request - invalid character '1' after object key".to_owned()),
        (
            r#"{"batch":1,"expires":1000000000,"idle_heartbeat":600000000}"#,
            "400 Bad Request - heartbeat value too large".to_owned(),
        ),
        (r#"{"idle_heartbeat":600000000}"#, "400 Bad Request - heartbeat value too large".to_owned()),
        (r#"{"min_pending":1}"#, "400 Bad Request - Not a Overflow Priority consumer".to_owned()),
        (r#"{"id":"x"}"#, "400 Bad Request - Not a Pinned Client Priority consumer".to_owned()),
        (r#"{"priority":10}"#, "400 Bad Request - Priority must be between 0 and 9".to_owned()),
    ] {
        assert_eq!(rig.pull("r", body), [format!("r: {status}")], "{body}");
    }
    assert_eq!(rig.info().num_waiting, 0);
}

#[test]
fn unknown_fields_groups_without_a_policy_and_words_are_tolerated() {
    let mut rig = Rig::new(explicit(), &["a", "a", "a", "a"]);
    assert_eq!(rig.pull("r", r#"{"batch":1,"group":"x","what":[1]}"#), ["r: 1/1 x1 3"]);
    assert_eq!(rig.pull("r", "many"), ["r: 2/2 x1 2"]);
    assert_eq!(rig.pull("r", "-5"), ["r: 3/3 x1 1"]);
    assert_eq!(rig.pull("r", "{}"), ["r: 4/4 x1 0"]);
}

#[test]
fn the_queue_of_requests_is_bounded() {
    let mut rig = Rig::new(ConsumerConfig { max_waiting: 2, ..explicit() }, &[]);
    assert!(rig.pull("a", "1").is_empty());
    assert!(rig.pull("b", "1").is_empty());
    assert_eq!(rig.pull("c", "1"), ["c: 409 Exceeded MaxWaiting"]);
    let with_heartbeat = r#"{"batch":1,"idle_heartbeat":100000000,"expires":1000000000}"#;
    assert!(rig.pull("c", with_heartbeat).is_empty(), "it notices by itself");
    assert_eq!(rig.info().num_waiting, 2);
    // Those who went away make room, looked for at most once a second.
    rig.environment.gone.borrow_mut().insert(b"a".to_vec());
    rig.wait(2 * SECOND);
    assert!(rig.pull("c", "1").is_empty());
    assert_eq!(rig.info().num_waiting, 2);
}

#[test]
fn dead_inboxes_are_skipped() {
    let mut rig = Rig::new(explicit(), &[]);
    rig.pull("dead", "5");
    rig.pull("alive", "1");
    rig.environment.gone.borrow_mut().insert(b"dead".to_vec());
    assert_eq!(rig.store("x"), ["alive: 1/1 x1 0"]);
    assert_eq!(rig.info().num_waiting, 0);
    rig.environment.behind_import.set(true);
    rig.pull("dead", r#"{"batch":5,"max_bytes":7}"#);
    assert_eq!(rig.store("x"), ["dead: 408 Interest Expired | messages 5 | bytes 7"]);
}

#[test]
fn a_request_is_refused_when_others_have_asked_for_all_there_is() {
    let mut rig = Rig::new(ConsumerConfig { max_ack_pending: 1, ..explicit() }, &["a", "a", "a"]);
    assert_eq!(rig.pull("r", "9"), ["r: 1/1 x1 2"]);
    assert_eq!(rig.pull("s", r#"{"batch":1,"no_wait":true}"#), ["s: 408 Requests Pending"]);
    assert_eq!(rig.why(), Some(Blocked::MaxAckPending));
}

#[test]
fn a_place_to_be_freed_by_an_ack_is_worth_waiting_for() {
    let mut rig = Rig::new(ConsumerConfig { max_ack_pending: 1, ..explicit() }, &["a", "a"]);
    assert_eq!(rig.pull("r", "1"), ["r: 1/1 x1 1"]);
    assert!(rig.pull("s", r#"{"batch":1,"no_wait":true}"#).is_empty());
    assert_eq!(rig.ack(1, 1, "+ACK"), ["s: 2/2 x1 0"]);
}

/// nats.py takes the messages that come after an end of its own for those of the next request.
#[test]
fn a_request_that_does_not_wait_has_no_heartbeats_after_its_messages() {
    let config = ConsumerConfig { max_ack_pending: 2, ack_wait: 100 * SECOND, ..explicit() };
    let mut rig = Rig::new(config, &["a", "a", "a", "a"]);
    let request = r#"{"batch":3,"no_wait":true,"expires":1000000000,"idle_heartbeat":100000000}"#;
    assert_eq!(rig.pull("r", request), ["r: 1/1 x1 3", "r: 2/2 x1 2"]);
    assert_eq!(rig.wait(SECOND), ["r: 404 No Messages"]);
    // What got nothing yet waits for it.
    assert!(rig.pull("s", r#"{"batch":3,"no_wait":true,"expires":1000000000}"#).is_empty());
    assert_eq!(rig.wait(SECOND / 2), [""; 0]);
    assert_eq!(rig.ack(1, 1, "+ACK"), ["s: 3/3 x1 1"]);
    assert_eq!(rig.wait(SECOND), ["s: 408 Request Timeout | messages 2 | bytes 0"]);
}

#[test]
fn everybody_is_told_of_the_end() {
    for (end, told) in [
        (End::Deleted, "r: 409 Consumer Deleted"),
        (End::LeadershipLost, "r: 409 Leadership Change"),
        (End::ServerStops, "r: 409 Server Shutdown | messages 3 | bytes 9"),
    ] {
        let mut rig = Rig::new(explicit(), &[]);
        rig.pull("r", r#"{"batch":3,"max_bytes":9}"#);
        assert_eq!(rig.step(|consumer, _, out| consumer.end(end, out)), [told]);
    }
}

#[test]
fn a_push_consumer_serves_no_requests() {
    let mut rig = Rig::new(ConsumerConfig { deliver_subject: "d".into(), ..explicit() }, &["a"]);
    assert_eq!(rig.pull("r", "1"), ["r: 409 Consumer is push based"]);
    assert_eq!(rig.step(|_, _, out| Consumer::refuse_api_level(b"r", out)), ["r: 412 Required Api Level"]);
}

#[test]
fn a_pull_consumer_nobody_asks_is_removed_and_one_in_use_is_not() {
    let config = ConsumerConfig { inactive_threshold: 5 * SECOND, durable_name: String::new(), ..explicit() };
    let mut rig = Rig::new(config, &["a"]);
    assert!(rig.wait(5 * SECOND).is_empty());
    assert_eq!(rig.wait(SECOND), ["delete"]);
    rig.pull("r", "1");
    // The client has a second to ack, and the threshold after that.
    rig.pull("r", "1");
    assert!(rig.wait(20 * SECOND).iter().all(|told| told != "delete"), "a request waits");
    rig.environment.gone.borrow_mut().insert(b"r".to_vec());
    assert!(rig.wait(30 * SECOND).contains(&"delete".to_owned()));
}

/// What was due and nobody had asked for again did not count any more.
#[test]
fn who_works_on_a_message_has_another_wait_once_it_is_due() {
    let config =
        ConsumerConfig { inactive_threshold: SECOND, ack_wait: 6 * SECOND, durable_name: String::new(), ..explicit() };
    let mut rig = Rig::new(config, &["a"]);
    rig.pull("r", "1");
    assert_eq!(rig.wait(13 * SECOND), [""; 0], "twice the wait, and the threshold");
    assert_eq!(rig.wait(SECOND), ["delete"]);
}

/// Heartbeats of one request, one each nanosecond, took a core.
#[test]
fn heartbeats_come_at_most_every_millisecond() {
    let mut rig = Rig::new(explicit(), &[]);
    rig.pull("r", r#"{"batch":1,"expires":5000000000,"idle_heartbeat":1}"#);
    assert_eq!(rig.wait(100 * MILLI).len(), 100);
}
