//! Fast batches: a position that was told is durable, whatever happens to the disk.

use headwater_raft::sim::{Rng, seeds};
use headwater_storage::SimIo;
use headwater_storage::io::{CrashPoint, FaultKind};
use serde_json::Value;

use super::node_rig::{Rig, payload};

/// The publisher's side of one fast batch without gaps.
struct Batch {
    id: String,
    flow: u64,
    contents: Vec<Vec<u8>>,
    /// Places up to this one were told to be stored.
    told: u64,
    /// The answer that ended the batch.
    end: Option<Value>,
}

impl Batch {
    fn new(id: &str, flow: u64) -> Self {
        Self { id: id.to_owned(), flow, contents: Vec::new(), told: 0, end: None }
    }

    fn reply(&self, operation: u8) -> String {
        format!("{}.{}.fail.{}.{operation}.$FI", self.id, self.flow, self.contents.len())
    }

    /// The next messages, sent at once.
    fn send(&mut self, rig: &mut Rig, count: u64, rng: &mut Rng) {
        let mut burst = Vec::new();
        for _ in 0..count {
            let content = [format!("{} ", self.id).into_bytes(), payload(self.contents.len() as u64, rng)].concat();
            self.contents.push(content.clone());
            burst.push(("s.a", self.reply(u8::from(self.contents.len() > 1)), content));
        }
        rig.send_with_replies(&burst);
    }

    fn listen(&mut self, rig: &Rig) {
        for received in rig.take_all() {
            let notice: Value = serde_json::from_slice(&received.payload).unwrap();
            match notice["type"].as_str() {
                Some("ack") => self.told = self.told.max(notice["seq"].as_u64().unwrap()),
                Some("err") => {}
                Some(other) => panic!("{other}: {notice}"),
                // What was sent behind the end finds no batch.
                None if self.end.is_some() && notice["error"]["err_code"] == 10208 => {}
                None if self.end.as_ref().is_none_or(|end| end["error"]["err_code"] == 10208) => {
                    self.end = Some(notice)
                }
                None => panic!("a second end: {notice}"),
            }
        }
    }
}

/// What is stored of a batch, in order.
fn stored(rig: &Rig, batch: &Batch) -> Vec<Vec<u8>> {
    let last = rig.stream().info().state.last_seq;
    let prefix = format!("{} ", batch.id).into_bytes();
    (1..=last).filter_map(|sequence| rig.payload(sequence)).filter(|payload| payload.starts_with(&prefix)).collect()
}

fn start(io: &SimIo) -> Rig {
    let mut rig = Rig::start(io);
    rig.create_stream(r#","allow_batched":true"#);
    rig
}

#[test]
fn what_is_told_waits_for_the_disk() {
    let mut rig = start(&SimIo::new());
    let mut batch = Batch::new("b", 2);
    batch.send(&mut rig, 5, &mut Rng::new(1));
    batch.listen(&rig);
    assert_eq!(batch.told, 0, "nothing is written yet");
    // The end asks for an answer about what is not written either.
    rig.send_with_replies(&[("s.a", "b.2.fail.6.3.$FI".to_owned(), Vec::new())]);
    batch.listen(&rig);
    assert_eq!(batch.end, None);
    rig.drive();
    batch.listen(&rig);
    assert_eq!(batch.told, 4);
    let end = batch.end.as_ref().unwrap();
    assert_eq!((end["seq"].as_u64(), end["count"].as_u64()), (Some(5), Some(5)));
    assert_eq!(stored(&rig, &batch), batch.contents);
}

#[test]
fn what_is_told_waits_for_nothing_where_the_operator_says_so() {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream(r#","allow_batched":true,"persist_mode":"async""#);
    let mut batch = Batch::new("b", 2);
    batch.send(&mut rig, 5, &mut Rng::new(1));
    batch.listen(&rig);
    assert_eq!(batch.told, 4);
    rig.drive();
    assert_eq!(stored(&rig, &batch), batch.contents);
}

#[test]
fn what_was_told_is_there_whenever_the_power_goes() {
    let (mut told, mut lost) = (0, 0);
    for seed in seeds(60) {
        println!("SEED={seed}");
        let mut rng = Rng::new(seed);
        let io = SimIo::new();
        let mut rig = start(&io);
        let mut batch = Batch::new("b", 1 + rng.below(8));
        io.crash_at(CrashPoint(io.mutations() + 1 + rng.below(12)));
        for _ in 0..8 {
            batch.send(&mut rig, 1 + rng.below(12), &mut rng);
            rig.drive();
            batch.listen(&rig);
        }
        rig.stop();
        io.crash(seed);

        let mut rig = Rig::start(&io);
        let found = stored(&rig, &batch);
        assert!(found.len() as u64 >= batch.told, "{} of {} that were told are there", found.len(), batch.told);
        assert_eq!(found, batch.contents[..found.len()], "what is there is a beginning of the batch");
        told += batch.told;
        lost += batch.contents.len() - found.len();

        // The batch is over. A new one of that name begins at its beginning.
        batch.end = None;
        let place = batch.contents.len() as u64 + 1;
        rig.send_with_replies(&[("s.a", format!("b.2.fail.{place}.1.$FI"), b"on".to_vec())]);
        batch.listen(&rig);
        assert_eq!(batch.end.take().map(|end| end["error"]["err_code"].clone()), Some(10208.into()));
        let mut next = Batch::new("b", 1);
        rig.send_with_replies(&[("s.a", "b.1.fail.1.2.$FI".to_owned(), b"next".to_vec())]);
        rig.drive();
        next.listen(&rig);
        assert_eq!(next.end.map(|end| end["count"].clone()), Some(1.into()));
    }
    println!("{told} told, {lost} lost untold");
    if std::env::var("SEED").is_err() {
        assert!(told > 100 && lost > 100, "{told} {lost}: the cuts miss the batches");
    }
}

#[test]
fn after_a_failed_write_nothing_more_is_told_and_the_batch_ends_with_the_reason() {
    for seed in seeds(12) {
        println!("SEED={seed}");
        let mut rng = Rng::new(seed);
        let mut rig = start(&SimIo::new());
        let mut batch = Batch::new("b", 1 + rng.below(4));
        rig.io.fail(if rng.chance(500) { FaultKind::Write } else { FaultKind::Sync }, rng.below(10));
        while batch.end.is_none() {
            assert!(batch.contents.len() < 500, "the failure shows");
            batch.send(&mut rig, 1 + rng.below(4), &mut rng);
            rig.drive();
            batch.listen(&rig);
        }
        // The reason ends it, or what is stored of it when nothing was on its way.
        let end = batch.end.as_ref().unwrap();
        let told = match end["count"].as_u64() {
            Some(count) => count,
            None => batch.told,
        };
        assert!(end["count"].is_u64() || end["error"]["err_code"] == 10077, "{end}");
        batch.send(&mut rig, 3, &mut rng);
        rig.drive();
        batch.listen(&rig);
        assert!(batch.told <= told);
        let io = rig.stop();
        io.crash(seed);
        let found = stored(&Rig::start(&io), &batch);
        assert!(found.len() as u64 >= told);
        assert_eq!(found, batch.contents[..found.len()]);
    }
}

/// A message that the journal has no room for is refused within its batch, which ends with what is stored of it.
#[test]
fn a_full_disk_ends_a_batch_with_what_is_stored_of_it() {
    let mut rig = start(&SimIo::new());
    let mut batch = Batch::new("b", 4);
    rig.io.set_capacity(Some(rig.io.used_bytes() + 100 * 1024));
    let mut rng = Rng::new(3);
    while batch.end.is_none() {
        assert!(batch.contents.len() < 5000, "the disk is full at last");
        batch.send(&mut rig, 4, &mut rng);
        rig.drive();
        batch.listen(&rig);
    }
    let end = batch.end.as_ref().unwrap();
    let found = stored(&rig, &batch);
    assert!(found.len() as u64 >= batch.told && !found.is_empty());
    assert_eq!(found, batch.contents[..found.len()]);
    match end["count"].as_u64() {
        Some(count) => assert_eq!(count, found.len() as u64),
        None => assert_eq!(end["error"]["err_code"], 10047, "{end}"),
    }
}
