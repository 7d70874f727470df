//! The queue to a peer without a socket: the owner's side is played by the test.

use super::*;

fn send(outbound: &Outbound, bytes: usize) -> usize {
    outbound.send(&mut vec![b'x'; bytes], Delivered { messages: 1, bytes: bytes as u64 })
}

fn write_all(outbound: &Outbound) -> usize {
    let mut written = 0;
    while let Some(batch) = outbound.begin_write() {
        let len = batch.len();
        assert_eq!(batch.slices().map(<[u8]>::len).sum::<usize>(), len);
        outbound.end_write(batch, len.min(50_000));
        written += len.min(50_000);
    }
    written
}

#[test]
fn what_waits_is_counted_until_it_is_written() {
    let outbound = Outbound::new(1, Transport::Owner, 1 << 20, Arc::default());
    let sent: usize =
        [10, 100_000, 1, 70_000, 65_536, 3].into_iter().map(|bytes| send(&outbound, bytes)).max().unwrap();
    assert_eq!((sent, outbound.pending_bytes(), outbound.blocked_since().is_some()), (235_550, 235_550, true));
    assert_eq!(write_all(&outbound), 235_550);
    assert_eq!((outbound.pending_bytes(), outbound.blocked_since()), (0, None));
    assert_eq!(outbound.delivered().messages, 6);
}

#[test]
fn too_much_waiting_ends_the_connection_once() {
    let outbound = Outbound::new(1, Transport::Owner, 1000, Arc::default());
    assert_eq!(send(&outbound, 1000), 1000);
    assert!(!outbound.is_closed());
    send(&outbound, 1);
    assert_eq!(outbound.closing(), Some(ClosedReason::SlowConsumerPendingBytes));
    outbound.close(ClosedReason::Kicked);
    assert_eq!((outbound.closing(), send(&outbound, 1)), (Some(ClosedReason::SlowConsumerPendingBytes), 0));
}

#[test]
fn above_the_common_budget_only_the_loaded_ones_end() {
    let budget = Arc::new(EgressBudget::new(3 << 20));
    let new = |id| Outbound::new(id, Transport::Owner, 64 << 20, Arc::clone(&budget));
    let (loaded, light) = (new(1), new(2));
    send(&loaded, 2 << 20);
    send(&light, 100);
    assert!(!loaded.is_closed());
    send(&loaded, 2 << 20);
    send(&light, 100);
    assert!(loaded.is_closed() && !light.is_closed());
    loaded.shut_down();
    assert_eq!((budget.used(), light.pending_bytes()), (200, 200));
}

#[test]
fn waiters_are_called_when_enough_was_written_or_at_the_end() {
    let outbound = Outbound::new(1, Transport::Owner, 1 << 20, Arc::default());
    let called = Arc::new(AtomicUsize::new(0));
    let waiter = || {
        let called = Arc::clone(&called);
        Box::new(move || {
            called.fetch_add(1, Ordering::Relaxed);
        })
    };
    outbound.on_drained(1, waiter());
    assert_eq!(called.load(Ordering::Relaxed), 1);
    send(&outbound, 200);
    outbound.on_drained(100, waiter());
    let batch = outbound.begin_write().unwrap();
    outbound.end_write(batch, 50);
    assert_eq!(called.load(Ordering::Relaxed), 1);
    let batch = outbound.begin_write().unwrap();
    outbound.end_write(batch, 60);
    assert_eq!(called.load(Ordering::Relaxed), 2);
    outbound.on_drained(10, waiter());
    outbound.close(ClosedReason::Kicked);
    assert_eq!(called.load(Ordering::Relaxed), 3);
}

#[test]
fn what_was_being_written_when_the_peer_went_is_not_counted_back_twice() {
    let budget = Arc::new(EgressBudget::new(1 << 20));
    let outbound = Outbound::new(1, Transport::Owner, 1 << 20, Arc::clone(&budget));
    for written in [0, 40, 100] {
        let outbound = Outbound::new(1, Transport::Owner, 1 << 20, Arc::clone(&budget));
        send(&outbound, 100);
        let batch = outbound.begin_write().unwrap();
        outbound.shut_down();
        outbound.end_write(batch, written);
        assert_eq!((outbound.pending_bytes(), budget.used()), (0, 0), "{written} bytes were written");
        assert!(outbound.begin_write().is_none(), "nothing is kept for a peer that is gone");
    }
    send(&outbound, 100);
    assert!(!outbound.is_closed(), "the budget is whole");
}

#[test]
fn what_a_stranger_could_not_write_before_the_peer_went_does_not_wait() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_nonblocking(true).unwrap();
    let stream = Arc::new(TcpStream::from_std(peer).unwrap());
    let budget = Arc::new(EgressBudget::new(1 << 20));
    let outbound = Outbound::new(1, Transport::Direct(Arc::clone(&stream)), 1 << 20, Arc::clone(&budget));
    outbound.queue.lock().writing = true;
    outbound.shut_down();
    assert_eq!(outbound.end_direct_write(&stream, &mut vec![b'x'; 100], Ok(40)), 0);
    assert_eq!((outbound.pending_bytes(), budget.used()), (0, 0));
    assert!(outbound.begin_write().is_none());
}

#[test]
fn publishers_wait_for_who_lags_and_near_the_limit_for_each_burst_while_it_takes_anything() {
    // Once a wait had been in vain nobody waited again: any subscriber slower than its publisher was cut off.
    let outbound = Outbound::new(1, Transport::Owner, 8 << 20, Arc::default());
    let pending = send(&outbound, 1 << 20);
    assert_eq!(outbound.worth_waiting(pending), None);
    let pending = send(&outbound, 1);
    assert_eq!(outbound.worth_waiting(pending), Some(512 << 10));
    outbound.set_saturated();
    assert_eq!(outbound.worth_waiting(pending), None);
    let pending = send(&outbound, 5 << 20);
    assert_eq!(outbound.worth_waiting(pending), Some(6 << 20));
    // After waiting in vain again it takes a little.
    outbound.set_saturated();
    let batch = outbound.begin_write().unwrap();
    outbound.end_write(batch, 1);
    let pending = send(&outbound, 1);
    assert_eq!(outbound.worth_waiting(pending), Some(6 << 20));
    // It takes nothing any more.
    outbound.queue.lock().progress.grow_older(SILENCE_MAX);
    assert_eq!(outbound.worth_waiting(pending), None);
    let batch = outbound.begin_write().unwrap();
    outbound.end_write(batch, 1);
    assert_eq!(outbound.worth_waiting(pending), Some(6 << 20));
    write_all(&outbound);
    let pending = send(&outbound, (1 << 20) + 1);
    assert_eq!(outbound.worth_waiting(pending), Some(512 << 10), "it has drained");
}

#[test]
fn with_little_room_publishers_wait_early_and_a_small_limit_has_its_own_thresholds() {
    let budget = Arc::new(EgressBudget::new(8 << 20));
    let new = |id, bytes_max| Outbound::new(id, Transport::Owner, bytes_max, Arc::clone(&budget));
    let (first, second, small) = (new(1, 64 << 20), new(2, 64 << 20), new(3, 400));
    let pending = send(&first, 2 << 20);
    first.set_saturated();
    assert_eq!(first.worth_waiting(pending), None);
    send(&second, 5 << 20);
    assert_eq!(first.worth_waiting(pending), Some(1 << 20), "little is left for all");
    second.shut_down();
    assert_eq!(first.worth_waiting(pending), None);
    assert_eq!((small.stall_bytes(), send(&small, 301)), (300, 301));
    assert_eq!(small.worth_waiting(301), Some(300));
}
