//! Consumers that come, change and go: proposed here, and until that is applied known to whoever asks next.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use headwater_storage::Urgency;
use prost::Message as _;

use super::answers::not_taken;
use super::{Core, Done};
use crate::jetstream::api::{ApiError, ConsumerConfig, error_codes, json};
use crate::jetstream::consumer::ConsumerState;
use crate::jetstream::consumer_table::CreateBody;
use crate::jetstream::names;
use crate::jetstream::stream::{ConsumerChange, Control, Outcome};
use crate::jetstream::workers::Job;
use crate::router::Publisher;

impl Core {
    /// Proposes a new consumer, whose start is decided here and now. Its name goes to `chosen` before `done` is called.
    pub fn create_consumer(
        &mut self,
        mut config: ConsumerConfig,
        publisher: &mut Publisher,
        chosen: &OnceLock<String>,
        done: Done,
    ) {
        let stored = if config.durable_name.is_empty() { &config.name } else { &config.durable_name };
        let mut name = stored.clone();
        while name.is_empty() || (stored.is_empty() && self.coming_id(&name).is_some()) {
            name = names::consumer();
        }
        // A name that the server makes up stands beside the configuration, not in it.
        if config.name.is_empty() && config.is_durable() {
            config.name.clone_from(&name);
        }
        let id = self.consumers.next_id().max(self.creating.values().map(|(id, _)| id + 1).max().unwrap_or(0));
        let state = ConsumerState::start(&config, &self.view());
        let mut encoded = Vec::new();
        state.encode(&mut encoded);
        let body = CreateBody {
            name: name.clone(),
            config: json::write(&config).into(),
            state: encoded.into(),
            created: 0,
            id: 0,
        };
        let _ = chosen.set(name.clone());
        self.creating.insert(name.clone(), (id, Arc::new(config)));
        let control = Control::Consumer { change: ConsumerChange::Create, id, body: body.encode_to_vec() };
        let done = Box::new(move |core: &mut Core, publisher: &mut Publisher, outcome: Result<Outcome, ApiError>| {
            core.created(id);
            done(core, publisher, outcome);
        });
        self.change(&control, publisher, done);
    }

    /// A consumer's creation is no longer under way. Its name may be that of one that is.
    pub(super) fn created(&mut self, id: u64) {
        self.creating.retain(|_, (creating, _)| *creating != id);
    }

    /// `bytes` is what the request takes while it waits.
    pub fn update_consumer(
        &mut self,
        name: &str,
        config: &ConsumerConfig,
        bytes: usize,
        publisher: &mut Publisher,
        done: Done,
    ) {
        let Some(id) = self.coming_id(name) else {
            return done(self, publisher, Err(error_codes::CONSUMER_DOES_NOT_EXIST.error()));
        };
        // Workers that make sure of their consumer whenever they start ask for what there is already.
        if self.coming_consumer_config(id).is_some_and(|coming| **coming == *config) {
            if let Some(error) = self.refused_to_wait() {
                return done(self, publisher, Err(error));
            }
            self.tell_paused(id, publisher);
            return self.when_applied(bytes, publisher, done);
        }
        self.with_consumer(id, publisher, |live, _, outputs| {
            if live.config.filters().ne(config.filters()) {
                live.consumer.filter_changes(outputs);
            }
        });
        if !self.unlogged.is_empty() {
            return done(self, publisher, Err(not_taken()));
        }
        let coming = Arc::new(config.clone());
        self.updating_consumers.push((id, coming.clone()));
        let done = Box::new(move |core: &mut Core, publisher: &mut Publisher, outcome: Result<Outcome, ApiError>| {
            core.updating_consumers.retain(|(_, other)| !Arc::ptr_eq(other, &coming));
            core.shared.queue(Job::deliver(core.log.id(), id));
            done(core, publisher, outcome);
        });
        let control = Control::Consumer { change: ConsumerChange::Update, id, body: json::write(config) };
        self.change(&control, publisher, done);
    }

    /// Its configuration is about to be another one: nothing is delivered by the old one any more.
    pub(super) fn is_updating(&self, id: u64) -> bool {
        self.updating_consumers.iter().any(|(updating, _)| *updating == id)
    }

    pub fn delete_consumer(&mut self, name: &str, publisher: &mut Publisher, done: Done) {
        let Some(id) = self.coming_id(name) else {
            return done(self, publisher, Err(error_codes::CONSUMER_NOT_FOUND.error()));
        };
        self.propose_end(id, Urgency::Wake, publisher, Some(done));
        self.follow_change(publisher);
    }

    pub(super) fn propose_end(&mut self, id: u64, urgency: Urgency, publisher: &mut Publisher, done: Option<Done>) {
        self.deleting.insert(id);
        let ended = Box::new(move |core: &mut Core, publisher: &mut Publisher, outcome: Result<Outcome, ApiError>| {
            core.deleting.remove(&id);
            if let Some(done) = done {
                done(core, publisher, outcome);
            }
        });
        let control = Control::Consumer { change: ConsumerChange::Delete, id, body: Vec::new() };
        self.propose(&control, urgency, publisher, Some(ended));
    }

    /// The consumer that has this name once what is on its way is applied.
    fn coming_id(&self, name: &str) -> Option<u64> {
        let is_kept = |id: &u64| !self.deleting.contains(id);
        // One that is being created has taken the name from one that is being deleted.
        let creating = self.creating.get(name).map(|(id, _)| *id).filter(is_kept);
        creating.or_else(|| self.consumers.id(name).filter(is_kept))
    }

    fn coming_consumer_config(&self, id: u64) -> Option<&Arc<ConsumerConfig>> {
        let updated = self.updating_consumers.iter().rev().find(|(updating, _)| *updating == id);
        let creating = || self.creating.values().find(|(creating, _)| *creating == id).map(|(_, config)| config);
        let known = || self.consumers.get(id).map(|record| &record.config);
        updated.map(|(_, config)| config).or_else(creating).or_else(known)
    }

    /// Every consumer as it is once what is on its way is applied, for checks.
    pub fn consumer_configs(&self) -> Vec<(String, Arc<ConsumerConfig>)> {
        let updated: BTreeMap<u64, &Arc<ConsumerConfig>> =
            self.updating_consumers.iter().map(|(id, config)| (*id, config)).collect();
        let known = self.consumers.by_name().map(|(name, id, record)| (name, id, &record.config));
        let creating = self.creating.iter().map(|(name, (id, config))| (name.as_str(), *id, config));
        let coming = known.chain(creating).filter(|(_, id, _)| !self.deleting.contains(id));
        let all: BTreeMap<&str, &Arc<ConsumerConfig>> =
            coming.map(|(name, id, config)| (name, updated.get(&id).copied().unwrap_or(config))).collect();
        all.into_iter().map(|(name, config)| (name.to_owned(), config.clone())).collect()
    }

    /// A consumer that is there, and whose end is not under way.
    pub fn id_of(&self, consumer: &str) -> Result<u64, ApiError> {
        let id = self.consumers.id(consumer).filter(|id| !self.deleting.contains(id));
        id.ok_or_else(|| error_codes::CONSUMER_NOT_FOUND.error())
    }
}
