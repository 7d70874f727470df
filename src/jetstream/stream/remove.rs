//! Taking messages out: one by one, with everything that refers to them, or in bulk. Also the limits, whose enforcement
//! is nothing but removal.

use headwater_storage::{SequenceSet, SubjectIndex};

use super::content::{Content, SEQUENCE_MAX, message_bytes, mix};
use super::effects::Effects;
use super::links::SubjectLinks;
use super::machine::StreamMachine;
use super::source::{MessageSource, MessageView};

/// So many messages are removed one by one; for more it is checked whether counting anew what remains is cheaper.
const ONE_BY_ONE_MAX: u64 = 1024;
/// So many messages of a subject are looked for one by one; more are listed first and read in order.
const LOOKED_FOR_MAX: u64 = 16;

impl StreamMachine {
    /// Removes a message, unless it is gone already: the index may name one that could not be read when it went.
    pub(super) fn remove<S: MessageSource>(&mut self, sequence: u64, source: &S, effects: &mut Effects) {
        self.remove_from(None, sequence, source, effects);
    }

    /// The same for a message of which it is known what subject it is on, if anything is.
    fn remove_from<S: MessageSource>(
        &mut self,
        known_subject: Option<&[u8]>,
        sequence: u64,
        source: &S,
        effects: &mut Effects,
    ) {
        if !self.content.is_stored(sequence) {
            return;
        }
        let mut subject = std::mem::take(&mut self.subject_read);
        let lengths = source.inspect(sequence, |message| {
            subject.clear();
            subject.extend_from_slice(message.subject);
            (message.headers.len(), message.payload.len())
        });
        match lengths {
            Ok((headers, payload)) => {
                let bytes = message_bytes(self.rules.storage, subject.len(), headers, payload);
                // What was not counted, because it could not be read then, is not counted out.
                let bytes = if self.lost.contains(sequence) { 0 } else { bytes };
                self.forget_subject_of(sequence, &subject, source);
                self.expiry.forget(sequence);
                self.content.remove(sequence, bytes);
                effects.remove(sequence, &subject);
                self.after_removal();
            }
            Err(_) => {
                let found = known_subject.is_none().then(|| source.subject_of_unreadable(sequence)).flatten();
                self.remove_unreadable(known_subject.or(found.as_deref()), sequence, source, effects);
            }
        }
        self.subject_read = subject;
    }

    /// A message that can not be read can still go. How much it counted for is not known any more.
    fn remove_unreadable<S: MessageSource>(
        &mut self,
        subject: Option<&[u8]>,
        sequence: u64,
        source: &S,
        effects: &mut Effects,
    ) {
        self.content.bytes_uncertain |= !self.lost.contains(sequence);
        if let Some(subject) = subject {
            self.forget_subject_of(sequence, subject, source);
        }
        effects.damaged.push(sequence);
        effects.remove(sequence, subject.unwrap_or_default());
        self.lost.insert(sequence);
        self.expiry.forget(sequence);
        self.content.remove(sequence, 0);
        self.after_removal();
    }

    /// Counts a message out of its subject, if it was counted in: see [`count_anew_from`](Self::count_anew_from).
    fn forget_subject_of<S: MessageSource>(&mut self, sequence: u64, subject: &[u8], source: &S) {
        if !self.lost.contains(sequence) {
            // Which one follows is worth a look-up only where somebody is going to ask for it again and again.
            let keeps_some = self.rules.per_subject_max.is_some_and(|max| max > 1);
            let next = Next { content: &self.content, lost: &self.lost, links: &self.links, source };
            self.subjects.remove(subject, sequence, |_| if keeps_some { next.after(sequence, subject) } else { None });
        }
    }

    /// The entry of the next message is damaged: its sequence was given, and is not given again.
    /// For a start only, and only where no other replica can be asked.
    pub fn lose_next(&mut self) {
        let lost = self.content.last + 1;
        self.content.skip(lost, self.content.last_time);
        self.lost.insert(lost);
        self.next_sequence = self.next_sequence.max(lost + 1);
    }

    /// Of so many entries nothing is known: had they been messages, they would have had these sequences.
    pub fn pass_over(&mut self, entries: u64) {
        let end = self.content.last.saturating_add(entries).min(SEQUENCE_MAX);
        for sequence in self.content.last + 1..=end {
            self.content.skip(sequence, self.content.last_time);
        }
        self.next_sequence = self.next_sequence.max(end + 1);
    }

    /// An entry that can not be read left out sequences. Only a purge beyond the end does that, and it empties the stream.
    pub fn jump_to(&mut self, sequence: u64) {
        self.remove_all(sequence, &mut Effects::default());
    }

    fn after_removal(&mut self) {
        if self.content.messages == 0 {
            // Nothing may remain of messages that could not be read.
            self.content.bytes = 0;
            self.content.bytes_uncertain = false;
            self.subjects.clear();
        }
        self.links.forget_below(self.content.first);
        self.lost.remove_below(self.content.first);
    }

    /// Removes everything. The next message gets at least the sequence `next`.
    pub(super) fn remove_all(&mut self, next: u64, effects: &mut Effects) -> u64 {
        let removed = self.content.messages;
        self.content.clear_to(next);
        self.next_sequence = self.next_sequence.max(self.content.last + 1);
        self.subjects.clear();
        self.expiry.clear();
        self.links = SubjectLinks::new(self.rules.per_subject_max, self.content.first);
        self.lost = SequenceSet::new();
        effects.removed_before = Some(self.content.first);
        removed
    }

    /// Removes every message below `bound`, which is at most one past the last.
    pub(super) fn remove_before<S: MessageSource>(&mut self, bound: u64, source: &S, effects: &mut Effects) -> u64 {
        let remaining = self.content.count_from(bound);
        let removed = self.content.messages - remaining;
        if remaining == 0 {
            return self.remove_all(self.content.last + 1, effects);
        }
        if removed > ONE_BY_ONE_MAX && removed > remaining {
            source.in_order(|| self.count_anew_from(bound, source, effects));
        } else {
            source.in_order(|| {
                while self.content.first < bound {
                    self.remove(self.content.first, source, effects);
                }
            });
        }
        removed
    }

    /// Drops everything below `bound` by looking at what is kept instead of at what goes. What can not be read is kept and
    /// not counted, and is among the lost ones from then on.
    fn count_anew_from<S: MessageSource>(&mut self, bound: u64, source: &S, effects: &mut Effects) {
        let first = self.content.next_stored(bound).expect("invariant: something remains");
        let mut kept =
            Content { first, messages: 0, bytes: 0, bytes_uncertain: false, hash: 0, ..self.content.clone() };
        kept.deleted.remove_below(first);
        let mut subjects = SubjectIndex::new();
        let mut next = Some(first);
        while let Some(sequence) = next {
            kept.messages += 1;
            kept.hash = kept.hash.wrapping_add(mix(sequence));
            next = kept.next_stored(sequence + 1);
            if self.lost.contains(sequence) {
                // When it goes it is not counted out, so it must not be counted in, whatever the disk gives now.
                continue;
            }
            let counted = source.inspect(sequence, |message| {
                let (headers, payload) = (message.headers.len(), message.payload.len());
                kept.bytes += message_bytes(self.rules.storage, message.subject.len(), headers, payload);
                subjects.insert(message.subject, sequence);
            });
            if counted.is_err() {
                effects.damaged.push(sequence);
                self.lost.insert(sequence);
            }
        }
        self.content = kept;
        self.subjects = subjects;
        self.expiry.forget_below(first);
        self.links.forget_below(first);
        self.lost.remove_below(first);
        effects.removed_before = Some(first);
    }

    /// Removes the oldest messages of a subject until `keep` are left or the next one is not below `bound`.
    pub(super) fn trim_subject<S: MessageSource>(
        &mut self,
        subject: &[u8],
        keep: u64,
        bound: u64,
        source: &S,
        effects: &mut Effects,
    ) {
        let excess = self.subjects.get(subject).map_or(0, |state| state.messages.saturating_sub(keep));
        if excess > LOOKED_FOR_MAX {
            let below = self.run_of(subject, source).take_while(|sequence| *sequence < bound);
            let oldest: Vec<u64> = below.take(excess as usize).collect();
            source.in_order(|| {
                oldest.into_iter().for_each(|sequence| self.remove_from(Some(subject), sequence, source, effects));
            });
        }
        // Few, or what the tables do not know.
        let has_more = |machine: &Self| machine.subjects.get(subject).is_some_and(|state| state.messages > keep);
        while has_more(self) {
            match self.oldest_of_subject(subject, source) {
                // Looking for it may have shown that there are fewer than it seemed.
                Some(oldest) if oldest < bound && has_more(self) => {
                    self.remove_from(Some(subject), oldest, source, effects);
                }
                _ => return,
            }
        }
    }

    /// Brings the stream below its limits.
    pub(super) fn enforce_limits<S: MessageSource>(&mut self, source: &S, effects: &mut Effects) {
        if !self.rules.discard_old {
            return;
        }
        let is_over = |machine: &Self| {
            machine.rules.messages_max.is_some_and(|max| machine.content.messages > max)
                || machine
                    .rules
                    .bytes_max
                    .is_some_and(|max| machine.content.bytes > max && machine.content.messages > 0)
        };
        // Nearly always it is one for each that comes.
        if is_over(self) {
            self.remove_first_over(source, effects);
        }
        if is_over(self) {
            source.in_order(|| {
                while is_over(self) {
                    self.remove_first_over(source, effects);
                }
            });
        }
    }

    /// Takes the first message away, or what is counted without being there, because the stream is above a limit.
    fn remove_first_over<S: MessageSource>(&mut self, source: &S, effects: &mut Effects) {
        let too_many = self.rules.messages_max.is_some_and(|max| self.content.messages > max);
        if !too_many && self.content.bytes_uncertain {
            // Nothing has to make room for what is long gone.
            self.count_anew_from(self.content.first, source, effects);
        } else {
            self.remove(self.content.first, source, effects);
        }
    }

    /// Brings every subject below the limit per subject, after that was lowered.
    pub(super) fn enforce_subject_limits<S: MessageSource>(&mut self, source: &S, effects: &mut Effects) {
        let Some(max) = self.rules.per_subject_max else {
            return;
        };
        let mut over = Vec::new();
        self.subjects.for_each(|subject, state| {
            if let Some(excess) = state.messages.checked_sub(max).filter(|excess| *excess > 0) {
                over.push((subject.to_vec(), excess));
            }
            std::ops::ControlFlow::Continue(())
        });
        // In the order of the stream they are read quickest.
        let mut oldest: Vec<u64> =
            over.iter().flat_map(|(subject, excess)| self.run_of(subject, source).take(*excess as usize)).collect();
        oldest.sort_unstable();
        source.in_order(|| oldest.into_iter().for_each(|sequence| self.remove(sequence, source, effects)));
        for (subject, _) in over {
            // What the tables do not know.
            self.trim_subject(&subject, max, u64::MAX, source, effects);
        }
    }

    /// The stored messages of a subject, as far as that is known without reading them.
    pub(super) fn messages_of<S: MessageSource>(&self, subject: &[u8], source: &S) -> Vec<u64> {
        self.run_of(subject, source).collect()
    }

    pub(super) fn run_of<'a, S: MessageSource>(
        &'a self,
        subject: &'a [u8],
        source: &'a S,
    ) -> impl Iterator<Item = u64> + 'a {
        let first = self.subjects.get(subject).map_or(u64::MAX, |state| state.first);
        self.run_from(first, subject, source)
    }

    /// Those of them at or above a sequence.
    pub(super) fn run_from<'a, S: MessageSource>(
        &'a self,
        from: u64,
        subject: &'a [u8],
        source: &'a S,
    ) -> impl Iterator<Item = u64> + 'a {
        let next = Next { content: &self.content, lost: &self.lost, links: &self.links, source };
        std::iter::successors(next.from(from, subject), move |sequence| next.from(sequence + 1, subject))
    }

    /// The oldest stored message of a subject.
    pub(super) fn oldest_of_subject<S: MessageSource>(&mut self, subject: &[u8], source: &S) -> Option<u64> {
        loop {
            let oldest = self.first_of_subject(subject, source)?;
            if self.content.is_stored(oldest) {
                return Some(oldest);
            }
            // It could not be read when it went, and nobody knew its subject then.
            let next = Next { content: &self.content, lost: &self.lost, links: &self.links, source };
            self.subjects.remove(subject, oldest, |_| next.after(oldest, subject))?;
        }
    }

    /// What the index has as the oldest message of a subject.
    fn first_of_subject<S: MessageSource>(&mut self, subject: &[u8], source: &S) -> Option<u64> {
        let next = Next { content: &self.content, lost: &self.lost, links: &self.links, source };
        self.subjects.settle_first(subject, |from| next.from(from, subject))
    }

    /// What a stored message counts for.
    pub(super) fn bytes_of<S: MessageSource>(&self, sequence: u64, source: &S) -> Option<u64> {
        let message = source.read(sequence).ok()?;
        let (headers, payload) = (message.headers().len(), message.payload().len());
        Some(message_bytes(self.rules.storage, message.subject().len(), headers, payload))
    }
}

/// The stored sequences from `from` on.
pub(super) fn stored_from(content: &Content, from: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(content.next_stored(from), |sequence| content.next_stored(sequence + 1))
}

/// Finds the next message of a subject.
struct Next<'a, S> {
    content: &'a Content,
    lost: &'a SequenceSet,
    links: &'a SubjectLinks,
    source: &'a S,
}

impl<S: MessageSource> Next<'_, S> {
    /// The next one that is stored after a message of the subject.
    fn after(&self, sequence: u64, subject: &[u8]) -> Option<u64> {
        let mut linked = self.links.next(sequence);
        while let Some(next) = linked.filter(|next| !self.is_counted(*next)) {
            linked = self.links.next(next);
        }
        linked.or_else(|| self.from(sequence + 1, subject))
    }

    /// The first one that is stored at or above a sequence.
    fn from(&self, from: u64, subject: &[u8]) -> Option<u64> {
        let mut from = self.content.next_stored(from)?;
        loop {
            let Ok(found) = self.source.next_of_subject(subject, from) else {
                // The tables that would know it can not be read.
                return stored_from(self.content, from).find(|sequence| self.reads_as(*sequence, subject));
            };
            let found = found?;
            if self.is_counted(found) {
                return Some(found);
            }
            from = self.content.next_stored(found + 1)?;
        }
    }

    /// The index counts it in: messages that were lost it does not.
    fn is_counted(&self, sequence: u64) -> bool {
        self.content.is_stored(sequence) && !self.lost.contains(sequence)
    }

    fn reads_as(&self, sequence: u64, subject: &[u8]) -> bool {
        self.source.inspect(sequence, |message| message.subject == subject).unwrap_or(false)
    }
}
