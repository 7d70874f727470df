//! Everything the operator can decide, in one value with every default filled in.
//!
//! `Options::default()` is a server started without flags and without a file. Absent limits are `None`, never a magic
//! number, except where the wire or the API shows the number itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::account::{AccountOptions, User, UserIdentity};
use super::jetstream::{self, JetStreamOptions};
use super::secret::Secret;
use super::tls::TlsOptions;

/// The whole configuration: file, then flags, then defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The file given by `-c`.
    pub config_file: Option<PathBuf>,
    /// `sha256:...` of the parsed configuration, shown as varz `config_digest`; empty without a file.
    pub config_digest: String,

    // Network.
    /// Empty: the server's id is its name.
    pub server_name: String,
    pub listen: ListenAddress,
    /// `host[:port]` that INFO advertises instead of the listen address.
    pub client_advertise: Option<String>,
    pub http: Option<ListenAddress>,
    pub https: Option<ListenAddress>,
    /// Normalised: begins with `/`, does not end with it unless it is only that.
    pub http_base_path: String,
    pub proxy_protocol: bool,
    /// HPUB and HMSG are refused and INFO says so.
    pub no_header_support: bool,
    pub tls: Option<TlsOptions>,
    /// Clients may stay without TLS although `tls` is set (S-69).
    pub allow_non_tls: bool,

    // Limits.
    pub control_line_bytes_max: u32,
    pub payload_bytes_max: u32,
    /// Bytes queued for one connection before it counts as a slow consumer.
    pub pending_bytes_max: u64,
    /// 0 refuses every connection (written as 0 or a negative number).
    pub connections_max: u32,
    pub subscriptions_max: Option<u32>,
    /// Tokens of a subscription's subject.
    pub subscription_tokens_max: Option<u8>,
    /// Bytes of a message that a trace line shows; `None` shows all.
    pub traced_message_bytes_max: Option<u32>,
    /// Closed connections remembered for connz.
    pub closed_clients_max: u32,
    pub ping_interval: Duration,
    pub pings_out_max: u32,
    pub write_deadline: Duration,
    pub write_timeout: WriteTimeout,
    pub lame_duck_duration: Duration,
    pub lame_duck_grace_period: Duration,
    pub no_fast_producer_stall: bool,
    pub no_sublist_cache: bool,
    pub connect_error_reports: u32,
    pub reconnect_error_reports: u32,

    // Process.
    pub log: LogOptions,
    pub pid_file: Option<PathBuf>,
    pub ports_file_dir: Option<PathBuf>,
    /// Worker threads of the runtime; `None` is one per core. Not a key of nats-server.
    pub threads: Option<u32>,

    // Identity and security.
    pub authorization: Authorization,
    /// In the order of the file, without `$G`.
    pub accounts: Vec<AccountOptions>,
    /// The account of `$SYS` services; `$SYS` unless named otherwise, `None` with `no_system_account`.
    pub system_account: Option<String>,
    /// Connections without credentials become this user (S-06).
    pub no_auth_user: Option<String>,

    // Features.
    /// Parent of the `jetstream` directory; `None` is a temporary directory.
    pub store_dir: Option<PathBuf>,
    pub jetstream: JetStreamOptions,
    pub server_tags: Vec<String>,
    pub server_metadata: BTreeMap<String, String>,
    pub feature_flags: BTreeMap<String, bool>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config_file: None,
            config_digest: String::new(),
            server_name: String::new(),
            listen: ListenAddress { host: "0.0.0.0".into(), port: 4222 },
            client_advertise: None,
            http: None,
            https: None,
            http_base_path: "/".into(),
            proxy_protocol: false,
            no_header_support: false,
            tls: None,
            allow_non_tls: false,
            control_line_bytes_max: 4096,
            payload_bytes_max: 1024 * 1024,
            pending_bytes_max: 64 * 1024 * 1024,
            connections_max: 64 * 1024,
            subscriptions_max: None,
            subscription_tokens_max: None,
            traced_message_bytes_max: None,
            closed_clients_max: 10_000,
            ping_interval: Duration::from_secs(120),
            pings_out_max: 2,
            write_deadline: Duration::from_secs(10),
            write_timeout: WriteTimeout::Default,
            lame_duck_duration: Duration::from_secs(120),
            lame_duck_grace_period: Duration::from_secs(10),
            no_fast_producer_stall: false,
            no_sublist_cache: false,
            connect_error_reports: 3600,
            reconnect_error_reports: 1,
            log: LogOptions::default(),
            pid_file: None,
            ports_file_dir: None,
            threads: None,
            authorization: Authorization::default(),
            accounts: Vec::new(),
            system_account: Some("$SYS".into()),
            no_auth_user: None,
            store_dir: None,
            jetstream: JetStreamOptions::default(),
            server_tags: Vec::new(),
            server_metadata: BTreeMap::new(),
            feature_flags: BTreeMap::new(),
        }
    }
}

impl Options {
    /// Passwords that anybody who reads the file could use. Users that come by certificate have none.
    pub fn has_plain_passwords(&self) -> bool {
        let by_certificate = self.tls.as_ref().is_some_and(|tls| tls.verify_and_map);
        let authorization = &self.authorization;
        let is_plain = |user: &User| match &user.identity {
            UserIdentity::Password { password, .. } => {
                !(password.is_bcrypt() || by_certificate && password.reveal().is_empty())
            }
            UserIdentity::Nkey { .. } => false,
        };
        let single = authorization.user.as_ref().is_some_and(|user| !user.password.is_bcrypt());
        single || authorization.users.iter().any(is_plain)
    }

    /// The directory that holds everything JetStream writes: `<store_dir>/jetstream`.
    pub fn jetstream_directory(&self) -> PathBuf {
        jetstream::directory(self.store_dir.as_ref())
    }

    /// True when a client must authenticate, which INFO shows as `auth_required`.
    pub fn auth_required(&self) -> bool {
        let authorization = &self.authorization;
        let lists_any =
            authorization.user.is_some() || authorization.token.is_some() || !authorization.users.is_empty();
        lists_any || authorization.anonymous
    }
}

/// A host and port to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// Without brackets, also for IPv6.
    pub host: String,
    /// 0 picks a free port (written as -1).
    pub port: u16,
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What happens to a connection whose write did not finish by the deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteTimeout {
    /// Close clients, retry for links to other servers.
    #[default]
    Default,
    Close,
    Retry,
}

/// Where log lines go and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    pub debug: bool,
    pub trace: bool,
    /// Also trace the system account.
    pub trace_verbose: bool,
    /// Trace headers but not payloads.
    pub trace_headers: bool,
    pub time: bool,
    pub time_utc: bool,
    /// `None` is stderr.
    pub file: Option<PathBuf>,
    /// Bytes after which the file is rotated; `None` never.
    pub file_bytes_max: Option<u64>,
    /// Files kept, the current one included; `None` keeps all.
    pub files_max: Option<u32>,
    pub syslog: bool,
    /// `udp://host:port`.
    pub remote_syslog: Option<String>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            debug: false,
            trace: false,
            trace_verbose: false,
            trace_headers: false,
            time: true,
            time_utc: false,
            file: None,
            file_bytes_max: None,
            files_max: None,
            syslog: false,
            remote_syslog: None,
        }
    }
}

/// The `authorization` block, and the users of all accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// One user for everybody (S-01); without effect when there are `users`.
    pub user: Option<UserPassword>,
    /// A token for everybody (S-02); without effect when there are `users`, and wins over `user`.
    pub token: Option<Secret>,
    /// Time to authenticate: 2 s, with TLS the handshake's timeout and 1 s more.
    pub timeout: Duration,
    /// `user` and `token` are only taken through a trusted proxy.
    pub proxy_required: bool,
    /// Users of the global account and of `accounts`; names and nkeys are unique.
    pub users: Vec<User>,
    /// Connections without credentials are taken into the global account although `users` is not empty: the only
    /// users are those of the system account.
    pub anonymous: bool,
}

impl Default for Authorization {
    fn default() -> Self {
        Self {
            user: None,
            token: None,
            timeout: Duration::from_secs(2),
            proxy_required: false,
            users: Vec::new(),
            anonymous: false,
        }
    }
}

/// The single credential of `authorization { user, password }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPassword {
    pub name: String,
    pub password: Secret,
}

/// A key or flag of nats-server that this release knows, checks the syntax of, and does not act on. The server names
/// each one in a warning when it starts. A key that protects something is none of these: it is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedKey {
    /// Dotted path, for example `leafnodes` or `accounts.A.exports`.
    pub name: String,
    /// Empty for a command-line flag.
    pub file: String,
    pub line: u32,
}

impl fmt::Display for UnsupportedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not supported by this release and has no effect", self.name)?;
        if !self.file.is_empty() {
            write!(f, " ({}:{})", self.file, self.line)?;
        }
        Ok(())
    }
}
