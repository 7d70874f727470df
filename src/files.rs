//! The files that tell others about this process, as long as it lives (F-12): its pid, and the ports it listens on.

use headwater::config::Options;
use headwater::process::{Ports, PortsFile, listener_urls, write_pid_file};
use headwater::server::Server;
use std::io;
use std::path::Path;

/// The pid file comes first of all: a start that takes long can be found by it.
///
/// # Errors
/// When it can not be written: whoever asked for it could not find this process.
pub fn write_pid(options: &Options) -> Result<(), String> {
    let Some(path) = &options.pid_file else { return Ok(()) };
    write_pid_file(path).map_err(|error| format!("Could not write pidfile: {}", failure(path, &error)))
}

/// The ports file, once the ports are known. It goes away with this value.
pub struct Files {
    ports: Option<PortsFile>,
}

impl Files {
    pub fn write(server: &Server) -> Files {
        Files { ports: ports_file(server) }
    }

    /// After a reload: files that shall be elsewhere are written there.
    pub fn follow(&mut self, old: &Options, server: &Server) {
        let new = server.options();
        if old.pid_file != new.pid_file
            && let Err(error) = write_pid(&new)
        {
            tracing::error!("{error}");
        }
        if old.ports_file_dir != new.ports_file_dir {
            // The old one goes first: it may be the same file by another name.
            self.ports = None;
            self.ports = ports_file(server);
        }
    }
}

fn ports_file(server: &Server) -> Option<PortsFile> {
    let options = server.options();
    let directory = options.ports_file_dir.as_ref()?;
    let monitor = server.monitor_address();
    let scheme = if options.http.is_some() { "http" } else { "https" };
    let ports = Ports {
        nats: listener_urls("nats", server.client_address()),
        monitoring: monitor.map(|address| listener_urls(scheme, address)).unwrap_or_default(),
        ..Ports::default()
    };
    match PortsFile::write(directory, &ports) {
        Ok(file) => Some(file),
        Err(error) => {
            tracing::error!("Error writing ports file: {}", failure(directory, &error));
            None
        }
    }
}

/// As nats-server words it.
fn failure(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("open {path}: no such file or directory"),
        io::ErrorKind::PermissionDenied => format!("open {path}: permission denied"),
        _ => format!("open {path}: {error}"),
    }
}
