//! Client connections: sockets, TLS, the state of each client, and the hub that they share.

mod accept;
pub mod certificate;
#[expect(clippy::module_inception, reason = "the noun of the file is the noun of the folder")]
mod connection;
mod hub;
mod io;
mod lane;
mod register;
mod session;
mod settings;
mod snapshot;
mod task;
mod timers;
mod tls;

pub use accept::serve;
pub use connection::{Connection, TlsInfo, Update};
pub use hub::{ConnectionObserver, Hub, HubCounters};
pub use register::Register;
pub use settings::{Settings, Trace};
pub use snapshot::{ClosedConnection, ConnectionSnapshot, SubscriptionSnapshot};
pub use timers::Alarm;
pub use tls::{CertificateFiles, HandshakeFirst, TlsError, TlsListener, TlsSettings};
