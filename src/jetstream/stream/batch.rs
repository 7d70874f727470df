//! Atomic batches that are still open (P-11): their messages wait here, in memory and outside of the log, until the one
//! that commits them. Whatever ends a batch otherwise leaves nothing behind.
//!
//! Knows no clock and sends nothing: [`OpenBatches::step`] says what a message means, the caller does it.
//!
//! ```text
//!            message 1           message n            commit
//!   (none) ------------> open ------------> open ----------------> all of them are decided on, and appended at once
//!                          |  gap, too large, bad commit, idle
//!                          +------------------------------------> abandoned
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::api::validate::required_level_is_met;
use super::super::api::{ApiError, error_codes};
use super::decide::Publish;
use super::publish_headers::{BATCH_COMMIT, PublishHeaders, REQUIRED_LEVEL};
use crate::protocol::headers;

/// Longer ids are refused.
pub(super) const ID_BYTES_MAX: usize = 64;
/// What one batch may hold.
pub const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What the open batches of a server may hold together.
pub const STAGED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How many batches may be open, and how large they may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    pub open_per_stream: usize,
    pub open_per_server: usize,
    pub messages: u64,
    /// Nanoseconds without a message after which a batch is abandoned.
    pub idle: i64,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { open_per_stream: 50, open_per_server: 1000, messages: 1000, idle: 10_000_000_000 }
    }
}

/// What all streams of a server hold in open batches of one kind.
#[derive(Debug, Default)]
pub struct BatchBudget {
    open: AtomicUsize,
    bytes: AtomicUsize,
}

#[cfg(test)]
impl BatchBudget {
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// A batch's part of the budget, given back when it is dropped.
pub(super) struct Share {
    budget: Arc<BatchBudget>,
    bytes: usize,
}

impl Share {
    pub(super) fn of(budget: &Arc<BatchBudget>, open_max: usize) -> Option<Self> {
        // Counted first: two streams must not both take the last place.
        let open = budget.open.fetch_add(1, Ordering::Relaxed) + 1;
        let share = Self { budget: budget.clone(), bytes: 0 };
        (open <= open_max).then_some(share)
    }

    /// False, and nothing taken, when there is no room.
    fn grow(&mut self, bytes: usize) -> bool {
        let staged = self.budget.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes += bytes;
        let fits = self.bytes <= BATCH_BYTES_MAX && staged <= STAGED_BYTES_MAX;
        if !fits {
            self.budget.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.bytes -= bytes;
        }
        fits
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.open.fetch_sub(1, Ordering::Relaxed);
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedMessage {
    subject_bytes: usize,
    headers_bytes: usize,
    /// Subject, headers, payload.
    text: Box<[u8]>,
}

impl StagedMessage {
    pub fn new(subject: &[u8], headers: &[u8], payload: &[u8]) -> Self {
        let text = [subject, headers, payload].concat().into();
        Self { subject_bytes: subject.len(), headers_bytes: headers.len(), text }
    }

    pub fn subject(&self) -> &[u8] {
        &self.text[..self.subject_bytes]
    }

    /// Empty when there are none.
    pub fn headers(&self) -> &[u8] {
        &self.text[self.subject_bytes..self.subject_bytes + self.headers_bytes]
    }

    pub fn payload(&self) -> &[u8] {
        &self.text[self.subject_bytes + self.headers_bytes..]
    }

    /// The message as if it had just been published, without anybody to answer to.
    pub fn as_publish(&self) -> Publish<'_> {
        Publish { subject: self.subject(), reply: None, headers: self.headers(), payload: self.payload() }
    }
}

struct OpenBatch {
    messages: Vec<StagedMessage>,
    /// When it is abandoned unless something comes.
    idle_at: i64,
    share: Share,
}

/// Why a batch ended without a commit, as its advisory says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    Timeout,
    Large,
    Incomplete,
    Unsupported,
}

impl Abandoned {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Large => "large",
            Self::Incomplete => "incomplete",
            Self::Unsupported => "unsupported",
        }
    }
}

/// A batch that its publisher commits.
#[derive(Debug, PartialEq, Eq)]
pub struct Commit {
    pub id: Box<[u8]>,
    /// At least one.
    pub messages: Vec<StagedMessage>,
}

/// What a message of a batch means.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It waits with the others of its batch: the answer is an empty message.
    Staged,
    /// The batch is complete: all of it is to be stored, or nothing.
    Commit(Commit),
    /// The answer is an error. The batch, if there was one, is gone; some ends are told by an advisory.
    Refused { error: ApiError, abandoned: Option<Abandoned> },
}

/// How a message ends its batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Open,
    /// It is the last one of the batch.
    Last,
    /// It only ends the batch, and is not of it.
    Marker,
    Invalid,
}

impl Ending {
    fn of(asked: &PublishHeaders<'_>) -> Self {
        match asked.batch_commit {
            None => Self::Open,
            Some(b"1") => Self::Last,
            Some(b"eob") => Self::Marker,
            Some(_) => Self::Invalid,
        }
    }
}

/// The open batches of one stream, on its leader.
pub struct OpenBatches {
    limits: BatchLimits,
    budget: Arc<BatchBudget>,
    open: BTreeMap<Box<[u8]>, OpenBatch>,
}

impl OpenBatches {
    pub fn new(limits: BatchLimits, budget: Arc<BatchBudget>) -> Self {
        Self { limits, budget, open: BTreeMap::new() }
    }

    pub fn set_limits(&mut self, limits: BatchLimits) {
        self.limits = limits;
    }

    /// Takes in a message that has a batch id, and whose size is within the stream's limits.
    pub fn step(&mut self, publish: &Publish<'_>, asked: &PublishHeaders<'_>, now: i64) -> Step {
        let id = asked.batch_id.unwrap_or_default();
        if id.len() > ID_BYTES_MAX {
            return refuse(error_codes::ATOMIC_PUBLISH_INVALID_BATCH_ID.error());
        }
        let Some(sequence) = asked.batch_sequence else {
            return refuse(error_codes::ATOMIC_PUBLISH_MISSING_SEQ.error());
        };
        let ending = Ending::of(asked);
        // The marker is none of the batch's messages.
        let size = sequence.saturating_sub(u64::from(ending == Ending::Marker));
        let batch = match self.open.remove(id) {
            Some(batch) => batch,
            None if sequence != 1 && size > self.limits.messages => return refuse(self.too_large()),
            None if sequence != 1 => return refuse(error_codes::ATOMIC_PUBLISH_INCOMPLETE_BATCH.error()),
            None => match self.begin(now) {
                Some(batch) => batch,
                None => return refuse(error_codes::ATOMIC_PUBLISH_TOO_MANY_INFLIGHT.error()),
            },
        };
        // From here on the batch is gone unless it is put back.
        if ending == Ending::Invalid {
            return refuse(error_codes::ATOMIC_PUBLISH_INVALID_BATCH_COMMIT.error());
        }
        let level = asked.required_level.map(String::from_utf8_lossy);
        if !required_level_is_met(level.as_deref()) {
            return abandon(Abandoned::Unsupported, error_codes::REQUIRED_API_LEVEL.error());
        }
        let is_next = sequence == batch.messages.len() as u64 + 1;
        if !is_next || batch.idle_at <= now || (sequence == 1 && ending == Ending::Marker) {
            return abandon(Abandoned::Incomplete, error_codes::ATOMIC_PUBLISH_INCOMPLETE_BATCH.error());
        }
        if size > self.limits.messages {
            return abandon(Abandoned::Large, self.too_large());
        }
        self.take_in(batch, id, publish, ending, now)
    }

    fn begin(&self, now: i64) -> Option<OpenBatch> {
        if self.open.len() >= self.limits.open_per_stream {
            return None;
        }
        let share = Share::of(&self.budget, self.limits.open_per_server)?;
        Some(OpenBatch { messages: Vec::new(), idle_at: now.saturating_add(self.limits.idle), share })
    }

    fn take_in(&mut self, mut batch: OpenBatch, id: &[u8], publish: &Publish<'_>, ending: Ending, now: i64) -> Step {
        if ending == Ending::Marker {
            // The one before it carries the commit instead.
            if let Some(last) = batch.messages.last_mut() {
                let mut block = last.headers().to_vec();
                headers::append(&mut block, BATCH_COMMIT, b"1");
                *last = StagedMessage::new(last.subject(), &block, last.payload());
            }
            return Step::Commit(Commit { id: id.into(), messages: batch.messages });
        }
        if !batch.share.grow(publish.subject.len() + publish.headers.len() + publish.payload.len()) {
            let error = error_codes::ATOMIC_PUBLISH_TOO_LARGE_BATCH.with("out of memory for open batches");
            return abandon(Abandoned::Large, error);
        }
        let block = without_required_level(publish.headers);
        batch.messages.push(StagedMessage::new(
            publish.subject,
            block.as_deref().unwrap_or(publish.headers),
            publish.payload,
        ));
        if ending == Ending::Last {
            return Step::Commit(Commit { id: id.into(), messages: batch.messages });
        }
        batch.idle_at = now.saturating_add(self.limits.idle);
        self.open.insert(id.into(), batch);
        Step::Staged
    }

    /// Abandons the batches that nothing came for; gives their ids.
    pub fn expire(&mut self, now: i64) -> Vec<Box<[u8]>> {
        let mut ids = Vec::new();
        self.open.retain(|id, batch| {
            let is_idle = batch.idle_at <= now;
            if is_idle {
                ids.push(id.clone());
            }
            !is_idle
        });
        ids
    }

    /// When the first of them is abandoned.
    pub fn deadline(&self) -> Option<i64> {
        self.open.values().map(|batch| batch.idle_at).min()
    }

    /// Drops all of them: the stream takes no batches any more.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    fn too_large(&self) -> ApiError {
        error_codes::ATOMIC_PUBLISH_TOO_LARGE_BATCH.with(self.limits.messages)
    }
}

/// The header by which a publisher asks for an API level is not stored.
pub fn without_required_level(block: &[u8]) -> Option<Vec<u8>> {
    headers::get(block, REQUIRED_LEVEL)?;
    Some(headers::without(block, |key| key == REQUIRED_LEVEL.as_bytes()))
}

fn refuse(error: ApiError) -> Step {
    Step::Refused { error, abandoned: None }
}

fn abandon(why: Abandoned, error: ApiError) -> Step {
    Step::Refused { error, abandoned: Some(why) }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
