//! `CONSUMER.*`: create, names, list, info, delete, pause, reset, unpin and the next-message request (J-14 to J-23).

use std::sync::Arc;

use super::Request;
use crate::jetstream::api::requests::{
    self, ConsumersRequest, CreateConsumerRequest, PauseRequest, ResetRequest, UnpinRequest,
};
use crate::jetstream::api::responses::{
    ConsumerCreated, ConsumerDeleted, ConsumerInfoReply, ConsumerList, ConsumerNames, ConsumerPaused, ConsumerReset,
    ConsumerUnpinned, LIST_LIMIT, NAMES_LIMIT, Paging,
};
use crate::jetstream::api::validate::{self, ConsumerCreate, ConsumerName, OtherConsumer};
use crate::jetstream::api::{ApiError, error_codes};
use crate::jetstream::core::Core;
use crate::jetstream::replica::Replica;
use crate::router::Publisher;

impl Request<'_> {
    /// HOT PATH: a pull request has no JSON answer; messages and statuses go straight to its reply (L-01).
    pub(super) fn next_message(&self, stream: &str, consumer: &str) {
        let Some(reply) = self.reply else { return };
        match self.account.find(stream) {
            Some(stream) if stream.pull(consumer, reply, self.body, self.check_level().is_ok()) => {}
            _ => self.no_responders(),
        }
    }

    pub(super) fn consumer_create(&self) {
        if let Err(error) = self.try_consumer_create() {
            self.refuse::<ConsumerCreated>(error);
        }
    }

    fn try_consumer_create(&self) -> Result<(), ApiError> {
        let request: CreateConsumerRequest = requests::read(self.body, self.is_strict())?;
        self.admit()?;
        let filter;
        let (stream_name, name) = match self.tokens {
            ["CONSUMER", "CREATE", stream] => (*stream, ConsumerName::Absent),
            ["CONSUMER", "DURABLE", "CREATE", stream, name] => (*stream, ConsumerName::Durable(name)),
            ["CONSUMER", "CREATE", stream, name, rest @ ..] => {
                filter = rest.join(".");
                (*stream, ConsumerName::Named { name, filter: &filter })
            }
            _ => return Ok(()),
        };
        if request.stream_name != stream_name {
            return Err(error_codes::STREAM_MISMATCH.error());
        }
        if let Some(held_back) = self.account.find_held_back(stream_name) {
            return Err(held_back.error());
        }
        let stream = self.account.find(stream_name);
        let Some(stream) = stream else {
            // The request's own faults come before the missing stream, so the check runs without one.
            return match self.check_consumer(name, request, None) {
                Err(error) => Err(error),
                Ok(_) => Err(error_codes::STREAM_NOT_FOUND.error()),
            };
        };
        let creating = stream.create_lock();
        let checked = self.check_consumer(name, request, Some(&stream))?;
        let answer = self.answer();
        let done = move |core: &mut Core, publisher: &mut Publisher, outcome: Result<String, ApiError>| {
            // What ended it meanwhile was asked for later, and has its own answer.
            let reply = outcome.and_then(|name| {
                let info = core.consumer_info(&name, publisher);
                info.map(|info| ConsumerCreated(Some(info))).ok_or_else(|| error_codes::CONSUMER_DOES_NOT_EXIST.error())
            });
            answer.send_on(publisher, reply);
        };
        let replies = match checked {
            ConsumerCreate::New(config) => stream.create_consumer(*config, done),
            ConsumerCreate::Update { name, config } => {
                stream.update_consumer(name, *config, self.waiting_bytes(), done)
            }
        };
        // A reply may reach this service again.
        drop(creating);
        drop(replies);
        Ok(())
    }

    fn check_consumer(
        &self,
        name: ConsumerName<'_>,
        request: CreateConsumerRequest,
        stream: Option<&Arc<Replica>>,
    ) -> Result<ConsumerCreate, ApiError> {
        let others = stream.map(|stream| stream.consumer_configs()).unwrap_or_default();
        let others: Vec<OtherConsumer<'_>> =
            others.iter().map(|(name, config)| OtherConsumer { name, config }).collect();
        let config = stream.map(|stream| stream.config());
        let interest = |subject: &str| self.account.account().has_interest(subject.as_bytes());
        self.account.with_limits(self.node, |environment| {
            validate::check_consumer(name, request, config.as_deref(), &others, environment, &interest)
        })
    }

    pub(super) fn consumer_names(&self, stream: &str) {
        self.respond(self.consumer_names_reply(stream));
    }

    fn consumer_names_reply(&self, stream: &str) -> Result<ConsumerNames, ApiError> {
        self.admit()?;
        let request: ConsumersRequest = requests::read_optional(self.body, self.is_strict())?;
        let names: Vec<String> = self.stream(stream)?.consumer_configs().into_iter().map(|(name, _)| name).collect();
        let (paging, range) = Paging::of(names.len(), request.offset, NAMES_LIMIT);
        Ok(ConsumerNames { paging, consumers: names[range].to_vec() })
    }

    pub(super) fn consumer_list(&self, stream: &str) {
        self.respond(self.consumer_list_reply(stream));
    }

    fn consumer_list_reply(&self, stream: &str) -> Result<ConsumerList, ApiError> {
        self.admit()?;
        let request: ConsumersRequest = requests::read_optional(self.body, self.is_strict())?;
        let stream = self.stream(stream)?;
        let names: Vec<String> = stream.consumer_configs().into_iter().map(|(name, _)| name).collect();
        let (paging, range) = Paging::of(names.len(), request.offset, LIST_LIMIT);
        let info = |name: &String| {
            let mut info = stream.consumer_info(name)?;
            info.config.iter_mut().for_each(|config| validate::remove_dynamic(&mut config.metadata));
            Some(info)
        };
        let consumers = names[range].iter().filter_map(info).collect();
        Ok(ConsumerList { paging, consumers, ..ConsumerList::default() })
    }

    pub(super) fn consumer_info(&self, stream: &str, consumer: &str) {
        self.respond(self.consumer_info_reply(stream, consumer));
    }

    fn consumer_info_reply(&self, stream: &str, consumer: &str) -> Result<ConsumerInfoReply, ApiError> {
        if !requests::is_empty(self.body) {
            return Err(error_codes::NOT_EMPTY_REQUEST.error());
        }
        self.admit()?;
        let info = self.stream(stream)?.consumer_info(consumer);
        Ok(ConsumerInfoReply(Some(info.ok_or_else(|| error_codes::CONSUMER_NOT_FOUND.error())?)))
    }

    pub(super) fn consumer_delete(&self, stream: &str, consumer: &str) {
        if let Err(error) = self.try_consumer_delete(stream, consumer) {
            self.refuse::<ConsumerDeleted>(error);
        }
    }

    fn try_consumer_delete(&self, stream: &str, consumer: &str) -> Result<(), ApiError> {
        self.admit()?;
        if !requests::is_empty(self.body) {
            return Err(error_codes::NOT_EMPTY_REQUEST.error());
        }
        let stream = self.stream(stream)?;
        let answer = self.answer();
        stream.delete_consumer(consumer, move |_, publisher, outcome| {
            answer.send_on(publisher, outcome.map(|_| ConsumerDeleted::SUCCESS));
        });
        Ok(())
    }

    pub(super) fn consumer_pause(&self, stream: &str, consumer: &str) {
        if let Err(error) = self.try_consumer_pause(stream, consumer) {
            self.refuse::<ConsumerPaused>(error);
        }
    }

    fn try_consumer_pause(&self, stream: &str, consumer: &str) -> Result<(), ApiError> {
        let request: PauseRequest = requests::read_optional(self.body, self.is_strict())?;
        self.admit()?;
        let stream = self.stream(stream)?;
        let answer = self.answer();
        stream.pause_consumer(consumer, request.pause_until, self.waiting_bytes(), move |_, publisher, outcome| {
            answer.send_on(publisher, outcome)
        });
        Ok(())
    }

    pub(super) fn consumer_reset(&self, stream: &str, consumer: &str) {
        if let Err(error) = self.try_consumer_reset(stream, consumer) {
            self.unnoticed_answer().send::<ConsumerReset>(Err(error));
        }
    }

    fn try_consumer_reset(&self, stream: &str, consumer: &str) -> Result<(), ApiError> {
        // Each consumer has this subject to itself: without the consumer nobody answers.
        let Some(stream) = self.account.find(stream).filter(|stream| stream.has_consumer(consumer)) else {
            return Ok(());
        };
        self.admit()?;
        let request: ResetRequest = match self.body {
            [] => ResetRequest::default(),
            body => requests::read(body, false)?,
        };
        let answer = self.unnoticed_answer();
        stream.reset_consumer(consumer, request.seq, self.waiting_bytes(), move |_, publisher, outcome| {
            answer.send_on(publisher, outcome)
        });
        Ok(())
    }

    pub(super) fn consumer_unpin(&self, stream: &str, consumer: &str) {
        self.respond(self.consumer_unpin_reply(stream, consumer));
    }

    fn consumer_unpin_reply(&self, stream: &str, consumer: &str) -> Result<ConsumerUnpinned, ApiError> {
        self.check_level()?;
        let request = UnpinRequest::read(self.body)?;
        self.check_enabled()?;
        let stream = self.stream(stream)?;
        stream.unpin_consumer(consumer, &request.group)?;
        Ok(ConsumerUnpinned {})
    }
}
