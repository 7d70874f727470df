//! Which groups are asked for a checkpoint, and when once more. Pure.
//!
//! Whoever is asked may have no room to write one, or nothing to write just now. So a group is asked again, after longer
//! and longer pauses, for as long as there is a reason to and no checkpoint came.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::directory::group::Checkpoints;
use crate::format::record::GroupId;

/// Between two times that a group is asked, however soon it answered.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Between two times that all groups are asked.
const ALL_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause after it was asked in vain. What is asked for may be large, and made for nothing.
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(crate) struct Requests {
    /// Groups that this pass found a reason to ask.
    wanted: BTreeSet<GroupId>,
    asked: BTreeMap<GroupId, Asked>,
}

struct Asked {
    at: Instant,
    /// How long to wait for an answer.
    pause: Duration,
    /// The number of the latest checkpoint by then.
    latest: u64,
}

impl Requests {
    /// There is a reason to ask a group.
    pub(crate) fn want(&mut self, group: GroupId) {
        self.wanted.insert(group);
    }

    /// Ends a pass: the groups that are to be asked now. Without a clock every pass asks. One with a large checkpoint waits
    /// until no other such is being fed, for each of them takes memory until it is.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        manual: bool,
        mut is_feeding: bool,
        known: impl Fn(GroupId) -> Option<Checkpoints>,
    ) -> Vec<GroupId> {
        let wanted = std::mem::take(&mut self.wanted);
        let due = wanted.iter().copied().filter(|group| {
            let Some(Checkpoints { latest, is_under_way: false, is_large }) = known(*group) else { return false };
            if is_large && is_feeding {
                return false;
            }
            let pause = match self.asked.get(group) {
                Some(asked) => {
                    let in_vain = asked.latest == latest;
                    let pause = if in_vain { asked.pause } else { PAUSE_MIN };
                    if !manual && now.saturating_duration_since(asked.at) < pause {
                        return false;
                    }
                    if in_vain { (pause * 2).min(PAUSE_MAX) } else { PAUSE_MIN }
                }
                None => PAUSE_MIN,
            };
            self.asked.insert(*group, Asked { at: now, pause, latest });
            is_feeding |= is_large;
            true
        });
        let due = due.collect();
        let is_fresh = |asked: &Asked| now.saturating_duration_since(asked.at) < PAUSE_MIN;
        self.asked.retain(|group, asked| wanted.contains(group) || is_fresh(asked));
        due
    }
}

/// When all groups are asked, since space is short: any of them may have removed what its next checkpoint lets go of.
#[derive(Default)]
pub(crate) struct Shortage {
    asked_at: Option<Instant>,
    /// The segment that was the present one when they were asked on a full disk.
    asked_in: Option<u32>,
    /// They were asked since there last was room for another file.
    was_tight: bool,
}

impl Shortage {
    /// Another part of the reserve is being used than when they were asked.
    pub(crate) fn is_news(&self, present: u32) -> bool {
        self.asked_in != Some(present)
    }

    /// Whether to ask now. While the disk is full: again and again, and at once when the present segment is another one, since
    /// the one before is free when all have answered. While it only has no room for another file: once. `full` is the present
    /// segment of a full disk.
    pub(crate) fn asks_all(&mut self, now: Instant, manual: bool, full: Option<u32>, tight: bool) -> bool {
        let rested = self.asked_at.is_none_or(|at| now.saturating_duration_since(at) >= ALL_PAUSE);
        let is_news = full.is_some_and(|present| self.is_news(present));
        let asks = (full.is_some() || (tight && !self.was_tight)) && (manual || rested || is_news);
        if asks {
            self.asked_at = Some(now);
        }
        self.asked_in = full;
        self.was_tight = tight && (self.was_tight || asks);
        asks
    }
}

/// What a group would have a start read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uncovered {
    pub(crate) group: GroupId,
    /// Bytes since its last checkpoint.
    pub(crate) bytes: u64,
    /// Bytes of that checkpoint; the next one will be about as large.
    pub(crate) checkpoint_bytes: u64,
}

/// The groups that are to be asked so that a start reads no more than `bytes_max` beside checkpoints: those with the most, as few
/// as will do. Not those whose checkpoint is larger than what it would save.
pub(crate) fn above_bound(groups: impl Iterator<Item = Uncovered>, bytes_max: u64) -> Vec<GroupId> {
    let mut worth: Vec<Uncovered> = groups.filter(|group| group.bytes > group.checkpoint_bytes).collect();
    let mut sum: u64 = worth.iter().map(|group| group.bytes).sum();
    if sum <= bytes_max {
        return Vec::new();
    }
    worth.sort_unstable_by_key(|group| (std::cmp::Reverse(group.bytes), group.group));
    let mut asked = Vec::new();
    for Uncovered { group, bytes, .. } in worth {
        if sum <= bytes_max {
            break;
        }
        sum -= bytes;
        asked.push(group);
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId(5);

    /// A pass in which the group is wanted, so many seconds after the start.
    fn pass(requests: &mut Requests, start: Instant, seconds: u64, known: Checkpoints) -> bool {
        requests.want(GROUP);
        !requests.take(start + Duration::from_secs(seconds), false, false, |_| Some(known)).is_empty()
    }

    #[test]
    fn a_group_that_does_not_answer_is_asked_after_longer_and_longer_pauses() {
        let (mut requests, start) = (Requests::default(), Instant::now());
        let known = Checkpoints { latest: 3, is_under_way: false, is_large: false };
        let asked: Vec<u64> = (0..130).filter(|second| pass(&mut requests, start, *second, known)).collect();
        assert_eq!(asked, [0, 1, 3, 7, 15, 31, 61, 91, 121]);
    }

    #[test]
    fn a_group_that_answered_is_asked_as_if_for_the_first_time() {
        let (mut requests, start) = (Requests::default(), Instant::now());
        let known = |latest| Checkpoints { latest, is_under_way: false, is_large: false };
        let asked: Vec<u64> = (0..10).filter(|second| pass(&mut requests, start, *second, known(3))).collect();
        assert_eq!(asked, [0, 1, 3, 7]);
        let asked: Vec<u64> =
            (10..14).filter(|second| pass(&mut requests, start, *second, known(4 + second))).collect();
        assert_eq!(asked, [10, 11, 12, 13]);
    }

    #[test]
    fn nobody_is_asked_for_what_is_being_written() {
        let (mut requests, start) = (Requests::default(), Instant::now());
        let known = Checkpoints { latest: 3, is_under_way: true, is_large: false };
        assert!((0..130).all(|second| !pass(&mut requests, start, second, known)));
        requests.want(GROUP);
        assert_eq!(requests.take(start, false, false, |_| None), [], "nor for a group that is gone");
    }

    #[test]
    fn large_checkpoints_are_asked_for_one_after_the_other() {
        let (mut requests, start) = (Requests::default(), Instant::now());
        let mut asked = |second: u64, is_feeding: bool| -> Vec<u64> {
            (1..=4).for_each(|group| requests.want(GroupId(group)));
            let known = |group: GroupId| {
                Some(Checkpoints { latest: second, is_under_way: false, is_large: group.0.is_multiple_of(2) })
            };
            let due = requests.take(start + Duration::from_secs(second), false, is_feeding, known);
            due.into_iter().map(|group| group.0).collect()
        };
        assert_eq!(asked(1, true), [1, 3]);
        assert_eq!(asked(2, false), [1, 2, 3], "the other one waits for that");
    }

    #[test]
    fn all_are_asked_again_only_while_the_disk_is_full() {
        let start = Instant::now();
        let asked = |full: bool, tight: &dyn Fn(u64) -> bool| -> Vec<u64> {
            let mut shortage = Shortage::default();
            let full = full.then_some(1);
            let asks =
                |second: &u64| shortage.asks_all(start + Duration::from_secs(*second), false, full, tight(*second));
            (0..25).filter(asks).collect()
        };
        assert_eq!(asked(false, &|_| false), []);
        assert_eq!(asked(true, &|_| true), [0, 10, 20]);
        assert_eq!(asked(false, &|_| true), [0]);
        assert_eq!(asked(false, &|second| second != 5), [0, 10], "not at once when it comes and goes");
    }

    #[test]
    fn all_are_asked_at_once_when_another_part_of_the_reserve_is_begun() {
        let (mut shortage, start) = (Shortage::default(), Instant::now());
        let mut asks = |second: u64, present: u32| {
            let is_news = shortage.is_news(present);
            let asks = shortage.asks_all(start + Duration::from_secs(second), false, Some(present), true);
            (is_news, asks)
        };
        let told = [(0, 7), (1, 7), (2, 8), (3, 8), (12, 8)].map(|(second, present)| asks(second, present));
        assert_eq!(told, [(true, true), (false, false), (true, true), (false, false), (false, true)]);
    }

    #[test]
    fn of_many_groups_those_with_the_most_are_asked_and_no_more_than_needed() {
        let uncovered = |(group, bytes, checkpoint_bytes): (u64, u64, u64)| Uncovered {
            group: GroupId(group),
            bytes,
            checkpoint_bytes,
        };
        let asked = |bytes_max| -> Vec<u64> {
            let groups = [(1, 30, 0), (2, 50, 10), (3, 90, 100), (4, 40, 0), (5, 0, 0)].map(uncovered);
            above_bound(groups.into_iter(), bytes_max).into_iter().map(|group| group.0).collect()
        };
        assert_eq!(asked(120), [0; 0]);
        assert_eq!(asked(119), [2]);
        assert_eq!(asked(69), [2, 4]);
        assert_eq!(asked(0), [2, 4, 1], "not one whose checkpoint is larger");
    }

    #[test]
    fn what_is_wanted_no_more_is_forgotten() {
        let (mut requests, start) = (Requests::default(), Instant::now());
        assert!(pass(&mut requests, start, 0, Checkpoints::default()));
        requests.take(start + PAUSE_MIN, false, false, |_| Some(Checkpoints::default()));
        assert!(requests.asked.is_empty());
    }
}
