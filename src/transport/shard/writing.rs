//! The shard's part in writes from clients: events in, requests out, and the replies to them.

use std::time::Duration;

use crate::hub::JoinToken;
use crate::phoenix::{JoinId, Payload, Ref};
use crate::sync::{Answer, Outcome, Request};

use super::state::State;
use super::writes::{Asked, Next, Reply};

/// The event by which a client asks for its changes to be written.
pub(super) const SYNC_REQUEST: &str = "sync_request";

impl State {
    /// A client's request for those who write. Each is to be answered by [`State::written`].
    pub fn next_write(&mut self) -> Option<Request> {
        self.writes.next()
    }

    /// Requests wait for those who write.
    #[must_use]
    pub fn has_writes(&self) -> bool {
        !self.writes.is_idle()
    }

    /// What came of a request.
    pub fn written(&mut self, answer: Answer, now: Duration) {
        self.counters.wrote(&answer.outcome);
        let connections = &self.connections;
        let shape = |token: JoinToken| {
            let connection = connections.get(token.connection.slot);
            let connection = connection.filter(|it| it.generation == token.connection.generation)?;
            Some(connection.subscription(token.join)?.shape)
        };
        match self.writes.answered(self.id, answer, shape) {
            Some(Next::Reply(reply)) => self.reply(reply, now),
            Some(Next::Ask(command)) => self.commands.push(command),
            None => {}
        }
    }

    /// A request that those who write have no room for.
    pub fn refuse_write(&mut self, number: u32, now: Duration) {
        self.written(Answer { number, outcome: Outcome::busy() }, now);
    }

    pub(super) fn ask_to_write(
        &mut self,
        slot: usize,
        join: JoinId,
        topic: &str,
        payload: Payload,
        reference: Option<Ref>,
        now: Duration,
    ) {
        let Some(connection) = self.connections.get(slot) else { return };
        let token = JoinToken { connection: connection.key(slot), join: join.0 };
        let claims = connection.identity.claims.clone();
        let asked = Asked { token, topic: topic.to_owned(), claims, reference, payload };
        if let Err(reply) = self.writes.ask(self.id, asked, self.limits.writes) {
            self.reply(reply, now);
        }
    }

    /// The hub has said where the feed is, behind all that it had published.
    pub(super) fn located(&mut self, token: JoinToken, (number, cursor, complete): (u32, &str, bool), now: Duration) {
        let subscription = self.connection(token).and_then(|(_, connection)| connection.subscription(token.join));
        let member = subscription.and_then(|it| self.groups.member_mut(it.shape, it.place));
        let has_all = complete || member.is_some_and(|member| member.feed.is_live());
        if let Some(reply) = self.writes.located(number, cursor, has_all) {
            self.reply(reply, now);
        }
    }

    /// A subscription has read on, or has all that there is: its writes that wait for that ask again. One whose
    /// question crosses this on its way asks at the next such time, which comes as long as the subscription is not
    /// live.
    pub(super) fn caught_up(&mut self, token: JoinToken) {
        let subscription = self.connection(token).and_then(|(_, connection)| connection.subscription(token.join));
        if let Some(shape) = subscription.map(|subscription| subscription.shape) {
            self.commands.extend(self.writes.caught_up(self.id, token, shape));
        }
    }

    fn reply(&mut self, reply: Reply, now: Duration) {
        let Reply { token, reference, status, response } = reply;
        if let Some((slot, _)) = self.connection(token) {
            let join = JoinId(token.join);
            self.drive(slot, now, |session, effects| session.reply(join, reference, status, response, effects));
        }
    }
}
