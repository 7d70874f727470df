//! The `tls` block of a listener (section 2.4). Files are named here and loaded when the listener is built.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// TLS of the client listener. Its presence makes TLS required unless `allow_non_tls` is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Chains in the order of preference; more than one only from `certs` (S-65). Empty when only a CA is given.
    pub certificates: Vec<CertificatePair>,
    pub ca_file: Option<PathBuf>,
    /// Clients must present a certificate signed by the CA.
    pub verify: bool,
    /// The certificate names the user (S-05); implies `verify`.
    pub verify_and_map: bool,
    /// For connections that this server opens.
    pub insecure: bool,
    /// Lower-case hex SHA-256 of the SPKI of certificates that clients may present (S-63); empty allows all.
    pub pinned_certs: BTreeSet<String>,
    /// Go names such as `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`, in order; empty leaves the choice to the library.
    pub cipher_suites: Vec<String>,
    /// Go names such as `X25519`, in order; empty leaves the choice to the library.
    pub curve_preferences: Vec<String>,
    pub min_version: TlsVersion,
    pub handshake_first: HandshakeFirst,
    /// Time for a handshake (2 s).
    pub timeout: Duration,
    /// Handshakes per second; `None` is unlimited (S-70).
    pub connection_rate_limit: Option<u32>,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            ca_file: None,
            verify: false,
            verify_and_map: false,
            insecure: false,
            pinned_certs: BTreeSet::new(),
            cipher_suites: Vec::new(),
            curve_preferences: Vec::new(),
            min_version: TlsVersion::Tls12,
            handshake_first: HandshakeFirst::No,
            timeout: Duration::from_secs(2),
            connection_rate_limit: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePair {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// Whether the handshake comes before INFO (S-61).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandshakeFirst {
    /// INFO in clear, then the handshake.
    #[default]
    No,
    /// Handshake, then INFO.
    Always,
    /// Wait this long for a ClientHello, then send INFO in clear (`auto` waits 50 ms).
    Fallback(Duration),
}
