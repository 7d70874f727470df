//! The paths that every message takes, each alone: parse, match, append to the journal; and the way back, recovery.
//!
//! `cargo bench --bench paths`; one group: `cargo bench --bench paths -- parser`.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use headwater::account::{Keyed, Trie};
use headwater::protocol::client::{Limits, Step, parse};
use headwater_storage::{
    AppendClass, GroupId, Io, Journal, JournalOptions, RealIo, RecordHeader, RecordKind, SimIo, Urgency,
};

const LIMITS: Limits = Limits { control_line_bytes_max: 4096, payload_bytes_max: 1 << 20, headers: true };
/// Operations in one buffer, about a read's worth.
const OPERATIONS: usize = 128;

fn parser(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parser");
    let payload = "x".repeat(128);
    let cases = [
        ("PUB of 16 bytes", "PUB orders.eu.new 16\r\n0123456789abcdef\r\n".to_owned()),
        ("PUB of 128 bytes with reply", format!("PUB orders.eu.new _INBOX.abcdefghijkl.1 128\r\n{payload}\r\n")),
        ("HPUB of 128 bytes", format!("HPUB orders.eu.new 29 157\r\nNATS/1.0\r\nNats-Msg-Id: 12\r\n\r\n{payload}\r\n")),
        ("SUB", "SUB orders.*.new workers 42\r\n".to_owned()),
    ];
    for (name, operation) in cases {
        let buffer = operation.repeat(OPERATIONS).into_bytes();
        group.throughput(Throughput::Elements(OPERATIONS as u64));
        group.bench_function(name, |bencher| bencher.iter(|| assert_eq!(parse_all(black_box(&buffer)), OPERATIONS)));
    }
    group.finish();
}

fn parse_all(mut buffer: &[u8]) -> usize {
    let mut operations = 0;
    while let Some(Step::Op(operation, taken)) = (!buffer.is_empty()).then(|| parse(buffer, &LIMITS)) {
        black_box(operation);
        operations += 1;
        buffer = &buffer[taken..];
    }
    operations
}

struct Subscriber(u64);

impl Keyed for Subscriber {
    fn key(&self) -> u64 {
        self.0
    }
}

fn matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("match");
    group.throughput(Throughput::Elements(1));
    for subscriptions in [100, 10_000, 1_000_000] {
        let mut trie = Trie::default();
        for number in 0..subscriptions {
            let subject = match number % 20 {
                0 => format!("orders.*.{number}"),
                1 => format!("orders.{}.>", number % 1000),
                _ => format!("orders.{}.{number}", number % 1000),
            };
            trie.insert(subject.as_bytes(), Subscriber(number));
        }
        let subjects: Vec<String> =
            (0..1024).map(|n| format!("orders.{}.{}", n % 1000, n * 7 % subscriptions)).collect();
        let mut at = 0;
        group.bench_function(format!("a subject among {subscriptions} subscriptions"), |bencher| {
            bencher.iter(|| {
                at = (at + 1) % subjects.len();
                let mut found = 0u64;
                trie.for_each_match(subjects[at].as_bytes(), |subscriber: &Subscriber| found += subscriber.0);
                black_box(found)
            });
        });
    }
    group.finish();
}

const SUBJECT: &[u8] = b"orders.eu.new";

fn options() -> JournalOptions {
    JournalOptions {
        manual: true,
        scrub_bytes_per_second: 0,
        segment_bytes: Some(64 << 20),
        ..JournalOptions::default()
    }
}

fn open(io: Arc<dyn Io>, directory: &Path) -> Journal {
    Journal::open(io, directory, options(), &mut |_| {}).expect("the journal opens").journal
}

/// Appends a burst of messages; the next index.
fn append(journal: &Journal, from: u64, burst: u64, payload: &[u8]) -> u64 {
    let mut appender = journal.append(AppendClass::Message).expect("the journal takes messages");
    for index in from..from + burst {
        let header = RecordHeader {
            group: GroupId(2),
            index,
            term: 1,
            kind: RecordKind::Message,
            tag: 0,
            sequence: index,
            time: index as i64,
            subject_len: SUBJECT.len() as u16,
            headers_len: 0,
            payload_len: payload.len() as u32,
        };
        appender.record(&header, &[SUBJECT, payload]);
    }
    appender.finish(Urgency::Wake);
    from + burst
}

fn journal_append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal append");
    let payload = [7; 128];
    for burst in [1, 64, 1024] {
        let directory = tempfile::tempdir().expect("a directory");
        let io = Arc::new(RealIo::probe(directory.path()).expect("a disk"));
        let journal = open(io, directory.path());
        let mut next = 1;
        group.throughput(Throughput::Elements(burst));
        group.bench_function(format!("{burst} messages and one sync"), |bencher| {
            bencher.iter(|| {
                next = append(&journal, next, burst, &payload);
                journal.drive();
            });
        });
        journal.close();
    }
    group.finish();
}

fn recovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recovery");
    group.sample_size(10);
    let directory = Path::new("journal");
    for messages in [10_000u64, 200_000] {
        let io = SimIo::new();
        let journal = open(Arc::new(io.clone()), directory);
        let mut next = 1;
        while next <= messages {
            next = append(&journal, next, 1000, &[7; 128]);
            journal.drive();
        }
        journal.close();
        group.throughput(Throughput::Elements(messages));
        group.bench_function(format!("open and replay {messages} messages"), |bencher| {
            bencher.iter_batched(
                || io.fork(),
                |io| {
                    let journal = open(Arc::new(io), directory);
                    let report = journal.replay(&mut |_| {}, &mut |_, record| drop(black_box(record)));
                    assert_eq!(report.expect("the journal is whole").entries, next - 1);
                    journal.abort();
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, parser, matching, journal_append, recovery);
criterion_main!(benches);
