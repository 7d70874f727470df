//! HOT PATH: no allocation per message.
//! One fast batch (P-12): what was received of it, what of that is stored for good, and how far that was told.
//!
//! ```text
//!  told <= stored <= received
//! ```
//!
//! `stored` moves by `settle` only, which is for what is durable (or missing by permission), so a position that was told is
//! there after a crash.

use super::super::api::ApiError;
use super::fast_reply::{FastReply, Operation};

/// All publishers of a stream together get an acknowledgement after this many messages, at the latest.
const FLOW_MAX: u16 = 500;

/// What the publisher of a batch is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Everything up to this place is stored, but for gaps if they are ok. The next word comes after so many messages.
    Flow { sequence: u64, messages: u16 },
    /// Message `received` came where `expected` should have.
    Gap { expected: u64, received: u64 },
    /// The message at this place is not stored.
    Error { sequence: u64, error: ApiError },
    /// There is no such batch, or none any more.
    Refused(ApiError),
    /// The end of the batch.
    Committed(Committed),
}

/// How a batch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The reply subject of the message that ended it.
    pub reply: Box<[u8]>,
    pub id: Box<[u8]>,
    /// The stream's sequence of the last message that was stored; 0 when none was.
    pub sequence: u64,
    /// The place of the last message.
    pub count: u64,
    /// The only message of the batch was there already, as `sequence`.
    pub is_duplicate: bool,
}

pub(super) struct FastBatch {
    id: Box<[u8]>,
    gap_ok: bool,
    /// A word after so many messages, and the most that the publisher wants.
    flow: u16,
    flow_max: u16,
    /// The last place in the batch that was taken.
    received: u64,
    /// Everything up to this place is settled.
    stored: u64,
    /// The place that was told last.
    told: u64,
    /// Messages on their way.
    pending: u64,
    /// The stream's sequence of the last message stored.
    last_sequence: u64,
    /// The reply subject of the message that ended the batch.
    ending: Option<Box<[u8]>>,
    /// The batch is one message only, which is the duplicate of this one.
    duplicate_of: Option<u64>,
}

impl FastBatch {
    /// With company, a publisher begins slowly.
    pub fn new(asked: &FastReply<'_>, is_alone: bool) -> Self {
        Self {
            id: asked.id.into(),
            gap_ok: asked.gap_ok,
            flow: if is_alone { asked.flow.min(FLOW_MAX) } else { 1 },
            flow_max: asked.flow,
            received: 0,
            stored: 0,
            told: 0,
            pending: 0,
            last_sequence: 0,
            ending: None,
            duplicate_of: None,
        }
    }

    pub fn id(&self) -> &[u8] {
        &self.id
    }

    pub fn is_pending(&self) -> bool {
        self.pending > 0
    }

    /// Nothing more is taken, and all that was is settled.
    pub fn is_finished(&self) -> bool {
        self.ending.is_some() && self.pending == 0
    }

    pub fn into_committed(self) -> Committed {
        Committed {
            reply: self.ending.unwrap_or_default(),
            id: self.id,
            sequence: self.duplicate_of.unwrap_or(self.last_sequence),
            count: self.received,
            is_duplicate: self.duplicate_of.is_some(),
        }
    }

    /// Takes in a message. True when it is to be decided on.
    pub fn receive(&mut self, asked: &FastReply<'_>, reply: &[u8], out: &mut Vec<Notice>) -> bool {
        if self.ending.is_some() {
            return false;
        }
        let (sequence, next) = (asked.sequence, self.received + 1);
        if sequence != next {
            out.push(Notice::Gap { expected: next, received: sequence });
            if !self.gap_ok || sequence < next {
                self.end(reply);
                return false;
            }
        }
        self.received = sequence;
        match asked.operation {
            Operation::Start => out.push(self.flow_notice()),
            Operation::Append | Operation::Ping => {}
            Operation::Commit => self.end(reply),
            Operation::CommitMarker => {
                self.received -= 1;
                self.end(reply);
                return false;
            }
        }
        true
    }

    /// `sequence` is that of the last message sent. True when how far things are is still to be told.
    pub fn ping(&mut self, sequence: u64, reply: &[u8], open: usize, out: &mut Vec<Notice>) -> bool {
        if self.ending.is_some() || sequence <= self.received {
            return true;
        }
        out.push(Notice::Gap { expected: self.received + 1, received: sequence + 1 });
        if !self.gap_ok {
            self.end(reply);
            return true;
        }
        self.received = sequence;
        self.settle_idle();
        !self.check_flow(open, out)
    }

    pub fn accepted(&mut self) {
        self.pending += 1;
    }

    /// The message is the duplicate of one with this sequence. True while that is on its way.
    pub fn duplicate(&mut self, of: u64, in_flight: bool, open: usize, out: &mut Vec<Notice>) -> bool {
        if self.ending.is_some() && !self.gap_ok && self.received == 1 {
            self.duplicate_of = Some(of);
        }
        if in_flight {
            self.pending += 1;
        } else {
            self.settle_idle();
            self.check_flow(open, out);
        }
        in_flight
    }

    /// Whether the refusal of a message is all there is to tell of this batch.
    pub fn falls_with_its_first(&self) -> bool {
        !self.gap_ok && self.received == 1
    }

    /// The message at this place is not stored. Unless gaps are ok, that ends the batch before it.
    pub fn refused(&mut self, sequence: u64, reply: &[u8], error: ApiError, out: &mut Vec<Notice>) {
        out.push(Notice::Error { sequence, error });
        if !self.gap_ok || self.ending.is_some() {
            self.received -= 1;
            self.end(reply);
        }
    }

    /// The message at this place is stored for good, as `stored_as`, or was before when there is none.
    pub fn settle(&mut self, sequence: u64, stored_as: Option<u64>) {
        self.pending = self.pending.saturating_sub(1);
        self.last_sequence = stored_as.unwrap_or(self.last_sequence);
        self.stored = self.stored.max(sequence);
        self.settle_idle();
    }

    /// With nothing on its way, all that was received counts: stored, found to be there, or missing by permission.
    fn settle_idle(&mut self) {
        if self.pending == 0 {
            self.stored = self.received;
        }
    }

    fn end(&mut self, reply: &[u8]) {
        self.ending.get_or_insert_with(|| reply.into());
    }

    pub fn flow_notice(&self) -> Notice {
        Notice::Flow { sequence: self.told, messages: self.flow }
    }

    /// Tells how far things are, when it is time to. `open` publishers of a stream share [`FLOW_MAX`]; each approaches its
    /// part in steps of two.
    pub fn check_flow(&mut self, open: usize, out: &mut Vec<Notice>) -> bool {
        let step = u64::from(self.flow);
        if self.stored < self.told.saturating_add(step) {
            return false;
        }
        self.told += (self.stored - self.told) / step * step;
        let part = (usize::from(FLOW_MAX) / open.max(1)).max(1) as u16;
        let most = part.min(self.flow_max);
        self.flow = if self.flow < most { self.flow.saturating_mul(2).min(most) } else { (self.flow / 2).max(most) };
        out.push(self.flow_notice());
        true
    }
}
