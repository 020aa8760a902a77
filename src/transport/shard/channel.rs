//! What members of a topic say to one another: clients' broadcasts and presence, on their way to the hub and back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::hub::{self, Broadcast, Command, ConnectionKey, Content, JoinToken, Saying};
use crate::phoenix::{Body, CloseReason, JoinId, Payload, Refusal, Status};
use crate::routing::ChannelSpec;
use crate::transport::limits::ChannelLimits;

use super::connection::Subscription;
use super::introduction;
use super::state::State;

/// A connection's joined topics that have a channel, and how much it may still say there.
#[derive(Debug, Default)]
pub(super) struct Channels {
    joined: Vec<Joined>,
    allowance: Allowance,
}

#[derive(Debug)]
struct Joined {
    join: u32,
    /// Whether some route feeds the topic.
    fed: bool,
    channel: Arc<ChannelSpec>,
}

impl Channels {
    pub(super) fn joined(&mut self, join: u32, fed: bool, channel: Option<&Arc<ChannelSpec>>) {
        self.joined.extend(channel.map(|channel| Joined { join, fed, channel: Arc::clone(channel) }));
    }

    pub(super) fn changed(&mut self, join: u32, channel: Option<&Arc<ChannelSpec>>) {
        let fed = self.is_fed(join);
        self.left(join);
        self.joined(join, fed, channel);
    }

    pub(super) fn left(&mut self, join: u32) {
        self.joined.retain(|joined| joined.join != join);
    }

    /// A topic without a channel could not have been joined unless a route feeds it.
    fn is_fed(&self, join: u32) -> bool {
        self.get(join).is_none_or(|joined| joined.fed)
    }

    fn get(&self, join: u32) -> Option<&Joined> {
        self.joined.iter().find(|joined| joined.join == join)
    }
}

/// What a connection may say: so much a second, and what it has saved up to a burst's size.
#[derive(Debug, Default)]
struct Allowance {
    /// When all that was said so far is paid for, since the process began.
    paid: Duration,
}

impl Allowance {
    /// Whether one more may be said at `now`; if so, it has been.
    fn take(&mut self, now: Duration, limits: &ChannelLimits) -> bool {
        let price = Duration::from_secs(1) / limits.broadcasts_per_second.max(1);
        let paid = self.paid.max(now) + price;
        let is_allowed = paid - now <= price * limits.broadcast_burst.max(1);
        if is_allowed {
            self.paid = paid;
        }
        is_allowed
    }
}

impl State {
    /// A client's own event, and the reply to it.
    pub(super) fn event(
        &mut self,
        slot: usize,
        join: JoinId,
        topic: &Arc<str>,
        (event, payload): (&str, &Payload),
        now: Duration,
    ) -> (Status, Body) {
        let result = match event {
            "presence_update" => self.update_presence(slot, join, payload, now),
            _ => self.say(slot, join, topic, (event, payload), now),
        };
        match result {
            Ok(()) => (Status::Ok, Body::EMPTY),
            Err(refusal) => {
                self.counters.refused_event(&refusal);
                (Status::Error, refusal.response())
            }
        }
    }

    /// Whether there are rows behind a joined topic.
    pub(super) fn is_fed(&self, slot: usize, join: JoinId) -> bool {
        self.connections.get(slot).is_some_and(|connection| connection.channels.is_fed(join.0))
    }

    /// A client's event that is to reach everyone on its topic.
    fn say(
        &mut self,
        slot: usize,
        join: JoinId,
        topic: &Arc<str>,
        (event, payload): (&str, &Payload),
        now: Duration,
    ) -> Result<(), Refusal> {
        let limits = self.limits.channels;
        let connection = self.connections.get_mut(slot).ok_or(Refusal::EventNotAllowed)?;
        let channel = connection.channels.get(join.0).map(|joined| Arc::clone(&joined.channel));
        let published = channel.as_ref().and_then(|channel| Some((channel, channel.published(event)?)));
        let (channel, event) = published.ok_or(Refusal::EventNotAllowed)?;
        let content = content(payload, limits.broadcast)?;
        if !connection.channels.allowance.take(now, &limits) {
            return Err(Refusal::RateLimited);
        }
        let connection = ConnectionKey { slot, generation: connection.generation };
        let sender = hub::Member { shard: self.id, join: JoinToken { connection, join: join.0 } };
        let except = (!channel.include_sender).then_some(sender);
        let saying = Saying { topic: Arc::clone(topic), event: Arc::clone(event), content, except };
        self.commands.push(Command::Broadcast(Box::new(saying)));
        Ok(())
    }

    /// A client says something else of itself to those who see it.
    fn update_presence(&mut self, slot: usize, join: JoinId, payload: &Payload, now: Duration) -> Result<(), Refusal> {
        let limits = self.limits.channels;
        let connection = self.connections.get_mut(slot).ok_or(Refusal::EventNotAllowed)?;
        if !connection.channels.get(join.0).is_some_and(|joined| joined.channel.presence) {
            return Err(Refusal::EventNotAllowed);
        }
        let meta = introduction::update(payload, limits.presence_meta)?;
        if !connection.channels.allowance.take(now, &limits) {
            return Err(Refusal::RateLimited);
        }
        let connection = ConnectionKey { slot, generation: connection.generation };
        let join = JoinToken { connection, join: join.0 };
        self.commands.push(Command::UpdatePresence { shard: self.id, join, meta });
        Ok(())
    }

    /// Appends one shared frame to the outbox of every subscriber of the topic, whatever it reads.
    pub(super) fn hear(&mut self, broadcast: &Broadcast, now: Duration) {
        self.deliver(broadcast, now, |_| true);
    }

    /// The same for those who know who is there.
    pub(super) fn hear_diff(&mut self, diff: &Broadcast, now: Duration) {
        self.deliver(diff, now, |knows_presence| knows_presence);
    }

    fn deliver(&mut self, broadcast: &Broadcast, now: Duration, is_wanted: impl Fn(bool) -> bool) {
        let mut overflowing = Vec::new();
        let except = broadcast.except.filter(|except| except.shard == self.id).map(|except| except.join);
        for shape in &broadcast.shapes {
            for member in self.groups.members_mut(*shape) {
                let Some(connection) = self.connections.get_mut(member.slot) else { continue };
                let token = ConnectionKey { slot: member.slot, generation: connection.generation };
                if !is_wanted(member.knows_presence)
                    || except == Some(JoinToken { connection: token, join: member.join })
                {
                    continue;
                }
                if connection.outbox.is_flooded(self.limits.outbox) {
                    overflowing.push(member.slot);
                    continue;
                }
                let Some(frame) = connection.wire.broadcast(broadcast) else { continue };
                connection.outbox.push_said(frame);
                if !connection.dirty {
                    connection.dirty = true;
                    self.dirty.push_back(member.slot);
                }
            }
        }
        overflowing.into_iter().for_each(|slot| self.close_slow(slot, now));
    }

    /// Tells subscribers who is there; from here on they hear of changes.
    pub(super) fn introduce(&mut self, joins: &[JoinToken], state: &Broadcast, now: Duration) {
        for token in joins {
            let Some((slot, connection)) = self.connection(*token) else { continue };
            let wire = connection.wire;
            let Some(Subscription { shape, place, .. }) = connection.subscription(token.join) else { continue };
            let Some(member) = self.groups.member_mut(shape, place) else { continue };
            member.knows_presence = true;
            if let Some(frame) = wire.broadcast(state) {
                self.push(slot, frame, now);
            }
        }
    }

    /// Who does not read what others say is not served; what waits would not be read either.
    pub(super) fn close_slow(&mut self, slot: usize, now: Duration) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.outbox.drop_unsent();
        }
        self.close(slot, CloseReason::Slow, now);
    }
}

/// What others are sent of a client's payload: the same JSON or the same bytes.
pub(in crate::transport) fn content(payload: &Payload, length_max: usize) -> Result<Content, Refusal> {
    if payload.len() > length_max {
        return Err(Refusal::PayloadTooLarge);
    }
    match payload {
        // Phoenix' payloads are maps, and there are clients that fail on anything else: no reason to let others do
        // that.
        Payload::Json(json) if !json.get().starts_with('{') => Err(Refusal::InvalidPayload),
        Payload::Json(json) => Ok(Content::Json(Bytes::copy_from_slice(json.get().as_bytes()))),
        Payload::Binary(data) => Ok(Content::Binary(data.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_saved_up_to_a_burst() {
        let limits = ChannelLimits { broadcast: 0, broadcasts_per_second: 10, broadcast_burst: 3, presence_meta: 0 };
        let mut allowance = Allowance::default();
        let mut at = |millis| allowance.take(Duration::from_millis(millis), &limits);
        assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
        assert_eq!([at(99), at(100), at(100)], [false, true, false]);
        assert_eq!([at(10_000), at(10_000), at(10_000), at(10_000)], [true, true, true, false]);
    }
}
