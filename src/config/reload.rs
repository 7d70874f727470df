//! What a reload changes, and what it may not change (12.4).
//!
//! A reload is all or nothing: if any change is refused, the old options stay. Names and texts of refusals are those of
//! nats-server. It refuses a few things that are harmless here (log rotation, lame duck times); those are taken.

use std::fmt::Display;

use super::duration::GoDuration;
use super::jetstream::{JetStreamOptions, SyncPolicy};
use super::options::{Authorization, LogOptions, Options};
use super::tls::{HandshakeFirst, TlsOptions};

/// Who has to act on a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Levels, time format, destination, rotation.
    Log,
    /// The TLS block of the client listener: new handshakes use it; pinned certificates also apply to open connections.
    Tls,
    /// Users, permissions, tokens: open connections are checked again.
    Authorization,
    /// Accounts with their limits: the same.
    Accounts,
    /// What INFO says: connected clients get a new one.
    Info,
    /// Numbers that connections read when they need them.
    Limits,
    PidFile,
    PortsFile,
    /// Tags, metadata, names shown by monitoring.
    Monitoring,
    /// JetStream is switched on or off.
    JetStreamSwitch,
    JetStreamLimits,
}

/// One difference between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub topic: Topic,
    /// The line for the log, `Reloaded: <name> = <value>`; or why the reload is refused.
    pub outcome: Result<String, String>,
}

impl Change {
    /// The first refusal, which refuses the whole reload.
    pub fn refusal(changes: &[Self]) -> Option<&str> {
        changes.iter().find_map(|change| change.outcome.as_ref().err()).map(String::as_str)
    }
}

impl Options {
    /// Everything in which `new` differs, for the reload of a running server.
    pub fn diff(&self, new: &Self) -> Vec<Change> {
        // Every field is named, so that a new one cannot be forgotten here.
        let Self {
            config_file: _,
            config_digest: _,
            server_name,
            listen,
            client_advertise,
            http,
            https,
            http_base_path,
            proxy_protocol,
            no_header_support,
            tls,
            allow_non_tls,
            control_line_bytes_max,
            payload_bytes_max,
            pending_bytes_max,
            connections_max,
            subscriptions_max,
            subscription_tokens_max,
            traced_message_bytes_max,
            closed_clients_max,
            ping_interval,
            pings_out_max,
            write_deadline,
            write_timeout,
            lame_duck_duration,
            lame_duck_grace_period,
            no_fast_producer_stall,
            no_sublist_cache,
            connect_error_reports,
            reconnect_error_reports,
            log,
            pid_file,
            ports_file_dir,
            threads,
            authorization,
            accounts,
            system_account,
            no_auth_user,
            store_dir,
            jetstream,
            server_tags,
            server_metadata,
            feature_flags,
        } = self;
        let mut diff = Diff::default();

        diff.refuse("ServerName", server_name, &new.server_name);
        diff.refuse("Host", &listen.host, &new.listen.host);
        // A free port that was picked at start stays.
        if new.listen.port != 0 {
            diff.refuse("Port", &listen.port, &new.listen.port);
        }
        diff.refuse("HTTPPort", &Shown(http), &Shown(&new.http));
        diff.refuse("HTTPSPort", &Shown(https), &Shown(&new.https));
        diff.refuse("HTTPBasePath", http_base_path, &new.http_base_path);
        diff.refuse("ProxyProtocol", proxy_protocol, &new.proxy_protocol);
        diff.refuse("NoHeaderSupport", no_header_support, &new.no_header_support);
        diff.refuse("AllowNonTLS", allow_non_tls, &new.allow_non_tls);
        diff.refuse("MaxPending", pending_bytes_max, &new.pending_bytes_max);
        diff.refuse("MaxSubs", &Shown(subscriptions_max), &Shown(&new.subscriptions_max));
        diff.refuse("MaxSubTokens", &Shown(subscription_tokens_max), &Shown(&new.subscription_tokens_max));
        diff.refuse("MaxClosedClients", closed_clients_max, &new.closed_clients_max);
        diff.refuse("WriteTimeout", &format!("{write_timeout:?}"), &format!("{:?}", new.write_timeout));
        diff.refuse("NoSublistCache", no_sublist_cache, &new.no_sublist_cache);
        diff.refuse("threads", &Shown(threads), &Shown(&new.threads));
        diff.refuse("SystemAccount", &Shown(system_account), &Shown(&new.system_account));
        diff.refuse("FeatureFlags", &format!("{feature_flags:?}"), &format!("{:?}", new.feature_flags));
        diff.no_auth_user(no_auth_user.as_deref(), new);

        let advertise = Shown(&new.client_advertise);
        diff.take(
            Topic::Info,
            client_advertise != &new.client_advertise,
            format_args!("client_advertise = {advertise}"),
        );
        diff.number(Topic::Limits, "max_connections", connections_max, &new.connections_max);
        diff.number(Topic::Limits, "max_control_line", control_line_bytes_max, &new.control_line_bytes_max);
        diff.number(Topic::Info, "max_payload", payload_bytes_max, &new.payload_bytes_max);
        let traced = new.traced_message_bytes_max.unwrap_or(0);
        diff.number(Topic::Log, "max_traced_msg_len", &traced_message_bytes_max.unwrap_or(0), &traced);
        diff.number(Topic::Limits, "ping_max", pings_out_max, &new.pings_out_max);
        diff.number(Topic::Limits, "connect_error_reports", connect_error_reports, &new.connect_error_reports);
        diff.number(Topic::Limits, "reconnect_error_reports", reconnect_error_reports, &new.reconnect_error_reports);
        for (name, old, new) in [
            ("ping_interval", ping_interval, new.ping_interval),
            ("write_deadline", write_deadline, new.write_deadline),
            ("lame_duck_duration", lame_duck_duration, new.lame_duck_duration),
            ("lame_duck_grace_period", lame_duck_grace_period, new.lame_duck_grace_period),
        ] {
            diff.number(Topic::Limits, name, &GoDuration::from(*old), &GoDuration::from(new));
        }
        let not = if new.no_fast_producer_stall { "not " } else { "" };
        diff.take(
            Topic::Limits,
            *no_fast_producer_stall != new.no_fast_producer_stall,
            format_args!("fast producers will {not}be stalled"),
        );
        diff.path(Topic::PidFile, "pid_file", pid_file.as_ref(), new.pid_file.as_ref());
        diff.path(Topic::PortsFile, "ports_file_dir", ports_file_dir.as_ref(), new.ports_file_dir.as_ref());
        diff.take(Topic::Monitoring, server_tags != &new.server_tags, "tags");
        diff.take(Topic::Monitoring, server_metadata != &new.server_metadata, "metadata");
        diff.log(log, &new.log);
        diff.tls(tls.as_ref(), new.tls.as_ref());
        diff.authorization(authorization, &new.authorization);
        diff.take(Topic::Accounts, accounts != &new.accounts, "accounts");
        if jetstream.enabled && store_dir != &new.store_dir && new.jetstream.enabled {
            diff.refuse_with("config reload not supported for jetstream storage directory".into());
        }
        diff.jetstream(jetstream, &new.jetstream);
        diff.changes
    }
}

#[derive(Default)]
struct Diff {
    changes: Vec<Change>,
}

impl Diff {
    fn take(&mut self, topic: Topic, changed: bool, what: impl Display) {
        if changed {
            self.changes.push(Change { topic, outcome: Ok(format!("Reloaded: {what}")) });
        }
    }

    fn refuse_with(&mut self, text: String) {
        self.changes.push(Change { topic: Topic::Limits, outcome: Err(text) });
    }

    fn refuse<T: Display>(&mut self, name: &str, old: &T, new: &T) {
        let (old, new) = (old.to_string(), new.to_string());
        if old != new {
            self.refuse_with(format!("config reload not supported for {name}: old={old}, new={new}"));
        }
    }

    fn number<T: Display + PartialEq>(&mut self, topic: Topic, name: &str, old: &T, new: &T) {
        self.take(topic, old != new, format_args!("{name} = {new}"));
    }

    fn path(&mut self, topic: Topic, name: &str, old: Option<&std::path::PathBuf>, new: Option<&std::path::PathBuf>) {
        let shown = new.map(|path| path.display().to_string()).unwrap_or_default();
        self.take(topic, old != new, format_args!("{name} = {shown}"));
    }

    /// It may only be taken away together with the user.
    fn no_auth_user(&mut self, old: Option<&str>, new: &Options) {
        let removed_with_user = match (old, &new.no_auth_user) {
            (Some(name), None) => !new.authorization.users.iter().any(|user| user.name() == name),
            (old, new) => old == new.as_deref(),
        };
        if !removed_with_user {
            let (old, new) = (old.unwrap_or_default(), new.no_auth_user.as_deref().unwrap_or_default());
            self.refuse("NoAuthUser", &old, &new);
        }
    }

    fn log(&mut self, old: &LogOptions, new: &LogOptions) {
        for (name, old, new) in [
            ("trace", old.trace, new.trace),
            ("trace_verbose", old.trace_verbose, new.trace_verbose),
            ("trace_headers", old.trace_headers, new.trace_headers),
            ("debug", old.debug, new.debug),
            ("logtime", old.time, new.time),
            ("logtime_utc", old.time_utc, new.time_utc),
            ("syslog", old.syslog, new.syslog),
        ] {
            self.number(Topic::Log, name, &old, &new);
        }
        self.path(Topic::Log, "log_file", old.file.as_ref(), new.file.as_ref());
        self.number(Topic::Log, "remote_syslog", &Shown(&old.remote_syslog), &Shown(&new.remote_syslog));
        self.number(Topic::Log, "log_size_limit", &Shown(&old.file_bytes_max), &Shown(&new.file_bytes_max));
        self.number(Topic::Log, "log_max_num", &Shown(&old.files_max), &Shown(&new.files_max));
    }

    fn tls(&mut self, old: Option<&TlsOptions>, new: Option<&TlsOptions>) {
        let topic = Topic::Tls;
        let (Some(old), Some(new)) = (old, new) else {
            let state = if new.is_some() { "enabled" } else { "disabled" };
            return self.take(topic, old.is_some() != new.is_some(), format_args!("tls = {state}"));
        };
        // The files may have new content under the same names, so this line comes with every reload.
        self.take(topic, true, "tls = enabled");
        let timeout = |tls: &TlsOptions| tls.timeout.as_secs_f64();
        self.number(topic, "tls timeout", &timeout(old), &timeout(new));
        self.take(topic, old.pinned_certs != new.pinned_certs, format_args!("{} pinned_certs", new.pinned_certs.len()));
        let first = !matches!(new.handshake_first, HandshakeFirst::No);
        self.take(
            topic,
            old.handshake_first != new.handshake_first,
            format_args!("Client TLS handshake first: {first}"),
        );
    }

    fn authorization(&mut self, old: &Authorization, new: &Authorization) {
        let topic = Topic::Authorization;
        let name = |authorization: &Authorization| authorization.user.as_ref().map(|user| user.name.clone());
        let password = |authorization: &Authorization| authorization.user.as_ref().map(|user| user.password.clone());
        self.take(topic, name(old) != name(new), "authorization username");
        self.take(topic, password(old) != password(new), "authorization password");
        self.take(topic, old.token != new.token, "authorization token");
        let timeout = new.timeout.as_secs_f64();
        self.take(topic, old.timeout != new.timeout, format_args!("authorization timeout = {timeout}"));
        let users =
            old.users != new.users || old.anonymous != new.anonymous || old.proxy_required != new.proxy_required;
        self.take(topic, users, "authorization users");
    }

    fn jetstream(&mut self, old: &JetStreamOptions, new: &JetStreamOptions) {
        self.take(Topic::JetStreamSwitch, old.enabled != new.enabled, "JetStream");
        if !old.enabled || !new.enabled {
            return;
        }
        self.storage_limit("max_mem_store", old.memory_bytes_max, new.memory_bytes_max);
        self.storage_limit("max_file_store", old.store_bytes_max, new.store_bytes_max);
        self.take(Topic::JetStreamLimits, old.limits != new.limits, "JetStream limits");
        let meta = |options: &JetStreamOptions| {
            (options.meta_compact_entries, options.meta_compact_bytes, options.meta_compact_sync)
        };
        self.take(Topic::JetStreamLimits, meta(old) != meta(new), "JetStream meta_compact");
        self.refuse("NoJetStreamStrict", &!old.strict, &!new.strict);
        self.refuse("SyncInterval", &sync(old.sync), &sync(new.sync));
        let scrub =
            |options: &JetStreamOptions| format!("{:?} after {:?}", options.scrub.interval, options.scrub.delay);
        self.refuse("Scrub", &scrub(old), &scrub(new));
        self.refuse("JetStreamDomain", &Shown(&old.domain), &Shown(&new.domain));
        self.refuse("JetStreamExtHint", &Shown(&old.extension_hint), &Shown(&new.extension_hint));
        self.refuse("JetStreamUniqueTag", &Shown(&old.unique_tag), &Shown(&new.unique_tag));
        self.refuse(
            "JetStreamMaxCatchup",
            &Shown(&old.outstanding_catchup_bytes_max),
            &Shown(&new.outstanding_catchup_bytes_max),
        );
        self.refuse("StreamMaxBufferedSize", &old.buffered_bytes_max, &new.buffered_bytes_max);
        self.refuse("StreamMaxBufferedMsgs", &old.buffered_messages_max, &new.buffered_messages_max);
        self.refuse("JetStreamRequestQueueLimit", &old.request_queue_limit, &new.request_queue_limit);
        self.refuse("JetStreamInfoQueueLimit", &old.info_queue_limit, &new.info_queue_limit);
        self.refuse("JetStreamConcurrentIOs", &old.concurrent_io_max, &new.concurrent_io_max);
    }

    /// A limit may grow. Between "decided at start" and a number there is no way while streams exist.
    fn storage_limit(&mut self, name: &str, old: Option<u64>, new: Option<u64>) {
        match (old, new) {
            (old, new) if old == new => {}
            (Some(old), Some(new)) if new > old => {
                self.take(Topic::JetStreamLimits, true, format_args!("JetStream {name} = {new}"));
            }
            (Some(_), Some(_)) => {
                self.refuse_with("config reload not supported for decreasing jetstream max memory and store".into())
            }
            (None, _) => {
                self.refuse_with("config reload not supported for jetstream dynamic max memory and store".into())
            }
            (_, None) => {
                self.refuse_with("config reload not supported for jetstream max memory and max store".into());
            }
        }
    }
}

/// An optional value; nothing when there is none.
struct Shown<'a, T>(&'a Option<T>);

impl<T: Display> Display for Shown<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => Ok(()),
        }
    }
}

impl<T: PartialEq> PartialEq for Shown<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

fn sync(policy: SyncPolicy) -> String {
    match policy {
        SyncPolicy::BeforeAck => "always".into(),
        SyncPolicy::Interval(interval) => GoDuration::from(interval).to_string(),
    }
}
