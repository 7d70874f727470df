//! Replay at the original pace (`replay_policy: original`): stored messages come with the pauses they were stored with.
//!
//! It ends with the last message that was there when the leader began; what comes later is delivered at once.

/// Shorter pauses are not worth a timer.
const PAUSE_MIN: i64 = 1_000_000;

/// The pacing of one replay.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The last sequence to be paced.
    last_sequence: u64,
    /// When the message before was stored and when it was delivered.
    previous: Option<(i64, i64)>,
}

impl Replay {
    pub fn new(last_sequence: u64) -> Self {
        Self { last_sequence, previous: None }
    }

    pub fn is_over(&self, next: u64) -> bool {
        next > self.last_sequence
    }

    /// When a message stored at `stored` may go; a time in the past means now.
    pub fn ready_at(&self, stored: i64) -> i64 {
        let Some((previous_stored, delivered)) = self.previous else { return i64::MIN };
        match stored.saturating_sub(previous_stored) {
            pause if pause > PAUSE_MIN => delivered.saturating_add(pause),
            _ => i64::MIN,
        }
    }

    pub fn delivered(&mut self, stored: i64, now: i64) {
        self.previous = Some((stored, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_those_of_the_storing() {
        let mut replay = Replay::new(3);
        assert_eq!(replay.ready_at(100), i64::MIN);
        replay.delivered(100, 5_000_000_000);
        assert_eq!(replay.ready_at(100 + PAUSE_MIN), i64::MIN);
        assert_eq!(replay.ready_at(100 + 50 * PAUSE_MIN), 5_000_000_000 + 50 * PAUSE_MIN);
        assert!(!replay.is_over(3) && replay.is_over(4));
    }
}
