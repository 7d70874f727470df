//! From the parsed tree to [`Options`]: which keys exist, what they take, and what is wrong with them (12.2).

mod accounts;
mod authorization;
mod jetstream;
mod permissions;
mod shape;
mod tls;
mod tls_files;
mod top;
mod unsupported;

use std::collections::HashSet;
use std::time::Duration;

use super::options::Options;
use super::report::Report;
use super::syntax::Map;

pub(super) use authorization::single_user;
pub use tls::{CIPHER_SUITE_NAMES, CURVE_NAMES};
pub(super) use tls_files::check_files as check_tls_files;
pub use tls_files::trusted_roots;

/// Options while file and flags are being read: what is not decided yet is `None` and gets its default, which may
/// depend on other options, at the end.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub options: Options,
    pub http_host: Option<String>,
    pub http_port: Option<u16>,
    pub https_port: Option<u16>,
    /// Unset, it follows the time of the TLS handshake (2.1).
    pub authorization_timeout: Option<Duration>,
    pub authorization_seen: bool,
    pub system_account: Option<String>,
    pub no_system_account: bool,
    pub info_queue_limit: Option<u64>,
    pub user_name: Option<String>,
    pub password: Option<String>,
    /// Of the users read so far, in whatever account.
    pub user_names: HashSet<String>,
    pub cluster_seen: bool,
}

/// Reads the tree into the draft.
pub(super) fn read(map: &Map, draft: &mut Draft, report: &mut Report) {
    top::read(map, draft, report);
}
