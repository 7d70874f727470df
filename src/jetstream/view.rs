//! The applied content of a stream as its consumers see it.

use super::consumer::{Filter, MessageSize, Run, StreamView, Unread};
use super::store::Store;
use super::stream::{MessageRef, MessageSource, StreamMachine, Unreadable};

/// The machine and the messages, for the length of one call.
pub struct View<'a, S = Store> {
    pub machine: &'a StreamMachine,
    pub store: &'a S,
}

/// A source that knows what an unreadable message is for, where it can: a consumer with a filter is to find out that it can
/// not be read as one without does, when it delivers it.
struct Known<'a, S>(&'a S);

impl<S: MessageSource> MessageSource for Known<'_, S> {
    type Message = S::Message;

    fn read(&self, sequence: u64) -> Result<Self::Message, Unreadable> {
        self.0.read(sequence)
    }

    fn next_of_subject(&self, subject: &[u8], from: u64) -> Result<Option<u64>, Unreadable> {
        self.0.next_of_subject(subject, from)
    }

    fn previous_of_subject(&self, subject: &[u8], to: u64) -> Result<Option<u64>, Unreadable> {
        self.0.previous_of_subject(subject, to)
    }

    fn inspect<R>(&self, sequence: u64, look: impl FnOnce(MessageRef<'_>) -> R) -> Result<R, Unreadable> {
        let mut look = Some(look);
        let looked = self.0.inspect(sequence, |message| look.take().map(|look| look(message)));
        match looked {
            Ok(Some(seen)) => Ok(seen),
            Ok(None) => Err(Unreadable::Missing),
            Err(problem) => {
                let subject = self.0.subject_of_unreadable(sequence).ok_or(problem)?;
                let known = MessageRef { subject: &subject, headers: &[], payload: &[], time: 0 };
                look.take().map(|look| look(known)).ok_or(problem)
            }
        }
    }
}

impl<S: MessageSource> StreamView for View<'_, S> {
    fn first_sequence(&self) -> u64 {
        self.machine.first_sequence()
    }

    fn last_sequence(&self) -> u64 {
        self.machine.last_sequence()
    }

    fn next_matching(&self, from: u64, filter: &Filter) -> Option<u64> {
        // Without a filter nobody looks at the message before it is delivered.
        self.machine.next_matching(from, filter.as_slice(), &Known(self.store))
    }

    fn next_matching_run(&self, from: u64, filter: &Filter, count_max: u64) -> Option<Run> {
        if !filter.is_all() {
            return self.next_matching(from, filter).map(|first| Run { first, count: 1 });
        }
        let run = self.machine.next_run(from)?;
        Some(Run { first: *run.start(), count: (run.end() - run.start() + 1).min(count_max.max(1)) })
    }

    fn last_matching(&self, filter: &Filter) -> Option<u64> {
        self.machine.last_matching(filter.as_slice(), self.store)
    }

    fn count_matching(&self, from: u64, filter: &Filter) -> u64 {
        self.machine.count_matching(from, filter.as_slice(), self.store)
    }

    fn last_per_subject(&self, filter: &Filter) -> Vec<u64> {
        let last = self.machine.last_sequence();
        // Without a bound there cannot be too many.
        self.machine.last_per_subject(filter.as_slice(), last, usize::MAX, self.store).unwrap_or_default()
    }

    fn sequence_at_time(&self, time: i64) -> u64 {
        self.machine.sequence_at_time(time, self.store)
    }

    fn size_of(&self, sequence: u64) -> Result<MessageSize, Unread> {
        let size = |message: MessageRef<'_>| MessageSize {
            subject: message.subject.len() as u32,
            headers: message.headers.len() as u32,
            payload: message.payload.len() as u32,
        };
        self.store.inspect(sequence, size).map_err(|problem| match problem {
            Unreadable::Missing | Unreadable::Damaged => Unread::Damaged,
            Unreadable::Refused => Unread::Refused,
        })
    }

    fn time_of(&self, sequence: u64) -> Option<i64> {
        if !self.machine.is_stored(sequence) {
            return None;
        }
        self.store.inspect(sequence, |message| message.time).ok()
    }

    fn exists(&self, sequence: u64) -> bool {
        self.machine.is_stored(sequence)
    }

    fn keeps_one_per_subject(&self) -> bool {
        self.machine.config().max_msgs_per_subject == 1
    }
}
