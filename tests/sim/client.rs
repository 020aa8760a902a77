//! A client as the `phoenix` package is one, with an application that keeps its topics' rows and cursors, and checks
//! each message against what the model says comes next.

use serde_json::{Value as Json, json};
use walcast::hub::Cursor;
use walcast::phoenix::Serializer;

use crate::postgres::{Postgres, items_until};
use crate::table::{Replica, apply};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Joining,
    Joined,
    Leaving,
}

/// One topic.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) topic: &'static str,
    pub(crate) state: State,
    join_ref: u64,
    /// The cursor that the join in work was sent with.
    asked: Option<String>,
    pub(crate) cursor: Option<String>,
    pub(crate) rows: Replica,
    /// How many of the topic's items the rows have.
    pub(crate) seen: usize,
    /// The xid of the last of them: on another timeline another transaction can have its place.
    last: Option<u32>,
    /// The transaction and part that a message must have, where it can only be one.
    part: Part,
    pub(crate) resyncs: u64,
    /// Resyncs for a cursor from before what the slot still has.
    pub(crate) given_up: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Just joined in the middle of this transaction, perhaps.
    AnyOf(u64),
    FirstOfNext,
    NextOf(u64, u64),
}

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
    references: u64,
}

type Checked<T = ()> = Result<T, String>;

impl Client {
    pub(crate) fn new(serializer: Serializer, topics: &[&'static str]) -> Self {
        let channel = |topic: &&'static str| Channel {
            topic,
            state: State::Closed,
            join_ref: 0,
            asked: None,
            cursor: None,
            rows: Replica::new(),
            seen: 0,
            last: None,
            part: Part::FirstOfNext,
            resyncs: 0,
            given_up: 0,
        };
        let channels = topics.iter().map(channel).collect();
        Self { serializer, link: None, channels, references: 0 }
    }

    pub(crate) fn disconnected(&mut self) {
        self.link = None;
        self.channels.iter_mut().for_each(|channel| channel.state = State::Closed);
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
        channel.state = State::Joining;
        channel.join_ref = reference;
        channel.asked = channel.cursor.clone();
        let (topic, payload) = (channel.topic, json!({"cursor": channel.cursor}));
        self.push(reference, topic, "phx_join", &payload);
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
        link.up.extend(frame(message.to_string().as_bytes()));
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
            "phx_reply" => channel.reply(reference == mine.as_str(), payload, postgres),
            "phx_error" => channel.error(payload),
            "phx_close" if channel.state == State::Joined => Err("closed without being asked".to_owned()),
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

impl Channel {
    fn reply(&mut self, to_join: bool, payload: &Json, postgres: &Postgres) -> Checked {
        if self.state == State::Leaving && !to_join {
            self.state = State::Closed;
        }
        if self.state != State::Joining || !to_join {
            return Ok(());
        }
        let response = &payload["response"];
        if payload["status"] == "ok" {
            return self.accepted(response, postgres);
        }
        self.state = State::Closed;
        match response["reason"].as_str() {
            Some("not_ready") => Ok(()),
            Some("resync_required") => {
                let asked = position(self.asked.as_deref().ok_or("a join without a cursor has to resync")?)?;
                let confirmed = postgres.slot.as_ref().map_or(0, |slot| slot.confirmed_flush);
                self.given_up += u64::from(asked.1.0 < confirmed);
                self.resync();
                Ok(())
            }
            _ => Err("refused without a reason".to_owned()),
        }
    }

    fn accepted(&mut self, response: &Json, postgres: &Postgres) -> Checked {
        self.state = State::Joined;
        let cursor = response["cursor"].as_str().ok_or("no cursor")?;
        let (timeline, at) = position(cursor)?;
        self.part = Part::AnyOf(at.0);
        let items = postgres.items(timeline, self.topic);
        let seen = items_until(items, at);
        let last = seen.checked_sub(1).map(|index| items[index].xid);
        if let Some(asked) = &self.asked {
            let resumed = response["resumed"] == true && position(asked)?.1 == at;
            return match resumed && (seen, last) == (self.seen, self.last) {
                true => Ok(()),
                false => Err(format!("resumed from {seen} with xid {last:?}, not from {} {:?}", self.seen, self.last)),
            };
        }
        // The application reads the rows as of this cursor.
        (self.seen, self.last) = (seen, last);
        self.rows = Postgres::replica_at(&items[..seen]);
        self.cursor = Some(cursor.to_owned());
        Ok(())
    }

    fn error(&mut self, payload: &Json) -> Checked {
        if self.state == State::Joining {
            return Ok(()); // an older channel's, with the serializer that can't tell
        }
        if payload["reason"] != "resync_required" {
            return Err("an error without a reason".to_owned());
        }
        self.state = State::Closed;
        self.resync();
        Ok(())
    }

    fn resync(&mut self) {
        self.resyncs += 1;
        self.cursor = None;
        self.rows = Replica::new();
    }

    /// A quiet topic's cursor.
    fn moved_on(&mut self, payload: &Json, postgres: &Postgres) -> Checked {
        self.at_cursor(payload["cursor"].as_str().ok_or("no cursor")?, postgres)
    }

    /// A cursor stands for exactly what was sent with it and before.
    fn at_cursor(&mut self, cursor: &str, postgres: &Postgres) -> Checked {
        let (timeline, at) = position(cursor)?;
        if let Some(previous) = &self.cursor
            && position(previous)?.1 > at
        {
            return Err(format!("the cursor goes back to {at:?} of {timeline}"));
        }
        let stands_for = items_until(postgres.items(timeline, self.topic), at);
        if stands_for != self.seen {
            return Err(format!("the cursor {at:?} stands for {stands_for} updates, sent were {}", self.seen));
        }
        self.cursor = Some(cursor.to_owned());
        Ok(())
    }

    fn updates(&mut self, event: &str, payload: &Json, postgres: &Postgres) -> Checked {
        let cursor = payload["cursor"].as_str().ok_or("no cursor")?;
        let (timeline, (lsn, _)) = position(cursor)?;
        self.check_part(lsn, payload)?;
        let items = postgres.items(timeline, self.topic);
        if self.seen.checked_sub(1).is_some_and(|last| items.get(last).map(|item| item.xid) != self.last) {
            return Err(format!("timeline {timeline} goes on where other changes were sent"));
        }
        for update in payload["updates"].as_array().ok_or("no updates")? {
            let item = items.get(self.seen).ok_or("an update that nobody made")?;
            let fits = item.json == *update && item.event == event && item.at.0 == lsn;
            if !fits || payload["xid"] != item.xid {
                return Err(format!("update {} of {} has to be {item:?}", self.seen, self.topic));
            }
            apply(&mut self.rows, update);
            self.seen += 1;
            self.last = Some(item.xid);
        }
        self.at_cursor(cursor, postgres)
    }

    fn check_part(&mut self, lsn: u64, payload: &Json) -> Checked {
        let (part, more) = (payload["part"].as_u64().unwrap_or(0), payload["more"] == true);
        let expected = match self.part {
            Part::AnyOf(open) => part == 0 || open == lsn,
            Part::FirstOfNext => part == 0,
            Part::NextOf(open, next) => open == lsn && part == next,
        };
        if !expected {
            return Err(format!("part {part} at {lsn}, after {:?}", self.part));
        }
        self.part = if more { Part::NextOf(lsn, part + 1) } else { Part::FirstOfNext };
        Ok(())
    }

    /// At a quiet point: everything is there.
    pub(crate) fn is_complete(&self, postgres: &Postgres) -> Checked {
        let (seen, all) = (self.seen, postgres.items(postgres.system.timeline, self.topic).len());
        if self.state != State::Joined || seen != all {
            return Err(format!("{} is {:?} and has {seen} of {all} updates", self.topic, self.state));
        }
        if let Part::NextOf(lsn, part) = self.part {
            return Err(format!("{}: part {part} of {lsn} never came", self.topic));
        }
        let mut rows = self.rows.clone();
        rows.values_mut().for_each(|row| row.retain(|_, value| !value.is_null()));
        let expected = postgres.rows_of(self.topic);
        if rows != expected {
            return Err(format!("{}: {rows:?} instead of {expected:?}", self.topic));
        }
        Ok(())
    }
}

/// Timeline, and commit LSN and ordinal.
pub(crate) fn position(cursor: &str) -> Checked<(u32, (u64, u64))> {
    let cursor: Cursor = cursor.parse().map_err(|error| format!("{cursor:?}: {error}"))?;
    Ok((cursor.system.timeline, (cursor.position.lsn.as_u64(), cursor.position.ordinal)))
}

/// A masked text frame.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut out = vec![0x81];
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
