//! What each stream is, written into its own group as well: the list of streams may be damaged, and a stream must not be
//! lost with it. Tools name groups by it, and a start finds the latest configuration there when the log has lost it.

use std::sync::Arc;

use headwater_storage::{AppendClass, GroupId, RecordHeader, RecordKind, Urgency};
use prost::Message;

use super::super::core::Core;
use super::super::replica::Replica;
use super::Node;
use super::recovery::Repairs;

impl Node {
    /// Writes down what a stream is as of the last entry applied. Nobody waits for it.
    pub fn define(&self, stream: &Replica, core: &Core) {
        if core.closed {
            return;
        }
        let body = core.definition().encode_to_vec();
        let index = core.log.applied();
        let header = RecordHeader {
            group: stream.group(),
            index,
            term: core.log.group().entry_term(index).unwrap_or(0),
            kind: RecordKind::Definition,
            tag: 0,
            sequence: 0,
            time: self.now(),
            subject_len: 0,
            headers_len: 0,
            payload_len: u32::try_from(body.len()).expect("invariant: a configuration came in one request"),
        };
        match self.shared.journal.append(AppendClass::Control) {
            Ok(mut appender) => {
                appender.record(&header, &[&body]);
                appender.finish(Urgency::Lazy);
            }
            // The list of streams has it, and the next start tries again.
            Err(problem) => tracing::warn!(stream = stream.name(), %problem, "a stream's definition is not written"),
        }
    }

    /// Puts right what a start found damaged.
    pub(super) fn repair(self: &Arc<Self>, repairs: Repairs) {
        {
            let mut meta = self.meta();
            for definition in repairs.listed_again {
                meta.list_again(definition);
            }
            for group in repairs.deleted_again {
                meta.delete_again(group);
            }
        }
        let replicas = |groups: Vec<GroupId>| groups.into_iter().filter_map(|group| self.replica(group));
        replicas(repairs.undefined).for_each(|stream| self.define(&stream, &stream.lock()));
        // After the entries above: a list that is whole again must not become durable before them.
        for group in repairs.incomplete {
            self.checkpoint(group);
        }
    }
}
