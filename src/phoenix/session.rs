//! What a connection must answer: joins, leaves, heartbeats and refs, by Phoenix' rules.
//!
//! A connection's state is its topics. Each has at most one channel:
//!
//! ```text
//!            phx_join                 join_accepted
//!  (none) ─────────────▶  joining  ─────────────────▶  joined
//!    ▲                     │   ▲                         │ │
//!    │     join_refused    │   │  phx_join (the old      │ │  phx_leave,
//!    ├─────────────────────┘   │  channel is left)       │ │  channel_close,
//!    │                         └─────────────────────────┘ │  channel_error
//!    └─────────────────────────────────────────────────────┘
//! ```
//!
//! Joins are answered from outside, at any later time. Until then further messages for that topic wait, and only for
//! that one: other topics and heartbeats go on. So a topic's first message is always its join's answer.
//!
//! Knows nothing of what topics mean, who may join them, or what events do: that is asked of the caller by [`Effect`]s.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::close::{CloseReason, Refusal};
use super::message::{Body, ClientMessage, Event, MAX_NAME_LENGTH, Outgoing, Payload, Ref, Status};

/// The most topics of one connection, unless configured: far above what a page shows, low enough that one connection
/// can't fill the memory. A message looks for its topic by walking all of them.
pub const DEFAULT_MAX_CHANNELS: usize = 1000;
/// The most messages of one connection that wait for joins in work. The npm client sends nothing but a leave and a join
/// there, every ten seconds; a full turn of leave and join for a few dozen slow topics fits.
pub const MAX_QUEUED_MESSAGES: usize = 128;
/// The most bytes of payload that wait so, beside the last message, which the frame limit bounds.
pub const MAX_QUEUED_BYTES: usize = 256 * 1024;

/// One join of one connection: a re-join of the same topic is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinId(pub u32);

/// What the caller has to do, in order.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Send this to the client.
    Send(Outgoing),
    /// Decide about a join, then call [`Session::join_accepted`] or [`Session::join_refused`], once.
    Join { join: JoinId, topic: Arc<str>, params: Box<RawValue> },
    /// The client has left: end the subscription.
    Leave { join: JoinId },
    /// The client's own event on a joined topic; [`Session::reply`] answers it.
    Event { join: JoinId, topic: Arc<str>, event: String, payload: Payload, reference: Option<Ref> },
    /// Close the connection; whatever follows from the client is ignored.
    Close(CloseReason),
}

/// One connection's channels.
#[derive(Debug)]
pub struct Session {
    /// In no order. Linear, because few topics are the rule and each costs 64 bytes so.
    channels: Vec<Channel>,
    max_channels: usize,
    next_join: u32,
    queued: Queued,
    closed: bool,
}

/// What waits for joins in work, in all topics together.
#[derive(Debug, Default)]
struct Queued {
    messages: u32,
    bytes: usize,
}

/// One topic's channel.
#[derive(Debug)]
struct Channel {
    join: JoinId,
    topic: Arc<str>,
    /// As the join carried it: what `phx_close` and `phx_error` carry.
    join_ref: Option<Ref>,
    /// Where the join carried no join_ref, its ref stands in for it in pushes and replies. Once a channel with a
    /// join_ref is joined this is `None`.
    reference: Option<Ref>,
    state: State,
}

#[derive(Debug)]
enum State {
    Joining(Box<Joining>),
    Joined,
}

/// What an unanswered join holds.
#[derive(Debug, Default)]
struct Joining {
    /// The channel that this join replaces: its `phx_close` follows the answer.
    replaced: Option<Replaced>,
    waiting: Vec<ClientMessage>,
}

#[derive(Debug)]
struct Replaced {
    join_ref: Option<Ref>,
}

impl Session {
    /// A connection that may join up to `max_channels` topics.
    #[must_use]
    pub const fn new(max_channels: usize) -> Self {
        Self {
            channels: Vec::new(),
            max_channels,
            next_join: 0,
            queued: Queued { messages: 0, bytes: 0 },
            closed: false,
        }
    }

    /// Handles a message from the client.
    pub fn receive(&mut self, message: ClientMessage, effects: &mut Vec<Effect>) {
        if self.closed {
            return;
        }
        if message.topic == "phoenix" && message.event == "heartbeat" {
            let topic = Arc::from(message.topic);
            return effects.push(reply(None, topic, message.reference, Status::Ok, Body::EMPTY));
        }
        let found = self.channels.iter().position(|channel| *channel.topic == *message.topic);
        match found.and_then(|index| self.channels.get_mut(index)) {
            None => self.receive_unjoined(message, effects),
            Some(Channel { state: State::Joining(joining), .. }) => {
                if self.queued.is_full() {
                    self.closed = true;
                    return effects.push(Effect::Close(CloseReason::Flood));
                }
                self.queued.add(&message);
                joining.waiting.push(message);
            }
            Some(_) => self.receive_joined(message, effects),
        }
    }

    /// The join's subscription is live: its ok goes out as the topic's first message. `response` is its `response`.
    pub fn join_accepted(&mut self, join: JoinId, response: Body, effects: &mut Vec<Effect>) {
        let Some((index, joining)) = self.answer(join) else { return };
        let Some(channel) = self.channels.get_mut(index) else { return };
        let (topic, reference) = (Arc::clone(&channel.topic), channel.reference.clone());
        if channel.join_ref.is_some() {
            channel.reference = None;
        }
        effects.push(reply(channel.join_ref.clone(), Arc::clone(&topic), reference, Status::Ok, response));
        self.finish_join(topic, *joining, effects);
    }

    /// The join is refused. `response` is its `response`, see [`Refusal::response`]; for a topic that nothing matches
    /// call [`Session::join_unmatched`].
    pub fn join_refused(&mut self, join: JoinId, response: Body, effects: &mut Vec<Effect>) {
        let Some((channel, joining)) = self.take_refused(join) else { return };
        let Channel { topic, join_ref, reference, .. } = channel;
        effects.push(reply(join_ref, Arc::clone(&topic), reference, Status::Error, response));
        self.finish_join(topic, *joining, effects);
    }

    /// The join is refused because nothing matches its topic: the one refusal that doesn't carry the join_ref.
    pub fn join_unmatched(&mut self, join: JoinId, effects: &mut Vec<Effect>) {
        let Some((channel, joining)) = self.take_refused(join) else { return };
        let Channel { topic, reference, .. } = channel;
        effects.push(unmatched(Arc::clone(&topic), reference));
        self.finish_join(topic, *joining, effects);
    }

    /// Answers an [`Effect::Event`]; nothing where the channel is gone by now.
    pub fn reply(
        &self,
        join: JoinId,
        reference: Option<Ref>,
        status: Status,
        response: Body,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(channel) = self.joined(join) {
            effects.push(reply(channel.own_ref().cloned(), Arc::clone(&channel.topic), reference, status, response));
        }
    }

    /// Sends an event to this client alone; nothing where the channel is gone by now.
    pub fn push(&self, join: JoinId, event: Arc<str>, payload: Body, effects: &mut Vec<Effect>) {
        if let Some(channel) = self.joined(join) {
            effects.push(Effect::Send(Outgoing {
                join_ref: channel.own_ref().cloned(),
                topic: Arc::clone(&channel.topic),
                event: Event::Push { event, payload },
            }));
        }
    }

    /// The server has ended the subscription and the client should join again: `phx_error`. Nothing where the channel
    /// is not joined; a join in work must be answered instead.
    pub fn channel_error(&mut self, join: JoinId, reason: &Refusal, effects: &mut Vec<Effect>) {
        self.end(join, Event::Error { payload: reason.response() }, effects);
    }

    /// The server has ended the subscription for good: `phx_close`. Nothing where the channel is not joined; a join in
    /// work must be answered instead.
    pub fn channel_close(&mut self, join: JoinId, effects: &mut Vec<Effect>) {
        self.end(join, Event::Close, effects);
    }

    /// Every channel, joined or joining: what the caller must end when the connection does.
    pub fn joins(&self) -> impl Iterator<Item = (JoinId, &Arc<str>)> {
        self.channels.iter().map(|channel| (channel.join, &channel.topic))
    }

    fn receive_unjoined(&mut self, message: ClientMessage, effects: &mut Vec<Effect>) {
        let ClientMessage { join_ref, reference, topic, event, payload } = message;
        let topic: Arc<str> = topic.into();
        match &*event {
            "phx_join" if topic.is_empty() || topic.len() > MAX_NAME_LENGTH => {
                effects.push(unmatched(topic, reference));
            }
            "phx_join" if self.channels.len() >= self.max_channels => {
                let response = Refusal::TooManyChannels.response();
                effects.push(reply(join_ref, topic, reference, Status::Error, response));
            }
            "phx_join" => self.join(topic, join_ref, reference, payload, None, effects),
            // Leaving what is not joined succeeds.
            "phx_leave" => effects.push(reply(join_ref, topic, reference, Status::Ok, Body::EMPTY)),
            _ => effects.push(unmatched(topic, reference)),
        }
    }

    fn receive_joined(&mut self, message: ClientMessage, effects: &mut Vec<Effect>) {
        let ClientMessage { join_ref, reference, topic, event, payload } = message;
        let Some(index) = self.channels.iter().position(|channel| *channel.topic == *topic) else { return };
        let Some(channel) = self.channels.get(index) else { return };
        if event == "phx_join" {
            // One subscription a topic: the old one ends now, and is told so after the new one's answer.
            let old = self.channels.swap_remove(index);
            effects.push(Effect::Leave { join: old.join });
            let replaced = Some(Replaced { join_ref: old.join_ref });
            return self.join(old.topic, join_ref, reference, payload, replaced, effects);
        }
        if channel.is_stale(join_ref.as_ref()) {
            return;
        }
        if event == "phx_leave" {
            let old = self.channels.swap_remove(index);
            let own_ref = old.own_ref().cloned();
            effects.push(Effect::Leave { join: old.join });
            effects.push(reply(own_ref, Arc::clone(&old.topic), reference, Status::Ok, Body::EMPTY));
            return effects.push(close(old.join_ref, old.topic));
        }
        let (join, topic) = (channel.join, Arc::clone(&channel.topic));
        effects.push(Effect::Event { join, topic, event, payload, reference });
    }

    fn join(
        &mut self,
        topic: Arc<str>,
        join_ref: Option<Ref>,
        reference: Option<Ref>,
        params: Payload,
        replaced: Option<Replaced>,
        effects: &mut Vec<Effect>,
    ) {
        let Payload::Json(params) = params else {
            // A Phoenix channel's join takes a map and crashes on anything binary.
            let response = Refusal::JoinCrashed.response();
            effects.push(reply(join_ref, Arc::clone(&topic), reference, Status::Error, response));
            return effects.extend(replaced.map(|old| close(old.join_ref, topic)));
        };
        let join = JoinId(self.next_join);
        self.next_join = self.next_join.wrapping_add(1);
        let state = State::Joining(Box::new(Joining { replaced, waiting: Vec::new() }));
        if self.channels.is_empty() {
            // One topic is the most common number; a first push would make room for four.
            self.channels.reserve_exact(1);
        }
        self.channels.push(Channel { join, topic: Arc::clone(&topic), join_ref, reference, state });
        effects.push(Effect::Join { join, topic, params });
    }

    /// Marks a join in work as joined; `None` where it was answered before.
    fn answer(&mut self, join: JoinId) -> Option<(usize, Box<Joining>)> {
        let index = self.channels.iter().position(|channel| channel.join == join)?;
        let state = &mut self.channels.get_mut(index)?.state;
        match std::mem::replace(state, State::Joined) {
            State::Joining(joining) => Some((index, joining)),
            State::Joined => None,
        }
    }

    fn take_refused(&mut self, join: JoinId) -> Option<(Channel, Box<Joining>)> {
        let (index, joining) = self.answer(join)?;
        Some((self.channels.swap_remove(index), joining))
    }

    /// What comes after a join's answer: the end of the channel that it replaced, and the messages that waited.
    fn finish_join(&mut self, topic: Arc<str>, joining: Joining, effects: &mut Vec<Effect>) {
        effects.extend(joining.replaced.map(|old| close(old.join_ref, Arc::clone(&topic))));
        let mut waiting = joining.waiting.into_iter();
        while let Some(message) = waiting.next() {
            self.queued.remove(&message);
            self.receive(message, effects);
            // It was another join: the rest waits for that one, already counted.
            if let Some(joining) = self.joining(&topic) {
                joining.waiting.extend(waiting);
                return;
            }
        }
    }

    fn joining(&mut self, topic: &str) -> Option<&mut Joining> {
        self.channels.iter_mut().find(|channel| *channel.topic == *topic).and_then(|channel| match &mut channel.state {
            State::Joining(joining) => Some(&mut **joining),
            State::Joined => None,
        })
    }

    fn joined(&self, join: JoinId) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.join == join && matches!(channel.state, State::Joined))
    }

    fn end(&mut self, join: JoinId, event: Event, effects: &mut Vec<Effect>) {
        let is_ended = |channel: &Channel| channel.join == join && matches!(channel.state, State::Joined);
        if let Some(index) = self.channels.iter().position(is_ended) {
            let Channel { topic, join_ref, .. } = self.channels.swap_remove(index);
            effects.push(Effect::Send(Outgoing { join_ref, topic, event }));
        }
    }
}

impl Channel {
    /// What pushes and replies carry as join_ref.
    const fn own_ref(&self) -> Option<&Ref> {
        match &self.join_ref {
            Some(join_ref) => Some(join_ref),
            None => self.reference.as_ref(),
        }
    }

    /// Meant for an earlier channel of this topic. Messages without a join_ref never are.
    fn is_stale(&self, join_ref: Option<&Ref>) -> bool {
        join_ref.zip(self.own_ref()).is_some_and(|(theirs, own)| theirs != own)
    }
}

impl Queued {
    fn is_full(&self) -> bool {
        usize::try_from(self.messages).is_ok_and(|messages| messages >= MAX_QUEUED_MESSAGES)
            || self.bytes >= MAX_QUEUED_BYTES
    }

    fn add(&mut self, message: &ClientMessage) {
        self.messages += 1;
        self.bytes += message.payload.len() + message.event.len();
    }

    fn remove(&mut self, message: &ClientMessage) {
        self.messages -= 1;
        self.bytes -= message.payload.len() + message.event.len();
    }
}

fn reply(join_ref: Option<Ref>, topic: Arc<str>, reference: Option<Ref>, status: Status, response: Body) -> Effect {
    Effect::Send(Outgoing { join_ref, topic, event: Event::Reply { reference, status, response } })
}

fn unmatched(topic: Arc<str>, reference: Option<Ref>) -> Effect {
    reply(None, topic, reference, Status::Error, Refusal::UnmatchedTopic.response())
}

fn close(join_ref: Option<Ref>, topic: Arc<str>) -> Effect {
    Effect::Send(Outgoing { join_ref, topic, event: Event::Close })
}

#[cfg(test)]
mod tests;
