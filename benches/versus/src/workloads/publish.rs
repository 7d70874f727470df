//! Core publish with nobody listening: what parsing and matching cost.

use std::time::Instant;

use super::{CORE, Load, Sample, Workload};
use crate::Result;
use crate::contender::Kind;
use crate::sink::receive_floor;
use crate::target::{at_least, at_most};
use crate::wire::{Connection, publish_block};

const BLOCK_BYTES: usize = 128 * 1024;

pub const TINY: Workload = Workload {
    name: "core-publish-16",
    about: "one publisher, 16 B, no subscriber",
    contenders: CORE,
    needs: None,
    run: |load| publish_only(load, 16),
    rows: &[at_least("rate", Kind::Nats, 3.0), at_most("cpu_us", Kind::Nats, 0.3)],
};

pub const LARGE: Workload = Workload {
    name: "core-publish-1024",
    about: "one publisher, 1 KiB, no subscriber",
    contenders: CORE,
    needs: None,
    run: |load| publish_only(load, 1024),
    rows: &[at_least("rate", Kind::Nats, 3.0), at_most("cpu_us", Kind::Nats, 0.3)],
};

fn publish_only(load: &mut Load, payload_bytes: usize) -> Result<Sample> {
    let mut publisher = load.server.connect()?;
    flood(&mut publisher, "load", payload_bytes, Instant::now() + load.settings.load() / 10)?;
    let meter = load.meter()?;
    let sent = flood(&mut publisher, "load", payload_bytes, Instant::now() + load.settings.load())?;
    let mut sample = load.finish(&meter, sent)?;
    if load.server.kind == Kind::Ours {
        let floor = receive_floor("load", payload_bytes, BLOCK_BYTES, load.settings.load() / 3)?;
        sample.extend([("floor_rate", floor.rate), ("floor_cpu_us", floor.cpu_micros)]);
    }
    Ok(sample)
}

/// Publishes as fast as the server takes it until `end`; returns when the server has handled all of it.
pub fn flood(publisher: &mut Connection, subject: &str, payload_bytes: usize, end: Instant) -> Result<u64> {
    let (block, message_bytes) = publish_block(subject, "", payload_bytes, BLOCK_BYTES);
    let mut blocks = 0;
    while Instant::now() < end {
        publisher.write(&block)?;
        blocks += 1;
    }
    publisher.sync()?;
    Ok(blocks * (block.len() / message_bytes) as u64)
}
