//! The machine against a naive model, with random inputs and virtual time.
//!
//! The model knows for every stored message what a client may expect of it; it checks everything that comes out
//! against that, and that nothing which should come out is missing.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    New,
    Pending { deliveries: u32, due: i64 },
    Done,
    GivenUp,
}

#[derive(Clone, Debug)]
enum Step {
    Store(u8),
    Pull { batch: i64, no_wait: bool, expires: i64 },
    Ack { pick: usize, body: &'static str },
    Wait(i64),
    Remove(usize),
    ChangeLeader,
    Interest(bool),
}

#[derive(Clone, Debug)]
struct Setup {
    config: ConsumerConfig,
    stored_before: usize,
}

fn setups() -> impl Strategy<Value = Setup> {
    let policy = prop_oneof![4 => Just(AckPolicy::Explicit), 2 => Just(AckPolicy::All), 1 => Just(AckPolicy::None)];
    let filters = prop_oneof![Just(vec![]), Just(vec!["a"]), Just(vec!["a", "c"])];
    let numbers =
        (prop_oneof![Just(-1i64), Just(1), Just(3)], prop_oneof![Just(-1i64), Just(1), Just(3)], any::<bool>());
    let shape = (0usize..20, prop_oneof![2 => Just(""), 1 => Just("d")]);
    (policy, filters, numbers, shape).prop_map(
        |(ack_policy, filters, (pending, deliver, backoff), (stored_before, deliver_subject))| {
            let config = ConsumerConfig {
                ack_policy,
                deliver_subject: deliver_subject.into(),
                filter_subjects: filters.into_iter().map(String::from).collect(),
                max_ack_pending: pending,
                max_deliver: deliver,
                backoff: if backoff && deliver != 1 { vec![SECOND / 2, 2 * SECOND] } else { vec![] },
                ..explicit()
            };
            Setup { config, stored_before }
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let body = prop_oneof![
        6 => Just("+ACK"), 2 => Just("-NAK"), 1 => Just("-NAK 700ms"), 1 => Just("+WPI"), 1 => Just("+TERM"),
    ];
    let step = prop_oneof![
        6 => (0u8..3).prop_map(Step::Store),
        4 => (1i64..6, any::<bool>(), 0i64..2).prop_map(|(batch, no_wait, expires)| Step::Pull { batch, no_wait, expires }),
        6 => (any::<usize>(), body).prop_map(|(pick, body)| Step::Ack { pick, body }),
        3 => prop_oneof![Just(1i64), 0..SECOND, 0..5 * SECOND].prop_map(Step::Wait),
        1 => any::<usize>().prop_map(Step::Remove),
        1 => Just(Step::ChangeLeader),
        1 => any::<bool>().prop_map(Step::Interest),
    ];
    proptest::collection::vec(step, 0..120)
}

struct Model {
    rig: Rig,
    interested: bool,
    filter: Filter,
    /// The matching messages that exist.
    fates: BTreeMap<u64, Fate>,
    /// Every message that was ever delivered, with its latest consumer sequence.
    delivered: BTreeMap<u64, u64>,
    last_consumer_sequence: u64,
    /// A message was given up: the ack floor that is told may be behind.
    has_given_up: bool,
}

impl Model {
    fn new(setup: Setup) -> Self {
        let subjects: Vec<&str> = ["a", "b", "a", "c"].into_iter().cycle().take(setup.stored_before).collect();
        let filter = Filter::new(setup.config.filters());
        let rig = Rig::new(setup.config, &subjects);
        let matching = rig.stream.messages.iter().filter(|(_, message)| filter.matches(message.subject.as_bytes()));
        let fates = matching.map(|(sequence, _)| (*sequence, Fate::New)).collect();
        Self {
            rig,
            interested: false,
            filter,
            fates,
            delivered: BTreeMap::new(),
            last_consumer_sequence: 0,
            has_given_up: false,
        }
    }

    fn wait_of(&self, deliveries: u32) -> i64 {
        let backoff = &self.rig.config.backoff;
        let attempt = (deliveries.max(1) as usize - 1).min(backoff.len().max(1) - 1);
        backoff.get(attempt).copied().unwrap_or(self.rig.config.ack_wait)
    }

    fn count(&self, wanted: impl Fn(&Fate) -> bool) -> usize {
        self.fates.values().filter(|fate| wanted(fate)).count()
    }

    fn max_deliver(&self) -> u32 {
        u32::try_from(self.rig.config.max_deliver).unwrap_or(u32::MAX)
    }

    fn is_pending(fate: &Fate) -> bool {
        matches!(fate, Fate::Pending { .. })
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Store(subject) => {
                let subject = ["a", "b", "c"][subject as usize];
                let sequence = self.rig.stream.last + 1;
                if self.filter.matches(subject.as_bytes()) {
                    self.fates.insert(sequence, Fate::New);
                }
                self.rig.store(subject);
            }
            Step::Pull { batch, no_wait, expires } => {
                let expires = expires * 3 * SECOND;
                self.rig.pull("r", &format!(r#"{{"batch":{batch},"no_wait":{no_wait},"expires":{expires}}}"#));
            }
            Step::Ack { pick, body } => self.ack(pick, body),
            Step::Wait(duration) => {
                self.rig.wait(duration);
            }
            Step::Remove(pick) => {
                let Some(sequence) = nth(self.rig.stream.messages.keys(), pick) else { return };
                self.fates.remove(&sequence);
                self.rig.remove(sequence);
            }
            Step::ChangeLeader => {
                self.rig.change_leader();
                self.listen(self.interested);
            }
            Step::Interest(interested) => self.listen(interested),
        }
    }

    fn listen(&mut self, interested: bool) {
        self.interested = interested;
        self.rig.step(|consumer, context, _| consumer.interest_changed(interested, context.now));
    }

    fn ack(&mut self, pick: usize, body: &'static str) {
        let Some(sequence) = nth(self.delivered.keys(), pick) else { return };
        let (now, consumer_sequence) = (self.rig.now, self.delivered[&sequence]);
        let covers_all = self.rig.config.ack_policy == AckPolicy::All;
        let mut targets: Vec<u64> = vec![sequence];
        let is_ack = matches!(body, "+ACK" | "+TERM");
        if covers_all && is_ack {
            if sequence <= self.rig.consumer.state().ack_floor().stream {
                return;
            }
            targets = self.fates.keys().copied().filter(|other| *other <= sequence).collect();
        }
        for target in targets {
            let max = self.max_deliver();
            let wait = match self.fates.get(&target) {
                Some(Fate::Pending { deliveries, .. }) => self.wait_of(*deliveries),
                _ => 0,
            };
            let Some(fate) = self.fates.get_mut(&target) else { continue };
            match (*fate, body) {
                (Fate::Pending { .. }, "+ACK" | "+TERM") => *fate = Fate::Done,
                (Fate::GivenUp, "+ACK" | "+TERM") => *fate = Fate::Done,
                (Fate::Pending { deliveries, .. }, "-NAK") if deliveries >= max => *fate = Fate::GivenUp,
                (Fate::Pending { deliveries, .. }, "-NAK") => *fate = Fate::Pending { deliveries, due: now },
                (Fate::Pending { deliveries, .. }, "-NAK 700ms") => {
                    *fate = Fate::Pending { deliveries, due: now + 700 * MILLI };
                }
                (Fate::Pending { deliveries, .. }, "+WPI") => *fate = Fate::Pending { deliveries, due: now + wait },
                _ => {}
            }
        }
        self.rig.ack(sequence, consumer_sequence, body);
    }

    /// Everything that came out must have been allowed to.
    fn check_events(&mut self) {
        let events = self.rig.log.split_off(0);
        for (now, event) in events {
            match event {
                Event::Deliver(delivery) => self.check_delivery(&delivery, now),
                Event::Advisory(Advisory::MaxDeliveries { stream_sequence, deliveries }) => {
                    let fate = self.fates.get_mut(&stream_sequence).expect("an existing message");
                    match *fate {
                        Fate::Pending { deliveries: known, due } => assert!(due <= now && known == deliveries),
                        other => assert_eq!(other, Fate::GivenUp),
                    }
                    *fate = Fate::GivenUp;
                    self.has_given_up = true;
                    assert!(deliveries >= self.max_deliver());
                }
                _ => {}
            }
        }
    }

    fn check_delivery(&mut self, delivery: &Delivery, now: i64) {
        let Delivery { sequence, consumer_sequence, deliveries, pending, .. } = *delivery;
        self.last_consumer_sequence += 1;
        assert_eq!(consumer_sequence, self.last_consumer_sequence);
        assert!(deliveries <= self.max_deliver());
        let fate = *self.fates.get(&sequence).expect("an existing message that matches");
        match fate {
            Fate::New => {
                assert_eq!(deliveries, 1);
                let first = self.fates.iter().find(|(_, fate)| **fate == Fate::New);
                assert_eq!(first.map(|(first, _)| *first), Some(sequence), "in order");
                let max = usize::try_from(self.rig.config.max_ack_pending).unwrap_or(usize::MAX);
                assert!(self.count(Self::is_pending) < max);
            }
            Fate::Pending { deliveries: known, due } => {
                assert_eq!(deliveries, known + 1);
                assert!(due <= now, "{sequence} is due in {}", due - now);
            }
            Fate::Done | Fate::GivenUp => panic!("{sequence} is over: {fate:?}"),
        }
        self.delivered.insert(sequence, consumer_sequence);
        let fate = match self.rig.config.ack_policy {
            AckPolicy::None => Fate::Done,
            _ => Fate::Pending { deliveries, due: now + self.wait_of(deliveries) },
        };
        self.fates.insert(sequence, fate);
        // What was stored later in the same step is not there yet in this count; steps store one at a time.
        assert_eq!(pending as usize, self.count(|fate| *fate == Fate::New));
    }

    /// Nothing that should have come out is missing, and the numbers are those of the model.
    fn check_state(&mut self) {
        let now = self.rig.now;
        let why = self.rig.why();
        let info = self.rig.info();
        assert_eq!(info.num_pending as usize, self.count(|fate| *fate == Fate::New));
        assert_eq!(info.num_ack_pending as usize, self.count(Self::is_pending));
        let state = self.rig.consumer.state();
        let (floor, told) = (state.ack_floor(), state.told_floor());
        assert_eq!((told.consumer, told.stream), (info.ack_floor.consumer_seq, info.ack_floor.stream_seq));
        if !self.has_given_up {
            assert_eq!(told, floor);
        }
        let first_pending = self.fates.iter().find(|(_, fate)| Self::is_pending(fate));
        if let Some((first, _)) = first_pending {
            assert!(floor.stream < *first);
        } else if self.rig.config.ack_policy == AckPolicy::Explicit {
            assert_eq!(floor.consumer, info.delivered.consumer_seq);
        }
        for (sequence, fate) in &self.fates {
            let needed = *fate != Fate::Done;
            assert_eq!(self.rig.replica.needs(*sequence), needed, "{sequence} {fate:?}");
        }
        let gap = 3 * MILLI;
        let overdue = self.count(|fate| matches!(fate, Fate::Pending { due, .. } if *due + gap < now));
        match why {
            None => panic!("something can be delivered, and is not"),
            Some(Blocked::NothingPending) => assert_eq!((info.num_pending, overdue), (0, 0)),
            Some(Blocked::MaxAckPending) => {
                assert_eq!(info.num_ack_pending as i64, self.rig.config.max_ack_pending);
                assert_eq!(overdue, 0);
            }
            Some(Blocked::NoWaitingPull) => assert_eq!(self.rig.consumer.num_waiting(), 0),
            Some(Blocked::NoInterest) => assert!(!self.interested && self.rig.config.is_push()),
            Some(other) => panic!("{other:?}"),
        }
    }

    /// A client that asks and acks for ever gets everything.
    fn drain(&mut self) {
        self.listen(true);
        for round in 0.. {
            assert!(round < 100, "{:?}", self.fates);
            self.rig.pull("drain", "1000");
            self.rig.wait(3 * SECOND);
            self.check_events();
            let pending: Vec<u64> =
                self.fates.iter().filter(|(_, fate)| Self::is_pending(fate)).map(|(sequence, _)| *sequence).collect();
            for sequence in pending {
                let index = self.delivered.keys().position(|delivered| *delivered == sequence);
                self.ack(index.expect("delivered"), "+ACK");
                self.check_events();
            }
            if self.count(|fate| matches!(fate, Fate::New | Fate::Pending { .. })) == 0 {
                break;
            }
        }
        assert!(self.fates.keys().all(|sequence| self.delivered.contains_key(sequence)), "each at least once");
        self.check_state();
        assert_eq!(self.rig.consumer.state().delivered(), self.rig.replica.delivered());
    }
}

fn nth<'a>(mut keys: impl ExactSizeIterator<Item = &'a u64>, pick: usize) -> Option<u64> {
    let count = keys.len();
    (count > 0).then(|| keys.nth(pick % count).copied()).flatten()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn clients_get_what_the_model_says(setup in setups(), steps in steps()) {
        let mut model = Model::new(setup);
        for step in steps {
            model.run(step);
            model.check_events();
            model.check_state();
        }
        model.drain();
    }
}
