//! How many files the process may have open. Every client is one; the store and the monitor need theirs whatever clients do.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is not for clients: 256 connections of the monitor, files of the store, listeners, logs.
const RESERVED: u64 = 384;

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
}
