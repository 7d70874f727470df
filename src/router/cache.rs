//! HOT PATH: a look-up of the last subject is one comparison; no lock unless the interest changed.
//!
//! Where messages of a subject go, as one publisher sees it: permissions, echo and denied deliveries are
//! already decided, and the bytes that deliveries begin with are made: the subject's once, the sid's for each target.
//!
//! A cache belongs to one publisher and forgets everything when the account's generation moves. It is bounded
//! by entries and by bytes, and all caches together by bytes. A subject enters the map only when it is seen for the
//! second time, so that the one-time reply subjects of responders don't wash the useful entries out.

use super::keeping::Keeping;
use super::spaced_sid::SpacedSid;
use crate::account::{Account, InternalSubscriber, Outbound, Permissions, Sink, Subscription};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};
use std::hash::BuildHasher;
use std::sync::Arc;

const ENTRIES_MAX: usize = 512;
/// What one cache keeps, unless a single match takes more: 64 Ki targets.
const BYTES_MAX: usize = 4 << 20;
/// Hashes of subjects that were seen once lately.
const SEEN_ONCE: usize = 64;
/// The entry for a subject that isn't in the map.
const SCRATCH: usize = 0;

/// What a publisher may do and see; part of every match.
#[derive(Clone, Default)]
pub struct Rights {
    /// The publisher's own connection, for echo=false.
    pub muted: Option<u64>,
    pub permissions: Option<Arc<Permissions>>,
    /// Not a client: the reserved subjects are open to it.
    pub is_internal: bool,
    pub in_system_account: bool,
}

/// Whether a publisher may use a subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    #[default]
    Allowed,
    Denied,
    /// Denied by the lists; an open request may still allow it (S-33).
    OnlyAsReply,
}

const HMSG: &[u8] = b"HMSG ";

/// The result of a match.
pub struct Entry {
    /// `HMSG subject`; a delivery without headers skips the first byte.
    pub head: Box<[u8]>,
    pub verdict: Verdict,
    pub plain: Vec<Target>,
    pub groups: Vec<Vec<Target>>,
    pub services: Vec<Arc<dyn InternalSubscriber>>,
    /// Deliveries to each plain target without a limit that are not yet in the subscription's own count.
    uncounted: u32,
    keeping: Keeping,
}

pub struct Target {
    pub sid: SpacedSid,
    pub subscription: Arc<Subscription>,
    pub outbound: Arc<Outbound>,
    /// The peer's slot in the burst with this epoch.
    pub slot: u32,
    pub epoch: u64,
    pub takes_headers: bool,
    /// Deliveries have to be counted one by one against a limit.
    pub limited: bool,
    /// Reply subjects delivered open a temporary permission.
    pub tracks_replies: bool,
    /// Deliveries as the chosen member of a group that are not yet in the subscription's own count.
    uncounted: u32,
}

// A cache line each: a wide fan-out reads them all for every message.
const _: () = assert!(size_of::<Target>() <= 64);

/// An internal member of a queue group has no outbound; it is kept as a service.
enum Member {
    Client(Target),
    Service(Arc<dyn InternalSubscriber>),
}

pub struct MatchCache {
    generation: Option<u64>,
    hasher: RandomState,
    /// Where the entries are, by the hash of their subjects.
    index: HashTable<u32>,
    entries: Vec<Entry>,
    /// What the entries in the index take.
    bytes: usize,
    last: usize,
    /// Empty until it is needed: many streams have a cache and publish nothing.
    seen_once: Vec<u32>,
    /// Entries with uncounted deliveries.
    touched: Vec<u32>,
}

impl Default for MatchCache {
    fn default() -> MatchCache {
        MatchCache {
            generation: None,
            hasher: RandomState::default(),
            index: HashTable::new(),
            entries: vec![Entry::new(b"", Verdict::default())],
            bytes: 0,
            last: SCRATCH,
            seen_once: Vec::new(),
            touched: Vec::new(),
        }
    }
}

impl MatchCache {
    /// The entry for a subject, valid until the next call.
    #[inline]
    pub fn look_up(&mut self, subject: &[u8], account: &Account, rights: &Rights) -> usize {
        let generation = account.interest.generation();
        if self.generation == Some(generation) && self.entries[self.last].subject() == subject {
            return self.last;
        }
        self.look_further(subject, generation, account, rights)
    }

    fn look_further(&mut self, subject: &[u8], generation: u64, account: &Account, rights: &Rights) -> usize {
        if self.generation != Some(generation) {
            self.forget();
            self.generation = Some(generation);
        }
        let hash = self.hasher.hash_one(subject);
        if let Some(&found) = self.index.find(hash, |&at| self.entries[at as usize].subject() == subject) {
            self.last = found as usize;
            return self.last;
        }
        let entry = Entry::compute(subject, account, rights);
        self.last = if self.was_seen(hash) { self.keep(entry, hash) } else { self.scratch(entry) };
        self.last
    }

    /// Whether a subject with this hash was seen lately; it is from now on.
    fn was_seen(&mut self, hash: u64) -> bool {
        let tag = (hash >> 32) as u32 | 1;
        if self.seen_once.is_empty() {
            self.seen_once = vec![0; SEEN_ONCE];
        }
        std::mem::replace(&mut self.seen_once[hash as usize % SEEN_ONCE], tag) == tag
    }

    /// Puts an entry into the map, if there is room for it.
    fn keep(&mut self, mut entry: Entry, hash: u64) -> usize {
        entry.shrink_to_fit();
        let bytes = entry.bytes();
        if self.entries.len() > ENTRIES_MAX || self.bytes + bytes > BYTES_MAX {
            self.forget();
        }
        entry.keeping = Keeping::ask(bytes, self.bytes);
        if matches!(entry.keeping, Keeping::NotKept) {
            return self.scratch(entry);
        }
        let at = self.entries.len();
        self.bytes += bytes;
        self.entries.push(entry);
        self.index.insert_unique(hash, at as u32, |&at| self.hasher.hash_one(self.entries[at as usize].subject()));
        at
    }

    /// Keeps an entry until the next subject that isn't in the map.
    fn scratch(&mut self, mut entry: Entry) -> usize {
        entry.keeping = Keeping::ask(entry.bytes(), 0);
        self.settle_entry(SCRATCH);
        self.entries[SCRATCH] = entry;
        SCRATCH
    }

    #[inline]
    pub fn entry(&mut self, at: usize) -> &mut Entry {
        &mut self.entries[at]
    }

    /// Notes deliveries to the plain targets of an entry and to single members of its groups.
    #[inline]
    pub fn count(&mut self, at: usize) {
        let entry = &mut self.entries[at];
        if entry.uncounted == 0 {
            self.touched.push(at as u32);
        }
        entry.uncounted += 1;
    }

    /// Brings the subscriptions' own counts up to date; done once per burst.
    pub fn settle(&mut self) {
        while let Some(at) = self.touched.pop() {
            self.settle_entry(at as usize);
        }
        if matches!(self.entries[SCRATCH].keeping, Keeping::NotKept) {
            self.clear_scratch();
        }
    }

    fn clear_scratch(&mut self) {
        self.entries[SCRATCH] = Entry::new(b"", Verdict::default());
    }

    fn settle_entry(&mut self, at: usize) {
        let entry = &mut self.entries[at];
        let plain = std::mem::take(&mut entry.uncounted);
        if plain == 0 {
            return;
        }
        for target in entry.plain.iter().filter(|target| !target.limited) {
            target.subscription.count(u64::from(plain));
        }
        for target in entry.groups.iter_mut().flatten().filter(|target| target.uncounted > 0) {
            target.subscription.count(u64::from(std::mem::take(&mut target.uncounted)));
        }
    }

    fn forget(&mut self) {
        self.settle();
        self.index.clear();
        self.entries.truncate(1);
        self.clear_scratch();
        self.bytes = 0;
        self.last = SCRATCH;
    }
}

impl Entry {
    fn new(subject: &[u8], verdict: Verdict) -> Entry {
        Entry {
            head: [HMSG, subject].concat().into(),
            verdict,
            plain: Vec::new(),
            groups: Vec::new(),
            services: Vec::new(),
            uncounted: 0,
            keeping: Keeping::default(),
        }
    }

    #[inline]
    fn subject(&self) -> &[u8] {
        &self.head[HMSG.len()..]
    }

    /// Asks the interest graph. The generation must have been read before.
    fn compute(subject: &[u8], account: &Account, rights: &Rights) -> Entry {
        let mut entry = Entry::new(subject, verdict(subject, rights));
        if entry.verdict == Verdict::Denied {
            return entry;
        }
        let mut groups: HashMap<Box<[u8]>, Vec<Member>, RandomState> = HashMap::default();
        account.interest.for_each_match(subject, |subscription| {
            let Some(member) = Member::new(subscription, subject, rights) else {
                return;
            };
            match (&subscription.queue, member) {
                (Some(queue), member) => match groups.get_mut(queue) {
                    Some(group) => group.push(member),
                    None => {
                        groups.insert(queue.clone(), vec![member]);
                    }
                },
                (None, Member::Client(target)) => entry.plain.push(target),
                (None, Member::Service(service)) => entry.services.push(service),
            }
        });
        for members in groups.into_values() {
            entry.add_group(members);
        }
        entry
    }

    /// A group with a service in it always picks the service: internal groups exist only to be found by name.
    fn add_group(&mut self, members: Vec<Member>) {
        let mut targets = Vec::with_capacity(members.len());
        for member in members {
            match member {
                Member::Client(target) => targets.push(target),
                Member::Service(service) => return self.services.push(service),
            }
        }
        self.groups.push(targets);
    }

    fn shrink_to_fit(&mut self) {
        self.plain.shrink_to_fit();
        self.groups.shrink_to_fit();
        self.services.shrink_to_fit();
    }

    /// What it takes of memory, its place in a cache included.
    fn bytes(&self) -> usize {
        // Vectors and tables that grow are up to twice as large as what is in them.
        let place = 2 * (size_of::<Entry>() + size_of::<u32>());
        let lists = self.groups.capacity() * size_of::<Vec<Target>>()
            + self.services.capacity() * size_of::<Arc<dyn InternalSubscriber>>();
        let targets: usize = self.groups.iter().chain([&self.plain]).map(targets_bytes).sum();
        place + self.head.len() + lists + targets
    }
}

fn targets_bytes(targets: &Vec<Target>) -> usize {
    targets.capacity() * size_of::<Target>() + targets.iter().map(|target| target.sid.boxed_bytes()).sum::<usize>()
}

impl Target {
    #[inline]
    pub fn count(&mut self) {
        self.uncounted += 1;
    }
}

impl Member {
    /// None when nothing may be delivered to this subscription.
    fn new(subscription: &Arc<Subscription>, subject: &[u8], rights: &Rights) -> Option<Member> {
        let (outbound, sid) = match &subscription.sink {
            Sink::Internal(service) => return Some(Member::Service(Arc::clone(service))),
            Sink::Client { outbound, sid } => (outbound, sid),
        };
        if rights.muted == Some(outbound.id()) || subscription.is_closed() || !subscription.may_receive(subject) {
            return None;
        }
        Some(Member::Client(Target {
            sid: SpacedSid::new(sid),
            subscription: Arc::clone(subscription),
            outbound: Arc::clone(outbound),
            slot: 0,
            epoch: 0,
            takes_headers: outbound.takes_headers(),
            limited: subscription.delivered_max() > 0,
            tracks_replies: outbound.replies.lock().is_some(),
            uncounted: 0,
        }))
    }
}

/// Subjects of gateways and of raft groups are not for clients (C-21).
fn verdict(subject: &[u8], rights: &Rights) -> Verdict {
    if rights.is_internal {
        return Verdict::Allowed;
    }
    let reserved = is_gateway_reply(subject) || subject.starts_with(b"$NRG.") && !rights.in_system_account;
    if reserved {
        return Verdict::Denied;
    }
    match &rights.permissions {
        None => Verdict::Allowed,
        Some(permissions) if permissions.can_publish(subject) => Verdict::Allowed,
        Some(permissions) if permissions.responses().is_some() => Verdict::OnlyAsReply,
        Some(_) => Verdict::Denied,
    }
}

/// Subjects that gateways use for mapped replies, of old ones too.
fn is_gateway_reply(subject: &[u8]) -> bool {
    subject.len() > 5 && subject.starts_with(b"_GR_.") || subject.len() > 4 && subject.starts_with(b"$GR.")
}

/// A reply subject that only the server may hand out.
pub fn is_reserved_reply(reply: &[u8]) -> bool {
    // One look at the first byte settles it for nearly all.
    matches!(reply.first(), Some(b'_' | b'$'))
        && (reply.len() > 3 && reply.starts_with(b"_R_.")
            || reply.len() > 8 && reply.starts_with(b"$JS.ACK.")
            || is_gateway_reply(reply))
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
