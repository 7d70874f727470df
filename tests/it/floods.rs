//! A client that sends without pause is read in larger pieces (ADR 0001): nothing of it may be lost, split or swapped.

use crate::harness::TestServer;

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
