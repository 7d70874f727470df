//! `/connz`: the connections that are open or have ended, chosen, sorted and cut to a page.

mod entry;

use std::cmp::Reverse;

use serde::Serialize;

use super::query::BadRequest;
use super::{Context, LIST_LIMIT, format};
use crate::connection::{ClosedConnection, ConnectionSnapshot};
use crate::jetstream::api::Timestamp;
use crate::protocol::subject;
use entry::{Details, Entry};

/// Subscriptions that one page may list, over all its connections.
const SUBSCRIPTIONS_MAX: usize = 100_000;

#[derive(Serialize)]
pub struct Connz {
    server_id: String,
    now: Timestamp,
    num_connections: usize,
    total: usize,
    offset: usize,
    limit: usize,
    /// None, and so null, for an account that nobody knows.
    connections: Option<Vec<Entry>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    Any,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Cid,
    Subscriptions,
    Pending,
    MessagesTo,
    MessagesFrom,
    BytesTo,
    BytesFrom,
    Last,
    Idle,
    Uptime,
    Stop,
    Reason,
    RoundTrip,
}

/// The options, checked.
struct Selection<'a> {
    state: State,
    order: Order,
    id: u64,
    user: &'a str,
    account: &'a str,
    mqtt_client: &'a str,
    subject: &'a str,
    details: Details,
    offset: usize,
    limit: usize,
}

/// An open or a closed connection.
pub(super) struct Found {
    pub connection: ConnectionSnapshot,
    pub ended: Option<ClosedConnection>,
}

impl Order {
    fn parse(name: &str, state: State) -> Result<Order, BadRequest> {
        let order = match name {
            "" | "cid" | "start" => Order::Cid,
            "subs" => Order::Subscriptions,
            "pending" => Order::Pending,
            "msgs_to" => Order::MessagesTo,
            "msgs_from" => Order::MessagesFrom,
            "bytes_to" => Order::BytesTo,
            "bytes_from" => Order::BytesFrom,
            "last" => Order::Last,
            "idle" => Order::Idle,
            "uptime" => Order::Uptime,
            "stop" => Order::Stop,
            "reason" => Order::Reason,
            "rtt" => Order::RoundTrip,
            other => return Err(BadRequest(format!("invalid sorting option: {other}"))),
        };
        match order {
            Order::Stop | Order::Reason if state != State::Closed => {
                Err(BadRequest(format!("sort by {name} only valid on closed connections")))
            }
            _ => Ok(order),
        }
    }

    /// Descending for all that is an amount.
    fn sort(self, found: &mut [Found]) {
        let traffic = |found: &Found| found.connection.traffic;
        match self {
            Order::Cid => found.sort_by_key(|found| found.connection.id),
            Order::Subscriptions => found.sort_by_key(|found| Reverse(found.connection.subscriptions)),
            Order::Pending => found.sort_by_key(|found| Reverse(found.connection.pending_bytes)),
            Order::MessagesTo => found.sort_by_key(|found| Reverse(traffic(found).messages_out)),
            Order::MessagesFrom => found.sort_by_key(|found| Reverse(traffic(found).messages_in)),
            Order::BytesTo => found.sort_by_key(|found| Reverse(traffic(found).bytes_out)),
            Order::BytesFrom => found.sort_by_key(|found| Reverse(traffic(found).bytes_in)),
            Order::Last => found.sort_by_key(|found| Reverse(found.connection.last_activity)),
            Order::Idle => found.sort_by_key(|found| Reverse(found.connection.idle)),
            Order::Uptime => found.sort_by_key(|found| found.connection.uptime),
            Order::Stop => found.sort_by_key(|found| Reverse(found.ended.as_ref().map(|ended| ended.stop))),
            Order::Reason => found.sort_by_key(|found| found.ended.as_ref().map(|ended| ended.reason.as_str())),
            Order::RoundTrip => found.sort_by_key(|found| Reverse(found.connection.rtt)),
        }
    }
}

impl<'a> Selection<'a> {
    fn of(context: &Context<'a>) -> Result<Selection<'a>, BadRequest> {
        let query = context.query;
        let auth = query.flag("auth")?;
        let detailed = query.text("subs").eq_ignore_ascii_case("detail");
        let listed = !detailed && query.flag("subs")?;
        let (offset, limit, id) = (query.offset()?, query.limit(LIST_LIMIT)?, query.unsigned("cid")?);
        let state = match query.text("state").to_ascii_lowercase().as_str() {
            "" | "open" => State::Open,
            "closed" => State::Closed,
            "any" | "all" => State::Any,
            _ => return Err(BadRequest(format!("Error decoding state for {}", query.text("state")))),
        };
        let order = Order::parse(query.text("sort"), state)?;
        let (account, filter) = (query.text("acc"), query.text("filter_subject"));
        let subject = if filter == ">" { "" } else { filter };
        Ok(Selection {
            state,
            order,
            id,
            user: query.text("user"),
            account,
            mqtt_client: query.text("mqtt_client"),
            subject,
            details: Details { auth, listed, detailed },
            offset,
            limit: if id > 0 { 1 } else { limit },
        })
    }

    fn is_of_account(&self, connection: &ConnectionSnapshot) -> bool {
        self.account.is_empty() || connection.account == self.account
    }

    /// MQTT clients don't exist here, so whoever asks for one finds nothing.
    fn is_of_user(&self, connection: &ConnectionSnapshot) -> bool {
        (self.user.is_empty() || connection.user == self.user) && self.mqtt_client.is_empty()
    }

    fn open(&self, context: &Context<'_>) -> Vec<ConnectionSnapshot> {
        if self.state == State::Closed {
            return Vec::new();
        }
        let mut open = context.server.connections();
        open.retain(|connection| self.is_of_account(connection));
        open
    }

    fn closed(&self, context: &Context<'_>) -> Vec<ClosedConnection> {
        if self.state == State::Open {
            return Vec::new();
        }
        let mut closed = context.server.closed_connections();
        closed.retain(|closed| self.is_of_account(&closed.snapshot));
        closed
    }

    /// Whether the connection subscribes to something that overlaps the subject asked for.
    fn listens(&self, context: &Context<'_>, id: u64) -> bool {
        self.subject.is_empty()
            || context.server.connection(id).is_some_and(|connection| {
                let subscriptions = connection.subscriptions(SUBSCRIPTIONS_MAX);
                subscriptions.iter().any(|own| subject::overlaps(self.subject.as_bytes(), own.subject.as_bytes()))
            })
    }
}

pub fn connz(context: &Context<'_>) -> Result<Connz, BadRequest> {
    let selection = Selection::of(context)?;
    let (open, closed) = (selection.open(context), selection.closed(context));
    let total = open.len() + closed.len();
    let mut found = choose(context, &selection, open, closed);
    selection.order.sort(&mut found);
    let page = found.into_iter().skip(selection.offset).take(selection.limit);
    let mut subscriptions_left = SUBSCRIPTIONS_MAX;
    let is_known = selection.account.is_empty() || context.server.hub().account(selection.account).is_some();
    let connections: Vec<Entry> =
        page.map(|found| Entry::of(context, found, &selection.details, &mut subscriptions_left)).collect();
    Ok(Connz {
        server_id: context.server_id(),
        now: format::now(),
        num_connections: connections.len(),
        connections: Some(connections).filter(|_| is_known),
        total,
        offset: selection.offset,
        limit: selection.limit,
    })
}

fn choose(
    context: &Context<'_>,
    selection: &Selection<'_>,
    mut open: Vec<ConnectionSnapshot>,
    mut closed: Vec<ClosedConnection>,
) -> Vec<Found> {
    if selection.id > 0 {
        // By its id a connection is found whatever else was asked for, and an open one hides a closed one.
        open.retain(|connection| connection.id == selection.id);
        closed.retain(|closed| closed.snapshot.id == selection.id && open.is_empty());
    } else {
        open.retain(|connection| selection.is_of_user(connection) && selection.listens(context, connection.id));
        closed.retain(|closed| selection.is_of_user(&closed.snapshot));
    }
    let open = open.into_iter().map(|connection| Found { connection, ended: None });
    let closed = closed.into_iter().map(|ended| Found { connection: ended.snapshot.clone(), ended: Some(ended) });
    open.chain(closed).collect()
}
