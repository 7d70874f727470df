//! The state of one stream. What every replica holds alike comes first; what only a leader has, last.

use std::sync::Arc;

use headwater_storage::{DedupeWindow, SequenceSet, SubjectIndex};

use super::super::api::StreamConfig;
use super::content::{Content, mix};
use super::expire::Expiry;
use super::in_flight::InFlight;
use super::links::SubjectLinks;
use super::rules::Rules;

/// Message ids that are remembered at most, whatever the window: some 50 bytes each.
const DEDUPE_IDS_MAX: usize = 8 * 1024 * 1024;

/// A stream. See the module for what calls what.
pub struct StreamMachine {
    pub(super) config: Arc<StreamConfig>,
    pub(super) rules: Rules,
    /// Entries of the log are lost: see [`suspend_limits`](Self::suspend_limits).
    pub(super) limits_suspended: bool,
    pub(super) content: Content,
    pub(super) subjects: SubjectIndex,
    pub(super) dedupe: DedupeWindow,
    /// The id of the last message; empty when it had none.
    pub(super) last_message_id: Vec<u8>,
    pub(super) expiry: Expiry,
    /// Messages that damage has taken: gone, and not by anybody's wish.
    pub(super) lost: SequenceSet,
    /// The subject of a message that goes, kept to spare an allocation.
    pub(super) subject_read: Vec<u8>,
    /// Log time: that of the last entry applied.
    pub(super) clock: i64,

    /// The next message of the same subject, where it is known; never needed for what is decided, only for its speed.
    pub(super) links: SubjectLinks,

    pub(super) in_flight: InFlight,
    /// The sequence of the next message to be accepted.
    pub(super) next_sequence: u64,
    /// The time of the last entry proposed.
    pub(super) proposed_time: i64,
}

/// A message as it stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct MessageEntry<'a> {
    pub sequence: u64,
    pub time: i64,
    pub subject: &'a [u8],
    pub headers: &'a [u8],
    pub payload_len: usize,
}

impl StreamMachine {
    /// An empty stream. `identity` is the same on every replica and different from stream to stream.
    pub fn new(config: Arc<StreamConfig>, identity: [u8; 16]) -> Self {
        let window = u64::try_from(config.duplicate_window).unwrap_or(0);
        let dedupe = DedupeWindow::new(identity, window, DEDUPE_IDS_MAX);
        let content = Content::new(config.first_seq);
        let next_sequence = content.last + 1;
        let rules = Rules::of(&config);
        Self {
            config,
            rules,
            limits_suspended: false,
            content,
            subjects: SubjectIndex::new(),
            dedupe,
            last_message_id: Vec::new(),
            expiry: Expiry::new(),
            lost: SequenceSet::new(),
            subject_read: Vec::new(),
            clock: 0,
            links: SubjectLinks::new(rules.per_subject_max, next_sequence),
            in_flight: InFlight::new(),
            next_sequence,
            proposed_time: 0,
        }
    }

    pub fn config(&self) -> &Arc<StreamConfig> {
        &self.config
    }

    /// Messages that were accepted and not yet applied.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The log did not take what was accepted from this sequence on. What came before is still on its way, so its
    /// sequences stay taken.
    pub fn take_back(&mut self, sequence: u64) {
        self.in_flight.take_back(sequence);
        self.next_sequence = self.next_sequence.min(sequence);
    }

    /// Forgets what was accepted and not applied: this replica leads no more.
    /// A new leader calls it when everything before its term is applied, and before its first decision.
    pub fn reset_in_flight(&mut self) {
        self.in_flight.clear();
        self.next_sequence = self.content.last + 1;
        self.proposed_time = self.clock;
    }

    /// The log time of the next entry: never before an earlier one.
    pub(super) fn stamp(&mut self, now: i64) -> i64 {
        self.proposed_time = now.max(self.proposed_time).max(self.clock);
        self.proposed_time
    }

    /// The log time of the next message: after every earlier entry, so that time tells the order.
    pub(super) fn message_time(&self, now: i64) -> i64 {
        now.max(self.proposed_time.max(self.clock).saturating_add(1))
    }

    pub(super) fn set_config(&mut self, config: Arc<StreamConfig>) {
        self.rules = Rules::of(&config);
        if self.limits_suspended {
            self.rules.suspend_limits();
        }
        self.config = config;
    }

    /// A digest of all that replicas must agree on. Two that applied the same entries give the same; different content
    /// gives, with overwhelming odds, different ones.
    pub fn state_hash(&self) -> u64 {
        let mut hash = mix(self.content.hash);
        self.subjects.hash_into(&mut hash);
        let numbers = [
            self.content.first,
            self.content.last,
            self.content.last_time as u64,
            self.content.messages,
            self.content.bytes,
            self.content.deleted.len(),
            self.lost.len(),
            self.expiry.hash(),
            self.clock as u64,
        ];
        for number in numbers {
            hash = mix(hash ^ number);
        }
        for part in [&self.last_message_id[..], &super::super::api::json::write(&*self.config)[..]] {
            hash = mix(hash ^ hash_bytes(part));
        }
        hash
    }
}

/// FNV-1a, 64 bits. Part of the state hash: never to be changed.
fn hash_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
