//! What decides the write path (docs/adr/0002, 0004): how a durable write is made, and what a record costs before and
//! after it. `cargo bench -p headwater-storage --bench writes`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headwater_storage::io::{Io, OpenMode, RealIo};
use headwater_storage::{AppendClass, GroupId, Journal, JournalOptions, RecordHeader, RecordKind, SimIo, Urgency};

const BLOCK: usize = 4096;
const FILE_BYTES: u64 = 256 << 20;
const SUBJECT: &[u8] = b"orders.eu.new";
const BURST: u64 = 64;

/// What the file was before the measurement.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Written,
    Reserved,
    Empty,
}

fn durable_write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("durable write of 4 KiB");
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let direct = RealIo::probe(directory.path()).expect("a disk");
    let cases = [
        ("direct, to a file written before", direct, Before::Written),
        ("direct, to a file of reserved space", direct, Before::Reserved),
        ("direct, to a growing file", direct, Before::Empty),
        ("through the page cache, to a file written before", RealIo::buffered(), Before::Written),
        ("through the page cache, to a growing file", RealIo::buffered(), Before::Empty),
    ];
    for (number, (name, io, before)) in cases.into_iter().enumerate() {
        let file = io.open(&directory.path().join(number.to_string()), OpenMode::Create).expect("a file");
        match before {
            Before::Written => {
                let zeros = vec![0; 1 << 20];
                (0..FILE_BYTES).step_by(zeros.len()).for_each(|at| file.write_at(&zeros, at).expect("space"));
                file.sync().expect("a sync");
            }
            Before::Reserved => file.allocate(FILE_BYTES).expect("space"),
            Before::Empty => {}
        }
        let (block, mut at) = (vec![7; BLOCK], 0);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                file.write_durable_at(&block, at).expect("a write");
                at += BLOCK as u64;
                if before != Before::Empty {
                    at %= FILE_BYTES;
                }
            });
        });
    }
    group.finish();
}

fn append(journal: &Journal, from: u64, payload: &[u8]) -> u64 {
    let mut appender = journal.append(AppendClass::Message).expect("the journal takes messages");
    for index in from..from + BURST {
        let header = RecordHeader {
            index,
            term: 1,
            sequence: index,
            time: index as i64,
            subject_len: SUBJECT.len() as u16,
            ..RecordHeader::of_payload(GroupId(2), RecordKind::Message, payload.len())
        };
        appender.record(&header, &[SUBJECT, payload]);
    }
    appender.finish(Urgency::EndOfTurn);
    from + BURST
}

fn journal() -> Journal {
    let options = JournalOptions {
        manual: true,
        scrub_bytes_per_second: 0,
        segment_bytes: Some(16 << 20),
        queue_bytes_max: usize::MAX,
        ..JournalOptions::default()
    };
    Journal::open(Arc::new(SimIo::new()), Path::new("journal"), options, &mut |_| {}).expect("it opens").journal
}

/// What appending alone costs: the lock, the encoding and the one copy.
fn append_record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(BURST));
    group.bench_function("64 records of 128 bytes", |bencher| {
        let (journal, mut next) = (journal(), 1);
        bencher.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            for round in 0..iterations {
                let start = Instant::now();
                next = append(&journal, next, &[7; 128]);
                spent += start.elapsed();
                if round % 64 == 0 {
                    journal.drive();
                    journal.release_messages_before(GroupId(2), next);
                }
            }
            spent
        });
    });
    group.finish();
}

/// Where a message lies: a table in memory, or the footer of a sealed segment.
fn look_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("look-up");
    let (journal, mut next) = (journal(), 1);
    while journal.stats().segments < 4 {
        next = append(&journal, next, &[7; 128]);
        journal.drive();
    }
    for (name, from, count) in [("in a sealed segment", 1, 40_000), ("in the segment being written", next - 2000, 2000)]
    {
        let mut at = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                at = (at + 7919) % count;
                journal.locate(GroupId(2), from + at).expect("it is stored")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, durable_write, append_record, look_up);
criterion_main!(benches);
