//! Resident memory: of the server alone, and of what each connection, stream, consumer and stored message adds.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::stream::{create, store};
use super::{CORE, Load, Sample, Workload};
use crate::Result;
use crate::contender::Kind;
use crate::target::at_most;
use crate::wire::Connection;

pub const IDLE: Workload = Workload {
    name: "memory-idle",
    about: "resident memory at rest, and per idle connection with one subscription",
    contenders: CORE,
    needs: None,
    run: idle,
    rows: &[at_most("idle_kib", Kind::Nats, 0.5), at_most("connection_kib", Kind::Nats, 0.15)],
};

pub const ASSETS: Workload = Workload {
    name: "memory-assets",
    about: "resident memory per file stream and per durable consumer",
    contenders: CORE,
    needs: None,
    run: assets,
    rows: &[at_most("stream_kib", Kind::Nats, 0.2), at_most("consumer_kib", Kind::Nats, 0.2)],
};

pub const STORED: Workload = Workload {
    name: "memory-stored",
    about: "resident memory after 1 M messages of 128 B were stored",
    contenders: CORE,
    needs: None,
    run: stored,
    rows: &[at_most("stored_kib", Kind::Nats, 0.6)],
};

fn idle(load: &mut Load) -> Result<Sample> {
    let idle_kib = load.settled_kib()?;
    let count = load.settings.count(2_000, 50);
    allow_files(count * 2 + 200)?;
    let mut connections = Vec::new();
    for number in 0..count {
        let mut connection = Connection::open_small(load.server.port)?;
        connection.subscribe(&format!("_INBOX.{number}"))?;
        connections.push(connection);
    }
    for connection in &mut connections {
        connection.sync()?;
    }
    let connection_kib = (load.settled_kib()? - idle_kib).max(0.0) / count as f64;
    Ok(Sample::from([("idle_kib", idle_kib), ("connection_kib", connection_kib)]))
}

fn assets(load: &mut Load) -> Result<Sample> {
    let count = load.settings.count(1_000, 20);
    let mut client = load.server.connect()?;
    // The first of a kind brings tables and code into memory that the others share.
    client.api("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"]}"#)?;
    client.api(
        "CONSUMER.DURABLE.CREATE.S.first",
        r#"{"stream_name":"S","config":{"durable_name":"first","ack_policy":"explicit"}}"#,
    )?;
    let before = load.settled_kib()?;
    let begin = Instant::now();
    for number in 0..count {
        client.api(
            &format!("STREAM.CREATE.S{number}"),
            &format!(r#"{{"name":"S{number}","subjects":["t.{number}.>"]}}"#),
        )?;
    }
    let create_stream = count as f64 / begin.elapsed().as_secs_f64();
    let with_streams = load.settled_kib()?;
    let begin = Instant::now();
    for number in 0..count - 1 {
        let config =
            format!(r#"{{"stream_name":"S","config":{{"durable_name":"C{number}","ack_policy":"explicit"}}}}"#);
        client.api(&format!("CONSUMER.DURABLE.CREATE.S.C{number}"), &config)?;
    }
    let create_consumer = (count - 1) as f64 / begin.elapsed().as_secs_f64();
    let with_consumers = load.settled_kib()?;
    Ok(Sample::from([
        ("stream_kib", (with_streams - before).max(0.0) / count as f64),
        ("consumer_kib", (with_consumers - with_streams).max(0.0) / (count - 1) as f64),
        ("stream_creates", create_stream),
        ("consumer_creates", create_consumer),
    ]))
}

fn stored(load: &mut Load) -> Result<Sample> {
    create(&load.server)?;
    let count = load.settings.count(1_000_000, 5_000);
    store(&load.server, 128, count, Instant::now() + Duration::from_secs(60))?;
    Ok(Sample::from([("stored_kib", load.settled_kib()?)]))
}

/// Raises the limit of open files of this process if it is lower.
fn allow_files(count: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum: limit.maximum })?;
    }
    Ok(())
}
