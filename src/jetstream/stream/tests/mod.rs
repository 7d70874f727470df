//! The stream machine as its callers see it: a harness that plays leader and log, a naive stream to compare with, and
//! what follows from both.

mod batches;
mod checkpoints;
pub mod harness;
mod limits;
mod model;
mod naive;
mod publishing;
mod queries;
