//! `STREAM.*`: create, update, names, list, info, delete, purge (J-02 to J-08).

use super::{NOT_YET, Request};
use crate::jetstream::api::cluster_info::ClusterInfo;
use crate::jetstream::api::requests::{
    self, PurgeRequest, StreamConfigRequest, StreamInfoRequest, StreamListRequest, StreamNamesRequest,
};
use crate::jetstream::api::responses::{
    self, LIST_LIMIT, NAMES_LIMIT, Paging, RestoreStarted, SnapshotStarted, StreamCreated, StreamDeleted,
    StreamInfoReply, StreamList, StreamNames, StreamPurged, StreamUpdated,
};
use crate::jetstream::api::validate::{self, StreamCreate};
use crate::jetstream::api::{ApiError, StreamConfig, error_codes};
use crate::jetstream::held_back::HeldBack;
use crate::jetstream::replica::Replica;
use crate::jetstream::stream::{Control, Outcome};
use crate::jetstream::workers::Job;
use crate::protocol::subject;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A stream in a list.
enum Listed {
    Served(Arc<Replica>),
    HeldBack(Arc<HeldBack>),
}

impl Request<'_> {
    pub(super) fn stream_create(&self, name: &str) {
        if let Err(error) = self.try_stream_create(name) {
            self.refuse::<StreamCreated>(error);
        }
    }

    fn try_stream_create(&self, name: &str) -> Result<(), ApiError> {
        self.admit()?;
        let request: StreamConfigRequest = requests::read(self.body, self.is_strict())?;
        let mut meta = self.node.meta();
        let checked = self
            .account
            .with_environment(self.node, &meta, |environment| validate::check_create(name, request, environment))?;
        let answer = self.answer();
        match checked {
            StreamCreate::Existing => meta.after_pending(self.account, name, answer),
            StreamCreate::New(config) => {
                if let Err((error, Some(answer))) = meta.create(self.account, *config, Some(answer)) {
                    meta.send::<StreamCreated>(answer, Err(error));
                }
            }
        }
        Ok(())
    }

    pub(super) fn stream_update(&self, name: &str) {
        if let Err(error) = self.try_stream_update(name) {
            self.refuse::<StreamUpdated>(error);
        }
    }

    fn try_stream_update(&self, name: &str) -> Result<(), ApiError> {
        self.admit()?;
        let request: StreamConfigRequest = requests::read(self.body, self.is_strict())?;
        let meta = self.node.meta();
        let stream = self.account.stream(name);
        let consumers = stream.as_ref().map(|stream| stream.consumer_configs()).unwrap_or_default();
        let config = self.account.with_environment(self.node, &meta, |environment| {
            let consumers = consumers.iter().map(|(name, config)| (name.as_str(), config.as_ref()));
            validate::check_update(name, request, environment, consumers)
        })?;
        let stream = stream?;
        let answer = self.answer();
        let (node, of_answer) = (self.node.clone(), stream.clone());
        // New subjects first, and old ones are left before the answer goes out: whoever has the answer publishes to what
        // the stream has now, and another stream may have taken what it had before.
        self.node.subscribe_to(&stream, &config);
        let replies = stream.update(config, move |core, publisher, outcome| {
            if outcome.is_ok() {
                node.follow_subjects(&of_answer, core.config());
            }
            let reply = outcome.map(|_| StreamUpdated(Some(of_answer.info_locked(core, false))));
            node.define(&of_answer, core);
            answer.send_on(publisher, reply);
            core.shared.queue(Job::updated(of_answer.group()));
        });
        // A reply may reach this service again.
        drop(meta);
        drop(replies);
        Ok(())
    }

    pub(super) fn stream_names(&self) {
        self.respond(self.stream_names_reply());
    }

    fn stream_names_reply(&self) -> Result<StreamNames, ApiError> {
        self.admit()?;
        let request: StreamNamesRequest = requests::read_optional(self.body, self.is_strict())?;
        let names: Vec<String> = self.matching_streams(&request.subject).into_keys().collect();
        let (paging, range) = Paging::of(names.len(), request.offset, NAMES_LIMIT);
        Ok(StreamNames::new(paging, names[range].to_vec()))
    }

    pub(super) fn stream_list(&self) {
        self.respond(self.stream_list_reply());
    }

    fn stream_list_reply(&self) -> Result<StreamList, ApiError> {
        self.admit()?;
        let StreamListRequest(request) = requests::read_optional(self.body, self.is_strict())?;
        let streams = self.matching_streams(&request.subject);
        let (paging, range) = Paging::of(streams.len(), request.offset, LIST_LIMIT);
        let mut list = StreamList { paging, ..StreamList::default() };
        for (name, stream) in streams.into_iter().skip(range.start).take(range.len()) {
            match stream {
                Listed::Served(stream) => {
                    let mut info = stream.info();
                    validate::remove_dynamic(&mut info.config.metadata);
                    list.streams.push(info);
                }
                Listed::HeldBack(stream) => {
                    list.missing.push(name.clone());
                    list.offline.insert(name, stream.reason.clone());
                }
            }
        }
        Ok(list)
    }

    /// The account's streams by name; with a filter, those with a subject that overlaps it.
    fn matching_streams(&self, filter: &str) -> BTreeMap<String, Listed> {
        let wanted = |config: &StreamConfig| {
            filter.is_empty() || config.subjects.iter().any(|own| subject::overlaps(own.as_bytes(), filter.as_bytes()))
        };
        let served = self.account.streams().into_iter().filter(|stream| wanted(&stream.config()));
        let mut listed: BTreeMap<_, _> =
            served.map(|stream| (stream.name().to_owned(), Listed::Served(stream))).collect();
        let held_back = self.account.held_back().into_iter().filter(|stream| wanted(&stream.config));
        listed.extend(held_back.map(|stream| (stream.name().to_owned(), Listed::HeldBack(stream))));
        listed
    }

    pub(super) fn stream_info(&self, name: &str) {
        if let Err(error) = self.try_stream_info(name) {
            self.refuse::<StreamInfoReply>(error);
        }
    }

    fn try_stream_info(&self, name: &str) -> Result<(), ApiError> {
        self.admit()?;
        let request: StreamInfoRequest = requests::read_optional(self.body, self.is_strict())?;
        let stream = self.stream(name)?;
        let (of_stream, answer, leader) = (stream.clone(), self.answer(), self.node.server_name().to_owned());
        // Whoever publishes without waiting for an acknowledgement, and then asks, wants to see the message.
        stream.when_stored(self.waiting_bytes(), move |core, publisher| {
            let mut info = of_stream.info_locked(core, request.deleted_details);
            info.cluster = Some(ClusterInfo { leader, ..ClusterInfo::default() });
            let mut paging = Paging::default();
            if !request.subjects_filter.is_empty() {
                let offset = u64::try_from(request.offset).unwrap_or(0);
                let page = core.machine.subjects_page(request.subjects_filter.as_bytes(), offset);
                if page.total > 0 {
                    paging = Paging { total: page.total, offset, limit: responses::SUBJECTS_LIMIT as u64 };
                    info.state.subjects = page.subjects;
                }
            }
            answer.send_on(publisher, Ok(StreamInfoReply { paging, info: Some(info) }));
        });
        Ok(())
    }

    pub(super) fn stream_snapshot(&self, name: &str) {
        self.refuse::<SnapshotStarted>(match self.admit() {
            Err(error) => error,
            Ok(()) if requests::is_empty(self.body) => error_codes::BAD_REQUEST.error(),
            Ok(()) => self.stream(name).err().unwrap_or_else(|| error_codes::STREAM_SNAPSHOT.with(NOT_YET)),
        });
    }

    pub(super) fn stream_restore(&self) {
        self.refuse::<RestoreStarted>(self.admit().err().unwrap_or_else(|| error_codes::STREAM_RESTORE.with(NOT_YET)));
    }

    pub(super) fn stream_delete(&self, name: &str) {
        if let Err(error) = self.try_stream_delete(name) {
            self.refuse::<StreamDeleted>(error);
        }
    }

    fn try_stream_delete(&self, name: &str) -> Result<(), ApiError> {
        self.admit()?;
        if !requests::is_empty(self.body) {
            return Err(error_codes::NOT_EMPTY_REQUEST.error());
        }
        let mut meta = self.node.meta();
        // Whoever gives up one that is held back may do so.
        let held_back = self.account.find_held_back(name);
        let group = held_back.map_or_else(|| Ok(self.stream(name)?.group()), |stream| Ok(stream.group))?;
        if let Err((error, Some(answer))) = meta.delete(group, Some(self.answer())) {
            meta.send::<StreamDeleted>(answer, Err(error));
        }
        Ok(())
    }

    pub(super) fn stream_purge(&self, name: &str) {
        if let Err(error) = self.try_stream_purge(name) {
            self.refuse::<StreamPurged>(error);
        }
    }

    fn try_stream_purge(&self, name: &str) -> Result<(), ApiError> {
        self.admit()?;
        let request: PurgeRequest = requests::read_optional(self.body, self.is_strict())?;
        request.check()?;
        let stream = self.stream(name)?;
        let config = stream.config();
        if config.sealed {
            return Err(error_codes::STREAM_SEALED.error());
        }
        if config.deny_purge {
            return Err(error_codes::STREAM_PURGE_FAILED.with("stream purge not permitted"));
        }
        let answer = self.answer();
        let control = Control::Purge { filter: request.filter, up_to: request.seq, keep: request.keep };
        stream.propose(control, move |_, publisher, outcome| {
            answer.send_on(
                publisher,
                outcome.map(|outcome| match outcome {
                    Outcome::Purged(purged) => StreamPurged { success: true, purged },
                    _ => StreamPurged { success: true, purged: 0 },
                }),
            );
        });
        Ok(())
    }

    pub(super) fn stream(&self, name: &str) -> Result<Arc<Replica>, ApiError> {
        self.account.stream(name)
    }
}
