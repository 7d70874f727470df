//! The bodies of the fuzz targets as property tests: any bytes, and well-formed ones with a few mistakes in them.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::fuzz_bodies::{TARGETS, Target};

fn inputs(target: &Target) -> impl Strategy<Value = Vec<u8>> + use<> {
    let examples = (target.examples)();
    let mistakes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 0..6);
    let spoiled = (prop::sample::select(examples), mistakes).prop_map(|(mut bytes, mistakes)| {
        for (at, byte, kind) in mistakes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    });
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..200), 3 => spoiled]
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    (target.examples)().iter().for_each(|example| (target.body)(example));
    let mut runner = TestRunner::new(Config { cases: 1500, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&inputs(target), |bytes| {
        (target.body)(&bytes);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{name}: {failure}");
    }
}

#[test]
fn client_operations_are_the_same_however_they_are_cut_into_reads() {
    run("client_parser");
}

#[test]
fn any_header_block_is_read_without_a_panic() {
    run("header_block");
}

#[test]
fn subjects_obey_the_laws_of_subset_overlap_and_match() {
    run("subjects");
}

#[test]
fn any_configuration_is_read_or_refused() {
    run("configuration");
}

#[test]
fn any_bytes_of_the_journal_are_read_without_a_panic() {
    run("journal_formats");
}

#[test]
fn checkpoints_that_are_read_are_written_as_the_same() {
    run("checkpoints");
}

#[test]
fn any_api_request_is_read_without_a_panic_and_configurations_round_trip() {
    run("api_json");
}

#[test]
fn any_batch_of_a_peer_is_read_without_a_panic() {
    run("raft_batch");
}

#[test]
fn transforms_that_are_accepted_are_applied_without_a_panic() {
    run("transforms");
}

#[test]
fn any_certificate_yields_the_names_that_it_holds() {
    run("certificates");
}

#[test]
fn any_query_of_the_monitor_is_read_or_refused() {
    run("monitor_queries");
}

#[test]
fn any_command_line_is_understood_or_refused() {
    run("command_lines");
}

#[test]
fn the_time_can_be_told_in_any_time_zone() {
    run("time_zones");
}

#[test]
fn only_rows_of_the_catalogue_that_were_written_so_are_believed() {
    run("catalogue_rows");
}

#[test]
fn the_small_texts_of_the_api_are_read_as_they_are_written() {
    run("api_texts");
}

#[test]
fn a_consumer_may_be_asked_anything_and_its_replica_follows() {
    run("consumers");
}

#[test]
fn publishers_of_fast_batches_may_send_anything_and_are_told_no_more_than_was_received() {
    run("fast_batches");
}

#[test]
fn every_target_has_its_test_and_its_fuzz_binary() {
    let manifest = include_str!("../fuzz/Cargo.toml");
    let tests = include_str!("fuzz.rs");
    for target in TARGETS {
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{} has no binary", target.name);
        assert!(tests.contains(&format!("run(\"{}\")", target.name)), "{} has no test", target.name);
    }
}
