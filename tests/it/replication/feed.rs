//! A source under test, in the place of a hub: reads events, acknowledges, and remembers what came.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::Client;
use walcast::change::{Acknowledgement, Datum, FeedEvent, Lsn, Operation, TransactionPart};
use walcast::demo::cluster::{Binaries, Cluster};
use walcast::replication::source::{self, Reports, SourceError, SourceSettings, SourceState};
use walcast::replication::wire::{ConnectionConfig, connect_sql};

/// For what should take a second on an idle machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const SLOT: &str = "walcast";

pub(super) fn cluster(settings: &[(&str, &str)]) -> Cluster {
    Cluster::start(Binaries::find().unwrap(), settings).unwrap()
}

pub(super) fn config(url: &str) -> ConnectionConfig {
    ConnectionConfig::parse(url).unwrap()
}

pub(super) async fn sql(cluster: &Cluster) -> Client {
    connect_sql(&config(&cluster.url())).await.unwrap()
}

/// A cluster with the table `t (id int primary key, …)`, its publication and the slot.
pub(super) async fn published_cluster(settings: &[(&str, &str)]) -> (Cluster, Client) {
    let cluster = cluster(settings);
    let client = sql(&cluster).await;
    client
        .batch_execute("create table t (id int primary key, note text); create publication walcast for table t;")
        .await
        .unwrap();
    create_slot(&client).await;
    (cluster, client)
}

pub(super) async fn create_slot(client: &Client) {
    client.execute("select pg_create_logical_replication_slot('walcast', 'pgoutput')", &[]).await.unwrap();
}

/// Polls a query of one boolean until it is true.
pub(super) async fn until(client: &Client, query: &str) {
    let poll = async {
        while !client.query_one(query, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, poll).await.unwrap_or_else(|_| panic!("never true: {query}"));
}

pub(super) struct Feed {
    events: mpsc::Receiver<Vec<FeedEvent>>,
    pub(super) acknowledged: watch::Sender<Acknowledgement>,
    pub(super) state: watch::Receiver<SourceState>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), SourceError>>,
    /// Every part, in order.
    pub(super) parts: Vec<TransactionPart>,
    /// Everything else, in order.
    pub(super) others: Vec<FeedEvent>,
}

impl Feed {
    pub(super) fn start(cluster: &Cluster) -> Self {
        Self::with(SourceSettings::new(config(&cluster.url()), SLOT, "walcast"))
    }

    pub(super) fn with(settings: SourceSettings) -> Self {
        let (sender, events) = mpsc::channel(1);
        let (acknowledged, acknowledgements) = watch::channel(Acknowledgement::default());
        let (states, state) = watch::channel(SourceState::default());
        let reports = Reports { state: states, ..Reports::default() };
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _dropped_or_sent = stopped.await;
        };
        let task = tokio::spawn(source::run(settings, sender, acknowledgements, reports, shutdown));
        Self { events, acknowledged, state, stop, task, parts: Vec::new(), others: Vec::new() }
    }

    /// Reads until `done`.
    pub(super) async fn read_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let read = async {
            while !done(self) {
                let Some(batch) = self.events.recv().await else { panic!("the source ended, waiting for {what}") };
                for event in batch {
                    match event {
                        FeedEvent::Part(part) => self.parts.push(part),
                        other => self.others.push(other),
                    }
                }
            }
        };
        timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("never came: {what}; state {:?}", self.state.borrow()));
    }

    /// Reads until as many rows were inserted, and checks that none came twice.
    pub(super) async fn read_inserts(&mut self, count: usize) -> Vec<i32> {
        self.read_until("inserts", |feed| feed.inserted().len() >= count).await;
        let ids = self.inserted();
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), ids.len(), "a row came twice");
        ids
    }

    pub(super) fn inserted(&self) -> Vec<i32> {
        let changes = self.parts.iter().flat_map(|part| &part.changes);
        changes.filter_map(|change| inserted_id(&change.operation)).collect()
    }

    pub(super) async fn wait_for(&mut self, what: &str, state: impl Fn(&SourceState) -> bool) -> SourceState {
        let wait = async {
            loop {
                tokio::select! {
                    seen = self.state.wait_for(|now| state(now)) => return seen.unwrap().clone(),
                    batch = self.events.recv() => {
                        let Some(batch) = batch else { panic!("the source ended, waiting for {what}") };
                        for event in batch {
                            match event {
                                FeedEvent::Part(part) => self.parts.push(part),
                                other => self.others.push(other),
                            }
                        }
                    }
                }
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("state never reached: {what}"))
    }

    pub(super) async fn caught_up(&mut self) {
        self.wait_for("caught up", |state| *state == SourceState::Streaming).await;
    }

    pub(super) fn losses(&self) -> Vec<&str> {
        let losses = self.others.iter().filter_map(|event| match event {
            FeedEvent::Lost { reason } => Some(reason.as_str()),
            _ => None,
        });
        losses.collect()
    }

    pub(super) fn connections(&self) -> usize {
        self.others.iter().filter(|event| matches!(event, FeedEvent::Connected { .. })).count()
    }

    /// Transactions come in the order of their commits, each from its first part to its last.
    pub(super) fn assert_order(&self) {
        let mut previous = (Lsn::ZERO, 0);
        for part in &self.parts {
            for change in &part.changes {
                let position = (part.header.commit_lsn, change.ordinal);
                assert!(position > previous, "{position:?} after {previous:?}");
                let expected = if position.0 == previous.0 { previous.1 + 1 } else { 1 };
                assert_eq!(change.ordinal, expected, "a hole in transaction {}", part.header.commit_lsn);
                previous = position;
            }
        }
    }

    /// How the task ends by itself.
    pub(super) async fn outcome(self) -> Result<(), SourceError> {
        timeout(PATIENCE, self.task).await.unwrap().unwrap()
    }

    /// How the task ends when the hub is gone.
    pub(super) async fn outcome_unread(self) -> Result<(), SourceError> {
        drop(self.events);
        timeout(PATIENCE, self.task).await.unwrap().unwrap()
    }

    pub(super) async fn stop(mut self) {
        self.stop.send(()).unwrap();
        let drain = async { while self.events.recv().await.is_some() {} };
        timeout(PATIENCE, drain).await.unwrap();
        self.task.await.unwrap().unwrap();
        assert_eq!(*self.state.borrow(), SourceState::Stopped);
    }
}

fn inserted_id(operation: &Operation) -> Option<i32> {
    let Operation::Insert { new } = operation else { return None };
    match new.get(0) {
        Some(Datum::Text(text)) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}
