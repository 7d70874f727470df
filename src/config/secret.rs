//! A password, token or key as written in the configuration: readable on purpose only, never through `Debug`.

use std::fmt;

/// Text that must not reach a log. `Debug` and `Display` print `[REDACTED]`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. The name is long so that a reviewer notices it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True for a bcrypt hash, which is compared by hashing and not as text (S-01).
    pub fn is_bcrypt(&self) -> bool {
        ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|prefix| self.0.starts_with(prefix))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}
