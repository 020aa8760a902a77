//! From what the parts have published to samples.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet};
use tokio::time::Instant;

use super::described as it;
use super::described::Metric;
use super::{CertificateGauge, Gauges};
use crate::hub;
use crate::phoenix::CloseReason;
use crate::replication::slot::{Concern, Invalidation, SlotSample, WalStatus};
use crate::replication::source::{self, SourceState};
use crate::transport::{BUCKETS, Counts, Resync, ShardStatistics, Transport};

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Collector for Gauges {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut samples = Samples(encoder);
        samples.gauges(it::BUILD, [([VERSION], 1_u64)])?;
        self.encode_source(&mut samples)?;
        // Released before anything else is looked at: who publishes never waits for long.
        let hub = self.hub.borrow().clone();
        self.encode_hub(&mut samples, &hub)?;
        let shards = self.shards();
        encode_connections(&mut samples, &shards)?;
        samples.counter(it::TURNED_AWAY, self.count.refused())?;
        samples.counters(it::DENIED, by_name(self.denials.by_reason()))?;
        encode_delivery(&mut samples, &shards)?;
        samples.gauge(it::SNAPSHOTS_RUNNING, self.snapshots.running() as u64)?;
        samples.gauge(it::SNAPSHOTS_WAITING, self.snapshots.waiting() as u64)?;
        samples.counters(it::SNAPSHOTS, by_name(self.snapshots.ended()))?;
        samples.counter(it::SNAPSHOT_ROWS, self.snapshots.rows())?;
        samples.counters(it::RELOADS, by_name(self.reloads.by_outcome()))?;
        self.encode_tls(&mut samples)
    }
}

impl Gauges {
    fn encode_source(&self, samples: &mut Samples<'_>) -> fmt::Result {
        let source: source::Statistics = *self.source.borrow();
        let streaming = matches!(*self.state.borrow(), SourceState::Streaming | SourceState::CatchingUp);
        samples.gauge(it::STREAMING, u64::from(streaming))?;
        samples.counter(it::STREAMS, source.streams)?;
        samples.counter(it::INTERRUPTIONS, source.interruptions)?;
        samples.counter(it::LOSSES, source.losses)?;
        samples.counter(it::RECEIVED, source.received_bytes)?;
        samples.optional(it::LAG_BYTES, source.lag_bytes())?;
        samples.gauge(it::LAG_SECONDS, source.lag_seconds(Instant::now()))?;
        samples.optional(it::SLOT_HELD, source.server.and_then(|server| server.slot_held_bytes()))?;
        encode_slot(samples, &source)
    }

    fn encode_tls(&self, samples: &mut Samples<'_>) -> fmt::Result {
        let certificate = self.certificate.as_deref();
        let expiry = certificate.map(CertificateGauge::not_after);
        samples.optional(it::CERTIFICATE_EXPIRY, expiry)?;
        let outcomes = certificate.map(|it| it.reloads.by_outcome()).into_iter().flatten();
        samples.counters(it::CERTIFICATE_RELOADS, by_name(outcomes))?;
        samples.counter(it::HANDSHAKES_FAILED, self.count.handshakes_failed())
    }

    fn encode_hub(&self, samples: &mut Samples<'_>, hub: &hub::Statistics) -> fmt::Result {
        samples.gauge(it::READY, u64::from(self.health.readiness().ready))?;
        samples.counter(it::TRANSACTIONS, hub.counters.transactions)?;
        samples.counter(it::CHANGES, hub.counters.changes)?;
        let lines = Arc::clone(&self.routes.borrow());
        let numbers: Vec<String> = (1..=lines.len()).map(|number| number.to_string()).collect();
        let routes = || numbers.iter().zip(lines.iter().map(|line| &line.topic)).zip(&hub.routes);
        let labels = |number, topic| [String::as_str(number), String::as_str(topic)];
        let changes = routes().map(|((number, topic), counts)| (labels(number, topic), counts.changes));
        samples.counters(it::ROUTE_CHANGES, changes)?;
        let holes = routes().map(|((number, topic), counts)| (labels(number, topic), counts.holes));
        samples.counters(it::ROUTE_HOLES, holes)?;
        let places = numbers.iter().zip(lines.iter().map(|line| &line.topic)).zip(&hub.broken);
        let broken = places.map(|((number, topic), broken)| (labels(number, topic), u64::from(*broken)));
        samples.gauges(it::ROUTE_BROKEN, broken)?;
        samples.counter(it::MALFORMED, hub.counters.malformed)?;
        samples.gauge(it::LOG_ENTRIES, hub.log.entries as u64)?;
        samples.gauge(it::LOG_BYTES, hub.log.bytes as u64)?;
        samples.gauge(it::LOG_SPAN, hub.log.span.as_secs_f64())?;
        samples.gauge(it::TOPICS, hub.topics as u64)?;
        samples.gauge(it::SHAPES, hub.shapes as u64)?;
        samples.gauge(it::PRESENCE, hub.presence_members as u64)?;
        let said = [("client", hub.counters.said_by_clients), ("sql", hub.counters.said_by_sql)];
        samples.counters(it::BROADCASTS, by_name(said))
    }
}

fn encode_slot(samples: &mut Samples<'_>, source: &source::Statistics) -> fmt::Result {
    let slot = source.server.and_then(|server| server.slot);
    let is = |holds: &dyn Fn(&SlotSample) -> bool| u64::from(slot.as_ref().is_some_and(holds));
    samples.optional(it::SLOT_SAFE, slot.and_then(|slot| slot.safe_wal_bytes))?;
    let status = WalStatus::ALL.map(|status| ([status.as_str()], is(&|slot| slot.wal_status == status)));
    samples.gauges(it::SLOT_STATUS, status)?;
    let reasons = Invalidation::ALL.map(|reason| ([reason.as_str()], is(&|slot| slot.invalidation == Some(reason))));
    samples.gauges(it::SLOT_INVALIDATION, reasons)?;
    let (failover, synced) = (is(&|slot| slot.failover), is(&|slot| slot.synced));
    let flags = [(["failover"], failover), (["synced"], synced), (["two_phase"], is(&|slot| slot.two_phase))];
    samples.gauges(it::SLOT_FLAGS, flags)?;
    samples.optional(it::SLOT_INACTIVE, slot.and_then(|slot| slot.inactive_for).map(|time| time.as_secs_f64()))?;
    let found: Vec<&str> = source.concerns().into_iter().map(Concern::name).collect();
    samples.gauges(it::SLOT_CONCERNS, Concern::NAMES.map(|name| ([name], u64::from(found.contains(&name)))))?;
    samples.gauge(it::IN_RECOVERY, u64::from(source.server.is_some_and(|server| server.in_recovery)))
}

fn encode_connections(samples: &mut Samples<'_>, shards: &ShardStatistics) -> fmt::Result {
    let by_transport = |counts: [u64; Transport::ALL.len()]| {
        Transport::ALL.into_iter().zip(counts).map(|(transport, count)| ([transport.name()], count))
    };
    let counters = &shards.counters;
    samples.gauges(it::CONNECTIONS, by_transport(shards.connections))?;
    samples.counters(it::OPENED, by_transport(counters.opened))?;
    let closes = CloseReason::ALL.map(CloseReason::name);
    let closes = closes.map(|name| ([name], counters.closes.get(name).copied().unwrap_or(0)));
    samples.counters(it::CLOSES, closes)
}

fn encode_delivery(samples: &mut Samples<'_>, shards: &ShardStatistics) -> fmt::Result {
    let counters = &shards.counters;
    let by_reason = |counts: &Counts| by_name(counts.iter().map(|(name, count)| (*name, *count)).collect::<Vec<_>>());
    samples.gauge(it::SUBSCRIPTIONS, shards.subscriptions)?;
    samples.gauge(it::BEHIND, shards.behind)?;
    samples.counter(it::JOINS, counters.joins)?;
    samples.counters(it::REFUSALS, by_reason(&counters.refused_joins))?;
    samples.counters(it::EVENTS_REFUSED, by_reason(&counters.refused_events))?;
    let resyncs = Resync::ALL.into_iter().zip(counters.resyncs).map(|(why, count)| ([why.name()], count));
    samples.counters(it::RESYNCS, resyncs)?;
    samples.counter(it::FALLS, counters.falls)?;
    samples.gauge(it::OUTBOX, shards.outbox_bytes)?;
    samples.counter(it::MESSAGES, counters.messages)?;
    let times = &counters.commit_to_send;
    let bounds = BUCKETS.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(times.buckets).collect();
    samples.histogram(it::COMMIT_TO_SEND, times.sum, times.count(), &buckets)?;
    samples.counters(it::WRITES, by_reason(&counters.writes))?;
    samples.counters(it::POSTS, by_reason(&counters.posts))
}

fn by_name(counts: impl IntoIterator<Item = (&'static str, u64)>) -> impl Iterator<Item = ([&'static str; 1], u64)> {
    counts.into_iter().map(|(name, count)| ([name], count))
}

/// Writes each metric with its description, and its labels in their order.
struct Samples<'a>(DescriptorEncoder<'a>);

impl Samples<'_> {
    fn gauge(&mut self, metric: Metric, value: impl EncodeGaugeValue) -> fmt::Result {
        self.optional(metric, Some(value))
    }

    fn optional(&mut self, metric: Metric, value: Option<impl EncodeGaugeValue>) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(metric.name, metric.help, metric.unit, metric.kind)?;
        value.map_or(Ok(()), |value| encoder.encode_gauge(&value))
    }

    fn gauges<'l, const N: usize>(
        &mut self,
        metric: Metric,
        values: impl IntoIterator<Item = ([&'l str; N], u64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(metric.name, metric.help, metric.unit, metric.kind)?;
        for (labels, value) in values {
            encoder.encode_family(&pairs(metric, labels))?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counter(&mut self, metric: Metric, value: impl EncodeCounterValue) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(metric.name, metric.help, metric.unit, metric.kind)?;
        encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn counters<'l, const N: usize>(
        &mut self,
        metric: Metric,
        values: impl IntoIterator<Item = ([&'l str; N], u64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(metric.name, metric.help, metric.unit, metric.kind)?;
        for (labels, value) in values {
            let labels = pairs(metric, labels);
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn histogram(&mut self, metric: Metric, sum: f64, count: u64, buckets: &[(f64, u64)]) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(metric.name, metric.help, metric.unit, metric.kind)?;
        encoder.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
    }
}

fn pairs<const N: usize>(metric: Metric, values: [&str; N]) -> Vec<(&'static str, &str)> {
    metric.labels.iter().copied().zip(values).collect()
}
