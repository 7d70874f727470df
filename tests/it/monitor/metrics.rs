//! `/metrics`: the text parses as OpenMetrics, and the numbers move.

use super::{plain, request, stored};
use std::collections::{BTreeMap, BTreeSet};

/// Samples by name and labels.
pub type Samples = BTreeMap<String, f64>;

/// Checks the rules of the format that a scraper depends on.
pub fn parse(text: &str) -> Samples {
    assert!(text.ends_with("# EOF\n"), "the end is marked");
    let (mut kinds, mut seen, mut samples) = (BTreeMap::new(), BTreeSet::new(), Samples::new());
    let mut family = String::new();
    for line in text.lines().take_while(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (word, name, value) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            assert!(is_name(name), "{line}");
            match word {
                "HELP" => {
                    assert!(seen.insert(name.to_owned()), "a family stands in one place: {line}");
                    family = name.to_owned();
                }
                "TYPE" => {
                    assert_eq!(family, name, "{line}");
                    assert!(["counter", "gauge", "histogram", "info"].contains(&value), "{line}");
                    kinds.insert(name.to_owned(), value.to_owned());
                }
                _ => panic!("{line}"),
            }
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap();
        let name = key.split('{').next().unwrap();
        let suffix = name.strip_prefix(&family).unwrap_or_else(|| panic!("{line} is not of {family}"));
        let allowed: &[&str] = match kinds[&family].as_str() {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => &[""],
        };
        assert!(allowed.contains(&suffix), "{line}");
        if let Some(labels) = key.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            check_labels(labels);
        }
        assert!(samples.insert(key.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
    }
    samples
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|letter: char| letter.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `{a="b",c="d"}` with quotes and backslashes escaped.
fn check_labels(labels: &str) {
    let mut rest = labels.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("{labels}"));
        assert!(is_name(name), "{labels}");
        let mut escaped = false;
        let end = value.find(|letter| {
            let ends = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        });
        let after = &value[end.unwrap_or_else(|| panic!("{labels}")) + 1..];
        rest = after.strip_prefix(',').unwrap_or_else(|| {
            assert_eq!(after, "", "{labels}");
            after
        });
    }
}

#[test]
fn a_server_without_streams_has_metrics() {
    let server = plain();
    let page = server.get("/metrics");
    assert!(page.head.contains("application/openmetrics-text; version=1.0.0"), "{}", page.head);
    let samples = parse(&page.body);
    assert_eq!(samples["headwater_connections"], 0.0);
    assert_eq!(samples["headwater_http_requests_total{page=\"/metrics\"}"], 1.0);
    let _client = server.server.connected();
    let samples = parse(&server.get("/metrics").body);
    assert_eq!(samples["headwater_connections"], 1.0);
    assert_eq!(samples["headwater_account_connections{account=\"$G\"}"], 1.0);
}

#[test]
fn streams_consumers_and_the_journal_move_with_traffic() {
    let server = stored();
    let stream = "{account=\"$G\",stream=\"S\"}";
    let consumer = "{account=\"$G\",stream=\"S\",consumer=\"C\"}";
    let before = parse(&server.get("/metrics").body);
    assert_eq!(before[&format!("headwater_stream_messages{stream}")], 3.0);
    assert_eq!(before[&format!("headwater_consumer_pending{consumer}")], 3.0);
    assert_eq!(before[&format!("headwater_consumer_ack_floor_lag{consumer}")], 3.0);
    assert_eq!(before["headwater_journal_state{state=\"ok\"}"], 1.0);
    assert_eq!(before["headwater_journal_damaged_records"], 0.0);
    let mut client = server.server.connected();
    client.send("SUB _INBOX.> 1\r\n");
    request(&mut client, "s.more", "hello");
    client.send("PUB $JS.API.CONSUMER.MSG.NEXT.S.C _INBOX.2 0\r\n\r\n");
    assert!(client.line().starts_with("MSG s.0 1 $JS.ACK.S.C."), "a message is delivered");
    let after = parse(&server.get("/metrics").body);
    assert_eq!(after[&format!("headwater_stream_messages{stream}")], 4.0);
    assert_eq!(after[&format!("headwater_consumer_pending{consumer}")], 3.0);
    assert_eq!(after[&format!("headwater_consumer_ack_pending{consumer}")], 1.0);
    assert_eq!(after[&format!("headwater_consumer_ack_floor_lag{consumer}")], 4.0);
    for moved in ["batches_total", "records_total", "sync_seconds_count", "sync_seconds_sum", "batch_size_bytes_count"]
    {
        let name = format!("headwater_journal_{moved}");
        assert!(after[&name] > before[&name], "{name}");
    }
    let all = after["headwater_journal_batch_size_bytes_count"];
    assert_eq!(after["headwater_journal_batch_size_bytes_bucket{le=\"+Inf\"}"], all);
}
