//! The names of all flags. Go takes one dash or two for each of them, `-x=v` and `-x v`, and no bundles, so `-js`,
//! `-DV` and `-sd=DIR` are names like any other.

/// One flag with all its names; the last is the one clap knows it by.
pub(super) struct FlagName {
    pub names: &'static [&'static str],
    pub takes: Takes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// A value after `=` or as the next argument, whatever that looks like (`-p -1`).
    Value,
    /// Nothing; `=true` or `=false` only with the equals sign.
    Switch,
}

const fn value(names: &'static [&'static str]) -> FlagName {
    FlagName { names, takes: Takes::Value }
}

const fn switch(names: &'static [&'static str]) -> FlagName {
    FlagName { names, takes: Takes::Switch }
}

pub(super) const FLAGS: &[FlagName] = &[
    value(&["a", "net", "addr"]),
    value(&["p", "port"]),
    value(&["n", "name", "server_name"]),
    value(&["P", "pid"]),
    value(&["m", "http_port"]),
    value(&["ms", "https_port"]),
    value(&["c", "config"]),
    switch(&["t", "check"]),
    value(&["sl", "signal"]),
    value(&["client_advertise"]),
    value(&["ports_file_dir"]),
    value(&["l", "log"]),
    switch(&["T", "logtime"]),
    switch(&["logtime_utc"]),
    switch(&["s", "syslog"]),
    value(&["r", "remote_syslog"]),
    switch(&["D", "debug"]),
    switch(&["V", "trace"]),
    switch(&["VV", "verbose_trace"]),
    switch(&["DV", "debug_trace"]),
    switch(&["DVV", "debug_verbose_trace"]),
    value(&["log_size_limit"]),
    value(&["max_traced_msg_len"]),
    switch(&["js", "jetstream"]),
    value(&["sd", "store_dir"]),
    value(&["user"]),
    value(&["pass"]),
    value(&["auth"]),
    switch(&["tls"]),
    value(&["tlscert"]),
    value(&["tlskey"]),
    switch(&["tlsverify"]),
    value(&["tlscacert"]),
    value(&["threads"]),
    value(&["routes"]),
    value(&["cluster", "cluster_listen"]),
    value(&["cluster_name"]),
    value(&["cluster_advertise"]),
    switch(&["no_advertise"]),
    value(&["connect_retries"]),
    value(&["profile"]),
    switch(&["h", "help"]),
    switch(&["v", "version"]),
    switch(&["help_tls"]),
];

pub(super) fn find(name: &str) -> Option<&'static FlagName> {
    FLAGS.iter().find(|flag| flag.names.contains(&name))
}

impl FlagName {
    pub fn canonical(&self) -> &'static str {
        self.names.last().copied().unwrap_or_default()
    }
}
