//! `/healthz` and `/readyz`.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::sync::watch;

use crate::shutdown::Shutdown;

/// What readiness is made of.
#[derive(Debug, Clone)]
pub struct Health {
    /// The replay log has passed the flush position that the server had at connect.
    pub caught_up: watch::Receiver<bool>,
    pub shutdown: Shutdown,
}

impl Health {
    /// Whether clients should be sent here; if not, why.
    fn readiness(&self) -> Result<(), &'static str> {
        if self.shutdown.is_requested() {
            return Err("stopping\n");
        }
        if !*self.caught_up.borrow() {
            return Err("the replay log has not caught up with the database yet\n");
        }
        Ok(())
    }
}

/// `/healthz`: the process answers.
pub fn liveness() -> Router {
    Router::new().route("/healthz", get(async || "ok\n"))
}

/// `/readyz`: 200 once clients are served what they expect, 503 and the reason before and while stopping.
pub fn readiness(health: Health) -> Router {
    let answer = async |State(health): State<Health>| match health.readiness() {
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
    };
    Router::new().route("/readyz", get(answer)).with_state(health)
}
