//! CONNECT lines without what must stay secret (F-13).

use std::borrow::Cow;

/// Keys of CONNECT whose values prove who somebody is.
const SECRET_KEYS: [&str; 6] = ["pass", "auth_token", "jwt", "sig", "proxy_sig", "password"];
const REPLACEMENT: &str = "[REDACTED]";

/// The JSON of a CONNECT for a trace line, with secrets replaced. Bytes that are not UTF-8 are replaced as well.
pub fn redact_connect(json: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(json);
    let lower = text.to_ascii_lowercase();
    if !SECRET_KEYS.iter().any(|key| lower.contains(key)) && !lower.contains("\\u") {
        return text;
    }
    match serde_json::from_slice::<serde_json::Value>(json) {
        Ok(serde_json::Value::Object(mut map)) => {
            for (key, value) in &mut map {
                if SECRET_KEYS.contains(&key.to_ascii_lowercase().as_str()) {
                    *value = REPLACEMENT.into();
                }
            }
            serde_json::Value::Object(map).to_string().into()
        }
        // Whatever this is, it mentions a secret and cannot be taken apart.
        _ => REPLACEMENT.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_survive() {
        for (text, expected) in [
            (r#"{"verbose":false,"user":"a"}"#, r#"{"verbose":false,"user":"a"}"#),
            (r#"{"user":"a","pass":"s3cret"}"#, r#"{"pass":"[REDACTED]","user":"a"}"#),
            (r#"{"p\u0061ss":"s3cret"}"#, r#"{"pass":"[REDACTED]"}"#),
            (
                r#"{"Auth_Token":"s3cret","jwt":"x","sig":"y"}"#,
                r#"{"Auth_Token":"[REDACTED]","jwt":"[REDACTED]","sig":"[REDACTED]"}"#,
            ),
            (r#"{"pass":"s3cret"#, "[REDACTED]"),
        ] {
            assert_eq!(redact_connect(text.as_bytes()), expected);
        }
    }
}
