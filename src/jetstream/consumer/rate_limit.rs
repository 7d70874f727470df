//! The rate limit of a push consumer (U-12): a bucket of bytes that fills with time and holds one large message.

const SECOND: u128 = 1_000_000_000;

/// The bucket, kept as the time at which it would be empty.
#[derive(Clone, Debug)]
pub struct RateLimit {
    bytes_per_second: u64,
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
        // A bucket never holds more than the burst, however long it was left alone.
        self.empty_at.max(now.saturating_sub(self.burst)).saturating_add(nanos(bytes, self.bytes_per_second))
    }

    /// Takes the message out of the bucket.
    pub fn take(&mut self, bytes: u64, now: i64) {
        self.empty_at = self.ready_at(bytes, now);
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
        assert_eq!(limit.ready_at(300, now), now + second, "an idle bucket holds one burst");
    }
}
