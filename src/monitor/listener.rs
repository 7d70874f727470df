//! The sockets of the monitor: one task for each connection, TLS when it is wanted, and an end for whoever takes too long.
//! What too long is, and who goes when there are too many, is decided in [`places`](super::places).

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::server::TlsStream;

use super::Monitor;
use super::places::{Place, Places, Taken};
use crate::connection::TlsListener;

/// After a failed accept, usually for want of file descriptors.
const RETRY: Duration = Duration::from_millis(100);

/// How connections are encrypted from now on, if they are. A reload exchanges it.
pub type Tls = Arc<ArcSwapOption<TlsListener>>;

/// Serves until the future is dropped, and all connections with it.
pub async fn serve(monitor: Arc<Monitor>, listener: TcpListener, tls: Tls, places: Arc<Places>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((socket, peer)) => {
                let connection = Connection { monitor: Arc::clone(&monitor), taken: Arc::new(places.take()), peer };
                connections.spawn(connection.run(socket, tls.load_full()));
            }
            Err(error) => {
                tracing::error!(%error, "can't accept a monitoring connection");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

struct Connection {
    monitor: Arc<Monitor>,
    taken: Arc<Taken>,
    peer: SocketAddr,
}

impl Connection {
    async fn run(self, socket: TcpStream, tls: Option<Arc<TlsListener>>) {
        tokio::select! {
            () = self.serve(socket, tls) => {}
            () = self.taken.place().evicted() => {}
        }
    }

    async fn serve(&self, socket: TcpStream, tls: Option<Arc<TlsListener>>) {
        let socket = match tls {
            None => Socket::Plain(socket),
            Some(tls) => match tls.handshake(socket).await {
                Ok((socket, _)) => Socket::Tls(Box::new(socket)),
                Err(error) => return tracing::debug!(peer = %self.peer, %error, "monitoring connection"),
            },
        };
        let place = Arc::clone(self.taken.place());
        place.begins();
        let answer = |request: Request<Incoming>| {
            let (monitor, taken) = (Arc::clone(&self.monitor), Arc::clone(&self.taken));
            taken.place().answers();
            async move {
                let answer = monitor.answer(request.uri().clone()).await;
                Ok::<_, Infallible>(answer.into_response(|page| taken.page(page)))
            }
        };
        let stream = TokioIo::new(Stream { socket, place: Arc::clone(&place) });
        let mut serving = pin!(http1::Builder::new().serve_connection(stream, service_fn(answer)));
        let mut clock = pin!(sleep_until(place.deadline().into()));
        // The deadline moves only where this task does something.
        let ended = poll_fn(|context| {
            if let Poll::Ready(ended) = serving.as_mut().poll(context) {
                return Poll::Ready(ended);
            }
            let deadline = Instant::from(place.deadline());
            if clock.deadline() != deadline {
                clock.as_mut().reset(deadline);
            }
            clock.as_mut().poll(context).map(Ok)
        });
        if let Err(error) = ended.await {
            tracing::debug!(peer = %self.peer, %error, "monitoring connection");
        }
    }
}

/// A socket that notices when a request begins.
struct Stream {
    socket: Socket,
    place: Arc<Place>,
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
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
            self.place.asks();
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.socket.writer().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket.writer().poll_write_vectored(context, slices)
    }

    /// Pages are not copied then, and are let go of when they have left.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.writer().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.writer().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::super::places::Limits;
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A monitor whose server is gone already: every page is a refusal.
    fn serving(limits: Limits) -> (tokio::runtime::Runtime, SocketAddr) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(Arc::new(Monitor::orphaned()), listener, Tls::default(), Places::new(limits)));
        (runtime, address)
    }

    fn connect(address: SocketAddr) -> Client {
        let socket = Client::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn ask(socket: &mut Client) -> String {
        socket.write_all(b"GET /varz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        while !answer.ends_with("the server has stopped") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            answer.push(byte[0].into());
        }
        answer
    }

    #[test]
    fn silent_connections_keep_nobody_out() {
        let (_runtime, address) = serving(Limits { connections: 2, ..Limits::default() });
        let mut silent = [connect(address), connect(address)];
        let mut heard = connect(address);
        assert!(ask(&mut heard).starts_with("HTTP/1.1 503 "));
        assert_eq!(silent[0].read(&mut [0]).unwrap(), 0, "the oldest one goes");
        assert!(ask(&mut heard).contains("content-length: 22\r\n"), "who was heard stays");
    }

    #[test]
    fn a_head_that_does_not_end_is_given_up() {
        let (_runtime, address) = serving(Limits { head: Duration::from_millis(50), ..Limits::default() });
        let mut socket = connect(address);
        socket.write_all(b"GET / HTTP/1.1\r\nx: ").unwrap();
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn who_does_not_ask_again_is_let_go() {
        let (_runtime, address) = serving(Limits { idle: Duration::from_millis(50), ..Limits::default() });
        let mut socket = connect(address);
        ask(&mut socket);
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    }
}
