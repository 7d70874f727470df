//! The node's storage. The **journal** is the truth: one sequence of segment files that every Raft group of the node
//! appends to. All else is derived from it and may be thrown away: offset tables, footers, counters.

mod aligned;
pub mod format;
pub mod io;
