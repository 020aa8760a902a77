//! `/healthz` and `/readyz`.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::sync::watch;

use crate::replication::source::SourceState;
use crate::shutdown::Shutdown;

/// What readiness is made of.
#[derive(Debug, Clone)]
pub struct Health {
    /// The replay log has passed the flush position that the server had at connect.
    pub caught_up: watch::Receiver<bool>,
    pub source: watch::Receiver<SourceState>,
    pub shutdown: Shutdown,
}

impl Health {
    /// Whether clients should be sent here; if not, why.
    fn readiness(&self) -> Result<(), String> {
        if self.shutdown.is_requested() {
            return Err("stopping\n".to_owned());
        }
        if *self.caught_up.borrow() {
            return Ok(());
        }
        let doing = match &*self.source.borrow() {
            SourceState::Connecting => "connecting to the database".to_owned(),
            SourceState::CatchingUp | SourceState::Streaming => "catching up with the database".to_owned(),
            SourceState::Waiting { reason, retry_in } => format!("{reason}; trying again in {retry_in:?}"),
            SourceState::Stopped => "replication has stopped".to_owned(),
        };
        Err(format!("not ready: {doing}\n"))
    }
}

/// `/healthz`: the process answers.
pub fn liveness() -> Router {
    Router::new().route("/healthz", get(async || "ok\n"))
}

/// `/readyz`: 200 once clients are served what they expect, 503 and the reason before and while stopping.
pub fn readiness(health: Health) -> Router {
    let answer = async |State(health): State<Health>| match health.readiness() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
    };
    Router::new().route("/readyz", get(answer)).with_state(health)
}
