//! Where the parts say how they are doing, and who is told.

use std::sync::Arc;

use axum::Router;
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::hub;
use crate::hub::task::Inspect;
use crate::replication::source::Reports;
use crate::shutdown::Shutdown;
use crate::snapshot::Meter;
use crate::telemetry::health::{self, Health};
use crate::telemetry::inspector::{self, Inspector, RouteLine};
use crate::telemetry::metrics::{self, CertificateGauge, Gauges, Reloads};
use crate::transport::{Count, ShardStatistics};

/// Operators' questions that wait for the hub; it answers at once.
const INSPECTIONS: usize = 4;

/// The parts' ends.
pub(super) struct Reporting {
    pub(super) source: Reports,
    pub(super) hub: watch::Sender<hub::Statistics>,
    pub(super) inspections: mpsc::Receiver<Inspect>,
    /// By shard number.
    pub(super) shards: Vec<watch::Sender<ShardStatistics>>,
    pub(super) snapshots: Arc<Meter>,
    pub(super) count: Count,
    pub(super) reloads: Arc<Reloads>,
    pub(super) routes: watch::Sender<Arc<[RouteLine]>>,
}

/// The routes as operators are shown them.
pub(super) fn route_lines(config: &Config) -> Arc<[RouteLine]> {
    config.routes.iter().map(|route| route_line(config, route)).collect()
}

impl Reporting {
    /// For so many shards, and what the admin listener serves of it.
    pub(super) fn new(
        config: &Config,
        shards: usize,
        caught_up: watch::Receiver<bool>,
        (shutdown, certificate): (Shutdown, Option<Arc<CertificateGauge>>),
    ) -> (Self, Router) {
        let (inspect, inspections) = mpsc::channel(INSPECTIONS);
        let reporting = Self {
            source: Reports::default(),
            hub: watch::Sender::default(),
            inspections,
            shards: (0..shards).map(|_| watch::Sender::default()).collect(),
            snapshots: Arc::default(),
            count: Count::default(),
            reloads: Arc::default(),
            routes: watch::Sender::new(route_lines(config)),
        };
        let gauges = reporting.gauges(certificate);
        let health = Health { caught_up, source: gauges.state.clone(), shutdown };
        let inspector = Inspector {
            gauges: gauges.clone(),
            health: health.clone(),
            inspect,
            config: config.source.name().into(),
            port: config.server.listen.iter().find_map(|it| it.socket()).map(|it| it.port()),
            encrypted: config.server.tls.is_some(),
        };
        let router = health::liveness().merge(health::readiness(health));
        (reporting, router.merge(metrics::router(gauges)).merge(inspector::router(inspector)))
    }

    fn gauges(&self, certificate: Option<Arc<CertificateGauge>>) -> Gauges {
        Gauges {
            certificate,
            routes: self.routes.subscribe(),
            state: self.source.state.subscribe(),
            source: self.source.statistics.subscribe(),
            hub: self.hub.subscribe(),
            shards: self.shards.iter().map(watch::Sender::subscribe).collect(),
            snapshots: Arc::clone(&self.snapshots),
            count: self.count.clone(),
            reloads: Arc::clone(&self.reloads),
        }
    }
}

fn route_line(config: &Config, route: &crate::config::Route) -> RouteLine {
    let spec = &route.spec;
    let (line, _) = config.source.position(route.spans.table.start);
    RouteLine {
        table: spec.table.to_string(),
        topic: spec.topic.to_string(),
        event: spec.event.to_string(),
        ops: spec.ops.iter().map(|op| op.to_string()).collect(),
        guarded: spec.filter.is_some() || spec.allow.is_some(),
        line,
    }
}
