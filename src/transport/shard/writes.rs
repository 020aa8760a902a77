//! `sync_request`s on their way: to those who write, through the feed, and back as replies.
//!
//! A channel's requests are written in the order in which they came, one after the other; other channels don't wait for
//! them. A reply's cursor must not be past anything that the client has not got: it is given out while the subscription
//! is live, by an answer of the hub that comes behind all that was published before.

use std::collections::{HashMap, VecDeque};

use serde_json::value::RawValue;

use crate::hub::{Command, ConnectionKey, JoinToken, ShapeId, ShardId};
use crate::phoenix::{Body, Payload, Ref, Refusal, Status};
use crate::routing::Claims;
use crate::sync::{Answer, Outcome, Request};

/// Payloads of a shard's requests that are not written, in bytes: what its clients hold beside outboxes and commands.
/// Beyond it requests are answered with `busy`.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Requests, until their replies are out.
#[derive(Debug, Default)]
pub(super) struct Writes {
    next: u32,
    pending: HashMap<u32, Pending>,
    /// The numbers of a channel's requests that are not written: the front one is in work.
    channels: HashMap<JoinToken, VecDeque<u32>>,
    /// How many of a connection's requests are not replied to.
    counts: HashMap<ConnectionKey, usize>,
    /// Of payloads that are not written.
    bytes: usize,
    /// For those who write.
    ready: VecDeque<Request>,
}

#[derive(Debug)]
struct Pending {
    token: JoinToken,
    reference: Option<Ref>,
    /// Of its payload, until that is written.
    size: usize,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// For the channel's request before this one.
    Queued(Box<Request>),
    Writing,
    /// It is done; the hub is asked where the feed is.
    Locating,
    /// It is done; the subscription is not live.
    Behind,
}

/// A reply that is due.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) token: JoinToken,
    pub(super) reference: Option<Ref>,
    pub(super) status: Status,
    pub(super) response: Body,
}

/// What a client asks on a channel of its own.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) token: JoinToken,
    pub(super) topic: String,
    pub(super) claims: Claims,
    pub(super) reference: Option<Ref>,
    pub(super) payload: Payload,
}

impl Writes {
    /// Takes a request; the reply where it is not taken. `most`: how many of a connection may be unanswered.
    pub(super) fn ask(&mut self, shard: ShardId, asked: Asked, most: usize) -> Result<(), Reply> {
        let Asked { token, topic, claims, reference, payload } = asked;
        let payload: Box<RawValue> = match payload {
            Payload::Json(payload) => payload,
            Payload::Binary(_) => return Err(reply(token, reference, Outcome::binary())),
        };
        let count = self.counts.get(&token.connection).copied().unwrap_or_default();
        let size = payload.get().len();
        if count >= most || self.bytes.saturating_add(size) > BYTES_MAX {
            return Err(reply(token, reference, Outcome::busy()));
        }
        self.counts.insert(token.connection, count + 1);
        self.bytes += size;
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let request = Request { shard: shard.0, number, topic, claims, payload };
        let channel = self.channels.entry(token).or_default();
        let is_first = channel.is_empty();
        channel.push_back(number);
        let stage = if is_first {
            self.ready.push_back(request);
            Stage::Writing
        } else {
            Stage::Queued(Box::new(request))
        };
        self.pending.insert(number, Pending { token, reference, size, stage });
        Ok(())
    }

    /// The next request for those who write.
    pub(super) fn next(&mut self) -> Option<Request> {
        self.ready.pop_front()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// What came of a request: a reply, or where the feed must be before there is one. `shape`: the channel's
    /// subscription, unless that is gone.
    pub(super) fn answered(
        &mut self,
        shard: ShardId,
        answer: Answer,
        shape: impl Fn(JoinToken) -> Option<ShapeId>,
    ) -> Option<Next> {
        let Answer { number, outcome } = answer;
        let pending = self.pending.get_mut(&number)?;
        self.bytes -= std::mem::take(&mut pending.size);
        let join = pending.token;
        let shape = shape(join);
        self.advance(join, shape.is_some());
        match (outcome, shape) {
            (_, None) => {
                self.forget(number);
                None
            }
            (Outcome::Done(write), Some(shape)) => {
                if let Some(pending) = self.pending.get_mut(&number) {
                    pending.stage = Stage::Locating;
                }
                Some(Next::Ask(Command::Locate { shard, join, shape, number, write: Some(write) }))
            }
            (outcome, Some(_)) => {
                let Pending { token, reference, .. } = self.forget(number)?;
                Some(Next::Reply(reply(token, reference, outcome)))
            }
        }
    }

    /// The hub has said where the feed is; the reply, if the client `has_all` up to there.
    pub(super) fn located(&mut self, number: u32, cursor: &str, has_all: bool) -> Option<Reply> {
        let pending = self.pending.get_mut(&number).filter(|pending| matches!(pending.stage, Stage::Locating))?;
        if !has_all {
            pending.stage = Stage::Behind;
            return None;
        }
        let Pending { token, reference, .. } = self.forget(number)?;
        let response = Body::Json(format!(r#"{{"cursor":{cursor}}}"#).into());
        Some(Reply { token, reference, status: Status::Ok, response })
    }

    /// A subscription that is not live has read on: what to ask the hub for those who wait for that.
    pub(super) fn caught_up(&mut self, shard: ShardId, join: JoinToken, shape: ShapeId) -> Vec<Command> {
        if !self.counts.contains_key(&join.connection) {
            return Vec::new();
        }
        let is_behind = |pending: &Pending| pending.token == join && matches!(pending.stage, Stage::Behind);
        let behind = self.pending.iter_mut().filter(|(_, pending)| is_behind(pending));
        let ask = |(number, pending): (&u32, &mut Pending)| {
            pending.stage = Stage::Locating;
            Command::Locate { shard, join, shape, number: *number, write: None }
        };
        behind.map(ask).collect()
    }

    /// Nothing that a channel has asked is replied to any more. What is being written may be done all the same.
    pub(super) fn leave(&mut self, join: JoinToken) {
        if !self.counts.contains_key(&join.connection) {
            return;
        }
        let is_over = |pending: &Pending| pending.token == join && !matches!(pending.stage, Stage::Writing);
        let over: Vec<u32> = self.pending.iter().filter(|(_, it)| is_over(it)).map(|(number, _)| *number).collect();
        for number in over {
            self.forget(number);
            if let Some(channel) = self.channels.get_mut(&join) {
                channel.retain(|queued| *queued != number);
            }
        }
    }

    /// The channel's front request is written: the next one's turn, unless nobody would hear of it.
    fn advance(&mut self, join: JoinToken, is_joined: bool) {
        let Some(channel) = self.channels.get_mut(&join) else { return };
        channel.pop_front();
        let Some(next) = channel.front().copied() else {
            self.channels.remove(&join);
            return;
        };
        if !is_joined {
            let rest = self.channels.remove(&join).unwrap_or_default();
            rest.into_iter().for_each(|number| drop(self.forget(number)));
            return;
        }
        let Some(pending) = self.pending.get_mut(&next) else { return };
        if let Stage::Queued(request) = std::mem::replace(&mut pending.stage, Stage::Writing) {
            self.ready.push_back(*request);
        }
    }

    fn forget(&mut self, number: u32) -> Option<Pending> {
        let pending = self.pending.remove(&number)?;
        self.bytes -= pending.size;
        if let Some(count) = self.counts.get_mut(&pending.token.connection) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&pending.token.connection);
            }
        }
        Some(pending)
    }
}

/// What comes after an answer.
#[derive(Debug)]
pub(super) enum Next {
    Reply(Reply),
    Ask(Command),
}

fn reply(token: JoinToken, reference: Option<Ref>, outcome: Outcome) -> Reply {
    let response = match outcome {
        Outcome::Refused(json) => Body::Json(json.as_bytes().to_vec().into()),
        Outcome::NotWritable | Outcome::Done(_) => Refusal::EventNotAllowed.response(),
    };
    Reply { token, reference, status: Status::Error, response }
}
