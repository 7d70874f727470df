//! `/metrics`: server, connections, accounts, streams, consumers and the journal, collected anew for each scrape.
//!
//! Connections are told as sums: a series for each of them would come and go with it. They are in `/connz`.

mod assets;

use hyper::StatusCode;

use super::exposition::{CONTENT_TYPE, Exposition, Labels};
use super::query::BadRequest;
use super::{Answer, Context, journal, process};
use crate::account::Account;
use crate::jetstream::Node;
use crate::protocol::info;
use assets::Assets;

/// Accounts that are told one by one.
const ACCOUNTS_MAX: usize = 10_000;

pub(super) fn page(context: &Context<'_>) -> Result<Answer, BadRequest> {
    let mut exposition = Exposition::default();
    server(context, &mut exposition);
    connections(context, &mut exposition);
    accounts(context, &mut exposition);
    if let Some(node) = &context.server.jetstream() {
        jetstream(node, &mut exposition);
        Assets::of(node).write(&mut exposition);
        journal_counters(node, &mut exposition);
    }
    let text = exposition.encode().map_err(|error| BadRequest(error.to_string()))?;
    Ok(Answer { status: StatusCode::OK, kind: CONTENT_TYPE, body: text.into_bytes() })
}

fn server(context: &Context<'_>, out: &mut Exposition) {
    let (identity, hub) = (context.server.identity(), context.server.hub());
    out.info(
        "server",
        "The server and the version it is compatible with",
        vec![
            ("server_id", identity.id.clone()),
            ("server_name", identity.name.clone()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("nats_version", info::VERSION.to_owned()),
        ],
    );
    out.gauge("uptime_seconds", "Time since the start", identity.started.elapsed().as_secs_f64());
    out.counters(
        "process_cpu_seconds",
        "Processor time of all threads",
        vec![(Labels::new(), process::processor_time().as_secs_f64())],
    );
    out.gauge("process_resident_memory_bytes", "Resident memory", process::resident_bytes() as f64);
    out.gauge("subscriptions", "Subscriptions of all accounts, those of services included", hub.subscriptions() as f64);
    let traffic = hub.traffic();
    out.counter("messages_in", "Messages received from clients", traffic.messages_in);
    out.counter("messages_out", "Messages sent to clients", traffic.messages_out);
    out.counter("bytes_in", "Bytes of messages received from clients", traffic.bytes_in);
    out.counter("bytes_out", "Bytes of messages sent to clients", traffic.bytes_out);
    let pages = context.monitor.request_counts().into_iter();
    out.counters(
        "http_requests",
        "Monitoring requests",
        pages.map(|(page, count)| (vec![("page", page.to_owned())], count as f64)).collect(),
    );
}

fn connections(context: &Context<'_>, out: &mut Exposition) {
    use std::sync::atomic::Ordering::Relaxed;
    let hub = context.server.hub();
    let (mut pending, mut pending_max) = (0, 0);
    for connection in hub.register.all() {
        let bytes = connection.outbound.pending_bytes();
        pending += bytes;
        pending_max = pending_max.max(bytes);
    }
    out.gauge("connections", "Open client connections", hub.register.len() as f64);
    out.counter(
        "connections_accepted",
        "Client connections since the start",
        hub.counters.connections_total.load(Relaxed),
    );
    out.gauge("connections_pending_bytes", "Bytes that wait for clients to read", pending as f64);
    out.gauge("connections_pending_bytes_max", "Bytes that wait for the slowest client", pending_max as f64);
    out.counter(
        "slow_consumers",
        "Connections ended because they read too slowly",
        hub.counters.slow_consumers.load(Relaxed),
    );
    out.counter(
        "stale_connections",
        "Connections ended without an answer to pings",
        hub.counters.stale_connections.load(Relaxed),
    );
    out.counter("stalls", "Times a publisher had to wait for a subscriber", hub.counters.stalls.load(Relaxed));
}

fn accounts(context: &Context<'_>, out: &mut Exposition) {
    let mut accounts = context.server.hub().accounts();
    accounts.truncate(ACCOUNTS_MAX);
    let each = |value: fn(&Account) -> u64| {
        let labelled = |account: &std::sync::Arc<Account>| (label(account.name()), value(account) as f64);
        accounts.iter().map(labelled).collect::<Vec<_>>()
    };
    out.gauges("account_connections", "Open client connections", each(|account| account.connections() as u64));
    out.gauges("account_subscriptions", "Subscriptions", each(|account| account.interest.len() as u64));
    out.counters("account_messages_in", "Messages received", each(|account| account.counters.read().messages_in));
    out.counters("account_messages_out", "Messages sent", each(|account| account.counters.read().messages_out));
    out.counters("account_bytes_in", "Bytes received", each(|account| account.counters.read().bytes_in));
    out.counters("account_bytes_out", "Bytes sent", each(|account| account.counters.read().bytes_out));
    out.counters("account_slow_consumers", "Slow consumers", each(Account::slow_consumers));
}

fn label(account: &str) -> Labels {
    vec![("account", account.to_owned())]
}

fn jetstream(node: &Node, out: &mut Exposition) {
    use crate::jetstream::api::stream_config::StorageType::{File, Memory};
    let limits = node.server_limits();
    out.gauge(
        "jetstream_memory_bytes_max",
        "Bytes that memory streams may hold; -1 is no limit",
        limits.max_memory as f64,
    );
    out.gauge(
        "jetstream_storage_bytes_max",
        "Bytes that file streams may hold; -1 is no limit",
        limits.max_storage as f64,
    );
    let mut accounts = node.accounts();
    accounts.truncate(ACCOUNTS_MAX);
    let each = |value: fn(&crate::jetstream::JetStreamAccount) -> u64| {
        accounts.iter().map(|account| (label(account.name()), value(account) as f64)).collect::<Vec<_>>()
    };
    out.gauges("jetstream_memory_bytes", "Bytes of memory streams", each(|account| account.usage().bytes(Memory)));
    out.gauges("jetstream_storage_bytes", "Bytes of file streams", each(|account| account.usage().bytes(File)));
    out.counters("jetstream_api_requests", "API requests", each(|account| account.api_counts().0));
    out.counters("jetstream_api_errors", "API requests answered with an error", each(|account| account.api_counts().1));
}

fn journal_counters(node: &Node, out: &mut Exposition) {
    let (state, _) = journal::state(node);
    let states = journal::STATES.iter();
    out.gauges(
        "journal_state",
        "1 for the state that the store is in",
        states.map(|known| (vec![("state", (*known).to_owned())], f64::from(u8::from(*known == state)))).collect(),
    );
    let stats = node.stats();
    out.counter("journal_batches", "Batches written", stats.batches);
    out.counter("journal_records", "Records appended", stats.records);
    out.counter("journal_record_bytes", "Bytes of records appended", stats.record_bytes);
    out.counter("journal_batch_bytes", "Bytes written in batches, with headers and padding", stats.batch_bytes);
    out.counter("journal_compacted_bytes", "Bytes written a second time by compaction", stats.compacted_bytes);
    out.counter("journal_footer_bytes", "Bytes of segment footers", stats.footer_bytes);
    out.counter("journal_segments_compacted", "Segments compacted away", stats.segments_compacted);
    out.counter("journal_segments_recycled", "Segments recycled", stats.segments_recycled);
    out.counter("journal_scrubbed_bytes", "Bytes read to look for damage", stats.scrubbed_bytes);
    out.gauge("journal_segments_due", "Segments that are due to be read to look for damage", stats.segments_due as f64);
    if let Some(since) = stats.checked_since {
        out.gauge(
            "journal_checked_timestamp_seconds",
            "Every complete segment was checked at this time or later, or written after it",
            since as f64 / 1e9,
        );
    }
    out.gauge("journal_damaged_records", "Records found damaged", stats.damaged_records as f64);
    out.gauge("journal_segments", "Segments with data", stats.segments as f64);
    out.gauge("journal_spare_segments", "Spare segments", stats.spares as f64);
    out.gauge("journal_file_bytes", "Bytes of all segment files", stats.file_bytes as f64);
    out.gauge("journal_queued_bytes", "Bytes that wait to be written", stats.bytes_queued as f64);
    out.gauge("journal_write_amplification", "Bytes written for each byte of records", stats.write_amplification());
    out.histogram("journal_batch_size_bytes", "Bytes of a batch", stats.batch_size, 1.0);
    out.histogram(
        "journal_sync_seconds",
        "Time of a write that is durable when it returns, or of a sync",
        stats.sync_time,
        1e9,
    );
}
