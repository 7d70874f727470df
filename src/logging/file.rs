//! A log file with rotation by size: `<name>.2026.11.23.06.22.51.031709123` is a finished one.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::line::Formatter;
use super::sink::LogError;
use super::{Severity, timezone};
use crate::config::LogOptions;

/// Readable by the owner's group, writable by the owner.
const FILE_MODE: u32 = 0o640;

pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: Option<u64>,
    /// What `bytes_max` was before failed rotations doubled it.
    bytes_max_configured: Option<u64>,
    /// Files that are kept, this one included.
    files_max: Option<u32>,
}

impl LogFile {
    pub fn open(path: &Path, options: &LogOptions) -> Result<Self, LogError> {
        let failed = |error| LogError::File { path: path.display().to_string(), error };
        let file = open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        Ok(Self {
            path: path.to_path_buf(),
            file,
            bytes,
            bytes_max: options.file_bytes_max,
            bytes_max_configured: options.file_bytes_max,
            files_max: options.files_max,
        })
    }

    pub fn reopen(&mut self) -> std::io::Result<()> {
        let file = open(&self.path)?;
        self.bytes = file.metadata()?.len();
        self.file = file;
        Ok(())
    }

    pub fn write(&mut self, text: &str, formatter: &Formatter) {
        self.append(text);
        if self.bytes_max.is_some_and(|max| self.bytes > max) {
            self.rotate(formatter);
        }
    }

    fn append(&mut self, text: &str) {
        if self.file.write_all(text.as_bytes()).is_ok() {
            self.bytes += text.len() as u64;
        }
    }

    fn say(&mut self, severity: Severity, formatter: &Formatter, text: std::fmt::Arguments<'_>) {
        let mut line = formatter.line(severity, text);
        line.push('\n');
        self.append(&line);
    }

    fn rotate(&mut self, formatter: &Formatter) {
        let backup = backup_path(&self.path);
        let outcome = std::fs::rename(&self.path, &backup).and_then(|()| self.reopen());
        match outcome {
            Ok(()) => {
                self.bytes_max = self.bytes_max_configured;
                self.say(Severity::Info, formatter, format_args!("Rotated log, backup saved as {backup:?}"));
                self.purge(formatter);
            }
            Err(error) => {
                // Trying again with every line would make things worse.
                self.bytes_max = self.bytes_max.map(|max| max.saturating_mul(2));
                let next = self.bytes_max.unwrap_or_default();
                let text = format_args!("Unable to rotate log ({error}), will attempt next rotation at size {next}");
                self.say(Severity::Error, formatter, text);
            }
        }
    }

    /// Removes the oldest finished files beyond the configured number.
    fn purge(&mut self, formatter: &Formatter) {
        let Some(files_max) = self.files_max else { return };
        let keep = usize::try_from(files_max.saturating_sub(1)).unwrap_or(usize::MAX);
        let mut backups = match backups(&self.path) {
            Ok(backups) => backups,
            Err(error) => {
                let text = format_args!("Unable to read the log directory ({error}), will attempt next rotation");
                return self.say(Severity::Error, formatter, text);
            }
        };
        // The time in the name sorts as text.
        backups.sort_unstable();
        for path in backups.iter().take(backups.len().saturating_sub(keep)) {
            match std::fs::remove_file(path) {
                Ok(()) => self.say(Severity::Info, formatter, format_args!("Purged log file {path:?}")),
                Err(error) => {
                    let text = format_args!("Unable to remove backup log file {path:?} ({error})");
                    return self.say(Severity::Error, formatter, text);
                }
            }
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)
}

fn backup_path(path: &Path) -> PathBuf {
    let now = timezone::now(false);
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(
        ".{:04}.{:02}.{:02}.{:02}.{:02}.{:02}.{:09}",
        now.year, now.month, now.day, now.hour, now.minute, now.second, now.nanosecond
    ));
    name.into()
}

fn backups(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let prefix = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().strip_prefix(&prefix).is_some_and(is_stamp) {
            found.push(directory.join(name));
        }
    }
    Ok(found)
}

/// Only files that were named by a rotation may be removed by one.
fn is_stamp(text: &str) -> bool {
    let widths: Vec<usize> = text.split('.').map(str::len).collect();
    widths == [4, 2, 2, 2, 2, 2, 9] && text.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit())
}
