//! CONNECT: what a client tells about itself (1.3). Keys are matched as nats-server's JSON decoder does it:
//! without regard to case, unknown ones ignored, and a repeated CONNECT changes only what it names.

use serde_json::{Map, Value};
use std::fmt;

/// A password, token or signature. It has no `Display` and its `Debug` says nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The only way to the text; the name makes its uses easy to find.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() { "Secret(none)" } else { "Secret([REDACTED])" })
    }
}

/// The options of a client connection.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub verbose: bool,
    pub pedantic: bool,
    pub echo: bool,
    pub tls_required: bool,
    pub headers: bool,
    pub no_responders: bool,
    pub protocol: i64,
    pub name: String,
    pub lang: String,
    pub version: String,
    pub user: String,
    pub nkey: String,
    pub account: String,
    pub new_account: bool,
    pub password: Secret,
    pub token: Secret,
    pub jwt: Secret,
    pub signature: Secret,
    pub proxy_signature: Secret,
}

impl Default for ConnectOptions {
    /// What holds before the first CONNECT.
    fn default() -> ConnectOptions {
        ConnectOptions {
            verbose: true,
            pedantic: true,
            echo: true,
            tls_required: false,
            headers: false,
            no_responders: false,
            protocol: 0,
            name: String::new(),
            lang: String::new(),
            version: String::new(),
            user: String::new(),
            nkey: String::new(),
            account: String::new(),
            new_account: false,
            password: Secret::default(),
            token: Secret::default(),
            jwt: Secret::default(),
            signature: Secret::default(),
            proxy_signature: Secret::default(),
        }
    }
}

/// The argument of CONNECT is not a JSON object, or a field has a value of the wrong type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed CONNECT options")]
pub struct MalformedConnect;

impl ConnectOptions {
    /// Takes over every field that `json` names.
    pub fn merge(&mut self, json: &[u8]) -> Result<(), MalformedConnect> {
        match serde_json::from_slice(json) {
            Ok(Value::Object(fields)) => self.merge_fields(fields),
            Ok(Value::Null) => Ok(()),
            _ => Err(MalformedConnect),
        }
    }

    fn merge_fields(&mut self, fields: Map<String, Value>) -> Result<(), MalformedConnect> {
        for (mut key, value) in fields {
            if value.is_null() {
                continue;
            }
            key.make_ascii_lowercase();
            match key.as_str() {
                "verbose" => self.verbose = boolean(&value)?,
                "pedantic" => self.pedantic = boolean(&value)?,
                "echo" => self.echo = boolean(&value)?,
                "tls_required" => self.tls_required = boolean(&value)?,
                "headers" => self.headers = boolean(&value)?,
                "no_responders" => self.no_responders = boolean(&value)?,
                "new_account" => self.new_account = boolean(&value)?,
                "protocol" => self.protocol = value.as_i64().ok_or(MalformedConnect)?,
                "name" => self.name = text(value)?,
                "lang" => self.lang = text(value)?,
                "version" => self.version = text(value)?,
                "user" => self.user = text(value)?,
                "nkey" => self.nkey = text(value)?,
                "account" => self.account = text(value)?,
                "pass" => self.password = Secret(text(value)?),
                "auth_token" => self.token = Secret(text(value)?),
                "jwt" => self.jwt = Secret(text(value)?),
                "sig" => self.signature = Secret(text(value)?),
                "proxy_sig" => self.proxy_signature = Secret(text(value)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// True when nothing of what identifies a client differs.
    pub fn is_same_login(&self, other: &ConnectOptions) -> bool {
        let login = |options: &ConnectOptions| {
            let ConnectOptions { user, nkey, password, token, jwt, signature, proxy_signature, .. } = options.clone();
            (user, nkey, [password, token, jwt, signature, proxy_signature])
        };
        login(self) == login(other)
    }

    /// What the client logs in with, for a log: no secret is in it.
    pub fn login(&self) -> Option<String> {
        match self {
            Self { nkey, .. } if !nkey.is_empty() => Some(format!("nkey:{nkey}")),
            Self { user, .. } if !user.is_empty() => Some(format!("user:{user}")),
            Self { token, .. } if !token.is_empty() => Some("token".to_owned()),
            _ => None,
        }
    }

    /// The same for a login that failed, as the end of a line.
    pub fn failed_login(&self) -> String {
        match self {
            Self { nkey, .. } if !nkey.is_empty() => format!(" - Nkey {nkey:?}"),
            Self { user, .. } if !user.is_empty() => format!(" - User {user:?}"),
            Self { token, .. } if !token.is_empty() => " - Token \"[REDACTED]\"".to_owned(),
            _ => String::new(),
        }
    }

    /// True when the client sent nothing that could identify it.
    pub fn is_anonymous(&self) -> bool {
        self.names_no_user() && self.nkey.is_empty()
    }

    /// True when it sent neither a name nor a password or token.
    pub fn names_no_user(&self) -> bool {
        self.user.is_empty() && self.password.is_empty() && self.token.is_empty()
    }
}

/// CONNECT options as they may be logged: what could be used to log in is taken out.
pub fn redacted(json: &[u8]) -> String {
    const SECRETS: [&str; 6] = ["pass", "auth_token", "jwt", "nkey", "sig", "proxy_sig"];
    match serde_json::from_slice(json) {
        Ok(Value::Object(mut fields)) => {
            for (key, value) in &mut fields {
                if SECRETS.contains(&key.to_ascii_lowercase().as_str()) {
                    *value = Value::from("[REDACTED]");
                }
            }
            Value::Object(fields).to_string()
        }
        _ => "[REDACTED]".into(),
    }
}

fn boolean(value: &Value) -> Result<bool, MalformedConnect> {
    value.as_bool().ok_or(MalformedConnect)
}

fn text(value: Value) -> Result<String, MalformedConnect> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(MalformedConnect),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_not_named_keep_their_value() {
        let mut options = ConnectOptions::default();
        options.merge(br#"{"verbose":false,"Lang":"rust","zzz":[1],"protocol":1,"name":null}"#).unwrap();
        assert!(!options.verbose && options.pedantic && options.echo);
        assert_eq!((options.lang.as_str(), options.protocol), ("rust", 1));
        options.merge(br#"{"pedantic":false}"#).unwrap();
        assert!(!options.verbose && !options.pedantic);
        options.merge(b"null").unwrap();
    }

    #[test]
    fn wrong_types_and_broken_json_are_refused() {
        for bad in ["", "{", "[]", "1", r#"{"verbose":"x"}"#, r#"{"protocol":1.5}"#, r#"{"name":1}"#] {
            assert_eq!(ConnectOptions::default().merge(bad.as_bytes()), Err(MalformedConnect), "{bad}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let mut options = ConnectOptions::default();
        options.merge(br#"{"pass":"s3cret","auth_token":"s3cret","jwt":"s3cret","sig":"s3cret"}"#).unwrap();
        assert!(!format!("{options:?}").contains("s3cret"));
        let shown = redacted(br#"{"PASS":"s3cret","auth_token":"s3cret","jwt":"s3cret","sig":"s3cret","name":"n"}"#);
        assert!(!shown.contains("s3cret") && shown.contains("\"name\":\"n\""));
        assert_eq!(redacted(b"{s3cret"), "[REDACTED]");
    }
}
