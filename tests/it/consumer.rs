//! Consumers over the wire (L-*, A-*, D-*, U-*): who gets what, when, and how often.

use crate::harness::PATIENCE;
use crate::jetstream::{Js, MOMENT, consumer_config, coordinates, header, stream_config, text, texts, with_jetstream};
use async_nats::HeaderMap;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{self, DeliverPolicy, pull, push};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SECOND: u64 = 1_000_000_000;

/// A stream `S` on `s.>` with so many messages on `s.a`.
async fn filled(js: &Js, config: Value, count: usize) {
    js.stream("S", config).await;
    js.publish_many("s.a", count).await;
}

// Pull.

#[test]
fn a_pull_gets_what_it_asks_for() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            filled(&js, json!({"storage": storage}), 10).await;
            js.consumer("S", "C", json!({})).await;
            let first = js.fetch("S", "C", 3).await;
            assert_eq!(texts(&first), ["1", "2", "3"]);
            let place = coordinates(&first[2]);
            assert_eq!((place.deliveries, place.stream, place.consumer, place.pending), (1, 3, 3, 7));
            assert_eq!((first[0].subject.as_str(), first[0].reply.is_some()), ("s.a", true));
            assert_eq!(texts(&js.fetch("S", "C", 7).await).len(), 7);
            let info = js.consumer_info("S", "C").await;
            assert_eq!((&info["num_pending"], &info["num_ack_pending"]), (&json!(0), &json!(10)));
            assert_eq!((&info["delivered"]["stream_seq"], &info["ack_floor"]["stream_seq"]), (&json!(10), &json!(0)));
        });
    }
}

#[test]
fn the_client_library_fetches_batches_and_streams() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 100).await;
        let stream = js.context.get_stream("S").await.unwrap();
        let config = pull::Config { durable_name: Some("C".into()), ..pull::Config::default() };
        let consumer = stream.create_consumer(config).await.unwrap();
        let fetched: Vec<_> = consumer.fetch().max_messages(10).messages().await.unwrap().try_collect().await.unwrap();
        assert_eq!(fetched.len(), 10);
        for message in &fetched {
            message.double_ack().await.unwrap();
        }
        let batch: Vec<_> =
            consumer.batch().max_messages(10).expires(PATIENCE).messages().await.unwrap().try_collect().await.unwrap();
        assert_eq!(batch.len(), 10);
        let mut messages = consumer.stream().max_messages_per_batch(7).messages().await.unwrap();
        for number in 21..=100 {
            let message = tokio::time::timeout(PATIENCE, messages.next()).await.unwrap().unwrap().unwrap();
            assert_eq!(message.info().unwrap().stream_sequence, number);
            message.ack().await.unwrap();
        }
        js.until("CONSUMER.INFO.S.C", "acks are counted", |info| info["num_ack_pending"] == 10).await;
        assert_eq!(js.publish("s.a", "late").await, 101);
        let late = tokio::time::timeout(PATIENCE, messages.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(&late.payload[..], b"late");
        let names: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
        assert_eq!(names, ["C"]);
        assert!(stream.delete_consumer("C").await.unwrap().success);
        js.until("STREAM.INFO.S", "it is gone", |info| info["state"]["consumer_count"] == 0).await;
    });
}

/// Deliveries were once written to the socket after the stream had been let go, so that of two threads that worked for
/// one consumer the second could overtake the first.
#[test]
fn deliveries_stay_in_order_whoever_asks_for_them() {
    const COUNT: u64 = 6000;
    with_jetstream(|js| async move {
        filled(&js, json!({"storage": "memory"}), COUNT as usize).await;
        js.consumer("S", "C", json!({"ack_policy": "none"})).await;
        let mut inbox = js.client.subscribe("in.order").await.unwrap();
        // A flush would only write: a pull for which nobody listens yet is dropped.
        js.round_trip().await;
        let server = js.client.server_info();
        let address = format!("{}:{}", server.host, server.port);
        let askers = (0..4u64).map(|_| {
            let address = address.clone();
            std::thread::spawn(move || ask(&address, COUNT / 4 / 5))
        });
        let askers: Vec<_> = askers.collect();
        for number in 1..=COUNT {
            let message = tokio::time::timeout(PATIENCE, inbox.next()).await.unwrap().unwrap();
            let place = coordinates(&message);
            assert_eq!((place.consumer, place.stream), (number, number), "overtaken");
        }
        askers.into_iter().for_each(|asker| asker.join().unwrap());
    });
}

/// They came again only when their wait was over.
#[test]
fn deliveries_that_reach_nobody_go_to_the_next_request() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 3).await;
        js.consumer("S", "C", json!({})).await;
        let mut inbox = js.client.subscribe("in.x").await.unwrap();
        inbox.unsubscribe_after(1).await.unwrap();
        js.round_trip().await;
        js.client.publish_with_reply("$JS.API.CONSUMER.MSG.NEXT.S.C", "in.x", r#"{"batch":3}"#.into()).await.unwrap();
        let message = tokio::time::timeout(PATIENCE, inbox.next()).await.unwrap().unwrap();
        assert_eq!(text(&message), "1");
        let others = js.fetch_now("S", "C", 3).await;
        assert_eq!(texts(&others), ["2", "3"]);
        assert_eq!(others.iter().map(|message| coordinates(message).deliveries).collect::<Vec<_>>(), [1, 1]);
    });
}

/// What was skipped over stayed for ever: nobody was left to acknowledge it.
#[test]
fn a_reset_forwards_gives_up_what_it_skips_in_an_interest_stream() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"retention": "interest"})).await;
        js.consumer("S", "C", json!({"max_deliver": 1, "ack_wait": SECOND / 10})).await;
        js.consumer("S", "D", json!({"filter_subject": "s.b"})).await;
        js.publish_many("s.a", 4).await;
        js.publish("s.b", "5").await;
        js.publish_many("s.a", 2).await;
        js.fetch("S", "C", 1).await;
        js.until("CONSUMER.INFO.S.C", "one is given up", |info| info["num_ack_pending"] == 0).await;
        js.fetch("S", "C", 2).await;
        js.ok("CONSUMER.RESET.S.C", json!({"seq": 6})).await;
        assert_eq!(js.contents("S").await, ["5", "1", "2"], "the other consumer's stays");
        let rest = js.fetch("S", "C", 2).await;
        for message in &rest {
            js.confirm(message, "+ACK").await;
        }
        assert_eq!(js.contents("S").await, ["5"]);
    });
}

/// What the consumer had passed over, since its filter did not match by then, was kept for an ack that names all up to it,
/// which counted only what had been delivered.
#[test]
fn what_was_passed_over_is_not_kept_once_the_filter_is_wider() {
    for policy in ["all", "explicit", "none"] {
        with_jetstream(|js| async move {
            js.stream("S", json!({"retention": "interest"})).await;
            js.consumer("S", "C", json!({"ack_policy": policy, "filter_subject": "s.a"})).await;
            js.consumer("S", "D", json!({})).await;
            for subject in ["s.a", "s.b", "s.a", "s.b"] {
                js.publish(subject, subject).await;
            }
            let acks_up_to = |messages: Vec<async_nats::Message>| {
                let js = &js;
                async move {
                    for message in messages.iter().filter(|_| policy != "none") {
                        js.confirm(message, "+ACK").await;
                    }
                }
            };
            // It asks for one more, and looks at all there is.
            acks_up_to(js.fetch_now("S", "C", 3).await).await;
            js.consumer("S", "C", json!({"ack_policy": policy, "filter_subject": "s.*"})).await;
            js.publish("s.a", "last").await;
            for message in js.fetch("S", "D", 5).await {
                js.confirm(&message, "+ACK").await;
            }
            acks_up_to(js.fetch("S", "C", 1).await).await;
            js.until("STREAM.INFO.S", "nobody needs anything", |info| info["state"]["messages"] == 0).await;
        });
    }
}

/// It got no answer, and took one of the places of those who wait.
#[test]
fn an_ack_that_asks_for_the_next_message_is_answered_by_a_paused_consumer() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 2).await;
        js.consumer("S", "C", json!({})).await;
        let message = js.fetch("S", "C", 1).await.remove(0);
        js.ok("CONSUMER.PAUSE.S.C", json!({"pause_until": "2999-01-01T00:00:00Z"})).await;
        let reply = message.reply.clone().unwrap();
        let answer = js.request(reply.as_str(), HeaderMap::new(), r#"+NXT {"no_wait":true}"#).await;
        assert_eq!(answer.status.map(|status| status.as_u16()), Some(404));
        assert_eq!(js.consumer_info("S", "C").await["num_waiting"], 0);
    });
}

#[test]
fn each_update_of_a_paused_consumer_tells_that_it_is_paused() {
    with_jetstream(|js| async move {
        js.stream("S", json!({})).await;
        js.consumer("S", "C", json!({})).await;
        let mut advisories = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.PAUSE.S.C").await;
        // One of them changes nothing, and one is beyond what a time can be here.
        for until in ["2100-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
            js.ok("CONSUMER.PAUSE.S.C", json!({"pause_until": until})).await;
            assert_eq!(advisories.json().await["paused"], true);
            for description in ["x", "x", "y"] {
                js.consumer("S", "C", json!({"description": description})).await;
                assert_eq!(advisories.json().await["paused"], true, "{until} {description}");
            }
        }
    });
}

#[test]
fn a_pinned_client_that_asks_for_headers_gets_them_in_the_order_of_nats_server() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 1).await;
        let config = json!({"headers_only": true, "priority_policy": "pinned_client", "priority_groups": ["g"]});
        js.consumer("S", "C", config).await;
        let server = js.client.server_info();
        let address = format!("{}:{}", server.host, server.port);
        let read = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let mut socket = std::net::TcpStream::connect(address).unwrap();
            let body = r#"{"batch":1,"expires":5000000000,"group":"g"}"#;
            let request = format!("PUB $JS.API.CONSUMER.MSG.NEXT.S.C in.order {}\r\n{body}\r\n", body.len());
            socket.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB in.order 1\r\n").unwrap();
            socket.write_all(request.as_bytes()).unwrap();
            let (mut read, mut piece) = (Vec::new(), [0; 4096]);
            while !read.ends_with(b"\r\n\r\n\r\n") {
                let length = socket.read(&mut piece).unwrap();
                assert!(length > 0, "the connection ended");
                read.extend_from_slice(&piece[..length]);
            }
            String::from_utf8(read).unwrap()
        });
        let read = read.join().unwrap();
        let at = |name: &str| read.find(name).expect("the header is there");
        assert!(at("Nats-Msg-Size") < at("Nats-Pin-Id"), "{read}");
    });
}

/// Asks for five messages so many times, from a connection of its own.
fn ask(address: &str, times: u64) {
    use std::io::{Read, Write};
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    let body = r#"{"batch":5,"expires":60000000000}"#;
    socket.write_all(b"CONNECT {\"verbose\":false}\r\n").unwrap();
    for _ in 0..times {
        let request = format!("PUB $JS.API.CONSUMER.MSG.NEXT.S.C in.order {}\r\n{body}\r\n", body.len());
        socket.write_all(request.as_bytes()).unwrap();
    }
    socket.write_all(b"PING\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"PONG\r\n") {
        let mut part = [0; 4096];
        let count = socket.read(&mut part).unwrap();
        assert!(count > 0, "the server hung up");
        answer.extend_from_slice(&part[..count]);
    }
}

#[test]
fn a_pull_without_waiting_ends_at_once() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 2).await;
        js.consumer("S", "C", json!({})).await;
        let mut inbox = js.pull("S", "C", json!({"batch": 5, "no_wait": true})).await;
        assert_eq!((text(&inbox.next().await), text(&inbox.next().await)), ("1".into(), "2".into()));
        assert_eq!(inbox.status().await, "404 No Messages");
        let mut inbox = js.pull("S", "C", json!({"batch": 5, "no_wait": true})).await;
        assert_eq!(inbox.status().await, "404 No Messages");
    });
}

#[test]
fn a_pull_expires_with_what_is_left_of_it() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 1).await;
        js.consumer("S", "C", json!({})).await;
        let mut inbox = js.pull("S", "C", json!({"batch": 3, "expires": SECOND / 5})).await;
        inbox.message().await;
        let end = inbox.next().await;
        assert_eq!((end.status.unwrap().as_u16(), header(&end, "Nats-Pending-Messages")), (408, "2"));
        assert_eq!(js.consumer_info("S", "C").await["num_waiting"], 0);
    });
}

/// The time at which the first would have ended was still noted as asked for when it had passed, and no later one was asked
/// for any more: whoever pulled then heard neither heartbeats nor the end.
#[test]
fn a_pull_expires_though_the_time_of_one_that_was_served_has_passed() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 1).await;
        js.stream("T", json!({"subjects": ["t.>"]})).await;
        js.consumer("S", "C", json!({"ack_policy": "none"})).await;
        js.consumer("T", "C", json!({"ack_policy": "none"})).await;
        let mut inbox = js.pull("S", "C", json!({"batch": 1, "expires": SECOND / 5})).await;
        inbox.message().await;
        let mut clock = js.pull("T", "C", json!({"batch": 1, "expires": SECOND / 2})).await;
        assert_eq!(clock.status().await, "408 Request Timeout");
        let request = json!({"batch": 1, "expires": SECOND / 2, "idle_heartbeat": SECOND / 5});
        let mut inbox = js.pull("S", "C", request).await;
        assert_eq!(inbox.status().await, "100 Idle Heartbeat");
        assert_eq!(inbox.status().await, "100 Idle Heartbeat");
        assert_eq!(inbox.status().await, "408 Request Timeout");
    });
}

#[test]
fn a_waiting_pull_is_served_when_a_message_comes() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            filled(&js, json!({"storage": storage}), 0).await;
            js.consumer("S", "C", json!({})).await;
            let mut inbox = js.pull("S", "C", json!({"batch": 2, "expires": 10 * SECOND})).await;
            assert_eq!(js.consumer_info("S", "C").await["num_waiting"], 1);
            js.publish("s.a", "1").await;
            assert_eq!(text(&inbox.message().await), "1");
            js.publish("s.a", "2").await;
            assert_eq!(text(&inbox.message().await), "2");
            assert_eq!(js.consumer_info("S", "C").await["num_waiting"], 0);
        });
    }
}

#[test]
fn an_idle_pull_sees_heartbeats() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 0).await;
        js.consumer("S", "C", json!({})).await;
        let body = json!({"batch": 1, "expires": SECOND, "idle_heartbeat": SECOND / 10});
        let mut inbox = js.pull("S", "C", body).await;
        assert_eq!(inbox.status().await, "100 Idle Heartbeat");
        assert_eq!(inbox.status().await, "100 Idle Heartbeat");
    });
}

#[test]
fn pulls_have_limits() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 0).await;
        let limits = json!({"max_waiting": 1, "max_batch": 10, "max_expires": 20 * SECOND, "max_bytes": 1000});
        js.consumer("S", "C", limits).await;
        let refused = |body: Value| {
            let js = js.clone();
            async move { js.pull("S", "C", body).await.status().await }
        };
        assert_eq!(refused(json!({"batch": 11})).await, "409 Exceeded MaxRequestBatch of 10");
        assert_eq!(refused(json!({"batch": 1, "expires": 21 * SECOND})).await, "409 Exceeded MaxRequestExpires of 20s");
        assert_eq!(refused(json!({"batch": 1, "max_bytes": 1001})).await, "409 Exceeded MaxRequestMaxBytes of 1000");
        let mut waiting = js.pull("S", "C", json!({"batch": 1, "expires": 15 * SECOND})).await;
        assert_eq!(refused(json!({"batch": 1, "expires": SECOND})).await, "409 Exceeded MaxWaiting");
        js.publish("s.a", "1").await;
        assert_eq!(text(&waiting.message().await), "1");
    });
}

#[test]
fn a_pull_by_bytes_stops_before_it_has_too_many() {
    with_jetstream(|js| async move {
        js.stream("S", json!({})).await;
        for _ in 0..5 {
            js.publish("s.a", &"x".repeat(100)).await;
        }
        js.consumer("S", "C", json!({})).await;
        let mut inbox = js.pull("S", "C", json!({"batch": 10, "max_bytes": 500, "expires": SECOND})).await;
        let mut messages = 0;
        let end = loop {
            let message = inbox.next().await;
            match message.status {
                None => messages += 1,
                Some(_) => break message,
            }
        };
        assert!((2..=3).contains(&messages), "{messages}");
        assert_eq!(end.description.as_deref(), Some("Message Size Exceeds MaxBytes"));
    });
}

#[test]
fn whoever_waits_is_told_that_the_consumer_or_the_stream_is_gone() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 0).await;
        js.consumer("S", "C", json!({})).await;
        js.consumer("S", "D", json!({})).await;
        let mut of_consumer = js.pull("S", "C", json!({"batch": 1, "expires": 10 * SECOND})).await;
        let mut of_stream = js.pull("S", "D", json!({"batch": 1, "expires": 10 * SECOND})).await;
        js.ok("CONSUMER.DELETE.S.C", Value::Null).await;
        assert_eq!(of_consumer.status().await, "409 Consumer Deleted");
        js.ok("STREAM.DELETE.S", Value::Null).await;
        assert_eq!(of_stream.status().await, "409 Consumer Deleted");
        let mut nobody = js.pull("S", "C", json!({"batch": 1})).await;
        assert_eq!(nobody.status().await, "503");
        assert_eq!(js.refused("CONSUMER.INFO.S.C", Value::Null).await, 10059);
    });
}

#[test]
fn a_pull_whose_client_is_gone_takes_no_message() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 0).await;
        js.consumer("S", "C", json!({})).await;
        let inbox = js.pull("S", "C", json!({"batch": 5, "expires": 30 * SECOND})).await;
        inbox.close().await;
        js.round_trip().await;
        js.publish("s.a", "1").await;
        let message = &js.fetch("S", "C", 1).await[0];
        assert_eq!(coordinates(message).deliveries, 1);
    });
}

// Acknowledgements.

#[test]
fn acknowledged_messages_are_done_in_every_way() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            filled(&js, json!({"storage": storage}), 6).await;
            js.consumer("S", "C", json!({"ack_wait": SECOND / 5})).await;
            let messages = js.fetch("S", "C", 6).await;
            js.confirm(&messages[0], "+ACK").await;
            js.confirm(&messages[1], "").await;
            js.confirm(&messages[2], "+TERM because").await;
            js.answer(&messages[3], "+ACK").await;
            let info = js.consumer_info("S", "C").await;
            assert_eq!((&info["num_ack_pending"], &info["ack_floor"]["stream_seq"]), (&json!(2), &json!(4)));
            // Those that are not come again.
            let again = js.fetch("S", "C", 2).await;
            assert_eq!(texts(&again), ["5", "6"]);
            assert_eq!(coordinates(&again[0]).deliveries, 2);
            assert_eq!(coordinates(&again[0]).consumer, 7);
        });
    }
}

#[test]
fn a_refused_message_comes_again_at_once_or_after_its_delay() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 2).await;
        js.consumer("S", "C", json!({})).await;
        let messages = js.fetch("S", "C", 2).await;
        js.answer(&messages[0], "-NAK").await;
        let again = &js.fetch("S", "C", 1).await[0];
        assert_eq!((text(again).as_str(), coordinates(again).deliveries), ("1", 2));
        let began = Instant::now();
        js.answer(&messages[1], r#"-NAK {"delay": 300000000}"#).await;
        let again = &js.fetch("S", "C", 1).await[0];
        assert_eq!(text(again), "2");
        assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
        assert_eq!(js.consumer_info("S", "C").await["num_redelivered"], 2);
    });
}

#[test]
fn work_in_progress_holds_a_redelivery_off() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 1).await;
        js.consumer("S", "C", json!({"ack_wait": SECOND / 2})).await;
        let message = js.fetch("S", "C", 1).await.remove(0);
        let mut inbox = js.pull("S", "C", json!({"batch": 1, "expires": 20 * SECOND})).await;
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1200) {
            js.answer(&message, "+WPI").await;
            assert!(inbox.soon().await.is_none(), "redelivered after {:?}", began.elapsed());
        }
        assert_eq!(coordinates(&inbox.message().await).deliveries, 2);
    });
}

#[test]
fn an_ack_may_ask_for_the_next() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 3).await;
        js.consumer("S", "C", json!({})).await;
        let first = js.fetch("S", "C", 1).await.remove(0);
        let mut next = js.subscribe("next").await;
        js.client.publish_with_reply(first.reply.clone().unwrap(), "next", "+NXT".into()).await.unwrap();
        assert_eq!(text(&next.message().await), "2");
        let info = js.consumer_info("S", "C").await;
        assert_eq!((&info["num_ack_pending"], &info["ack_floor"]["stream_seq"]), (&json!(1), &json!(1)));
    });
}

#[test]
fn an_ack_of_all_acknowledges_what_came_before() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 5).await;
        js.consumer("S", "C", json!({"ack_policy": "all"})).await;
        let messages = js.fetch("S", "C", 5).await;
        js.confirm(&messages[3], "+ACK").await;
        let info = js.consumer_info("S", "C").await;
        assert_eq!((&info["num_ack_pending"], &info["ack_floor"]["stream_seq"]), (&json!(1), &json!(4)));
    });
}

#[test]
fn redeliveries_follow_the_back_off_until_there_were_enough() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 1).await;
        let mut advisories = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.S.C").await;
        let backoff = [SECOND / 10, SECOND / 4];
        js.consumer("S", "C", json!({"backoff": backoff, "max_deliver": 3})).await;
        let mut inbox = js.pull("S", "C", json!({"batch": 5, "expires": 20 * SECOND})).await;
        let mut times = Vec::new();
        for deliveries in 1..=3 {
            assert_eq!(coordinates(&inbox.message().await).deliveries, deliveries);
            times.push(Instant::now());
        }
        assert!(times[1] - times[0] >= Duration::from_millis(80), "{:?}", times[1] - times[0]);
        assert!(times[2] - times[1] >= Duration::from_millis(230), "{:?}", times[2] - times[1]);
        let advisory = advisories.json().await;
        assert_eq!((&advisory["stream_seq"], &advisory["deliveries"]), (&json!(1), &json!(3)));
        assert_eq!(advisory["type"], "io.nats.jetstream.advisory.v1.max_deliver");
        assert!(inbox.soon().await.is_none());
        let info = js.consumer_info("S", "C").await;
        assert_eq!(info["num_ack_pending"], 0);
    });
}

#[test]
fn a_terminated_message_is_reported() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 1).await;
        let mut advisories = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.C").await;
        js.consumer("S", "C", json!({})).await;
        let message = js.fetch("S", "C", 1).await.remove(0);
        js.confirm(&message, "+TERM too odd").await;
        let advisory = advisories.json().await;
        assert_eq!((&advisory["stream_seq"], &advisory["reason"]), (&json!(1), &json!("too odd")));
    });
}

#[test]
fn too_many_unacknowledged_messages_hold_up_new_ones_only() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 5).await;
        js.consumer("S", "C", json!({"max_ack_pending": 2})).await;
        let messages = js.fetch("S", "C", 2).await;
        let mut inbox = js.pull("S", "C", json!({"batch": 2, "expires": 10 * SECOND})).await;
        assert!(inbox.soon().await.is_none());
        js.answer(&messages[0], "-NAK").await;
        assert_eq!(text(&inbox.message().await), "1");
        assert!(inbox.soon().await.is_none());
        js.answer(&messages[1], "+ACK").await;
        assert_eq!(text(&inbox.message().await), "3");
    });
}

// Where a consumer begins and what it sees.

#[test]
fn consumers_begin_where_their_policy_says() {
    with_jetstream(|js| async move {
        js.stream("S", json!({})).await;
        for (subject, payload) in [("s.a", "1"), ("s.b", "2"), ("s.a", "3"), ("s.c", "4"), ("s.b", "5")] {
            js.publish(subject, payload).await;
        }
        let third = js.ok("STREAM.MSG.GET.S", json!({"seq": 3})).await["message"]["time"].clone();
        for (name, policy, expected) in [
            ("ALL", json!({"deliver_policy": "all"}), vec!["1", "2", "3", "4", "5"]),
            ("LAST", json!({"deliver_policy": "last"}), vec!["5"]),
            ("NEW", json!({"deliver_policy": "new"}), vec![]),
            ("SEQ", json!({"deliver_policy": "by_start_sequence", "opt_start_seq": 4}), vec!["4", "5"]),
            ("TIME", json!({"deliver_policy": "by_start_time", "opt_start_time": third}), vec!["3", "4", "5"]),
            ("LPS", json!({"deliver_policy": "last_per_subject", "filter_subject": "s.>"}), vec!["3", "4", "5"]),
            ("ONE", json!({"filter_subject": "s.b"}), vec!["2", "5"]),
            ("TWO", json!({"filter_subjects": ["s.b", "s.c"]}), vec!["2", "4", "5"]),
            ("LASTB", json!({"deliver_policy": "last", "filter_subject": "s.a"}), vec!["3"]),
        ] {
            let created = js.ok(&format!("CONSUMER.DURABLE.CREATE.S.{name}"), consumer_config("S", name, policy)).await;
            assert_eq!(created["num_pending"], expected.len(), "{name}");
            assert_eq!(texts(&js.fetch_now("S", name, 9).await), expected, "{name}");
        }
        js.publish("s.b", "6").await;
        for name in ["NEW", "LAST", "LPS", "ONE", "TWO"] {
            assert_eq!(texts(&js.fetch("S", name, 1).await), ["6"], "{name}");
        }
        assert!(js.fetch_now("S", "LASTB", 1).await.is_empty());
    });
}

#[test]
fn headers_only_tells_the_size() {
    with_jetstream(|js| async move {
        js.stream("S", json!({})).await;
        js.publish_with("s.a", &[("Key", "value")], "12345").await;
        js.consumer("S", "C", json!({"headers_only": true})).await;
        let message = js.fetch("S", "C", 1).await.remove(0);
        assert_eq!(
            (text(&message).as_str(), header(&message, "Nats-Msg-Size"), header(&message, "Key")),
            ("", "5", "value")
        );
    });
}

#[test]
fn a_consumer_is_updated_recreated_and_named_in_its_errors() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 3).await;
        let created = js.consumer("S", "C", json!({"ack_wait": SECOND})).await;
        let again = js.consumer("S", "C", json!({"ack_wait": SECOND})).await;
        assert_eq!(created["created"], again["created"]);
        let updated = js.consumer("S", "C", json!({"ack_wait": 2 * SECOND, "description": "slow"})).await;
        assert_eq!(updated["config"]["ack_wait"], 2 * SECOND);
        let mut strict = consumer_config("S", "C", json!({"ack_wait": 3 * SECOND}));
        strict["action"] = json!("create");
        assert_eq!(js.refused("CONSUMER.CREATE.S.C", strict.clone()).await, 10148);
        strict["action"] = json!("update");
        strict["config"]["name"] = json!("D");
        strict["config"]["durable_name"] = json!("D");
        assert_eq!(js.refused("CONSUMER.CREATE.S.D", strict).await, 10149);
        assert_eq!(js.refused("CONSUMER.INFO.S.D", Value::Null).await, 10014);
        assert_eq!(js.refused("CONSUMER.DELETE.S.D", Value::Null).await, 10014);
        let list = js.ok("CONSUMER.LIST.S", Value::Null).await;
        assert_eq!((&list["total"], &list["consumers"][0]["name"]), (&json!(1), &json!("C")));
    });
}

#[test]
fn an_unused_consumer_goes_away() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 1).await;
        js.consumer("S", "C", json!({"inactive_threshold": SECOND / 5})).await;
        // Whoever works on a message uses the consumer.
        let message = js.fetch("S", "C", 1).await.remove(0);
        js.confirm(&message, "+ACK").await;
        let mut deleted = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.DELETED.S.C").await;
        js.until("CONSUMER.INFO.S.C", "it is gone", |info| info["error"]["err_code"] == 10014).await;
        assert_eq!(deleted.json().await["consumer"], "C");
    });
}

#[test]
fn a_paused_consumer_delivers_nothing_until_it_goes_on() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 1).await;
        js.consumer("S", "C", json!({})).await;
        let paused = js.ok("CONSUMER.PAUSE.S.C", json!({"pause_until": "2999-01-01T00:00:00Z"})).await;
        assert_eq!(paused["paused"], true);
        assert_eq!(js.consumer_info("S", "C").await["paused"], true);
        let mut inbox = js.pull("S", "C", json!({"batch": 1, "expires": 20 * SECOND})).await;
        assert!(inbox.soon().await.is_none());
        assert_eq!(js.ok("CONSUMER.PAUSE.S.C", json!({})).await["paused"], false);
        assert_eq!(text(&inbox.message().await), "1");
    });
}

#[test]
fn a_consumer_can_be_reset() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 3).await;
        js.consumer("S", "C", json!({})).await;
        js.fetch("S", "C", 3).await;
        assert_eq!(js.ok("CONSUMER.RESET.S.C", json!({"seq": 2})).await["reset_seq"], 2);
        assert_eq!(texts(&js.fetch("S", "C", 2).await), ["2", "3"]);
    });
}

// Push.

#[test]
fn a_push_consumer_sends_to_whoever_listens() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            filled(&js, json!({"storage": storage}), 3).await;
            let created = js.consumer("S", "C", json!({"deliver_subject": "to.me"})).await;
            assert!(created.get("push_bound").is_none_or(|bound| bound == false), "{created}");
            let mut inbox = js.subscribe("to.me").await;
            for number in 1..=3 {
                let message = inbox.message().await;
                assert_eq!(coordinates(&message).stream, number);
                js.answer(&message, "+ACK").await;
            }
            js.publish("s.a", "4").await;
            assert_eq!(text(&inbox.message().await), "4");
            assert_eq!(js.consumer_info("S", "C").await["push_bound"], true);
            let pull = js.pull("S", "C", json!({"batch": 1})).await.status().await;
            assert_eq!(pull, "409 Consumer is push based");
            // Nobody listens, so nothing is lost.
            inbox.close().await;
            js.round_trip().await;
            js.publish("s.a", "5").await;
            tokio::time::sleep(MOMENT).await;
            assert_eq!(js.consumer_info("S", "C").await["delivered"]["stream_seq"], 4);
            let mut inbox = js.subscribe("to.me").await;
            assert_eq!(text(&inbox.message().await), "5");
        });
    }
}

#[test]
fn a_deliver_group_shares_and_only_members_count() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 0).await;
        js.consumer("S", "C", json!({"deliver_subject": "to.us", "deliver_group": "workers"})).await;
        let mut outsider = js.subscribe("to.us").await;
        js.publish("s.a", "0").await;
        assert!(outsider.soon().await.is_none(), "nobody of the group listens");
        outsider.close().await;
        let mut members = Vec::new();
        for _ in 0..2 {
            members.push(js.client.queue_subscribe("to.us", "workers".into()).await.unwrap());
        }
        js.round_trip().await;
        js.publish_many("s.a", 40).await;
        let mut counts = [0, 0];
        let deadline = Instant::now() + PATIENCE;
        while counts[0] + counts[1] < 41 {
            assert!(Instant::now() < deadline, "{counts:?}");
            for (member, count) in members.iter_mut().zip(&mut counts) {
                while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(10), member.next()).await {
                    *count += 1;
                }
            }
        }
        assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
    });
}

#[test]
fn push_heartbeats_come_while_nothing_does() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 1).await;
        let config = json!({"deliver_subject": "to.me", "idle_heartbeat": SECOND / 10, "flow_control": true});
        js.consumer("S", "C", config).await;
        let mut inbox = js.subscribe("to.me").await;
        inbox.message().await;
        let beat = inbox.next().await;
        assert_eq!((beat.status.unwrap().as_u16(), header(&beat, "Nats-Last-Stream")), (100, "1"));
        assert_eq!(header(&beat, "Nats-Last-Consumer"), "1");
    });
}

#[test]
fn flow_control_lets_a_client_of_the_library_read_much() {
    with_jetstream(|js| async move {
        js.stream("S", json!({})).await;
        let payload = "x".repeat(1000);
        let mut acks = Vec::new();
        for _ in 0..3000 {
            acks.push(js.context.publish("s.a", payload.clone().into()).await.unwrap());
        }
        for ack in acks {
            ack.await.unwrap();
        }
        let stream = js.context.get_stream("S").await.unwrap();
        let config = push::Config {
            deliver_subject: js.client.new_inbox(),
            flow_control: true,
            idle_heartbeat: Duration::from_secs(1),
            ack_policy: consumer::AckPolicy::None,
            ..push::Config::default()
        };
        let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
        for number in 1..=3000 {
            let message = tokio::time::timeout(PATIENCE, messages.next()).await.unwrap().unwrap().unwrap();
            assert_eq!(message.info().unwrap().stream_sequence, number);
        }
    });
}

#[test]
fn ordered_consumers_see_everything_in_order_pushed_or_pulled() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 200).await;
        let stream = js.context.get_stream("S").await.unwrap();
        let config = push::OrderedConfig { deliver_subject: js.client.new_inbox(), ..Default::default() };
        let mut pushed = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
        let config = pull::OrderedConfig { deliver_policy: DeliverPolicy::All, ..Default::default() };
        let mut pulled = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
        for number in 1..=200 {
            let message = tokio::time::timeout(PATIENCE, pushed.next()).await.unwrap().unwrap().unwrap();
            assert_eq!(message.info().unwrap().stream_sequence, number);
            let message = tokio::time::timeout(PATIENCE, pulled.next()).await.unwrap().unwrap().unwrap();
            assert_eq!(message.info().unwrap().stream_sequence, number);
        }
        // They survive the loss of their consumer.
        let names: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
        for name in names {
            stream.delete_consumer(&name).await.unwrap();
        }
        js.publish("s.a", "late").await;
        let message = tokio::time::timeout(PATIENCE * 2, pulled.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(&message.payload[..], b"late");
    });
}

// Retention.

#[test]
fn a_work_queue_forgets_what_is_done() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            filled(&js, json!({"storage": storage, "retention": "workqueue"}), 5).await;
            js.consumer("S", "C", json!({})).await;
            assert_eq!(js.refused("CONSUMER.CREATE.S.D", consumer_config("S", "D", json!({}))).await, 10099);
            let messages = js.fetch("S", "C", 5).await;
            js.confirm(&messages[0], "+ACK").await;
            js.confirm(&messages[2], "+TERM").await;
            js.until("STREAM.INFO.S", "two are removed", |info| info["state"]["messages"] == 3).await;
            assert_eq!(js.contents("S").await, ["2", "4", "5"]);
            js.answer(&messages[1], "-NAK").await;
            assert_eq!(js.messages("S").await, 3);
            for at in [1, 3, 4] {
                js.answer(&messages[at], "+ACK").await;
            }
            js.until("STREAM.INFO.S", "all are removed", |info| info["state"]["messages"] == 0).await;
            assert_eq!(js.publish("s.a", "6").await, 6);
        });
    }
}

#[test]
fn a_work_queue_may_be_shared_by_filters() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"retention": "workqueue"})).await;
        js.consumer("S", "A", json!({"filter_subject": "s.a"})).await;
        js.consumer("S", "B", json!({"filter_subject": "s.b"})).await;
        assert_eq!(
            js.refused("CONSUMER.CREATE.S.C", consumer_config("S", "C", json!({"filter_subject": "s.*"}))).await,
            10100
        );
        js.publish("s.a", "1").await;
        js.publish("s.b", "2").await;
        js.publish("s.c", "3").await;
        js.confirm(&js.fetch("S", "A", 1).await[0], "+ACK").await;
        js.confirm(&js.fetch("S", "B", 1).await[0], "+ACK").await;
        js.until("STREAM.INFO.S", "what nobody takes stays", |info| info["state"]["messages"] == 1).await;
    });
}

#[test]
fn interest_keeps_a_message_until_everybody_has_it() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            js.stream("S", json!({"storage": storage, "retention": "interest"})).await;
            assert_eq!(js.publish("s.a", "nobody wants it").await, 1);
            assert_eq!(js.messages("S").await, 0);
            js.consumer("S", "A", json!({})).await;
            js.consumer("S", "B", json!({"filter_subject": "s.b"})).await;
            js.publish("s.a", "for A").await;
            js.publish("s.b", "for both").await;
            assert_eq!(js.messages("S").await, 2);
            for message in js.fetch("S", "A", 2).await {
                js.confirm(&message, "+ACK").await;
            }
            js.until("STREAM.INFO.S", "one is left", |info| info["state"]["messages"] == 1).await;
            js.confirm(&js.fetch("S", "B", 1).await[0], "+ACK").await;
            js.until("STREAM.INFO.S", "none is left", |info| info["state"]["messages"] == 0).await;
            // A consumer that goes takes its interest with it.
            js.publish("s.b", "again").await;
            js.confirm(&js.fetch("S", "A", 1).await[0], "+ACK").await;
            assert_eq!(js.messages("S").await, 1);
            js.ok("CONSUMER.DELETE.S.B", Value::Null).await;
            js.until("STREAM.INFO.S", "nobody waits for it", |info| info["state"]["messages"] == 0).await;
        });
    }
}

#[test]
fn consumers_follow_purges_and_limits() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            filled(&js, json!({"storage": storage}), 10).await;
            js.consumer("S", "C", json!({})).await;
            js.fetch("S", "C", 4).await;
            js.ok("STREAM.PURGE.S", json!({"seq": 8})).await;
            let info = js.consumer_info("S", "C").await;
            assert_eq!((&info["num_ack_pending"], &info["num_pending"]), (&json!(0), &json!(3)), "{info}");
            assert_eq!(texts(&js.fetch("S", "C", 3).await), ["8", "9", "10"]);
            js.ok("STREAM.MSG.DELETE.S", json!({"seq": 9})).await;
            assert_eq!(js.consumer_info("S", "C").await["num_ack_pending"], 2);
            js.ok("STREAM.PURGE.S", Value::Null).await;
            let info = js.consumer_info("S", "C").await;
            assert_eq!((&info["num_ack_pending"], &info["num_pending"]), (&json!(0), &json!(0)), "{info}");
            assert_eq!(info["ack_floor"]["stream_seq"], 10);
            js.ok("STREAM.UPDATE.S", stream_config("S", json!({"storage": storage, "max_msgs": 2}))).await;
            js.publish_many("s.a", 5).await;
            assert_eq!(texts(&js.fetch_now("S", "C", 9).await), ["4", "5"]);
        });
    }
}

/// Many more than one pass delivers, by a work queue whose acks remove messages meanwhile.
#[test]
fn a_long_backlog_is_worked_off_by_several_clients() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"retention": "workqueue"})).await;
        let mut acks = Vec::new();
        for number in 0..3000 {
            acks.push(js.context.publish("s.a", number.to_string().into()).await.unwrap());
        }
        for ack in acks {
            ack.await.unwrap();
        }
        js.consumer("S", "C", json!({"max_ack_pending": 500})).await;
        let stream = js.context.get_stream("S").await.unwrap();
        let workers = (0..3).map(|_| {
            let stream = stream.clone();
            async move {
                let consumer: consumer::Consumer<pull::Config> = stream.get_consumer("C").await.unwrap();
                let mut seen = Vec::new();
                loop {
                    let mut batch = consumer
                        .batch()
                        .max_messages(100)
                        .expires(Duration::from_millis(500))
                        .messages()
                        .await
                        .unwrap();
                    let before = seen.len();
                    while let Some(message) = batch.next().await {
                        let message = message.unwrap();
                        seen.push(message.info().unwrap().stream_sequence);
                        message.ack_with(AckKind::Ack).await.unwrap();
                    }
                    if seen.len() == before {
                        return seen;
                    }
                }
            }
        });
        let mut all: Vec<u64> = futures::future::join_all(workers).await.into_iter().flatten().collect();
        all.sort_unstable();
        assert_eq!(all, (1..=3000).collect::<Vec<_>>());
        js.until("STREAM.INFO.S", "all are removed", |info| info["state"]["messages"] == 0).await;
    });
}

#[test]
fn priority_groups_pin_one_client() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 4).await;
        let config =
            json!({"priority_groups": ["g"], "priority_policy": "pinned_client", "priority_timeout": 5 * SECOND});
        js.consumer("S", "C", config).await;
        let mut first = js.pull("S", "C", json!({"batch": 1, "expires": 10 * SECOND, "group": "g"})).await;
        let message = first.message().await;
        let pin = header(&message, "Nats-Pin-Id").to_owned();
        assert!(!pin.is_empty());
        let mut other = js.pull("S", "C", json!({"batch": 1, "expires": 10 * SECOND, "group": "g"})).await;
        assert!(other.soon().await.is_none());
        let pull = json!({"batch": 1, "expires": 10 * SECOND, "group": "g", "id": pin});
        assert_eq!(text(&js.pull("S", "C", pull.clone()).await.message().await), "2");
        js.ok("CONSUMER.UNPIN.S.C", json!({"group": "g"})).await;
        assert_eq!(text(&other.message().await), "3");
        let stale = js.pull("S", "C", pull).await.status().await;
        assert!(stale.starts_with("423"), "{stale}");
    });
}

#[test]
fn a_pull_that_needs_a_newer_server_is_told_so() {
    with_jetstream(|js| async move {
        filled(&js, json!({}), 1).await;
        js.consumer("S", "C", json!({})).await;
        let ask = async |level: &str| {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Nats-Required-Api-Level", level);
            let (subject, reply) = ("$JS.API.CONSUMER.MSG.NEXT.S.C", js.client.new_inbox());
            let mut inbox = js.subscribe(&reply).await;
            js.client.publish_with_reply_and_headers(subject, reply, headers, "1".into()).await.unwrap();
            inbox.next().await
        };
        assert_eq!(ask("99").await.status.unwrap().as_u16(), 412);
        assert_eq!(text(&ask("1").await), "1");
    });
}

#[test]
fn a_group_name_that_can_not_be_is_refused_before_anything_is_looked_for() {
    with_jetstream(|js| async move {
        js.stream("S", json!({})).await;
        assert_eq!(js.refused("CONSUMER.UNPIN.S.C", json!({"group": "a b"})).await, 10162);
        assert_eq!(js.refused("CONSUMER.UNPIN.T.C", json!({"group": "a b"})).await, 10162);
        assert_eq!(js.refused("CONSUMER.UNPIN.S.C", json!({"group": "ab"})).await, 10014);
    });
}
