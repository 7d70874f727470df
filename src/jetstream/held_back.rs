//! A stream of which the store does not give enough to serve it (ADR 0012).

use std::sync::Arc;

use headwater_storage::GroupId;

use super::api::{ApiError, StreamConfig, error_codes};

/// It is kept as it is: its name and subjects are taken, requests for it are told why they are refused, and only a request
/// to delete it changes anything. The next start tries again.
pub struct HeldBack {
    pub group: GroupId,
    pub account: String,
    /// The last one that could be read. When the group's own definition can not, that of its creation; when nothing can be
    /// understood, only the name is known.
    pub config: Arc<StreamConfig>,
    pub reason: String,
}

impl HeldBack {
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// What whoever asks for the stream is told.
    pub fn error(&self) -> ApiError {
        error_codes::STREAM_OFFLINE_REASON.with(&self.reason)
    }
}
