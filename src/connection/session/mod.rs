//! HOT PATH (publish): no allocation and no lock per message.
//!
//! What one client's operations do: CONNECT and authentication, subscriptions, publishing, pings. The session works
//! on bytes that the task read and stages all its answers in the burst, so their order is the wire's order.

mod interest;
mod login;
mod publish;
mod refusals;
mod trace;

use super::connection::Connection;
use super::hub::Hub;
use crate::account::{Account, Traffic};
use crate::auth::{Directory, Grant};
use crate::protocol::client::{Fault, Limits, Op, Step, parse};
use crate::protocol::error::{self, ClosedReason};
use crate::router::{Burst, MatchCache, Rights};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

/// A decision about a login that is made elsewhere.
pub type Pending = Pin<Box<dyn Future<Output = Decision> + Send>>;

/// What came of a login, and by whose knowledge.
pub struct Decision {
    directory: Arc<Directory>,
    /// None is a refusal.
    granted: Option<Grant>,
}

/// How to go on after an operation or a burst of them.
pub enum Flow {
    Continue,
    /// Nothing more may be acted on until the login is decided.
    Authenticate(Pending),
    Close(ClosedReason),
}

/// What became of the bytes of a burst.
pub struct Done {
    pub consumed: usize,
    /// What the incomplete operation behind them takes in all, or 0.
    pub bytes_needed: usize,
    pub flow: Flow,
}

/// More deliveries than this for each message are a wide fan-out.
const FAN_OUT: u64 = 32;

pub struct Session {
    hub: Arc<Hub>,
    connection: Arc<Connection>,
    account: Arc<Account>,
    limits: Limits,
    subscriptions_max: usize,
    rights: Rights,
    cache: Option<Box<MatchCache>>,
    verbose: bool,
    pedantic: bool,
    no_responders: bool,
    connect_seen: bool,
    pong_sent: bool,
    /// Only CONNECT may come now.
    login_required: bool,
    messages: u64,
    bytes: u64,
    /// The last burst went to so many that what it staged is far more than what was read.
    fans_out: bool,
    /// Something else than PING and PONG came in this burst.
    active: bool,
    heard: bool,
    /// When the log was last told that this client subscribes more than it may.
    subscriptions_refused_at: Option<Instant>,
}

impl Session {
    pub fn new(hub: Arc<Hub>, connection: Arc<Connection>) -> Session {
        let settings = hub.settings.load();
        let account = connection.account();
        let login_required = hub.directory.load().is_required();
        let limits = Limits {
            control_line_bytes_max: settings.control_line_bytes_max,
            payload_bytes_max: settings.payload_bytes_max,
            headers: false,
        };
        let subscriptions_max = settings.subscriptions_max.unwrap_or(usize::MAX);
        Session {
            account,
            limits,
            subscriptions_max,
            rights: Rights::default(),
            cache: None,
            verbose: true,
            pedantic: true,
            no_responders: false,
            connect_seen: false,
            pong_sent: false,
            login_required,
            messages: 0,
            bytes: 0,
            fans_out: false,
            active: false,
            heard: false,
            subscriptions_refused_at: None,
            hub,
            connection,
        }
    }

    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Acts on all complete operations in `buffer`.
    pub fn act(&mut self, buffer: &[u8], burst: &mut Burst) -> Done {
        burst.set_drop_overloaded(!self.hub.settings.load().stall_publishers);
        let mut cache = self.cache.take();
        let mut consumed = 0;
        let mut bytes_needed = 0;
        let mut flow = Flow::Continue;
        let is_traced = tracing::event_enabled!(tracing::Level::TRACE);
        while consumed < buffer.len() {
            if self.login_required
                && let Some(next) = self.before_login(buffer[consumed], burst)
            {
                flow = next;
                break;
            }
            let step = parse(&buffer[consumed..], &self.limits);
            if is_traced && let Step::Op(op, len) = &step {
                self.trace(op, &buffer[consumed..consumed + len]);
            }
            match step {
                Step::Op(Op::Publish(publish), len) => {
                    consumed += len;
                    self.publish(&publish, burst, cache.get_or_insert_default(), buffer);
                }
                Step::Op(op, len) => {
                    consumed += len;
                    self.cache = cache;
                    if matches!(op, Op::Connect(_)) {
                        // What came before is the old account's, and what of it is for services points into the buffer.
                        self.end_burst(burst, buffer);
                    }
                    flow = self.operate(&op, burst);
                    cache = self.cache.take();
                }
                Step::More { bytes_needed: needed } => {
                    bytes_needed = needed;
                    break;
                }
                Step::Fault(fault) => {
                    flow = self.fault(fault, burst);
                    break;
                }
            }
            if !matches!(flow, Flow::Continue) {
                break;
            }
        }
        self.cache = cache;
        Done { consumed, bytes_needed, flow }
    }

    /// Flushes what a burst staged and counts it; true when services inside the server were called.
    pub fn end_burst(&mut self, burst: &mut Burst, buffer: &[u8]) -> bool {
        if let Some(cache) = &mut self.cache {
            cache.settle();
        }
        burst.flush();
        let identity = if burst.has_services() { self.connection.identity() } else { None };
        let had_services = burst.run_services(&self.account, identity.as_ref(), buffer);
        let mut traffic = burst.take_traffic();
        traffic.messages_in = std::mem::take(&mut self.messages);
        traffic.bytes_in = std::mem::take(&mut self.bytes);
        self.fans_out = traffic.messages_out > traffic.messages_in.saturating_mul(FAN_OUT);
        if traffic != Traffic::default() {
            self.account.counters.add(&traffic);
            self.connection.count_in(traffic.messages_in, traffic.bytes_in);
        }
        if std::mem::take(&mut self.active) {
            self.connection.note_activity();
        } else if std::mem::take(&mut self.heard) {
            self.connection.note_heard();
        }
        had_services
    }

    /// True when the last burst was delivered to many: larger bursts would only fall out of the processor's cache.
    pub fn fans_out(&self) -> bool {
        self.fans_out
    }

    /// Ends all interest of the client and leaves the account.
    pub fn leave(&mut self) {
        self.drop_subscriptions();
        self.account.ingest_gate.forget(self.connection.id());
        self.account.dismiss();
        self.cache = None;
    }

    /// The client has been silent for long: what only makes publishing fast can go.
    pub fn rest(&mut self) {
        self.cache = None;
    }

    fn drop_subscriptions(&self) {
        let gone = self.connection.outbound.subscriptions.take();
        gone.iter().for_each(|subscription| {
            subscription.close();
        });
        self.account.interest.remove_all(gone.iter());
    }

    fn say(&self, burst: &mut Burst, bytes: &[u8]) {
        burst.stage_control(&self.connection.outbound, bytes);
    }

    fn say_error(&self, burst: &mut Burst, text: &str) {
        self.trace_sent(format_args!("-ERR {text}"));
        self.say(burst, &error::line(text));
    }

    fn say_ok(&self, burst: &mut Burst) {
        if self.verbose {
            self.say(burst, b"+OK\r\n");
        }
    }

    fn refuse(&self, burst: &mut Burst, text: &str, reason: ClosedReason) -> Flow {
        self.say_error(burst, text);
        Flow::Close(reason)
    }

    fn fault(&self, fault: Fault, burst: &mut Burst) -> Flow {
        tracing::error!("{} - {fault}", self.connection.label());
        match fault {
            Fault::UnknownOperation => self.refuse(burst, error::UNKNOWN_OPERATION, ClosedReason::ProtocolViolation),
            Fault::ControlLine => self.refuse(burst, error::MAX_CONTROL_LINE, ClosedReason::MaxControlLine),
            Fault::Payload { .. } => self.refuse(burst, error::MAX_PAYLOAD, ClosedReason::MaxPayload),
            Fault::Arguments | Fault::HeadersNotSupported => Flow::Close(ClosedReason::ProtocolViolation),
        }
    }

    fn operate(&mut self, op: &Op<'_>, burst: &mut Burst) -> Flow {
        match *op {
            // Taken care of before, with the cache at hand.
            Op::Publish(_) => {}
            Op::Subscribe { subject, queue, sid } => self.subscribe(subject, queue, sid, burst),
            Op::Unsubscribe { sid, max } => self.unsubscribe(sid, max, burst),
            Op::Ping => self.ping(burst),
            Op::Pong => self.connection.note_pong(),
            Op::Ok => {}
            Op::Err(text) => {
                let text = String::from_utf8_lossy(text);
                tracing::error!("{} - Client Error {text}", self.connection.label());
                return Flow::Close(ClosedReason::ParseError);
            }
            // A client has nothing to tell in INFO, but it has to be JSON.
            Op::Info(json) => {
                if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(json).is_err() {
                    return Flow::Close(ClosedReason::ProtocolViolation);
                }
            }
            Op::Connect(json) => return self.connect(json, burst),
        }
        Flow::Continue
    }

    fn ping(&mut self, burst: &mut Burst) {
        self.heard = true;
        self.trace_sent(format_args!("PONG"));
        self.say(burst, b"PONG\r\n");
        if !self.connect_seen || self.pong_sent {
            return;
        }
        self.pong_sent = true;
        if self.connection.with_options(|options| options.protocol) < 1 {
            return;
        }
        // The second INFO (C-08): clients wait for the PONG first.
        let mut info = self.hub.info_for(&self.connection, &self.connection.nonce);
        info.max_payload = self.limits.payload_bytes_max as i64;
        info.connect_info = true;
        info.remote_account = self.account.name().to_string();
        info.acc_is_sys = Arc::ptr_eq(&self.account, &self.hub.system_account());
        self.say(burst, &info.line());
        self.connection.set_takes_info();
    }
}
