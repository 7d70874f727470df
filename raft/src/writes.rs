//! Writes of one group that the journal has not made durable yet, and the messages that wait for them.
//!
//! A *position* is any number that grows along the journal (say `segment << 32 | offset`). Everything handed out by the group
//! gathers in the open write; the driver appends it and names the position, which closes the write. When the journal is durable
//! up to a position, all writes up to it are.
//!
//! Positions and not indexes, because an index can be written several times: entry 5 of term 2, then entry 5 of term 3, then
//! entry 5 of term 2 again, from a leader that came back. Only the position tells whether the last of these has survived.

use raft::eraftpb::Message;
use std::collections::VecDeque;

#[derive(Debug, Default)]
struct Write {
    position: u64,
    /// Entries in it; `first == 0` means none.
    first: u64,
    last: u64,
    /// Term promised by a state record in it, or 0.
    term: u64,
    /// Index of a snapshot in it, or 0.
    install: u64,
    /// raft's number of the newest `Ready` in it, or 0.
    number: u64,
    messages: Vec<Message>,
}

/// What a step of durability makes true.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Settled {
    /// Entries up to here are durable as raft knows them now; 0 = no news.
    pub last: u64,
    pub term: u64,
    pub install: u64,
    pub number: u64,
    pub messages: Vec<Message>,
}

#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    open: Option<Write>,
    closed: VecDeque<Write>,
    durable: u64,
    /// Last entry and `Ready` number that raft must not hear of yet: durable, but being written over.
    deferred: (u64, u64),
}

impl WriteQueue {
    /// With room for one write, which is all that a group without load needs.
    pub fn new() -> Self {
        Self { closed: VecDeque::with_capacity(1), ..Self::default() }
    }

    pub fn entries(&mut self, first: u64, last: u64) {
        let write = self.open.get_or_insert_default();
        write.first = if write.first == 0 { first } else { write.first.min(first) };
        write.last = last;
    }

    pub fn state(&mut self, term: u64) {
        self.open.get_or_insert_default().term = term;
    }

    pub fn install(&mut self, index: u64) {
        let write = self.open.get_or_insert_default();
        (write.first, write.last, write.install) = (0, 0, index);
    }

    /// Makes messages, and raft's own notice of `number`, wait for all writes so far. Gives the messages back when there are none.
    pub fn attach(&mut self, number: u64, messages: Vec<Message>) -> Option<Vec<Message>> {
        let Some(write) = self.open.as_mut().or(self.closed.back_mut()) else { return Some(messages) };
        write.number = number;
        if write.messages.is_empty() {
            write.messages = messages;
        } else {
            write.messages.extend(messages);
        }
        None
    }

    /// All that is open has been appended to the journal, at or before `position`.
    pub fn close(&mut self, position: u64) {
        if let Some(mut write) = self.open.take() {
            let before = self.closed.back().map_or(0, |write| write.position);
            assert!(position >= before, "the journal only grows: {position} after {before}");
            write.position = position;
            self.closed.push_back(write);
        }
    }

    pub fn durable(&mut self, position: u64) {
        self.durable = self.durable.max(position);
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_none() && self.closed.is_empty()
    }

    /// Something was handed out or promised, and its position not named yet.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub fn settle(&mut self) -> Option<Settled> {
        let mut settled: Option<Settled> = None;
        while self.closed.front().is_some_and(|write| write.position <= self.durable) {
            let write = self.closed.pop_front()?;
            let settled = settled.get_or_insert_default();
            settled.number = settled.number.max(write.number);
            settled.term = settled.term.max(write.term);
            settled.messages.extend(write.messages);
            if write.install > 0 {
                (settled.install, settled.last) = (write.install, 0);
            }
            if write.first > 0 {
                settled.last = write.last;
            }
        }
        if let Some(settled) = &mut settled {
            self.hold_back(settled);
        }
        settled
    }

    /// Entries that a write still under way replaces are not durable in their new form, whatever their index and term.
    fn hold_back(&mut self, settled: &mut Settled) {
        let (last, number) = std::mem::take(&mut self.deferred);
        settled.number = settled.number.max(number);
        if settled.last == 0 && settled.install == 0 {
            settled.last = last;
        }
        let replaced =
            self.closed.iter().chain(&self.open).filter(|write| write.first > 0).map(|write| write.first).min();
        if let Some(replaced) = replaced.filter(|replaced| *replaced <= settled.last) {
            self.deferred = (settled.last, std::mem::take(&mut settled.number));
            settled.last = replaced - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(term: u64) -> Message {
        Message { term, ..Default::default() }
    }

    #[test]
    fn messages_wait_for_every_write_before_them() {
        let mut writes = WriteQueue::new();
        assert_eq!(writes.attach(1, vec![message(1)]), Some(vec![message(1)]));
        writes.entries(1, 3);
        writes.close(10);
        assert_eq!(writes.attach(2, vec![message(2)]), None);
        writes.entries(4, 4);
        assert_eq!(writes.attach(3, vec![message(3)]), None);
        writes.close(20);
        writes.durable(9);
        assert_eq!(writes.settle(), None);
        writes.durable(10);
        let settled = writes.settle().unwrap();
        assert_eq!((settled.last, settled.number, settled.messages), (3, 2, vec![message(2)]));
        writes.durable(25);
        let settled = writes.settle().unwrap();
        assert_eq!((settled.last, settled.number, settled.messages), (4, 3, vec![message(3)]));
        assert!(writes.is_empty());
    }

    #[test]
    fn durable_before_closed_settles_on_close() {
        let mut writes = WriteQueue::new();
        writes.entries(1, 2);
        writes.durable(7);
        assert_eq!(writes.settle(), None);
        writes.close(7);
        assert_eq!(writes.settle().unwrap().last, 2);
    }

    #[test]
    fn an_entry_being_replaced_is_not_durable() {
        let mut writes = WriteQueue::new();
        writes.entries(3, 5);
        writes.attach(1, vec![]);
        writes.close(10);
        writes.state(7);
        writes.close(20);
        writes.entries(5, 5);
        writes.attach(2, vec![]);
        writes.close(30);
        for position in [10, 20] {
            writes.durable(position);
            let settled = writes.settle().unwrap();
            assert_eq!((settled.last, settled.number), (4, 0), "durable up to {position}");
        }
        writes.durable(30);
        let settled = writes.settle().unwrap();
        assert_eq!((settled.last, settled.number), (5, 2));
    }
}
