//! `tracing` events as lines: the message, then the fields as `name=value`.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::{Logger, Severity};

/// Debug and trace lines come from our own crates only; libraries are heard from warnings on.
const OWN_TARGETS: &str = "headwater";

/// Sends events to a [`Logger`].
pub struct LogLayer {
    logger: Logger,
}

impl LogLayer {
    pub(super) fn new(logger: Logger) -> Self {
        Self { logger }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && self.logger.is_enabled(severity(*metadata.level()))
            && (*metadata.level() <= Level::WARN || metadata.target().starts_with(OWN_TARGETS))
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // A change of level rebuilds this cache, so that a disabled callsite costs one load.
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if self.logger.is_enabled(Severity::Trace) {
            LevelFilter::TRACE
        } else if self.logger.is_enabled(Severity::Debug) {
            LevelFilter::DEBUG
        } else {
            LevelFilter::INFO
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let separator = if text.message.is_empty() || text.fields.is_empty() { "" } else { " " };
        self.logger
            .write(severity(*event.metadata().level()), format_args!("{}{separator}{}", text.message, text.fields));
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warning,
        Level::INFO => Severity::Info,
        Level::DEBUG => Severity::Debug,
        Level::TRACE => Severity::Trace,
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn field(&mut self, name: &str, value: fmt::Arguments<'_>) {
        if name == "message" {
            let _ = write!(self.message, "{value}");
            return;
        }
        if !self.fields.is_empty() {
            self.fields.push(' ');
        }
        let _ = write!(self.fields, "{name}={value}");
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field.name(), format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let needs_quotes = value.is_empty() || value.contains([' ', '"', '=']);
        if needs_quotes && field.name() != "message" {
            self.field(field.name(), format_args!("{value:?}"));
        } else {
            self.field(field.name(), format_args!("{value}"));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.field(field.name(), format_args!("{:?}", value.to_string()));
    }
}
