//! Authentication, permissions and TLS over real sockets (S-01..S-06, S-30..S-34, S-47, S-60..S-63).

use crate::harness::{RawClient, TestServer, eventually};
use headwater::auth::{AuthSettings, Directory};
use headwater::config::{
    AccountLimits, AccountOptions, AllowResponses, ConnectionType, Options, Permissions, Secret, SubjectPermissions,
    User, UserIdentity, UserPassword,
};
use std::sync::Arc;
use std::time::Duration;

fn user(name: &str, password: &str) -> User {
    User {
        identity: UserIdentity::Password { name: name.into(), password: Secret::new(password) },
        account: None,
        permissions: None,
        connection_types: Vec::new(),
        proxy_required: false,
    }
}

fn in_account(account: &str, user: User) -> User {
    User { account: Some(account.into()), ..user }
}

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| item.to_string()).collect()
}

fn with_users(users: Vec<User>) -> impl FnOnce(&mut Options) {
    move |options| options.authorization.users = users
}

#[track_caller]
fn refused(server: &TestServer, connect: &str) {
    let mut client = server.client();
    client.info();
    client.send(format!("CONNECT {connect}\r\nPING\r\n"));
    client.expect("-ERR 'Authorization Violation'\r\n");
    client.expect_closed();
}

#[test]
fn passwords_plain_and_hashed() {
    let server =
        TestServer::start(with_users(vec![user("plain", "x"), user("hashed", &bcrypt::hash("y", 4).unwrap())]));
    let mut client = server.client();
    assert_eq!(client.info()["auth_required"], true);
    // The operations behind CONNECT wait for the slow check.
    client.send("CONNECT {\"verbose\":true,\"user\":\"hashed\",\"pass\":\"y\"}\r\nSUB a 1\r\nPUB a 1\r\nz\r\nPING\r\n");
    client.expect("+OK\r\n+OK\r\n+OK\r\nMSG a 1 1\r\nz\r\nPONG\r\n");
    server.connected_with("\"user\":\"plain\",\"pass\":\"x\"").expect_nothing();
    refused(&server, "{\"user\":\"plain\",\"pass\":\"y\"}");
    refused(&server, "{\"user\":\"hashed\",\"pass\":\"x\"}");
    refused(&server, "{}");
    let mut eager = server.client();
    eager.info();
    eager.send("PING\r\n");
    eager.expect("-ERR 'Authorization Violation'\r\n");
    eager.expect_closed();
    let reasons: Vec<_> = server.server.closed_connections().iter().map(|closed| closed.reason.as_str()).collect();
    assert!(reasons.contains(&"Authentication Failure"));
}

#[test]
fn token_single_user_and_legacy_fields() {
    let server = TestServer::start(|options| options.authorization.token = Some(Secret::new("t")));
    let _client = server.connected_with("\"auth_token\":\"t\"");
    assert_eq!(server.server.connections()[0].user, "[REDACTED]");
    refused(&server, "{\"auth_token\":\"u\"}");
    let server = TestServer::start(|options| {
        options.authorization.user = Some(UserPassword { name: "u".into(), password: Secret::new("p") });
    });
    server.connected_with("\"user\":\"u\",\"pass\":\"p\"").expect_nothing();
    refused(&server, "{\"user\":\"u\",\"pass\":\"p\",\"account\":\"A\"}");
    refused(&server, "{\"user\":\"v\",\"pass\":\"p\"}");
}

#[test]
fn nkeys_sign_the_nonce() {
    let pair = nkeys::KeyPair::new_user();
    let mut nkey_user = user("", "");
    nkey_user.identity = UserIdentity::Nkey { public_key: pair.public_key() };
    let server = TestServer::start(with_users(vec![nkey_user]));
    let sign = |nonce: &str, pair: &nkeys::KeyPair| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(pair.sign(nonce.as_bytes()).unwrap())
    };
    let mut client = server.client();
    let nonce = client.info()["nonce"].as_str().unwrap().to_string();
    client.send(format!(
        "CONNECT {{\"verbose\":false,\"nkey\":\"{}\",\"sig\":\"{}\"}}\r\nPING\r\n",
        pair.public_key(),
        sign(&nonce, &pair)
    ));
    client.expect("PONG\r\n");
    let mut thief = server.client();
    thief.info();
    thief.send(format!("CONNECT {{\"nkey\":\"{}\",\"sig\":\"{}\"}}\r\n", pair.public_key(), sign(&nonce, &pair)));
    thief.expect("-ERR 'Authorization Violation'\r\n");
    thief.expect_closed();
}

#[test]
fn silence_becomes_the_no_auth_user_or_times_out() {
    let users = || vec![in_account("A", user("a", "x")), in_account("B", user("b", ""))];
    let server = TestServer::start(|options| {
        options.authorization.users = users();
        options.no_auth_user = Some("b".into());
    });
    let mut silent = server.client();
    assert!(silent.info().get("auth_required").is_none());
    silent.send("PING\r\n");
    silent.expect("PONG\r\n");
    assert_eq!(server.server.connections()[0].account, "B");
    // Later ones do say so, as those of nats-server.
    let mut client = server.client();
    client.info();
    client.send("CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n");
    client.expect("PONG\r\n");
    assert_eq!(client.info()["auth_required"], true);
    let server = TestServer::start(|options| {
        options.authorization.users = users();
        options.authorization.timeout = Duration::from_millis(50);
    });
    let mut silent = server.client();
    silent.info();
    silent.expect("-ERR 'Authentication Timeout'\r\n");
    silent.expect_closed();
}

/// What the first one had logged in with was forgotten, and the client refused.
#[test]
fn another_connect_without_credentials_is_of_the_same_user() {
    let hash = bcrypt::hash("y", 4).unwrap();
    let server =
        TestServer::start(with_users(vec![in_account("A", user("a", "x")), in_account("B", user("b", &hash))]));
    for (login, account) in [("\"user\":\"a\",\"pass\":\"x\"", "A"), ("\"user\":\"b\",\"pass\":\"y\"", "B")] {
        let mut client = server.connected_with(login);
        client.send("CONNECT {\"verbose\":true,\"name\":\"renamed\"}\r\nPING\r\n");
        client.expect("+OK\r\nPONG\r\n");
        let shown = server.server.connections().into_iter().find(|shown| shown.account == account).unwrap();
        assert_eq!((shown.name.as_str(), shown.account.as_str()), ("renamed", account));
    }
    for other in ["\"user\":\"b\"", "\"user\":\"a\",\"pass\":\"y\""] {
        let mut client = server.connected_with("\"user\":\"a\",\"pass\":\"x\"");
        client.send(format!("CONNECT {{{other}}}\r\n"));
        client.expect("-ERR 'Authorization Violation'\r\n");
        client.expect_closed();
    }
    let mut options = Options::clone(&server.server.options());
    options.authorization.users.clear();
    options.authorization.token = Some(Secret::new("t"));
    let server = TestServer::start(|started| *started = options);
    let mut client = server.connected_with("\"auth_token\":\"t\"");
    client.send("CONNECT {\"verbose\":false}\r\n");
    client.expect_nothing();
}

#[test]
fn accounts_are_isolated_and_limited() {
    let limits = AccountLimits {
        connections_max: Some(1),
        subscriptions_max: Some(1),
        payload_bytes_max: Some(4),
        leafnodes_max: None,
    };
    let server = TestServer::start(|options| {
        options.authorization.users = vec![in_account("A", user("a", "")), in_account("B", user("b", ""))];
        options.accounts = vec![AccountOptions { name: "A".into(), limits, ..AccountOptions::default() }];
    });
    let mut one = server.client();
    one.info();
    one.send("CONNECT {\"verbose\":false,\"protocol\":1,\"user\":\"a\"}\r\nPING\r\n");
    one.expect("PONG\r\n");
    let info = one.info();
    assert_eq!((&info["max_payload"], &info["remote_account"]), (&4.into(), &"A".into()));
    let mut other = server.connected_with("\"user\":\"b\"");
    other.send("SUB > 1\r\n");
    other.expect_nothing();
    one.send("SUB a 1\r\nSUB b 2\r\nPUB x 1\r\ny\r\n");
    one.expect("-ERR 'maximum subscriptions exceeded'\r\n");
    one.expect_nothing();
    other.expect_nothing();
    let mut second = server.client();
    second.info();
    second.send("CONNECT {\"user\":\"a\"}\r\n");
    second.expect("-ERR 'maximum account active connections exceeded'\r\n");
    second.expect_closed();
    one.send("PUB x 5\r\n");
    one.expect("-ERR 'Maximum Payload Violation'\r\n");
    one.expect_closed();
    let account = server.server.hub().account("A").unwrap();
    eventually("the account is empty", || account.connections() == 0);
}

fn permitted(permissions: Permissions) -> TestServer {
    let mut limited = user("limited", "");
    limited.permissions = Some(permissions);
    TestServer::start(with_users(vec![limited, user("free", "")]))
}

#[test]
fn permissions_are_kept_at_publish_subscribe_and_delivery() {
    let server = permitted(Permissions {
        publish: Some(SubjectPermissions { allow: Some(list(&["out.>"])), deny: list(&["out.secret"]) }),
        subscribe: Some(SubjectPermissions { allow: None, deny: list(&["in.secret", "in.*.hidden q.*"]) }),
        allow_responses: None,
    });
    let mut limited = server.connected_with("\"user\":\"limited\"");
    limited.send("PUB out.a 0\r\n\r\nPUB out.secret 0\r\n\r\nPUB x 0\r\n\r\nPUB x 0\r\n\r\n");
    for subject in ["out.secret", "x", "x"] {
        limited.expect(format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'\r\n"));
    }
    limited.send("SUB in.secret 1\r\nSUB in.> 2\r\nSUB in.> q.1 3\r\nSUB in.a.hidden q.2 4\r\n");
    limited.expect("-ERR 'Permissions Violation for Subscription to \"in.secret\"'\r\n");
    limited.expect("-ERR 'Permissions Violation for Subscription to \"in.a.hidden\" using queue \"q.2\"'\r\n");
    limited.expect_nothing();
    let mut free = server.connected_with("\"user\":\"free\"");
    free.send("PUB in.secret 1\r\na\r\nPUB in.a.hidden 1\r\nb\r\n");
    free.expect_nothing();
    // The denied subject reaches nobody; the hidden one only the plain subscription.
    limited.expect("MSG in.a.hidden 2 1\r\nb\r\n");
    limited.expect_nothing();
}

#[test]
fn a_responder_may_answer_once() {
    let server = permitted(Permissions {
        publish: None,
        subscribe: None,
        allow_responses: Some(AllowResponses { messages_max: Some(1), expires: Some(Duration::from_secs(60)) }),
    });
    let mut responder = server.connected_with("\"user\":\"limited\"");
    responder.send("SUB svc 1\r\nPUB inbox 0\r\n\r\n");
    responder.expect("-ERR 'Permissions Violation for Publish to \"inbox\"'\r\n");
    responder.expect_nothing();
    let mut client = server.connected_with("\"user\":\"free\"");
    client.send("SUB inbox 5\r\nPUB svc inbox 1\r\nq\r\n");
    responder.expect("MSG svc 1 inbox 1\r\nq\r\n");
    responder.send("PUB inbox 1\r\na\r\nPUB inbox 1\r\nb\r\n");
    responder.expect("-ERR 'Permissions Violation for Publish to \"inbox\"'\r\n");
    client.expect("MSG inbox 5 1\r\na\r\n");
    client.expect_nothing();
}

#[test]
fn a_second_connect_drops_what_the_first_subscribed() {
    let server = TestServer::start(with_users(vec![in_account("A", user("a", "")), in_account("B", user("b", ""))]));
    let mut client = server.connected_with("\"user\":\"a\"");
    client.send("SUB f 1\r\nCONNECT {\"user\":\"b\"}\r\nPUB f 1\r\nx\r\n");
    client.expect_nothing();
    assert_eq!((server.server.connections()[0].account.as_str(), server.server.hub().subscriptions()), ("B", 0));
}

/// Clients would take no responders for a server without JetStream, and ask again and again.
#[test]
fn an_account_without_jetstream_is_told_so_also_when_a_reload_brings_it() {
    let store = tempfile::tempdir().unwrap();
    let in_accounts = |names: &[&str], options: &mut Options| {
        options.authorization.users = names.iter().map(|name| in_account(name, user(name, ""))).collect();
        options.accounts =
            names.iter().map(|name| AccountOptions { name: (*name).into(), ..AccountOptions::default() }).collect();
    };
    let server = TestServer::start(|options| {
        options.jetstream.enabled = true;
        options.store_dir = Some(store.path().to_path_buf());
        in_accounts(&["A"], options);
    });
    let mut options = Options::clone(&server.server.options());
    in_accounts(&["A", "B"], &mut options);
    server.runtime.block_on(async { server.server.reload(options) }).unwrap();
    for name in ["A", "B"] {
        let mut client = server.connected_with(&format!("\"user\":\"{name}\""));
        client.send("SUB in 1\r\nPUB $JS.API.STREAM.DELETE.S in 0\r\n\r\n");
        assert!(client.line().starts_with("MSG in 1 "));
        let answer = client.line();
        assert!(answer.contains("stream_delete_response") && answer.contains("10039"), "{answer}");
    }
}

#[test]
fn a_reload_ends_logins_and_subscriptions_that_are_no_longer_good() {
    let limited = |deny: &[&str]| {
        let subscribe = Some(SubjectPermissions { allow: None, deny: list(deny) });
        let permissions = Some(Permissions { subscribe, ..Permissions::default() });
        User { permissions, ..user("limited", "x") }
    };
    let server = TestServer::start(with_users(vec![limited(&[]), user("gone", "x"), user("changed", "x")]));
    let mut client = server.connected_with("\"user\":\"limited\",\"pass\":\"x\",\"protocol\":1");
    client.info();
    client.send("SUB in.> 1\r\nSUB secret 2\r\n");
    client.expect_nothing();
    let mut gone = server.connected_with("\"user\":\"gone\",\"pass\":\"x\"");
    let mut changed = server.connected_with("\"user\":\"changed\",\"pass\":\"x\"");
    let mut options = Options::clone(&server.server.options());
    options.authorization.users = vec![limited(&["secret", "in.hidden"]), user("changed", "y")];
    options.payload_bytes_max = 10;
    server.runtime.block_on(async { server.server.reload(options) }).unwrap();
    // Who is gone is not told why: the client connects again, and hears it then.
    gone.expect_closed();
    changed.expect("-ERR 'Authorization Violation'\r\n");
    changed.expect_closed();
    // The INFO about the new limit may come once or, with that about the server, twice.
    let mut line = client.line();
    while line.starts_with("INFO ") {
        line = client.line();
    }
    assert_eq!(line, "-ERR 'Permissions Violation for Subscription to \"secret\" (sid \"2\")'\r\n");
    client.send("PUB in.hidden 1\r\na\r\nPUB in.shown 1\r\nb\r\nPUB secret 0\r\n\r\nPUB x 11\r\n");
    let rest = String::from_utf8(client.read_to_end()).unwrap();
    let rest: String = rest.split_inclusive("\r\n").filter(|line| !line.starts_with("INFO ")).collect();
    assert_eq!(rest, "MSG in.shown 1 1\r\nb\r\n-ERR 'Maximum Payload Violation'\r\n");
}

#[test]
fn limits_of_an_account_that_a_reload_lowers_hold_for_those_who_are_connected() {
    let limited = |connections: Option<u32>, subscriptions: Option<u32>| AccountOptions {
        name: "A".into(),
        limits: AccountLimits {
            connections_max: connections,
            subscriptions_max: subscriptions,
            ..AccountLimits::default()
        },
        ..AccountOptions::default()
    };
    let server = TestServer::start(|options| {
        options.authorization.users = vec![in_account("A", user("a", ""))];
        options.accounts = vec![limited(None, None)];
    });
    let reload = |account: AccountOptions| {
        let mut options = Options::clone(&server.server.options());
        options.accounts = vec![account];
        server.runtime.block_on(async { server.server.reload(options) }).unwrap();
    };
    let mut clients: Vec<_> = (0..3).map(|_| server.connected_with("\"user\":\"a\"")).collect();
    reload(limited(Some(1), None));
    for client in &mut clients[1..] {
        client.expect("-ERR 'maximum account active connections exceeded'\r\n");
        client.expect_closed();
    }
    let first = &mut clients[0];
    first.send("SUB a 1\r\nSUB b 2\r\n");
    first.expect_nothing();
    reload(limited(Some(1), Some(2)));
    first.expect_nothing();
    reload(limited(Some(1), Some(1)));
    first.expect("-ERR 'maximum subscriptions exceeded'\r\n");
    first.expect_closed();
}

/// An error would make client libraries give up who only have to log in again.
#[test]
fn a_user_that_moves_to_another_account_connects_again() {
    let server = TestServer::start(with_users(vec![in_account("A", user("mover", "x"))]));
    let mut client = server.connected_with("\"user\":\"mover\",\"pass\":\"x\"");
    let mut options = Options::clone(&server.server.options());
    options.authorization.users = vec![in_account("B", user("mover", "x"))];
    server.runtime.block_on(async { server.server.reload(options) }).unwrap();
    client.expect_closed();
    let _again = server.connected_with("\"user\":\"mover\",\"pass\":\"x\"");
    assert!(server.server.connections().iter().any(|connection| connection.account == "B"));
}

#[test]
fn nothing_but_a_good_connect_opens_the_door() {
    // Every order of the first three frames, because checks that look at the first only have been passed before.
    let server = TestServer::start(with_users(vec![user("a", "x")]));
    let mut witness = server.connected_with("\"user\":\"a\",\"pass\":\"x\"");
    witness.send("SUB > 1\r\n");
    witness.expect_nothing();
    let frames = [
        "PING\r\n",
        "PONG\r\n",
        "INFO {}\r\n",
        "SUB > 1\r\n",
        "UNSUB 1\r\n",
        "PUB x 1\r\na\r\n",
        "+OK\r\n",
        "-ERR 'x'\r\n",
        "CONNECT {}\r\n",
        "CONNECT {\"user\":\"a\"}\r\n",
        "CONNECT {\"user\":\"\",\"pass\":\"x\",\"nkey\":\"a\",\"jwt\":\"a\"}\r\n",
    ];
    for first in frames {
        for second in frames {
            let third = frames[(first.len() + second.len()) % frames.len()];
            let mut client = server.client();
            client.info();
            client.send([first, second, third].concat());
            let answer = String::from_utf8(client.read_to_end()).unwrap();
            assert_eq!(answer, "-ERR 'Authorization Violation'\r\n", "{first:?} {second:?} {third:?}");
        }
    }
    witness.expect_nothing();
}

/// The block's `proxy_required` was read and forgotten: whoever knew the token got in without a proxy.
#[test]
fn users_that_need_a_proxy_are_refused_without_one() {
    let single = TestServer::start(|options| {
        options.authorization.token = Some(Secret::new("t"));
        options.authorization.proxy_required = true;
    });
    refused(&single, "{\"auth_token\":\"t\"}");
    let listed = User { proxy_required: true, ..user("behind", "x") };
    let several = TestServer::start(with_users(vec![listed, user("plain", "x")]));
    refused(&several, "{\"user\":\"behind\",\"pass\":\"x\"}");
    several.connected_with("\"user\":\"plain\",\"pass\":\"x\"").expect_nothing();
    for server in [single, several] {
        let reasons: Vec<_> = server.server.closed_connections().iter().map(|closed| closed.reason.as_str()).collect();
        assert_eq!(reasons.first(), Some(&"Proxy Required"), "{reasons:?}");
    }
}

#[test]
fn users_come_only_by_the_transports_they_may_use() {
    let only = |kinds: &[ConnectionType], name| User { connection_types: kinds.to_vec(), ..user(name, "x") };
    let users = vec![
        only(&[ConnectionType::Websocket, ConnectionType::Mqtt], "web"),
        only(&[ConnectionType::Mqtt, ConnectionType::Standard], "both"),
    ];
    let server = TestServer::start(with_users(users));
    refused(&server, "{\"user\":\"web\",\"pass\":\"x\"}");
    server.connected_with("\"user\":\"both\",\"pass\":\"x\"").expect_nothing();
}

#[test]
fn a_system_user_alone_locks_nobody_out_of_the_global_account() {
    let read = |text: &str| headwater::config::load_text(text.as_bytes()).unwrap().options;
    let system = "accounts { $SYS { users: [{user: s, password: t}] } }";
    let server = TestServer::start(|options| {
        let read = read(system);
        (options.accounts, options.authorization) = (read.accounts, read.authorization);
    });
    let mut anonymous = server.connected();
    let mut silent = server.client();
    assert_eq!(silent.info()["auth_required"], true, "as nats-server says");
    silent.send("SUB a 1\r\n");
    silent.expect("+OK\r\n");
    anonymous.send("PUB a 1\r\nx\r\n");
    silent.expect("MSG a 1 1\r\nx\r\n");
    let system_user = server.connected_with("\"user\":\"s\",\"pass\":\"t\"");
    let accounts: Vec<String> = server.server.connections().into_iter().map(|shown| shown.account).collect();
    assert_eq!(accounts, ["$G", "$G", "$SYS"]);
    refused(&server, "{\"user\":\"s\",\"pass\":\"u\"}");
    drop(system_user);
    let reload = |text: &str| {
        let read = read(text);
        let mut options = Options::clone(&server.server.options());
        (options.accounts, options.authorization) = (read.accounts, read.authorization);
        server.runtime.block_on(async { server.server.reload(options) }).unwrap();
    };
    reload(&system.replace("password: t", "password: u"));
    anonymous.expect_nothing();
    // Users of another account, and who names nobody is let in no more.
    reload("accounts { $SYS { users: [{user: s, password: t}] }, A { users: [{user: a, password: b}] } }");
    anonymous.expect_closed();
    silent.expect_closed();
    refused(&server, "{}");
}

/// Keeps all checks of hashed passwords waiting, as a crowd of others before them would.
fn hold_hashing(server: &TestServer) -> tokio::sync::OwnedSemaphorePermit {
    let hashing = Arc::clone(&server.server.hub().hashing);
    let all = u32::try_from(hashing.available_permits()).unwrap();
    server.runtime.block_on(hashing.acquire_many_owned(all)).unwrap()
}

/// A client that waits for its hashed password to be checked.
fn waiting(server: &TestServer) -> RawClient {
    let mut client = server.client();
    client.info();
    client.send("CONNECT {\"verbose\":false,\"user\":\"a\",\"pass\":\"x\"}\r\nSUB a 1\r\nPING\r\n");
    eventually("CONNECT was read", || {
        let connections = server.server.hub().register.all();
        connections.iter().any(|connection| connection.with_options(|options| options.user == "a"))
    });
    client
}

fn hashed(password: &str) -> User {
    user("a", &bcrypt::hash(password, 4).unwrap())
}

#[test]
fn who_waits_for_others_to_be_checked_is_not_late() {
    // The time to log in went on while CONNECT waited for its turn.
    let server = TestServer::start(|options| {
        options.authorization.users = vec![hashed("x")];
        options.authorization.timeout = Duration::from_millis(100);
    });
    let held = hold_hashing(&server);
    let mut client = waiting(&server);
    let mut silent = server.client();
    silent.info();
    silent.expect("-ERR 'Authentication Timeout'\r\n");
    silent.expect_closed();
    drop(held);
    client.expect("PONG\r\n");
}

#[test]
fn what_was_subscribed_in_silence_does_not_stay_in_the_account_that_connect_leaves() {
    let server = TestServer::start(|options| {
        options.authorization.users = vec![in_account("A", user("a", "")), in_account("B", user("b", "x"))];
        options.no_auth_user = Some("a".into());
    });
    let account = |name: &str| server.server.hub().account(name).unwrap();
    let mut client = server.client();
    client.info();
    client.send("SUB s 1\r\n");
    client.expect("+OK\r\n");
    assert_eq!(account("A").interest.len(), 1);
    client.send("CONNECT {\"verbose\":false,\"user\":\"b\",\"pass\":\"x\"}\r\nPUB s 1\r\nx\r\nPING\r\n");
    client.expect("PONG\r\n");
    assert_eq!((account("A").interest.len(), account("B").interest.len()), (0, 0));
}

fn reload_users(server: &TestServer, users: Vec<User>) {
    let mut options = Options::clone(&server.server.options());
    options.authorization.users = users;
    server.runtime.block_on(async { server.server.reload(options) }).unwrap();
}

#[test]
fn a_login_that_a_reload_overtakes_is_decided_by_the_new_users() {
    // It was let in as the user that it had been before the reload, with a password that was good no more.
    for (now, admitted) in [
        (vec![hashed("y")], false),
        (vec![user("b", "x")], false),
        (vec![in_account("B", hashed("x"))], true),
        (vec![in_account("B", user("a", "x"))], true),
    ] {
        let server = TestServer::start(with_users(vec![in_account("A", hashed("x"))]));
        let held = hold_hashing(&server);
        let mut client = waiting(&server);
        reload_users(&server, now);
        drop(held);
        if admitted {
            client.expect("PONG\r\n");
            assert_eq!(server.server.connections()[0].account, "B");
            assert_eq!(server.server.hub().account("B").unwrap().interest.len(), 1);
        } else {
            client.expect("-ERR 'Authorization Violation'\r\n");
            client.expect_closed();
        }
    }
}

#[test]
fn a_reload_in_the_moment_of_a_login_is_not_missed() {
    // A reload looks at those who are logged in; who becomes so just after has to look for itself.
    let server = TestServer::start(with_users(vec![user("a", "x")]));
    let hub = server.server.hub();
    let before = hub.directory.load_full();
    let mut client = server.connected_with("\"user\":\"a\",\"pass\":\"x\"");
    let connection = server.server.connection(server.server.connections()[0].id).unwrap();
    hub.confirm_login(&connection, &before);
    client.expect_nothing();
    let token = AuthSettings { token: Some(headwater::protocol::connect::Secret::new("t")), ..AuthSettings::default() };
    hub.directory.store(Arc::new(Directory::new(&token).unwrap()));
    hub.confirm_login(&connection, &before);
    client.expect_closed();
}
