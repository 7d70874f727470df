//! The subject index: what a subject costs in memory, and what inserting and matching cost in time.

use std::hint::black_box;
use std::ops::ControlFlow;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use headwater_storage::SubjectIndex;

const SUBJECTS: u64 = 1_000_000;

/// Streams as they are met: counters, a grid of sensors, keys without order, many devices of many tenants.
fn shapes() -> [(&'static str, Vec<String>); 4] {
    let subjects = |subject_of: &dyn Fn(u64) -> String| (0..SUBJECTS).map(subject_of).collect();
    [
        ("numbered", subjects(&|n| format!("orders.{n}.created"))),
        ("grid", subjects(&|n| format!("sensor.{}.{}.{}", n / 10_000, n / 100 % 100, n % 100))),
        ("random", subjects(&|n| format!("$KV.profiles.{:016x}", (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))),
        ("devices", subjects(&|n| format!("tenant-{}.device-{}.telemetry", n % 1000, n / 1000))),
    ]
}

fn filled(subjects: &[String]) -> SubjectIndex {
    let mut index = SubjectIndex::new();
    for (subject, sequence) in subjects.iter().zip(1..) {
        index.insert(subject.as_bytes(), sequence);
    }
    index
}

/// The order in which a busy stream touches its subjects: all over the place.
fn scattered(subjects: &[String]) -> impl Iterator<Item = &String> {
    let count = subjects.len();
    (0..).map(move |n: usize| &subjects[n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % count])
}

fn memory(_: &mut Criterion) {
    for (name, subjects) in shapes() {
        let mut index = filled(&subjects);
        let single = index.bytes_held();
        for (subject, sequence) in subjects.iter().zip(SUBJECTS + 1..) {
            index.insert(subject.as_bytes(), sequence);
        }
        let more = index.bytes_held();
        index.compact();
        let mut encoded = Vec::new();
        index.encode(&mut encoded);
        let per = |bytes: u64| bytes as f64 / SUBJECTS as f64;
        println!(
            "{name}: bytes a subject {:.1} with one message, {:.1} with more ({:.1} compacted), {:.1} encoded",
            per(single),
            per(more),
            per(index.bytes_held()),
            per(encoded.len() as u64)
        );
    }
}

fn insert(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("subjects");
    group.throughput(Throughput::Elements(1));
    for (name, subjects) in shapes() {
        let mut index = filled(&subjects);
        let mut sequence = SUBJECTS;
        let mut order = scattered(&subjects);
        group.bench_function(format!("insert/{name}/one of a million"), |bencher| {
            bencher.iter(|| {
                sequence += 1;
                let subject = order.next().map_or(&b""[..], |subject| subject.as_bytes());
                black_box(index.insert(subject, sequence))
            });
        });
        let few = &subjects[..100];
        let mut index = filled(few);
        let mut order = few.iter().cycle();
        group.bench_function(format!("insert/{name}/one of a hundred"), |bencher| {
            bencher.iter(|| {
                sequence += 1;
                let subject = order.next().map_or(&b""[..], |subject| subject.as_bytes());
                black_box(index.insert(subject, sequence))
            });
        });
    }
    group.finish();
}

/// A key-value bucket: the new message of a key comes, the old one goes.
fn update(criterion: &mut Criterion) {
    let [_, _, (_, subjects), _] = shapes();
    let mut index = filled(&subjects);
    let (mut sequence, mut order) = (SUBJECTS, scattered(&subjects));
    criterion.bench_function("subjects/key-value update", |bencher| {
        bencher.iter(|| {
            sequence += 1;
            let subject = order.next().map_or(&b""[..], |subject| subject.as_bytes());
            let state = index.insert(subject, sequence);
            black_box(index.remove(subject, state.first, |_| None))
        });
    });
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("subjects");
    group.sample_size(10);
    for (name, subjects) in shapes() {
        let subjects = &subjects[..100_000];
        group.throughput(Throughput::Elements(subjects.len() as u64));
        group.bench_function(format!("build/{name}/a hundred thousand"), |bencher| {
            bencher.iter_batched(|| (), |()| black_box(filled(subjects).len()), BatchSize::PerIteration);
        });
        let mut encoded = Vec::new();
        filled(subjects).encode(&mut encoded);
        group.bench_function(format!("decode/{name}/a hundred thousand"), |bencher| {
            bencher.iter(|| black_box(SubjectIndex::decode(&encoded).map_or(0, |index| index.len())));
        });
    }
    group.finish();
}

fn query(criterion: &mut Criterion) {
    let [_, (_, subjects), _, _] = shapes();
    let index = filled(&subjects);
    let mut group = criterion.benchmark_group("subjects");
    group.sample_size(20);
    for filter in ["sensor.42.17.5", "sensor.42.*.5", "sensor.*.17.5", "sensor.42.>", "*.*.*.5", ">"] {
        let filter = filter.as_bytes();
        let (matches, _) = index.count_matching(filter);
        let name = String::from_utf8_lossy(filter);
        group.throughput(Throughput::Elements(matches));
        group.bench_function(format!("visit/{name} ({matches})"), |bencher| {
            bencher.iter(|| {
                let mut messages = 0;
                index.for_each_match(filter, |_, state| {
                    messages += state.messages;
                    ControlFlow::Continue(())
                });
                black_box(messages)
            });
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("count/{name}"), |bencher| {
            bencher.iter(|| black_box(index.count_matching(filter)));
        });
        group.bench_function(format!("first at the middle/{name}"), |bencher| {
            bencher.iter(|| black_box(index.first_matching(&[filter], SUBJECTS / 2)));
        });
        group.bench_function(format!("last/{name}"), |bencher| {
            bencher.iter(|| black_box(index.last_matching(&[filter])));
        });
    }
    group.finish();
}

criterion_group!(benches, memory, insert, update, build, query);
criterion_main!(benches);
