//! HOT PATH (publish): no allocation and no lock per message.
//!
//! What one client's operations do: CONNECT and authentication, subscriptions, publishing, pings. The session works
//! on bytes that the task read and stages all its answers in the burst, so their order is the wire's order.

use super::connection::{Connection, Update};
use super::hub::Hub;
use super::settings::Settings;
use super::timers::Alarm;
use crate::account::{Account, Permissions, ReplyTracker, Sink, Subscription, Traffic};
use crate::auth::{Grant, Outcome, Request, verify_bcrypt};
use crate::protocol::client::{Fault, Limits, Op, Publish, Step, parse};
use crate::protocol::connect::{self, ConnectOptions, Secret};
use crate::protocol::error::{self, ClosedReason};
use crate::protocol::subject;
use crate::router::{Burst, Letter, MatchCache, Outgoing, Rights, Verdict, deliver, is_reserved_reply, write_line};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

/// A decision about a login that is made elsewhere; none is a refusal.
pub type Pending = Pin<Box<dyn Future<Output = Option<Grant>> + Send>>;

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

/// Queue group of the server's own services.
const SYSTEM_QUEUE: &[u8] = b"_sys_";

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
    /// Something else than PING and PONG came in this burst.
    active: bool,
    heard: bool,
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
            active: false,
            heard: false,
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

    /// Ends all interest of the client and leaves the account.
    pub fn leave(&mut self) {
        self.drop_subscriptions();
        self.account.ingest_gate.forget(self.connection.id());
        self.account.dismiss();
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

    /// One line per operation, as nats-server traces them.
    #[cold]
    fn trace(&self, op: &Op<'_>, bytes: &[u8]) {
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
        let label = self.connection.label();
        match op {
            Op::Connect(json) => tracing::trace!("{label} - <<- [CONNECT {}]", connect::redacted(json)),
            Op::Publish(publish) => {
                tracing::trace!("{label} - <<- [{line}]");
                let payload = String::from_utf8_lossy(publish.payload);
                tracing::trace!("{label} - <<- MSG_PAYLOAD: [{payload:?}]");
            }
            _ => tracing::trace!("{label} - <<- [{line}]"),
        }
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

/// Publishing.
impl Session {
    #[inline]
    fn publish(&mut self, publish: &Publish<'_>, burst: &mut Burst, cache: &mut MatchCache, buffer: &[u8]) {
        let size = publish.headers.len() + publish.payload.len();
        self.messages += 1;
        self.bytes += size as u64;
        self.active = true;
        if self.pedantic && !subject::is_valid_literal(publish.subject) {
            self.say_error(burst, error::INVALID_PUBLISH_SUBJECT);
        }
        let at = cache.look_up(publish.subject, &self.account, &self.rights);
        if cache.entry(at).verdict != Verdict::Allowed && !self.may_answer(publish.subject, cache.entry(at).verdict) {
            return self.say_error(burst, &error::publish_violation(publish.subject));
        }
        if let Some(reply) = publish.reply
            && is_reserved_reply(reply)
        {
            return self.say_error(burst, &error::reply_violation(reply));
        }
        self.say_ok(burst);
        let payload = [publish.payload];
        let letter =
            Letter { subject: publish.subject, reply: publish.reply, headers: publish.headers, payload: &payload };
        let reached = match publish.tail {
            Some(tail) => {
                let tail = [tail];
                let message = Outgoing { letter, shown_as: None, tail: &tail, size, buffer };
                deliver(burst, cache, at, &self.account, &message)
            }
            None => {
                let mut line = std::mem::take(&mut burst.line);
                let header_len = (!publish.headers.is_empty()).then_some(publish.headers.len());
                write_line(&mut line, publish.reply, header_len, size);
                let tail = [line.as_slice(), publish.headers, publish.payload, b"\r\n"];
                let message = Outgoing { letter, shown_as: None, tail: &tail, size, buffer };
                let reached = deliver(burst, cache, at, &self.account, &message);
                burst.line = line;
                reached
            }
        };
        if let Some(reply) = publish.reply
            && self.no_responders
            && reached.nobody()
        {
            self.tell_no_responders(publish.subject, reply, burst);
        }
        if burst.is_full() {
            cache.settle();
            burst.flush();
        }
    }

    /// A user who may only answer uses up one of the answers it was asked for.
    #[cold]
    fn may_answer(&self, subject: &[u8], verdict: Verdict) -> bool {
        verdict == Verdict::OnlyAsReply
            && self
                .connection
                .outbound
                .replies
                .lock()
                .as_mut()
                .is_some_and(|replies| replies.consume(subject, Instant::now()))
    }

    /// Answers a request that nobody is there for (C-23).
    #[cold]
    fn tell_no_responders(&self, subject: &[u8], reply: &[u8], burst: &mut Burst) {
        let own = self.connection.id();
        let mut sid = None;
        self.account.interest.any_match(reply, |subscription| {
            let is_own = subscription.queue.is_none() && subscription.outbound().is_some_and(|peer| peer.id() == own);
            if is_own {
                sid = Some(subscription.sid().to_vec());
            }
            is_own
        });
        if let Some(sid) = sid {
            let headers = [b"NATS/1.0 503\r\nNats-Subject: ".as_slice(), subject, b"\r\n\r\n"].concat();
            let mut message = [b"HMSG ".as_slice(), reply, b" ", &sid].concat();
            message.extend_from_slice(format!(" {0} {0}\r\n", headers.len()).as_bytes());
            message.extend_from_slice(&headers);
            message.extend_from_slice(b"\r\n");
            self.say(burst, &message);
        }
    }
}

/// Subscriptions.
impl Session {
    fn subscribe(&mut self, subject: &[u8], queue: Option<&[u8]>, sid: &[u8], burst: &mut Burst) {
        self.active = true;
        let permissions = self.rights.permissions.as_ref();
        let allowed = permissions.is_none_or(|permissions| permissions.can_subscribe(subject, queue));
        if !allowed || queue == Some(SYSTEM_QUEUE) {
            return self.say_error(burst, &error::subscribe_violation(subject, queue));
        }
        let settings = self.hub.settings.load();
        if settings.subscription_tokens_max.is_some_and(|max| subject::token_count(subject) > max) {
            return self.say_error(burst, &error::too_many_tokens(subject));
        }
        let outbound = &self.connection.outbound;
        if outbound.subscriptions.len() >= self.subscriptions_max {
            return self.say_error(burst, error::MAX_SUBSCRIPTIONS);
        }
        if outbound.subscriptions.get(sid).is_none() {
            if !subject::is_valid(subject) {
                return self.say_error(burst, error::INVALID_SUBJECT);
            }
            let filter = permissions.filter(|permissions| permissions.overlaps_deny(subject)).cloned();
            let sink = Sink::Client { outbound: Arc::clone(outbound), sid: sid.into() };
            let subscription = Arc::new(Subscription::new(subject, queue, sink, filter));
            outbound.subscriptions.insert(Arc::clone(&subscription));
            self.account.interest.insert(subscription);
        }
        self.say_ok(burst);
    }

    fn unsubscribe(&mut self, sid: &[u8], max: Option<u64>, burst: &mut Burst) {
        self.active = true;
        if let Some(subscription) = self.connection.outbound.subscriptions.get(sid) {
            // What this burst delivered so far has to be counted before the limit is looked at.
            if let Some(cache) = &mut self.cache {
                cache.settle();
            }
            match max {
                Some(max) if subscription.limit(max) => self.account.interest.touch(),
                _ => self.account.end_subscription(&subscription),
            }
        }
        self.say_ok(burst);
    }
}

/// CONNECT.
impl Session {
    /// Before the login: whatever is not CONNECT is a violation, unless there is a user for those who say nothing.
    fn before_login(&mut self, first: u8, burst: &mut Burst) -> Option<Flow> {
        if matches!(first, b'C' | b'c') {
            return None;
        }
        if !self.hub.directory.load().admits_silent() {
            return Some(self.refuse(burst, error::AUTHORIZATION, ClosedReason::AuthenticationViolation));
        }
        match self.log_in(burst) {
            Flow::Continue => None,
            other => Some(other),
        }
    }

    fn connect(&mut self, json: &[u8], burst: &mut Burst) -> Flow {
        let mut options = self.connection.with_options(ConnectOptions::clone);
        if options.merge(json).is_err() {
            return Flow::Close(ClosedReason::ProtocolViolation);
        }
        if self.connect_seen {
            // The next account must not inherit what was subscribed in this one.
            self.drop_subscriptions();
        }
        self.connect_seen = true;
        self.connection.note_connect();
        self.connection.set_options(options);
        self.log_in(burst)
    }

    /// Lets the directory decide on the options of the last CONNECT.
    fn log_in(&mut self, burst: &mut Burst) -> Flow {
        let options = self.connection.with_options(ConnectOptions::clone);
        let request = Request {
            options: &options,
            nonce: self.connection.nonce.as_bytes(),
            connection_type: Hub::connection_type(self.connection.kind()),
            certificate: self.connection.tls.as_ref().and_then(|tls| tls.certificate.as_ref()),
        };
        match self.hub.directory.load().check(&request) {
            Outcome::Granted(grant) => self.admit(grant, burst),
            Outcome::Denied(reason) => self.deny(reason, burst),
            Outcome::Bcrypt { hash, given, grant } => Flow::Authenticate(self.check_hash(hash, given, grant)),
        }
    }

    /// bcrypt is slow on purpose: it runs on the blocking pool, a few at a time.
    fn check_hash(&self, hash: Secret, given: Secret, grant: Grant) -> Pending {
        let hub = Arc::clone(&self.hub);
        Box::pin(async move {
            let _permit = Arc::clone(&hub.hashing).acquire_owned().await.ok()?;
            let matches = tokio::task::spawn_blocking(move || verify_bcrypt(&hash, &given)).await.ok()?;
            matches.then_some(grant)
        })
    }

    /// The outcome of a check that took its time.
    pub fn authenticated(&mut self, granted: Option<Grant>, burst: &mut Burst) -> Flow {
        match granted {
            Some(grant) => self.admit(grant, burst),
            None => self.deny(ClosedReason::AuthenticationViolation, burst),
        }
    }

    fn deny(&self, reason: ClosedReason, burst: &mut Burst) -> Flow {
        tracing::error!("{} - authentication error", self.connection.label());
        if let Some(observer) = self.hub.observer() {
            observer.refused(&self.connection, reason);
        }
        self.refuse(burst, error::AUTHORIZATION, reason)
    }

    fn admit(&mut self, grant: Grant, burst: &mut Burst) -> Flow {
        let account = self.hub.ensure_account(&grant.account);
        // Deliveries so far belong to the old account.
        self.end_burst(burst, &[]);
        self.account.dismiss();
        if account.admit().is_err() {
            // It is counted in the account that it stays in until it ends.
            let _ = self.account.admit();
            return self.refuse(burst, error::MAX_ACCOUNT_CONNECTIONS, ClosedReason::MaxAccountConnections);
        }
        self.account = account;
        self.cache = None;
        self.apply(grant);
        let options = self.connection.with_options(ConnectOptions::clone);
        if options.new_account || !options.account.is_empty() {
            return self.deny(ClosedReason::AuthenticationViolation, burst);
        }
        if !matches!(options.protocol, 0 | 1) {
            return self.refuse(burst, error::CLIENT_PROTOCOL, ClosedReason::BadClientProtocol);
        }
        if options.no_responders && !self.limits.headers {
            let text = error::NO_RESPONDERS_NEEDS_HEADERS;
            return self.refuse(burst, text, ClosedReason::NoRespondersRequiresHeaders);
        }
        if self.connect_seen {
            self.say_ok(burst);
        }
        if let Some(observer) = self.hub.observer() {
            observer.connected(&self.connection);
        }
        Flow::Continue
    }

    fn apply(&mut self, grant: Grant) {
        let settings = Arc::clone(&self.hub.settings.load());
        let options = self.connection.with_options(ConnectOptions::clone);
        self.verbose = options.verbose;
        self.pedantic = options.pedantic;
        self.no_responders = options.no_responders;
        self.limits.headers = settings.headers && options.headers;
        self.apply_limits(&settings);
        self.rights = Rights {
            muted: (!options.echo).then(|| self.connection.id()),
            permissions: grant.permissions.clone(),
            is_internal: false,
            in_system_account: Arc::ptr_eq(&self.account, &self.hub.system_account()),
        };
        self.login_required = false;
        let outbound = &self.connection.outbound;
        outbound.set_takes_headers(self.limits.headers);
        let responses = grant.permissions.as_deref().and_then(Permissions::responses);
        *outbound.replies.lock() = responses.map(|rule| Box::new(ReplyTracker::new(rule)));
        self.connection.set_profile(&self.account, grant.user, grant.permissions, self.limits.payload_bytes_max);
        self.connection.set_authenticated();
        self.connection.set_options(without_secrets(options));
        let first_ping = self.connection.first_ping(settings.ping_interval);
        self.hub.set_alarm(Instant::now() + first_ping, &self.connection, Alarm::Ping);
    }
}

/// Changes while the client is connected.
impl Session {
    /// What a reload made of the limits and of the user's permissions. Subscriptions that are not allowed any more end.
    pub fn take_over(&mut self, update: Update, burst: &mut Burst) {
        let settings = Arc::clone(&self.hub.settings.load());
        let before = self.limits.payload_bytes_max;
        self.apply_limits(&settings);
        let permissions = update.permissions;
        self.rights.permissions = permissions.clone();
        self.cache = None;
        let outbound = Arc::clone(&self.connection.outbound);
        for subscription in outbound.subscriptions.list(usize::MAX) {
            let (subject, queue) = (&*subscription.subject, subscription.queue.as_deref());
            if permissions.as_ref().is_some_and(|permissions| !permissions.can_subscribe(subject, queue)) {
                self.account.end_subscription(&subscription);
                self.say_error(burst, &error::subscription_revoked(subject, queue, subscription.sid()));
            } else {
                let filter = permissions.as_ref().filter(|permissions| permissions.overlaps_deny(subject));
                subscription.set_receive_filter(filter.cloned());
            }
        }
        self.account.interest.touch();
        let responses = permissions.as_deref().and_then(Permissions::responses);
        *outbound.replies.lock() = responses.map(|rule| Box::new(ReplyTracker::new(rule)));
        if self.connection.is_authenticated() {
            let user = self.connection.user();
            self.connection.set_profile(&self.account, user, permissions, self.limits.payload_bytes_max);
        }
        if self.limits.payload_bytes_max != before {
            self.connection.send_info(&self.hub);
        }
    }

    /// The narrower of the server's and the account's limits.
    fn apply_limits(&mut self, settings: &Settings) {
        let account = self.account.limits();
        let at_most = |own: usize, limit: Option<usize>| limit.map_or(own, |limit| limit.min(own));
        self.limits.control_line_bytes_max = settings.control_line_bytes_max;
        self.limits.payload_bytes_max = at_most(settings.payload_bytes_max, account.payload_bytes_max);
        self.subscriptions_max = at_most(settings.subscriptions_max.unwrap_or(usize::MAX), account.subscriptions_max);
    }
}

fn without_secrets(options: ConnectOptions) -> ConnectOptions {
    ConnectOptions {
        password: Secret::default(),
        token: Secret::default(),
        jwt: Secret::default(),
        signature: Secret::default(),
        proxy_signature: Secret::default(),
        ..options
    }
}
