//! The bodies of API requests (6.1). An empty body is a request with defaults.

use super::consumer_config::ConsumerConfig;
use super::error::ApiError;
use super::error_codes;
use super::json::{self, Decode, Decoder, Fields, Json};
use super::stream_config::{Placement, StreamConfig};
use super::stream_info::StreamState;
use super::time::{DurationNs, Timestamp};
use super::validate;

/// Reads a body; what is wrong with it becomes error 10025. `strict` refuses unknown fields.
pub fn read<T: Fields>(body: &[u8], strict: bool) -> Result<T, ApiError> {
    json::read(body, strict).map_err(|problem| error_codes::INVALID_JSON.with(problem))
}

/// As [`read`], for requests whose body is looked at only when it is an object or an array.
pub fn read_optional<T: Fields>(body: &[u8], strict: bool) -> Result<T, ApiError> {
    if json::is_object_or_array(body) { read(body, strict) } else { Ok(T::default()) }
}

/// True for a body that counts as absent where one is required or forbidden.
pub fn is_empty(body: &[u8]) -> bool {
    let trimmed = body.trim_ascii();
    body.is_empty() || (trimmed.starts_with(b"{") && trimmed[1..].trim_ascii() == b"}")
}

/// STREAM.CREATE and STREAM.UPDATE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamConfigRequest {
    pub config: StreamConfig,
    /// Refuse instead of silently correcting (10157).
    pub pedantic: bool,
}

impl Fields for StreamConfigRequest {
    const NAME: &'static str = "StreamConfigRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "pedantic" => decoder.boolean(json, &mut self.pedantic),
            _ => self.config.field(name, json, decoder),
        }
    }
}

/// CONSUMER.CREATE in all its forms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateConsumerRequest {
    pub stream_name: String,
    pub config: ConsumerConfig,
    pub action: ConsumerAction,
    pub pedantic: bool,
}

impl Fields for CreateConsumerRequest {
    const NAME: &'static str = "CreateConsumerRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "stream_name" => decoder.text(json, &mut self.stream_name),
            "config" => decoder.object(json, &mut self.config),
            "action" => decoder.custom(json, &mut self.action),
            "pedantic" => decoder.boolean(json, &mut self.pedantic),
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsumerAction {
    #[default]
    CreateOrUpdate,
    Create,
    Update,
}

impl Decode for ConsumerAction {
    fn decode(json: &Json<'_>) -> Result<Self, String> {
        match json.raw {
            br#""""# => Ok(Self::CreateOrUpdate),
            br#""create""# => Ok(Self::Create),
            br#""update""# => Ok(Self::Update),
            other => Err(format!("unknown consumer action: {}", String::from_utf8_lossy(other))),
        }
    }
}

/// STREAM.INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamInfoRequest {
    pub offset: i64,
    pub deleted_details: bool,
    pub subjects_filter: String,
}

impl Fields for StreamInfoRequest {
    const NAME: &'static str = "JSApiStreamInfoRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "offset" => decoder.int(json, &mut self.offset, "int"),
            "deleted_details" => decoder.boolean(json, &mut self.deleted_details),
            "subjects_filter" => decoder.text(json, &mut self.subjects_filter),
            _ => false,
        }
    }
}

/// STREAM.NAMES.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamNamesRequest {
    pub offset: i64,
    pub subject: String,
}

impl Fields for StreamNamesRequest {
    const NAME: &'static str = "JSApiStreamNamesRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "offset" => decoder.int(json, &mut self.offset, "int"),
            "subject" => decoder.text(json, &mut self.subject),
            _ => false,
        }
    }
}

/// STREAM.LIST; differs from [`StreamNamesRequest`] only in the name that errors show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamListRequest(pub StreamNamesRequest);

impl Fields for StreamListRequest {
    const NAME: &'static str = "JSApiStreamListRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        self.0.field(name, json, decoder)
    }
}

/// CONSUMER.NAMES and CONSUMER.LIST.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumersRequest {
    pub offset: i64,
}

impl Fields for ConsumersRequest {
    const NAME: &'static str = "JSApiConsumersRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        name == "offset" && decoder.int(json, &mut self.offset, "int")
    }
}

/// STREAM.PURGE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeRequest {
    /// Up to but not including this one; 0 is no bound.
    pub seq: u64,
    pub filter: String,
    /// How many to keep; exclusive with `seq`.
    pub keep: u64,
}

impl PurgeRequest {
    pub fn check(&self) -> Result<(), ApiError> {
        if self.seq > 0 && self.keep > 0 { Err(error_codes::BAD_REQUEST.error()) } else { Ok(()) }
    }
}

impl Fields for PurgeRequest {
    const NAME: &'static str = "JSApiStreamPurgeRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "seq" => decoder.unsigned(json, &mut self.seq),
            "filter" => decoder.text(json, &mut self.filter),
            "keep" => decoder.unsigned(json, &mut self.keep),
            _ => false,
        }
    }
}

/// STREAM.MSG.DELETE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageDeleteRequest {
    pub seq: u64,
    /// Leave the bytes where they are.
    pub no_erase: bool,
}

impl Fields for MessageDeleteRequest {
    const NAME: &'static str = "JSApiMsgDeleteRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "seq" => decoder.unsigned(json, &mut self.seq),
            "no_erase" => decoder.boolean(json, &mut self.no_erase),
            _ => false,
        }
    }
}

/// CONSUMER.PAUSE; the zero time resumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PauseRequest {
    pub pause_until: Timestamp,
}

impl Fields for PauseRequest {
    const NAME: &'static str = "JSApiConsumerPauseRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        name == "pause_until" && decoder.instant(json, &mut self.pause_until)
    }
}

/// CONSUMER.RESET; 0 is the ack floor + 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResetRequest {
    pub seq: u64,
}

impl Fields for ResetRequest {
    const NAME: &'static str = "JSApiConsumerResetRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        name == "seq" && decoder.unsigned(json, &mut self.seq)
    }
}

/// CONSUMER.UNPIN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnpinRequest {
    pub group: String,
}

impl UnpinRequest {
    /// Reads the body and checks what can be told without the consumer.
    ///
    /// # Errors
    /// When it is not JSON, an empty body included, or names no group or none that there can be.
    pub fn read(body: &[u8]) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Err(error_codes::INVALID_JSON.with("unexpected end of JSON input"));
        }
        let request: Self = read(body, false)?;
        match request.group.as_str() {
            "" => Err(error_codes::INVALID_JSON.with("consumer group not specified")),
            group if !validate::is_valid_group_name(group) => Err(error_codes::CONSUMER_INVALID_GROUP_NAME.error()),
            _ => Ok(request),
        }
    }
}

impl Fields for UnpinRequest {
    const NAME: &'static str = "JSApiConsumerUnpinRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        name == "group" && decoder.text(json, &mut self.group)
    }
}

/// STREAM.SNAPSHOT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotRequest {
    pub deliver_subject: String,
    pub no_consumers: bool,
    pub chunk_size: i64,
    pub window_size: i64,
    pub jsck: bool,
}

impl Fields for SnapshotRequest {
    const NAME: &'static str = "JSApiStreamSnapshotRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "deliver_subject" => decoder.text(json, &mut self.deliver_subject),
            "no_consumers" => decoder.boolean(json, &mut self.no_consumers),
            "chunk_size" => decoder.int(json, &mut self.chunk_size, "int"),
            "window_size" => decoder.int(json, &mut self.window_size, "int"),
            "jsck" => decoder.boolean(json, &mut self.jsck),
            _ => false,
        }
    }
}

/// STREAM.RESTORE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreRequest {
    pub config: StreamConfig,
    pub state: StreamState,
}

impl Fields for RestoreRequest {
    const NAME: &'static str = "JSApiStreamRestoreRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "config" => decoder.object(json, &mut self.config),
            "state" => decoder.object(json, &mut self.state),
            _ => false,
        }
    }
}

/// The leader step-downs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepdownRequest {
    pub placement: Option<Placement>,
}

impl Fields for StepdownRequest {
    const NAME: &'static str = "JSApiLeaderStepdownRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        name == "placement" && decoder.optional(json, &mut self.placement)
    }
}

/// STREAM.PEER.REMOVE and the like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovePeerRequest {
    pub peer: String,
}

impl Fields for RemovePeerRequest {
    const NAME: &'static str = "JSApiStreamRemovePeerRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        name == "peer" && decoder.text(json, &mut self.peer)
    }
}

/// CONSUMER.MSG.NEXT with a JSON body (L-02).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NextRequest {
    pub expires: DurationNs,
    pub batch: i64,
    pub max_bytes: i64,
    pub no_wait: bool,
    pub idle_heartbeat: DurationNs,
    pub group: String,
    pub min_pending: i64,
    pub min_ack_pending: i64,
    pub id: String,
    pub priority: i64,
}

impl Fields for NextRequest {
    const NAME: &'static str = "JSApiConsumerGetNextRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "expires" => decoder.duration(json, &mut self.expires),
            "batch" => decoder.int(json, &mut self.batch, "int"),
            "max_bytes" => decoder.int(json, &mut self.max_bytes, "int"),
            "no_wait" => decoder.boolean(json, &mut self.no_wait),
            "idle_heartbeat" => decoder.duration(json, &mut self.idle_heartbeat),
            "group" => decoder.text(json, &mut self.group),
            "min_pending" => decoder.int(json, &mut self.min_pending, "int64"),
            "min_ack_pending" => decoder.int(json, &mut self.min_ack_pending, "int64"),
            "id" => decoder.text(json, &mut self.id),
            "priority" => decoder.int(json, &mut self.priority, "int"),
            _ => false,
        }
    }
}
