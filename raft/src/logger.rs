//! raft logs through slog: this drain hands its lines to `tracing` under the target `raft`, one level lower for what is merely
//! normal life ("became follower"), since a node holds thousands of groups.

use crate::ids::GroupId;
use slog::{KV, Logger, Never, OwnedKVList, Record};
use std::fmt::{self, Write};
use std::sync::LazyLock;
use tracing::Level;

const TARGET: &str = "raft";

/// A logger that names the group in each line.
pub(crate) fn logger(group: GroupId) -> Logger {
    static ROOT: LazyLock<Logger> = LazyLock::new(|| Logger::root(Forward, slog::o!()));
    ROOT.new(slog::o!("group" => group.0))
}

struct Forward;

impl slog::Drain for Forward {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            slog::Level::Critical | slog::Level::Error => {
                if tracing::enabled!(target: TARGET, Level::ERROR) {
                    tracing::error!(target: TARGET, "{}", line(record, values));
                }
            }
            slog::Level::Warning => {
                if tracing::enabled!(target: TARGET, Level::WARN) {
                    tracing::warn!(target: TARGET, "{}", line(record, values));
                }
            }
            slog::Level::Info => {
                if tracing::enabled!(target: TARGET, Level::DEBUG) {
                    tracing::debug!(target: TARGET, "{}", line(record, values));
                }
            }
            slog::Level::Debug | slog::Level::Trace => {
                if tracing::enabled!(target: TARGET, Level::TRACE) {
                    tracing::trace!(target: TARGET, "{}", line(record, values));
                }
            }
        }
        Ok(())
    }
}

fn line(record: &Record<'_>, values: &OwnedKVList) -> String {
    let mut text = Text(record.msg().to_string());
    // A field that fails to print is left out: the line matters more.
    let _ = record.kv().serialize(record, &mut text);
    let _ = values.serialize(record, &mut text);
    text.0
}

struct Text(String);

impl slog::Serializer for Text {
    fn emit_arguments(&mut self, key: slog::Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}")?;
        Ok(())
    }
}
