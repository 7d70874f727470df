//! File and flags together: the one way to get [`Options`], at start, for `-t` and at a reload.

use std::path::Path;
use std::time::Duration;

use super::flags::{self, Flags};
use super::keys::{self, Draft};
use super::options::{ListenAddress, Options, UnsupportedKey};
use super::report::{ConfigError, Report};
use super::{syntax, validate};

const SYSTEM_ACCOUNT: &str = "$SYS";

/// A configuration that can be used, and what the operator should hear about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub options: Options,
    /// One line each, with the place; a deprecated use for example. `-t` refuses these.
    pub warnings: Vec<String>,
    /// Known and without effect; named in the log at start.
    pub unsupported: Vec<UnsupportedKey>,
}

/// Reads the file that the flags name, puts the flags over it, fills defaults in and checks the whole.
pub fn load(flags: &Flags) -> Result<Loaded, ConfigError> {
    load_with(flags, &|name| std::env::var(name).ok())
}

/// The same with another environment for `$VARIABLES`.
pub(super) fn load_with(flags: &Flags, environment: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, ConfigError> {
    let mut draft = Draft::default();
    let mut report = Report::default();
    if let Some(path) = &flags.config_file {
        read_file(path, environment, &mut draft, &mut report)?;
    }
    if !report.errors.is_empty() {
        let lines = report.warnings.into_iter().chain(report.errors).collect();
        return Err(ConfigError { lines });
    }
    flags::apply(flags, &mut draft, &mut report)?;
    let options = finish(draft, &mut report)?;
    validate::check(&options)?;
    Ok(Loaded { options, warnings: report.warnings, unsupported: report.unsupported })
}

/// Reads text instead of a file, with defaults for everything else and no environment. For tests and fuzzers.
pub fn load_text(text: &[u8]) -> Result<Loaded, ConfigError> {
    let mut draft = Draft::default();
    let mut report = Report::default();
    let map = syntax::parse_text(text, &|_| None).map_err(ConfigError::new)?;
    draft.options.config_digest = syntax::digest(&map);
    keys::read(&map, &mut draft, &mut report);
    if !report.errors.is_empty() {
        return Err(ConfigError { lines: report.warnings.into_iter().chain(report.errors).collect() });
    }
    let options = finish(draft, &mut report)?;
    validate::check(&options)?;
    Ok(Loaded { options, warnings: report.warnings, unsupported: report.unsupported })
}

fn read_file(
    path: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
    draft: &mut Draft,
    report: &mut Report,
) -> Result<(), ConfigError> {
    let map = syntax::parse_file(path, environment).map_err(ConfigError::new)?;
    draft.options.config_file = Some(path.to_path_buf());
    draft.options.config_digest = syntax::digest(&map);
    if map.is_empty() {
        report.warnings.push(format!("{}: config has no values or is empty", path.display()));
    }
    keys::read(&map, draft, report);
    Ok(())
}

/// Decides what depends on several settings.
fn finish(draft: Draft, report: &mut Report) -> Result<Options, ConfigError> {
    let user = keys::single_user(&draft);
    let explicit_system_account =
        draft.system_account.is_some() || draft.options.accounts.iter().any(|account| account.name == SYSTEM_ACCOUNT);
    let mut options = draft.options;

    let monitor_host = draft.http_host.unwrap_or_else(|| options.listen.host.clone());
    let monitor = |port: Option<u16>| port.map(|port| ListenAddress { host: monitor_host.clone(), port });
    options.http = monitor(draft.http_port);
    options.https = monitor(draft.https_port);
    if let (Some(http), Some(https)) = (&options.http, &options.https) {
        let text = format!("can't specify both HTTP ({}) and HTTPs ({}) ports", http.port, https.port);
        return Err(ConfigError::new(text));
    }

    if options.payload_bytes_max == 0 {
        let most = options.pending_bytes_max.min(i32::MAX as u64);
        options.payload_bytes_max = u32::try_from(most).unwrap_or(i32::MAX as u32);
    }
    options.jetstream.info_queue_limit = draft.info_queue_limit.unwrap_or(options.jetstream.request_queue_limit);

    let authorization = &mut options.authorization;
    authorization.timeout = match (draft.authorization_timeout, &options.tls) {
        (Some(timeout), _) => timeout,
        (None, Some(tls)) => tls.timeout + Duration::from_secs(1),
        (None, None) => authorization.timeout,
    };
    if user.is_some() && !authorization.users.is_empty() {
        report.warnings.push("--user has no effect because the configuration lists users".into());
    } else {
        authorization.user = user;
    }

    options.system_account = match (draft.system_account, draft.no_system_account) {
        (Some(name), _) => Some(name),
        (None, true) if !explicit_system_account => None,
        (None, _) => Some(SYSTEM_ACCOUNT.into()),
    };
    // Users of the system account alone must not lock everybody else out of the global account.
    authorization.anonymous = explicit_system_account
        && options.accounts.len() == 1
        && options.no_auth_user.is_none()
        && !draft.authorization_seen;
    // Named, so that it must exist; the default one is made when nobody defines it.
    let defined = |name: &str| options.accounts.iter().any(|account| account.name == name);
    if explicit_system_account && !options.system_account.as_deref().is_some_and(defined) {
        return Err(ConfigError::new("error resolving system account: account missing"));
    }
    Ok(options)
}
