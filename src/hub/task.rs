//! The hub's owner: the one task that feeds its state and passes on what it says.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::change::{Acknowledgement, FeedEvent};

use crate::routing::RouteId;

use super::{Command, Configured, Hub, Inspection, SnapshotCommand, SnapshotEvent, Statistics, ToShard};

/// Commands taken at a time, so that a burst of joins costs the feed one turn and not one each.
const COMMANDS_A_TURN: usize = 256;
/// How often a route that makes holes is spoken of.
const HOLES_INTERVAL: Duration = Duration::from_secs(10);
/// Topics in one answer to an operator: a page that people read.
const INSPECTED_MAX: usize = 200;
/// How often the log looks at its window when nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// An operator looks for topics whose names contain `search`.
#[derive(Debug)]
pub struct Inspect {
    pub search: String,
    pub answer: oneshot::Sender<Inspection>,
}

/// The hub's ends of its channels. Each is bounded: a full shard makes the hub wait, a waiting hub makes
/// replication wait, and Postgres is the buffer.
pub struct HubTask {
    pub hub: Hub,
    pub feed: mpsc::Receiver<Vec<FeedEvent>>,
    pub commands: mpsc::Receiver<Command>,
    /// From those who read snapshots' rows, and to them. They never wait for the hub before they take a command.
    pub snapshots: mpsc::Receiver<SnapshotEvent>,
    pub snapshot_commands: mpsc::Sender<SnapshotCommand>,
    /// The routes and channels, whenever others take over.
    pub configured: watch::Receiver<Configured>,
    /// By shard number.
    pub shards: Vec<mpsc::Sender<Vec<ToShard>>>,
    /// What replication may acknowledge.
    pub acknowledged: watch::Sender<Acknowledgement>,
    pub caught_up: watch::Sender<bool>,
    /// How the hub is doing, once a second.
    pub statistics: watch::Sender<Statistics>,
    pub inspections: mpsc::Receiver<Inspect>,
    /// When the operator was last told of a route's holes.
    pub holes_said: HashMap<RouteId, Duration>,
}

impl HubTask {
    /// Runs until replication and every shard have let go of their ends.
    pub async fn run(mut self) {
        let started = Instant::now();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut commands = Vec::with_capacity(COMMANDS_A_TURN);
        let (mut feed_open, mut commands_open, mut reloads) = (true, true, true);
        while feed_open || commands_open {
            tokio::select! {
                taken = self.commands.recv_many(&mut commands, COMMANDS_A_TURN), if commands_open => {
                    commands_open = taken > 0;
                    commands.drain(..).for_each(|command| self.hub.command(command));
                }
                events = self.feed.recv(), if feed_open => match events {
                    Some(events) => self.take(events, started.elapsed()),
                    None => feed_open = false,
                },
                changed = self.configured.changed(), if reloads => match changed {
                    Ok(()) => self.reload(),
                    Err(_) => reloads = false,
                },
                Some(event) = self.snapshots.recv() => self.hub.snapshot(event),
                Some(inspect) = self.inspections.recv() => {
                    // Who has gone away since needs no answer.
                    let _gone = inspect.answer.send(self.hub.inspect(&inspect.search, INSPECTED_MAX));
                }
                _ = tick.tick() => {
                    self.hub.tick(started.elapsed());
                    self.statistics.send_replace(self.hub.statistics(started.elapsed()));
                }
            }
            self.pass_on(started.elapsed()).await;
        }
    }

    fn take(&mut self, events: Vec<FeedEvent>, now: Duration) {
        for event in events {
            let connected = matches!(event, FeedEvent::Connected { .. } | FeedEvent::Published { .. });
            if let FeedEvent::Lost { reason } = &event {
                tracing::error!(reason, "the feed has lost its continuity: every subscriber is told to resync");
            }
            self.hub.feed(event, now);
            if connected {
                self.report_problems();
            }
        }
    }

    fn reload(&mut self) {
        let configured = self.configured.borrow_and_update().clone();
        self.hub.reload(configured);
        self.report_problems();
    }

    fn report_problems(&self) {
        for (relation, problem) in self.hub.problems() {
            tracing::error!(%relation, %problem, "a route can't take this table's changes: its topics must resync");
        }
        for (route, spec) in self.hub.unfed() {
            let (route, table) = (self.hub.number_of(route), &spec.table);
            tracing::error!(
                route, %table,
                "the publication does not give this route's table: its topics can't be joined until `walcast setup` \
                 has been run"
            );
        }
    }

    fn report_malformed(&mut self) {
        let malformed = self.hub.take_malformed();
        if let Some(first) = malformed.first() {
            // One line for a batch: a type that was altered makes every row of it say the same.
            let (relation, value, values) = (&first.relation, &first.value, malformed.len());
            tracing::warn!(
                %relation, %value, values,
                "values are left out: restart the gateway if their type was altered"
            );
        }
    }

    /// A table that no longer fits its route makes a hole of each change: said when it begins, and now and then.
    fn report_holes(&mut self, now: Duration) {
        for route in self.hub.take_holes() {
            let said = self.holes_said.get(&route).copied();
            if said.is_none_or(|said| now.saturating_sub(said) >= HOLES_INTERVAL) {
                self.holes_said.insert(route, now);
                let route = self.hub.number_of(route);
                tracing::error!(route, "a change could not be routed: the route's topics must resync");
                self.report_problems();
            }
        }
    }

    async fn pass_on(&mut self, now: Duration) {
        self.report_malformed();
        self.report_holes(now);
        for (shard, messages) in self.hub.take_outgoing() {
            if let Some(shard) = self.shards.get(shard.0) {
                // A shard that is gone is a process that is ending.
                let _gone = shard.send(messages).await;
            }
        }
        for command in self.hub.take_snapshot_commands() {
            let _ending = self.snapshot_commands.send(command).await;
        }
        let tail = self.hub.acknowledgement();
        self.acknowledged.send_if_modified(|current| std::mem::replace(current, tail) != tail);
        let caught_up = self.hub.caught_up();
        self.caught_up.send_if_modified(|current| std::mem::replace(current, caught_up) != caught_up);
    }
}
