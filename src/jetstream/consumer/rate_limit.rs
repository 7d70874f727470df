//! The rate limit of a push consumer (U-12): a bucket of bytes that fills with time and holds one large message. One
//! that is larger still goes when the bucket is full, and what follows waits for all of it.

const SECOND: u128 = 1_000_000_000;

/// The bucket, kept as the time at which it would be empty.
#[derive(Clone, Debug)]
pub struct RateLimit {
    bytes_per_second: u64,
    /// How long it takes to fill.
    burst: i64,
    empty_at: i64,
}

impl RateLimit {
    /// A full bucket. `bytes_per_second` is not 0.
    pub fn new(bytes_per_second: u64, burst_bytes: u64) -> Self {
        let bytes_per_second = bytes_per_second.max(1);
        Self { bytes_per_second, burst: nanos(burst_bytes, bytes_per_second), empty_at: i64::MIN }
    }

    /// When a message of this size may go; a time in the past means now.
    pub fn ready_at(&self, bytes: u64, now: i64) -> i64 {
        // More than a full bucket there never is to wait for.
        self.emptied(now).saturating_add(nanos(bytes, self.bytes_per_second).min(self.burst))
    }

    /// Takes the message out of the bucket.
    pub fn take(&mut self, bytes: u64, now: i64) {
        self.empty_at = self.emptied(now).saturating_add(nanos(bytes, self.bytes_per_second));
    }

    /// When the bucket was empty, or will be. It never holds more than the burst, however long it was left alone.
    fn emptied(&self, now: i64) -> i64 {
        self.empty_at.max(now.saturating_sub(self.burst))
    }
}

fn nanos(bytes: u64, bytes_per_second: u64) -> i64 {
    i64::try_from(u128::from(bytes) * SECOND / u128::from(bytes_per_second)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let second = SECOND as i64;
        let mut limit = RateLimit::new(100, 200);
        let mut now = 10 * second;
        for _ in 0..4 {
            assert!(limit.ready_at(50, now) <= now);
            limit.take(50, now);
        }
        assert_eq!(limit.ready_at(50, now), now + second / 2);
        now += second / 2;
        limit.take(50, now);
        assert_eq!(limit.ready_at(100, now), now + second);
        now += 100 * second;
        limit.take(200, now);
        assert_eq!(limit.ready_at(100, now), now + second, "an idle bucket holds one burst");
    }

    /// It was due when the bucket held as much as it needed, which was never.
    #[test]
    fn a_message_larger_than_the_burst_goes_and_is_paid_for_afterwards() {
        let (second, now) = (SECOND as i64, 10 * SECOND as i64);
        let mut limit = RateLimit::new(100, 200);
        assert!(limit.ready_at(500, now) <= now);
        limit.take(500, now);
        assert_eq!(limit.ready_at(100, now), now + 4 * second);
        assert_eq!(limit.ready_at(500, now), now + 5 * second);
    }
}
