//! What connections need to know of the configuration, in the form they need it.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Settings {
    pub control_line_bytes_max: usize,
    pub payload_bytes_max: usize,
    /// Bytes that may wait for one connection before it counts as a slow consumer.
    pub pending_bytes_max: usize,
    pub connections_max: usize,
    pub subscriptions_max: Option<usize>,
    pub subscription_tokens_max: Option<usize>,
    pub closed_connections_max: usize,
    pub ping_interval: Duration,
    pub pings_out_max: u32,
    pub write_deadline: Duration,
    /// Past the write deadline, keep a client that took something meanwhile.
    pub retry_writes: bool,
    pub auth_timeout: Duration,
    /// Make publishers wait for subscribers that fall behind; otherwise the subscribers lose messages.
    pub stall_publishers: bool,
    pub headers: bool,
    /// Plain connections are welcome beside TLS ones.
    pub allow_plain: bool,
    pub trace: Trace,
}

/// What a trace shows of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// None shows them whole.
    pub message_bytes_max: Option<usize>,
    pub headers_only: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            control_line_bytes_max: 4096,
            payload_bytes_max: 1 << 20,
            pending_bytes_max: 64 << 20,
            connections_max: 64 * 1024,
            subscriptions_max: None,
            subscription_tokens_max: None,
            closed_connections_max: 10_000,
            ping_interval: Duration::from_secs(120),
            pings_out_max: 2,
            write_deadline: Duration::from_secs(10),
            retry_writes: false,
            auth_timeout: Duration::from_secs(2),
            stall_publishers: true,
            headers: true,
            allow_plain: false,
            trace: Trace::default(),
        }
    }
}
