//! One simulated world: what a seed makes of Postgres, the gateway and its clients, step by step.

use std::fmt::Write as _;
use std::time::Duration;

use fastrand::Rng;
use walcast::change::Lsn;
use walcast::phoenix::Serializer;

use crate::channel::{Channel, State, position};
use crate::client::{Client, Link};
use crate::config::{Claims, Config};
use crate::gateway::{Gateway, Settings};
use crate::postgres::Postgres;
use crate::sight::Sight;
use crate::table::{Identity, TOPICS};
use crate::walsender::HowFar;

/// Steps between two quiet points, at most.
const STEPS: usize = 150;
/// Turns that a quiet point may take: each moves everything that can move.
const TURNS: usize = 4_000;
/// Turns that what has committed is not seen for, at least.
const TURNS_UNSEEN: usize = 50;
/// What a message costs at most here: transactions and values are small.
const MESSAGE_MAX: usize = 16_000;

/// What a run has seen, so that a test can tell that it saw something.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) transactions: u64,
    pub(crate) updates: u64,
    pub(crate) crashes: u64,
    pub(crate) reconnects: u64,
    pub(crate) losses: u64,
    pub(crate) failovers: u64,
    pub(crate) client_drops: u64,
    pub(crate) snapshots: u64,
    pub(crate) resyncs: u64,
    pub(crate) reloads: u64,
    /// Stands for everything that happened, in order.
    pub(crate) fingerprint: u64,
}

pub(crate) struct World {
    random: Rng,
    postgres: Postgres,
    gateway: Gateway,
    clients: Vec<Client>,
    /// Connections whose client is gone, which the gateway has not noticed.
    dead: Vec<(usize, usize)>,
    now: Duration,
    /// Nothing in this world makes a client lose its place.
    roomy: bool,
    /// The configuration, the clients' claims and the tables' identities are what they were.
    steady: bool,
    big: usize,
    seen: Seen,
    trace: Option<Vec<String>>,
}

type Checked = Result<(), String>;

impl World {
    pub(crate) fn new(seed: u64, traced: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        let roomy = random.bool();
        let steady = random.bool();
        let settings = Settings::random(roomy, &mut random);
        let config = Config::random(&mut random);
        let postgres = Postgres::new(&mut random);
        let clients = (0..random.usize(1..5)).map(|_| {
            let serializer = if random.u8(0..4) == 0 { Serializer::V1 } else { Serializer::V2 };
            let topics: Vec<&str> = TOPICS.into_iter().filter(|_| random.bool()).collect();
            Client::new(serializer, if topics.is_empty() { &TOPICS[..1] } else { &topics }, &mut random)
        });
        let clients = clients.collect();
        let big = random.usize(2..40);
        let mut world = Self {
            random,
            postgres,
            gateway: Gateway::new(settings, config),
            clients,
            dead: Vec::new(),
            now: Duration::ZERO,
            roomy,
            steady,
            big,
            seen: Seen::default(),
            trace: traced.then(Vec::new),
        };
        world.note(|| format!("roomy: {roomy}, steady: {steady}, {settings:?}, {config:?}"));
        world
    }

    /// Everything that the seed has in store; what was seen, or what is wrong.
    pub(crate) fn run(&mut self) -> Result<Seen, String> {
        for _ in 0..self.random.usize(1..4) {
            for _ in 0..self.random.usize(10..STEPS) {
                self.step()?;
            }
            self.settle()?;
        }
        self.seen.transactions = self.postgres.log.len() as u64;
        let counts = || self.clients.iter().flat_map(|client| &client.channels).map(|channel| channel.counts);
        self.seen.resyncs = counts().map(|counts| counts.resyncs).sum();
        self.seen.updates = counts().map(|counts| counts.updates).sum();
        self.seen.snapshots = counts().map(|counts| counts.snapshots).sum();
        // A topic can be quiet for so long that the slot has gone on: then its cursor is from before what the slot has.
        let given_up: u64 = counts().map(|counts| counts.given_up).sum();
        if self.roomy && self.steady && self.seen.resyncs > given_up {
            return Err(format!("{} resyncs, though everything was kept", self.seen.resyncs));
        }
        Ok(self.seen)
    }

    /// What has happened, where it was to be remembered.
    pub(crate) fn trace(&self) -> String {
        self.trace.iter().flatten().fold(String::new(), |mut text, line| {
            let _infallible = writeln!(text, "{line}");
            text
        })
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
    }

    fn step(&mut self) -> Checked {
        match self.random.u8(..) {
            0..38 => self.commit(),
            38..41 => self.postgres.begin(&mut self.random),
            41..48 => self.postgres.show_one(&mut self.random),
            48..52 => self.postgres.write_elsewhere(&mut self.random),
            52..55 => self.postgres.add_column(&mut self.random),
            55..62 => self.gateway.walsender_keeps_alive(&self.postgres, HowFar::AsItHappens, &mut self.random),
            62..180 => self.gateway_step()?,
            180..184 => self.drop_replication(),
            184..187 => self.crash(),
            187 => self.lose_slot(),
            188 => self.fail_over(),
            189..193 => self.time_passes(),
            193..196 => self.gateway.look(&self.postgres),
            196..200 => self.others_rule(),
            _ => self.client_step()?,
        }
        self.check_bounds()?;
        self.check_memory()
    }

    /// Something changes that decides who sees what.
    fn others_rule(&mut self) {
        if self.steady {
            return;
        }
        match self.random.u8(0..8) {
            0..4 => self.reload(),
            4..7 => {
                let index = self.random.usize(..self.clients.len());
                let claims = Claims::random(&mut self.random);
                self.clients[index].identify(claims);
                self.note(|| format!("client {index} shows {claims:?}"));
            }
            _ => {
                self.postgres.identify(Identity::Default);
                self.note(|| "orders have another replica identity".to_owned());
            }
        }
    }

    fn reload(&mut self) {
        let config = self.gateway.config.edited(&mut self.random);
        self.gateway.reload(config);
        self.seen.reloads += 1;
        self.note(|| format!("reload: {config:?}"));
        self.try_again();
    }

    /// Whoever was refused.
    fn try_again(&mut self) {
        self.clients.iter_mut().flat_map(|client| &mut client.channels).for_each(Channel::try_again);
    }

    fn commit(&mut self) {
        let most = if self.random.u8(0..8) == 0 { self.big } else { 3 };
        let lsn = self.postgres.commit(most, &mut self.random);
        self.note(|| format!("commit at {lsn}"));
    }

    fn gateway_step(&mut self) -> Checked {
        let (count, shard) = (self.random.usize(1..20), self.random.usize(..self.gateway.shards.len()));
        match self.random.u8(0..14) {
            13 => drop(self.gateway.verify(self.now)),
            0 | 1 => drop(self.gateway.walsender_sends(&self.postgres, count)),
            2 => self.receive(count * count * 5)?,
            3 => drop(self.gateway.deliver()),
            4 => drop(self.gateway.hub_feeds(self.now)),
            5 => drop(self.gateway.hub_commands(count)),
            6 => drop(self.gateway.shard_takes(shard, self.now)),
            7 => drop(self.gateway.shard_asks(shard, count)),
            8 => self.acknowledge()?,
            9 => drop(self.gateway.snapshots.take_orders(count, &mut self.postgres)),
            10 => drop(self.gateway.snapshots.begin(&mut self.postgres, &mut self.random)),
            11 => self.read_rows(),
            _ => drop(self.gateway.hub_hears_of_rows()),
        }
        if self.gateway.replication.is_none() && self.random.bool() {
            self.connect();
        }
        Ok(())
    }

    fn read_rows(&mut self) {
        let fails = self.random.u8(0..32) == 0;
        self.gateway.snapshots.send(fails, &mut self.postgres, &mut self.random);
    }

    fn receive(&mut self, bytes: usize) -> Checked {
        self.gateway.receive(bytes).map(drop).map_err(|error| format!("the stream was not understood: {error}"))
    }

    fn connect(&mut self) {
        self.gateway.connect(&mut self.postgres);
        let slot = self.postgres.slot.as_ref().map(|slot| slot.confirmed_flush);
        self.note(|| format!("replication connects, the slot is at {slot:?}"));
        self.seen.reconnects += 1;
    }

    fn drop_replication(&mut self) {
        self.note(|| "the replication connection breaks".to_owned());
        self.gateway.replication = None;
    }

    /// kill -9: everything is gone but the slot and its configuration.
    fn crash(&mut self) {
        self.note(|| "the gateway crashes".to_owned());
        self.seen.crashes += 1;
        self.gateway.snapshots.gateway_gone(&mut self.postgres);
        self.gateway = Gateway::new(self.gateway.settings, self.gateway.config);
        self.clients.iter_mut().for_each(Client::disconnected);
        self.dead.clear();
    }

    /// The slot is dropped, and sooner or later made again.
    fn lose_slot(&mut self) {
        if self.roomy {
            return;
        }
        self.note(|| "the slot is dropped".to_owned());
        self.seen.losses += 1;
        self.postgres.slot = None;
        self.gateway.replication = None;
        if self.random.bool() {
            self.gateway.connect(&mut self.postgres);
        }
        self.commit();
        // As Postgres makes one: with everything seen that committed before it.
        self.postgres.show_until(self.postgres.lsn);
        self.postgres.recreate_slot();
    }

    /// Another timeline, which goes on from here or from before.
    fn fail_over(&mut self) {
        let abandoned = if self.roomy || self.random.bool() { 0 } else { self.random.usize(1..5) };
        self.drop_replication();
        self.gateway.snapshots.database_gone();
        self.postgres.fail_over(abandoned, &mut self.random);
        self.seen.failovers += 1;
        self.note(|| format!("a failover, with {abandoned} transactions abandoned"));
    }

    fn time_passes(&mut self) {
        self.now += Duration::from_millis(self.random.u64(1..20_000));
        for (shard, slot) in self.gateway.tick(self.now) {
            self.gateway.shards[shard].ended(slot);
            self.disconnect(shard, slot);
        }
    }

    fn disconnect(&mut self, shard: usize, slot: usize) {
        self.dead.retain(|dead| *dead != (shard, slot));
        let of_link = |link: &Link| link.shard == shard && link.slot == slot;
        if let Some(client) = self.clients.iter_mut().find(|client| client.link.as_ref().is_some_and(of_link)) {
            client.disconnected();
        }
    }

    /// Status updates reach Postgres. Whatever the hub would resume from must stay within what the slot sends.
    fn acknowledge(&mut self) -> Checked {
        self.gateway.acknowledge(self.now);
        while let Some(flush) = self.gateway.status_arrives() {
            let before = self.postgres.slot.as_ref().map_or(0, |slot| slot.confirmed_flush);
            self.postgres.acknowledge(flush.as_u64());
            if flush > Lsn::new(before) {
                self.note(|| format!("acknowledged {}", flush.as_u64()));
                self.check_promise()?;
            }
        }
        Ok(())
    }

    /// For every cursor that would be resumed: the slot has all that comes after it.
    fn check_promise(&mut self) -> Checked {
        let Some(slot) = &self.postgres.slot else { return Ok(()) };
        if self.gateway.settings.hub.log.wal == 0 || self.gateway.is_losing() {
            return Ok(()); // nothing is promised over a crash
        }
        let confirmed = slot.confirmed_flush;
        let channels = self.clients.iter().flat_map(|client| client.channels.iter().map(move |it| (client, it)));
        for (client, channel) in channels {
            let Some(cursor) = &channel.cursor else { continue };
            let is_lost = channel.owed(&self.postgres).is_some_and(|item| item.at.0 < confirmed);
            if is_lost && self.gateway.accepts(channel.topic, channel.view, client.claims, cursor) {
                let at = position(cursor)?;
                return Err(format!("{confirmed} is acknowledged, and {} resumes after {at:?}", channel.topic));
            }
        }
        Ok(())
    }

    fn client_step(&mut self) -> Checked {
        let index = self.random.usize(..self.clients.len());
        let Some(link) = &self.clients[index].link else {
            self.open(index);
            return Ok(());
        };
        let (shard, slot) = (link.shard, link.slot);
        let channel = self.random.usize(..self.clients[index].channels.len());
        match self.random.u8(0..64) {
            0 | 1 => self.drop_client(index),
            2..4 => self.clients[index].leave(channel),
            4 => self.clients[index].heartbeat(),
            42 | 43 => self.clients[index].fetch(channel),
            5 => self.clients[index].join(channel),
            6..16 => self.rejoin(index),
            16..38 => {
                let most = if self.random.bool() { self.random.usize(1..50) } else { 1 << 20 };
                self.upload(index, most);
            }
            38..42 => {
                if let Some((shard, slot)) = self.dead.pop() {
                    self.gateway.shards[shard].ended(slot);
                }
            }
            _ => {
                let most = if self.random.bool() { self.random.usize(1..600) } else { 1 << 20 };
                self.download(index, shard, slot, most)?;
            }
        }
        Ok(())
    }

    fn open(&mut self, index: usize) {
        let shard = self.random.usize(..self.gateway.shards.len());
        let client = &mut self.clients[index];
        let slot = self.gateway.open(shard, client.serializer, client.claims, self.now);
        client.link = Some(Link { shard, slot, up: Vec::new(), received: Vec::new() });
        self.rejoin(index);
    }

    /// Joins every channel that is closed.
    fn rejoin(&mut self, index: usize) {
        let client = &mut self.clients[index];
        for channel in 0..client.channels.len() {
            if client.channels[channel].state == State::Closed {
                client.join(channel);
            }
        }
    }

    /// The connection breaks wherever it is; the gateway notices sooner or later.
    fn drop_client(&mut self, index: usize) {
        self.note(|| format!("client {index} loses its connection"));
        self.seen.client_drops += 1;
        let Some(link) = self.clients[index].link.take() else { return };
        self.clients[index].disconnected();
        if self.random.bool() {
            self.gateway.shards[link.shard].ended(link.slot);
        } else {
            self.dead.push((link.shard, link.slot));
        }
    }

    fn upload(&mut self, index: usize, most: usize) -> bool {
        let Some(link) = &mut self.clients[index].link else { return false };
        let mut bytes: Vec<u8> = link.up.drain(..most.min(link.up.len())).collect();
        self.gateway.shards[link.shard].received(link.slot, &mut bytes, self.now);
        !bytes.is_empty()
    }

    fn download(&mut self, index: usize, shard: usize, slot: usize, most: usize) -> Result<bool, String> {
        let bytes = self.gateway.write(shard, slot, most);
        for byte in &bytes {
            self.seen.fingerprint = self.seen.fingerprint.wrapping_mul(0x0100_0000_01B3) ^ u64::from(*byte);
        }
        let client = &mut self.clients[index];
        if let Some(link) = &mut client.link {
            link.received.extend(&bytes);
        }
        for (topic, config, claims) in self.gateway.seats(shard, slot) {
            let Some(channel) = client.channels.iter().find(|channel| channel.topic == topic) else { continue };
            let sight = Sight { topic: channel.topic, config, claims, view: channel.view };
            client.seats.insert(topic.to_owned(), sight);
        }
        let open = client.receive(&self.postgres).map_err(|problem| format!("client {index}: {problem}"))?;
        if !open || self.gateway.shards[shard].is_finished(slot) {
            self.note(|| format!("client {index} is closed by the gateway"));
            self.clients[index].disconnected();
            self.gateway.shards[shard].ended(slot);
        }
        Ok(!bytes.is_empty())
    }

    /// No outbox grows with a client's slowness: its limit, and one read's overshoot for each topic.
    fn check_bounds(&mut self) -> Checked {
        let settings = self.gateway.settings;
        let read = settings.hub.read.min(MESSAGE_MAX) + MESSAGE_MAX;
        for client in &self.clients {
            let Some(Link { shard, slot, .. }) = client.link else { continue };
            let waiting = self.gateway.shards[shard].outbox_mut(slot).map_or(0, |outbox| outbox.len());
            let most = settings.outbox * 2 + client.channels.len() * read;
            if settings.hub.read < 1 << 20 && waiting > most {
                return Err(format!("{waiting} bytes wait for a client; at most {most} may"));
            }
        }
        Ok(())
    }

    /// The log is within its bounds, whatever was done to it.
    fn check_memory(&self) -> Checked {
        let (size, most) = (self.gateway.hub.log_size(), self.gateway.settings.hub.log.memory);
        if size > most { Err(format!("the log takes {size} bytes; at most {most} may be")) } else { Ok(()) }
    }

    /// Everything moves until nothing can; then every client has every row.
    fn settle(&mut self) -> Checked {
        self.mend();
        self.note(|| "quiet".to_owned());
        let mut tried_again = false;
        for turn in 0..TURNS {
            let mut moved = self.settle_gateway(turn)?;
            for index in 0..self.clients.len() {
                moved |= self.settle_client(index)?;
            }
            // A snapshot waits for its slowest reader, until that one is known to be gone.
            if !moved && let Some((shard, slot)) = self.dead.pop() {
                self.gateway.shards[shard].ended(slot);
            } else if !moved && turn > 2 && !tried_again {
                tried_again = true;
                self.try_again();
            } else if !moved && turn > 2 {
                return self.check_complete();
            }
        }
        Err("it never gets quiet".to_owned())
    }

    /// The tables fit their routes again, and the gateway gets to know of it.
    fn mend(&mut self) {
        while !self.postgres.identify(Identity::Full) {
            self.postgres.show_one(&mut self.random);
            self.settle_snapshots();
        }
        while !self.postgres.is_described() {
            self.postgres.show_one(&mut self.random);
            self.commit();
        }
    }

    fn settle_gateway(&mut self, turn: usize) -> Result<bool, String> {
        let all = usize::MAX;
        if self.gateway.replication.is_none() {
            self.connect();
        }
        if turn < 2 {
            // Without traffic the server's keepalives say how far all is.
            while self.gateway.walsender_sends(&self.postgres, all) {}
            self.gateway.walsender_keeps_alive(&self.postgres, HowFar::All, &mut self.random);
        }
        let mut moved = self.gateway.walsender_sends(&self.postgres, all);
        moved |= self.gateway.receive(all).map_err(|error| format!("the stream was not understood: {error}"))?;
        moved |= self.gateway.deliver();
        moved |= self.gateway.hub_feeds(self.now);
        moved |= self.gateway.hub_commands(all);
        for shard in 0..self.gateway.shards.len() {
            while self.gateway.shard_takes(shard, self.now) {
                moved = true;
            }
            moved |= self.gateway.shard_asks(shard, all);
        }
        while self.gateway.verify(self.now) {
            moved = true;
        }
        moved |= self.settle_snapshots();
        if turn % TURNS_UNSEEN == TURNS_UNSEEN - 1 {
            // A snapshot can't be continued from a log that has let go of what it does not see.
            self.postgres.show_one(&mut self.random);
            self.postgres.abort_one();
        }
        self.acknowledge()?;
        Ok(moved)
    }

    fn settle_snapshots(&mut self) -> bool {
        let snapshots = &mut self.gateway.snapshots;
        let mut moved = snapshots.take_orders(usize::MAX, &mut self.postgres);
        moved |= snapshots.begin(&mut self.postgres, &mut self.random);
        if !moved && snapshots.is_kept_waiting() {
            self.postgres.show_one(&mut self.random);
            return true;
        }
        moved |= snapshots.send(false, &mut self.postgres, &mut self.random);
        while self.gateway.hub_hears_of_rows() {
            moved = true;
        }
        moved
    }

    fn settle_client(&mut self, index: usize) -> Result<bool, String> {
        let Some(link) = &self.clients[index].link else {
            self.open(index);
            return Ok(true);
        };
        let (shard, slot) = (link.shard, link.slot);
        self.rejoin(index);
        let mut moved = self.upload(index, 1 << 20);
        moved |= self.download(index, shard, slot, 1 << 20)?;
        Ok(moved)
    }

    fn check_complete(&mut self) -> Checked {
        for (index, client) in self.clients.iter().enumerate() {
            for channel in &client.channels {
                let (topic, config) = (channel.topic, self.gateway.config);
                let now = Sight { topic, config, claims: client.claims, view: channel.view };
                channel
                    .is_complete(&now, &self.postgres)
                    .map_err(|problem| format!("at rest, client {index}: {problem}"))?;
            }
        }
        Ok(())
    }
}
