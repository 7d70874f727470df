//! What the kernel says about this process: memory and time on the processors, from `/proc`.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Readings closer together than this give the last share again: the kernel counts in ticks of 10 ms.
const INTERVAL_MIN: Duration = Duration::from_millis(500);

/// Resident bytes; 0 where there is no `/proc`.
pub fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Time that all threads have run.
pub fn processor_time() -> Duration {
    ticks(&std::fs::read_to_string("/proc/self/stat").unwrap_or_default())
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// User and system time from the line of `/proc/self/stat`.
fn ticks(stat: &str) -> Duration {
    // The program's name stands in parentheses and may hold anything, spaces and parentheses too.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / per_second))
}

/// The share of the processors since the reading before, in percent of one core.
pub struct CpuMeter {
    last: Mutex<Reading>,
}

struct Reading {
    at: Instant,
    time: Duration,
    percent: f64,
}

impl CpuMeter {
    /// The first reading is the share since `started`.
    pub fn new(started: Instant) -> CpuMeter {
        CpuMeter { last: Mutex::new(Reading { at: started, time: Duration::ZERO, percent: 0.0 }) }
    }

    pub fn percent(&self) -> f64 {
        let (at, time) = (Instant::now(), processor_time());
        let mut last = self.last.lock();
        let wall = at.saturating_duration_since(last.at);
        if wall >= INTERVAL_MIN {
            let share = time.saturating_sub(last.time).as_secs_f64() / wall.as_secs_f64();
            *last = Reading { at, time, percent: (share * 1000.0).round() / 10.0 };
        }
        last.percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let per_second = rustix::param::clock_ticks_per_second();
        let line = format!("7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 {per_second} {per_second} 0 0 20 0 5 0");
        assert_eq!(ticks(&line), Duration::from_secs(2));
        assert_eq!(ticks(""), Duration::ZERO);
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(resident_bytes() > 1 << 20);
    }
}
