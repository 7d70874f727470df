//! Syslog, local by the datagram socket or remote by UDP (RFC 3164 framing, as Go's library writes it).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;

use super::sink::LogError;
use super::{Severity, timezone};
use crate::process;

const LOCAL_SOCKETS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
const FACILITY_DAEMON: u8 = 3 << 3;
const FACILITY_KERNEL: u8 = 0;
/// A datagram that every receiver takes.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

pub(super) struct Syslog {
    transport: Transport,
    tag: String,
    host: String,
}

enum Transport {
    Local(UnixDatagram),
    Udp(UdpSocket, SocketAddr),
}

impl Syslog {
    pub fn local() -> Result<Self, LogError> {
        let socket = UnixDatagram::unbound().map_err(|error| LogError::Syslog(error.to_string()))?;
        socket.set_nonblocking(true).map_err(|error| LogError::Syslog(error.to_string()))?;
        if !LOCAL_SOCKETS.iter().any(|path| socket.connect(path).is_ok()) {
            return Err(LogError::Syslog("Unix syslog delivery error".into()));
        }
        Ok(Self::new(Transport::Local(socket)))
    }

    /// `udp://host:port`.
    pub fn remote(address: &str) -> Result<Self, LogError> {
        let Some(target) = address.strip_prefix("udp://") else {
            return Err(LogError::Syslog(format!("{address:?}: only udp://host:port is supported")));
        };
        let target = target.trim_end_matches('/');
        let resolve = || target.to_socket_addrs().ok()?.next();
        let Some(peer) = resolve() else {
            return Err(LogError::Syslog(format!("cannot resolve {target:?}")));
        };
        let any: SocketAddr = match peer {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).map_err(|error| LogError::Syslog(error.to_string()))?;
        Ok(Self::new(Transport::Udp(socket, peer)))
    }

    fn new(transport: Transport) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self { transport, tag: process::program_name(), host: host.trim().to_string() }
    }

    pub fn send(&self, severity: Severity, text: &str) {
        let message = self.frame(severity, text);
        let bytes = &message.as_bytes()[..message.len().min(MESSAGE_BYTES_MAX)];
        let _ = match &self.transport {
            Transport::Local(socket) => socket.send(bytes),
            Transport::Udp(socket, peer) => socket.send_to(bytes, peer),
        };
    }

    fn frame(&self, severity: Severity, text: &str) -> String {
        let level = match severity {
            Severity::Fatal => 2,
            Severity::Error => 3,
            Severity::Warning => 4,
            Severity::Info | Severity::Trace => 5,
            Severity::Debug => 7,
        };
        let pid = std::process::id();
        let (tag, host) = (&self.tag, &self.host);
        match self.transport {
            Transport::Local(_) => {
                let stamp = timezone::now(false).syslog_stamp();
                format!("<{}>{stamp} {tag}[{pid}]: {text}\n", FACILITY_DAEMON | level)
            }
            Transport::Udp(..) => {
                let stamp = timezone::now(true).rfc3339();
                format!("<{}>{stamp} {host} {tag}[{pid}]: {text}\n", FACILITY_KERNEL | level)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_lines_arrive_with_priority_and_tag() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let syslog = Syslog::remote(&format!("udp://{}", receiver.local_addr().unwrap())).unwrap();
        syslog.send(Severity::Error, "disk on fire");
        let mut buffer = [0; 512];
        let length = receiver.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        assert!(text.starts_with("<3>20") && text.ends_with("]: disk on fire\n"), "{text}");
        assert!(text.contains(&format!("[{}]: ", std::process::id())), "{text}");
    }

    #[test]
    fn other_transports_are_refused() {
        let error = Syslog::remote("tcp://127.0.0.1:514").err().unwrap().to_string();
        assert_eq!(error, "error connecting to syslog: \"tcp://127.0.0.1:514\": only udp://host:port is supported");
    }
}
