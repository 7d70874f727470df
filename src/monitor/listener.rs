//! The sockets of the monitor: a bound number of connections, TLS when it is wanted, an end for idle ones.

use arc_swap::ArcSwapOption;
use axum::serve::Listener;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

use crate::connection::TlsListener;

/// Connections at a time; more wait in the kernel's backlog until one ends.
const CONNECTIONS_MAX: usize = 256;
/// A connection on which nothing moves for so long ends, so that idle ones can't keep others out.
const IDLE_MAX: Duration = Duration::from_secs(90);
/// After a failed accept, usually for want of file descriptors.
const RETRY: Duration = Duration::from_millis(100);

/// How connections are encrypted from now on, if they are. A reload exchanges it.
pub type Tls = Arc<ArcSwapOption<TlsListener>>;

/// Accepted connections, past their handshake.
pub struct Connections {
    ready: mpsc::Receiver<(Stream, SocketAddr)>,
    address: SocketAddr,
}

impl Connections {
    /// Accepts in a task of its own, so that one slow handshake holds up nobody. The task ends with this value.
    pub fn new(listener: TcpListener, address: SocketAddr, tls: Tls) -> Connections {
        let (sender, ready) = mpsc::channel(16);
        tokio::spawn(async move {
            let closed = sender.clone();
            tokio::select! {
                () = accept_all(listener, tls, sender) => {}
                () = closed.closed() => {}
            }
        });
        Connections { ready, address }
    }
}

async fn accept_all(listener: TcpListener, tls: Tls, sender: mpsc::Sender<(Stream, SocketAddr)>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!(%error, "can't accept a monitoring connection");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let Some(tls) = tls.load_full() else {
            if sender.send((Stream::new(Socket::Plain(socket), permit), peer)).await.is_err() {
                return;
            }
            continue;
        };
        let sender = sender.clone();
        tokio::spawn(async move {
            match tls.handshake(socket).await {
                Ok((socket, _)) => {
                    let _ = sender.send((Stream::new(Socket::Tls(Box::new(socket)), permit), peer)).await;
                }
                Err(error) => tracing::debug!(%peer, %error, "monitoring connection"),
            }
        });
    }
}

impl Listener for Connections {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // The accepting task ends only with this value, or with the runtime.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// One connection and its place among the `CONNECTIONS_MAX`.
pub struct Stream {
    socket: Socket,
    idle: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn new(socket: Socket, permit: OwnedSemaphorePermit) -> Stream {
        Stream { socket, idle: Box::pin(tokio::time::sleep(IDLE_MAX)), _permit: permit }
    }

    fn moved(&mut self) {
        self.idle.as_mut().reset(Instant::now() + IDLE_MAX);
    }
}

impl Socket {
    fn reader(&mut self) -> Pin<&mut dyn AsyncRead> {
        match self {
            Socket::Plain(socket) => Pin::<&mut TcpStream>::new(socket),
            Socket::Tls(socket) => Pin::<&mut TlsStream<TcpStream>>::new(socket),
        }
    }

    fn writer(&mut self) -> Pin<&mut dyn AsyncWrite> {
        match self {
            Socket::Plain(socket) => Pin::<&mut TcpStream>::new(socket),
            Socket::Tls(socket) => Pin::<&mut TlsStream<TcpStream>>::new(socket),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.socket.reader().poll_read(context, buffer);
        if read.is_ready() {
            self.moved();
            return read;
        }
        self.idle.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.socket.writer().poll_write(context, bytes);
        if written.is_ready() {
            self.moved();
            return written;
        }
        // A reader that stalls must not keep its place either.
        self.idle.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.writer().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.writer().poll_shutdown(context)
    }
}
