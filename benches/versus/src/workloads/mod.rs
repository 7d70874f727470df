//! The loads. Each is a plain function on a fresh server; a table says against whom it runs and what it must reach.

mod contention;
mod fanout;
mod kv;
mod memory;
mod nats_bench;
mod publish;
mod redis;
mod replay;
mod request;
mod restart;
mod stream;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::Result;
use crate::cli::Settings;
use crate::contender::{Kind, Server};
use crate::target::Row;

/// Figures of one run by name. `rate` is messages per second, `cpu_us` the server's CPU time per message.
pub type Sample = BTreeMap<&'static str, f64>;

pub struct Workload {
    pub name: &'static str,
    pub about: &'static str,
    pub contenders: &'static [Kind],
    /// What must be installed for it; its error is the reason for skipping.
    pub needs: Option<fn() -> Result<()>>,
    pub run: fn(&mut Load) -> Result<Sample>,
    pub rows: &'static [Row],
}

const CORE: &[Kind] = &[Kind::Ours, Kind::Nats];
const STREAM: &[Kind] = &[Kind::Ours, Kind::Nats, Kind::NatsAlways];
const DURABLE: &[Kind] = &[Kind::Ours, Kind::Nats, Kind::NatsAlways, Kind::Redis];

pub static ALL: &[Workload] = &[
    publish::TINY,
    publish::LARGE,
    fanout::ONE_16,
    fanout::ONE_128,
    fanout::ONE_1024,
    fanout::TEN,
    fanout::HUNDRED,
    request::ONE,
    request::SIXTEEN,
    contention::REQUEST_BESIDE_FLOOD,
    contention::TWO_PUBLISHERS,
    contention::DEAD_SUBSCRIBER,
    stream::ASYNC_128,
    stream::ASYNC_1024,
    stream::SYNC_1,
    stream::SYNC_64,
    replay::PUSH,
    replay::PULL,
    kv::ONE,
    kv::SIXTEEN,
    restart::RESTART,
    memory::IDLE,
    memory::ASSETS,
    memory::STORED,
    nats_bench::CORE_PUBLISH,
    nats_bench::JS_ASYNC,
    nats_bench::JS_SYNC,
    nats_bench::ORDERED,
    nats_bench::CONSUME,
];

/// A fresh server and what was asked for.
pub struct Load<'a> {
    pub settings: &'a Settings,
    pub server: Server,
}

impl Load<'_> {
    pub fn meter(&self) -> Result<Meter> {
        Ok(Meter { started: Instant::now(), cpu_micros: self.server.process().cpu_micros()? })
    }

    /// Rate and server CPU since the meter started.
    pub fn finish(&self, meter: &Meter, messages: u64) -> Result<Sample> {
        self.finish_after(meter, messages, meter.started.elapsed())
    }

    /// The same when the last message came earlier than now.
    pub fn finish_after(&self, meter: &Meter, messages: u64, elapsed: Duration) -> Result<Sample> {
        if messages == 0 {
            return Err("no message was handled".into());
        }
        let cpu_micros = self.server.process().cpu_micros()? - meter.cpu_micros;
        Ok(Sample::from([("rate", messages as f64 / elapsed.as_secs_f64()), ("cpu_us", cpu_micros / messages as f64)]))
    }

    /// Resident KiB once it has stopped moving.
    pub fn settled_kib(&self) -> Result<f64> {
        let deadline = Instant::now() + Duration::from_secs(if self.settings.quick { 1 } else { 3 });
        let mut last = self.server.process().resident_kib()?;
        let mut still = 0;
        while still < 5 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.server.process().resident_kib()?;
            still = if now == last { still + 1 } else { 0 };
            last = now;
        }
        Ok(last)
    }
}

pub struct Meter {
    pub started: Instant,
    cpu_micros: f64,
}
