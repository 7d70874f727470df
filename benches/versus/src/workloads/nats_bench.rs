//! The stock `nats bench`: figures a user can repeat without us. No targets: the client is the limit.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use super::{CORE, Load, STREAM, Sample, Workload};
use crate::process::in_path;
use crate::{Error, Result};

pub const CORE_PUBLISH: Workload = Workload {
    name: "nats-bench-publish",
    about: "nats bench pub, 128 B",
    contenders: CORE,
    needs: Some(needs_nats),
    run: |load| bench(load, 5_000_000, &["pub", "load"]),
    rows: &[],
};

pub const JS_ASYNC: Workload = Workload {
    name: "nats-bench-js-async",
    about: "nats bench js pub async, 128 B, file",
    contenders: STREAM,
    needs: Some(needs_nats),
    run: |load| store(load, if load.is_slow() { 20_000 } else { 300_000 }, &["js", "pub", "async", "load"]),
    rows: &[],
};

pub const JS_SYNC: Workload = Workload {
    name: "nats-bench-js-sync",
    about: "nats bench js pub sync, 128 B, file",
    contenders: STREAM,
    needs: Some(needs_nats),
    run: |load| store(load, if load.is_slow() { 6_000 } else { 20_000 }, &["js", "pub", "sync", "load"]),
    rows: &[],
};

pub const ORDERED: Workload = Workload {
    name: "nats-bench-ordered",
    about: "nats bench js ordered over stored messages",
    contenders: CORE,
    needs: Some(needs_nats),
    run: |load| read_back(load, &["js", "ordered"]),
    rows: &[],
};

pub const CONSUME: Workload = Workload {
    name: "nats-bench-consume",
    about: "nats bench js consume over stored messages",
    contenders: CORE,
    needs: Some(needs_nats),
    run: |load| read_back(load, &["js", "consume"]),
    rows: &[],
};

impl Load<'_> {
    /// A sync per message makes a full-sized run take minutes.
    fn is_slow(&self) -> bool {
        self.server.kind == crate::contender::Kind::NatsAlways
    }
}

fn program() -> Option<PathBuf> {
    env::var_os("NATS_CLI").map(Into::into).or_else(|| in_path("nats"))
}

fn needs_nats() -> Result<()> {
    program().map(|_| ()).ok_or_else(|| "wants the nats CLI (set NATS_CLI)".into())
}

fn read_back(load: &mut Load, words: &[&str]) -> Result<Sample> {
    store(load, 300_000, &["js", "pub", "async", "load"])?;
    bench(load, 300_000, words)
}

/// The stream is made here, plain: the program's own `--create` asks for atomic batches, which this load does not use.
fn store(load: &mut Load, messages: u64, words: &[&str]) -> Result<Sample> {
    load.server.connect()?.api("STREAM.CREATE.benchstream", r#"{"name":"benchstream","subjects":["load"]}"#)?;
    bench(load, messages, words)
}

fn bench(load: &mut Load, messages: u64, words: &[&str]) -> Result<Sample> {
    let messages = load.settings.count(messages, messages.min(2_000));
    let meter = load.meter()?;
    let output = Command::new(program().ok_or("no nats CLI")?)
        .args(["--no-context", "-s", &format!("127.0.0.1:{}", load.server.port), "bench"])
        .args(words)
        .args(["--msgs", &messages.to_string(), "--no-progress"])
        .output()?;
    let mut sample = load.finish(&meter, messages)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate = rate(&text)
        .ok_or_else(|| Error::from(format!("nats bench said: {text}{}", String::from_utf8_lossy(&output.stderr))))?;
    sample.insert("rate", rate);
    Ok(sample)
}

/// `... stats: 2,295,763 msgs/sec ~ ...`
fn rate(text: &str) -> Option<f64> {
    let (before, _) = text.split_once(" msgs/sec")?;
    before.rsplit(' ').next()?.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_with_its_thousands() {
        let text = "\nNATS Core NATS publisher stats: 2,295,763 msgs/sec ~ 280 MiB/sec ~ min: 0.08us\n";
        assert_eq!(rate(text), Some(2_295_763.0));
        assert_eq!(rate("error"), None);
    }
}
