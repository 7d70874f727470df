//! What the `tls` block chooses about sessions: certificates by name, versions, suites, curves, the rate of handshakes,
//! and who may vouch for clients.

use crate::crash::headwater;
use crate::harness::{PATIENCE, RawClient, TestServer, eventually};
use crate::jetstream::Process;
use crate::tls::{Authority, CONNECT, upgraded};
use headwater::config::{CertificatePair, TlsVersion};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, NamedGroup, ProtocolVersion};
use std::sync::Arc;
use std::time::Duration;

/// A client that offers what is left in the provider.
fn offering(authority: &Authority, change: impl FnOnce(&mut CryptoProvider)) -> Arc<rustls::ClientConfig> {
    let mut provider = rustls::crypto::ring::default_provider();
    change(&mut provider);
    authority.config_with(Arc::new(provider), None)
}

/// What became of a handshake: the version, suite and curve, or why there is none.
fn negotiated(
    server: &TestServer,
    config: Arc<rustls::ClientConfig>,
) -> std::io::Result<(ProtocolVersion, CipherSuite, NamedGroup)> {
    let mut client = server.client();
    client.info();
    client.upgrade(config)?;
    let session = client.session();
    let group = session.negotiated_key_exchange_group().expect("a session has a group").name();
    let version = session.protocol_version().expect("a session has a version");
    Ok((version, session.negotiated_cipher_suite().expect("a session has a suite").suite(), group))
}

#[test]
fn the_certificate_is_the_one_for_the_name_that_is_asked_for() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let other = CertificateParams::new(vec!["other.example.com".to_string()]).unwrap();
    let other = other.signed_by(&key, authority.issuer()).unwrap();
    std::fs::write(authority.path("other.pem"), other.pem()).unwrap();
    std::fs::write(authority.path("other.key"), key.serialize_pem()).unwrap();
    let second = CertificatePair { cert_file: authority.path("other.pem"), key_file: authority.path("other.key") };
    let server = authority.server(|tls| tls.certificates.push(second), |_| {});
    for (name, is_other) in [("other.example.com", true), ("127.0.0.1", false)] {
        let mut client = server.client();
        client.info();
        client.upgrade_as(name, authority.config(None)).unwrap();
        let shown = client.session().peer_certificates().unwrap()[0].clone();
        assert_eq!(&shown == other.der(), is_other, "{name}");
    }
    // Nobody else's name is in either, so this client refuses the first.
    let mut client = server.client();
    client.info();
    client.upgrade_as("third.example.com", authority.config(None)).unwrap_err();
}

#[test]
fn versions_suites_and_curves_are_those_of_the_configuration() {
    let authority = Authority::new();
    let server = authority.server(
        |tls| {
            tls.cipher_suites = vec!["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384".into()];
            tls.curve_preferences = vec!["CurveP384".into()];
        },
        |_| {},
    );
    let only_1_2 = |provider: &mut CryptoProvider| provider.cipher_suites.retain(|suite| suite.tls13().is_none());
    let wanted =
        (ProtocolVersion::TLSv1_2, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, NamedGroup::secp384r1);
    assert_eq!(negotiated(&server, offering(&authority, only_1_2)).unwrap(), wanted);
    let only_128 = |provider: &mut CryptoProvider| {
        let suite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
        provider.cipher_suites.retain(|known| known.suite() == suite);
    };
    negotiated(&server, offering(&authority, only_128)).unwrap_err();
    let only_x25519 =
        |provider: &mut CryptoProvider| provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
    negotiated(&server, offering(&authority, only_x25519)).unwrap_err();

    let server = authority.server(|tls| tls.min_version = TlsVersion::Tls13, |_| {});
    let (version, ..) = negotiated(&server, offering(&authority, |_| {})).unwrap();
    assert_eq!(version, ProtocolVersion::TLSv1_3);
    negotiated(&server, offering(&authority, only_1_2)).unwrap_err();
}

#[test]
fn handshakes_above_the_rate_are_turned_away() {
    let authority = Authority::new();
    let server = authority.server(
        |tls| {
            tls.connection_rate_limit = Some(1);
            tls.timeout = Duration::from_millis(300);
        },
        |_| {},
    );
    let mut clients: Vec<RawClient> = (0..10).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| drop(client.info()));
    let words = clients.iter_mut().map(|client| String::from_utf8(client.read_to_end()).unwrap());
    let (silent, turned_away): (Vec<String>, Vec<String>) = words.partition(String::is_empty);
    // The second may change on the way.
    assert!((1..4).contains(&silent.len()), "{turned_away:?}");
    for words in turned_away {
        assert_eq!(words, "-ERR 'Connection throttling is active. Please try again later.'\r\n");
    }
}

/// Without a `ca_file` client certificates were not asked for at all, though `verify` says that they are.
#[test]
fn without_a_file_the_roots_of_the_system_vouch_for_clients() {
    let authority = Authority::new();
    let (trusted, stranger) = (authority.certificate("client", None), Authority::new().certificate("client", None));
    let config = authority.path("server.conf");
    let text = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", verify: true }}",
        authority.path("server.pem").display(),
        authority.path("server.key").display()
    );
    std::fs::write(&config, text).unwrap();
    let store = tempfile::tempdir().unwrap();
    let server = Process::start_with(headwater(), store.path(), |command| {
        command.arg("-c").arg(&config).env("SSL_CERT_FILE", authority.path("ca.pem"));
    });
    let connect = |client| {
        let mut connection = RawClient::open(server.address.parse().unwrap());
        assert_eq!(connection.info()["tls_verify"], true);
        connection.upgrade(authority.config(client)).map(|()| connection)
    };
    let mut welcome = connect(Some(&trusted)).unwrap();
    welcome.send(CONNECT);
    welcome.expect("PONG\r\n");
    for client in [None, Some(&stranger)] {
        if let Ok(mut refused) = connect(client) {
            // With TLS 1.3 the client finds out when it reads.
            let closed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| refused.read_to_end()));
            assert!(closed.is_err() || closed.unwrap().is_empty());
        }
    }
}

#[test]
fn a_session_shows_what_was_negotiated() {
    let authority = Authority::new();
    let server = authority.server(|tls| tls.curve_preferences = vec!["CurveP256".into()], |_| {});
    let mut client = upgraded(&server, authority.config(None));
    client.expect("PONG\r\n");
    assert_eq!(server.server.connections()[0].tls.as_ref().unwrap().version, "1.3");
}

#[test]
fn who_has_yet_to_choose_between_tls_and_plain_counts_as_a_connection() {
    // Any number could wait for as long as a handshake may take, and each held a socket and a task.
    let authority = Authority::new();
    let server = authority.server(
        |tls| tls.timeout = PATIENCE,
        |options| {
            options.allow_non_tls = true;
            options.connections_max = 3;
        },
    );
    let mut undecided: Vec<RawClient> = (0..3).map(|_| server.client()).collect();
    undecided.iter_mut().for_each(|client| assert_eq!(client.info()["tls_available"], true));
    let mut more = server.client();
    more.info();
    more.expect("-ERR 'maximum connections exceeded'\r\n");
    more.expect_closed();
    for client in &mut undecided {
        client.send("CONNECT {\"verbose\":false}\r\n");
        client.expect_nothing();
    }
    drop(undecided);
    eventually("they are gone", || server.server.connections().is_empty());
    server.connected().expect_nothing();
}
