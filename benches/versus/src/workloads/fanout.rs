//! One publisher, one to a hundred subscribers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::publish::flood;
use super::{CORE, Load, Sample, Workload};
use crate::contender::Kind;
use crate::frame::Frame;
use crate::poller::Poller;
use crate::target::{Row, at_least, at_most};
use crate::wire::Connection;
use crate::{Error, Result};

const SUBJECT: &str = "load";
/// A subscriber that hears nothing for so long has lost the rest.
const SILENCE: Duration = Duration::from_secs(3);
const SCRATCH_BYTES: usize = 1 << 20;
const ROWS: &[Row] = &[at_least("rate", Kind::Nats, 2.5), at_most("cpu_us", Kind::Nats, 0.4)];

pub const ONE_16: Workload = one("core-1:1-16", "one publisher, one subscriber, 16 B", |load| fanout(load, 1, 16));
pub const ONE_128: Workload = one("core-1:1-128", "one publisher, one subscriber, 128 B", |load| fanout(load, 1, 128));
pub const TEN: Workload = one("core-1:10-128", "one publisher, ten subscribers, 128 B", |load| fanout(load, 10, 128));
pub const HUNDRED: Workload =
    one("core-1:100-128", "one publisher, a hundred subscribers, 128 B", |load| fanout(load, 100, 128));
pub const ONE_1024: Workload = Workload {
    name: "core-1:1-1024",
    about: "one publisher, one subscriber, 1 KiB",
    contenders: CORE,
    needs: None,
    run: |load| fanout(load, 1, 1024),
    rows: &[at_least("rate", Kind::Nats, 1.5), at_most("cpu_us", Kind::Nats, 0.6)],
};

const fn one(name: &'static str, about: &'static str, run: fn(&mut Load) -> Result<Sample>) -> Workload {
    Workload { name, about, contenders: CORE, needs: None, run, rows: ROWS }
}

fn fanout(load: &mut Load, subscribers: usize, payload_bytes: usize) -> Result<Sample> {
    let mut publisher = load.server.connect()?;
    let audience = Audience::gather(load, &mut publisher, subscribers, payload_bytes)?;
    let meter = load.meter()?;
    let sent = flood(&mut publisher, SUBJECT, payload_bytes, meter.started + load.settings.load())?;
    let heard = audience.finish(sent)?;
    let complete = heard.messages / subscribers as u64;
    if complete < sent {
        return Err(format!("{sent} published, only {complete} reached all subscribers").into());
    }
    load.finish_after(&meter, complete, heard.last - meter.started)
}

/// Subscribers of SUBJECT, read by one thread that copies nothing.
pub struct Audience {
    expected: Arc<AtomicU64>,
    reader: JoinHandle<Result<Heard>>,
    subscribers: u64,
}

pub struct Heard {
    pub messages: u64,
    pub last: Instant,
}

impl Audience {
    /// Connected, subscribed, and each has received one correct message.
    pub fn gather(load: &Load, publisher: &mut Connection, subscribers: usize, payload_bytes: usize) -> Result<Self> {
        let mut connections = Vec::with_capacity(subscribers);
        for _ in 0..subscribers {
            let mut connection = load.server.connect()?;
            connection.subscribe(SUBJECT)?;
            connection.sync()?;
            connections.push(connection);
        }
        let payload = vec![b'x'; payload_bytes];
        publisher.write(format!("PUB {SUBJECT} {payload_bytes}\r\n").as_bytes())?;
        publisher.write(&payload)?;
        publisher.write(b"\r\n")?;
        for connection in &mut connections {
            let correct = connection.message(|message| match message {
                Frame::Message { subject, payload: received, .. } => {
                    subject == SUBJECT.as_bytes() && received == payload
                }
                _ => false,
            })?;
            if !correct {
                return Err("a subscriber received a wrong message".into());
            }
        }
        let message_bytes = (format!("MSG {SUBJECT} 1 {payload_bytes}\r\n").len() + payload_bytes + 2) as u64;
        let expected = Arc::new(AtomicU64::new(u64::MAX));
        let shared = Arc::clone(&expected);
        let reader = std::thread::spawn(move || listen(connections, message_bytes, &shared));
        Ok(Self { expected, reader, subscribers: subscribers as u64 })
    }

    /// Waits for the rest of `sent` messages to each subscriber, or for silence.
    pub fn finish(self, sent: u64) -> Result<Heard> {
        self.expected.store(sent * self.subscribers, Ordering::Release);
        self.reader.join().map_err(|_| Error::from("the reading thread failed"))?
    }
}

/// Messages are all alike, so their number follows from the bytes; the few PINGs among them are shorter than one.
fn listen(mut connections: Vec<Connection>, message_bytes: u64, expected: &AtomicU64) -> Result<Heard> {
    let mut poller = Poller::new(&connections)?;
    let mut bytes = vec![0_u64; connections.len()];
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut last = Instant::now();
    loop {
        let mut heard = false;
        for number in poller.wait(Duration::from_millis(20))? {
            match connections[number].discard(&mut scratch)? {
                0 => return Err("the server closed a subscriber's connection".into()),
                count => bytes[number] += count as u64,
            }
            heard = true;
        }
        if heard {
            last = Instant::now();
        }
        let messages: u64 = bytes.iter().map(|bytes| bytes / message_bytes).sum();
        let finished = messages >= expected.load(Ordering::Acquire);
        if finished || (!heard && last.elapsed() > SILENCE) {
            return Ok(Heard { messages, last });
        }
    }
}
