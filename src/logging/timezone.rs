//! The local time of log lines. The standard library has no time zones, so the system's zone file is read here.

use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A point in time as a calendar and a clock show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CivilTime {
    pub year: i64,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub nanosecond: u32,
}

impl CivilTime {
    /// `Nov 23 06:22:51`, the day filled with a blank.
    pub fn syslog_stamp(&self) -> String {
        let month = MONTHS[usize::from(self.month.clamp(1, 12)) - 1];
        format!("{month} {:>2} {:02}:{:02}:{:02}", self.day, self.hour, self.minute, self.second)
    }

    /// Only right for UTC.
    pub fn rfc3339(&self) -> String {
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            self.year, self.month, self.day, self.hour, self.minute, self.second
        )
    }
}

/// Now, in UTC or in the zone of the system.
pub(super) fn now(utc: bool) -> CivilTime {
    static ZONE: OnceLock<Zone> = OnceLock::new();
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(0);
    let offset = if utc { 0 } else { ZONE.get_or_init(Zone::of_system).offset_at(seconds) };
    civil(seconds + offset, since_epoch.subsec_nanos())
}

fn civil(seconds: i64, nanosecond: u32) -> CivilTime {
    let (year, month, day) = civil_from_days(seconds.div_euclid(DAY));
    let second_of_day = seconds.rem_euclid(DAY);
    // Each of these fits: they are remainders of small divisors.
    let part = |value: i64| u8::try_from(value).unwrap_or(0);
    CivilTime {
        year,
        month,
        day,
        hour: part(second_of_day / 3600),
        minute: part(second_of_day / 60 % 60),
        second: part(second_of_day % 60),
        nanosecond,
    }
}

/// The date that is this many days after 1970-01-01. Years are counted from March, so that the leap day comes last.
fn civil_from_days(days: i64) -> (i64, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, u8::try_from(month).unwrap_or(1), u8::try_from(day).unwrap_or(1))
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Offsets from UTC in seconds, over time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// When an offset begins; ascending.
    transitions: Vec<(i64, i64)>,
    first_offset: i64,
    /// For times after the last transition.
    rule: Option<Rule>,
}

impl Zone {
    /// What `TZ` names, else `/etc/localtime`, else UTC.
    fn of_system() -> Self {
        let read = |path: &str| std::fs::read(path).ok().and_then(|bytes| Self::parse(&bytes));
        let zone = match std::env::var("TZ") {
            Err(_) => read("/etc/localtime"),
            Ok(name) => {
                let name = name.strip_prefix(':').unwrap_or(&name);
                if name.is_empty() {
                    None
                } else if name.starts_with('/') {
                    read(name)
                } else {
                    read(&format!("/usr/share/zoneinfo/{name}")).or_else(|| Self::of_rule(name))
                }
            }
        };
        zone.unwrap_or_default()
    }

    /// A zone that always follows one rule; the rule is that of POSIX, such as `CET-1CEST,M3.5.0,M10.5.0/3`.
    pub fn of_rule(text: &str) -> Option<Self> {
        let rule = Rule::parse(text)?;
        Some(Self { first_offset: rule.standard, rule: Some(rule), ..Self::default() })
    }

    /// Seconds that clocks are ahead of UTC at this time, in seconds since the epoch.
    pub fn offset_at(&self, seconds: i64) -> i64 {
        let next = self.transitions.partition_point(|(begin, _)| *begin <= seconds);
        match &self.rule {
            Some(rule) if next == self.transitions.len() => rule.offset_at(seconds),
            _ => match next.checked_sub(1) {
                Some(current) => self.transitions[current].1,
                None => self.first_offset,
            },
        }
    }

    /// A zone file (RFC 8536): the block with 64-bit times when there is one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let version = *bytes.get(4)?;
        let (zone, rest) = Self::parse_block(bytes, 4)?;
        if version == 0 {
            return Some(zone);
        }
        let (zone, rest) = Self::parse_block(rest, 8)?;
        let footer = std::str::from_utf8(rest).ok()?.trim_matches('\n');
        Some(Self { rule: Rule::parse(footer), ..zone })
    }

    fn parse_block(bytes: &[u8], time_width: usize) -> Option<(Self, &[u8])> {
        let header = bytes.get(..44)?;
        if &header[..4] != b"TZif" {
            return None;
        }
        let count = |index: usize| {
            let field = header.get(20 + index * 4..24 + index * 4)?;
            usize::try_from(u32::from_be_bytes(field.try_into().ok()?)).ok()
        };
        let (utc_flags, standard_flags, leaps) = (count(0)?, count(1)?, count(2)?);
        let (times, types, letters) = (count(3)?, count(4)?, count(5)?);
        let mut rest = &bytes[44..];
        let mut take = |length: usize| {
            let (head, tail) = rest.split_at_checked(length)?;
            rest = tail;
            Some(head)
        };
        let begins = take(times.checked_mul(time_width)?)?;
        let indexes = take(times)?;
        let kinds = take(types.checked_mul(6)?)?;
        take(letters)?;
        take(leaps.checked_mul(time_width + 4)?)?;
        take(standard_flags)?;
        take(utc_flags)?;

        let offset = |index: usize| {
            let field = kinds.get(index * 6..index * 6 + 4)?;
            Some(i64::from(i32::from_be_bytes(field.try_into().ok()?)))
        };
        let mut transitions = Vec::with_capacity(times);
        for (begin, index) in begins.chunks_exact(time_width).zip(indexes) {
            let begin = match time_width {
                4 => i64::from(i32::from_be_bytes(begin.try_into().ok()?)),
                _ => i64::from_be_bytes(begin.try_into().ok()?),
            };
            transitions.push((begin, offset(usize::from(*index))?));
        }
        let zone = Self { transitions, first_offset: offset(0)?, rule: None };
        Some((zone, rest))
    }
}

/// A POSIX zone such as `CET-1CEST,M3.5.0,M10.5.0/3`.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    standard: i64,
    summer: Option<Summer>,
}

#[derive(Debug, PartialEq, Eq)]
struct Summer {
    offset: i64,
    begin: Day,
    end: Day,
}

/// A day of each year, and the second of it by the clock that ends then.
#[derive(Debug, PartialEq, Eq)]
struct Day {
    kind: DayKind,
    second: i64,
}

#[derive(Debug, PartialEq, Eq)]
enum DayKind {
    /// 1 to 365; 29 February does not count.
    Julian(i64),
    /// 0 to 365.
    Ordinal(i64),
    /// Weekday (0 is Sunday) of the given week of the month; the fifth week is the last.
    Weekday { month: i64, week: i64, weekday: i64 },
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        let mut rest = skip_name(text)?;
        let standard = -take_time(&mut rest)?;
        if rest.is_empty() {
            return Some(Self { standard, summer: None });
        }
        rest = skip_name(rest)?;
        let offset = if rest.starts_with(',') { standard + 3600 } else { -take_time(&mut rest)? };
        let mut days = rest.strip_prefix(',')?.splitn(2, ',');
        let (begin, end) = (Day::parse(days.next()?)?, Day::parse(days.next()?)?);
        Some(Self { standard, summer: Some(Summer { offset, begin, end }) })
    }

    fn offset_at(&self, seconds: i64) -> i64 {
        let Some(summer) = &self.summer else { return self.standard };
        let (year, _, _) = civil_from_days((seconds + self.standard).div_euclid(DAY));
        let begin = summer.begin.at(year) - self.standard;
        let end = summer.end.at(year) - summer.offset;
        let is_summer = if begin < end { (begin..end).contains(&seconds) } else { !(end..begin).contains(&seconds) };
        if is_summer { summer.offset } else { self.standard }
    }
}

impl Day {
    fn parse(text: &str) -> Option<Self> {
        let (day, time) = text.split_once('/').unwrap_or((text, "2"));
        let second = take_time(&mut { time })?;
        let within = |text: &str, range: RangeInclusive<i64>| text.parse().ok().filter(|number| range.contains(number));
        let kind = if let Some(day) = day.strip_prefix('J') {
            DayKind::Julian(within(day, 1..=365)?)
        } else if let Some(day) = day.strip_prefix('M') {
            let mut parts = day.splitn(3, '.');
            let mut next = |range| within(parts.next()?, range);
            DayKind::Weekday { month: next(1..=12)?, week: next(1..=5)?, weekday: next(0..=6)? }
        } else {
            DayKind::Ordinal(within(day, 0..=365)?)
        };
        Some(Self { kind, second })
    }

    /// Seconds by the local clock, in the given year.
    fn at(&self, year: i64) -> i64 {
        let first = days_from_civil(year, 1, 1);
        let is_leap = days_from_civil(year + 1, 1, 1) - first == 366;
        let day = match self.kind {
            DayKind::Julian(day) => first + day - 1 + i64::from(is_leap && day > 59),
            DayKind::Ordinal(day) => first + day,
            DayKind::Weekday { month, week, weekday } => {
                let start = days_from_civil(year, month, 1);
                let next =
                    if month == 12 { days_from_civil(year + 1, 1, 1) } else { days_from_civil(year, month + 1, 1) };
                // 1970-01-01 was a Thursday.
                let first_match = start + (weekday - (start + 4)).rem_euclid(7);
                let day = first_match + 7 * (week - 1);
                if day >= next { day - 7 } else { day }
            }
        };
        day * DAY + self.second
    }
}

/// Past the letters of a zone's name, or `<...>`.
fn skip_name(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('<') {
        return rest.split_once('>').map(|(_, rest)| rest);
    }
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    if end < 3 { None } else { Some(&text[end..]) }
}

/// `[+-]h[:m[:s]]` in seconds.
fn take_time(text: &mut &str) -> Option<i64> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, *text),
    };
    let end = rest.find(|c: char| c != ':' && !c.is_ascii_digit()).unwrap_or(rest.len());
    let (time, after) = rest.split_at(end);
    let mut seconds = 0;
    let mut unit = 3600;
    for part in time.splitn(3, ':') {
        // A rule's hours go up to 167, so whatever fits here adds up to a few weeks at most.
        seconds += i64::from(part.parse::<u8>().ok()?) * unit;
        unit /= 60;
    }
    *text = after;
    Some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, (1970, 1, 1, 0, 0, 0)),
            (951_827_696, (2000, 2, 29, 12, 34, 56)),
            (1_709_251_199, (2024, 2, 29, 23, 59, 59)),
            (1_709_251_200, (2024, 3, 1, 0, 0, 0)),
            (4_107_542_399, (2100, 2, 28, 23, 59, 59)),
            (-1, (1969, 12, 31, 23, 59, 59)),
        ] {
            let time = civil(seconds, 0);
            assert_eq!((time.year, time.month, time.day, time.hour, time.minute, time.second), expected);
        }
        for day in (-200_000..200_000).step_by(17) {
            let (year, month, date) = civil_from_days(day);
            assert_eq!(days_from_civil(year, i64::from(month), i64::from(date)), day);
        }
    }

    #[test]
    fn rules_switch_when_they_say() {
        let berlin = Rule::parse("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (seconds, offset) in [
            (1_774_745_999, 3600), // 2026-03-29 00:59:59Z
            (1_774_746_000, 7200),
            (1_792_889_999, 7200), // 2026-10-25 00:59:59Z
            (1_792_890_000, 3600),
        ] {
            assert_eq!(berlin.offset_at(seconds), offset, "{seconds}");
        }
        let sydney = Rule::parse("AEST-10AEDT,M10.1.0,M4.1.0/3").unwrap();
        assert_eq!(sydney.offset_at(1_767_225_600), 39_600); // 2026-01-01, summer there
        assert_eq!(sydney.offset_at(1_783_296_000), 36_000); // 2026-07-06
        assert_eq!(Rule::parse("<-03>3").unwrap(), Rule { standard: -10_800, summer: None });
        assert_eq!(Rule::parse("EST5EDT,J60/1:30,300").unwrap().summer.unwrap().begin.second, 5400);
        assert_eq!(Rule::parse("IST-5:30").unwrap().standard, 19_800);
        let endless = "CET-1CEST,M99999999999999999.1.0,M10.5.0";
        let far = "CET-99999999999999999";
        let nowhere = "CET-1CEST,M3.6.0,M10.5.7";
        for broken in ["", "A1", "CET", "CET-1CEST", "CET-1CEST,M3.5", "CET-x", endless, far, nowhere] {
            assert_eq!(Rule::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn zone_files_are_read() {
        // Version 2 with one transition to UTC+1 at 1000 and a rule without summer.
        let header = |times: u8, types: u8| {
            let mut bytes = b"TZif2".to_vec();
            bytes.extend([0; 15]);
            for count in [0, 0, 0, times, types, 4] {
                bytes.extend([0, 0, 0, count]);
            }
            bytes
        };
        let mut file = header(0, 1);
        file.extend([0, 0, 0, 0, 0, 0]);
        file.extend(b"UTC\0");
        file.extend(header(1, 2));
        file.extend(1000i64.to_be_bytes());
        file.push(1);
        file.extend([0, 0, 0, 0, 0, 0]);
        file.extend(3600i32.to_be_bytes());
        file.extend([0, 0]);
        file.extend(b"UTC\0");
        file.extend(b"\nXXX-1\n");
        let zone = Zone::parse(&file).unwrap();
        assert_eq!((zone.offset_at(999), zone.offset_at(1000), zone.offset_at(5_000_000_000)), (0, 3600, 3600));
        for length in 0..file.len() {
            let _ = Zone::parse(&file[..length]);
        }
        assert_eq!(Zone::parse(b"no zone"), None);
    }
}
