//! `/accountz` and `/accstatz`: which accounts there are, what each one has and has moved.

use std::sync::Arc;

use serde::Serialize;

use super::query::BadRequest;
use super::subsz::Statistics;
use super::{Context, format};
use crate::account::Account;
use crate::jetstream::api::Timestamp;

#[derive(Serialize)]
pub struct Accountz {
    server_id: String,
    now: Timestamp,
    system_account: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accounts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_detail: Option<AccountDetail>,
}

#[derive(Serialize)]
struct AccountDetail {
    account_name: String,
    update_time: Timestamp,
    #[serde(skip_serializing_if = "format::is_default")]
    is_system: bool,
    expired: bool,
    complete: bool,
    jetstream_enabled: bool,
    leafnode_connections: usize,
    client_connections: usize,
    subscriptions: usize,
    name_tag: String,
    sublist_stats: Statistics,
}

pub fn accountz(context: &Context<'_>) -> Result<Accountz, BadRequest> {
    let hub = context.server.hub();
    let name = context.query.text("acc");
    let detail = match name {
        "" => None,
        name => {
            let account = hub.account(name).ok_or_else(|| BadRequest(format!("Account {name} does not exist")))?;
            Some(detail(context, &account))
        }
    };
    let accounts = if detail.is_some() { Vec::new() } else { hub.accounts() };
    Ok(Accountz {
        server_id: context.server_id(),
        now: format::now(),
        system_account: hub.system_account().name().to_owned(),
        accounts: accounts.iter().map(|account| account.name().to_owned()).collect(),
        account_detail: detail,
    })
}

fn detail(context: &Context<'_>, account: &Arc<Account>) -> AccountDetail {
    let node = context.server.jetstream();
    AccountDetail {
        account_name: account.name().to_owned(),
        update_time: format::timestamp(context.server.config_load_time()),
        is_system: Arc::ptr_eq(account, &context.server.hub().system_account()),
        expired: false,
        complete: true,
        jetstream_enabled: node.is_some_and(|node| node.account(account.name()).is_some()),
        leafnode_connections: 0,
        client_connections: account.connections(),
        subscriptions: account.interest.len(),
        name_tag: account.name().to_owned(),
        sublist_stats: Statistics::of(account.interest.statistics()),
    }
}

#[derive(Serialize)]
pub struct Accstatz {
    server_id: String,
    now: Timestamp,
    account_statz: Vec<AccountStatistics>,
}

#[derive(Serialize)]
struct AccountStatistics {
    acc: String,
    name: String,
    conns: usize,
    leafnodes: usize,
    total_conns: usize,
    num_subscriptions: usize,
    sent: Data,
    received: Data,
    slow_consumers: u64,
}

#[derive(Default, Serialize)]
struct Data {
    msgs: u64,
    bytes: u64,
    gateways: Moved,
    routes: Moved,
    leafs: Moved,
}

/// Through links to other servers: none here.
#[derive(Default, Serialize)]
struct Moved {
    msgs: u64,
    bytes: u64,
}

pub fn accstatz(context: &Context<'_>) -> Result<Accstatz, BadRequest> {
    let unused = context.query.flag("unused")?;
    let mut accounts = context.server.hub().accounts();
    accounts.retain(|account| unused || account.connections() > 0);
    Ok(Accstatz {
        server_id: context.server_id(),
        now: format::now(),
        account_statz: accounts.iter().map(|account| statistics(account)).collect(),
    })
}

fn statistics(account: &Account) -> AccountStatistics {
    let traffic = account.counters.read();
    AccountStatistics {
        acc: account.name().to_owned(),
        name: account.name().to_owned(),
        conns: account.connections(),
        leafnodes: 0,
        total_conns: account.connections(),
        num_subscriptions: account.interest.len(),
        sent: Data { msgs: traffic.messages_out, bytes: traffic.bytes_out, ..Data::default() },
        received: Data { msgs: traffic.messages_in, bytes: traffic.bytes_in, ..Data::default() },
        slow_consumers: account.slow_consumers(),
    }
}
