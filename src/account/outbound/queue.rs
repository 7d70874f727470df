//! HOT PATH (under load): big pieces are moved into the queue, small ones share chunks.
//!
//! The bytes that wait for one peer, in chunks, and the writing of them.

use super::Transport;
use crate::protocol::error::ClosedReason;
use rustix::net::SendFlags;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Size of a queue chunk.
const CHUNK_BYTES: usize = 64 * 1024;

/// What waits, and who is writing. All under one lock, which is never held during a system call.
pub(super) struct Queue {
    pub transport: Option<Transport>,
    /// Somebody is in a system call with bytes that come before all chunks.
    pub writing: bool,
    pub chunks: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk that were written already.
    pub head: usize,
    pub owner: Option<Waker>,
    pub closing: Option<ClosedReason>,
    pub drained: Vec<(usize, Box<dyn FnOnce() + Send>)>,
    pub progress: Progress,
}

/// Bookkeeping for the write deadline: what was queued when the clock started must be gone in time.
#[derive(Default)]
pub(super) struct Progress {
    queued: u64,
    written: u64,
    goal: u64,
    /// What had been written when the clock started.
    start: u64,
    pub since: Option<Instant>,
    /// When the peer took something last, or the first bytes began to wait.
    taken: Option<Instant>,
}

/// Chunks that the owner took out to write.
pub struct Batch {
    pub(super) chunks: VecDeque<Vec<u8>>,
    pub(super) head: usize,
}

impl Queue {
    pub fn new(transport: Transport) -> Queue {
        Queue {
            transport: Some(transport),
            writing: false,
            chunks: VecDeque::new(),
            head: 0,
            owner: None,
            closing: None,
            drained: Vec::new(),
            progress: Progress::default(),
        }
    }

    /// The peer is gone: nothing is kept or counted any more.
    pub fn is_shut_down(&self) -> bool {
        self.transport.is_none()
    }

    pub fn push(&mut self, staged: &mut Vec<u8>) {
        self.progress.queued_more(staged.len());
        if let Some(last) = self.chunks.back_mut() {
            let room = CHUNK_BYTES.saturating_sub(last.len()).min(staged.len());
            // Filling up is for small pieces; a big one is better moved than copied.
            if room == staged.len() {
                last.extend_from_slice(staged);
                staged.clear();
                return;
            }
        }
        if staged.len() >= CHUNK_BYTES / 2 && staged.capacity() <= staged.len() * 2 {
            self.chunks.push_back(std::mem::take(staged));
        } else {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES.max(staged.len()));
            chunk.extend_from_slice(staged);
            self.chunks.push_back(chunk);
            staged.clear();
        }
    }

    pub fn push_front(&mut self, rest: &[u8]) {
        assert_eq!(self.head, 0, "nobody writes chunks while a direct write is under way");
        self.progress.queued_more(rest.len());
        let mut chunk =
            Vec::with_capacity(if self.chunks.is_empty() { CHUNK_BYTES.max(rest.len()) } else { rest.len() });
        chunk.extend_from_slice(rest);
        self.chunks.push_front(chunk);
    }
}

impl Progress {
    fn queued_more(&mut self, bytes: usize) {
        self.queued += bytes as u64;
        if self.since.is_none() {
            self.start_clock();
            self.taken = self.since;
        }
    }

    pub fn wrote(&mut self, bytes: usize, empty: bool) {
        self.written += bytes as u64;
        if bytes > 0 {
            self.taken = Some(Instant::now());
        }
        if empty {
            self.since = None;
        } else if self.written >= self.goal {
            self.start_clock();
        }
    }

    /// True when the peer took something within so long, or nothing has waited for longer than that.
    pub fn took_within(&self, time: Duration) -> bool {
        self.taken.is_none_or(|taken| taken.elapsed() < time)
    }

    /// Starts the clock anew, if anything was written since it started.
    pub fn start_again(&mut self) -> bool {
        let moves = self.written > self.start;
        if moves {
            self.start_clock();
        }
        moves
    }

    #[cfg(test)]
    pub fn grow_older(&mut self, time: Duration) {
        self.taken = self.taken.and_then(|taken| taken.checked_sub(time));
    }

    fn start_clock(&mut self) {
        self.since = Some(Instant::now());
        self.goal = self.queued;
        self.start = self.written;
    }
}

impl Batch {
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum::<usize>() - self.head
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes still to be written, chunk by chunk.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.head;
        self.chunks.iter().map(move |chunk| &chunk[std::mem::take(&mut skip)..])
    }

    pub(super) fn write_to(&self, stream: &TcpStream) -> io::Result<usize> {
        let slices: Vec<IoSlice<'_>> = self.slices().map(IoSlice::new).collect();
        let len = self.len();
        try_write(stream, len, || rustix::io::writev(stream, &slices))
    }

    pub(super) fn advance(&mut self, written: usize) {
        let mut left = self.head + written;
        while let Some(first) = self.chunks.front() {
            if left < first.len() {
                break;
            }
            left -= first.len();
            self.chunks.pop_front();
        }
        assert!(left == 0 || !self.chunks.is_empty(), "no more can be written than there was");
        self.head = left;
    }
}

pub(super) fn write_bytes(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
    try_write(stream, bytes.len(), || rustix::net::send(stream, bytes, FLAGS))
}

/// One non-blocking write. A partial one is reported to the reactor as "would block", which clears the
/// readiness without another system call.
fn try_write(
    stream: &TcpStream,
    len: usize,
    mut write: impl FnMut() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    let mut written = 0;
    let result = stream.try_io(Interest::WRITABLE, || {
        loop {
            match write() {
                Ok(count) => {
                    written = count;
                    return if count < len { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) };
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    });
    match result {
        Ok(()) => Ok(written),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(written),
        Err(error) => Err(error),
    }
}
