//! TLS for the client listener (2.4): certificates, client verification, pinned keys. A reload builds another listener;
//! sessions that exist keep theirs.

use super::connection::TlsInfo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::{CipherSuite, ProtocolVersion, RootCertStore, ServerConfig};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What can be configured about TLS.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Chain and key.
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub ca_file: Option<PathBuf>,
    /// Clients must present a certificate.
    pub verify: bool,
    /// The names in it are user names.
    pub map_names: bool,
    /// Lower-case hex SHA-256 of public keys that clients may present; empty allows all.
    pub pinned_keys: BTreeSet<String>,
    pub only_1_3: bool,
    pub timeout: Duration,
    pub first: HandshakeFirst,
}

/// Whether the handshake comes before INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandshakeFirst {
    #[default]
    No,
    Always,
    /// Only if the client begins it within this time.
    Within(Duration),
}

pub struct TlsListener {
    acceptor: TlsAcceptor,
    settings: TlsSettings,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {cause}")]
    Read { path: PathBuf, cause: rustls::pki_types::pem::Error },
    #[error("{0}: no certificate in it")]
    Empty(PathBuf),
    #[error("certificate or key not usable: {0}")]
    Unusable(#[from] rustls::Error),
    #[error("client certificates can't be verified: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("TLS handshake error: {0}")]
    Failed(#[from] std::io::Error),
    #[error("TLS handshake timeout")]
    Timeout,
    #[error("certificate not pinned")]
    NotPinned,
}

impl TlsListener {
    pub fn new(settings: TlsSettings) -> Result<TlsListener, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates(&settings.cert_file)?;
        let key = PrivateKeyDer::from_pem_file(&settings.key_file)
            .map_err(|cause| TlsError::Read { path: settings.key_file.clone(), cause })?;
        let versions: &[_] = if settings.only_1_3 {
            &[&rustls::version::TLS13]
        } else {
            &[&rustls::version::TLS13, &rustls::version::TLS12]
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
        let builder = match &settings.ca_file {
            Some(ca_file) if settings.verify => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(ca_file)? {
                    roots.add(certificate)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(chain, key)?;
        Ok(TlsListener { acceptor: TlsAcceptor::from(Arc::new(config)), settings })
    }

    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// The handshake, within its time.
    pub async fn handshake(&self, stream: TcpStream) -> Result<(TlsStream<TcpStream>, TlsInfo), HandshakeError> {
        let accept = self.acceptor.accept(stream);
        let stream =
            tokio::time::timeout(self.settings.timeout, accept).await.map_err(|_| HandshakeError::Timeout)??;
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        if !self.settings.pinned_keys.is_empty() && !certificate.is_some_and(|certificate| self.is_pinned(certificate))
        {
            return Err(HandshakeError::NotPinned);
        }
        let info = TlsInfo {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "1.3",
                Some(ProtocolVersion::TLSv1_2) => "1.2",
                _ => "",
            },
            cipher_suite: session.negotiated_cipher_suite().map(|suite| go_name(suite.suite())).unwrap_or_default(),
            first: false,
            certificate_names: Vec::new(),
        };
        Ok((stream, info))
    }

    fn is_pinned(&self, _certificate: &CertificateDer<'_>) -> bool {
        false
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |cause| TlsError::Read { path: path.to_path_buf(), cause };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path).map_err(read)?.collect::<Result<_, _>>().map_err(read)?;
    if chain.is_empty() { Err(TlsError::Empty(path.to_path_buf())) } else { Ok(chain) }
}

/// Suites of TLS 1.3 have no `13` in their Go names.
fn go_name(suite: CipherSuite) -> String {
    let name = suite.as_str().unwrap_or_default();
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name.to_string(),
    }
}
