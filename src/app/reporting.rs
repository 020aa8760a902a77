//! Where the parts say how they are doing, and who is told.

use std::sync::Arc;

use axum::Router;
use tokio::sync::{mpsc, watch};

use super::certificates::Certificates;
use crate::auth::{Denials, Gate};
use crate::config::{Auth, Config};
use crate::hub;
use crate::hub::task::Inspect;
use crate::replication::source::Reports;
use crate::shutdown::Shutdown;
use crate::snapshot::Meter;
use crate::telemetry::health::{self, Health};
use crate::telemetry::inspector::{self, Feed, Inspector, RouteLine};
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
    pub(super) health: Health,
}

/// What other parts say of themselves.
pub(super) struct Elsewhere {
    pub(super) caught_up: watch::Receiver<bool>,
    pub(super) shutdown: Shutdown,
    /// Of the certificate that clients are shown, where there is one.
    pub(super) certificate: Option<Arc<CertificateGauge>>,
    /// Who was not let in.
    pub(super) denials: Denials,
}

impl Elsewhere {
    pub(super) fn new(
        caught_up: watch::Receiver<bool>,
        shutdown: Shutdown,
        certificates: Option<&Certificates>,
        gate: &Gate,
    ) -> Self {
        Self { caught_up, shutdown, certificate: certificates.map(Certificates::gauge), denials: gate.denials() }
    }
}

/// The routes as operators are shown them.
pub(super) fn route_lines(config: &Config) -> Arc<[RouteLine]> {
    config.routes.iter().map(|route| route_line(config, route)).collect()
}

impl Reporting {
    /// For so many shards, and what the admin listener serves of it.
    pub(super) fn new(config: &Config, shards: usize, elsewhere: &Elsewhere) -> (Self, Router) {
        let (inspect, inspections) = mpsc::channel(INSPECTIONS);
        let source = Reports::default();
        let (caught_up, shutdown) = (elsewhere.caught_up.clone(), elsewhere.shutdown.clone());
        let health = Health {
            caught_up,
            source: source.state.subscribe(),
            statistics: source.statistics.subscribe(),
            outage: source.outage.subscribe(),
            patience: config.limits.outage,
            shutdown,
        };
        let reporting = Self {
            source,
            hub: watch::Sender::default(),
            inspections,
            shards: (0..shards).map(|_| watch::Sender::default()).collect(),
            snapshots: Arc::default(),
            count: Count::default(),
            reloads: Arc::default(),
            routes: watch::Sender::new(route_lines(config)),
            health: health.clone(),
        };
        let gauges = reporting.gauges(elsewhere);
        let inspector = Inspector {
            gauges: gauges.clone(),
            health: health.clone(),
            inspect,
            config: config.source.name().into(),
            port: config.server.listen.iter().find_map(|it| it.socket()).map(|it| it.port()),
            encrypted: config.server.tls.is_some(),
            tokens: !matches!(config.auth, Auth::None),
            feed: feed(config),
        };
        let router = health::liveness().merge(health::readiness(health));
        (reporting, router.merge(metrics::router(gauges)).merge(inspector::router(inspector)))
    }

    pub(super) fn gauges(&self, elsewhere: &Elsewhere) -> Gauges {
        Gauges {
            certificate: elsewhere.certificate.clone(),
            denials: elsewhere.denials.clone(),
            health: self.health.clone(),
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

fn feed(config: &Config) -> Feed {
    Feed {
        server: config.postgres.connection.to_string(),
        publication: config.postgres.publication.to_string(),
        slot: config.postgres.slot.to_string(),
        window: config.replay.window,
        memory: config.replay.memory,
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
