//! Identities that change while a connection is open: new tokens, and the end of old ones.
//!
//! A client shows a new token by the event `access_token`, on any topic, or by the join param of that name. Its
//! signature is checked elsewhere, which may take a while: [`State::next_token`] gives what is to be verified and
//! [`State::verified`] takes the answer. A connection's tokens are verified one after the other, so that the last one
//! shown is the one that counts in the end; meanwhile the identity from before is served.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::auth::{Credential, Denied, Identity, WallTime};
use crate::hub::{Command, ConnectionKey, JoinToken};
use crate::phoenix::{Body, ClientMessage, CloseReason, Event, JoinId, Outgoing, Payload, Ref, Refusal, Status};

use super::super::connection::Phase;
use super::super::join;
use super::State;

/// The client's event.
pub(super) const EVENT: &str = "access_token";
/// Different tokens of one connection that wait to be verified. A client has a new one every few minutes.
const TOKENS_MAX: usize = 8;

/// A connection's tokens that are not verified yet, in the order in which they came; the first is being verified.
#[derive(Debug, Default)]
pub(in crate::transport::shard) struct ShownTokens(VecDeque<Shown>);

/// A token and what waits for it: clients show the same one on each of their topics.
#[derive(Debug)]
struct Shown {
    token: Credential,
    waiting: Vec<Waiting>,
}

/// What is done once a token is verified.
#[derive(Debug)]
pub(super) enum Waiting {
    Reply { topic: Arc<str>, join_ref: Option<Ref>, reference: Option<Ref> },
    Join { join: JoinId, topic: Arc<str>, params: Box<RawValue> },
}

impl ShownTokens {
    /// Whether it is the first: verifying is to begin. `None` where there are too many.
    fn show(&mut self, token: Credential, waiting: Waiting, waiting_max: usize) -> Option<bool> {
        if self.0.iter().map(|shown| shown.waiting.len()).sum::<usize>() >= waiting_max {
            return None;
        }
        if let Some(last) = self.0.back_mut().filter(|last| last.token == token) {
            last.waiting.push(waiting);
            return Some(false);
        }
        if self.0.len() >= TOKENS_MAX {
            return None;
        }
        self.0.push_back(Shown { token, waiting: vec![waiting] });
        Some(self.0.len() == 1)
    }

    /// Waits for the last of them, whatever it is.
    fn wait(&mut self, waiting: Waiting, waiting_max: usize) -> Option<()> {
        let token = self.0.back()?.token.clone();
        self.show(token, waiting, waiting_max).map(|_| ())
    }
}

impl State {
    /// The next token to verify. Each is answered by [`State::verified`]; a connection's next one comes after that.
    pub fn next_token(&mut self) -> Option<(ConnectionKey, Credential)> {
        loop {
            let key = self.unverified.pop_front()?;
            let tokens = self.connection_of(key).and_then(|(_, connection)| connection.tokens.as_ref());
            if let Some(first) = tokens.and_then(|tokens| tokens.0.front()) {
                return Some((key, first.token.clone()));
            }
        }
    }

    /// Whose the token is that came from [`State::next_token`].
    pub fn verified(&mut self, key: ConnectionKey, result: Result<Identity, Denied>, now: Duration) {
        let Some((slot, connection)) = self.connection_of(key) else { return };
        let Some(tokens) = &mut connection.tokens else { return };
        let Some(Shown { waiting, .. }) = tokens.0.pop_front() else { return };
        if tokens.0.is_empty() {
            connection.tokens = None;
        } else {
            self.unverified.push_back(key);
        }
        let refusal = result.map(|identity| self.identify(slot, identity)).map_err(join::denial).err();
        for waiting in waiting {
            match (waiting, &refusal) {
                (Waiting::Join { join, topic, params }, None) => self.subscribe(slot, join, &topic, &params, now),
                (Waiting::Join { join, .. }, Some(refusal)) => self.refuse(slot, join, refusal, now),
                (Waiting::Reply { topic, join_ref, reference }, refusal) => {
                    let (status, response) = match refusal {
                        None => (Status::Ok, Body::EMPTY),
                        Some(refusal) => (Status::Error, refusal.response()),
                    };
                    let event = Event::Reply { reference, status, response };
                    self.send(slot, &Outgoing { join_ref, topic, event }, now);
                }
            }
        }
    }

    /// Ends the channels of identities that are over by the wall clock. The connections stay: a new token mends them.
    pub fn expire(&mut self, wall: WallTime, now: Duration) {
        let over = self.connections.iter_mut().filter(|(_, connection)| {
            connection.phase == Phase::Open && !connection.expired && connection.identity.is_expired(wall)
        });
        let mut channels = Vec::new();
        for (slot, connection) in over {
            connection.expired = true;
            channels.extend(connection.session.joins().map(|(join, _)| (slot, join)));
        }
        for (slot, join) in channels {
            self.resync(slot, join.0, &Refusal::TokenExpired, now);
        }
    }

    /// The client's event with a new token.
    pub(super) fn token_event(&mut self, slot: usize, message: ClientMessage, now: Duration) {
        #[derive(Deserialize)]
        struct Content {
            token: String,
        }
        let ClientMessage { join_ref, reference, topic, payload, .. } = message;
        let content: Option<Content> = match &payload {
            Payload::Json(json) => serde_json::from_str(json.get()).ok(),
            Payload::Binary(_) => None,
        };
        // What holds no token is as one that no key has signed.
        let token = Credential::new(content.map(|content| content.token).unwrap_or_default());
        self.show(slot, token, Waiting::Reply { topic: topic.into(), join_ref, reference }, now);
    }

    /// A join: as whom the connection has shown to be, or as whom it shows to be along with it.
    pub(super) fn join(&mut self, slot: usize, join: JoinId, topic: Arc<str>, params: Box<RawValue>, now: Duration) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if let Some(token) = join::token(params.get()) {
            return self.show(slot, token, Waiting::Join { join, topic, params }, now);
        }
        if !connection.expired {
            return self.subscribe(slot, join, &topic, &params, now);
        }
        // A new token may be on its way already.
        let waiting_max = self.limits.topics_per_connection;
        match &mut connection.tokens {
            None => self.refuse(slot, join, &Refusal::TokenExpired, now),
            Some(tokens) => {
                if tokens.wait(Waiting::Join { join, topic, params }, waiting_max).is_none() {
                    self.close(slot, CloseReason::Flood, now);
                }
            }
        }
    }

    fn show(&mut self, slot: usize, token: Credential, waiting: Waiting, now: Duration) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let key = ConnectionKey { slot, generation: connection.generation };
        let tokens = connection.tokens.get_or_insert_default();
        match tokens.show(token, waiting, self.limits.topics_per_connection) {
            Some(true) => self.unverified.push_back(key),
            Some(false) => {}
            None => self.close(slot, CloseReason::Flood, now),
        }
    }

    /// From here on the connection is somebody else, or the same with other claims: every rule is to be looked at
    /// again.
    fn identify(&mut self, slot: usize, identity: Identity) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.expired = false;
        connection.outdated_join = connection.last_join;
        connection.identity = identity;
        let key = ConnectionKey { slot, generation: connection.generation };
        for subscription in &connection.subscriptions {
            self.commands.push(Command::Recheck {
                shard: self.id,
                join: JoinToken { connection: key, join: subscription.join },
                shape: subscription.shape,
                claims: connection.identity.claims.clone(),
            });
        }
    }
}
