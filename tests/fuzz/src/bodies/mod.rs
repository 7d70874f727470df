//! What is fuzzed: one function per target, which must hold for any bytes. They stand here once and run twice: under
//! libFuzzer (`cargo +nightly fuzz run --fuzz-dir tests/fuzz <target>`), and as property tests in `cargo test`.

mod disk;
mod jetstream;
mod operator;
mod wire;

pub struct Target {
    pub name: &'static str,
    pub body: fn(&[u8]),
    /// Inputs that are well formed: where the property tests begin to spoil things.
    pub examples: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: &[Target] = &[
    Target { name: "client_parser", body: wire::client_parser, examples: wire::client_examples },
    Target { name: "header_block", body: wire::header_block, examples: wire::header_examples },
    Target { name: "subjects", body: wire::subjects, examples: wire::subject_examples },
    Target { name: "transforms", body: wire::transforms, examples: wire::transform_examples },
    Target { name: "certificates", body: wire::certificates, examples: wire::certificate_examples },
    Target { name: "monitor_queries", body: wire::monitor_queries, examples: wire::query_examples },
    Target { name: "configuration", body: operator::configuration, examples: operator::configuration_examples },
    Target { name: "command_lines", body: operator::command_lines, examples: operator::command_line_examples },
    Target { name: "time_zones", body: operator::time_zones, examples: operator::time_zone_examples },
    Target { name: "journal_formats", body: disk::journal_formats, examples: disk::journal_examples },
    Target { name: "catalogue_rows", body: disk::catalogue_rows, examples: disk::row_examples },
    Target { name: "checkpoints", body: disk::checkpoints, examples: disk::checkpoint_examples },
    Target { name: "raft_batch", body: disk::raft_batch, examples: disk::raft_examples },
    Target { name: "api_json", body: jetstream::api_json, examples: jetstream::json_examples },
    Target { name: "api_texts", body: jetstream::api_texts, examples: jetstream::text_examples },
    Target { name: "consumers", body: jetstream::consumers, examples: jetstream::consumer_examples },
    Target { name: "fast_batches", body: jetstream::fast_batches, examples: jetstream::fast_batch_examples },
];

fn examples_of(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
