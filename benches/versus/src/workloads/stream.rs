//! Publishing into a file stream: asynchronous with a window, and one acknowledged message at a time.

use std::time::Instant;

use super::request::{Callers, round_trip_micros};
use super::{DURABLE, Load, Sample, Workload, redis};
use crate::Result;
use crate::contender::{Kind, Server};
use crate::disk;
use crate::target::{at_least, at_most, bound};
use crate::wire::publish_block;

const WINDOW: u64 = 1024;
const CONFIG: &str = r#"{"name":"S","subjects":["s.>"],"storage":"file","num_replicas":1,"retention":"limits","max_msgs":-1,"max_bytes":-1}"#;

pub const ASYNC_128: Workload = Workload {
    name: "stream-async-128",
    about: "file stream, one publisher, window of 1024, 128 B; ours synced",
    contenders: DURABLE,
    needs: None,
    run: |load| publish_async(load, 128),
    rows: &[
        at_least("rate", Kind::Nats, 3.0),
        at_most("cpu_us", Kind::Nats, 0.35),
        at_least("rate", Kind::NatsAlways, 50.0),
        at_least("rate", Kind::Redis, 3.0),
    ],
};

pub const ASYNC_1024: Workload = Workload {
    name: "stream-async-1024",
    about: "file stream, one publisher, window of 1024, 1 KiB; ours synced",
    contenders: super::STREAM,
    needs: None,
    run: |load| publish_async(load, 1024),
    rows: &[
        at_least("rate", Kind::Nats, 3.0),
        at_most("cpu_us", Kind::Nats, 0.35),
        at_least("rate", Kind::NatsAlways, 50.0),
    ],
};

pub const SYNC_1: Workload = Workload {
    name: "stream-sync-1",
    about: "file stream, one client, one message at a time, 128 B",
    contenders: DURABLE,
    needs: None,
    run: publish_sync_one,
    rows: &[
        at_least("rate", Kind::NatsAlways, 2.0),
        at_least("rate", Kind::Redis, 1.2),
        // p50 over (request/reply round trip + one durable 4 KiB write), both taken in this run.
        bound("over_floor", 1.3),
    ],
};

pub const SYNC_64: Workload = Workload {
    name: "stream-sync-64",
    about: "file stream, 64 clients, one message at a time each, 128 B",
    contenders: DURABLE,
    needs: None,
    run: |load| publish_sync(load, 64),
    rows: &[
        at_least("rate", Kind::Nats, 1.1),
        at_least("rate", Kind::NatsAlways, 12.0),
        at_least("rate", Kind::Redis, 1.3),
    ],
};

fn publish_async(load: &mut Load, payload_bytes: usize) -> Result<Sample> {
    if load.server.kind == Kind::Redis {
        return redis::xadd(load, 16, 64);
    }
    create(&load.server)?;
    store(&load.server, payload_bytes, u64::MAX, Instant::now() + load.settings.load() / 10)?;
    let meter = load.meter()?;
    let acked = store(&load.server, payload_bytes, u64::MAX, Instant::now() + load.settings.load())?;
    load.finish(&meter, acked)
}

fn publish_sync(load: &mut Load, clients: usize) -> Result<Sample> {
    if load.server.kind == Kind::Redis {
        return redis::xadd(load, clients, 1);
    }
    create(&load.server)?;
    let mut callers = Callers::new(&load.server, clients, "s.1", &[b'x'; 128], is_ack)?;
    callers.drive(load.settings.load() / 10)?;
    let meter = load.meter()?;
    let mut latencies = callers.drive(load.settings.load())?;
    let mut sample = load.finish(&meter, latencies.len() as u64)?;
    let [p50, p99] = latencies.microseconds([50.0, 99.0]);
    sample.extend([("p50_us", p50), ("p99_us", p99)]);
    Ok(sample)
}

fn publish_sync_one(load: &mut Load) -> Result<Sample> {
    if load.server.kind != Kind::Ours {
        return publish_sync(load, 1);
    }
    let round_trip = round_trip_micros(&load.server, load.settings.load() / 3)?;
    let durable_write = disk::durable_write_micros(load.server.folder(), load.settings.load() / 3)?;
    let mut sample = publish_sync(load, 1)?;
    let over_floor = sample["p50_us"] / (round_trip + durable_write);
    sample.extend([("round_trip_us", round_trip), ("durable_write_us", durable_write), ("over_floor", over_floor)]);
    Ok(sample)
}

pub fn create(server: &Server) -> Result<()> {
    server.connect()?.api("STREAM.CREATE.S", CONFIG).map(|_| ())
}

/// Publishes up to `count` messages until `end`, at most WINDOW of them unacknowledged; returns when all are acked.
pub fn store(server: &Server, payload_bytes: usize, count: u64, end: Instant) -> Result<u64> {
    let mut publisher = server.connect()?;
    publisher.subscribe("acks")?;
    publisher.sync()?;
    let (_, message_bytes) = publish_block("s.1", "acks", payload_bytes, 1);
    let (block, _) = publish_block("s.1", "acks", payload_bytes, message_bytes * WINDOW as usize);
    let (mut sent, mut acked) = (0, 0);
    loop {
        if sent < count && Instant::now() < end {
            let more = (WINDOW - (sent - acked)).min(count - sent);
            publisher.write(&block[..message_bytes * more as usize])?;
            sent += more;
        } else if sent == acked {
            return Ok(acked);
        }
        let mut refusal = None;
        acked += publisher.count_messages(|answer| {
            if !is_ack(answer) {
                refusal = Some(String::from_utf8_lossy(answer).into_owned());
            }
        })?;
        if let Some(answer) = refusal {
            return Err(format!("publish refused: {answer}").into());
        }
    }
}

/// `{"stream":"S","seq":1}`; an error also carries a sequence, but its first field says what it is.
fn is_ack(answer: &[u8]) -> bool {
    let body = answer.iter().position(|byte| *byte == b'\n').map_or(answer, |end| &answer[end + 1..]);
    answer.starts_with(b"MSG ") && body.starts_with(b"{\"stream\":\"S\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acks_are_told_from_refusals() {
        assert!(is_ack(b"MSG acks 1 22\r\n{\"stream\":\"S\",\"seq\":1}\r\n"));
        assert!(!is_ack(b"MSG acks 1 9\r\n{\"error\":{\"code\":503},\"stream\":\"S\",\"seq\":0}\r\n"));
        assert!(!is_ack(b"HMSG acks 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"));
    }
}
