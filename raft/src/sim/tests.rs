//! Whole clusters of toy machines under every trouble the simulator knows.

use super::*;

fn run(seed: u64, options: Options) -> Result<Report, Violation> {
    World::new(seed, options, ToyWorkload::default()).run(3000)
}

fn run_all(count: u64, options: fn(u64) -> Options) -> Report {
    let mut total = Report::default();
    for seed in seeds(count) {
        match run(seed, options(seed)) {
            Ok(report) => total += report,
            Err(violation) => panic!("{violation}"),
        }
    }
    println!("{total:?}");
    total
}

#[test]
fn replicas_agree_and_nothing_acknowledged_is_lost() {
    run_all(40, Options::swarm);
}

#[test]
fn elections_without_end_are_safe() {
    run_all(20, Options::storm);
}

/// Runs seeds until the bug shows.
fn found(bug: Bug, options: fn(u64) -> Options, seeds_max: u64) -> Violation {
    let violation = (1..=seeds_max).find_map(|seed| run(seed, Options { bug: Some(bug), ..options(seed) }).err());
    let violation = violation.unwrap_or_else(|| panic!("{bug:?} was not found in {seeds_max} seeds"));
    println!("{bug:?}: {violation}");
    violation
}

#[test]
fn acknowledging_before_the_sync_is_found() {
    found(Bug::AckBeforeSync, Options::swarm, 50);
}

#[test]
fn voting_before_the_vote_is_durable_is_found() {
    found(Bug::VoteBeforeDurable, Options::storm, 400);
}

#[test]
fn forgetting_the_vote_is_found() {
    found(Bug::ForgetState, Options::storm, 100);
}

#[test]
fn reviving_a_replaced_tail_is_found() {
    found(Bug::KeepReplacedTail, Options::swarm, 100);
}

#[test]
fn reviving_what_a_snapshot_replaced_is_found() {
    found(Bug::KeepTailOverSnapshot, Options::swarm, 400);
}

#[test]
fn stale_rejections_are_found() {
    found(Bug::TrustStaleRejections, Options::swarm, 200);
}
