//! HOT PATH: one system call per read.
//!
//! The socket of one connection, plain or TLS, as its task uses it. Foreign threads write to a plain socket
//! themselves; a TLS session belongs to the task alone.

use crate::account::{Drained, Outbound};
use crate::protocol::error::ClosedReason;
use rustix::net::RecvFlags;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

pub enum Socket {
    Plain(PlainSocket),
    Tls(Box<TlsSocket>),
}

pub struct PlainSocket {
    stream: Arc<TcpStream>,
    broken: bool,
}

pub struct TlsSocket {
    stream: TlsStream<TcpStream>,
    /// Bytes lie in the TLS session that were not yet written to the socket.
    unflushed: bool,
    broken: bool,
}

pub enum ReadOutcome {
    /// Nothing to read; the task will be woken.
    Wait,
    /// `is_full`: there may be more at once.
    Bytes {
        count: usize,
        is_full: bool,
    },
    Closed(ClosedReason),
}

impl Socket {
    pub fn plain(stream: Arc<TcpStream>) -> Socket {
        Socket::Plain(PlainSocket { stream, broken: false })
    }

    pub fn tls(stream: TlsStream<TcpStream>) -> Socket {
        Socket::Tls(Box::new(TlsSocket { stream, unflushed: false, broken: false }))
    }

    /// Reads once into `buffer`.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> ReadOutcome {
        let wanted = buffer.len();
        match self {
            Socket::Plain(PlainSocket { stream, .. }) => loop {
                match stream.poll_read_ready(context) {
                    Poll::Pending => return ReadOutcome::Wait,
                    Poll::Ready(Err(_)) => return ReadOutcome::Closed(ClosedReason::ReadError),
                    Poll::Ready(Ok(())) => {}
                }
                let result = receive(stream, wanted, || {
                    rustix::net::recv(&**stream, &mut *buffer, RecvFlags::DONTWAIT).map(|(count, _)| count)
                });
                if let Some(outcome) = outcome(result, wanted) {
                    return outcome;
                }
            },
            Socket::Tls(tls) => {
                let mut buffer = ReadBuf::new(buffer);
                match Pin::new(&mut tls.stream).poll_read(context, &mut buffer) {
                    Poll::Pending => ReadOutcome::Wait,
                    Poll::Ready(Ok(())) => match buffer.filled().len() {
                        0 => ReadOutcome::Closed(ClosedReason::ClientClosed),
                        // More may have been decrypted already; asking again costs no system call.
                        count => ReadOutcome::Bytes { count, is_full: count == wanted },
                    },
                    Poll::Ready(Err(error)) => ReadOutcome::Closed(reason_of(&error)),
                }
            }
        }
    }

    /// Reads once, at most `wanted` bytes, behind what `buffer` holds.
    pub fn poll_read_into(&mut self, context: &mut Context<'_>, buffer: &mut Vec<u8>, wanted: usize) -> ReadOutcome {
        match self {
            Socket::Plain(PlainSocket { stream, .. }) => loop {
                match stream.poll_read_ready(context) {
                    Poll::Pending => return ReadOutcome::Wait,
                    Poll::Ready(Err(_)) => return ReadOutcome::Closed(ClosedReason::ReadError),
                    Poll::Ready(Ok(())) => {}
                }
                buffer.reserve_exact(wanted);
                let result = receive(stream, wanted, || read_behind(stream, buffer, wanted));
                if let Some(outcome) = outcome(result, wanted) {
                    return outcome;
                }
            },
            Socket::Tls(_) => {
                let mut piece = [0; 16 * 1024];
                let room = wanted.min(piece.len());
                let outcome = self.poll_read(context, &mut piece[..room]);
                if let ReadOutcome::Bytes { count, .. } = outcome {
                    buffer.extend_from_slice(&piece[..count]);
                    return ReadOutcome::Bytes { count, is_full: false };
                }
                outcome
            }
        }
    }

    /// Writes what waits in `outbound`, and has the task woken when the socket takes more.
    pub fn poll_write_pending(&mut self, outbound: &Outbound, context: &mut Context<'_>) {
        match self {
            Socket::Plain(plain) => plain.poll_write_pending(outbound, context),
            Socket::Tls(tls) => {
                if let Poll::Ready(Err(_)) = tls.poll_write_pending(outbound, context) {
                    tls.broken = true;
                    outbound.close(ClosedReason::WriteError);
                }
            }
        }
    }

    /// True when written bytes still wait inside the TLS session.
    pub fn wants_flush(&self) -> bool {
        matches!(self, Socket::Tls(tls) if tls.unflushed && !tls.broken)
    }

    /// True when a write failed: the peer gets nothing any more.
    pub fn is_broken(&self) -> bool {
        match self {
            Socket::Plain(plain) => plain.broken,
            Socket::Tls(tls) => tls.broken,
        }
    }

    /// Ends the connection for the peer at once, whoever else still holds the socket.
    pub fn shut_down(&mut self) {
        let stream = match self {
            Socket::Plain(plain) => &*plain.stream,
            Socket::Tls(tls) => {
                tls.close_notify();
                tls.stream.get_ref().0
            }
        };
        // Unread input would turn the end into a reset, and the peer might lose our last words.
        let _ = rustix::net::shutdown(stream, rustix::net::Shutdown::Write);
        let mut sink = [0u8; 4096];
        for _ in 0..16 {
            match rustix::net::recv(stream, &mut sink[..], RecvFlags::DONTWAIT) {
                Ok((count, _)) if count > 0 => {}
                _ => break,
            }
        }
        let _ = rustix::net::shutdown(stream, rustix::net::Shutdown::Both);
    }
}

impl PlainSocket {
    fn poll_write_pending(&mut self, outbound: &Outbound, context: &mut Context<'_>) {
        while !self.broken {
            match outbound.drain(&self.stream) {
                Drained::Blocked => {}
                Drained::Empty | Drained::ByAnother => return,
                // Such a socket is ready for ever: nobody may wait for it.
                Drained::Failed => {
                    self.broken = true;
                    return;
                }
            }
            // The last words of some are worth a try, those of others are not.
            if outbound.is_closed() && !outbound.closing().is_some_and(ClosedReason::flushes) {
                return;
            }
            match self.stream.poll_write_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    self.broken = true;
                    return outbound.close(ClosedReason::WriteError);
                }
                Poll::Pending => return,
            }
        }
    }
}

impl TlsSocket {
    fn poll_write_pending(&mut self, outbound: &Outbound, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(batch) = outbound.begin_write() {
            let len = batch.len();
            let mut written = 0;
            let mut result = Poll::Ready(Ok(()));
            'batch: for slice in batch.slices() {
                let mut slice = slice;
                while !slice.is_empty() {
                    match Pin::new(&mut self.stream).poll_write(context, slice) {
                        Poll::Ready(Ok(0)) => result = Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                        Poll::Ready(Ok(count)) => {
                            written += count;
                            self.unflushed = true;
                            slice = &slice[count..];
                            continue;
                        }
                        Poll::Ready(Err(error)) => result = Poll::Ready(Err(error)),
                        Poll::Pending => result = Poll::Pending,
                    }
                    break 'batch;
                }
            }
            outbound.end_write(batch, written);
            if written < len {
                return result;
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn close_notify(&mut self) {
        if !self.broken {
            let mut context = Context::from_waker(std::task::Waker::noop());
            let _ = Pin::new(&mut self.stream).poll_shutdown(&mut context);
        }
    }
}

/// None means to ask for readiness again.
fn outcome(result: io::Result<usize>, wanted: usize) -> Option<ReadOutcome> {
    match result {
        Ok(0) => Some(ReadOutcome::Closed(ClosedReason::ClientClosed)),
        Ok(count) => Some(ReadOutcome::Bytes { count, is_full: count == wanted }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => Some(ReadOutcome::Closed(reason_of(&error))),
    }
}

fn reason_of(error: &io::Error) -> ClosedReason {
    match error.kind() {
        // A TLS peer that leaves without saying so.
        io::ErrorKind::UnexpectedEof => ClosedReason::ClientClosed,
        _ => ClosedReason::ReadError,
    }
}

/// One non-blocking read. A partial one is reported to the reactor as "would block", which clears the readiness
/// without a second system call.
fn receive(
    stream: &TcpStream,
    wanted: usize,
    mut read: impl FnMut() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    let mut received = None;
    let result = stream.try_io(Interest::READABLE, || {
        loop {
            match read() {
                Ok(count) => {
                    received = Some(count);
                    let is_partial = count > 0 && count < wanted;
                    return if is_partial { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) };
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    });
    match (received, result) {
        (Some(count), _) => Ok(count),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Appends at most `wanted` bytes to the vector; what follows the message must stay in the socket.
fn read_behind(stream: &TcpStream, buffer: &mut Vec<u8>, wanted: usize) -> rustix::io::Result<usize> {
    if buffer.capacity() - buffer.len() == wanted {
        let received = rustix::net::recv(stream, rustix::buffer::spare_capacity(buffer), RecvFlags::DONTWAIT);
        return received.map(|(count, _)| count);
    }
    let start = buffer.len();
    buffer.resize(start + wanted, 0);
    let result = rustix::net::recv(stream, &mut buffer[start..], RecvFlags::DONTWAIT);
    let count = result.map_or(0, |(count, _)| count);
    buffer.truncate(start + count);
    result.map(|(count, _)| count)
}
