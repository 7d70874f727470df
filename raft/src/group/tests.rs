//! One group by hand: what is handed out when.

use super::*;
use crate::ids::NodeId;
use crate::log::EntryKind;
use crate::membership::{Change, Membership};
use crate::output::{Append, Read, ReadError, StepError};
use proptest::prelude::*;
use raft::eraftpb::MessageType::*;
use raft::eraftpb::{Entry, MessageType};

fn peer(node: u32) -> PeerId {
    PeerId::new(NodeId(node), 1)
}

fn config(own: u32, voters: &[u32]) -> GroupConfig {
    let voters: Vec<PeerId> = voters.iter().map(|node| peer(*node)).collect();
    GroupConfig {
        group: GroupId(7),
        peer: peer(own),
        settings: Settings::default(),
        state: GroupState::bootstrap(&voters),
        log: TermLog::new(0, 0),
        applied: 0,
        seed: u64::from(own),
    }
}

fn group(own: u32, voters: &[u32]) -> Group {
    Group::new(config(own, voters)).unwrap()
}

/// A group of one that leads and has its own entry durable and applied.
fn leader_of_one() -> Group {
    let mut group = group(1, &[1]);
    group.campaign();
    group.ready();
    group.written(1);
    group.on_durable(1);
    group.advance_applied(1);
    group
}

fn message(kind: MessageType, from: u32, term: u64) -> Message {
    Message { msg_type: kind.into(), from: peer(from).get(), to: peer(1).get(), term, ..Default::default() }
}

/// An append of entries `index + 1 ..`, given by their terms.
fn append(from: u32, term: u64, (index, log_term): (u64, u64), terms: &[u64], commit: u64) -> Message {
    let entry = |(index, term): (u64, &u64)| Entry { index, term: *term, data: "x".into(), ..Default::default() };
    let entries = (index + 1..).zip(terms).map(entry).collect();
    Message { index, log_term, commit, entries, ..message(MsgAppend, from, term) }
}

fn kinds(messages: &[Message]) -> Vec<MessageType> {
    messages.iter().map(|message| message.msg_type()).collect()
}

#[test]
fn a_group_of_one_commits_what_is_durable_and_nothing_else() {
    let mut group = group(1, &[1]);
    group.campaign();
    assert_eq!(group.propose(1), Err(ProposeError::NotReady));
    let output = group.ready();
    let state = GroupState::decode(&output.state.unwrap()).unwrap();
    assert_eq!((state.term(), state.membership()), (1, Membership::of_voters(&[peer(1)])));
    let own = Append { index: 1, term: 1, kind: EntryKind::Empty, payload: Default::default() };
    assert_eq!((output.appends, output.role), (vec![own], Some(Role::Leader { term: 1 })));
    assert_eq!(group.written(10), None);
    assert_eq!(group.on_durable(9), None);
    assert_eq!(group.on_durable(10), Some(1..=1));

    assert_eq!(group.propose(3), Ok(Proposed { first_index: 2, term: 1 }));
    assert_eq!(group.propose(2), Ok(Proposed { first_index: 5, term: 1 }));
    assert_eq!(group.written(20), None);
    assert_eq!(group.propose(1), Ok(Proposed { first_index: 7, term: 1 }));
    assert_eq!(group.on_durable(20), Some(2..=6));
    assert_eq!(group.written(30), None);
    assert_eq!(group.on_durable(30), Some(7..=7));
    group.advance_applied(7);
    assert!(!group.needs_ready());
    assert_eq!((group.applied(), group.commit_index(), group.durable_index(), group.last_index()), (7, 7, 7, 7));
    group.compact(5);
    assert_eq!((group.compacted(), group.entry_term(5), group.entry_term(4)), (5, Some(1), None));
}

#[test]
fn durability_may_be_known_before_the_write_is_named() {
    let mut group = leader_of_one();
    group.propose(4).unwrap();
    assert_eq!(group.on_durable(99), None);
    assert_eq!(group.written(99), Some(2..=5));
}

#[test]
fn proposals_have_a_bound() {
    let mut group = Group::new(GroupConfig {
        settings: Settings { uncommitted_entries_max: 10, ..Settings::default() },
        ..config(1, &[1])
    })
    .unwrap();
    group.campaign();
    group.ready();
    group.written(1);
    group.propose(9).unwrap();
    assert_eq!(group.propose(1), Err(ProposeError::Full));
    group.written(2);
    group.on_durable(2);
    assert_eq!(group.propose(1), Ok(Proposed { first_index: 11, term: 1 }));
}

#[test]
fn a_restart_goes_on_from_state_checkpoint_and_entries() {
    let mut log = TermLog::new(20, 4);
    (21..=25).for_each(|index| log.recover(index, 5, EntryKind::Normal, b"x").unwrap());
    let mut state = GroupState::bootstrap(&[peer(1)]);
    state.hard = HardState { term: 5, vote: peer(1).get(), commit: 23 };
    let mut group =
        Group::new(GroupConfig { state: state.clone(), log: log.clone(), applied: 20, ..config(1, &[1]) }).unwrap();
    assert_eq!(group.ready().committed, Some(21..=23));
    group.campaign();
    let output = group.ready();
    assert_eq!((group.term(), output.appends[0].index), (6, 26));
    group.written(1);
    assert_eq!(group.on_durable(1), Some(24..=26));

    state.hard.commit = 26;
    let ahead = GroupConfig { state: state.clone(), log: log.clone(), applied: 20, ..config(1, &[1]) };
    assert!(matches!(Group::new(ahead), Err(RestartError::CommitBeyondLog { commit: 26, last: 25 })));
    let behind = GroupConfig { state, log, applied: 19, ..config(1, &[1]) };
    assert!(matches!(Group::new(behind), Err(RestartError::AppliedBehindCheckpoint { applied: 19, checkpoint: 20 })));
}

#[test]
fn a_vote_leaves_only_after_it_is_durable() {
    let mut group = group(1, &[1, 2, 3]);
    group.step(message(MsgRequestVote, 2, 5)).unwrap();
    let output = group.ready();
    assert_eq!(
        GroupState::decode(&output.state.unwrap()).unwrap().hard,
        HardState { term: 5, vote: peer(2).get(), commit: 0 }
    );
    assert!(output.messages.is_empty());
    group.written(3);
    assert!(group.ready().messages.is_empty());
    group.on_durable(3);
    assert_eq!(kinds(&group.ready().messages), [MsgRequestVoteResponse]);
}

#[test]
fn a_follower_acknowledges_only_what_is_durable() {
    let mut group = group(1, &[1, 2, 3]);
    group.step(append(2, 1, (0, 0), &[1, 1], 2)).unwrap();
    let output = group.ready();
    assert_eq!((output.appends.len(), output.messages.len(), output.committed), (2, 0, None));
    group.written(1);
    // A repetition acknowledges the same entries, and waits for the same write.
    group.step(append(2, 1, (0, 0), &[1, 1], 2)).unwrap();
    assert!(group.ready().messages.is_empty());
    assert_eq!(group.on_durable(1), Some(1..=2));
    let messages = group.ready().messages;
    assert_eq!(messages.iter().map(|message| message.index).collect::<Vec<_>>(), [2, 2]);
}

/// Entry 2 is written for the leader of term 1, replaced by the leader of term 2, and written again by the first one, which
/// came back with term 3. Only the last write counts, though the first has the same index and term.
#[test]
fn an_entry_written_twice_is_durable_with_the_last_write() {
    let mut group = group(1, &[1, 2, 3, 4, 5]);
    for (position, message) in [
        (10, append(2, 1, (0, 0), &[1, 1], 0)),
        (20, append(3, 2, (1, 1), &[2], 0)),
        (30, append(2, 3, (1, 1), &[1], 2)),
    ] {
        group.step(message).unwrap();
        group.ready();
        group.written(position);
    }
    assert_eq!(group.on_durable(10), Some(1..=1));
    assert_eq!(group.ready().messages.len(), 1);
    assert_eq!(group.on_durable(20), None);
    assert_eq!(group.ready().messages.len(), 1);
    assert_eq!(group.on_durable(30), Some(2..=2));
    let messages = group.ready().messages;
    assert_eq!((messages.len(), messages[0].to, messages[0].index), (1, peer(2).get(), 2));
}

#[test]
fn a_leader_replicates_while_it_writes() {
    let mut group = group(1, &[1, 2, 3]);
    elect(&mut group);
    group.propose(2).unwrap();
    let output = group.ready();
    let sent: Vec<usize> = output.messages.iter().map(|message| message.entries.len()).collect();
    assert_eq!(sent, [2, 2]);
    assert!(output.appends.is_empty());
    group.written(100);
    // The others' acknowledgements commit, and what is committed is applied only when durable here too.
    let accept = |from| Message { index: 3, ..message(MsgAppendResponse, from, 1) };
    group.step(accept(2)).unwrap();
    group.step(accept(3)).unwrap();
    assert_eq!((group.commit_index(), group.ready().committed), (3, None));
    assert_eq!(group.on_durable(100), Some(2..=3));
}

/// raft-rs issue 557: the follower rejected a probe at entry 6 when it had one entry only; its rejection was overtaken by its
/// acknowledgement of all six. Going back to entry 2 would send what it has, or worse, ask for what is compacted.
#[test]
fn raft_rs_557_an_old_rejection_does_not_move_a_probe_before_what_matched() {
    for trust in [false, true] {
        let mut group = group(1, &[1, 2, 3]);
        elect(&mut group);
        group.trust_stale_rejections(trust);
        group.propose(5).unwrap();
        group.ready();
        group.written(100);
        group.step(Message { index: 6, ..message(MsgAppendResponse, 2, 1) }).unwrap();
        group.report_unreachable(peer(2));
        let rejection =
            Message { index: 6, reject: true, reject_hint: 1, log_term: 1, ..message(MsgAppendResponse, 2, 1) };
        group.step(rejection).unwrap();
        let progress = group.progress().into_iter().find(|progress| progress.peer == peer(2)).unwrap();
        assert_eq!((progress.matched, progress.next > progress.matched), (6, !trust));
    }
}

/// Ticks until a vote is asked for, and grants it.
fn elect(group: &mut Group) {
    let mut position = 0;
    for _ in 0..100 {
        group.tick();
        let asked = group.ready();
        position += 1;
        group.written(position);
        group.on_durable(position);
        for message in asked.messages.into_iter().chain(group.ready().messages) {
            let kind = match message.msg_type() {
                MsgRequestPreVote => MsgRequestPreVoteResponse,
                MsgRequestVote => MsgRequestVoteResponse,
                MsgAppend => MsgAppendResponse,
                _ => continue,
            };
            let index = message.index + message.entries.len() as u64;
            let from = PeerId::from_raw(message.to).unwrap().node().0;
            group.step(Message { index, ..self::message(kind, from, message.term) }).unwrap();
        }
        if group.is_leader() && group.commit_index() > 0 {
            group.ready();
            return;
        }
    }
    panic!("no leader after 100 ticks");
}

#[test]
fn elections_are_decided_by_the_seed() {
    let ticks_to_campaign = |seed| {
        let mut group = Group::new(GroupConfig { seed, ..config(1, &[1, 2, 3]) }).unwrap();
        (1..100).find(|_| {
            group.tick();
            matches!(group.role(), Role::Candidate { .. })
        })
    };
    let first: Vec<_> = (0..20).map(ticks_to_campaign).collect();
    assert_eq!(first, (0..20).map(ticks_to_campaign).collect::<Vec<_>>());
    assert!(first.iter().any(|ticks| *ticks != first[0]));
}

/// A sole voter elects itself; a learner must not hear of the term before a crash can no longer take it back.
#[test]
fn a_sole_voter_tells_its_learner_nothing_before_its_term_is_durable() {
    let mut log = TermLog::new(0, 0);
    log.recover(1, 1, EntryKind::Empty, b"").unwrap();
    let mut state = GroupState::bootstrap(&[peer(1)]);
    state.conf.learners = vec![peer(2).get()];
    state.hard = HardState { term: 1, vote: peer(1).get(), commit: 1 };
    let mut group = Group::new(GroupConfig { state, log, ..config(1, &[1]) }).unwrap();
    group.campaign();
    assert!(group.ready().messages.is_empty());
    group.written(1);
    assert!(group.ready().messages.is_empty());
    group.on_durable(1);
    assert_eq!(kinds(&group.ready().messages), [MsgAppend]);
}

#[test]
fn one_grows_to_two_through_a_learner() {
    let mut group = leader_of_one();
    assert!(!group.has_peers());
    assert_eq!(group.propose_membership(&[Change::Learner(peer(2))]), Ok(2));
    assert_eq!(group.propose(1), Err(ProposeError::NotReady));
    let output = group.ready();
    assert_eq!(output.appends[0].kind, EntryKind::Membership);
    group.written(2);
    assert_eq!(group.propose_membership(&[Change::Voter(peer(2))]), Err(ProposeError::ChangePending));
    assert_eq!(group.on_durable(2), Some(2..=2));
    assert!(!group.has_peers());
    group.advance_applied(2);
    let output = group.ready();
    assert_eq!(output.membership.map(|members| members.learners), Some(vec![peer(2)]));
    let state = GroupState::decode(&output.state.unwrap()).unwrap();
    assert_eq!((state.conf_index, state.membership().learners), (2, vec![peer(2)]));
    assert!(group.has_peers() && group.membership_index() == 2);
    assert_eq!(kinds(&output.messages), [MsgAppend]);
    assert!(!group.is_caught_up(peer(2)));
}

#[test]
fn a_group_does_not_campaign_over_an_unapplied_membership_change() {
    let change = crate::membership::encode_changes(&[Change::Learner(peer(4))]);
    let data = prost::Message::encode_to_vec(&change);
    let mut log = TermLog::new(0, 0);
    (1..=5).for_each(|index| log.recover(index, 1, EntryKind::Normal, b"x").unwrap());
    log.recover(6, 1, EntryKind::Membership, &data).unwrap();
    log.recover(7, 1, EntryKind::Normal, b"x").unwrap();
    let mut state = GroupState::bootstrap(&[peer(1)]);
    state.hard = HardState { term: 1, vote: peer(1).get(), commit: 7 };
    let mut group = Group::new(GroupConfig { state, log, ..config(1, &[1]) }).unwrap();
    group.campaign();
    assert_eq!(group.role(), Role::Follower { term: 1, leader: None });
    assert_eq!(group.ready().committed, Some(1..=7));
    group.advance_applied(7);
    assert_eq!(group.membership().learners, [peer(4)]);
    group.campaign();
    assert_eq!(group.role(), Role::Leader { term: 2 });
}

#[test]
fn reads_ask_the_quorum_and_end_with_the_leader() {
    let mut alone = leader_of_one();
    alone.read_index(5).unwrap();
    assert_eq!(alone.ready().reads, [Read { request: 5, index: 1 }]);

    let mut group = group(1, &[1, 2, 3]);
    assert_eq!(group.read_index(1), Err(ReadError::NoLeader));
    elect(&mut group);
    group.read_index(2).unwrap();
    let heartbeat = group.ready().messages.remove(0);
    let answer = Message { context: heartbeat.context, ..message(MsgHeartbeatResponse, 2, 1) };
    group.step(answer).unwrap();
    assert_eq!(group.ready().reads, [Read { request: 2, index: 1 }]);
    group.read_index(3).unwrap();
    group.ready();
    group.step(append(3, 9, (1, 1), &[], 1)).unwrap();
    let output = group.ready();
    assert_eq!((output.reads, output.reads_lost), (vec![], vec![3]));
}

#[test]
fn strays_are_refused_and_a_lost_log_is_noticed() {
    let mut group = group(1, &[1, 2, 3]);
    let strays = [
        Message { to: peer(2).get(), ..message(MsgHeartbeat, 2, 1) },
        Message { to: PeerId::new(NodeId(1), 2).get(), ..message(MsgHeartbeat, 2, 1) },
        message(MsgHeartbeat, 1, 1),
        message(MsgHeartbeat, 2, 0),
        message(MsgPropose, 2, 1),
        message(MsgHup, 2, 1),
        message(MsgReadIndex, 2, 0),
        message(MsgSnapshot, 2, 1),
        append(2, 1, (0, 0), &[1, 2], 0),
        append(2, 5, (0, 0), &[2, 1], 0),
        Message { index: u64::MAX, ..message(MsgAppend, 2, 1) },
    ];
    for stray in strays {
        assert_eq!(group.step(stray.clone()), Err(StepError::Stray), "{stray:?}");
    }
    let ahead = Message { commit: 4, ..message(MsgHeartbeat, 2, 1) };
    assert_eq!(group.step(ahead), Err(StepError::LostLog { commit: 4, last: 0 }));
}

#[test]
fn a_quiet_leader_may_rest_and_its_follower_agrees() {
    let mut group = group(1, &[1, 2, 3]);
    elect(&mut group);
    group.advance_applied(1);
    assert!(!group.is_quiet(|_| false), "nobody has said yet that it knows the commit");
    group.step(Message { commit: 1, ..message(MsgHeartbeatResponse, 2, 1) }).unwrap();
    group.ready();
    assert!(!group.is_quiet(|_| false));
    assert!(group.is_quiet(|peer| peer == self::peer(3)));
    group.step(Message { commit: 1, ..message(MsgHeartbeatResponse, 3, 1) }).unwrap();
    group.ready();
    assert!(group.is_quiet(|_| false));

    let mut follower = Group::new(config(1, &[1, 2, 3])).unwrap();
    follower.step(append(2, 1, (0, 0), &[1], 1)).unwrap();
    follower.ready();
    follower.written(1);
    assert!(!follower.may_sleep(peer(2), 1, 1), "not durable yet");
    follower.on_durable(1);
    assert!(follower.may_sleep(peer(2), 1, 1));
    assert!(
        !follower.may_sleep(peer(3), 1, 1) && !follower.may_sleep(peer(2), 2, 1) && !follower.may_sleep(peer(2), 1, 2)
    );
}

/// raft would look for membership changes among entries the snapshot has replaced.
#[test]
fn nobody_campaigns_while_a_snapshot_is_being_made_durable() {
    let mut group = group(1, &[1, 2, 3]);
    let conf = ConfState { voters: vec![peer(1).get(), peer(2).get()], ..Default::default() };
    let metadata = raft::eraftpb::SnapshotMetadata { conf_state: Some(conf), index: 9, term: 1 };
    let snapshot = raft::eraftpb::Snapshot { metadata: Some(metadata), ..Default::default() };
    group.step(Message { snapshot: Some(snapshot), ..message(MsgSnapshot, 2, 1) }).unwrap();
    let output = group.ready();
    assert_eq!(output.install.map(|install| (install.index, install.term)), Some((9, 1)));
    assert!(output.state.is_some() && output.messages.is_empty());
    assert_eq!(group.step(message(MsgTimeoutNow, 2, 1)), Err(StepError::Stray));
    (0..50).for_each(|_| group.tick());
    assert_eq!(group.written(5), None);
    assert_eq!(
        (group.role(), group.applied(), group.durable_index()),
        (Role::Follower { term: 1, leader: Some(peer(2)) }, 9, 0)
    );
    group.on_durable(5);
    assert_eq!((group.durable_index(), kinds(&group.ready().messages)), (9, vec![MsgAppendResponse]));
    group.tick();
    assert!(matches!(group.role(), Role::Candidate { .. }));
}

prop_compose! {
    fn any_message()(
        kind in 0i32..19,
        from in 1u32..4,
        numbers in prop::array::uniform6(0u64..6),
        reject in any::<bool>(),
        terms in prop::collection::vec(0u64..6, 0..4),
        entry_type in 0i32..3,
        shift in 0u64..2,
        voters in prop::option::of(prop::collection::vec(1u32..5, 0..4)),
    ) -> Message {
        let [term, log_term, index, commit, commit_term, reject_hint] = numbers;
        let entry = |(at, term)| Entry { entry_type, index: index + at + shift, term, ..Default::default() };
        let conf = |voters: Vec<u32>| ConfState { voters: voters.into_iter().map(|v| peer(v).get()).collect(), ..Default::default() };
        let metadata = |voters| raft::eraftpb::SnapshotMetadata { conf_state: Some(conf(voters)), index: commit, term: log_term };
        Message {
            msg_type: kind,
            from: peer(from).get(),
            to: peer(1).get(),
            term, log_term, index, commit, commit_term, reject, reject_hint,
            entries: (0..).zip(terms).map(entry).collect(),
            snapshot: voters.map(|voters| raft::eraftpb::Snapshot { metadata: Some(metadata(voters)), ..Default::default() }),
            ..Default::default()
        }
    }
}

proptest! {
    /// Peers that lie about everything can confuse a group, and even make raft give up; they must not break our own invariants
    /// or reach an arithmetic overflow.
    #[test]
    fn no_message_breaks_the_bookkeeping(messages in prop::collection::vec((any_message(), 0u8..4), 1..40)) {
        let mut group = crate::Guarded::new(GroupId(7), group(1, &[1, 2, 3]));
        for (position, (message, then)) in (1..).zip(messages) {
            let done = group.run(|group| {
                if then == 0 { group.tick() }
                let _ = group.step(message);
                let output = group.ready();
                if let Some(install) = output.install {
                    assert!(group.applied() == install.index);
                }
                let mut committed = output.committed;
                committed = group.written(position).or(committed);
                if then > 1 {
                    committed = group.on_durable(position).or(committed);
                }
                if let Some(committed) = committed {
                    group.advance_applied(*committed.end());
                }
            });
            if let Err(poisoned) = done {
                prop_assert!(false, "{}", poisoned.reason);
            }
        }
    }
}

/// `cargo test --release -p headwater-raft -- --ignored --nocapture cost`
#[test]
#[ignore = "a measurement"]
fn cost_of_a_group_of_one() {
    for batch in [1, 8, 64, 512] {
        let mut group = leader_of_one();
        let (rounds, mut position) = (2_000_000 / batch, 1);
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            let first = group.propose(batch).unwrap().first_index;
            position += 1;
            group.written(position);
            let committed = group.on_durable(position).unwrap();
            assert_eq!(committed, first..=first + batch - 1);
            group.advance_applied(*committed.end());
        }
        let nanos = start.elapsed().as_nanos() as f64;
        println!(
            "batch {batch}: {:.1} ns per turn, {:.2} ns per entry",
            nanos / rounds as f64,
            nanos / (rounds * batch) as f64
        );
    }
    let start = std::time::Instant::now();
    let groups: Vec<Group> = (0..10_000).map(|_| leader_of_one()).collect();
    println!("creation with election: {:.2} us per group", start.elapsed().as_micros() as f64 / groups.len() as f64);
    println!("struct: {} bytes", size_of::<Group>());
}
