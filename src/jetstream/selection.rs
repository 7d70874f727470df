//! Which stored messages a request asks for, and what it gets: messages of one moment, since the stream is locked while
//! they are looked up. They share the bytes of the store, so that they can be sent when it is not.

use super::api::Timestamp;
use super::api::message_get::{DirectStatus, MessageGetRequest};
use super::core::Core;
use super::messages::Message;

/// Which message a request asks for.
#[derive(Clone, Debug)]
pub enum Selection {
    Sequence(u64),
    /// The first at or above the sequence whose subject matches; an empty filter matches every one.
    Next {
        from: u64,
        filter: String,
    },
    /// The first stored at or after the time.
    AtTime {
        time: Timestamp,
        filter: String,
    },
    Last(String),
}

/// How much one request for many messages gets at a time.
#[derive(Clone, Copy, Debug)]
pub struct BatchBound {
    pub messages: usize,
    /// The message that reaches this is the last one.
    pub bytes: usize,
    /// More bytes than this would be too much for the connection, with so many of [`overhead`](Self::overhead) per message.
    pub room: usize,
    pub overhead: usize,
}

/// What such a request gets: the messages of one moment, whatever becomes of the stream while they are sent.
pub struct Batch {
    pub messages: Vec<Message>,
    /// How many there are altogether.
    pub total: u64,
}

impl Batch {
    /// The messages from a selection on.
    pub fn from_on(core: &Core, selection: Selection, bound: BatchBound) -> Self {
        let total = selection.count(core);
        let mut selection = selection.stepping();
        Self::read(core, total, bound, |core| {
            let sequence = selection.find(core)?;
            selection.go_on_after(sequence);
            Some(sequence)
        })
    }

    /// The last message of each matching subject up to a point, and that point.
    ///
    /// # Errors
    /// When there is none, or there are too many.
    pub fn multi_last(
        core: &Core,
        request: &MessageGetRequest,
        results_max: usize,
        bound: BatchBound,
    ) -> Result<(Self, u64), DirectStatus> {
        let machine = &core.machine;
        let mut up_to = request.up_to_seq;
        if let Some(time) = request.up_to_time {
            up_to = machine.sequence_at_time(time.0, &core.store);
            if up_to <= machine.first_sequence() {
                return Err(DirectStatus::NO_RESULTS);
            }
            up_to -= 1;
        }
        if up_to == 0 {
            up_to = machine.last_sequence();
        }
        let filters: Vec<&[u8]> = request.multi_last.iter().map(String::as_bytes).collect();
        let mut sequences = machine
            .last_per_subject(&filters, up_to, results_max, &core.store)
            .map_err(|_| DirectStatus::TOO_MANY_RESULTS)?;
        // Decided before the cut at `seq`, as by the genuine server.
        if sequences.is_empty() {
            return Err(DirectStatus::NO_RESULTS);
        }
        sequences.retain(|sequence| *sequence >= request.seq);
        let total = sequences.len() as u64;
        let mut sequences = sequences.into_iter();
        Ok((Self::read(core, total, bound, |_| sequences.next()), up_to))
    }

    /// The first of the messages that can be read; what can not be is stepped over and counts for nothing.
    fn read(core: &Core, mut total: u64, bound: BatchBound, mut next: impl FnMut(&Core) -> Option<u64>) -> Self {
        let (mut messages, mut bytes, mut room) = (Vec::new(), 0, bound.room);
        while messages.len() < bound.messages && bytes < bound.bytes {
            let Some(sequence) = next(core) else { break };
            match core.store.message(sequence) {
                Ok(message) => {
                    let Some(left) = room.checked_sub(message.len() + bound.overhead) else { break };
                    room = left;
                    bytes += message.len();
                    messages.push(message);
                }
                Err(_) => total = total.saturating_sub(1),
            }
        }
        Self { messages, total }
    }
}

impl Selection {
    pub fn of(request: &MessageGetRequest) -> Self {
        if let Some(time) = request.start_time {
            return Self::AtTime { time, filter: request.next_by_subj.clone() };
        }
        if !request.next_by_subj.is_empty() {
            return Self::Next { from: request.seq, filter: request.next_by_subj.clone() };
        }
        if request.seq > 0 { Self::Sequence(request.seq) } else { Self::Last(request.last_by_subj.clone()) }
    }

    /// As a batch goes on: missing messages are stepped over.
    fn stepping(self) -> Self {
        match self {
            Self::Sequence(from) => Self::Next { from, filter: String::new() },
            other => other,
        }
    }

    /// What follows a message that was found.
    fn go_on_after(&mut self, sequence: u64) {
        if let Self::Next { filter, .. } | Self::AtTime { filter, .. } = self {
            *self = Self::Next { from: sequence + 1, filter: std::mem::take(filter) };
        }
    }

    pub fn find(&self, core: &Core) -> Option<u64> {
        let (machine, store) = (&core.machine, &core.store);
        let next = |from: u64, filter: &str| match filter {
            "" => machine.next_matching::<_, &[u8]>(from, &[], store),
            filter => machine.next_matching(from, &[filter.as_bytes()], store),
        };
        match self {
            Self::Sequence(sequence) => Some(*sequence).filter(|sequence| machine.is_stored(*sequence)),
            Self::Next { from, filter } => next(*from, filter),
            Self::AtTime { time, filter } => next(machine.sequence_at_time(time.0, store), filter),
            Self::Last(subject) => machine.last_matching(&[subject.as_bytes()], store),
        }
    }

    /// How many messages there are from this one on.
    fn count(&self, core: &Core) -> u64 {
        let (machine, store) = (&core.machine, &core.store);
        let (from, filter) = match self {
            Self::Sequence(from) => (*from, ""),
            Self::Next { from, filter } => (*from, filter.as_str()),
            Self::AtTime { time, filter } => (machine.sequence_at_time(time.0, store), filter.as_str()),
            Self::Last(_) => return 1,
        };
        match filter {
            "" => machine.count_matching::<_, &[u8]>(from, &[], store),
            filter => machine.count_matching(from, &[filter.as_bytes()], store),
        }
    }
}
