//! HOT PATH: one full read per poll, everything flushed before returning to the runtime.
//!
//! The task of one client connection: reads a burst, lets [`Session`] act on it, writes what foreign threads left,
//! and waits where it has to (authentication, a stalled subscriber, a full ingest queue). An idle connection owns
//! no buffer: reads go into one of the thread, and only what is incomplete is kept.

use super::connection::{Connection, Update};
use super::hub::Hub;
use super::io::{ReadOutcome, Socket};
use super::lane::Lane;
use super::session::{Flow, Pending, Session};
use crate::account::Outbound;
use crate::protocol::error::ClosedReason;
use crate::router::{Awaited, Burst};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// A read of 64 KiB would become slightly more than 64 KiB of deliveries, and every send would end in a tiny
/// extra segment on loopback.
const READ_BYTES: usize = 56 * 1024;
/// What is read at once of a client that has filled a whole row of reads: it floods, and larger pieces cost the
/// kernel and the session less. Nobody with a window of messages under way gets there; for those, larger reads
/// mean that the two sides work in turn instead of at once (ADR 0001).
const FLOOD_READ_BYTES: usize = 120 * 1024;
/// Full reads in a row that make a flood.
const FLOOD_READS: u8 = 8;
/// Full reads in a row after which a flood is worth a thread of its own, if there is one for it.
const LANE_READS: u8 = 32;
/// Left-overs up to this size are copied in front of the next read; larger messages get a buffer of their own. The
/// beginning of a control line is always copied: it is larger only where `max_control_line` was raised.
const LEFTOVER_BYTES_MAX: usize = READ_BYTES / 2;
const BUFFER_BYTES: usize = FLOOD_READ_BYTES + LEFTOVER_BYTES_MAX;
/// Longest wait of a publisher for one subscriber (C-32).
const STALL_MAX: Duration = Duration::from_millis(10);
/// How long a dying connection may take to get its last words out.
const LAST_WORDS: Duration = Duration::from_millis(100);

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

pub struct ClientTask {
    hub: Arc<Hub>,
    connection: Arc<Connection>,
    outbound: Arc<Outbound>,
    socket: Socket,
    session: Session,
    /// The beginning of an operation whose rest has not arrived.
    leftover: Vec<u8>,
    /// What the operation in `leftover` takes in all, when that is known.
    bytes_needed: usize,
    /// `leftover` holds complete operations that wait for the session to go on.
    resume: bool,
    attached: bool,
    /// Bytes read since the task got its turn.
    turn_bytes: usize,
    /// Reads in a row that filled what was offered, as far as [`LANE_READS`].
    full_reads: u8,
    wait: Wait,
}

/// What keeps the task from reading.
enum Wait {
    Nothing,
    Authentication(Pending),
    Stall(Box<Stall>),
    Gate,
    LastWords(Pin<Box<Sleep>>),
}

struct Stall {
    peer: Arc<Outbound>,
    drained: Arc<AtomicBool>,
    timeout: Pin<Box<Sleep>>,
}

impl ClientTask {
    pub fn new(hub: Arc<Hub>, connection: Arc<Connection>, socket: Socket) -> ClientTask {
        let session = Session::new(Arc::clone(&hub), Arc::clone(&connection));
        let outbound = Arc::clone(&connection.outbound);
        ClientTask {
            hub,
            connection,
            outbound,
            socket,
            session,
            leftover: Vec::new(),
            bytes_needed: 0,
            resume: false,
            attached: false,
            turn_bytes: 0,
            full_reads: 0,
            wait: Wait::Nothing,
        }
    }

    /// Bytes that arrived before the task was made, such as those read to tell TLS from plain.
    pub fn with_early_bytes(mut self, bytes: Vec<u8>) -> ClientTask {
        self.resume = !bytes.is_empty();
        self.leftover = bytes;
        self
    }
}

impl Future for ClientTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !this.attached {
            this.outbound.set_owner(context.waker());
            this.attached = true;
        }
        if this.full_reads == LANE_READS
            && let Some(mut lane) = this.hub.lanes.take()
        {
            return tokio::task::block_in_place(|| this.run(context, Some(&mut lane)));
        }
        if !this.floods() {
            this.hub.lanes.count_turn();
        }
        this.run(context, None)
    }
}

enum Step {
    Again,
    /// Others have to get their turn; we have been put at the end of the queue.
    Yield,
    Wait,
}

impl ClientTask {
    /// One turn. On a lane it goes on until the flood ends.
    fn run(&mut self, context: &mut Context<'_>, mut lane: Option<&mut Lane>) -> Poll<()> {
        self.turn_bytes = 0;
        loop {
            // Looked at before anything is written: a socket that is always ready would use up the whole turn.
            if self.has_spoken(context) {
                return self.tear_down(self.reason());
            }
            self.write(context);
            if self.outbound.is_closed() {
                return self.end(context);
            }
            if self.connection.take_rest() {
                self.session.rest();
            }
            if let Some(update) = self.connection.take_update() {
                self.take_over(*update);
            }
            if self.poll_wait(context).is_pending() {
                return Poll::Pending;
            }
            let step = if self.resume { self.act_on_leftover(context) } else { self.read(context) };
            match step {
                Step::Again => {}
                Step::Yield if self.floods() && lane.as_mut().is_some_and(|lane| lane.go_on()) => {}
                Step::Yield => {
                    context.waker().wake_by_ref();
                    self.write(context);
                    return Poll::Pending;
                }
                Step::Wait => return Poll::Pending,
            }
        }
    }

    /// True while the client sends faster than it is read.
    fn floods(&self) -> bool {
        self.full_reads >= FLOOD_READS
    }

    /// Writes what foreign threads queued, and asks to be woken when the socket takes more.
    fn write(&mut self, context: &mut Context<'_>) {
        if self.outbound.pending_bytes() == 0 && !self.socket.wants_flush() {
            return;
        }
        self.socket.poll_write_pending(&self.outbound, context);
        // The write deadline is watched from the moment that something waits.
        if self.outbound.pending_bytes() > 0 {
            self.connection.watch_write(&self.hub);
        }
    }

    /// Acts on a change that a reload left.
    fn take_over(&mut self, update: Update) {
        let mut burst = Burst::take();
        self.session.take_over(update, &mut burst);
        self.session.end_burst(&mut burst, &[]);
        burst.give_back();
    }

    fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.wait {
            Wait::Nothing | Wait::LastWords(_) => return Poll::Ready(()),
            Wait::Authentication(pending) => match pending.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(decision) => {
                    let mut burst = Burst::take();
                    let flow = self.session.authenticated(decision, &mut burst);
                    self.session.end_burst(&mut burst, &[]);
                    burst.give_back();
                    self.wait = Wait::Nothing;
                    match flow {
                        Flow::Continue => {}
                        Flow::Close(reason) => self.outbound.close(reason),
                        Flow::Authenticate(again) => {
                            self.wait = Wait::Authentication(again);
                            context.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                    }
                }
            },
            Wait::Stall(stall) => {
                if !stall.drained.load(Ordering::Acquire) {
                    if stall.timeout.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    // In vain: nobody waits for this peer again until it has drained, or is about to be cut off.
                    stall.peer.set_saturated();
                }
                self.wait = Wait::Nothing;
            }
            Wait::Gate => {
                let account = self.session.account();
                if account.ingest_gate.poll_pass(self.connection.id(), context).is_pending() {
                    return Poll::Pending;
                }
                self.wait = Wait::Nothing;
            }
        }
        // A reason to close may have come up while waiting.
        if self.outbound.is_closed() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Reads once and acts on what came.
    fn read(&mut self, context: &mut Context<'_>) -> Step {
        if self.bytes_needed > LEFTOVER_BYTES_MAX {
            return self.read_large(context);
        }
        let mut buffer = BUFFER.take();
        let start = self.leftover.len();
        let wanted = if self.floods() { FLOOD_READ_BYTES } else { READ_BYTES };
        // A control line may be longer than what is left over of a message.
        buffer.resize(BUFFER_BYTES.max(start + wanted), 0);
        buffer[..start].copy_from_slice(&self.leftover);
        let outcome = self.socket.poll_read(context, &mut buffer[start..start + wanted]);
        let step = match outcome {
            ReadOutcome::Wait => Step::Wait,
            ReadOutcome::Closed(reason) => self.close(reason),
            ReadOutcome::Bytes { count, is_full } => {
                self.leftover = Vec::new();
                self.act(&buffer[..start + count], context);
                self.after_read(count, is_full)
            }
        };
        if buffer.len() == BUFFER_BYTES {
            BUFFER.set(buffer);
        }
        step
    }

    /// A message of more than half a read goes straight into a buffer of its own.
    fn read_large(&mut self, context: &mut Context<'_>) -> Step {
        let wanted = self.bytes_needed - self.leftover.len();
        match self.socket.poll_read_into(context, &mut self.leftover, wanted) {
            ReadOutcome::Wait => Step::Wait,
            ReadOutcome::Closed(reason) => self.close(reason),
            ReadOutcome::Bytes { count, is_full } => {
                if self.leftover.len() >= self.bytes_needed {
                    let message = std::mem::take(&mut self.leftover);
                    self.act(&message, context);
                }
                self.after_read(count, is_full)
            }
        }
    }

    /// One full read, or as much in small pieces, and then it is the others' turn.
    fn after_read(&mut self, count: usize, is_full: bool) -> Step {
        self.turn_bytes += count;
        let is_flood = is_full && !self.session.fans_out();
        self.full_reads = if is_flood { LANE_READS.min(self.full_reads + 1) } else { 0 };
        if is_full || self.turn_bytes >= READ_BYTES { Step::Yield } else { Step::Again }
    }

    fn act_on_leftover(&mut self, context: &mut Context<'_>) -> Step {
        self.resume = false;
        let bytes = std::mem::take(&mut self.leftover);
        self.act(&bytes, context);
        Step::Again
    }

    fn close(&self, reason: ClosedReason) -> Step {
        self.outbound.close(reason);
        Step::Again
    }

    /// Lets the session act on the bytes, flushes, and keeps what is incomplete.
    fn act(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        let mut burst = Burst::take();
        let done = self.session.act(bytes, &mut burst);
        let had_services = self.session.end_burst(&mut burst, bytes);
        let awaited = burst.take_worth_waiting();
        burst.give_back();
        let rest = &bytes[done.consumed..];
        self.bytes_needed = done.bytes_needed;
        if !rest.is_empty() {
            let mut leftover = Vec::with_capacity(rest.len().max(done.bytes_needed));
            leftover.extend_from_slice(rest);
            self.leftover = leftover;
        }
        match done.flow {
            Flow::Continue => {}
            Flow::Close(reason) => return self.outbound.close(reason),
            Flow::Authenticate(pending) => {
                self.resume = !rest.is_empty();
                self.wait = Wait::Authentication(pending);
                return;
            }
        }
        if let Some(awaited) = awaited
            && self.hub.settings.load().stall_publishers
        {
            self.stall(awaited, context);
        } else if had_services && !self.session.account().ingest_gate.is_open() {
            self.wait = Wait::Gate;
        }
    }

    /// Waits until the peer has caught up a little, but not for long.
    fn stall(&mut self, awaited: Awaited, context: &mut Context<'_>) {
        let Awaited { outbound: peer, below, .. } = awaited;
        peer.count_stall();
        if peer.is_overloaded() {
            // One wait for each read, so smaller reads give it more time.
            self.full_reads = 0;
        }
        self.hub.counters.stalls.fetch_add(1, Ordering::Relaxed);
        let drained = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&drained);
        let waker = context.waker().clone();
        peer.on_drained(
            below,
            Box::new(move || {
                seen.store(true, Ordering::Release);
                waker.wake();
            }),
        );
        self.wait = Wait::Stall(Box::new(Stall { peer, drained, timeout: Box::pin(tokio::time::sleep(STALL_MAX)) }));
    }

    /// True when the time for the last words is over.
    fn has_spoken(&mut self, context: &mut Context<'_>) -> bool {
        let Wait::LastWords(timeout) = &mut self.wait else { return false };
        timeout.as_mut().poll(context).is_ready()
    }

    /// Gets the last words out if that makes sense, and takes the connection apart.
    fn end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let reason = self.reason();
        let unsent = self.outbound.pending_bytes() > 0 || self.socket.wants_flush();
        if reason.flushes() && unsent && !self.socket.is_broken() {
            if !matches!(self.wait, Wait::LastWords(_)) {
                self.wait = Wait::LastWords(Box::pin(tokio::time::sleep(LAST_WORDS)));
            }
            if !self.has_spoken(context) {
                return Poll::Pending;
            }
        }
        self.tear_down(reason)
    }

    fn reason(&self) -> ClosedReason {
        self.outbound.closing().unwrap_or(ClosedReason::ClientClosed)
    }

    fn tear_down(&mut self, reason: ClosedReason) -> Poll<()> {
        tracing::debug!("{} - Client connection closed: {reason}", self.connection.label());
        let closed = self.connection.closed(reason);
        self.session.leave();
        self.outbound.shut_down();
        self.socket.shut_down();
        self.hub.forget(&self.connection, closed);
        Poll::Ready(())
    }
}

impl Drop for ClientTask {
    /// The runtime may drop the task when it ends; the registers must not keep what is gone.
    fn drop(&mut self) {
        if self.hub.register.get(self.connection.id()).is_some() {
            let _ = self.tear_down(self.outbound.closing().unwrap_or(ClosedReason::ServerShutdown));
        }
    }
}
