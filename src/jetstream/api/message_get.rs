//! Requests to read stored messages: STREAM.MSG.GET (T-60) and DIRECT.GET (T-61 to T-64).

use super::error::ApiError;
use super::error_codes;
use super::json::{self, Decoder, Fields, Json};
use super::time::Timestamp;

/// The body of both; which combinations are allowed differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageGetRequest {
    pub seq: u64,
    pub last_by_subj: String,
    pub next_by_subj: String,
    pub batch: i64,
    pub max_bytes: i64,
    pub start_time: Option<Timestamp>,
    pub multi_last: Vec<String>,
    pub up_to_seq: u64,
    pub up_to_time: Option<Timestamp>,
    pub no_hdr: bool,
}

impl Fields for MessageGetRequest {
    const NAME: &'static str = "JSApiMsgGetRequest";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "seq" => decoder.unsigned(json, &mut self.seq),
            "last_by_subj" => decoder.text(json, &mut self.last_by_subj),
            "next_by_subj" => decoder.text(json, &mut self.next_by_subj),
            "batch" => decoder.int(json, &mut self.batch, "int"),
            "max_bytes" => decoder.int(json, &mut self.max_bytes, "int"),
            "start_time" => decoder.time(json, &mut self.start_time),
            "multi_last" => decoder.texts(json, &mut self.multi_last),
            "up_to_seq" => decoder.unsigned(json, &mut self.up_to_seq),
            "up_to_time" => decoder.time(json, &mut self.up_to_time),
            "no_hdr" => decoder.boolean(json, &mut self.no_hdr),
            _ => false,
        }
    }
}

/// The status line that a direct get is answered with instead of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectStatus {
    pub code: u16,
    pub text: &'static str,
}

impl DirectStatus {
    pub const MESSAGE_NOT_FOUND: Self = Self { code: 404, text: "Message Not Found" };
    pub const NO_RESULTS: Self = Self { code: 404, text: "No Results" };
    pub const EMPTY_REQUEST: Self = Self { code: 408, text: "Empty Request" };
    pub const MALFORMED_REQUEST: Self = Self { code: 408, text: "Malformed Request" };
    pub const BAD_REQUEST: Self = Self { code: 408, text: "Bad Request" };
    pub const REQUIRED_API_LEVEL: Self = Self { code: 412, text: "Required Api Level" };
    pub const TOO_MANY_RESULTS: Self = Self { code: 413, text: "Too Many Results" };

    /// The whole reply.
    pub fn block(&self) -> Vec<u8> {
        crate::protocol::headers::status(self.code, self.text)
    }
}

impl MessageGetRequest {
    /// Reads and checks the body of STREAM.MSG.GET.
    pub fn for_api(body: &[u8], strict: bool) -> Result<Self, ApiError> {
        if super::requests::is_empty(body) {
            return Err(error_codes::BAD_REQUEST.error());
        }
        let request: Self = super::requests::read(body, strict)?;
        let is_batch = request.batch > 0 || request.max_bytes > 0;
        if is_batch || request.is_contradictory() || request.selects_nothing() {
            return Err(error_codes::BAD_REQUEST.error());
        }
        Ok(request)
    }

    /// Reads and checks the body of `$JS.API.DIRECT.GET.<stream>`. Unknown fields are ignored here.
    pub fn for_direct(body: &[u8]) -> Result<Self, DirectStatus> {
        if body.is_empty() {
            return Err(DirectStatus::EMPTY_REQUEST);
        }
        let request: Self = json::read(body, false).map_err(|_| DirectStatus::MALFORMED_REQUEST)?;
        if request.selects_nothing() && request.multi_last.is_empty() {
            return Err(DirectStatus::EMPTY_REQUEST);
        }
        let last = !request.last_by_subj.is_empty();
        let multi = !request.multi_last.is_empty();
        let next = !request.next_by_subj.is_empty();
        let bounds = request.up_to_seq > 0 && request.up_to_time.is_some();
        if request.is_contradictory() || (last && (request.batch > 0 || multi)) || (next && multi) || bounds {
            return Err(DirectStatus::BAD_REQUEST);
        }
        Ok(request)
    }

    /// Reads and checks `$JS.API.DIRECT.GET.<stream>.<subject>`.
    pub fn for_direct_last(body: &[u8], subject: &str) -> Result<Self, DirectStatus> {
        let mut request = Self::default();
        if !body.is_empty() {
            request = json::read(body, false).map_err(|_| DirectStatus::MALFORMED_REQUEST)?;
        }
        let allowed = Self { no_hdr: request.no_hdr, max_bytes: request.max_bytes, ..Self::default() };
        if subject.is_empty() || request != allowed {
            return Err(DirectStatus::BAD_REQUEST);
        }
        request.last_by_subj = subject.to_owned();
        Ok(request)
    }

    fn selects_nothing(&self) -> bool {
        self.seq == 0 && self.last_by_subj.is_empty() && self.next_by_subj.is_empty() && self.start_time.is_none()
    }

    fn is_contradictory(&self) -> bool {
        let last = !self.last_by_subj.is_empty();
        let next = !self.next_by_subj.is_empty();
        let time = self.start_time.is_some();
        (last && (self.seq > 0 || time || next)) || (self.seq > 0 && time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_refuses_contradictions_and_batches() {
        for bad in ["", "{}", r#"{"seq":1,"last_by_subj":"a"}"#, r#"{"seq":1,"batch":2}"#, r#"{"no_hdr":true}"#] {
            assert_eq!(MessageGetRequest::for_api(bad.as_bytes(), true).unwrap_err().err_code, 10003, "{bad}");
        }
        assert_eq!(MessageGetRequest::for_api(br#"{"x":1}"#, true).unwrap_err().err_code, 10025);
        assert!(MessageGetRequest::for_api(br#"{"seq":1,"next_by_subj":"a"}"#, true).is_ok());
    }

    #[test]
    fn direct_gets_answer_with_status_lines() {
        let check = |body: &str| MessageGetRequest::for_direct(body.as_bytes()).map_err(|status| status.text);
        assert_eq!(check(""), Err("Empty Request"));
        assert_eq!(check("{}"), Err("Empty Request"));
        assert_eq!(check("{"), Err("Malformed Request"));
        assert_eq!(check(r#"{"last_by_subj":"a","batch":3}"#), Err("Bad Request"));
        assert!(check(r#"{"multi_last":["a"],"unknown":1}"#).is_ok());
        assert_eq!(MessageGetRequest::for_direct_last(br#"{"seq":1}"#, "a"), Err(DirectStatus::BAD_REQUEST));
        assert_eq!(MessageGetRequest::for_direct_last(b"", "a.b").unwrap().last_by_subj, "a.b");
    }
}
