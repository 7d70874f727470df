//! Loads that disturb each other: what one client's flood does to the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::fanout::Audience;
use super::publish::flood;
use super::request::{Callers, Responder};
use super::{CORE, Load, Sample, Workload};
use crate::contender::Kind;
use crate::target::{at_least, at_most};
use crate::wire::publish_block;
use crate::{Error, Result};

pub const REQUEST_BESIDE_FLOOD: Workload = Workload {
    name: "core-request-beside-flood",
    about: "request/reply of one client while another publishes 16 B as fast as it can",
    contenders: CORE,
    needs: None,
    run: request_beside_flood,
    rows: &[at_most("p50_us", Kind::Nats, 1.0), at_most("p99_us", Kind::Nats, 1.0)],
};

pub const TWO_PUBLISHERS: Workload = Workload {
    name: "core-2:1-128",
    about: "two publishers flood one subscriber, 128 B",
    contenders: CORE,
    needs: None,
    run: two_publishers,
    rows: &[at_least("rate", Kind::Nats, 1.5)],
};

pub const DEAD_SUBSCRIBER: Workload = Workload {
    name: "core-dead-subscriber-128",
    about: "one publisher, a subscriber that reads and one that never does, 128 B",
    contenders: CORE,
    needs: None,
    run: dead_subscriber,
    rows: &[at_least("rate", Kind::Nats, 5.0)],
};

fn request_beside_flood(load: &mut Load) -> Result<Sample> {
    let responder = Responder::start(&load.server)?;
    let mut callers =
        Callers::new(&load.server, 1, "svc", b"0123456789abcdef", |answer| answer.ends_with(b"abcdef\r\n"))?;
    let mut publisher = load.server.connect()?;
    let over = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&over);
    let noise = std::thread::spawn(move || -> Result<u64> {
        let (block, message_bytes) = publish_block("noise", "", 16, 64 * 1024);
        let mut blocks = 0;
        while !shared.load(Ordering::Relaxed) {
            publisher.write(&block)?;
            blocks += 1;
        }
        publisher.sync()?;
        Ok(blocks * (block.len() / message_bytes) as u64)
    });
    callers.drive(load.settings.load() / 10)?;
    let meter = load.meter()?;
    let begin = Instant::now();
    let mut latencies = callers.drive(load.settings.load())?;
    let sample = load.finish(&meter, latencies.len() as u64)?;
    over.store(true, Ordering::Relaxed);
    let flooded = noise.join().map_err(|_| Error::from("the flooding thread failed"))??;
    responder.stop();
    let [p50, p99] = latencies.microseconds([50.0, 99.0]);
    Ok(Sample::from([
        ("rate", sample["rate"]),
        ("p50_us", p50),
        ("p99_us", p99),
        ("flood_rate", flooded as f64 / begin.elapsed().as_secs_f64()),
    ]))
}

fn two_publishers(load: &mut Load) -> Result<Sample> {
    let mut publisher = load.server.connect()?;
    let mut second = load.server.connect()?;
    let audience = Audience::gather(load, &mut publisher, 1, 128)?;
    let meter = load.meter()?;
    let end = meter.started + load.settings.load();
    let other = std::thread::spawn(move || flood(&mut second, "load", 128, end));
    let sent = flood(&mut publisher, "load", 128, end)?;
    let sent = sent + other.join().map_err(|_| Error::from("the second publisher failed"))??;
    let heard = audience.finish(sent)?;
    if heard.messages < sent {
        return Err(format!("{sent} published, {} received", heard.messages).into());
    }
    load.finish_after(&meter, heard.messages, heard.last - meter.started)
}

/// The server may cut the dead one off; it may not let the live one starve for it.
fn dead_subscriber(load: &mut Load) -> Result<Sample> {
    let mut dead = load.server.connect()?;
    let mut publisher = load.server.connect()?;
    dead.subscribe("load")?;
    dead.sync()?;
    let audience = Audience::gather(load, &mut publisher, 1, 128)?;
    let meter = load.meter()?;
    let sent = flood(&mut publisher, "load", 128, meter.started + load.settings.load().max(Duration::from_secs(1)))?;
    let heard = audience.finish(sent)?;
    if heard.messages < sent {
        return Err(format!("{sent} published, the live subscriber received {}", heard.messages).into());
    }
    load.finish_after(&meter, heard.messages, heard.last - meter.started)
}
