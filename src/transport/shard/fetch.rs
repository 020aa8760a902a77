//! `fetch_updates`: the current rows for one who has joined, as the join wanted to see them or as the event says.
//!
//! Only the hub knows whether a view fits the topic. Until it has said so, the subscription reads on as before.

use std::collections::HashMap;
use std::time::Duration;

use crate::hub::{self, Command, ConnectionKey, JoinToken, View};
use crate::phoenix::{Body, JoinId, Payload, Ref, Refusal, Status};

use super::connection::Subscription;
use super::group::Feed;
use super::join;
use super::state::State;

/// The event.
pub(super) const FETCH: &str = "fetch_updates";

/// Views that the hub is judging. It answers each, so that they are no more than the commands that it may have.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    next: u32,
    pending: HashMap<u32, (Option<Ref>, Box<View>)>,
}

impl State {
    /// A client wants the current rows.
    pub(super) fn ask_to_fetch(
        &mut self,
        slot: usize,
        join: JoinId,
        payload: &Payload,
        reference: Option<Ref>,
        now: Duration,
    ) {
        let result = match join::fetch(payload) {
            Ok(Some(view)) => return self.ask_for_judgement(slot, join, Box::new(view), reference),
            Ok(None) => {
                self.fetch(slot, join.0, None);
                Ok(())
            }
            Err(refusal) => Err(refusal),
        };
        self.answer_fetch(slot, join, reference, result, now);
    }

    /// The hub has said whether rows can be fetched in a view.
    pub(super) fn judged(&mut self, join: JoinToken, number: u32, result: Result<(), hub::Refusal>, now: Duration) {
        let Some((reference, view)) = self.fetches.pending.remove(&number) else { return };
        let Some((slot, _)) = self.connection(join) else { return };
        let result = result.map_err(|refusal| join::refusal(&refusal));
        if result.is_ok() {
            self.fetch(slot, join.join, Some(view));
        }
        self.answer_fetch(slot, JoinId(join.join), reference, result, now);
    }

    fn ask_for_judgement(&mut self, slot: usize, join: JoinId, view: Box<View>, reference: Option<Ref>) {
        let Some(connection) = self.connections.get(slot) else { return };
        let Some(Subscription { shape, .. }) = connection.subscription(join.0) else { return };
        let key = ConnectionKey { slot, generation: connection.generation };
        let number = self.fetches.next;
        self.fetches.next = number.wrapping_add(1);
        self.fetches.pending.insert(number, (reference, view.clone()));
        let join = JoinToken { connection: key, join: join.0 };
        self.commands.push(Command::Judge { shard: self.id, join, shape, number, view });
    }

    /// Reads the current rows, unless the same are on their way already.
    fn fetch(&mut self, slot: usize, join: u32, view: Option<Box<View>>) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let Some(Subscription { shape, place, .. }) = connection.subscription(join) else { return };
        let Some(member) = self.groups.member_mut(shape, place) else { return };
        if member.feed.is_snapshot() && view.is_none() {
            return;
        }
        let number = self.next_read;
        self.next_read = self.next_read.wrapping_add(1);
        connection.behind += usize::from(member.feed.is_live());
        member.feed = Feed::Reading { number, snapshot: true };
        let join = JoinToken { connection: ConnectionKey { slot, generation: connection.generation }, join };
        self.commands.push(Command::Fetch { shard: self.id, join, shape, number, view });
    }

    fn answer_fetch(
        &mut self,
        slot: usize,
        join: JoinId,
        reference: Option<Ref>,
        result: Result<(), Refusal>,
        now: Duration,
    ) {
        let (status, response) = match result {
            Ok(()) => (Status::Ok, Body::EMPTY),
            Err(refusal) => {
                self.counters.refused_event(&refusal);
                (Status::Error, refusal.response())
            }
        };
        self.drive(slot, now, |session, effects| session.reply(join, reference, status, response, effects));
    }
}
