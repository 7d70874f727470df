//! Payloads join their entries only when a message leaves: raft itself carries bare entries, the journal keeps the bytes.

use crate::log::is_membership;
use bytes::Bytes;
use raft::eraftpb::Message;

/// Where payloads come from: the journal, seen for one group.
pub trait EntrySource {
    /// Term and payload of the entry at `index` as last appended, durable or not. An empty payload means [`EntryKind::Empty`].
    ///
    /// [`EntryKind::Empty`]: crate::EntryKind::Empty
    fn entry(&self, index: u64) -> Option<(u64, Bytes)>;
}

/// The journal no longer holds, or could not read, an entry a message needs. The message is not sent; tell the group that its
/// receiver is unreachable, and raft will try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} of term {term} is not there to send")]
pub struct Missing {
    pub index: u64,
    pub term: u64,
}

/// Fills in the payloads of `message` and pushes it to `out`, cut into several messages where it would exceed `bytes_max`.
/// May run outside the group's lock: an entry that has been replaced in the meantime has another term and is missing.
pub fn attach(
    mut message: Message,
    source: &impl EntrySource,
    bytes_max: usize,
    out: &mut Vec<Message>,
) -> Result<(), Missing> {
    if message.entries.is_empty() {
        out.push(message);
        return Ok(());
    }
    let mut bytes = 0;
    for at in 0..message.entries.len() {
        let entry = &mut message.entries[at];
        // Other messages carry a request in their entry (ReadIndex) or are complete (membership).
        if entry.index != 0 && !is_membership(entry) {
            let missing = Missing { index: entry.index, term: entry.term };
            let (term, payload) = source.entry(entry.index).ok_or(missing)?;
            if term != entry.term {
                return Err(missing);
            }
            entry.data = payload;
        }
        bytes += entry.data.len();
    }
    if bytes <= bytes_max {
        out.push(message);
    } else {
        split(message, bytes_max, out);
    }
    Ok(())
}

fn split(mut message: Message, bytes_max: usize, out: &mut Vec<Message>) {
    let entries = std::mem::take(&mut message.entries);
    let mut part = message.clone();
    let mut bytes = 0;
    for entry in entries {
        if bytes + entry.data.len() > bytes_max && !part.entries.is_empty() {
            let next = Message { index: entry.index - 1, log_term: last_term(&part), ..message.clone() };
            out.push(std::mem::replace(&mut part, next));
            bytes = 0;
        }
        bytes += entry.data.len();
        part.entries.push(entry);
    }
    out.push(part);
}

fn last_term(message: &Message) -> u64 {
    message.entries.last().map_or(message.log_term, |entry| entry.term)
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::eraftpb::{Entry, MessageType};

    struct Source(u64);

    impl EntrySource for Source {
        fn entry(&self, index: u64) -> Option<(u64, Bytes)> {
            (index <= self.0).then(|| (index / 4, Bytes::from(vec![index as u8; 10])))
        }
    }

    fn append(first: u64, last: u64) -> Message {
        let entry = |index| Entry { index, term: index / 4, ..Default::default() };
        let mut message = Message { index: first - 1, log_term: (first - 1) / 4, commit: 99, ..Default::default() };
        message.set_msg_type(MessageType::MsgAppend);
        message.entries = (first..=last).map(entry).collect();
        message
    }

    #[test]
    fn a_large_message_is_cut_where_its_log_continues() {
        let mut out = Vec::new();
        attach(append(5, 13), &Source(99), 30, &mut out).unwrap();
        let shape: Vec<(u64, u64, usize)> = out.iter().map(|m| (m.index, m.log_term, m.entries.len())).collect();
        assert_eq!(shape, [(4, 1, 3), (7, 1, 3), (10, 2, 3)]);
        assert!(out.iter().flat_map(|m| &m.entries).all(|entry| entry.data == vec![entry.index as u8; 10]));
        let mut out = Vec::new();
        attach(append(5, 6), &Source(99), 0, &mut out).unwrap();
        assert_eq!(out.len(), 2);
    }

    #[test]
    fn a_missing_or_replaced_entry_stops_the_message() {
        let mut out = Vec::new();
        assert_eq!(attach(append(5, 9), &Source(7), 100, &mut out), Err(Missing { index: 8, term: 2 }));
        let mut other_term = append(5, 5);
        other_term.entries[0].term = 9;
        assert_eq!(attach(other_term, &Source(7), 100, &mut out), Err(Missing { index: 5, term: 9 }));
        assert!(out.is_empty());
    }
}
