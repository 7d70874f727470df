//! Which accounts are served, and what the others are told.

use std::sync::Arc;

use super::Node;
use crate::account::{Account, InternalSubscriptionId};
use crate::jetstream::account::{Access, JetStreamAccount};
use crate::jetstream::api::account_info::AccountLimits;
use crate::jetstream::api::validate::AccountTiers;
use crate::jetstream::ingest::{Acks, FlowControl};
use crate::jetstream::service::{self, ApiService};
use crate::jetstream::usage::Usage;

impl Node {
    /// Serves an account: its API, its acknowledgements, and the streams it has already.
    pub fn enable_account(
        self: &Arc<Self>,
        account: Arc<Account>,
        limits: Option<AccountLimits>,
        usage: Option<Arc<Usage>>,
    ) {
        let tiers = AccountTiers { flat: Some(limits.unwrap_or_default()), ..AccountTiers::default() };
        if let Some(known) = self.account(account.name()) {
            known.set_tiers(tiers);
            return;
        }
        for id in self.refused.lock().remove(account.name()).unwrap_or_default() {
            account.unsubscribe_internal(id);
        }
        let jetstream = Arc::new(JetStreamAccount::new(account.clone(), tiers, usage.unwrap_or_default()));
        self.accounts.write().insert(account.name().to_owned(), jetstream.clone());
        self.serve_api(&jetstream);
        account.subscribe_internal(b"$JS.ACK.>", None, Arc::new(Acks(jetstream.clone())));
        account.subscribe_internal(b"$JS.FC.>", None, Arc::new(FlowControl(jetstream)));
        let strays = std::mem::take(&mut *self.strays.lock());
        for replica in strays {
            self.serve(&replica);
        }
    }

    /// Answers the API requests of an account without JetStream, so that its clients learn why; nothing happens when it
    /// has JetStream or is answered already.
    pub fn refuse_account(self: &Arc<Self>, account: &Arc<Account>, is_system: bool) {
        let mut refused = self.refused.lock();
        if self.account(account.name()).is_some() || refused.contains_key(account.name()) {
            return;
        }
        let access = if is_system { Access::System } else { Access::Disabled };
        let ids = self.serve_api(&Arc::new(JetStreamAccount::refused(account.clone(), access)));
        refused.insert(account.name().to_owned(), ids);
    }

    /// On its own prefix and on that of the domain.
    fn serve_api(self: &Arc<Self>, jetstream: &Arc<JetStreamAccount>) -> Vec<InternalSubscriptionId> {
        let mut prefixes = vec![service::PREFIX.to_owned()];
        prefixes.extend(self.domain().map(|domain| format!("$JS.{domain}.API.")));
        let subscribe = |prefix: String| {
            let api = ApiService { node: self.clone(), account: jetstream.clone(), prefix_bytes: prefix.len() };
            jetstream.account().subscribe_internal(format!("{prefix}>").as_bytes(), None, Arc::new(api))
        };
        prefixes.into_iter().map(subscribe).collect()
    }

    /// One that has JetStream.
    pub fn account(&self, name: &str) -> Option<Arc<JetStreamAccount>> {
        self.accounts.read().get(name).cloned()
    }

    /// Those that have JetStream, in the order of their names.
    pub fn accounts(&self) -> Vec<Arc<JetStreamAccount>> {
        let mut accounts: Vec<_> = self.accounts.read().values().cloned().collect();
        accounts.sort_by(|left, right| left.name().cmp(right.name()));
        accounts
    }
}
