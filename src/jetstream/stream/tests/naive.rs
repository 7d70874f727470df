//! A stream written the simplest way: a list of messages, searched from end to end. It applies everything at once, so
//! it says what the machine must decide while its own messages are still on the way.

use crate::jetstream::api::StreamConfig;
use crate::jetstream::api::stream_config::{Discard, Retention, StorageType};
use crate::jetstream::api::time::SECOND;
use crate::protocol::subject;

#[derive(Clone, Debug)]
pub struct Message {
    pub sequence: u64,
    pub time: i64,
    pub subject: String,
    pub headers_len: usize,
    pub payload_len: usize,
    /// Seconds; -1 is for ever.
    pub ttl: Option<i64>,
}

/// What a test publishes.
#[derive(Clone, Debug, Default)]
pub struct Publication {
    pub subject: String,
    pub payload_len: usize,
    pub id: Option<String>,
    pub expected_last: Option<u64>,
    pub expected_last_of_subject: Option<u64>,
    pub expected_filter: Option<String>,
    pub expected_last_id: Option<String>,
    pub rollup: Option<String>,
    pub ttl: Option<i64>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted(u64),
    Duplicate(u64),
    Refused(u16),
}

pub struct Naive {
    pub config: StreamConfig,
    pub messages: Vec<Message>,
    pub next: u64,
    pub ids: Vec<(String, u64, i64)>,
    pub last_id: String,
    /// Filters and acknowledged sequences of consumers.
    pub consumers: Vec<(u64, String, Vec<u64>)>,
}

impl Naive {
    pub fn new(config: StreamConfig) -> Self {
        let next = config.first_seq.max(1);
        Self { config, messages: Vec::new(), next, ids: Vec::new(), last_id: String::new(), consumers: Vec::new() }
    }

    pub fn size(&self, message: &Message) -> u64 {
        let overhead = match (self.config.storage, message.headers_len) {
            (StorageType::Memory, _) => 16,
            (StorageType::File, 0) => 30,
            (StorageType::File, _) => 34,
        };
        (overhead + message.subject.len() + message.headers_len + message.payload_len) as u64
    }

    pub fn bytes(&self) -> u64 {
        self.messages.iter().map(|message| self.size(message)).sum()
    }

    pub fn first(&self) -> u64 {
        self.messages.first().map_or(self.next, |message| message.sequence)
    }

    pub fn publish(&mut self, wanted: &Publication, headers_len: usize, time: i64) -> Verdict {
        let own = self.messages.iter().filter(|message| message.subject == wanted.subject).count() as i64;
        if let Some(expected) = wanted.expected_last_of_subject {
            let filter = wanted.expected_filter.as_ref().unwrap_or(&wanted.subject);
            let matching = |message: &&Message| subject::matches(filter.as_bytes(), message.subject.as_bytes());
            let last = self.messages.iter().rev().find(matching).map_or(0, |message| message.sequence);
            if last != expected {
                return Verdict::Refused(10071);
            }
        }
        if wanted.expected_last.is_some_and(|expected| expected != self.next - 1) {
            return Verdict::Refused(10071);
        }
        if let Some(id) = &wanted.id {
            let window = self.config.duplicate_window;
            let known = self.ids.iter().rev().find(|(other, _, at)| other == id && time - at < window);
            if let Some((_, sequence, _)) = known {
                return Verdict::Duplicate(*sequence);
            }
        }
        if wanted.expected_last_id.as_ref().is_some_and(|expected| *expected != self.last_id) {
            return Verdict::Refused(10070);
        }
        let message = Message {
            sequence: self.next,
            time,
            subject: wanted.subject.clone(),
            headers_len,
            payload_len: wanted.payload_len,
            ttl: wanted.ttl,
        };
        if self.config.discard == Discard::New && self.is_full(&message, own, wanted.rollup.is_some()) {
            return Verdict::Refused(10077);
        }
        self.take(message, wanted)
    }

    fn is_full(&self, message: &Message, own: i64, rolls_up: bool) -> bool {
        let config = &self.config;
        let subject_is_full = config.max_msgs_per_subject > 0 && own >= config.max_msgs_per_subject;
        if subject_is_full && config.discard_new_per_subject && !rolls_up {
            return true;
        }
        if config.max_msgs > 0 && self.messages.len() as i64 >= config.max_msgs && !subject_is_full {
            return true;
        }
        let size = self.size(message);
        if config.max_bytes > 0 && self.bytes() + size > config.max_bytes as u64 {
            let oldest = self.messages.iter().find(|other| other.subject == message.subject);
            return !subject_is_full || oldest.is_none_or(|oldest| self.size(oldest) < size);
        }
        false
    }

    fn take(&mut self, message: Message, wanted: &Publication) -> Verdict {
        let sequence = message.sequence;
        self.next += 1;
        self.last_id = wanted.id.clone().unwrap_or_default();
        if let Some(id) = &wanted.id {
            self.ids.push((id.clone(), sequence, message.time));
        }
        let is_wanted =
            |(_, filter, _): &(u64, String, Vec<u64>)| subject::matches(filter.as_bytes(), message.subject.as_bytes());
        let kept = self.config.retention != Retention::Interest || self.consumers.iter().any(is_wanted);
        if kept {
            self.messages.push(message.clone());
            self.enforce();
        }
        match wanted.rollup.as_deref() {
            Some("sub") => {
                self.messages.retain(|other| other.subject != message.subject || other.sequence == sequence);
            }
            Some(_) => self.messages.retain(|other| other.sequence == sequence),
            None => {}
        }
        Verdict::Accepted(sequence)
    }

    pub fn enforce(&mut self) {
        let per_subject = self.config.max_msgs_per_subject;
        loop {
            let over = self.messages.iter().position(|message| {
                let own = self.messages.iter().filter(|other| other.subject == message.subject).count();
                per_subject > 0 && own as i64 > per_subject
            });
            match over {
                Some(position) => drop(self.messages.remove(position)),
                None => break,
            }
        }
        if self.config.discard == Discard::New {
            return;
        }
        while self.config.max_msgs > 0 && self.messages.len() as i64 > self.config.max_msgs {
            self.messages.remove(0);
        }
        while self.config.max_bytes > 0 && self.bytes() > self.config.max_bytes as u64 {
            self.messages.remove(0);
        }
    }

    pub fn purge(&mut self, filter: &str, up_to: u64, keep: u64) -> u64 {
        if up_to == 1 {
            return 0;
        }
        let all = filter.is_empty() || filter == ">";
        let matching: Vec<u64> = self
            .messages
            .iter()
            .filter(|message| all || subject::matches(filter.as_bytes(), message.subject.as_bytes()))
            .map(|message| message.sequence)
            .collect();
        let kept = matching.len().saturating_sub(keep as usize);
        let gone: Vec<u64> =
            matching[..kept].iter().copied().filter(|sequence| up_to == 0 || *sequence < up_to).collect();
        self.messages.retain(|message| !gone.contains(&message.sequence));
        if all {
            self.next = self.next.max(up_to);
        }
        gone.len() as u64
    }

    pub fn delete(&mut self, sequence: u64) -> bool {
        let before = self.messages.len();
        self.messages.retain(|message| message.sequence != sequence);
        self.messages.len() < before
    }

    pub fn expire(&mut self, now: i64) {
        let age = self.config.max_age;
        self.messages.retain(|message| match message.ttl {
            Some(-1) => true,
            ttl => {
                let outlived = ttl.is_some_and(|seconds| now >= message.time + seconds * SECOND);
                !outlived && (age == 0 || message.time > now - age)
            }
        });
    }

    pub fn acked(&mut self, consumer: u64, sequence: u64) {
        let acked = &mut self.consumers.iter_mut().find(|(id, ..)| *id == consumer).expect("a consumer").2;
        acked.push(sequence);
        if self.config.retention != Retention::Limits {
            self.drop_unneeded(|other| other == sequence);
        }
    }

    pub fn remove_consumer(&mut self, consumer: u64) {
        self.consumers.retain(|(id, ..)| *id != consumer);
        if self.config.retention == Retention::Interest {
            self.drop_unneeded(|_| true);
        }
    }

    fn drop_unneeded(&mut self, looked_at: impl Fn(u64) -> bool) {
        let consumers = &self.consumers;
        self.messages.retain(|message| {
            let needs = |(_, filter, acked): &(u64, String, Vec<u64>)| {
                subject::matches(filter.as_bytes(), message.subject.as_bytes()) && !acked.contains(&message.sequence)
            };
            !looked_at(message.sequence) || consumers.iter().any(needs)
        });
    }
}
