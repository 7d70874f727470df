//! TLS on the client port (S-60..S-63, S-05), with certificates made for each test.

use crate::harness::{RawClient, TestServer, eventually};
use headwater::config::{CertificatePair, HandshakeFirst, Options, Secret, TlsOptions, User, UserIdentity};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// An authority, a server certificate on disk, and client certificates on demand.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

pub struct ClientCertificate {
    der: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Authority { issuer, folder: tempfile::tempdir().unwrap() };
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_string()]).unwrap();
        let server = params.signed_by(&key, &authority.issuer).unwrap();
        std::fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        std::fs::write(authority.path("server.pem"), server.pem()).unwrap();
        std::fs::write(authority.path("server.key"), key.serialize_pem()).unwrap();
        authority
    }

    pub fn issuer(&self) -> &CertifiedIssuer<'static, KeyPair> {
        &self.issuer
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn options(&self) -> TlsOptions {
        let pair = CertificatePair { cert_file: self.path("server.pem"), key_file: self.path("server.key") };
        TlsOptions { certificates: vec![pair], ca_file: Some(self.path("ca.pem")), ..TlsOptions::default() }
    }

    pub fn server(&self, change: impl FnOnce(&mut TlsOptions), more: impl FnOnce(&mut Options)) -> TestServer {
        let mut tls = self.options();
        change(&mut tls);
        TestServer::start(|options| {
            options.tls = Some(tls);
            more(options);
        })
    }

    pub fn certificate(&self, common_name: &str, email: Option<&str>) -> ClientCertificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "org");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names.extend(email.map(|email| SanType::Rfc822Name(email.try_into().unwrap())));
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        ClientCertificate { der, key }
    }

    pub fn config(&self, client: Option<&ClientCertificate>) -> Arc<rustls::ClientConfig> {
        self.config_with(Arc::new(rustls::crypto::ring::default_provider()), client)
    }

    /// A client that offers what the provider has.
    pub fn config_with(
        &self,
        provider: Arc<rustls::crypto::CryptoProvider>,
        client: Option<&ClientCertificate>,
    ) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_root_certificates(roots);
        Arc::new(match client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let key = PrivateKeyDer::try_from(client.key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![client.der.clone()], key).unwrap()
            }
        })
    }
}

pub const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n";

/// INFO in clear, handshake, CONNECT.
pub fn upgraded(server: &TestServer, config: Arc<rustls::ClientConfig>) -> RawClient {
    let mut client = server.client();
    assert_eq!(client.info()["tls_required"], true);
    client.upgrade(config).unwrap();
    client.send(CONNECT);
    client
}

#[test]
fn tls_comes_after_info() {
    let authority = Authority::new();
    let server = authority.server(|_| {}, |_| {});
    let mut receiver = upgraded(&server, authority.config(None));
    receiver.expect("PONG\r\n");
    receiver.send("SUB f 1\r\n");
    receiver.expect_nothing();
    let mut sender = upgraded(&server, authority.config(None));
    sender.expect("PONG\r\n");
    for size in [1usize, 20_000, 300_000, 1_000_000] {
        let payload = vec![b'x'; size];
        sender.send(format!("PUB f {size}\r\n"));
        sender.send(&payload);
        sender.send("\r\n");
        receiver.expect(format!("MSG f 1 {size}\r\n"));
        assert_eq!(receiver.take(size), payload);
        receiver.expect("\r\n");
    }
    let shown = server.server.connections()[0].tls.clone().unwrap();
    assert_eq!((shown.version, shown.cipher_suite.as_str(), shown.first), ("1.3", "TLS_AES_256_GCM_SHA384", false));
    // A plain client on a port that wants TLS gets no further.
    let mut plain = server.client();
    plain.info();
    plain.send(CONNECT);
    assert!(!plain.read_to_end().starts_with(b"PONG"));
}

#[test]
fn tls_may_come_first() {
    let authority = Authority::new();
    let server = authority.server(|tls| tls.handshake_first = HandshakeFirst::Always, |_| {});
    let mut client = server.client();
    client.upgrade(authority.config(None)).unwrap();
    client.info();
    client.send(CONNECT);
    client.expect("PONG\r\n");
    assert!(server.server.connections()[0].tls.as_ref().unwrap().first);
    // With a fallback both kinds of client are served.
    let wait = Duration::from_millis(300);
    let server = authority.server(|tls| tls.handshake_first = HandshakeFirst::Fallback(wait), |_| {});
    let mut first = server.client();
    first.upgrade(authority.config(None)).unwrap();
    first.info();
    upgraded(&server, authority.config(None)).expect("PONG\r\n");
}

#[test]
fn plain_clients_may_be_welcome_too() {
    let authority = Authority::new();
    let server = authority.server(|_| {}, |options| options.allow_non_tls = true);
    let mut plain = server.client();
    let info = plain.info();
    assert!(info.get("tls_required").is_none() && info["tls_available"] == true);
    plain.send(CONNECT);
    plain.expect("PONG\r\n");
    let mut secure = server.client();
    secure.info();
    secure.upgrade(authority.config(None)).unwrap();
    secure.send(CONNECT);
    secure.expect("PONG\r\n");
}

#[test]
fn clients_must_present_a_certificate() {
    let authority = Authority::new();
    let trusted = authority.certificate("client", None);
    let server = authority.server(|tls| tls.verify = true, |_| {});
    let mut welcome = upgraded(&server, authority.config(Some(&trusted)));
    welcome.expect("PONG\r\n");
    let stranger = Authority::new().certificate("client", None);
    for client in [None, Some(&stranger)] {
        let mut refused = server.client();
        refused.info();
        // With TLS 1.3 the client finds out when it reads.
        if refused.upgrade(authority.config(client)).is_ok() {
            let closed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| refused.read_to_end()));
            assert!(closed.is_err() || closed.unwrap().is_empty());
        }
    }
    welcome.expect_nothing();
    assert_eq!(server.server.connections().len(), 1);
}

#[test]
fn keys_can_be_pinned() {
    let authority = Authority::new();
    let (pinned, other) = (authority.certificate("a", None), authority.certificate("b", None));
    let hash = ring::digest::digest(&ring::digest::SHA256, &pinned.key.subject_public_key_info());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let server = authority.server(
        |tls| {
            tls.verify = true;
            tls.pinned_certs = BTreeSet::from([hash]);
        },
        |_| {},
    );
    upgraded(&server, authority.config(Some(&pinned))).expect("PONG\r\n");
    let mut refused = server.client();
    refused.info();
    refused.upgrade(authority.config(Some(&other))).unwrap();
    assert!(refused.read_to_end().is_empty());
}

#[test]
fn the_certificate_can_name_the_user() {
    let authority = Authority::new();
    let user = |name: &str, account: &str| User {
        identity: UserIdentity::Password { name: name.into(), password: Secret::new("") },
        account: Some(account.into()),
        permissions: None,
        connection_types: Vec::new(),
        proxy_required: false,
    };
    let users = vec![user("bob@example.com", "MAIL"), user("O=org,CN=carol", "NAME")];
    let server = authority.server(
        |tls| {
            tls.verify = true;
            tls.verify_and_map = true;
        },
        |options| options.authorization.users = users,
    );
    for (name, email, account) in [("x", Some("bob@example.com"), "MAIL"), ("carol", None, "NAME")] {
        let certificate = authority.certificate(name, email);
        let mut client = upgraded(&server, authority.config(Some(&certificate)));
        client.expect("PONG\r\n");
        assert_eq!(server.server.connections().last().unwrap().account, account);
    }
    let stranger = authority.certificate("mallory", None);
    // What CONNECT says does not matter.
    let mut refused = server.client();
    refused.info();
    refused.upgrade(authority.config(Some(&stranger))).unwrap();
    refused.send("CONNECT {\"user\":\"bob@example.com\",\"pass\":\"\"}\r\n");
    refused.expect("-ERR 'Authorization Violation'\r\n");
    eventually("strangers are gone", || server.server.connections().iter().all(|shown| shown.user != "mallory"));
}

#[test]
fn a_user_that_a_certificate_names_still_gives_its_password() {
    let authority = Authority::new();
    let user = |name: &str, password: &str| User {
        identity: UserIdentity::Password { name: name.into(), password: Secret::new(password) },
        account: None,
        permissions: None,
        connection_types: Vec::new(),
        proxy_required: false,
    };
    let hash = &bcrypt::hash("s3cret", 4).unwrap();
    let users = vec![user("bob@acme.com", "s3cret"), user("ann@acme.com", hash), user("eve@acme.com", "")];
    let server = authority.server(
        |tls| {
            tls.verify = true;
            tls.verify_and_map = true;
        },
        |options| options.authorization.users = users,
    );
    let answer = |email: &str, password: Option<&str>| {
        let certificate = authority.certificate("x", Some(email));
        let mut client = server.client();
        client.info();
        client.upgrade(authority.config(Some(&certificate))).unwrap();
        let fields = password.map_or(String::new(), |password| format!("\"user\":\"x\",\"pass\":\"{password}\","));
        client.send(format!("CONNECT {{{fields}\"verbose\":false}}\r\nPING\r\n"));
        client.line()
    };
    for (email, right) in [("bob@acme.com", Some("s3cret")), ("ann@acme.com", Some("s3cret")), ("eve@acme.com", None)] {
        for password in [None, Some("s3cret"), Some("wrong")] {
            let expected = if password == right { "PONG\r\n" } else { "-ERR 'Authorization Violation'\r\n" };
            assert_eq!(answer(email, password), expected, "{email} {password:?}");
        }
    }
}

/// Whoever had logged in with a password stayed, with another's certificate or with none.
#[test]
fn a_reload_that_maps_certificates_ends_those_whose_certificate_names_another_user() {
    let authority = Authority::new();
    let user = |name: &str| User {
        identity: UserIdentity::Password { name: name.into(), password: Secret::new("s3cret") },
        account: None,
        permissions: None,
        connection_types: Vec::new(),
        proxy_required: false,
    };
    let users = vec![user("bob@acme.com"), user("ann@acme.com")];
    let server = authority.server(|tls| tls.verify = true, |options| options.authorization.users = users);
    let [mut bob, mut other] = ["bob@acme.com", "ann@acme.com"].map(|email| {
        let certificate = authority.certificate("x", Some(email));
        let mut client = server.client();
        client.info();
        client.upgrade(authority.config(Some(&certificate))).unwrap();
        client.send("CONNECT {\"user\":\"bob@acme.com\",\"pass\":\"s3cret\",\"verbose\":false}\r\nPING\r\n");
        client.expect("PONG\r\n");
        client
    });
    let mut options = Options::clone(&server.server.options());
    options.tls.as_mut().unwrap().verify_and_map = true;
    server.runtime.block_on(async { server.server.reload(options) }).unwrap();
    other.expect("-ERR 'Authorization Violation'\r\n");
    other.expect_closed();
    bob.expect_nothing();
}

const CONNECT_1: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1}\r\nPING\r\n";

#[test]
fn every_info_tells_what_the_port_wants() {
    // Those after CONNECT said nothing of TLS.
    let authority = Authority::new();
    for (allow_plain, first) in [(false, false), (false, true), (true, false), (true, true)] {
        let mode = if first { HandshakeFirst::Always } else { HandshakeFirst::No };
        let server = authority.server(|tls| tls.handshake_first = mode, |options| options.allow_non_tls = allow_plain);
        let mut client = server.client();
        let told = |info: serde_json::Value| (info["tls_required"] == true, info["tls_available"] == true);
        let greeting = if first {
            client.upgrade(authority.config(None)).unwrap();
            told(client.info())
        } else {
            let info = told(client.info());
            client.upgrade(authority.config(None)).unwrap();
            info
        };
        assert_eq!(greeting, (first || !allow_plain, allow_plain), "{allow_plain} {first}");
        client.send(CONNECT_1);
        client.expect("PONG\r\n");
        assert_eq!(told(client.info()), (!allow_plain, allow_plain), "{allow_plain} {first}");
    }
}

#[test]
fn a_failed_handshake_is_among_the_closed_connections() {
    let authority = Authority::new();
    let server = authority.server(|_| {}, |_| {});
    let mut plain = server.client();
    plain.info();
    plain.send(CONNECT);
    plain.read_to_end();
    eventually("it is remembered", || !server.server.closed_connections().is_empty());
    let closed = &server.server.closed_connections()[0];
    assert_eq!((closed.reason.as_str(), closed.snapshot.id > 0), ("TLS Handshake Failure", true));
}

#[test]
fn a_handshake_that_never_comes_is_given_up() {
    let authority = Authority::new();
    let server = authority.server(|tls| tls.timeout = Duration::from_millis(50), |_| {});
    let mut silent = server.client();
    silent.info();
    silent.expect_closed();
}
