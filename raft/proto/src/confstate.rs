//! Comparison of configurations.

use crate::eraftpb::ConfState;
use std::collections::BTreeSet;

/// Whether both describe the same configuration: raft keeps the peers in hash sets, so their order means nothing.
#[must_use]
pub fn conf_state_eq(left: &ConfState, right: &ConfState) -> bool {
    left == right
        || (left.auto_leave == right.auto_leave
            && same_peers(&left.voters, &right.voters)
            && same_peers(&left.learners, &right.learners)
            && same_peers(&left.voters_outgoing, &right.voters_outgoing)
            && same_peers(&left.learners_next, &right.learners_next))
}

fn same_peers(left: &[u64], right: &[u64]) -> bool {
    let set = |peers: &[u64]| peers.iter().copied().collect::<BTreeSet<_>>();
    set(left) == set(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_means_nothing_and_peers_do() {
        let state = |voters: &[u64], learners: &[u64]| ConfState::from((voters.to_vec(), learners.to_vec()));
        assert!(conf_state_eq(&state(&[1, 2, 3], &[4]), &state(&[3, 1, 2], &[4])));
        assert!(!conf_state_eq(&state(&[1, 2], &[]), &state(&[1, 2, 3], &[])));
        assert!(!conf_state_eq(&state(&[1, 2], &[3]), &state(&[1, 2, 3], &[])));
    }
}
