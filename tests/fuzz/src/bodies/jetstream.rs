//! What clients ask of streams and consumers.

use super::examples_of;
use std::collections::VecDeque;
use std::sync::Arc;

use headwater::jetstream::api::message_get::MessageGetRequest;
use headwater::jetstream::api::requests::{
    ConsumersRequest, CreateConsumerRequest, MessageDeleteRequest, NextRequest, PauseRequest, PurgeRequest,
    RemovePeerRequest, ResetRequest, RestoreRequest, SnapshotRequest, StepdownRequest, StreamConfigRequest,
    StreamInfoRequest, StreamListRequest, StreamNamesRequest, UnpinRequest,
};
use headwater::jetstream::api::subjects::ApiSubject;
use headwater::jetstream::api::validate::{
    AccountTiers, ConsumerCreate, ConsumerName, Environment as Around, ServerLimits, StreamCreate, check_consumer,
    check_create,
};
use headwater::jetstream::api::{ConsumerConfig, StreamConfig, Timestamp, batch_flow, duration, error_codes, json};
use headwater::jetstream::consumer::{
    AckBody, Consumer, ConsumerState, Context, Delta, Environment, Filter, Interest, MessageSize, Outputs, PassBound,
    ReplyNumbers, Settings, StreamTraits, StreamView, Unread, delta, reply_subject,
};
use headwater::jetstream::stream::{
    BatchBudget, FastBatches, FastLimits, FastMessage, FastReply, Notice, Rollup, Ticket, Ttl,
};

/// API requests; a configuration that was read is written and read as the same.
pub fn api_json(data: &[u8]) {
    let _ = UnpinRequest::read(data);
    for strict in [false, true] {
        if let Ok(request) = json::read::<StreamConfigRequest>(data, strict) {
            let written = json::write(&request.config);
            assert_eq!(json::read::<StreamConfig>(&written, false).as_ref(), Ok(&request.config));
            create_twice(request);
        }
        if let Ok(request) = json::read::<CreateConsumerRequest>(data, strict) {
            let written = json::write(&request.config);
            assert_eq!(json::read::<ConsumerConfig>(&written, false).as_ref(), Ok(&request.config));
        }
        let _ = json::read::<PurgeRequest>(data, strict).map(|request| request.check());
        let _ = json::read::<MessageGetRequest>(data, strict);
        let _ = json::read::<MessageDeleteRequest>(data, strict);
        let _ = json::read::<StreamInfoRequest>(data, strict);
        let _ = json::read::<StreamNamesRequest>(data, strict);
        let _ = json::read::<StreamListRequest>(data, strict);
        let _ = json::read::<ConsumersRequest>(data, strict);
        let _ = json::read::<PauseRequest>(data, strict);
        let _ = json::read::<ResetRequest>(data, strict);
        let _ = json::read::<SnapshotRequest>(data, strict);
        let _ = json::read::<RestoreRequest>(data, strict);
        let _ = json::read::<StepdownRequest>(data, strict);
        let _ = json::read::<RemovePeerRequest>(data, strict);
        let _ = json::read::<NextRequest>(data, strict);
    }
}

/// What may be created exists afterwards: the same request again finds it.
fn create_twice(request: StreamConfigRequest) {
    let (server, account) = (ServerLimits::default(), AccountTiers::unlimited());
    let name = request.config.name.clone();
    let around = Around { server: &server, account: &account, streams: &[], clustered: false };
    let Ok(StreamCreate::New(config)) = check_create(&name, request.clone(), &around) else { return };
    let streams = [Arc::new(*config)];
    let around = Around { streams: &streams, ..around };
    assert_eq!(check_create(&name, request, &around), Ok(StreamCreate::Existing));
}

/// The small texts of the protocol: what is understood is written and understood as the same.
pub fn api_texts(data: &[u8]) {
    match AckBody::parse(data) {
        AckBody::Nak { delay } => assert!(delay >= 0),
        AckBody::AckAndNext(rest) | AckBody::Term { reason: rest } => assert!(rest.len() < data.len()),
        _ => {}
    }
    let _ = (Ttl::parse(data), Rollup::parse(data), reply_subject::parse(data));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = ApiSubject::parse(text);
    if let Some(read) = duration::parse(text) {
        assert_eq!(duration::parse(&duration::format(read)), Some(read));
    }
    if let Some(read) = Timestamp::parse(text) {
        let mut written = String::new();
        read.write(&mut written);
        assert_eq!(Timestamp::parse(&written), Some(read));
    }
}

/// A stream of twenty messages, a second apart, whose subjects are `a`, `b`, `c` in turn.
struct Twenty;

const LAST: u64 = 20;
const SECOND: i64 = 1_000_000_000;
const NOW: i64 = 1_700_000_000 * SECOND;

impl Twenty {
    fn subject(sequence: u64) -> &'static [u8] {
        [&b"a"[..], b"b", b"c"][(sequence % 3) as usize]
    }

    fn matching<'a>(from: u64, filter: &'a Filter) -> impl DoubleEndedIterator<Item = u64> + 'a {
        (from.max(1)..=LAST).filter(|sequence| filter.matches(Self::subject(*sequence)))
    }
}

impl StreamView for Twenty {
    fn first_sequence(&self) -> u64 {
        1
    }

    fn last_sequence(&self) -> u64 {
        LAST
    }

    fn next_matching(&self, from: u64, filter: &Filter) -> Option<u64> {
        Self::matching(from, filter).next()
    }

    fn last_matching(&self, filter: &Filter) -> Option<u64> {
        Self::matching(1, filter).next_back()
    }

    fn count_matching(&self, from: u64, filter: &Filter) -> u64 {
        Self::matching(from, filter).count() as u64
    }

    fn last_per_subject(&self, filter: &Filter) -> Vec<u64> {
        Self::matching(LAST - 2, filter).collect()
    }

    fn sequence_at_time(&self, time: i64) -> u64 {
        (1..=LAST).find(|sequence| self.time_of(*sequence).is_some_and(|stored| stored >= time)).unwrap_or(LAST + 1)
    }

    fn size_of(&self, sequence: u64) -> Result<MessageSize, Unread> {
        match sequence {
            7 => Err(Unread::Damaged),
            13 => Err(Unread::Refused),
            _ => Ok(MessageSize { subject: 1, headers: 0, payload: 5 }),
        }
    }

    fn time_of(&self, sequence: u64) -> Option<i64> {
        (1..=LAST).contains(&sequence).then(|| NOW - (LAST - sequence) as i64 * SECOND)
    }
}

impl Environment for Twenty {
    fn interest(&self, reply: &[u8]) -> Interest {
        if reply == b"gone" { Interest::Gone } else { Interest::Present }
    }

    fn unique_id(&self) -> [u8; 22] {
        *b"0123456789012345678901"
    }
}

/// Whoever may be created is asked anything by its clients, and a replica that applies what it proposes has its state.
///
/// The first line is the request that creates it; of the others the first byte says what comes: a pull, an ack, time.
pub fn consumers(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(Ok(request)) = lines.next().map(|line| json::read::<CreateConsumerRequest>(line, false)) else { return };
    let (server, account) = (ServerLimits::default(), AccountTiers::unlimited());
    let around = Around { server: &server, account: &account, streams: &[], clustered: false };
    let stream = StreamConfig { name: "S".into(), subjects: vec!["*".into()], ..StreamConfig::default() };
    let checked = check_consumer(ConsumerName::Absent, request, Some(&stream), &[], &around, &|_| false);
    let Ok(ConsumerCreate::New(config)) = checked else { return };
    let traits = StreamTraits {
        reply_prefix: reply_subject::prefix("S", "C").into(),
        flow_prefix: headwater::jetstream::consumer::flow_control::prefix("S", "C").into(),
        ..StreamTraits::default()
    };
    let mut replica = ConsumerState::start(&config, &Twenty);
    let (mut now, mut out) = (NOW, Outputs::default());
    let context = Context { now, stream: &Twenty, environment: &Twenty };
    let mut consumer = Consumer::new(Settings::new(&config, traits), replica.clone(), &context);
    consumer.interest_changed(true, now);
    for line in lines.take(200) {
        let Some((kind, rest)) = line.split_first() else { continue };
        let context = Context { now, stream: &Twenty, environment: &Twenty };
        match kind {
            b'p' => consumer.pull_request(b"here", rest, &context, &mut out),
            b'g' => consumer.pull_request(b"gone", rest, &context, &mut out),
            b't' => {
                let text = std::str::from_utf8(rest).unwrap_or_default();
                let passed = duration::parse(text).unwrap_or(SECOND).clamp(0, 1 << 55);
                now = now.max(now.saturating_add(passed).min(i64::MAX / 2));
                let context = Context { now, stream: &Twenty, environment: &Twenty };
                consumer.timer(&context, &mut out);
            }
            place => {
                let sequence = u64::from(*place) % (LAST + 2);
                let numbers =
                    ReplyNumbers { stream_sequence: sequence, consumer_sequence: sequence, ..Default::default() };
                consumer.ack(&numbers, rest, Some(b"answer"), &context, &mut out);
            }
        }
        let context = Context { now, stream: &Twenty, environment: &Twenty };
        consumer.deliver(PassBound { messages: 10, bytes: u64::MAX }, &context, &mut out);
        let mut bytes = Vec::new();
        out.encode_deltas(&mut bytes);
        let read: Vec<Delta> = delta::decode(&bytes).map_while(Result::ok).collect();
        assert_eq!(read, out.deltas);
        assert_eq!(replica.apply_batch(&bytes, &mut Vec::new()), Ok(()));
        assert_eq!(&replica, consumer.state());
        out.clear();
    }
}

/// Whatever publishers of fast batches send, nobody is told more than was received, and nothing stays open for ever.
///
/// Of each line, the first byte says what becomes of the message whose reply subject follows.
pub fn fast_batches(data: &[u8]) {
    let budget = Arc::<BatchBudget>::default();
    let limits = FastLimits { open_per_stream: 3, open_per_server: 2, idle: 100 };
    let mut batches = FastBatches::new(limits, budget);
    let mut in_log: VecDeque<(Ticket, Option<u64>)> = VecDeque::new();
    let (mut told, mut most, mut now) = (Vec::new(), 0, 0);
    for line in data.split(|byte| *byte == b'\n').take(200) {
        let Some((kind, reply)) = line.split_first() else { continue };
        most = FastReply::parse(reply).map_or(most, |asked| most.max(asked.sequence));
        let message = FastMessage { reply, required_level: (*kind == b'l').then_some(reply) };
        match kind {
            b't' => {
                now += reply.len() as i64;
                batches.expire(now);
            }
            b's' => {
                if let Some((ticket, stored)) = in_log.pop_front() {
                    batches.settle(ticket, stored, &mut told);
                }
            }
            b'f' => {
                if let Some((ticket, _)) = in_log.pop_front() {
                    batches.fail(ticket);
                }
            }
            b'c' => batches.clear(),
            _ => {
                let Some(ticket) = batches.step(&message, now, &mut told) else { continue };
                match kind {
                    b'r' => batches.refused(ticket, reply, error_codes::STREAM_SEALED.error(), &mut told),
                    b'd' | b'D' => {
                        if batches.duplicate(ticket, 1, *kind == b'D', &mut told) {
                            in_log.push_back((ticket, None));
                        }
                    }
                    _ => {
                        batches.accepted(ticket);
                        in_log.push_back((ticket, Some(most)));
                    }
                }
            }
        }
    }
    for (ticket, stored) in in_log {
        batches.settle(ticket, stored, &mut told);
    }
    batches.expire(i64::MAX);
    assert_eq!(batches.deadline(), None, "all were settled or forgotten");
    for reply in [&b"p.x.1.ok.1.0.$FI"[..], b"p.y.1.ok.1.0.$FI"] {
        let message = FastMessage { reply, required_level: None };
        assert!(batches.step(&message, 0, &mut Vec::new()).is_some(), "there is room again");
    }
    for notice in told {
        check_notice(&notice, most);
    }
}

fn check_notice(notice: &Notice, most: u64) {
    let mut out = Vec::new();
    match notice {
        Notice::Flow { sequence, messages } => {
            assert!(*sequence <= most && *messages > 0, "{notice:?} of {most}");
            batch_flow::write_ack(&mut out, *sequence, *messages);
        }
        Notice::Gap { expected, received } => batch_flow::write_gap(&mut out, *expected, *received),
        Notice::Error { sequence, error } => {
            assert!(*sequence <= most);
            batch_flow::write_error(&mut out, *sequence, error);
        }
        Notice::Committed(end) => {
            assert!(end.count <= most);
            return;
        }
        Notice::Refused(_) => return,
    }
    assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok(), "what is told is JSON");
}

pub fn json_examples() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"name":"S","subjects":["a.>"],"max_age":1000,"retention":"limits","storage":"file","num_replicas":1,"metadata":{"k":"v"}}"#,
        r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit","backoff":[1,2],"filter_subjects":["a"],"opt_start_time":"2020-01-02T03:04:05.678Z"},"action":"create"}"#,
        r#"{"seq":5,"filter":"a","keep":0}"#,
        r#"{"last_by_subj":"a\u00e9\ud83d\ude00","batch":5,"up_to_time":"2020-01-02T03:04:05+02:00"}"#,
    ];
    examples_of(&texts)
}

pub fn text_examples() -> Vec<Vec<u8>> {
    let texts = [
        "+NXT {\"batch\":5,\"expires\":1000}",
        "-NAK {\"delay\":5000}",
        "-NAK 1h5.5ms",
        "+TERM no good",
        "-2h3m0.5s",
        "2020-01-02T03:04:05.678+02:00",
        "$JS.API.CONSUMER.CREATE.S.C.a.>",
        "$JS.API.DIRECT.GET.S.a.b",
        "never",
        "$JS.ACK.S.C.1.2.3.1700000000000000000.0",
    ];
    examples_of(&texts)
}

pub fn consumer_examples() -> Vec<Vec<u8>> {
    let texts = [
        "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\",\"ack_policy\":\"explicit\",\"ack_wait\":1000000000,\"max_deliver\":3,\"backoff\":[1,2]}}\np{\"batch\":5,\"expires\":60000000000,\"idle_heartbeat\":1000000000}\n\x01+ACK\n\x02-NAK 5s\nt6s\n\x03+NXT 2\n\x04+TERM\n\x05+WPI\ng{\"no_wait\":true,\"batch\":100,\"max_bytes\":12}\nt1h",
        "{\"config\":{\"ack_policy\":\"all\",\"deliver_policy\":\"last_per_subject\",\"filter_subjects\":[\"a\",\"b\"],\"max_ack_pending\":2,\"mem_storage\":true}}\np7\n\x09+ACK\np\nt",
        "{\"config\":{\"durable_name\":\"C\",\"deliver_subject\":\"d\",\"flow_control\":true,\"idle_heartbeat\":1000000000,\"replay_policy\":\"original\",\"rate_limit_bps\":64}}\nt1s\nt1s\nt1m",
        "{\"config\":{\"durable_name\":\"C\",\"ack_policy\":\"explicit\",\"priority_policy\":\"pinned_client\",\"priority_groups\":[\"A\"],\"priority_timeout\":5000000000}}\np{\"group\":\"A\",\"batch\":2,\"priority\":3,\"min_pending\":5}\nt9s\np{\"group\":\"A\",\"id\":\"x\"}",
    ];
    examples_of(&texts)
}

pub fn fast_batch_examples() -> Vec<Vec<u8>> {
    let texts = [
        "ap.b.2.fail.1.0.$FI\nap.b.2.fail.2.1.$FI\ns\nap.b.2.fail.3.4.$FI\nap.b.2.fail.3.2.$FI\ns\ns",
        "ap.b.5.ok.1.0.$FI\nrp.b.5.ok.4.1.$FI\ndp.b.5.ok.5.1.$FI\nDp.b.5.ok.6.1.$FI\nap.c.9.fail.1.2.$FI\nap.b.5.ok.9.3.$FI",
        "lp.b.1.fail.1.0.$FI\nap.b.0.fail.1.0.$FI\ntttttttttttttttt\nf\nc\nap.b.0.fail.18446744073709551614.4.$FI",
    ];
    examples_of(&texts)
}
