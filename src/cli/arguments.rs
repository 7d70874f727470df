//! Arguments in Go's notation become arguments that clap understands; clap gives them types.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue};

use super::names::{Takes, find};
use super::{Command, StoreCommand};
use crate::config::{Flags, LogFlags, Secret, TlsFlags};

/// Every flag by its canonical name, always as `--name=value`.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true, args_override_self = true)]
struct Arguments {
    #[arg(long)]
    addr: Option<String>,
    #[arg(long, value_parser = integer)]
    port: Option<i64>,
    #[arg(long = "server_name")]
    server_name: Option<String>,
    #[arg(long, value_parser = file_name())]
    pid: Option<PathBuf>,
    #[arg(long = "http_port", value_parser = integer)]
    http_port: Option<i64>,
    #[arg(long = "https_port", value_parser = integer)]
    https_port: Option<i64>,
    #[arg(long, value_parser = file_name())]
    config: Option<PathBuf>,
    #[arg(long, value_parser = boolean)]
    check: Option<bool>,
    #[arg(long)]
    signal: Option<String>,
    #[arg(long = "client_advertise")]
    client_advertise: Option<String>,
    #[arg(long = "ports_file_dir", value_parser = file_name())]
    ports_file_dir: Option<PathBuf>,
    #[arg(long, value_parser = file_name())]
    log: Option<PathBuf>,
    #[arg(long, value_parser = boolean)]
    logtime: Option<bool>,
    #[arg(long = "logtime_utc", value_parser = boolean)]
    logtime_utc: Option<bool>,
    #[arg(long, value_parser = boolean)]
    syslog: Option<bool>,
    #[arg(long = "remote_syslog")]
    remote_syslog: Option<String>,
    #[arg(long, value_parser = boolean)]
    debug: Option<bool>,
    #[arg(long, value_parser = boolean)]
    trace: Option<bool>,
    #[arg(long = "verbose_trace", value_parser = boolean)]
    verbose_trace: Option<bool>,
    #[arg(long = "debug_trace", value_parser = boolean)]
    debug_trace: Option<bool>,
    #[arg(long = "debug_verbose_trace", value_parser = boolean)]
    debug_verbose_trace: Option<bool>,
    #[arg(long = "log_size_limit", value_parser = integer)]
    log_size_limit: Option<i64>,
    #[arg(long = "max_traced_msg_len", value_parser = integer)]
    max_traced_msg_len: Option<i64>,
    #[arg(long, value_parser = boolean)]
    jetstream: Option<bool>,
    #[arg(long = "store_dir", value_parser = file_name())]
    store_dir: Option<PathBuf>,
    #[arg(long)]
    user: Option<String>,
    #[arg(long)]
    pass: Option<String>,
    #[arg(long)]
    auth: Option<String>,
    #[arg(long, value_parser = boolean)]
    tls: Option<bool>,
    #[arg(long, value_parser = file_name())]
    tlscert: Option<PathBuf>,
    #[arg(long, value_parser = file_name())]
    tlskey: Option<PathBuf>,
    #[arg(long, value_parser = boolean)]
    tlsverify: Option<bool>,
    #[arg(long, value_parser = file_name())]
    tlscacert: Option<PathBuf>,
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    #[arg(long)]
    routes: Option<String>,
    #[arg(long = "cluster_listen")]
    cluster_listen: Option<String>,
    #[arg(long = "cluster_name")]
    cluster_name: Option<String>,
    #[arg(long = "cluster_advertise")]
    cluster_advertise: Option<String>,
    #[arg(long = "no_advertise", value_parser = boolean)]
    no_advertise: Option<bool>,
    #[arg(long = "connect_retries", value_parser = integer)]
    connect_retries: Option<i64>,
    #[arg(long, value_parser = integer)]
    profile: Option<i64>,
    #[arg(long, value_parser = boolean)]
    help: Option<bool>,
    #[arg(long, value_parser = boolean)]
    version: Option<bool>,
    #[arg(long = "help_tls", value_parser = boolean)]
    help_tls: Option<bool>,
}

/// The words behind `store`.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
enum StoreArguments {
    Verify {
        directory: PathBuf,
    },
    Inspect {
        directory: PathBuf,
    },
    AcceptLoss {
        directory: PathBuf,
        #[arg(long)]
        write: bool,
    },
}

pub(super) fn parse(arguments: Vec<OsString>) -> Result<Command, String> {
    let (flags, words) = normalize(arguments.clone())?;
    let given = Arguments::try_parse_from(&flags).map_err(|error| describe(&error, &arguments))?;
    if given.version == Some(true) {
        return Ok(Command::Version);
    }
    if given.help == Some(true) {
        return Ok(Command::Help);
    }
    if given.help_tls == Some(true) {
        return Ok(Command::HelpTls);
    }
    if let Some((first, rest)) = words.split_first() {
        let first = first.to_string_lossy();
        return match first.to_lowercase().as_str() {
            "version" => Ok(Command::Version),
            "help" => Ok(Command::Help),
            "store" => parse_store(rest),
            _ => Ok(Command::Unknown(first.into_owned())),
        };
    }
    if let Some(request) = given.signal.filter(|request| !request.is_empty()) {
        return Ok(Command::Signal(request));
    }
    let check = given.check == Some(true);
    let flags = Box::new(to_flags(Arguments { signal: None, ..given }));
    Ok(if check { Command::Check(flags) } else { Command::Serve(flags) })
}

fn parse_store(arguments: &[OsString]) -> Result<Command, String> {
    let usage = "usage: store verify DIR | store inspect DIR | store accept-loss DIR [--write]";
    let command = match StoreArguments::try_parse_from(arguments) {
        Ok(StoreArguments::Verify { directory }) => StoreCommand::Verify { directory },
        Ok(StoreArguments::Inspect { directory }) => StoreCommand::Inspect { directory },
        Ok(StoreArguments::AcceptLoss { directory, write }) => StoreCommand::AcceptLoss { directory, write },
        Err(_) => return Err(usage.into()),
    };
    Ok(Command::Store(command))
}

/// Flags as `--name=value`, and the words after them. As in Go, the first word or `--` ends the flags.
fn normalize(arguments: Vec<OsString>) -> Result<(Vec<OsString>, Vec<OsString>), String> {
    let mut flags = Vec::new();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy().into_owned();
        if text == "--" {
            return Ok((flags, rest.collect()));
        }
        let Some(stripped) = text.strip_prefix('-').filter(|name| !name.is_empty()) else {
            return Ok((flags, std::iter::once(argument).chain(rest).collect()));
        };
        let stripped = stripped.strip_prefix('-').unwrap_or(stripped);
        let (name, value) = match stripped.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (stripped, None),
        };
        if name.is_empty() || name.starts_with('-') {
            return Err(format!("bad flag syntax: {text}"));
        }
        let Some(flag) = find(name) else {
            return Err(format!("flag provided but not defined: -{name}"));
        };
        let mut normalized = OsString::from(format!("--{}=", flag.canonical()));
        match (value, flag.takes) {
            (Some(value), _) => normalized.push(value),
            (None, Takes::Switch) => normalized.push("true"),
            (None, Takes::Value) => match rest.next() {
                Some(value) => normalized.push(value),
                None => return Err(format!("flag needs an argument: -{name}")),
            },
        }
        flags.push(normalized);
    }
    Ok((flags, Vec::new()))
}

/// The one kind of mistake that is left for clap to find is a value of the wrong type.
fn describe(error: &clap::Error, arguments: &[OsString]) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    match (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue)) {
        (Some(flag), Some(value)) => {
            let canonical = flag.trim_start_matches('-').split([' ', '=']).next().unwrap_or_default();
            let name = as_given(canonical, arguments);
            match find(canonical).map(|flag| flag.takes) {
                Some(Takes::Switch) => format!("invalid boolean value {value:?} for -{name}: parse error"),
                _ => format!("invalid value {value:?} for flag -{name}: parse error"),
            }
        }
        _ => error.to_string().lines().next().unwrap_or_default().to_string(),
    }
}

/// The name under which a flag was given: it has several.
fn as_given(canonical: &str, arguments: &[OsString]) -> String {
    let name = |argument: &OsString| {
        let text = argument.to_string_lossy();
        let name = text.trim_start_matches('-').split('=').next().unwrap_or_default().to_owned();
        text.starts_with('-').then_some(name)
    };
    let mut names = arguments.iter().filter_map(name);
    let given = names.find(|name| find(name).is_some_and(|flag| flag.canonical() == canonical));
    given.unwrap_or_else(|| canonical.to_owned())
}

fn to_flags(given: Arguments) -> Flags {
    let unsupported = unsupported(&given);
    let text = |value: Option<String>| value.filter(|text| !text.is_empty());
    let path = |value: Option<PathBuf>| value.filter(|path| !path.as_os_str().is_empty());
    let debug = given.debug_verbose_trace.or(given.debug_trace).or(given.debug);
    let verbose = given.debug_verbose_trace.or(given.verbose_trace);
    let trace = verbose.or(given.debug_trace).or(given.trace);
    Flags {
        config_file: path(given.config),
        server_name: text(given.server_name),
        host: text(given.addr),
        port: given.port,
        client_advertise: text(given.client_advertise),
        http_port: given.http_port,
        https_port: given.https_port,
        pid_file: path(given.pid),
        ports_file_dir: path(given.ports_file_dir),
        log: LogFlags {
            file: path(given.log),
            file_bytes_max: given.log_size_limit.and_then(positive),
            time: given.logtime,
            time_utc: given.logtime_utc,
            syslog: given.syslog,
            remote_syslog: text(given.remote_syslog),
            debug,
            trace,
            trace_verbose: verbose,
            traced_message_bytes_max: given.max_traced_msg_len.and_then(positive),
        },
        jetstream: given.jetstream,
        store_dir: path(given.store_dir),
        user: text(given.user),
        password: text(given.pass).map(Secret::new),
        token: text(given.auth).map(Secret::new),
        tls: TlsFlags {
            enabled: given.tls,
            verify: given.tlsverify,
            // Empty, they still want TLS: without it, whoever forgot the name of a file would serve in clear.
            cert_file: given.tlscert,
            key_file: given.tlskey,
            ca_file: given.tlscacert,
        },
        threads: given.threads,
        unsupported,
        routes: given.routes.is_some_and(|routes| !routes.is_empty()),
        cluster: given.cluster_listen.is_some_and(|address| !address.is_empty()),
    }
}

fn unsupported(given: &Arguments) -> Vec<String> {
    let is_set = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    [
        ("--routes", is_set(&given.routes)),
        ("--cluster", is_set(&given.cluster_listen)),
        ("--cluster_name", is_set(&given.cluster_name)),
        ("--cluster_advertise", is_set(&given.cluster_advertise)),
        ("--no_advertise", given.no_advertise == Some(true)),
        ("--connect_retries", given.connect_retries.is_some_and(|count| count != 0)),
        ("--profile", given.profile.is_some_and(|port| port != 0)),
    ]
    .into_iter()
    .filter(|(_, given)| *given)
    .map(|(name, _)| name.to_string())
    .collect()
}

fn positive<T: TryFrom<i64>>(number: i64) -> Option<T> {
    T::try_from(number).ok().filter(|_| number > 0)
}

/// An empty one is taken, too: in Go it is as good as none, and scripts rely on it.
fn file_name() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Go's spellings of a boolean.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("parse error".into()),
    }
}

/// Go takes other bases by their prefix.
fn integer(text: &str) -> Result<i64, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let number = if let Some(digits) = lower.strip_prefix("0x") {
        i64::from_str_radix(digits, 16)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        i64::from_str_radix(digits, 2)
    } else if let Some(digits) = lower.strip_prefix("0o") {
        i64::from_str_radix(digits, 8)
    } else {
        digits.parse()
    };
    match number {
        Ok(number) if number >= 0 => Ok(if negative { -number } else { number }),
        _ => Err("parse error".into()),
    }
}
