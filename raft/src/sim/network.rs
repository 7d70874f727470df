//! A network that drops, doubles, delays and thereby reorders, and whose links can be cut one way or both. What it does carry
//! passes through the real codec.

use super::rng::Rng;
use crate::codec::{decode_batch, encode_batch};
use crate::ids::NodeId;
use crate::transport::{Envelope, Transport};
use bytes::BytesMut;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

#[derive(Clone, Copy, Debug)]
pub struct NetworkOptions {
    pub drop_per_mille: u64,
    pub duplicate_per_mille: u64,
    /// One message in so many per mille takes up to `delay_max`, the others a few steps.
    pub slow_per_mille: u64,
    pub delay_max: u64,
}

impl NetworkOptions {
    pub const CALM: NetworkOptions =
        NetworkOptions { drop_per_mille: 0, duplicate_per_mille: 0, slow_per_mille: 0, delay_max: 2 };
}

#[derive(Debug)]
pub struct Network {
    pub options: NetworkOptions,
    rng: Rng,
    /// By time of arrival, then order of sending.
    under_way: BTreeMap<(u64, u64), (NodeId, Envelope)>,
    sent: u64,
    cut: BTreeSet<(NodeId, NodeId)>,
}

impl Network {
    pub fn new(options: NetworkOptions, rng: Rng) -> Network {
        Network { options, rng, under_way: BTreeMap::new(), sent: 0, cut: BTreeSet::new() }
    }

    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    pub fn mend(&mut self) {
        self.cut.clear();
    }

    pub fn is_linked(&self, a: NodeId, b: NodeId) -> bool {
        !self.cut.contains(&(a, b)) && !self.cut.contains(&(b, a))
    }

    pub fn send(&mut self, now: u64, from: NodeId, to: NodeId, batch: &[Envelope]) {
        if self.cut.contains(&(from, to)) {
            return;
        }
        let mut bytes = BytesMut::new();
        encode_batch(batch, &mut bytes);
        for envelope in decode_batch(bytes.freeze()) {
            let envelope = envelope.expect("what was encoded decodes");
            let copies = 1 + u64::from(self.rng.chance(self.options.duplicate_per_mille));
            for _ in 0..copies {
                if !self.rng.chance(self.options.drop_per_mille) {
                    let delay = self.delay();
                    self.sent += 1;
                    self.under_way.insert((now + delay, self.sent), (to, envelope.clone()));
                }
            }
        }
    }

    fn delay(&mut self) -> u64 {
        let slow = self.rng.chance(self.options.slow_per_mille);
        let bound = if slow { self.options.delay_max } else { self.options.delay_max.min(5) };
        1 + self.rng.below(bound)
    }

    pub fn arrived(&mut self, now: u64) -> Vec<(NodeId, Envelope)> {
        let later = self.under_way.split_off(&(now + 1, 0));
        let arrived = std::mem::replace(&mut self.under_way, later);
        arrived.into_values().filter(|(to, envelope)| !self.cut.contains(&(envelope.from.node(), *to))).collect()
    }
}

/// A shard's end of the network: the world takes out what was sent.
#[derive(Clone, Debug, Default)]
pub struct SimLink(pub Rc<RefCell<Sent>>);

/// Batches with their destinations.
pub type Sent = Vec<(NodeId, Vec<Envelope>)>;

impl Transport for SimLink {
    fn send(&mut self, node: NodeId, batch: Vec<Envelope>) {
        self.0.borrow_mut().push((node, batch));
    }
}
