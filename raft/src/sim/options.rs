//! How much trouble a run meets, and what it went through.

use super::network::NetworkOptions;
use super::{Bug, rng::Rng};

#[derive(Clone, Debug)]
pub struct Options {
    pub nodes: u32,
    pub groups: u64,
    pub network: NetworkOptions,
    /// One sync in so many per mille takes up to `sync_max`, the others next to nothing.
    pub slow_sync_per_mille: u64,
    pub sync_max: u64,
    pub crash_per_mille: u64,
    pub down_max: u64,
    /// Chance of a crash in each step in which a vote or term is not synced yet, and soon after a snapshot was installed.
    pub forget_per_mille: u64,
    /// Two nodes are told to campaign at once, without asking first.
    pub rivals_per_mille: u64,
    pub wipe_per_mille: u64,
    pub cut_per_mille: u64,
    pub pause_per_mille: u64,
    pub propose_per_mille: u64,
    pub read_per_mille: u64,
    pub checkpoint_per_mille: u64,
    pub transfer_per_mille: u64,
    pub resize_per_mille: u64,
    pub bug: Option<Bug>,
}

impl Options {
    /// Another mixture of troubles for every seed: rare combinations are where the mistakes are.
    pub fn swarm(seed: u64) -> Options {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let mut some = |odds: u64, max: u64| if rng.chance(odds) { 1 + rng.below(max) } else { 0 };
        Options {
            nodes: 3 + 2 * some(200, 1) as u32,
            groups: 1 + some(400, 2),
            network: NetworkOptions {
                drop_per_mille: some(700, 150),
                duplicate_per_mille: some(500, 100),
                slow_per_mille: 100,
                delay_max: 3 + some(700, 60),
            },
            slow_sync_per_mille: 100,
            sync_max: 2 + some(700, 60) + some(200, 400),
            crash_per_mille: some(800, 8),
            down_max: 400,
            forget_per_mille: some(300, 20),
            rivals_per_mille: some(300, 3),
            wipe_per_mille: some(400, 3),
            cut_per_mille: some(700, 8),
            pause_per_mille: some(400, 5),
            propose_per_mille: 20 + some(900, 400),
            read_per_mille: some(600, 30),
            checkpoint_per_mille: some(800, 30),
            transfer_per_mille: some(400, 4),
            resize_per_mille: some(400, 3),
            bug: None,
        }
    }

    /// Followers that fall behind compaction all the time.
    pub fn snapshots(seed: u64) -> Options {
        Options {
            nodes: 3,
            groups: 1,
            crash_per_mille: 6,
            down_max: 150,
            forget_per_mille: 20,
            rivals_per_mille: 4,
            cut_per_mille: 20,
            wipe_per_mille: 0,
            resize_per_mille: 0,
            pause_per_mille: 0,
            propose_per_mille: 300,
            checkpoint_per_mille: 60,
            transfer_per_mille: 5,
            ..Options::swarm(seed)
        }
    }

    /// Elections without end: rivals, slow disks, and nodes that crash between a vote and its sync, and return at once.
    pub fn storm(seed: u64) -> Options {
        let mut rng = Rng::new(seed ^ 0x5702);
        Options {
            nodes: 3 + 2 * rng.below(2) as u32,
            groups: 1,
            network: NetworkOptions {
                drop_per_mille: rng.below(50),
                duplicate_per_mille: 50,
                slow_per_mille: 500,
                delay_max: 50,
            },
            slow_sync_per_mille: 500,
            sync_max: 40,
            crash_per_mille: rng.below(10),
            down_max: 1 + rng.below(20),
            forget_per_mille: 10 + rng.below(60),
            rivals_per_mille: 5 + rng.below(20),
            wipe_per_mille: 0,
            cut_per_mille: 5,
            pause_per_mille: 0,
            propose_per_mille: 100,
            read_per_mille: 0,
            checkpoint_per_mille: 5,
            transfer_per_mille: 5,
            resize_per_mille: 0,
            bug: None,
        }
    }
}

/// What a run went through: a test that asserts on the sum knows its runs were not idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub steps: u64,
    pub proposed: u64,
    pub acked: u64,
    pub lost: u64,
    pub reads: u64,
    pub crashes: u64,
    pub wipes: u64,
    pub cuts: u64,
    pub elections: u64,
    pub installs: u64,
    pub membership_changes: u64,
    pub sleeps: u64,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Report) {
        self.steps += other.steps;
        self.proposed += other.proposed;
        self.acked += other.acked;
        self.lost += other.lost;
        self.reads += other.reads;
        self.crashes += other.crashes;
        self.wipes += other.wipes;
        self.cuts += other.cuts;
        self.elections += other.elections;
        self.installs += other.installs;
        self.membership_changes += other.membership_changes;
        self.sleeps += other.sleeps;
    }
}
