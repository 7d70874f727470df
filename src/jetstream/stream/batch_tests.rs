//! Batches message by message: what is staged, given out, refused and abandoned.

use super::*;

const ID: &str = "b1";

struct Stream {
    batches: OpenBatches,
    budget: Arc<BatchBudget>,
}

impl Stream {
    fn new() -> Self {
        let limits = BatchLimits { open_per_stream: 2, open_per_server: 3, messages: 3, idle: 10 };
        Self::on(&Arc::default(), limits)
    }

    fn on(budget: &Arc<BatchBudget>, limits: BatchLimits) -> Self {
        Self { batches: OpenBatches::new(limits, budget.clone()), budget: budget.clone() }
    }

    fn send(&mut self, id: &str, sequence: &str, commit: Option<&str>, now: i64) -> Step {
        let mut block = Vec::new();
        headers::append(&mut block, "Nats-Batch-Id", id.as_bytes());
        if !sequence.is_empty() {
            headers::append(&mut block, "Nats-Batch-Sequence", sequence.as_bytes());
        }
        if let Some(commit) = commit {
            headers::append(&mut block, "Nats-Batch-Commit", commit.as_bytes());
        }
        self.send_block(&block, now)
    }

    fn send_block(&mut self, block: &[u8], now: i64) -> Step {
        let publish = Publish { subject: b"s", reply: None, headers: block, payload: b"hello" };
        self.batches.step(&publish, &PublishHeaders::parse(block), now)
    }

    fn used(&self) -> (usize, usize) {
        (self.budget.open.load(Ordering::Relaxed), self.budget.bytes.load(Ordering::Relaxed))
    }
}

fn code(step: &Step) -> (u16, Option<Abandoned>) {
    match step {
        Step::Refused { error, abandoned } => (error.err_code, *abandoned),
        other => panic!("not refused: {other:?}"),
    }
}

fn committed(step: Step) -> Vec<StagedMessage> {
    match step {
        Step::Commit(commit) => commit.messages,
        other => panic!("not committed: {other:?}"),
    }
}

#[test]
fn a_batch_is_given_out_whole_and_leaves_nothing_behind() {
    let mut stream = Stream::new();
    assert_eq!(stream.send(ID, "1", None, 0), Step::Staged);
    assert_eq!(stream.send(ID, "2", None, 5), Step::Staged);
    assert_eq!((stream.used().0, stream.batches.deadline()), (1, Some(15)));
    let messages = committed(stream.send(ID, "3", Some("1"), 6));
    assert_eq!(messages.len(), 3);
    assert!(messages.iter().all(|message| message.subject() == b"s" && message.payload() == b"hello"));
    assert_eq!((stream.used(), stream.batches.deadline()), ((0, 0), None));
    assert_eq!(committed(stream.send("one", "1", Some("1"), 6)).len(), 1);
}

#[test]
fn an_end_marker_is_not_stored_and_marks_the_message_before_it() {
    let mut stream = Stream::new();
    for sequence in ["1", "2", "3"] {
        assert_eq!(stream.send(ID, sequence, None, 0), Step::Staged);
    }
    let messages = committed(stream.send(ID, "4", Some("eob"), 0));
    let marked: Vec<bool> =
        messages.iter().map(|message| headers::get(message.headers(), BATCH_COMMIT).is_some()).collect();
    assert_eq!(marked, [false, false, true]);
    assert_eq!(code(&stream.send("empty", "1", Some("eob"), 0)), (10176, Some(Abandoned::Incomplete)));
}

#[test]
fn what_is_wrong_with_a_message_ends_its_batch() {
    for (sequence, commit, expected) in [
        ("3", None, (10176, Some(Abandoned::Incomplete))),
        ("1", None, (10176, Some(Abandoned::Incomplete))),
        ("2", Some("2"), (10200, None)),
        ("2", Some(""), (10200, None)),
    ] {
        let mut stream = Stream::new();
        assert_eq!(stream.send(ID, "1", None, 0), Step::Staged);
        assert_eq!(code(&stream.send(ID, sequence, commit, 1)), expected, "{sequence} {commit:?}");
        assert_eq!(stream.used(), (0, 0));
        assert_eq!(code(&stream.send(ID, "2", Some("1"), 1)), (10176, None));
    }
}

#[test]
fn a_message_without_a_batch_is_refused_by_what_it_says() {
    let mut stream = Stream::new();
    for (id, sequence, expected) in [
        (ID, "", 10175),
        (ID, "0", 10176),
        (ID, "2", 10176),
        (ID, "4", 10199),
        (ID, "x", 10175),
        (&*"i".repeat(65), "1", 10179),
    ] {
        assert_eq!(code(&stream.send(id, sequence, None, 0)), (expected, None), "{sequence}");
    }
    assert_eq!(stream.used(), (0, 0));
}

#[test]
fn a_batch_may_not_grow_beyond_its_limits() {
    let mut stream = Stream::new();
    for sequence in ["1", "2", "3"] {
        stream.send(ID, sequence, None, 0);
    }
    let refused = stream.send(ID, "4", Some("1"), 0);
    assert_eq!(code(&refused), (10199, Some(Abandoned::Large)));
    let Step::Refused { error, .. } = refused else { panic!() };
    assert_eq!(error.description, "atomic publish batch is too large: 3");

    let budget = Arc::default();
    let mut share = Share::of(&budget, 1).unwrap();
    assert!(share.grow(BATCH_BYTES_MAX) && !share.grow(1));
    let mut others: Vec<Share> = (0..3).map(|_| Share::of(&budget, 9).unwrap()).collect();
    assert!(others.iter_mut().all(|share| share.grow(BATCH_BYTES_MAX)));
    let mut last = Share::of(&budget, 9).unwrap();
    assert!(!last.grow(1), "the server's bytes are used up");
    drop(share);
    assert!(last.grow(1));
}

#[test]
fn only_so_many_batches_are_open_at_once() {
    let budget = Arc::default();
    let limits = BatchLimits { open_per_stream: 2, open_per_server: 3, messages: 3, idle: 10 };
    let (mut first, mut second) = (Stream::on(&budget, limits), Stream::on(&budget, limits));
    assert_eq!(first.send("a", "1", None, 0), Step::Staged);
    assert_eq!(first.send("b", "1", None, 0), Step::Staged);
    assert_eq!(code(&first.send("c", "1", None, 0)), (10210, None));
    assert_eq!(second.send("a", "1", None, 0), Step::Staged);
    assert_eq!(code(&second.send("b", "1", None, 0)), (10210, None));
    drop(first);
    assert_eq!(second.send("b", "1", None, 0), Step::Staged);
}

#[test]
fn silence_ends_a_batch() {
    let mut stream = Stream::new();
    stream.send("a", "1", None, 0);
    stream.send("b", "1", None, 4);
    assert_eq!(stream.batches.expire(9), Vec::<Box<[u8]>>::new());
    assert_eq!(stream.batches.expire(10), vec![Box::<[u8]>::from(*b"a")]);
    assert_eq!(stream.batches.deadline(), Some(14));
    assert_eq!(code(&stream.send("b", "2", Some("1"), 14)), (10176, Some(Abandoned::Incomplete)));
    assert_eq!(stream.used(), (0, 0));
}

#[test]
fn a_level_that_this_server_does_not_have_ends_the_batch_and_one_it_has_is_not_stored() {
    let mut stream = Stream::new();
    let block = |level: &str| {
        format!(
            "NATS/1.0\r\nNats-Batch-Id: b\r\nNats-Batch-Sequence: 1\r\nNats-Required-Api-Level: {level}\r\nNats-Batch-Commit: 1\r\n\r\n"
        )
    };
    assert_eq!(code(&stream.send_block(block("99").as_bytes(), 0)), (10185, Some(Abandoned::Unsupported)));
    let messages = committed(stream.send_block(block("2").as_bytes(), 0));
    assert_eq!(headers::get(messages[0].headers(), REQUIRED_LEVEL), None);
    assert_eq!(headers::get(messages[0].headers(), BATCH_COMMIT), Some(&b"1"[..]));
}
