//! One client connection as the rest of the server sees it: who it is, its counters, and the handle to send to
//! it or to end it. The connection's own task is in `task.rs`.

use super::hub::Hub;
use super::timers::Alarm;
use crate::account::{Account, ClientIdentity, ClientKind, Outbound, Permissions, RoundTrip};
use crate::auth::CertificateNames;
use crate::protocol::connect::ConnectOptions;
use crate::protocol::error::{self, ClosedReason};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// The first ping comes early, to learn the round trip; C-29.
const FIRST_PING: Duration = Duration::from_secs(2);
/// Round trips are measured anew after this long.
const RTT_INTERVAL: Duration = Duration::from_secs(3600);
/// An alarm that is later than this says that the process stood still; what came meanwhile gets as long to be read.
const STANDSTILL: Duration = Duration::from_millis(250);

pub struct Connection {
    pub outbound: Arc<Outbound>,
    pub(super) peer: SocketAddr,
    pub(super) kind: ClientKind,
    started: Instant,
    pub(super) start: SystemTime,
    /// Names the challenge of INFO; empty without one.
    pub nonce: Box<str>,
    pub tls: Option<Box<TlsInfo>>,
    pub(super) profile: Mutex<Profile>,
    pub(super) messages_in: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    /// Nanoseconds since the start; activity is messages and interest, heard is anything but PONG.
    pub(super) last_activity: AtomicU64,
    last_heard: AtomicU64,
    round_trip: RoundTrip,
    ping_sent: AtomicU64,
    pings_out: AtomicU32,
    /// When the next ping is due, in the same count; an alarm for an earlier time is an old one.
    ping_due: AtomicU64,
    /// An alarm for the write deadline is set.
    write_watched: AtomicBool,
    /// Nothing was heard for a ping interval: the task may let go of its caches.
    rest: AtomicBool,
    /// CONNECT came: who waits for the login to be decided is not late.
    connect_seen: AtomicBool,
    authenticated: AtomicBool,
    /// Understands INFO at any time (protocol 1, and its first PONG has been sent).
    takes_info: AtomicBool,
    /// Left by a reload for the connection's own task.
    update: Mutex<Option<Box<Update>>>,
    has_update: AtomicBool,
}

/// A change that a connection has to take over while it lives.
pub struct Update {
    pub permissions: Option<Arc<Permissions>>,
}

/// What CONNECT said, and what came of it.
pub(super) struct Profile {
    pub(super) options: Box<ConnectOptions>,
    pub(super) account: Arc<Account>,
    identity: Option<Arc<ClientIdentity>>,
    permissions: Option<Arc<Permissions>>,
    pub(super) user: String,
    payload_bytes_max: usize,
}

/// The TLS session of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsInfo {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// By its Go name.
    pub cipher_suite: String,
    /// TLS came before INFO.
    pub first: bool,
    /// Names in the verified client certificate.
    pub certificate: Option<CertificateNames>,
    /// Lower-case hex SHA-256 of the client's public key info.
    pub key_hash: Option<String>,
}

impl Connection {
    pub fn new(
        outbound: Arc<Outbound>,
        peer: SocketAddr,
        kind: ClientKind,
        account: Arc<Account>,
        nonce: String,
        payload_bytes_max: usize,
        tls: Option<TlsInfo>,
    ) -> Connection {
        let profile = Profile {
            options: Box::default(),
            account,
            identity: None,
            permissions: None,
            user: String::new(),
            payload_bytes_max,
        };
        Connection {
            outbound,
            peer,
            kind,
            started: Instant::now(),
            start: SystemTime::now(),
            nonce: nonce.into(),
            tls: tls.map(Box::new),
            profile: Mutex::new(profile),
            messages_in: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            last_activity: AtomicU64::new(0),
            last_heard: AtomicU64::new(0),
            round_trip: RoundTrip::default(),
            ping_sent: AtomicU64::new(0),
            pings_out: AtomicU32::new(0),
            ping_due: AtomicU64::new(0),
            write_watched: AtomicBool::new(false),
            rest: AtomicBool::new(false),
            connect_seen: AtomicBool::new(false),
            authenticated: AtomicBool::new(false),
            takes_info: AtomicBool::new(false),
            update: Mutex::default(),
            has_update: AtomicBool::new(false),
        }
    }

    pub fn id(&self) -> u64 {
        self.outbound.id()
    }

    pub fn kind(&self) -> ClientKind {
        self.kind
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The peer's address without its port.
    pub fn host(&self) -> String {
        self.peer.ip().to_canonical().to_string()
    }

    /// As log lines name the connection: `127.0.0.1:4321 - cid:5 - "v1.2:go:name"`.
    pub fn label(&self) -> String {
        let start = format!("{} - cid:{}", self.peer, self.id());
        let profile = self.profile.lock();
        let options = &profile.options;
        let version = if options.version.is_empty() { String::new() } else { format!("v{}", options.version) };
        let parts = [version.as_str(), &options.lang, &options.name];
        let told: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let client = if told.is_empty() { start } else { format!("{start} - {:?}", told.join(":")) };
        match options.login() {
            Some(login) if self.is_authenticated() => {
                format!("{client} - {:?}", format!("{}/{login}", profile.account.name()))
            }
            _ => client,
        }
    }

    /// Leaves a change for the connection's task; a newer one replaces one that was not yet taken.
    pub fn post(&self, update: Update) {
        *self.update.lock() = Some(Box::new(update));
        self.has_update.store(true, Ordering::Release);
        self.outbound.wake_owner();
    }

    #[inline]
    pub fn take_update(&self) -> Option<Box<Update>> {
        if !self.has_update.load(Ordering::Relaxed) {
            return None;
        }
        self.has_update.store(false, Ordering::Relaxed);
        self.update.lock().take()
    }

    pub fn account(&self) -> Arc<Account> {
        Arc::clone(&self.profile.lock().account)
    }

    /// None before CONNECT.
    pub fn identity(&self) -> Option<Arc<ClientIdentity>> {
        self.profile.lock().identity.clone()
    }

    pub fn permissions(&self) -> Option<Arc<Permissions>> {
        self.profile.lock().permissions.clone()
    }

    /// The last CONNECT's options, without secrets.
    pub fn with_options<T>(&self, read: impl FnOnce(&ConnectOptions) -> T) -> T {
        read(&self.profile.lock().options)
    }

    /// The names in the certificate that the client showed, if it did.
    pub fn certificate(&self) -> Option<&CertificateNames> {
        self.tls.as_ref().and_then(|tls| tls.certificate.as_ref())
    }

    pub fn set_options(&self, options: ConnectOptions) {
        *self.profile.lock().options = options;
    }

    pub fn user(&self) -> String {
        self.profile.lock().user.clone()
    }

    /// What authentication found; the identity is what services get to see.
    pub fn set_profile(
        &self,
        account: &Arc<Account>,
        user: String,
        permissions: Option<Arc<Permissions>>,
        payload_bytes_max: usize,
    ) {
        let mut profile = self.profile.lock();
        profile.account = Arc::clone(account);
        profile.permissions = permissions;
        profile.payload_bytes_max = payload_bytes_max;
        profile.identity = Some(Arc::new(ClientIdentity {
            id: self.id(),
            kind: self.kind,
            host: self.host(),
            port: self.peer.port(),
            start: self.start,
            name: profile.options.name.clone(),
            lang: profile.options.lang.clone(),
            version: profile.options.version.clone(),
            user: user.clone(),
            account: account.name().to_string(),
            round_trip: self.round_trip.clone(),
            no_responders: profile.options.no_responders,
        }));
        profile.user = user;
    }

    pub fn set_authenticated(&self) {
        // A reload must either see it or be seen by who sets it.
        self.authenticated.store(true, Ordering::SeqCst);
    }

    pub fn is_authenticated(&self) -> bool {
        self.authenticated.load(Ordering::SeqCst)
    }

    /// Counts what a read burst brought.
    pub fn count_in(&self, messages: u64, bytes: u64) {
        // Only the connection's own task adds, so load and store will do.
        self.messages_in.store(self.messages_in.load(Ordering::Relaxed) + messages, Ordering::Relaxed);
        self.bytes_in.store(self.bytes_in.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    }

    pub fn note_activity(&self) {
        let now = self.age();
        self.last_activity.store(now, Ordering::Relaxed);
        self.last_heard.store(now, Ordering::Relaxed);
    }

    pub fn note_heard(&self) {
        self.last_heard.store(self.age(), Ordering::Relaxed);
    }

    /// CONNECT arrived: a first estimate of the round trip is the time since INFO.
    pub fn note_connect(&self) {
        self.connect_seen.store(true, Ordering::Relaxed);
        self.last_activity.store(self.age(), Ordering::Relaxed);
        self.round_trip.set(self.age());
    }

    pub fn note_pong(&self) {
        self.pings_out.store(0, Ordering::Relaxed);
        let sent = self.ping_sent.load(Ordering::Relaxed);
        self.round_trip.set(self.age().saturating_sub(sent));
    }

    /// The round trip, once it is known.
    pub fn rtt(&self) -> Option<Duration> {
        self.round_trip.get()
    }

    /// When the first ping is due after CONNECT; spread by a fifth so that a crowd doesn't ping at once.
    pub fn first_ping(&self, interval: Duration) -> Duration {
        let first = interval.min(FIRST_PING);
        first + first.mul_f64(0.2 * (self.id() % 64) as f64 / 64.0)
    }

    /// Sets the next ping; whatever was set before is forgotten.
    pub fn schedule_ping(&self, hub: &Hub, after: Duration) {
        self.ping_due.store(self.age() + after.as_nanos() as u64, Ordering::Relaxed);
        hub.set_alarm(Instant::now() + after, self, Alarm::Ping);
    }

    /// Something waits for the socket: it has to be gone in time.
    pub fn watch_write(&self, hub: &Hub) {
        if !self.write_watched.swap(true, Ordering::Relaxed) {
            let deadline = hub.settings.load().write_deadline;
            hub.set_alarm(Instant::now() + deadline, self, Alarm::WriteDeadline);
        }
    }

    #[inline]
    pub fn take_rest(&self) -> bool {
        self.rest.load(Ordering::Relaxed) && self.rest.swap(false, Ordering::Relaxed)
    }

    /// From now on INFO may come at any time.
    pub fn set_takes_info(&self) {
        self.takes_info.store(true, Ordering::Relaxed);
    }

    pub fn takes_info(&self) -> bool {
        self.takes_info.load(Ordering::Relaxed)
    }

    /// Tells the client about changes, if it understands that.
    pub fn send_info(&self, hub: &Hub) {
        if self.takes_info() {
            let mut info = hub.info_for(self, &self.nonce);
            info.max_payload = self.profile.lock().payload_bytes_max as i64;
            self.outbound.send_control(&info.line());
        }
    }

    /// Sends an error and ends the connection.
    pub fn refuse(&self, text: &str, reason: ClosedReason) {
        self.outbound.send_control(&error::line(text));
        self.outbound.close(reason);
    }

    /// Serves one alarm of the shared timers.
    pub fn on_alarm(&self, alarm: Alarm, hub: &Hub, now: Instant) {
        match alarm {
            Alarm::Authentication if now > self.started + hub.settings.load().auth_timeout + STANDSTILL => {
                hub.set_alarm(now + STANDSTILL, self, Alarm::LateAuthentication);
            }
            Alarm::Authentication | Alarm::LateAuthentication => {
                if !self.is_authenticated() && !self.connect_seen.load(Ordering::Relaxed) {
                    self.refuse(error::AUTHENTICATION_TIMEOUT, ClosedReason::AuthenticationTimeout);
                }
            }
            Alarm::Expiry => self.refuse(error::USER_EXPIRED, ClosedReason::AuthenticationExpired),
            Alarm::Ping => self.ping(hub),
            Alarm::WriteDeadline => self.check_write(hub, now),
        }
    }

    fn ping(&self, hub: &Hub) {
        let settings = hub.settings.load();
        let age = self.age();
        if age < self.ping_due.load(Ordering::Relaxed) {
            return;
        }
        let heard = Duration::from_nanos(age.saturating_sub(self.last_heard.load(Ordering::Relaxed)));
        let measured = Duration::from_nanos(age.saturating_sub(self.ping_sent.load(Ordering::Relaxed)));
        let never_measured = self.ping_sent.load(Ordering::Relaxed) == 0;
        if heard >= settings.ping_interval || never_measured || measured > RTT_INTERVAL {
            if self.pings_out.load(Ordering::Relaxed) + 1 > settings.pings_out_max {
                self.refuse(error::STALE, ClosedReason::StaleConnection);
                return;
            }
            self.pings_out.fetch_add(1, Ordering::Relaxed);
            self.ping_sent.store(age.max(1), Ordering::Relaxed);
            self.outbound.send_control(b"PING\r\n");
            if heard >= settings.ping_interval {
                self.rest.store(true, Ordering::Relaxed);
                self.outbound.wake_owner();
            }
        }
        self.schedule_ping(hub, settings.ping_interval);
    }

    fn check_write(&self, hub: &Hub, now: Instant) {
        let settings = hub.settings.load();
        let deadline = settings.write_deadline;
        match self.outbound.blocked_since() {
            None => {
                self.write_watched.store(false, Ordering::Relaxed);
                // It may have begun to wait again just before.
                if self.outbound.pending_bytes() > 0 {
                    self.watch_write(hub);
                }
            }
            Some(_) if self.outbound.is_overdue(now, deadline) => {
                if settings.retry_writes && self.outbound.extend_deadline() {
                    tracing::info!("{} - Slow Consumer: write deadline of {deadline:?} exceeded", self.label());
                    hub.count_slow_consumer(self);
                    hub.set_alarm(now + deadline, self, Alarm::WriteDeadline);
                    return;
                }
                self.outbound.close(ClosedReason::SlowConsumerWriteDeadline);
            }
            Some(since) => hub.set_alarm(since + deadline, self, Alarm::WriteDeadline),
        }
    }

    /// Nanoseconds since the connection was made.
    pub(super) fn age(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{GLOBAL, Transport};
    use crate::auth::{AuthSettings, Directory};
    use crate::connection::Settings;
    use crate::protocol::info::Info;

    #[test]
    fn who_could_not_be_read_in_time_to_log_in_is_read_first() {
        let directory = Directory::new(&AuthSettings::default()).unwrap();
        let hub = Hub::new(Settings::default(), directory, Info::default());
        let silent = || {
            let outbound = Arc::new(hub.outbound(hub.next_id(), Transport::Owner));
            let account = Arc::new(Account::new(GLOBAL));
            let peer = SocketAddr::from(([127, 0, 0, 1], 4222));
            Connection::new(outbound, peer, ClientKind::Nats, account, String::new(), 0, None)
        };
        let due = |connection: &Connection| connection.started + hub.settings.load().auth_timeout;
        let in_time = silent();
        in_time.on_alarm(Alarm::Authentication, &hub, due(&in_time));
        assert!(in_time.outbound.is_closed());
        let late = silent();
        late.on_alarm(Alarm::Authentication, &hub, due(&late) + Duration::from_secs(10));
        assert!(!late.outbound.is_closed(), "its CONNECT may be there");
        late.on_alarm(Alarm::LateAuthentication, &hub, due(&late) + Duration::from_secs(11));
        assert!(late.outbound.is_closed());
    }
}
