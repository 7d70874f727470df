//! The files that a `tls` block names: they have to be there and to belong together.

use std::path::Path;

use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::super::tls::{CertificatePair, TlsOptions};

/// Opens every file the options name and checks that certificates and keys belong together.
pub(in super::super) fn check_files(tls: &TlsOptions) -> Result<(), String> {
    for (index, pair) in tls.certificates.iter().enumerate() {
        check_pair(pair).map_err(|error| match tls.certificates.len() {
            1 => format!("error parsing X509 certificate/key pair: {error}"),
            count => format!("error parsing X509 certificate/key pair {}/{count}: {error}", index + 1),
        })?;
    }
    if let Some(path) = &tls.ca_file {
        trusted_roots(path)?;
    }
    Ok(())
}

/// The certificates of a `ca_file`, and how many things in it are none that can be used: those vouch for nobody, as with
/// nats-server.
///
/// # Errors
/// When the file can not be read, or nothing in it can be used.
pub fn trusted_roots(path: &Path) -> Result<(RootCertStore, usize), String> {
    let text = open(path)?;
    let sections: Vec<_> = CertificateDer::pem_slice_iter(&text).collect();
    let count = sections.len();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(sections.into_iter().filter_map(Result::ok));
    match usable {
        0 => Err(format!("failed to parse root ca certificate: nothing usable in {}", path.display())),
        _ => Ok((roots, count - usable)),
    }
}

fn check_pair(pair: &CertificatePair) -> Result<(), String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&open(&pair.cert_file)?)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{}: {error}", pair.cert_file.display()))?;
    if chain.is_empty() {
        return Err(format!("failed to find any PEM data in certificate input {}", pair.cert_file.display()));
    }
    let key = PrivateKeyDer::from_pem_slice(&open(&pair.key_file)?)
        .map_err(|error| format!("failed to find a private key in {}: {error}", pair.key_file.display()))?;
    let provider = rustls::crypto::ring::default_provider();
    rustls::sign::CertifiedKey::from_der(chain, key, &provider)
        .map(|_| ())
        .map_err(|error| format!("{}: {error}", pair.cert_file.display()))
}

fn open(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("open {}: no such file or directory", path.display()),
        _ => format!("open {}: {error}", path.display()),
    })
}
