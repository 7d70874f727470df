//! From the typed options to a JetStream node, and which accounts it serves (S-48).

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater_storage::{JournalOptions, RealIo};

use crate::account::{Account, GLOBAL};
use crate::config::{AccountJetStreamLimits, JetStreamLimits, Options, SyncPolicy};
use crate::connection::Hub;
use crate::jetstream::api::account_info::AccountLimits;
use crate::jetstream::api::validate::ServerLimits;
use crate::jetstream::stream::{BatchLimits, FastLimits};
use crate::jetstream::{Limits, Node, NodeOptions, StartError};

/// What the permissions of a file say of the group, and of everybody else.
const GROUP: u32 = 0o070;
const OTHERS: u32 = 0o007;

/// Opens the store and serves it; takes as long as recovery does.
pub fn start(options: &Options, hub: &Hub, server_name: &str) -> Result<Arc<Node>, StartError> {
    let store = options.jetstream_directory();
    tell_of_others(&store);
    let directory = store.join("journal");
    let io =
        RealIo::probe(&directory).map_err(|cause| StartError::Directory { directory: directory.clone(), cause })?;
    if let Err(error) = close_to_others(&store) {
        tracing::warn!("Other users can read what is stored in {}: {error}", store.display());
    }
    let node = Node::start(
        Arc::new(io),
        &directory,
        journal_options(options, &directory),
        node_options(options, &directory, server_name),
        accounts(options, hub),
        &|name| hub.account_to_come(name),
    )?;
    refuse_others(hub, &node);
    Ok(node)
}

/// A store that every local user may look into, as earlier versions made it, is this user's alone from now on. One that
/// was opened to a group only is what somebody wanted.
fn close_to_others(store: &Path) -> io::Result<()> {
    let mut permissions = std::fs::metadata(store)?.permissions();
    let mode = permissions.mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    permissions.set_mode(mode & !(GROUP | OTHERS));
    std::fs::set_permissions(store, permissions)
}

/// Who changes from nats-server and keeps the `store_dir` would find a server without a stream, and no reason.
fn tell_of_others(directory: &Path) {
    let accounts = nats_server_accounts(directory);
    if !accounts.is_empty() {
        let directory = directory.display();
        tracing::warn!(
            "{directory} holds streams of nats-server (accounts {}). They are neither read nor changed: to bring them over, \
             serve them with nats-server once more and publish their messages here with a client",
            accounts.join(", ")
        );
    }
}

/// The accounts of which nats-server has left streams here: they lie in `<account>/streams/<stream>`.
fn nats_server_accounts(directory: &Path) -> Vec<String> {
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let has_streams =
        |account: &std::fs::DirEntry| entries(&account.path().join("streams")).any(|stream| stream.path().is_dir());
    let with_streams = entries(directory).filter(has_streams);
    let mut accounts: Vec<String> =
        with_streams.map(|account| account.file_name().to_string_lossy().into_owned()).collect();
    accounts.sort();
    accounts
}

/// Takes over limits, and which accounts have JetStream.
pub fn reload(options: &Options, hub: &Hub, node: &Arc<Node>) {
    let old = node.options();
    let mut limits = node_options(options, &options.jetstream_directory().join("journal"), &old.server_name).limits;
    // What was decided at the start, as a share of the machine, stays.
    let jetstream = &options.jetstream;
    let at_start = &old.limits.server;
    limits.server.max_memory = jetstream.memory_bytes_max.map_or(at_start.max_memory, |_| limits.server.max_memory);
    limits.server.max_storage = jetstream.store_bytes_max.map_or(at_start.max_storage, |_| limits.server.max_storage);
    node.set_limits(limits);
    node.set_accounts(accounts(options, hub));
    refuse_others(hub, node);
}

/// Clients of accounts without JetStream are told so.
fn refuse_others(hub: &Hub, node: &Arc<Node>) {
    let system = hub.system_account();
    for account in hub.accounts() {
        let is_system = Arc::ptr_eq(&account, &system);
        node.refuse_account(&account, is_system);
    }
}

/// The catalogue lies beside the journal, not in it: it is no part of what is stored.
fn journal_options(options: &Options, directory: &Path) -> JournalOptions {
    let sync_interval = match options.jetstream.sync {
        SyncPolicy::BeforeAck => None,
        SyncPolicy::Interval(interval) => Some(interval),
    };
    let defaults = JournalOptions::default();
    let scrub = options.jetstream.scrub;
    JournalOptions {
        sync_interval,
        scrub_bytes_per_second: if scrub.interval.is_zero() { 0 } else { defaults.scrub_bytes_per_second },
        scrub_delay: scrub.delay,
        scrub_period: scrub.interval,
        catalogue: Some(directory.with_file_name("catalogue")),
        ..defaults
    }
}

fn node_options(options: &Options, directory: &Path, server_name: &str) -> NodeOptions {
    let jetstream = &options.jetstream;
    let limits = &jetstream.limits;
    let bytes = |bytes: Option<u64>, share: Option<u64>| {
        bytes.or(share).and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(-1)
    };
    NodeOptions {
        server_name: server_name.to_owned(),
        domain: jetstream.domain.clone(),
        strict: jetstream.strict,
        pending_bytes_max: usize::try_from(options.pending_bytes_max).unwrap_or(usize::MAX),
        limits: Limits {
            server: ServerLimits {
                max_request_batch: number(limits.request_batch_max),
                max_ack_pending: number(limits.ack_pending_max),
                max_duplicate_window: limits.duplicate_window_max.map_or(0, nanoseconds),
                default_max_consumers: number(limits.default_max_consumers),
                max_memory: bytes(jetstream.memory_bytes_max, memory_share()),
                max_storage: bytes(jetstream.store_bytes_max, disk_share(directory)),
                reserved_memory: 0,
                reserved_storage: 0,
            },
            storage_is_measured: jetstream.store_bytes_max.is_none(),
            payload_bytes_max: u64::from(options.payload_bytes_max),
            batches: batch_limits(limits),
            fast_batches: fast_limits(limits),
        },
    }
}

fn batch_limits(limits: &JetStreamLimits) -> BatchLimits {
    let defaults = BatchLimits::default();
    BatchLimits {
        open_per_stream: batches_max(limits.batch_inflight_per_stream_max, defaults.open_per_stream),
        open_per_server: batches_max(limits.batch_inflight_total_max, defaults.open_per_server),
        messages: limits.batch_messages_max,
        idle: nanoseconds(limits.batch_timeout),
    }
}

/// One setting limits both kinds of batches; without it they differ.
fn fast_limits(limits: &JetStreamLimits) -> FastLimits {
    let defaults = FastLimits::default();
    FastLimits {
        open_per_stream: batches_max(limits.batch_inflight_per_stream_max, defaults.open_per_stream),
        open_per_server: batches_max(limits.batch_inflight_total_max, defaults.open_per_server),
        idle: nanoseconds(limits.batch_timeout),
    }
}

fn batches_max(limit: Option<u64>, default: usize) -> usize {
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(default)
}

/// The accounts that have JetStream: those that ask for it, and the global one only where it is alone with the system
/// account, as with nats-server.
fn accounts(options: &Options, hub: &Hub) -> Vec<(Arc<Account>, Option<AccountLimits>)> {
    let mut enabled: Vec<_> = options
        .accounts
        .iter()
        .filter_map(|account| {
            Some((hub.ensure_account(&account.name), Some(account_limits(account.jetstream.as_ref()?))))
        })
        .collect();
    if options.accounts.iter().all(|account| Some(&account.name) == options.system_account.as_ref()) {
        enabled.push((hub.ensure_account(GLOBAL), None));
    }
    enabled
}

fn account_limits(limits: &AccountJetStreamLimits) -> AccountLimits {
    AccountLimits {
        max_memory: limits.memory_bytes_max,
        max_storage: limits.store_bytes_max,
        max_streams: limits.streams_max,
        max_consumers: limits.consumers_max,
        max_ack_pending: limits.ack_pending_max,
        memory_max_stream_bytes: limits.memory_stream_bytes_max,
        storage_max_stream_bytes: limits.store_stream_bytes_max,
        max_bytes_required: limits.max_bytes_required,
    }
}

/// Three quarters of the machine's memory, as the genuine server takes when nothing is said.
fn memory_share() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024 / 4 * 3)
}

/// Three quarters of the free space.
fn disk_share(directory: &Path) -> Option<u64> {
    let status = rustix::fs::statvfs(directory).ok()?;
    Some(status.f_bavail.saturating_mul(status.f_frsize) / 4 * 3)
}

/// 0 is without limit.
fn number(limit: Option<u64>) -> i64 {
    limit.map_or(0, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_everybody_could_read_is_closed_to_others() {
        let store = tempfile::tempdir().unwrap();
        let set = |mode| std::fs::set_permissions(store.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let mode = || std::fs::metadata(store.path()).unwrap().permissions().mode() & 0o777;
        for (before, after) in [(0o755, 0o700), (0o705, 0o700), (0o750, 0o750), (0o700, 0o700)] {
            set(before);
            close_to_others(store.path()).unwrap();
            assert_eq!(mode(), after, "{before:o}");
        }
        assert!(close_to_others(&store.path().join("missing")).is_err());
    }

    /// The server was ready with no streams, and said nothing of those beside its own.
    #[test]
    fn streams_that_nats_server_left_are_noticed() {
        let store = tempfile::tempdir().unwrap();
        let streams_of = |account: &str| store.path().join(account).join("streams");
        assert_eq!(nats_server_accounts(&store.path().join("none")), [""; 0]);
        for own in ["journal", "catalogue"] {
            std::fs::create_dir(store.path().join(own)).unwrap();
        }
        std::fs::create_dir_all(streams_of("EMPTY")).unwrap();
        assert_eq!(nats_server_accounts(store.path()), [""; 0]);
        for account in ["B", "$G"] {
            std::fs::create_dir_all(streams_of(account).join("ORDERS").join("msgs")).unwrap();
        }
        assert_eq!(nats_server_accounts(store.path()), ["$G", "B"]);
    }
}
