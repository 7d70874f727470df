//! What the server promises, tried out: replicas on lossy networks and crashing disks, replays, and a whole node whose
//! disk fails. Everything here runs the code of production; only network, disk and clients are played.
//!
//! Seeds are printed and replayable: `SEED=42 cargo test -p headwater proofs::`.

mod acks;
mod batches;
mod bursts;
mod damage;
mod determinism;
mod disk_faults;
mod erasures;
mod fast_batches;
mod filters;
mod formats;
mod inspection;
mod leader;
pub mod node_rig;
mod power_cuts;
mod pressure;
mod refusals;
mod removal;
mod replication;
mod requests;
mod stops;
mod stream_replica;
mod unreadable;
