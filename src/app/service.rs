//! What a service manager is told, by systemd's protocol (`sd_notify`): that clients are served, that the configuration
//! is read again, that the end has come, and that everything is alive. Without one nobody is told.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::hub;
use crate::telemetry::health::{Health, Readiness, Reason};
use crate::telemetry::metrics::Gauges;
use crate::transport::ShardStatistics;

/// How often readiness is looked at. The parts show that they are alive once a second: a watchdog that is content with
/// less than a few seconds would find them dead now and then.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The way to the service manager. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Service(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    /// It knows that we have started.
    ready: AtomicBool,
    /// It waits for a reload's end.
    reloading: AtomicBool,
    /// That it can't be told has been said.
    failed: AtomicBool,
}

impl Service {
    /// There is nothing to start with yet.
    pub(super) fn waits_for_the_database(&self) {
        self.notify(&[NotifyState::Status("waiting for the database")]);
    }

    /// Clients are served, for the first time or after [`Service::reloading`].
    pub(super) fn ready(&self) {
        self.0.ready.store(true, Ordering::Relaxed);
        self.notify(&[NotifyState::Ready]);
    }

    /// The configuration is being read again because somebody has asked for it.
    pub(super) fn reloading(&self) {
        // Before the start is over a reload is no state of its own.
        if self.0.ready.load(Ordering::Relaxed) {
            match NotifyState::monotonic_usec_now() {
                Ok(now) => {
                    self.0.reloading.store(true, Ordering::Relaxed);
                    self.notify(&[NotifyState::Reloading, now]);
                }
                Err(error) => self.say(&error),
            }
        }
    }

    /// That is over, whatever came of it. A file that was read because it has changed was nobody's wish.
    pub(super) fn reloaded(&self) {
        if self.0.reloading.swap(false, Ordering::Relaxed) {
            self.ready();
        }
    }

    pub(super) fn stopping(&self) {
        self.notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    fn notify(&self, states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            self.say(&error);
        }
    }

    fn say(&self, error: &io::Error) {
        if !self.0.failed.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "the service manager at NOTIFY_SOCKET can't be told how walcast is doing");
        }
    }
}

/// Watches how walcast is doing, on the service manager's behalf.
pub(super) struct Watch {
    service: Service,
    health: Health,
    hub: watch::Receiver<hub::Statistics>,
    shards: Vec<watch::Receiver<ShardStatistics>>,
    looks: Interval,
    has_watchdog: bool,
    was_ready: bool,
    status: String,
}

impl Watch {
    pub(super) fn new(service: Service, health: Health, gauges: Gauges) -> Self {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let Gauges { hub, shards, .. } = gauges;
        let has_watchdog = sd_notify::watchdog_enabled().is_some();
        Self { service, health, hub, shards, looks, has_watchdog, was_ready: false, status: String::new() }
    }

    /// Tells what there is to tell, for ever.
    pub(super) async fn run(mut self) -> Infallible {
        loop {
            tokio::select! {
                _ = self.looks.tick() => {}
                Ok(()) = self.health.caught_up.changed() => {}
            }
            self.look();
        }
    }

    fn look(&mut self) {
        let readiness = self.health.readiness();
        if readiness.ready && !self.service.0.ready.load(Ordering::Relaxed) {
            self.service.ready();
        }
        self.say_what_changed(&readiness);
        let status = match (readiness.reasons.first(), &*self.health.outage.borrow()) {
            (Some(reason), _) => reason.message.clone(),
            (None, Some(outage)) => format!("serving clients without anything new: {outage}"),
            (None, None) => "serving clients".to_owned(),
        };
        if status != self.status {
            self.service.notify(&[NotifyState::Status(&status)]);
            self.status = status;
        }
        if self.has_watchdog && self.everything_lives() {
            self.service.notify(&[NotifyState::Watchdog]);
        }
    }

    /// In the log, too: who asks `/readyz` tells nobody what it has answered.
    fn say_what_changed(&mut self, readiness: &Readiness) {
        if std::mem::replace(&mut self.was_ready, readiness.ready) == readiness.ready {
            return;
        }
        match readiness.reasons.first() {
            None => tracing::info!("ready: clients are served"),
            Some(Reason { reason, .. }) if *reason == "stopping" => {}
            Some(Reason { reason, message }) => tracing::error!(reason, "not ready any more: {message}"),
        }
    }

    /// Whether the hub and every shard have shown a sign of life since this was true the last time.
    fn everything_lives(&mut self) -> bool {
        let lives = self.hub.has_changed().unwrap_or(false)
            && self.shards.iter().all(|shard| shard.has_changed().unwrap_or(false));
        if lives {
            self.hub.mark_unchanged();
            self.shards.iter_mut().for_each(watch::Receiver::mark_unchanged);
        }
        lives
    }
}
