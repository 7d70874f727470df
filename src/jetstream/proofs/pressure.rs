//! A push consumer whose subscriber reads nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_storage::{JournalOptions, SimIo};

use super::node_rig::{Rig, options};
use crate::account::{Outbound, Sink, Subscription, Transport};

const MESSAGES: usize = 500;
const BYTES: usize = 32 * 1024;
/// What one pass of the workers delivers, and how often they go on at most with a consumer that waits for its
/// subscriber.
const PASS_BYTES: usize = 256 * 1024 + BYTES;
const PAUSE: Duration = Duration::from_millis(100);

/// The worker waited for the subscriber, and what the last deliveries meant for the log had as much delivered again; so
/// had whatever else was stored.
#[test]
fn what_is_stored_meanwhile_delivers_nothing_to_a_subscriber_that_is_waited_for() {
    let journal = JournalOptions { segment_bytes: Some(32 << 20), first_segment_bytes: 32 << 20, ..options() };
    let mut rig = Rig::start_with(&SimIo::new(), journal);
    rig.create_stream("");
    for _ in 0..MESSAGES {
        rig.publish("s.1", &[b'x'; BYTES]);
        rig.drive();
    }
    let slow = Arc::new(Outbound::new(1 << 40, Transport::Owner, 1 << 30, Arc::default()));
    let sink = Sink::Client { outbound: slow.clone(), sid: b"1".as_slice().into() };
    let subscription = Arc::new(Subscription::new(b"to.me", None, sink, None));
    slow.subscriptions.insert(subscription.clone());
    rig.stream().account().interest.insert(subscription);
    let config = r#"{"durable_name":"C","deliver_subject":"to.me","ack_policy":"none"}"#;
    rig.grant("CONSUMER.DURABLE.CREATE.S.C", &format!(r#"{{"stream_name":"S","config":{config}}}"#));
    while slow.pending_bytes() <= slow.stall_bytes() {
        rig.drive();
        std::thread::yield_now();
    }
    let (began, before) = (Instant::now(), slow.pending_bytes());
    for _ in 0..100 {
        rig.publish("s.2", b"more");
        rig.drive();
    }
    let rounds = 2 + began.elapsed().as_millis() / PAUSE.as_millis();
    let more = slow.pending_bytes() - before;
    assert!(more <= rounds as usize * PASS_BYTES, "{more} bytes in {:?}", began.elapsed());
    assert!(before + more < MESSAGES * BYTES, "there is more to deliver");
}
