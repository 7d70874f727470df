//! Settings from the command line (F-10). They win over the file, at start and at every reload.

use std::path::PathBuf;

use super::keys::{Draft, check_tls_files};
use super::options::UnsupportedKey;
use super::report::{ConfigError, Report};
use super::secret::Secret;
use super::tls::{CertificatePair, TlsOptions};

/// What was given on the command line; `None` leaves the file's or the default value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub config_file: Option<PathBuf>,
    pub server_name: Option<String>,
    pub host: Option<String>,
    /// -1 picks a free port.
    pub port: Option<i64>,
    pub client_advertise: Option<String>,
    pub http_port: Option<i64>,
    pub https_port: Option<i64>,
    pub pid_file: Option<PathBuf>,
    pub ports_file_dir: Option<PathBuf>,
    pub log: LogFlags,
    pub jetstream: Option<bool>,
    pub store_dir: Option<PathBuf>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub token: Option<Secret>,
    pub tls: TlsFlags,
    pub threads: Option<u32>,
    /// Flags of nats-server that have no effect here, as written.
    pub unsupported: Vec<String>,
    /// `--routes` without a cluster is refused, as there.
    pub routes: bool,
    pub cluster: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFlags {
    pub file: Option<PathBuf>,
    pub file_bytes_max: Option<u64>,
    pub time: Option<bool>,
    pub time_utc: Option<bool>,
    pub syslog: Option<bool>,
    pub remote_syslog: Option<String>,
    pub debug: Option<bool>,
    pub trace: Option<bool>,
    pub trace_verbose: Option<bool>,
    pub traced_message_bytes_max: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFlags {
    /// `--tls=false` switches off what the file configures.
    pub enabled: Option<bool>,
    pub verify: Option<bool>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
}

/// Puts the flags over what the file said.
pub(super) fn apply(flags: &Flags, draft: &mut Draft, report: &mut Report) -> Result<(), ConfigError> {
    apply_network(flags, draft)?;
    apply_log(&flags.log, draft);
    let options = &mut draft.options;
    replace(&mut options.pid_file, &flags.pid_file);
    replace(&mut options.ports_file_dir, &flags.ports_file_dir);
    replace(&mut options.store_dir, &flags.store_dir);
    replace(&mut options.threads, &flags.threads);
    set(&mut options.jetstream.enabled, &flags.jetstream);
    replace(&mut draft.user_name, &flags.user);
    replace(&mut draft.password, &flags.password.as_ref().map(|password| password.reveal().to_string()));
    replace(&mut options.authorization.token, &flags.token);
    apply_tls(&flags.tls, &mut options.tls)?;
    if flags.routes && !flags.cluster && !draft.cluster_seen {
        return Err(ConfigError::new("solicited routes require cluster capabilities, e.g. --cluster"));
    }
    for name in &flags.unsupported {
        report.unsupported.push(UnsupportedKey { name: name.clone(), file: String::new(), line: 0 });
    }
    Ok(())
}

fn apply_network(flags: &Flags, draft: &mut Draft) -> Result<(), ConfigError> {
    let options = &mut draft.options;
    set(&mut options.server_name, &flags.server_name);
    set(&mut options.listen.host, &flags.host);
    replace(&mut options.client_advertise, &flags.client_advertise);
    if let Some(port) = flags.port.filter(|port| *port != 0) {
        options.listen.port = port_number("port", port)?;
    }
    for (name, flag, target) in
        [("http_port", flags.http_port, &mut draft.http_port), ("https_port", flags.https_port, &mut draft.https_port)]
    {
        if let Some(port) = flag {
            *target = if port == 0 { None } else { Some(port_number(name, port)?) };
        }
    }
    Ok(())
}

fn port_number(name: &str, port: i64) -> Result<u16, ConfigError> {
    if port == -1 {
        return Ok(0);
    }
    u16::try_from(port).map_err(|_| ConfigError::new(format_args!("{name} {port}: invalid port")))
}

fn apply_log(flags: &LogFlags, draft: &mut Draft) {
    let log = &mut draft.options.log;
    replace(&mut log.file, &flags.file);
    replace(&mut log.file_bytes_max, &flags.file_bytes_max);
    set(&mut log.time, &flags.time);
    set(&mut log.time_utc, &flags.time_utc);
    set(&mut log.syslog, &flags.syslog);
    replace(&mut log.remote_syslog, &flags.remote_syslog);
    set(&mut log.debug, &flags.debug);
    set(&mut log.trace, &flags.trace);
    set(&mut log.trace_verbose, &flags.trace_verbose);
    replace(&mut draft.options.traced_message_bytes_max, &flags.traced_message_bytes_max);
}

/// Any TLS flag replaces the whole block of the file.
fn apply_tls(flags: &TlsFlags, tls: &mut Option<TlsOptions>) -> Result<(), ConfigError> {
    if flags.enabled == Some(false) {
        *tls = None;
        return Ok(());
    }
    if *flags == TlsFlags::default() {
        return Ok(());
    }
    let named = |file: &Option<PathBuf>| file.clone().filter(|path| !path.as_os_str().is_empty());
    let Some(cert_file) = named(&flags.cert_file) else {
        return Err(ConfigError::new("TLS Server certificate must be present and valid"));
    };
    let Some(key_file) = named(&flags.key_file) else {
        return Err(ConfigError::new("TLS Server private key must be present and valid"));
    };
    let from_flags = TlsOptions {
        certificates: vec![CertificatePair { cert_file, key_file }],
        ca_file: named(&flags.ca_file),
        verify: flags.verify.unwrap_or(false),
        ..TlsOptions::default()
    };
    check_tls_files(&from_flags).map_err(ConfigError::new)?;
    *tls = Some(from_flags);
    Ok(())
}

fn set<T: Clone>(target: &mut T, flag: &Option<T>) {
    if let Some(value) = flag {
        target.clone_from(value);
    }
}

fn replace<T: Clone>(target: &mut Option<T>, flag: &Option<T>) {
    if flag.is_some() {
        target.clone_from(flag);
    }
}
