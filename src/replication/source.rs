//! The task that keeps the feed coming: connects, checks, streams, hands on, acknowledges, and does all of it again
//! whenever the connection is gone.
//!
//! ```text
//!            ┌──────────────────────── backoff ◀───────────────────────┐
//!            ▼                                                         │
//!  connect, check the server, slot and publication ── START_REPLICATION ── read, decode, assemble ──▶ outbox ──▶ hub
//!                                                        ▲                    status updates ◀── acknowledged ◀──┘
//! ```
//!
//! What is received waits in an outbox until the hub has room; a full outbox stops the reading, never the status
//! updates. The outbox and the position outlive a connection: nothing is handed on twice, and nothing is left out
//! without a [`FeedEvent::Lost`]. Knows nothing of topics and clients.

mod backoff;
mod changes;
mod continuity;
mod failure;
mod gauge;
mod holder;
mod intake;
mod lag;
mod lookout;
mod outage;
mod outbox;
mod prerequisites;
mod recreation;
mod session;
mod sight;
mod statistics;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

pub use backoff::{Backoff, FIRST_BOUND, FLOOR, LAST_BOUND};
pub use changes::{Observation, Until};
pub use continuity::{Discontinuity, Position, resume};
pub use failure::Failure;
pub use gauge::ServerSample;
pub use intake::{Connected, Delivered, Intake, IntakeError};
pub use lookout::LOOK_INTERVAL;
pub use outage::Outage;
pub use outbox::{OUTBOX_BYTES, OUTBOX_EVENTS};
pub use prerequisites::Prerequisite;
pub use session::{FINISH_LIMIT, SHUTDOWN_BOUNDARY, TYPE_LOOKUP_LIMIT};
pub use statistics::Statistics;

use lag::Lag;

use super::slot::OnLostSlot;
use super::transaction::PartLimits;
use super::wire::{ConnectionConfig, Disposition};
use crate::change::{Acknowledgement, FeedEvent, Lsn};

/// How often Postgres is told how far we are, unless the server's `wal_sender_timeout` asks for more. A message of 34
/// bytes; a server that is stopped or checkpointed does not hold WAL for what we have long had.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Where the feed comes from.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    pub connection: ConnectionConfig,
    pub slot: String,
    pub publication: String,
    /// Where large transactions are cut.
    pub part_limits: PartLimits,
    /// An upper bound; never more than a third of `wal_sender_timeout`, so that one update may be late.
    pub status_interval: Duration,
    /// `replay.wal`, in bytes: what of the WAL that the slot holds is accounted for.
    pub wal_budget: u64,
    /// Standbys are to copy the slot (Postgres 17 and later).
    pub failover: bool,
    pub on_lost_slot: OnLostSlot,
}

impl SourceSettings {
    /// With the default limits.
    #[must_use]
    pub fn new(connection: ConnectionConfig, slot: impl Into<String>, publication: impl Into<String>) -> Self {
        Self {
            connection,
            slot: slot.into(),
            publication: publication.into(),
            part_limits: PartLimits::default(),
            status_interval: STATUS_INTERVAL,
            wal_budget: u64::MAX,
            failover: false,
            on_lost_slot: OnLostSlot::default(),
        }
    }
}

/// What the source is doing, for readiness and for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SourceState {
    /// Not streaming yet, or not any more.
    #[default]
    Connecting,
    /// Streaming what was committed before the connection was made.
    CatchingUp,
    /// The hub has been handed everything that was on disk when the connection was made, and what came since follows.
    Streaming,
    /// The last attempt came to nothing for `reason`, which says what to do; the next one is `retry_in` away.
    Waiting { reason: String, retry_in: Duration },
    /// The task has ended.
    Stopped,
}

/// Where it says how it is doing.
#[derive(Debug, Default)]
pub struct Reports {
    pub state: watch::Sender<SourceState>,
    /// At most a status interval old while streaming, and then also at each interruption.
    pub statistics: watch::Sender<Statistics>,
    /// While the feed stands still that has moved before.
    pub outage: watch::Sender<Option<Outage>>,
}

/// Why the source gave up. Only a first start does: a gateway that has clients keeps trying.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{failure}: {advice}")]
    Refused { failure: Failure, advice: &'static str },
    #[error("the feed is not read any more, and nobody asked replication to stop")]
    FeedClosed,
}

/// Streams the slot's changes into `events` until `shutdown` completes.
///
/// `acknowledged` is how far the hub can do without the slot: what Postgres may be told. When the hub has no room, the
/// slot keeps what comes. After [`FeedEvent::Lost`] positions begin anew, and `acknowledged` with them.
///
/// # Errors
/// At the first start, something that an operator has to change; or `events` has no receiver any more.
pub async fn run(
    settings: SourceSettings,
    events: mpsc::Sender<Vec<FeedEvent>>,
    acknowledged: watch::Receiver<Acknowledgement>,
    reports: Reports,
    shutdown: impl Future<Output = ()>,
) -> Result<(), SourceError> {
    let mut source = Source::new(settings, events, acknowledged, reports);
    let mut shutdown = std::pin::pin!(shutdown);
    let outcome = source.run(shutdown.as_mut()).await;
    source.state.send_replace(SourceState::Stopped);
    outcome
}

/// What outlives a connection.
struct Source {
    settings: SourceSettings,
    events: mpsc::Sender<Vec<FeedEvent>>,
    acknowledged: watch::Receiver<Acknowledgement>,
    state: watch::Sender<SourceState>,
    statistics: Statistics,
    published: watch::Sender<Statistics>,
    lag: Lag,
    intake: Intake,
    backoff: Backoff,
    /// Streaming has begun at least once.
    started: bool,
    /// A lost slot was dropped, and another one is yet to be made.
    is_slot_owed: bool,
    outage: watch::Sender<Option<Outage>>,
    /// Why the last attempt failed, where the one before it did, too.
    said: Option<String>,
    /// From which [`super::progress::Progress`] counts time.
    epoch: Instant,
}

impl Source {
    fn new(
        settings: SourceSettings,
        events: mpsc::Sender<Vec<FeedEvent>>,
        acknowledged: watch::Receiver<Acknowledgement>,
        reports: Reports,
    ) -> Self {
        let intake = Intake::new(settings.part_limits);
        let Reports { state, statistics: published, outage } = reports;
        let statistics = Statistics { wal_budget: settings.wal_budget, ..Statistics::default() };
        Self {
            settings,
            events,
            acknowledged,
            state,
            statistics,
            published,
            lag: Lag::new(),
            intake,
            backoff: Backoff::default(),
            started: false,
            is_slot_owed: false,
            outage,
            said: None,
            epoch: Instant::now(),
        }
    }

    async fn run<F: Future<Output = ()>>(&mut self, mut shutdown: Pin<&mut F>) -> Result<(), SourceError> {
        loop {
            self.state.send_replace(SourceState::Connecting);
            let wait = match self.session(shutdown.as_mut()).await {
                Ok(()) => return Ok(()),
                Err(Failure::FeedClosed) => return Err(SourceError::FeedClosed),
                Err(failure) => self.judge(failure)?,
            };
            if self.pause(wait, shutdown.as_mut()).await? {
                return Ok(());
            }
        }
    }

    /// Says what has happened and decides how long to wait.
    fn judge(&mut self, failure: Failure) -> Result<Duration, SourceError> {
        let verdict = failure.verdict();
        self.interrupted();
        if !self.started && verdict.disposition != Disposition::Retry {
            return Err(SourceError::Refused { failure, advice: verdict.advice });
        }
        if verdict.disposition == Disposition::Lost {
            self.lose(&failure.to_string());
        }
        let retry_in = self.backoff.next(fastrand::f64());
        self.failed(&failure, verdict, retry_in);
        let reason = format!("{failure}: {}", verdict.advice);
        self.state.send_replace(SourceState::Waiting { reason, retry_in });
        Ok(retry_in)
    }

    /// Continuity is lost: whoever follows the feed has to begin anew. Told once, not at every attempt.
    fn lose(&mut self, reason: &str) {
        if self.intake.lose(reason) {
            self.statistics.losses += 1;
            self.statistics.position = None;
            self.lag.lose();
            tracing::error!(slot = self.settings.slot, reason, "continuity is lost: every client has to resync");
        }
    }

    /// Waits, handing on meanwhile what was received before. True: it is time to stop.
    async fn pause<F: Future<Output = ()>>(
        &mut self,
        wait: Duration,
        mut shutdown: Pin<&mut F>,
    ) -> Result<bool, SourceError> {
        let until = Instant::now() + wait;
        loop {
            tokio::select! {
                () = shutdown.as_mut() => return Ok(true),
                () = sleep_until(until) => return Ok(false),
                () = self.events.closed() => return Err(SourceError::FeedClosed),
                delivered = deliver(&self.events, &mut self.intake), if !self.intake.is_empty() => {
                    let batch = delivered.ok_or(SourceError::FeedClosed)?;
                    self.delivered(batch);
                }
            }
        }
    }

    fn delivered(&mut self, batch: Delivered) {
        self.intake.delivered(batch);
        self.handed_on(batch.last_end);
        if batch.is_new {
            self.backoff.reset();
        }
    }

    fn streams(&mut self, flush: Lsn, sample: Option<ServerSample>) {
        self.reconnected();
        self.statistics.streams += 1;
        self.lag.connected(flush, self.now());
        self.statistics.server = sample;
        self.publish_statistics();
    }

    fn interrupted(&mut self) {
        self.statistics.interruptions += 1;
        self.lag.disconnected(self.now());
        self.publish_statistics();
    }

    fn sampled(&mut self, sample: ServerSample) {
        self.statistics.server = Some(sample);
        self.lag.mark(sample.flush, self.now());
        self.publish_statistics();
    }

    /// The hub has everything that was received, or at least a batch in which a transaction ended at `last_end`.
    fn handed_on(&mut self, last_end: Option<Lsn>) {
        let received = self.intake.position().filter(|_| self.intake.is_empty()).map(|position| position.end);
        if let Some(position) = received.or(last_end) {
            self.statistics.position = Some(position);
            self.lag.reached(position);
        }
    }

    fn publish_statistics(&mut self) {
        self.statistics.behind_since = self.lag.since().map(|since| self.epoch + since);
        self.published.send_replace(self.statistics);
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}

/// Hands on what waits as soon as there is room; `None` when nobody reads any more. Cancelled, nothing has happened.
async fn deliver(events: &mpsc::Sender<Vec<FeedEvent>>, intake: &mut Intake) -> Option<Delivered> {
    let room = events.reserve().await.ok()?;
    let (batch, delivered) = intake.take();
    room.send(batch);
    Some(delivered)
}
