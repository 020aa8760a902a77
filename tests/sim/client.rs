//! A client as the `phoenix` package is one: its connection, and the frames on it.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value as Json, json};
use walcast::phoenix::Serializer;

use crate::channel::{Channel, Checked, State};
use crate::config::Claims;
use crate::postgres::Postgres;
use crate::sight::Sight;
use crate::view::View;

/// A connection, as the client has it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) shard: usize,
    pub(crate) slot: usize,
    /// Bytes on their way to the gateway.
    pub(crate) up: Vec<u8>,
    /// Bytes that came, and are no whole frame yet.
    pub(crate) received: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) serializer: Serializer,
    pub(crate) link: Option<Link>,
    pub(crate) channels: Vec<Channel>,
    /// Who it is, or is about to show to be.
    pub(crate) claims: Claims,
    /// How its joins were taken, by topic.
    pub(crate) seats: BTreeMap<String, Sight>,
    references: u64,
    frames: u8,
}

impl Client {
    pub(crate) fn new(serializer: Serializer, topics: &[&'static str], random: &mut Rng) -> Self {
        let mut channel = |topic: &&'static str| Channel::new(topic, View::random(topic, random), random.bool());
        let channels = topics.iter().map(&mut channel).collect();
        let claims = Claims::random(random);
        Self { serializer, link: None, channels, claims, seats: BTreeMap::new(), references: 0, frames: 0 }
    }

    pub(crate) fn disconnected(&mut self) {
        self.link = None;
        self.seats.clear();
        self.channels.iter_mut().for_each(|channel| channel.state = State::Closed);
    }

    /// Shows to be somebody else, if there is a way to.
    pub(crate) fn identify(&mut self, claims: Claims) {
        let joined = self.channels.iter().find(|channel| channel.state == State::Joined);
        let way = joined.map(|channel| (channel.join_ref, channel.topic));
        match way {
            Some((join_ref, topic)) => {
                self.claims = claims;
                self.push(join_ref, topic, "access_token", &json!({"token": claims.json().to_string()}));
            }
            None if self.link.is_none() => self.claims = claims,
            None => {}
        }
    }

    /// Joins with the last cursor. With the old serializer nothing tells an older channel's messages from this one's,
    /// so that it joins only what is closed.
    pub(crate) fn join(&mut self, index: usize) {
        let again = !matches!(self.channels[index].state, State::Closed);
        if again && self.serializer == Serializer::V1 {
            return;
        }
        self.references += 1;
        let (reference, channel) = (self.references, &mut self.channels[index]);
        let (topic, payload) = (channel.topic, channel.join(reference));
        self.push(reference, topic, "phx_join", &payload);
    }

    /// Asks for the current rows.
    pub(crate) fn fetch(&mut self, index: usize) {
        let channel = &mut self.channels[index];
        if channel.fetch(self.references + 1) {
            let (join_ref, topic) = (channel.join_ref, channel.topic);
            self.push(join_ref, topic, "fetch_updates", &json!({}));
        }
    }

    pub(crate) fn leave(&mut self, index: usize) {
        let channel = &mut self.channels[index];
        if channel.state != State::Joined {
            return;
        }
        channel.state = State::Leaving;
        let (reference, topic) = (channel.join_ref, channel.topic);
        self.push(reference, topic, "phx_leave", &json!({}));
    }

    pub(crate) fn heartbeat(&mut self) {
        self.push(0, "phoenix", "heartbeat", &json!({}));
    }

    fn push(&mut self, join_ref: u64, topic: &str, event: &str, payload: &Json) {
        let Some(link) = &mut self.link else { return };
        self.references += 1;
        // A join's ref is its join_ref.
        let reference = if event == "phx_join" { join_ref } else { self.references };
        let (join_ref, reference) = (join_ref.to_string(), reference.to_string());
        let message = match self.serializer {
            Serializer::V2 => json!([join_ref, reference, topic, event, payload]),
            Serializer::V1 => json!({
                "topic": topic, "event": event, "payload": payload, "ref": reference, "join_ref": join_ref
            }),
        };
        self.frames = self.frames.wrapping_add(1);
        link.up.extend(frames(message.to_string().as_bytes(), self.frames));
    }

    /// Takes what the connection brought; whether it is still open.
    pub(crate) fn receive(&mut self, postgres: &Postgres) -> Checked<bool> {
        while let Some((opcode, payload)) = self.link.as_mut().and_then(|link| take_frame(&mut link.received)) {
            match opcode {
                0x81 => {
                    let message: Json = serde_json::from_slice(&payload).map_err(|error| error.to_string())?;
                    self.message(&message, postgres).map_err(|problem| format!("{problem}\n  in {message}"))?;
                }
                0x88 => return Ok(false),
                other => return Err(format!("a frame with first byte {other:#x}")),
            }
        }
        Ok(true)
    }

    fn message(&mut self, message: &Json, postgres: &Postgres) -> Checked {
        let (join_ref, reference, topic, event, payload) = match self.serializer {
            Serializer::V2 => (&message[0], &message[1], &message[2], &message[3], &message[4]),
            Serializer::V1 => (&Json::Null, &message["ref"], &message["topic"], &message["event"], &message["payload"]),
        };
        if topic == "phoenix" {
            return Ok(());
        }
        let channel = self.channels.iter_mut().find(|channel| topic == channel.topic);
        let channel = channel.ok_or("a topic that was never joined")?;
        let mine = channel.join_ref.to_string();
        // An older channel's.
        if join_ref.as_str().is_some_and(|join_ref| join_ref != mine) {
            return Ok(());
        }
        match event.as_str().ok_or("no event")? {
            "phx_reply" => {
                let reference = reference.as_str().and_then(|reference| reference.parse().ok()).ok_or("no ref")?;
                channel.reply(reference, payload, self.seats.get(channel.topic).copied(), postgres)
            }
            "phx_error" => channel.error(payload, postgres),
            "phx_close" if channel.state == State::Joined => channel.closed(),
            // An older channel's, with the serializer that can't tell.
            "phx_close" if channel.state == State::Joining => Ok(()),
            "phx_close" => {
                channel.state = State::Closed;
                Ok(())
            }
            // Until its join is answered, what comes is an older channel's.
            _ if channel.state != State::Joined => Ok(()),
            "cursor" => channel.moved_on(payload, postgres),
            event => channel.updates(event, payload, postgres),
        }
    }
}

/// A text message in one masked frame or in two, as its number has it.
fn frames(payload: &[u8], number: u8) -> Vec<u8> {
    if !number.is_multiple_of(3) {
        return frame(0x81, payload, number);
    }
    let (first, rest) = payload.split_at(payload.len() * usize::from(number) / 256);
    [frame(0x01, first, number), frame(0x80, rest, !number)].concat()
}

fn frame(opcode: u8, payload: &[u8], key: u8) -> Vec<u8> {
    let mask = [key, 2, !key, 4];
    let mut out = vec![opcode];
    match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => out.push(0x80 | short),
        _ => {
            out.push(0x80 | 126);
            out.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// The first whole frame: its first byte and its payload.
fn take_frame(received: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (header, length) = match *received.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(*received.get(2..)?.first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*received.get(2..)?.first_chunk()?)).ok()?),
        short => (2, usize::from(short)),
    };
    if received.len() < header + length {
        return None;
    }
    let frame: Vec<u8> = received.drain(..header + length).collect();
    Some((frame[0], frame[header..].to_vec()))
}
