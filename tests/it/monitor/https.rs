//! The monitoring port behind TLS, with the certificate of the client port.

use super::PATIENCE;
use crate::harness::TestServer;
use headwater::config::{CertificatePair, ListenAddress, TlsOptions};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

#[test]
fn pages_are_served_behind_tls_without_a_client_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (cert_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert_file, certified.cert.pem()).unwrap();
    std::fs::write(&key_file, certified.signing_key.serialize_pem()).unwrap();
    let server = TestServer::start(|options| {
        options.https = Some(ListenAddress { host: "127.0.0.1".into(), port: 0 });
        options.tls = Some(TlsOptions {
            ca_file: Some(cert_file.clone()),
            certificates: vec![CertificatePair { cert_file, key_file }],
            verify: true,
            ..TlsOptions::default()
        });
    });
    let address = server.server.monitor_address().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut session = ClientConnection::new(Arc::new(config), "127.0.0.1".try_into().unwrap()).unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = Stream::new(&mut session, &mut socket);
    stream.write_all(b"GET /varz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    // The end without a farewell is an error, after everything was read.
    if let Err(error) = stream.read_to_string(&mut text) {
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.contains(&format!("\"https_port\": {}", address.port())) && text.contains("\"http_port\": 0"));
    assert!(text.contains("\"tls_required\": true"));
}
