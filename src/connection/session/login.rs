//! CONNECT: options, authentication, and entering an account.

use super::{Decision, Flow, Pending, Session};
use crate::account::{Permissions, ReplyTracker};
use crate::auth::{Directory, Grant, Outcome, Request, verify_bcrypt};
use crate::connection::hub::Hub;
use crate::connection::settings::Settings;
use crate::protocol::connect::{ConnectOptions, Secret};
use crate::protocol::error::{self, ClosedReason};
use crate::router::{Burst, Rights};
use std::sync::Arc;

impl Session {
    /// Before the login: whatever is not CONNECT is a violation, unless there is a user for those who say nothing.
    pub(super) fn before_login(&mut self, first: u8, burst: &mut Burst) -> Option<Flow> {
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

    pub(super) fn connect(&mut self, json: &[u8], burst: &mut Burst) -> Flow {
        let before = self.connection.with_options(ConnectOptions::clone);
        let mut options = before.clone();
        if options.merge(json).is_err() {
            return Flow::Close(ClosedReason::ProtocolViolation);
        }
        let stays = self.connect_seen && self.connection.is_authenticated() && options.is_same_login(&before);
        if self.connect_seen {
            // The next account must not inherit what was subscribed in this one.
            self.drop_subscriptions();
        }
        self.connect_seen = true;
        self.connection.note_connect();
        self.connection.set_options(options);
        if stays { self.stay(burst) } else { self.log_in(burst) }
    }

    /// Another CONNECT of the same user: what it logged in with holds, and is not kept.
    fn stay(&mut self, burst: &mut Burst) -> Flow {
        let directory = self.hub.directory.load_full();
        let kind = Hub::connection_type(self.connection.kind());
        let certificate = self.connection.certificate();
        match directory.recheck(&directory, &self.connection.user(), kind, certificate) {
            Some(grant) => self.admit(grant, &directory, burst),
            None => self.deny(ClosedReason::AuthenticationViolation, burst),
        }
    }

    /// Lets the directory decide on the options of the last CONNECT.
    fn log_in(&mut self, burst: &mut Burst) -> Flow {
        let options = self.connection.with_options(ConnectOptions::clone);
        let request = Request {
            options: &options,
            nonce: self.connection.nonce.as_bytes(),
            connection_type: Hub::connection_type(self.connection.kind()),
            certificate: self.connection.certificate(),
        };
        let directory = self.hub.directory.load_full();
        match directory.check(&request) {
            Outcome::Granted(grant) => self.admit(grant, &directory, burst),
            Outcome::Denied(reason) => self.deny(reason, burst),
            Outcome::Bcrypt { hash, given, grant } => {
                Flow::Authenticate(self.check_hash(directory, hash, given, grant))
            }
        }
    }

    /// bcrypt is slow on purpose: it runs on the blocking pool, a few at a time.
    fn check_hash(&self, directory: Arc<Directory>, hash: Secret, given: Secret, grant: Grant) -> Pending {
        let hashing = Arc::clone(&self.hub.hashing);
        Box::pin(async move {
            let permit = hashing.acquire_owned().await;
            let matches = tokio::task::spawn_blocking(move || verify_bcrypt(&hash, &given)).await;
            drop(permit);
            Decision { directory, granted: matches.unwrap_or(false).then_some(grant) }
        })
    }

    /// The outcome of a check that took its time.
    pub fn authenticated(&mut self, decision: Decision, burst: &mut Burst) -> Flow {
        if !Arc::ptr_eq(&decision.directory, &self.hub.directory.load()) {
            // A reload came meanwhile: the password may be another, and the user gone.
            return self.log_in(burst);
        }
        match decision.granted {
            Some(grant) => self.admit(grant, &decision.directory, burst),
            None => self.deny(ClosedReason::AuthenticationViolation, burst),
        }
    }

    fn deny(&self, reason: ClosedReason, burst: &mut Burst) -> Flow {
        let user = self.connection.with_options(ConnectOptions::failed_login);
        tracing::error!("{} - authentication error{user}", self.connection.label());
        if let Some(observer) = self.hub.observer() {
            observer.refused(&self.connection, reason);
        }
        self.refuse(burst, error::AUTHORIZATION, reason)
    }

    fn admit(&mut self, grant: Grant, directory: &Arc<Directory>, burst: &mut Burst) -> Flow {
        let account = self.hub.ensure_account(&grant.account);
        self.account.dismiss();
        if account.admit().is_err() {
            // It is counted in the account that it stays in until it ends.
            self.account.enter();
            self.log_error(format_args!("{}", error::MAX_ACCOUNT_CONNECTIONS));
            return self.refuse(burst, error::MAX_ACCOUNT_CONNECTIONS, ClosedReason::MaxAccountConnections);
        }
        if !Arc::ptr_eq(&self.account, &account) {
            // Nobody would look for them in the old account any more.
            self.drop_subscriptions();
        }
        self.account = account;
        self.cache = None;
        self.apply(grant);
        self.hub.confirm_login(&self.connection, directory);
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
        self.connection.schedule_ping(&self.hub, self.connection.first_ping(settings.ping_interval));
    }

    /// The narrower of the server's and the account's limits.
    pub(super) fn apply_limits(&mut self, settings: &Settings) {
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
