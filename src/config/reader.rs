//! Typed reading of one entry: every function reports a mismatch and returns `None`, so that reading goes on.

use std::time::Duration;

use super::duration::{GoDuration, parse_duration};
use super::report::Report;
use super::syntax::{Map, Node, Value};

/// The longest time that Go can say. Clocks can add it without overflow.
const DURATION_MAX: Duration = Duration::from_nanos(i64::MAX as u64);

/// An entry at hand: its key as written and its value.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub key: &'a str,
    pub node: &'a Node,
}

impl<'a> Entry<'a> {
    pub fn new(key: &'a str, node: &'a Node) -> Self {
        Self { key, node }
    }

    pub fn string(self, report: &mut Report) -> Option<&'a str> {
        match &self.node.value {
            Value::String(text) => Some(text),
            _ => self.mismatch("a string", report),
        }
    }

    pub fn boolean(self, report: &mut Report) -> Option<bool> {
        match self.node.value {
            Value::Bool(flag) => Some(flag),
            _ => self.mismatch("a boolean", report),
        }
    }

    pub fn integer(self, report: &mut Report) -> Option<i64> {
        match self.node.value {
            Value::Integer(number) => Some(number),
            _ => self.mismatch("an integer", report),
        }
    }

    pub fn map(self, report: &mut Report) -> Option<&'a Map> {
        match &self.node.value {
            Value::Map(map) => Some(map),
            _ => self.mismatch("a map", report),
        }
    }

    pub fn list(self, report: &mut Report) -> Option<&'a [Node]> {
        match &self.node.value {
            Value::List(items) => Some(items),
            _ => self.mismatch("a list", report),
        }
    }

    /// An integer that fits `T`; numbers below zero become zero, which all such keys treat as "not set".
    pub fn count<T: TryFrom<i64>>(self, report: &mut Report) -> Option<T> {
        let number = self.integer(report)?.max(0);
        match T::try_from(number) {
            Ok(number) => Some(number),
            Err(_) => {
                report.error(&self.node.span, format_args!("{} value is too big", self.key));
                None
            }
        }
    }

    /// One string or a list of strings. `field` is how messages name the entry.
    pub fn strings(self, field: &str, report: &mut Report) -> Option<Vec<String>> {
        match &self.node.value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::List(items) => {
                let mut texts = Vec::with_capacity(items.len());
                for item in items {
                    match &item.value {
                        Value::String(text) => texts.push(text.clone()),
                        other => report.error(
                            &item.span,
                            format_args!("error parsing {field}: unsupported type in array {}", other.go_type()),
                        ),
                    }
                }
                Some(texts)
            }
            other => {
                report.error(
                    &self.node.span,
                    format_args!("error parsing {field}: unsupported type {}", other.go_type()),
                );
                None
            }
        }
    }

    /// A duration in Go's notation only.
    pub fn duration_string(self, report: &mut Report) -> Option<GoDuration> {
        let Value::String(text) = &self.node.value else {
            return self.mismatch("a duration in quotes, such as \"1m\"", report);
        };
        match parse_duration(text) {
            Ok(duration) => Some(duration),
            Err(error) => {
                report.error(&self.node.span, format_args!("error parsing {}: {error}", self.key));
                None
            }
        }
    }

    /// A duration, or an integer of seconds, which is the old way and earns a warning. Nothing below zero: that is the
    /// same as not set.
    pub fn duration(self, report: &mut Report) -> Option<Duration> {
        if let Value::Integer(seconds) = self.node.value {
            report.misuse(self.key, &self.node.span, format_args!("{} should be converted to a duration", self.key));
            return Some(whole_seconds(seconds));
        }
        self.duration_string(report).map(|duration| duration.positive().unwrap_or_default())
    }

    /// Seconds as a number, or a duration. `block` is how messages name the enclosing block.
    pub fn timeout(self, block: &str, report: &mut Report) -> Option<Duration> {
        let seconds = match &self.node.value {
            Value::Integer(seconds) => whole_seconds(*seconds),
            Value::Float(seconds) => Duration::try_from_secs_f64(*seconds).unwrap_or_default().min(DURATION_MAX),
            Value::String(text) => match parse_duration(text) {
                Ok(duration) => duration.positive().unwrap_or_default(),
                Err(error) => {
                    report.error(&self.node.span, format_args!("error parsing {block} config, '{}' {error}", self.key));
                    return None;
                }
            },
            _ => {
                report.error(&self.node.span, format_args!("error parsing {block} config, '{}' wrong type", self.key));
                return None;
            }
        };
        Some(seconds)
    }

    /// Bytes as an integer or as a string with `K`, `M`, `G` or `T`, which count in 1024s. Negative: not set.
    pub fn storage_size(self, label: &str, report: &mut Report) -> Option<i64> {
        let outcome = match &self.node.value {
            Value::Integer(bytes) => Ok(*bytes),
            Value::String(text) => storage_size(text),
            _ => Err("must be int64 or string".to_string()),
        };
        match outcome {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                report.error(&self.node.span, format_args!("{label} {error}"));
                None
            }
        }
    }

    fn mismatch<T>(self, wanted: &str, report: &mut Report) -> Option<T> {
        report.error(
            &self.node.span,
            format_args!("expected {:?} to be {wanted}, got {}", self.key, self.node.value.kind()),
        );
        None
    }
}

/// Nothing below zero.
fn whole_seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(DURATION_MAX)
}

fn storage_size(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let number = text.trim_end_matches("iB").trim_end_matches('B');
    let unit = number.chars().next_back();
    let shift = match unit {
        Some('K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        Some('T') => 40,
        _ => return Err("sizes defined as strings must end in K, M, G, T".into()),
    };
    let digits = &number[..number.len() - 1];
    let number: i64 = digits.parse().map_err(|_| format!("size {text:?} is not a number with a unit"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("size {text:?} is out of range"))
}
