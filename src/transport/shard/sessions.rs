//! A shard's long-poll sessions: connections whose socket is a poll now and then.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::auth::Identity;
use crate::phoenix::Serializer;
use crate::transport::listener::Permit;
use crate::transport::long_poll::{
    Ask, Message, Polled, Posted, Progress, SECRET_LENGTH, SessionKey, SessionRequest, Token, patience,
};
use crate::transport::websocket::Incoming;
use crate::transport::wire::Wire;

use super::shell::{Guest, Shell};

/// One session, without what it has to send.
pub(super) struct Session {
    key: SessionKey,
    progress: Progress,
    waiting: Option<oneshot::Sender<Polled>>,
    /// When a poll last came or still waited, since the process began.
    polled: Duration,
    _permit: Permit,
}

impl Shell {
    /// A session begins; its first token. None where there is no room for it, or the server stops.
    pub(in crate::transport) fn open_session(&mut self, serializer: Serializer, identity: Identity) -> Option<Token> {
        let permit = self.admit_guest()?;
        let mut secret = [0; SECRET_LENGTH];
        rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut secret).ok()?;
        let now = self.now();
        let slot = self.state.open(Wire::LongPoll(serializer), identity, now);
        let key = SessionKey { shard: u16::try_from(self.id.0).ok()?, slot: u32::try_from(slot).ok()?, secret };
        let session = Session { key, progress: Progress::default(), waiting: None, polled: now, _permit: permit };
        self.guests.insert(slot, Guest::Session(Box::new(session)));
        Some(Token { key, received: 0 })
    }

    /// Answers what some shard has been asked for a session of this one. Whoever asked may be gone by now.
    pub(super) fn ask(&mut self, SessionRequest(ask): SessionRequest) {
        match ask {
            Ask::Poll { token, answer } => self.poll_session(token, answer),
            Ask::Post { key, messages, answer } => {
                let _gone = answer.send(self.post(key, messages));
            }
        }
    }

    fn poll_session(&mut self, token: Token, answer: oneshot::Sender<Polled>) {
        let now = self.now();
        let Some((slot, session)) = self.session(token.key) else {
            let _gone = answer.send(Polled::Gone);
            return;
        };
        let Ok(arrived) = session.progress.polled(token.received) else {
            let _gone = answer.send(Polled::Gone);
            return;
        };
        session.polled = now;
        let received = Token { received: session.progress.received(), ..token };
        if let Some(earlier) = session.waiting.replace(answer) {
            let _gone = earlier.send(Polled::Nothing(received));
        }
        self.state.acknowledged(slot, arrived);
        self.answer_poll(slot);
    }

    fn post(&mut self, key: SessionKey, messages: Vec<Message>) -> Posted {
        let now = self.now();
        let Some((slot, _)) = self.session(key) else { return Posted::Gone };
        if self.is_full() {
            return Posted::Busy(messages);
        }
        let goes_on = messages.into_iter().all(|message| match message {
            Message::Text(text) => self.state.posted(slot, Incoming::Text(&text), now),
            Message::Binary(data) => self.state.posted(slot, Incoming::Binary(&data), now),
            // Whatever is no text is no message either.
            Message::Malformed => self.state.posted(slot, Incoming::Text(""), now),
        });
        if goes_on { Posted::Taken } else { Posted::Gone }
    }

    /// Hands what waits to the poll that waits. A session that is over ends with its last messages.
    pub(super) fn answer_poll(&mut self, slot: usize) {
        let is_open = self.state.is_open(slot);
        let Some(Guest::Session(session)) = self.guests.get_mut(&slot) else { return };
        let Some(outbox) = self.state.outbox_mut(slot) else { return };
        if outbox.is_empty() && is_open {
            return;
        }
        let Some(waiting) = session.waiting.take_if(|waiting| outbox.is_empty() || !waiting.is_closed()) else {
            return;
        };
        if outbox.is_empty() {
            let _gone = waiting.send(Polled::Gone);
            return self.remove(slot);
        }
        let messages: Vec<Bytes> = outbox.frames().cloned().collect();
        let (received, written) = session.progress.handed(messages.len() as u64);
        let token = Token { key: session.key, received };
        // Who is gone by now asks again, with the token that it has.
        let _gone = waiting.send(Polled::Messages { messages, token, written });
    }

    /// Ends sessions that no poll has come for.
    pub(super) fn tick_sessions(&mut self) {
        let (now, patience) = (self.now(), patience(self.limits.poll));
        let mut over = Vec::new();
        for (slot, guest) in &mut self.guests {
            let Guest::Session(session) = guest else { continue };
            if session.waiting.as_ref().is_some_and(|waiting| !waiting.is_closed()) {
                session.polled = now;
            } else if now.saturating_sub(session.polled) > patience {
                over.push(*slot);
            }
        }
        over.into_iter().for_each(|slot| self.remove(slot));
    }

    /// The server stops: sessions whose client does not wait right now have nobody to tell.
    pub(super) fn drain_sessions(&mut self) {
        let is_over = |(slot, guest): (&usize, &Guest)| {
            let waits = matches!(guest, Guest::Session(session) if session.waiting.is_some());
            let is_session = matches!(guest, Guest::Session(_));
            (is_session && !waits && !self.state.is_open(*slot)).then_some(*slot)
        };
        let over: Vec<usize> = self.guests.iter().filter_map(is_over).collect();
        over.into_iter().for_each(|slot| self.remove(slot));
    }

    fn session(&mut self, key: SessionKey) -> Option<(usize, &mut Session)> {
        let slot = usize::try_from(key.slot).ok()?;
        match self.guests.get_mut(&slot)? {
            Guest::Session(session) if session.key == key => Some((slot, session)),
            _ => None,
        }
    }
}
