//! A server in this process and a client that sees every byte. Nothing sleeps to wait: everything polls with a deadline.

use headwater::config::{ListenAddress, Options};
use headwater::server::Server;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(10);

const PING: &[u8] = b"PING\r\n";

/// A server on a free port with a runtime of its own.
pub struct TestServer {
    pub server: Arc<Server>,
    pub runtime: tokio::runtime::Runtime,
}

impl TestServer {
    pub fn start(change: impl FnOnce(&mut Options)) -> TestServer {
        let mut options = Options { listen: ListenAddress { host: "127.0.0.1".into(), port: 0 }, ..Options::default() };
        change(&mut options);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(Server::start(options)).unwrap();
        TestServer { server, runtime }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.client_address()
    }

    pub fn client(&self) -> RawClient {
        RawClient::open(self.address())
    }

    /// A client that is through CONNECT and its first PONG.
    pub fn connected(&self) -> RawClient {
        self.connected_with("")
    }

    /// As [`TestServer::connected`], with more CONNECT fields: `"echo":false`.
    pub fn connected_with(&self, fields: &str) -> RawClient {
        let mut client = self.client();
        client.info();
        let comma = if fields.is_empty() { "" } else { "," };
        client.send(format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true{comma}{fields}}}\r\nPING\r\n"
        ));
        client.expect("PONG\r\n");
        client
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.runtime.block_on(self.server.shut_down());
    }
}

/// A connection that shows the wire as it is.
pub struct RawClient {
    pub stream: TcpStream,
    tls: Option<rustls::ClientConnection>,
    seen: Vec<u8>,
}

impl RawClient {
    pub fn open(address: SocketAddr) -> RawClient {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        RawClient { stream, tls: None, seen: Vec::new() }
    }

    /// From here on the client speaks TLS; an error is that of the handshake.
    pub fn upgrade(&mut self, config: Arc<rustls::ClientConfig>) -> std::io::Result<()> {
        self.upgrade_as("127.0.0.1", config)
    }

    /// As [`RawClient::upgrade`], to a server of another name.
    pub fn upgrade_as(&mut self, name: &'static str, config: Arc<rustls::ClientConfig>) -> std::io::Result<()> {
        assert!(self.seen.is_empty(), "plain bytes before the handshake: {:?}", self.seen);
        self.stream.set_read_timeout(Some(PATIENCE))?;
        let name = rustls::pki_types::ServerName::try_from(name).unwrap();
        let mut tls = rustls::ClientConnection::new(config, name).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut self.stream)?;
        }
        self.stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        self.tls = Some(tls);
        Ok(())
    }

    /// What the handshake has led to.
    pub fn session(&self) -> &rustls::ClientConnection {
        self.tls.as_ref().expect("the client speaks TLS")
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        match &mut self.tls {
            None => self.stream.write_all(bytes.as_ref()).unwrap(),
            Some(tls) => rustls::Stream::new(tls, &mut self.stream).write_all(bytes.as_ref()).unwrap(),
        }
    }

    /// The next INFO, parsed.
    pub fn info(&mut self) -> serde_json::Value {
        let line = self.line();
        let json = line.strip_prefix("INFO ").unwrap_or_else(|| panic!("not INFO: {line:?}"));
        assert!(json.ends_with(" \r\n"), "INFO ends with a space: {json:?}");
        serde_json::from_str(json).unwrap()
    }

    /// The next line with its end.
    pub fn line(&mut self) -> String {
        self.skip_ping();
        self.fill_until("a line", |seen| seen.contains(&b'\n'));
        let end = self.seen.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        String::from_utf8(self.seen.drain(..end).collect()).unwrap()
    }

    /// The next bytes must be exactly these.
    #[track_caller]
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        if !expected.starts_with(PING) {
            self.skip_ping();
        }
        let wrong = |seen: &[u8]| !expected.starts_with(&seen[..seen.len().min(expected.len())]);
        let wanted = format!("{:?}", String::from_utf8_lossy(expected));
        self.fill_until(&wanted, |seen| seen.len() >= expected.len() || wrong(seen));
        let got: Vec<u8> = self.seen.drain(..expected.len().min(self.seen.len())).collect();
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected));
    }

    /// Nothing may come before the answer to a PING.
    #[track_caller]
    pub fn expect_nothing(&mut self) {
        self.send("PING\r\n");
        self.expect("PONG\r\n");
    }

    /// The server must end the connection without another byte.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let rest = self.read_to_end();
        assert_eq!(String::from_utf8_lossy(&rest), "", "bytes before the end");
    }

    /// Everything until the server ends the connection.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        while self.fill() {
            assert!(Instant::now() < deadline, "connection stays open: {:?}", String::from_utf8_lossy(&self.seen));
        }
        let seen = std::mem::take(&mut self.seen);
        match String::from_utf8(seen) {
            Ok(text) => text.replace("PING\r\n", "").into_bytes(),
            Err(other) => other.into_bytes(),
        }
    }

    /// The server pings each client after two seconds to learn the round trip; a slow test must not stumble over it.
    #[track_caller]
    fn skip_ping(&mut self) {
        let undecided = |seen: &[u8]| seen.len() < PING.len() && PING.starts_with(seen);
        self.fill_until("anything but a ping", |seen| !undecided(seen));
        if self.seen.starts_with(PING) {
            self.seen.drain(..PING.len());
        }
    }

    /// Exactly this many bytes.
    pub fn take(&mut self, len: usize) -> Vec<u8> {
        self.fill_until("bytes", |seen| seen.len() >= len);
        self.seen.drain(..len).collect()
    }

    #[track_caller]
    fn fill_until(&mut self, wanted: &str, enough: impl Fn(&[u8]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !enough(&self.seen) {
            let open = self.fill();
            let seen = String::from_utf8_lossy(&self.seen);
            assert!(open, "closed while waiting for {wanted}, saw {seen:?}");
            assert!(Instant::now() < deadline, "waited for {wanted}, saw {seen:?}");
        }
    }

    /// False at the end of the connection.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 65536];
        let read = match &mut self.tls {
            None => self.stream.read(&mut buffer),
            Some(tls) => rustls::Stream::new(tls, &mut self.stream).read(&mut buffer),
        };
        match read {
            Ok(0) => false,
            Ok(count) => {
                self.seen.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted),
        }
    }
}

/// Polls until the condition holds.
#[track_caller]
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::yield_now();
    }
}
