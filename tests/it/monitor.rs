//! The monitoring port (section 11.3): pages, options, refusals, health and metrics of a real server.

mod https;
pub mod metrics;
mod scrub;

use crate::harness::{PATIENCE, RawClient, TestServer, eventually};
use headwater::config::{ListenAddress, Options, User, UserIdentity};
use headwater::protocol::error::ClosedReason;
use headwater::server::Server;
use headwater_storage::JournalError;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A server with a monitor, and its store when it has one.
struct Watched {
    server: TestServer,
    _store: Option<tempfile::TempDir>,
}

pub struct Page {
    pub code: u16,
    head: String,
    pub body: String,
}

fn listening(options: &mut Options) {
    options.http = Some(ListenAddress { host: "127.0.0.1".into(), port: 0 });
}

fn plain() -> Watched {
    Watched { server: TestServer::start(listening), _store: None }
}

/// With JetStream, a stream `S` of `s.*` with three messages and a consumer `C`.
fn stored() -> Watched {
    let store = tempfile::tempdir().unwrap();
    let server = TestServer::start(|options| {
        listening(options);
        options.jetstream.enabled = true;
        options.store_dir = Some(store.path().to_path_buf());
    });
    let mut client = server.connected();
    client.send("SUB _INBOX.> 1\r\n");
    request(&mut client, "$JS.API.STREAM.CREATE.S", r#"{"name":"S","subjects":["s.*"]}"#);
    request(
        &mut client,
        "$JS.API.CONSUMER.CREATE.S.C",
        r#"{"stream_name":"S","config":{"name":"C","durable_name":"C","ack_policy":"explicit"}}"#,
    );
    for number in 0..3 {
        request(&mut client, &format!("s.{number}"), "hello");
    }
    Watched { server, _store: Some(store) }
}

/// The body of the reply.
fn request(client: &mut RawClient, subject: &str, body: &str) -> Value {
    client.send(format!("PUB {subject} _INBOX.1 {}\r\n{body}\r\n", body.len()));
    let head = client.line();
    let size: usize = head.trim_end().rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{head}"));
    let reply = client.take(size + 2);
    serde_json::from_slice(&reply[..size]).unwrap()
}

impl Watched {
    fn get(&self, path: &str) -> Page {
        get(self.server.server.monitor_address().unwrap(), path)
    }

    fn json(&self, path: &str) -> Value {
        let page = self.get(path);
        assert_eq!(page.code, 200, "{path}: {}", page.body);
        assert!(page.head.contains("content-type: application/json"), "{}", page.head);
        assert!(page.head.contains("access-control-allow-origin: *"), "{}", page.head);
        serde_json::from_str(&page.body).unwrap()
    }

    fn ids(&self, path: &str) -> Vec<u64> {
        let page = self.json(path);
        page["connections"].as_array().unwrap().iter().map(|one| one["cid"].as_u64().unwrap()).collect()
    }
}

pub fn get(address: SocketAddr, path: &str) -> Page {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {text:?}"));
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(head.to_ascii_lowercase().contains("content-length"), "{head}");
    Page { code, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

#[track_caller]
fn has(page: &Value, fields: &str) {
    for field in fields.split_whitespace() {
        assert!(page.get(field).is_some(), "{field} is missing in {page:#}");
    }
}

#[test]
fn varz_says_what_clients_are_told_and_whether_there_are_users() {
    let shown = |change: fn(&mut Options)| {
        let watched = Watched {
            server: TestServer::start(|options| {
                listening(options);
                change(options);
            }),
            _store: None,
        };
        let varz = watched.json("/varz");
        (varz["host"].clone(), varz["port"].clone(), varz["auth_required"].clone())
    };
    let advertised = shown(|options| options.client_advertise = Some("example.com:4333".into()));
    assert_eq!(advertised, ("example.com".into(), 4333.into(), Value::Null));
    let with_users = |options: &mut Options| {
        options.authorization.users = vec![User {
            identity: UserIdentity::Password { name: "u".into(), password: "".into() },
            account: None,
            permissions: None,
            connection_types: Vec::new(),
            proxy_required: false,
        }];
        options.no_auth_user = Some("u".into());
    };
    assert_eq!(shown(with_users).2, true, "although nobody is asked");
}

#[test]
fn every_page_has_its_fields() {
    let server = stored();
    let varz = server.json("/varz");
    has(
        &varz,
        "server_id server_name version proto git_commit go host port max_connections ping_interval ping_max http_host \
         http_port http_base_path https_port auth_timeout max_control_line max_payload max_pending cluster gateway leaf \
         mqtt websocket jetstream tls_timeout write_deadline start now uptime mem cores gomaxprocs cpu connections \
         total_connections routes remotes leafnodes in_msgs in_bytes in_client_msgs in_client_bytes out_msgs out_bytes \
         out_client_msgs out_client_bytes slow_consumers stale_connections stalled_clients subscriptions \
         http_req_stats config_load_time config_digest system_account slow_consumer_stats stale_connection_stats \
         disk_io_wait_stats",
    );
    assert_eq!((varz["ping_interval"].as_i64(), varz["auth_timeout"].to_string()), (Some(120_000_000_000), "2".into()));
    assert_eq!(varz["http_port"], server.server.server.monitor_address().unwrap().port());
    assert!(varz["mem"].as_u64().unwrap() > 0 && varz["uptime"].as_str().unwrap().ends_with('s'));
    has(&varz["jetstream"]["config"], "max_memory max_storage store_dir sync_always strict");
    has(&varz["jetstream"]["stats"], "memory storage reserved_memory reserved_storage accounts ha_assets api");
    has(
        &server.json("/subsz"),
        "server_id now num_subscriptions num_cache num_inserts num_removes num_matches \
         cache_hit_rate max_fanout avg_fanout total offset limit",
    );
    has(&server.json("/accountz"), "server_id now system_account accounts");
    let detail = &server.json("/accountz?acc=$G")["account_detail"];
    has(
        detail,
        "account_name update_time expired complete jetstream_enabled leafnode_connections client_connections \
         subscriptions name_tag sublist_stats",
    );
    assert_eq!(detail["jetstream_enabled"], true);
    let statistics = &server.json("/accstatz?unused=1")["account_statz"];
    assert_eq!(statistics.as_array().unwrap().len(), 2);
    has(&statistics[0], "acc name conns leafnodes total_conns num_subscriptions sent received slow_consumers");
    assert_eq!(server.json("/routez")["num_routes"], 0);
    assert_eq!(server.json("/leafz")["leafnodes"], 0);
    has(&server.json("/gatewayz"), "outbound_gateways inbound_gateways");
    assert!(server.get("/").body.contains("href=\"/varz\""));
}

#[test]
fn requests_and_messages_are_counted() {
    let server = plain();
    let mut client = server.server.connected();
    client.send("SUB a 1\r\nPUB a 5\r\nhello\r\n");
    client.expect("MSG a 1 5\r\nhello\r\n");
    for _ in 0..2 {
        server.json("/subscriptionsz");
    }
    let varz = server.json("/varz");
    assert_eq!((&varz["http_req_stats"]["/subsz"], &varz["http_req_stats"]["/varz"]), (&2.into(), &1.into()));
    assert_eq!(varz["http_req_stats"].as_object().unwrap().len(), 2);
    assert_eq!((varz["connections"].as_u64(), varz["total_connections"].as_u64()), (Some(1), Some(1)));
    eventually("traffic is counted", || {
        let varz = server.json("/varz");
        let moved = ["in_msgs", "in_bytes", "out_client_msgs", "out_bytes"].map(|field| varz[field].as_u64().unwrap());
        moved == [1, 5, 1, 5]
    });
    let seen = server.json("/connz");
    let connection = &seen["connections"][0];
    has(
        connection,
        "cid kind type ip port start last_activity rtt uptime idle pending_bytes in_msgs out_msgs in_bytes \
         out_bytes subscriptions",
    );
    assert_eq!((&connection["kind"], &connection["type"]), (&"Client".into(), &"nats".into()));
    assert_eq!((&connection["in_msgs"], &connection["in_bytes"]), (&1.into(), &5.into()));
}

#[test]
fn connections_are_chosen_sorted_and_cut_to_a_page() {
    let server = plain();
    let mut clients: Vec<RawClient> =
        ["one", "two", "three"].map(|name| server.server.connected_with(&format!("\"name\":\"{name}\""))).into();
    let ids = server.ids("/connz");
    assert_eq!(ids.len(), 3);
    clients[1].send("SUB a.b q 1\r\nSUB c 2\r\nPING\r\n");
    clients[1].expect("PONG\r\n");
    assert_eq!(server.ids("/connz?sort=subs")[0], ids[1]);
    assert_eq!(server.ids("/connz?limit=2"), ids[..2]);
    assert_eq!(server.ids("/connz?limit=2&offset=2"), ids[2..]);
    assert_eq!(server.ids("/connz?offset=9"), Vec::<u64>::new());
    assert_eq!(server.ids(&format!("/connz?cid={}", ids[2])), [ids[2]]);
    assert_eq!(server.ids("/connz?user=nobody"), Vec::<u64>::new());
    assert_eq!(server.ids("/connz?acc=$G&filter_subject=a.*"), [ids[1]]);
    let page = server.json("/connz?limit=2");
    let counts = ["num_connections", "total", "limit", "offset"].map(|field| page[field].as_u64().unwrap());
    assert_eq!(counts, [2, 3, 2, 0]);
    let listed = server.json(&format!("/connz?cid={}&subs=1", ids[1]));
    assert_eq!(listed["connections"][0]["subscriptions_list"].as_array().unwrap().len(), 2);
    let detailed = server.json(&format!("/connz?cid={}&subs=detail&auth=true", ids[1]));
    let subscriptions = detailed["connections"][0]["subscriptions_list_detail"].as_array().unwrap();
    let queued = subscriptions.iter().find(|subscription| subscription["subject"] == "a.b").unwrap();
    assert_eq!((&queued["qgroup"], &queued["sid"], &queued["cid"]), (&"q".into(), &"1".into(), &ids[1].into()));
    let tested = server.json("/subsz?subs=1&test=c");
    assert_eq!((tested["total"].as_u64(), &tested["subscriptions_list"][0]["account"]), (Some(1), &"$G".into()));
}

#[test]
fn closed_connections_are_remembered_with_their_reason() {
    let server = plain();
    let mut client = server.server.connected_with("\"name\":\"gone\"");
    client.send("SUB x 1\r\nPING\r\n");
    client.expect("PONG\r\n");
    let id = server.ids("/connz")[0];
    assert!(server.server.server.kick(id));
    eventually("the connection ends", || server.server.server.closed_connections().len() == 1);
    let closed = server.json("/connz?state=closed&sort=stop&subs=1");
    let gone = &closed["connections"][0];
    assert_eq!((&gone["name"], &gone["reason"]), (&"gone".into(), &ClosedReason::Kicked.as_str().into()));
    assert_eq!(gone["subscriptions_list"][0], "x");
    has(gone, "stop start uptime idle");
    assert_eq!(server.ids("/connz"), Vec::<u64>::new());
    assert_eq!(server.ids(&format!("/connz?state=any&cid={id}")), [id]);
    let _other = server.server.connected();
    assert_eq!(server.ids("/connz?state=ALL").len(), 2);
}

#[test]
fn what_can_not_be_read_is_refused() {
    let server = plain();
    for (path, text) in [
        ("/connz?sort=foo", "invalid sorting option: foo"),
        ("/connz?sort=stop", "sort by stop only valid on closed connections"),
        ("/connz?sort=reason&state=any", "sort by reason only valid on closed connections"),
        ("/connz?state=x", "Error decoding state for x"),
        ("/connz?subs=zz", "Error decoding boolean for 'subs': strconv.ParseBool: parsing \"zz\": invalid syntax"),
        ("/connz?limit=a", "Error decoding int for 'limit': strconv.Atoi: parsing \"a\": invalid syntax"),
        ("/connz?cid=-1", "Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"-1\": invalid syntax"),
        ("/jsz?offset=x", "Error decoding int for 'offset': strconv.Atoi: parsing \"x\": invalid syntax"),
        ("/subsz?test=a.*", "invalid test subject, must be valid publish subject: a.*"),
        ("/accountz?acc=NO", "Account NO does not exist"),
    ] {
        let page = server.get(path);
        assert_eq!((page.code, page.body.as_str()), (400, text), "{path}");
    }
    assert_eq!(server.get("/healthz?details=maybe").code, 400);
    let missing = server.get("/nope");
    assert_eq!((missing.code, missing.body.as_str()), (404, "404 page not found\n"));
}

#[test]
fn what_is_not_there_looks_as_it_does_at_nats_server() {
    let server = stored();
    assert_eq!(server.json("/connz?acc=NONE")["connections"], serde_json::Value::Null);
    assert_eq!(server.json("/connz?acc=$SYS")["connections"], serde_json::json!([]));
    assert_eq!(server.json("/ipqueuesz"), serde_json::json!({}));
    let raftz = server.get("/raftz");
    assert_eq!((raftz.code, raftz.body.as_str()), (404, "No Raft nodes registered"));
    let varz = server.json("/varz");
    assert_eq!(varz["feature_flags"]["js_ack_fc_v2"], false);
    assert_eq!(varz["jetstream"]["config"]["sync_interval"], 120_000_000_000_u64);
    let page = server.json("/jsz?consumers=true&config=true");
    let config = &page["account_details"][0]["stream_detail"][0]["consumer_detail"][0]["config"];
    assert!(config["metadata"].get("_nats.ver").is_none(), "as it is stored: {config}");
}

#[test]
fn connections_are_found_by_what_they_listen_to() {
    let server = plain();
    let (mut first, mut second) = (server.server.connected(), server.server.connected());
    first.send("SUB a.* 1\r\n");
    first.expect_nothing();
    second.send("SUB b 1\r\n");
    second.expect_nothing();
    let ids = server.ids("/connz");
    assert_eq!(server.ids("/connz?filter_subject=a.b"), ids[..1]);
    assert_eq!(server.ids("/connz?filter_subject=b&acc=$G"), ids[1..]);
    assert_eq!(server.ids("/connz?filter_subject=c"), Vec::<u64>::new());
}

#[test]
fn pages_stand_below_the_base_path() {
    let server = TestServer::start(|options| {
        listening(options);
        options.http_base_path = "/nats".into();
    });
    let server = Watched { server, _store: None };
    assert_eq!(server.json("/nats/varz")["http_base_path"], "/nats");
    assert!(server.get("/nats").body.contains("/nats/connz"));
    assert_eq!(server.get("/varz").code, 404);
}

#[test]
fn jetstream_is_told_as_far_as_asked() {
    let server = stored();
    let page = server.json("/jsz");
    has(
        &page,
        "memory storage reserved_memory reserved_storage accounts ha_assets api server_id now config limits \
         streams consumers messages bytes total",
    );
    let sums = ["streams", "consumers", "messages", "total"].map(|field| page[field].as_u64().unwrap());
    assert_eq!(sums, [1, 1, 3, 1]);
    assert!(page.get("account_details").is_none());
    assert_eq!((&page["journal"]["state"], &page["journal"]["damaged_records"]), (&"ok".into(), &0.into()));
    let accounts = server.json("/jsz?accounts=1");
    assert_eq!(accounts["account_details"][0]["name"], "$G");
    assert!(accounts["account_details"][0].get("stream_detail").is_none());
    assert_eq!(server.json("/jsz?accounts=1&offset=1").get("account_details"), None);
    let full = server.json("/jsz?consumers=1&config=1&raft=1");
    let stream = &full["account_details"][0]["stream_detail"][0];
    assert_eq!((&stream["name"], &stream["config"]["subjects"][0]), (&"S".into(), &"s.*".into()));
    assert_eq!((&stream["state"]["messages"], &full["streams_leader"]), (&3.into(), &1.into()));
    let consumer = &stream["consumer_detail"][0];
    assert_eq!((&consumer["name"], &consumer["num_pending"]), (&"C".into(), &3.into()));
    assert_eq!(consumer["config"]["ack_policy"], "explicit");
    let brief = server.json("/jsz?acc=$G&consumers=1");
    let stream = &brief["account_details"][0]["stream_detail"][0];
    assert!(stream.get("config").is_none() && stream["consumer_detail"][0].get("config").is_none());
    assert_eq!(plain().json("/jsz")["disabled"], true);
}

#[test]
fn health_follows_the_server() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut options = Options { listen: ListenAddress { host: "127.0.0.1".into(), port: 0 }, ..Options::default() };
    listening(&mut options);
    let starting = Server::prepare(options).unwrap();
    let address = runtime.block_on(starting.start_monitor()).unwrap().unwrap();
    let early = get(address, "/healthz");
    assert_eq!(early.code, 500);
    assert!(early.body.contains("startup did not complete"), "{}", early.body);
    runtime.block_on(starting.listen()).unwrap();
    assert_eq!(get(address, "/healthz").body, r#"{"status":"ok"}"#);
    runtime.block_on(starting.shut_down());
    eventually("the monitor ends with the server", || TcpStream::connect(address).is_err());
}

#[test]
fn health_tells_what_is_missing_or_broken() {
    let server = stored();
    let check = |options: &str| {
        let page = server.get(&format!("/healthz{options}"));
        (page.code, page.body)
    };
    assert_eq!(check("?account=$G&stream=S&consumer=C"), (200, r#"{"status":"ok"}"#.into()));
    assert_eq!(
        check("?account=$G&stream=S&consumer=D"),
        (
            404,
            r#"{"status":"unavailable","error":"JetStream consumer \"D\" not found for stream \"S\" on account \"$G\""}"#
                .into()
        )
    );
    assert_eq!(
        check("?account=$G&stream=T&details=1"),
        (
            404,
            r#"{"status":"error","errors":[{"type":"STREAM","account":"$G","stream":"T","error":"JetStream stream \"T\" not found on account \"$G\""}]}"#
                .into()
        )
    );
    assert_eq!(check("?account=X").0, 404);
    assert_eq!(check("?stream=S").0, 400);
    let node = server.server.server.jetstream().unwrap();
    node.space(true);
    let (code, body) = check("");
    assert!(code == 200 && body.contains("the disk is full"), "{code} {body}");
    assert_eq!(server.json("/jsz")["journal"]["state"], "full");
    node.space(false);
    assert_eq!(check("?js-enabled-only=true"), (200, r#"{"status":"ok"}"#.into()));
    node.fail(&JournalError { during: "writing a batch", reason: "a test".into() });
    let (code, body) = check("?js-enabled-only=true");
    assert!(code == 503 && body.contains("journal failed while writing a batch: a test"), "{code} {body}");
    assert_eq!(check("?details=1").0, 503);
    assert_eq!(check("?js-server-only=1"), (200, r#"{"status":"ok"}"#.into()));
    assert_eq!(server.json("/jsz")["journal"]["state"], "failed");
}
