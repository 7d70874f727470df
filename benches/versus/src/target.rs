//! What a row must reach: a ratio to a peer measured in the same run, or a plain bound.

use crate::contender::Kind;

#[derive(Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    pub fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(out, ">= {bound}"),
            Self::AtMost(bound) => write!(out, "<= {bound}"),
        }
    }
}

/// One line of the report: a metric of ours, against the same metric of a peer or against the bound alone.
#[derive(Clone, Copy)]
pub struct Row {
    pub metric: &'static str,
    pub peer: Option<Kind>,
    pub goal: Goal,
}

pub const fn at_least(metric: &'static str, peer: Kind, ratio: f64) -> Row {
    Row { metric, peer: Some(peer), goal: Goal::AtLeast(ratio) }
}

pub const fn at_most(metric: &'static str, peer: Kind, ratio: f64) -> Row {
    Row { metric, peer: Some(peer), goal: Goal::AtMost(ratio) }
}

pub const fn bound(metric: &'static str, value: f64) -> Row {
    Row { metric, peer: None, goal: Goal::AtMost(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_includes_its_bound() {
        assert!(Goal::AtLeast(3.0).met(3.0) && !Goal::AtLeast(3.0).met(2.99));
        assert!(Goal::AtMost(0.3).met(0.3) && !Goal::AtMost(0.3).met(0.31));
    }
}
