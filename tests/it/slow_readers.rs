//! Clients that read too slowly, or not at all (C-30 to C-32).

use crate::harness::{PATIENCE, RawClient, TestServer, eventually};
use headwater::config::WriteTimeout;
use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[test]
fn a_subscriber_that_does_not_read_is_cut_off_and_others_are_served() {
    let server = TestServer::start(|options| options.pending_bytes_max = 2 << 20);
    let mut dead = server.connected();
    dead.send("SUB f 1\r\n");
    dead.expect_nothing();
    let mut live = server.connected();
    live.send("SUB f 1\r\n");
    live.expect_nothing();
    let mut publisher = server.connected();
    let payload = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    let deadline = Instant::now() + PATIENCE;
    while server.server.closed_connections().is_empty() {
        assert!(Instant::now() < deadline);
        publisher.send(format!("PUB f {}\r\n", payload.len()));
        publisher.send(&payload);
        publisher.send("\r\n");
        sent += 1;
        live.expect(format!("MSG f 1 {}\r\n", payload.len()));
        assert_eq!(live.take(payload.len()), payload);
        live.expect("\r\n");
    }
    publisher.expect_nothing();
    let closed = &server.server.closed_connections()[0];
    assert_eq!(closed.reason.as_str(), "Slow Consumer (Pending Bytes)");
    assert!(sent > 2);
    // Nothing but whole deliveries: no -ERR tells a slow consumer.
    let rest = dead.read_to_end();
    assert!(!rest.windows(4).any(|window| window == b"-ERR"));
}

#[test]
fn a_blocked_write_ends_at_the_deadline() {
    let server = TestServer::start(|options| options.write_deadline = Duration::from_millis(100));
    let mut dead = server.connected();
    dead.send("SUB f 1\r\n");
    dead.expect_nothing();
    let mut publisher = server.connected();
    let message = [b"PUB f 1000000\r\n".as_slice(), &vec![b'x'; 1_000_000], b"\r\n"].concat();
    let deadline = Instant::now() + PATIENCE;
    while server.server.closed_connections().is_empty() {
        assert!(Instant::now() < deadline);
        if server.server.connections().iter().all(|connection| connection.pending_bytes < 8 << 20) {
            publisher.stream.write_all(&message).unwrap();
        }
    }
    assert_eq!(server.server.closed_connections()[0].reason.as_str(), "Slow Consumer (Write Deadline)");
    publisher.expect_nothing();
}

/// Publishes until this many bytes wait for the only subscriber of `f`; how many messages of a megabyte that took.
fn fill(server: &TestServer, publisher: &mut RawClient, pending: usize) -> usize {
    let message = [b"PUB f 1000000\r\n".as_slice(), &vec![b'x'; 1_000_000], b"\r\n"].concat();
    let deadline = Instant::now() + PATIENCE;
    let mut sent = 0;
    while server.server.connections().iter().all(|connection| connection.pending_bytes < pending) {
        assert!(Instant::now() < deadline);
        publisher.stream.write_all(&message).unwrap();
        publisher.expect_nothing();
        sent += 1;
    }
    sent
}

fn take_in_pieces(client: &mut RawClient, bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        left -= client.take(left.min(1 << 16)).len();
    }
}

#[test]
fn who_reads_slowly_is_kept_when_writes_are_retried() {
    // The comparison server closes a client at the deadline, unless told to retry and something was written meanwhile.
    let server = TestServer::start(|options| {
        options.write_deadline = Duration::from_millis(700);
        options.write_timeout = WriteTimeout::Retry;
    });
    let mut slow = server.connected();
    slow.send("SUB f 1\r\n");
    slow.expect_nothing();
    let mut publisher = server.connected();
    let sent = fill(&server, &mut publisher, 20 << 20);
    let late = || server.server.hub().counters.slow_consumers.load(Ordering::Relaxed);
    let mut left = sent * (b"MSG f 1 1000000\r\n\r\n".len() + 1_000_000);
    for round in 1..=2 {
        take_in_pieces(&mut slow, 6 << 20);
        left -= 6 << 20;
        eventually("the deadline passes", || late() >= round);
        assert!(server.server.closed_connections().is_empty(), "it took something");
    }
    take_in_pieces(&mut slow, left);
    slow.expect_nothing();
    // Who takes nothing is closed all the same.
    fill(&server, &mut publisher, 4 << 20);
    eventually("the deadline passes", || !server.server.closed_connections().is_empty());
    assert_eq!(server.server.closed_connections()[0].reason.as_str(), "Slow Consumer (Write Deadline)");
}

#[test]
fn a_slow_reader_loses_nothing() {
    let server = TestServer::start(|_| {});
    let mut slow = server.connected();
    slow.send("SUB f 1\r\n");
    slow.expect_nothing();
    let mut publisher = server.connected();
    let payload = "y".repeat(10_000);
    let message = format!("PUB f {}\r\n{payload}\r\n", payload.len());
    // Far more than the socket buffers hold, and less than the limit: the rest has to wait in the server.
    for _ in 0..2000 {
        publisher.send(&message);
    }
    publisher.expect_nothing();
    eventually("something waits", || server.server.connections().iter().any(|shown| shown.pending_bytes > 0));
    let expected = format!("MSG f 1 {}\r\n{payload}\r\n", payload.len());
    for _ in 0..2000 {
        assert_eq!(slow.take(expected.len()), expected.as_bytes());
    }
    slow.expect_nothing();
    eventually("nothing waits", || server.server.connections().iter().all(|shown| shown.pending_bytes == 0));
    assert_eq!(server.server.hub().egress.used(), 0);
}

#[test]
fn a_subscriber_slower_than_its_publisher_slows_it_down_and_loses_nothing() {
    // Publishers waited for it once, in vain, and then filled its queue up to the limit: it was cut off.
    const MESSAGES: usize = 4000;
    let server = TestServer::start(|options| options.pending_bytes_max = 8 << 20);
    let mut slow = server.connected();
    slow.send("SUB f 1\r\n");
    slow.expect_nothing();
    let mut publisher = server.connected();
    let payload = "y".repeat(10_000);
    let message = format!("PUB f {}\r\n{payload}\r\n", payload.len());
    let publishing = std::thread::spawn(move || {
        (0..MESSAGES).for_each(|_| publisher.send(&message));
        publisher.expect_nothing();
    });
    let expected = format!("MSG f 1 {}\r\n{payload}\r\n", payload.len());
    let lags = || server.server.connections().iter().any(|shown| shown.pending_bytes > 6 << 20);
    let mut received = 0;
    while received < MESSAGES {
        // A reader that is always too slow, whatever the machine: it takes little, and only once it is far behind.
        if publishing.is_finished() || lags() {
            assert_eq!(slow.take(expected.len()), expected.as_bytes());
            received += 1;
        }
        std::thread::yield_now();
    }
    publishing.join().unwrap();
    slow.expect_nothing();
    assert!(server.server.hub().counters.stalls.load(Ordering::Relaxed) > 10);
}

#[test]
fn who_leaves_with_a_backlog_and_resets_the_connection_is_gone() {
    // A worker tried to write the last words to the reset socket again and again, and never looked at their time limit.
    let server = TestServer::start(|_| {});
    let mut leaving = server.connected();
    leaving.send("SUB f 1\r\n");
    leaving.expect_nothing();
    let id = server.server.connections()[0].id;
    let connection = server.server.connection(id).expect("it is there");
    let mut publisher = server.connected();
    fill(&server, &mut publisher, 8 << 20);
    leaving.stream.shutdown(Shutdown::Write).unwrap();
    eventually("the end is noticed", || connection.outbound.is_closed());
    socket2::SockRef::from(&leaving.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(leaving);
    eventually("the connection is gone", || server.server.connection(id).is_none());
    publisher.expect_nothing();
}
