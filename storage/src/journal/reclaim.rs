//! Finds segments that are dead, or so nearly dead that their survivors are better kept elsewhere; and groups whose
//! missing checkpoint holds segments back.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::compact::{Compaction, Outcome};
use super::requests::{Requests, Shortage, Uncovered, above_bound};
use super::retire::{Retiring, finish, retire};
use super::shared::Shared;
use crate::directory::group::GroupDirectory;
use crate::directory::sealed::SealedSpan;
use crate::format::record::GroupId;
use crate::segment::Segment;

/// Between two looks at all segments, unless somebody asks.
const PASS_PAUSE: Duration = Duration::from_secs(1);
/// Between two looks even if somebody asks.
const PASS_PAUSE_MIN: Duration = Duration::from_millis(200);
/// After a compaction that there was no room for.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// Segments looked at in one step.
const STEP_SEGMENTS: usize = 64;
/// The newest segments wait for checkpoints that come anyway.
const PATIENCE_SEGMENTS: usize = 4;
/// A segment with more groups than this that live long is a jumble, when each has little in it.
const JUMBLE_GROUPS: usize = 64;
const JUMBLE_GROUP_BYTES: u64 = 16 * 1024;

#[derive(Default)]
pub(crate) struct Reclaim {
    last_pass: Option<Instant>,
    /// Segments still to be looked at in this pass.
    pass: Vec<Arc<Segment>>,
    /// Segments already looked at, which are newer.
    newer: usize,
    /// One of `sparse` is worth its while even alone.
    urgent: bool,
    dead: Vec<Arc<Segment>>,
    sparse: Vec<(u64, Arc<Segment>)>,
    requests: Requests,
    shortage: Shortage,
    /// The disk had no room for another file.
    pub(crate) is_tight: bool,
    retiring: Vec<Retiring>,
    compaction: Option<Compaction>,
    /// When there was no room for what a compaction writes.
    refused_at: Option<Instant>,
}

/// What keeps a segment.
#[derive(Debug, Default)]
struct Assessment {
    /// The disk is full: one checkpoint is enough.
    full: bool,
    live_bytes: u64,
    /// Latest state and checkpoint records, and notes of removed groups.
    pinned: bool,
    /// Groups that still need entries of it, since no checkpoint covers them.
    holders: Vec<GroupId>,
    /// Groups that need entries of it in case that their latest checkpoint, which covers them, is damaged.
    reserving: Vec<GroupId>,
    jumble: bool,
    /// Entries here were replaced by later ones.
    replaced: bool,
    /// Entries here are what shows that older ones were replaced: they stay until those are gone.
    proof: bool,
}

impl Assessment {
    /// A group has entries here, the last of them with this index.
    fn note_entries(&mut self, id: GroupId, group: &GroupDirectory, last: u64) {
        if last > group.checkpoint_index() {
            self.holders.push(id);
        } else if !self.full && last > group.covered_index() {
            self.reserving.push(id);
        }
    }
}

impl Reclaim {
    /// One piece of work. True when there was any.
    pub(crate) fn step(&mut self, shared: &Shared) -> io::Result<bool> {
        // One that can not be renamed for want of space stops none of the others.
        if shared.without_space(finish(shared, &mut self.retiring))? {
            return Ok(true);
        }
        if let Some(compaction) = &mut self.compaction {
            if let Some(outcome) = compaction.step(shared)? {
                self.compaction = None;
                self.refused_at = matches!(outcome, Outcome::Refused).then(Instant::now);
                if let Outcome::Done { number, victims } = outcome {
                    self.retiring.extend(retire(shared, victims, &[number]));
                }
            }
            return Ok(true);
        }
        if self.pass.is_empty() && !self.begin_pass(shared) {
            return Ok(false);
        }
        for _ in 0..STEP_SEGMENTS {
            let Some(segment) = self.pass.pop() else { break };
            self.assess(shared, segment);
        }
        if self.pass.is_empty() {
            self.end_pass(shared);
        }
        Ok(!self.pass.is_empty() || self.compaction.is_some() || !self.retiring.is_empty())
    }

    fn begin_pass(&mut self, shared: &Shared) -> bool {
        let since = self.last_pass.map(|last| last.elapsed());
        let manual = shared.options.manual;
        let (full, present, reserve_from) = {
            let queue = shared.queue.lock();
            (queue.full, queue.placement.segment, queue.reserve_from)
        };
        let is_news = shared.errands.lock().reclaim || (full && self.shortage.is_news(present));
        let asked = is_news && (manual || since.is_none_or(|since| since >= PASS_PAUSE_MIN));
        if !asked && (manual || since.is_some_and(|since| since < PASS_PAUSE)) {
            return false;
        }
        shared.errands.lock().reclaim = false;
        self.last_pass = Some(Instant::now());
        self.newer = 0;
        self.urgent = false;
        // A segment whose footer found no room can still be dead.
        let to_seal: Vec<u32> = shared.errands.lock().to_seal.iter().map(|segment| segment.number).collect();
        let eligible = |segment: &&Arc<Segment>| {
            !segment.is_retired() && (segment.is_sealed() || (full && to_seal.contains(&segment.number)))
        };
        self.pass = shared.segments.read().values().filter(eligible).cloned().collect();
        if full {
            shared.directory.write().groups_mut().for_each(GroupDirectory::drop_reserve);
        }
        let left = reserve_from.filter(|_| full).map_or(0..0, |from| from..present);
        self.find_wanted(shared, full, present, &left);
        true
    }

    /// Groups that a checkpoint is wanted of whatever the segments look like. `left` are segments of the reserve that take no
    /// more data.
    fn find_wanted(&mut self, shared: &Shared, full: bool, present: u32, left: &Range<u32>) {
        let tight = full || self.is_tight;
        if self.shortage.asks_all(Instant::now(), shared.options.manual, full.then_some(present), tight) {
            // A group that did nothing since its last checkpoint has removed nothing either. But that checkpoint may be all
            // that keeps a segment of the reserve.
            let may_release = |group: &&mut GroupDirectory| {
                let may = group.bytes_since_checkpoint > 0 || group.has_controls_in(left);
                may && !group.known_checkpoints().is_under_way
            };
            for group in shared.directory.write().groups_mut().filter(may_release) {
                group.want_checkpoint();
            }
        }
        let directory = shared.directory.read();
        for (id, group) in directory.groups() {
            let is_due = group.bytes_since_checkpoint >= shared.options.checkpoint_bytes;
            if group.is_checkpoint_wanted() || is_due || group.went_on_undefined() {
                self.requests.want(id);
            }
        }
        let uncovered = directory.groups().map(|(group, directory)| Uncovered {
            group,
            bytes: directory.bytes_since_checkpoint,
            checkpoint_bytes: directory.checkpoint_bytes(),
        });
        let above = above_bound(uncovered, shared.options.replay_bytes_max);
        above.into_iter().for_each(|group| self.requests.want(group));
    }

    fn assess(&mut self, shared: &Shared, segment: Arc<Segment>) {
        let newer = self.newer;
        self.newer += usize::from(!segment.header.is_compacted());
        let mut assessment = assess(shared, &segment);
        // While a reader keeps a retired file from being renamed, the note that it is retired must stay.
        assessment.proof |= self.retiring.iter().any(|retiring| retiring.note_segment() == segment.number);
        let capacity = u64::from(segment.length.load(Ordering::Acquire).min(segment.header.capacity));
        let sparse = assessment.live_bytes * 100 < capacity * u64::from(shared.options.compact_below_percent);
        if !assessment.holders.is_empty() || !assessment.reserving.is_empty() {
            let is_old = newer >= PATIENCE_SEGMENTS || shared.queue.lock().full;
            if sparse && is_old {
                assessment.holders.iter().for_each(|group| self.requests.want(*group));
            }
            // A group at rest writes no other one by itself.
            if sparse && assessment.holders.is_empty() {
                assessment.reserving.iter().for_each(|group| self.requests.want(*group));
            }
        } else if assessment.proof {
            // Its turn comes when the replaced entries are compacted away.
        } else if assessment.live_bytes == 0 && !assessment.pinned {
            self.dead.push(segment);
        } else if (sparse || assessment.jumble || assessment.replaced) && segment.is_movable() && segment.is_sealed() {
            self.urgent |= assessment.replaced;
            self.sparse.push((assessment.live_bytes, segment));
        }
    }

    fn end_pass(&mut self, shared: &Shared) {
        let dead = std::mem::take(&mut self.dead);
        if !dead.is_empty() {
            self.retiring.extend(retire(shared, dead, &[]));
        }
        let mut sparse = std::mem::take(&mut self.sparse);
        sparse.sort_by_key(|(bytes, segment)| (*bytes, segment.number));
        let mut room = u64::from(shared.segment_bytes) * 8 / 10;
        let mut victims = Vec::new();
        for (bytes, segment) in sparse {
            if bytes > room && !victims.is_empty() {
                break;
            }
            room = room.saturating_sub(bytes);
            victims.push(segment);
        }
        let rested = self.refused_at.is_none_or(|refused| refused.elapsed() >= REFUSED_PAUSE);
        // One for one would free nothing, but may let another one go.
        let is_worth_it = victims.len() >= 2 || (self.urgent && !victims.is_empty());
        if is_worth_it && (rested || shared.options.manual) {
            self.compaction = Some(Compaction::new(victims));
        }
        let due = {
            let is_feeding = !shared.queue.lock().unfed.is_empty();
            let directory = shared.directory.read();
            let known = |group| directory.group(group).map(GroupDirectory::known_checkpoints);
            self.requests.take(Instant::now(), shared.options.manual, is_feeding, known)
        };
        for group in due {
            shared.sink().checkpoint_wanted(group);
        }
    }
}

fn assess(shared: &Shared, segment: &Arc<Segment>) -> Assessment {
    let mut assessment = Assessment { full: shared.queue.lock().full, ..Assessment::default() };
    if !segment.is_sealed() {
        assess_live(shared, segment, &mut assessment);
    }
    let spans: Vec<(GroupId, Arc<SealedSpan>)> = {
        let directory = shared.directory.read();
        let residents = directory.residents(segment.number).iter();
        residents
            .filter_map(|id| {
                let group = directory.group(*id)?;
                let span = group.sealed_in(segment.number)?;
                assessment.proof |= group.proves_replacement(span);
                assessment.replaced |= span.has_replaced();
                if span.has_entries() && span.numbers.first_index < span.index_limit() {
                    assessment.note_entries(*id, group, span.last_index());
                }
                Some((*id, span.clone()))
            })
            .collect()
    };
    for (_, span) in &spans {
        if span.needs_tables() {
            // A damaged footer leaves the messages alive.
            let _ = shared.section(span);
        }
        let messages = u64::from(span.numbers.message_count).max(1);
        assessment.live_bytes += (span.live_messages() * span.numbers.message_bytes).div_ceil(messages);
    }
    let directory = shared.directory.read();
    let controls = directory.controls(segment.number);
    let needed = controls.iter().filter(|control| directory.needs_control(segment.number, control));
    let pinned_bytes: u64 = needed.map(|control| u64::from(control.length)).sum();
    assessment.pinned = pinned_bytes > 0;
    assessment.live_bytes += pinned_bytes;
    assessment.jumble = !segment.header.is_compacted()
        && spans.len() > JUMBLE_GROUPS
        && assessment.live_bytes / spans.len() as u64 <= JUMBLE_GROUP_BYTES;
    assessment
}

fn assess_live(shared: &Shared, segment: &Arc<Segment>, assessment: &mut Assessment) {
    let directory = shared.directory.read();
    for id in directory.residents(segment.number) {
        let Some(group) = directory.group(*id) else { continue };
        let Some(span) = group.live.iter().find(|span| span.segment.number == segment.number) else { continue };
        if let Some(last) = span.entries.last() {
            assessment.note_entries(*id, group, last);
        }
        let live = (span.message_count() as u64).saturating_sub(span.released.len());
        assessment.live_bytes += live;
        // Whether it proves anything is known only from footers.
        assessment.proof |= group.was_truncated;
    }
}
