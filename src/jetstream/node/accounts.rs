//! Which accounts are served, and what the others are told.

use std::collections::HashSet;
use std::sync::Arc;

use super::Node;
use crate::account::Account;
use crate::jetstream::account::{Access, JetStreamAccount};
use crate::jetstream::api::account_info::AccountLimits;
use crate::jetstream::api::validate::AccountTiers;
use crate::jetstream::ingest::{Acks, FlowControl};
use crate::jetstream::replica::Replica;
use crate::jetstream::service::{self, ApiService};

impl Node {
    /// Serves these accounts and no others; those that are served already get their limits. Streams of the others are
    /// kept, and served again with their account.
    pub fn set_accounts(self: &Arc<Self>, enabled: Vec<(Arc<Account>, Option<AccountLimits>)>) {
        let stay: HashSet<&str> = enabled.iter().map(|(account, _)| account.name()).collect();
        for known in self.accounts() {
            if !stay.contains(known.name()) {
                self.disable_account(known.name());
            }
        }
        for (account, limits) in enabled {
            self.enable_account(account, limits);
        }
    }

    /// Serves an account: its API, its acknowledgements, and the streams it has already.
    pub fn enable_account(self: &Arc<Self>, account: Arc<Account>, limits: Option<AccountLimits>) {
        let tiers = AccountTiers { flat: Some(limits.unwrap_or_default()), ..AccountTiers::default() };
        if let Some(known) = self.account(account.name()) {
            known.set_tiers(tiers);
            return;
        }
        if let Some(refused) = self.refused.lock().remove(account.name()) {
            refused.leave();
        }
        let retired = self.retired.lock().remove(account.name());
        let jetstream = match retired {
            Some(retired) => {
                retired.set_tiers(tiers);
                retired
            }
            None => {
                let usage = self.usages.lock().remove(account.name()).unwrap_or_default();
                Arc::new(JetStreamAccount::new(account.clone(), tiers, usage))
            }
        };
        for stream in self.held_back.lock().extract_if(.., |stream| stream.account == account.name()) {
            jetstream.hold_back(stream);
        }
        self.accounts.write().insert(account.name().to_owned(), jetstream.clone());
        self.serve_api(&jetstream);
        jetstream.hold([
            account.subscribe_internal(b"$JS.ACK.>", None, Arc::new(Acks(jetstream.clone()))),
            account.subscribe_internal(b"$JS.FC.>", None, Arc::new(FlowControl(jetstream.clone()))),
        ]);
        let is_own = |stray: &mut Arc<Replica>| stray.account().name() == account.name();
        let own: Vec<Arc<Replica>> = self.strays.lock().extract_if(.., is_own).collect();
        for replica in own {
            replica.resume();
            self.serve(&replica);
        }
    }

    /// The account is served no longer. Its streams are kept.
    fn disable_account(self: &Arc<Self>, name: &str) {
        let streams = {
            // No stream is made or removed meanwhile.
            let _meta = self.meta.lock();
            let Some(jetstream) = self.accounts.write().remove(name) else { return };
            jetstream.leave();
            let streams = jetstream.take_streams();
            self.strays.lock().extend(streams.iter().cloned());
            self.retired.lock().insert(name.to_owned(), jetstream);
            streams
        };
        // Not under the lock: what is told may be a request.
        for stream in &streams {
            stream.suspend();
        }
        tracing::info!(
            account = name,
            streams = streams.len(),
            "JetStream is off for an account: its streams are kept"
        );
    }

    /// Answers the API requests of an account without JetStream, so that its clients learn why; nothing happens when it
    /// has JetStream or is answered already.
    pub fn refuse_account(self: &Arc<Self>, account: &Arc<Account>, is_system: bool) {
        let mut refused = self.refused.lock();
        if self.account(account.name()).is_some() || refused.contains_key(account.name()) {
            return;
        }
        let access = if is_system { Access::System } else { Access::Disabled };
        let jetstream = Arc::new(JetStreamAccount::refused(account.clone(), access));
        self.serve_api(&jetstream);
        refused.insert(account.name().to_owned(), jetstream);
    }

    /// All services end, also those that only refuse: another node may take their place.
    pub fn leave(&self) {
        for jetstream in self.accounts() {
            jetstream.leave();
        }
        self.shared.gates.open_all();
        for refused in std::mem::take(&mut *self.refused.lock()).into_values() {
            refused.leave();
        }
    }

    /// On its own prefix and on that of the domain.
    fn serve_api(self: &Arc<Self>, jetstream: &Arc<JetStreamAccount>) {
        let mut prefixes = vec![service::PREFIX.to_owned()];
        prefixes.extend(self.domain().map(|domain| format!("$JS.{domain}.API.")));
        jetstream.hold(prefixes.into_iter().map(|prefix| {
            let filter = format!("{prefix}>");
            let api = ApiService { node: self.clone(), account: jetstream.clone(), prefix };
            jetstream.account().subscribe_internal(filter.as_bytes(), None, Arc::new(api))
        }));
    }

    /// One that has JetStream.
    pub fn account(&self, name: &str) -> Option<Arc<JetStreamAccount>> {
        self.accounts.read().get(name).cloned()
    }

    /// One that has JetStream, or had it a moment ago.
    pub(super) fn account_of_stream(&self, name: &str) -> Option<Arc<JetStreamAccount>> {
        self.account(name).or_else(|| self.retired.lock().get(name).cloned())
    }

    /// Those that have JetStream, in the order of their names.
    pub fn accounts(&self) -> Vec<Arc<JetStreamAccount>> {
        let mut accounts: Vec<_> = self.accounts.read().values().cloned().collect();
        accounts.sort_by(|left, right| left.name().cmp(right.name()));
        accounts
    }
}
