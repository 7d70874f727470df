//! Whole clusters of toy machines under every trouble the simulator knows. The default number of seeds keeps the suite quick;
//! `SEEDS=600 cargo test sim::` is a soak, `SEED=78 cargo test sim::` repeats one run.

use super::*;

fn run(seed: u64, options: Options) -> Result<Report, Violation> {
    World::new(seed, options, ToyWorkload::default()).run(3000)
}

fn run_all(count: u64, options: fn(u64) -> Options) -> Report {
    match sweep(count, |seed| run(seed, options(seed))) {
        Ok(total) => total,
        Err(violation) => panic!("{violation}"),
    }
}

#[test]
fn replicas_agree_and_nothing_acknowledged_is_lost() {
    let total = run_all(12, Options::swarm);
    println!("{total:?}");
}

#[test]
fn elections_without_end_are_safe() {
    let total = run_all(10, Options::storm);
    println!("{total:?}");
}

#[test]
fn snapshots_are_as_good_as_the_entries() {
    let total = run_all(8, Options::snapshots);
    println!("{total:?}");
}

#[test]
fn groups_of_one_keep_what_they_acknowledged() {
    let options =
        |seed| Options { nodes: 1, groups: 3, wipe_per_mille: 0, resize_per_mille: 0, ..Options::swarm(seed) };
    run_all(4, options);
}

/// A run in which nothing happened proves nothing.
#[test]
fn runs_go_through_every_trouble() {
    let mut total =
        (1..=6).map(|seed| run(seed, Options::swarm(seed)).unwrap()).fold(Report::default(), |mut sum, report| {
            sum += report;
            sum
        });
    total += run(1, Options::snapshots(1)).unwrap();
    let Report { acked, lost, reads, crashes, wipes, cuts, elections, installs, membership_changes, sleeps, .. } =
        total;
    let seen = [acked, lost, reads, crashes, wipes, cuts, elections, installs, membership_changes, sleeps];
    assert!(seen.iter().all(|count| *count > 0), "{total:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let runs: Vec<Report> = (0..2).map(|_| run(5, Options::swarm(5)).unwrap()).collect();
    assert_eq!(runs[0], runs[1]);
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
    found(Bug::AckBeforeSync, Options::storm, 50);
}

#[test]
fn voting_before_the_vote_is_durable_is_found() {
    found(Bug::VoteBeforeDurable, Options::storm, 100);
}

#[test]
fn forgetting_the_vote_is_found() {
    found(Bug::ForgetState, Options::storm, 100);
}

#[test]
fn reviving_a_replaced_tail_is_found() {
    found(Bug::KeepReplacedTail, Options::storm, 100);
}

#[test]
fn reviving_what_a_snapshot_replaced_is_found() {
    found(Bug::KeepTailOverSnapshot, Options::snapshots, 400);
}

/// The checker forgot what had been proposed, and compared what was applied with itself.
#[test]
fn acknowledging_another_entry_at_the_same_index_is_found() {
    let violation = found(Bug::AckByIndexOnly, Options::storm, 100);
    assert!(violation.what.contains("with another entry"), "{violation}");
}

#[test]
fn stale_rejections_are_found() {
    found(Bug::TrustStaleRejections, Options::swarm, 200);
}
