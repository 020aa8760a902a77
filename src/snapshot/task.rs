//! The task that carries out the hub's orders, a bounded number at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;

use crate::hub::{LEAD_PARTS, SnapshotCommand, SnapshotEvent, SnapshotFailure, SnapshotId, SnapshotRequest};
use crate::replication::wire::ConnectionConfig;

pub use super::parts::PartSize;

use super::error::SnapshotError;
use super::meter::Meter;
use super::read;

/// What snapshots are taken of, and what they may cost.
#[derive(Debug, Clone)]
pub struct Settings {
    pub connection: ConnectionConfig,
    pub publication: String,
    /// Queries at a time, each with a connection of its own.
    pub concurrent: usize,
    /// The most rows of one snapshot.
    pub rows_max: u64,
    pub part: PartSize,
    /// A column's value that is longer, in bytes, is left out and named in `omitted`.
    pub value_limit: usize,
}

/// Runs until the hub has let go of its end.
///
/// Never waits for the hub before it takes a command: the hub may be waiting for that.
pub async fn run(
    settings: Settings,
    mut commands: mpsc::Receiver<SnapshotCommand>,
    events: mpsc::Sender<SnapshotEvent>,
    meter: Arc<Meter>,
) {
    let mut service = Service {
        settings: Arc::new(settings),
        events,
        meter,
        waiting: VecDeque::new(),
        running: HashMap::new(),
        tasks: JoinSet::new(),
    };
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => service.take(command),
                None => return,
            },
            Some(ended) = service.tasks.join_next() => service.ended(ended),
        }
        service.begin_next();
        service.meter.set(service.running.len(), service.waiting.len());
    }
}

struct Service {
    settings: Arc<Settings>,
    events: mpsc::Sender<SnapshotEvent>,
    meter: Arc<Meter>,
    waiting: VecDeque<SnapshotRequest>,
    running: HashMap<SnapshotId, Running>,
    /// Each ends with its snapshot's number.
    tasks: JoinSet<SnapshotId>,
}

struct Running {
    wanted: Arc<Semaphore>,
    task: AbortHandle,
}

impl Service {
    fn take(&mut self, command: SnapshotCommand) {
        match command {
            SnapshotCommand::Begin(request) => self.waiting.push_back(request),
            SnapshotCommand::More(id) => {
                if let Some(running) = self.running.get(&id) {
                    running.wanted.add_permits(1);
                }
            }
            SnapshotCommand::End(id) => {
                self.waiting.retain(|request| request.id != id);
                if let Some(running) = self.running.remove(&id) {
                    running.task.abort();
                }
            }
        }
    }

    fn begin_next(&mut self) {
        while self.running.len() < self.settings.concurrent
            && let Some(request) = self.waiting.pop_front()
        {
            let (id, wanted) = (request.id, Arc::new(Semaphore::new(LEAD_PARTS)));
            let (settings, events) = (Arc::clone(&self.settings), self.events.clone());
            let meter = Arc::clone(&self.meter);
            let task = self.tasks.spawn(take_snapshot(settings, request, events, Arc::clone(&wanted), meter));
            self.running.insert(id, Running { wanted, task });
        }
    }

    fn ended(&mut self, ended: Result<SnapshotId, JoinError>) {
        match ended {
            Ok(id) => {
                self.running.remove(&id);
            }
            Err(error) if error.is_panic() => {
                let task = error.id();
                tracing::error!(%error, "taking a snapshot ended by itself, which is a bug");
                let ids = self.running.iter().filter(|(_, running)| running.task.id() == task).map(|(id, _)| *id);
                if let Some(id) = ids.collect::<Vec<_>>().pop() {
                    self.tasks.spawn(fail(self.events.clone(), id, SnapshotFailure::Failed));
                }
            }
            // It was no longer wanted.
            Err(_) => {}
        }
    }
}

async fn take_snapshot(
    settings: Arc<Settings>,
    request: SnapshotRequest,
    events: mpsc::Sender<SnapshotEvent>,
    wanted: Arc<Semaphore>,
    meter: Arc<Meter>,
) -> SnapshotId {
    let began = Instant::now();
    match read::read(&settings, &request, events.clone(), wanted).await {
        Ok(read::Summary { rows, parts }) => {
            tracing::debug!(rows, parts, elapsed = ?began.elapsed(), "a snapshot was taken");
            meter.taken(rows);
            request.id
        }
        Err(error) => {
            tracing::warn!(%error, elapsed = ?began.elapsed(), "a snapshot came to nothing");
            meter.failed(&error);
            let failure = match error {
                SnapshotError::TooLarge { .. } => SnapshotFailure::TooLarge,
                _ => SnapshotFailure::Failed,
            };
            fail(events, request.id, failure).await
        }
    }
}

async fn fail(events: mpsc::Sender<SnapshotEvent>, id: SnapshotId, failure: SnapshotFailure) -> SnapshotId {
    // A hub that is gone is a process that is ending.
    let _gone = events.send(SnapshotEvent::Failed { id, failure }).await;
    id
}
