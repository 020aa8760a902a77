//! `/healthz` and `/readyz`.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::routing::get;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::replication::slot::Concern;
use crate::replication::source::{Outage, SourceState, Statistics};
use crate::shutdown::Shutdown;

/// What readiness is made of.
#[derive(Debug, Clone)]
pub struct Health {
    /// The replay log has passed the flush position that the server had at connect.
    pub caught_up: watch::Receiver<bool>,
    pub source: watch::Receiver<SourceState>,
    pub statistics: watch::Receiver<Statistics>,
    /// While the feed stands still, after it has been caught up with.
    pub outage: watch::Receiver<Option<Outage>>,
    /// For so long that makes no difference: `limits.outage`.
    pub patience: Duration,
    pub shutdown: Shutdown,
}

/// Whether clients should be sent here, as `/readyz` says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    pub ready: bool,
    /// What is in the way; none where nothing is.
    pub reasons: Vec<Reason>,
    /// What will be in the way if nobody does anything: a database that is away, a slot that Postgres may give up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Reason>,
}

/// Every [`Reason::reason`] that is in the way.
pub const REASONS: [&str; 6] = ["stopping", "connecting", "catching_up", "waiting", "stopped", DISCONNECTED];

/// The database is away: first a warning, and after a while in the way.
const DISCONNECTED: &str = "disconnected";
/// What came while it was away is being read.
const CATCHING_UP: &str = "catching_up";

/// Every [`Reason::reason`] of a warning.
#[must_use]
pub fn warnings() -> Vec<&'static str> {
    [DISCONNECTED, CATCHING_UP].into_iter().chain(Concern::NAMES).collect()
}

/// Something that is in the way, or will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// A stable name, of [`REASONS`]; of warnings, one of [`warnings`].
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Health {
    /// Whether clients should be sent here; if not, why.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness_at(Instant::now())
    }

    fn readiness_at(&self, now: Instant) -> Readiness {
        let (mut reasons, mut warnings) = (Vec::new(), Vec::new());
        if self.shutdown.is_requested() {
            reasons.push(Reason { reason: "stopping", message: "the gateway is stopping".to_owned() });
        }
        // What was caught up with once is served on, whatever the connection does now.
        if !*self.caught_up.borrow() {
            reasons.push(behind(&self.source.borrow()));
        } else if let Some(outage) = &*self.outage.borrow() {
            let is_in_the_way = now.saturating_duration_since(outage.since) >= self.patience;
            if is_in_the_way { &mut reasons } else { &mut warnings }.push(still(outage));
        }
        let concerns = self.statistics.borrow().concerns().into_iter();
        warnings.extend(concerns.map(|it| Reason { reason: it.name(), message: format!("{it}: {}", it.advice()) }));
        Readiness { ready: reasons.is_empty(), reasons, warnings }
    }
}

fn still(outage: &Outage) -> Reason {
    Reason { reason: if outage.is_connected { CATCHING_UP } else { DISCONNECTED }, message: outage.to_string() }
}

fn behind(state: &SourceState) -> Reason {
    let (reason, message) = match state {
        SourceState::Connecting => ("connecting", "connecting to the database".to_owned()),
        SourceState::CatchingUp | SourceState::Streaming => (CATCHING_UP, "catching up with the database".to_owned()),
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
        let outage = still(&Outage::new(String::new())).reason;
        let said = states.iter().map(|state| behind(state).reason).chain(["stopping", outage]);
        assert_eq!(said.collect::<std::collections::BTreeSet<_>>(), REASONS.into_iter().collect());
    }

    /// Everything that a [`Health`] hears.
    struct Reporters {
        caught_up: watch::Sender<bool>,
        state: watch::Sender<SourceState>,
        outage: watch::Sender<Option<Outage>>,
        statistics: watch::Sender<Statistics>,
        trigger: shutdown::Trigger,
    }

    fn health(patience: Duration) -> (Reporters, Health) {
        let (trigger, shutdown) = shutdown::channel();
        let reporters = Reporters {
            caught_up: watch::Sender::new(false),
            state: watch::Sender::new(SourceState::Connecting),
            outage: watch::Sender::default(),
            statistics: watch::Sender::default(),
            trigger,
        };
        let health = Health {
            caught_up: reporters.caught_up.subscribe(),
            source: reporters.state.subscribe(),
            outage: reporters.outage.subscribe(),
            statistics: reporters.statistics.subscribe(),
            patience,
            shutdown,
        };
        (reporters, health)
    }

    fn names(reasons: &[Reason]) -> Vec<&'static str> {
        reasons.iter().map(|it| it.reason).collect()
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let (reporters, health) = health(Duration::MAX);
        assert_eq!(names(&health.readiness().reasons), ["connecting"]);
        let waiting = SourceState::Waiting { reason: "refused".to_owned(), retry_in: Duration::from_millis(300) };
        reporters.state.send_replace(waiting);
        assert_eq!(
            json(&health.readiness()),
            "{\"ready\":false,\"reasons\":[{\"message\":\"refused; trying again within 1s\",\"reason\":\"waiting\"}]}\n"
        );
        reporters.caught_up.send_replace(true);
        assert_eq!(json(&health.readiness()), "{\"ready\":true,\"reasons\":[]}\n");
        reporters.trigger.request();
        assert_eq!(names(&health.readiness().reasons), ["stopping"]);
    }

    #[test]
    fn a_database_that_is_away_is_a_warning_first() {
        let (reporters, health) = health(Duration::from_secs(120));
        reporters.caught_up.send_replace(true);
        let outage = Outage::new("refused".to_owned());
        reporters.outage.send_replace(Some(outage.clone()));
        let after = |seconds| {
            let Readiness { ready, reasons, warnings } =
                health.readiness_at(outage.since + Duration::from_secs(seconds));
            (ready, names(&reasons), names(&warnings))
        };
        assert_eq!(after(119), (true, vec![], vec!["disconnected"]));
        let told = || after(120);
        assert_eq!(told(), (false, vec!["disconnected"], vec![]));
        let mut again = outage.clone();
        again.is_connected = true;
        reporters.outage.send_replace(Some(again));
        assert_eq!(told(), (false, vec!["catching_up"], vec![]), "what clients would see is still that old");
        // A feed that was lost meanwhile begins anew, which the state tells.
        reporters.caught_up.send_replace(false);
        assert_eq!(told(), (false, vec!["connecting"], vec![]));
        reporters.caught_up.send_replace(true);
        reporters.outage.send_replace(None);
        assert_eq!(told(), (true, vec![], vec![]));
    }
}
