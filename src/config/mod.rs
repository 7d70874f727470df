//! Configuration: what the operator asked for, as one typed [`Options`] value.
//!
//! The grammar of nats.conf, the keys, the command line and the reload diff live here. Nothing in this module opens a
//! socket or starts a thread, and nothing outside it reads a configuration file.

mod account;
mod jetstream;
mod options;
mod secret;
mod tls;

pub use account::{
    AccountLimits, AccountOptions, AllowResponses, ConnectionType, JetStreamTraffic, MessageTrace, Permissions,
    SubjectPermissions, User, UserIdentity,
};
pub use jetstream::{AccountJetStreamLimits, JetStreamLimits, JetStreamOptions, SyncPolicy};
pub use options::{Authorization, ListenAddress, LogOptions, Options, UnsupportedKey, UserPassword, WriteTimeout};
pub use secret::Secret;
pub use tls::{CertificatePair, HandshakeFirst, TlsOptions, TlsVersion};
