//! One line of the log: `[pid] 2026/11/23 06:22:51.031709 [INF] text`.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use super::{Severity, timezone};
use crate::config::LogOptions;

/// How much of a line the destination wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    /// With colours for a terminal.
    Color,
    /// The text alone: syslog has the rest.
    Bare,
}

/// Makes lines; shared by all who log, changed by a reload.
#[derive(Clone)]
pub(super) struct Formatter {
    shared: Arc<Shared>,
}

struct Shared {
    prefix: String,
    with_time: AtomicBool,
    utc: AtomicBool,
    format: AtomicU8,
}

impl Formatter {
    pub fn new() -> Self {
        let prefix = format!("[{}] ", std::process::id());
        let format = AtomicU8::new(Format::Plain as u8);
        let shared = Shared { prefix, with_time: AtomicBool::new(true), utc: AtomicBool::new(false), format };
        Self { shared: Arc::new(shared) }
    }

    pub fn configure(&self, options: &LogOptions, format: Format) {
        self.shared.with_time.store(options.time, Ordering::Relaxed);
        self.shared.utc.store(options.time_utc, Ordering::Relaxed);
        self.shared.format.store(format as u8, Ordering::Relaxed);
    }

    /// The line without its line break.
    pub fn line(&self, severity: Severity, text: fmt::Arguments<'_>) -> String {
        let mut line = String::with_capacity(128);
        let format = self.shared.format.load(Ordering::Relaxed);
        if format != Format::Bare as u8 {
            line.push_str(&self.shared.prefix);
            if self.shared.with_time.load(Ordering::Relaxed) {
                let now = timezone::now(self.shared.utc.load(Ordering::Relaxed));
                let _ = write!(
                    line,
                    "{:04}/{:02}/{:02} {:02}:{:02}:{:02}.{:06} ",
                    now.year,
                    now.month,
                    now.day,
                    now.hour,
                    now.minute,
                    now.second,
                    now.nanosecond / 1000
                );
            }
            push_label(&mut line, severity, format == Format::Color as u8);
        }
        let _ = write!(Escaper(&mut line), "{text}");
        line
    }
}

fn push_label(line: &mut String, severity: Severity, color: bool) {
    let (label, code) = match severity {
        Severity::Fatal => ("FTL", "31"),
        Severity::Error => ("ERR", "31"),
        Severity::Warning => ("WRN", "0;93"),
        Severity::Info => ("INF", "32"),
        Severity::Debug => ("DBG", "36"),
        Severity::Trace => ("TRC", "33"),
    };
    let _ = if color { write!(line, "[\x1b[{code}m{label}\x1b[0m] ") } else { write!(line, "[{label}] ") };
}

/// Keeps a line one line: whatever clients send cannot begin another one or talk to the terminal.
struct Escaper<'a>(&'a mut String);

impl fmt::Write for Escaper<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push('\t'),
                c if c.is_control() => write!(self.0, "\\x{:02x}", u32::from(c))?,
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}
