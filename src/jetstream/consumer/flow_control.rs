//! Flow control of a push consumer (D-01): a window of bytes that the client opens by answering requests.
//!
//! A request goes out when half the window is used; when all of it is, delivery stops until the answer.

use bytes::Bytes;

const WINDOW_START: u64 = WINDOW_MAX / 16;
const WINDOW_MAX: u64 = 32 << 20;

/// `$JS.FC.<stream>.<consumer>.`, the fixed part of a flow control subject.
pub fn prefix(stream: &str, consumer: &str) -> Vec<u8> {
    format!("$JS.FC.{stream}.{consumer}.").into_bytes()
}

/// `$JS.FC.<domain or _>.<account hash>.<stream>.<consumer>.`, the second form.
pub fn prefix_v2(domain: &str, account_hash: &str, stream: &str, consumer: &str) -> Vec<u8> {
    let domain = if domain.is_empty() { "_" } else { domain };
    format!("$JS.FC.{domain}.{account_hash}.{stream}.{consumer}.").into_bytes()
}

/// The window and the request that is out.
#[derive(Clone, Debug)]
pub struct FlowControl {
    window: u64,
    /// Bytes sent and not covered by an answer.
    outstanding: u64,
    request: Option<Request>,
    requests_made: u64,
}

#[derive(Clone, Debug)]
struct Request {
    subject: Bytes,
    /// The bytes its answer covers.
    covers: u64,
}

impl Default for FlowControl {
    fn default() -> Self {
        Self { window: WINDOW_START, outstanding: 0, request: None, requests_made: 0 }
    }
}

impl FlowControl {
    /// No more may be sent before an answer.
    pub fn is_stalled(&self) -> bool {
        self.outstanding > self.window
    }

    /// The subject of the request that is not answered.
    pub fn unanswered(&self) -> Option<&Bytes> {
        self.request.as_ref().map(|request| &request.subject)
    }

    /// Counts a message; true when it is time for a request.
    pub fn sent(&mut self, bytes: u64) -> bool {
        self.outstanding += bytes;
        match &mut self.request {
            None => self.outstanding > self.window / 2,
            Some(request) => {
                // Far beyond what the request covers: let its answer cover some of the rest as well.
                if self.outstanding - request.covers >= self.window {
                    request.covers += bytes;
                }
                false
            }
        }
    }

    /// Makes a request that covers everything sent so far; `now` makes its subject unlike those of an earlier leader.
    pub fn request(&mut self, prefix: &[u8], now: i64) -> Bytes {
        self.requests_made += 1;
        let mut subject = Vec::with_capacity(prefix.len() + 4);
        subject.extend_from_slice(prefix);
        subject.extend_from_slice(&token(now as u64 ^ self.requests_made.rotate_left(40)));
        let subject = Bytes::from(subject);
        self.request = Some(Request { subject: subject.clone(), covers: self.outstanding });
        subject
    }

    /// Takes an answer; false for one that does not belong to the latest request.
    pub fn answered(&mut self, subject: &[u8]) -> bool {
        if self.request.as_ref().is_none_or(|request| request.subject != subject) {
            return false;
        }
        let covers = self.request.take().map_or(0, |request| request.covers);
        self.outstanding = self.outstanding.saturating_sub(covers);
        self.window = (self.window * 2).min(WINDOW_MAX);
        true
    }
}

/// Four characters that look random.
fn token(seed: u64) -> [u8; 4] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut value = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value ^= value >> 29;
    value = value.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20;
    [(); 4].map(|()| {
        let digit = DIGITS[(value % 62) as usize];
        value /= 62;
        digit
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_at_half_a_window_and_a_stall_at_all_of_it() {
        let mut flow = FlowControl::default();
        assert!(!flow.sent(WINDOW_START / 2));
        assert!(flow.sent(1));
        let subject = flow.request(b"$JS.FC.S.C.", 77);
        assert_eq!(subject.len(), 15);
        assert!(!flow.sent(WINDOW_START / 2));
        assert!(flow.is_stalled());
        assert_eq!(flow.unanswered(), Some(&subject));
        assert!(!flow.answered(b"$JS.FC.S.C.zzzz"));
        assert!(flow.answered(&subject));
        assert!(!flow.is_stalled() && flow.unanswered().is_none());
        assert!(!flow.answered(&subject), "an answer counts once");
    }

    #[test]
    fn the_window_doubles_up_to_its_limit() {
        let mut flow = FlowControl::default();
        for doublings in 1..8 {
            let subject = flow.request(b"x.", doublings);
            assert!(flow.answered(&subject));
            assert_eq!(flow.window, (WINDOW_START << doublings).min(WINDOW_MAX));
        }
    }

    #[test]
    fn subjects_differ_between_requests_and_leaders() {
        let mut flow = FlowControl::default();
        let first = flow.request(b"", 1);
        assert_ne!(flow.request(b"", 1), first);
        assert_ne!(FlowControl::default().request(b"", 2), first);
    }
}
