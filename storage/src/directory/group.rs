//! HOT PATH: no lock, no log above trace.
//!
//! One group's records: where its entries and messages lie, and its latest state, definition and checkpoint.
//!
//! ```text
//! sealed spans (numbers; tables in footers)  |  live spans (tables in memory)  -> segment number
//! ```

use std::sync::Arc;

use super::live::LiveSpan;
use super::sealed::SealedSpan;
use crate::format::footer::FooterControl;
use crate::format::record::{RecordHeader, RecordKind};
use crate::location::Location;
use crate::segment::Segment;
use crate::sequence_set::SequenceSet;

/// A control record and its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ControlRef {
    pub(crate) segment: u32,
    pub(crate) control: FooterControl,
}

impl ControlRef {
    pub(crate) fn location(&self) -> Location {
        Location { segment: self.segment, offset: self.control.offset }
    }
}

/// A checkpoint, complete when every part is there.
#[derive(Clone, Debug)]
pub(crate) struct CheckpointRef {
    pub(crate) number: u64,
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) parts: Vec<Option<ControlRef>>,
    /// What the group had written since the checkpoint before when the first part became durable. What it wrote behind that
    /// part is not covered.
    bytes_before: u64,
}

impl CheckpointRef {
    pub(crate) fn is_complete(&self) -> bool {
        self.parts.iter().all(Option::is_some)
    }
}

/// Where to look for a message.
pub(crate) enum Place {
    /// Here.
    Live(Arc<Segment>, u32),
    /// The span's tables know.
    Sealed(Arc<SealedSpan>),
}

/// What there is of a group's checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoints {
    /// The number of the latest one, 0 without one.
    pub(crate) latest: u64,
    /// A later one is appended and not durable yet.
    pub(crate) is_under_way: bool,
    /// The latest one has more than one part.
    pub(crate) is_large: bool,
}

/// More parts than any checkpoint has: a bound against damaged numbers.
const PARTS_MAX: u32 = 1 << 20;

#[derive(Default)]
pub(crate) struct GroupDirectory {
    /// By segment number; the last one may be growing.
    pub(crate) live: Vec<LiveSpan>,
    /// By segment number.
    pub(crate) sealed: Vec<Arc<SealedSpan>>,
    /// Positions in `sealed` of spans with messages, by first sequence.
    order: Vec<u32>,
    /// The highest last sequence of `order[..=i]`.
    reach: Vec<u64>,
    /// Counts the changes of `sealed`.
    pub(crate) arrangement: u64,
    pub(crate) last_index: u64,
    pub(crate) last_term: u64,
    pub(crate) last_sequence: u64,
    /// Messages below are released.
    pub(crate) first_live: u64,
    pub(crate) state: Option<ControlRef>,
    pub(crate) definition: Option<ControlRef>,
    /// By number; the last complete one counts. The complete one before it is kept, in case that one is found damaged.
    pub(crate) checkpoints: Vec<CheckpointRef>,
    pub(crate) bytes_since_checkpoint: u64,
    /// Number of the last checkpoint that was appended since the start, 0 when none was.
    pub(crate) checkpoint_begun: u64,
    /// Number of the last one that will never be complete, though it was begun; 0 for none.
    checkpoint_dropped: u64,
    /// One with a higher number than this is wanted.
    checkpoint_wanted: Option<u64>,
    /// Entries were replaced at some time: an entry may be found at more than one place.
    pub(crate) was_truncated: bool,
    /// The batch that this group was last seen in, and its place there.
    pub(crate) stamp: (u64, usize),
}

impl GroupDirectory {
    /// Enters one record.
    pub(crate) fn push(&mut self, segment: &Arc<Segment>, header: &RecordHeader, subject: &[u8], offset: u32) {
        if header.kind.is_log_entry() {
            if header.index <= self.last_index {
                self.truncate(header.index);
            }
            self.last_index = header.index;
            self.last_term = header.term;
        }
        if header.kind.is_message() {
            self.last_sequence = self.last_sequence.max(header.sequence);
        }
        self.bytes_since_checkpoint += header.record_bytes() as u64;
        self.span(segment).push(header, subject, offset);
    }

    /// Enters a record that a scan found. In a compacted segment messages have lost their place in the log.
    pub(crate) fn push_scanned(&mut self, segment: &Arc<Segment>, header: &RecordHeader, subject: &[u8], offset: u32) {
        if segment.header.is_compacted() {
            if header.kind.is_message() {
                let header = RecordHeader { kind: RecordKind::Copied, ..*header };
                self.push(segment, &header, subject, offset);
            }
        } else if header.kind.is_numbered() {
            self.push(segment, header, subject, offset);
        }
    }

    /// What counts of a record with a wrong checksum: nothing unless it bears the very next numbers, since any of them may be
    /// what is wrong; and never its term, which what follows would be measured by.
    pub(crate) fn believed(&self, header: &RecordHeader) -> Option<RecordHeader> {
        let next_index = header.index == self.last_index + 1;
        let next_sequence = header.sequence == self.last_sequence + 1;
        let fits = match header.kind {
            RecordKind::Entry => next_index,
            RecordKind::Message => next_index && next_sequence,
            RecordKind::Copied => next_sequence,
            _ => false,
        };
        fits.then_some(RecordHeader { term: self.last_term, ..*header })
    }

    fn span(&mut self, segment: &Arc<Segment>) -> &mut LiveSpan {
        if self.live.last().is_none_or(|span| span.segment.number != segment.number) {
            // Few groups have more than one, and there may be very many groups.
            self.live.reserve_exact(1);
            self.live.push(LiveSpan::new(segment.clone()));
        }
        self.live.last_mut().expect("a span was just pushed")
    }

    /// Forgets the entries from `index` on: Raft replaces them.
    pub(crate) fn truncate(&mut self, index: u64) {
        for span in self.live.iter_mut().rev() {
            if span.entries.last().is_some_and(|last| last < index) {
                break;
            }
            span.truncate(index);
        }
        for span in self.sealed.iter().rev().filter(|span| span.has_entries()) {
            if span.numbers.last_index < index {
                break;
            }
            span.limit_index(index);
        }
        self.last_index = self.last_index.min(index.saturating_sub(1));
        self.was_truncated = true;
    }

    /// A snapshot that ends at `index`, of `term`, took the place of the log: what follows in it is void.
    pub(crate) fn void_after(&mut self, index: u64, term: u64) {
        self.truncate(index + 1);
        self.last_term = term;
    }

    /// True when no record of the group is left.
    pub(crate) fn is_empty(&self) -> bool {
        let in_live = self.live.iter().any(|span| span.entries.len() + span.message_count() > 0);
        let has_controls = self.state.is_some() || self.definition.is_some() || !self.checkpoints.is_empty();
        !in_live && self.sealed.is_empty() && !has_controls
    }

    /// Adds a sealed span, keeping the order.
    pub(crate) fn add_sealed(&mut self, span: Arc<SealedSpan>) {
        let at = self.sealed.partition_point(|other| other.segment.number < span.segment.number);
        self.sealed.insert(at, span);
        self.reorder();
    }

    /// The sealed span of a segment.
    pub(crate) fn sealed_in(&self, segment: u32) -> Option<&Arc<SealedSpan>> {
        let at = self.sealed.binary_search_by_key(&segment, |span| span.segment.number).ok()?;
        Some(&self.sealed[at])
    }

    /// Replaces the live span of a segment, which now has a footer.
    pub(crate) fn seal(&mut self, segment: u32, span: Option<Arc<SealedSpan>>) {
        self.live.retain(|live| live.segment.number != segment);
        if let Some(span) = span {
            self.add_sealed(span);
        }
    }

    /// Forgets everything in a segment.
    pub(crate) fn forget_segment(&mut self, segment: u32) {
        self.live.retain(|span| span.segment.number != segment);
        self.sealed.retain(|span| span.segment.number != segment);
        self.reorder();
    }

    fn reorder(&mut self) {
        self.arrangement += 1;
        let sealed = &self.sealed;
        self.order.clear();
        self.order.extend((0..sealed.len() as u32).filter(|at| sealed[*at as usize].has_messages()));
        self.order.sort_by_key(|at| sealed[*at as usize].numbers.first_sequence);
        self.reach.clear();
        let mut reach = 0;
        for at in &self.order {
            reach = reach.max(sealed[*at as usize].numbers.last_sequence);
            self.reach.push(reach);
        }
    }

    /// Sealed spans whose range holds `sequence`, newest first.
    pub(crate) fn sealed_covering(&self, sequence: u64) -> Vec<&Arc<SealedSpan>> {
        let mut found = Vec::new();
        let first = |at: &u32| self.sealed[*at as usize].numbers.first_sequence;
        let mut at = self.order.partition_point(|at| first(at) <= sequence);
        while at > 0 && self.reach[at - 1] >= sequence {
            at -= 1;
            let span = &self.sealed[self.order[at] as usize];
            if span.covers_sequence(sequence) {
                found.push(span);
            }
        }
        found.sort_by_key(|span| std::cmp::Reverse(span.segment.number));
        found
    }

    /// The lowest first sequence of a sealed span above `sequence`.
    pub(crate) fn sealed_after(&self, sequence: u64) -> Option<u64> {
        let first = |at: &u32| self.sealed[*at as usize].numbers.first_sequence;
        let at = self.order.partition_point(|at| first(at) <= sequence);
        self.order.get(at).map(first)
    }

    /// Up to `count` sealed spans that reach up to `sequence` or further, by first sequence. `passed` is how many spans were
    /// passed by earlier calls, 0 for the first one.
    pub(crate) fn sealed_reaching(&self, sequence: u64, passed: &mut usize, count: usize) -> Vec<Arc<SealedSpan>> {
        let mut at = (*passed).max(self.reach.partition_point(|reach| *reach < sequence));
        let mut found = Vec::new();
        while at < self.order.len() && found.len() < count {
            let span = &self.sealed[self.order[at] as usize];
            if span.numbers.last_sequence >= sequence {
                found.push(span.clone());
            }
            at += 1;
        }
        *passed = at;
        found
    }

    /// True when a live span holds the message.
    pub(crate) fn live_holds(&self, sequence: u64) -> bool {
        self.live.iter().any(|span| span.locate(sequence).is_some())
    }

    /// The `nth` place to look for a message, best first.
    pub(crate) fn message_place(&self, sequence: u64, nth: usize) -> Option<Place> {
        let mut skip = nth;
        for span in self.live.iter().rev() {
            if let Some(offset) = span.locate(sequence) {
                if skip == 0 {
                    return Some(Place::Live(span.segment.clone(), offset));
                }
                skip -= 1;
            }
        }
        self.sealed_covering(sequence).get(skip).map(|span| Place::Sealed((*span).clone()))
    }

    /// Where to look for an entry.
    pub(crate) fn entry_place(&self, index: u64) -> Option<Place> {
        if index > self.last_index {
            return None;
        }
        for span in self.live.iter().rev() {
            if let Some(offset) = span.entries.get(index) {
                return Some(Place::Live(span.segment.clone(), offset));
            }
        }
        let holds = |span: &&Arc<SealedSpan>| {
            span.has_entries() && (span.numbers.first_index..=span.last_index()).contains(&index)
        };
        self.sealed.iter().rev().find(holds).map(|span| Place::Sealed(span.clone()))
    }

    /// The latest complete checkpoint.
    pub(crate) fn checkpoint(&self) -> Option<&CheckpointRef> {
        self.complete_checkpoints().next()
    }

    /// The last index that the latest checkpoint covers.
    pub(crate) fn checkpoint_index(&self) -> u64 {
        self.checkpoint().map_or(0, |checkpoint| checkpoint.index)
    }

    /// The last index that both the latest complete checkpoint and the one before it cover; 0 while there are not two. Entries
    /// above are needed even if one of the two is damaged.
    pub(crate) fn covered_index(&self) -> u64 {
        let mut complete = self.complete_checkpoints().map(|checkpoint| checkpoint.index);
        complete.next().zip(complete.next()).map_or(0, |(latest, before)| latest.min(before))
    }

    /// Newest first.
    fn complete_checkpoints(&self) -> impl Iterator<Item = &CheckpointRef> {
        self.checkpoints.iter().rev().filter(|checkpoint| checkpoint.is_complete())
    }

    /// What there is of its checkpoints.
    pub(crate) fn known_checkpoints(&self) -> Checkpoints {
        let latest = self.checkpoint().map_or(0, |checkpoint| checkpoint.number);
        let is_under_way = self.checkpoint_begun > latest.max(self.checkpoint_dropped);
        let is_large = self.checkpoint().is_some_and(|checkpoint| checkpoint.parts.len() > 1);
        Checkpoints { latest, is_under_way, is_large }
    }

    /// No more parts of a checkpoint come: those that are there are not kept.
    pub(crate) fn drop_checkpoint(&mut self, number: u64) {
        self.checkpoint_dropped = number;
        self.checkpoints.retain(|checkpoint| checkpoint.number != number);
    }

    /// The records of the latest complete checkpoint.
    fn checkpoint_parts(&self) -> impl Iterator<Item = &ControlRef> {
        self.checkpoint().into_iter().flat_map(|checkpoint| checkpoint.parts.iter().flatten())
    }

    /// Bytes of the latest complete checkpoint.
    pub(crate) fn checkpoint_bytes(&self) -> u64 {
        self.checkpoint_parts().map(|part| u64::from(part.control.length)).sum()
    }

    /// True when the group has gone on in a later segment than the one that says what it is, and nothing does there: with the
    /// first segment, the rest would belong to nobody.
    pub(crate) fn went_on_undefined(&self) -> bool {
        let last_live = self.live.last().map(|span| span.segment.number);
        let last = last_live.max(self.sealed.last().map(|span| span.segment.number));
        self.checkpoint().is_none() && self.definition.is_some_and(|definition| last > Some(definition.segment))
    }

    /// From now on a checkpoint is wanted, and none that was begun before will do. False when that is known.
    pub(crate) fn want_checkpoint(&mut self) -> bool {
        let after = Some(self.checkpoint_begun);
        std::mem::replace(&mut self.checkpoint_wanted, after) != after
    }

    pub(crate) fn is_checkpoint_wanted(&self) -> bool {
        self.checkpoint_wanted.is_some()
    }

    /// True when another call of `want_checkpoint` would change nothing.
    pub(crate) fn is_next_checkpoint_wanted(&self) -> bool {
        self.checkpoint_wanted == Some(self.checkpoint_begun)
    }

    /// Enters a durable part of a checkpoint. When that completes it, all go that are older than the one before.
    pub(crate) fn add_checkpoint_part(&mut self, part: ControlRef, keep_older: bool) {
        let FooterControl { number, index, term, part: at, parts, .. } = part.control;
        if parts == 0 || parts > PARTS_MAX || at >= parts || number == self.checkpoint_dropped {
            return;
        }
        let place = self.checkpoints.partition_point(|checkpoint| checkpoint.number < number);
        if self.checkpoints.get(place).is_none_or(|checkpoint| checkpoint.number != number) {
            let bytes_before = self.bytes_since_checkpoint;
            let empty = CheckpointRef { number, index, term, parts: vec![None; parts as usize], bytes_before };
            self.checkpoints.insert(place, empty);
        }
        let checkpoint = &mut self.checkpoints[place];
        let was_complete = checkpoint.is_complete();
        if let Some(slot) = checkpoint.parts.get_mut(at as usize) {
            *slot = Some(part);
        }
        if !checkpoint.is_complete() {
            return;
        }
        // One that was moved covers no more than before.
        if !was_complete && self.checkpoint().is_some_and(|latest| latest.number == number) {
            let bytes_before = self.checkpoints[place].bytes_before;
            self.bytes_since_checkpoint = self.bytes_since_checkpoint.saturating_sub(bytes_before);
            self.checkpoint_wanted = self.checkpoint_wanted.filter(|after| number <= *after);
        }
        if !keep_older {
            self.drop_older_checkpoints();
        }
    }

    /// Forgets what the two latest complete checkpoints supersede, and what never became complete before the latest.
    pub(crate) fn drop_older_checkpoints(&mut self) {
        let mut complete = self.complete_checkpoints().map(|checkpoint| checkpoint.number);
        let Some(latest) = complete.next() else { return };
        let before = complete.next();
        drop(complete);
        self.checkpoints.retain(|checkpoint| checkpoint.number >= latest || Some(checkpoint.number) == before);
        if let Some(checkpoint) = self.checkpoint() {
            // A snapshot from another node may be ahead of our log.
            let (index, term) = (checkpoint.index, checkpoint.term);
            self.advance_to(index, term);
        }
    }

    /// Forgets the checkpoint before the latest: on a full disk space counts for more than a second one.
    pub(crate) fn drop_reserve(&mut self) {
        let Some(latest) = self.checkpoint().map(|checkpoint| checkpoint.number) else { return };
        self.checkpoints.retain(|checkpoint| checkpoint.number >= latest);
    }

    /// Forgets checkpoints that can not be read. The indexes that they cover are used up.
    pub(crate) fn forget_checkpoints(&mut self, numbers: &[u64]) {
        let is_forgotten = |checkpoint: &mut CheckpointRef| numbers.contains(&checkpoint.number);
        let forgotten: Vec<CheckpointRef> = self.checkpoints.extract_if(.., is_forgotten).collect();
        forgotten.iter().for_each(|checkpoint| self.advance_to(checkpoint.index, checkpoint.term));
    }

    fn advance_to(&mut self, index: u64, term: u64) {
        if index > self.last_index {
            (self.last_index, self.last_term) = (index, term);
        }
    }

    /// True when its state or its latest checkpoint lies in one of these segments.
    pub(crate) fn has_controls_in(&self, segments: &std::ops::Range<u32>) -> bool {
        self.state.iter().chain(self.checkpoint_parts()).any(|control| segments.contains(&control.segment))
    }

    /// True when this control record is the latest of its kind, or part of a checkpoint that is kept or may become complete.
    pub(crate) fn needs_control(&self, control: &ControlRef) -> bool {
        let is_latest =
            [self.state, self.definition].iter().flatten().any(|latest| latest.location() == control.location());
        is_latest
            || self.checkpoints.iter().any(|checkpoint| {
                let slot = checkpoint.parts.get(control.control.part as usize);
                slot.is_some_and(|slot| slot.is_some_and(|part| part.location() == control.location()))
            })
    }

    /// True for a part of a checkpoint that is kept in case the latest is damaged.
    pub(crate) fn is_reserve(&self, control: &FooterControl) -> bool {
        let latest = self.checkpoint().map_or(0, |checkpoint| checkpoint.number);
        control.kind == RecordKind::Checkpoint && control.number < latest
    }

    /// True when entries of another segment were replaced, and this segment is the one that proves it: by the entry that
    /// took the place of the first of them, or by the one before, whose term a snapshot contradicts.
    pub(crate) fn proves_replacement(&self, span: &SealedSpan) -> bool {
        let indexes = span.numbers.first_index..=span.last_index();
        let others = self.sealed.iter().filter(|other| other.segment.number != span.segment.number);
        let proves = |other: &Arc<SealedSpan>| {
            let limit = other.index_limit();
            let replaces = other.segment.number < span.segment.number && indexes.contains(&limit);
            other.has_replaced() && (replaces || indexes.contains(&limit.saturating_sub(1)))
        };
        span.has_entries() && others.into_iter().any(proves)
    }

    /// The lowest index of the unbroken log that ends at the last index.
    pub(crate) fn first_index(&self) -> u64 {
        // A live span may lie between sealed ones: after a start that found its footer damaged.
        let live = self.live.iter().filter_map(|span| {
            let run = span.entries.runs().last()?;
            Some((span.segment.number, run.first, span.entries.last()?, span.entries.runs().len() == 1))
        });
        let counts = |span: &&Arc<SealedSpan>| span.has_entries() && span.numbers.first_index <= span.last_index();
        let sealed = self.sealed.iter().filter(counts).map(|span| {
            let (first, last) = (span.numbers.first_index, span.numbers.last_index);
            let is_whole = last - first + 1 == u64::from(span.numbers.entry_count);
            // Where its gaps are only its tables know.
            (span.segment.number, if is_whole { first } else { u64::MAX }, span.last_index(), is_whole)
        });
        let mut spans: Vec<(u32, u64, u64, bool)> = live.chain(sealed).collect();
        spans.sort_unstable_by_key(|(segment, ..)| std::cmp::Reverse(*segment));
        let mut first = self.last_index + 1;
        for (_, span_first, span_last, is_whole) in spans {
            if span_last != first - 1 || span_first >= first {
                break;
            }
            first = span_first;
            if !is_whole {
                break;
            }
        }
        first
    }

    /// Marks the messages from `from` to `to`, which is not below it, as dead.
    pub(crate) fn release(&mut self, from: u64, to: u64) {
        for span in &mut self.live {
            span.release(from, to);
        }
        for span in &self.sealed {
            span.release(from, to);
        }
    }

    /// Starts accounting anew from what the upper layer knows.
    pub(crate) fn set_live(&mut self, first_sequence: u64, removed: &SequenceSet) {
        self.first_live = first_sequence;
        for span in &mut self.live {
            span.released = SequenceSet::new();
        }
        for span in &self.sealed {
            span.set_released(SequenceSet::new());
        }
        if first_sequence > 0 {
            self.release(0, first_sequence - 1);
        }
        for run in removed.runs() {
            self.release(*run.start(), *run.end());
        }
    }
}
