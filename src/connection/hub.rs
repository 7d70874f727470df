//! What all connections share: settings, accounts, users, the register of connections and of those that ended.
//!
//! The server owns the hub and starts its tasks; monitoring reads it.

use super::connection::{Connection, Update};
use super::lane::Lanes;
use super::register::Register;
use super::settings::Settings;
use super::snapshot::ClosedConnection;
use super::timers::{Alarm, Timers};
use super::tls::TlsListener;
use crate::account::{Account, AccountLimits, ClientKind, EgressBudget, GLOBAL, Outbound, SYSTEM, Traffic, Transport};
use crate::auth::Directory;
use crate::protocol::error::{self, ClosedReason};
use crate::protocol::info::Info;
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::time::Instant;
use tokio::sync::Semaphore;

pub struct Hub {
    pub settings: ArcSwap<Settings>,
    pub directory: ArcSwap<Directory>,
    pub tls: ArcSwapOption<TlsListener>,
    /// INFO without what belongs to one connection.
    pub info: ArcSwap<Info>,
    pub register: Register,
    pub timers: Timers,
    pub counters: HubCounters,
    accounts: RwLock<BTreeMap<String, Arc<Account>>>,
    /// Those that the configuration does not have, or no more: streams may be theirs, and what they counted stays.
    absent: Mutex<BTreeMap<String, Arc<Account>>>,
    global: Arc<Account>,
    system: RwLock<Arc<Account>>,
    closed: Mutex<VecDeque<ClosedConnection>>,
    next_id: AtomicU64,
    /// bcrypt checks at a time: a flood of logins must not take all cores.
    pub hashing: Arc<Semaphore>,
    /// Threads for those that flood.
    pub lanes: Arc<Lanes>,
    /// What waits for all connections together.
    pub egress: Arc<EgressBudget>,
    handshakes: AtomicUsize,
    stopping: AtomicBool,
    observer: ArcSwapOption<Observers>,
}

/// Told about clients that come and go, for `$SYS` events. Called on the connection's task; must not block.
pub trait ConnectionObserver: Send + Sync {
    fn connected(&self, connection: &Arc<Connection>);
    fn disconnected(&self, connection: &Arc<Connection>, reason: ClosedReason);
    fn refused(&self, connection: &Arc<Connection>, reason: ClosedReason);
}

/// A TLS handshake under way.
pub struct Handshake<'a> {
    hub: &'a Hub,
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        self.hub.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A quarter of the machine's memory may wait for slow clients.
fn egress_bytes_max() -> usize {
    const FALLBACK: usize = 1 << 30;
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    kibibytes.map_or(FALLBACK, |kibibytes: usize| kibibytes.saturating_mul(1024) / 4).max(256 << 20)
}

/// Ends a connection whose login is no longer good, and tells others of their new permissions.
fn recheck(connection: &Connection, old: &Directory, new: &Directory) {
    let user = connection.user();
    match new.recheck(old, &user, Hub::connection_type(connection.kind()), connection.certificate()) {
        Some(grant) if grant.account == connection.account().name() => {
            connection.post(Update { permissions: grant.permissions });
        }
        Some(_) => connection.outbound.close(ClosedReason::ClientClosed),
        None if new.has_lost(old, &user) => connection.outbound.close(ClosedReason::ClientClosed),
        None => connection.refuse(error::AUTHORIZATION, ClosedReason::AuthenticationViolation),
    }
}

struct Observers(Arc<dyn ConnectionObserver>);

/// Counters of the whole server that no account has.
#[derive(Default)]
pub struct HubCounters {
    pub connections_total: AtomicU64,
    pub slow_consumers: AtomicU64,
    pub stale_connections: AtomicU64,
    /// How often a publisher had to wait for a subscriber.
    pub stalls: AtomicU64,
}

impl Hub {
    pub fn new(settings: Settings, directory: Directory, info: Info) -> Hub {
        let global = Arc::new(Account::new(GLOBAL));
        let system = Arc::new(Account::new(SYSTEM));
        let accounts = [&global, &system].map(|account| (account.name().to_string(), Arc::clone(account)));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Hub {
            settings: ArcSwap::from_pointee(settings),
            directory: ArcSwap::from_pointee(directory),
            tls: ArcSwapOption::empty(),
            info: ArcSwap::from_pointee(info),
            register: Register::default(),
            timers: Timers::default(),
            counters: HubCounters::default(),
            accounts: RwLock::new(accounts.into()),
            absent: Mutex::default(),
            global,
            system: RwLock::new(system),
            closed: Mutex::default(),
            next_id: AtomicU64::new(1),
            hashing: Arc::new(Semaphore::new((cores / 2).max(1))),
            lanes: Arc::new(Lanes::new(cores)),
            egress: Arc::new(EgressBudget::new(egress_bytes_max())),
            handshakes: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            observer: ArcSwapOption::empty(),
        }
    }

    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub fn outbound(&self, id: u64, transport: Transport) -> Outbound {
        Outbound::new(id, transport, self.settings.load().pending_bytes_max, Arc::clone(&self.egress))
    }

    /// Counts a TLS handshake, unless there are as many connections and handshakes as there may be.
    pub fn begin_handshake(&self) -> Option<Handshake<'_>> {
        let limit = self.settings.load().connections_max;
        let handshakes = self.handshakes.fetch_add(1, Ordering::Relaxed);
        let handshake = Handshake { hub: self };
        (self.register.len() + handshakes < limit).then_some(handshake)
    }

    /// The account of clients that have none of their own.
    pub fn global_account(&self) -> Arc<Account> {
        Arc::clone(&self.global)
    }

    pub fn system_account(&self) -> Arc<Account> {
        Arc::clone(&self.system.read())
    }

    /// Names another account as the system account.
    pub fn set_system_account(&self, name: &str) {
        *self.system.write() = self.ensure_account(name);
    }

    pub fn account(&self, name: &str) -> Option<Arc<Account>> {
        self.accounts.read().get(name).cloned()
    }

    /// The account of this name, made if need be.
    pub fn ensure_account(&self, name: &str) -> Arc<Account> {
        let mut accounts = self.accounts.write();
        let made = || self.absent.lock().remove(name).unwrap_or_else(|| Arc::new(Account::new(name)));
        Arc::clone(accounts.entry(name.to_string()).or_insert_with(made))
    }

    /// The account of this name, whether the configuration has it or not: as soon as it does, it is this one.
    pub fn account_to_come(&self, name: &str) -> Arc<Account> {
        let accounts = self.accounts.write();
        let known = accounts.get(name).cloned();
        let absent =
            || Arc::clone(self.absent.lock().entry(name.into()).or_insert_with(|| Arc::new(Account::new(name))));
        known.unwrap_or_else(absent)
    }

    /// The configuration has no other accounts any more than those that are wanted and the server's own.
    pub fn retain_accounts(&self, wanted: &HashSet<&str>) {
        let system = self.system_account();
        let is_own = |account: &Arc<Account>| Arc::ptr_eq(account, &self.global) || Arc::ptr_eq(account, &system);
        let mut accounts = self.accounts.write();
        let mut absent = self.absent.lock();
        accounts.retain(|name, account| {
            let stays = wanted.contains(name.as_str()) || is_own(account);
            if !stays {
                absent.insert(name.clone(), Arc::clone(account));
            }
            stays
        });
    }

    pub fn set_account_limits(&self, name: &str, limits: AccountLimits) {
        self.ensure_account(name).set_limits(limits);
    }

    pub fn accounts(&self) -> Vec<Arc<Account>> {
        self.accounts.read().values().cloned().collect()
    }

    /// Messages and bytes of all accounts since the start.
    pub fn traffic(&self) -> Traffic {
        let absent: Vec<_> = self.absent.lock().values().cloned().collect();
        self.accounts().iter().chain(&absent).map(|account| account.counters.read()).fold(
            Traffic::default(),
            |sum, one| Traffic {
                messages_in: sum.messages_in + one.messages_in,
                bytes_in: sum.bytes_in + one.bytes_in,
                messages_out: sum.messages_out + one.messages_out,
                bytes_out: sum.bytes_out + one.bytes_out,
            },
        )
    }

    /// Subscriptions of all accounts.
    pub fn subscriptions(&self) -> usize {
        self.accounts.read().values().map(|account| account.interest.len()).sum()
    }

    pub fn set_observer(&self, observer: Arc<dyn ConnectionObserver>) {
        self.observer.store(Some(Arc::new(Observers(observer))));
    }

    pub fn observer(&self) -> Option<Arc<dyn ConnectionObserver>> {
        self.observer.load().as_ref().map(|observers| Arc::clone(&observers.0))
    }

    /// The INFO line for one connection before it said who it is.
    pub fn info_for(&self, connection: &Connection, nonce: &str) -> Info {
        let mut info = Info::clone(&self.info.load());
        info.client_id = connection.id();
        info.client_ip = connection.host();
        info.nonce = nonce.to_string();
        let settings = self.settings.load();
        info.max_payload = settings.payload_bytes_max as i64;
        if self.tls.load().is_some() {
            info.tls_required = !settings.allow_plain;
            info.tls_available = settings.allow_plain;
        }
        info
    }

    /// Changes the common part of INFO, and tells the clients that understand it (C-33).
    pub fn update_info(&self, change: impl Fn(&mut Info)) {
        let before = self.info.rcu(|info| {
            let mut info = Info::clone(info);
            change(&mut info);
            info
        });
        // Each connection tells of its own largest payload, once it has taken over the new limits.
        let after = Info::clone(&self.info.load());
        if *before == (Info { max_payload: before.max_payload, ..after }) {
            return;
        }
        for connection in self.register.all() {
            connection.send_info(self);
        }
    }

    /// Takes over new users, limits and settings (12.4). Connections whose login is no longer good end; the others
    /// learn their new permissions. Who has moved or is gone ends without an error, as with nats-server: a client library
    /// then connects again instead of giving up, and learns there what holds.
    pub fn reload(&self, settings: Settings, directory: Directory) {
        let connections_max = settings.connections_max;
        self.settings.store(Arc::new(settings));
        let old = self.directory.swap(Arc::new(directory));
        let new = self.directory.load();
        for connection in self.register.all() {
            // Who is about to log in looks for itself.
            if connection.is_authenticated() {
                recheck(&connection, &old, &new);
            }
        }
        self.shrink_to(connections_max);
        self.shrink_accounts();
    }

    /// To be called when a connection has been marked as logged in: a reload since then has not seen it as such, and
    /// `directory`, by which the login was decided, is not the one that holds.
    pub fn confirm_login(&self, connection: &Connection, directory: &Arc<Directory>) {
        fence(Ordering::SeqCst);
        let now = self.directory.load();
        if !Arc::ptr_eq(&now, directory) {
            recheck(connection, directory, &now);
        }
    }

    /// Takes over new certificates. Open connections stay, unless their key is no longer pinned.
    pub fn reload_tls(&self, tls: Option<TlsListener>) {
        if let Some(tls) = &tls {
            for connection in self.register.all() {
                if connection.tls.as_ref().is_some_and(|info| !tls.allows(info)) {
                    connection.outbound.close(ClosedReason::TlsHandshake);
                }
            }
        }
        self.tls.store(tls.map(Arc::new));
    }

    /// Ends connections, no matter which, until there are no more than allowed (C-27).
    fn shrink_to(&self, connections_max: usize) {
        let excess = self.register.len().saturating_sub(connections_max);
        for connection in self.register.all().into_iter().rev().take(excess) {
            connection.refuse(error::MAX_CONNECTIONS, ClosedReason::MaxConnections);
        }
    }

    /// The same within each account.
    fn shrink_accounts(&self) {
        let mut connections: BTreeMap<String, usize> = BTreeMap::new();
        for connection in self.register.all() {
            let account = connection.account();
            let Some(connections_max) = account.limits().connections_max else { continue };
            let counted = connections.entry(account.name().to_owned()).or_default();
            *counted += 1;
            if *counted > connections_max {
                connection.refuse(error::MAX_ACCOUNT_CONNECTIONS, ClosedReason::MaxAccountConnections);
            }
        }
    }

    /// Closes every connection for this reason.
    pub fn close_all(&self, reason: ClosedReason) {
        for connection in self.register.all() {
            connection.outbound.close(reason);
        }
    }

    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.close_all(ClosedReason::ServerShutdown);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// The connections that ended last, oldest first.
    pub fn closed_connections(&self) -> Vec<ClosedConnection> {
        self.closed.lock().iter().cloned().collect()
    }

    /// Removes a connection and remembers how it ended.
    pub fn forget(&self, connection: &Arc<Connection>, closed: ClosedConnection) {
        let reason = closed.reason;
        self.register.remove(connection.id());
        self.count_end(connection, reason);
        self.remember(closed);
        if let Some(observer) = self.observer() {
            observer.disconnected(connection, reason);
        }
    }

    /// Puts a connection among those that ended.
    pub fn remember(&self, closed: ClosedConnection) {
        let limit = self.settings.load().closed_connections_max;
        let mut ring = self.closed.lock();
        while ring.len() >= limit.max(1) {
            ring.pop_front();
        }
        if limit > 0 {
            ring.push_back(closed);
        }
    }

    pub(super) fn count_slow_consumer(&self, connection: &Connection) {
        self.counters.slow_consumers.fetch_add(1, Ordering::Relaxed);
        connection.account().count_slow_consumer();
    }

    fn count_end(&self, connection: &Connection, reason: ClosedReason) {
        match reason {
            ClosedReason::SlowConsumerPendingBytes | ClosedReason::SlowConsumerWriteDeadline => {
                tracing::info!("{} - Slow Consumer Detected: {reason}", connection.label());
                self.count_slow_consumer(connection);
            }
            ClosedReason::StaleConnection => {
                self.counters.stale_connections.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Serves the alarms of all connections until the server ends.
    pub async fn run_timers(self: Arc<Self>) {
        loop {
            for (id, alarm) in self.timers.due().await {
                if let Some(connection) = self.register.get(id) {
                    connection.on_alarm(alarm, &self, Instant::now());
                }
            }
        }
    }

    /// The transport kind that users may be restricted to.
    pub fn connection_type(kind: ClientKind) -> crate::auth::ConnectionType {
        match kind {
            ClientKind::Nats => crate::auth::ConnectionType::Standard,
            ClientKind::WebSocket => crate::auth::ConnectionType::WebSocket,
            ClientKind::Mqtt => crate::auth::ConnectionType::Mqtt,
        }
    }

    /// Sets an alarm for a connection.
    pub fn set_alarm(&self, at: Instant, connection: &Connection, alarm: Alarm) {
        self.timers.set(at, connection.id(), alarm);
    }
}
