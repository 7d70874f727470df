//! What a reload changes of JetStream, while streams are in use: accounts that lose it and get it back, limits, the
//! whole of it.

use crate::harness::{PATIENCE, RawClient, TestServer};
use headwater::config::{AccountJetStreamLimits, AccountOptions, Options, User, UserIdentity};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// An account of each name, with a user of that name; None is without JetStream.
fn in_accounts(options: &mut Options, accounts: &[(&str, Option<AccountJetStreamLimits>)]) {
    let user = |name: &str| User {
        identity: UserIdentity::Password { name: name.into(), password: "".into() },
        account: Some(name.into()),
        permissions: None,
        connection_types: Vec::new(),
        proxy_required: false,
    };
    options.authorization.users = accounts.iter().map(|(name, _)| user(name)).collect();
    options.accounts = accounts
        .iter()
        .map(|(name, jetstream)| AccountOptions {
            name: (*name).into(),
            jetstream: *jetstream,
            ..AccountOptions::default()
        })
        .collect();
}

fn start(store: &Path, accounts: &[(&str, Option<AccountJetStreamLimits>)]) -> TestServer {
    TestServer::start(|options| {
        options.jetstream.enabled = true;
        options.store_dir = Some(store.to_path_buf());
        in_accounts(options, accounts);
    })
}

fn reload(server: &TestServer, change: impl FnOnce(&mut Options)) {
    let mut options = Options::clone(&server.server.options());
    change(&mut options);
    server.runtime.block_on(async { server.server.reload(options) }).unwrap();
}

/// A client of an account, and what comes to its inbox.
fn client(server: &TestServer, account: &str) -> RawClient {
    let mut client = server.connected_with(&format!("\"user\":\"{account}\""));
    client.send("SUB in 1\r\n");
    client
}

/// The next message of the first subscription: its status line, or its payload.
fn answer(client: &mut RawClient) -> String {
    loop {
        let line = client.line();
        let words: Vec<&str> = line.split(' ').collect();
        if line.starts_with("MSG ") && words[2] == "1" {
            return client.line();
        }
        if line.starts_with("HMSG ") && words[2] == "1" {
            let status = client.line();
            while client.line() != "\r\n" {}
            return status;
        }
    }
}

fn request(client: &mut RawClient, subject: &str, body: impl ToString) -> String {
    let body = body.to_string();
    client.send(format!("PUB {subject} in {}\r\n{body}\r\n", body.len()));
    answer(client)
}

fn api(client: &mut RawClient, subject: &str, body: impl ToString) -> Value {
    let text = request(client, &format!("$JS.API.{subject}"), body);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

/// A stream with a message and a consumer that has not delivered it.
fn prepare(client: &mut RawClient, storage: &str) {
    let config = json!({"name": "S", "subjects": ["s"], "storage": storage});
    assert!(api(client, "STREAM.CREATE.S", config).get("error").is_none());
    let config = json!({"stream_name": "S", "config": {"durable_name": "C", "ack_policy": "explicit", "ack_wait": 60_000_000_000_u64}});
    assert!(api(client, "CONSUMER.CREATE.S.C", config).get("error").is_none());
    assert_eq!(request(client, "s", "one"), "{\"stream\":\"S\",\"seq\":1}\r\n");
}

fn sequence_of(ack: &str) -> u64 {
    serde_json::from_str::<Value>(ack).unwrap()["seq"].as_u64().unwrap()
}

#[test]
fn an_account_loses_jetstream_and_gets_it_back_with_its_streams() {
    for storage in ["file", "memory"] {
        let store = tempfile::tempdir().unwrap();
        let enabled = Some(AccountJetStreamLimits::default());
        let server = start(store.path(), &[("A", enabled), ("B", enabled)]);
        let mut client = client(&server, "A");
        prepare(&mut client, storage);
        let mut waiting = server.connected_with("\"user\":\"A\"");
        waiting.send("SUB waits 1\r\nSUB pushed 2\r\n");
        let push = json!({"stream_name": "S", "config": {"durable_name": "P", "deliver_subject": "pushed", "ack_policy": "explicit", "ack_wait": 100_000_000}});
        api(&mut client, "CONSUMER.CREATE.S.P", push);
        let pull = "{\"batch\":2,\"expires\":60000000000}";
        waiting.send(format!("PUB $JS.API.CONSUMER.MSG.NEXT.S.C waits {}\r\n{pull}\r\n", pull.len()));
        assert_eq!(answer(&mut waiting), "one\r\n");

        reload(&server, |options| in_accounts(options, &[("A", None), ("B", enabled)]));
        assert_eq!(answer(&mut waiting), "NATS/1.0 409 Server Shutdown\r\n", "who waits is told");
        for subject in ["STREAM.INFO.S", "STREAM.NAMES", "INFO", "CONSUMER.INFO.S.C"] {
            assert_eq!(api(&mut client, subject, "")["error"]["err_code"], 10039, "{subject}");
        }
        assert_eq!(request(&mut client, "s", "lost"), "NATS/1.0 503\r\n", "nobody takes a message");
        let drained = server.server.jetstream().unwrap().strays().len();
        assert_eq!(drained, 1, "the stream is kept");

        reload(&server, |options| in_accounts(options, &[("A", enabled), ("B", enabled)]));
        assert_eq!(api(&mut client, "STREAM.NAMES", "")["streams"], json!(["S"]));
        assert_eq!(api(&mut client, "INFO", "")["streams"], 1);
        assert_eq!(sequence_of(&request(&mut client, "s", "two")), 2);
        // The message that was delivered before is still out; consumers go on behind it.
        let consumer = api(&mut client, "CONSUMER.INFO.S.C", "");
        assert_eq!((&consumer["num_ack_pending"], &consumer["num_pending"]), (&1.into(), &1.into()));
        assert_eq!(request(&mut client, "$JS.API.CONSUMER.MSG.NEXT.S.C", "{\"no_wait\":true}"), "two\r\n");
        let deadline = Instant::now() + PATIENCE;
        while !waiting.line().starts_with("MSG s 2 $JS.ACK.S.P.") {
            assert!(Instant::now() < deadline, "the push consumer goes on");
        }
    }
}

/// A user of the global account, and the other accounts as they are said to be.
fn beside_global(options: &mut Options, accounts: &[(&str, Option<AccountJetStreamLimits>)]) {
    in_accounts(options, accounts);
    let global = UserIdentity::Password { name: "G".into(), password: "".into() };
    let user = User {
        identity: global,
        account: None,
        permissions: None,
        connection_types: Vec::new(),
        proxy_required: false,
    };
    options.authorization.users.push(user);
}

#[test]
fn the_global_account_has_jetstream_only_where_there_is_no_other() {
    let enabled = Some(AccountJetStreamLimits::default());
    for (accounts, has_it) in [
        (&[][..], true),
        (&[("$SYS", None)][..], true),
        (&[("A", None)], false),
        (&[("A", enabled)], false),
        (&[("$SYS", None), ("A", None)], false),
    ] {
        let store = tempfile::tempdir().unwrap();
        let server = start(store.path(), &[("A", enabled)]);
        reload(&server, |options| beside_global(options, accounts));
        let after_reload = api(&mut client(&server, "G"), "INFO", "");
        drop(server);
        let server = TestServer::start(|options| {
            options.jetstream.enabled = true;
            options.store_dir = Some(store.path().to_path_buf());
            beside_global(options, accounts);
        });
        let after_start = api(&mut client(&server, "G"), "INFO", "");
        let refusal = if has_it { json!(null) } else { json!(10039) };
        assert_eq!(after_reload["error"]["err_code"], refusal, "{accounts:?} by a reload");
        assert_eq!(after_start["error"]["err_code"], refusal, "{accounts:?}");
    }
}

#[test]
fn limits_of_an_account_change_with_a_reload() {
    let store = tempfile::tempdir().unwrap();
    let limited = |streams: i64, bytes: i64| {
        Some(AccountJetStreamLimits {
            streams_max: streams,
            store_bytes_max: bytes,
            ..AccountJetStreamLimits::default()
        })
    };
    let server = start(store.path(), &[("A", limited(1, 1 << 20))]);
    let mut client = client(&server, "A");
    let create = |client: &mut RawClient, name: &str| {
        api(client, &format!("STREAM.CREATE.{name}"), json!({"name": name, "subjects": [name]}))["error"]["err_code"]
            .clone()
    };
    assert_eq!((create(&mut client, "S"), create(&mut client, "T")), (Value::Null, 10027.into()));
    reload(&server, |options| in_accounts(options, &[("A", limited(2, 100))]));
    assert_eq!(api(&mut client, "INFO", "")["limits"]["max_streams"], 2);
    assert_eq!((create(&mut client, "T"), create(&mut client, "U")), (Value::Null, 10027.into()));
    let refused = request(&mut client, "S", "x".repeat(200));
    assert!(refused.contains("\"err_code\":10002"), "{refused}");
    reload(&server, |options| in_accounts(options, &[("A", limited(-1, -1))]));
    assert_eq!(create(&mut client, "U"), Value::Null);
    assert_eq!(sequence_of(&request(&mut client, "S", "x".repeat(200))), 1);
}

#[test]
fn jetstream_is_switched_off_and_on_with_all_its_streams() {
    let store = tempfile::tempdir().unwrap();
    let server = start(store.path(), &[("A", Some(AccountJetStreamLimits::default())), ("B", None)]);
    let mut client = client(&server, "A");
    prepare(&mut client, "file");
    reload(&server, |options| options.jetstream.enabled = false);
    assert!(server.server.jetstream().is_none());
    assert!(server.client().info().get("jetstream").is_none());
    for subject in ["$JS.API.INFO", "$JS.API.STREAM.NAMES", "s"] {
        assert_eq!(request(&mut client, subject, "x"), "NATS/1.0 503\r\n", "{subject}: nobody answers");
    }
    reload(&server, |options| options.jetstream.enabled = true);
    assert_eq!(server.client().info()["jetstream"], true);
    assert_eq!(api(&mut client, "STREAM.INFO.S", "")["state"]["messages"], 1);
    assert_eq!(sequence_of(&request(&mut client, "s", "two")), 2);
    assert_eq!(request(&mut client, "$JS.API.CONSUMER.MSG.NEXT.S.C", "{\"no_wait\":true}"), "one\r\n");
    let mut other = self::client(&server, "B");
    assert_eq!(api(&mut other, "STREAM.NAMES", "")["error"]["err_code"], 10039);
}

/// A start that did not know the account used to keep its streams for an account that nobody could ever reach.
#[test]
fn an_account_that_comes_back_finds_its_streams() {
    let store = tempfile::tempdir().unwrap();
    let enabled = Some(AccountJetStreamLimits::default());
    let server = start(store.path(), &[("A", enabled), ("B", enabled)]);
    prepare(&mut client(&server, "A"), "file");
    reload(&server, |options| in_accounts(options, &[("B", enabled)]));
    assert!(server.server.hub().account("A").is_none(), "a removed account is listed no more");
    drop(server);
    let server = start(store.path(), &[("B", enabled)]);
    assert!(server.server.hub().account("A").is_none());
    reload(&server, |options| in_accounts(options, &[("A", enabled), ("B", enabled)]));
    let mut client = client(&server, "A");
    assert_eq!(api(&mut client, "INFO", "")["storage"], 34);
    assert_eq!(sequence_of(&request(&mut client, "s", "two")), 2);
}

#[test]
fn the_room_of_the_server_grows_with_a_reload() {
    let store = tempfile::tempdir().unwrap();
    let server = TestServer::start(|options| {
        options.jetstream.enabled = true;
        options.store_dir = Some(store.path().to_path_buf());
        options.jetstream.store_bytes_max = Some(1000);
    });
    let mut client = server.connected();
    client.send("SUB in 1\r\n");
    let config = json!({"name": "S", "subjects": ["s"], "max_bytes": 2000});
    assert_eq!(api(&mut client, "STREAM.CREATE.S", &config)["error"]["err_code"], 10047);
    reload(&server, |options| options.jetstream.store_bytes_max = Some(3000));
    assert!(api(&mut client, "STREAM.CREATE.S", &config).get("error").is_none());
}

/// `max_mem` and `max_file` bounded only what streams reserve, and what streams in memory held was not counted at all: they
/// grew until the machine had no memory left.
#[test]
fn no_more_is_stored_than_the_server_may_hold() {
    for storage in ["memory", "file"] {
        let store = tempfile::tempdir().unwrap();
        let server = start(store.path(), &[("A", Some(AccountJetStreamLimits::default()))]);
        let set_room = |bytes: u64| {
            reload(&server, |options| {
                options.jetstream.memory_bytes_max = Some(bytes);
                options.jetstream.store_bytes_max = Some(bytes);
            });
        };
        let mut client = client(&server, "A");
        set_room(1000);
        prepare(&mut client, storage);
        let text = "x".repeat(1000);
        assert_eq!(sequence_of(&request(&mut client, "s", &text)), 2);
        let refused: Value = serde_json::from_str(&request(&mut client, "s", "x")).unwrap();
        assert_eq!(refused["error"]["err_code"], 10023, "{storage}");
        set_room(10_000);
        assert_eq!(sequence_of(&request(&mut client, "s", &text)), 3);
        set_room(100);
        assert!(request(&mut client, "s", "x").contains("10023"));
        assert!(api(&mut client, "STREAM.PURGE.S", "").get("error").is_none());
        assert_eq!(sequence_of(&request(&mut client, "s", "x")), 4);
        // A stream that is gone holds nothing.
        assert_eq!(sequence_of(&request(&mut client, "s", &text)), 5);
        assert!(api(&mut client, "STREAM.DELETE.S", "").get("error").is_none());
        prepare(&mut client, storage);
    }
}

/// The page of accounts named `$SYS` beside the system account of the configuration.
#[test]
fn the_default_system_account_is_there_only_without_another() {
    let store = tempfile::tempdir().unwrap();
    let server = start(store.path(), &[("A", None), ("OPS", None)]);
    let names = || server.server.hub().accounts().iter().map(|account| account.name().to_owned()).collect::<Vec<_>>();
    let has_default = || names().iter().any(|name| name == "$SYS");
    assert!(has_default());
    reload(&server, |options| options.system_account = Some("OPS".into()));
    assert!(!has_default());
    reload(&server, |options| options.system_account = None);
    assert!(has_default());
}
