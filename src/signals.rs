//! Signals, both ways: those this process receives, and `--signal`, which sends one to another instance (F-11).

use std::io;
use std::path::Path;

use rustix::process::{Pid, kill_process};
use tokio::signal::unix::{self, SignalKind};

use crate::process::program_name;

/// What somebody outside wants this process to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: open the log file again.
    Reopen,
    /// SIGUSR2: send the clients away, then end.
    LameDuck,
    /// SIGINT: end now.
    Quit,
    /// SIGTERM: end now, unless lame duck mode is on already.
    Terminate,
}

/// The signals of this process, in the order they arrive. From the first value on, none of them has its default effect.
pub struct Signals {
    reload: unix::Signal,
    reopen: unix::Signal,
    lame_duck: unix::Signal,
    quit: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Must be called inside the runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            reload: unix::signal(SignalKind::hangup())?,
            reopen: unix::signal(SignalKind::user_defined1())?,
            lame_duck: unix::signal(SignalKind::user_defined2())?,
            quit: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    /// The next signal. Cancel-safe: a signal that was not returned is returned next time.
    pub async fn next(&mut self) -> Signal {
        let (signal, name) = tokio::select! {
            _ = self.terminate.recv() => (Signal::Terminate, "terminated"),
            _ = self.quit.recv() => (Signal::Quit, "interrupt"),
            _ = self.lame_duck.recv() => (Signal::LameDuck, "user defined signal 2"),
            _ = self.reload.recv() => (Signal::Reload, "hangup"),
            _ = self.reopen.recv() => (Signal::Reopen, "user defined signal 1"),
        };
        tracing::info!("Trapped {name:?} signal");
        signal
    }
}

/// Carries out `--signal <command>[=<pid|pid file|glob>]`. The error is what stderr shows, in nats-server's words.
pub fn send(request: &str) -> Result<(), String> {
    let mut parts = request.split('=');
    let command = parts.next().unwrap_or_default();
    let target = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    if !rest.is_empty() {
        return Err(format!("invalid signal parameters: [{}]", rest.join(" ")));
    }
    let target = pid_text(target);
    let (digits, is_glob) = match target.strip_suffix('*') {
        Some(digits) => (digits, true),
        None => (target.as_str(), false),
    };
    let number = match digits {
        "" => None,
        digits => Some(digits.parse::<i32>().map_err(|_| format!("invalid pid: {digits}"))?),
    };
    let name = program_name();
    let pids = match number {
        Some(pid) if !is_glob => vec![pid],
        _ => instances(Path::new("/proc"), &name)?,
    };
    if pids.len() > 1 && !is_glob {
        let list: String = pids.iter().map(|pid| format!("\n{pid}")).collect();
        return Err(format!("multiple {name} processes running:{list}"));
    }
    if pids.is_empty() {
        return Err(format!("no {name} processes running"));
    }
    let signal = signal_of(command)?;
    let failures: String = pids
        .iter()
        .filter(|pid| !is_glob || pid.to_string().starts_with(digits))
        .filter_map(|pid| kill(*pid, signal).err().map(|error| format!("\nsignal {command:?} {pid}: {error}")))
        .collect();
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// A pid file's content when there is such a file, else the text itself.
fn pid_text(target: &str) -> String {
    if target.is_empty() {
        return String::new();
    }
    std::fs::read_to_string(target).map_or_else(|_| target.to_string(), |text| text.trim().to_string())
}

fn signal_of(command: &str) -> Result<rustix::process::Signal, String> {
    use rustix::process::Signal;
    match command {
        "stop" => Ok(Signal::KILL),
        "quit" => Ok(Signal::INT),
        "term" => Ok(Signal::TERM),
        "reopen" => Ok(Signal::USR1),
        "reload" => Ok(Signal::HUP),
        "ldm" => Ok(Signal::USR2),
        _ => Err(format!("unknown signal {command:?}")),
    }
}

fn kill(pid: i32, signal: rustix::process::Signal) -> Result<(), String> {
    // Zero and negative numbers would reach whole groups.
    let pid = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw).ok_or("no such process")?;
    kill_process(pid, signal).map_err(|error| match error {
        rustix::io::Errno::SRCH => "no such process".to_string(),
        rustix::io::Errno::PERM => "operation not permitted".to_string(),
        error => error.to_string(),
    })
}

/// Other processes of this name.
fn instances(proc: &Path, name: &str) -> Result<Vec<i32>, String> {
    // The kernel cuts names off.
    let comm: String = name.chars().take(15).collect();
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let entries = std::fs::read_dir(proc).map_err(|_| "unable to resolve pid, try providing one".to_string())?;
    let mut pids: Vec<i32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let path = proc.join(pid.to_string()).join("comm");
            std::fs::read_to_string(path).is_ok_and(|text| text.trim_end() == comm)
        })
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_words_of_nats_server() {
        for (request, error) in [
            ("ldm=1=2", "invalid signal parameters: [2]"),
            ("ldm=abc", "invalid pid: abc"),
            ("nope=1", "unknown signal \"nope\""),
            ("ldm=2147483646", "\nsignal \"ldm\" 2147483646: no such process"),
            ("stop=-1", "\nsignal \"stop\" -1: no such process"),
            ("stop=0", "\nsignal \"stop\" 0: no such process"),
        ] {
            assert_eq!(send(request).unwrap_err(), error, "{request}");
        }
    }

    #[test]
    fn instances_are_found_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for (pid, comm) in [("12", "headwater"), ("7", "headwater"), ("30", "other"), ("self", "headwater")] {
            std::fs::create_dir(dir.path().join(pid)).unwrap();
            std::fs::write(dir.path().join(pid).join("comm"), format!("{comm}\n")).unwrap();
        }
        assert_eq!(instances(dir.path(), "headwater").unwrap(), [7, 12]);
        assert!(instances(&dir.path().join("missing"), "x").is_err());
    }

    #[test]
    fn a_process_is_reached_by_pid_and_by_pid_file() {
        let dir = tempfile::tempdir().unwrap();
        for by_file in [false, true] {
            // Waits until it is killed, and for longer than this test never.
            let waiting = ["-c", "read line"];
            let mut child =
                std::process::Command::new("sh").args(waiting).stdin(std::process::Stdio::piped()).spawn().unwrap();
            let pid = child.id().to_string();
            let path = dir.path().join("pid");
            std::fs::write(&path, &pid).unwrap();
            let target = if by_file { path.display().to_string() } else { pid };
            send(&format!("stop={target}")).unwrap();
            let status = child.wait().unwrap();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        }
    }

    #[test]
    fn received_signals_arrive_as_values() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut signals = Signals::listen().unwrap();
            let own = std::process::id();
            for (command, expected) in
                [("reload", Signal::Reload), ("reopen", Signal::Reopen), ("ldm", Signal::LameDuck)]
            {
                send(&format!("{command}={own}")).unwrap();
                assert_eq!(signals.next().await, expected);
            }
        });
    }
}
