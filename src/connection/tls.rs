//! TLS for the client listener (2.4): certificates, client verification, pinned keys. A reload builds another listener;
//! sessions that exist keep theirs.

use super::certificate;
use super::connection::TlsInfo;
use crate::config::trusted_roots;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, NamedGroup, ProtocolVersion, RootCertStore, ServerConfig, SupportedCipherSuite};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What can be configured about TLS.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// Chains with their keys. The name that a client asks for chooses (S-65); the first is for all others.
    pub certificates: Vec<CertificateFiles>,
    /// Who may vouch for clients; without it, those whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Clients must present a certificate.
    pub verify: bool,
    /// Lower-case hex SHA-256 of public keys that clients may present; empty allows all.
    pub pinned_keys: BTreeSet<String>,
    pub only_1_3: bool,
    /// Go names; empty leaves the choice to the library. Suites of TLS 1.3 can't be chosen.
    pub cipher_suites: Vec<String>,
    /// Go names, most preferred first; empty leaves the choice to the library.
    pub curves: Vec<String>,
    pub timeout: Duration,
    pub first: HandshakeFirst,
    /// Above this rate clients are turned away (S-70).
    pub handshakes_per_second_max: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
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

/// Where systems keep the certificates that they trust.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

pub struct TlsListener {
    acceptor: TlsAcceptor,
    settings: TlsSettings,
    rate: Mutex<(Option<Instant>, u32)>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {cause}")]
    Read { path: PathBuf, cause: rustls::pki_types::pem::Error },
    #[error("{0}: no certificate in it")]
    Empty(PathBuf),
    #[error("no certificate configured")]
    NoCertificate,
    #[error("certificate or key not usable: {0}")]
    Unusable(#[from] rustls::Error),
    #[error("client certificates can't be verified: {0}")]
    Roots(String),
    #[error("client certificates can't be verified: there is no 'ca_file' and the system has no list either")]
    NoRoots,
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
    #[error("TLS handshake error: certificate not pinned")]
    NotPinned,
}

impl HandshakeError {
    /// Whether two TLS speakers could not agree. Whoever goes away, is silent or speaks something else is no news.
    pub fn is_disagreement(&self) -> bool {
        let HandshakeError::Failed(error) = self else { return matches!(self, HandshakeError::NotPinned) };
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        cause.is_some_and(|cause| !matches!(cause, rustls::Error::InvalidMessage(_)))
    }
}

impl TlsListener {
    pub fn new(settings: TlsSettings) -> Result<TlsListener, TlsError> {
        // Named here and nowhere else: with a second provider in the build the implicit default would panic.
        let provider = Arc::new(provider(&settings));
        let resolver = Arc::new(ByName::load(&settings.certificates, &provider)?);
        let versions: &[_] = if settings.only_1_3 {
            &[&rustls::version::TLS13]
        } else {
            &[&rustls::version::TLS13, &rustls::version::TLS12]
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
        let builder = if settings.verify {
            let roots = Arc::new(roots(settings.ca_file.as_deref())?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build()?;
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_cert_resolver(resolver);
        Ok(TlsListener { acceptor: TlsAcceptor::from(Arc::new(config)), settings, rate: Mutex::default() })
    }

    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// Counts a handshake; false when there were too many in this second.
    pub fn admits(&self, now: Instant) -> bool {
        let Some(max) = self.settings.handshakes_per_second_max else {
            return true;
        };
        let mut rate = self.rate.lock();
        let (since, count) = &mut *rate;
        if since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            (*since, *count) = (Some(now), 0);
        }
        *count += 1;
        *count <= max
    }

    /// The handshake, within its time.
    pub async fn handshake(&self, stream: TcpStream) -> Result<(TlsStream<TcpStream>, TlsInfo), HandshakeError> {
        let accept = self.acceptor.accept(stream);
        let stream =
            tokio::time::timeout(self.settings.timeout, accept).await.map_err(|_| HandshakeError::Timeout)??;
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let info = TlsInfo {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "1.3",
                Some(ProtocolVersion::TLSv1_2) => "1.2",
                _ => "",
            },
            cipher_suite: session.negotiated_cipher_suite().map(|suite| go_name(suite.suite())).unwrap_or_default(),
            first: false,
            certificate: certificate.map(|certificate| certificate::names(certificate)),
            key_hash: certificate.and_then(|certificate| certificate::public_key_hash(certificate)),
        };
        if self.allows(&info) { Ok((stream, info)) } else { Err(HandshakeError::NotPinned) }
    }

    /// Whether the client's key is among the pinned ones, if any are.
    pub fn allows(&self, info: &TlsInfo) -> bool {
        let pinned = &self.settings.pinned_keys;
        pinned.is_empty() || info.key_hash.as_ref().is_some_and(|hash| pinned.contains(hash))
    }
}

/// Who may vouch for clients: those of the file, or those that the system trusts.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    if let Some(ca_file) = ca_file {
        let (roots, unusable) = trusted_roots(ca_file).map_err(TlsError::Roots)?;
        if unusable > 0 {
            tracing::warn!("{unusable} of the certificates in {} can't be used", ca_file.display());
        }
        return Ok(roots);
    }
    let chosen = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.exists());
    let bundle = chosen.or(known).ok_or(TlsError::NoRoots)?;
    // Systems ship certificates that not everybody can read; that is no news.
    Ok(trusted_roots(&bundle).map_err(TlsError::Roots)?.0)
}

fn provider(settings: &TlsSettings) -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    if !settings.cipher_suites.is_empty() {
        let chosen = |suite: &SupportedCipherSuite| {
            suite.tls13().is_some() || settings.cipher_suites.contains(&go_name(suite.suite()))
        };
        provider.cipher_suites.retain(chosen);
    }
    if !settings.curves.is_empty() {
        let groups = settings.curves.iter().filter_map(|name| group(name));
        let known = &provider.kx_groups;
        let chosen = groups.filter_map(|group| known.iter().copied().find(|kx| kx.name() == group)).collect();
        provider.kx_groups = chosen;
    }
    provider
}

fn group(name: &str) -> Option<NamedGroup> {
    Some(match name {
        "X25519" => NamedGroup::X25519,
        "CurveP256" => NamedGroup::secp256r1,
        "CurveP384" => NamedGroup::secp384r1,
        _ => return None,
    })
}

/// Server certificates, chosen by the name that the client asks for.
#[derive(Debug)]
struct ByName {
    /// Each with the DNS names in it.
    keys: Vec<(Vec<String>, Arc<CertifiedKey>)>,
}

impl ByName {
    fn load(files: &[CertificateFiles], provider: &CryptoProvider) -> Result<ByName, TlsError> {
        let mut keys = Vec::new();
        for file in files {
            let chain = certificates(&file.certificate)?;
            let key = PrivateKeyDer::from_pem_file(&file.key)
                .map_err(|cause| TlsError::Read { path: file.key.clone(), cause })?;
            let names = certificate::names(&chain[0]).dns;
            keys.push((names, Arc::new(CertifiedKey::from_der(chain, key, provider)?)));
        }
        if keys.is_empty() { Err(TlsError::NoCertificate) } else { Ok(ByName { keys }) }
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name();
        let named = self
            .keys
            .iter()
            .find(|(names, _)| asked.is_some_and(|asked| names.iter().any(|name| name_covers(name, asked))));
        named.or(self.keys.first()).map(|(_, key)| Arc::clone(key))
    }
}

/// `*.example.com` covers one label more than `example.com`.
fn name_covers(name: &str, asked: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => asked.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent)),
        None => name.eq_ignore_ascii_case(asked),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_names_cover_one_label() {
        assert!(name_covers("*.example.com", "a.EXAMPLE.com") && name_covers("a.b", "A.b"));
        assert!(!name_covers("*.example.com", "a.b.example.com") && !name_covers("*.example.com", "example.com"));
    }

    #[test]
    fn chosen_suites_and_curves_are_kept() {
        let settings = TlsSettings {
            cipher_suites: vec!["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".into()],
            curves: vec!["CurveP384".into(), "X25519".into()],
            ..TlsSettings::default()
        };
        let provider = provider(&settings);
        let old: Vec<String> = provider
            .cipher_suites
            .iter()
            .filter(|suite| suite.tls13().is_none())
            .map(|suite| go_name(suite.suite()))
            .collect();
        assert_eq!(old, ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
        let groups: Vec<NamedGroup> = provider.kx_groups.iter().map(|kx| kx.name()).collect();
        assert_eq!(groups, [NamedGroup::secp384r1, NamedGroup::X25519]);
    }
}
