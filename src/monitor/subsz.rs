//! `/subsz`: counters of the interest graphs, and a page of what is in them.

use serde::Serialize;

use super::format::is_default;
use super::query::BadRequest;
use super::{Context, LIST_LIMIT, format};
use crate::account::{self, Account, InterestStatistics};
use crate::connection::SubscriptionSnapshot;
use crate::jetstream::api::Timestamp;
use crate::protocol::subject;

/// Subscriptions that one page may hold, whatever limit was asked for.
const LIST_MAX: usize = 100_000;

#[derive(Serialize)]
pub struct Subsz {
    server_id: String,
    now: Timestamp,
    #[serde(flatten)]
    statistics: Statistics,
    total: usize,
    offset: usize,
    limit: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<Subscription>,
}

/// Counters of one graph or the sum of several. There is no cache beside the graph here (each connection has its own),
/// so what the genuine server tells of its cache is zero.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Statistics {
    num_subscriptions: u64,
    num_cache: u64,
    num_inserts: u64,
    num_removes: u64,
    num_matches: u64,
    cache_hit_rate: u64,
    max_fanout: u64,
    avg_fanout: u64,
}

impl Statistics {
    pub fn of(statistics: InterestStatistics) -> Statistics {
        Statistics {
            num_subscriptions: statistics.subscriptions,
            num_inserts: statistics.inserts,
            num_removes: statistics.removes,
            num_matches: statistics.matches,
            ..Statistics::default()
        }
    }

    fn add(&mut self, other: Statistics) {
        self.num_subscriptions += other.num_subscriptions;
        self.num_inserts += other.num_inserts;
        self.num_removes += other.num_removes;
        self.num_matches += other.num_matches;
    }
}

#[derive(Serialize)]
pub struct Subscription {
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    account_tag: String,
    subject: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    qgroup: String,
    sid: String,
    msgs: u64,
    #[serde(skip_serializing_if = "is_default")]
    max: u64,
    cid: u64,
}

impl Subscription {
    /// As `/connz` lists it: without its account (empty) while the connection is open, with it afterwards.
    pub fn of_client(subscription: SubscriptionSnapshot, id: u64, account: &str) -> Subscription {
        Subscription {
            account: account.to_owned(),
            account_tag: account.to_owned(),
            subject: subscription.subject,
            qgroup: subscription.queue.unwrap_or_default(),
            sid: subscription.sid,
            msgs: subscription.delivered,
            max: subscription.delivered_max,
            cid: id,
        }
    }

    /// One of a service inside the server has no connection: its `cid` is 0.
    fn of_account(account: &Account, subscription: &account::Subscription) -> Subscription {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Subscription {
            account: account.name().to_owned(),
            account_tag: account.name().to_owned(),
            subject: text(&subscription.subject),
            qgroup: subscription.queue.as_deref().map(text).unwrap_or_default(),
            sid: text(subscription.sid()),
            msgs: subscription.delivered(),
            max: subscription.delivered_max(),
            cid: subscription.outbound().map_or(0, |outbound| outbound.id()),
        }
    }
}

pub fn subsz(context: &Context<'_>) -> Result<Subsz, BadRequest> {
    let query = context.query;
    let (listed, offset, limit) = (query.flag("subs")?, query.offset()?, query.limit(LIST_LIMIT)?);
    let (tested, account) = (query.text("test"), query.text("acc"));
    if !tested.is_empty() && !subject::is_valid_literal(tested.as_bytes()) {
        return Err(BadRequest(format!("invalid test subject, must be valid publish subject: {tested}")));
    }
    let mut accounts = context.server.hub().accounts();
    accounts.retain(|known| account.is_empty() || known.name() == account);
    let mut statistics = Statistics::default();
    for account in &accounts {
        statistics.add(Statistics::of(account.interest.statistics()));
    }
    let (mut total, mut page) = (0, Vec::new());
    if listed {
        for account in &accounts {
            account.interest.for_each(|subscription| {
                if tested.is_empty() || subject::matches(&subscription.subject, tested.as_bytes()) {
                    if total >= offset && page.len() < limit.min(LIST_MAX) {
                        page.push(Subscription::of_account(account, subscription));
                    }
                    total += 1;
                }
            });
        }
    }
    Ok(Subsz {
        server_id: context.server_id(),
        now: format::now(),
        statistics,
        total,
        offset,
        limit,
        subscriptions_list: page,
    })
}
