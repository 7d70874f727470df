//! Runs the loads in rounds, the contenders in turn, and keeps every sample.

use std::collections::BTreeMap;
use std::fs;

use crate::Result;
use crate::cli::Settings;
use crate::contender::{Kind, Server};
use crate::machine::Machine;
use crate::statistics;
use crate::workloads::{self, Load, Sample, Workload};

pub struct Results {
    pub machine: Machine,
    pub versions: BTreeMap<Kind, String>,
    pub outcomes: Vec<Outcome>,
    pub skipped: Vec<String>,
}

/// All rounds of one load.
pub struct Outcome {
    pub workload: &'static Workload,
    pub samples: BTreeMap<Kind, Vec<Sample>>,
    pub failures: Vec<(Kind, String)>,
}

impl Outcome {
    /// Median over the rounds; None when this contender has no such figure.
    pub fn median(&self, kind: Kind, metric: &str) -> Option<f64> {
        statistics::median(&self.values(kind, metric))
    }

    pub fn values(&self, kind: Kind, metric: &str) -> Vec<f64> {
        self.samples.get(&kind).into_iter().flatten().filter_map(|sample| sample.get(metric).copied()).collect()
    }
}

impl Results {
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, Kind, &str)> {
        self.outcomes.iter().flat_map(|outcome| {
            outcome.failures.iter().map(|(kind, text)| (outcome.workload.name, *kind, text.as_str()))
        })
    }

    pub fn successes(&self) -> usize {
        self.outcomes.iter().flat_map(|outcome| outcome.samples.values()).map(Vec::len).sum()
    }
}

pub fn run(settings: &Settings) -> Result<Results> {
    if settings.list {
        list();
        std::process::exit(0);
    }
    fs::create_dir_all(&settings.data)?;
    let mut results = Results {
        machine: Machine::look(&settings.data),
        versions: BTreeMap::new(),
        outcomes: Vec::new(),
        skipped: Vec::new(),
    };
    let mut available = Vec::new();
    for kind in [Kind::Ours, Kind::Nats, Kind::NatsAlways, Kind::Redis] {
        match kind.version() {
            Ok(version) => {
                results.versions.insert(kind, version);
                available.push(kind);
            }
            // Without the server under test there is nothing to measure.
            Err(error) if kind == Kind::Ours => return Err(error),
            Err(error) => results.skipped.push(format!("{}: {error}", kind.title())),
        }
    }
    for workload in workloads::ALL.iter().filter(|workload| settings.wants(workload.name)) {
        match workload.needs.and_then(|needs| needs().err()) {
            Some(reason) => results.skipped.push(format!("{}: {reason}", workload.name)),
            None => results.outcomes.push(Outcome { workload, samples: BTreeMap::new(), failures: Vec::new() }),
        }
    }
    for round in 0..settings.rounds {
        for outcome in &mut results.outcomes {
            one_round(settings, outcome, &available, round);
        }
    }
    Ok(results)
}

/// The order turns round, so that no contender always comes after the other's write-back.
fn one_round(settings: &Settings, outcome: &mut Outcome, available: &[Kind], round: usize) {
    let mut kinds: Vec<Kind> =
        outcome.workload.contenders.iter().copied().filter(|kind| available.contains(kind)).collect();
    if round % 2 == 1 {
        kinds.reverse();
    }
    for kind in kinds {
        let sample = Server::start(kind, &settings.data)
            .and_then(|server| (outcome.workload.run)(&mut Load { settings, server }));
        match sample {
            Ok(sample) => {
                eprintln!("round {} {:<28} {:<20} {}", round + 1, outcome.workload.name, kind.title(), show(&sample));
                outcome.samples.entry(kind).or_default().push(sample);
            }
            Err(error) => {
                eprintln!("round {} {:<28} {:<20} FAILED: {error}", round + 1, outcome.workload.name, kind.title());
                outcome.failures.push((kind, error.to_string()));
            }
        }
    }
}

fn show(sample: &Sample) -> String {
    sample
        .iter()
        .map(|(name, value)| format!("{name} {}", crate::report::number(*value)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn list() {
    for workload in workloads::ALL {
        println!("{:<28} {}", workload.name, workload.about);
        for row in workload.rows {
            let against = row.peer.map_or("alone".to_owned(), |peer| format!("x {}", peer.title()));
            println!("{:<28}   {} {} {against}", "", row.metric, row.goal);
        }
    }
}
