//! Rewrites nearly dead segments once: their survivors go to a new segment, grouped by stream.
//!
//! Crash-safe at each step: until the new file is whole, synced and renamed it is a spare; until the old ones are on
//! record as retired both hold the same messages. Only messages below their group's checkpoints are moved, so Raft can
//! no longer replace them, and no log entry is needed for a replay.
//!
//! The latest checkpoints come first, the ones before them last, on pages of their own: what costs one leaves the other.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::pool::build;
use super::read::is_replaced;
use super::replay::SegmentReader;
use super::seal::{footer, group_tables, write};
use super::shared::Shared;
use crate::aligned::AlignedBuffer;
use crate::directory::live::LiveSpan;
use crate::directory::sealed::{SealedSpan, message_offset};
use crate::directory::table::number_at;
use crate::format::PAGE_BYTES;
use crate::format::batch::{BATCH_HEADER_BYTES, BatchHeader};
use crate::format::footer::{FooterControl, Section};
use crate::format::record::{GroupId, encode_copy, record_position};
use crate::format::segment::{DATA_OFFSET, FLAG_COMPACTED};
use crate::io::{as_final, is_no_space};
use crate::segment::Segment;
use crate::stats::add;

/// Bytes of a batch in a compacted segment.
const BATCH_BYTES: usize = 1024 * 1024;

pub(crate) struct Compaction {
    victims: Vec<Arc<Segment>>,
    work: Option<Work>,
}

/// How a compaction ends.
pub(crate) enum Outcome {
    /// What took over, and what it took over from.
    Done { number: u32, victims: Vec<Arc<Segment>> },
    /// Everything is as before.
    GivenUp,
    /// The same, for want of space.
    Refused,
}

/// One record to be copied.
struct Survivor {
    group: GroupId,
    part: Part,
    /// 0 for control records.
    sequence: u64,
    victim: usize,
    offset: u32,
    index_limit: u64,
    control: Option<FooterControl>,
}

/// Where in the new segment a record goes, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Latest,
    Messages,
    /// Checkpoints in reserve.
    Reserve,
}

struct Work {
    survivors: Vec<Survivor>,
    at: usize,
    segment: Arc<Segment>,
    built: super::pool::Built,
    readers: Vec<SegmentReader>,
    buffer: AlignedBuffer,
    length: usize,
    record_count: u32,
    /// What the batch is a part of.
    part: Part,
    position: u32,
    batch: u64,
    spans: Vec<(GroupId, LiveSpan)>,
    /// Control records: as they were, and as they are now.
    controls: Vec<(u32, FooterControl, FooterControl)>,
}

impl Compaction {
    pub(crate) fn new(victims: Vec<Arc<Segment>>) -> Self {
        Self { victims, work: None }
    }

    /// One piece. Nothing until it ends.
    pub(crate) fn step(&mut self, shared: &Shared) -> io::Result<Option<Outcome>> {
        match self.try_step(shared) {
            // The victims still have everything, and what was taken from the spares is needed by others.
            Err(error) if is_no_space(&error) => {
                self.give_up(shared);
                Ok(Some(Outcome::Refused))
            }
            outcome => outcome,
        }
    }

    fn try_step(&mut self, shared: &Shared) -> io::Result<Option<Outcome>> {
        let Some(work) = &mut self.work else {
            return self.begin(shared);
        };
        if work.at < work.survivors.len() {
            if work.copy_batch(shared, &self.victims)? {
                return Ok(None);
            }
            return Ok(Some(self.give_up(shared)));
        }
        if !work.complete(shared, &self.victims)? {
            return Ok(Some(self.give_up(shared)));
        }
        let number = work.segment.number;
        self.work = None;
        Ok(Some(Outcome::Done { number, victims: std::mem::take(&mut self.victims) }))
    }

    fn begin(&mut self, shared: &Shared) -> io::Result<Option<Outcome>> {
        // From here on an erase in one of the victims is noticed.
        *shared.rewriting.lock() = Some(self.victims.iter().map(|victim| victim.number).collect());
        let survivors = survivors(shared, &self.victims);
        if !self.victims.iter().all(|victim| victim.is_movable()) {
            // The tables of one can't be read, or not all of what they say: with it would go what nobody has copied.
            return Ok(Some(self.give_up(shared)));
        }
        let built = build(shared, shared.segment_bytes, FLAG_COMPACTED)?;
        let segment = Arc::new(Segment::new(&shared.path, built.header, built.length));
        segment.set_file(built.file.clone());
        self.work = Some(Work {
            survivors,
            at: 0,
            readers: self.victims.iter().map(|victim| SegmentReader::new(victim.clone())).collect(),
            segment,
            built,
            buffer: AlignedBuffer::new(BATCH_BYTES),
            length: BATCH_HEADER_BYTES,
            record_count: 0,
            part: Part::Latest,
            position: DATA_OFFSET,
            batch: 0,
            spans: Vec::new(),
            controls: Vec::new(),
        });
        Ok(None)
    }

    fn give_up(&mut self, shared: &Shared) -> Outcome {
        *shared.rewriting.lock() = None;
        if let Some(work) = self.work.take() {
            work.built.discard(shared);
        }
        Outcome::GivenUp
    }
}

impl Work {
    /// Copies survivors until a batch is full. False when one of them cannot be read.
    fn copy_batch(&mut self, shared: &Shared, victims: &[Arc<Segment>]) -> io::Result<bool> {
        while self.at < self.survivors.len() {
            let Survivor { group, part, sequence, victim, offset, index_limit, control } = self.survivors[self.at];
            if self.record_count > 0 && self.part != part {
                self.write_batch(shared)?;
                while part == Part::Reserve && !self.position.is_multiple_of(PAGE_BYTES) {
                    self.write_one(shared)?;
                }
                return Ok(true);
            }
            let Ok(record) = self.readers[victim].read(shared, offset) else {
                // The evidence stays: a replica may still repair it.
                victims[victim].set_unmovable();
                return Ok(false);
            };
            let header = record.header;
            let expected = header.group == group && (control.is_some() || header.sequence == sequence);
            if !expected || is_replaced(&header, index_limit) {
                self.at += 1;
                continue;
            }
            let bytes = record.bytes().len();
            if self.record_count > 0 && record_position(self.length) + bytes > BATCH_BYTES {
                self.write_batch(shared)?;
                return Ok(true);
            }
            let Some(at) = self.copy(record.bytes(), victims[victim].seed) else {
                victims[victim].set_unmovable();
                return Ok(false);
            };
            self.part = part;
            self.note(&record, at, victims[victim].number, control);
            self.at += 1;
        }
        self.write_batch(shared)?;
        Ok(true)
    }

    /// Where the copy is. `None` when the record's page vanished after it was read.
    fn copy(&mut self, record: &[u8], seed: u32) -> Option<u32> {
        let at = record_position(self.length);
        self.buffer.grow(self.length, at + record.len());
        self.buffer[self.length..at].fill(0);
        encode_copy(record, (seed, self.segment.seed), &mut self.buffer[at..at + record.len()]).ok()?;
        self.length = at + record.len();
        self.record_count += 1;
        Some(self.position + at as u32)
    }

    fn note(&mut self, record: &super::Record, offset: u32, victim: u32, control: Option<FooterControl>) {
        if let Some(control) = control {
            self.controls.push((victim, control, FooterControl { offset, ..control }));
            return;
        }
        let group = record.header.group;
        if self.spans.last().is_none_or(|(last, _)| *last != group) {
            self.spans.push((group, LiveSpan::new(self.segment.clone())));
        }
        let Some((_, span)) = self.spans.last_mut() else { return };
        // Sorted by sequence, and out of the log.
        span.push_compacted(&record.header, record.subject(), offset);
    }

    fn write_batch(&mut self, shared: &Shared) -> io::Result<()> {
        if self.record_count > 0 {
            self.write_one(shared)?;
        }
        Ok(())
    }

    fn write_one(&mut self, shared: &Shared) -> io::Result<()> {
        self.batch += 1;
        let header = BatchHeader {
            segment: self.segment.number,
            number: self.batch,
            // Everything is synced before the file gets its name.
            durable: self.batch - 1,
            length: self.length as u32,
            record_count: self.record_count,
            flags: 0,
            previous_segment: 0,
            previous_end: 0,
        };
        header.encode(self.segment.seed, &mut self.buffer);
        let padded = self.length.next_multiple_of(shared.block_bytes as usize);
        self.buffer.grow(self.length, padded);
        self.buffer[self.length..padded].fill(0);
        let file = &self.built.file;
        let end = self.position as usize + padded;
        if end > self.segment.length.load(Ordering::Acquire) as usize {
            file.allocate(end as u64)?;
            self.segment.length.store(end as u32, Ordering::Release);
        }
        file.write_at(&self.buffer[..padded], u64::from(self.position))?;
        add(&shared.counters.compacted_bytes, padded);
        self.segment.data_end.store(self.position + self.length as u32, Ordering::Release);
        self.segment.record_count.fetch_add(self.record_count, Ordering::AcqRel);
        self.segment.last_batch.store(self.batch, Ordering::Release);
        self.position += padded as u32;
        self.length = BATCH_HEADER_BYTES;
        self.record_count = 0;
        Ok(())
    }

    /// Sync, footer, name, and only then the readers. False when it is not wanted any more.
    fn complete(&mut self, shared: &Shared, victims: &[Arc<Segment>]) -> io::Result<bool> {
        self.write_batch(shared)?;
        // A marker vouches for the last batch.
        self.write_one(shared)?;
        self.built.file.sync()?;
        let tables = self.spans.iter().map(|(group, span)| group_tables(*group, span)).collect();
        let controls = self.controls.iter().map(|(_, _, new)| *new).collect();
        let footer = footer(self.segment.number, tables, controls);
        let spans = write(shared, &self.segment, footer)?;
        let mut rewriting = shared.rewriting.lock();
        if rewriting.take().is_none() {
            // Something was erased meanwhile, and the copy still has it.
            return Ok(false);
        }
        shared.io.rename(&self.built.path, &self.segment.path)?;
        // From here on the file is no spare any more.
        shared.io.sync_dir(&shared.path).map_err(as_final)?;
        self.install(shared, victims, spans);
        drop(rewriting);
        add(&shared.counters.segments_compacted, victims.len());
        Ok(true)
    }

    fn install(&self, shared: &Shared, victims: &[Arc<Segment>], spans: Vec<SealedSpan>) {
        shared.segments.write().insert(self.segment.number, self.segment.clone());
        let mut directory = shared.directory.write();
        let residents = spans.iter().map(|span| span.numbers.group).collect();
        let controls: Vec<FooterControl> = self.controls.iter().map(|(_, _, new)| *new).collect();
        directory.note_sealed(self.segment.number, residents, controls);
        for (victim, old, new) in &self.controls {
            if directory.needs_control(*victim, old) {
                directory.commit(self.segment.number, *new, false);
            }
        }
        for span in spans {
            let Some(group) = directory.group_mut(span.numbers.group) else { continue };
            // What was released while the copy was made.
            if group.first_live > 0 {
                span.release(0, group.first_live - 1);
            }
            for old in
                group.sealed.iter().filter(|old| victims.iter().any(|victim| victim.number == old.segment.number))
            {
                for run in old.released().runs() {
                    span.release(*run.start(), *run.end());
                }
            }
            for victim in victims {
                group.forget_segment(victim.number);
            }
            group.add_sealed(Arc::new(span));
        }
    }
}

/// Everything in the victims that must live on: messages by group and sequence, control records before and behind them.
fn survivors(shared: &Shared, victims: &[Arc<Segment>]) -> Vec<Survivor> {
    let mut survivors = Vec::new();
    for (victim, segment) in victims.iter().enumerate() {
        let spans: Vec<Arc<SealedSpan>> = {
            let directory = shared.directory.read();
            for control in directory.controls(segment.number) {
                if directory.needs_control(segment.number, control) {
                    let is_reserve = directory.group(control.group).is_some_and(|group| group.is_reserve(control));
                    survivors.push(Survivor {
                        group: control.group,
                        part: if is_reserve { Part::Reserve } else { Part::Latest },
                        sequence: 0,
                        victim,
                        offset: control.offset,
                        index_limit: u64::MAX,
                        control: Some(*control),
                    });
                }
            }
            let residents = directory.residents(segment.number).iter();
            let spans = residents.filter_map(|id| directory.group(*id)?.sealed_in(segment.number));
            spans.filter(|span| span.has_messages()).cloned().collect()
        };
        for span in spans {
            messages_of(shared, &span, victim, &mut survivors);
        }
    }
    survivors.sort_by_key(|survivor| (survivor.part, survivor.group, survivor.sequence, survivor.offset));
    survivors
}

fn messages_of(shared: &Shared, span: &Arc<SealedSpan>, victim: usize, survivors: &mut Vec<Survivor>) {
    let Ok(section) = shared.section(span) else {
        span.segment.set_unmovable();
        return;
    };
    let known = survivors.len();
    add_messages_of(shared, span, section, victim, survivors);
    if shared.lacks_pages(&span.segment) {
        // The offsets may be zeros. Such a segment stays where it is.
        survivors.truncate(known);
    }
}

fn add_messages_of(
    shared: &Shared,
    span: &Arc<SealedSpan>,
    section: &Section,
    victim: usize,
    survivors: &mut Vec<Survivor>,
) {
    let index_limit = if span.segment.header.is_compacted() { u64::MAX } else { span.index_limit() };
    let group = span.numbers.group;
    let directory = shared.directory.read();
    for position in 0..section.message_count() {
        let Some(sequence) = number_at(&section.sequence_runs, position) else { continue };
        if span.is_released(sequence) {
            continue;
        }
        // An older copy of a message that also lies elsewhere is dead.
        let is_best =
            match directory.group(group).map(|group| (group.live_holds(sequence), group.sealed_covering(sequence))) {
                Some((false, covering)) => {
                    let newer = covering.into_iter().take_while(|other| !Arc::ptr_eq(other, span));
                    !newer.into_iter().any(|other| shared.holds(other, sequence))
                }
                _ => false,
            };
        if let Some(offset) = section.message(position).filter(|_| is_best) {
            let part = Part::Messages;
            survivors.push(Survivor { group, part, sequence, victim, offset, index_limit, control: None });
        }
    }
}

impl Shared {
    fn holds(&self, span: &Arc<SealedSpan>, sequence: u64) -> bool {
        span.is_contiguous() || self.section(span).is_ok_and(|section| message_offset(section, sequence).is_some())
    }
}
