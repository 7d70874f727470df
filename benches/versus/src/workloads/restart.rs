//! Start after kill -9: how long until the stream answers with everything that was acknowledged.

use std::time::{Duration, Instant};

use super::stream::{create, store};
use super::{CORE, Load, Sample, Workload};
use crate::Result;
use crate::target::bound;

const ANSWER: Duration = Duration::from_secs(60);

pub const RESTART: Workload = Workload {
    name: "restart",
    about: "kill -9, then the time until a stream of 1 M and of 10 M messages of 128 B answers",
    contenders: CORE,
    needs: None,
    run: restart,
    rows: &[bound("first_s", 1.0), bound("second_s", 1.0), bound("growth", 2.0)],
};

fn restart(load: &mut Load) -> Result<Sample> {
    create(&load.server)?;
    let first = load.settings.count(1_000_000, 5_000);
    let second = load.settings.count(9_000_000, 20_000);
    let first_s = grow_and_restart(load, first, first)?;
    let second_s = grow_and_restart(load, second, first + second)?;
    // Differences below a few milliseconds are the process start, not the store.
    let growth = second_s / first_s.max(0.05);
    Ok(Sample::from([("first_s", first_s), ("second_s", second_s), ("growth", growth)]))
}

fn grow_and_restart(load: &mut Load, more: u64, total: u64) -> Result<f64> {
    let stored = store(&load.server, 128, more, Instant::now() + Duration::from_secs(240))?;
    if stored < more {
        return Err(format!("only {stored} of {more} messages could be stored in time").into());
    }
    let begin = Instant::now();
    load.server.crash_and_restart()?;
    let wanted = format!("\"messages\":{total},");
    loop {
        let answer = load.server.connect()?.api("STREAM.INFO.S", "");
        match answer {
            Ok(text) if text.replace(": ", ":").contains(&wanted) => return Ok(begin.elapsed().as_secs_f64()),
            Ok(text) if begin.elapsed() > ANSWER => return Err(format!("wanted {wanted} got {text}").into()),
            Err(error) if begin.elapsed() > ANSWER => return Err(error),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
