//! `/routez`, `/leafz` and `/gatewayz` of a server that has no links to others.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Context, format};
use crate::jetstream::api::Timestamp;

#[derive(Serialize)]
pub struct Routez {
    server_id: String,
    server_name: String,
    now: Timestamp,
    num_routes: usize,
    routes: [(); 0],
}

pub fn routez(context: &Context<'_>) -> Routez {
    let server_name = context.server.identity().name.clone();
    Routez { server_id: context.server_id(), server_name, now: format::now(), num_routes: 0, routes: [] }
}

#[derive(Serialize)]
pub struct Leafz {
    server_id: String,
    now: Timestamp,
    leafnodes: usize,
    leafs: [(); 0],
}

pub fn leafz(context: &Context<'_>) -> Leafz {
    Leafz { server_id: context.server_id(), now: format::now(), leafnodes: 0, leafs: [] }
}

#[derive(Serialize)]
pub struct Gatewayz {
    server_id: String,
    now: Timestamp,
    outbound_gateways: BTreeMap<String, ()>,
    inbound_gateways: BTreeMap<String, ()>,
}

pub fn gatewayz(context: &Context<'_>) -> Gatewayz {
    Gatewayz {
        server_id: context.server_id(),
        now: format::now(),
        outbound_gateways: BTreeMap::new(),
        inbound_gateways: BTreeMap::new(),
    }
}
