//! Flags and environment: what to run, how long, and where the programs are.

use std::path::PathBuf;
use std::time::Duration;

use crate::Result;

pub const USAGE: &str = "\
usage: headwater-versus [FLAGS] [FILTER ...]

Runs each load whose name contains a FILTER (all without one) on every contender.

  --quick         smoke: one short round with small counts; checks that it works, not how fast
  --rounds N      alternating rounds, medians are taken over them (default 5)
  --seconds S     length of each load (default 3)
  --dir DIR       where servers keep their data; decides which disk is measured (default target/versus/data)
  --out DIR       where report.md and report.json go (default target/versus)
  --list          names of the loads and their targets
  --help          this text

Environment: HEADWATER_BIN (default: target/release/headwater, built when missing), NATS_SERVER_BIN (default: in PATH
or beside python3), NATS_CLI (default: nats in PATH), REDIS_SERVER and REDIS_BENCHMARK (default: in PATH),
PYTHON (default: python3, with nats-py for the key-value loads). A load whose program is missing is skipped and named.";

pub struct Settings {
    pub quick: bool,
    pub rounds: usize,
    pub seconds: f64,
    pub data: PathBuf,
    pub output: PathBuf,
    pub filters: Vec<String>,
    pub list: bool,
}

impl Settings {
    pub fn load(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// A count for the real run, or the much smaller one of the smoke.
    pub fn count(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }

    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }
}

/// None when help was asked for.
pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Settings>> {
    let mut settings = Settings {
        quick: false,
        rounds: 0,
        seconds: 0.0,
        data: PathBuf::from("target/versus/data"),
        output: PathBuf::from("target/versus"),
        filters: Vec::new(),
        list: false,
    };
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "--quick" => settings.quick = true,
            "--rounds" => settings.rounds = value()?.parse()?,
            "--seconds" => settings.seconds = value()?.parse()?,
            "--dir" => settings.data = value()?.into(),
            "--out" => settings.output = value()?.into(),
            "--list" => settings.list = true,
            "--help" | "-h" => return Ok(None),
            // `cargo bench` adds this flag of its own.
            "--bench" => {}
            flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}\n{USAGE}").into()),
            filter => settings.filters.push(filter.to_owned()),
        }
    }
    if settings.rounds == 0 {
        settings.rounds = if settings.quick { 1 } else { 5 };
    }
    if settings.seconds == 0.0 {
        settings.seconds = if settings.quick { 0.3 } else { 3.0 };
    }
    Ok(Some(settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Settings {
        parse(words.iter().map(|word| (*word).to_owned())).expect("valid flags").expect("no help")
    }

    #[test]
    fn quick_means_one_short_round() {
        let settings = parsed(&["--quick"]);
        assert_eq!((settings.rounds, settings.count(1000, 10)), (1, 10));
        assert!(settings.seconds < 1.0);
    }

    #[test]
    fn explicit_values_win_over_quick() {
        assert_eq!(parsed(&["--quick", "--rounds", "3"]).rounds, 3);
    }

    #[test]
    fn filters_select_by_substring() {
        let settings = parsed(&["request", "kv"]);
        assert!(settings.wants("core-request-1") && settings.wants("kv-put") && !settings.wants("replay"));
        assert!(parsed(&[]).wants("anything"));
    }

    #[test]
    fn unknown_flags_are_refused() {
        assert!(parse(["--fast".to_owned()].into_iter()).is_err());
    }
}
