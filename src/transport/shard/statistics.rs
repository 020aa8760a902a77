//! How a shard is doing, as numbers: plain counters while it works, put together once a second.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::phoenix::{CloseReason, Event, Outgoing, Refusal, Status};
use crate::sync::Outcome;
use crate::transport::wire::Wire;

use super::connection::{Connection, Phase};
use super::state::State;

/// The most connections that are told of one by one.
const SLOW_MAX: usize = 20;
/// Commits that are yet to be written, within a turn: of more than that the rest is not measured.
const UNSENT_MAX: usize = 4096;

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    WebSocket,
    LongPoll,
    Events,
    Rows,
}

impl Transport {
    pub const ALL: [Self; 4] = [Self::WebSocket, Self::LongPoll, Self::Events, Self::Rows];

    /// A stable name for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::LongPoll => "longpoll",
            Self::Events => "sse",
            Self::Rows => "http",
        }
    }
}

impl From<Wire> for Transport {
    fn from(wire: Wire) -> Self {
        match wire {
            Wire::WebSocket(_) | Wire::Deflated(..) => Self::WebSocket,
            Wire::LongPoll(_) => Self::LongPoll,
            Wire::Events => Self::Events,
            Wire::Rows { .. } => Self::Rows,
        }
    }
}

/// Why a subscriber has to begin afresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resync {
    /// The feed has a hole, or was lost.
    Hole,
    /// It reads so slowly that the log no longer has its position, or its snapshot is over.
    Slow,
    /// The cursor that it joined with can't be resumed.
    Cursor,
}

impl Resync {
    pub const ALL: [Self; 3] = [Self::Hole, Self::Slow, Self::Cursor];

    /// A stable name for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hole => "hole",
            Self::Slow => "slow",
            Self::Cursor => "cursor",
        }
    }
}

/// Counts by name: names are of enums, never of clients' making.
pub type Counts = BTreeMap<&'static str, u64>;

/// Counted since the shard began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counters {
    /// Connections, by [`Transport`].
    pub opened: [u64; Transport::ALL.len()],
    /// Closes by the server, by [`CloseReason::name`].
    pub closes: Counts,
    pub joins: u64,
    /// Joins, by [`Refusal::reason`].
    pub refused_joins: Counts,
    /// Clients' events, by [`Refusal::reason`].
    pub refused_events: Counts,
    /// By [`Resync`].
    pub resyncs: [u64; Resync::ALL.len()],
    /// How often a subscription left the live feed for the log because its outbox was full.
    pub falls: u64,
    /// Messages of the feed put into outboxes, one for each subscriber.
    pub messages: u64,
    /// `sync_request`s, by [`Outcome::name`].
    pub writes: Counts,
    /// Events that apps have posted: `done`, or why not.
    pub posts: Counts,
    /// From the commit, by the database's clock, until it was written to the sockets of those who are live.
    pub commit_to_send: Histogram,
}

/// A shard at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    pub counters: Counters,
    /// Open ones, by [`Transport`].
    pub connections: [u64; Transport::ALL.len()],
    pub subscriptions: u64,
    /// Of these, not live.
    pub behind: u64,
    /// Bytes that wait for clients.
    pub outbox_bytes: u64,
    /// The slowest clients, slowest first.
    pub slow: Vec<SlowClient>,
}

impl Statistics {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        add_each(&mut self.connections, &other.connections);
        self.subscriptions += other.subscriptions;
        self.behind += other.behind;
        self.outbox_bytes += other.outbox_bytes;
        self.slow.extend(&other.slow);
        self.keep_slowest();
    }

    fn keep_slowest(&mut self) {
        self.slow.sort_unstable_by_key(|client| std::cmp::Reverse((client.outbox_bytes, client.behind)));
        self.slow.truncate(SLOW_MAX);
    }
}

/// A client that does not take what waits for it. It has no name here: whose it is nobody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowClient {
    pub shard: usize,
    pub connection: usize,
    pub transport: Transport,
    pub outbox_bytes: usize,
    pub subscriptions: usize,
    /// Of these, not live.
    pub behind: usize,
    /// Since it was last heard of.
    pub silent: Duration,
}

/// Upper bounds in seconds. What a healthy gateway does is below the fifth; what people notice, above the eighth.
pub const BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Times, counted by [`BUCKETS`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Histogram {
    /// Each bucket's own, without those below it; the last is of times beyond all bounds.
    pub buckets: [u64; BUCKETS.len() + 1],
    /// In seconds.
    pub sum: f64,
}

impl Histogram {
    pub fn observe(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        let place = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        if let Some(count) = self.buckets.get_mut(place) {
            *count += 1;
        }
        self.sum += seconds;
    }

    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        add_each(&mut self.buckets, &other.buckets);
        self.sum += other.sum;
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Counters {
    fn add(&mut self, other: &Self) {
        add_each(&mut self.opened, &other.opened);
        add_each(&mut self.resyncs, &other.resyncs);
        let by_name = [
            (&mut self.closes, &other.closes),
            (&mut self.refused_joins, &other.refused_joins),
            (&mut self.refused_events, &other.refused_events),
            (&mut self.writes, &other.writes),
            (&mut self.posts, &other.posts),
        ];
        for (counts, more) in by_name {
            more.iter().for_each(|(name, count)| *counts.entry(name).or_default() += count);
        }
        self.joins += other.joins;
        self.falls += other.falls;
        self.messages += other.messages;
        self.commit_to_send.add(&other.commit_to_send);
    }

    pub(super) fn opened(&mut self, wire: Wire) {
        if let Some(count) = self.opened.get_mut(Transport::from(wire) as usize) {
            *count += 1;
        }
    }

    pub(super) fn closed(&mut self, reason: CloseReason) {
        *self.closes.entry(reason.name()).or_default() += 1;
    }

    pub(super) fn refused_join(&mut self, refusal: &Refusal) {
        if *refusal == Refusal::ResyncRequired {
            self.resync(Resync::Cursor);
        }
        *self.refused_joins.entry(refusal.reason()).or_default() += 1;
    }

    /// The joins that the session itself refuses, which nobody else hears of.
    pub(super) fn answered(&mut self, outgoing: &Outgoing) {
        let Event::Reply { status: Status::Error, response, .. } = &outgoing.event else { return };
        let own = [Refusal::TooManyChannels, Refusal::JoinCrashed];
        if let Some(refusal) = own.into_iter().find(|refusal| *response == refusal.response()) {
            self.refused_join(&refusal);
        }
    }

    pub(super) fn posted(&mut self, outcome: &'static str) {
        *self.posts.entry(outcome).or_default() += 1;
    }

    pub(super) fn refused_event(&mut self, refusal: &Refusal) {
        *self.refused_events.entry(refusal.reason()).or_default() += 1;
    }

    pub(super) fn resync(&mut self, why: Resync) {
        if let Some(count) = self.resyncs.get_mut(why as usize) {
            *count += 1;
        }
    }

    pub(super) fn wrote(&mut self, outcome: &Outcome) {
        *self.writes.entry(outcome.name()).or_default() += 1;
    }
}

fn add_each(counts: &mut [u64], more: &[u64]) {
    counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
}

impl State {
    /// How the shard is doing. Looks at every connection: once a second is often enough.
    #[must_use]
    pub fn statistics(&self, now: Duration) -> Statistics {
        let mut statistics = Statistics { counters: self.counters.clone(), ..Statistics::default() };
        for (slot, connection) in &self.connections {
            if connection.phase != Phase::Open {
                continue;
            }
            if let Some(count) = statistics.connections.get_mut(Transport::from(connection.wire) as usize) {
                *count += 1;
            }
            statistics.subscriptions += connection.subscriptions.len() as u64;
            statistics.behind += connection.behind as u64;
            statistics.outbox_bytes += connection.outbox.len() as u64;
            if connection.behind > 0 || connection.outbox.len() >= self.limits.outbox / 2 {
                statistics.slow.push(self.slow(slot, connection, now));
            }
        }
        statistics.keep_slowest();
        statistics
    }

    /// Everything that was told so far is written, as far as sockets take it: `commits` are how long ago each was.
    pub(super) fn sent(&mut self, since: impl Fn(i64) -> Duration) {
        for commit in self.sending.drain(..) {
            self.counters.commit_to_send.observe(since(commit));
        }
    }

    pub(super) fn has_sent(&self) -> bool {
        !self.sending.is_empty()
    }

    /// What is to be told by now will have been when the round that begins has ended.
    pub(super) fn begin_round(&mut self) {
        std::mem::swap(&mut self.sending, &mut self.unsent);
    }

    /// A commit, in microseconds of Postgres' own time, goes out to somebody.
    pub(super) fn note_commit(&mut self, micros: i64) {
        if self.unsent.len() < UNSENT_MAX {
            self.unsent.push(micros);
        }
    }

    fn slow(&self, connection: usize, client: &Connection, now: Duration) -> SlowClient {
        SlowClient {
            shard: self.id.0,
            connection,
            transport: client.wire.into(),
            outbox_bytes: client.outbox.len(),
            subscriptions: client.subscriptions.len(),
            behind: client.behind,
            silent: now.saturating_sub(client.heard),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_where_they_belong() {
        let mut histogram = Histogram::default();
        for (time, bucket) in [(0, 0), (1000, 0), (1001, 1), (9_000, 3), (60_000_000, 14), (60_000_001, 15)] {
            let before = histogram.buckets[bucket];
            histogram.observe(Duration::from_micros(time));
            assert_eq!(histogram.buckets[bucket], before + 1, "{time} µs");
        }
        let mut twice = histogram;
        twice.add(&histogram);
        assert_eq!((twice.count(), twice.sum), (12, 2.0 * histogram.sum));
    }

    #[test]
    fn names_are_told_apart() {
        assert_eq!(Transport::ALL.map(|it| it as usize), [0, 1, 2, 3]);
        assert_eq!(Resync::ALL.map(|it| it as usize), [0, 1, 2]);
    }
}
