//! `/healthz` and `/readyz`.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::routing::get;
use serde::Serialize;
use tokio::sync::watch;

use crate::replication::source::{SourceState, Statistics};
use crate::shutdown::Shutdown;

/// What readiness is made of.
#[derive(Debug, Clone)]
pub struct Health {
    /// The replay log has passed the flush position that the server had at connect.
    pub caught_up: watch::Receiver<bool>,
    pub source: watch::Receiver<SourceState>,
    pub statistics: watch::Receiver<Statistics>,
    pub shutdown: Shutdown,
}

/// Whether clients should be sent here, as `/readyz` says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    pub ready: bool,
    /// What is in the way; none where nothing is.
    pub reasons: Vec<Reason>,
    /// What will be in the way if nobody does anything: a slot that Postgres may give up, and its like.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Reason>,
}

/// Every [`Reason::reason`] that is in the way.
pub const REASONS: [&str; 5] = ["stopping", "connecting", "catching_up", "waiting", "stopped"];

/// Something that is in the way, or will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// A stable name, of [`REASONS`]; of warnings, a concern's.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Health {
    /// Whether clients should be sent here; if not, why.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        if self.shutdown.is_requested() {
            reasons.push(Reason { reason: "stopping", message: "the gateway is stopping".to_owned() });
        }
        // What was caught up with once is served on, whatever the connection does now.
        if !*self.caught_up.borrow() {
            reasons.push(behind(&self.source.borrow()));
        }
        let concerns = self.statistics.borrow().concerns().into_iter();
        let warnings = concerns.map(|it| Reason { reason: it.name(), message: format!("{it}: {}", it.advice()) });
        Readiness { ready: reasons.is_empty(), reasons, warnings: warnings.collect() }
    }
}

fn behind(state: &SourceState) -> Reason {
    let (reason, message) = match state {
        SourceState::Connecting => ("connecting", "connecting to the database".to_owned()),
        SourceState::CatchingUp | SourceState::Streaming => ("catching_up", "catching up with the database".to_owned()),
        SourceState::Waiting { reason, retry_in } => {
            let seconds = Duration::from_secs(retry_in.as_secs().max(1));
            ("waiting", format!("{reason}; trying again within {seconds:?}"))
        }
        SourceState::Stopped => ("stopped", "replication has stopped".to_owned()),
    };
    Reason { reason, message }
}

/// `/healthz`: the process answers.
pub fn liveness() -> Router {
    Router::new().route("/healthz", get(async || "ok\n"))
}

/// `/readyz`: 200 once clients are served what they expect, 503 before and while stopping; the body is a
/// [`Readiness`] as JSON.
pub fn readiness(health: Health) -> Router {
    let answer = async |State(health): State<Health>| {
        let readiness = health.readiness();
        let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, [(header::CONTENT_TYPE, "application/json")], json(&readiness))
    };
    Router::new().route("/readyz", get(answer)).with_state(health)
}

fn json(readiness: &Readiness) -> String {
    let value = serde_json::json!(readiness);
    format!("{value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown;

    #[test]
    fn every_reason_is_listed() {
        let waiting = SourceState::Waiting { reason: String::new(), retry_in: Duration::ZERO };
        let states =
            [SourceState::Connecting, SourceState::CatchingUp, SourceState::Streaming, waiting, SourceState::Stopped];
        let said = states.iter().map(|state| behind(state).reason).chain(["stopping"]);
        assert_eq!(said.collect::<std::collections::BTreeSet<_>>(), REASONS.into_iter().collect());
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let (trigger, shutdown) = shutdown::channel();
        let (caught_up_sender, caught_up) = watch::channel(false);
        let (state, source) = watch::channel(SourceState::Connecting);
        let (_statistics, statistics) = watch::channel(Statistics::default());
        let health = Health { caught_up, source, statistics, shutdown };
        let reasons = || health.readiness().reasons.iter().map(|it| it.reason).collect::<Vec<_>>();
        assert_eq!(reasons(), ["connecting"]);
        state.send_replace(SourceState::Waiting { reason: "refused".to_owned(), retry_in: Duration::from_millis(300) });
        assert_eq!(
            json(&health.readiness()),
            "{\"ready\":false,\"reasons\":[{\"message\":\"refused; trying again within 1s\",\"reason\":\"waiting\"}]}\n"
        );
        caught_up_sender.send_replace(true);
        assert_eq!(json(&health.readiness()), "{\"ready\":true,\"reasons\":[]}\n");
        trigger.request();
        assert_eq!(reasons(), ["stopping"]);
    }
}
