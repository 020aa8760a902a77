//! One connection's life: from the checks before it streams to its orderly end.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_postgres::Client;

use super::changes::Observation;
use super::continuity;
use super::gauge;
use super::intake::Connected;
use super::lookout::{self, Sighting, Subject};
use super::prerequisites::{self, Ready};
use super::sight;
use super::{Failure, Source, SourceSettings, SourceState, deliver};
use crate::change::catalogue::TypeDefinition;
use crate::change::feed::FeedSystem;
use crate::change::{Acknowledgement, Ancestor, Lsn, Oid, PgTimestamp, TableHole};
use crate::replication::catalogue;
use crate::replication::publication::{Look, Notebook, Notes, Suspicion};
use crate::replication::wire::{
    ConnectionConfig, ReplicationClient, ReplicationMessage, ReplicationStream, StartReplication, StatusUpdate,
    SystemIdentity, WireError, alter_failover, connect_sql,
};

/// How long a stop waits for the transaction that is just arriving; it comes again whole after a restart.
pub const SHUTDOWN_BOUNDARY: Duration = Duration::from_secs(2);
/// How long a stop waits for Postgres to take its leave; without it nothing is lost but a tidy log.
pub const FINISH_LIMIT: Duration = Duration::from_secs(1);
/// A look-up of types takes milliseconds; while it lasts the stream stands still.
pub const TYPE_LOOKUP_LIMIT: Duration = Duration::from_secs(10);
/// What is sent so long after its commit is a backlog: a millisecond more is nothing to whoever waits for it.
const BACKLOG: Duration = Duration::from_millis(100);
/// In bytes: a read that has brought less of a backlog has found the socket all but empty.
const GATHERED: usize = 16 * 1024;
/// What a walsender writes meanwhile fits into the socket's buffer, a Unix socket's with its some 200 messages, too: it
/// is not to wait for us.
const GATHERING: Duration = Duration::from_micros(100);

impl Source {
    /// Connects and streams. `Ok`: it was asked to stop.
    pub(super) async fn session<F: Future<Output = ()>>(&mut self, mut shutdown: Pin<&mut F>) -> Result<(), Failure> {
        let mut streaming = tokio::select! {
            streaming = self.open() => streaming?,
            () = shutdown.as_mut() => return Ok(()),
        };
        match streaming.run(shutdown).await {
            Ok(()) => streaming.stop().await,
            Err(Failure::Promoted) => return Err(streaming.promoted().await),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<Streaming<'_>, Failure> {
        let connection = self.settings.connection.clone();
        let (slot, publication) = (self.settings.slot.clone(), self.settings.publication.clone());
        let sql = connect_sql(&connection).await?;
        let sample = gauge::sample(&sql, &slot).await;
        // Changes come all the same.
        let sample = sample.inspect_err(|error| tracing::warn!(%error, slot, "the slot can't be watched over")).ok();
        self.statistics.server = sample;
        self.wait_for_slot(&sql).await?;
        let ready = match prerequisites::check(&sql, connection.database(), &slot, &publication).await? {
            Err(lost) if self.makes_another(&lost) => {
                self.recreate(&sql, lost).await?;
                prerequisites::check(&sql, connection.database(), &slot, &publication).await??
            }
            found => found?,
        };
        let mut replication = ReplicationClient::connect(&connection).await?;
        let server = replication.identify_system().await?;
        let ancestry = ancestry(&mut replication, server.timeline).await?;
        let start = self.resume(server, ready.confirmed_flush, &ancestry);
        self.ask_for_copies(&mut replication, &ready).await?;
        let system = FeedSystem { system_id: server.system_id, timeline: server.timeline };
        let subject = self.subject(&ready, system);
        let notebook = Notebook::open(&sql, &slot, system, ready.failover).await?;
        self.say_what_is_not_noted(notebook.as_ref(), ready.settings.in_recovery);
        let doubt = if start.is_in_doubt() { sight::newest_id(&sql).await? } else { None };
        if doubt.is_some() {
            tracing::warn!(
                slot, %start,
                "the slot has passed commits that nobody may see yet: no snapshot is given before all transactions have \
                 ended that are in progress"
            );
        }
        let observation = lookout::first(&sql, &subject, notebook.as_ref(), self.intake.look()).await?;
        let labels = observation.look.enum_labels();
        let relations = observation.look.relations.clone();
        let tables = relations.len();
        let command = StartReplication { slot: &slot, start, publications: std::slice::from_ref(&publication) };
        let stream = replication.start_replication(&command).await?;
        self.started = true;
        let timeout = ready.settings.wal_sender_timeout_millis;
        self.intake.connected(Connected {
            system,
            ancestry,
            start,
            flush: server.flush,
            confirmed_flush: ready.confirmed_flush,
            relations,
            doubt,
            status_interval: status_interval(self.settings.status_interval, timeout),
        });
        self.intake.labels(labels);
        tracing::info!(
            slot, publication, tables, server = %connection, %start, flush = %server.flush, timeline = server.timeline,
            "streaming"
        );
        self.state.send_replace(SourceState::CatchingUp);
        self.streams(server.flush, sample);
        let lookout = Lookout::start(subject, observation.look.clone(), notebook);
        self.look(observation);
        Ok(Streaming::new(self, stream, lookout, ready.settings.in_recovery, server.flush))
    }

    fn subject(&self, ready: &Ready, system: FeedSystem) -> Subject {
        let SourceSettings { connection, slot, publication, wal_budget, .. } = &self.settings;
        Subject {
            connection: connection.clone(),
            slot: slot.clone(),
            publication: publication.clone(),
            wal_budget: *wal_budget,
            in_recovery: ready.settings.in_recovery,
            system,
            is_copied: ready.failover,
        }
    }

    fn say_what_is_not_noted(&self, notebook: Option<&Notebook>, in_recovery: bool) {
        if notebook.is_none() && !in_recovery && !self.started {
            tracing::warn!(
                slot = self.settings.slot,
                "walcast.slots can't be written: after a restart, clients of tables that were altered within the replay \
                 window have to resync once more, and tables that went while no gateway ran are not noticed. Run \
                 `walcast setup`, then `grant usage on schema walcast` and \
                 `grant select, insert, update on walcast.slots` to this role"
            );
        }
    }

    /// Makes a slot that standbys do not copy one that they do, where that is wanted: it is idle now.
    async fn ask_for_copies(&self, replication: &mut ReplicationClient, ready: &Ready) -> Result<(), WireError> {
        let SourceSettings { slot, failover, .. } = &self.settings;
        if !failover || ready.failover || ready.settings.in_recovery {
            return Ok(());
        }
        match replication.simple_query(&alter_failover(slot)).await {
            Ok(_) => tracing::info!(slot, "standbys copy the slot from now on (failover)"),
            // Changes come all the same; what a failover would cost then is told by `check`, and here.
            Err(error @ WireError::Server(_)) => {
                tracing::warn!(slot, %error, "standbys don't copy the slot: after a failover everyone has to resync");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Says what was noticed, and hands it on when its time has come.
    fn look(&mut self, observation: Observation) {
        for Suspicion { hole: TableHole { schema, name, reason }, .. } in &observation.suspicions {
            tracing::warn!(%schema, table = %name, reason, "a published table was altered: what no change tells of it is a hole");
        }
        self.intake.looked(observation);
    }

    /// Where to stream from: behind what was handed on, or where the slot is when that can't be continued.
    fn resume(&mut self, server: SystemIdentity, confirmed_flush: Lsn, ancestry: &[Ancestor]) -> Lsn {
        match self.intake.resume(server, confirmed_flush, ancestry) {
            Ok(start) => start,
            Err(discontinuity) => {
                self.lose(&discontinuity.to_string());
                confirmed_flush
            }
        }
    }
}

/// A third of the server's patience, so that one update may be late; ours where the server's is unlimited.
fn status_interval(own: Duration, wal_sender_timeout_millis: u64) -> Duration {
    match wal_sender_timeout_millis {
        0 => own,
        millis => own.min(Duration::from_millis(millis / 3)),
    }
}

/// The task that looks at the publication; it ends with this.
struct Lookout {
    sightings: mpsc::Receiver<Sighting>,
    notes: watch::Sender<Notes>,
    _task: JoinSet<()>,
}

impl Lookout {
    fn start(subject: Subject, last: Look, notebook: Option<Notebook>) -> Self {
        let (sender, sightings) = mpsc::channel(1);
        let (notes, to_be_noted) = watch::channel(Notes::default());
        let mut task = JoinSet::new();
        task.spawn(lookout::run(subject, last, notebook, to_be_noted, sender));
        Self { sightings, notes, _task: task }
    }
}

/// A connection that streams, and what it streams for.
struct Streaming<'a> {
    source: &'a mut Source,
    stream: ReplicationStream,
    lookout: Lookout,
    /// The server was a standby when the connection was made.
    in_recovery: bool,
    /// The server's WAL flush position when the connection was made.
    flush: Lsn,
    /// The last keepalive that asked for a reply and got one.
    answered: Option<Lsn>,
    /// There is a backlog, of which the last read brought so little that the next one would have to wait.
    is_ahead_of_sender: bool,
    /// How long after its commit the latest transaction was sent.
    lateness: Duration,
    /// Ends when a status update is due; made once, since the timer is asked for at every step.
    status_due: Pin<Box<Sleep>>,
}

/// What happens next.
enum Step {
    Shutdown,
    StatusDue,
    Acknowledged(Acknowledgement),
    Delivered(Option<super::Delivered>),
    Saw(Sighting),
    Received(Result<ReplicationMessage, WireError>),
}

impl<'a> Streaming<'a> {
    fn new(source: &'a mut Source, stream: ReplicationStream, lookout: Lookout, in_recovery: bool, flush: Lsn) -> Self {
        Self {
            source,
            stream,
            lookout,
            in_recovery,
            flush,
            answered: None,
            is_ahead_of_sender: false,
            lateness: Duration::ZERO,
            status_due: Box::pin(sleep(Duration::ZERO)),
        }
    }

    /// Streams until the connection ends, or `shutdown` and then a transaction does.
    async fn run<F: Future<Output = ()>>(&mut self, mut shutdown: Pin<&mut F>) -> Result<(), Failure> {
        let mut deadline = None;
        loop {
            self.gather().await;
            if let Some(notes) = self.source.intake.take_notes() {
                self.lookout.notes.send_replace(notes);
            }
            let stopping = deadline.is_some();
            if stopping && self.is_at_boundary() {
                return Ok(());
            }
            match self.step(shutdown.as_mut(), deadline).await {
                Step::Shutdown if stopping => {
                    tracing::warn!("stopping with a transaction under way: it comes again after the next start");
                    return Ok(());
                }
                Step::Shutdown => deadline = Some(Instant::now() + SHUTDOWN_BOUNDARY),
                Step::StatusDue => {
                    self.source.publish_statistics();
                    self.send_status().await?;
                }
                Step::Acknowledged(acknowledgement) => self.source.intake.acknowledgeable(acknowledgement),
                Step::Delivered(batch) => self.delivered(batch.ok_or(Failure::FeedClosed)?),
                Step::Saw(Sighting::Publication(observation)) => self.source.look(observation),
                Step::Saw(Sighting::Server(sample)) => {
                    self.source.sampled(sample);
                    if let Some(restart) = sample.slot.and_then(|slot| slot.restart) {
                        self.source.intake.slot_begins(restart);
                    }
                    if self.in_recovery && !sample.in_recovery {
                        return Err(Failure::Promoted);
                    }
                }
                Step::Saw(Sighting::Snapshot(visibility)) => self.source.intake.seen(visibility),
                Step::Saw(Sighting::Labels(labels)) => self.source.intake.labels(labels),
                Step::Received(message) => self.receive(message?).await?,
            }
        }
    }

    /// Waits for the first thing that there is to do. Cancelled branches have done nothing.
    async fn step<F: Future<Output = ()>>(&mut self, shutdown: Pin<&mut F>, deadline: Option<Instant>) -> Step {
        self.set_status_due();
        let wants_more = deadline.is_none() || self.source.intake.in_transaction();
        let Source { events, acknowledged, intake, .. } = &mut *self.source;
        let (is_empty, has_room) = (intake.is_empty(), intake.has_room());
        let stop = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => shutdown.await,
            }
        };
        tokio::select! {
            biased;
            () = stop => Step::Shutdown,
            () = self.status_due.as_mut() => Step::StatusDue,
            Ok(()) = acknowledged.changed() => Step::Acknowledged(*acknowledged.borrow_and_update()),
            delivered = deliver(events, intake), if !is_empty => Step::Delivered(delivered),
            () = events.closed(), if is_empty => Step::Delivered(None),
            Some(sighting) = self.lookout.sightings.recv() => Step::Saw(sighting),
            message = self.stream.next(), if has_room && wants_more => Step::Received(message),
        }
    }

    /// While a backlog is fetched, what is about to come is let come together: nobody waits for a single change of it,
    /// and a walsender that has to wake a reader for each message, and a reader that has to be woken, do little else.
    /// The thread itself sleeps, since the runtime would be woken by each message, and knows no time so short.
    async fn gather(&mut self) {
        if !self.is_ahead_of_sender || !self.source.intake.is_empty() {
            return;
        }
        self.is_ahead_of_sender = false;
        // First those on this thread have their turn who were handed what came before.
        yield_now().await;
        std::thread::sleep(GATHERING);
    }

    fn is_at_boundary(&self) -> bool {
        !self.source.intake.in_transaction() && self.source.intake.is_empty()
    }

    fn delivered(&mut self, batch: super::Delivered) {
        self.source.delivered(batch);
        let reached = self.source.intake.position().is_some_and(|position| position.end >= self.flush);
        if reached && *self.source.state.borrow() == SourceState::CatchingUp {
            tracing::info!(slot = self.source.settings.slot, flush = %self.flush, "caught up");
            self.source.state.send_replace(SourceState::Streaming);
            self.source.caught_up();
        }
    }

    /// Takes a message and all those that came with it, as far as the outbox has room.
    async fn receive(&mut self, first: ReplicationMessage) -> Result<(), Failure> {
        let (mut next, mut size) = (Some(first), 0);
        while let Some(message) = next {
            match message {
                ReplicationMessage::XLogData { wal_end, sent_at, data, .. } => {
                    size += data.len();
                    self.decode(wal_end, data).await?;
                    self.lateness = self.source.intake.lateness(sent_at).unwrap_or(self.lateness);
                }
                ReplicationMessage::Keepalive { wal_end, reply_requested } => {
                    self.keepalive(wal_end, reply_requested).await?;
                }
            }
            next = if self.source.intake.has_room() { self.stream.next_buffered()? } else { None };
        }
        self.is_ahead_of_sender = size < GATHERED && self.lateness > BACKLOG;
        Ok(())
    }

    async fn decode(&mut self, wal_end: Lsn, data: Bytes) -> Result<(), Failure> {
        self.source.statistics.received_bytes += data.len() as u64;
        let mut wanted = self.source.intake.message(wal_end, data)?;
        while !wanted.is_empty() {
            let definitions = self.look_up(&wanted).await?;
            wanted = self.source.intake.define_types(definitions)?;
        }
        if let Some((messages, reason)) = self.source.intake.take_unreadable() {
            tracing::warn!(messages, %reason, "messages by pg_logical_emit_message are no broadcasts, and nobody gets them");
        }
        Ok(())
    }

    /// Asks the catalogue, on a connection of its own, because this one streams. Status updates go out meanwhile.
    async fn look_up(&mut self, oids: &[Oid]) -> Result<Vec<TypeDefinition>, WireError> {
        let connection = self.source.settings.connection.clone();
        let mut answer = std::pin::pin!(timeout(TYPE_LOOKUP_LIMIT, definitions(&connection, oids)));
        loop {
            self.set_status_due();
            tokio::select! {
                answer = &mut answer => {
                    let action = "look up types".to_owned();
                    return answer.unwrap_or(Err(WireError::TimedOut { action, limit: TYPE_LOOKUP_LIMIT }));
                }
                () = self.status_due.as_mut() => self.send_status().await?,
            }
        }
    }

    async fn keepalive(&mut self, wal_end: Lsn, reply_requested: bool) -> Result<(), Failure> {
        self.source.intake.keepalive(wal_end, reply_requested);
        if !reply_requested {
            return Ok(());
        }
        // Asked again though it knows that we have all: the server waits for our flush position, which it does before
        // it shuts down. What the slot is to keep for us must not keep a server up: without a flush position it is
        // content with what was received.
        let content_with_write = self.answered.replace(wal_end) == Some(wal_end);
        let mut status = self.status();
        if content_with_write {
            status.flush = Lsn::ZERO;
        }
        self.stream.send_status(status, pg_now()).await.map_err(Failure::from)
    }

    fn set_status_due(&mut self) {
        let Source { intake, epoch, .. } = &*self.source;
        let due = intake.next_status().map_or_else(|| Instant::now() + super::STATUS_INTERVAL, |due| *epoch + due);
        if self.status_due.deadline() != due {
            self.status_due.as_mut().reset(due);
        }
    }

    fn status(&mut self) -> StatusUpdate {
        let now = self.source.now();
        let status = self.source.intake.status(now);
        status.map_or(StatusUpdate { write: Lsn::ZERO, flush: Lsn::ZERO, apply: Lsn::ZERO }, |status| StatusUpdate {
            write: status.write,
            flush: status.flush,
            apply: status.apply,
        })
    }

    async fn send_status(&mut self) -> Result<(), WireError> {
        let status = self.status();
        self.stream.send_status(status, pg_now()).await
    }

    /// The walsender of a standby goes on when that is promoted, without a word. So what it sent after the timelines
    /// parted has come under the name of the old one, and another connection could not tell it from what the promotion
    /// abandoned: this one can, since it is the same server's.
    async fn promoted(self) -> Failure {
        let identified = async {
            let mut replication = self.stream.end().await?;
            replication.identify_system().await
        };
        match timeout(FINISH_LIMIT, identified).await {
            Ok(Ok(server)) => {
                let system = FeedSystem { system_id: server.system_id, timeline: server.timeline };
                self.source.intake.promoted(system);
                Failure::Promoted
            }
            Ok(Err(error)) => error.into(),
            Err(_late) => WireError::TimedOut { action: "end the stream".to_owned(), limit: FINISH_LIMIT }.into(),
        }
    }

    /// The last acknowledgement and a polite end. What does not work any more comes again after the next start.
    async fn stop(mut self) {
        if self.source.acknowledged.has_changed().unwrap_or(false) {
            let acknowledged = *self.source.acknowledged.borrow_and_update();
            self.source.intake.acknowledgeable(acknowledged);
        }
        let status = self.status();
        let last = async {
            self.stream.send_status(status, pg_now()).await?;
            self.stream.finish().await
        };
        match timeout(FINISH_LIMIT, last).await {
            Ok(Ok(())) => tracing::info!(acknowledged = %status.flush, "replication stopped"),
            Ok(Err(error)) => tracing::warn!(%error, "replication stopped, not in order"),
            Err(_late) => tracing::warn!(limit = ?FINISH_LIMIT, "replication stopped without waiting for Postgres"),
        }
    }
}

/// The timelines before the server's: cursors of theirs may still hold.
async fn ancestry(replication: &mut ReplicationClient, timeline: u32) -> Result<Vec<Ancestor>, WireError> {
    match timeline {
        // The first has no history, and no file that would say so.
        ..=1 => Ok(Vec::new()),
        _ => Ok(continuity::ancestry(&replication.timeline_history(timeline).await?)),
    }
}

async fn definitions(connection: &ConnectionConfig, oids: &[Oid]) -> Result<Vec<TypeDefinition>, WireError> {
    let client: Client = connect_sql(connection).await?;
    catalogue::type_definitions(&client, oids).await
}

/// The time as status updates carry it; a clock before 2000 counts as 2000.
fn pg_now() -> PgTimestamp {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = i64::try_from(unix.as_micros()).unwrap_or(i64::MAX);
    PgTimestamp::from_micros(micros - PgTimestamp::UNIX_EPOCH_OFFSET_SECONDS * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_updates_come_three_times_within_the_servers_patience() {
        let own = Duration::from_secs(10);
        assert_eq!(status_interval(own, 60_000), own);
        assert_eq!(status_interval(own, 2_000), Duration::from_millis(666));
        assert_eq!(status_interval(own, 0), own);
    }
}
