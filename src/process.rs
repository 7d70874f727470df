//! What the process leaves for others to find: its pid and the ports it listens on (F-12, appendix D 6).

mod descriptors;
mod program_pages;

pub use descriptors::{clients_max, monitor_connections_max, raise_descriptor_limit};
pub use program_pages::release_program_pages;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// As nats-server writes it.
const PID_FILE_MODE: u32 = 0o600;

/// The name this program was started by, which names its ports file and finds its other instances.
pub fn program_name() -> String {
    let argument = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&argument).file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "headwater".into())
}

/// Writes the pid in decimal, without a line break, for this user alone. The file stays when the process ends, as with
/// nats-server.
pub fn write_pid_file(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(PID_FILE_MODE);
    options.open(path)?.write_all(std::process::id().to_string().as_bytes())
}

/// Where the listeners are. A field is left out when nothing listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ports {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nats: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub monitoring: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub websocket: Vec<String>,
}

/// One URL per address that a listener can be reached by: `nats://10.0.0.1:4222`.
pub fn listener_urls(scheme: &str, listener: SocketAddr) -> Vec<String> {
    let addresses = if listener.ip().is_unspecified() { local_addresses() } else { vec![listener.ip()] };
    addresses.into_iter().map(|ip| format!("{scheme}://{}", SocketAddr::new(ip, listener.port()))).collect()
}

/// The ports file `<program>_<pid>.ports`. It is removed when this value is dropped.
#[derive(Debug)]
pub struct PortsFile {
    path: PathBuf,
}

impl PortsFile {
    pub fn write(directory: &Path, ports: &Ports) -> io::Result<Self> {
        let path = directory.join(format!("{}_{}.ports", program_name(), std::process::id()));
        // Whoever waits for the file to appear must not see half of it.
        let draft = path.with_extension("ports.tmp");
        std::fs::write(&draft, serde_json::to_vec(ports)?)?;
        std::fs::rename(&draft, &path)?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PortsFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The addresses of this machine's interfaces, loopback included. At least the loopback address.
pub fn local_addresses() -> Vec<IpAddr> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut addresses = ipv4_addresses(&read("/proc/net/fib_trie"));
    addresses.extend(ipv6_addresses(&read("/proc/net/if_inet6")));
    if addresses.is_empty() {
        addresses.push(Ipv4Addr::LOCALHOST.into());
    }
    addresses
}

/// The kernel's routing trie lists each own address as a leaf with `host LOCAL` below it.
fn ipv4_addresses(trie: &str) -> Vec<IpAddr> {
    let mut found = BTreeSet::new();
    let mut leaf = None;
    for line in trie.lines() {
        if let Some(address) = line.trim_start().strip_prefix("|-- ") {
            leaf = address.trim().parse::<Ipv4Addr>().ok();
        } else if line.contains("/32 host LOCAL") {
            found.extend(leaf.map(IpAddr::V4));
        }
    }
    found.into_iter().collect()
}

/// 32 hexadecimal digits at the start of each line.
fn ipv6_addresses(table: &str) -> Vec<IpAddr> {
    let parse = |line: &str| {
        let digits = line.split_whitespace().next()?;
        let bits = u128::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 32)?;
        Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
    };
    let found: BTreeSet<IpAddr> = table.lines().filter_map(parse).collect();
    found.into_iter().collect()
}

/// The line that `--version` prints. Harnesses parse `nats-server: vX.Y.Z`, so a binary of that name prints just it.
pub fn version_line(program: &str) -> String {
    let mut line = String::new();
    let _ = if program == COMPATIBLE_NAME {
        write!(line, "{COMPATIBLE_NAME}: v{COMPATIBLE_VERSION}")
    } else {
        let own = env!("CARGO_PKG_VERSION");
        write!(line, "headwater: v{own} (compatible with {COMPATIBLE_NAME} v{COMPATIBLE_VERSION})")
    };
    line
}

/// The server that this one stands in for.
pub const COMPATIBLE_NAME: &str = "nats-server";
/// The version of it whose behaviour is matched; INFO reports it.
pub const COMPATIBLE_VERSION: &str = "2.15.1";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_pid_is_plain_digits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        write_pid_file(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_ports_file_names_listeners_and_goes_away() {
        let dir = tempfile::tempdir().unwrap();
        let ports = Ports {
            nats: listener_urls("nats", "127.0.0.1:4222".parse().unwrap()),
            monitoring: listener_urls("http", "[::1]:8222".parse().unwrap()),
            ..Ports::default()
        };
        let file = PortsFile::write(dir.path(), &ports).unwrap();
        let path = file.path().to_path_buf();
        assert!(path.to_string_lossy().ends_with(&format!("_{}.ports", std::process::id())));
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            r#"{"nats":["nats://127.0.0.1:4222"],"monitoring":["http://[::1]:8222"]}"#
        );
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn own_addresses_are_found() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 127.0.0.0/8\n        \
                    |-- 127.0.0.1\n           /32 host LOCAL\n        |-- 127.255.255.255\n           /32 link BROADCAST\n\
                    Local:\n        |-- 10.1.2.3\n           /32 host LOCAL\n        |-- 127.0.0.1\n           /32 host LOCAL\n";
        let expected: Vec<IpAddr> = vec!["10.1.2.3".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        assert_eq!(ipv4_addresses(trie), expected);
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(ipv6_addresses(table), ["::1".parse::<IpAddr>().unwrap()]);
        assert!(!listener_urls("nats", "0.0.0.0:1".parse().unwrap()).is_empty());
    }

    #[test]
    fn the_version_depends_on_the_name() {
        assert_eq!(version_line("nats-server"), "nats-server: v2.15.1");
        assert_eq!(version_line("headwater"), "headwater: v0.1.0 (compatible with nats-server v2.15.1)");
    }
}
