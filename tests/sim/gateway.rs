//! The gateway without its shells: the real intake, hub and shards, with queues for channels.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::time::Duration;

use fastrand::Rng;
use walcast::auth::Identity;
use walcast::change::{Acknowledgement, FeedEvent, Lsn};
use walcast::hub::{
    Command, Configured, ConnectionKey, Hub, HubLimits, JoinToken, LogLimits, ShardId, Subscribe, ToShard,
};
use walcast::phoenix::Serializer;
use walcast::replication::source::{Connected, Intake};
use walcast::replication::transaction::PartLimits;
use walcast::replication::wire::ReplicationMessage;
use walcast::routing;
use walcast::transport::{ChannelLimits, Limits, ShardState};

use crate::config::{Claims, Config};
use crate::postgres::Postgres;
use crate::snapshots::Snapshots;
use crate::view::View;
use crate::walsender::{HowFar, Walsender};
use crate::wire::Wire;

/// As many batches between replication and hub as in the real gateway.
const FEED_QUEUE: usize = 8;

/// A gateway's configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) shards: usize,
    pub(crate) hub: HubLimits,
    pub(crate) outbox: usize,
    pub(crate) parts: PartLimits,
}

impl Settings {
    pub(crate) fn random(roomy: bool, random: &mut Rng) -> Self {
        let mut small = |from: usize, to: usize| if random.bool() { random.usize(from..to) } else { 1 << 30 };
        let log = LogLimits {
            window: Duration::from_secs(if roomy { 1 << 30 } else { small(5, 60) as u64 }),
            memory: if roomy { 1 << 30 } else { small(2_000, 50_000) },
            wal: if roomy { 1 << 40 } else { small(0, 24_000) as u64 },
        };
        let parts = PartLimits { changes: small(1, 8), bytes: small(50, 500) };
        let hub = HubLimits { log, value: 1 << 20, read: small(1, 3_000) };
        Self { shards: random.usize(1..=3), hub, outbox: random.usize(500..8_000), parts }
    }

    fn limits(&self) -> Limits {
        Limits {
            writes: 4,
            frame: 10_000,
            outbox: self.outbox,
            topics_per_connection: 100,
            topic: 255,
            idle: Duration::from_secs(60),
            handshake: Duration::from_secs(10),
            poll: Duration::from_secs(10),
            keep_alive: Duration::from_secs(15),
            compression: false,
            connections: 100,
            channels: ChannelLimits {
                broadcast: 10_000,
                broadcasts_per_second: 100,
                broadcast_burst: 100,
                presence_meta: 1_000,
            },
        }
    }
}

/// A replication connection.
pub(crate) struct Replication {
    walsender: Walsender,
    wire: Wire,
}

pub(crate) struct Gateway {
    pub(crate) settings: Settings,
    intake: Intake,
    pub(crate) hub: Hub,
    pub(crate) shards: Vec<ShardState>,
    feed: VecDeque<Vec<FeedEvent>>,
    commands: VecDeque<Command>,
    to_shards: Vec<VecDeque<Vec<ToShard>>>,
    /// The hub's tail, as the source last saw it and as it is.
    acknowledged: (Acknowledgement, Acknowledgement),
    pub(crate) replication: Option<Replication>,
    pub(crate) snapshots: Snapshots,
    pub(crate) config: Config,
    /// How the joins were taken that the hub has heard of, by shard, slot and topic.
    seats: BTreeMap<(usize, usize, String), (Config, Claims)>,
    /// Losses that the hub has yet to hear of: until then it knows nothing of the new feed.
    losing: usize,
}

impl Gateway {
    pub(crate) fn new(settings: Settings, config: Config) -> Self {
        // One shard more than there are: the probe's.
        let shards = settings.shards;
        Self {
            settings,
            intake: Intake::new(settings.parts),
            hub: Hub::new(config.routes(), shards + 1, settings.hub),
            shards: (0..shards).map(|shard| ShardState::new(ShardId(shard), settings.limits())).collect(),
            feed: VecDeque::new(),
            commands: VecDeque::new(),
            to_shards: vec![VecDeque::new(); shards],
            acknowledged: Default::default(),
            replication: None,
            snapshots: Snapshots::default(),
            config,
            seats: BTreeMap::new(),
            losing: 0,
        }
    }

    pub(crate) const fn is_losing(&self) -> bool {
        self.losing > 0
    }

    /// Connects as the session does; without its slot continuity is lost.
    pub(crate) fn connect(&mut self, postgres: &mut Postgres) {
        let Some(slot) = &postgres.slot else { return self.lose("the slot is gone") };
        let confirmed_flush = Lsn::new(slot.confirmed_flush);
        let start = match self.intake.resume(postgres.identity(), confirmed_flush, &postgres.ancestry) {
            Ok(start) => start,
            Err(discontinuity) => {
                self.lose(&discontinuity.to_string());
                confirmed_flush
            }
        };
        self.intake.connected(Connected {
            system: postgres.system,
            ancestry: postgres.ancestry.clone(),
            start,
            flush: Lsn::new(postgres.lsn),
            confirmed_flush,
            relations: postgres.tables.iter().map(crate::table::Table::relation).collect(),
            doubt: start.is_in_doubt().then(|| postgres.newest_id()),
            status_interval: Duration::from_secs(1),
        });
        let walsender = Walsender::start(postgres, start.as_u64());
        self.replication = Some(Replication { walsender, wire: Wire::new() });
    }

    fn lose(&mut self, reason: &str) {
        if self.intake.lose(reason) {
            self.losing += 1;
        }
    }

    /// What everybody sees is looked at.
    pub(crate) fn look(&mut self, postgres: &Postgres) {
        if self.replication.is_some() {
            self.intake.seen(postgres.visibility());
        }
    }

    /// Another configuration takes over.
    pub(crate) fn reload(&mut self, config: Config) {
        self.config = config;
        self.hub.reload(Configured { routes: config.routes(), ..Configured::default() });
        self.pass_on();
    }

    /// One of the tokens that clients have shown is verified; whether there was one.
    pub(crate) fn verify(&mut self, now: Duration) -> bool {
        let next = |shard: &mut ShardState| shard.next_token();
        let Some((shard, (key, token))) =
            self.shards.iter_mut().enumerate().find_map(|(index, shard)| Some((index, next(shard)?)))
        else {
            return false;
        };
        let claims = serde_json::from_str(token.expose()).unwrap();
        let identity = Identity { claims: routing::Claims::new(claims), expires: None };
        self.shards[shard].verified(key, Ok(identity), now);
        true
    }

    /// How a connection's joins were taken.
    pub(crate) fn seats(&self, shard: usize, slot: usize) -> impl Iterator<Item = (&str, Config, Claims)> {
        let seats = self.seats.iter().filter(move |(key, _)| (key.0, key.1) == (shard, slot));
        seats.map(|((_, _, topic), (config, claims))| (topic.as_str(), *config, *claims))
    }

    /// The walsender puts up to so many messages on the wire; whether there were any.
    pub(crate) fn walsender_sends(&mut self, postgres: &Postgres, count: usize) -> bool {
        let Some(Replication { walsender, wire }) = &mut self.replication else { return false };
        (0..count).map_while(|_| walsender.next(postgres)).map(|sent| wire.send(&sent)).count() > 0
    }

    pub(crate) fn walsender_keeps_alive(&mut self, postgres: &Postgres, how_far: HowFar, random: &mut Rng) {
        if let Some(Replication { walsender, wire }) = &mut self.replication {
            wire.send(&walsender.keepalive(postgres, how_far, random));
        }
    }

    /// So many bytes more come off the wire, and the intake takes the messages that are whole.
    pub(crate) fn receive(&mut self, bytes: usize) -> Result<bool, String> {
        let Some(Replication { wire, .. }) = &mut self.replication else { return Ok(false) };
        let mut received = wire.arrive(bytes);
        while self.intake.has_room() {
            let message = wire.next().map_err(|error| error.to_string())?;
            match message {
                Some(ReplicationMessage::XLogData { wal_end, data, .. }) => {
                    let wanted = self.intake.message(wal_end, data).map_err(|error| error.to_string())?;
                    assert!(wanted.is_empty(), "all types are built in");
                }
                Some(ReplicationMessage::Keepalive { wal_end, reply_requested }) => {
                    self.intake.keepalive(wal_end, reply_requested);
                }
                None => break,
            }
            received = true;
        }
        Ok(received)
    }

    /// What was received goes into the channel to the hub.
    pub(crate) fn deliver(&mut self) -> bool {
        if self.intake.is_empty() || self.feed.len() >= FEED_QUEUE {
            return false;
        }
        let (batch, delivered) = self.intake.take();
        self.feed.push_back(batch);
        self.intake.delivered(delivered);
        true
    }

    /// The source sees what the hub acknowledges, and tells Postgres when that is due.
    pub(crate) fn acknowledge(&mut self, now: Duration) {
        let (seen, is) = self.acknowledged;
        if seen != is {
            self.acknowledged.0 = is;
            self.intake.acknowledgeable(is);
        }
        if self.intake.next_status().is_some_and(|due| due <= now)
            && let Some(replication) = &mut self.replication
            && let Some(status) = self.intake.status(now)
        {
            replication.wire.send_status(status).expect("the wire takes everything");
        }
    }

    /// A status update arrives at Postgres: its flush position.
    pub(crate) fn status_arrives(&mut self) -> Option<Lsn> {
        self.replication.as_ref()?.wire.take_status()
    }

    /// The hub takes a batch of the feed.
    pub(crate) fn hub_feeds(&mut self, now: Duration) -> bool {
        let Some(batch) = self.feed.pop_front() else { return false };
        for event in batch {
            self.losing -= usize::from(matches!(event, FeedEvent::Lost { .. }));
            self.hub.feed(event, now);
        }
        self.pass_on();
        true
    }

    /// The hub takes up to so many commands.
    pub(crate) fn hub_commands(&mut self, count: usize) -> bool {
        let count = count.min(self.commands.len());
        for command in self.commands.drain(..count).collect::<Vec<_>>() {
            if let Command::Subscribe { shard, join, request } = &command {
                let seat = (self.config, Claims::of(&request.claims));
                self.seats.insert((shard.0, join.connection.slot, request.topic.clone()), seat);
            }
            self.hub.command(command);
        }
        self.pass_on();
        count > 0
    }

    /// The hub takes what those say who read the rows for snapshots.
    pub(crate) fn hub_hears_of_rows(&mut self) -> bool {
        let Some(event) = self.snapshots.next_event() else { return false };
        self.hub.snapshot(event);
        self.pass_on();
        true
    }

    fn pass_on(&mut self) {
        self.snapshots.order(self.hub.take_snapshot_commands());
        for (shard, messages) in self.hub.take_outgoing() {
            if let Some(queue) = self.to_shards.get_mut(shard.0) {
                queue.push_back(messages);
            }
        }
        self.acknowledged.1 = self.hub.acknowledgement();
    }

    /// A shard takes a batch of the hub's.
    pub(crate) fn shard_takes(&mut self, shard: usize, now: Duration) -> bool {
        let Some(messages) = self.to_shards[shard].pop_front() else { return false };
        messages.into_iter().for_each(|message| self.shards[shard].told(message, now));
        true
    }

    /// A shard hands up to so many commands to the hub.
    pub(crate) fn shard_asks(&mut self, shard: usize, count: usize) -> bool {
        let before = self.commands.len();
        let state = &mut self.shards[shard];
        self.commands.extend((0..count).map_while(|_| state.next_command()));
        self.commands.len() > before
    }

    /// A second passes; connections that did not say goodbye in time.
    pub(crate) fn tick(&mut self, now: Duration) -> Vec<(usize, usize)> {
        self.hub.tick(now);
        self.pass_on();
        let overdue = self.shards.iter_mut().enumerate();
        overdue.flat_map(|(shard, state)| state.tick(now).into_iter().map(move |slot| (shard, slot))).collect()
    }

    pub(crate) fn open(&mut self, shard: usize, serializer: Serializer, claims: Claims, now: Duration) -> usize {
        let identity = Identity { claims: claims.verified(), expires: None };
        self.shards[shard].open(serializer, identity, now)
    }

    /// A socket takes up to so many bytes.
    pub(crate) fn write(&mut self, shard: usize, slot: usize, most: usize) -> Vec<u8> {
        let state = &mut self.shards[shard];
        let Some(outbox) = state.outbox_mut(slot) else { return Vec::new() };
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = outbox.slices(&mut slices);
        let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).take(most).collect();
        outbox.advance(bytes.len());
        state.flushed(slot);
        bytes
    }

    /// Whether a join with this cursor would be resumed now.
    pub(crate) fn accepts(&mut self, topic: &str, view: View, claims: Claims, cursor: &str) -> bool {
        let shard = ShardId(self.settings.shards);
        let join = JoinToken { connection: ConnectionKey { slot: 0, generation: 0 }, join: 0 };
        let (topic, cursor) = (topic.to_owned(), Some(cursor.to_owned()));
        let (view, claims) = (view.of_hub(), claims.verified());
        let request = Subscribe { topic, view, claims, cursor, ..Subscribe::default() };
        self.hub.command(Command::Subscribe { shard, join, request: Box::new(request) });
        let (answers, others): (Vec<_>, Vec<_>) = self.hub.take_outgoing().partition(|(to, _)| *to == shard);
        assert!(others.is_empty(), "a join concerns nobody else");
        let accepted = answers.into_iter().flat_map(|(_, messages)| messages).find_map(|message| match message {
            ToShard::Subscribed { subscribed, .. } => Some(subscribed.shape),
            _ => None,
        });
        if let Some(shape) = accepted {
            self.hub.command(Command::Unsubscribe { shard, join, shape });
        }
        accepted.is_some()
    }
}
