//! Reading a stored stream from its start: what a new consumer waits for.

use std::time::{Duration, Instant};

use super::stream::{create, store};
use super::{CORE, Load, Sample, Workload};
use crate::Result;
use crate::contender::Kind;
use crate::frame::{self, Frame};
use crate::target::{at_least, at_most};

const BATCH: u64 = 500;

pub const PUSH: Workload = Workload {
    name: "replay-push",
    about: "1 M stored messages of 128 B to an ordered push consumer with flow control",
    contenders: CORE,
    needs: None,
    run: push,
    rows: &[at_least("rate", Kind::Nats, 3.0), at_most("cpu_us", Kind::Nats, 0.35)],
};

pub const PULL: Workload = Workload {
    name: "replay-pull-500",
    about: "1 M stored messages of 128 B to a pull consumer in batches of 500",
    contenders: CORE,
    needs: None,
    run: pull,
    rows: &[at_least("rate", Kind::Nats, 3.0), at_most("cpu_us", Kind::Nats, 0.35)],
};

fn fill(load: &Load) -> Result<u64> {
    create(&load.server)?;
    let count = load.settings.count(1_000_000, 5_000);
    store(&load.server, 128, count, Instant::now() + Duration::from_secs(60))
}

fn push(load: &mut Load) -> Result<Sample> {
    let stored = fill(load)?;
    let mut reader = load.server.connect()?;
    reader.subscribe("deliver")?;
    reader.sync()?;
    let meter = load.meter()?;
    load.server.connect()?.api(
        "CONSUMER.CREATE.S.C",
        r#"{"stream_name":"S","config":{"name":"C","deliver_subject":"deliver","deliver_policy":"all","ack_policy":"none",
            "max_deliver":1,"flow_control":true,"idle_heartbeat":5000000000,"mem_storage":true,"num_replicas":1,
            "replay_policy":"instant","inactive_threshold":300000000000}}"#,
    )?;
    let mut received = 0;
    while received < stored {
        let mut answers = Vec::new();
        reader.count_messages(|bytes| match bytes[0] {
            b'M' => received += 1,
            // Flow control and heartbeats carry a status; the former want an empty answer.
            _ => answers.extend(flow_control(bytes).map(|subject| format!("PUB {subject} 0\r\n\r\n"))),
        })?;
        for answer in answers {
            reader.write(answer.as_bytes())?;
        }
    }
    load.finish(&meter, received)
}

/// Where to answer a flow control request, or a heartbeat that says the consumer waits for such an answer.
fn flow_control(bytes: &[u8]) -> Option<String> {
    let Frame::Message { reply, headers, .. } = frame::decode(bytes) else { return None };
    let stalled = "Nats-Consumer-Stalled:";
    let text = String::from_utf8_lossy(headers);
    match reply {
        Some(reply) => Some(String::from_utf8_lossy(reply).into_owned()),
        None => text.lines().find_map(|line| line.strip_prefix(stalled)).map(|subject| subject.trim().to_owned()),
    }
}

fn pull(load: &mut Load) -> Result<Sample> {
    let stored = fill(load)?;
    let mut reader = load.server.connect()?;
    reader.api(
        "CONSUMER.CREATE.S.C",
        r#"{"stream_name":"S","config":{"name":"C","deliver_policy":"all","ack_policy":"none","inactive_threshold":300000000000}}"#,
    )?;
    reader.subscribe("inbox")?;
    reader.sync()?;
    let body = format!("{{\"batch\":{BATCH},\"expires\":30000000000}}");
    let request = format!("PUB $JS.API.CONSUMER.MSG.NEXT.S.C inbox {}\r\n{body}\r\n", body.len());
    let meter = load.meter()?;
    let (mut received, mut asked) = (0, 0);
    while received < stored {
        // As client libraries do: ask again when half a batch is left.
        if asked - received <= BATCH / 2 {
            reader.write(request.as_bytes())?;
            asked += BATCH;
        }
        let mut status = None;
        reader.count_messages(|bytes| match bytes[0] {
            b'M' => received += 1,
            _ => status = Some(String::from_utf8_lossy(bytes).into_owned()),
        })?;
        if let Some(text) = status {
            return Err(format!("{received} of {stored} messages, then {text}").into());
        }
    }
    load.finish(&meter, received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_control_is_answered_where_it_asks() {
        let request = b"HMSG d 1 $JS.FC.S.C.ab12 36 36\r\nNATS/1.0 100 FlowControl Request\r\n\r\n\r\n";
        assert_eq!(flow_control(request).as_deref(), Some("$JS.FC.S.C.ab12"));
        let block = "NATS/1.0 100 Idle Heartbeat\r\nNats-Consumer-Stalled: $JS.FC.x\r\n\r\n";
        let heartbeat = format!("HMSG d 1 {0} {0}\r\n{block}\r\n", block.len());
        assert_eq!(flow_control(heartbeat.as_bytes()).as_deref(), Some("$JS.FC.x"));
        let plain = "NATS/1.0 100 Idle Heartbeat\r\n\r\n";
        let heartbeat = format!("HMSG d 1 {0} {0}\r\n{plain}\r\n", plain.len());
        assert_eq!(flow_control(heartbeat.as_bytes()), None);
    }
}
