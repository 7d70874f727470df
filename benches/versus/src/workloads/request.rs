//! Request and reply: one outstanding request per client.

use std::net::Shutdown;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{CORE, Load, Sample, Workload};
use crate::Result;
use crate::contender::{Kind, Server};
use crate::frame::{self, Frame};
use crate::poller::Poller;
use crate::statistics::Latencies;
use crate::target::{at_least, at_most};
use crate::wire::Connection;

const SERVICE: &str = "svc";
const PAYLOAD: &str = "0123456789abcdef";

pub const ONE: Workload = Workload {
    name: "core-request-1",
    about: "request/reply, one client, one responder, 16 B",
    contenders: CORE,
    needs: None,
    run: |load| request_reply(load, 1),
    rows: &[at_most("p50_us", Kind::Nats, 0.8), at_most("p99_us", Kind::Nats, 0.9)],
};

pub const SIXTEEN: Workload = Workload {
    name: "core-request-16",
    about: "request/reply, 16 clients, one responder, 16 B",
    contenders: CORE,
    needs: None,
    run: |load| request_reply(load, 16),
    rows: &[at_least("rate", Kind::Nats, 1.3), at_most("p99_us", Kind::Nats, 0.8)],
};

fn request_reply(load: &mut Load, clients: usize) -> Result<Sample> {
    let responder = Responder::start(&load.server)?;
    let mut callers = Callers::service(&load.server, clients)?;
    callers.drive(load.settings.load() / 10)?;
    let meter = load.meter()?;
    let mut latencies = callers.drive(load.settings.load())?;
    let mut sample = load.finish(&meter, latencies.len() as u64)?;
    responder.stop();
    let [p50, p99] = latencies.microseconds([50.0, 99.0]);
    sample.extend([("p50_us", p50), ("p99_us", p99)]);
    Ok(sample)
}

/// Median round trip in microseconds of one client, for loads that are judged by it.
pub fn round_trip_micros(server: &Server, time: Duration) -> Result<f64> {
    let responder = Responder::start(server)?;
    let mut latencies = Callers::service(server, 1)?.drive(time)?;
    responder.stop();
    Ok(latencies.microseconds([50.0])[0])
}

/// Answers every request with the same payload, a whole read at a time.
pub struct Responder {
    stream: std::net::TcpStream,
    thread: JoinHandle<()>,
}

impl Responder {
    pub fn start(server: &Server) -> Result<Self> {
        let mut connection = server.connect()?;
        connection.subscribe(SERVICE)?;
        connection.sync()?;
        let stream = connection.stream.try_clone()?;
        let thread = std::thread::spawn(move || while answer(&mut connection).is_ok() {});
        Ok(Self { stream, thread })
    }

    pub fn stop(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        let _ = self.thread.join();
    }
}

fn answer(connection: &mut Connection) -> Result<()> {
    let mut out = Vec::new();
    connection.count_messages(|bytes| {
        if let Frame::Message { reply: Some(reply), .. } = frame::decode(bytes) {
            out.extend_from_slice(b"PUB ");
            out.extend_from_slice(reply);
            out.extend_from_slice(b" 16\r\n");
            out.extend_from_slice(PAYLOAD.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    })?;
    Ok(connection.write(&out)?)
}

/// Clients that each send a request and wait for its answer before the next.
pub struct Callers {
    connections: Vec<Connection>,
    requests: Vec<Vec<u8>>,
    correct: fn(&[u8]) -> bool,
}

impl Callers {
    fn service(server: &Server, clients: usize) -> Result<Self> {
        Self::new(server, clients, SERVICE, PAYLOAD.as_bytes(), |answer| answer.ends_with(b"0123456789abcdef\r\n"))
    }

    /// `correct` looks at the whole answer frame; a wrong one ends the load.
    pub fn new(
        server: &Server,
        clients: usize,
        subject: &str,
        payload: &[u8],
        correct: fn(&[u8]) -> bool,
    ) -> Result<Self> {
        let mut callers = Self { connections: Vec::new(), requests: Vec::new(), correct };
        for number in 0..clients {
            let inbox = format!("_INBOX.{number}");
            let mut connection = server.connect()?;
            connection.subscribe(&inbox)?;
            connection.sync()?;
            let mut request = format!("PUB {subject} {inbox} {}\r\n", payload.len()).into_bytes();
            request.extend_from_slice(payload);
            request.extend_from_slice(b"\r\n");
            callers.connections.push(connection);
            callers.requests.push(request);
        }
        Ok(callers)
    }

    /// Runs for `time`, then waits for the outstanding answers.
    pub fn drive(&mut self, time: Duration) -> Result<Latencies> {
        if self.connections.len() == 1 { self.drive_one(time) } else { self.drive_many(time) }
    }

    fn drive_one(&mut self, time: Duration) -> Result<Latencies> {
        let (mut latencies, end) = (Latencies::default(), Instant::now() + time);
        while Instant::now() < end {
            let begin = Instant::now();
            self.connections[0].write(&self.requests[0])?;
            while self.answers(0)? == 0 {}
            latencies.add(begin.elapsed());
        }
        Ok(latencies)
    }

    fn drive_many(&mut self, time: Duration) -> Result<Latencies> {
        let (mut latencies, end) = (Latencies::default(), Instant::now() + time);
        let mut poller = Poller::new(&self.connections)?;
        let mut begun = vec![Instant::now(); self.connections.len()];
        for (connection, request) in self.connections.iter_mut().zip(&self.requests) {
            connection.write(request)?;
        }
        let mut outstanding = self.connections.len();
        while outstanding > 0 {
            let ready: Vec<usize> = poller.wait(Duration::from_secs(10))?.collect();
            if ready.is_empty() {
                return Err(format!("{outstanding} requests were never answered").into());
            }
            for number in ready {
                if self.answers(number)? == 0 {
                    continue;
                }
                latencies.add(begun[number].elapsed());
                if Instant::now() < end {
                    begun[number] = Instant::now();
                    self.connections[number].write(&self.requests[number])?;
                } else {
                    outstanding -= 1;
                }
            }
        }
        Ok(latencies)
    }

    fn answers(&mut self, number: usize) -> Result<u64> {
        let (correct, mut wrong) = (self.correct, None);
        let count = self.connections[number].count_messages(|answer| {
            if !correct(answer) {
                wrong = Some(String::from_utf8_lossy(answer).into_owned());
            }
        })?;
        match wrong {
            Some(answer) => Err(format!("wrong answer: {answer}").into()),
            None => Ok(count),
        }
    }
}
