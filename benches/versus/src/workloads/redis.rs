//! Redis Streams through its own benchmark program: what users with this need have today.

use std::env;
use std::process::Command;

use super::{Load, Sample};
use crate::process::in_path;
use crate::{Error, Result};

/// XADD of 128 B from `clients`, `pipeline` commands at a time each.
pub fn xadd(load: &mut Load, clients: usize, pipeline: usize) -> Result<Sample> {
    let program = env::var_os("REDIS_BENCHMARK").map(Into::into).or_else(|| in_path("redis-benchmark"));
    let program = program.ok_or("no redis-benchmark found: set REDIS_BENCHMARK")?;
    // The program counts requests, not seconds; the guess only decides how long it runs.
    let per_second = match (clients, pipeline) {
        (1, 1) => 4_000.0,
        (_, 1) => 50_000.0,
        _ => 200_000.0,
    };
    let requests = (per_second * load.settings.seconds) as u64;
    let meter = load.meter()?;
    let output = Command::new(program)
        .args(["-h", "127.0.0.1", "-p", &load.server.port.to_string(), "--csv"])
        .args(["-c", &clients.to_string(), "-P", &pipeline.to_string(), "-n", &requests.to_string()])
        .args(["XADD", "s", "*", "f", &"x".repeat(128)])
        .output()?;
    let mut sample = load.finish(&meter, requests)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (rate, p50, p99) = figures(&text).ok_or_else(|| Error::from(format!("redis-benchmark said: {text}")))?;
    sample.extend([("rate", rate), ("p50_us", p50), ("p99_us", p99)]);
    Ok(sample)
}

/// Requests per second, median and 99th percentile in microseconds, found by the names in the first line.
fn figures(csv: &str) -> Option<(f64, f64, f64)> {
    let mut lines = csv.lines().skip_while(|line| !line.starts_with("\"test\""));
    let names = cells(lines.next()?);
    // The name of the test is the command line and may hold commas; figures are counted from the end.
    let values = cells(lines.next()?);
    let find = |name: &str| {
        let from_end = names.len() - names.iter().position(|cell| cell == name)?;
        values[values.len().checked_sub(from_end)?].parse::<f64>().ok()
    };
    Some((find("rps")?, find("p50_latency_ms")? * 1000.0, find("p99_latency_ms")? * 1000.0))
}

fn cells(line: &str) -> Vec<String> {
    line.split("\",\"").map(|cell| cell.trim_matches('"').to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_name() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
                   \"XADD s * f x\",\"4310.25\",\"0.2\",\"0.1\",\"0.223\",\"0.3\",\"0.5\",\"1.0\"\n";
        assert_eq!(figures(csv), Some((4310.25, 223.0, 500.0)));
        assert_eq!(figures("nothing"), None);
    }
}
