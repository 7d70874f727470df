//! Durations as Go writes them: `300ms`, `1h2m3.5s`. Users and other servers compare the texts, errors included.

use std::fmt;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// A duration that may be negative, in nanoseconds; Go's range is that of an `i64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub i64);

impl GoDuration {
    /// `None` when it is negative.
    pub fn positive(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// Reads a sign, then numbers with units: `ns`, `us` (`µs`), `ms`, `s`, `m`, `h`. `0` needs no unit.
pub fn parse_duration(text: &str) -> Result<GoDuration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(GoDuration(0));
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let whole_len = digits(rest);
        let (whole, after) = rest.split_at(whole_len);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_len = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        if unit_len == 0 {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let (unit, after) = after.split_at(unit_len);
        let scale = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let mut part = whole.checked_mul(scale).ok_or_else(invalid)?;
        part = part.checked_add(fraction_of(fraction, scale)).ok_or_else(invalid)?;
        total = total.checked_add(part).ok_or_else(invalid)?;
        rest = after;
    }
    let total = i64::try_from(total).map_err(|_| invalid())?;
    Ok(GoDuration(if negative { -total } else { total }))
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())
}

/// The digits after the point, in nanoseconds, cut off and not rounded. More than 15 digits do not matter.
fn fraction_of(digits: &str, scale: u64) -> u64 {
    let digits = &digits[..digits.len().min(15)];
    let numerator: u128 = digits.parse().unwrap_or(0);
    let denominator = 10u128.pow(u32::try_from(digits.len()).unwrap_or(0));
    u64::try_from(numerator * u128::from(scale) / denominator).unwrap_or(0)
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match size {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{size}ns"),
            1_000..1_000_000 => write!(f, "{}µs", Decimal(size, 1_000)),
            1_000_000..SECOND => write!(f, "{}ms", Decimal(size, 1_000_000)),
            _ => {
                let seconds = size / SECOND;
                if seconds >= 3600 {
                    write!(f, "{}h", seconds / 3600)?;
                }
                if seconds >= 60 {
                    write!(f, "{}m", seconds / 60 % 60)?;
                }
                write!(f, "{}s", Decimal(size % (60 * SECOND), SECOND))
            }
        }
    }
}

/// `value / unit` with as many decimals as it takes.
struct Decimal(u64, u64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value, unit) = *self;
        write!(f, "{}", value / unit)?;
        let rest = value % unit;
        if rest > 0 {
            let width = usize::try_from(unit.ilog10()).unwrap_or(0);
            write!(f, ".{}", format!("{rest:0width$}").trim_end_matches('0'))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_as_in_go() {
        for (text, nanoseconds, printed) in [
            ("0", 0, "0s"),
            ("5s", 5_000_000_000, "5s"),
            ("-5s", -5_000_000_000, "-5s"),
            ("+1.5s", 1_500_000_000, "1.5s"),
            ("2m", 120_000_000_000, "2m0s"),
            ("1h2m3.5s", 3_723_500_000_000, "1h2m3.5s"),
            ("100h", 360_000_000_000_000, "100h0m0s"),
            ("300ms", 300_000_000, "300ms"),
            ("1.5m", 90_000_000_000, "1m30s"),
            ("0.1h", 360_000_000_000, "6m0s"),
            ("12us", 12_000, "12µs"),
            ("1.2345µs", 1_234, "1.234µs"),
            ("7ns", 7, "7ns"),
            (".5s", 500_000_000, "500ms"),
            ("5.s", 5_000_000_000, "5s"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!((duration.0, duration.to_string().as_str()), (nanoseconds, printed), "{text}");
        }
    }

    #[test]
    fn refusals_have_the_words_of_go() {
        for (text, error) in [
            ("", r#"time: invalid duration """#),
            ("abc", r#"time: invalid duration "abc""#),
            ("5", r#"time: missing unit in duration "5""#),
            ("5x", r#"time: unknown unit "x" in duration "5x""#),
            ("5 s", r#"time: unknown unit " s" in duration "5 s""#),
            (".s", r#"time: invalid duration ".s""#),
            ("9223372037s", r#"time: invalid duration "9223372037s""#),
        ] {
            assert_eq!(parse_duration(text).unwrap_err(), error);
        }
    }
}
