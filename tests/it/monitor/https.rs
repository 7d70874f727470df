//! The monitoring port behind TLS, with the certificate of the client port.

use super::PATIENCE;
use crate::harness::TestServer;
use headwater::config::{CertificatePair, ListenAddress, Options, TlsOptions};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

/// Writes a new certificate and its key where the server looks for them.
fn certify(folder: &Path) -> CertificateDer<'static> {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), certified.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    certified.cert.der().clone()
}

fn start(folder: &Path) -> TestServer {
    let (cert_file, key_file) = (folder.join("cert.pem"), folder.join("key.pem"));
    TestServer::start(|options| {
        options.https = Some(ListenAddress { host: "127.0.0.1".into(), port: 0 });
        options.tls = Some(TlsOptions {
            ca_file: Some(cert_file.clone()),
            certificates: vec![CertificatePair { cert_file, key_file }],
            verify: true,
            ..TlsOptions::default()
        });
    })
}

/// The answer to a request by somebody who trusts this certificate alone.
fn varz(address: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut session = ClientConnection::new(Arc::new(config), "127.0.0.1".try_into().unwrap()).unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = Stream::new(&mut session, &mut socket);
    stream.write_all(b"GET /varz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    // The end without a farewell is an error, after everything was read.
    if let Err(error) = stream.read_to_string(&mut text) {
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
    Ok(text)
}

#[test]
fn pages_are_served_behind_tls_without_a_client_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = certify(folder.path());
    let server = start(folder.path());
    let address = server.server.monitor_address().unwrap();
    let text = varz(address, &certificate).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.contains(&format!("\"https_port\": {}", address.port())) && text.contains("\"http_port\": 0"));
    assert!(text.contains("\"tls_required\": true"));
}

#[test]
fn a_reload_takes_over_a_renewed_certificate_for_the_pages_too() {
    // The client port had the new one, and the monitor the old one until it had expired.
    let folder = tempfile::tempdir().unwrap();
    let old = certify(folder.path());
    let server = start(folder.path());
    let address = server.server.monitor_address().unwrap();
    let new = certify(folder.path());
    assert!(varz(address, &old).is_ok() && varz(address, &new).is_err());
    let options = Options::clone(&server.server.options());
    server.runtime.block_on(async { server.server.reload(options) }).unwrap();
    assert!(varz(address, &new).unwrap().starts_with("HTTP/1.1 200"));
    assert!(varz(address, &old).is_err());
}
