//! A client that sends without pause is read in larger pieces (ADR 0001): nothing of it may be lost, split or swapped.

use crate::harness::{PATIENCE, RawClient, TestServer};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

/// A client that publishes without pause until it is told to stop or is cut off.
struct Flood {
    client: RawClient,
    blocks: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Flood {
    /// Messages of 16 bytes on `noise`. Returns once more was taken than all buffers on the way hold: from then on the
    /// server works on the flood.
    fn start(client: RawClient) -> Flood {
        const BUFFERS_BYTES: u64 = 64 << 20;
        let block = b"PUB noise 16\r\n0123456789abcdef\r\n".repeat(4096);
        let block_bytes = block.len() as u64;
        let (blocks, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (sent, stopped) = (Arc::clone(&blocks), Arc::clone(&over));
        let mut stream = client.stream.try_clone().expect("a second handle of the socket");
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) && stream.write_all(&block).is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        let flood = Flood { client, blocks, over, thread };
        flood.wait_for_blocks(BUFFERS_BYTES / block_bytes);
        flood
    }

    /// Waits until so many more blocks were sent.
    fn wait_for_blocks(&self, more: u64) {
        let (wanted, begin) = (self.blocks.load(Ordering::Relaxed) + more, Instant::now());
        while self.blocks.load(Ordering::Relaxed) < wanted {
            assert!(begin.elapsed() < 6 * PATIENCE, "the flood stands still");
            std::thread::yield_now();
        }
    }

    /// The client, after its last block.
    fn stop(self) -> RawClient {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the flood ends");
        self.client
    }
}

/// Payloads from nothing to more than the largest read, so that pieces end anywhere in a message.
fn payload(number: usize) -> Vec<u8> {
    let length = match number % 64 {
        0 => 150_000,
        1..=4 => number * 7919 % 70_000,
        _ => number * 31 % 700,
    };
    vec![b'a' + (number % 26) as u8; length]
}

#[test]
fn a_flood_arrives_whole_and_in_order() {
    const MESSAGES: usize = 3000;
    let server = TestServer::start(|_| {});
    let mut subscriber = server.connected();
    subscriber.send("SUB f 1\r\n");
    subscriber.expect_nothing();
    let mut publisher = server.connected();
    let sending = std::thread::spawn(move || {
        let mut flood = Vec::new();
        for number in 0..MESSAGES {
            let payload = payload(number);
            flood.extend_from_slice(format!("PUB f {}\r\n", payload.len()).as_bytes());
            flood.extend_from_slice(&payload);
            flood.extend_from_slice(b"\r\n");
        }
        publisher.send(flood);
        publisher
    });
    for number in 0..MESSAGES {
        let payload = payload(number);
        subscriber.expect(format!("MSG f 1 {}\r\n", payload.len()));
        assert!(subscriber.take(payload.len()) == payload, "payload of message {number}");
        subscriber.expect("\r\n");
    }
    sending.join().expect("the publisher sends everything").expect_nothing();
}

#[test]
fn requests_are_answered_beside_more_floods_than_there_are_lanes() {
    let server = TestServer::start(|_| {});
    let lanes = std::thread::available_parallelism().map_or(1, usize::from);
    let floods: Vec<Flood> = (0..lanes + 2).map(|_| Flood::start(server.connected())).collect();
    let mut responder = server.connected();
    responder.send("SUB service 1\r\n");
    responder.expect_nothing();
    let mut caller = server.connected();
    caller.send("SUB inbox 1\r\n");
    for number in 0..100 {
        caller.send(format!("PUB service inbox 4\r\n{number:04}\r\n"));
        responder.expect(format!("MSG service 1 inbox 4\r\n{number:04}\r\n"));
        responder.send(format!("PUB inbox 4\r\n{number:04}\r\n"));
        caller.expect(format!("MSG inbox 1 4\r\n{number:04}\r\n"));
    }
    for flood in floods {
        // No flood was kept from going on, and all of it was read.
        flood.wait_for_blocks(1);
        flood.stop().expect_nothing();
    }
}

#[test]
fn a_client_that_floods_gets_what_it_subscribed_to() {
    let server = TestServer::start(|_| {});
    let mut client = server.connected();
    client.send("SUB answers 1\r\n");
    client.expect_nothing();
    let mut flood = Flood::start(client);
    let mut other = server.connected();
    for number in 0..50 {
        other.send(format!("PUB answers 2\r\n{number:02}\r\n"));
        flood.client.expect(format!("MSG answers 1 2\r\n{number:02}\r\n"));
    }
    flood.stop().expect_nothing();
}

#[test]
fn a_client_that_floods_is_cut_off_by_its_first_violation() {
    let server = TestServer::start(|_| {});
    let mut client = Flood::start(server.connected()).stop();
    client.send("NONSENSE\r\n");
    client.expect("-ERR 'Unknown Protocol Operation'\r\n");
    client.expect_closed();
}

#[test]
fn a_server_that_ends_waits_for_no_flood() {
    let server = TestServer::start(|_| {});
    let flood = Flood::start(server.connected());
    let begin = Instant::now();
    drop(server);
    assert!(begin.elapsed() < PATIENCE);
    flood.thread.join().expect("the flood is cut off");
}
