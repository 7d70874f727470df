//! What publishers of fast batches are told. The sequences of notices are those of the genuine server, which stores each
//! message before it looks at the next; the rest is about messages that are not durable yet.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::fast_batch::Committed;
use super::*;

const IDLE: i64 = 100;

/// How the stream decides on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Accept,
    Refuse,
    /// Of a message that is durable, or not yet.
    Duplicate {
        in_flight: bool,
    },
}

struct Publisher {
    batches: FastBatches,
    budget: Arc<BatchBudget>,
    /// Tickets and the sequences their messages got, oldest first.
    in_log: VecDeque<(Ticket, Option<u64>)>,
    last: u64,
    now: i64,
}

impl Publisher {
    fn new() -> Self {
        Self::with(FastLimits { open_per_stream: 2, open_per_server: 3, idle: IDLE }, &Arc::default())
    }

    fn with(limits: FastLimits, budget: &Arc<BatchBudget>) -> Self {
        let batches = FastBatches::new(limits, budget.clone());
        Self { batches, budget: budget.clone(), in_log: VecDeque::new(), last: 0, now: 0 }
    }

    /// Sends a message, given as `<id>.<flow>.<gap>.<sequence>.<operation>`; nothing becomes durable.
    fn send(&mut self, message: &str, decision: Decision) -> Vec<Notice> {
        let mut out = Vec::new();
        let reply = format!("p.{message}.$FI");
        let of_batch = FastMessage { reply: reply.as_bytes(), required_level: None };
        let Some(ticket) = self.batches.step(&of_batch, self.now, &mut out) else { return out };
        match decision {
            Decision::Accept => {
                self.last += 1;
                self.batches.accepted(ticket);
                self.in_log.push_back((ticket, Some(self.last)));
            }
            Decision::Refuse => {
                let error = error_codes::STREAM_WRONG_LAST_SEQUENCE.with(self.last);
                self.batches.refused(ticket, reply.as_bytes(), error, &mut out);
            }
            Decision::Duplicate { in_flight } => {
                if self.batches.duplicate(ticket, 1, in_flight, &mut out) {
                    self.in_log.push_back((ticket, None));
                }
            }
        }
        out
    }

    /// The oldest message on its way becomes durable.
    fn sync_one(&mut self) -> Vec<Notice> {
        let mut out = Vec::new();
        if let Some((ticket, sequence)) = self.in_log.pop_front() {
            self.batches.settle(ticket, sequence, &mut out);
        }
        out
    }

    fn sync(&mut self) -> Vec<Notice> {
        let mut out = Vec::new();
        while !self.in_log.is_empty() {
            out.extend(self.sync_one());
        }
        out
    }

    /// Sends messages that are durable at once; gives what was told of each, in short.
    fn play(&mut self, messages: &[(&str, Decision)]) -> Vec<String> {
        let mut told = Vec::new();
        for (message, decision) in messages {
            let mut notices = self.send(message, *decision);
            notices.extend(self.sync());
            told.push(notices.iter().map(short).collect::<Vec<_>>().join(", "));
        }
        told
    }

    fn open(&self) -> usize {
        let open = self.batches.open.len();
        assert_eq!(open, self.batches.numbers.len());
        open
    }
}

fn short(notice: &Notice) -> String {
    match notice {
        Notice::Flow { sequence, messages } => format!("flow {sequence}/{messages}"),
        Notice::Gap { expected, received } => format!("gap {expected}-{received}"),
        Notice::Error { sequence, .. } => format!("error {sequence}"),
        Notice::Refused(error) => format!("refused {}", error.err_code),
        Notice::Committed(Committed { sequence, count, is_duplicate, .. }) => {
            format!("{} {sequence} {count}", if *is_duplicate { "duplicate" } else { "committed" })
        }
    }
}

use Decision::{Accept, Refuse};
const TWICE: Decision = Decision::Duplicate { in_flight: false };
const TWICE_IN_FLIGHT: Decision = Decision::Duplicate { in_flight: true };

fn check(messages: &[(&str, Decision)], expected: &[&str]) {
    let mut publisher = Publisher::new();
    assert_eq!(publisher.play(messages), expected, "{messages:?}");
}

#[test]
fn each_time_so_many_are_stored_the_publisher_is_told() {
    check(
        &[("b.2.fail.1.0", Accept), ("b.2.fail.2.1", Accept), ("b.2.fail.3.1", Accept), ("b.2.fail.4.2", Accept)],
        &["flow 0/2", "flow 2/2", "", "committed 4 4"],
    );
    check(&[("b.2.fail.1.0", Accept), ("b.2.fail.2.3", Accept)], &["flow 0/2", "committed 1 1"]);
    check(&[("b.2.fail.1.2", Accept)], &["committed 1 1"]);
    check(&[("b.70000.fail.1.0", Accept)], &["flow 0/500"]);
}

#[test]
fn a_gap_ends_the_batch_unless_gaps_are_ok() {
    check(
        &[("b.2.fail.1.0", Accept), ("b.2.fail.3.1", Accept), ("b.2.fail.4.1", Accept)],
        &["flow 0/2", "gap 2-3, committed 1 1", "refused 10208"],
    );
    check(
        &[("b.2.ok.1.0", Accept), ("b.2.ok.3.1", Accept), ("b.2.ok.4.1", Accept), ("b.2.ok.9.2", Accept)],
        &["flow 0/2", "gap 2-3, flow 2/2", "flow 4/2", "gap 5-9, committed 4 9"],
    );
    check(&[("b.2.ok.1.0", Accept), ("b.2.ok.5.3", Accept)], &["flow 0/2", "gap 2-5, committed 1 4"]);
    for mode in ["ok", "fail"] {
        // Twice the same place is never ok.
        let messages = [format!("b.3.{mode}.1.0"), format!("b.3.{mode}.2.1"), format!("b.3.{mode}.2.1")];
        let mut publisher = Publisher::new();
        let played: Vec<_> = messages.iter().map(|message| (message.as_str(), Accept)).collect();
        assert_eq!(publisher.play(&played), ["flow 0/3", "", "gap 3-2, committed 2 2"]);
        assert_eq!(publisher.open(), 0);
    }
}

#[test]
fn a_ping_repeats_what_was_told_and_finds_what_is_missing() {
    check(
        &[
            ("b.2.fail.1.0", Accept),
            ("b.2.fail.1.4", Accept),
            ("b.2.fail.2.1", Accept),
            ("b.2.fail.3.1", Accept),
            ("b.2.fail.3.4", Accept),
            ("b.2.fail.7.4", Accept),
            ("b.2.fail.7.4", Accept),
        ],
        &["flow 0/2", "flow 0/2", "flow 2/2", "", "flow 2/2", "gap 4-8, committed 3 3", "refused 10208"],
    );
    check(
        &[("b.2.ok.1.0", Accept), ("b.2.ok.7.4", Accept), ("b.2.ok.8.1", Accept), ("b.2.ok.9.2", Accept)],
        &["flow 0/2", "gap 2-8, flow 6/2", "flow 8/2", "committed 3 9"],
    );
    check(&[("b.2.fail.1.4", Accept), ("b.2.fail.2.1", Accept)], &["refused 10208", "refused 10208"]);
}

#[test]
fn what_the_stream_refuses_ends_the_batch_unless_gaps_are_ok() {
    check(&[("b.2.fail.1.0", Refuse), ("b.2.fail.2.1", Accept)], &["flow 0/2, refused 10071", "refused 10208"]);
    check(
        &[("b.2.fail.1.0", Accept), ("b.2.fail.2.1", Refuse), ("b.2.fail.3.1", Accept)],
        &["flow 0/2", "error 2, committed 1 1", "refused 10208"],
    );
    check(&[("b.2.fail.1.0", Accept), ("b.2.fail.2.2", Refuse)], &["flow 0/2", "error 2, committed 1 1"]);
    check(
        &[("b.2.ok.1.0", Refuse), ("b.2.ok.2.1", Accept), ("b.2.ok.3.2", Accept)],
        &["flow 0/2, error 1", "flow 2/2", "committed 2 3"],
    );
    check(&[("b.2.ok.1.0", Accept), ("b.2.ok.2.2", Refuse)], &["flow 0/2", "error 2, committed 1 1"]);
    check(&[("b.2.ok.1.2", Refuse)], &["error 1, committed 0 0"]);
    // The genuine server answers this batch never again.
    check(
        &[("b.2.ok.1.0", Accept), ("b.2.ok.2.1", Refuse), ("b.2.ok.2.1", Accept)],
        &["flow 0/2", "error 2", "gap 3-2, committed 1 2"],
    );
}

#[test]
fn duplicates_count_as_stored() {
    check(
        &[("b.2.fail.1.0", TWICE), ("b.2.fail.2.1", TWICE), ("b.2.fail.3.2", TWICE)],
        &["flow 0/2", "flow 2/2", "committed 0 3"],
    );
    check(&[("b.2.fail.1.2", TWICE)], &["duplicate 1 1"]);
    check(&[("b.1.fail.1.2", TWICE)], &["flow 1/1, duplicate 1 1"]);
    check(&[("b.2.ok.1.2", TWICE)], &["committed 0 1"]);
}

#[test]
fn with_company_publishers_begin_slowly_and_share() {
    let mut publisher = Publisher::new();
    assert_eq!(publisher.play(&[("a.400.fail.1.0", Accept)]), ["flow 0/400"]);
    let told = publisher.play(&[("b.400.fail.1.0", Accept)]);
    assert_eq!(told, ["flow 0/1, flow 1/2"]);
    let mut flow = Vec::new();
    for sequence in 2..1000 {
        let notices = publisher.send(&format!("b.400.fail.{sequence}.1"), Accept);
        assert!(notices.is_empty());
        flow.extend(publisher.sync().iter().map(short));
    }
    // Two share 500.
    assert_eq!(
        flow[..9],
        [
            "flow 3/4",
            "flow 7/8",
            "flow 15/16",
            "flow 31/32",
            "flow 63/64",
            "flow 127/128",
            "flow 255/250",
            "flow 505/250",
            "flow 755/250"
        ]
    );
    // The first has more than its part, until the other is gone.
    for sequence in 2..400 {
        publisher.send(&format!("a.400.fail.{sequence}.1"), Accept);
        publisher.sync();
    }
    assert_eq!(publisher.play(&[("a.400.fail.400.1", Accept)]), ["flow 400/250"]);
}

#[test]
fn nothing_is_told_before_it_is_durable() {
    let mut publisher = Publisher::new();
    assert_eq!(publisher.send("b.2.fail.1.0", Accept).iter().map(short).collect::<Vec<_>>(), ["flow 0/2"]);
    for message in ["b.2.fail.2.1", "b.2.fail.3.1", "b.2.fail.4.1"] {
        assert!(publisher.send(message, Accept).is_empty());
    }
    assert_eq!(short(&publisher.send("b.2.fail.4.4", Accept)[0]), "flow 0/2");
    assert!(publisher.send("b.2.fail.5.3", Accept).is_empty(), "the end waits");
    assert!(publisher.send("b.2.fail.5.1", Accept).is_empty(), "nothing is taken after the end");
    assert!(publisher.sync_one().is_empty());
    assert_eq!(short(&publisher.sync_one()[0]), "flow 2/2");
    assert!(publisher.sync_one().is_empty());
    let Notice::Committed(committed) = &publisher.sync_one()[0] else { panic!("the end") };
    assert_eq!((committed.sequence, committed.count), (4, 4));
    assert_eq!(&*committed.reply, b"p.b.2.fail.5.3.$FI", "the answer goes to whoever ended the batch");
    assert_eq!(publisher.open(), 0);
}

#[test]
fn a_duplicate_waits_for_its_original() {
    let mut publisher = Publisher::new();
    assert!(publisher.send("b.1.fail.1.2", TWICE_IN_FLIGHT).is_empty());
    assert_eq!(short(&publisher.sync()[0]), "duplicate 1 1");
    publisher.send("b.2.fail.1.0", Accept);
    assert!(publisher.send("b.2.fail.2.1", TWICE_IN_FLIGHT).is_empty());
    assert!(publisher.send("b.2.fail.3.1", TWICE).is_empty(), "two before it are not durable");
    assert!(publisher.sync_one().is_empty());
    assert_eq!(short(&publisher.sync_one()[0]), "flow 2/2");
    assert_eq!(short(&publisher.send("b.2.fail.4.3", Accept)[0]), "committed 1 3");
}

#[test]
fn an_error_tells_at_once_and_ends_the_batch_once_the_rest_is_durable() {
    let mut publisher = Publisher::new();
    publisher.send("b.5.fail.1.0", Accept);
    publisher.send("b.5.fail.2.1", Accept);
    assert_eq!(publisher.send("b.5.fail.3.1", Refuse).iter().map(short).collect::<Vec<_>>(), ["error 3"]);
    assert!(publisher.send("b.5.fail.4.1", Accept).is_empty());
    assert_eq!(publisher.sync().iter().map(short).collect::<Vec<_>>(), ["committed 2 2"]);
}

#[test]
fn only_so_many_batches_are_open() {
    let limits = FastLimits { open_per_stream: 2, open_per_server: 3, idle: IDLE };
    let budget = Arc::default();
    let (mut one, mut other) = (Publisher::with(limits, &budget), Publisher::with(limits, &budget));
    assert_eq!(one.play(&[("a.1.fail.1.0", Accept), ("b.1.fail.1.0", Accept)]).len(), 2);
    assert_eq!(one.play(&[("c.1.fail.1.0", Accept)]), ["refused 10211"]);
    assert_eq!(other.play(&[("a.9.fail.1.0", Accept), ("b.9.fail.1.0", Accept)]), ["flow 0/9", "refused 10211"]);
    assert_eq!(one.play(&[("a.1.fail.2.3", Accept)]), ["committed 1 1"]);
    assert_eq!(other.play(&[("b.9.fail.1.0", Accept)]), ["flow 0/1, flow 1/2"]);
    one.batches.clear();
    drop((one.batches, other.batches));
    assert_eq!(one.budget.open(), 0);
}

#[test]
fn a_batch_is_forgotten_when_its_publisher_is_silent_but_not_when_the_disk_is() {
    let mut publisher = Publisher::new();
    publisher.play(&[("a.9.fail.1.0", Accept)]);
    publisher.send("b.9.fail.1.0", Accept);
    assert_eq!(publisher.batches.deadline(), Some(IDLE));
    publisher.now = IDLE;
    publisher.batches.expire(IDLE);
    assert_eq!(publisher.open(), 1);
    assert_eq!(publisher.batches.deadline(), Some(2 * IDLE));
    assert_eq!(short(&publisher.sync()[0]), "flow 1/2");
    assert_eq!(publisher.play(&[("a.9.fail.2.1", Accept), ("b.9.fail.2.1", Accept)]), ["refused 10208", ""]);
    publisher.now = 3 * IDLE;
    assert_eq!(publisher.play(&[("b.9.fail.3.1", Accept)]), ["refused 10208"], "before any timer");
    assert_eq!((publisher.open(), publisher.batches.deadline()), (0, None));
    // A message of a batch that is gone settles nothing in a later one of the same name.
    publisher.send("a.1.fail.1.0", Accept);
    let old = publisher.in_log.pop_front().unwrap();
    assert!(publisher.batches.fail(old.0) && !publisher.batches.fail(old.0));
    publisher.send("a.1.fail.1.0", Accept);
    let mut out = Vec::new();
    publisher.batches.settle(old.0, old.1, &mut out);
    assert_eq!(out, []);
    assert_eq!(short(&publisher.sync()[0]), "flow 1/1");
}

#[test]
fn ids_and_levels_are_checked() {
    let mut publisher = Publisher::new();
    let id = "i".repeat(65);
    assert_eq!(publisher.play(&[(&format!("{id}.2.fail.1.0"), Accept)]), ["refused 10207"]);
    assert_eq!(publisher.play(&[("2.fail.1.0", Accept), ("b.2.maybe.1.0", Accept)]), ["refused 10206"; 2]);
    publisher.play(&[("b.2.fail.1.0", Accept)]);
    let mut out = Vec::new();
    let message = FastMessage { reply: b"p.b.2.fail.2.1.$FI", required_level: Some(b"99") };
    assert_eq!(publisher.batches.step(&message, 0, &mut out), None);
    assert_eq!(short(&out[0]), "refused 10185");
    assert_eq!(publisher.open(), 0);
}

/// What may happen next: a message at a distance from the expected place, with an operation; or a sync.
fn any_event() -> impl Strategy<Value = (u64, u8, Option<Decision>)> {
    let decision = prop_oneof![
        6 => Just(Some(Accept)),
        1 => Just(Some(Refuse)),
        1 => Just(Some(TWICE)),
        1 => Just(Some(TWICE_IN_FLIGHT)),
        5 => Just(None),
    ];
    let distance = prop_oneof![20 => Just(1_u64), 1 => Just(0), 1 => Just(3)];
    let operation = prop_oneof![20 => Just(1_u8), 1 => Just(2), 1 => Just(3), 3 => Just(4)];
    (distance, operation, decision)
}

proptest! {
    /// Without gaps, whatever place is told, everything up to it is durable; a batch ends with one word, and no sooner
    /// than everything of it is.
    #[test]
    fn what_is_told_is_durable(flow in 1_u64..6, events in prop::collection::vec(any_event(), 1..80)) {
        let mut publisher = Publisher::new();
        // Places that are in the log, and those durable; a durable duplicate is at once.
        let (mut sent, mut waiting, mut durable) = (0_u64, VecDeque::new(), Vec::new());
        let mut ended = false;
        for (distance, operation, decision) in events {
            let notices = match decision {
                None => {
                    durable.extend(waiting.pop_front());
                    publisher.sync_one()
                }
                Some(decision) => {
                    let place = if sent == 0 { 1 } else { (sent + distance).max(2) };
                    let operation = match (sent, operation) {
                        (0, 2) => 2,
                        (0, _) => 0,
                        (_, operation) => operation,
                    };
                    let before = publisher.in_log.len();
                    let notices = publisher.send(&format!("b.{flow}.fail.{place}.{operation}"), decision);
                    if publisher.in_log.len() > before {
                        waiting.push_back(place);
                    } else if decision == TWICE {
                        durable.push(place);
                    }
                    if operation < 3 && place == sent + 1 {
                        sent = place;
                    }
                    notices
                }
            };
            for notice in notices {
                prop_assert!(!ended || matches!(notice, Notice::Refused(_)), "after the end: {notice:?}");
                match notice {
                    Notice::Flow { sequence, .. } => {
                        prop_assert!((1..=sequence).all(|place| durable.contains(&place)), "{sequence} of {durable:?}");
                    }
                    Notice::Committed(Committed { count, .. }) => {
                        prop_assert!((1..=count).all(|place| durable.contains(&place)), "{count} of {durable:?}");
                        prop_assert!(waiting.is_empty());
                        ended = true;
                    }
                    Notice::Refused(_) => ended = true,
                    Notice::Gap { .. } | Notice::Error { .. } => {}
                }
            }
            if ended {
                prop_assert_eq!(publisher.open(), 0);
                return Ok(());
            }
        }
    }
}
