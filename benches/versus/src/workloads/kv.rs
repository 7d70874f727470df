//! Key-value through a stock client library (nats-py): what an application sees.

use std::env;
use std::process::Command;

use super::{Load, STREAM, Sample, Workload};
use crate::contender::Kind;
use crate::target::{Row, at_least};
use crate::{Error, Result};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kv.py");
const ROWS: &[Row] = &[
    at_least("put_rate", Kind::Nats, 0.8),
    at_least("put_rate", Kind::NatsAlways, 1.3),
    at_least("get_rate", Kind::Nats, 1.1),
];

pub const ONE: Workload = Workload {
    name: "kv-1",
    about: "key-value put and get by nats-py, one client",
    contenders: STREAM,
    needs: Some(needs_nats_py),
    run: |load| put_and_get(load, 1),
    rows: ROWS,
};

pub const SIXTEEN: Workload = Workload {
    name: "kv-16",
    about: "key-value put and get by nats-py, 16 clients in one process",
    contenders: STREAM,
    needs: Some(needs_nats_py),
    run: |load| put_and_get(load, 16),
    rows: ROWS,
};

fn python() -> String {
    env::var("PYTHON").unwrap_or_else(|_| "python3".into())
}

fn needs_nats_py() -> Result<()> {
    match Command::new(python()).args(["-c", "import nats.js"]).output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("wants a python3 with nats-py (set PYTHON)".into()),
    }
}

fn put_and_get(load: &mut Load, clients: usize) -> Result<Sample> {
    let output = Command::new(python())
        .arg(SCRIPT)
        .args([load.server.port.to_string(), clients.to_string(), load.settings.seconds.to_string()])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("kv.py failed").to_owned().into());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let find = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| Error::from(text.clone()))?;
        Ok(line.trim().parse()?)
    };
    Ok(Sample::from([("put_rate", find("put_rate")?), ("get_rate", find("get_rate")?)]))
}
