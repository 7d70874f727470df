//! What the log says at the start: who this is, where it listens, where data goes, what to try next.

use headwater::config::{Loaded, SyncPolicy};
use headwater::server::Server;

/// Larger messages make others wait (C-25).
const PAYLOAD_BYTES_SENSIBLE: u32 = 8 * 1024 * 1024;

/// Before anything is opened.
pub fn opening(loaded: &Loaded) {
    tracing::info!("Starting headwater");
    tracing::info!(
        "  Version:  {} (compatible with nats-server {})",
        env!("CARGO_PKG_VERSION"),
        headwater::process::COMPATIBLE_VERSION
    );
    if let Some(file) = &loaded.options.config_file {
        tracing::info!("  Config:   {} ({})", file.display(), loaded.options.config_digest);
    }
    if loaded.options.has_plain_passwords() {
        tracing::warn!("Plaintext passwords detected, use nkeys or bcrypt");
    }
    let options = &loaded.options;
    if options.payload_bytes_max > PAYLOAD_BYTES_SENSIBLE {
        tracing::warn!("Maximum payloads over 8.00 MB are generally discouraged and could lead to poor performance");
    }
    let clients_max = headwater::process::clients_max();
    if clients_max < options.connections_max as usize {
        tracing::info!("  Clients:  {clients_max} at most, for want of open files (ulimit -n, LimitNOFILE)");
    }
    if options.jetstream.enabled && options.store_dir.is_none() {
        tracing::warn!("Temporary storage directory used, data could be lost on system reboot");
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    for key in &loaded.unsupported {
        tracing::warn!("{key}");
    }
}

/// Who this server is and where its data goes.
pub fn identity(server: &Server) {
    let options = server.options();
    tracing::info!("  Name:     {}", server.identity().name);
    tracing::info!("  ID:       {}", server.identity().id);
    if !options.jetstream.enabled {
        tracing::info!("  Streams:  disabled; start with -js to enable them");
        return;
    }
    tracing::info!("  Store:    {}", options.jetstream_directory().display());
    match options.jetstream.sync {
        SyncPolicy::BeforeAck => tracing::info!("  Durable:  an acknowledged message is on disk"),
        SyncPolicy::Interval(interval) => {
            tracing::warn!("  Durable:  acknowledged before it is on disk, synced every {interval:?} (sync_interval)");
        }
    }
}

/// Where to look at the server from outside.
pub fn monitor(server: &Server) {
    if let Some(address) = server.monitor_address() {
        let scheme = if server.options().http.is_some() { "http" } else { "https" };
        tracing::info!("Starting {scheme} monitor on {address}");
    }
}

/// Once everything is served.
pub fn ready(server: &Server) {
    let address = server.client_address();
    tracing::info!("Listening for client connections on {address}");
    let host = if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { address.ip().to_string() };
    let first = if server.jetstream().is_some() { "stream add" } else { "sub '>'" };
    tracing::info!("Try: nats -s nats://{host}:{} {first}", address.port());
    tracing::info!("Server is ready");
}
