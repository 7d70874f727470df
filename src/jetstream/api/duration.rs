//! Durations as Go writes and reads them: `1h0m0s`, `1.5s`, `10ms`.

use std::fmt::Write;

use super::time::{DurationNs, HOUR, MICROSECOND, MILLISECOND, MINUTE, SECOND};

/// The text that Go prints for a duration.
pub fn format(duration: DurationNs) -> String {
    let mut out = String::new();
    let magnitude = duration.unsigned_abs();
    if duration == 0 {
        return "0s".to_owned();
    }
    if duration < 0 {
        out.push('-');
    }
    let (second, minute, hour) = (SECOND as u64, MINUTE as u64, HOUR as u64);
    if magnitude < second {
        let (unit, name) = match magnitude {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (MICROSECOND as u64, "µs"),
            _ => (MILLISECOND as u64, "ms"),
        };
        push_decimal(&mut out, magnitude, unit);
        out.push_str(name);
        return out;
    }
    // Writing to a String cannot fail.
    if magnitude >= hour {
        let _ = write!(out, "{}h", magnitude / hour);
    }
    if magnitude >= minute {
        let _ = write!(out, "{}m", magnitude % hour / minute);
    }
    push_decimal(&mut out, magnitude % minute, second);
    out.push('s');
    out
}

/// Reads what Go's `time.ParseDuration` reads; `None` for anything else, and for what does not fit.
pub fn parse(text: &str) -> Option<DurationNs> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number_len = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, after) = rest.split_at(number_len);
        let unit_len = after.bytes().take_while(|byte| !byte.is_ascii_digit() && *byte != b'.').count();
        let (unit, after) = after.split_at(unit_len);
        total = total.checked_add(in_nanoseconds(number, unit_of(unit)?)?)?;
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn unit_of(name: &str) -> Option<i128> {
    let unit = match name {
        "ns" => 1,
        "us" | "µs" | "μs" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    };
    Some(i128::from(unit))
}

/// A decimal number of units; the fraction beyond a nanosecond is cut off.
fn in_nanoseconds(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 19 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut scale = unit;
    let mut part = 0;
    for digit in fraction.bytes().take(18) {
        part = part * 10 + i128::from(digit - b'0');
        scale *= 10;
    }
    let fraction_ns = if part == 0 { 0 } else { part * unit / (scale / unit) };
    whole.checked_mul(unit)?.checked_add(fraction_ns)
}

fn push_decimal(out: &mut String, value: u64, unit: u64) {
    let _ = write!(out, "{}", value / unit);
    let fraction = value % unit;
    if fraction > 0 {
        let width = unit.ilog10() as usize;
        let _ = write!(out, ".{fraction:0width$}");
        out.truncate(out.trim_end_matches('0').len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prints_as_go_does() {
        for (duration, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (4 * MINUTE + 5 * SECOND, "4m5s"),
            (4 * MINUTE + 5 * SECOND + MILLISECOND, "4m5.001s"),
            (5 * HOUR + 6 * MINUTE + 7 * SECOND + MILLISECOND, "5h6m7.001s"),
            (2 * HOUR, "2h0m0s"),
            (-MINUTE, "-1m0s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(format(duration), text);
        }
    }

    #[test]
    fn reads_as_go_does() {
        for (text, duration) in [
            ("1h15m30.918273645s", Some(HOUR + 15 * MINUTE + 30_918_273_645)),
            ("5.s", Some(5 * SECOND)),
            (".5s", Some(500 * MILLISECOND)),
            ("+1s", Some(SECOND)),
            ("-1.5h", Some(-90 * MINUTE)),
            ("0", Some(0)),
            ("0.0000000001s", Some(0)),
            ("10", None),
            ("", None),
            ("-", None),
            ("s", None),
            (".s", None),
            ("1d", None),
            ("1.2.3s", None),
            ("99999999999h", None),
            ("never", None),
        ] {
            assert_eq!(parse(text), duration, "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(duration: i64) {
            prop_assert_eq!(parse(&format(duration)), Some(duration));
        }

        #[test]
        fn parsing_never_panics(text in "[-+0-9.nusµmh]{0,40}") {
            let _ = parse(&text);
        }
    }
}
