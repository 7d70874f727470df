//! Streams over the wire (T-*, P-*, J-*): what is kept, what is refused, and what can be asked.

use crate::harness::TestServer;
use crate::jetstream::{header, stream_config, text, with_jetstream};
use async_nats::HeaderMap;
use futures::TryStreamExt;
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn a_stream_is_created_described_updated_listed_and_deleted() {
    with_jetstream(|js| async move {
        let created = js.stream("ORDERS", json!({"max_msgs": 10})).await;
        assert_eq!(created["type"], "io.nats.jetstream.api.v1.stream_create_response");
        assert_eq!((&created["did_create"], &created["config"]["max_msgs"]), (&json!(true), &json!(10)));
        assert_eq!(created["config"]["duplicate_window"], 120_000_000_000_u64);
        assert_eq!(created["state"]["messages"], 0);
        js.stream("EVENTS", json!({"storage": "memory"})).await;

        let again = js.stream("ORDERS", json!({"max_msgs": 10})).await;
        assert_eq!(again["created"], created["created"], "creation is idempotent");
        let other = stream_config("ORDERS", json!({"max_msgs": 11}));
        assert_eq!(js.refused("STREAM.CREATE.ORDERS", other.clone()).await, 10058);
        let updated = js.ok("STREAM.UPDATE.ORDERS", other).await;
        assert_eq!(updated["config"]["max_msgs"], 11);
        assert_eq!(js.ok("STREAM.INFO.ORDERS", Value::Null).await["config"]["max_msgs"], 11);

        let overlapping = stream_config("OTHER", json!({"subjects": ["orders.new"]}));
        assert_eq!(js.refused("STREAM.CREATE.OTHER", overlapping).await, 10065);
        assert_eq!(js.refused("STREAM.INFO.NONE", Value::Null).await, 10059);
        assert_eq!(js.refused("STREAM.UPDATE.NONE", stream_config("NONE", json!({}))).await, 10059);

        let names = js.ok("STREAM.NAMES", Value::Null).await;
        assert_eq!((&names["streams"], &names["total"]), (&json!(["EVENTS", "ORDERS"]), &json!(2)));
        let names = js.ok("STREAM.NAMES", json!({"subject": "orders.new"})).await;
        assert_eq!(names["streams"], json!(["ORDERS"]));
        let list = js.ok("STREAM.LIST", Value::Null).await;
        assert_eq!(list["streams"].as_array().unwrap().len(), 2);
        let account = js.ok("INFO", Value::Null).await;
        assert_eq!(account["streams"], 2);

        assert_eq!(js.ok("STREAM.DELETE.ORDERS", Value::Null).await["success"], true);
        assert_eq!(js.refused("STREAM.DELETE.ORDERS", Value::Null).await, 10059);
        let names = js.ok("STREAM.NAMES", Value::Null).await;
        assert_eq!(names["streams"], json!(["EVENTS"]));
        // The name and the subjects are free again, and nothing of the old one is left.
        js.stream("ORDERS", json!({})).await;
        assert_eq!(js.publish("orders.new", "x").await, 1);
    });
}

/// Streams, and consumers by their filters, follow subjects that are not bounded by the control line.
#[test]
fn a_subject_of_too_many_tokens_is_invalid() {
    with_jetstream(|js| async move {
        let deep = vec!["a"; 200_000].join(".");
        assert_eq!(js.refused("STREAM.CREATE.D", stream_config("D", json!({"subjects": [&deep]}))).await, 10052);
        js.stream("S", json!({})).await;
        let config = json!({"stream_name": "S", "config": {"name": "C", "filter_subject": &deep}});
        js.refused("CONSUMER.CREATE.S.C", config.clone()).await;
        let filters = json!({"stream_name": "S", "config": {"name": "C", "filter_subjects": ["x", &deep]}});
        js.refused("CONSUMER.CREATE.S.C", filters).await;
        js.api("STREAM.NAMES", json!({"subject": &deep})).await;
        js.api("STREAM.PURGE.S", json!({"filter": &deep})).await;
        js.api("STREAM.INFO.S", json!({"subjects_filter": &deep})).await;
        js.api("STREAM.MSG.GET.S", json!({"last_by_subj": &deep})).await;
        js.api("STREAM.MSG.GET.S", json!({"seq": 1, "next_by_subj": &deep})).await;
        let transform = json!({"src": ">", "dest": format!("{deep}.>")});
        let config = stream_config("T", json!({"subject_transform": transform}));
        assert_eq!(js.refused("STREAM.CREATE.T", config).await, 10156);
        assert_eq!(js.publish("s.a", "still there").await, 1);
    });
}

#[test]
fn a_batch_of_direct_gets_leaves_what_its_connection_has_no_room_for() {
    const MESSAGES: usize = 300;
    let store = tempfile::tempdir().unwrap();
    let server = TestServer::start(|options| {
        options.jetstream.enabled = true;
        options.store_dir = Some(store.path().to_path_buf());
        options.pending_bytes_max = 4 << 20;
    });
    let mut client = server.connected();
    client.send("SUB r 1\r\n");
    client.send(publish("$JS.API.STREAM.CREATE.S", r#"{"name":"S","storage":"memory","allow_direct":true}"#));
    client.line();
    client.line();
    for _ in 0..MESSAGES {
        client.send(publish("S", &"x".repeat(100_000)));
        client.line();
        client.line();
    }
    // More than sockets hold, asked for twice before anything is read.
    let ask = publish("$JS.API.DIRECT.GET.S", r#"{"seq":1,"batch":1000,"max_bytes":200000000}"#);
    client.send(ask.repeat(2));
    let mut ends = 0;
    while ends < 2 {
        let line = client.line();
        let total: usize = line.trim_end().rsplit(' ').next().unwrap().parse().unwrap();
        let message = String::from_utf8(client.take(total + 2)).unwrap();
        if message.starts_with("NATS/1.0 204 EOB") {
            ends += 1;
            assert!(!message.contains("Nats-Num-Pending: 0\r\n"), "not all of them fit");
        }
    }
    client.send("PING\r\n");
    client.expect("PONG\r\n");
}

fn publish(subject: &str, body: &str) -> String {
    format!("PUB {subject} r {}\r\n{body}\r\n", body.len())
}

/// A record has two bytes for the length of a subject.
#[test]
fn a_subject_that_fits_no_record_is_refused_with_an_answer() {
    let store = tempfile::tempdir().unwrap();
    let server = TestServer::start(|options| {
        options.jetstream.enabled = true;
        options.store_dir = Some(store.path().to_path_buf());
        options.control_line_bytes_max = 300_000;
    });
    let mut client = server.connected();
    client.send("SUB r 1\r\n");
    let mut answer = |subject: &str, body: &str| {
        client.send(format!("PUB {subject} r {}\r\n{body}\r\n", body.len()));
        assert!(client.line().starts_with("MSG r 1 "));
        client.line()
    };
    let long = "b".repeat(65_000);
    for storage in ["file", "memory"] {
        let transform = json!({"src": ">", "dest": format!("{long}.>")});
        let subjects = [format!("{storage}.>")];
        let config = json!({"name": storage, "subjects": subjects, "storage": storage, "subject_transform": transform});
        let created = answer(&format!("$JS.API.STREAM.CREATE.{storage}"), &config.to_string());
        assert!(created.contains("did_create"), "{:?}", &created[..created.len().min(300)]);
        let refused = answer(&format!("{storage}.{}", "c".repeat(1000)), "x");
        assert!(refused.contains("\"err_code\":10054"), "{storage}: {refused:?}");
        assert!(answer(&format!("{storage}.c"), "x").contains("\"seq\":1"));
    }
    let transform = json!({"src": "t", "dest": "b".repeat(70_000)});
    let config = json!({"name": "T", "subjects": ["t"], "subject_transform": transform});
    assert!(answer("$JS.API.STREAM.CREATE.T", &config.to_string()).contains("\"err_code\":10156"));
}

#[test]
fn the_client_library_manages_streams() {
    with_jetstream(|js| async move {
        use async_nats::jetstream::stream::{Config, StorageType};
        let config = Config { name: "S".into(), subjects: vec!["s.*".into()], max_messages: 5, ..Config::default() };
        let mut stream = js.context.create_stream(config.clone()).await.unwrap();
        js.context
            .create_stream(Config { name: "M".into(), storage: StorageType::Memory, ..config.clone() })
            .await
            .unwrap_err();
        for number in 0..7 {
            let ack = js.context.publish("s.a", number.to_string().into()).await.unwrap().await.unwrap();
            assert_eq!(ack.sequence, number + 1);
        }
        assert_eq!(stream.info().await.unwrap().state.messages, 5);
        js.context.update_stream(Config { max_messages: 2, ..config }).await.unwrap();
        assert_eq!(stream.info().await.unwrap().state.first_sequence, 6);
        let message = stream.get_raw_message(7).await.unwrap();
        assert_eq!((&message.payload[..], message.subject.as_str()), (&b"6"[..], "s.a"));
        let names: Vec<String> = js.context.stream_names().try_collect().await.unwrap();
        assert_eq!(names, ["S"]);
        assert_eq!(js.context.stream_by_subject("s.x").await.unwrap(), "S");
        assert!(js.context.delete_stream("S").await.unwrap().success);
    });
}

#[test]
fn a_new_age_limit_holds_for_what_is_stored_in_file_and_memory() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            let subjects = json!(["s.>"]);
            js.stream("S", json!({"storage": storage, "subjects": subjects})).await;
            js.publish("s.a", "x").await;
            let config = json!({"storage": storage, "subjects": subjects, "max_age": 100_000_000, "duplicate_window": 100_000_000});
            js.ok("STREAM.UPDATE.S", stream_config("S", config)).await;
            // Nobody publishes or asks for anything but the number.
            while js.messages("S").await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
}

#[test]
fn deleting_what_a_consumer_waits_for_lets_it_go_on_in_file_and_memory() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            js.stream("S", json!({"storage": storage})).await;
            js.consumer("S", "C", json!({"max_ack_pending": 2})).await;
            for number in 1..=4 {
                js.publish("s.a", &number.to_string()).await;
            }
            let mut messages = js.pull("S", "C", json!({"batch": 4, "expires": 60_000_000_000_u64})).await;
            for expected in ["1", "2"] {
                assert_eq!(text(&messages.message().await), expected);
            }
            for sequence in [1, 2] {
                js.ok("STREAM.MSG.DELETE.S", json!({"seq": sequence})).await;
            }
            for expected in ["3", "4"] {
                assert_eq!(text(&messages.message().await), expected, "{storage}");
            }
        });
    }
}

#[test]
fn limits_drop_the_oldest_in_file_and_memory() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            js.stream("S", json!({"storage": storage, "max_msgs": 3, "subjects": ["s.>", "t"]})).await;
            js.publish_many("s.a", 5).await;
            assert_eq!(js.contents("S").await, ["3", "4", "5"]);
            let state = js.state("S").await;
            assert_eq!((&state["first_seq"], &state["last_seq"]), (&json!(3), &json!(5)));

            js.stream("P", json!({"storage": storage, "max_msgs_per_subject": 2})).await;
            for subject in ["p.a", "p.b", "p.a", "p.a", "p.b", "p.c"] {
                js.publish(subject, subject).await;
            }
            assert_eq!(js.contents("P").await, ["p.b", "p.a", "p.a", "p.b", "p.c"]);
            let state = js.ok("STREAM.INFO.P", json!({"deleted_details": true})).await["state"].clone();
            assert_eq!((&state["num_subjects"], &state["first_seq"]), (&json!(3), &json!(2)));

            let empty = js.ok("STREAM.INFO.S", Value::Null).await["state"]["bytes"].as_u64().unwrap() / 3;
            js.stream("B", json!({"storage": storage, "max_bytes": empty * 2 + 1})).await;
            js.publish_many("b.a", 4).await;
            assert_eq!(js.contents("B").await, ["3", "4"]);

            js.stream("A", json!({"storage": storage, "max_age": 200_000_000, "duplicate_window": 100_000_000})).await;
            js.publish_many("a.a", 3).await;
            js.until("STREAM.INFO.A", "messages expire", |info| info["state"]["messages"] == 0).await;
            let state = js.state("A").await;
            assert_eq!((&state["first_seq"], &state["last_seq"]), (&json!(4), &json!(3)));
            assert_eq!(js.publish("a.a", "x").await, 4);
        });
    }
}

#[test]
fn discard_new_refuses_what_does_not_fit() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"max_msgs": 2, "discard": "new"})).await;
        js.publish_many("s.a", 2).await;
        let refused = js.publish_with("s.a", &[], "3").await;
        assert_eq!(refused["error"]["err_code"], 10077);
        assert_eq!(refused["error"]["description"], "maximum messages exceeded");
        js.ok("STREAM.MSG.DELETE.S", json!({"seq": 1})).await;
        assert_eq!(js.publish("s.a", "3").await, 3);

        js.stream("P", json!({"max_msgs_per_subject": 1, "discard": "new", "discard_new_per_subject": true})).await;
        js.publish("p.a", "1").await;
        js.publish("p.b", "2").await;
        let refused = js.publish_with("p.a", &[], "3").await;
        assert_eq!(refused["error"]["description"], "maximum messages per subject exceeded");

        js.stream("Z", json!({"max_msg_size": 4})).await;
        let refused = js.publish_with("z.a", &[], "12345").await;
        assert_eq!((&refused["error"]["err_code"], &refused["error"]["code"]), (&json!(10054), &json!(400)));
        assert_eq!(js.publish("z.a", "1234").await, 1);
    });
}

#[test]
fn a_message_id_stores_once() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            js.stream("S", json!({"storage": storage, "duplicate_window": 300_000_000})).await;
            let id = [("Nats-Msg-Id", "one")];
            assert_eq!(js.publish_with("s.a", &id, "1").await, json!({"stream": "S", "seq": 1}));
            assert_eq!(js.publish_with("s.b", &id, "2").await, json!({"stream": "S", "seq": 1, "duplicate": true}));
            assert_eq!(js.messages("S").await, 1);
            // Sent in one burst, the second waits for the first.
            let mut acks = js.subscribe("acks").await;
            for _ in 0..2 {
                let mut headers = HeaderMap::new();
                headers.append("Nats-Msg-Id", "two");
                js.client.publish_with_reply_and_headers("s.a", "acks", headers, "x".into()).await.unwrap();
            }
            assert_eq!(acks.json().await, json!({"stream": "S", "seq": 2}));
            assert_eq!(acks.json().await, json!({"stream": "S", "seq": 2, "duplicate": true}));
            // After the window it is new.
            let deadline = std::time::Instant::now() + Duration::from_secs(5);
            while js.publish_with("s.a", &id, "3").await["duplicate"] == true {
                assert!(std::time::Instant::now() < deadline, "the window never ends");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(js.messages("S").await, 3);
        });
    }
}

#[test]
fn expectations_are_checked() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            js.stream("S", json!({"storage": storage})).await;
            let code = |ack: Value| ack["error"]["err_code"].as_u64();
            assert_eq!(code(js.publish_with("s.a", &[("Nats-Expected-Stream", "T")], "").await), Some(10060));
            let ack = js.publish_with("s.a", &[("Nats-Expected-Stream", "S"), ("Nats-Msg-Id", "m1")], "1").await;
            assert_eq!(ack["seq"], 1);
            assert_eq!(code(js.publish_with("s.a", &[("Nats-Expected-Last-Sequence", "2")], "").await), Some(10071));
            let wrong = js.publish_with("s.a", &[("Nats-Expected-Last-Sequence", "0")], "").await;
            assert_eq!(wrong["error"]["description"], "wrong last sequence: 1");
            assert_eq!(js.publish_with("s.b", &[("Nats-Expected-Last-Sequence", "1")], "").await["seq"], 2);
            let expected = |sequence| [("Nats-Expected-Last-Subject-Sequence", sequence)];
            assert_eq!(code(js.publish_with("s.a", &expected("2"), "").await), Some(10071));
            assert_eq!(js.publish_with("s.a", &expected("1"), "").await["seq"], 3);
            assert_eq!(js.publish_with("s.new", &expected("0"), "").await["seq"], 4);
            let elsewhere =
                [("Nats-Expected-Last-Subject-Sequence", "2"), ("Nats-Expected-Last-Subject-Sequence-Subject", "s.b")];
            assert_eq!(js.publish_with("s.a", &elsewhere, "").await["seq"], 5);
            assert_eq!(code(js.publish_with("s.a", &[("Nats-Expected-Last-Msg-Id", "m1")], "").await), Some(10070));
            js.publish_with("s.a", &[("Nats-Msg-Id", "m2")], "").await;
            assert_eq!(js.publish_with("s.a", &[("Nats-Expected-Last-Msg-Id", "m2")], "").await["seq"], 7);
        });
    }
}

#[test]
fn roll_up_replaces_a_subject_or_everything() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"allow_rollup_hdrs": true})).await;
        for subject in ["s.a", "s.b", "s.a"] {
            js.publish(subject, subject).await;
        }
        assert_eq!(js.publish_with("s.a", &[("Nats-Rollup", "sub")], "a only").await["seq"], 4);
        assert_eq!(js.contents("S").await, ["s.b", "a only"]);
        js.publish_with("s.b", &[("Nats-Rollup", "all")], "everything").await;
        assert_eq!(js.contents("S").await, ["everything"]);
        js.stream("N", json!({})).await;
        let refused = js.publish_with("n.a", &[("Nats-Rollup", "all")], "").await;
        assert_eq!(refused["error"]["err_code"], 10111);
    });
}

#[test]
fn purges_take_all_a_part_or_a_subject() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            js.stream("S", json!({"storage": storage})).await;
            let fill = || async {
                for number in 0..10 {
                    js.publish(["s.a", "s.b"][number % 2], &number.to_string()).await;
                }
            };
            fill().await;
            assert_eq!(js.ok("STREAM.PURGE.S", json!({"seq": 4})).await["purged"], 3);
            assert_eq!(js.ok("STREAM.PURGE.S", json!({"keep": 5})).await["purged"], 2);
            assert_eq!(js.contents("S").await, ["5", "6", "7", "8", "9"]);
            assert_eq!(js.ok("STREAM.PURGE.S", json!({"filter": "s.a"})).await["purged"], 2);
            assert_eq!(js.contents("S").await, ["5", "7", "9"]);
            assert_eq!(js.ok("STREAM.PURGE.S", json!({"filter": "s.b", "keep": 1})).await["purged"], 2);
            assert_eq!(js.ok("STREAM.PURGE.S", Value::Null).await["purged"], 1);
            let state = js.state("S").await;
            assert_eq!(
                (&state["messages"], &state["first_seq"], &state["last_seq"]),
                (&json!(0), &json!(11), &json!(10))
            );
            assert_eq!(js.refused("STREAM.PURGE.S", json!({"seq": 1, "keep": 1})).await, 10003);
            fill().await;
            assert_eq!(js.ok("STREAM.PURGE.S", json!({"filter": "s.a", "seq": 15})).await["purged"], 2);
            assert_eq!(js.messages("S").await, 8);
        });
    }
}

#[test]
fn messages_are_read_and_deleted_by_request() {
    with_jetstream(|js| async move {
        js.stream("S", json!({})).await;
        js.publish_with("s.a", &[("Key", "value")], "one").await;
        js.publish("s.b", "two").await;
        js.publish("s.a", "three").await;
        let get = |body: Value| js.api("STREAM.MSG.GET.S", body);
        let message = get(json!({"seq": 1})).await["message"].clone();
        assert_eq!(
            (&message["subject"], &message["seq"], &message["data"]),
            (&json!("s.a"), &json!(1), &json!("b25l"))
        );
        assert!(message["hdrs"].is_string());
        assert_eq!(get(json!({"last_by_subj": "s.a"})).await["message"]["seq"], 3);
        assert_eq!(get(json!({"last_by_subj": "s.*"})).await["message"]["seq"], 3);
        assert_eq!(get(json!({"next_by_subj": "s.b", "seq": 1})).await["message"]["seq"], 2);
        assert_eq!(get(json!({"seq": 9})).await["error"]["err_code"], 10037);
        assert_eq!(js.ok("STREAM.MSG.DELETE.S", json!({"seq": 2})).await["success"], true);
        assert_eq!(js.refused("STREAM.MSG.DELETE.S", json!({"seq": 2})).await, 10043);
        let state = js.ok("STREAM.INFO.S", json!({"deleted_details": true})).await["state"].clone();
        assert_eq!((&state["num_deleted"], &state["deleted"]), (&json!(1), &json!([2])));
        assert_eq!(js.messages("S").await, 2);
    });
}

#[test]
fn direct_get_answers_with_the_message_itself() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"allow_direct": true})).await;
        for (subject, payload) in [("s.a", "1"), ("s.b", "2"), ("s.a", "3"), ("s.c", "4")] {
            js.publish_with(subject, &[("Own", "yes")], payload).await;
        }
        let get = |subject: &'static str, body: Value| {
            let js = js.clone();
            async move {
                let body = if body.is_null() { String::new() } else { body.to_string() };
                js.request(&format!("$JS.API.DIRECT.GET.{subject}"), HeaderMap::new(), body).await
            }
        };
        let message = get("S", json!({"seq": 3})).await;
        assert_eq!((text(&message).as_str(), header(&message, "Nats-Subject")), ("3", "s.a"));
        assert_eq!((header(&message, "Nats-Sequence"), header(&message, "Nats-Stream")), ("3", "S"));
        assert_eq!((header(&message, "Own"), header(&message, "Nats-Time-Stamp").is_empty()), ("yes", false));
        assert_eq!(text(&get("S", json!({"last_by_subj": "s.b"})).await), "2");
        assert_eq!(text(&get("S.s.a", Value::Null).await), "3");
        assert_eq!(text(&get("S", json!({"next_by_subj": "s.*", "seq": 2})).await), "2");
        let missing = get("S", json!({"seq": 9})).await;
        assert_eq!(missing.status.unwrap().as_u16(), 404);
        assert_eq!(get("S", Value::Null).await.status.unwrap().as_u16(), 408);

        // Several at once: messages, and then the end of the batch.
        let batch = |body: Value| {
            let js = js.clone();
            async move {
                let reply = js.client.new_inbox();
                let mut inbox = js.subscribe(&reply).await;
                let request = body.to_string().into();
                js.client.publish_with_reply("$JS.API.DIRECT.GET.S", reply, request).await.unwrap();
                let mut payloads = Vec::new();
                loop {
                    let message = inbox.next().await;
                    match message.status {
                        None => payloads.push(text(&message)),
                        Some(status) => {
                            return (payloads, status.as_u16(), header(&message, "Nats-Num-Pending").to_owned());
                        }
                    }
                }
            }
        };
        let strings = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(batch(json!({"batch": 2, "seq": 1})).await, (strings(&["1", "2"]), 204, "2".into()));
        assert_eq!(
            batch(json!({"batch": 9, "seq": 1, "next_by_subj": "s.a"})).await,
            (strings(&["1", "3"]), 204, "0".into())
        );
        assert_eq!(batch(json!({"multi_last": ["s.*"]})).await, (strings(&["2", "3", "4"]), 204, "0".into()));
        assert_eq!(
            batch(json!({"multi_last": ["s.a", "s.b"], "up_to_seq": 2})).await,
            (strings(&["1", "2"]), 204, "0".into())
        );
        assert_eq!(batch(json!({"multi_last": ["t"]})).await.1, 404);
        assert_eq!(batch(json!({"multi_last": ["s.*"], "seq": 9})).await, (strings(&[]), 204, "0".into()));

        js.stream("N", json!({})).await;
        let request = async_nats::Request::new().payload(r#"{"seq":1}"#.into());
        let nobody = js.client.send_request("$JS.API.DIRECT.GET.N", request).await.unwrap_err();
        assert_eq!(nobody.kind(), async_nats::RequestErrorKind::NoResponders);
    });
}

/// A message that was overwritten while the ones before it were sent ended the answer, without an end of the batch.
#[test]
fn what_is_overwritten_while_it_is_read_is_no_gap_in_a_batch() {
    const SUBJECTS: usize = 200;
    with_jetstream(|js| async move {
        js.stream("S", json!({"allow_direct": true, "max_msgs_per_subject": 1})).await;
        for number in 0..SUBJECTS {
            js.publish(&format!("s.{number}"), "x").await;
        }
        let publisher = js.clone();
        let overwriting = tokio::spawn(async move {
            loop {
                for number in 1..SUBJECTS {
                    publisher.client.publish(format!("s.{number}"), "y".into()).await.unwrap();
                }
                publisher.publish("s.0", "y").await;
            }
        });
        for round in 0..60 {
            let reply = js.client.new_inbox();
            let mut inbox = js.subscribe(&reply).await;
            let body = match round % 2 {
                0 => json!({"multi_last": ["s.*"]}),
                _ => json!({"seq": 1, "batch": 1000}),
            };
            js.client.publish_with_reply("$JS.API.DIRECT.GET.S", reply, body.to_string().into()).await.unwrap();
            let mut messages = 0;
            let end = loop {
                let message = inbox.next().await;
                match message.status {
                    None => messages += 1,
                    Some(_) => break message,
                }
            };
            let status = end.status.unwrap().as_u16();
            assert_eq!((messages, status, header(&end, "Nats-Num-Pending")), (SUBJECTS, 204, "0"), "{body}");
        }
        overwriting.abort();
    });
}

#[test]
fn info_counts_messages_per_subject() {
    with_jetstream(|js| async move {
        js.stream("S", json!({})).await;
        for subject in ["s.a", "s.b", "s.a", "s.c.d"] {
            js.publish(subject, "").await;
        }
        let subjects = |filter: &'static str| {
            let js = js.clone();
            async move { js.ok("STREAM.INFO.S", json!({"subjects_filter": filter})).await["state"]["subjects"].clone() }
        };
        assert_eq!(subjects(">").await, json!({"s.a": 2, "s.b": 1, "s.c.d": 1}));
        assert_eq!(subjects("s.*").await, json!({"s.a": 2, "s.b": 1}));
        assert_eq!(subjects("none").await, Value::Null);
        assert_eq!(js.state("S").await["num_subjects"], 3);
    });
}

#[test]
fn sealed_streams_and_denied_operations_stay_as_they_are() {
    with_jetstream(|js| async move {
        js.stream("D", json!({"deny_delete": true, "deny_purge": true})).await;
        js.publish("d.a", "1").await;
        assert_eq!(js.refused("STREAM.MSG.DELETE.D", json!({"seq": 1})).await, 10057);
        assert_eq!(js.refused("STREAM.PURGE.D", Value::Null).await, 10110);
        let allowed = stream_config("D", json!({}));
        assert_eq!(js.refused("STREAM.UPDATE.D", allowed).await, 10052, "what is denied stays denied");

        js.stream("S", json!({})).await;
        js.publish("s.a", "1").await;
        let sealed = js.ok("STREAM.UPDATE.S", stream_config("S", json!({"sealed": true}))).await;
        assert_eq!(sealed["config"]["sealed"], true);
        let refused = js.publish_with("s.a", &[], "2").await;
        assert_eq!(refused["error"]["err_code"], 10109);
        assert_eq!(js.refused("STREAM.PURGE.S", Value::Null).await, 10109);
        assert_eq!(js.refused("STREAM.MSG.DELETE.S", json!({"seq": 1})).await, 10109);
        assert_eq!(js.contents("S").await, ["1"]);
    });
}

#[test]
fn a_stream_without_acks_answers_nobody() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"no_ack": true})).await;
        let mut acks = js.subscribe("acks").await;
        js.client.publish_with_reply("s.a", "acks", "1".into()).await.unwrap();
        js.until("STREAM.INFO.S", "the message is stored", |info| info["state"]["messages"] == 1).await;
        assert!(acks.soon().await.is_none());
    });
}

#[test]
fn changed_subjects_count_from_the_answer_on() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"subjects": ["a"]})).await;
        js.publish("a", "1").await;
        js.ok("STREAM.UPDATE.S", stream_config("S", json!({"subjects": ["b"]}))).await;
        assert_eq!(js.publish("b", "2").await, 2);
        // The old subject has nobody listening, sooner or later.
        let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
        while js.client.request("a", "".into()).await.is_ok() {
            assert!(std::time::Instant::now() < deadline, "the old subject is still stored");
        }
    });
}

#[test]
fn messages_are_republished_and_transformed() {
    with_jetstream(|js| async move {
        let config = json!({
            "subjects": ["in.*"],
            "subject_transform": {"src": "in.*", "dest": "stored.{{wildcard(1)}}"},
            "republish": {"src": "stored.*", "dest": "again.{{wildcard(1)}}"},
        });
        let reply = js.api("STREAM.CREATE.S", stream_config("S", config)).await;
        assert!(reply.get("error").is_none(), "{reply}");
        let mut again = js.subscribe("again.*").await;
        js.publish("in.a", "x").await;
        let message = again.next().await;
        assert_eq!((message.subject.as_str(), header(&message, "Nats-Subject")), ("again.a", "stored.a"));
        assert_eq!((header(&message, "Nats-Sequence"), header(&message, "Nats-Stream")), ("1", "S"));
        assert_eq!(js.ok("STREAM.MSG.GET.S", json!({"seq": 1})).await["message"]["subject"], "stored.a");
    });
}

#[test]
fn messages_expire_one_by_one_and_leave_markers() {
    with_jetstream(|js| async move {
        let config =
            json!({"allow_msg_ttl": true, "subject_delete_marker_ttl": 1_000_000_000_u64, "allow_rollup_hdrs": true});
        js.stream("S", config).await;
        js.publish_with("s.a", &[("Nats-TTL", "1s")], "1").await;
        js.publish("s.b", "2").await;
        js.until("STREAM.INFO.S", "a marker is there", |info| info["state"]["last_seq"] == 3).await;
        let marker = js.ok("STREAM.MSG.GET.S", json!({"last_by_subj": "s.a"})).await["message"].clone();
        assert_eq!(marker["seq"], 3);
        let refused = js.publish_with("s.a", &[("Nats-TTL", "soon")], "").await;
        assert_eq!(refused["error"]["err_code"], 10165);
    });
}

/// Replies may reach the stream that sends them: nothing is called while a stream is locked.
#[test]
fn a_stream_may_store_the_answers_it_causes() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            js.stream("S", json!({"storage": storage, "subjects": ["s.>", "answers.>"]})).await;
            js.client.publish_with_reply("s.a", "answers.ack", "1".into()).await.unwrap();
            for (subject, body) in [
                ("$JS.API.STREAM.INFO.S", Value::Null),
                (
                    "$JS.API.STREAM.UPDATE.S",
                    stream_config("S", json!({"storage": storage, "subjects": ["s.>", "answers.>"], "max_msgs": 500})),
                ),
                ("$JS.API.CONSUMER.CREATE.S.C", crate::jetstream::consumer_config("S", "C", json!({}))),
                ("$JS.API.CONSUMER.INFO.S.C", Value::Null),
                ("$JS.API.CONSUMER.LIST.S", Value::Null),
                ("$JS.API.STREAM.MSG.DELETE.S", json!({"seq": 1})),
                ("$JS.API.CONSUMER.MSG.NEXT.S.C", json!({"batch": 3, "expires": 1_000_000_000})),
                ("$JS.API.CONSUMER.PAUSE.S.C", json!({})),
                ("$JS.API.CONSUMER.DELETE.S.C", Value::Null),
            ] {
                let body = if body.is_null() { String::new() } else { body.to_string() };
                js.client.publish_with_reply(subject, "answers.api", body.into()).await.unwrap();
                js.round_trip().await;
            }
            js.until("STREAM.INFO.S", "answers are stored", |info| info["state"]["last_seq"].as_u64() >= Some(10))
                .await;
            js.client.publish_with_reply("$JS.API.STREAM.PURGE.S", "answers.purge", "".into()).await.unwrap();
            js.until("STREAM.INFO.S", "the purge is answered", |info| {
                info["state"]["num_subjects"].as_u64() >= Some(1)
            })
            .await;
            // Of a stream that stores the advisories about itself, too.
            js.stream("ADVISORIES", json!({"storage": storage, "subjects": ["$JS.EVENT.>"]})).await;
            let mut audit = js.subscribe("$JS.EVENT.ADVISORY.API").await;
            js.ok("STREAM.PURGE.ADVISORIES", Value::Null).await;
            audit.next().await;
            js.stream("LAST", json!({"storage": storage})).await;
            js.ok("STREAM.DELETE.LAST", Value::Null).await;
            js.until("STREAM.INFO.ADVISORIES", "advisories are stored", |info| {
                info["state"]["messages"].as_u64() >= Some(2)
            })
            .await;
            assert!(js.publish("s.a", "the stream lives").await > 10);
        });
    }
}

/// More than one flush of deliveries into a stream that is locked meanwhile.
#[test]
fn a_push_consumer_may_fill_its_own_stream() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"subjects": ["s.>", "copy.>"]})).await;
        let payload = "x".repeat(4096);
        for _ in 0..200 {
            js.client.publish("s.a", payload.clone().into()).await.unwrap();
        }
        js.until("STREAM.INFO.S", "all is stored", |info| info["state"]["messages"] == 200).await;
        let body = json!({"deliver_subject": "copy.x", "filter_subject": "s.a", "ack_policy": "none"});
        let request = crate::jetstream::consumer_config("S", "PUSH", body);
        let reply = js.api("CONSUMER.CREATE.S.PUSH.s.a", request).await;
        if reply.get("error").is_none() {
            js.until("STREAM.INFO.S", "each is stored again", |info| info["state"]["messages"] == 400).await;
        }
    });
}

#[test]
fn every_publisher_gets_every_ack_under_load() {
    with_jetstream(|js| async move {
        js.stream("S", json!({})).await;
        let tasks: Vec<_> = (0..4)
            .map(|publisher| {
                let js = js.clone();
                async move {
                    let mut waiting = Vec::new();
                    for number in 0..500 {
                        let subject = format!("s.{publisher}");
                        waiting.push(js.context.publish(subject, number.to_string().into()).await.unwrap());
                    }
                    let mut sequences = Vec::new();
                    for ack in waiting {
                        sequences.push(ack.await.unwrap().sequence);
                    }
                    assert!(sequences.is_sorted());
                    sequences
                }
            })
            .collect();
        let mut all: Vec<u64> = futures::future::join_all(tasks).await.into_iter().flatten().collect();
        all.sort_unstable();
        assert_eq!(all, (1..=2000).collect::<Vec<_>>());
    });
}

/// Every reply subject is a service that asks for the lock that the request held.
#[test]
fn a_request_may_name_the_api_as_its_reply() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            let create = stream_config("S", json!({"storage": storage}));
            let consumer = crate::jetstream::consumer_config("S", "C", json!({}));
            for (subject, body) in [
                ("$JS.API.STREAM.CREATE.S", create.clone()),
                ("$JS.API.STREAM.UPDATE.S", create.clone()),
                ("$JS.API.CONSUMER.CREATE.S.C", consumer.clone()),
                ("$JS.API.STREAM.PURGE.S", json!({})),
                ("$JS.API.CONSUMER.DELETE.S.C", json!({})),
                ("$JS.API.STREAM.DELETE.S", json!({})),
            ] {
                for reply in [
                    "$JS.API.STREAM.CREATE.S",
                    "$JS.API.CONSUMER.CREATE.S.C",
                    "$JS.API.STREAM.DELETE.S",
                    "$JS.API.STREAM.INFO.S",
                ] {
                    js.ok("STREAM.NAMES", Value::Null).await;
                    js.client.publish_with_reply(subject, reply, body.to_string().into()).await.unwrap();
                    js.round_trip().await;
                }
            }
            js.stream("LAST", json!({})).await;
            assert_eq!(js.publish("last.a", "alive").await, 1);
        });
    }
}

/// A message without a reply subject was stored a moment after it had been read, and a request for the stream's state
/// that came with it did not show it.
#[test]
fn what_was_published_without_a_reply_shows_in_the_state_that_is_asked_for_next() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"subjects": ["s.>"]})).await;
        for count in 1..=100u64 {
            js.client.publish(format!("s.{count}"), "x".into()).await.unwrap();
            let reply = js.ok("STREAM.INFO.S", json!({"subjects_filter": ">"})).await;
            assert_eq!(reply["state"]["messages"], count);
            assert_eq!(reply["state"]["subjects"].as_object().unwrap().len() as u64, count);
        }
    });
}

/// Nobody answered, and the `nats` program waited for a backup that never came.
#[test]
fn what_is_not_there_yet_is_refused_at_once() {
    with_jetstream(|js| async move {
        js.stream("S", json!({})).await;
        assert_eq!(js.refused("STREAM.SNAPSHOT.S", json!({"deliver_subject": "to"})).await, 10064);
        assert_eq!(js.refused("STREAM.SNAPSHOT.NONE", json!({"deliver_subject": "to"})).await, 10059);
        assert_eq!(js.refused("STREAM.RESTORE.T", json!({"config": {"name": "T"}, "state": {}})).await, 10062);
    });
}

#[test]
fn reading_a_message_is_not_counted_as_a_request() {
    with_jetstream(|js| async move {
        js.stream("S", json!({})).await;
        js.publish("s.a", "x").await;
        js.consumer("S", "C", json!({})).await;
        let mut audit = js.subscribe("$JS.EVENT.ADVISORY.API").await;
        let totals = async || {
            let api = js.ok("INFO", Value::Null).await["api"].clone();
            (api["total"].as_u64().unwrap(), api["errors"].as_u64().unwrap_or(0))
        };
        let (total, errors) = totals().await;
        js.ok("STREAM.MSG.GET.S", json!({"seq": 1})).await;
        js.ok("CONSUMER.RESET.S.C", Value::Null).await;
        js.refused("CONSUMER.RESET.S.C", json!("x")).await;
        assert_eq!(totals().await, (total + 1, errors), "only the request for the totals");
        js.refused("STREAM.MSG.GET.S", json!({"seq": 9})).await;
        assert_eq!(totals().await, (total + 3, errors + 1));
        for subject in ["$JS.API.INFO", "$JS.API.INFO", "$JS.API.STREAM.MSG.GET.S", "$JS.API.INFO"] {
            assert_eq!(audit.json().await["subject"], subject);
        }
    });
}
