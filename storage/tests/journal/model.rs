//! The journal against a naive model, with the power cut at every write and every sync.
//!
//! After a crash the journal must hold what some prefix of the appended records says, and that prefix must hold all
//! that was reported durable. Nothing may be reported as damage. `SEED=7 cargo test` replays one seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use headwater_storage::io::CrashPoint;
use headwater_storage::{
    AppendClass, DurableBatch, DurableSink, GroupId, Journal, JournalError, Opened, ReadError, RecordHeader,
    RecordKind, SimIo, Urgency,
};
use parking_lot::Mutex;

use crate::support::*;

pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[derive(Clone, Debug)]
enum Action {
    Entry { group: u64, index: u64, sequence: u64, body: Vec<u8> },
    State { group: u64, body: Vec<u8> },
    Definition { group: u64, body: Vec<u8> },
    Checkpoint { group: u64, index: u64, body: Vec<u8> },
    Release { group: u64, below: u64 },
    Remove { group: u64 },
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Group {
    log: BTreeMap<u64, (u64, Vec<u8>)>,
    messages: BTreeMap<u64, Vec<u8>>,
    state: Option<Vec<u8>>,
    definition: Option<Vec<u8>>,
    checkpoint: Option<(u64, Vec<u8>)>,
    released: u64,
}

#[derive(Clone, Default)]
struct Model {
    groups: BTreeMap<u64, Group>,
    removed: Vec<u64>,
}

impl Model {
    fn apply(&mut self, action: &Action) {
        match action {
            Action::Entry { group, index, sequence, body } => {
                let group = self.groups.entry(*group).or_default();
                for (_, (sequence, _)) in group.log.split_off(index) {
                    group.messages.remove(&sequence);
                }
                group.log.insert(*index, (*sequence, body.clone()));
                if *sequence > 0 {
                    group.messages.insert(*sequence, body.clone());
                }
            }
            Action::State { group, body } => self.groups.entry(*group).or_default().state = Some(body.clone()),
            Action::Definition { group, body } => {
                self.groups.entry(*group).or_default().definition = Some(body.clone());
            }
            Action::Checkpoint { group, index, body } => {
                self.groups.entry(*group).or_default().checkpoint = Some((*index, body.clone()));
            }
            Action::Release { group, below } => self.groups.entry(*group).or_default().released = *below,
            Action::Remove { group } => {
                self.groups.remove(group);
                self.removed.push(*group);
            }
        }
    }

    /// Chooses what happens next.
    fn choose(&self, random: &mut Random, stamp: u64) -> Action {
        let group = loop {
            let group = 2 + random.below(4);
            if !self.removed.contains(&group) {
                break group;
            }
        };
        let empty = Group::default();
        let state = self.groups.get(&group).unwrap_or(&empty);
        let last = state.log.keys().next_back().copied().unwrap_or(0);
        let floor = state.checkpoint.as_ref().map_or(0, |(index, _)| *index);
        let body = format!("{group}/{stamp} ").repeat(1 + random.below(60) as usize).into_bytes();
        match random.below(100) {
            0..2 => Action::State { group, body },
            2 => Action::Definition { group, body },
            3..8 if last > 0 => {
                let index = floor.max(last.saturating_sub(random.below(10)));
                Action::Checkpoint { group, index: index.max(1), body }
            }
            8..12 if last > floor => {
                // Raft replaces the tail of the log.
                let index = floor + 1 + random.below(last - floor);
                let before = state.log.range(..index).map(|(_, (sequence, _))| *sequence).max();
                Action::Entry { group, index, sequence: before.unwrap_or(0).max(state.released) + 1, body }
            }
            12..20 => {
                let below = state.log.range(..=floor).map(|(_, (sequence, _))| *sequence).max().unwrap_or(0);
                Action::Release { group, below: state.released.max(below) }
            }
            20..25 => Action::Entry { group, index: last + 1, sequence: 0, body },
            25 if group == 5 && stamp > 150 => Action::Remove { group },
            _ => {
                let last_sequence = state.log.values().map(|(sequence, _)| *sequence).max().unwrap_or(0);
                Action::Entry { group, index: last + 1, sequence: last_sequence.max(state.released) + 1, body }
            }
        }
    }
}

/// Counts the records that are durable, in order of append.
#[derive(Default)]
struct Durable(Mutex<u64>);

impl DurableSink for Durable {
    fn durable(&self, batch: &DurableBatch) {
        // The journal's own copies of pinned records carry the mark of an earlier record.
        *self.0.lock() += batch.records().count() as u64;
    }
    fn failed(&self, _: &JournalError, _: &[GroupId]) {}
    fn checkpoint_wanted(&self, _: GroupId) {}
    fn space(&self, _: bool) {}
}

/// One of two, of either of which there may be few in a segment.
fn subject_of(body: &[u8]) -> &'static [u8] {
    if body.len().is_multiple_of(3) { b"s.u" } else { b"s.v" }
}

fn perform(journal: &Journal, action: &Action) -> u64 {
    match action {
        Action::Entry { group, index, sequence, body } => {
            let Ok(mut appender) = journal.append(AppendClass::Message) else { return 0 };
            let subject = subject_of(body);
            appender.record(&header(*group, *index, 1, *sequence, subject, body), &[subject, body]);
            appender.finish(Urgency::Wake);
        }
        Action::State { group, body } => {
            let Ok(mut appender) = journal.append(AppendClass::Control) else { return 0 };
            let state = RecordHeader { kind: RecordKind::State, ..header(*group, 0, 0, 0, b"", body) };
            appender.record(&state, &[body]);
        }
        Action::Definition { group, body } => {
            let Ok(mut appender) = journal.append(AppendClass::Control) else { return 0 };
            let definition = RecordHeader { kind: RecordKind::Definition, ..header(*group, 7, 0, 0, b"", body) };
            appender.record(&definition, &[body]);
        }
        Action::Checkpoint { group, index, body } => {
            let Ok(mut appender) = journal.append(AppendClass::Control) else { return 0 };
            appender.checkpoint(GroupId(*group), *index, 1, Bytes::copy_from_slice(body));
        }
        Action::Release { group, below } => {
            journal.release_messages_before(GroupId(*group), below + 1);
            return 0;
        }
        Action::Remove { group } => {
            let Ok(mut appender) = journal.append(AppendClass::Control) else { return 0 };
            let removed = RecordHeader { kind: RecordKind::GroupRemoved, ..header(*group, 0, 0, 0, b"", b"") };
            appender.record(&removed, &[]);
            drop(appender);
            journal.remove_group(GroupId(*group));
        }
    }
    1
}

/// One life of the journal: what was appended, and how many of these records were reported durable.
fn live(io: &SimIo, model: &Model, random: &mut Random, actions: usize, stamp: u64) -> (Vec<Action>, usize) {
    let mut done = Vec::new();
    let io_dyn = Arc::new(io.clone());
    let Ok(opened) = Journal::open(io_dyn, DIRECTORY.as_ref(), crash_options(), &mut |_| {}) else { return (done, 0) };
    let journal = opened.journal;
    for (group, state) in &model.groups {
        journal.set_live(GroupId(*group), state.released + 1, &headwater_storage::SequenceSet::new());
    }
    let durable = Arc::new(Durable::default());
    journal.start(durable.clone());
    let mut model = model.clone();
    let mut records = 0;
    for step in 0..actions {
        let action = model.choose(random, stamp + step as u64);
        model.apply(&action);
        records += perform(&journal, &action);
        done.push(action);
        if random.below(4) == 0 {
            journal.drive();
        }
        if io.is_crashed() {
            break;
        }
    }
    journal.drive();
    let durable = *durable.0.lock();
    assert!(durable <= records);
    // The place in `done` behind the last durable record.
    let is_record = |action: &Action| !matches!(action, Action::Release { .. });
    let mut left = durable;
    let mut place = 0;
    for (at, action) in done.iter().enumerate() {
        if left > 0 && is_record(action) {
            left -= 1;
            place = at + 1;
        }
    }
    if std::env::var("VERBOSE").is_ok() {
        let stats = journal.stats();
        println!(
            "{} actions, {} segments, {} compacted, {} recycled, {:.2} amplification",
            done.len(),
            stats.segments,
            stats.segments_compacted,
            stats.segments_recycled,
            stats.write_amplification()
        );
    }
    if random.below(3) == 0 {
        journal.close()
    } else {
        journal.abort()
    }
    (done, place)
}

fn crash_options() -> headwater_storage::JournalOptions {
    headwater_storage::JournalOptions {
        segment_bytes: Some(20 * 1024),
        first_segment_bytes: 20 * 1024,
        tail_bytes_max: 4096,
        checkpoint_bytes: 32 * 1024,
        ..manual()
    }
}

/// What differs between the journal and a model, if anything.
fn difference(opened: &Opened, model: &Model) -> Option<String> {
    let journal = &opened.journal;
    let recovered: Vec<u64> = opened.groups.iter().map(|group| group.group.0).collect();
    let expected: Vec<u64> = model.groups.keys().copied().filter(|group| has_records(&model.groups[group])).collect();
    if recovered != expected {
        return Some(format!("groups {recovered:?}, not {expected:?}"));
    }
    for group in &opened.groups {
        let id = group.group;
        let state = &model.groups[&id.0];
        if group.state.as_deref() != state.state.as_deref() {
            return Some(format!("{id:?} state"));
        }
        let definition = group.definition.as_ref().map(|definition| (definition.index, definition.body.to_vec()));
        if definition != state.definition.clone().map(|body| (7, body)) {
            return Some(format!("{id:?} definition"));
        }
        let checkpoint = group.checkpoint.as_ref().map(|checkpoint| (checkpoint.index, checkpoint.body.to_vec()));
        if checkpoint != state.checkpoint {
            return Some(format!("{id:?} checkpoint {:?}", checkpoint.map(|checkpoint| checkpoint.0)));
        }
        let covered = state.checkpoint.as_ref().map_or(0, |(index, _)| *index);
        let last = state.log.keys().next_back().copied().unwrap_or(0);
        if group.last_index != last.max(covered) {
            return Some(format!("{id:?} last index {}, not {last}", group.last_index));
        }
        for (index, (sequence, body)) in state.log.range(covered + 1..) {
            match journal.read_entry(id, *index) {
                Ok(record) if record.payload() == &body[..] && record.header.sequence == *sequence => {}
                other => return Some(format!("{id:?} entry {index}: {other:?}")),
            }
        }
        for (sequence, body) in state.messages.range(state.released + 1..) {
            match journal.read_message(id, *sequence) {
                Ok(record) if record.payload() == &body[..] => {}
                other => return Some(format!("{id:?} message {sequence}: {other:?}")),
            }
        }
        let last_sequence = state.messages.keys().next_back().copied().unwrap_or(0);
        if let Ok(record) = journal.read_message(id, last_sequence.max(state.released) + 1) {
            return Some(format!("{id:?} has message {:?}", record.header));
        }
        let mut cursor = journal.scan(id, state.released + 1);
        let mut scanned = Vec::new();
        loop {
            match cursor.next() {
                Ok(Some(record)) => scanned.push(record.header.sequence),
                Ok(None) => break,
                Err(error) => return Some(format!("{id:?} scan: {error}")),
            }
        }
        let expected: Vec<u64> = state.messages.range(state.released + 1..).map(|(sequence, _)| *sequence).collect();
        if scanned != expected {
            return Some(format!("{id:?} scanned {scanned:?}, not {expected:?}"));
        }
        for subject in [&b"s.u"[..], b"s.v", b"s"] {
            let mut of_subject = Vec::new();
            let mut from = state.released + 1;
            loop {
                match journal.next_of_subject(id, from, subject) {
                    Ok(Some(sequence)) => of_subject.push(sequence),
                    Ok(None) => break,
                    Err(error) => return Some(format!("{id:?} next of subject: {error}")),
                }
                from = of_subject.last().map_or(0, |last| last + 1);
            }
            let messages = state.messages.range(state.released + 1..);
            let expected: Vec<u64> =
                messages.filter(|(_, body)| subject_of(body) == subject).map(|(sequence, _)| *sequence).collect();
            if of_subject != expected {
                return Some(format!("{id:?} of subject {of_subject:?}, not {expected:?}"));
            }
            let mut downwards = Vec::new();
            let mut to = Some(u64::MAX);
            while let Some(bound) = to {
                match journal.previous_of_subject(id, bound, subject) {
                    Ok(Some(sequence)) if sequence > state.released => downwards.push(sequence),
                    Ok(_) => break,
                    Err(error) => return Some(format!("{id:?} previous of subject: {error}")),
                }
                to = downwards.last().and_then(|last| last.checked_sub(1));
            }
            downwards.reverse();
            if downwards != expected {
                return Some(format!("{id:?} has {downwards:?} on a subject from the end, not {expected:?}"));
            }
        }
    }
    let mut replayed = BTreeMap::new();
    let visited = journal.replay(&mut |_| {}, &mut |_, record| {
        replayed.insert((record.header.group.0, record.header.index), record.payload().to_vec());
    });
    match visited {
        Ok(report) if report.damages.is_empty() => {}
        other => return Some(format!("replay {other:?}")),
    }
    for (id, state) in &model.groups {
        let covered = state.checkpoint.as_ref().map_or(0, |(index, _)| *index);
        for (index, (_, body)) in state.log.range(covered + 1..) {
            if replayed.remove(&(*id, *index)).as_ref() != Some(body) {
                return Some(format!("{id} replayed entry {index}"));
            }
        }
    }
    (!replayed.is_empty()).then(|| format!("replayed too much: {:?}", replayed.keys()))
}

fn has_records(group: &Group) -> bool {
    *group != Group { released: group.released, ..Group::default() }
}

/// Lives, crashes at `point` of the last life, and checks. True when the crash point was never reached.
fn run(seed: u64, point: u64) -> bool {
    let io = SimIo::new();
    let mut random = Random(seed);
    let mut model = Model::default();
    for life in 0..4 {
        let is_last = life == 3;
        let mutations = io.mutations();
        if is_last {
            io.crash_at(CrashPoint(mutations + point));
        }
        let actions = 40 + random.below(120) as usize;
        let (done, durable) = live(&io, &model, &mut random, actions, life * 1000);
        let missed = is_last && !io.is_crashed();
        io.crash(seed ^ (point << 20) ^ life);
        let opened = open(&io, crash_options());
        if std::env::var("DUMP").is_ok() {
            println!("== life {life}: {:?}", opened.report);
            println!(
                "{:?}",
                opened
                    .groups
                    .iter()
                    .map(|g| (
                        g.group,
                        g.first_index,
                        g.last_index,
                        g.state.is_some(),
                        g.checkpoint.as_ref().map(|c| c.index)
                    ))
                    .collect::<Vec<_>>()
            );
        }
        assert_eq!(opened.report.damages, [], "seed {seed} point {point} life {life}");
        let mut state = model.clone();
        done[..durable].iter().for_each(|action| state.apply(action));
        let mut differences = Vec::new();
        let mut found = false;
        for next in durable..=done.len() {
            let difference = difference(&opened, &state);
            found = difference.is_none();
            if found {
                break;
            }
            differences.push((next, difference));
            done.get(next..=next).into_iter().flatten().for_each(|action| state.apply(action));
        }
        assert!(found, "seed {seed} point {point} life {life} durable {durable} of {}: {differences:#?}", done.len());
        model = state;
        if missed {
            return true;
        }
        opened.journal.abort();
        // The lock is gone with the process.
        io.crash(0);
    }
    false
}

fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        // `SEEDS=1000 cargo test` looks longer.
        None => match std::env::var("SEEDS").ok().and_then(|count| count.parse::<u64>().ok()) {
            Some(count) => default.start..default.start + count,
            None => default,
        },
    }
}

#[test]
fn nothing_durable_is_lost_wherever_the_power_is_cut() {
    let mut cuts = 0;
    for seed in seeds(1..4) {
        // Every mutation of the first seed, a sample of the others.
        let stride = if seed == 1 { 1 } else { 7 };
        let mut point = seed % stride;
        while !run(seed, point) {
            point += stride;
            cuts += 1;
        }
    }
    assert!(cuts > 50);
}

#[test]
fn many_seeds_survive_crashes_at_random_points() {
    if let Some(point) = std::env::var("POINT").ok().and_then(|point| point.parse().ok()) {
        for seed in seeds(0..0) {
            run(seed, point);
        }
        return;
    }
    for seed in seeds(100..160) {
        run(seed, Random(seed).below(60));
    }
}

#[test]
fn reading_never_invents_records() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    append(&journal, 5, 1, 1, b"one");
    assert!(matches!(journal.read_entry(GroupId(5), 0), Err(ReadError::NotFound)));
    assert!(matches!(journal.read_entry(GroupId(5), 2), Err(ReadError::NotFound)));
}
