//! How many files the process may have open. Every client is one; the store and the monitor need theirs whatever clients do.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is not for clients: connections of the monitor, files of the store, listeners, logs.
const RESERVED: u64 = 384;
const MONITOR_CONNECTIONS_MAX: u64 = 256;

/// Raises the limit to what the system allows this process, as nats-server does. What is refused stays as it was.
pub fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, ?current, "the limit of open files stays as it is");
    }
}

/// How many clients there may be, whatever `max_connections` says: the limit of open files less what is reserved, of which
/// half is for clients where it is tight.
pub fn clients_max() -> usize {
    clients_of(getrlimit(Resource::Nofile).current)
}

fn clients_of(limit: Option<u64>) -> usize {
    let clients = limit.map_or(u64::MAX, |limit| limit - RESERVED.min(limit / 2));
    usize::try_from(clients).unwrap_or(usize::MAX)
}

/// How many connections the monitor may have: 256, or an eighth of the limit of open files where that is tight. What clients
/// and the monitor leave is for the store.
pub fn monitor_connections_max() -> usize {
    monitor_connections_of(getrlimit(Resource::Nofile).current)
}

fn monitor_connections_of(limit: Option<u64>) -> usize {
    let connections = limit.map_or(MONITOR_CONNECTIONS_MAX, |limit| (limit / 8).clamp(1, MONITOR_CONNECTIONS_MAX));
    usize::try_from(connections).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_not_for_clients() {
        for (limit, clients) in
            [(Some(65536), 65152), (Some(1024), 640), (Some(768), 384), (Some(256), 128), (None, usize::MAX)]
        {
            assert_eq!(clients_of(limit), clients, "{limit:?}");
        }
    }

    #[test]
    fn the_monitor_leaves_room_for_the_store_where_files_are_few() {
        for (limit, connections) in [(Some(65536), 256), (Some(1024), 128), (Some(120), 15), (Some(4), 1), (None, 256)]
        {
            assert_eq!(monitor_connections_of(limit), connections, "{limit:?}");
        }
    }
}
