//! The smaller structures of a stream: removed sequences, timers, message ids, messages in memory.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headwater_storage::{DedupeWindow, MemoryInput, MemoryLog, SequenceSet, TimerWheel};

fn scatter(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn sequence_set(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sequence set");
    group.throughput(Throughput::Elements(1));
    let (mut set, mut n) = (SequenceSet::new(), 0);
    group.bench_function("insert in order", |bencher| {
        bencher.iter(|| {
            n += 1;
            set.insert(n)
        });
    });
    let mut set = SequenceSet::new();
    group.bench_function("insert scattered over ten million", |bencher| {
        bencher.iter(|| {
            n += 1;
            set.insert(scatter(n) % 10_000_000)
        });
    });
    group.bench_function("contains", |bencher| {
        bencher.iter(|| {
            n += 1;
            set.contains(scatter(n) % 10_000_000)
        });
    });
    group.finish();
}

fn timer_wheel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer wheel");
    group.throughput(Throughput::Elements(1));
    let (mut wheel, mut out, mut n) = (TimerWheel::new(), Vec::new(), 0u64);
    for key in 0..1_000_000 {
        wheel.insert(scatter(key) % 3_600_000_000_000, key);
    }
    group.bench_function("insert and cancel beside a million", |bencher| {
        bencher.iter(|| {
            n += 1;
            let id = wheel.insert(scatter(n) % 3_600_000_000_000, n);
            black_box(wheel.cancel(id))
        });
    });
    let mut now = 0;
    group.bench_function("a timer's life, thirty seconds among a million", |bencher| {
        bencher.iter(|| {
            now += 30_000;
            wheel.insert(now + 30_000_000_000, now);
            wheel.advance(now, &mut out);
            out.clear();
        });
    });
    group.finish();
}

fn dedupe(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dedupe");
    group.throughput(Throughput::Elements(1));
    let (mut window, mut n) = (DedupeWindow::new([7; 16], 1_000_000, usize::MAX), 0u64);
    group.bench_function("ask and insert among a million", |bencher| {
        bencher.iter(|| {
            n += 1;
            let id = format_id(n);
            if window.get(&id, n as i64).is_none() {
                window.insert(&id, n, n as i64);
            }
        });
    });
    println!("dedupe: {:.1} bytes an id", window.bytes_held() as f64 / window.len().max(1) as f64);
    group.finish();
}

/// As long as the ids that clients make.
fn format_id(n: u64) -> [u8; 22] {
    let mut id = [b'x'; 22];
    id[..8].copy_from_slice(&scatter(n).to_le_bytes());
    id
}

fn memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory log");
    group.throughput(Throughput::Elements(1));
    let (mut log, mut sequence, payload) = (MemoryLog::new(), 0u64, [7; 128]);
    group.bench_function("append and release the oldest of a hundred thousand", |bencher| {
        bencher.iter(|| {
            sequence += 1;
            let input = MemoryInput {
                sequence,
                time: 0,
                index: 0,
                term: 0,
                tag: 0,
                subject: b"orders.created",
                headers: b"",
                payload: &payload,
            };
            let appended = log.append(&input).is_ok();
            log.release(sequence.saturating_sub(100_000));
            appended
        });
    });
    println!("memory log: {:.1} bytes a message of 142", log.bytes_held() as f64 / log.messages().max(1) as f64);
    let mut n = 0;
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            n += 1;
            let back = scatter(n) % log.messages().max(1);
            log.read(sequence - back).map(|message| message.payload().len())
        });
    });
    group.finish();
}

criterion_group!(benches, sequence_set, timer_wheel, dedupe, memory);
criterion_main!(benches);
