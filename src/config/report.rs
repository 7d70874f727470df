//! What is said about a configuration: errors, warnings, and keys that are known and not acted on.

use std::fmt;

use super::options::UnsupportedKey;
use super::syntax::{Node, Span};

/// A configuration that cannot be used, with one line per mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub lines: Vec<String>,
}

impl ConfigError {
    pub(super) fn new(line: impl fmt::Display) -> Self {
        Self { lines: vec![line.to_string()] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Collects everything that is wrong, so that the operator sees all of it at once.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub errors: Vec<String>,
    pub warnings: Vec<String>,
    pub unsupported: Vec<UnsupportedKey>,
}

impl Report {
    pub fn error(&mut self, span: &Span, text: impl fmt::Display) {
        self.errors.push(format!("{span}: {text}"));
    }

    pub fn warning(&mut self, span: &Span, text: impl fmt::Display) {
        self.warnings.push(format!("{span}: {text}"));
    }

    /// A warning about how a key is used.
    pub fn misuse(&mut self, key: &str, span: &Span, text: impl fmt::Display) {
        self.warning(span, format_args!("invalid use of field {key:?}: {text}"));
    }

    /// A key nobody knows; fine when it is only there to be referred to as a variable.
    pub fn unknown(&mut self, key: &str, node: &Node) {
        if !node.is_variable {
            self.error(&node.span, format_args!("unknown field {key:?}"));
        }
    }

    pub fn unsupported(&mut self, name: impl Into<String>, span: &Span) {
        self.unsupported.push(UnsupportedKey { name: name.into(), file: span.file.to_string(), line: span.line });
    }

    /// A key that is not acted on, and without which the server admits or discloses what the operator meant to keep.
    pub fn missing_guard(&mut self, name: impl fmt::Display, span: &Span) {
        self.error(
            span,
            format_args!(
                "{name} is not supported by this release; it protects something that would stand open: remove it to start"
            ),
        );
    }
}
