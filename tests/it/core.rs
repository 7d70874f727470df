//! The core protocol on the wire (C-01..C-38): exact bytes, as nats-server 2.15.1 answers.

use crate::harness::{TestServer, eventually};
use headwater::account::{Account, InternalMessage, InternalSubscriber};
use headwater::config::Options;
use headwater::protocol::error::ClosedReason;
use headwater::router::Publisher;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n";

fn server() -> TestServer {
    TestServer::start(|_| {})
}

/// What a client that sent `input` behind CONNECT receives until its PING is answered, or the end.
fn exchange(server: &TestServer, input: &str) -> String {
    let mut client = server.client();
    client.info();
    client.send(format!("{CONNECT}{input}PING\r\n"));
    let mut answer = String::new();
    while !answer.ends_with("PONG\r\n") {
        answer.push_str(&client.line());
    }
    answer
}

/// What comes before the server ends the connection.
fn fatal(server: &TestServer, input: &[u8]) -> String {
    let mut client = server.client();
    client.info();
    client.send(CONNECT);
    client.send(input);
    String::from_utf8(client.read_to_end()).unwrap()
}

#[test]
fn info_is_what_clients_expect() {
    let server = server();
    let mut client = server.client();
    let info = client.info();
    assert_eq!(info["version"], "2.15.1");
    assert_eq!(info["proto"], 1);
    assert_eq!(info["max_payload"], 1_048_576);
    assert_eq!(info["port"], server.address().port());
    assert_eq!(info["client_ip"], "127.0.0.1");
    assert_eq!(info["api_lvl"], 5);
    assert!(info["server_id"].as_str().unwrap().starts_with('N') && info["server_id"] == info["server_name"]);
    assert!(info.get("auth_required").is_none() && info.get("nonce").is_none());
}

#[test]
fn the_first_pong_is_followed_by_a_second_info() {
    let server = server();
    let mut client = server.client();
    client.info();
    client.send("CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\nPING\r\n");
    client.expect("PONG\r\n");
    let info = client.info();
    assert_eq!((&info["connect_info"], &info["remote_account"]), (&true.into(), &"$G".into()));
    client.expect("PONG\r\n");
    // Without protocol 1 there is none.
    let mut old = server.connected();
    old.expect_nothing();
}

#[test]
fn before_connect_a_client_is_verbose_and_pedantic() {
    let server = server();
    let mut client = server.client();
    client.info();
    client.send("PUB foo 2\r\nhi\r\nSUB a 1\r\nPUB a.* 0\r\n\r\nUNSUB 1\r\nPING\r\n");
    client.expect("+OK\r\n+OK\r\n-ERR 'Invalid Publish Subject'\r\n+OK\r\n+OK\r\nPONG\r\n");
}

#[test]
fn messages_are_delivered_byte_for_byte() {
    let server = server();
    let cases = [
        ("SUB f 1\r\nPUB f 0\r\n\r\n", "MSG f 1 0\r\n\r\nPONG\r\n"),
        ("SUB\tf\t 1 \r\nPUB \t f\t  r  1  \r\na\r\n", "MSG f 1 r 1\r\na\r\nPONG\r\n"),
        ("SUB f 1\nPUB f 1\na\r\n", "MSG f 1 1\r\na\r\nPONG\r\n"),
        ("SUB f 1\r\nPUB f 0001\r\na\r\n", "MSG f 1 0001\r\na\r\nPONG\r\n"),
        ("sub foo.* q 9\r\npub foo.x 1\r\na\r\n", "MSG foo.x 9 1\r\na\r\nPONG\r\n"),
        (
            "SUB f 1\r\nHPUB f bar 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
            "HMSG f 1 bar 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPONG\r\n",
        ),
        ("SUB f 1\r\nHPUB f 0 2\r\nhi\r\n", "MSG f 1 2\r\nhi\r\nPONG\r\n"),
        ("SUB foo.* 1\r\nPUB foo.* 1\r\na\r\n", "MSG foo.* 1 1\r\na\r\nPONG\r\n"),
        ("SUB > 1\r\nPUB foo..x 1\r\na\r\nPUB .x 1\r\na\r\n", "PONG\r\n"),
        ("SUB foo 1\r\nSUB bar 1\r\nPUB bar 1\r\na\r\nPUB foo 1\r\nb\r\n", "MSG foo 1 1\r\nb\r\nPONG\r\n"),
        ("SUB foo..bar 1\r\n", "-ERR 'Invalid Subject'\r\nPONG\r\n"),
        ("+OK\r\nPONG\r\nINFO {}\r\nUNSUB 99\r\n", "PONG\r\n"),
    ];
    for (input, expected) in cases {
        assert_eq!(exchange(&server, input), expected, "{input:?}");
    }
}

#[test]
fn headers_are_stripped_for_clients_without_them() {
    let server = server();
    let mut old = server.client();
    old.info();
    old.send("CONNECT {\"verbose\":false}\r\nSUB f 7\r\nPING\r\n");
    old.expect("PONG\r\n");
    let mut new = server.connected();
    new.send("HPUB f r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
    old.expect("MSG f 7 r 2\r\nhi\r\n");
}

#[test]
fn faults_close_as_nats_server_closes() {
    let server = server();
    let unknown = "-ERR 'Unknown Protocol Operation'\r\n";
    let cases: [(&[u8], &str); 14] = [
        (b"BOGUS\r\n", unknown),
        (b"PUX", unknown),
        (b"PUB foo 2\r\nhello\r\n", unknown),
        (b"UNSUB\r\n", unknown),
        (b"MSG foo 1 2\r\nhi\r\n", unknown),
        (b"RS+ $G foo\r\n", unknown),
        (b"PUB foo 2000000\r\n", "-ERR 'Maximum Payload Violation'\r\n"),
        (b"PUB foo\r\n", ""),
        (b"PUB foo -1\r\n", ""),
        (b"HPUB foo 13 12\r\n", ""),
        (b"SUB foo\r\n", ""),
        (b"-ERR 'x'\r\n", ""),
        (b"CONNECT {\"verbose\":\r\n", ""),
        (b"CONNECT {\"protocol\":2}\r\n", "-ERR 'invalid client protocol'\r\n"),
    ];
    for (input, expected) in cases {
        assert_eq!(fatal(&server, input), expected, "{}", String::from_utf8_lossy(input));
    }
    let long = format!("PUB {} 1\r\na\r\n", "a".repeat(5000));
    assert_eq!(fatal(&server, long.as_bytes()), "-ERR 'maximum control line exceeded'\r\n");
    let mut client = server.client();
    client.info();
    client.send("CONNECT {\"no_responders\":true}\r\n");
    client.expect("-ERR 'no responders requires headers support'\r\n");
    client.expect_closed();
    let mut client = server.client();
    client.info();
    client.send("CONNECT {\"verbose\":false}\r\nHPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\n");
    client.expect_closed();
}

#[test]
fn reserved_subjects_are_not_for_clients() {
    let server = server();
    let answer = exchange(
        &server,
        "PUB _GR_.foo 0\r\n\r\nPUB $NRG.x 0\r\n\r\nPUB foo _R_.abc 0\r\n\r\nPUB foo $JS.ACK.x 0\r\n\r\nSUB foo _sys_ 1\r\n",
    );
    let expected = [
        "-ERR 'Permissions Violation for Publish to \"_GR_.foo\"'\r\n",
        "-ERR 'Permissions Violation for Publish to \"$NRG.x\"'\r\n",
        "-ERR 'Permissions Violation for Publish with Reply of \"_R_.abc\"'\r\n",
        "-ERR 'Permissions Violation for Publish with Reply of \"$JS.ACK.x\"'\r\n",
        "-ERR 'Permissions Violation for Subscription to \"foo\" using queue \"_sys_\"'\r\n",
        "PONG\r\n",
    ];
    assert_eq!(answer, expected.concat());
}

#[test]
fn a_request_nobody_answers_is_told_so() {
    let server = server();
    let expected = "HMSG inb.5 1 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n";
    let mut client = server.connected();
    client.send("SUB inb.* 1\r\nPUB nobody inb.5 0\r\n\r\n");
    client.expect(expected);
    // Only to a plain subscription, and only if the client asked for it.
    let mut queue = server.connected();
    queue.send("SUB inb.* q 1\r\nPUB nobody inb.5 0\r\n\r\n");
    queue.expect_nothing();
    let mut old = server.client();
    old.info();
    old.send("CONNECT {\"verbose\":false}\r\nSUB inb.* 1\r\nPUB nobody inb.5 0\r\n\r\nPING\r\n");
    old.expect("PONG\r\n");
}

#[test]
fn unsubscribe_after_a_number_of_messages_is_exact() {
    let server = server();
    let message = |number: u32| format!("MSG f 1 1\r\n{number}\r\n");
    let publish = |number: u32| format!("PUB f 1\r\n{number}\r\n");
    let all: String = (1..=5).map(publish).collect();
    let got = exchange(&server, &format!("SUB f 1\r\nUNSUB 1 2\r\n{all}"));
    assert_eq!(got, format!("{}{}PONG\r\n", message(1), message(2)));
    // A limit already reached ends it now; one not yet reached counts what was delivered before.
    let got = exchange(&server, &format!("SUB f 1\r\n{}{}UNSUB 1 2\r\n{}", publish(1), publish(2), publish(3)));
    assert_eq!(got, format!("{}{}PONG\r\n", message(1), message(2)));
    let got = exchange(&server, &format!("SUB f 1\r\n{}UNSUB 1 2\r\n{}{}", publish(1), publish(2), publish(3)));
    assert_eq!(got, format!("{}{}PONG\r\n", message(1), message(2)));
    eventually("all subscriptions are gone", || server.server.hub().subscriptions() == 0);
}

#[test]
fn echo_can_be_turned_off() {
    let server = server();
    let mut silent = server.connected_with("\"echo\":false");
    let mut other = server.connected();
    other.send("SUB f 1\r\n");
    other.expect_nothing();
    silent.send("SUB f 1\r\nPUB f 1\r\na\r\n");
    silent.expect_nothing();
    other.expect("MSG f 1 1\r\na\r\n");
    // Alone it is nobody.
    silent.send("SUB g 2\r\nSUB inb 3\r\nPUB g inb 0\r\n\r\n");
    silent.expect("HMSG inb 3 33 33\r\nNATS/1.0 503\r\nNats-Subject: g\r\n\r\n\r\n");
}

#[test]
fn one_member_of_a_queue_group_gets_each_message() {
    let server = server();
    let mut members: Vec<_> = (0..3).map(|_| server.connected()).collect();
    for member in &mut members {
        member.send("SUB work pool 1\r\n");
        member.expect_nothing();
    }
    let mut publisher = server.connected();
    for _ in 0..300 {
        publisher.send("PUB work 1\r\na\r\n");
    }
    publisher.expect_nothing();
    let counts: Vec<usize> = members
        .iter_mut()
        .map(|member| {
            member.send("PING\r\n");
            let mut got = 0;
            loop {
                match member.line().as_str() {
                    "PONG\r\n" => return got,
                    "MSG work 1 1\r\n" => got += 1,
                    "a\r\n" => {}
                    other => panic!("{other:?}"),
                }
            }
        })
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 300);
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
}

#[test]
fn large_messages_arrive_whole_and_in_order() {
    let server = server();
    let mut receiver = server.connected();
    receiver.send("SUB big 1\r\n");
    receiver.expect_nothing();
    let mut sender = server.connected();
    let sizes = [1, 1000, 28_000, 28_673, 57_344, 65_536, 200_000, 1_048_576, 3];
    for (number, size) in sizes.iter().enumerate() {
        let payload = vec![b'a' + number as u8; *size];
        sender.send(format!("PUB big {size}\r\n"));
        sender.send(&payload);
        sender.send("\r\nPUB other 2\r\nxx\r\n");
        receiver.expect(format!("MSG big 1 {size}\r\n"));
        assert_eq!(receiver.take(*size), payload);
        receiver.expect("\r\n");
    }
    sender.expect_nothing();
}

#[test]
fn input_may_be_cut_anywhere() {
    let server = server();
    let stream = "SUB a.* 1\r\nPUB a.b re.ply 5\r\nhello\r\nHPUB a.c 12 14\r\nNATS/1.0\r\n\r\nhi\r\n";
    let expected = "MSG a.b 1 re.ply 5\r\nhello\r\nHMSG a.c 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n";
    let mut client = server.connected();
    for split in (1..stream.len()).step_by(7) {
        client.send(&stream[..split]);
        // The answer to a ping in between would tear the operation, so there is nothing to wait for: the pieces
        // may or may not be joined again on the way.
        client.send(&stream[split..]);
        client.expect(expected);
        client.send("UNSUB 1\r\n");
    }
    for byte in stream.as_bytes() {
        client.send([*byte]);
    }
    client.expect(expected);
}

#[test]
fn limits_of_subscriptions_and_connections() {
    let server = TestServer::start(|options| {
        options.subscriptions_max = Some(2);
        options.subscription_tokens_max = Some(3);
        options.connections_max = 2;
    });
    let mut client = server.connected();
    client.send("SUB a 1\r\nSUB a.b.c.d 2\r\nSUB b 3\r\nSUB c 4\r\n");
    client.expect("-ERR 'Permissions Violation for Subscription to \"a.b.c.d\", too many tokens'\r\n");
    client.expect("-ERR 'maximum subscriptions exceeded'\r\n");
    client.expect_nothing();
    let _second = server.connected();
    let mut third = server.client();
    third.info();
    third.expect("-ERR 'maximum connections exceeded'\r\n");
    third.expect_closed();
}

#[test]
fn a_new_largest_payload_is_told_once() {
    // The first of two INFOs told the old one.
    let server = server();
    let mut client = server.client();
    client.info();
    client.send("CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n");
    client.expect("PONG\r\n");
    client.info();
    let options = Options { payload_bytes_max: 1000, ..Options::clone(&server.server.options()) };
    server.server.reload(options).unwrap();
    assert_eq!(client.info()["max_payload"], 1000);
    client.expect_nothing();
}

#[test]
fn a_silent_client_is_pinged_and_then_dropped() {
    let server = TestServer::start(|options| {
        options.ping_interval = Duration::from_millis(40);
        options.pings_out_max = 2;
    });
    let mut client = server.connected();
    client.expect("PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
    client.expect_closed();
    eventually("the reason is kept", || {
        server.server.closed_connections().iter().any(|closed| closed.reason == ClosedReason::StaleConnection)
    });
    // One that answers stays, and its round trip is known.
    let mut lively = server.connected();
    for _ in 0..4 {
        lively.expect("PING\r\n");
        lively.send("PONG\r\n");
    }
    assert!(server.server.connections()[0].rtt.is_some());
}

#[test]
fn connections_are_shown_with_their_counters() {
    let server = server();
    let mut client = server.connected_with("\"name\":\"n\",\"lang\":\"l\",\"version\":\"v\"");
    client.send("SUB a q 1\r\nPUB a 3\r\nabc\r\n");
    client.expect("MSG a 1 3\r\nabc\r\n");
    client.expect_nothing();
    let shown = &server.server.connections()[0];
    assert_eq!((shown.name.as_str(), shown.lang.as_str(), shown.version.as_str()), ("n", "l", "v"));
    assert_eq!((shown.account.as_str(), shown.subscriptions, shown.pending_bytes), ("$G", 1, 0));
    let traffic = shown.traffic;
    assert_eq!((traffic.messages_in, traffic.bytes_in, traffic.messages_out, traffic.bytes_out), (1, 3, 1, 3));
    assert_eq!(server.server.hub().traffic(), traffic);
    let subscriptions = server.server.connection(shown.id).unwrap().subscriptions(10);
    assert_eq!((subscriptions[0].subject.as_str(), subscriptions[0].delivered), ("a", 1));
    drop(client);
    eventually("it is among the closed", || server.server.closed_connections().len() == 1);
    let closed = &server.server.closed_connections()[0];
    assert_eq!((closed.reason.as_str(), closed.subscriptions.len()), ("Client Closed", 1));
    assert!(!server.server.kick(12345) && server.server.hub().subscriptions() == 0);
}

#[test]
fn a_kicked_client_is_gone() {
    let server = server();
    let mut client = server.connected();
    let id = server.server.connections()[0].id;
    assert!(server.server.kick(id));
    client.expect_closed();
    eventually("the reason is kept", || {
        server.server.closed_connections().iter().any(|closed| closed.reason == ClosedReason::Kicked)
    });
}

#[test]
fn lame_duck_tells_and_ends_the_clients() {
    let server = TestServer::start(|options| {
        options.lame_duck_grace_period = Duration::from_millis(10);
        options.lame_duck_duration = Duration::from_millis(30);
    });
    let mut client = server.client();
    client.info();
    client.send("CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n");
    client.expect("PONG\r\n");
    client.info();
    server.runtime.block_on(server.server.lame_duck());
    assert_eq!(client.info()["ldm"], true);
    client.expect_closed();
    assert!(std::net::TcpStream::connect(server.address()).is_err());
}

/// Keeps what it is called with.
#[derive(Default)]
struct Recorder {
    calls: Mutex<Vec<Vec<String>>>,
}

impl InternalSubscriber for Recorder {
    fn deliver(&self, account: &Arc<Account>, messages: &[InternalMessage<'_>]) {
        let show = |message: &InternalMessage<'_>| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let client = message.client.map_or(String::new(), |client| client.name.clone());
            if let Some(reply) = message.reply {
                Publisher::new(account).publish(reply, None, b"NATS/1.0\r\nA: b\r\n\r\n", &[b"got ", message.payload]);
            }
            format!("{} {} {} {client}", text(message.subject), text(message.payload), text(message.headers).len())
        };
        let shown = messages.iter().map(show).collect();
        self.calls.lock().push(shown);
    }
}

#[test]
fn services_get_a_burst_in_order_and_count_as_interest() {
    let server = server();
    let (stream, api) = (Arc::new(Recorder::default()), Arc::new(Recorder::default()));
    let account = server.server.hub().global_account();
    account.subscribe_internal(b"orders.>", None, Arc::clone(&stream) as _);
    account.subscribe_internal(b"$JS.API.>", Some(b"_sys_"), Arc::clone(&api) as _);
    let mut client = server.connected_with("\"name\":\"me\"");
    client.send("SUB r 1\r\nPUB orders.1 1\r\na\r\nHPUB orders.2 r 12 13\r\nNATS/1.0\r\n\r\nb\r\nPUB $JS.API.INFO r 1\r\nc\r\nPING\r\n");
    // The PONG is part of the burst; what services answer comes behind it.
    client.expect("PONG\r\n");
    client.expect("HMSG r 1 18 23\r\nNATS/1.0\r\nA: b\r\n\r\ngot b\r\n");
    client.expect("HMSG r 1 18 23\r\nNATS/1.0\r\nA: b\r\n\r\ngot c\r\n");
    // The answers leave before the calls return.
    eventually("both were called", || !api.calls.lock().is_empty() && !stream.calls.lock().is_empty());
    let seen: Vec<String> = stream.calls.lock().concat();
    assert_eq!(seen, ["orders.1 a 0 me", "orders.2 b 12 me"]);
    assert_eq!(api.calls.lock().concat(), ["$JS.API.INFO c 0 me"]);
    assert!(account.has_interest(b"r") && !account.has_interest(b"orders.1"));
}

#[test]
fn many_publishers_to_one_subscriber_keep_their_order() {
    let server = server();
    let mut receiver = server.connected();
    receiver.send("SUB f.* 1\r\n");
    receiver.expect_nothing();
    const PUBLISHERS: usize = 4;
    const MESSAGES: usize = 3000;
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|number| {
            let mut client = server.connected();
            std::thread::spawn(move || {
                for message in 0..MESSAGES {
                    let payload = format!("{message} {}", "x".repeat(message % 500));
                    client.send(format!("PUB f.{number} {}\r\n{payload}\r\n", payload.len()));
                }
                client.expect_nothing();
            })
        })
        .collect();
    let mut next = [0; PUBLISHERS];
    for _ in 0..PUBLISHERS * MESSAGES {
        let head = receiver.line();
        let number: usize = head["MSG f.".len()..].split(' ').next().unwrap().parse().unwrap();
        let body = receiver.line();
        let (message, filler) = body.trim_end_matches("\r\n").split_once(' ').unwrap();
        assert_eq!((message.parse::<usize>().unwrap(), filler.len()), (next[number], next[number] % 500));
        next[number] += 1;
    }
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    receiver.expect_nothing();
}

#[test]
fn a_control_line_longer_than_a_read_is_understood() {
    // Its beginning, which is kept until the rest arrives, did not fit into the buffer with the next read behind it.
    let server = TestServer::start(|options| options.control_line_bytes_max = 300_000);
    let mut client = server.connected();
    for length in [30_000, 93_000, 150_000, 290_000] {
        let subject = "s".repeat(length);
        client.send(format!("SUB {subject} 1\r\nPUB {subject} 1\r\nx\r\nUNSUB 1\r\n"));
        client.expect(format!("MSG {subject} 1 1\r\nx\r\n"));
    }
    let long = "s".repeat(300_001);
    client.send(format!("SUB {long} 1\r\n"));
    client.expect("-ERR 'maximum control line exceeded'\r\n");
    client.expect_closed();
}

#[test]
fn a_long_control_line_behind_a_flood_is_understood() {
    let server = TestServer::start(|options| options.control_line_bytes_max = 300_000);
    let mut client = server.connected();
    client.send(b"PUB noise 16\r\n0123456789abcdef\r\n".repeat(100_000));
    for _ in 0..20 {
        let subject = "s".repeat(290_000);
        client.send(format!("SUB {subject} 1\r\nUNSUB 1\r\n").repeat(4));
    }
    client.expect_nothing();
}
