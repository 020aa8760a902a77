//! The task that carries out requests, a bounded number at a time.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::Client;

use crate::replication::wire::{ConnectionConfig, connect_sql};
use crate::routing::{Claims, WritableRoute};

use super::failure::Failure;
use super::outcome::{Outcome, Refusal};
use super::prune;
use super::transaction::Job;

/// How often a request is tried when others are in its way or its connection is lost: deadlocks and failed
/// serializations are rare, and rarer the second time.
const ATTEMPTS_MAX: u32 = 4;
/// A connection that is not used for longer is closed: most hours of most days have few writes.
const IDLE: Duration = Duration::from_secs(60);

/// What is written, where, and what it may cost.
#[derive(Debug, Clone)]
pub struct Settings {
    pub connection: ConnectionConfig,
    pub publication: String,
    /// As the configuration has them now.
    pub routes: watch::Receiver<Arc<[WritableRoute]>>,
    /// Clients show tokens: no write has the gateway's own rights.
    pub identified: bool,
    pub limits: WriteLimits,
}

/// The bounds of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteLimits {
    /// Transactions at a time, each with a connection of its own.
    pub connections: usize,
    /// Changes in one request.
    pub changes: usize,
    /// For one request from when it came, and for each of its statements.
    pub timeout: Duration,
    /// For other transactions' locks.
    pub lock_timeout: Duration,
    /// How long outcomes are remembered.
    pub retention: Duration,
}

/// A client's request, and who is to have the answer.
#[derive(Debug)]
pub struct Request {
    pub shard: usize,
    /// The shard's own.
    pub number: u32,
    pub topic: String,
    pub claims: Claims,
    pub payload: Box<RawValue>,
}

/// A request and when it began to wait.
pub type Queued = (Instant, Request);

/// To a [`Request`], each exactly one.
#[derive(Debug)]
pub struct Answer {
    pub number: u32,
    pub outcome: Outcome,
}

/// Runs until nobody can ask any more and everything asked is answered; `answers` by shard. Returns early only where a
/// part of it has failed for good.
pub async fn run(settings: Settings, requests: mpsc::Receiver<Queued>, answers: Vec<mpsc::Sender<Answer>>) {
    let service = Arc::new(Service { settings, requests: Mutex::new(requests), answers });
    let mut workers = JoinSet::new();
    for _ in 0..service.settings.limits.connections {
        workers.spawn(worker(Arc::clone(&service)));
    }
    let all_answered = async {
        while let Some(ended) = workers.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a part that writes ended by itself, which is a bug");
                return;
            }
        }
    };
    tokio::select! {
        () = all_answered => {}
        () = prune::run(&service.settings) => {}
    }
}

struct Service {
    settings: Settings,
    requests: Mutex<mpsc::Receiver<Queued>>,
    answers: Vec<mpsc::Sender<Answer>>,
}

/// Takes one request after the other, with a connection that is opened for the first.
async fn worker(service: Arc<Service>) {
    let mut client: Option<Client> = None;
    loop {
        let next = timeout(IDLE, async { service.requests.lock().await.recv().await }).await;
        let (since, request) = match next {
            Ok(Some(queued)) => queued,
            Ok(None) => return,
            Err(_idle) => {
                client = None;
                continue;
            }
        };
        let outcome = service.settings.answer(&request, since, &mut client).await;
        if let Some(shard) = service.answers.get(request.shard) {
            // A shard that is gone is a process that is ending.
            let _gone = shard.send(Answer { number: request.number, outcome }).await;
        }
    }
}

impl Settings {
    async fn answer(&self, request: &Request, since: Instant, client: &mut Option<Client>) -> Outcome {
        if since.elapsed() >= self.limits.timeout {
            // Who asked has given up by now, or is about to.
            return Outcome::busy();
        }
        let routes = Arc::clone(&self.routes.borrow());
        let job = match Job::new(self, &routes, request) {
            Ok(job) => job,
            Err(outcome) => return outcome,
        };
        let outcome = timeout_at(since + self.limits.timeout, self.attempt_all(&job, client)).await;
        let outcome = outcome.unwrap_or_else(|_| {
            // Whatever it is in the middle of: the server notices, and the outcome, if there is one, is remembered.
            *client = None;
            Refusal::Timeout.into()
        });
        let done = matches!(outcome, Outcome::Done(_));
        tracing::debug!(topic = request.topic, done, elapsed = ?since.elapsed(), "a client's write");
        outcome
    }

    /// What was done is remembered, so that trying again is safe whatever became of the attempt before.
    async fn attempt_all(&self, job: &Job<'_>, client: &mut Option<Client>) -> Outcome {
        for _ in 1..ATTEMPTS_MAX {
            match self.attempt(job, client).await {
                Err(error @ Failure::Again { .. }) => tracing::debug!(%error, "a write is tried again"),
                ended => return conclude(ended),
            }
        }
        conclude(self.attempt(job, client).await)
    }

    async fn attempt(&self, job: &Job<'_>, client: &mut Option<Client>) -> Result<Outcome, Failure> {
        // A connection that an earlier attempt left in the middle of something is not used again.
        let own = match client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => connect_sql(&self.connection).await.map_err(Failure::Connect)?,
        };
        let ended = job.run(&own).await;
        let clean = match &ended {
            Ok(_) => true,
            Err(Failure::Refused(_)) => own.batch_execute("rollback").await.is_ok(),
            Err(_) => false,
        };
        *client = clean.then_some(own);
        ended
    }
}

fn conclude(ended: Result<Outcome, Failure>) -> Outcome {
    match ended {
        Ok(outcome) => outcome,
        Err(Failure::Refused(refusal)) => refusal.into(),
        Err(error @ Failure::Again { .. }) => {
            tracing::warn!(%error, "a write came to nothing, again and again");
            Refusal::Busy.into()
        }
        Err(error) => {
            tracing::error!(%error, "a write came to nothing");
            Refusal::Unavailable.into()
        }
    }
}
