//! Whole configurations: what is accepted, as what, and the words of refusals.
//!
//! Every row was run through `nats-server -t` 2.15.1. Digests and the texts of [`same_refusals`] are what it prints;
//! the other tables say how this server differs.

use std::path::Path;
use std::time::Duration;

use super::{
    AllowResponses, Change, ConnectionType, Flags, HandshakeFirst, Loaded, Options, Secret, SyncPolicy, Topic,
    UserIdentity, UserPassword, WriteTimeout, load,
};

/// Loads a file of this text, called `x.conf`, as `-t -c x.conf` does.
fn check(text: &str) -> Result<Loaded, String> {
    let dir = tempfile::tempdir().unwrap();
    check_in(dir.path(), text)
}

fn check_in(dir: &Path, text: &str) -> Result<Loaded, String> {
    let path = dir.join("x.conf");
    std::fs::write(&path, text).unwrap();
    let flags = Flags { config_file: Some(path), ..Flags::default() };
    let strip = |text: String| text.replace(&format!("{}/", dir.display()), "");
    match load(&flags) {
        Ok(loaded) if loaded.warnings.is_empty() => Ok(loaded),
        Ok(loaded) => Err(strip(loaded.warnings.join("\n"))),
        Err(error) => Err(strip(error.to_string())),
    }
}

#[track_caller]
fn options(text: &str) -> Options {
    check(text).unwrap_or_else(|error| panic!("{error}\n{text}")).options
}

#[test]
fn good_configurations_have_the_digest_of_nats_server() {
    for (text, digest) in GOOD {
        let loaded = check(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(&loaded.options.config_digest, digest, "{text}");
    }
}

#[test]
fn same_refusals() {
    for (text, expected) in REFUSED_ALIKE {
        assert_eq!(check(text).map(|loaded| loaded.options.config_digest), Err((*expected).into()), "for {text}");
    }
}

#[test]
fn refusals_in_other_words() {
    for (text, expected) in REFUSED_DIFFERENTLY {
        assert_eq!(check(text).map(|loaded| loaded.options.config_digest), Err((*expected).into()), "for {text}");
    }
}

#[test]
fn refusals_that_nats_server_makes_at_start_or_never() {
    for (text, expected) in REFUSED_EARLIER {
        assert_eq!(check(text).map(|loaded| loaded.options.config_digest), Err((*expected).into()), "for {text}");
    }
}

#[test]
fn nothing_configured_is_the_default() {
    let loaded = load(&Flags::default()).unwrap();
    assert_eq!(loaded, Loaded { options: Options::default(), warnings: Vec::new(), unsupported: Vec::new() });
}

#[test]
fn network() {
    let read = options(
        "listen: \"[::1]:-1\"\nhttp: 8222\nhttp_base_path: /a//b/../c/\nserver_name: n1\nclient_advertise: x:1\n\
         no_header_support: true\nallow_non_tls: yes",
    );
    assert_eq!((read.listen.host.as_str(), read.listen.port), ("::1", 0));
    assert_eq!(read.listen.to_string(), "[::1]:0");
    assert_eq!(read.http.as_ref().map(ToString::to_string).as_deref(), Some("[::1]:8222"));
    assert_eq!((read.http_base_path.as_str(), read.server_name.as_str()), ("/a/c", "n1"));
    assert!(read.no_header_support && read.allow_non_tls && read.https.is_none());

    assert_eq!(options("port: 0\nhttp: \"10.0.0.1:-1\"").http.unwrap().to_string(), "10.0.0.1:0");
    assert_eq!(options("port: 0").listen.to_string(), "0.0.0.0:4222");
    assert_eq!(options("http_port: 0").http, None);
    assert_eq!(options("net: ::").listen.to_string(), "[::]:4222");
}

#[test]
fn limits() {
    let read = options(
        "max_control_line: 1kb\nmax_payload: 2MB\nmax_pending: 1GB\nmax_conn: 0\nmax_subs: 5\nmax_sub_tokens: 3\n\
         max_traced_msg_len: 10\nping_interval: \"500ms\"\nping_max: 5\nwrite_deadline: \"2s\"\nwrite_timeout: close\n\
         lame_duck_duration: \"1m\"\nlame_duck_grace_period: \"1s\"\nno_fast_producer_stall: true\nthreads: 3",
    );
    assert_eq!((read.control_line_bytes_max, read.payload_bytes_max), (1024, 2 * 1024 * 1024));
    assert_eq!((read.pending_bytes_max, read.connections_max), (1 << 30, 0));
    assert_eq!((read.subscriptions_max, read.subscription_tokens_max), (Some(5), Some(3)));
    assert_eq!((read.traced_message_bytes_max, read.pings_out_max), (Some(10), 5));
    assert_eq!((read.ping_interval, read.write_deadline), (Duration::from_millis(500), Duration::from_secs(2)));
    assert_eq!((read.write_timeout, read.threads), (WriteTimeout::Close, Some(3)));
    assert_eq!(read.lame_duck_duration, Duration::from_secs(60));
    assert_eq!(read.lame_duck_grace_period, Duration::from_secs(1));
    assert!(read.no_fast_producer_stall);
    // Unlimited is what fits into a client's queue.
    assert_eq!(options("max_payload: -1\nmax_pending: 5MB").payload_bytes_max, 5 * 1024 * 1024);
    assert_eq!(options("max_payload: 0\nmax_connections: -1").connections_max, 0);
}

#[test]
fn log_and_files() {
    let read = options(
        "trace_headers: true\ndebug: on\nlogtime: false\nlogtime_utc: true\nlog_file: /x/y.log\nlog_size_limit: 10MB\n\
         log_max_num: 3\nsyslog: true\nremote_syslog: \"udp://h:514\"\npid_file: /x/p\nports_file_dir: /x",
    );
    assert!(read.log.debug && read.log.trace && read.log.trace_headers && !read.log.trace_verbose);
    assert!(!read.log.time && read.log.time_utc && read.log.syslog);
    assert_eq!(read.log.file.as_deref(), Some(Path::new("/x/y.log")));
    assert_eq!((read.log.file_bytes_max, read.log.files_max), (Some(10 << 20), Some(3)));
    assert_eq!(read.log.remote_syslog.as_deref(), Some("udp://h:514"));
    assert_eq!(read.pid_file.as_deref(), Some(Path::new("/x/p")));
}

#[test]
fn one_user_a_token_and_their_time() {
    let read = options("authorization { user: a, password: \"$2a$11$x\", timeout: 0.5 }").authorization;
    assert_eq!(read.user, Some(UserPassword { name: "a".into(), password: Secret::new("$2a$11$x") }));
    assert!(read.user.unwrap().password.is_bcrypt());
    assert_eq!(read.timeout, Duration::from_millis(500));
    let read = options("authorization { token: s3cret }");
    assert_eq!(read.authorization.token.as_ref().map(Secret::reveal), Some("s3cret"));
    assert!(read.auth_required() && !Options::default().auth_required());
    assert!(!format!("{read:?}").contains("s3cret"));
}

#[test]
fn users_and_their_permissions() {
    let text = format!(
        "authorization {{\n default_permissions {{ publish: d }}\n users [\n  {{user: a, password: p, permissions {{ pub: \
         [x, \"y.>\"], sub {{ allow: \"q g\", deny: [z] }} }}}}\n  {{user: b, allowed_connection_types: [standard, \
         MQTT, STANDARD], proxy_required: true}}\n  {{nkey: {USER_NKEY}, permissions {{ allow_responses: true }}}}\n  \
         {{user: c, permissions {{ publish: {{}}, allow_responses {{ max: -1, expires: \"3s\" }} }}}}\n  {{user: e, \
         permissions {{ publish: [] }}}}\n ]\n}}"
    );
    let users = options(&text).authorization.users;
    let list = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let first = users[0].permissions.as_ref().unwrap();
    assert_eq!(first.publish.as_ref().unwrap().allow, Some(list(&["x", "y.>"])));
    let subscribe = first.subscribe.as_ref().unwrap();
    assert_eq!((subscribe.allow.clone(), subscribe.deny.clone()), (Some(list(&["q g"])), list(&["z"])));

    let second = &users[1];
    assert_eq!(second.connection_types, [ConnectionType::Standard, ConnectionType::Mqtt]);
    assert!(second.proxy_required && second.account.is_none());
    let defaults = second.permissions.as_ref().unwrap();
    assert_eq!(defaults.publish.as_ref().unwrap().allow, Some(list(&["d"])));

    assert_eq!(users[2].identity, UserIdentity::Nkey { public_key: USER_NKEY.into() });
    let responses = users[2].permissions.as_ref().unwrap();
    assert_eq!(responses.allow_responses, Some(AllowResponses::default()));
    assert_eq!(responses.publish.as_ref().unwrap().allow, Some(Vec::new()), "nothing but answers");
    let limits = users[3].permissions.as_ref().unwrap().allow_responses;
    assert_eq!(limits, Some(AllowResponses { messages_max: None, expires: Some(Duration::from_secs(3)) }));
    // An empty list is no list: nats-server allows everything then.
    assert_eq!(users[4].permissions.as_ref().unwrap().publish.as_ref().unwrap().allow, None);
}

#[test]
fn accounts() {
    let text = format!(
        "no_auth_user: c\naccounts {{\n A {{\n  nkey: {ACCOUNT_NKEY}\n  users [{{user: a, password: b}}]\n  \
         default_permissions {{ publish: x }}\n  jetstream {{ mem: 1M, disk: 2G, streams: 3, max_ack_pending: 4, \
         max_bytes: true, cluster_traffic: owner }}\n  limits {{ max_conn: 5, max_subs: -1, max_pay: 1kb }}\n }}\n B {{ \
         users [{{user: c}}], jetstream: true }}\n C: {{ jetstream: disabled }}\n}}"
    );
    let read = options(&text);
    let [a, b, c] = read.accounts.as_slice() else { panic!("three accounts") };
    assert_eq!((a.name.as_str(), a.nkey.as_deref()), ("A", Some(ACCOUNT_NKEY)));
    let limits = a.jetstream.unwrap();
    assert_eq!((limits.memory_bytes_max, limits.store_bytes_max, limits.streams_max), (1_000_000, 2_000_000_000, 3));
    assert_eq!((limits.consumers_max, limits.ack_pending_max, limits.max_bytes_required), (-1, 4, true));
    assert_eq!(a.jetstream_traffic, super::JetStreamTraffic::Owner);
    assert_eq!((a.limits.connections_max, a.limits.subscriptions_max), (Some(5), None));
    assert_eq!(a.limits.payload_bytes_max, Some(1024));
    assert_eq!(b.jetstream, Some(super::AccountJetStreamLimits::default()));
    assert_eq!(c.jetstream, None);
    let users: Vec<_> = read.authorization.users.iter().map(|user| (user.name(), user.account.as_deref())).collect();
    assert_eq!(users, [("a", Some("A")), ("c", Some("B"))]);
    assert!(read.authorization.users[0].permissions.is_some() && read.authorization.users[1].permissions.is_none());
    assert_eq!(read.no_auth_user.as_deref(), Some("c"));
    assert!(!read.authorization.anonymous);
}

#[test]
fn system_account() {
    assert_eq!(Options::default().system_account.as_deref(), Some("$SYS"));
    assert_eq!(options("no_system_account: true").system_account, None);
    let only_system = "accounts { SYS { users [{user: s, password: t}] } }\nsystem_account: SYS";
    let read = options(only_system);
    assert_eq!(read.system_account.as_deref(), Some("SYS"));
    assert!(read.authorization.anonymous, "clients without credentials stay in $G");
    assert!(!options(&format!("{only_system}\nauthorization {{}}")).authorization.anonymous);
    assert!(options("accounts { $SYS { users [{user: s, password: t}] } }").authorization.anonymous);
}

#[test]
fn jetstream() {
    let read = options(
        "jetstream {\n store_dir: \"/data\"\n max_mem: 64MB, max_file: \"10GB\"\n domain: hub, unique_tag: \" AZ:\"\n \
         strict: false\n request_queue_limit: 7\n max_buffered_size: 1M\n limits { max_ack_pending: 5, duplicate_window: \
         \"1m\", default_max_consumers: -1, batch { max_inflight_per_stream: 2, timeout: \"1s\" } }\n}",
    );
    assert_eq!(read.jetstream_directory(), Path::new("/data/jetstream"));
    let jetstream = &read.jetstream;
    assert!(jetstream.enabled && !jetstream.strict);
    assert_eq!(jetstream.sync, SyncPolicy::BeforeAck);
    assert_eq!((jetstream.memory_bytes_max, jetstream.store_bytes_max), (Some(64 << 20), Some(10 << 30)));
    assert_eq!((jetstream.request_queue_limit, jetstream.info_queue_limit), (7, 7));
    assert_eq!((jetstream.domain.as_deref(), jetstream.unique_tag.as_deref()), (Some("hub"), Some("az:")));
    assert_eq!((jetstream.limits.ack_pending_max, jetstream.limits.default_max_consumers), (Some(5), None));
    assert_eq!(jetstream.limits.batch_inflight_per_stream_max, Some(2));
    assert_eq!(jetstream.limits.batch_timeout, Duration::from_secs(1));

    for (text, sync) in [
        ("jetstream { sync_interval: always }", SyncPolicy::BeforeAck),
        ("jetstream { sync: \"Always\" }", SyncPolicy::BeforeAck),
        ("jetstream { sync_interval: \"2m\" }", SyncPolicy::Interval(Duration::from_secs(120))),
    ] {
        assert_eq!(options(text).jetstream.sync, sync, "{text}");
    }
    let scrub = options("jetstream { scrub_interval: \"24h\", scrub_delay: 0s }").jetstream.scrub;
    assert_eq!((scrub.interval, scrub.delay), (Duration::from_secs(86_400), Duration::ZERO));
    for (text, enabled) in [
        ("jetstream: true", true),
        ("jetstream: Enabled", true),
        ("jetstream: disabled", false),
        ("jetstream {}", true),
        ("jetstream { enabled: false, domain: x }", false),
    ] {
        assert_eq!(options(text).jetstream.enabled, enabled, "{text}");
    }
    assert_eq!(options("jetstream { max_mem: 0, max_file: -1 }").jetstream.memory_bytes_max, Some(0));
    assert!(Options::default().jetstream_directory().ends_with("nats/jetstream"));
}

#[test]
fn tags_metadata_and_flags() {
    let read =
        options("server_tags: [\"A:1\", b, \" a:1 \", \"\"]\nserver_metadata { Zone: X }\nfeature_flags { f: yes }");
    assert_eq!(read.server_tags, ["a:1", "b"]);
    assert_eq!(read.server_metadata.get("Zone").map(String::as_str), Some("X"));
    assert_eq!(read.feature_flags.get("f"), Some(&true));
    assert_eq!(options("server_tags: x").server_tags, ["x"]);
}

#[test]
fn what_has_no_effect_is_named() {
    let loaded = check(
        "cluster { name: c }\nleafnodes {}\nocsp: false\nmqtt { port: 1883 }\n\naccounts { A { exports [{stream: x}] } }",
    )
    .unwrap();
    let named: Vec<_> = loaded.unsupported.iter().map(|key| (key.name.as_str(), key.line)).collect();
    assert_eq!(named, [("cluster", 1), ("mqtt", 4), ("accounts.A.exports", 6)]);
    let text = loaded.unsupported[0].to_string();
    assert!(
        text.starts_with("cluster is not supported by this release and has no effect (") && text.ends_with("x.conf:1)")
    );
}

#[test]
fn what_would_protect_something_is_refused() {
    for (text, name) in [
        ("operator: /x.jwt", "operator"),
        ("trusted_keys: OX", "trusted_keys"),
        ("authorization { auth_callout { issuer: x, auth_users: [u] } }", "authorization.auth_callout"),
        ("jetstream { key: k }", "jetstream.key"),
        ("jetstream { tpm { keys_file: k } }", "jetstream.tpm"),
    ] {
        let said = format!(
            "{name} is not supported by this release; it protects something that would stand open: remove it to start"
        );
        let error = check(text).unwrap_err();
        assert!(error.starts_with("x.conf:1:") && error.ends_with(&said), "{text}: {error}");
    }
    assert_eq!(check("operator: []\njetstream { key: '' }").unwrap().unsupported, []);
}

#[test]
fn what_is_read_and_changes_nothing_is_named() {
    let loaded = check(
        "no_sublist_cache: true\nfeature_flags { a: true, b: false }\njetstream {\n \
         max_buffered_msgs: 10, max_buffered_size: 1M, request_queue_limit: 5, info_queue_limit: 6, \
         max_concurrent_io: 64 }",
    )
    .unwrap();
    let named: Vec<_> = loaded.unsupported.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(
        named,
        [
            "no_sublist_cache",
            "feature_flags.a",
            "jetstream.max_buffered_msgs",
            "jetstream.max_buffered_size",
            "jetstream.request_queue_limit",
            "jetstream.info_queue_limit",
            "jetstream.max_concurrent_io",
        ]
    );
    let loaded = check("write_timeout: retry\nno_sublist_cache: false\nfeature_flags {}").unwrap();
    assert_eq!(loaded.unsupported, []);
}

#[test]
fn variables_excuse_unknown_keys() {
    assert_eq!(options("MY_PORT: 4333\nport: $MY_PORT").listen.port, 4333);
    assert_eq!(
        options("accounts { PUB: {publish: x}, A { users [{user: a, permissions: $PUB}] } }").accounts.len(),
        1,
        "a variable among accounts is no account"
    );
    let environment = |name: &str| (name == "NATS_PORT").then(|| "4444".to_string());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.conf");
    std::fs::write(&path, "port: $NATS_PORT").unwrap();
    let flags = Flags { config_file: Some(path), ..Flags::default() };
    assert_eq!(super::load::load_with(&flags, &environment).unwrap().options.listen.port, 4444);
}

#[test]
fn mistakes_in_included_files_are_found_there() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("sub/users.conf"), "users [\n {user: a, pasword: b}\n]\n").unwrap();
    let error = check_in(dir.path(), "port: 1\nauthorization {\n include sub/users.conf\n}\nnope: 1").unwrap_err();
    assert_eq!(error, "sub/users.conf:2:12: unknown field \"pasword\"\nx.conf:5:1: unknown field \"nope\"");
}

#[test]
fn tls() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    write("cert.pem", &made.cert.pem());
    write("key.pem", &made.signing_key.serialize_pem());
    write("other.pem", &other.signing_key.serialize_pem());
    write("empty.pem", "");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    write("broken.pem", broken);
    write(
        "mixed.pem",
        &format!("{broken}{}-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", made.cert.pem()),
    );
    let at = |name: &str| dir.path().join(name).display().to_string();
    let pair = format!("cert_file: \"{}\", key_file: \"{}\"", at("cert.pem"), at("key.pem"));

    let text = format!(
        "tls {{ {pair}, ca_file: \"{}\", verify_and_map: true, timeout: 1.5, min_version: \"1.3\", handshake_first: auto, \
         pinned_certs: [{}], connection_rate_limit: 5, cipher_suites: [TLS_AES_128_GCM_SHA256, \
         TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA], curve_preferences: [CurveP521, X25519] }}",
        at("cert.pem"),
        "A".repeat(64)
    );
    let loaded = check_in(dir.path(), &text).unwrap();
    let tls = loaded.options.tls.as_ref().unwrap();
    assert_eq!(tls.certificates[0].key_file, dir.path().join("key.pem"));
    assert!(tls.verify && tls.verify_and_map && tls.pinned_certs.contains(&"a".repeat(64)));
    assert_eq!((tls.timeout, tls.min_version), (Duration::from_millis(1500), super::TlsVersion::Tls13));
    assert_eq!(tls.handshake_first, HandshakeFirst::Fallback(Duration::from_millis(50)));
    assert_eq!(
        (tls.cipher_suites.as_slice(), tls.connection_rate_limit),
        (&["TLS_AES_128_GCM_SHA256".into()][..], Some(5))
    );
    assert_eq!(tls.curve_preferences, ["X25519"]);
    assert_eq!(loaded.options.authorization.timeout, Duration::from_millis(2500));
    let named: Vec<_> = loaded.unsupported.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(named, ["tls cipher suite TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "tls curve CurveP521"]);

    let certs = format!("tls {{ certs: [{{ {pair} }}, {{ {pair} }}] }}\nhttps: 8443");
    let read = check_in(dir.path(), &certs).unwrap().options;
    assert_eq!((read.tls.unwrap().certificates.len(), read.https.unwrap().port), (2, 8443));

    for (block, error) in [
        (
            format!("cert_file: \"{}\", key_file: \"{}\"", at("cert.pem"), at("other.pem")),
            "error parsing X509 certificate/key pair: cert.pem: keys may not be consistent: KeyMismatch",
        ),
        (
            format!("cert_file: \"{}\", key_file: \"{}\"", at("empty.pem"), at("key.pem")),
            "error parsing X509 certificate/key pair: failed to find any PEM data in certificate input empty.pem",
        ),
        (
            format!("{pair}, ca_file: \"{}\"", at("empty.pem")),
            "failed to parse root ca certificate: nothing usable in empty.pem",
        ),
        (
            format!("{pair}, ca_file: \"{}\"", at("broken.pem")),
            "failed to parse root ca certificate: nothing usable in broken.pem",
        ),
        (
            format!("{pair}, certs: [{{ {pair} }}]"),
            "error parsing tls config, cannot combine 'cert_file' option with 'certs' option",
        ),
    ] {
        assert_eq!(check_in(dir.path(), &format!("tls {{ {block} }}")).unwrap_err(), format!("x.conf:1:0: {error}"));
    }

    let (roots, unusable) = super::trusted_roots(&dir.path().join("mixed.pem")).unwrap();
    assert_eq!((roots.len(), unusable), (1, 2));

    for ocsp_peer in ["true", "{ verify: true, warn_only: false }"] {
        let error = check_in(dir.path(), &format!("tls {{ {pair}, ocsp_peer: {ocsp_peer} }}")).unwrap_err();
        assert!(error.contains("tls.ocsp_peer is not supported by this release; it protects something"), "{error}");
    }
    for (ocsp_peer, named) in
        [("false", 0), ("{ verify: false }", 0), ("{ ca_timeout: 2 }", 0), ("{ verify: true, warn_only: true }", 1)]
    {
        let loaded = check_in(dir.path(), &format!("tls {{ {pair}, ocsp_peer: {ocsp_peer} }}")).unwrap();
        assert_eq!(loaded.unsupported.len(), named, "{ocsp_peer}");
    }

    let tls_flags = super::TlsFlags {
        cert_file: Some(at("cert.pem").into()),
        key_file: Some(at("key.pem").into()),
        ..Default::default()
    };
    let flags = Flags { tls: tls_flags.clone(), ..Flags::default() };
    assert_eq!(load(&flags).unwrap().options.tls.unwrap().certificates.len(), 1);
    let off = super::TlsFlags { enabled: Some(false), ..tls_flags };
    assert!(load(&Flags { tls: off, ..Flags::default() }).unwrap().options.tls.is_none());
    let alone = super::TlsFlags { enabled: Some(true), ..Default::default() };
    let error = load(&Flags { tls: alone, ..Flags::default() }).unwrap_err().to_string();
    assert_eq!(error, "TLS Server certificate must be present and valid");
}

#[test]
fn flags_win_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.conf");
    std::fs::write(
        &path,
        "port: 1\nhttp: 2\ndebug: true\njetstream: enabled\nstore_dir: /file\nauthorization { users [{user: u}] }",
    )
    .unwrap();
    let flags = Flags {
        config_file: Some(path),
        port: Some(-1),
        http_port: Some(0),
        log: super::LogFlags { debug: Some(false), trace: Some(true), ..Default::default() },
        jetstream: Some(false),
        store_dir: Some("/flag".into()),
        user: Some("x".into()),
        threads: Some(2),
        ..Flags::default()
    };
    let loaded = load(&flags).unwrap();
    let read = loaded.options;
    assert_eq!((read.listen.port, read.http, read.threads), (0, None, Some(2)));
    assert!(!read.log.debug && read.log.trace && !read.jetstream.enabled);
    assert_eq!(read.store_dir.as_deref(), Some(Path::new("/flag")));
    assert_eq!((read.authorization.user, loaded.warnings.len()), (None, 1));
}

mod arbitrary {
    use proptest::prelude::*;

    const KEYS: &[&str] = &[
        "listen",
        "port",
        "http",
        "https_port",
        "http_base_path",
        "tls",
        "max_payload",
        "max_pending",
        "max_conn",
        "max_sub_tokens",
        "ping_interval",
        "lame_duck_duration",
        "lame_duck_grace_period",
        "write_timeout",
        "threads",
        "log_size_limit",
        "authorization",
        "accounts",
        "no_auth_user",
        "system_account",
        "jetstream",
        "store_dir",
        "server_tags",
        "server_metadata",
        "feature_flags",
        "cluster",
        "leafnodes",
        "websocket",
        "mqtt",
        "resolver",
        "users",
        "user",
        "nkey",
        "password",
        "permissions",
        "publish",
        "subscribe",
        "allow",
        "deny",
        "allow_responses",
        "max",
        "expires",
        "limits",
        "max_mem",
        "max_file",
        "sync_interval",
        "domain",
        "batch",
        "timeout",
        "msg_trace",
        "dest",
        "sampling",
        "certs",
        "cert_file",
        "cipher_suites",
        "pinned_certs",
        "handshake_first",
        "min_version",
        "connection_types",
        "client_advertise",
        "A",
        "$SYS",
        "x",
    ];
    const VALUES: &[&str] = &[
        "0",
        "-1",
        "1",
        "9223372036854775807",
        "-9223372036854775808",
        "1e",
        "64kb",
        "1.5",
        "1234567890123.5",
        "true",
        "off",
        "x",
        "\"\"",
        "\"1m\"",
        "\"-1s\"",
        "\"9223372036s\"",
        "\"5K\"",
        "\"K\"",
        "\"éB\"",
        "\"10%\"",
        "\"a b\"",
        "\"[::1]:-1\"",
        "\"]:\"",
        "[]",
        "{}",
        "[x]",
        "[{user: u}]",
        "enabled",
        "always",
        "\"1.3\"",
        "2016-05-04T18:53:41Z",
    ];

    fn text() -> impl Strategy<Value = String> {
        let key = || prop::sample::select(KEYS);
        let leaf = prop::sample::select(VALUES).prop_map(String::from).boxed();
        let value = leaf.prop_recursive(4, 24, 4, move |inner| {
            let entry = (key(), inner.clone()).prop_map(|(key, value)| format!("{key}: {value}"));
            prop_oneof![
                prop::collection::vec(entry, 0..5).prop_map(|entries| format!("{{\n{}\n}}", entries.join("\n"))),
                prop::collection::vec(inner, 0..3).prop_map(|items| format!("[\n{}\n]", items.join("\n"))),
            ]
        });
        let entry = (key(), value).prop_map(|(key, value)| format!("{key}: {value}\n"));
        prop::collection::vec(entry, 1..6).prop_map(|entries| entries.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Whatever is given to whatever key: an answer, and no panic.
        #[test]
        fn values_for_known_keys_never_panic(text in text()) {
            if let Ok(loaded) = super::check(&text) {
                let changes = loaded.options.diff(&super::Options::default());
                let _ = super::Change::refusal(&changes);
                let _ = format!("{:?}", loaded.options);
            }
        }
    }
}

fn diff(old: &str, new: &str) -> Vec<(Topic, Result<String, String>)> {
    options(old).diff(&options(new)).into_iter().map(|change: Change| (change.topic, change.outcome)).collect()
}

#[test]
fn a_reload_names_what_changes() {
    assert_eq!(diff("port: 4222", "port: 4222"), []);
    for (old, new, topic, line) in [
        ("debug: false", "debug: true", Topic::Log, "debug = true"),
        ("port: 1", "port: 1\nlog_file: /x", Topic::Log, "log_file = /x"),
        ("max_conn: 5", "max_conn: 6", Topic::Limits, "max_connections = 6"),
        ("max_payload: 5", "max_payload: 6", Topic::Info, "max_payload = 6"),
        ("max_control_line: 5", "max_control_line: 6", Topic::Limits, "max_control_line = 6"),
        ("port: 1", "port: 1\nping_interval: \"1m\"", Topic::Limits, "ping_interval = 1m0s"),
        ("port: 1", "port: 1\nping_max: 9", Topic::Limits, "ping_max = 9"),
        ("port: 1", "port: 1\nwrite_deadline: \"1s\"", Topic::Limits, "write_deadline = 1s"),
        ("port: 1", "port: 1\nlame_duck_duration: \"1m\"", Topic::Limits, "lame_duck_duration = 1m0s"),
        ("port: 1", "port: 1\npid_file: /p", Topic::PidFile, "pid_file = /p"),
        ("port: 1", "port: 1\nclient_advertise: x", Topic::Info, "client_advertise = x"),
        ("port: 1", "port: 1\nserver_tags: x", Topic::Monitoring, "tags"),
        ("port: 1", "port: 1\nauthorization { token: t }", Topic::Authorization, "authorization token"),
        (
            "authorization { users [{user: a}] }",
            "authorization { users [{user: b}] }",
            Topic::Authorization,
            "authorization users",
        ),
        ("accounts { A {} }", "accounts { B {} }", Topic::Accounts, "accounts"),
        ("port: 1", "port: 1\njetstream: enabled", Topic::JetStreamSwitch, "JetStream"),
        (
            "jetstream { max_mem: 1G }",
            "jetstream { max_mem: 2G }",
            Topic::JetStreamLimits,
            "JetStream max_mem_store = 2000000000",
        ),
        (
            "no_auth_user: a\nauthorization { users [{user: a}, {user: b}] }",
            "authorization { users [{user: b}] }",
            Topic::Authorization,
            "authorization users",
        ),
        ("port: 5", "port: -1\ndebug: true", Topic::Log, "debug = true"),
    ] {
        assert_eq!(diff(old, new), [(topic, Ok(format!("Reloaded: {line}")))], "{old} -> {new}");
    }
}

#[test]
fn a_reload_refuses_what_cannot_change() {
    for (old, new, name) in [
        ("port: 1", "port: 2", "Port: old=1, new=2"),
        ("host: a", "host: b", "Host: old=a, new=b"),
        ("server_name: a", "server_name: b", "ServerName: old=a, new=b"),
        ("max_pending: 5MB", "max_pending: 6MB", "MaxPending: old=5242880, new=6291456"),
        ("port: 1", "port: 1\nhttp_port: 8222", "HTTPPort: old=, new=0.0.0.0:8222"),
        (
            "authorization { users [{user: a}] }",
            "authorization { users [{user: a}] }\nno_auth_user: a",
            "NoAuthUser: old=, new=a",
        ),
        ("accounts { A {} }", "accounts { A {} }\nsystem_account: A", "SystemAccount: old=$SYS, new=A"),
        ("port: 1", "port: 1\nfeature_flags { a: true }", "FeatureFlags: old={}, new={\"a\": true}"),
        ("jetstream { store_dir: /a }", "jetstream { store_dir: /b }", "jetstream storage directory"),
        ("jetstream { max_mem: 2G }", "jetstream { max_mem: 1G }", "decreasing jetstream max memory and store"),
        ("jetstream {}", "jetstream { max_file: 1G }", "jetstream dynamic max memory and store"),
        ("jetstream { max_file: 1G }", "jetstream {}", "jetstream max memory and max store"),
        ("jetstream { domain: a }", "jetstream { domain: b }", "JetStreamDomain: old=a, new=b"),
        ("jetstream {}", "jetstream { sync_interval: \"1s\" }", "SyncInterval: old=always, new=1s"),
        (
            "jetstream { scrub_delay: 1s }",
            "jetstream { scrub_interval: 0s }",
            "Scrub: old=604800s after 1s, new=0ns after 3600s",
        ),
        ("jetstream {}", "jetstream { max_concurrent_io: 64 }", "JetStreamConcurrentIOs: old=4096, new=64"),
    ] {
        let changes = options(old).diff(&options(new));
        assert_eq!(
            Change::refusal(&changes),
            Some(format!("config reload not supported for {name}").as_str()),
            "{old} -> {new}"
        );
    }
    // What is switched off may look as it likes.
    assert_eq!(Change::refusal(&options("store_dir: /a").diff(&options("store_dir: /b"))), None);
}

const USER_NKEY: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
const ACCOUNT_NKEY: &str = "AC5GRL36RQV7MJ2GT6WQSCKDKJKYTK4T2LGLWJ2SEJKRDHFOQQWGGFQL";

/// Files that both accept.
const GOOD: &[(&str, &str)] = &[
    ("port: 4222", "sha256:797533ebd0dfba7d34a0f9337ecf147e442871f48ddfd07ed751575a5737267e"),
    (
        "listen: 127.0.0.1:-1\nnet: localhost\nhttp: 8222\nhttp_base_path: x",
        "sha256:4386f09c4b35f34fe91b9bb3f2c9fce06b4fb87ad921fada0aca863de80ef952",
    ),
    (
        "listen: \"[::1]:4222\"\nhttps_port: 0\nmonitor_port: -1",
        "sha256:a4283aec521645ad962a874678c3154e1f97faaf6691f20a77d022cdc7d93f5f",
    ),
    (
        "debug: true, trace: off\ntrace_verbose = no; trace_headers: false\nlogtime: yes\nlogtime_utc: on",
        "sha256:bf0164d4764c4f08d8416f7303acbc75d720a17eb6bc4a26d52a0a8aac634bc8",
    ),
    (
        "log_file: \"/tmp/x.log\"\nlogfile_size_limit: 1GB\nlog_max_num: 5\nsyslog: false\nremote_syslog: \"\"",
        "sha256:70222658568d78af5a7b72488dd4d0f0f3b01546e2a2d1a8091986b6b1523f00",
    ),
    (
        "max_control_line: 2048\nmax_payload: 64KB\nmax_pending: 10M\nmax_connections: 100\nmax_subs: 1k\nmax_sub_tokens: 16",
        "sha256:cfa7866b6d61ec605da993e20fb9ccacd294ba05d0d4c55c63fb919826ff4ad4",
    ),
    (
        "ping_interval: \"30s\"\nping_max: 3\nwrite_deadline: 5s\nwrite_timeout: retry",
        "sha256:dead2c7ef7ba4a316163aac2c65f191f4867eb92278169e99139fee0a859066f",
    ),
    (
        "lame_duck_duration: 30s\nlame_duck_grace_period: \"5s\"",
        "sha256:2540d5e93314b2a0b0545d739f726da576426bb5e6f88378a3b3b8caa611a426",
    ),
    (
        "server_name: n1\nserver_tags: [\"a:B\", \" x \"]\nserver_metadata: {region: eu, \"zone\": 'b'}",
        "sha256:bdbf2e34677f5483a5f5441abde49e0ffb2e600a37c1fadd291b2d08b293cb9c",
    ),
    (
        "feature_flags { js_ack_fc_v2: true }\nno_fast_producer_stall: true\nmax_closed_clients: 5",
        "sha256:d983d5a23b613bc126bcd9135e76c40639edf76805749d361fd5ec7d5691ff94",
    ),
    (
        "pid_file: /tmp/x.pid\nports_file_dir: /tmp\nprof_port: 0\nclient_advertise: \"example.com:4222\"",
        "sha256:b5e3065b52b822a485d8d82a922a87273620fee0840cb5394eef0ed2ca9be4b8",
    ),
    (
        "authorization { user: a, password: b, timeout: 1 }",
        "sha256:92711f7fa2cfabb774253271b5a1fcccc32a0ae693a103175a162239b12a99e5",
    ),
    (
        "authorization { token: \"s3cret\"; timeout: \"1m\" }",
        "sha256:e1a94e98665c0b76fbc1c6633ab872383da4da497b1cc86083b463cfd3613aa0",
    ),
    ("authorization { token: $2a$11$ooo }", "sha256:761c20f6d0191ef2a93ff6fa927b34e72517e7ff7c8bead6ec9ef29e7d723b8f"),
    (
        "authorization {\n users = [\n  {user: a, password: b}\n  {nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4}\n ]\n timeout: 0.5\n}\nno_auth_user: a",
        "sha256:83ba4d2343858fecfe87789ab9cb94720abe20a92302423fd72a971d989996a7",
    ),
    (
        "P = { publish: [a, \"b.>\"], subscribe: {allow: \"c\", deny: [\"d\", \"e q\"]} }\nauthorization { default_permissions: $P, users: [{user: u, pass: p}, {user: v, permission: {pub: x, allow_responses: {max: 5, expires: \"1m\"}}}] }",
        "sha256:7379d02d184ba5fec58698a6b7103f74a4cd46af8a283f6e61c7a1bbf8ff7b24",
    ),
    (
        "accounts { A { users: [{user: a, password: b, allowed_connection_types: [standard, WEBSOCKET]}], jetstream: enabled }, B { users: [{user: c}], jetstream { max_mem: 1G, max_file: -1, max_streams: 3, max_bytes_required: true, cluster_traffic: owner }, limits { max_conn: 5, max_payload: -1 }, default_permissions { publish: x }, msg_trace { dest: t.x, sampling: \"10%\" } } }",
        "sha256:933dee74a78d9ac3c5d93f10dbee22653591cfb0a06b7b0dd1c9634f83256ff0",
    ),
    ("accounts: [A, B]", "sha256:81e082806f96d2cf49e9074cf5dbcac91b37090001e0f72eb1175c4f155ef821"),
    (
        "accounts { SYS { users: [{user: s, password: t}] } }\nsystem_account: SYS",
        "sha256:918dbff4e954ecd1d4c4f44872792b68b3879eadb29e7c4fd52e7684291a5a63",
    ),
    (
        "accounts { $SYS { users: [{user: s, password: t}] } }",
        "sha256:8c68d041b7de66b6cad5fc96c7f72f1fb9af14dc26ea0ff104d81d2314f4f927",
    ),
    ("jetstream: enabled", "sha256:4089533b39d4e23289d2f59b16a4d4e5231bac972e528a4462f83826b87a6020"),
    (
        "jetstream: disabled\nstore_dir: /tmp/x",
        "sha256:eaff1a2f8a5e22f6fbda9dd931e03f6e8f8fdcae11e6a3e20de943b33e5892e2",
    ),
    ("jetstream {}", "sha256:db1138191431f4c0ab05ad804b65e3602594e7a3dc28272f662b65e0bfa10aea"),
    ("jetstream { enabled: false }", "sha256:12151a2d71d94c0bd7f1edf51927f3ce2d2dff6a66ee82c20759cdfbc1c4cd95"),
    (
        "jetstream { store_dir: '/tmp/js', max_mem: 64MB, max_file: \"10G\", sync_interval: always, domain: hub, strict: false, unique_tag: \"AZ:\", limits { max_ack_pending: 10, duplicate_window: \"1m\", batch { max_msgs: 5, timeout: 2s } } }",
        "sha256:0fdd38cc93ec1c31614edfbceb2fec207037d9d908cf82f2e9da8f9851b8a9cd",
    ),
    (
        "jetstream { sync: 10s, max_buffered_size: 1G, max_buffered_msgs: 10, request_queue_limit: 5, meta_compact: 0, meta_compact_size: 1M, max_concurrent_io: 64 }",
        "sha256:0c22c249af56091f55ea57e93b019c3321df0c599e0bbfb6cf36ef5653e0961f",
    ),
    (
        "{\n  \"port\": 4222,\n  \"accounts\": {\"A\": {\"users\": [{\"user\": \"a\", \"password\": \"<b&>\"}]}}\n}\n",
        "sha256:27d005384683f20b0c66d8752f5e7ddcec6edb8302c443ce6287aaee04306aac",
    ),
    (
        "cluster { name: c, listen: 0.0.0.0:6222, routes: [\"nats://a:6222\"], pool_size: -1, accounts: [], compression: {mode: s2_auto, rtt_thresholds: [10ms]} }",
        "sha256:ead55b9080ee55800fedea61378d8bebf573755fbd1d1b393ae17441e2d879cc",
    ),
    (
        "gateway { name: g, port: 7222, gateways: [{name: h, urls: [\"nats://h:7222\"]}] }",
        "sha256:6a79bc59150bec07e346ea5bb1f9517d785fcf04deb896c5652d3601cae45881",
    ),
    (
        "leafnodes { port: 7422, remotes: [{urls: [\"nats://a:7422\"], account: A}], compression: off }\naccounts { A {} }",
        "sha256:e9389a3957fa6acc2e58c0f6c32be88b7ba5e30a0aea80aee466f0cfb6173334",
    ),
    (
        "websocket { port: 8080, no_tls: true, same_origin: true, headers { a: b } }",
        "sha256:e7f8c8a7a23071263fde68954b00a6f6afb6df7a4b9c997e85ad9d7b7bd325bd",
    ),
    (
        "mqtt { port: 1883, ack_wait: 10s, max_ack_pending: 100 }\nserver_name: x",
        "sha256:6fc4a8391b14054d0c84d08fdd7e3c02971555d02def759efdfcb37ee16656f0",
    ),
    ("resolver: MEMORY", "sha256:7cb84b018ba544332663371420c3c4db16652570c58b5b44577721b45c64d777"),
    (
        "mappings = { foo: bar, \"x.*\": [{destination: \"y.$1\", weight: 50%}] }",
        "sha256:191996c5995710025114cd476edda7a3ef205c988ed946b248f28c733f060a4c",
    ),
    (
        "accounts { A { exports: [{service: \"q.>\", response_type: stream, threshold: \"1m\"}], users: [{user: a}] }, B { imports: [{service: {account: A, subject: \"q.x\"}, to: y}] } }",
        "sha256:8a6a7dcdccd03c32224dc36a99b9ac4834c835ed9f236ab4135c796c55440ce6",
    ),
    (
        "PORT = 4333\nport = $PORT\nMAX = 1k\nmax_conn = $MAX",
        "sha256:f2fc446c4a31010212857b93c5256477402de80e4b12983419b3ba20930cbcd3",
    ),
];

/// Files that both refuse with the same words.
const REFUSED_ALIKE: &[(&str, &str)] = &[
    ("", "x.conf: config has no values or is empty"),
    ("foo: 1\nbar: 2", "x.conf:1:0: unknown field \"foo\"\nx.conf:2:1: unknown field \"bar\""),
    ("listen: x", "x.conf:1:0: could not parse address string \"x\""),
    ("listen: \"a:b\"", "x.conf:1:0: could not parse port \"b\""),
    ("server_name: \"a b\"", "x.conf:1:0: server name cannot contain spaces"),
    ("max_payload: 3G", "x.conf:1:0: max_payload value is too big"),
    ("max_control_line: 3G", "x.conf:1:0: max_control_line value is too big"),
    ("max_sub_tokens: 256", "x.conf:1:0: max_sub_tokens value is too big"),
    ("max_sub_tokens: 0", "x.conf:1:0: max_sub_tokens value can not be negative"),
    (
        "ping_interval: 20",
        "x.conf:1:0: invalid use of field \"ping_interval\": ping_interval should be converted to a duration",
    ),
    ("ping_interval: 2x", "x.conf:1:0: error parsing ping_interval: time: unknown unit \"x\" in duration \"2x\""),
    ("write_timeout: never", "x.conf:1:0: write_timeout must be 'default', 'close' or 'retry'"),
    ("lame_duck_duration: 5s", "x.conf:1:0: invalid lame_duck_duration of 5s, minimum is 30 seconds"),
    ("lame_duck_duration: x", "x.conf:1:0: error parsing lame_duck_duration: time: invalid duration \"x\""),
    ("lame_duck_grace_period: \"-5s\"", "x.conf:1:0: invalid lame_duck_grace_period, needs to be positive"),
    ("system_account: 5", "x.conf:1:0: system account name must be a string"),
    ("feature_flags { a: 1 }", "x.conf:1:16: error parsing feature flag \"a\": expected bool, got int64"),
    ("server_tags: 5", "x.conf:1:0: error parsing tags: unsupported type int64"),
    ("authorization { user: a, password: b, token: c }", "x.conf:1:0: Cannot have a user/pass and token"),
    ("authorization { user: a, users: [{user: b}] }", "x.conf:1:0: Can not have a single user/pass and a users array"),
    ("authorization { token: a, users: [] }", "x.conf:1:0: Can not have a token and a users array"),
    ("authorization { users: [{user: a}, {user: a}] }", "x.conf:1:0: Duplicate user \"a\" detected"),
    (
        "authorization {\n timeout: 1m\n}",
        "x.conf:2:2: invalid use of field \"timeout\": timeout of 1000000 (1000000.000000 seconds) is high, consider keeping it under 60 seconds. possibly caused by unquoted duration; use '1m' instead of 1m, for example",
    ),
    ("authorization { timeout: [] }", "x.conf:1:16: error parsing authorization config, 'timeout' wrong type"),
    ("authorization { nope: 1 }", "x.conf:1:16: unknown field \"nope\""),
    (
        "authorization { users: [{user: a, permissions: {publish: {allows: x}}}] }",
        "x.conf:1:58: Unknown field name \"allows\" parsing subject permissions, only 'allow' or 'deny' are permitted",
    ),
    (
        "authorization { users: [{user: a, permissions: {nope: x}}] }",
        "x.conf:1:48: Unknown field \"nope\" parsing permissions",
    ),
    (
        "authorization { users: [{user: a, permissions: {allow_responses: {expires: 5}}}] }",
        "x.conf:1:66: error parsing expires, not a duration string",
    ),
    (
        "authorization { users: [{user: a, permissions: {allow_responses: 5}}] }",
        "x.conf:1:48: error parsing response permissions, expected a boolean or a map",
    ),
    (
        "authorization { users: [{user: a, connection_types: [nope]}] }",
        "x.conf:1:34: invalid connection types [\"NOPE\"]",
    ),
    ("accounts { $G {} }", "x.conf:1:11: \"$G\" is a Reserved Account"),
    ("accounts: [A, A]", "x.conf:1:14: Duplicate Account Entry: A"),
    ("accounts { A: 5 }", "x.conf:1:11: Expected map entries for accounts"),
    ("accounts { A { nope: 1 } }", "x.conf:1:15: unknown field \"nope\""),
    ("accounts { A { users: [{user: a}] }, B { users: [{user: a}] } }", "x.conf:1:41: Duplicate user \"a\" detected"),
    (
        "accounts { A { users: [{user: a}] } }\nauthorization { token: x }",
        "x.conf:1:15: Can not have a token and accounts",
    ),
    ("accounts { A { jetstream { max_mem: x } } }", "x.conf:1:27: Expected a parseable size for \"max_mem\", got x"),
    (
        "accounts { A { jetstream { cluster_traffic: x } } }",
        "x.conf:1:27: Expected 'system' or 'owner' string value for \"cluster_traffic\", got x",
    ),
    ("accounts { A { limits { nope: 1 } } }", "x.conf:1:24: Unknown field \"nope\" parsing account limits"),
    ("accounts { A { nkey: x } }", "x.conf:1:15: Not a valid public nkey for an account: \"x\""),
    (
        "accounts { A { msg_trace: 5 } }",
        "x.conf:1:15: Expected account message trace \"msg_trace\" to be a string or a map/struct, got int64",
    ),
    ("accounts { A { msg_trace: \"a.*\" } }", "x.conf:1:15: Trace destination \"a.*\" is not valid"),
    ("jetstream: maybe", "x.conf:1:0: Expected 'enabled' or 'disabled' for string value, got 'maybe'"),
    ("jetstream: 5", "x.conf:1:0: Expected map, bool or string to define JetStream, got int64"),
    ("jetstream { nope: 1 }", "x.conf:1:12: unknown field \"nope\""),
    ("jetstream { max_mem: \"5X\" }", "x.conf:1:12: max_mem_store sizes defined as strings must end in K, M, G, T"),
    ("jetstream { max_mem: true }", "x.conf:1:12: max_mem_store must be int64 or string"),
    (
        "jetstream { max_concurrent_io: 2 }",
        "x.conf:1:12: Expected an absolute size for \"max_concurrent_io\" between 4 and 8192, got 2",
    ),
    ("jetstream { store_dir: a }\nstore_dir: b", "x.conf:2:1: Duplicate 'store_dir' configuration"),
    ("jetstream { limits { nope: 1 } }", "x.conf:1:21: unknown field \"nope\""),
    ("jetstream { limits: 1 }", "x.conf:1:12: Expected a map to define JetStreamLimits, got int64"),
    ("jetstream { max_buffered_msgs: x }", "x.conf:1:12: Expected a parseable size for \"max_buffered_msgs\", got x"),
    ("jetstream { meta_compact: -1 }", "x.conf:1:12: Expected an absolute size for \"meta_compact\", got -1"),
    ("tls { nope: 1 }", "x.conf:1:6: error parsing tls config, unknown field \"nope\""),
    ("tls { cert_file: 5 }", "x.conf:1:6: error parsing tls config, expected 'cert_file' to be filename"),
    ("tls { verify: x }", "x.conf:1:6: error parsing tls config, expected 'verify' to be a boolean"),
    ("tls { cipher_suites: [x] }", "x.conf:1:22: unrecognized cipher x"),
    ("tls { cipher_suites: [] }", "x.conf:1:6: error parsing tls config, 'cipher_suites' cannot be empty"),
    ("tls { curve_preferences: [x] }", "x.conf:1:26: unrecognized curve preference x"),
    (
        "tls { pinned_certs: [abc] }",
        "x.conf:1:21: error parsing tls config, 'pinned_certs' key abc does not look like hex-encoded sha256 of DER encoded SubjectPublicKeyInfo",
    ),
    (
        "tls { pinned_certs: x }",
        "x.conf:1:6: error parsing tls config, expected 'pinned_certs' to be a list of hex-encoded sha256 of DER encoded SubjectPublicKeyInfo",
    ),
    ("tls { min_version: \"1.1\" }", "x.conf:1:6: error parsing tls config: unsupported TLS version: TLS 1.1"),
    ("tls { min_version: \"9\" }", "x.conf:1:6: error parsing tls config: unknown version: 9"),
    ("tls { handshake_first: x }", "x.conf:1:6: field \"handshake_first\"'s value \"x\" is invalid"),
    ("tls { handshake_first: 5 }", "x.conf:1:6: field \"handshake_first\" should be a boolean or a string, got int64"),
    ("tls { timeout: [] }", "x.conf:1:6: error parsing tls config, 'timeout' wrong type"),
    ("tls { connection_rate_limit: x }", "x.conf:1:6: error parsing tls config, 'connection_rate_limit' wrong type"),
    ("tls { cert_file: x }", "x.conf:1:0: missing 'key_file' in TLS configuration"),
    ("tls { key_file: x }", "x.conf:1:0: missing 'cert_file' in TLS configuration"),
    (
        "tls { cert_file: x, key_file: y }",
        "x.conf:1:0: error parsing X509 certificate/key pair: open x: no such file or directory",
    ),
    ("tls { certs: [{nope: x}] }", "x.conf:1:15: error parsing tls certs config, unknown field \"nope\""),
    ("tls { ca_file: x }", "x.conf:1:0: open x: no such file or directory"),
    (
        "jetstream: enabled\naccounts { S { jetstream: enabled } }\nsystem_account: S",
        "Not allowed to enable JetStream on the system account",
    ),
    (
        "jetstream { max_file: 10 }\naccounts { A { jetstream { max_file: 6 } }, B { jetstream { max_file: 5 } } }",
        "Error enabling jetstream on configured accounts: insufficient storage resources available (10047)",
    ),
    (
        "tls { verify_cert_and_check_known_urls: true }",
        "x.conf:1:6: verify_cert_and_check_known_urls not supported in this context",
    ),
    (
        "tls { cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256] }",
        "x.conf:1:0: insecure cipher suites configured without 'allow_insecure_cipher_suites' option set: TLS_RSA_WITH_AES_128_GCM_SHA256",
    ),
    ("cluster { nope: 1 }", "x.conf:1:10: unknown field \"nope\""),
    ("gateway { nope: 1 }", "x.conf:1:10: unknown field \"nope\""),
    ("leafnodes { remotes: [{nope: 1}] }", "x.conf:1:23: unknown field \"nope\""),
    ("websocket { nope: 1 }", "x.conf:1:12: unknown field \"nope\""),
    ("mqtt { nope: 1 }", "x.conf:1:7: unknown field \"nope\""),
];

const REFUSED_DIFFERENTLY: &[(&str, &str)] = &[
    (
        "cluster { write_timeout: x }",
        "x.conf:1:10: expected \"write_timeout\" to be one of 'default', 'close', 'retry', got \"x\"",
    ),
    (
        "jetstream { cipher: x }",
        "x.conf:1:12: expected \"cipher\" to be one of 'chacha', 'chachapoly', 'aes', got \"x\"",
    ),
    ("resolver: 5", "x.conf:1:0: expected \"resolver\" to be a string, got an integer"),
    ("http: [1]", "x.conf:1:0: expected port or host:port, got []interface {}"),
    ("authorization { users: [{password: b}] }", "x.conf:1:37: User entry requires a user"),
    ("authorization { users: [{nkey: x}] }", "x.conf:1:33: Not a valid public nkey for a user"),
    (
        "authorization { users: [{nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4, user: a}] }",
        "x.conf:1:97: Nkey users do not take usernames or passwords",
    ),
    (
        "authorization { users: [{user: a, permissions: {publish: \"a b\"}}] }",
        "x.conf:1:48: subject \"a b\" is not a valid subject",
    ),
    (
        "authorization { users: [{user: a, permissions: {subscribe: \"a b c\"}}] }",
        "x.conf:1:48: subject \"a b c\" is not a valid subject",
    ),
    (
        "authorization { users: [{user: a, permissions: {subscribe: \"a.. b\"}}] }",
        "x.conf:1:48: subject \"a..\" is not a valid subject",
    ),
    (
        "authorization { users: [{user: a, permissions: {subscribe: \"a b..\"}}] }",
        "x.conf:1:48: queue \"b..\" is not a valid queue",
    ),
    ("accounts: [A, $G]", "variable reference for 'G' on line 1 can not be found (x.conf:1:16)"),
    (
        "accounts { A { users: [{user: a}] } }\nauthorization { user: x, password: y }",
        "x.conf:1:15: Can not have a single user/pass and accounts",
    ),
    (
        "accounts { A { jetstream: maybe } }",
        "x.conf:1:15: Expected 'enabled' or 'disabled' for string value, got 'maybe'",
    ),
    ("tls { certs: x }", "x.conf:1:6: error parsing certificates config: unsupported type string"),
    (
        "tls { certs: [{cert_file: x}] }",
        "x.conf:1:28: error parsing certificates config: both 'cert_file' and 'cert_key' options are required",
    ),
    (
        "port: 5 6",
        "Parse error on line 1: 'Expected a top-level value to end with a new line, comment or EOF, but got '6' instead.' (x.conf:1:9)",
    ),
    ("port: abc", "x.conf:1:0: expected \"port\" to be an integer, got a string"),
    ("debug: 5", "x.conf:1:0: expected \"debug\" to be a boolean, got an integer"),
    (
        "lame_duck_duration: 60",
        "x.conf:1:0: expected \"lame_duck_duration\" to be a duration in quotes, such as \"1m\", got an integer",
    ),
    ("authorization: 5", "x.conf:1:0: expected \"authorization\" to be a map, got an integer"),
    ("jetstream { domain: 5 }", "x.conf:1:12: expected \"domain\" to be a string, got an integer"),
    ("ping_max: \"3\"", "x.conf:1:0: expected \"ping_max\" to be an integer, got a string"),
    ("server_metadata { a: 1 }", "x.conf:1:18: expected \"a\" to be a string, got an integer"),
    ("authorization { users: [5] }", "x.conf:1:24: Expected user entry to be a map/struct, got an integer"),
    ("authorization { users: 5 }", "x.conf:1:16: Expected users field to be an array, got an integer"),
    ("accounts { A { limits: 5 } }", "x.conf:1:15: Expected account limits to be a map/struct, got an integer"),
    (
        "jetstream { limits { duplicate_window: 1m } }",
        "x.conf:1:21: expected \"duplicate_window\" to be a duration in quotes, such as \"1m\", got an integer",
    ),
    ("port: $NOPE", "variable reference for 'NOPE' on line 1 can not be found (x.conf:1:11)"),
    ("include nope.conf", "error parsing include file 'nope.conf', open nope.conf: no such file or directory"),
    (
        "pid_file: [",
        "Parse error on line 1: 'Expected an array value terminator \",\" or an array terminator \"]\", but got 'end of file' instead.' (x.conf:1:11)",
    ),
    ("a { b }", "Parse error on line 1: 'Expected a value for key 'b' but found '}'.' (x.conf:1:6)"),
];
const REFUSED_EARLIER: &[(&str, &str)] = &[
    ("max_payload: 10e", "integer '10e' is out of the range (x.conf:1:16)"),
    ("tls {}", "missing 'cert_file' in TLS configuration"),
    ("no_auth_user: a", "no_auth_user: \"a\" present, but users/nkeys are not defined"),
    (
        "authorization { users: [{user: a}] }\nno_auth_user: b",
        "no_auth_user: \"b\" not present as user or nkey in authorization block or account configuration",
    ),
    ("system_account: XX", "error resolving system account: account missing"),
    ("system_account: \"$SYS\"", "error resolving system account: account missing"),
    ("max_payload: 10MB\nmax_pending: 1MB", "max_payload (10485760) cannot be higher than max_pending (1048576)"),
    (
        "lame_duck_duration: 30s\nlame_duck_grace_period: 30s",
        "lame duck grace period (30s) should be strictly lower than lame duck duration (30s)",
    ),
    ("http: 8222\nhttps: 8443", "can't specify both HTTP (8222) and HTTPs (8443) ports"),
    ("https: 8443", "TLS cert and key required for HTTPS"),
    ("jetstream { domain: \"a.b\" }", "invalid domain name: may not contain ., * or >"),
    ("jetstream { domain: \"a b\" }", "invalid domain name: derived \"$JS.a b.API.>\" is not a valid subject"),
    ("client_advertise: \"a:b:c\"", "invalid ClientAdvertise value of a:b:c, err=too many colons in address"),
    ("client_advertise: \"a:x\"", "invalid ClientAdvertise value of a:x, err=invalid port"),
    ("port: 70000", "x.conf:1:0: port 70000: invalid port"),
    ("listen: \"x:-2\"", "x.conf:1:0: listen -2: invalid port"),
];
