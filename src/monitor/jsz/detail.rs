//! One account of `/jsz`: its streams and their consumers.

use serde::Serialize;

use super::JetStreamUsage;
use crate::jetstream::api::cluster_info::ClusterInfo;
use crate::jetstream::api::{ConsumerConfig, ConsumerInfo, StreamConfig, StreamState, Timestamp};
use crate::jetstream::{JetStreamAccount, Node, Replica};

/// What is told of an account beside its usage.
pub struct Details {
    pub streams: bool,
    pub consumers: bool,
    pub config: bool,
}

#[derive(Serialize)]
pub struct AccountDetail {
    name: String,
    id: String,
    #[serde(flatten)]
    usage: JetStreamUsage,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stream_detail: Vec<StreamDetail>,
}

#[derive(Serialize)]
struct StreamDetail {
    name: String,
    created: Timestamp,
    cluster: ClusterInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<StreamConfig>,
    state: StreamState,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    consumer_detail: Vec<ConsumerInfo>,
}

impl AccountDetail {
    pub fn of(node: &Node, account: &JetStreamAccount, details: &Details) -> AccountDetail {
        let streams = if details.streams { account.streams() } else { Vec::new() };
        AccountDetail {
            name: account.name().to_owned(),
            id: account.name().to_owned(),
            usage: JetStreamUsage::of_account(account),
            stream_detail: streams.iter().map(|stream| stream_detail(node, stream, details)).collect(),
        }
    }
}

fn stream_detail(node: &Node, stream: &Replica, details: &Details) -> StreamDetail {
    StreamDetail {
        name: stream.name().to_owned(),
        created: Timestamp(stream.created()),
        cluster: ClusterInfo { leader: node.server_name().to_owned(), ..ClusterInfo::default() },
        config: details.config.then(|| StreamConfig::clone(&stream.config())),
        state: stream.info().state,
        consumer_detail: if details.consumers { consumers(stream, details.config) } else { Vec::new() },
    }
}

/// The stream's lock is taken for each consumer anew, so that traffic gets its turn between them.
fn consumers(stream: &Replica, with_config: bool) -> Vec<ConsumerInfo> {
    let stored = stream.consumer_configs().into_iter();
    // As it is stored: what the API adds for its clients is left out here by the genuine server, too.
    let infos = stored.filter_map(|(name, config)| {
        let config = with_config.then(|| ConsumerConfig::clone(&config));
        Some(ConsumerInfo { config, ..stream.consumer_info(&name)? })
    });
    infos.collect()
}
