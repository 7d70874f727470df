//! `/healthz`: whether the server can be relied on, or what stands against it.

use hyper::StatusCode;
use serde::Serialize;

use super::query::BadRequest;
use super::{Answer, Context, journal};
use crate::jetstream::{JetStreamAccount, Node, Replica};

#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Problem>,
    /// Ours: what an operator should know although requests are served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// What stands against health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    stream: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    consumer: String,
    error: String,
}

/// A problem with what is answered: the code, and the word when no details are wanted.
struct Verdict {
    code: StatusCode,
    word: &'static str,
    problem: Problem,
}

/// What to look at; empty is everything.
#[derive(Clone, Copy)]
struct Asset<'a> {
    account: &'a str,
    stream: &'a str,
    consumer: &'a str,
}

pub(super) fn healthz(context: &Context<'_>) -> Result<Answer, BadRequest> {
    let query = context.query;
    let enabled_only = query.flag("js-enabled")? | query.flag("js-enabled-only")?;
    let server_only = query.flag("js-server-only")?;
    // Only for clusters; it must be readable all the same.
    query.flag("js-meta-only")?;
    let details = query.flag("details")?;
    let asset =
        Asset { account: query.text("account"), stream: query.text("stream"), consumer: query.text("consumer") };
    let verdict = asset.incomplete().or_else(|| not_ready(context));
    let verdict = verdict.or_else(|| if server_only { None } else { of_jetstream(context, asset, enabled_only) });
    if let Some(verdict) = &verdict {
        tracing::warn!("Healthcheck failed: {:?}", verdict.problem.error);
    }
    let warnings = if server_only { Vec::new() } else { warnings(context) };
    answer(verdict, details, warnings)
}

fn answer(verdict: Option<Verdict>, details: bool, warnings: Vec<String>) -> Result<Answer, BadRequest> {
    let (code, health) = match verdict {
        None => (StatusCode::OK, Health { status: "ok", error: String::new(), errors: Vec::new(), warnings }),
        Some(Verdict { code, problem, .. }) if details => {
            (code, Health { status: "error", error: String::new(), errors: vec![problem], warnings })
        }
        Some(Verdict { code, word, problem }) => {
            (code, Health { status: word, error: problem.error, errors: Vec::new(), warnings })
        }
    };
    let body = serde_json::to_vec(&health).map_err(|error| BadRequest(error.to_string()))?;
    Ok(Answer { status: code, kind: "application/json", body })
}

impl Asset<'_> {
    fn incomplete(&self) -> Option<Verdict> {
        let (missing, of) = match self {
            Asset { account: "", stream, .. } if !stream.is_empty() => ("account", "stream"),
            Asset { stream: "", consumer, .. } if !consumer.is_empty() => ("stream", "consumer"),
            _ => return None,
        };
        let error = format!("{missing:?} must not be empty when checking {of} health");
        let problem = Problem { kind: "BAD_REQUEST", error, ..Problem::default() };
        Some(Verdict { code: StatusCode::BAD_REQUEST, word: "error", problem })
    }

    /// What was asked for and is not there.
    fn missing(self, node: &Node) -> Option<Verdict> {
        let Asset { account, stream, consumer } = self;
        if account.is_empty() {
            return None;
        }
        let not_found = |kind, stream: &str, consumer: &str, error| {
            let [account, stream, consumer] = [account, stream, consumer].map(str::to_owned);
            let problem = Problem { kind, account, stream, consumer, error };
            Some(Verdict { code: StatusCode::NOT_FOUND, word: UNAVAILABLE, problem })
        };
        let Some(of_account) = node.account(account) else {
            return not_found("ACCOUNT", "", "", format!("JetStream account {account:?} not found"));
        };
        if stream.is_empty() {
            return None;
        }
        let Some(found) = JetStreamAccount::find(&of_account, stream) else {
            let error = format!("JetStream stream {stream:?} not found on account {account:?}");
            return not_found("STREAM", stream, "", error);
        };
        if consumer.is_empty() || found.has_consumer(consumer) {
            return None;
        }
        let error = format!("JetStream consumer {consumer:?} not found for stream {stream:?} on account {account:?}");
        not_found("CONSUMER", stream, consumer, error)
    }
}

const UNAVAILABLE: &str = "unavailable";

fn not_ready(context: &Context<'_>) -> Option<Verdict> {
    let why = context.server.unready()?;
    let error = format!("failed to be ready for connections after 1ms: {why}");
    let problem = Problem { kind: "CONNECTION", error, ..Problem::default() };
    Some(Verdict { code: StatusCode::INTERNAL_SERVER_ERROR, word: "error", problem })
}

fn unavailable(problem: Problem) -> Option<Verdict> {
    Some(Verdict { code: StatusCode::SERVICE_UNAVAILABLE, word: UNAVAILABLE, problem })
}

fn of_jetstream(context: &Context<'_>, asset: Asset<'_>, enabled_only: bool) -> Option<Verdict> {
    if !context.server.options().jetstream.enabled {
        return None;
    }
    let of_server = |error: String| unavailable(Problem { kind: "JETSTREAM", error, ..Problem::default() });
    let Some(node) = &context.server.jetstream() else {
        return of_server("JetStream not enabled (10076)".into());
    };
    if let ("failed" | "closed", why) = journal::state(node) {
        return of_server(format!("JetStream journal error: {why}"));
    }
    if enabled_only {
        return None;
    }
    if let Some(stray) = node.strays().first()
        && (asset.account.is_empty() || asset.account == stray.account().name())
    {
        return unavailable(unserved(context, stray));
    }
    held_back(node, asset).or_else(|| asset.missing(node))
}

/// A stream that the store does not give.
fn held_back(node: &Node, asset: Asset<'_>) -> Option<Verdict> {
    let is_asked = |asked: &str, name: &str| asked.is_empty() || asked == name;
    let accounts = node.accounts().into_iter().filter(|account| is_asked(asset.account, account.name()));
    let mut streams = accounts.flat_map(|account| account.held_back());
    let stream = streams.find(|stream| is_asked(asset.stream, stream.name()))?;
    unavailable(unrecovered(&stream.account, stream.name()))
}

/// A stream that is kept for an account without JetStream.
fn unserved(context: &Context<'_>, stray: &Replica) -> Problem {
    let account = stray.account().name().to_owned();
    if context.server.hub().account(&account).is_none() {
        let error = format!("JetStream account '{account}' could not be resolved");
        return Problem { kind: "ACCOUNT", account, error, ..Problem::default() };
    }
    unrecovered(&account, stray.name())
}

fn unrecovered(account: &str, stream: &str) -> Problem {
    let error = format!("JetStream stream '{account} > {stream}' could not be recovered");
    Problem { kind: "STREAM", account: account.to_owned(), stream: stream.to_owned(), error, ..Problem::default() }
}

fn warnings(context: &Context<'_>) -> Vec<String> {
    let Some(node) = &context.server.jetstream() else { return Vec::new() };
    let mut warnings = Vec::new();
    if let ("full", why) = journal::state(node) {
        warnings.push(why);
    }
    let damaged = node.stats().damaged_records;
    if damaged > 0 {
        warnings.push(format!("{damaged} damaged records have been found in the store"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(verdict: Option<Verdict>, details: bool) -> (u16, String) {
        let answer = answer(verdict, details, Vec::new()).map_err(|BadRequest(text)| text).unwrap();
        (answer.status.as_u16(), String::from_utf8(answer.body).unwrap())
    }

    #[test]
    fn answers_are_worded_as_in_the_genuine_server() {
        let asset = |account, stream, consumer| Asset { account, stream, consumer };
        assert_eq!(text(None, false), (200, r#"{"status":"ok"}"#.into()));
        assert_eq!(
            text(asset("", "S", "").incomplete(), false),
            (400, r#"{"status":"error","error":"\"account\" must not be empty when checking stream health"}"#.into())
        );
        let problem = r#"{"type":"BAD_REQUEST","error":"\"stream\" must not be empty when checking consumer health"}"#;
        assert_eq!(
            text(asset("A", "", "C").incomplete(), true),
            (400, format!(r#"{{"status":"error","errors":[{problem}]}}"#))
        );
        assert!(asset("A", "S", "C").incomplete().is_none());
    }
}
