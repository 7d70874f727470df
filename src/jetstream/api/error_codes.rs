//! The error table of the JetStream API (6.4): one constant per code, with the exact text a client compares.
//!
//! Clients match on `err_code` and some on the text, so an entry is never changed or removed. Names in braces are
//! filled in by [`ErrorTemplate::with`].

use super::error::ErrorTemplate;

const fn entry(err_code: u16, code: u16, description: &'static str) -> ErrorTemplate {
    ErrorTemplate { code, err_code, description }
}

pub const ACCOUNT_RESOURCES_EXCEEDED: ErrorTemplate = entry(10002, 400, "resource limits exceeded for account");
pub const BAD_REQUEST: ErrorTemplate = entry(10003, 400, "bad request");
pub const CLUSTER_INCOMPLETE: ErrorTemplate = entry(10004, 503, "incomplete results");
pub const CLUSTER_NO_PEERS: ErrorTemplate = entry(10005, 400, "{err}");
pub const CLUSTER_NOT_ACTIVE: ErrorTemplate = entry(10006, 500, "JetStream not in clustered mode");
pub const CLUSTER_NOT_ASSIGNED: ErrorTemplate = entry(10007, 500, "JetStream cluster not assigned to this server");
pub const CLUSTER_NOT_AVAIL: ErrorTemplate = entry(10008, 503, "JetStream system temporarily unavailable");
pub const CLUSTER_NOT_LEADER: ErrorTemplate = entry(10009, 500, "JetStream cluster can not handle request");
pub const CLUSTER_REQUIRED: ErrorTemplate = entry(10010, 503, "JetStream clustering support required");
pub const CLUSTER_TAGS: ErrorTemplate = entry(10011, 400, "tags placement not supported for operation");
pub const CONSUMER_CREATE: ErrorTemplate = entry(10012, 500, "{err}");
pub const CONSUMER_NAME_EXIST: ErrorTemplate = entry(10013, 400, "consumer name already in use");
pub const CONSUMER_NOT_FOUND: ErrorTemplate = entry(10014, 404, "consumer not found");
pub const SNAPSHOT_DELIVER_SUBJECT_INVALID: ErrorTemplate = entry(10015, 400, "deliver subject not valid");
pub const CONSUMER_DURABLE_NAME_NOT_IN_SUBJECT: ErrorTemplate =
    entry(10016, 400, "consumer expected to be durable but no durable name set in subject");
pub const CONSUMER_DURABLE_NAME_NOT_MATCH_SUBJECT: ErrorTemplate =
    entry(10017, 400, "consumer name in subject does not match durable name in request");
pub const CONSUMER_DURABLE_NAME_NOT_SET: ErrorTemplate =
    entry(10018, 400, "consumer expected to be durable but a durable name was not set");
pub const CONSUMER_EPHEMERAL_WITH_DURABLE_IN_SUBJECT: ErrorTemplate =
    entry(10019, 400, "consumer expected to be ephemeral but detected a durable name set in subject");
pub const CONSUMER_EPHEMERAL_WITH_DURABLE_NAME: ErrorTemplate =
    entry(10020, 400, "consumer expected to be ephemeral but a durable name was set in request");
pub const STREAM_EXTERNAL_API_OVERLAP: ErrorTemplate =
    entry(10021, 400, "stream external api prefix {prefix} must not overlap with {subject}");
pub const STREAM_EXTERNAL_DEL_PREFIX_OVERLAPS: ErrorTemplate =
    entry(10022, 400, "stream external delivery prefix {prefix} overlaps with stream subject {subject}");
pub const INSUFFICIENT_RESOURCES: ErrorTemplate = entry(10023, 503, "insufficient resources");
pub const STREAM_INVALID_EXTERNAL_DELIVERY_SUBJ: ErrorTemplate =
    entry(10024, 400, "stream external delivery prefix {prefix} must not contain wildcards");
pub const INVALID_JSON: ErrorTemplate = entry(10025, 400, "invalid JSON: {err}");
pub const MAXIMUM_CONSUMERS_LIMIT: ErrorTemplate = entry(10026, 400, "maximum consumers limit reached");
pub const MAXIMUM_STREAMS_LIMIT: ErrorTemplate = entry(10027, 400, "maximum number of streams reached");
pub const MEMORY_RESOURCES_EXCEEDED: ErrorTemplate = entry(10028, 500, "insufficient memory resources available");
pub const MIRROR_CONSUMER_SETUP_FAILED: ErrorTemplate = entry(10029, 500, "{err}");
pub const MIRROR_MAX_MESSAGE_SIZE_TOO_BIG: ErrorTemplate =
    entry(10030, 400, "stream mirror must have max message size >= source");
pub const MIRROR_WITH_SOURCES: ErrorTemplate = entry(10031, 400, "stream mirrors can not also contain other sources");
pub const MIRROR_WITH_START_SEQ_AND_TIME: ErrorTemplate =
    entry(10032, 400, "stream mirrors can not have both start seq and start time configured");
pub const MIRROR_WITH_SUBJECT_FILTERS: ErrorTemplate =
    entry(10033, 400, "stream mirrors can not contain filtered subjects");
pub const MIRROR_WITH_SUBJECTS: ErrorTemplate = entry(10034, 400, "stream mirrors can not contain subjects");
pub const NO_ACCOUNT: ErrorTemplate = entry(10035, 503, "account not found");
pub const CLUSTER_UN_SUPPORT_FEATURE: ErrorTemplate = entry(10036, 503, "not currently supported in clustered mode");
pub const NO_MESSAGE_FOUND: ErrorTemplate = entry(10037, 404, "no message found");
pub const NOT_EMPTY_REQUEST: ErrorTemplate = entry(10038, 400, "expected an empty request payload");
pub const NOT_ENABLED_FOR_ACCOUNT: ErrorTemplate = entry(10039, 503, "JetStream not enabled for account");
pub const CLUSTER_PEER_NOT_MEMBER: ErrorTemplate = entry(10040, 400, "peer not a member");
pub const RAFT_GENERAL: ErrorTemplate = entry(10041, 500, "{err}");
pub const RESTORE_SUBSCRIBE_FAILED: ErrorTemplate =
    entry(10042, 500, "JetStream unable to subscribe to restore snapshot {subject}: {err}");
pub const SEQUENCE_NOT_FOUND: ErrorTemplate = entry(10043, 400, "sequence {seq} not found");
pub const CLUSTER_SERVER_NOT_MEMBER: ErrorTemplate = entry(10044, 400, "server is not a member of the cluster");
pub const SOURCE_CONSUMER_SETUP_FAILED: ErrorTemplate = entry(10045, 500, "{err}");
pub const SOURCE_MAX_MESSAGE_SIZE_TOO_BIG: ErrorTemplate =
    entry(10046, 400, "stream source must have max message size >= target");
pub const STORAGE_RESOURCES_EXCEEDED: ErrorTemplate = entry(10047, 500, "insufficient storage resources available");
pub const STREAM_ASSIGNMENT: ErrorTemplate = entry(10048, 500, "{err}");
pub const STREAM_CREATE: ErrorTemplate = entry(10049, 500, "{err}");
pub const STREAM_DELETE: ErrorTemplate = entry(10050, 500, "{err}");
pub const STREAM_GENERAL_ERROR: ErrorTemplate = entry(10051, 500, "{err}");
pub const STREAM_INVALID_CONFIG: ErrorTemplate = entry(10052, 500, "{err}");
pub const STREAM_LIMITS: ErrorTemplate = entry(10053, 500, "{err}");
pub const STREAM_MESSAGE_EXCEEDS_MAXIMUM: ErrorTemplate = entry(10054, 400, "message size exceeds maximum allowed");
pub const STREAM_MIRROR_NOT_UPDATABLE: ErrorTemplate =
    entry(10055, 400, "stream mirror configuration can not be updated");
pub const STREAM_MISMATCH: ErrorTemplate = entry(10056, 400, "stream name in subject does not match request");
pub const STREAM_MSG_DELETE_FAILED: ErrorTemplate = entry(10057, 500, "{err}");
pub const STREAM_NAME_EXIST: ErrorTemplate =
    entry(10058, 400, "stream name already in use with a different configuration");
pub const STREAM_NOT_FOUND: ErrorTemplate = entry(10059, 404, "stream not found");
pub const STREAM_NOT_MATCH: ErrorTemplate = entry(10060, 400, "expected stream does not match");
pub const STREAM_REPLICAS_NOT_UPDATABLE: ErrorTemplate = entry(10061, 400, "Replicas configuration can not be updated");
pub const STREAM_RESTORE: ErrorTemplate = entry(10062, 500, "restore failed: {err}");
pub const STREAM_SEQUENCE_NOT_MATCH: ErrorTemplate = entry(10063, 503, "expected stream sequence does not match");
pub const STREAM_SNAPSHOT: ErrorTemplate = entry(10064, 500, "snapshot failed: {err}");
pub const STREAM_SUBJECT_OVERLAP: ErrorTemplate = entry(10065, 400, "subjects overlap with an existing stream");
pub const STREAM_TEMPLATE_CREATE: ErrorTemplate = entry(10066, 500, "{err}");
pub const STREAM_TEMPLATE_DELETE: ErrorTemplate = entry(10067, 500, "{err}");
pub const STREAM_TEMPLATE_NOT_FOUND: ErrorTemplate = entry(10068, 404, "template not found");
pub const STREAM_UPDATE: ErrorTemplate = entry(10069, 500, "{err}");
pub const STREAM_WRONG_LAST_MSG_ID: ErrorTemplate = entry(10070, 400, "wrong last msg ID: {id}");
pub const STREAM_WRONG_LAST_SEQUENCE: ErrorTemplate = entry(10071, 400, "wrong last sequence: {seq}");
pub const TEMP_STORAGE_FAILED: ErrorTemplate = entry(10072, 500, "JetStream unable to open temp storage for restore");
pub const TEMPLATE_NAME_NOT_MATCH_SUBJECT: ErrorTemplate =
    entry(10073, 400, "template name in subject does not match request");
pub const STREAM_REPLICAS_NOT_SUPPORTED: ErrorTemplate =
    entry(10074, 500, "replicas > 1 not supported in non-clustered mode");
pub const PEER_REMAP: ErrorTemplate = entry(10075, 503, "peer remap failed");
pub const NOT_ENABLED: ErrorTemplate = entry(10076, 503, "JetStream not enabled");
pub const STREAM_STORE_FAILED: ErrorTemplate = entry(10077, 503, "{err}");
pub const CONSUMER_CONFIG_REQUIRED: ErrorTemplate = entry(10078, 400, "consumer config required");
pub const CONSUMER_DELIVER_TO_WILDCARDS: ErrorTemplate = entry(10079, 400, "consumer deliver subject has wildcards");
pub const CONSUMER_PUSH_MAX_WAITING: ErrorTemplate = entry(10080, 400, "consumer in push mode can not set max waiting");
pub const CONSUMER_DELIVER_CYCLE: ErrorTemplate = entry(10081, 400, "consumer deliver subject forms a cycle");
pub const CONSUMER_MAX_PENDING_ACK_POLICY_REQUIRED: ErrorTemplate =
    entry(10082, 400, "consumer requires ack policy for max ack pending");
pub const CONSUMER_SMALL_HEARTBEAT: ErrorTemplate = entry(10083, 400, "consumer idle heartbeat needs to be >= 100ms");
pub const CONSUMER_PULL_REQUIRES_ACK: ErrorTemplate =
    entry(10084, 400, "consumer in pull mode requires explicit ack policy on workqueue stream");
pub const CONSUMER_PULL_NOT_DURABLE: ErrorTemplate = entry(10085, 400, "consumer in pull mode requires a durable name");
pub const CONSUMER_PULL_WITH_RATE_LIMIT: ErrorTemplate =
    entry(10086, 400, "consumer in pull mode can not have rate limit set");
pub const CONSUMER_MAX_WAITING_NEGATIVE: ErrorTemplate = entry(10087, 400, "consumer max waiting needs to be positive");
pub const CONSUMER_HB_REQUIRES_PUSH: ErrorTemplate =
    entry(10088, 400, "consumer idle heartbeat requires a push based consumer");
pub const CONSUMER_FC_REQUIRES_PUSH: ErrorTemplate =
    entry(10089, 400, "consumer flow control requires a push based consumer");
pub const CONSUMER_DIRECT_REQUIRES_PUSH: ErrorTemplate =
    entry(10090, 400, "consumer direct requires a push based consumer");
pub const CONSUMER_DIRECT_REQUIRES_EPHEMERAL: ErrorTemplate =
    entry(10091, 400, "consumer direct requires an ephemeral consumer");
pub const CONSUMER_ON_MAPPED: ErrorTemplate = entry(10092, 400, "consumer direct on a mapped consumer");
pub const CONSUMER_FILTER_NOT_SUBSET: ErrorTemplate =
    entry(10093, 400, "consumer filter subject is not a valid subset of the interest subjects");
pub const CONSUMER_INVALID_POLICY: ErrorTemplate = entry(10094, 400, "{err}");
pub const CONSUMER_INVALID_SAMPLING: ErrorTemplate =
    entry(10095, 400, "failed to parse consumer sampling configuration: {err}");
pub const STREAM_INVALID: ErrorTemplate = entry(10096, 500, "stream not valid");
pub const STREAM_HEADER_EXCEEDS_MAXIMUM: ErrorTemplate =
    entry(10097, 400, "header size exceeds maximum allowed of 64k");
pub const CONSUMER_WQ_REQUIRES_EXPLICIT_ACK: ErrorTemplate =
    entry(10098, 400, "workqueue stream requires explicit ack");
pub const CONSUMER_WQ_MULTIPLE_UNFILTERED: ErrorTemplate =
    entry(10099, 400, "multiple non-filtered consumers not allowed on workqueue stream");
pub const CONSUMER_WQ_CONSUMER_NOT_UNIQUE: ErrorTemplate =
    entry(10100, 400, "filtered consumer not unique on workqueue stream");
pub const CONSUMER_WQ_CONSUMER_NOT_DELIVER_ALL: ErrorTemplate =
    entry(10101, 400, "consumer must be deliver all on workqueue stream");
pub const CONSUMER_NAME_TOO_LONG: ErrorTemplate =
    entry(10102, 400, "consumer name is too long, maximum allowed is {max}");
pub const CONSUMER_BAD_DURABLE_NAME: ErrorTemplate = entry(10103, 400, "durable name can not contain '.', '*', '>'");
pub const CONSUMER_STORE_FAILED: ErrorTemplate = entry(10104, 500, "error creating store for consumer: {err}");
pub const CONSUMER_EXISTING_ACTIVE: ErrorTemplate = entry(10105, 400, "consumer already exists and is still active");
pub const CONSUMER_REPLACEMENT_WITH_DIFFERENT_NAME: ErrorTemplate =
    entry(10106, 400, "consumer replacement durable config not the same");
pub const CONSUMER_DESCRIPTION_TOO_LONG: ErrorTemplate =
    entry(10107, 400, "consumer description is too long, maximum allowed is {max}");
pub const CONSUMER_WITH_FLOW_CONTROL_NEEDS_HEARTBEATS: ErrorTemplate =
    entry(10108, 400, "consumer with flow control also needs heartbeats");
pub const STREAM_SEALED: ErrorTemplate = entry(10109, 400, "invalid operation on sealed stream");
pub const STREAM_PURGE_FAILED: ErrorTemplate = entry(10110, 500, "{err}");
pub const STREAM_ROLLUP_FAILED: ErrorTemplate = entry(10111, 500, "{err}");
pub const CONSUMER_INVALID_DELIVER_SUBJECT: ErrorTemplate = entry(10112, 400, "invalid push consumer deliver subject");
pub const STREAM_MAX_BYTES_REQUIRED: ErrorTemplate =
    entry(10113, 400, "account requires a stream config to have max bytes set");
pub const CONSUMER_MAX_REQUEST_BATCH_NEGATIVE: ErrorTemplate =
    entry(10114, 400, "consumer max request batch needs to be > 0");
pub const CONSUMER_MAX_REQUEST_EXPIRES_TOO_SMALL: ErrorTemplate =
    entry(10115, 400, "consumer max request expires needs to be >= 1ms");
pub const CONSUMER_MAX_DELIVER_BACKOFF: ErrorTemplate =
    entry(10116, 400, "max deliver is required to be > length of backoff values");
pub const STREAM_INFO_MAX_SUBJECTS: ErrorTemplate = entry(10117, 500, "subject details would exceed maximum allowed");
pub const STREAM_OFFLINE: ErrorTemplate = entry(10118, 500, "stream is offline");
pub const CONSUMER_OFFLINE: ErrorTemplate = entry(10119, 500, "consumer is offline");
pub const NO_LIMITS: ErrorTemplate = entry(10120, 400, "no JetStream default or applicable tiered limit present");
pub const CONSUMER_MAX_PENDING_ACK_EXCESS: ErrorTemplate =
    entry(10121, 400, "consumer max ack pending exceeds system limit of {limit}");
pub const STREAM_MAX_STREAM_BYTES_EXCEEDED: ErrorTemplate =
    entry(10122, 400, "stream max bytes exceeds account limit max stream bytes");
pub const STREAM_MOVE_AND_SCALE: ErrorTemplate =
    entry(10123, 400, "can not move and scale a stream in a single update");
pub const STREAM_MOVE_IN_PROGRESS: ErrorTemplate = entry(10124, 400, "stream move already in progress");
pub const CONSUMER_MAX_REQUEST_BATCH_EXCEEDED: ErrorTemplate =
    entry(10125, 400, "consumer max request batch exceeds server limit of {limit}");
pub const CONSUMER_REPLICAS_EXCEEDS_STREAM: ErrorTemplate =
    entry(10126, 400, "consumer config replica count exceeds parent stream");
pub const CONSUMER_NAME_CONTAINS_PATH_SEPARATORS: ErrorTemplate =
    entry(10127, 400, "Consumer name can not contain path separators");
pub const STREAM_NAME_CONTAINS_PATH_SEPARATORS: ErrorTemplate =
    entry(10128, 400, "Stream name can not contain path separators");
pub const STREAM_RECONFIGURE_NOT_IN_PROGRESS: ErrorTemplate =
    entry(10129, 400, "stream reconfiguration not in progress");
pub const STREAM_NAME_EXIST_RESTORE_FAILED: ErrorTemplate =
    entry(10130, 400, "stream name already in use, cannot restore");
pub const CONSUMER_CREATE_FILTER_SUBJECT_MISMATCH: ErrorTemplate =
    entry(10131, 400, "Consumer create request did not match filtered subject from create subject");
pub const CONSUMER_CREATE_DURABLE_AND_NAME_MISMATCH: ErrorTemplate =
    entry(10132, 400, "Consumer Durable and Name have to be equal if both are provided");
pub const REPLICAS_COUNT_CANNOT_BE_NEGATIVE: ErrorTemplate = entry(10133, 400, "replicas count cannot be negative");
pub const CONSUMER_REPLICAS_SHOULD_MATCH_STREAM: ErrorTemplate =
    entry(10134, 400, "consumer config replicas must match interest retention stream's replicas");
pub const CONSUMER_METADATA_LENGTH: ErrorTemplate =
    entry(10135, 400, "consumer metadata exceeds maximum size of {limit}");
pub const CONSUMER_DUPLICATE_FILTER_SUBJECTS: ErrorTemplate =
    entry(10136, 400, "consumer cannot have both FilterSubject and FilterSubjects specified");
pub const CONSUMER_MULTIPLE_FILTERS_NOT_ALLOWED: ErrorTemplate =
    entry(10137, 400, "consumer with multiple subject filters cannot use subject based API");
pub const CONSUMER_OVERLAPPING_SUBJECT_FILTERS: ErrorTemplate =
    entry(10138, 400, "consumer subject filters cannot overlap");
pub const CONSUMER_EMPTY_FILTER: ErrorTemplate = entry(10139, 400, "consumer filter in FilterSubjects cannot be empty");
pub const SOURCE_DUPLICATE_DETECTED: ErrorTemplate = entry(10140, 400, "duplicate source configuration detected");
pub const SOURCE_INVALID_STREAM_NAME: ErrorTemplate = entry(10141, 400, "sourced stream name is invalid");
pub const MIRROR_INVALID_STREAM_NAME: ErrorTemplate = entry(10142, 400, "mirrored stream name is invalid");
pub const MIRROR_WITH_FIRST_SEQ: ErrorTemplate =
    entry(10143, 400, "stream mirrors can not have first sequence configured");
pub const SOURCE_MULTIPLE_FILTERS_NOT_ALLOWED: ErrorTemplate =
    entry(10144, 400, "source with multiple subject transforms cannot also have a single subject filter");
pub const SOURCE_INVALID_SUBJECT_FILTER: ErrorTemplate = entry(10145, 400, "source transform source: {err}");
pub const SOURCE_INVALID_TRANSFORM_DESTINATION: ErrorTemplate = entry(10146, 400, "source transform: {err}");
pub const SOURCE_OVERLAPPING_SUBJECT_FILTERS: ErrorTemplate = entry(10147, 400, "source filters can not overlap");
pub const CONSUMER_ALREADY_EXISTS: ErrorTemplate = entry(10148, 400, "consumer already exists");
pub const CONSUMER_DOES_NOT_EXIST: ErrorTemplate = entry(10149, 400, "consumer does not exist");
pub const MIRROR_MULTIPLE_FILTERS_NOT_ALLOWED: ErrorTemplate =
    entry(10150, 400, "mirror with multiple subject transforms cannot also have a single subject filter");
pub const MIRROR_INVALID_SUBJECT_FILTER: ErrorTemplate = entry(10151, 400, "mirror transform source: {err}");
pub const MIRROR_OVERLAPPING_SUBJECT_FILTERS: ErrorTemplate =
    entry(10152, 400, "mirror subject filters can not overlap");
pub const CONSUMER_INACTIVE_THRESHOLD_EXCESS: ErrorTemplate =
    entry(10153, 400, "consumer inactive threshold exceeds system limit of {limit}");
pub const MIRROR_INVALID_TRANSFORM_DESTINATION: ErrorTemplate = entry(10154, 400, "mirror transform: {err}");
pub const STREAM_TRANSFORM_INVALID_SOURCE: ErrorTemplate = entry(10155, 400, "stream transform source: {err}");
pub const STREAM_TRANSFORM_INVALID_DESTINATION: ErrorTemplate = entry(10156, 400, "stream transform: {err}");
pub const PEDANTIC: ErrorTemplate = entry(10157, 400, "pedantic mode: {err}");
pub const STREAM_DUPLICATE_MESSAGE_CONFLICT: ErrorTemplate = entry(10158, 409, "duplicate message id is in process");
pub const CONSUMER_PRIORITY_POLICY_WITHOUT_GROUP: ErrorTemplate =
    entry(10159, 400, "Setting PriorityPolicy requires at least one PriorityGroup to be set");
pub const CONSUMER_INVALID_PRIORITY_GROUP: ErrorTemplate =
    entry(10160, 400, "Provided priority group does not exist for this consumer");
pub const CONSUMER_EMPTY_GROUP_NAME: ErrorTemplate = entry(10161, 400, "Group name cannot be an empty string");
pub const CONSUMER_INVALID_GROUP_NAME: ErrorTemplate =
    entry(10162, 400, "Valid priority group name must match A-Z, a-z, 0-9, -_/=)+ and may not exceed 16 characters");
pub const STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_NOT_READY: ErrorTemplate =
    entry(10163, 503, "expected last sequence per subject temporarily unavailable");
pub const STREAM_WRONG_LAST_SEQUENCE_CONSTANT: ErrorTemplate = entry(10164, 400, "wrong last sequence");
pub const MESSAGE_TTL_INVALID: ErrorTemplate = entry(10165, 400, "invalid per-message TTL");
pub const MESSAGE_TTL_DISABLED: ErrorTemplate = entry(10166, 400, "per-message TTL is disabled");
pub const STREAM_TOO_MANY_REQUESTS: ErrorTemplate = entry(10167, 429, "too many requests");
pub const MESSAGE_INCR_DISABLED: ErrorTemplate = entry(10168, 400, "message counters is disabled");
pub const MESSAGE_INCR_MISSING: ErrorTemplate = entry(10169, 400, "message counter increment is missing");
pub const MESSAGE_INCR_PAYLOAD: ErrorTemplate = entry(10170, 400, "message counter has payload");
pub const MESSAGE_INCR_INVALID: ErrorTemplate = entry(10171, 400, "message counter increment is invalid");
pub const MESSAGE_COUNTER_BROKEN: ErrorTemplate = entry(10172, 400, "message counter is broken");
pub const MIRROR_WITH_COUNTERS: ErrorTemplate = entry(10173, 400, "stream mirrors can not also calculate counters");
pub const ATOMIC_PUBLISH_DISABLED: ErrorTemplate = entry(10174, 400, "atomic publish is disabled");
pub const ATOMIC_PUBLISH_MISSING_SEQ: ErrorTemplate = entry(10175, 400, "atomic publish sequence is missing");
pub const ATOMIC_PUBLISH_INCOMPLETE_BATCH: ErrorTemplate = entry(10176, 400, "atomic publish batch is incomplete");
pub const ATOMIC_PUBLISH_UNSUPPORTED_HEADER_BATCH: ErrorTemplate =
    entry(10177, 400, "atomic publish unsupported header used: {header}");
pub const CONSUMER_PUSH_WITH_PRIORITY_GROUP: ErrorTemplate =
    entry(10178, 400, "priority groups can not be used with push consumers");
pub const ATOMIC_PUBLISH_INVALID_BATCH_ID: ErrorTemplate = entry(10179, 400, "atomic publish batch ID is invalid");
pub const STREAM_MIN_LAST_SEQ: ErrorTemplate = entry(10180, 412, "min last sequence");
pub const CONSUMER_ACK_POLICY_INVALID: ErrorTemplate = entry(10181, 400, "consumer ack policy invalid");
pub const CONSUMER_REPLAY_POLICY_INVALID: ErrorTemplate = entry(10182, 400, "consumer replay policy invalid");
pub const CONSUMER_ACK_WAIT_NEGATIVE: ErrorTemplate = entry(10183, 400, "consumer ack wait needs to be positive");
pub const CONSUMER_BACK_OFF_NEGATIVE: ErrorTemplate = entry(10184, 400, "consumer backoff needs to be positive");
pub const REQUIRED_API_LEVEL: ErrorTemplate = entry(10185, 412, "JetStream minimum api level required");
pub const MIRROR_WITH_MSG_SCHEDULES: ErrorTemplate = entry(10186, 400, "stream mirrors can not also schedule messages");
pub const SOURCE_WITH_MSG_SCHEDULES: ErrorTemplate = entry(10187, 400, "stream source can not also schedule messages");
pub const MESSAGE_SCHEDULES_DISABLED: ErrorTemplate = entry(10188, 400, "message schedules is disabled");
pub const MESSAGE_SCHEDULES_PATTERN_INVALID: ErrorTemplate = entry(10189, 400, "message schedules pattern is invalid");
pub const MESSAGE_SCHEDULES_TARGET_INVALID: ErrorTemplate = entry(10190, 400, "message schedules target is invalid");
pub const MESSAGE_SCHEDULES_TTL_INVALID: ErrorTemplate = entry(10191, 400, "message schedules invalid per-message TTL");
pub const MESSAGE_SCHEDULES_ROLLUP_INVALID: ErrorTemplate = entry(10192, 400, "message schedules invalid rollup");
pub const STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_INVALID: ErrorTemplate =
    entry(10193, 400, "missing sequence for expected last sequence per subject");
pub const STREAM_OFFLINE_REASON: ErrorTemplate = entry(10194, 500, "stream is offline: {err}");
pub const CONSUMER_OFFLINE_REASON: ErrorTemplate = entry(10195, 500, "consumer is offline: {err}");
pub const CONSUMER_PRIORITY_GROUP_WITH_POLICY_NONE: ErrorTemplate =
    entry(10196, 400, "consumer can not have priority groups when policy is none");
pub const CONSUMER_PINNED_TTL_WITHOUT_PRIORITY_POLICY_NONE: ErrorTemplate =
    entry(10197, 400, "PinnedTTL cannot be set when PriorityPolicy is none");
pub const MIRROR_WITH_ATOMIC_PUBLISH: ErrorTemplate =
    entry(10198, 400, "stream mirrors can not also use atomic publishing");
pub const ATOMIC_PUBLISH_TOO_LARGE_BATCH: ErrorTemplate =
    entry(10199, 400, "atomic publish batch is too large: {size}");
pub const ATOMIC_PUBLISH_INVALID_BATCH_COMMIT: ErrorTemplate =
    entry(10200, 400, "atomic publish batch commit is invalid");
pub const ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE: ErrorTemplate =
    entry(10201, 400, "atomic publish batch contains duplicate message id");
pub const CLUSTER_SERVER_MEMBER_CHANGE_INFLIGHT: ErrorTemplate =
    entry(10202, 400, "cluster member change is in progress");
pub const MESSAGE_SCHEDULES_SOURCE_INVALID: ErrorTemplate = entry(10203, 400, "message schedules source is invalid");
pub const CONSUMER_INVALID_RESET: ErrorTemplate = entry(10204, 400, "invalid reset: {err}");
pub const BATCH_PUBLISH_DISABLED: ErrorTemplate = entry(10205, 400, "batch publish is disabled");
pub const BATCH_PUBLISH_INVALID_PATTERN: ErrorTemplate = entry(10206, 400, "batch publish pattern is invalid");
pub const BATCH_PUBLISH_INVALID_BATCH_ID: ErrorTemplate = entry(10207, 400, "batch publish ID is invalid");
pub const BATCH_PUBLISH_UNKNOWN_BATCH_ID: ErrorTemplate = entry(10208, 400, "batch publish ID unknown");
pub const MIRROR_WITH_BATCH_PUBLISH: ErrorTemplate =
    entry(10209, 400, "stream mirrors can not also use batch publishing");
pub const ATOMIC_PUBLISH_TOO_MANY_INFLIGHT: ErrorTemplate = entry(10210, 429, "atomic publish too many inflight");
pub const BATCH_PUBLISH_TOO_MANY_INFLIGHT: ErrorTemplate = entry(10211, 429, "batch publish too many inflight");
pub const MESSAGE_SCHEDULES_SCHEDULER_INVALID: ErrorTemplate = entry(10212, 400, "message schedules invalid scheduler");
pub const MIRROR_DURABLE_CONSUMER_CFG_INVALID: ErrorTemplate =
    entry(10213, 400, "stream mirror consumer config is invalid");
pub const MIRROR_CONSUMER_REQUIRES_ACK_FC: ErrorTemplate =
    entry(10214, 400, "stream mirror consumer requires flow control ack policy");
pub const SOURCE_DURABLE_CONSUMER_CFG_INVALID: ErrorTemplate =
    entry(10215, 400, "stream source consumer config is invalid");
pub const SOURCE_DURABLE_CONSUMER_DUPLICATE_DETECTED: ErrorTemplate =
    entry(10216, 400, "duplicate stream source consumer detected");
pub const SOURCE_CONSUMER_REQUIRES_ACK_FC: ErrorTemplate =
    entry(10217, 400, "stream source consumer requires flow control ack policy");
pub const CONSUMER_ACK_FC_REQUIRES_PUSH: ErrorTemplate =
    entry(10218, 400, "flow control ack policy requires a push based consumer");
pub const CONSUMER_ACK_FC_REQUIRES_FC: ErrorTemplate =
    entry(10219, 400, "flow control ack policy requires flow control");
pub const CONSUMER_ACK_FC_REQUIRES_MAX_ACK_PENDING: ErrorTemplate =
    entry(10220, 400, "flow control ack policy requires max ack pending");
pub const CONSUMER_ACK_FC_REQUIRES_NO_ACK_WAIT: ErrorTemplate =
    entry(10221, 400, "flow control ack policy requires unset ack wait");
pub const CONSUMER_ACK_FC_REQUIRES_NO_MAX_DELIVER: ErrorTemplate =
    entry(10222, 400, "flow control ack policy requires unset max deliver");
pub const MESSAGE_SCHEDULES_TIME_ZONE_INVALID: ErrorTemplate =
    entry(10223, 400, "message schedules time zone is invalid");
pub const CLUSTER_RESCUE: ErrorTemplate = entry(10224, 400, "JetStream system rescue not applied: {err}");
pub const CONSUMER_STREAM_IDENTITY_MISMATCH: ErrorTemplate =
    entry(10225, 400, "consumer's stream identity does not match: {msg}");
pub const STREAM_RECONFIGURE_IN_PROGRESS: ErrorTemplate =
    entry(10226, 400, "stream reconfiguration already in progress");
pub const MESSAGE_SOURCE_HDR_NOT_ALLOWED: ErrorTemplate =
    entry(10227, 400, "message stream source header is not allowed");

/// Every entry, in the order of its code.
pub const ALL: &[ErrorTemplate] = &[
    ACCOUNT_RESOURCES_EXCEEDED,
    BAD_REQUEST,
    CLUSTER_INCOMPLETE,
    CLUSTER_NO_PEERS,
    CLUSTER_NOT_ACTIVE,
    CLUSTER_NOT_ASSIGNED,
    CLUSTER_NOT_AVAIL,
    CLUSTER_NOT_LEADER,
    CLUSTER_REQUIRED,
    CLUSTER_TAGS,
    CONSUMER_CREATE,
    CONSUMER_NAME_EXIST,
    CONSUMER_NOT_FOUND,
    SNAPSHOT_DELIVER_SUBJECT_INVALID,
    CONSUMER_DURABLE_NAME_NOT_IN_SUBJECT,
    CONSUMER_DURABLE_NAME_NOT_MATCH_SUBJECT,
    CONSUMER_DURABLE_NAME_NOT_SET,
    CONSUMER_EPHEMERAL_WITH_DURABLE_IN_SUBJECT,
    CONSUMER_EPHEMERAL_WITH_DURABLE_NAME,
    STREAM_EXTERNAL_API_OVERLAP,
    STREAM_EXTERNAL_DEL_PREFIX_OVERLAPS,
    INSUFFICIENT_RESOURCES,
    STREAM_INVALID_EXTERNAL_DELIVERY_SUBJ,
    INVALID_JSON,
    MAXIMUM_CONSUMERS_LIMIT,
    MAXIMUM_STREAMS_LIMIT,
    MEMORY_RESOURCES_EXCEEDED,
    MIRROR_CONSUMER_SETUP_FAILED,
    MIRROR_MAX_MESSAGE_SIZE_TOO_BIG,
    MIRROR_WITH_SOURCES,
    MIRROR_WITH_START_SEQ_AND_TIME,
    MIRROR_WITH_SUBJECT_FILTERS,
    MIRROR_WITH_SUBJECTS,
    NO_ACCOUNT,
    CLUSTER_UN_SUPPORT_FEATURE,
    NO_MESSAGE_FOUND,
    NOT_EMPTY_REQUEST,
    NOT_ENABLED_FOR_ACCOUNT,
    CLUSTER_PEER_NOT_MEMBER,
    RAFT_GENERAL,
    RESTORE_SUBSCRIBE_FAILED,
    SEQUENCE_NOT_FOUND,
    CLUSTER_SERVER_NOT_MEMBER,
    SOURCE_CONSUMER_SETUP_FAILED,
    SOURCE_MAX_MESSAGE_SIZE_TOO_BIG,
    STORAGE_RESOURCES_EXCEEDED,
    STREAM_ASSIGNMENT,
    STREAM_CREATE,
    STREAM_DELETE,
    STREAM_GENERAL_ERROR,
    STREAM_INVALID_CONFIG,
    STREAM_LIMITS,
    STREAM_MESSAGE_EXCEEDS_MAXIMUM,
    STREAM_MIRROR_NOT_UPDATABLE,
    STREAM_MISMATCH,
    STREAM_MSG_DELETE_FAILED,
    STREAM_NAME_EXIST,
    STREAM_NOT_FOUND,
    STREAM_NOT_MATCH,
    STREAM_REPLICAS_NOT_UPDATABLE,
    STREAM_RESTORE,
    STREAM_SEQUENCE_NOT_MATCH,
    STREAM_SNAPSHOT,
    STREAM_SUBJECT_OVERLAP,
    STREAM_TEMPLATE_CREATE,
    STREAM_TEMPLATE_DELETE,
    STREAM_TEMPLATE_NOT_FOUND,
    STREAM_UPDATE,
    STREAM_WRONG_LAST_MSG_ID,
    STREAM_WRONG_LAST_SEQUENCE,
    TEMP_STORAGE_FAILED,
    TEMPLATE_NAME_NOT_MATCH_SUBJECT,
    STREAM_REPLICAS_NOT_SUPPORTED,
    PEER_REMAP,
    NOT_ENABLED,
    STREAM_STORE_FAILED,
    CONSUMER_CONFIG_REQUIRED,
    CONSUMER_DELIVER_TO_WILDCARDS,
    CONSUMER_PUSH_MAX_WAITING,
    CONSUMER_DELIVER_CYCLE,
    CONSUMER_MAX_PENDING_ACK_POLICY_REQUIRED,
    CONSUMER_SMALL_HEARTBEAT,
    CONSUMER_PULL_REQUIRES_ACK,
    CONSUMER_PULL_NOT_DURABLE,
    CONSUMER_PULL_WITH_RATE_LIMIT,
    CONSUMER_MAX_WAITING_NEGATIVE,
    CONSUMER_HB_REQUIRES_PUSH,
    CONSUMER_FC_REQUIRES_PUSH,
    CONSUMER_DIRECT_REQUIRES_PUSH,
    CONSUMER_DIRECT_REQUIRES_EPHEMERAL,
    CONSUMER_ON_MAPPED,
    CONSUMER_FILTER_NOT_SUBSET,
    CONSUMER_INVALID_POLICY,
    CONSUMER_INVALID_SAMPLING,
    STREAM_INVALID,
    STREAM_HEADER_EXCEEDS_MAXIMUM,
    CONSUMER_WQ_REQUIRES_EXPLICIT_ACK,
    CONSUMER_WQ_MULTIPLE_UNFILTERED,
    CONSUMER_WQ_CONSUMER_NOT_UNIQUE,
    CONSUMER_WQ_CONSUMER_NOT_DELIVER_ALL,
    CONSUMER_NAME_TOO_LONG,
    CONSUMER_BAD_DURABLE_NAME,
    CONSUMER_STORE_FAILED,
    CONSUMER_EXISTING_ACTIVE,
    CONSUMER_REPLACEMENT_WITH_DIFFERENT_NAME,
    CONSUMER_DESCRIPTION_TOO_LONG,
    CONSUMER_WITH_FLOW_CONTROL_NEEDS_HEARTBEATS,
    STREAM_SEALED,
    STREAM_PURGE_FAILED,
    STREAM_ROLLUP_FAILED,
    CONSUMER_INVALID_DELIVER_SUBJECT,
    STREAM_MAX_BYTES_REQUIRED,
    CONSUMER_MAX_REQUEST_BATCH_NEGATIVE,
    CONSUMER_MAX_REQUEST_EXPIRES_TOO_SMALL,
    CONSUMER_MAX_DELIVER_BACKOFF,
    STREAM_INFO_MAX_SUBJECTS,
    STREAM_OFFLINE,
    CONSUMER_OFFLINE,
    NO_LIMITS,
    CONSUMER_MAX_PENDING_ACK_EXCESS,
    STREAM_MAX_STREAM_BYTES_EXCEEDED,
    STREAM_MOVE_AND_SCALE,
    STREAM_MOVE_IN_PROGRESS,
    CONSUMER_MAX_REQUEST_BATCH_EXCEEDED,
    CONSUMER_REPLICAS_EXCEEDS_STREAM,
    CONSUMER_NAME_CONTAINS_PATH_SEPARATORS,
    STREAM_NAME_CONTAINS_PATH_SEPARATORS,
    STREAM_RECONFIGURE_NOT_IN_PROGRESS,
    STREAM_NAME_EXIST_RESTORE_FAILED,
    CONSUMER_CREATE_FILTER_SUBJECT_MISMATCH,
    CONSUMER_CREATE_DURABLE_AND_NAME_MISMATCH,
    REPLICAS_COUNT_CANNOT_BE_NEGATIVE,
    CONSUMER_REPLICAS_SHOULD_MATCH_STREAM,
    CONSUMER_METADATA_LENGTH,
    CONSUMER_DUPLICATE_FILTER_SUBJECTS,
    CONSUMER_MULTIPLE_FILTERS_NOT_ALLOWED,
    CONSUMER_OVERLAPPING_SUBJECT_FILTERS,
    CONSUMER_EMPTY_FILTER,
    SOURCE_DUPLICATE_DETECTED,
    SOURCE_INVALID_STREAM_NAME,
    MIRROR_INVALID_STREAM_NAME,
    MIRROR_WITH_FIRST_SEQ,
    SOURCE_MULTIPLE_FILTERS_NOT_ALLOWED,
    SOURCE_INVALID_SUBJECT_FILTER,
    SOURCE_INVALID_TRANSFORM_DESTINATION,
    SOURCE_OVERLAPPING_SUBJECT_FILTERS,
    CONSUMER_ALREADY_EXISTS,
    CONSUMER_DOES_NOT_EXIST,
    MIRROR_MULTIPLE_FILTERS_NOT_ALLOWED,
    MIRROR_INVALID_SUBJECT_FILTER,
    MIRROR_OVERLAPPING_SUBJECT_FILTERS,
    CONSUMER_INACTIVE_THRESHOLD_EXCESS,
    MIRROR_INVALID_TRANSFORM_DESTINATION,
    STREAM_TRANSFORM_INVALID_SOURCE,
    STREAM_TRANSFORM_INVALID_DESTINATION,
    PEDANTIC,
    STREAM_DUPLICATE_MESSAGE_CONFLICT,
    CONSUMER_PRIORITY_POLICY_WITHOUT_GROUP,
    CONSUMER_INVALID_PRIORITY_GROUP,
    CONSUMER_EMPTY_GROUP_NAME,
    CONSUMER_INVALID_GROUP_NAME,
    STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_NOT_READY,
    STREAM_WRONG_LAST_SEQUENCE_CONSTANT,
    MESSAGE_TTL_INVALID,
    MESSAGE_TTL_DISABLED,
    STREAM_TOO_MANY_REQUESTS,
    MESSAGE_INCR_DISABLED,
    MESSAGE_INCR_MISSING,
    MESSAGE_INCR_PAYLOAD,
    MESSAGE_INCR_INVALID,
    MESSAGE_COUNTER_BROKEN,
    MIRROR_WITH_COUNTERS,
    ATOMIC_PUBLISH_DISABLED,
    ATOMIC_PUBLISH_MISSING_SEQ,
    ATOMIC_PUBLISH_INCOMPLETE_BATCH,
    ATOMIC_PUBLISH_UNSUPPORTED_HEADER_BATCH,
    CONSUMER_PUSH_WITH_PRIORITY_GROUP,
    ATOMIC_PUBLISH_INVALID_BATCH_ID,
    STREAM_MIN_LAST_SEQ,
    CONSUMER_ACK_POLICY_INVALID,
    CONSUMER_REPLAY_POLICY_INVALID,
    CONSUMER_ACK_WAIT_NEGATIVE,
    CONSUMER_BACK_OFF_NEGATIVE,
    REQUIRED_API_LEVEL,
    MIRROR_WITH_MSG_SCHEDULES,
    SOURCE_WITH_MSG_SCHEDULES,
    MESSAGE_SCHEDULES_DISABLED,
    MESSAGE_SCHEDULES_PATTERN_INVALID,
    MESSAGE_SCHEDULES_TARGET_INVALID,
    MESSAGE_SCHEDULES_TTL_INVALID,
    MESSAGE_SCHEDULES_ROLLUP_INVALID,
    STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_INVALID,
    STREAM_OFFLINE_REASON,
    CONSUMER_OFFLINE_REASON,
    CONSUMER_PRIORITY_GROUP_WITH_POLICY_NONE,
    CONSUMER_PINNED_TTL_WITHOUT_PRIORITY_POLICY_NONE,
    MIRROR_WITH_ATOMIC_PUBLISH,
    ATOMIC_PUBLISH_TOO_LARGE_BATCH,
    ATOMIC_PUBLISH_INVALID_BATCH_COMMIT,
    ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE,
    CLUSTER_SERVER_MEMBER_CHANGE_INFLIGHT,
    MESSAGE_SCHEDULES_SOURCE_INVALID,
    CONSUMER_INVALID_RESET,
    BATCH_PUBLISH_DISABLED,
    BATCH_PUBLISH_INVALID_PATTERN,
    BATCH_PUBLISH_INVALID_BATCH_ID,
    BATCH_PUBLISH_UNKNOWN_BATCH_ID,
    MIRROR_WITH_BATCH_PUBLISH,
    ATOMIC_PUBLISH_TOO_MANY_INFLIGHT,
    BATCH_PUBLISH_TOO_MANY_INFLIGHT,
    MESSAGE_SCHEDULES_SCHEDULER_INVALID,
    MIRROR_DURABLE_CONSUMER_CFG_INVALID,
    MIRROR_CONSUMER_REQUIRES_ACK_FC,
    SOURCE_DURABLE_CONSUMER_CFG_INVALID,
    SOURCE_DURABLE_CONSUMER_DUPLICATE_DETECTED,
    SOURCE_CONSUMER_REQUIRES_ACK_FC,
    CONSUMER_ACK_FC_REQUIRES_PUSH,
    CONSUMER_ACK_FC_REQUIRES_FC,
    CONSUMER_ACK_FC_REQUIRES_MAX_ACK_PENDING,
    CONSUMER_ACK_FC_REQUIRES_NO_ACK_WAIT,
    CONSUMER_ACK_FC_REQUIRES_NO_MAX_DELIVER,
    MESSAGE_SCHEDULES_TIME_ZONE_INVALID,
    CLUSTER_RESCUE,
    CONSUMER_STREAM_IDENTITY_MISMATCH,
    STREAM_RECONFIGURE_IN_PROGRESS,
    MESSAGE_SOURCE_HDR_NOT_ALLOWED,
];
