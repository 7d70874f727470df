//! Membership changes: the older one-peer form, the general form, and a text notation for tests (`v1 l2 r3`).

use crate::eraftpb::{ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};
use std::borrow::Cow;

pub fn new_conf_change_single(node_id: u64, change_type: ConfChangeType) -> ConfChangeSingle {
    ConfChangeSingle { change_type: change_type.into(), node_id }
}

/// Reads `v1 l2 r3`: make 1 a voter, 2 a learner, remove 3.
pub fn parse_conf_change(text: &str) -> Result<Vec<ConfChangeSingle>, String> {
    text.split_ascii_whitespace().map(parse_single).collect()
}

fn parse_single(token: &str) -> Result<ConfChangeSingle, String> {
    let change_type = match token.as_bytes().first() {
        Some(b'v') => ConfChangeType::AddNode,
        Some(b'l') => ConfChangeType::AddLearnerNode,
        Some(b'r') => ConfChangeType::RemoveNode,
        _ => return Err(format!("{token}: expected v, l or r")),
    };
    let node_id = token[1..].parse().map_err(|error| format!("{token}: {error}"))?;
    Ok(new_conf_change_single(node_id, change_type))
}

/// Writes what [`parse_conf_change`] reads.
pub fn stringify_conf_change(changes: &[ConfChangeSingle]) -> String {
    let words: Vec<String> = changes.iter().map(|single| format!("{}{}", letter(single), single.node_id)).collect();
    words.join(" ")
}

fn letter(single: &ConfChangeSingle) -> char {
    match single.change_type() {
        ConfChangeType::AddNode => 'v',
        ConfChangeType::AddLearnerNode => 'l',
        ConfChangeType::RemoveNode => 'r',
    }
}

/// Either form of a change, seen as the general one.
pub trait ConfChangeI {
    fn into_v2(self) -> ConfChangeV2;
    fn as_v2(&self) -> Cow<'_, ConfChangeV2>;
    /// The older form, when it is one.
    fn as_v1(&self) -> Option<&ConfChange>;
}

impl ConfChangeI for ConfChange {
    fn into_v2(self) -> ConfChangeV2 {
        let single = new_conf_change_single(self.node_id, self.change_type());
        ConfChangeV2 { transition: ConfChangeTransition::Auto.into(), changes: vec![single], context: self.context }
    }

    fn as_v2(&self) -> Cow<'_, ConfChangeV2> {
        Cow::Owned(self.clone().into_v2())
    }

    fn as_v1(&self) -> Option<&ConfChange> {
        Some(self)
    }
}

impl ConfChangeI for ConfChangeV2 {
    fn into_v2(self) -> ConfChangeV2 {
        self
    }

    fn as_v2(&self) -> Cow<'_, ConfChangeV2> {
        Cow::Borrowed(self)
    }

    fn as_v1(&self) -> Option<&ConfChange> {
        None
    }
}

impl ConfChangeV2 {
    /// Whether this change goes through the joint state, and if so whether raft leaves that state by itself.
    pub fn enter_joint(&self) -> Option<bool> {
        match self.transition() {
            ConfChangeTransition::Auto if self.changes.len() <= 1 => None,
            ConfChangeTransition::Auto | ConfChangeTransition::Implicit => Some(true),
            ConfChangeTransition::Explicit => Some(false),
        }
    }

    /// The empty change is the one that leaves a joint state.
    pub fn leave_joint(&self) -> bool {
        self.changes.is_empty() && self.transition() == ConfChangeTransition::Auto
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_notation_round_trips() {
        let changes = parse_conf_change(" v1 l22  r3 ").unwrap();
        assert_eq!(stringify_conf_change(&changes), "v1 l22 r3");
        for bad in ["x1", "v", "vv", "é1"] {
            assert!(parse_conf_change(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn several_changes_or_an_asked_for_transition_go_joint() {
        let change = |transition: ConfChangeTransition, text: &str| ConfChangeV2 {
            transition: transition.into(),
            changes: parse_conf_change(text).unwrap(),
            ..Default::default()
        };
        assert_eq!(change(ConfChangeTransition::Auto, "v1").enter_joint(), None);
        assert_eq!(change(ConfChangeTransition::Auto, "v1 r2").enter_joint(), Some(true));
        assert_eq!(change(ConfChangeTransition::Implicit, "v1").enter_joint(), Some(true));
        assert_eq!(change(ConfChangeTransition::Explicit, "v1").enter_joint(), Some(false));
        assert!(change(ConfChangeTransition::Auto, "").leave_joint());
        assert!(!change(ConfChangeTransition::Explicit, "").leave_joint());
    }

    #[test]
    fn the_older_form_becomes_one_general_change() {
        let old = ConfChange { node_id: 7, change_type: ConfChangeType::AddLearnerNode.into(), ..Default::default() };
        assert_eq!(stringify_conf_change(&old.as_v2().changes), "l7");
        assert!(old.as_v1().is_some() && old.as_v2().as_v1().is_none());
    }
}
