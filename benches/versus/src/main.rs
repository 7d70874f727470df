//! Headwater against its peers: every load runs on each contender in turn, in the same run, on the same disk.
//!
//! `cargo run --release -p headwater-versus -- [--quick] [--rounds N] [--seconds S] [FILTER ...]`
//!
//! Rates alone mislead on a shared machine, so the server's own CPU time per message stands beside each of them, and
//! what counts is the ratio of medians over alternating rounds.

mod cli;
mod contender;
mod disk;
mod frame;
mod machine;
mod poller;
mod process;
mod report;
mod runner;
mod sink;
mod statistics;
mod target;
mod wire;
mod workloads;

use std::process::ExitCode;

/// A benchmark has one reader of its errors, a person: text is enough.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Error>;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}

/// True when every load worked (and, without `--quick`, whatever the figures are: targets are reported, not enforced).
fn run() -> Result<bool> {
    let Some(settings) = cli::parse(std::env::args().skip(1))? else {
        println!("{}", cli::USAGE);
        return Ok(true);
    };
    let results = runner::run(&settings)?;
    let markdown = report::markdown(&settings, &results);
    println!("\n{markdown}");
    std::fs::create_dir_all(&settings.output)?;
    std::fs::write(settings.output.join("report.md"), &markdown)?;
    std::fs::write(settings.output.join("report.json"), report::json(&settings, &results))?;
    eprintln!("report: {}", settings.output.join("report.md").display());
    let failed = results.failures().count();
    println!("loads: {} passed, {} failed", results.successes(), failed);
    Ok(failed == 0)
}
