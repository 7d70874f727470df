//! The keys of the top level.

use super::super::duration::GoDuration;
use super::super::options::{ListenAddress, WriteTimeout};
use super::super::reader::Entry;
use super::super::report::Report;
use super::super::syntax::{Map, Value};
use super::{Draft, accounts, authorization, jetstream, tls, unsupported};

/// The largest value of nats-server's 32-bit limits.
const LIMIT_MAX: i64 = i32::MAX as i64;
const LAME_DUCK_DURATION_MIN: GoDuration = GoDuration(30_000_000_000);

pub(super) fn read(map: &Map, draft: &mut Draft, report: &mut Report) {
    // Accounts and the authorization block exclude each other in parts, so the block is read first, whatever the order
    // in the file.
    for (key, node) in map.iter() {
        if key.eq_ignore_ascii_case("authorization") {
            authorization::read_block(Entry::new(key, node), draft, report);
        }
    }
    for (key, node) in map.iter() {
        read_entry(Entry::new(key, node), draft, report);
    }
}

fn read_entry(entry: Entry<'_>, draft: &mut Draft, report: &mut Report) {
    let name = entry.key.to_ascii_lowercase();
    let known = read_network(&name, entry, draft, report)
        || read_limits(&name, entry, draft, report)
        || read_process(&name, entry, draft, report)
        || read_identity(&name, entry, draft, report)
        || read_features(&name, entry, draft, report)
        || unsupported::read(&name, entry, draft, report);
    if !known {
        report.unknown(entry.key, entry.node);
    }
    unsupported::name_inert(&name, entry.key, entry, report);
}

fn read_network(name: &str, entry: Entry<'_>, draft: &mut Draft, report: &mut Report) -> bool {
    let options = &mut draft.options;
    match name {
        "listen" => {
            if let Some((host, port)) = listen(entry, report) {
                set_listen(&mut options.listen, host, port, report, entry);
            }
        }
        "host" | "net" => {
            set(&mut options.listen.host, entry.string(report).filter(|host| !host.is_empty()).map(String::from));
        }
        "port" => {
            if let Some(port) = entry.integer(report) {
                set_listen(&mut options.listen, None, port, report, entry);
            }
        }
        "client_advertise" => options.client_advertise = non_empty(entry, report),
        "server_name" => match entry.string(report) {
            Some(name) if name.contains(' ') => {
                report.error(&entry.node.span, "server name cannot contain spaces");
            }
            Some(name) => options.server_name = name.into(),
            None => {}
        },
        "http" | "https" => {
            if let Some((host, port)) = listen(entry, report) {
                draft.http_host = host.or(draft.http_host.take());
                let target = if name == "http" { &mut draft.http_port } else { &mut draft.https_port };
                *target = monitor_port(port, entry, report);
            }
        }
        "http_port" | "monitor_port" => {
            if let Some(port) = entry.integer(report) {
                draft.http_port = monitor_port(port, entry, report);
            }
        }
        "https_port" => {
            if let Some(port) = entry.integer(report) {
                draft.https_port = monitor_port(port, entry, report);
            }
        }
        "http_base_path" => set(&mut options.http_base_path, entry.string(report).map(base_path)),
        "no_header_support" => set(&mut options.no_header_support, entry.boolean(report)),
        "tls" => {
            if let Some(tls) = tls::read(entry, report) {
                options.tls = Some(tls);
            }
        }
        "allow_non_tls" => set(&mut options.allow_non_tls, entry.boolean(report)),
        _ => return false,
    }
    true
}

fn read_limits(name: &str, entry: Entry<'_>, draft: &mut Draft, report: &mut Report) -> bool {
    let options = &mut draft.options;
    match name {
        "max_control_line" => set_positive(&mut options.control_line_bytes_max, limit(entry, report)),
        "max_payload" => match entry.integer(report) {
            // -1 lifts the limit; what cannot be queued for a client cannot be delivered, so that bound remains.
            Some(-1) => options.payload_bytes_max = 0,
            Some(_) => set_positive(&mut options.payload_bytes_max, limit(entry, report)),
            None => {}
        },
        "max_pending" => set_positive(&mut options.pending_bytes_max, entry.count(report)),
        // Zero and less mean that nobody may connect.
        "max_connections" | "max_conn" => set(&mut options.connections_max, entry.count(report)),
        "max_subscriptions" | "max_subs" => options.subscriptions_max = entry.count(report).filter(|max| *max > 0),
        "max_sub_tokens" | "max_subscription_tokens" => match entry.integer(report) {
            Some(max) if max <= 0 => {
                report.error(&entry.node.span, format_args!("{} value can not be negative", entry.key));
            }
            Some(_) => options.subscription_tokens_max = entry.count(report),
            None => {}
        },
        "max_traced_msg_len" => options.traced_message_bytes_max = entry.count(report).filter(|max| *max > 0),
        "max_closed_clients" => set_positive(&mut options.closed_clients_max, entry.count(report)),
        "ping_interval" => set_positive(&mut options.ping_interval, entry.duration(report)),
        "ping_max" => set_positive(&mut options.pings_out_max, entry.count(report)),
        "write_deadline" => set_positive(&mut options.write_deadline, entry.duration(report)),
        "write_timeout" => set(&mut options.write_timeout, write_timeout(entry, report)),
        "lame_duck_duration" => match entry.duration_string(report) {
            Some(duration) if duration < LAME_DUCK_DURATION_MIN => report.error(
                &entry.node.span,
                format_args!("invalid lame_duck_duration of {duration}, minimum is 30 seconds"),
            ),
            Some(duration) => set(&mut options.lame_duck_duration, duration.positive()),
            None => {}
        },
        "lame_duck_grace_period" => match entry.duration_string(report).map(GoDuration::positive) {
            Some(None) => report.error(&entry.node.span, "invalid lame_duck_grace_period, needs to be positive"),
            Some(period) => set_positive(&mut options.lame_duck_grace_period, period),
            None => {}
        },
        "no_fast_producer_stall" => set(&mut options.no_fast_producer_stall, entry.boolean(report)),
        "disable_sublist_cache" | "no_sublist_cache" => set(&mut options.no_sublist_cache, entry.boolean(report)),
        "connect_error_reports" => set_positive(&mut options.connect_error_reports, entry.count(report)),
        "reconnect_error_reports" => set_positive(&mut options.reconnect_error_reports, entry.count(report)),
        _ => return false,
    }
    true
}

fn read_process(name: &str, entry: Entry<'_>, draft: &mut Draft, report: &mut Report) -> bool {
    let options = &mut draft.options;
    let log = &mut options.log;
    match name {
        "debug" => set(&mut log.debug, entry.boolean(report)),
        "trace" => set(&mut log.trace, entry.boolean(report)),
        "trace_verbose" => {
            if let Some(flag) = entry.boolean(report) {
                (log.trace_verbose, log.trace) = (flag, flag);
            }
        }
        "trace_headers" => {
            if let Some(flag) = entry.boolean(report) {
                (log.trace_headers, log.trace) = (flag, flag);
            }
        }
        "logtime" => set(&mut log.time, entry.boolean(report)),
        "logtime_utc" => set(&mut log.time_utc, entry.boolean(report)),
        "logfile" | "log_file" => log.file = non_empty(entry, report).map(Into::into),
        "logfile_size_limit" | "log_size_limit" => log.file_bytes_max = entry.count(report).filter(|max| *max > 0),
        "logfile_max_num" | "log_max_num" => log.files_max = entry.count(report).filter(|max| *max > 0),
        "syslog" => set(&mut log.syslog, entry.boolean(report)),
        "remote_syslog" => log.remote_syslog = non_empty(entry, report),
        "pidfile" | "pid_file" => options.pid_file = non_empty(entry, report).map(Into::into),
        "ports_file_dir" => options.ports_file_dir = non_empty(entry, report).map(Into::into),
        "threads" => match entry.integer(report) {
            Some(threads) if !(1..=1024).contains(&threads) => {
                report.error(&entry.node.span, "threads needs to be between 1 and 1024");
            }
            Some(_) => options.threads = entry.count(report),
            None => {}
        },
        _ => return false,
    }
    true
}

fn read_identity(name: &str, entry: Entry<'_>, draft: &mut Draft, report: &mut Report) -> bool {
    match name {
        // Read before everything else.
        "authorization" => {}
        "accounts" => accounts::read(entry, draft, report),
        "no_auth_user" => draft.options.no_auth_user = non_empty(entry, report),
        "system_account" | "system" => match &entry.node.value {
            Value::String(name) => draft.system_account = Some(name.clone()).filter(|name| !name.is_empty()),
            _ => report.error(&entry.node.span, "system account name must be a string"),
        },
        "no_system_account" | "no_system" | "no_sys_acc" => set(&mut draft.no_system_account, entry.boolean(report)),
        _ => return false,
    }
    true
}

fn read_features(name: &str, entry: Entry<'_>, draft: &mut Draft, report: &mut Report) -> bool {
    match name {
        "jetstream" => jetstream::read(entry, draft, report),
        "store_dir" | "storedir" => jetstream::set_store_dir(entry, draft, report),
        "server_tags" => {
            for tag in entry.strings("tags", report).unwrap_or_default() {
                let tag = tag.trim().to_lowercase();
                if !tag.is_empty() && !draft.options.server_tags.contains(&tag) {
                    draft.options.server_tags.push(tag);
                }
            }
        }
        "server_metadata" => {
            if let Some(map) = map_named(entry, "metadata", report) {
                for (key, node) in map.iter() {
                    if let Some(text) = Entry::new(key, node).string(report) {
                        draft.options.server_metadata.insert(key.into(), text.into());
                    }
                }
            }
        }
        "feature_flags" => {
            if let Some(map) = map_named(entry, "feature flags", report) {
                for (key, node) in map.iter() {
                    match node.value {
                        Value::Bool(flag) => {
                            draft.options.feature_flags.insert(key.into(), flag);
                        }
                        ref other => report.error(
                            &node.span,
                            format_args!("error parsing feature flag {key:?}: expected bool, got {}", other.go_type()),
                        ),
                    }
                }
            }
        }
        _ => return false,
    }
    true
}

fn map_named<'a>(entry: Entry<'a>, field: &str, report: &mut Report) -> Option<&'a Map> {
    match &entry.node.value {
        Value::Map(map) => Some(map),
        other => {
            let text = format!("error parsing {field}: unsupported type {}", other.go_type());
            report.error(&entry.node.span, text);
            None
        }
    }
}

/// `port`, `":port"` or `"host:port"`; `None` for a host that is not named.
pub(super) fn listen(entry: Entry<'_>, report: &mut Report) -> Option<(Option<String>, i64)> {
    let outcome = match &entry.node.value {
        Value::Integer(port) => Ok((None, *port)),
        Value::String(text) => split_host_port(text),
        other => Err(format!("expected port or host:port, got {}", other.go_type())),
    };
    outcome.map_err(|text| report.error(&entry.node.span, text)).ok()
}

fn split_host_port(text: &str) -> Result<(Option<String>, i64), String> {
    let broken = || format!("could not parse address string {text:?}");
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(broken)?;
            (host, rest.strip_prefix(':').ok_or_else(broken)?)
        }
        None => text.split_once(':').ok_or_else(broken)?,
    };
    if port.contains(':') || host.contains(['[', ']']) {
        return Err(broken());
    }
    let number = port.parse().map_err(|_| format!("could not parse port {port:?}"))?;
    Ok((Some(host.to_string()).filter(|host| !host.is_empty()), number))
}

fn set_listen(listen: &mut ListenAddress, host: Option<String>, port: i64, report: &mut Report, entry: Entry<'_>) {
    set(&mut listen.host, host);
    // 0 is "not set": the default stays.
    if port != 0 {
        set(&mut listen.port, port_number(port, entry, report));
    }
}

/// The port of a monitoring listener; 0 switches it off.
fn monitor_port(port: i64, entry: Entry<'_>, report: &mut Report) -> Option<u16> {
    if port == 0 { None } else { port_number(port, entry, report) }
}

/// -1 asks for any free port, which the operating system spells 0.
pub(super) fn port_number(port: i64, entry: Entry<'_>, report: &mut Report) -> Option<u16> {
    if port == -1 {
        return Some(0);
    }
    u16::try_from(port)
        .map_err(|_| report.error(&entry.node.span, format_args!("{} {port}: invalid port", entry.key)))
        .ok()
}

pub(in super::super) fn base_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn write_timeout(entry: Entry<'_>, report: &mut Report) -> Option<WriteTimeout> {
    match entry.string(report)? {
        "default" => Some(WriteTimeout::Default),
        "close" => Some(WriteTimeout::Close),
        "retry" => Some(WriteTimeout::Retry),
        _ => {
            report.error(&entry.node.span, "write_timeout must be 'default', 'close' or 'retry'");
            None
        }
    }
}

fn limit(entry: Entry<'_>, report: &mut Report) -> Option<u32> {
    if entry.integer(report)? > LIMIT_MAX {
        report.error(&entry.node.span, format_args!("{} value is too big", entry.key));
        return None;
    }
    entry.count(report)
}

fn non_empty(entry: Entry<'_>, report: &mut Report) -> Option<String> {
    entry.string(report).filter(|text| !text.is_empty()).map(String::from)
}

pub(super) fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

/// Zero means "the default" for most numbers of nats-server.
fn set_positive<T: Default + PartialOrd>(target: &mut T, value: Option<T>) {
    set(target, value.filter(|value| *value > T::default()));
}
