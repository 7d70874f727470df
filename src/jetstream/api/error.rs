//! An error as the JetStream API reports it: `{"code":..,"err_code":..,"description":..}`.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// What a request or a publish is refused with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiError {
    /// The HTTP-like class: 400, 404, 500, 503, ...
    pub code: u16,
    /// What clients match on.
    #[serde(skip_serializing_if = "is_zero")]
    pub err_code: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: Cow<'static, str>,
}

/// A row of the error table; see [`super::error_codes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorTemplate {
    pub code: u16,
    pub err_code: u16,
    pub description: &'static str,
}

impl ErrorTemplate {
    /// The error of a row without placeholders.
    pub const fn error(&self) -> ApiError {
        ApiError { code: self.code, err_code: self.err_code, description: Cow::Borrowed(self.description) }
    }

    /// The error of a row with one placeholder, whatever its name, replaced by `value`.
    pub fn with(&self, value: impl fmt::Display) -> ApiError {
        let Some((before, rest)) = self.description.split_once('{') else {
            return self.error();
        };
        let after = rest.split_once('}').map_or("", |(_, after)| after);
        self.described(format!("{before}{value}{after}"))
    }

    /// The error of a row with several placeholders, replaced by name.
    pub fn with_all(&self, values: &[(&str, &str)]) -> ApiError {
        let mut description = self.description.to_owned();
        for (name, value) in values {
            description = description.replace(&format!("{{{name}}}"), value);
        }
        self.described(description)
    }

    /// True when `error` was made from this row.
    pub fn is(&self, error: &ApiError) -> bool {
        self.err_code == error.err_code
    }

    fn described(&self, description: String) -> ApiError {
        ApiError { code: self.code, err_code: self.err_code, description: Cow::Owned(description) }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.description, self.err_code)
    }
}

impl std::error::Error for ApiError {}

fn is_zero(value: &u16) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::super::error_codes;

    #[test]
    fn templates_are_filled_in() {
        assert_eq!(error_codes::STREAM_WRONG_LAST_SEQUENCE.with(7).description, "wrong last sequence: 7");
        assert_eq!(error_codes::STREAM_NOT_FOUND.error().description, "stream not found");
        let error = error_codes::STREAM_EXTERNAL_API_OVERLAP.with_all(&[("prefix", "a"), ("subject", "b")]);
        assert_eq!(error.description, "stream external api prefix a must not overlap with b");
        assert!(error_codes::STREAM_EXTERNAL_API_OVERLAP.is(&error));
    }

    #[test]
    fn the_table_is_complete_and_codes_are_unique() {
        assert_eq!(error_codes::ALL.len(), 226);
        assert!(error_codes::ALL.windows(2).all(|pair| pair[0].err_code + 1 == pair[1].err_code));
        assert_eq!(error_codes::ALL[0].err_code, 10002);
    }

    #[test]
    fn json_has_the_three_fields_in_order() {
        let json = serde_json::to_string(&error_codes::CONSUMER_NOT_FOUND.error()).unwrap();
        assert_eq!(json, r#"{"code":404,"err_code":10014,"description":"consumer not found"}"#);
    }
}
