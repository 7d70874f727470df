//! Results as markdown for people and JSON for programs.

use std::fmt::Write;

use crate::cli::Settings;
use crate::contender::Kind;
use crate::runner::{Outcome, Results};
use crate::statistics;
use crate::target::Row;

pub fn markdown(settings: &Settings, results: &Results) -> String {
    let mut out = String::new();
    let machine = &results.machine;
    let _ = writeln!(
        out,
        "{} cores ({}), {:.0} GiB, Linux {}, {}; load generator on the same machine; medians of {} round(s) of {} s.\n",
        machine.cores,
        machine.processor,
        machine.memory_gib,
        machine.kernel,
        machine.file_system,
        settings.rounds,
        settings.seconds
    );
    for (kind, version) in &results.versions {
        let _ = writeln!(out, "- {}: {version}", kind.title());
    }
    if settings.quick {
        let _ = writeln!(out, "\nThis was a smoke run: its figures say nothing about speed.");
    }
    let _ = writeln!(
        out,
        "\n## Targets\n\n| load | metric | headwater | peer | ratio | target | |\n|---|---|---:|---:|---:|---|---|"
    );
    for outcome in &results.outcomes {
        for row in outcome.workload.rows {
            let _ = writeln!(out, "{}", target_line(settings, outcome, row));
        }
    }
    let _ = writeln!(out, "\n## Figures\n\n| load | contender | figures (spread of the rounds) |\n|---|---|---|");
    for outcome in &results.outcomes {
        for kind in outcome.workload.contenders {
            if let Some(figures) = figures(outcome, *kind) {
                let _ = writeln!(out, "| {} | {} | {figures} |", outcome.workload.name, kind.title());
            }
        }
    }
    for (name, kind, text) in results.failures() {
        let _ = writeln!(out, "\nFailed: {name} on {}: {text}", kind.title());
    }
    for text in &results.skipped {
        let _ = writeln!(out, "\nSkipped: {text}");
    }
    out
}

fn target_line(settings: &Settings, outcome: &Outcome, row: &Row) -> String {
    let ours = outcome.median(Kind::Ours, row.metric);
    let (title, peer) = row.peer.map_or(("", None), |kind| (kind.title(), outcome.median(kind, row.metric)));
    let value = if row.peer.is_some() { ours.zip(peer).map(|(ours, peer)| ours / peer) } else { ours };
    let verdict = match value {
        Some(_) if settings.quick => "not judged",
        Some(value) if row.goal.met(value) => "pass",
        Some(_) => "FAIL",
        None => "-",
    };
    format!(
        "| {} | {} | {} | {} {title} | {} | {} | {verdict} |",
        outcome.workload.name,
        row.metric,
        optional(ours),
        optional(peer),
        if row.peer.is_some() { optional(value) } else { String::new() },
        row.goal
    )
}

fn figures(outcome: &Outcome, kind: Kind) -> Option<String> {
    let first = outcome.samples.get(&kind)?.first()?;
    let text = first.keys().map(|metric| {
        let values = outcome.values(kind, metric);
        let spread = statistics::spread(&values) * 100.0;
        format!("{metric} {} ({spread:.0} %)", optional(statistics::median(&values)))
    });
    Some(text.collect::<Vec<_>>().join("; "))
}

fn optional(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), number)
}

/// Three significant digits, with a unit letter for large values.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.2} M", value / 1e6),
        size if size >= 1e4 => format!("{:.1} k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Every sample, for later comparison; nothing is rounded.
pub fn json(settings: &Settings, results: &Results) -> String {
    let versions = results.versions.iter().map(|(kind, version)| format!("{}:{}", quote(kind.title()), quote(version)));
    let outcomes = results.outcomes.iter().map(|outcome| {
        let samples = outcome.samples.iter().map(|(kind, samples)| {
            let rounds = samples.iter().map(|sample| {
                let fields = sample.iter().map(|(name, value)| format!("{}:{value}", quote(name)));
                format!("{{{}}}", join(fields))
            });
            format!("{}:[{}]", quote(kind.title()), join(rounds))
        });
        let targets = outcome.workload.rows.iter().map(|row| {
            let peer = row.peer.map_or("null".to_owned(), |kind| quote(kind.title()));
            format!("{{\"metric\":{},\"peer\":{peer},\"goal\":{}}}", quote(row.metric), quote(&row.goal.to_string()))
        });
        format!(
            "{{\"load\":{},\"samples\":{{{}}},\"targets\":[{}]}}",
            quote(outcome.workload.name),
            join(samples),
            join(targets)
        )
    });
    let failures = results.failures().map(|(name, kind, text)| {
        format!("{{\"load\":{},\"contender\":{},\"error\":{}}}", quote(name), quote(kind.title()), quote(text))
    });
    let machine = &results.machine;
    format!(
        "{{\"quick\":{},\"rounds\":{},\"seconds\":{},\"machine\":{{\"cores\":{},\"processor\":{},\"memory_gib\":{:.1},\"kernel\":{},\
         \"file_system\":{}}},\"versions\":{{{}}},\"loads\":[{}],\"failures\":[{}],\"skipped\":[{}]}}\n",
        settings.quick,
        settings.rounds,
        settings.seconds,
        machine.cores,
        quote(&machine.processor),
        machine.memory_gib,
        quote(&machine.kernel),
        quote(&machine.file_system),
        join(versions),
        join(outcomes),
        join(failures),
        join(results.skipped.iter().map(|text| quote(text))),
    )
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let shown = [0.123, 1.5, 12.34, 123.4, 1234.0, 12345.0, 1_234_567.0].map(number);
        assert_eq!(shown, ["0.12", "1.50", "12.3", "123", "1234", "12.3 k", "1.23 M"]);
    }

    #[test]
    fn strings_are_quoted_for_json() {
        assert_eq!(quote("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    }
}
