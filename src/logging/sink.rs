//! Where lines end up. Only the writing thread touches a sink.

use std::io::{IsTerminal, Write};

use super::Severity;
use super::file::LogFile;
use super::line::{Format, Formatter};
use super::syslog::Syslog;
use crate::config::LogOptions;

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("error opening file: open {path}: {error}")]
    File { path: String, error: std::io::Error },
    #[error("error connecting to syslog: {0}")]
    Syslog(String),
    #[error("another log is installed already")]
    AlreadyInstalled,
}

pub(super) enum Sink {
    Stream(Box<dyn Write + Send>, Format),
    File(LogFile),
    Syslog(Syslog),
}

impl Sink {
    /// The destination that the options ask for: a file before a remote syslog, a local one, and stderr.
    pub fn open(options: &LogOptions) -> Result<Self, LogError> {
        if let Some(path) = &options.file {
            return LogFile::open(path, options).map(Self::File);
        }
        if let Some(address) = &options.remote_syslog {
            return Syslog::remote(address).map(Self::Syslog);
        }
        if options.syslog {
            return Syslog::local().map(Self::Syslog);
        }
        let stderr = std::io::stderr();
        let format = if stderr.is_terminal() { Format::Color } else { Format::Plain };
        Ok(Self::Stream(Box::new(stderr), format))
    }

    pub fn format(&self) -> Format {
        match self {
            Self::Stream(_, format) => *format,
            Self::File(_) => Format::Plain,
            Self::Syslog(_) => Format::Bare,
        }
    }

    /// A line that cannot be written is lost: there is nobody left to tell.
    pub fn write(&mut self, lines: &[(Severity, String)], formatter: &Formatter) {
        if lines.is_empty() {
            return;
        }
        match self {
            Self::Stream(stream, _) => {
                let _ = stream.write_all(join(lines).as_bytes());
                let _ = stream.flush();
            }
            Self::File(file) => file.write(&join(lines), formatter),
            Self::Syslog(syslog) => {
                for (severity, line) in lines {
                    syslog.send(*severity, line);
                }
            }
        }
    }

    pub fn reopen(&mut self, formatter: &Formatter) {
        let text = match self {
            Self::File(file) => match file.reopen() {
                Ok(()) => "File log re-opened".to_string(),
                // The old file is still open, so this can be read somewhere.
                Err(error) => format!("File log re-open failed: {error}"),
            },
            Self::Stream(..) | Self::Syslog(_) => "File log re-open ignored, not a file logger".to_string(),
        };
        let line = formatter.line(Severity::Info, format_args!("{text}"));
        self.write(&[(Severity::Info, line)], formatter);
    }
}

/// One buffer, so that one batch is one write.
fn join(lines: &[(Severity, String)]) -> String {
    let mut text = String::with_capacity(lines.iter().map(|(_, line)| line.len() + 1).sum());
    for (_, line) in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}
