//! Clients that come by plain HTTP: how the shard's decisions differ for them.
//!
//! A long-poll session is a connection whose socket is a poll now and then. An event stream and a topic's rows are
//! connections for which the server itself joins the one topic: whether that was accepted decides the answer's status.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::hub::Publication;
use crate::phoenix::{Body, ClientMessage, CloseReason, Event, Outgoing, Refusal, Status};
use crate::transport::topics::event;
use crate::transport::websocket::Incoming;
use crate::transport::wire::Wire;

use super::connection::Phase;
use super::state::State;

/// What those who have asked by HTTP are to be answered, by slot.
pub(super) type Answers = HashMap<usize, Answer>;

/// How a request for a stream went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::transport) enum Answer {
    /// The outbox holds the body's beginning.
    Ok,
    /// With `{"reason": …}`. Where the body has begun it ends in the middle.
    Refused(Body),
}

impl State {
    /// Says something in a stream's name: it joins its topic.
    pub(super) fn request(&mut self, slot: usize, message: ClientMessage, now: Duration) {
        self.drive(slot, now, |session, effects| session.receive(message, effects));
    }

    /// A message that a client has posted; whether its session goes on.
    pub(super) fn posted(&mut self, slot: usize, message: Incoming<'_>, now: Duration) -> bool {
        let size = match message {
            Incoming::Text(text) => text.len(),
            Incoming::Binary(data) => data.len(),
            Incoming::Ping(_) | Incoming::Pong | Incoming::Close(_) => 0,
        };
        if size > self.limits.frame {
            self.close(slot, CloseReason::TooBig, now);
            return false;
        }
        self.take(slot, message, now)
    }

    /// Whether a request for a stream was accepted, once that is known.
    pub(super) fn take_answer(&mut self, slot: usize) -> Option<Answer> {
        self.answers.remove(&slot)
    }

    /// A stream's client takes what comes next.
    pub(super) fn pop(&mut self, slot: usize, now: Duration) -> Option<Bytes> {
        let connection = self.connections.get_mut(slot)?;
        let frame = connection.outbox.pop()?;
        connection.heard = now;
        self.flushed(slot);
        Some(frame)
    }

    /// A long-poll client has shown that it got the first messages of its outbox.
    pub(super) fn acknowledged(&mut self, slot: usize, count: u64) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        for _ in 0..count {
            connection.outbox.pop();
        }
        self.flushed(slot);
    }

    /// Whether anything further will come.
    pub(super) fn is_open(&self, slot: usize) -> bool {
        self.connections.get(slot).is_some_and(|connection| connection.phase == Phase::Open)
    }

    /// What a Phoenix client would be sent. The answer to the join is the HTTP answer's beginning.
    pub(super) fn send_to_stream(&mut self, slot: usize, outgoing: &Outgoing, now: Duration) {
        let Some(connection) = self.connections.get(slot) else { return };
        let (wire, is_behind) = (connection.wire, connection.behind > 0);
        match (&outgoing.event, wire) {
            (Event::Reply { status: Status::Error, response, .. }, _) => self.refuse_stream(slot, response.clone()),
            (Event::Reply { response, .. }, Wire::Events) => {
                self.answers.insert(slot, Answer::Ok);
                self.push(slot, event::greeting(cursor_of(response).as_deref()), now);
            }
            // A topic that no table feeds has no rows.
            (Event::Reply { .. }, _) if !is_behind => self.push_rows(slot, &[], true, now),
            (Event::Reply { .. }, _) => {}
            (Event::Push { event, payload }, Wire::Events) => {
                if let Some(event) = event::of_push(event, payload) {
                    self.push(slot, event, now);
                }
            }
            (Event::Push { .. }, _) => {}
            (Event::Error { payload }, Wire::Events) => {
                self.push(slot, event::of_error(payload), now);
                self.finish(slot);
            }
            (Event::Error { payload }, _) => self.refuse_stream(slot, payload.clone()),
            (Event::Close, _) => self.finish(slot),
        }
    }

    /// The next rows of a JSON body, and its end after the last of them.
    pub(super) fn push_rows(&mut self, slot: usize, parts: &[Arc<Publication>], end: bool, now: Duration) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.heard = now;
        for rows in parts.iter().map(|part| part.updates()).filter(|rows| !rows.is_empty()) {
            let begun =
                std::mem::replace(&mut connection.wire, Wire::Rows { begun: true }) == Wire::Rows { begun: true };
            let before: &[u8] = if begun { b"," } else { ROWS_BEGIN };
            connection.outbox.push(Bytes::from_static(before));
            connection.outbox.push(rows);
        }
        if end {
            if connection.wire == (Wire::Rows { begun: false }) {
                connection.outbox.push(Bytes::from_static(ROWS_BEGIN));
            }
            let cursor = parts.last().and_then(|part| part.cursor());
            let cursor = cursor.map_or_else(|| "null".to_owned(), |cursor| format!("\"{cursor}\""));
            connection.outbox.push(format!("],\"cursor\":{cursor}}}\n").into());
        }
        if !connection.outbox.is_empty() {
            self.answers.entry(slot).or_insert(Answer::Ok);
        }
        if end {
            self.finish(slot);
        }
        self.mark_dirty(slot);
        self.flushed(slot);
    }

    /// Ends what is no WebSocket: there is no goodbye on the wire.
    pub(super) fn close_request(&mut self, slot: usize, reason: CloseReason) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        match (connection.wire, reason) {
            // They are on their way, and will have gone soon.
            (Wire::Rows { .. }, CloseReason::Drain) => return,
            (Wire::Rows { .. }, _) => {
                self.answers.insert(slot, Answer::Refused(Refusal::SnapshotFailed.response()));
            }
            (Wire::Events, CloseReason::Drain) => connection.outbox.push(event::drain(slot)),
            _ => {}
        }
        self.finish(slot);
    }

    /// Sends comments on quiet streams; gives those whose clients take nothing.
    pub(super) fn tick_streams(&mut self, now: Duration) -> Vec<usize> {
        let mut stuck = Vec::new();
        for (slot, connection) in &mut self.connections {
            let silent = now.saturating_sub(connection.heard);
            if !connection.wire.is_stream() || silent < self.limits.keep_alive {
                continue;
            }
            if !connection.outbox.is_empty() {
                stuck.extend((silent > self.limits.idle).then_some(slot));
            } else if connection.wire == Wire::Events && connection.phase == Phase::Open {
                connection.outbox.push(event::KEEP_ALIVE);
                connection.heard = now;
                if !std::mem::replace(&mut connection.dirty, true) {
                    self.dirty.push_back(slot);
                }
            }
        }
        stuck
    }

    fn refuse_stream(&mut self, slot: usize, response: Body) {
        self.answers.insert(slot, Answer::Refused(response));
        self.finish(slot);
    }

    /// What the outbox holds is the last.
    fn finish(&mut self, slot: usize) {
        self.unsubscribe_all(slot);
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.phase = Phase::Closed;
        }
        self.mark_dirty(slot);
    }
}

/// How a body with rows begins. The cursor comes last, since it is known last.
const ROWS_BEGIN: &[u8] = br#"{"updates":["#;

/// The cursor in a join's response.
fn cursor_of(response: &Body) -> Option<String> {
    let Body::Json(response) = response else { return None };
    let response: serde_json::Value = serde_json::from_slice(response).ok()?;
    response.get("cursor")?.as_str().map(str::to_owned)
}
