//! Values as the genuine server prints them: uptimes, Go durations, RFC 3339 times, numbers. Pure.

use serde::{Serialize, Serializer};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::jetstream::api::Timestamp;

/// Whole seconds with the larger units split off: `1y2d3h4m5s`, `1m2s`, `0s`. As varz `uptime` and connz `idle`.
pub fn uptime(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let years = days / 365;
    let mut text = String::new();
    for (reached, shown, unit) in
        [(years, years, 'y'), (days, days % 365, 'd'), (hours, hours % 24, 'h'), (minutes, minutes % 60, 'm')]
    {
        if reached > 0 {
            text.push_str(&format!("{shown}{unit}"));
        }
    }
    text.push_str(&format!("{}s", seconds % 60));
    text
}

/// Go's `Duration.String`: `1h2m3.5s`, `5.538494ms`, `202µs`, `17ns`, `0s`.
pub fn go_duration(duration: Duration) -> String {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(nanos, 3)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 6)),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = decimal(nanos % 60_000_000_000, 9);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// A round trip: between a microsecond and a millisecond only whole microseconds are told.
pub fn round_trip(rtt: Option<Duration>) -> String {
    let rtt = rtt.unwrap_or_default();
    let told = match rtt.as_nanos() {
        1_001..1_000_000 => Duration::from_micros(rtt.as_micros() as u64),
        _ => rtt,
    };
    go_duration(told)
}

/// `value` divided by ten to the power of `places`, without trailing zeros.
fn decimal(value: u64, places: u32) -> String {
    let unit = 10_u64.pow(places);
    let fraction = format!("{:0width$}", value % unit, width = places as usize);
    match fraction.trim_end_matches('0') {
        "" => (value / unit).to_string(),
        fraction => format!("{}.{fraction}", value / unit),
    }
}

pub fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

pub fn now() -> Timestamp {
    timestamp(SystemTime::now())
}

pub fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A float that prints without a point when it is whole, as Go's encoder does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Float(pub f64);

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < 9e15 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// The `omitempty` of Go.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes_split_off_larger_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (62, "1m2s"),
            (3_600, "1h0m0s"),
            (90_061, "1d1h1m1s"),
            (366 * 86_400 + 5, "1y1d0h0m5s"),
        ] {
            assert_eq!(uptime(Duration::from_secs(seconds)), text);
        }
        assert_eq!(uptime(Duration::from_millis(1_999)), "1s");
    }

    #[test]
    fn durations_print_as_in_go() {
        for (nanos, text) in [
            (0, "0s"),
            (17, "17ns"),
            (202_000, "202µs"),
            (1_100, "1.1µs"),
            (5_538_494, "5.538494ms"),
            (1_000_000_000, "1s"),
            (62_500_000_000, "1m2.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn short_round_trips_are_told_in_microseconds() {
        assert_eq!(round_trip(None), "0s");
        assert_eq!(round_trip(Some(Duration::from_nanos(202_345))), "202µs");
        assert_eq!(round_trip(Some(Duration::from_nanos(5_538_494))), "5.538494ms");
        assert_eq!(round_trip(Some(Duration::from_nanos(900))), "900ns");
    }

    #[test]
    fn whole_floats_have_no_point() {
        assert_eq!(serde_json::to_string(&[Float(2.0), Float(0.0), Float(1.5)]).unwrap(), "[2,0,1.5]");
    }
}
