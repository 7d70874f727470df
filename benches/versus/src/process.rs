//! A server process: started on a port, watched through /proc, killed when dropped.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// Kernel ticks per second in /proc/PID/stat; fixed by the user-space interface of Linux.
const TICKS_PER_SECOND: f64 = 100.0;
const START: Duration = Duration::from_secs(60);

pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the program and waits until `ready` says so.
    pub fn start(mut command: Command, log: PathBuf, mut ready: impl FnMut() -> bool) -> Result<Self> {
        let out = File::options().create(true).append(true).open(&log)?;
        let child = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()?;
        let mut process = Self { child, log };
        let deadline = Instant::now() + START;
        while !ready() {
            if let Some(status) = process.child.try_wait()? {
                return Err(format!("server ended with {status}: {}", process.last_words()).into());
            }
            if Instant::now() > deadline {
                return Err(format!("server not ready within {START:?}: {}", process.last_words()).into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(process)
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// User plus system time of all its threads, in microseconds.
    pub fn cpu_micros(&self) -> Result<f64> {
        cpu_micros(&format!("/proc/{}/stat", self.child.id()))
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Result<f64> {
        resident_kib(&fs::read_to_string(format!("/proc/{}/status", self.child.id()))?)
            .ok_or_else(|| "unreadable /proc/PID/status".into())
    }

    /// kill -9, and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// User plus system time of the calling thread, in microseconds.
pub fn thread_cpu_micros() -> Result<f64> {
    cpu_micros("/proc/thread-self/stat")
}

fn cpu_micros(path: &str) -> Result<f64> {
    cpu_ticks(&fs::read_to_string(path)?)
        .map(|ticks| ticks as f64 / TICKS_PER_SECOND * 1e6)
        .ok_or_else(|| format!("unreadable {path}").into())
}

/// Fields 14 and 15; the command in field 2 may hold spaces, so the count starts behind its parenthesis.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_kib(status: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

pub fn accepts(port: u16) -> bool {
    TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_millis(200)).is_ok()
}

/// First executable of that name in PATH.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| is_executable(path))
}

pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_with_spaces() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 100 1 1";
        assert_eq!(cpu_ticks(stat), Some(300));
    }

    #[test]
    fn resident_memory_is_the_rss_line() {
        assert_eq!(resident_kib("VmPeak:\t 9 kB\nVmRSS:\t    1234 kB\n"), Some(1234.0));
        assert_eq!(resident_kib("nothing"), None);
    }

    #[test]
    fn our_own_process_can_be_read() {
        let stat = fs::read_to_string("/proc/self/stat").expect("proc is mounted");
        assert!(cpu_ticks(&stat).is_some());
    }
}
