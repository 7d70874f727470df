//! The server: listener, accept loop, start, lame duck and stop. Everything else hangs off its hub.

mod jetstream;
mod reload;
mod runtime;
mod settings;

pub use runtime::runtime;

use crate::auth::nkey;
use crate::config::Options;
use crate::connection::{ClosedConnection, Connection, ConnectionSnapshot, Hub, TlsListener, serve};
use crate::jetstream::Node;
use crate::monitor::Monitor;
use crate::process::monitor_connections_max;
use crate::protocol::error::ClosedReason;
use crate::protocol::info::{self, Info};
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Connections that the kernel may hold until they are accepted.
const BACKLOG: u32 = 1024;
/// After a failed accept (too many files, usually) it is tried again, later and later.
const ACCEPT_RETRY_MIN: Duration = Duration::from_millis(10);
const ACCEPT_RETRY_MAX: Duration = Duration::from_secs(1);

pub struct Server {
    hub: Arc<Hub>,
    identity: ServerIdentity,
    address: OnceLock<SocketAddr>,
    options: ArcSwap<Options>,
    phase: watch::Sender<Phase>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    jetstream: ArcSwapOption<Node>,
    monitor: OnceLock<SocketAddr>,
    /// TLS of the monitor, if it has any.
    monitor_tls: Arc<ArcSwapOption<TlsListener>>,
    config_load_time: ArcSwap<SystemTime>,
}

/// Who this server is.
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    /// Public server nkey, `N...`.
    pub id: String,
    /// Public curve key, `X...`.
    pub xkey: String,
    pub name: String,
    pub start: SystemTime,
    pub started: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Accepting,
    /// No new clients; those there are asked to leave.
    LameDuck,
    Stopped,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("Error listening on port: can't resolve host {host:?}: {cause}")]
    Host { host: String, cause: io::Error },
    #[error("Error listening on port: {address}, \"{cause}\"")]
    Listen { address: SocketAddr, cause: io::Error },
    #[error("can't listen to the monitor port: {0}")]
    Monitor(Box<StartError>),
    #[error("{0}")]
    Settings(#[from] settings::SettingsError),
    #[error("JetStream: {0}")]
    JetStream(#[from] crate::jetstream::StartError),
    #[error("the start was interrupted: {0}")]
    Task(tokio::task::JoinError),
    #[error("TLS: {0}")]
    Tls(#[from] crate::connection::TlsError),
}

impl Server {
    /// Prepares and listens. Must be called on a tokio runtime.
    pub async fn start(options: Options) -> Result<Arc<Server>, StartError> {
        let server = Server::prepare(options)?;
        server.start_monitor().await?;
        let storing = Arc::clone(&server);
        tokio::task::spawn_blocking(move || storing.open_store()).await.map_err(StartError::Task)??;
        server.listen().await?;
        Ok(server)
    }

    /// Everything but the listener: accounts are there for services to subscribe, and no client can come yet.
    pub fn prepare(options: Options) -> Result<Arc<Server>, StartError> {
        let identity = ServerIdentity::new(&options.server_name);
        let info = first_info(&identity, &options);
        let hub = Hub::new(settings::connections(&options), settings::directory(&options)?, info);
        settings::accounts(&options, &hub);
        // The monitor shows it before the real port is known.
        settings::announce(&options, &hub, options.listen.port);
        if let Some(tls) = settings::tls(&options) {
            hub.tls.store(Some(Arc::new(TlsListener::new(tls)?)));
        }
        let (phase, _) = watch::channel(Phase::Accepting);
        Ok(Arc::new(Server {
            hub: Arc::new(hub),
            identity,
            address: OnceLock::new(),
            options: ArcSwap::from_pointee(options),
            phase,
            tasks: Mutex::default(),
            jetstream: ArcSwapOption::empty(),
            monitor: OnceLock::new(),
            monitor_tls: Arc::default(),
            config_load_time: ArcSwap::from_pointee(SystemTime::now()),
        }))
    }

    /// Serves the monitoring port, when there is to be one; gives its address with the real port. Comes before the
    /// store is opened, which may take long and is worth watching.
    pub async fn start_monitor(self: &Arc<Self>) -> Result<Option<SocketAddr>, StartError> {
        let options = self.options.load_full();
        let Some(wanted) = options.http.as_ref().or(options.https.as_ref()) else { return Ok(None) };
        let tls = settings::monitor_tls(&options).map(TlsListener::new).transpose()?;
        self.monitor_tls.store(tls.map(Arc::new));
        let failed = |error| StartError::Monitor(Box::new(error));
        let listener = listen(&wanted.host, wanted.port).await.map_err(failed)?;
        let address = listener.local_addr().map_err(|cause| {
            let address = SocketAddr::from(([0, 0, 0, 0], wanted.port));
            failed(StartError::Listen { address, cause })
        })?;
        let address = *self.monitor.get_or_init(|| address);
        let tls = Arc::clone(&self.monitor_tls);
        let serving = tokio::spawn(Monitor::new(self).serve(listener, tls, monitor_connections_max()));
        self.tasks.lock().push(serving);
        Ok(Some(address))
    }

    /// Where the monitor listens; none without one.
    pub fn monitor_address(&self) -> Option<SocketAddr> {
        self.monitor.get().copied()
    }

    /// Why this server takes no clients now; none when it does. In the words of the genuine one.
    pub fn unready(&self) -> Option<&'static str> {
        match *self.phase.borrow() {
            Phase::Accepting if self.address.get().is_some() => None,
            Phase::Accepting => Some("startup did not complete"),
            Phase::LameDuck | Phase::Stopped => Some("server"),
        }
    }

    /// Whether clients are being sent away, at whose end the server stops.
    pub fn is_lame_duck(&self) -> bool {
        *self.phase.borrow() == Phase::LameDuck
    }

    /// When the options were taken over.
    pub fn config_load_time(&self) -> SystemTime {
        **self.config_load_time.load()
    }

    /// Opens the store and takes up its streams, when the options want them. Takes as long as recovery does; nobody is
    /// served before.
    pub fn open_store(&self) -> Result<(), StartError> {
        let options = self.options.load_full();
        if !options.jetstream.enabled || self.jetstream.load().is_some() {
            return Ok(());
        }
        self.jetstream.store(Some(jetstream::start(&options, &self.hub, &self.identity.name)?));
        self.hub.update_info(|info| {
            info.jetstream = true;
            info.domain = options.jetstream.domain.clone().unwrap_or_default();
        });
        Ok(())
    }

    /// Streams and consumers, when they are enabled.
    pub fn jetstream(&self) -> Option<Arc<Node>> {
        self.jetstream.load_full()
    }

    /// Opens the port and begins to serve; gives the address with the real port.
    pub async fn listen(&self) -> Result<SocketAddr, StartError> {
        let options = self.options.load_full();
        let listener = listen(&options.listen.host, options.listen.port).await?;
        let address = listener.local_addr().map_err(|cause| StartError::Listen {
            address: SocketAddr::from(([0, 0, 0, 0], options.listen.port)),
            cause,
        })?;
        let address = *self.address.get_or_init(|| address);
        settings::announce(&options, &self.hub, address.port());
        let timers = tokio::spawn(Arc::clone(&self.hub).run_timers());
        let accepting = tokio::spawn(accept_all(Arc::clone(&self.hub), listener, self.phase.subscribe()));
        self.tasks.lock().extend([timers, accepting]);
        Ok(address)
    }

    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub fn identity(&self) -> &ServerIdentity {
        &self.identity
    }

    /// The options in force; a reload exchanges them.
    pub fn options(&self) -> Arc<Options> {
        self.options.load_full()
    }

    /// Where clients connect, once the server listens; the port is the real one.
    pub fn client_address(&self) -> SocketAddr {
        self.address.get().copied().unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// A reading of every open connection, oldest first.
    pub fn connections(&self) -> Vec<ConnectionSnapshot> {
        self.hub.register.all().iter().map(|connection| connection.snapshot()).collect()
    }

    pub fn connection(&self, id: u64) -> Option<Arc<Connection>> {
        self.hub.register.get(id)
    }

    pub fn closed_connections(&self) -> Vec<ClosedConnection> {
        self.hub.closed_connections()
    }

    /// Ends one connection; false when there is none of this id.
    pub fn kick(&self, id: u64) -> bool {
        let connection = self.hub.register.get(id);
        if let Some(connection) = &connection {
            connection.outbound.close(ClosedReason::Kicked);
        }
        connection.is_some()
    }

    /// No new clients; tell those there are, and after the grace period end them one by one (C-34).
    pub async fn lame_duck(&self) {
        let entered = self.phase.send_if_modified(|phase| {
            let first = *phase == Phase::Accepting;
            if first {
                *phase = Phase::LameDuck;
            }
            first
        });
        if !entered {
            return;
        }
        tracing::info!("Entering lame duck mode, stop accepting new clients");
        self.hub.update_info(|info| info.ldm = true);
        let clients = self.hub.register.all();
        if !clients.is_empty() {
            let grace = self.options.load().lame_duck_grace_period;
            self.sleep(grace).await;
            tracing::info!("Closing existing clients");
            self.end_gradually(&clients).await;
        }
        self.shut_down().await;
    }

    async fn end_gradually(&self, clients: &[Arc<Connection>]) {
        let options = self.options.load_full();
        let spread = options.lame_duck_duration.saturating_sub(options.lame_duck_grace_period);
        let spread = if spread.is_zero() { Duration::from_secs(1) } else { spread };
        let pause = (spread / clients.len().max(1) as u32).min(Duration::from_secs(1));
        for (number, client) in clients.iter().enumerate() {
            client.outbound.close(ClosedReason::ServerShutdown);
            if number + 1 < clients.len() && *self.phase.borrow() != Phase::Stopped {
                // Never less than half, so that reconnecting clients don't come in step.
                self.sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
            }
        }
    }

    /// Sleeps unless the server stops.
    async fn sleep(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.stopped()).await;
    }

    /// Waits until the server has been stopped, as at the end of lame duck mode.
    pub async fn stopped(&self) {
        let mut phase = self.phase.subscribe();
        let _ = phase.wait_for(|phase| *phase == Phase::Stopped).await;
    }

    /// Ends all connections and waits until they are gone.
    pub async fn shut_down(&self) {
        self.phase.send_replace(Phase::Stopped);
        if let Some(node) = self.jetstream.load_full() {
            // Before the connections end, so that clients hear why their consumers do. It waits for the disk.
            let _ = tokio::task::spawn_blocking(move || node.stop()).await;
        }
        self.hub.stop();
        let deadline = Instant::now() + Duration::from_secs(2);
        while !self.hub.register.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
    }
}

impl ServerIdentity {
    fn new(name: &str) -> ServerIdentity {
        let id = nkeys::KeyPair::new_server().public_key();
        let name = if name.is_empty() { id.clone() } else { name.to_string() };
        let xkey = curve_key();
        ServerIdentity { id, xkey, name, start: SystemTime::now(), started: Instant::now() }
    }
}

/// A public curve key that auth services could encrypt requests to. Nothing is encrypted to it yet, so its private half
/// is not kept.
fn curve_key() -> String {
    let random = ring::rand::SystemRandom::new();
    let key = ring::agreement::EphemeralPrivateKey::generate(&ring::agreement::X25519, &random);
    let public = key.and_then(|key| key.compute_public_key());
    public.map(|public| nkey::encode_curve(public.as_ref())).unwrap_or_default()
}

fn first_info(identity: &ServerIdentity, options: &Options) -> Info {
    Info {
        server_id: identity.id.clone(),
        server_name: identity.name.clone(),
        version: info::VERSION.into(),
        proto: info::PROTOCOL,
        git_commit: info::GIT_COMMIT.into(),
        go: info::GO_VERSION.into(),
        headers: !options.no_header_support,
        max_payload: i64::from(options.payload_bytes_max),
        domain: options.jetstream.domain.clone().unwrap_or_default(),
        xkey: identity.xkey.clone(),
        api_lvl: info::API_LEVEL,
        ..Info::default()
    }
}

async fn listen(host: &str, port: u16) -> Result<TcpListener, StartError> {
    let failed = |cause| StartError::Host { host: host.into(), cause };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await.map_err(failed)?.collect();
    let address = preferred(&addresses).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    bind(address).map_err(|cause| StartError::Listen { address, cause })
}

/// Where to listen when a name has several addresses: the first of IPv4, as nats-server does it, else the first.
fn preferred(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied()
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not have to wait for connections of the last run.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept_all(hub: Arc<Hub>, listener: TcpListener, mut phase: watch::Receiver<Phase>) {
    let mut retry = ACCEPT_RETRY_MIN;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Accepting) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                retry = ACCEPT_RETRY_MIN;
                serve(&hub, stream, peer);
            }
            Err(error) => {
                tracing::error!(%error, "can't accept a connection");
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(ACCEPT_RETRY_MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_several_addresses_is_listened_to_at_the_first_of_ipv4() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        for (known, chosen) in [
            (&["[::1]:1", "127.0.0.1:1", "127.0.0.2:1"][..], Some("127.0.0.1:1")),
            (&["[::1]:1", "[::2]:1"], Some("[::1]:1")),
            (&[], None),
        ] {
            assert_eq!(preferred(&addresses(known)), chosen.map(|text| text.parse().unwrap()), "{known:?}");
        }
    }
}
