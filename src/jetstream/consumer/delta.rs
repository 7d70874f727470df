//! What changes in a consumer's durable state, as absolute facts: applying one twice is the same as applying it once.
//!
//! Deltas travel in batches inside one log entry. Each is encoded relative to the one before it, so that a run of
//! deliveries or of acks in order costs a byte or two after the first.

use super::varint::{self, Reader};

/// The longest run of deliveries in one delta: a damaged count must not keep a replica busy.
pub const RUN_MAX: u32 = 1 << 16;

/// One durable change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delta {
    /// `count` messages with consecutive stream sequences got consecutive consumer sequences: first deliveries.
    Delivered { stream: u64, consumer: u64, count: u32, time: i64 },
    /// A pending message was delivered again and has now been delivered `deliveries` times.
    Redelivered { stream: u64, consumer: u64, deliveries: u32, time: i64 },
    /// The messages `stream..stream + count` are done: acknowledged or terminated.
    Acked { stream: u64, count: u32, time: i64 },
    /// Everything up to `stream` is done; the ack named `consumer`.
    AckedThrough { stream: u64, consumer: u64, time: i64 },
    /// The next redelivery counts from `time`: a nak, with or without delay, or a progress report.
    Rescheduled { stream: u64, time: i64 },
    /// Delivered as often as allowed: no longer pending, but the stream keeps the message.
    Exhausted { stream: u64, deliveries: u32 },
    /// The messages `stream..stream + count` left the stream. As an ack has, so has this its `time`; 0 when nothing waited
    /// for one.
    Removed { stream: u64, count: u64, time: i64 },
    /// The stream was purged of everything below `stream`; `time` as above.
    Purged { stream: u64, time: i64 },
    /// No message below `stream` is left to be delivered for the first time.
    Advanced { stream: u64 },
    /// Start over at `stream`, forgetting what was delivered.
    Reset { stream: u64 },
    /// No deliveries until then; 0 resumes.
    Paused { until: i64 },
}

/// Bytes that are no batch of deltas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed consumer deltas")]
pub struct MalformedDelta;

const KIND_MASK: u8 = 0x0f;
/// The stream sequence is the one expected after the previous delta.
const STREAM_EXPECTED: u8 = 0x10;
/// The consumer sequence is the one expected after the previous delta.
const CONSUMER_EXPECTED: u8 = 0x20;
/// The time is that of the previous delta.
const TIME_EXPECTED: u8 = 0x40;
/// The count is 1; for counts of deliveries it is 2.
const COUNT_EXPECTED: u8 = 0x80;

const DELIVERED: u8 = 1;
const REDELIVERED: u8 = 2;
const ACKED: u8 = 3;
const ACKED_THROUGH: u8 = 4;
const RESCHEDULED: u8 = 5;
const EXHAUSTED: u8 = 6;
const REMOVED: u8 = 7;
const PURGED: u8 = 8;
const ADVANCED: u8 = 9;
const RESET: u8 = 10;
const PAUSED: u8 = 11;
const REMOVED_PENDING: u8 = 12;
const PURGED_PENDING: u8 = 13;

/// The fields that some delta has, in the order in which they are written.
#[derive(Clone, Copy, Default)]
struct Fields {
    stream: u64,
    consumer: Option<u64>,
    time: Option<i64>,
    count: Option<(u64, u64)>,
}

/// What the next delta is expected to begin with.
#[derive(Clone, Copy, Default)]
struct Expected {
    stream: u64,
    consumer: u64,
    time: i64,
}

impl Expected {
    fn follow(&mut self, fields: &Fields, run: u64) {
        self.stream = fields.stream.wrapping_add(run);
        if let Some(consumer) = fields.consumer {
            self.consumer = consumer.wrapping_add(run);
        }
        if let Some(time) = fields.time {
            self.time = time;
        }
    }
}

impl Delta {
    fn split(&self) -> (u8, Fields) {
        let of = |stream| Fields { stream, ..Fields::default() };
        let timed = |time| Some(time).filter(|time| *time != 0);
        match *self {
            Self::Delivered { stream, consumer, count, time } => {
                let count = Some((u64::from(count), 1));
                (DELIVERED, Fields { stream, consumer: Some(consumer), time: Some(time), count })
            }
            Self::Redelivered { stream, consumer, deliveries, time } => {
                let count = Some((u64::from(deliveries), 2));
                (REDELIVERED, Fields { stream, consumer: Some(consumer), time: Some(time), count })
            }
            Self::Acked { stream, count, time } => {
                (ACKED, Fields { time: Some(time), count: Some((u64::from(count), 1)), ..of(stream) })
            }
            Self::AckedThrough { stream, consumer, time } => {
                (ACKED_THROUGH, Fields { consumer: Some(consumer), time: Some(time), ..of(stream) })
            }
            Self::Rescheduled { stream, time } => (RESCHEDULED, Fields { time: Some(time), ..of(stream) }),
            Self::Exhausted { stream, deliveries } => {
                (EXHAUSTED, Fields { count: Some((u64::from(deliveries), 2)), ..of(stream) })
            }
            Self::Removed { stream, count, time } => {
                let kind = if time == 0 { REMOVED } else { REMOVED_PENDING };
                (kind, Fields { time: timed(time), count: Some((count, 1)), ..of(stream) })
            }
            Self::Purged { stream, time } => {
                let kind = if time == 0 { PURGED } else { PURGED_PENDING };
                (kind, Fields { time: timed(time), ..of(stream) })
            }
            Self::Advanced { stream } => (ADVANCED, of(stream)),
            Self::Reset { stream } => (RESET, of(stream)),
            Self::Paused { until } => (PAUSED, Fields { time: Some(until), ..of(0) }),
        }
    }

    /// How far the sequences move from this delta to the one expected next.
    fn run(kind: u8, fields: &Fields) -> u64 {
        match kind {
            DELIVERED | ACKED | REMOVED | REMOVED_PENDING => fields.count.map_or(1, |(count, _)| count),
            _ => 1,
        }
    }

    /// Extends this delta so that it covers `next` as well; false when the two do not join.
    pub fn join(&mut self, next: &Delta) -> bool {
        match (self, next) {
            (
                Self::Delivered { stream, consumer, count, time },
                Self::Delivered { stream: next_stream, consumer: next_consumer, count: more, time: next_time },
            ) => {
                let run = u64::from(*count);
                let joins = *next_stream == *stream + run
                    && *next_consumer == *consumer + run
                    && next_time == time
                    && run + u64::from(*more) <= u64::from(RUN_MAX);
                if joins {
                    *count += more;
                }
                joins
            }
            (
                Self::Acked { stream, count, time },
                Self::Acked { stream: next_stream, count: more, time: next_time },
            ) => {
                let joins = *next_stream == *stream + u64::from(*count) && next_time == time;
                match count.checked_add(*more).filter(|_| joins) {
                    Some(total) => *count = total,
                    None => return false,
                }
                true
            }
            (
                Self::Removed { stream, count, time },
                Self::Removed { stream: next_stream, count: more, time: next_time },
            ) => {
                let joins = *next_stream == stream.wrapping_add(*count) && next_time == time;
                match count.checked_add(*more).filter(|_| joins) {
                    Some(total) => *count = total,
                    None => return false,
                }
                true
            }
            (Self::Advanced { stream }, Self::Advanced { stream: next }) => {
                *stream = *next;
                true
            }
            _ => false,
        }
    }
}

/// Appends the encoding of a batch of deltas.
pub fn encode(deltas: &[Delta], out: &mut Vec<u8>) {
    let mut expected = Expected::default();
    for delta in deltas {
        let (kind, fields) = delta.split();
        let mut tag = kind;
        if fields.stream == expected.stream {
            tag |= STREAM_EXPECTED;
        }
        if fields.consumer == Some(expected.consumer) {
            tag |= CONSUMER_EXPECTED;
        }
        if fields.time == Some(expected.time) {
            tag |= TIME_EXPECTED;
        }
        if fields.count.is_some_and(|(count, usual)| count == usual) {
            tag |= COUNT_EXPECTED;
        }
        out.push(tag);
        if tag & STREAM_EXPECTED == 0 {
            varint::put_signed(out, fields.stream.wrapping_sub(expected.stream) as i64);
        }
        if let Some(consumer) = fields.consumer.filter(|_| tag & CONSUMER_EXPECTED == 0) {
            varint::put_signed(out, consumer.wrapping_sub(expected.consumer) as i64);
        }
        if let Some(time) = fields.time.filter(|_| tag & TIME_EXPECTED == 0) {
            varint::put_signed(out, time.wrapping_sub(expected.time));
        }
        if let Some((count, _)) = fields.count.filter(|_| tag & COUNT_EXPECTED == 0) {
            varint::put(out, count);
        }
        expected.follow(&fields, Delta::run(kind, &fields));
    }
}

/// Reads a batch back, delta by delta; ends after the first malformed one.
pub fn decode(bytes: &[u8]) -> Decoder<'_> {
    Decoder { reader: Reader::new(bytes), expected: Expected::default() }
}

/// The iterator over an encoded batch.
pub struct Decoder<'a> {
    reader: Reader<'a>,
    expected: Expected,
}

impl Decoder<'_> {
    fn delta(&mut self) -> Option<Delta> {
        let tag = self.reader.byte()?;
        let expected = self.expected;
        let kind = tag & KIND_MASK;
        let stream = match tag & STREAM_EXPECTED {
            0 => expected.stream.wrapping_add(self.reader.signed()? as u64),
            _ => expected.stream,
        };
        let mut fields = Fields { stream, ..Fields::default() };
        if matches!(kind, DELIVERED | REDELIVERED | ACKED_THROUGH) {
            fields.consumer = Some(match tag & CONSUMER_EXPECTED {
                0 => expected.consumer.wrapping_add(self.reader.signed()? as u64),
                _ => expected.consumer,
            });
        }
        let is_timed = matches!(kind, DELIVERED | REDELIVERED | ACKED | ACKED_THROUGH | RESCHEDULED | PAUSED);
        if is_timed || matches!(kind, REMOVED_PENDING | PURGED_PENDING) {
            fields.time = Some(match tag & TIME_EXPECTED {
                0 => expected.time.wrapping_add(self.reader.signed()?),
                _ => expected.time,
            });
        }
        let mut count = 0;
        if matches!(kind, DELIVERED | REDELIVERED | ACKED | EXHAUSTED | REMOVED | REMOVED_PENDING) {
            let usual = if matches!(kind, REDELIVERED | EXHAUSTED) { 2 } else { 1 };
            count = if tag & COUNT_EXPECTED == 0 { self.reader.unsigned()? } else { usual };
            fields.count = Some((count, usual));
        }
        self.expected.follow(&fields, Delta::run(kind, &fields));
        Self::assemble(kind, stream, fields.consumer.unwrap_or(0), fields.time.unwrap_or(0), count)
    }

    fn assemble(kind: u8, stream: u64, consumer: u64, time: i64, count: u64) -> Option<Delta> {
        let small = u32::try_from(count);
        // A run is of something, and stays inside the range of sequences.
        let fits = |from: u64| count > 0 && from.checked_add(count).is_some();
        Some(match kind {
            DELIVERED => {
                let count = small.ok().filter(|count| (1..=RUN_MAX).contains(count))?;
                let fits = stream > 0 && consumer > 0 && fits(stream) && fits(consumer);
                fits.then_some(Delta::Delivered { stream, consumer, count, time })?
            }
            REDELIVERED => Delta::Redelivered { stream, consumer, deliveries: small.ok()?, time },
            ACKED => fits(stream).then_some(Delta::Acked { stream, count: small.ok()?, time })?,
            ACKED_THROUGH => Delta::AckedThrough { stream, consumer, time },
            RESCHEDULED => Delta::Rescheduled { stream, time },
            EXHAUSTED => Delta::Exhausted { stream, deliveries: small.ok()? },
            REMOVED | REMOVED_PENDING => fits(stream).then_some(Delta::Removed { stream, count, time })?,
            PURGED | PURGED_PENDING => Delta::Purged { stream, time },
            ADVANCED => Delta::Advanced { stream },
            RESET => Delta::Reset { stream },
            PAUSED => Delta::Paused { until: time },
            _ => return None,
        })
    }
}

impl Iterator for Decoder<'_> {
    type Item = Result<Delta, MalformedDelta>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let delta = self.delta();
        if delta.is_none() {
            self.reader = Reader::new(&[]);
        }
        Some(delta.ok_or(MalformedDelta))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_795_414_132_126_131_046;

    pub fn any_delta() -> impl Strategy<Value = Delta> {
        let stream = prop_oneof![1u64..50, 1..u64::MAX / 2];
        let numbers = (stream, 1u64..1000, 1u32..100, prop_oneof![Just(NOW), any::<i64>()]);
        (0..11, numbers).prop_map(|(kind, (stream, consumer, count, time))| match kind {
            0 => Delta::Delivered { stream, consumer, count, time },
            1 => Delta::Redelivered { stream, consumer, deliveries: count, time },
            2 => Delta::Acked { stream, count, time },
            3 => Delta::AckedThrough { stream, consumer, time },
            4 => Delta::Rescheduled { stream, time },
            5 => Delta::Exhausted { stream, deliveries: count },
            6 => Delta::Removed { stream, count: consumer, time: time * i64::from(count % 2) },
            7 => Delta::Purged { stream, time: time * i64::from(count % 2) },
            8 => Delta::Advanced { stream },
            9 => Delta::Reset { stream },
            _ => Delta::Paused { until: time },
        })
    }

    fn encoded(deltas: &[Delta]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(deltas, &mut bytes);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn a_batch_comes_back_as_written(deltas in proptest::collection::vec(any_delta(), 0..40)) {
            let back: Result<Vec<Delta>, _> = decode(&encoded(&deltas)).collect();
            prop_assert_eq!(back, Ok(deltas));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let deltas: Vec<_> = decode(&bytes).collect();
            prop_assert!(deltas.len() <= bytes.len());
            prop_assert!(deltas.iter().rev().skip(1).all(Result::is_ok));
        }
    }

    #[test]
    fn five_hundred_deliveries_in_order_join_into_a_few_bytes() {
        let mut run = Delta::Delivered { stream: 100_000, consumer: 7_000, count: 1, time: NOW };
        for offset in 1..500 {
            let next = Delta::Delivered { stream: 100_000 + offset, consumer: 7_000 + offset, count: 1, time: NOW };
            assert!(run.join(&next));
        }
        assert_eq!(encoded(&[run]).len(), 17);
        let acks = Delta::Acked { stream: 100_000, count: 500, time: NOW };
        assert_eq!(encoded(&[run, acks]).len() - 17, 5);
    }

    #[test]
    fn filtered_deliveries_cost_two_bytes_each() {
        let deltas: Vec<_> =
            (0..500).map(|n| Delta::Delivered { stream: 50 + n * 3, consumer: 1 + n, count: 1, time: NOW }).collect();
        assert!(encoded(&deltas).len() < 500 * 2 + 20);
    }

    #[test]
    fn runs_do_not_join_across_gaps_times_or_the_limit() {
        let run = Delta::Delivered { stream: 5, consumer: 2, count: RUN_MAX, time: NOW };
        let next = u64::from(RUN_MAX);
        assert!(!run.clone().join(&Delta::Delivered { stream: 5 + next, consumer: 2 + next, count: 1, time: NOW }));
        let mut run = Delta::Delivered { stream: 5, consumer: 2, count: 1, time: NOW };
        assert!(!run.join(&Delta::Delivered { stream: 7, consumer: 3, count: 1, time: NOW }));
        assert!(!run.join(&Delta::Delivered { stream: 6, consumer: 3, count: 1, time: NOW + 1 }));
        assert!(!run.join(&Delta::Acked { stream: 6, count: 1, time: NOW }));
    }
}
