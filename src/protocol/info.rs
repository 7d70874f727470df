//! INFO: what the server tells about itself (1.2), field for field in nats-server's order.

use serde::Serialize;

/// The compatibility version: client libraries gate features on it.
pub const VERSION: &str = "2.15.1";
/// Stands where nats-server names its toolchain; some tools parse the leading `go`.
pub const GO_VERSION: &str = "go1.27.2";
/// The revision of the compatibility version.
pub const GIT_COMMIT: &str = "b2fd3ef";
/// JetStream API level of 2.15.
pub const API_LEVEL: u32 = 5;
/// Protocol level for clients.
pub const PROTOCOL: u32 = 1;

/// The object behind `INFO `. What is false, zero or empty is left out as Go's `omitempty` does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Info {
    pub server_id: String,
    pub server_name: String,
    pub version: String,
    pub proto: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub git_commit: String,
    pub go: String,
    pub host: String,
    pub port: u16,
    pub headers: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub auth_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub tls_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub tls_verify: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub tls_available: bool,
    pub max_payload: i64,
    #[serde(skip_serializing_if = "is_false")]
    pub jetstream: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub client_id: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_ip: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    #[serde(skip_serializing_if = "is_false")]
    pub cluster_dynamic: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect_urls: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ws_connect_urls: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub ldm: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub connect_info: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remote_account: String,
    #[serde(skip_serializing_if = "is_false")]
    pub acc_is_sys: bool,
    #[serde(skip_serializing_if = "is_zero_u32")]
    pub api_lvl: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub xkey: String,
}

impl Info {
    /// The whole protocol line. There is a space before CRLF, as clients have always seen it.
    pub fn line(&self) -> Vec<u8> {
        let mut line = b"INFO ".to_vec();
        serde_json::to_writer(&mut line, self).expect("a struct of strings and numbers is always JSON");
        line.extend_from_slice(b" \r\n");
        line
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_zero_u32(value: &u32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_as_nats_server_writes_it() {
        let info = Info {
            server_id: "N1".into(),
            server_name: "n".into(),
            version: VERSION.into(),
            proto: PROTOCOL,
            git_commit: GIT_COMMIT.into(),
            go: GO_VERSION.into(),
            host: "127.0.0.1".into(),
            port: 4222,
            headers: true,
            max_payload: 1_048_576,
            client_id: 7,
            client_ip: "127.0.0.1".into(),
            api_lvl: API_LEVEL,
            ..Info::default()
        };
        assert_eq!(
            String::from_utf8(info.line()).unwrap(),
            "INFO {\"server_id\":\"N1\",\"server_name\":\"n\",\"version\":\"2.15.1\",\"proto\":1,\
             \"git_commit\":\"b2fd3ef\",\"go\":\"go1.27.2\",\"host\":\"127.0.0.1\",\"port\":4222,\"headers\":true,\
             \"max_payload\":1048576,\"client_id\":7,\"client_ip\":\"127.0.0.1\",\"api_lvl\":5} \r\n"
        );
    }
}
