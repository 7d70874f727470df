//! Keys of nats-server that this release knows and does not act on: checked like the others, then named in a warning.
//! A row moves out of here when its feature arrives. Keys that are read elsewhere and have no effect are named here, too.

use super::super::reader::Entry;
use super::super::report::Report;
use super::super::syntax::Value;
use super::shape::Shape::{
    Any, Bool, Duration, DurationText, Integer, List, Listen, Map, MapOf, MapOr, Seconds, Switch, Text, Texts, Word,
};
use super::shape::{Shape, check, is_off};
use super::{Draft, top};

const TLS: Shape = Map(&[
    ("cert_file|key_file|ca_file|cert_store|cert_match_by|cert_match|min_version", Text),
    ("insecure|verify|verify_and_map|verify_cert_and_check_known_urls", Bool),
    ("allow_insecure_cipher_suites|cert_match_skip_invalid", Bool),
    ("cipher_suites|curve_preferences|pinned_certs", List(&Text)),
    ("timeout", Seconds),
    ("connection_rate_limit", Integer),
    ("certs|certificates", List(&Map(&[("cert_file|key_file", Text)]))),
    ("ca_certs_match", Texts),
    ("handshake_first|first|immediate", Switch),
    ("ocsp_peer", OCSP_PEER),
]);

const OCSP_PEER: Shape = MapOr(
    &Map(&[
        ("verify|warn_only|unknown_is_good|allow_when_ca_unreachable", Bool),
        ("allowed_clockskew|ca_timeout|cache_ttl_when_next_update_unset", Seconds),
    ]),
    &Bool,
);

const SIMPLE_AUTHORIZATION: Shape = Map(&[("user|username|pass|password|token", Text), ("timeout", Seconds)]);

const COMPRESSION: Shape =
    MapOr(&Map(&[("mode", Text), ("rtt_thresholds|thresholds|rtts|rtt", List(&DurationText))]), &Switch);

const WRITE_TIMEOUT: Shape = Word(&["default", "close", "retry"]);

const SUBJECTS: Shape = MapOr(&Map(&[("allow|deny", Texts)]), &Texts);

const LINK_AUTHORIZATION: Shape = Map(&[
    ("user|username|pass|password|token", Text),
    ("timeout", Seconds),
    ("proxy_required", Bool),
    ("users", List(&Any)),
    ("default_permission|default_permissions|permissions", PERMISSIONS),
    ("auth_callout|auth_hook", Any),
]);

const PERMISSIONS: Shape =
    Map(&[("pub|publish|import|sub|subscribe|export", SUBJECTS), ("publish_allow_responses|allow_responses", Any)]);

const CLUSTER: Shape = Map(&[
    ("name|host|net|cluster_advertise|advertise", Text),
    ("write_timeout", WRITE_TIMEOUT),
    ("listen", Listen),
    ("port|connect_retries|pool_size|ping_max", Integer),
    ("no_advertise|connect_backoff", Bool),
    ("authorization", LINK_AUTHORIZATION),
    ("routes", List(&Text)),
    ("tls", TLS),
    ("permissions", PERMISSIONS),
    ("accounts", Texts),
    ("compression", COMPRESSION),
    ("ping_interval|write_deadline", Duration),
]);

const GATEWAY: Shape = Map(&[
    ("name|host|net|advertise", Text),
    ("write_timeout", WRITE_TIMEOUT),
    ("listen", Listen),
    ("port|connect_retries", Integer),
    ("connect_backoff|reject_unknown|reject_unknown_cluster", Bool),
    ("authorization", LINK_AUTHORIZATION),
    ("tls", TLS),
    ("gateways", List(&Map(&[("name|url", Text), ("urls", List(&Text)), ("tls", TLS)]))),
    ("write_deadline", Duration),
]);

const LEAF_AUTHORIZATION: Shape = Map(&[
    ("user|username|pass|password|nkey|account", Text),
    ("timeout", Seconds),
    ("proxy_required", Bool),
    ("users", List(&Map(&[("user|username|pass|password|account", Text), ("proxy_required", Bool)]))),
]);

const LEAF_REMOTE: Shape = Map(&[
    ("url|urls", Texts),
    ("account|local|creds|credentials|nkey|seed", Text),
    ("no_randomize|dont_randomize|hub|disabled|ignore_discovered_servers", Bool),
    ("ws_compress|ws_compression|websocket_compress|websocket_compression", Bool),
    ("ws_no_masking|websocket_no_masking", Bool),
    ("isolate_leafnode_interest|isolate|request_isolation", Bool),
    ("tls", TLS),
    ("deny_imports|deny_import|deny_exports|deny_export", Texts),
    ("jetstream_cluster_migrate|js_cluster_migrate", MapOr(&MapOf(&Any), &Bool)),
    ("compression", COMPRESSION),
    ("first_info_timeout|dial_timeout", Duration),
    ("proxy", Map(&[("url|username|password", Text), ("timeout", Duration), ("tls", TLS)])),
]);

const LEAFNODES: Shape = Map(&[
    ("listen", Listen),
    ("port", Integer),
    ("host|net|leafnode_advertise|advertise|min_version|minimum_version", Text),
    ("write_timeout", WRITE_TIMEOUT),
    ("no_advertise|isolate_leafnode_interest|isolate", Bool),
    ("authorization", LEAF_AUTHORIZATION),
    ("remotes", List(&LEAF_REMOTE)),
    ("reconnect|reconnect_delay|reconnect_interval|dial_timeout|write_deadline", Duration),
    ("tls", TLS),
    ("compression", COMPRESSION),
]);

const WEBSOCKET: Shape = Map(&[
    ("listen", Listen),
    ("port", Integer),
    ("host|net|advertise|jwt_cookie|user_cookie|pass_cookie|token_cookie|no_auth_user", Text),
    ("no_tls|same_origin|compress|compression", Bool),
    ("tls", TLS),
    ("allowed_origins|allowed_origin|allow_origins|allow_origin|origins|origin", Texts),
    ("handshake_timeout", Seconds),
    ("authorization|authentication", SIMPLE_AUTHORIZATION),
    ("headers", MapOf(&Text)),
    ("ping_interval", Duration),
]);

const MQTT: Shape = Map(&[
    ("listen", Listen),
    ("port|max_ack_pending|max_pending|max_inflight|stream_replicas|consumer_replicas", Integer),
    ("host|net|no_auth_user|js_domain", Text),
    ("tls", TLS),
    ("authorization|authentication", SIMPLE_AUTHORIZATION),
    ("ack_wait|ackwait|js_api_timeout|api_timeout", Duration),
    ("consumer_inactive_threshold|consumer_auto_cleanup", Duration),
    ("consumer_memory_storage|reject_qos2_publish|downgrade_qos2_subscribe", Bool),
]);

const RESOLVER: Shape = MapOr(
    &Map(&[
        ("type|dir", Text),
        ("ttl|interval|timeout", DurationText),
        ("allow_delete|hard_delete", Bool),
        ("limit", Integer),
    ]),
    &Text,
);

const CALLOUT: Shape =
    Map(&[("issuer|account|acc|xkey|key", Text), ("auth_users|users|allowed_accounts", List(&Text))]);

const MAPPINGS: Shape = MapOf(&Any);

const EXPORTS: Shape = List(&Map(&[
    ("stream|service", Text),
    ("response|response_type", Word(&["single", "singleton", "stream", "chunk", "chunked"])),
    ("threshold|response_threshold|response_max_time|response_time", DurationText),
    ("accounts", List(&Text)),
    ("latency", MapOr(&MapOf(&Any), &Text)),
    ("account_token_position", Integer),
    ("allow_trace", Bool),
]));

const IMPORTS: Shape = List(&Map(&[
    ("stream|service", Map(&[("account|subject", Text)])),
    ("prefix|to", Text),
    ("share|allow_trace", Bool),
]));

/// A key that is only checked. `guards`: without it, the server admits or discloses what the operator meant to keep
/// (operator mode, callout, encryption), so that it is refused.
struct Row {
    names: &'static str,
    shape: Shape,
    guards: bool,
}

const fn row(names: &'static str, shape: Shape) -> Row {
    Row { names, shape, guards: false }
}

const fn guard(names: &'static str, shape: Shape) -> Row {
    Row { names, shape, guards: true }
}

const TOP: &[Row] = &[
    row("cluster", CLUSTER),
    row("gateway", GATEWAY),
    row("leaf|leafnodes", LEAFNODES),
    row("websocket|ws", WEBSOCKET),
    row("mqtt", MQTT),
    guard("operator|operators|roots|root|root_operators|root_operator", Texts),
    guard("trusted|trusted_keys", Texts),
    row("resolver|account_resolver|accounts_resolver", RESOLVER),
    row("resolver_tls", TLS),
    row("resolver_preload", MapOf(&Text)),
    row("resolver_pinned_accounts", Texts),
    row("default_sentinel", Text),
    row("ocsp", MapOr(&Map(&[("mode|url", Text), ("urls", List(&Text))]), &Bool)),
    row(
        "ocsp_cache",
        MapOr(&Map(&[("type|local_store", Text), ("preserve_revoked", Bool), ("save_interval", Seconds)]), &Bool),
    ),
    row("proxies", Map(&[("trusted", List(&Map(&[("key|public_key", Text)])))])),
    row("proxy_protocol", Any),
    row("mappings|maps", MAPPINGS),
    row("default_js_domain", MapOf(&Text)),
    row("prof_port|prof_block_rate", Integer),
];

const AUTHORIZATION: &[Row] = &[guard("auth_callout|auth_hook", CALLOUT)];

const ACCOUNT: &[Row] = &[row("exports", EXPORTS), row("imports", IMPORTS), row("mappings|maps", MAPPINGS)];

const JETSTREAM: &[Row] = &[
    guard("key|ek|encryption_key|prev_key|prev_ek|prev_encryption_key", Text),
    row("cipher", Word(&["chacha", "chachapoly", "aes"])),
    guard("tpm", Map(&[("keys_file|encryption_password|srk_password|cipher", Text), ("pcr", Integer)])),
];

/// Reads a key of the top level. False when it is none of these.
pub(super) fn read(name: &str, entry: Entry<'_>, draft: &mut Draft, report: &mut Report) -> bool {
    match name {
        "cluster" => draft.cluster_seen = true,
        "proxy_protocol" => top::set(&mut draft.options.proxy_protocol, entry.boolean(report)),
        _ => {}
    }
    read_row(name, entry.key, entry, TOP, report)
}

/// Reads a key of the `authorization` or `jetstream` block.
pub(super) fn read_in(block: &'static str, entry: Entry<'_>, report: &mut Report) -> bool {
    let rows = if block == "authorization" { AUTHORIZATION } else { JETSTREAM };
    let name = entry.key.to_ascii_lowercase();
    read_row(&name, &format!("{block}.{}", entry.key), entry, rows, report)
}

/// Reads a key of an account.
pub(super) fn read_in_account(account: &str, entry: Entry<'_>, report: &mut Report) -> bool {
    let name = entry.key.to_ascii_lowercase();
    read_row(&name, &format!("accounts.{account}.{}", entry.key), entry, ACCOUNT, report)
}

/// Reads whether clients with revoked certificates are to be turned away. Of a block, only `verify` switches that on, and
/// `warn_only` lets them in after all.
pub(super) fn read_ocsp_peer(path: &str, entry: Entry<'_>, report: &mut Report) {
    check(entry, &OCSP_PEER, report);
    let (verifies, warns) = match &entry.node.value {
        Value::Map(block) => {
            let is_on = |name| block.iter().any(|(key, node)| key.eq_ignore_ascii_case(name) && !is_off(node));
            (is_on("verify"), is_on("warn_only"))
        }
        _ => (!is_off(entry.node), false),
    };
    match (verifies, warns) {
        (false, _) => {}
        (true, false) => report.missing_guard(path, &entry.node.span),
        (true, true) => report.unsupported(path, &entry.node.span),
    }
}

/// Names a key that was read and is shown by pages and reloads, but changes nothing as it is set.
pub(super) fn name_inert(name: &str, path: &str, entry: Entry<'_>, report: &mut Report) {
    let is_inert = match name {
        // Matches are cached by each connection, in a way that costs nothing when it does not help.
        "disable_sublist_cache" | "no_sublist_cache" => !is_off(entry.node),
        "feature_flags" => return name_flags(entry, report),
        // The queues that these bound are bounded otherwise, see the architecture.
        "max_buffered_size"
        | "max_buffered_msgs"
        | "request_queue_limit"
        | "info_queue_limit"
        | "max_concurrent_io" => !is_off(entry.node),
        _ => false,
    };
    if is_inert {
        report.unsupported(path, &entry.node.span);
    }
}

fn name_flags(entry: Entry<'_>, report: &mut Report) {
    let Value::Map(flags) = &entry.node.value else { return };
    for (flag, node) in flags.iter().filter(|(_, node)| !is_off(node)) {
        report.unsupported(format!("{}.{flag}", entry.key), &node.span);
    }
}

fn read_row(name: &str, path: &str, entry: Entry<'_>, rows: &[Row], report: &mut Report) -> bool {
    let Some(row) = rows.iter().find(|row| row.names.split('|').any(|known| known == name)) else {
        return false;
    };
    check(entry, &row.shape, report);
    let span = &entry.node.span;
    match (is_off(entry.node), row.guards) {
        (true, _) => {}
        (false, true) => report.missing_guard(path, span),
        (false, false) => report.unsupported(path, span),
    }
    true
}
