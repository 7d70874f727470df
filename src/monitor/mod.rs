//! Monitoring over HTTP: the pages of the genuine server with its field names, and `/metrics` in OpenMetrics.
//!
//! Read-only and off the data path: a page is made of snapshots on a blocking thread, few at a time, and no lock is
//! held while it is encoded. Nothing here is authenticated, as in the genuine server: the port is for operators.

mod accounts;
mod connz;
mod exposition;
mod format;
mod healthz;
mod index;
mod journal;
mod jsz;
mod links;
mod listener;
mod metrics;
mod places;
mod process;
pub mod query;
mod subsz;
mod varz;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode, Uri, header};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::server::Server;
use listener::Tls;
use places::{Limits, Places};
use process::CpuMeter;
use query::{BadRequest, Query};

/// Entries of a list when no limit is given.
const LIST_LIMIT: usize = 1024;
/// Pages made at the same time; further requests wait. `/healthz` does not.
const PAGES_AT_ONCE: usize = 2;

/// One page. The order is that of the names in [`Page::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Root,
    Varz,
    Connz,
    Jsz,
    Healthz,
    Subsz,
    Accountz,
    Accstatz,
    Routez,
    Leafz,
    Gatewayz,
    Ipqueuesz,
    Raftz,
    Metrics,
}

impl Page {
    const ALL: [(Page, &'static str); 14] = [
        (Page::Root, "/"),
        (Page::Varz, "/varz"),
        (Page::Connz, "/connz"),
        (Page::Jsz, "/jsz"),
        (Page::Healthz, "/healthz"),
        (Page::Subsz, "/subsz"),
        (Page::Accountz, "/accountz"),
        (Page::Accstatz, "/accstatz"),
        (Page::Routez, "/routez"),
        (Page::Leafz, "/leafz"),
        (Page::Gatewayz, "/gatewayz"),
        (Page::Ipqueuesz, "/ipqueuesz"),
        (Page::Raftz, "/raftz"),
        (Page::Metrics, "/metrics"),
    ];

    /// `base` is the configured prefix without a slash at its end.
    fn at(path: &str, base: &str) -> Option<Page> {
        let rest = path.strip_prefix(base)?;
        match rest {
            "" | "/" => Some(Page::Root),
            "/subscriptionsz" => Some(Page::Subsz),
            _ => Page::ALL.iter().find(|(_, name)| *name == rest).map(|(page, _)| *page),
        }
    }
}

/// Makes the pages of one server.
pub struct Monitor {
    /// Weak: a connection that stays open must not keep the server.
    server: Weak<Server>,
    base_path: String,
    cpu: CpuMeter,
    requests: [AtomicU64; Page::ALL.len()],
    busy: Arc<Semaphore>,
}

/// A page ready to be sent.
struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: Vec<u8>,
}

/// What a page is made of.
struct Context<'a> {
    server: &'a Arc<Server>,
    monitor: &'a Monitor,
    query: &'a Query,
}

impl Monitor {
    pub fn new(server: &Arc<Server>) -> Arc<Monitor> {
        let base_path = server.options().http_base_path.trim_end_matches('/').to_owned();
        Arc::new(Monitor {
            server: Arc::downgrade(server),
            base_path,
            cpu: CpuMeter::new(server.identity().started),
            requests: Default::default(),
            busy: Arc::new(Semaphore::new(PAGES_AT_ONCE)),
        })
    }

    /// Serves so many connections at a time until the future is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, tls: Tls, connections_max: usize) {
        let limits = Limits { connections: connections_max, ..Limits::default() };
        listener::serve(self, listener, tls, Places::new(limits)).await;
    }

    /// One whose server has gone.
    #[cfg(test)]
    fn orphaned() -> Monitor {
        Monitor {
            server: Weak::new(),
            base_path: String::new(),
            cpu: CpuMeter::new(std::time::Instant::now()),
            requests: Default::default(),
            busy: Arc::new(Semaphore::new(PAGES_AT_ONCE)),
        }
    }

    /// How often each page was asked for; pages never asked for are left out.
    fn request_counts(&self) -> BTreeMap<&'static str, u64> {
        let counts = Page::ALL.iter().zip(&self.requests);
        let counts = counts.map(|((_, name), count)| (*name, count.load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    fn count(&self, page: Page) {
        self.requests[page as usize].fetch_add(1, Ordering::Relaxed);
    }

    async fn answer(self: &Arc<Self>, uri: Uri) -> Answer {
        let Some(page) = Page::at(uri.path(), &self.base_path) else {
            return Answer::text(StatusCode::NOT_FOUND, "404 page not found\n");
        };
        let Some(server) = self.server.upgrade() else {
            return Answer::text(StatusCode::SERVICE_UNAVAILABLE, "the server has stopped");
        };
        self.count(page);
        // A health probe must not wait behind a page that lists everything.
        let turn = match page {
            Page::Healthz => None,
            _ => Arc::clone(&self.busy).acquire_owned().await.ok(),
        };
        let monitor = Arc::clone(self);
        let make = move || {
            // Kept here, since the page goes on being made when whoever asked has left.
            let _turn = turn;
            let query = Query::of(&uri);
            let context = Context { server: &server, monitor: &monitor, query: &query };
            context.page(page).unwrap_or_else(|BadRequest(text)| Answer::text(StatusCode::BAD_REQUEST, text))
        };
        let made = tokio::task::spawn_blocking(make).await;
        made.unwrap_or_else(|_| Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made"))
    }
}

impl Context<'_> {
    fn page(&self, page: Page) -> Result<Answer, BadRequest> {
        match page {
            Page::Root => Ok(index::page(&self.monitor.base_path)),
            Page::Varz => Answer::json(&varz::varz(self)),
            Page::Connz => Answer::json(&connz::connz(self)?),
            Page::Jsz => Answer::json(&jsz::jsz(self)?),
            Page::Healthz => healthz::healthz(self),
            Page::Subsz => Answer::json(&subsz::subsz(self)?),
            Page::Accountz => Answer::json(&accounts::accountz(self)?),
            Page::Accstatz => Answer::json(&accounts::accstatz(self)?),
            Page::Routez => Answer::json(&links::routez(self)),
            Page::Leafz => Answer::json(&links::leafz(self)),
            Page::Gatewayz => Answer::json(&links::gatewayz(self)),
            // The genuine server's queues between its threads, and its Raft groups of more than one: none here.
            Page::Ipqueuesz => Answer::json(&BTreeMap::<(), ()>::new()),
            Page::Raftz => Ok(Answer::text(StatusCode::NOT_FOUND, "No Raft nodes registered")),
            Page::Metrics => metrics::page(self),
        }
    }

    fn server_id(&self) -> String {
        self.server.identity().id.clone()
    }
}

impl Answer {
    fn json(page: &impl Serialize) -> Result<Answer, BadRequest> {
        let body = serde_json::to_vec_pretty(page).map_err(|error| BadRequest(error.to_string()))?;
        Ok(Answer { status: StatusCode::OK, kind: "application/json", body })
    }

    fn text(status: StatusCode, text: impl Into<String>) -> Answer {
        Answer { status, kind: "text/plain; charset=utf-8", body: text.into().into_bytes() }
    }

    /// `page` keeps the body until it has left.
    fn into_response<P: AsRef<[u8]> + Send + 'static>(self, page: impl FnOnce(Vec<u8>) -> P) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from_owner(page(self.body))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(self.kind));
        if self.kind == "application/json" {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, header::HeaderValue::from_static("*"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_below_the_base_path_only() {
        assert_eq!(Page::at("/varz", ""), Some(Page::Varz));
        assert_eq!(Page::at("/", ""), Some(Page::Root));
        assert_eq!(Page::at("/a/subscriptionsz", "/a"), Some(Page::Subsz));
        assert_eq!(Page::at("/a", "/a"), Some(Page::Root));
        assert_eq!(Page::at("/varz", "/a"), None);
        assert_eq!(Page::at("/avarz", "/a"), None);
        assert_eq!(Page::at("/nope", ""), None);
        assert!(Page::ALL.iter().enumerate().all(|(at, (page, _))| *page as usize == at));
    }
}
