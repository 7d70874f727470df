//! `STREAM.MSG.GET` and `STREAM.MSG.DELETE` (T-60, T-66).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Request;
use crate::jetstream::api::message_get::MessageGetRequest;
use crate::jetstream::api::requests::{self, MessageDeleteRequest};
use crate::jetstream::api::responses::{MessageDeleted, MessageReply, StoredMessage};
use crate::jetstream::api::{ApiError, Timestamp, error_codes};
use crate::jetstream::core::Core;
use crate::jetstream::messages::Message;
use crate::jetstream::selection::Selection;
use crate::jetstream::stream::{Control, Outcome};

impl Request<'_> {
    pub(super) fn message_get(&self, name: &str) {
        match self.message_get_reply(name) {
            Ok(message) => self.unnoticed_answer().send(Ok(message)),
            Err(error) => self.refuse::<MessageReply>(error),
        }
    }

    fn message_get_reply(&self, name: &str) -> Result<MessageReply, ApiError> {
        self.admit()?;
        let request = MessageGetRequest::for_api(self.body, self.is_strict())?;
        let stream = self.stream(name)?;
        let selection = Selection::of(&request);
        let message = stream.select(&selection).ok_or_else(|| error_codes::NO_MESSAGE_FOUND.error())?;
        Ok(MessageReply { message: Some(stored(&message, request.no_hdr)) })
    }

    pub(super) fn message_delete(&self, name: &str) {
        if let Err(error) = self.try_message_delete(name) {
            self.refuse::<MessageDeleted>(error);
        }
    }

    fn try_message_delete(&self, name: &str) -> Result<(), ApiError> {
        self.admit()?;
        if requests::is_empty(self.body) {
            return Err(error_codes::BAD_REQUEST.error());
        }
        let request: MessageDeleteRequest = requests::read(self.body, self.is_strict())?;
        let stream = self.stream(name)?;
        let config = stream.config();
        if config.sealed {
            return Err(error_codes::STREAM_SEALED.error());
        }
        if config.deny_delete {
            return Err(error_codes::STREAM_MSG_DELETE_FAILED.with("message delete not permitted"));
        }
        let answer = self.answer();
        let sequence = request.seq;
        stream.propose(Control::Delete { sequence, erase: !request.no_erase }, move |core, publisher, outcome| {
            answer.send_on(
                publisher,
                outcome.and_then(|outcome| match outcome {
                    Outcome::Deleted(true) => Ok(MessageDeleted::SUCCESS),
                    _ => Err(not_deleted(core, sequence)),
                }),
            );
        });
        Ok(())
    }
}

/// There is no such message; file and memory streams have different words for it.
fn not_deleted(core: &Core, sequence: u64) -> ApiError {
    let kept = core.machine.first_sequence()..=core.machine.last_sequence();
    if core.is_memory() || kept.contains(&sequence) {
        return error_codes::SEQUENCE_NOT_FOUND.with(sequence);
    }
    let beyond = sequence > *kept.end();
    error_codes::STREAM_MSG_DELETE_FAILED.with(if beyond { "stream store EOF" } else { "no message found" })
}

fn stored(message: &Message, no_headers: bool) -> StoredMessage {
    StoredMessage {
        subject: String::from_utf8_lossy(message.subject()).into_owned(),
        seq: message.sequence(),
        hdrs: if no_headers { String::new() } else { STANDARD.encode(message.headers()) },
        data: STANDARD.encode(message.payload()),
        time: Timestamp(message.time()),
    }
}
