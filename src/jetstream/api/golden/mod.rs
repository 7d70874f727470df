//! Requests and the replies of a genuine nats-server 2.15.1, recorded once: we must answer with the same bytes.
//!
//! In the text files every request is followed by its reply, in which times are replaced by `T`.

mod model;

use model::Model;

use super::account_info::AccountLimits;
use super::consumer_config::ConsumerConfig;
use super::json;
use super::requests::{CreateConsumerRequest, StreamConfigRequest, read};
use super::stream_config::StreamConfig;
use super::time::{MINUTE, Timestamp};
use super::validate::{AccountTiers, ServerLimits};

/// Answers every recorded request and compares.
fn check(recorded: &str, server: ServerLimits, account: AccountTiers) {
    let mut model = Model { server, account, streams: Vec::new(), consumers: Vec::new() };
    let mut lines = recorded.lines().filter(|line| !line.starts_with('#'));
    let mut failures = Vec::new();
    while let (Some(request), Some(expected)) = (lines.next(), lines.next()) {
        let (subject, body) = request.split_once(' ').unwrap_or((request, ""));
        let reply = String::from_utf8(model.answer(subject, body.as_bytes())).unwrap();
        let zero = Timestamp::ZERO.to_string();
        let reply = reply
            .replace(&format!("\"created\":\"{zero}\""), "\"created\":\"T\"")
            .replace(&format!("\"ts\":\"{zero}\""), "\"ts\":\"T\"");
        if reply != expected {
            failures.push(format!("{request}\n  genuine {expected}\n  ours    {reply}"));
        }
    }
    assert!(failures.is_empty(), "{} replies differ:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn replies_are_those_of_the_genuine_server() {
    check(include_str!("requests.txt"), ServerLimits::default(), AccountTiers::unlimited());
}

#[test]
fn limits_are_those_of_the_genuine_server() {
    let account = AccountLimits {
        max_memory: 1000,
        max_storage: 2000,
        max_streams: 4,
        max_consumers: 2,
        max_ack_pending: 200,
        memory_max_stream_bytes: 600,
        storage_max_stream_bytes: 900,
        max_bytes_required: true,
    };
    let server = ServerLimits {
        max_request_batch: 50,
        max_ack_pending: 300,
        max_duplicate_window: MINUTE,
        ..ServerLimits::default()
    };
    check(include_str!("limits.txt"), server, AccountTiers { flat: Some(account), ..AccountTiers::default() });
}

#[test]
fn tiers_are_chosen_by_replicas_and_none_is_an_error() {
    let limited = AccountLimits { max_streams: 1, ..AccountLimits::UNLIMITED };
    let mut account = AccountTiers::default();
    account.tiers.insert("R1".to_owned(), limited);
    let mut model = Model { server: ServerLimits::default(), account, streams: Vec::new(), consumers: Vec::new() };
    assert!(model.create("A", br#"{"name":"A"}"#).is_ok());
    assert_eq!(model.create("B", br#"{"name":"B"}"#).unwrap_err().err_code, 10027);
    assert_eq!(model.create("B", br#"{"name":"B","num_replicas":3}"#).unwrap_err().err_code, 10120);
}

#[test]
fn the_room_of_the_server_is_shared_by_all_accounts() {
    let server = ServerLimits { max_storage: 1000, reserved_storage: 600, ..ServerLimits::default() };
    let mut model = Model { server, account: AccountTiers::unlimited(), streams: Vec::new(), consumers: Vec::new() };
    assert_eq!(model.create("A", br#"{"name":"A","max_bytes":401}"#).unwrap_err().err_code, 10047);
    assert!(model.create("A", br#"{"name":"A","max_bytes":400}"#).is_ok());
}

#[test]
fn what_is_not_there_yet_is_refused_and_named() {
    let mut model = Model {
        server: ServerLimits::default(),
        account: AccountTiers::unlimited(),
        streams: Vec::new(),
        consumers: Vec::new(),
    };
    for (field, what) in [
        (r#""mirror":{"name":"O"}"#, "stream mirrors"),
        (r#""sources":[{"name":"O"}]"#, "stream sources"),
        (r#""allow_msg_counter":true"#, "message counters"),
        (r#""allow_msg_schedules":true"#, "message schedules"),
    ] {
        let error = model.create("A", format!("{{\"name\":\"A\",{field}}}").as_bytes()).unwrap_err();
        assert_eq!(error.err_code, 10052);
        assert_eq!(error.description, format!("{what} not supported by this server version"));
    }
}

#[test]
fn what_is_not_json_is_told_as_the_genuine_server_does() {
    for (body, expected) in [
        (
            r#"{"name":"A","max_msgs":"x"}"#,
            "json: cannot unmarshal string into Go struct field StreamConfigRequest.max_msgs of type int64",
        ),
        (r#"{"name":"A","#, "unexpected EOF"),
        (r#"{"name" "A"}"#, "invalid character '\"' after object key at offset 9"),
        (r#"{"retention":"foo"}"#, r#"can not unmarshal "\"foo\"""#),
        (
            r#"{"subjects":["a<b>",1]}"#,
            "json: cannot unmarshal number into StreamConfigRequest.subjects.1 of type string",
        ),
        (
            r#"{"max_msgs":1.5}"#,
            "json: cannot unmarshal number 1.5 into Go struct field StreamConfigRequest.max_msgs of type int64",
        ),
        (
            r#"{"max_msg_size":99999999999999}"#,
            "json: cannot unmarshal number 99999999999999 into Go struct field StreamConfigRequest.max_msg_size of type int32",
        ),
        (
            r#"{"mirror":{"opt_start_time":"abc"}}"#,
            "parsing time \"abc\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"abc\" as \"2006\"",
        ),
        ("[]", "json: cannot unmarshal array into Go value of type server.StreamConfigRequest"),
        (
            r#"{"sources":[{"name":1}]}"#,
            "json: cannot unmarshal number into Go struct field StreamConfigRequest.sources.0.name of type string",
        ),
        (
            r#"{"sources":[5]}"#,
            "json: cannot unmarshal number into StreamConfigRequest.sources.0 of type server.StreamSource",
        ),
        (
            r#"{"sources":{}}"#,
            "json: cannot unmarshal object into Go struct field StreamConfigRequest.sources of type []*server.StreamSource",
        ),
        (
            r#"{"metadata":{"a":1}}"#,
            "json: cannot unmarshal number into Go struct field StreamConfigRequest.metadata.a of type string",
        ),
        (
            r#"{"max_age":"5s"}"#,
            "json: cannot unmarshal string into Go struct field StreamConfigRequest.max_age of type time.Duration",
        ),
        (
            r#"{"first_seq":-1}"#,
            "json: cannot unmarshal number -1 into Go struct field StreamConfigRequest.first_seq of type uint64",
        ),
        (r#"{"discard":"OLD","compression":"x"}"#, "unknown compression algorithm"),
        (r#"{"storage":null}"#, r#"can not unmarshal "null""#),
        (r#"{"name":"B"} x"#, "invalid character 'x' looking for beginning of value at offset 14"),
        (r#"{"name":"B",}"#, "invalid character '}' looking for beginning of object key string at offset 13"),
        (r#"{"name":"B\q"}"#, "invalid escape sequence `\\q` in string at offset 12"),
        ("{\"name\":\"B\t\"}", "invalid character '\\t' in string at offset 11"),
        (r#"{"name":truX}"#, "invalid character 'X' in literal true (expecting 'e') at offset 12"),
        (r#"{"name":-}"#, "invalid character '}' in numeric literal at offset 10"),
        (r#"{"name":01}"#, "invalid character '1' after object key:value pair at offset 10"),
        ("[1 2]", "invalid character '2' after array element at offset 4"),
        ("é", "invalid character 'é' looking for beginning of value at offset 2"),
        (r#"{"name":"\u12zz"}"#, "invalid escape sequence `\\u12zz` in string at offset 15"),
        ("{\"bogus<\\\"é\\u0001>\":1}", "json: unknown field \"bogus<\\\"é\\x01>\""),
        (
            r#"{"max_msgs":"x","bogus":1,"retention":"foo"}"#,
            "json: cannot unmarshal string into Go struct field StreamConfigRequest.max_msgs of type int64",
        ),
    ] {
        assert_eq!(json::read::<StreamConfigRequest>(body.as_bytes(), true).unwrap_err(), expected, "{body}");
    }
}

#[test]
fn reading_is_lenient_where_the_genuine_server_is() {
    let body = br#"{"NAME":"A","Subjects":["a"],"metadata":null,"placement":null,"max_age":null} {"max_msgs":7}"#;
    let request: StreamConfigRequest = read(body, true).unwrap();
    assert_eq!((request.config.name.as_str(), request.config.max_msgs), ("A", 7));
    assert_eq!(request.config.subjects, ["a"]);
    assert!(read::<StreamConfigRequest>(b"", true).is_ok());
    assert!(read::<StreamConfigRequest>(b"null", true).is_ok());
    assert!(read::<StreamConfigRequest>(br#"{"unknown":1}"#, false).is_ok());
}

#[test]
fn an_object_that_is_repeated_adds_to_what_it_said_before() {
    let many: String = (0..100).rev().map(|n| format!(r#""metadata":{{"k{n}":"old"}},"#)).collect();
    let body = format!(r#"{{"metadata":{{"gone":"x"}},"metadata":null,{many}"Metadata":{{"k7":"new"}},"name":"A"}}"#);
    let request: StreamConfigRequest = read(body.as_bytes(), true).unwrap();
    let metadata = &request.config.metadata;
    assert_eq!((metadata.len(), metadata.get("k7").map(String::as_str)), (100, Some("new")));
    assert_eq!((metadata.get("gone"), request.config.name.as_str()), (None, "A"));
    let error = read::<StreamConfigRequest>(format!(r#"{{{many}"metadata":{{"k":1}}}}"#).as_bytes(), true).unwrap_err();
    assert!(error.description.contains("of type string"), "{}", error.description);
}

/// Pieces that are compared, or sorted in, each with all the others would take minutes.
#[test]
fn large_requests_take_time_in_proportion() {
    let begun = std::time::Instant::now();
    let mut model = Model {
        server: ServerLimits::default(),
        account: AccountTiers::unlimited(),
        streams: Vec::new(),
        consumers: Vec::new(),
    };
    let names = |prefix: &str| -> String {
        let quoted: Vec<String> = (0..40_000).map(|n| format!("\"{prefix}.{n}\"")).collect();
        quoted.join(",")
    };
    let stream =
        |name: &str, subjects: &str| format!(r#"{{"name":"{name}","retention":"workqueue","subjects":[{subjects}]}}"#);
    assert!(model.create("A", stream("A", &names("a")).as_bytes()).is_ok());
    assert!(model.create("B", stream("B", &names("b")).as_bytes()).is_ok());
    let taken = format!("{},\"a.*\"", names("c"));
    assert_eq!(model.create("C", stream("C", &taken).as_bytes()).unwrap_err().err_code, 10065);
    for (name, filters, code) in [("x", names("a"), None), ("y", names("b"), None), ("z", names("b"), Some(10100))] {
        let config = format!(r#"{{"name":"{name}","ack_policy":"explicit","filter_subjects":[{filters}]}}"#);
        let body = format!(r#"{{"stream_name":"A","config":{config}}}"#);
        let reply =
            String::from_utf8(model.answer(&format!("$JS.API.CONSUMER.CREATE.A.{name}"), body.as_bytes())).unwrap();
        match code {
            None => assert!(!reply.contains("err_code"), "{}", &reply[..200]),
            Some(code) => assert!(reply.contains(&format!("\"err_code\":{code}")), "{}", &reply[..200]),
        }
    }
    let repeated: String = (0..40_000).rev().map(|n| format!(r#""metadata":{{"{n:06}":""}},"#)).collect();
    for body in [
        format!(r#"{{{repeated}"name":"D"}}"#),
        repeated.split_inclusive("},").map(|one| format!("{{{}}}", one.trim_end_matches(','))).collect(),
    ] {
        let request: StreamConfigRequest = read(body.as_bytes(), true).unwrap();
        assert_eq!(request.config.metadata.len(), 40_000);
    }
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
}

proptest::proptest! {
    #[test]
    fn reading_never_panics(body in "[\\[\\]{}\":,a-z0-9\\\\u.eE+-]{0,60}") {
        let _ = read::<CreateConsumerRequest>(body.as_bytes(), true);
        let _ = read::<StreamConfigRequest>(body.as_bytes(), false);
    }

    #[test]
    fn a_written_config_is_read_back(name in "\\PC{0,10}", max_msgs: i64, wait: i64, filter in "\\PC{0,10}") {
        let config = StreamConfig { name: name.clone(), max_msgs, subjects: vec![filter.clone()], ..Default::default() };
        let read_back: StreamConfigRequest = read(&json::write(&config), true).unwrap();
        proptest::prop_assert_eq!(read_back.config, config);
        let config = ConsumerConfig { name, ack_wait: wait, filter_subject: filter, ..Default::default() };
        let mut body = b"{\"config\":".to_vec();
        body.extend_from_slice(&json::write(&config));
        body.push(b'}');
        let read_back: CreateConsumerRequest = read(&body, true).unwrap();
        proptest::prop_assert_eq!(read_back.config, config);
    }
}
