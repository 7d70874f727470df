//! What the journal tells: durable batches go to the groups they belong to, failures to everybody.

use std::sync::Weak;

use headwater_storage::{DurableBatch, DurableSink, GroupId, JournalError};

use super::meta::META_GROUP;
use super::node::Node;

/// The node's ear at the journal. It does not keep the node alive.
pub struct Completion(pub Weak<Node>);

impl DurableSink for Completion {
    /// HOT PATH: one lock per group and run of its records.
    fn durable(&self, batch: &DurableBatch) {
        let Some(node) = self.0.upgrade() else { return };
        let mut records = batch.records();
        for run in batch.runs() {
            let mut of_run = records.by_ref().take(run.count);
            if run.group == META_GROUP {
                node.complete_meta(&mut of_run, run.last);
            } else if let Some(replica) = node.replica(run.group) {
                replica.complete(&mut of_run, run.last);
            }
            // A stream that is closed or fails does not read to the end.
            of_run.for_each(drop);
        }
        node.after_batch();
    }

    fn failed(&self, error: &JournalError, _: &[GroupId]) {
        if let Some(node) = self.0.upgrade() {
            node.fail(error);
        }
    }

    fn checkpoint_wanted(&self, group: GroupId) {
        if let Some(node) = self.0.upgrade() {
            node.checkpoint(group);
        }
    }

    fn space(&self, full: bool) {
        if let Some(node) = self.0.upgrade() {
            node.space(full);
        }
    }
}
