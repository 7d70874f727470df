//! A seeded simulator for groups of replicas: crashing disks, a lying network, a virtual clock. One thread, one number for all
//! chance, so every run can be repeated with `SEED=`.
//!
//! It drives the same [`Shard`](crate::Shard), codec and snapshot code as production, with any [`Machine`](crate::Machine): hand a
//! [`Workload`] to [`World::new`] and call [`World::run`]. What it checks is listed in `checker`.

mod checker;
mod disk;
mod faults;
mod healing;
mod network;
mod node;
mod operator;
mod options;
mod rng;
mod toy;
mod world;

pub use checker::{Checker, Violation};
pub use disk::{Recovered, SimDisk, SimLog};
pub use network::{Network, NetworkOptions, SimLink};
pub use options::{Options, Report};
pub use rng::{Rng, seeds};
pub use toy::{Toy, ToyWorkload};
pub use world::{Workload, World};

/// Runs the seeds of a test ([`seeds`]) and adds up what they went through. Stops at the first violation.
pub fn sweep(count: u64, mut run: impl FnMut(u64) -> Result<Report, Violation>) -> Result<Report, Violation> {
    seeds(count).into_iter().try_fold(Report::default(), |mut total, seed| {
        total += run(seed)?;
        Ok(total)
    })
}

/// Mistakes to build into disk or driver. A simulator that does not find them is blind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Records are reported durable as soon as they are appended.
    AckBeforeSync,
    /// The same, for term and vote alone.
    VoteBeforeDurable,
    /// After a crash, term and vote are those of the first state ever written.
    ForgetState,
    /// After a crash, entries behind one that was replaced are back.
    KeepReplacedTail,
    /// After a crash, entries that a snapshot from another peer took the place of are back.
    KeepTailOverSnapshot,
    /// raft-rs issue 557 without our guard.
    TrustStaleRejections,
    /// A proposal is acknowledged when an entry is applied at its index, even another leader's.
    AckByIndexOnly,
}

#[cfg(test)]
mod tests;
