//! The meta group's machine: which streams exist, and the group that holds each one.
//!
//! It is the only truth about existence. A stream's group is created after its entry here is durable and removed only
//! after the entry that names its group id is: nothing is ever deleted because it is absent somewhere
//! (reliability.md, "orphan cleanup"). The stream's current configuration is its own group's state; what is kept here
//! is the one it was created with, from which an empty group starts.

use std::collections::{BTreeMap, BTreeSet};

use headwater_storage::GroupId;
use prost::Message;

/// The group of the meta machine itself.
pub const META_GROUP: GroupId = GroupId(1);
const FIRST_STREAM_GROUP: u64 = 2;

/// An entry of the meta group.
#[derive(Clone, PartialEq, Message)]
pub struct MetaEntry {
    #[prost(oneof = "MetaChange", tags = "1, 2, 3")]
    pub change: Option<MetaChange>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum MetaChange {
    #[prost(message, tag = "1")]
    Created(StreamDefinition),
    /// The stream of this group id is gone; its group is to be removed.
    #[prost(uint64, tag = "2")]
    Deleted(u64),
    /// The group's records have been given up, so the deletion need not be remembered.
    #[prost(uint64, tag = "3")]
    Removed(u64),
}

/// A stream as it was created.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StreamDefinition {
    /// Never used twice, so it is also the stream's identity.
    #[prost(uint64, tag = "1")]
    pub group: u64,
    #[prost(string, tag = "2")]
    pub account: String,
    #[prost(string, tag = "3")]
    pub name: String,
    /// The configuration with its defaults filled in, as JSON.
    #[prost(bytes = "bytes", tag = "4")]
    pub config: bytes::Bytes,
    /// Log time, nanoseconds since the epoch.
    #[prost(int64, tag = "5")]
    pub created: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Checkpoint {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<StreamDefinition>,
    #[prost(uint64, repeated, tag = "2")]
    deleted: Vec<u64>,
    #[prost(uint64, tag = "3")]
    next_group: u64,
}

/// What an applied entry asks of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetaEffect {
    Start(StreamDefinition),
    Remove(GroupId),
    None,
}

/// The state: deterministic in the entries applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaMachine {
    streams: BTreeMap<u64, StreamDefinition>,
    names: BTreeMap<(String, String), u64>,
    deleted: BTreeSet<u64>,
    next_group: u64,
}

impl MetaMachine {
    pub fn new() -> Self {
        Self { next_group: FIRST_STREAM_GROUP, ..Self::default() }
    }

    /// The lowest group id never used by an applied entry.
    pub fn next_group(&self) -> u64 {
        self.next_group
    }

    pub fn streams(&self) -> impl ExactSizeIterator<Item = &StreamDefinition> {
        self.streams.values()
    }

    /// The stream that a group holds.
    pub fn get(&self, group: GroupId) -> Option<&StreamDefinition> {
        self.streams.get(&group.0)
    }

    pub fn find(&self, account: &str, name: &str) -> Option<&StreamDefinition> {
        let group = self.names.get(&(account.to_owned(), name.to_owned()))?;
        self.streams.get(group)
    }

    /// Groups whose deletion is decided and whose records may still be there.
    pub fn deleted(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.deleted.iter().map(|group| GroupId(*group))
    }

    pub fn is_deleted(&self, group: GroupId) -> bool {
        self.deleted.contains(&group.0)
    }

    pub fn apply(&mut self, entry: MetaEntry) -> MetaEffect {
        match entry.change {
            Some(MetaChange::Created(definition)) => self.create(definition),
            Some(MetaChange::Deleted(group)) => self.delete(group),
            Some(MetaChange::Removed(group)) => {
                self.deleted.remove(&group);
                MetaEffect::None
            }
            None => MetaEffect::None,
        }
    }

    fn create(&mut self, definition: StreamDefinition) -> MetaEffect {
        self.next_group = self.next_group.max(definition.group.saturating_add(1));
        let key = (definition.account.clone(), definition.name.clone());
        if self.names.contains_key(&key) || self.streams.contains_key(&definition.group) {
            return MetaEffect::None;
        }
        self.names.insert(key, definition.group);
        self.streams.insert(definition.group, definition.clone());
        MetaEffect::Start(definition)
    }

    fn delete(&mut self, group: u64) -> MetaEffect {
        let Some(definition) = self.streams.remove(&group) else { return MetaEffect::None };
        self.names.remove(&(definition.account, definition.name));
        self.deleted.insert(group);
        MetaEffect::Remove(GroupId(group))
    }

    pub fn checkpoint(&self) -> Vec<u8> {
        let streams = self.streams.values().cloned().collect();
        let deleted = self.deleted.iter().copied().collect();
        Checkpoint { streams, deleted, next_group: self.next_group }.encode_to_vec()
    }

    /// # Errors
    /// When the bytes are not a checkpoint of this machine.
    pub fn restore(bytes: &[u8]) -> Result<Self, prost::DecodeError> {
        let checkpoint = Checkpoint::decode(bytes)?;
        let mut machine = Self::new();
        for definition in checkpoint.streams {
            machine.create(definition);
        }
        machine.deleted = checkpoint.deleted.into_iter().collect();
        machine.next_group = machine.next_group.max(checkpoint.next_group);
        Ok(machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(group: u64, name: &str) -> MetaEntry {
        let definition = StreamDefinition { group, account: "$G".into(), name: name.into(), ..Default::default() };
        MetaEntry { change: Some(MetaChange::Created(definition)) }
    }

    #[test]
    fn a_name_exists_from_its_creation_to_its_deletion() {
        let mut machine = MetaMachine::new();
        assert!(matches!(machine.apply(created(2, "A")), MetaEffect::Start(_)));
        assert_eq!(machine.apply(created(3, "A")), MetaEffect::None);
        assert_eq!(machine.find("$G", "A").map(|definition| definition.group), Some(2));
        assert_eq!(machine.apply(MetaEntry { change: Some(MetaChange::Deleted(2)) }), MetaEffect::Remove(GroupId(2)));
        assert_eq!(machine.find("$G", "A"), None);
        assert_eq!(machine.deleted().collect::<Vec<_>>(), [GroupId(2)]);
        assert_eq!(machine.next_group(), 4, "an id is never used again");
    }

    #[test]
    fn a_checkpoint_restores_the_same_machine() {
        let mut machine = MetaMachine::new();
        machine.apply(created(2, "A"));
        machine.apply(created(3, "B"));
        machine.apply(MetaEntry { change: Some(MetaChange::Deleted(2)) });
        assert_eq!(MetaMachine::restore(&machine.checkpoint()), Ok(machine));
    }
}
