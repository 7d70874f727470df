//! `/varz`: who the server is, what it may and what it has done, in the genuine server's fields and order.

use std::collections::BTreeMap;

use serde::Serialize;

use super::format::{Float, is_default};
use super::jsz::{JetStreamLimits, JetStreamSettings, JetStreamUsage};
use super::{Context, format, process};
use crate::config::WriteTimeout;
use crate::jetstream::api::Timestamp;
use crate::protocol::info;

/// Flags of the genuine server. None of what they switch on is here, whatever the configuration says.
const FEATURE_FLAGS: [&str; 4] = ["js_ack_fc_v2", "js_api_reply_v2", "js_raft_delete_range", "js_snapshot_sources"];

#[derive(Serialize)]
pub struct Varz {
    server_id: String,
    server_name: String,
    version: &'static str,
    proto: u32,
    git_commit: &'static str,
    go: &'static str,
    host: String,
    port: u16,
    #[serde(skip_serializing_if = "is_default")]
    auth_required: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_required: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_verify: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    connect_urls: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ws_connect_urls: Vec<String>,
    max_connections: u32,
    #[serde(skip_serializing_if = "is_default")]
    max_subscriptions: u32,
    ping_interval: i64,
    ping_max: u32,
    http_host: String,
    http_port: u16,
    http_base_path: String,
    https_port: u16,
    auth_timeout: Float,
    max_control_line: u32,
    max_payload: u32,
    max_pending: u64,
    cluster: Nothing,
    gateway: Nothing,
    leaf: Nothing,
    mqtt: Nothing,
    websocket: Nothing,
    jetstream: JetStreamVarz,
    tls_timeout: Float,
    write_deadline: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    write_timeout: &'static str,
    start: Timestamp,
    now: Timestamp,
    uptime: String,
    mem: u64,
    cores: usize,
    /// Worker threads here.
    gomaxprocs: usize,
    cpu: Float,
    connections: usize,
    total_connections: u64,
    routes: usize,
    remotes: usize,
    leafnodes: usize,
    in_msgs: u64,
    in_bytes: u64,
    in_client_msgs: u64,
    in_client_bytes: u64,
    out_msgs: u64,
    out_bytes: u64,
    out_client_msgs: u64,
    out_client_bytes: u64,
    slow_consumers: u64,
    stale_connections: u64,
    stalled_clients: u64,
    subscriptions: usize,
    http_req_stats: BTreeMap<&'static str, u64>,
    config_load_time: Timestamp,
    config_digest: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    feature_flags: BTreeMap<&'static str, bool>,
    system_account: String,
    slow_consumer_stats: ByKind,
    stale_connection_stats: ByKind,
    disk_io_wait_stats: DiskWaits,
}

/// What is not there on this server: `{}`.
#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct JetStreamVarz {
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<JetStreamSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<JetStreamUsage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<JetStreamLimits>,
}

/// Counts by the kind of connection; only clients exist here.
#[derive(Default, Serialize)]
struct ByKind {
    clients: u64,
    routes: u64,
    gateways: u64,
    leafs: u64,
}

/// The genuine server's waits for its disk semaphore. There is no such semaphore here: always zero.
#[derive(Default, Serialize)]
struct DiskWaits {
    waiters: u64,
    waits: u64,
    wait_time: u64,
    max_wait_time: u64,
}

pub fn varz(context: &Context<'_>) -> Varz {
    use std::sync::atomic::Ordering::Relaxed;
    let server = context.server;
    let (identity, options, hub) = (server.identity(), server.options(), server.hub());
    let traffic = hub.traffic();
    let told = hub.info.load_full();
    let monitor = server.monitor_address();
    let monitored = options.http.as_ref().or(options.https.as_ref());
    let monitor_port = monitor.map_or(0, |address| address.port());
    let slow_consumers = hub.counters.slow_consumers.load(Relaxed);
    let stale_connections = hub.counters.stale_connections.load(Relaxed);
    Varz {
        server_id: identity.id.clone(),
        server_name: identity.name.clone(),
        version: info::VERSION,
        proto: info::PROTOCOL,
        git_commit: info::GIT_COMMIT,
        go: info::GO_VERSION,
        host: told.host.clone(),
        port: told.port,
        // Clients are told less: whoever has nothing to say is let in, too.
        auth_required: hub.directory.load().is_required(),
        tls_required: options.tls.is_some() && !options.allow_non_tls,
        tls_verify: told.tls_verify,
        connect_urls: told.connect_urls.clone(),
        ws_connect_urls: told.ws_connect_urls.clone(),
        max_connections: options.connections_max,
        max_subscriptions: options.subscriptions_max.unwrap_or(0),
        ping_interval: format::nanoseconds(options.ping_interval),
        ping_max: options.pings_out_max,
        http_host: monitored.map(|address| address.host.clone()).unwrap_or_default(),
        http_port: if options.http.is_some() { monitor_port } else { 0 },
        http_base_path: options.http_base_path.trim_end_matches('/').to_owned(),
        https_port: if options.http.is_none() { monitor_port } else { 0 },
        auth_timeout: Float(options.authorization.timeout.as_secs_f64()),
        max_control_line: options.control_line_bytes_max,
        max_payload: options.payload_bytes_max,
        max_pending: options.pending_bytes_max,
        cluster: Nothing {},
        gateway: Nothing {},
        leaf: Nothing {},
        mqtt: Nothing {},
        websocket: Nothing {},
        jetstream: jetstream(context),
        tls_timeout: Float(options.tls.as_ref().map_or(2.0, |tls| tls.timeout.as_secs_f64())),
        write_deadline: format::nanoseconds(options.write_deadline),
        write_timeout: match options.write_timeout {
            WriteTimeout::Default => "",
            WriteTimeout::Close => "close",
            WriteTimeout::Retry => "retry",
        },
        start: format::timestamp(identity.start),
        now: format::now(),
        uptime: format::uptime(identity.started.elapsed()),
        mem: process::resident_bytes(),
        cores: process::cores(),
        gomaxprocs: options
            .threads
            .filter(|threads| *threads > 0)
            .map_or_else(process::cores, |threads| threads as usize),
        cpu: Float(context.monitor.cpu.percent()),
        connections: hub.register.len(),
        total_connections: hub.counters.connections_total.load(Relaxed),
        routes: 0,
        remotes: 0,
        leafnodes: 0,
        in_msgs: traffic.messages_in,
        in_bytes: traffic.bytes_in,
        in_client_msgs: traffic.messages_in,
        in_client_bytes: traffic.bytes_in,
        out_msgs: traffic.messages_out,
        out_bytes: traffic.bytes_out,
        out_client_msgs: traffic.messages_out,
        out_client_bytes: traffic.bytes_out,
        slow_consumers,
        stale_connections,
        stalled_clients: hub.counters.stalls.load(Relaxed),
        subscriptions: hub.subscriptions(),
        http_req_stats: context.monitor.request_counts(),
        config_load_time: format::timestamp(server.config_load_time()),
        config_digest: options.config_digest.clone(),
        tags: options.server_tags.clone(),
        metadata: options.server_metadata.clone(),
        feature_flags: FEATURE_FLAGS.map(|flag| (flag, false)).into(),
        system_account: hub.system_account().name().to_owned(),
        slow_consumer_stats: ByKind { clients: slow_consumers, ..ByKind::default() },
        stale_connection_stats: ByKind { clients: stale_connections, ..ByKind::default() },
        disk_io_wait_stats: DiskWaits::default(),
    }
}

fn jetstream(context: &Context<'_>) -> JetStreamVarz {
    let Some(node) = &context.server.jetstream() else {
        return JetStreamVarz { config: None, stats: None, limits: None };
    };
    let options = context.server.options();
    JetStreamVarz {
        config: Some(JetStreamSettings::of(&options, node)),
        stats: Some(JetStreamUsage::of_server(node)),
        limits: Some(JetStreamLimits::of(&options)),
    }
}
