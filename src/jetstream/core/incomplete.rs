//! A start on a log that is not whole any more: what the lost entries said about limits must not cost messages.

use std::sync::Arc;

use super::Core;
use crate::jetstream::api::StreamConfig;

impl Core {
    /// Entries are lost. Until [`resume_limits`](Self::resume_limits) no message leaves because of a limit.
    pub fn suspend_limits(&mut self) {
        self.machine.suspend_limits();
    }

    /// Everything that can be read is applied: what the limits ask for is done now. `config` is the stream's when the log
    /// does not have the latest one.
    pub fn resume_limits(&mut self, config: Option<Arc<StreamConfig>>) {
        self.machine.resume_limits(config, &self.store, &mut self.effects);
        self.release_effects();
    }
}
