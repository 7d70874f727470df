//! Points in time and durations as the API prints them: RFC 3339 in UTC with nanoseconds, and integers of nanoseconds.
//!
//! Nothing here reads a clock.

use std::fmt::Write;

use serde::{Serialize, Serializer};

/// A duration in nanoseconds, as it stands in JSON.
pub type DurationNs = i64;

pub const MICROSECOND: DurationNs = 1_000;
pub const MILLISECOND: DurationNs = 1_000_000;
pub const SECOND: DurationNs = 1_000_000_000;
pub const MINUTE: DurationNs = 60 * SECOND;
pub const HOUR: DurationNs = 60 * MINUTE;

const SECONDS_PER_DAY: i64 = 86_400;

/// Nanoseconds since the Unix epoch. [`Timestamp::ZERO`] stands for "never" and prints as the year 1.
///
/// Years outside 1677..2262 are clamped to the nearest representable instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The zero time of Go: `0001-01-01T00:00:00Z`.
    pub const ZERO: Timestamp = Timestamp(i64::MIN);

    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// Reads RFC 3339; `None` when the text is something else.
    pub fn parse(text: &str) -> Option<Timestamp> {
        parse_rfc3339(text.as_bytes())
    }

    /// Appends the text, without quotes.
    pub fn write(&self, out: &mut String) {
        if self.is_zero() {
            out.push_str("0001-01-01T00:00:00Z");
            return;
        }
        let seconds = self.0.div_euclid(SECOND);
        let nanos = self.0.rem_euclid(SECOND);
        let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
        let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        // Writing to a String cannot fail.
        let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        if nanos != 0 {
            let _ = write!(out, ".{nanos:09}");
            out.truncate(out.trim_end_matches('0').len());
        }
        out.push('Z');
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Timestamp::ZERO
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::with_capacity(32);
        self.write(&mut text);
        formatter.write_str(&text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(32);
        self.write(&mut text);
        serializer.serialize_str(&text)
    }
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years are counted from March, so that the leap day comes last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn parse_rfc3339(text: &[u8]) -> Option<Timestamp> {
    if text.len() < 20 || text[4] != b'-' || text[7] != b'-' || text[10] != b'T' || text[13] != b':' || text[16] != b':'
    {
        return None;
    }
    let year = digits(&text[0..4])?;
    let month = digits(&text[5..7])?;
    let day = digits(&text[8..10])?;
    let (hour, minute, second) = (digits(&text[11..13])?, digits(&text[14..16])?, digits(&text[17..19])?);
    let month_is_real = (1..=12).contains(&month);
    if !month_is_real || day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanos, rest) = parse_fraction(&text[19..])?;
    let offset_seconds = parse_offset(rest)?;
    let seconds = days_from_civil(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    if (year, month, day) == (1, 1, 1) && seconds % SECONDS_PER_DAY == 0 && nanos == 0 && offset_seconds == 0 {
        return Some(Timestamp::ZERO);
    }
    let total = i128::from(seconds - offset_seconds) * i128::from(SECOND) + i128::from(nanos);
    let clamped = total.clamp(i128::from(i64::MIN + 1), i128::from(i64::MAX));
    i64::try_from(clamped).ok().map(Timestamp)
}

/// An optional fraction of a second, in nanoseconds; more than nine digits are cut off.
fn parse_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    if text.first() != Some(&b'.') {
        return Some((0, text));
    }
    let length = text[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let kept = &text[1..1 + length.min(9)];
    let scale = 10_i64.pow(9 - kept.len() as u32);
    Some((digits(kept)? * scale, &text[1 + length..]))
}

fn parse_offset(text: &[u8]) -> Option<i64> {
    let sign = match text {
        b"Z" => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    if text.len() != 6 || text[3] != b':' {
        return None;
    }
    let (hours, minutes) = (digits(&text[1..3])?, digits(&text[4..6])?);
    (hours <= 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0_i64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prints_as_go_does() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_413_581_110_135_586, "2026-11-23T05:59:41.110135586Z"),
            (1_795_413_581_110_000_000, "2026-11-23T05:59:41.11Z"),
            (951_782_400 * SECOND, "2000-02-29T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(Timestamp(nanos).to_string(), text);
            assert_eq!(Timestamp::parse(text), Some(Timestamp(nanos)));
        }
        assert_eq!(Timestamp::ZERO.to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(Timestamp::parse("0001-01-01T00:00:00Z"), Some(Timestamp::ZERO));
    }

    #[test]
    fn offsets_are_turned_into_utc_and_bad_texts_refused() {
        assert_eq!(Timestamp::parse("1970-01-01T02:00:00+02:00"), Some(Timestamp(0)));
        assert_eq!(Timestamp::parse("9999-12-31T23:59:59Z"), Some(Timestamp(i64::MAX)));
        for bad in ["", "abc", "2024-01-01", "2024-13-01T00:00:00Z", "2023-02-29T00:00:00Z", "2024-01-01T00:00:00"] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(nanos in (i64::MIN + 1)..=i64::MAX) {
            prop_assert_eq!(Timestamp::parse(&Timestamp(nanos).to_string()), Some(Timestamp(nanos)));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = Timestamp::parse(&text);
        }
    }
}
