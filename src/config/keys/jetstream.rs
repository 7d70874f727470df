//! The server's `jetstream` block and the `jetstream` entry of an account (12.2, S-48).

use super::super::account::{AccountOptions, JetStreamTraffic};
use super::super::jetstream::{AccountJetStreamLimits, JetStreamLimits, JetStreamOptions, SyncPolicy};
use super::super::reader::Entry;
use super::super::report::Report;
use super::super::syntax::{Map, Value};
use super::top::set;
use super::{Draft, unsupported};

/// `jetstream: true | enabled | { ... }`.
pub(super) fn read(entry: Entry<'_>, draft: &mut Draft, report: &mut Report) {
    match &entry.node.value {
        Value::Bool(enabled) => draft.options.jetstream.enabled = *enabled,
        Value::String(text) => set(&mut draft.options.jetstream.enabled, switch(text, entry, report)),
        Value::Map(map) => read_block(map, draft, report),
        other => report.error(
            &entry.node.span,
            format_args!("Expected map, bool or string to define JetStream, got {}", other.go_type()),
        ),
    }
}

fn switch(text: &str, entry: Entry<'_>, report: &mut Report) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "enabled" | "enable" => Some(true),
        "disabled" | "disable" => Some(false),
        _ => {
            let text = format!("Expected 'enabled' or 'disabled' for string value, got '{text}'");
            report.error(&entry.node.span, text);
            None
        }
    }
}

fn read_block(map: &Map, draft: &mut Draft, report: &mut Report) {
    // A block enables, whatever the order of its keys, unless it says otherwise.
    draft.options.jetstream.enabled = true;
    for (key, node) in map.iter() {
        let entry = Entry::new(key, node);
        let name = key.to_ascii_lowercase();
        let known = read_switches(&name, entry, draft, report)
            || read_bounds(&name, entry, draft, report)
            || unsupported::read_in("jetstream", entry, report);
        if !known {
            report.unknown(key, node);
        }
        unsupported::name_inert(&name, &format!("jetstream.{key}"), entry, report);
    }
}

fn read_switches(name: &str, entry: Entry<'_>, draft: &mut Draft, report: &mut Report) -> bool {
    let jetstream = &mut draft.options.jetstream;
    match name {
        "enable" | "enabled" => set(&mut jetstream.enabled, entry.boolean(report)),
        "strict" => set(&mut jetstream.strict, entry.boolean(report)),
        "store" | "store_dir" | "storedir" => set_store_dir(entry, draft, report),
        "sync" | "sync_interval" => set(&mut jetstream.sync, read_sync(entry, report)),
        "scrub_interval" => set(&mut jetstream.scrub.interval, entry.duration(report)),
        "scrub_delay" => set(&mut jetstream.scrub.delay, entry.duration(report)),
        "domain" => jetstream.domain = non_empty(entry, report),
        "extension_hint" => jetstream.extension_hint = non_empty(entry, report).map(|hint| hint.to_lowercase()),
        "unique_tag" => {
            jetstream.unique_tag =
                entry.string(report).map(|tag| tag.trim().to_lowercase()).filter(|tag| !tag.is_empty());
        }
        "meta_compact_sync" => set(&mut jetstream.meta_compact_sync, entry.boolean(report)),
        "limits" => read_limits(entry, jetstream, report),
        _ => return false,
    }
    true
}

fn read_bounds(name: &str, entry: Entry<'_>, draft: &mut Draft, report: &mut Report) -> bool {
    let jetstream = &mut draft.options.jetstream;
    match name {
        "max_memory_store" | "max_mem_store" | "max_mem" => {
            if let Some(bytes) = entry.storage_size("max_mem_store", report) {
                jetstream.memory_bytes_max = u64::try_from(bytes).ok();
            }
        }
        "max_file_store" | "max_file" => {
            if let Some(bytes) = entry.storage_size("max_file_store", report) {
                jetstream.store_bytes_max = u64::try_from(bytes).ok();
            }
        }
        "max_outstanding_catchup" => {
            if let Some(bytes) = entry.storage_size(name, report) {
                jetstream.outstanding_catchup_bytes_max = positive(bytes);
            }
        }
        "max_buffered_size" => {
            set(&mut jetstream.buffered_bytes_max, entry.storage_size(name, report).and_then(positive));
        }
        "max_buffered_msgs" => set(&mut jetstream.buffered_messages_max, size(entry, report).and_then(positive)),
        "request_queue_limit" => set(&mut jetstream.request_queue_limit, size(entry, report).and_then(positive)),
        "info_queue_limit" => draft.info_queue_limit = size(entry, report).and_then(positive),
        "meta_compact" => set(&mut jetstream.meta_compact_entries, absolute(size(entry, report), entry, report)),
        "meta_compact_size" => {
            let bytes = entry.storage_size(name, report);
            set(&mut jetstream.meta_compact_bytes, absolute(bytes, entry, report));
        }
        "max_concurrent_io" => match entry.node.value {
            Value::Integer(count @ 4..=8192) => jetstream.concurrent_io_max = u32::try_from(count).unwrap_or(8192),
            _ => report.error(
                &entry.node.span,
                format_args!("Expected an absolute size for {:?} between 4 and 8192, got {}", entry.key, shown(entry)),
            ),
        },
        _ => return false,
    }
    true
}

/// The one place that decides where the journal goes; a second one is refused.
pub(super) fn set_store_dir(entry: Entry<'_>, draft: &mut Draft, report: &mut Report) {
    if draft.options.store_dir.is_some() {
        report.error(&entry.node.span, "Duplicate 'store_dir' configuration");
        return;
    }
    draft.options.store_dir = non_empty(entry, report).map(Into::into);
}

fn read_sync(entry: Entry<'_>, report: &mut Report) -> Option<SyncPolicy> {
    if let Value::String(text) = &entry.node.value
        && text.eq_ignore_ascii_case("always")
    {
        return Some(SyncPolicy::BeforeAck);
    }
    let interval = entry.duration(report)?;
    Some(if interval.is_zero() { SyncPolicy::BeforeAck } else { SyncPolicy::Interval(interval) })
}

fn read_limits(entry: Entry<'_>, jetstream: &mut JetStreamOptions, report: &mut Report) {
    let Value::Map(map) = &entry.node.value else {
        let text = format!("Expected a map to define JetStreamLimits, got {}", entry.node.value.go_type());
        report.error(&entry.node.span, text);
        return;
    };
    let limits = &mut jetstream.limits;
    for (key, node) in map.iter() {
        let entry = Entry::new(key, node);
        match key.to_ascii_lowercase().as_str() {
            "max_ack_pending" => limits.ack_pending_max = entry.integer(report).and_then(positive),
            "max_ha_assets" => limits.ha_assets_max = entry.integer(report).and_then(positive),
            "max_request_batch" => limits.request_batch_max = entry.integer(report).and_then(positive),
            "default_max_consumers" => match entry.integer(report) {
                Some(0) | None => {}
                Some(max) => limits.default_max_consumers = positive(max),
            },
            "duplicate_window" => {
                let window = entry.duration_string(report).and_then(|window| window.positive());
                limits.duplicate_window_max = window.filter(|window| !window.is_zero());
            }
            "batch" => read_batch_limits(entry, limits, report),
            _ => report.unknown(key, node),
        }
    }
}

fn read_batch_limits(entry: Entry<'_>, limits: &mut JetStreamLimits, report: &mut Report) {
    let Value::Map(map) = &entry.node.value else {
        let text = format!("Expected a map to define batch limits, got {}", entry.node.value.go_type());
        report.error(&entry.node.span, text);
        return;
    };
    for (key, node) in map.iter() {
        let entry = Entry::new(key, node);
        match key.to_ascii_lowercase().as_str() {
            "max_inflight_per_stream" => {
                limits.batch_inflight_per_stream_max = entry.integer(report).and_then(positive);
            }
            "max_inflight_total" => limits.batch_inflight_total_max = entry.integer(report).and_then(positive),
            "max_msgs" => set(&mut limits.batch_messages_max, entry.integer(report).and_then(positive)),
            "timeout" => {
                let timeout = entry.duration_string(report).and_then(|timeout| timeout.positive());
                set(&mut limits.batch_timeout, timeout.filter(|timeout| !timeout.is_zero()));
            }
            _ => report.unknown(key, node),
        }
    }
}

/// `jetstream` of an account.
pub(super) fn read_account(entry: Entry<'_>, account: &mut AccountOptions, report: &mut Report) {
    match &entry.node.value {
        Value::Bool(true) => account.jetstream = Some(AccountJetStreamLimits::default()),
        Value::Bool(false) => {}
        Value::String(text) => {
            let enabled = switch(text, entry, report).unwrap_or(false);
            account.jetstream = enabled.then(AccountJetStreamLimits::default);
        }
        Value::Map(map) => account.jetstream = Some(read_account_limits(map, account, report)),
        other => report.error(
            &entry.node.span,
            format_args!("Expected map, bool or string to define JetStream, got {}", other.go_type()),
        ),
    }
}

fn read_account_limits(map: &Map, account: &mut AccountOptions, report: &mut Report) -> AccountJetStreamLimits {
    let mut limits = AccountJetStreamLimits::default();
    for (key, node) in map.iter() {
        let entry = Entry::new(key, node);
        match key.to_ascii_lowercase().as_str() {
            "max_memory" | "max_mem" | "mem" | "memory" => set(&mut limits.memory_bytes_max, size(entry, report)),
            "max_store" | "max_file" | "max_disk" | "store" | "disk" => {
                set(&mut limits.store_bytes_max, size(entry, report));
            }
            "max_streams" | "streams" => set(&mut limits.streams_max, size(entry, report)),
            "max_consumers" | "consumers" => set(&mut limits.consumers_max, size(entry, report)),
            "max_bytes_required" | "max_stream_bytes" | "max_bytes" => match node.value {
                Value::Bool(required) => limits.max_bytes_required = required,
                _ => report
                    .error(&node.span, format_args!("Expected a parseable bool for {key:?}, got {}", shown(entry))),
            },
            "mem_max_stream_bytes" | "memory_max_stream_bytes" => {
                set(&mut limits.memory_stream_bytes_max, size(entry, report));
            }
            "disk_max_stream_bytes" | "store_max_stream_bytes" => {
                set(&mut limits.store_stream_bytes_max, size(entry, report));
            }
            "max_ack_pending" => set(&mut limits.ack_pending_max, size(entry, report)),
            "cluster_traffic" => match &node.value {
                Value::String(text) if text.is_empty() || text == "system" => {
                    account.jetstream_traffic = JetStreamTraffic::System;
                }
                Value::String(text) if text == "owner" => account.jetstream_traffic = JetStreamTraffic::Owner,
                _ => report.error(
                    &node.span,
                    format_args!("Expected 'system' or 'owner' string value for {key:?}, got {}", shown(entry)),
                ),
            },
            _ => report.unknown(key, node),
        }
    }
    limits
}

fn size(entry: Entry<'_>, report: &mut Report) -> Option<i64> {
    if let Value::Integer(number) = entry.node.value {
        return Some(number);
    }
    let text = format!("Expected a parseable size for {:?}, got {}", entry.key, shown(entry));
    report.error(&entry.node.span, text);
    None
}

fn absolute(number: Option<i64>, entry: Entry<'_>, report: &mut Report) -> Option<u64> {
    let number = number?;
    u64::try_from(number)
        .map_err(|_| {
            let text = format!("Expected an absolute size for {:?}, got {number}", entry.key);
            report.error(&entry.node.span, text);
        })
        .ok()
}

fn positive(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|number| *number > 0)
}

fn non_empty(entry: Entry<'_>, report: &mut Report) -> Option<String> {
    entry.string(report).filter(|text| !text.is_empty()).map(String::from)
}

fn shown(entry: Entry<'_>) -> String {
    match &entry.node.value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        other => other.kind().to_string(),
    }
}
