//! `/metrics`: the numbers of every part, as Prometheus reads them.
//!
//! The parts count by themselves and publish what they have counted once a second; a scrape reads what was published
//! last, and nobody waits for it. Labels are the configuration's and this program's own words, never those of rows or
//! of clients, so that their number is known when the process starts. `docs/metrics.md` lists all of it.

mod collect;
mod described;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::health::Health;
use super::inspector::RouteLine;
use crate::auth::Denials;
use crate::replication::source::{self, SourceState};
use crate::transport::{Complaint, Count, ShardStatistics};
use crate::{hub, snapshot};

pub use described::{ALL, Metric};

/// What Prometheus asks for, and what `prometheus-client` writes.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where the numbers come from.
#[derive(Debug, Clone)]
pub struct Gauges {
    /// The routes as the config has them now, in order.
    pub routes: watch::Receiver<Arc<[RouteLine]>>,
    pub health: Health,
    pub state: watch::Receiver<SourceState>,
    pub source: watch::Receiver<source::Statistics>,
    pub hub: watch::Receiver<hub::Statistics>,
    pub shards: Vec<watch::Receiver<ShardStatistics>>,
    pub snapshots: Arc<snapshot::Meter>,
    pub count: Count,
    pub reloads: Arc<Reloads>,
    /// Who was not let in.
    pub denials: Denials,
    /// Where clients' connections are encrypted.
    pub certificate: Option<Arc<CertificateGauge>>,
}

/// The certificate that clients are shown.
#[derive(Debug)]
pub struct CertificateGauge {
    /// In seconds since 1970.
    not_after: AtomicI64,
    reloads: Reloads,
}

impl CertificateGauge {
    #[must_use]
    pub fn new(not_after: i64) -> Self {
        Self { not_after: AtomicI64::new(not_after), reloads: Reloads::default() }
    }

    /// Until when it is good, in seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after.load(Ordering::Relaxed)
    }

    /// Another one has taken its place, which is good until then.
    pub fn applied(&self, not_after: i64) {
        self.not_after.store(not_after, Ordering::Relaxed);
        self.reloads.applied();
    }

    /// Another one is in its files, and can't take its place.
    pub fn refused(&self) {
        self.reloads.refused();
    }
}

/// How often the configuration was read again.
#[derive(Debug, Default)]
pub struct Reloads {
    applied: AtomicU64,
    refused: AtomicU64,
}

impl Reloads {
    /// The new configuration is in use.
    pub fn applied(&self) {
        self.applied.fetch_add(1, Ordering::Relaxed);
    }

    /// It has errors; the one from before stays.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn by_outcome(&self) -> [(&'static str, u64); 2] {
        [("applied", self.applied.load(Ordering::Relaxed)), ("refused", self.refused.load(Ordering::Relaxed))]
    }
}

impl Gauges {
    /// All shards together.
    pub(super) fn shards(&self) -> ShardStatistics {
        let mut all = ShardStatistics::default();
        for shard in &self.shards {
            all.add(&shard.borrow());
        }
        all
    }

    /// # Errors
    /// A number could not be written, which is a bug.
    fn text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// `/metrics`.
pub fn router(gauges: Gauges) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(gauges)
}

async fn scrape(State(gauges): State<Gauges>) -> Response {
    // Not on the shard's own thread: a thousand routes are a thousand lines.
    let text = tokio::task::spawn_blocking(|| gauges.text()).await;
    match text {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        failed => {
            tracing::error!(?failed, "metrics could not be written, which is a bug");
            Complaint::Internal.response().into_response()
        }
    }
}
