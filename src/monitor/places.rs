//! The places of the monitor's connections: what each of them is about, how long it may be, and who has to go when there
//! is no room for another one or for another page. Knows no sockets.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Finished pages that wait for their readers, together. A page that is larger waits alone.
    pub page_bytes: usize,
    /// For the head of a request, from its first byte, or from the connection's beginning.
    pub head: Duration,
    /// From the head of a request to the last byte of its answer.
    pub answer: Duration,
    /// From an answer to the next request.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 256,
            page_bytes: 64 * 1024 * 1024,
            // As in nats-server.
            head: Duration::from_secs(5),
            answer: Duration::from_secs(60),
            idle: Duration::from_secs(90),
        }
    }
}

/// All places that are taken.
pub struct Places {
    limits: Limits,
    /// Before the lock of a single place.
    taken: Mutex<Vec<Arc<Place>>>,
}

/// One connection's place.
pub struct Place {
    limits: Limits,
    stage: Mutex<Stage>,
    evicted: Notify,
}

/// A place until it is given back.
pub struct Taken {
    places: Arc<Places>,
    place: Arc<Place>,
}

/// A page on its way to the socket, and what of its connection ends with it.
pub struct Page {
    bytes: Vec<u8>,
    place: Arc<Place>,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug)]
struct Stage {
    /// Requests whose answers have not left; a second one is taken while the first still does.
    answers: usize,
    page_bytes: usize,
    /// Some of a head is there, or is due.
    asking: bool,
    since: Instant,
}

impl Places {
    pub fn new(limits: Limits) -> Arc<Places> {
        Arc::new(Places { limits, taken: Mutex::default() })
    }

    /// A place for a connection. When all are taken the one that waits for its request for the longest has to go, or the
    /// one that takes longest over its answer.
    pub fn take(self: &Arc<Places>) -> Taken {
        let stage = Stage { answers: 0, page_bytes: 0, asking: true, since: Instant::now() };
        let place = Arc::new(Place { limits: self.limits, stage: Mutex::new(stage), evicted: Notify::new() });
        let mut taken = self.taken.lock();
        if taken.len() >= self.limits.connections {
            evict(&mut taken, |_, stage| Some((stage.answers > 0, stage.since)));
        }
        taken.push(Arc::clone(&place));
        Taken { places: Arc::clone(self), place }
    }
}

/// Ends the connection with the least key; false when no connection has one.
fn evict<K: Ord>(taken: &mut Vec<Arc<Place>>, key: impl Fn(&Arc<Place>, Stage) -> Option<K>) -> bool {
    let keys = taken.iter().enumerate().filter_map(|(at, place)| Some((key(place, *place.stage.lock())?, at)));
    let Some((_, at)) = keys.min() else { return false };
    taken.swap_remove(at).evicted.notify_one();
    true
}

impl Taken {
    pub fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// The bytes of an answer that [`Place::answers`] began. Where too many wait already, the connections that have waited
    /// longest end.
    pub fn page(&self, bytes: Vec<u8>) -> Page {
        let mut taken = self.places.taken.lock();
        let is_other = |place: &Arc<Place>| !Arc::ptr_eq(place, &self.place);
        let waiting = |taken: &[Arc<Place>]| taken.iter().map(|place| place.stage.lock().page_bytes).sum::<usize>();
        while waiting(&taken) + bytes.len() > self.places.limits.page_bytes
            && evict(&mut taken, |place, stage| (is_other(place) && stage.page_bytes > 0).then_some(stage.since))
        {
        }
        self.place.stage.lock().page_bytes += bytes.len();
        Page { bytes, place: Arc::clone(&self.place) }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.places.taken.lock().retain(|place| !Arc::ptr_eq(place, &self.place));
    }
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.place.stage.lock().answered(self.bytes.len(), Instant::now());
    }
}

impl Place {
    /// Some of a request has come.
    pub fn asks(&self) {
        self.stage.lock().asks(Instant::now());
    }

    /// The head of a request is there. Ends with the page that is made for it.
    pub fn answers(&self) {
        self.stage.lock().answers(Instant::now());
    }

    /// The connection is ready for its first request only now.
    pub fn begins(&self) {
        self.stage.lock().since = Instant::now();
    }

    /// When the connection ends unless it gets further. Moved by its own doings only.
    pub fn deadline(&self) -> Instant {
        self.stage.lock().deadline(&self.limits)
    }

    /// Waits until somebody else needs the room.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Stage {
    fn asks(&mut self, now: Instant) {
        if self.answers == 0 && !self.asking {
            (self.asking, self.since) = (true, now);
        }
    }

    fn answers(&mut self, now: Instant) {
        self.answers += 1;
        (self.asking, self.since) = (false, now);
    }

    fn answered(&mut self, page_bytes: usize, now: Instant) {
        self.answers -= 1;
        self.page_bytes -= page_bytes;
        self.since = now;
    }

    fn deadline(&self, limits: &Limits) -> Instant {
        let time = match (self.answers, self.asking) {
            (0, true) => limits.head,
            (0, false) => limits.idle,
            _ => limits.answer,
        };
        self.since + time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        connections: 2,
        page_bytes: 10,
        head: Duration::from_secs(1),
        answer: Duration::from_secs(10),
        idle: Duration::from_secs(100),
    };

    fn is_evicted(taken: &Taken) -> bool {
        !taken.places.taken.lock().iter().any(|place| Arc::ptr_eq(place, &taken.place))
    }

    #[test]
    fn a_head_that_trickles_has_no_more_time_than_one_that_does_not() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let mut stage = Stage { answers: 0, page_bytes: 0, asking: true, since: start };
        stage.asks(after(3));
        assert_eq!(stage.deadline(&LIMITS), after(1), "the first head is due at once");
        stage.answers(after(4));
        stage.asks(after(5));
        assert_eq!(stage.deadline(&LIMITS), after(14), "what comes meanwhile gives no time");
        stage.answered(0, after(6));
        assert_eq!(stage.deadline(&LIMITS), after(106));
        stage.asks(after(50));
        stage.asks(after(51));
        assert_eq!(stage.deadline(&LIMITS), after(51));
    }

    #[test]
    fn an_answer_that_follows_another_one_is_still_out_when_that_has_left() {
        let start = Instant::now();
        let mut stage = Stage { answers: 0, page_bytes: 0, asking: true, since: start };
        stage.answers(start);
        stage.answers(start);
        stage.answered(0, start);
        assert_eq!(stage.deadline(&LIMITS), start + LIMITS.answer);
    }

    #[test]
    fn who_waits_longest_for_a_request_makes_room_and_who_is_answered_only_then() {
        let places = Places::new(LIMITS);
        let (answered, waiting) = (places.take(), places.take());
        answered.place.answers();
        let newer = places.take();
        assert!(is_evicted(&waiting) && !is_evicted(&answered) && !is_evicted(&newer));
        newer.place.answers();
        let newest = places.take();
        assert!(is_evicted(&answered) && !is_evicted(&newer) && !is_evicted(&newest));
        drop(newer);
        let last = places.take();
        assert!(!is_evicted(&newest) && !is_evicted(&last));
    }

    #[test]
    fn pages_that_nobody_reads_make_room_for_others() {
        let places = Places::new(LIMITS);
        let (first, second) = (places.take(), places.take());
        for taken in [&first, &second] {
            taken.place.answers();
        }
        let page = first.page(vec![0; 6]);
        let small = second.page(vec![0; 4]);
        assert!(!is_evicted(&first));
        drop(small);
        second.place.answers();
        let large = second.page(vec![0; 20]);
        assert!(is_evicted(&first) && !is_evicted(&second), "a page that is larger than all may be goes alone");
        drop((page, large));
        assert_eq!(second.place.stage.lock().page_bytes, 0);
    }
}
