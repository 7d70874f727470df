//! The `tls` block (2.4). The files it names are opened when it is read, so that `-t` finds what a start would find.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::duration::parse_duration;
use super::super::reader::Entry;
use super::super::report::Report;
use super::super::syntax::{Map, Node, Value};
use super::super::tls::{CertificatePair, HandshakeFirst, TlsOptions, TlsVersion};
use super::tls_files::check_files;
use super::top::set;
use super::unsupported;

/// How long `auto` waits for a ClientHello before it sends INFO in clear.
const HANDSHAKE_FALLBACK: Duration = Duration::from_millis(50);

/// Go's names of the suites that can be negotiated here.
pub const CIPHER_SUITE_NAMES: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];
/// Go's names of the curves that can be negotiated here.
pub const CURVE_NAMES: &[&str] = &["X25519", "CurveP256", "CurveP384"];

/// Suites that Go considers secure and this server does not have.
const MISSING_CIPHER_SUITES: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];
const INSECURE_CIPHER_SUITES: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];
const MISSING_CURVES: &[&str] = &["CurveP521", "X25519MLKEM768", "SecP256r1MLKEM768", "SecP384r1MLKEM1024"];

/// The block as read, and whether it can be used.
pub(super) fn read(entry: Entry<'_>, report: &mut Report) -> Option<TlsOptions> {
    let errors = report.errors.len();
    let map = entry.map(report)?;
    let tls = read_block(entry, map, report);
    if report.errors.len() > errors {
        return None;
    }
    if let Err(text) = check_files(&tls) {
        report.error(&entry.node.span, text);
        return None;
    }
    Some(tls)
}

fn read_block(block: Entry<'_>, map: &Map, report: &mut Report) -> TlsOptions {
    let mut tls = TlsOptions::default();
    let mut cert_file = None;
    let mut key_file = None;
    let mut insecure_suites = Vec::new();
    let mut insecure_suites_allowed = false;
    let mut suites_span = None;
    for (key, node) in map.iter() {
        let entry = Entry::new(key, node);
        match key.to_ascii_lowercase().as_str() {
            "cert_file" => cert_file = file(entry, report),
            "key_file" => key_file = file(entry, report),
            "ca_file" => tls.ca_file = file(entry, report).map(Into::into),
            "insecure" => set(&mut tls.insecure, flag(entry, report)),
            "verify" => tls.verify |= flag(entry, report).unwrap_or(false),
            "verify_and_map" => {
                if let Some(map) = flag(entry, report) {
                    tls.verify_and_map = map;
                    tls.verify |= map;
                }
            }
            "verify_cert_and_check_known_urls" => {
                if flag(entry, report) == Some(true) {
                    report.error(&node.span, "verify_cert_and_check_known_urls not supported in this context");
                }
            }
            "allow_insecure_cipher_suites" => set(&mut insecure_suites_allowed, flag(entry, report)),
            "cipher_suites" => {
                (tls.cipher_suites, insecure_suites) = read_cipher_suites(entry, report);
                suites_span = Some(&node.span);
            }
            "curve_preferences" => tls.curve_preferences = read_curves(entry, report),
            "timeout" => {
                let timeout = entry.timeout("tls", report);
                set(&mut tls.timeout, timeout.filter(|timeout| !timeout.is_zero()));
            }
            "connection_rate_limit" => match node.value {
                Value::Integer(rate) => {
                    tls.connection_rate_limit = u32::try_from(rate).ok().filter(|rate| *rate > 0);
                }
                _ => report.error(&node.span, "error parsing tls config, 'connection_rate_limit' wrong type"),
            },
            "pinned_certs" => tls.pinned_certs = read_pinned_certs(entry, report),
            "certs" | "certificates" => tls.certificates = read_pairs(entry, report),
            "handshake_first" | "first" | "immediate" => {
                set(&mut tls.handshake_first, read_handshake_first(entry, report));
            }
            "min_version" => set(&mut tls.min_version, read_version(node, report)),
            "ocsp_peer" => unsupported::read_ocsp_peer(&format!("{}.{key}", block.key), entry, report),
            "cert_store" | "cert_match_by" | "cert_match" | "ca_certs_match" | "cert_match_skip_invalid" => {
                report.unsupported(format!("{}.{key}", block.key), &node.span)
            }
            _ => report.error(&node.span, format_args!("error parsing tls config, unknown field {key:?}")),
        }
    }
    let span = &block.node.span;
    if !insecure_suites.is_empty() && !insecure_suites_allowed {
        report.error(
            span,
            format_args!(
                "insecure cipher suites configured without 'allow_insecure_cipher_suites' option set: {}",
                insecure_suites.join(", ")
            ),
        );
    } else if let Some(span) = suites_span.filter(|_| tls.cipher_suites.is_empty() && report.errors.is_empty()) {
        // Falling back to all suites would be the opposite of what was asked for.
        report.error(span, "none of the listed cipher suites is available in this server");
    }
    match (cert_file, key_file) {
        (Some(_), _) if !tls.certificates.is_empty() => {
            report.error(span, "error parsing tls config, cannot combine 'cert_file' option with 'certs' option")
        }
        (Some(_), None) => report.error(span, "missing 'key_file' in TLS configuration"),
        (None, Some(_)) => report.error(span, "missing 'cert_file' in TLS configuration"),
        (Some(cert), Some(key)) => {
            tls.certificates = vec![CertificatePair { cert_file: cert.into(), key_file: key.into() }];
        }
        (None, None) => {}
    }
    tls
}

fn file(entry: Entry<'_>, report: &mut Report) -> Option<String> {
    match &entry.node.value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        _ => {
            let text = format!("error parsing tls config, expected '{}' to be filename", entry.key);
            report.error(&entry.node.span, text);
            None
        }
    }
}

fn flag(entry: Entry<'_>, report: &mut Report) -> Option<bool> {
    match entry.node.value {
        Value::Bool(flag) => Some(flag),
        _ => {
            let text = format!("error parsing tls config, expected '{}' to be a boolean", entry.key);
            report.error(&entry.node.span, text);
            None
        }
    }
}

/// The names of a non-empty list of strings.
fn names<'a>(entry: Entry<'a>, report: &mut Report) -> Vec<(&'a str, &'a Node)> {
    let Some(items) = entry.list(report) else { return Vec::new() };
    if items.is_empty() {
        let text = format!("error parsing tls config, '{}' cannot be empty", entry.key);
        report.error(&entry.node.span, text);
    }
    items.iter().filter_map(|item| Some((Entry::new(entry.key, item).string(report)?, item))).collect()
}

fn read_cipher_suites(entry: Entry<'_>, report: &mut Report) -> (Vec<String>, Vec<String>) {
    let mut suites = Vec::new();
    let mut insecure = Vec::new();
    for (name, node) in names(entry, report) {
        if CIPHER_SUITE_NAMES.contains(&name) {
            suites.push(name.to_string());
        } else if INSECURE_CIPHER_SUITES.contains(&name) {
            insecure.push(name.to_string());
            not_offered("cipher suite", name, node, report);
        } else if MISSING_CIPHER_SUITES.contains(&name) {
            not_offered("cipher suite", name, node, report);
        } else {
            report.error(&node.span, format_args!("unrecognized cipher {name}"));
        }
    }
    (suites, insecure)
}

fn read_curves(entry: Entry<'_>, report: &mut Report) -> Vec<String> {
    let mut curves = Vec::new();
    for (name, node) in names(entry, report) {
        if CURVE_NAMES.contains(&name) {
            curves.push(name.to_string());
        } else if MISSING_CURVES.contains(&name) {
            not_offered("curve", name, node, report);
        } else {
            report.error(&node.span, format_args!("unrecognized curve preference {name}"));
        }
    }
    if curves.is_empty() && report.errors.is_empty() {
        report.error(&entry.node.span, "none of the listed curves is available in this server");
    }
    curves
}

fn not_offered(what: &str, name: &str, node: &Node, report: &mut Report) {
    report.unsupported(format!("tls {what} {name}"), &node.span);
}

fn read_pinned_certs(entry: Entry<'_>, report: &mut Report) -> BTreeSet<String> {
    let mut pinned = BTreeSet::new();
    let Value::List(items) = &entry.node.value else {
        report.error(
            &entry.node.span,
            "error parsing tls config, expected 'pinned_certs' to be a list of hex-encoded sha256 of DER encoded \
             SubjectPublicKeyInfo",
        );
        return pinned;
    };
    for item in items {
        let Some(text) = Entry::new(entry.key, item).string(report) else { continue };
        let text = text.to_lowercase();
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            pinned.insert(text);
        } else {
            report.error(
                &item.span,
                format_args!(
                    "error parsing tls config, 'pinned_certs' key {text} does not look like hex-encoded sha256 of DER \
                     encoded SubjectPublicKeyInfo"
                ),
            );
        }
    }
    pinned
}

fn read_pairs(entry: Entry<'_>, report: &mut Report) -> Vec<CertificatePair> {
    let wrong_type = |value: &Value| format!("error parsing certificates config: unsupported type {}", value.go_type());
    let Value::List(items) = &entry.node.value else {
        report.error(&entry.node.span, wrong_type(&entry.node.value));
        return Vec::new();
    };
    let mut pairs = Vec::with_capacity(items.len());
    for item in items {
        let Value::Map(map) = &item.value else {
            report.error(&item.span, wrong_type(&item.value));
            continue;
        };
        let (mut cert, mut key) = ("", "");
        let errors = report.errors.len();
        for (name, node) in map.iter() {
            let Value::String(text) = &node.value else {
                report.error(&node.span, wrong_type(&node.value));
                continue;
            };
            match name {
                "cert_file" => cert = text,
                "key_file" => key = text,
                _ => report.error(&node.span, format_args!("error parsing tls certs config, unknown field {name:?}")),
            }
        }
        if report.errors.len() > errors {
            continue;
        }
        if cert.is_empty() || key.is_empty() {
            report.error(
                &item.span,
                "error parsing certificates config: both 'cert_file' and 'cert_key' options are required",
            );
        } else {
            pairs.push(CertificatePair { cert_file: cert.into(), key_file: key.into() });
        }
    }
    pairs
}

fn read_handshake_first(entry: Entry<'_>, report: &mut Report) -> Option<HandshakeFirst> {
    let always = |flag| if flag { HandshakeFirst::Always } else { HandshakeFirst::No };
    match &entry.node.value {
        Value::Bool(flag) => Some(always(*flag)),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "on" => Some(HandshakeFirst::Always),
            "false" | "off" => Some(HandshakeFirst::No),
            "auto" | "auto_fallback" => Some(HandshakeFirst::Fallback(HANDSHAKE_FALLBACK)),
            _ => match parse_duration(text) {
                // Waiting for no time at all is not waiting: the handshake simply comes first.
                Ok(wait) => Some(match wait.positive().filter(|wait| !wait.is_zero()) {
                    Some(wait) => HandshakeFirst::Fallback(wait),
                    None => HandshakeFirst::Always,
                }),
                Err(_) => {
                    let text = format!("field {:?}'s value {text:?} is invalid", entry.key);
                    report.error(&entry.node.span, text);
                    None
                }
            },
        },
        other => {
            let text = format!("field {:?} should be a boolean or a string, got {}", entry.key, other.go_type());
            report.error(&entry.node.span, text);
            None
        }
    }
}

fn read_version(node: &Node, report: &mut Report) -> Option<TlsVersion> {
    let text = match &node.value {
        Value::String(text) => text.clone(),
        // Unquoted, 1.3 reads as a number.
        Value::Float(number) => format!("'min_version' wrong type: {number}"),
        other => format!("'min_version' wrong type: {}", other.kind()),
    };
    let problem = match text.as_str() {
        "1.2" => return Some(TlsVersion::Tls12),
        "1.3" => return Some(TlsVersion::Tls13),
        "1.0" | "1.1" => format!("unsupported TLS version: TLS {text}"),
        _ if matches!(node.value, Value::String(_)) => format!("unknown version: {text}"),
        _ => text,
    };
    report.error(&node.span, format_args!("error parsing tls config: {problem}"));
    None
}
