//! What a shard decides: bytes from clients and messages from the hub in, frames for outboxes and commands out.
//!
//! Pure: handed bytes and time; the sockets are [`super::shell`]'s. The simulation in `tests/sim` drives it in place of
//! the shell.

mod token;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use slab::Slab;

use crate::auth::Identity;
use crate::hub::{
    self, After, Command, ConnectionKey, JoinToken, Publication, ReadOutcome, ShapeId, ShardId, Subscribe, Subscribed,
    ToShard,
};
use crate::phoenix::{CloseReason, Effect, JoinId, Outgoing, Refusal, Session};
use crate::transport::limits::{LINGER, Limits};
use crate::transport::websocket::{
    FrameError, Incoming, Inflater, MessageReader, bare_close_frame, close_frame, pong_frame,
};
use crate::transport::wire::Wire;

use super::channel::Channels;
use super::commands::Commands;
use super::connection::{Connection, Phase, Subscription};
use super::fetch::{FETCH, Fetches};
use super::group::{Feed, Groups, Member};
use super::join::{self, Request};
use super::outbox::Outbox;
use super::requests::Answers;
use super::statistics::{Counters, Resync};
use super::writes::Writes;
use super::writing::SYNC_REQUEST;
pub(super) use token::ShownTokens;

/// One shard's connections and subscriptions.
#[derive(Debug)]
pub struct State {
    pub(super) id: ShardId,
    pub(super) limits: Limits,
    pub(super) connections: Slab<Connection>,
    next_generation: u32,
    /// Reads are numbered, so that an answer that is no longer waited for is known.
    pub(super) next_read: u32,
    pub(super) groups: Groups,
    /// Connections with something to send that the shell has not been told of.
    pub(super) dirty: VecDeque<usize>,
    pub(super) commands: Commands,
    /// To those who have asked by HTTP.
    pub(super) answers: Answers,
    pub(super) writes: Writes,
    pub(super) fetches: Fetches,
    /// What came of events that apps have posted, by their numbers.
    pub(super) published: Vec<(u64, Result<(), Refusal>)>,
    /// Connections with a token to verify.
    unverified: VecDeque<ConnectionKey>,
    pub(super) counters: Counters,
    /// Commits that somebody is to be told of since the round of writes began, and those that everyone will have been
    /// told of when it ends.
    pub(super) unsent: Vec<i64>,
    pub(super) sending: Vec<i64>,
    /// Reused between calls.
    effects: Vec<Effect>,
    /// For every connection: none holds anything of what it has inflated.
    inflater: Inflater,
}

impl State {
    #[must_use]
    pub fn new(id: ShardId, limits: Limits) -> Self {
        Self {
            id,
            limits,
            connections: Slab::new(),
            next_generation: 0,
            next_read: 0,
            groups: Groups::default(),
            dirty: VecDeque::new(),
            commands: Commands::default(),
            writes: Writes::default(),
            fetches: Fetches::default(),
            answers: Answers::default(),
            published: Vec::new(),
            unverified: VecDeque::new(),
            counters: Counters::default(),
            unsent: Vec::new(),
            sending: Vec::new(),
            effects: Vec::new(),
            inflater: Inflater::default(),
        }
    }

    /// A client was let in; its slot.
    pub fn open(&mut self, wire: impl Into<Wire>, identity: Identity, now: Duration) -> usize {
        let wire = wire.into();
        self.counters.opened(wire);
        self.next_generation = self.next_generation.wrapping_add(1);
        self.connections.insert(Connection {
            generation: self.next_generation,
            wire,
            identity,
            expired: false,
            last_join: None,
            outdated_join: None,
            tokens: None,
            session: Session::new(self.limits.topics_per_connection),
            reader: MessageReader::new(self.limits.frame, wire.is_deflated()),
            outbox: Outbox::default(),
            subscriptions: Vec::new(),
            channels: Channels::default(),
            behind: 0,
            dirty: false,
            phase: Phase::Open,
            heard: now,
        })
    }

    /// Its socket gave these bytes.
    pub fn received(&mut self, slot: usize, data: &mut [u8], now: Duration) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.heard = now;
        if connection.phase == Phase::Closed {
            return;
        }
        let mut reader = std::mem::replace(&mut connection.reader, MessageReader::new(self.limits.frame, false));
        let mut inflater = std::mem::take(&mut self.inflater);
        let result = reader.read(data, &mut inflater, &mut |incoming| self.take(slot, incoming, now));
        self.inflater = inflater;
        let has_ended = reader.has_ended();
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.reader = reader;
        }
        if let Err(error) = result {
            self.close(slot, frame_error_reason(error), now);
            // To a goodbye that breaks the rules ours is the answer, and none comes to that.
            if let Some(connection) = self.connections.get_mut(slot).filter(|_| has_ended) {
                connection.phase = Phase::Closed;
            }
        }
    }

    /// Its socket is gone.
    pub fn ended(&mut self, slot: usize) {
        self.unsubscribe_all(slot);
        self.answers.remove(&slot);
        self.connections.try_remove(slot);
    }

    pub fn outbox_mut(&mut self, slot: usize) -> Option<&mut Outbox> {
        self.connections.get_mut(slot).map(|connection| &mut connection.outbox)
    }

    /// Nothing is left to be done for it but to drop the socket.
    #[must_use]
    pub fn is_finished(&self, slot: usize) -> bool {
        self.connections.get(slot).is_none_or(|it| it.phase == Phase::Closed && it.outbox.is_empty())
    }

    /// The socket has taken some of its outbox: where there is room again, subscriptions that fell behind read on.
    pub fn flushed(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if connection.behind == 0 || connection.outbox.len() > self.limits.outbox / 2 {
            return;
        }
        let key = ConnectionKey { slot, generation: connection.generation };
        for Subscription { join, shape, place } in connection.subscriptions.iter().copied() {
            let Some(member) = self.groups.member_mut(shape, place) else { continue };
            let Feed::Behind(after) = &member.feed else { continue };
            let (after, snapshot, number) = (after.clone(), member.feed.is_snapshot(), self.next_read);
            self.next_read = self.next_read.wrapping_add(1);
            member.feed = Feed::Reading { number, snapshot };
            let join = JoinToken { connection: key, join };
            self.commands.push(Command::Read { shard: self.id, join, shape, number, after });
        }
    }

    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.next()
    }

    /// Commands that the hub may have now.
    #[must_use]
    pub fn waiting_commands(&self) -> usize {
        self.commands.len()
    }

    /// What clients' payloads take of all commands that wait.
    #[must_use]
    pub(super) const fn waiting_bytes(&self) -> usize {
        self.commands.bytes()
    }

    /// Closes who was silent for too long; gives who has not said goodbye in time, or takes nothing.
    pub fn tick(&mut self, now: Duration) -> Vec<usize> {
        let (mut idle, mut overdue) = (Vec::new(), self.tick_streams(now));
        for (slot, connection) in &self.connections {
            let silent = now.saturating_sub(connection.heard);
            match connection.phase {
                Phase::Open if silent > self.limits.idle && connection.wire.is_websocket() => idle.push(slot),
                Phase::Closing { deadline } if now > deadline => overdue.push(slot),
                _ => {}
            }
        }
        for slot in idle {
            self.close(slot, CloseReason::IdleTimeout, now);
        }
        overdue
    }

    /// How many there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Closes up to `count` open connections because the server restarts; how many are not gone yet.
    pub fn drain(&mut self, count: usize, now: Duration) -> usize {
        let open = |(slot, connection): (usize, &Connection)| (connection.phase == Phase::Open).then_some(slot);
        let slots: Vec<usize> = self.connections.iter().filter_map(open).collect();
        for slot in slots.iter().take(count) {
            self.close(*slot, CloseReason::Drain, now);
        }
        self.connections.len()
    }

    /// Takes what the hub says.
    pub fn told(&mut self, message: ToShard, now: Duration) {
        match message {
            ToShard::Publish(publication) => self.fan_out(&publication),
            ToShard::Broadcast(broadcast) => self.hear(&broadcast, now),
            ToShard::Published { number, result } => {
                self.published.push((number, result.map_err(|refusal| join::refusal(&refusal))));
            }
            ToShard::PresenceDiff(diff) => self.hear_diff(&diff, now),
            ToShard::PresenceState { joins, state } => self.introduce(&joins, &state, now),
            ToShard::Subscribed { join, subscribed } => self.subscribed(join, &subscribed, now),
            ToShard::Refused { join, refusal } => self.refused(join, refusal, now),
            ToShard::Ended { join, refusal } => {
                if let Some((slot, _)) = self.connection(join) {
                    self.resync(slot, join.join, &join::refusal(&refusal), now);
                }
            }
            ToShard::Read { join, number, publications, outcome } => {
                self.commands.read_answered(number);
                self.read(join, number, &publications, outcome, now);
            }
            ToShard::Waiting { join } => self.caught_up(join),
            ToShard::Position { join, number, cursor, complete } => {
                self.located(join, (number, &cursor, complete), now);
            }
            ToShard::Closed { shape } => self.close_all(shape, now),
            ToShard::Recheck { shape } => self.recheck_all(shape),
            ToShard::Channel { shape, channel } => self.channel_changed(shape, channel.as_ref()),
            ToShard::Judged { join, number, result } => self.judged(join, number, result, now),
            ToShard::Reset { shape } => self.fail_all(shape, &Refusal::ResyncRequired, now),
            ToShard::Failed { shape, refusal } => self.fail_all(shape, &join::refusal(&refusal), now),
        }
    }

    /// Appends one shared frame to the outbox of every live subscriber of the shape.
    fn fan_out(&mut self, publication: &Publication) {
        let mut messages = 0;
        for member in self.groups.members_mut(publication.shape) {
            if !member.feed.is_live() {
                continue; // it reads this from the log
            }
            let Some(connection) = self.connections.get_mut(member.slot) else { continue };
            if connection.outbox.len() >= self.limits.outbox {
                member.feed = Feed::Behind(After::Log(publication.before));
                connection.behind += 1;
                self.counters.falls += 1;
                continue;
            }
            connection.outbox.push(connection.wire.publication(publication));
            messages += 1;
            if !connection.dirty {
                connection.dirty = true;
                self.dirty.push_back(member.slot);
            }
        }
        self.counters.messages += messages;
        if let Some(time) = publication.committed.filter(|_| messages > 0) {
            self.note_commit(time.as_micros());
        }
    }

    fn subscribed(&mut self, token: JoinToken, subscribed: &Subscribed, now: Duration) {
        let shape = subscribed.shape;
        let Some((slot, connection)) = self.connection(token) else {
            self.commands.push(Command::Unsubscribe { shard: self.id, join: token, shape });
            return;
        };
        if connection.expired {
            self.commands.push(Command::Unsubscribe { shard: self.id, join: token, shape });
            return self.refuse(slot, JoinId(token.join), &Refusal::TokenExpired, now);
        }
        let feed = subscribed.read_after.clone().map_or(Feed::Live, Feed::Behind);
        connection.behind += usize::from(!feed.is_live());
        self.counters.joins += 1;
        let place = self.groups.add(shape, Member { slot, join: token.join, feed, knows_presence: false });
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.subscribe(Subscription { join: token.join, shape, place });
            connection.channels.joined(token.join, subscribed.fed, subscribed.channel.as_ref());
            if connection.outdated_join.is_some_and(|last| token.join <= last) {
                // It was asked for before a new token came.
                let claims = connection.identity.claims.clone();
                self.commands.push(Command::Recheck { shard: self.id, join: token, shape, claims });
            }
        }
        let response = join::response(subscribed);
        self.drive(slot, now, |session, effects| session.join_accepted(JoinId(token.join), response, effects));
        self.flushed(slot);
    }

    fn refused(&mut self, token: JoinToken, refusal: hub::Refusal, now: Duration) {
        if let Some((slot, _)) = self.connection(token) {
            self.refuse(slot, JoinId(token.join), &join::refusal(&refusal), now);
        }
    }

    fn refuse(&mut self, slot: usize, join: JoinId, refusal: &Refusal, now: Duration) {
        self.counters.refused_join(refusal);
        self.drive(slot, now, |session, effects| match refusal {
            Refusal::UnmatchedTopic => session.join_unmatched(join, effects),
            refusal => session.join_refused(join, refusal.response(), effects),
        });
    }

    /// What comes next for a subscription that is behind.
    fn read(
        &mut self,
        token: JoinToken,
        number: u32,
        publications: &[Arc<Publication>],
        outcome: ReadOutcome,
        now: Duration,
    ) {
        let Some((slot, connection)) = self.connection(token) else { return };
        let wire = connection.wire;
        let Some(Subscription { shape, place, .. }) = connection.subscription(token.join) else { return };
        let Some(member) = self.groups.member_mut(shape, place) else { return };
        if !matches!(member.feed, Feed::Reading { number: awaited, .. } if awaited == number) {
            return; // it reads something else by now
        }
        let rows_end = !matches!(outcome, ReadOutcome::More(After::Snapshot(_)));
        let feed = match outcome {
            ReadOutcome::AtHead => Feed::Live,
            ReadOutcome::More(after) => Feed::Behind(after),
            ReadOutcome::Lost => {
                self.counters.resync(Resync::Slow);
                return self.resync(slot, token.join, &Refusal::ResyncRequired, now);
            }
            ReadOutcome::Failed(failure) => return self.resync(slot, token.join, &join::failure(failure), now),
        };
        let is_live = feed.is_live();
        member.feed = feed;
        if matches!(wire, Wire::Rows { .. }) {
            return self.push_rows(slot, publications, rows_end, now);
        }
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.behind -= usize::from(is_live);
            for publication in publications {
                connection.outbox.push(wire.publication(publication));
            }
            self.counters.messages += publications.len() as u64;
        }
        self.mark_dirty(slot);
        self.flushed(slot);
        self.caught_up(token);
    }

    /// No subscriber of the shape can go on. The hub has forgotten the shape already.
    fn fail_all(&mut self, shape: ShapeId, reason: &Refusal, now: Duration) {
        for member in self.take_all(shape) {
            if *reason == Refusal::ResyncRequired {
                self.counters.resync(Resync::Hole);
            }
            self.fail_channel(member.slot, member.join, reason, now);
        }
    }

    /// Nobody is subscribed to the shape any longer. The hub has forgotten it already.
    pub(super) fn take_all(&mut self, shape: ShapeId) -> Vec<Member> {
        let members = self.groups.take(shape);
        for member in &members {
            if let Some(connection) = self.connections.get_mut(member.slot) {
                connection.behind -= usize::from(!member.feed.is_live());
                connection.remove_subscription(member.join);
                self.writes.leave(JoinToken { connection: connection.key(member.slot), join: member.join });
            }
        }
        members
    }

    /// Nobody has what this subscription needs.
    fn resync(&mut self, slot: usize, join: u32, reason: &Refusal, now: Duration) {
        self.unsubscribe(slot, join);
        self.fail_channel(slot, join, reason, now);
    }

    fn fail_channel(&mut self, slot: usize, join: u32, reason: &Refusal, now: Duration) {
        self.drive(slot, now, |session, effects| session.channel_error(JoinId(join), reason, effects));
    }

    /// One message of a client; whether to go on reading.
    pub(super) fn take(&mut self, slot: usize, incoming: Incoming<'_>, now: Duration) -> bool {
        let Some(connection) = self.connections.get_mut(slot) else { return false };
        if let Incoming::Close(code) = incoming {
            self.peer_closed(slot, code);
            return false;
        }
        if connection.phase != Phase::Open {
            return true;
        }
        let Some(serializer) = connection.wire.serializer() else { return false };
        let message = match incoming {
            Incoming::Text(text) => serializer.decode_text(text),
            Incoming::Binary(data) => serializer.decode_binary(Bytes::copy_from_slice(data)),
            Incoming::Ping(payload) => {
                self.push(slot, pong_frame(payload), now);
                return true;
            }
            Incoming::Pong | Incoming::Close(_) => return true,
        };
        match message {
            Ok(message) if message.event == token::EVENT => self.token_event(slot, message, now),
            Ok(message) => self.drive(slot, now, |session, effects| session.receive(message, effects)),
            Err(_) => self.close(slot, CloseReason::InvalidMessage, now),
        }
        self.connections.get(slot).is_some_and(|connection| connection.phase == Phase::Open)
    }

    /// Lets the session decide, and does what it says.
    pub(super) fn drive(&mut self, slot: usize, now: Duration, decide: impl FnOnce(&mut Session, &mut Vec<Effect>)) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let mut effects = std::mem::take(&mut self.effects);
        decide(&mut connection.session, &mut effects);
        // An effect can make the session decide again, which then has effects of its own, in their order.
        for effect in effects.drain(..) {
            self.effect(slot, effect, now);
        }
        self.effects = effects;
    }

    fn effect(&mut self, slot: usize, effect: Effect, now: Duration) {
        match effect {
            Effect::Send(outgoing) => {
                self.counters.answered(&outgoing);
                self.send(slot, &outgoing, now);
            }
            Effect::Join { join, topic, params } => self.join(slot, join, topic, params, now),
            Effect::Leave { join } => self.unsubscribe(slot, join.0),
            Effect::Event { join, topic, event, payload, reference } if event == SYNC_REQUEST => {
                self.ask_to_write(slot, join, &topic, payload, reference, now);
            }
            Effect::Event { join, event, payload, reference, .. } if event == FETCH && self.is_fed(slot, join) => {
                self.ask_to_fetch(slot, join, &payload, reference, now);
            }
            Effect::Event { join, topic, event, payload, reference } => {
                let (status, response) = self.event(slot, join, &topic, (&event, &payload), now);
                self.drive(slot, now, |session, effects| session.reply(join, reference, status, response, effects));
            }
            Effect::Close(reason) => self.close(slot, reason, now),
        }
    }

    /// Asks the hub for a subscription, as whom the connection has shown to be.
    fn subscribe(&mut self, slot: usize, join: JoinId, topic: &str, params: &RawValue, now: Duration) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.last_join = Some(join.0);
        let token = JoinToken { connection: ConnectionKey { slot, generation: connection.generation }, join: join.0 };
        if topic.len() > self.limits.topic {
            return self.refuse(slot, join, &Refusal::UnmatchedTopic, now);
        }
        match join::request(params.get(), self.limits.channels.presence_meta) {
            Ok(Request { cursor, view, snapshot, introduction }) => {
                let (topic, claims) = (topic.to_owned(), connection.identity.claims.clone());
                // Who only listens to a stream is no member.
                let introduction = (!connection.wire.is_stream()).then_some(introduction);
                let request = Box::new(Subscribe { topic, claims, view, cursor, snapshot, introduction });
                self.commands.push(Command::Subscribe { shard: self.id, join: token, request });
            }
            Err(refusal) => self.refuse(slot, join, &refusal, now),
        }
    }

    fn send(&mut self, slot: usize, outgoing: &Outgoing, now: Duration) {
        let Some(connection) = self.connections.get(slot) else { return };
        if connection.wire.is_stream() {
            return self.send_to_stream(slot, outgoing, now);
        }
        match connection.wire.message(outgoing) {
            Ok(Some(bytes)) => self.push(slot, bytes, now),
            Ok(None) => {}
            Err(_) => self.close(slot, CloseReason::Internal, now),
        }
    }

    /// Appends what only this client gets. Who keeps asking and does not read is closed.
    pub(super) fn push(&mut self, slot: usize, frame: Bytes, now: Duration) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if connection.phase != Phase::Open {
            return;
        }
        if connection.outbox.is_flooded(self.limits.outbox) {
            return self.close_slow(slot, now);
        }
        connection.outbox.push_said(frame);
        self.mark_dirty(slot);
    }

    /// Says goodbye: the close frame is the last that is sent.
    pub(super) fn close(&mut self, slot: usize, reason: CloseReason, now: Duration) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if connection.phase != Phase::Open {
            return;
        }
        self.counters.closed(reason);
        if !connection.wire.is_websocket() {
            return self.close_request(slot, reason);
        }
        connection.phase = Phase::Closing { deadline: now + LINGER };
        connection.outbox.push(close_frame(reason.code(), reason.text()));
        self.unsubscribe_all(slot);
        self.mark_dirty(slot);
    }

    /// The client's close frame: an answer to ours, or answered by the same code.
    fn peer_closed(&mut self, slot: usize, code: Option<u16>) {
        self.unsubscribe_all(slot);
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if connection.phase == Phase::Open {
            let frame = code.map_or_else(bare_close_frame, |code| close_frame(code, ""));
            connection.outbox.push(frame);
        }
        connection.phase = Phase::Closed;
        self.mark_dirty(slot);
    }

    pub(super) fn unsubscribe_all(&mut self, slot: usize) {
        let Some(connection) = self.connections.get(slot) else { return };
        let joins: Vec<u32> = connection.subscriptions.iter().map(|subscription| subscription.join).collect();
        joins.into_iter().for_each(|join| self.unsubscribe(slot, join));
    }

    fn unsubscribe(&mut self, slot: usize, join: u32) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let key = ConnectionKey { slot, generation: connection.generation };
        let Some(Subscription { shape, place, .. }) = connection.remove_subscription(join) else { return };
        let is_behind = self.groups.member_mut(shape, place).is_some_and(|member| !member.feed.is_live());
        connection.behind -= usize::from(is_behind);
        if let Some(moved) = self.groups.remove(shape, place)
            && let Some(connection) = self.connections.get_mut(moved.slot)
        {
            connection.moved(moved.join, place);
        }
        let join = JoinToken { connection: key, join };
        self.writes.leave(join);
        self.commands.push(Command::Unsubscribe { shard: self.id, join, shape });
    }

    pub(super) fn mark_dirty(&mut self, slot: usize) {
        if let Some(connection) = self.connections.get_mut(slot).filter(|connection| !connection.dirty) {
            connection.dirty = true;
            self.dirty.push_back(slot);
        }
    }

    /// The connection that a join belongs to, unless its slot has gone to another since.
    pub(super) fn connection(&mut self, token: JoinToken) -> Option<(usize, &mut Connection)> {
        self.connection_of(token.connection)
    }

    fn connection_of(&mut self, ConnectionKey { slot, generation }: ConnectionKey) -> Option<(usize, &mut Connection)> {
        let open = |it: &&mut Connection| it.generation == generation && it.phase == Phase::Open;
        self.connections.get_mut(slot).filter(open).map(|connection| (slot, connection))
    }
}

const fn frame_error_reason(error: FrameError) -> CloseReason {
    match error {
        FrameError::Malformed => CloseReason::MalformedFrame,
        FrameError::NotUtf8 => CloseReason::InvalidUtf8,
        FrameError::TooLarge => CloseReason::TooBig,
    }
}
