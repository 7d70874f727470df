//! What appending, syncing and replaying cost. `cargo test --release -p headwater-storage --test journal speed --
//! --ignored --nocapture`.

use std::sync::Arc;
use std::time::Instant;

use headwater_storage::{
    AppendClass, AppendError, GroupId, IgnoringSink, Journal, JournalOptions, RealIo, SimIo, Urgency,
};

use crate::support::*;

const GROUP: GroupId = GroupId(5);

/// Nanoseconds that this thread has run: on a busy machine the clock on the wall says little.
fn cpu_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0.0)
}

/// Appends `count` messages in bursts of 64 and waits until all are durable. Nanoseconds a message.
fn store(journal: &Journal, watch: &Watch, first: u64, count: u64, body: &[u8]) -> f64 {
    let start = Instant::now();
    let mut sequence = first;
    while sequence < first + count {
        match journal.append(AppendClass::Message) {
            Ok(mut appender) => {
                for _ in 0..64 {
                    appender.record(&header(5, sequence, 1, sequence, b"orders.new", body), &[b"orders.new", body]);
                    sequence += 1;
                }
                appender.finish(Urgency::EndOfTurn);
                journal.wake();
            }
            Err(AppendError::Busy) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    watch.wait(GROUP, sequence - 1);
    start.elapsed().as_nanos() as f64 / (sequence - first) as f64
}

#[test]
#[ignore = "a measurement"]
fn speed_of_appending_alone() {
    let io = SimIo::new();
    let options = JournalOptions { segment_bytes: Some(64 << 20), queue_bytes_max: usize::MAX, ..manual() };
    let journal = open(&io, options).journal;
    journal.start(Arc::new(IgnoringSink));
    let body = [7u8; 128];
    let mut sequence = 1;
    let (mut append, mut drive) = (0.0, 0.0);
    let (rounds, count) = (60u64, 16_384u64);
    for round in 0..rounds {
        let start = cpu_time();
        for _ in 0..count / 64 {
            let mut appender = journal.append(AppendClass::Message).unwrap();
            for _ in 0..64 {
                appender.record(&header(5, sequence, 1, sequence, b"orders.new", &body), &[b"orders.new", &body]);
                sequence += 1;
            }
            appender.finish(Urgency::EndOfTurn);
        }
        let appended = cpu_time();
        journal.drive();
        // The first round warms up. The clock ticks coarsely: only the sum means something.
        if round > 0 {
            append += appended - start;
            drive += cpu_time() - appended;
        }
    }
    let records = ((rounds - 1) * count) as f64;
    println!("append {:.0} ns per record of 128 B, CPU time", append / records);
    println!("write (to memory), index, seal and complete {:.0} ns per record, CPU time", drive / records);
}

#[test]
#[ignore = "a measurement"]
fn speed_of_storing_and_replaying() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let io = Arc::new(RealIo::probe(directory.path()).unwrap());
    println!("{io:?}");
    let path = directory.path().join("journal");
    let start = Instant::now();
    let journal = Journal::open(io.clone(), &path, JournalOptions::default(), &mut |_| {}).unwrap().journal;
    println!("first start: {:?}", start.elapsed());
    let watch = Arc::new(Watch::default());
    journal.start(watch.clone());
    let mut sequence = 1;
    for (size, count) in [(128, 320_000u64), (128, 640_000), (128, 640_000), (1024, 128_000)] {
        let batches = journal.stats().batches;
        let cost = store(&journal, &watch, sequence, count, &vec![7u8; size]);
        let batches = journal.stats().batches - batches;
        println!(
            "durable {size} B: {cost:.0} ns per record, {:.2} M/s, {} records a batch",
            1000.0 / cost,
            count / batches.max(1)
        );
        sequence += count;
    }
    let waits: Vec<u128> = (0..500)
        .map(|_| {
            let start = Instant::now();
            append(&journal, 5, sequence, sequence, &[7; 128]);
            while watch.durable_index(GROUP) < sequence {
                std::hint::spin_loop();
            }
            sequence += 1;
            start.elapsed().as_micros()
        })
        .collect();
    let mut waits = waits;
    waits.sort_unstable();
    println!("one at a time: p50 {} us, p99 {} us", waits[250], waits[495]);
    for round in 0..2 {
        let start = cpu_time();
        let mut cursor = journal.scan(GROUP, 1);
        let (mut count, mut bytes) = (0u64, 0);
        while let Some(record) = cursor.next().unwrap() {
            count += 1;
            bytes += record.payload().len();
        }
        assert_eq!(count, sequence - 1);
        let seconds = (cpu_time() - start) / 1e9;
        println!(
            "scan {round}: {:.2} M/s, {:.2} GB/s of payload",
            count as f64 / seconds / 1e6,
            bytes as f64 / seconds / 1e9
        );
    }
    let start = cpu_time();
    let mut at = 1;
    for _ in 0..200_000 {
        at = (at * 48_271) % (sequence - 1);
        journal.read_message(GROUP, at.max(1)).unwrap();
    }
    println!("read_message at random: {:.0} ns of CPU time", (cpu_time() - start) / 200_000.0);
    println!("amplification {:.3}, {:?}", journal.stats().write_amplification(), journal.stats());
    let start = Instant::now();
    journal.close();
    println!("close: {:?}", start.elapsed());
    let start = Instant::now();
    let opened = Journal::open(io, &path, JournalOptions::default(), &mut |_| {}).unwrap();
    println!("open again: {:?} {:?}", start.elapsed(), opened.report);
}
