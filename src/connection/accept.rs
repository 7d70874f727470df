//! From an accepted socket to the task of a client: INFO, limits, and TLS where it is asked for.

use super::connection::{Connection, TlsInfo};
use super::hub::Hub;
use super::io::Socket;
use super::task::ClientTask;
use super::timers::Alarm;
use super::tls::{HandshakeFirst, TlsListener};
use crate::account::{ClientKind, Outbound, Transport};
use crate::auth;
use crate::protocol::error::{self, ClosedReason};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// What the kernel may hold of a client on the same machine that sends faster than it is read, in bytes (the kernel
/// counts its own overhead and doubles it). Left to itself the kernel lets a flood grow to tens of MiB: more than the
/// processor's caches hold, so that each byte is fetched from memory, and milliseconds in which a message waits behind
/// others. A round trip on one machine takes microseconds, so a larger window has nothing to fill. See ADR 0001.
const LOOPBACK_RECEIVE_BYTES: usize = 1024 * 1024;

/// There is no congestion between two programs on one machine. Where the system's choice is one that paces, such as bbr,
/// its timers take a good part of the time of each send (ADR 0001). Every Linux has this one, and lets everybody choose it.
const LOOPBACK_CONGESTION_CONTROL: &str = "reno";

/// Starts the task that serves an accepted socket.
pub fn serve(hub: &Arc<Hub>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    if peer.ip().is_loopback() {
        // Refused only by a system whose own limit is lower, which then holds.
        let _ = socket2::SockRef::from(&stream).set_recv_buffer_size(LOOPBACK_RECEIVE_BYTES);
        let _ = rustix::net::sockopt::set_tcp_congestion(&stream, LOOPBACK_CONGESTION_CONTROL);
    }
    hub.counters.connections_total.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    match hub.tls.load_full() {
        None => serve_plain(hub, stream, peer),
        Some(tls) => {
            let hub = Arc::clone(hub);
            // The handshake's state is large and short-lived: it must not become part of the client's task.
            tokio::spawn(async move { serve_tls(hub, tls, stream, peer).await });
        }
    }
}

fn serve_plain(hub: &Arc<Hub>, stream: TcpStream, peer: SocketAddr) {
    let id = hub.next_id();
    let nonce = challenge(hub);
    send_now(&stream, &info_line(hub, id, peer, &nonce, InfoTls::None));
    start_plain(hub, stream, peer, id, nonce, Vec::new());
}

async fn serve_tls(hub: Arc<Hub>, tls: Arc<TlsListener>, stream: TcpStream, peer: SocketAddr) {
    let id = hub.next_id();
    let nonce = challenge(&hub);
    let allow_plain = hub.settings.load().allow_plain;
    // Whoever is in a handshake, or has yet to say whether it wants one, is not registered, but must not be without number
    // either.
    let Some(handshaking) = hub.begin_handshake() else {
        tracing::error!("{peer} - cid:{id} - {}", error::MAX_CONNECTIONS);
        if tls.settings().first != HandshakeFirst::Always {
            send_now(&stream, &info_line(&hub, id, peer, &nonce, shown_tls(allow_plain)));
            send_now(&stream, &error::line(error::MAX_CONNECTIONS));
        }
        return;
    };
    let mut first = match tls.settings().first {
        HandshakeFirst::No => false,
        HandshakeFirst::Always => true,
        HandshakeFirst::Within(wait) => is_readable_within(&stream, wait).await,
    };
    if !first {
        send_now(&stream, &info_line(&hub, id, peer, &nonce, shown_tls(allow_plain)));
        if allow_plain && !begins_handshake(&stream, tls.settings().timeout).await {
            drop(handshaking);
            return start_plain(&hub, stream, peer, id, nonce, Vec::new());
        }
    }
    if !tls.admits(Instant::now()) {
        if !first {
            send_now(&stream, &error::line(error::THROTTLED));
        }
        return;
    }
    let (mut stream, mut info) = match tls.handshake(stream).await {
        Ok(session) => session,
        Err(cause) => {
            if cause.is_disagreement() {
                tracing::error!("{peer} - cid:{id} - {cause}");
            } else {
                tracing::debug!("{peer} - cid:{id} - {cause}");
            }
            remember_stranger(&hub, id, peer);
            return;
        }
    };
    info.first = std::mem::take(&mut first);
    if info.first {
        use tokio::io::AsyncWriteExt;
        let shown = if allow_plain { InfoTls::Both } else { InfoTls::Required };
        let line = info_line(&hub, id, peer, &nonce, shown);
        if stream.write_all(&line).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    let outbound = hub.outbound(id, Transport::Owner);
    start(&hub, Socket::tls(stream), outbound, peer, nonce, Some(info), Vec::new());
}

fn start_plain(hub: &Arc<Hub>, stream: TcpStream, peer: SocketAddr, id: u64, nonce: String, early: Vec<u8>) {
    let stream = Arc::new(stream);
    let transport = Transport::Direct(Arc::clone(&stream));
    let outbound = hub.outbound(id, transport);
    start(hub, Socket::plain(stream), outbound, peer, nonce, None, early);
}

fn start(
    hub: &Arc<Hub>,
    socket: Socket,
    outbound: Outbound,
    peer: SocketAddr,
    nonce: String,
    tls: Option<TlsInfo>,
    early: Vec<u8>,
) {
    let settings = hub.settings.load();
    let account = hub.global_account();
    account.enter();
    let outbound = Arc::new(outbound);
    let payload_bytes_max = settings.payload_bytes_max;
    let connection = Connection::new(outbound, peer, ClientKind::Nats, account, nonce, payload_bytes_max, tls);
    let connection = Arc::new(connection);
    tracing::debug!("{} - Client connection created", connection.label());
    let admitted = hub.register.admit(&connection, settings.connections_max);
    if !admitted {
        tracing::error!("{} - {}", connection.label(), error::MAX_CONNECTIONS);
        connection.refuse(error::MAX_CONNECTIONS, ClosedReason::MaxConnections);
    } else if hub.is_stopping() {
        connection.outbound.close(ClosedReason::ServerShutdown);
    }
    let directory = hub.directory.load_full();
    if directory.is_required() {
        hub.set_alarm(Instant::now() + settings.auth_timeout, &connection, Alarm::Authentication);
    } else {
        connection.set_authenticated();
        hub.confirm_login(&connection, &directory);
    }
    connection.schedule_ping(hub, settings.ping_interval);
    tokio::spawn(ClientTask::new(Arc::clone(hub), connection, socket).with_early_bytes(early));
}

/// What INFO says about TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InfoTls {
    None,
    Available,
    Required,
    /// The session has begun, where a plain one would have been welcome, too.
    Both,
}

/// Before the session.
fn shown_tls(allow_plain: bool) -> InfoTls {
    if allow_plain { InfoTls::Available } else { InfoTls::Required }
}

/// Keeps for the monitor that a handshake failed (C-37).
fn remember_stranger(hub: &Hub, id: u64, peer: SocketAddr) {
    let outbound = Arc::new(hub.outbound(id, Transport::Owner));
    let stranger = Connection::new(outbound, peer, ClientKind::Nats, hub.global_account(), String::new(), 0, None);
    hub.remember(stranger.closed(ClosedReason::TlsHandshake));
}

fn info_line(hub: &Hub, id: u64, peer: SocketAddr, nonce: &str, tls: InfoTls) -> Vec<u8> {
    let mut info = crate::protocol::info::Info::clone(&hub.info.load());
    info.auth_required = hub.directory.load().is_announced();
    info.client_id = id;
    info.client_ip = peer.ip().to_canonical().to_string();
    info.nonce = nonce.to_string();
    info.max_payload = hub.settings.load().payload_bytes_max as i64;
    info.tls_required = matches!(tls, InfoTls::Required | InfoTls::Both);
    info.tls_available = matches!(tls, InfoTls::Available | InfoTls::Both);
    info.line()
}

fn challenge(hub: &Hub) -> String {
    if hub.directory.load().wants_nonce() { auth::nonce().unwrap_or_default() } else { String::new() }
}

/// A fresh socket has room for a line; should it not, the client is not one.
fn send_now(stream: &TcpStream, line: &[u8]) {
    let flags = rustix::net::SendFlags::DONTWAIT.union(rustix::net::SendFlags::NOSIGNAL);
    let _ = rustix::net::send(stream, line, flags);
}

/// Peeks, because readiness alone may be a false alarm.
async fn is_readable_within(stream: &TcpStream, wait: Duration) -> bool {
    let mut first = [0u8; 1];
    matches!(tokio::time::timeout(wait, stream.peek(&mut first)).await, Ok(Ok(1)))
}

/// Whether the client's first byte is that of a TLS record (S-69).
async fn begins_handshake(stream: &TcpStream, wait: Duration) -> bool {
    let mut first = [0u8; 1];
    let peeked = tokio::time::timeout(wait, stream.peek(&mut first)).await;
    matches!(peeked, Ok(Ok(1))) && first[0] == 0x16
}
