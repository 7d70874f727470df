//! Configuration: what the operator asked for, as one typed [`Options`] value.
//!
//! The grammar of nats.conf, the keys, the command line and the reload diff live here. Nothing in this module opens a
//! socket or starts a thread, and nothing outside it reads a configuration file.

mod account;
mod duration;
mod flags;
mod jetstream;
mod keys;
mod load;
mod options;
mod reader;
mod reload;
mod report;
mod secret;
mod syntax;
mod tls;
mod validate;

#[cfg(test)]
mod tests;

pub use account::{
    AccountLimits, AccountOptions, AllowResponses, ConnectionType, JetStreamTraffic, MessageTrace, Permissions,
    SubjectPermissions, User, UserIdentity,
};
pub use duration::{GoDuration, parse_duration};
pub use flags::{Flags, LogFlags, TlsFlags};
pub use jetstream::{AccountJetStreamLimits, JetStreamLimits, JetStreamOptions, SyncPolicy};
pub use keys::{CIPHER_SUITE_NAMES, CURVE_NAMES, trusted_roots};
pub use load::{Loaded, load, load_text};
pub use options::{Authorization, ListenAddress, LogOptions, Options, UnsupportedKey, UserPassword, WriteTimeout};
pub use reload::{Change, Topic};
pub use report::ConfigError;
pub use secret::Secret;
pub use tls::{CertificatePair, HandshakeFirst, TlsOptions, TlsVersion};
