//! What SQL says to topics: messages of their own among those with rows.
//!
//! A broadcast's payload is its sender's, and has no place for a cursor: the event `cursor` follows it, unless rows do
//! that the subscriber is shown. Where a transport has a place of its own for it, as server-sent events do, it is
//! there.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::change::{Broadcast, BroadcastPayload};
use crate::routing::Topic;

use super::broadcast::{Content, Saying};
use super::entry::Batch;
use super::live::{CURSOR_EVENT, publish};
use super::publication::Form;
use super::shape::Shape;
use super::{Cursor, Hub, Position, Publication, ShapeId};

/// What a batch is that shows no rows.
#[derive(Debug, Clone)]
pub(super) enum Said {
    Broadcast(BroadcastPayload),
    /// How far the feed is after it.
    Cursor,
}

impl Said {
    /// In bytes.
    pub(super) const fn size(&self) -> usize {
        match self {
            Self::Broadcast(payload) => payload.bytes().len(),
            Self::Cursor => 0,
        }
    }

    /// The message that such a batch is, to a shape's subscribers with this cursor after it.
    pub(super) fn publication(&self, batch: &Batch, shape: &Shape, cursor: Cursor) -> Publication {
        let (topic, event, span) = (shape.topic().clone(), Arc::clone(&batch.event), batch.span.clone());
        match self {
            Self::Broadcast(payload) => {
                let publication = Publication::new(shape.id, topic, event, span, payload.bytes().clone());
                publication.in_form(form(payload)).beside_cursor(cursor)
            }
            Self::Cursor => cursor_event(topic, shape.id, span, cursor),
        }
    }
}

/// Tells a shape's subscribers how far the feed is.
pub(super) fn cursor_event(topic: Topic, shape: ShapeId, span: Range<Position>, cursor: Cursor) -> Publication {
    let mut out = b"{\"cursor\":".to_vec();
    cursor.write_json(&mut out);
    out.push(b'}');
    Publication::new(shape, topic, Arc::from(CURSOR_EVENT), span, Bytes::from(out)).with_splice(cursor.splice)
}

const fn form(payload: &BroadcastPayload) -> Form {
    match payload {
        BroadcastPayload::Json(_) => Form::Json,
        BroadcastPayload::Binary(_) => Form::Binary,
    }
}

impl Hub {
    /// Who was sent a broadcast of an entry and nothing after it, since what followed is hidden, would be sent it again
    /// on coming back: the cursor follows.
    pub(super) fn follow_broadcasts(&mut self, number: u64) {
        let Some(log) = &self.log else { return };
        let Some(entry) = log.entry(number) else { return };
        let said = entry.batches.iter().filter(|batch| batch.said.is_some());
        let topics: BTreeSet<Topic> =
            said.filter_map(|batch| log.topics.at(batch.slot)).map(|state| state.topic.clone()).collect();
        let end = entry.span.end;
        for topic in topics {
            for id in self.shapes_of(&topic) {
                let (Some(log), Some(shape)) = (&self.log, self.shapes.get_mut(&id)) else { continue };
                let (_, told) = shape.told;
                if told < end {
                    shape.told = (self.now, end);
                    publish(&mut self.outgoing, shape, &log.cursor_event(shape, told..end, None));
                }
            }
        }
    }

    /// To those who listen now, as a client's broadcast: it is not in the log.
    pub(super) fn say_now(&mut self, broadcast: Broadcast) {
        let content = match broadcast.payload {
            BroadcastPayload::Json(json) => Content::Json(json),
            BroadcastPayload::Binary(data) => Content::Binary(data),
        };
        self.counters.said_by_sql += 1;
        self.say(Saying { topic: broadcast.topic, event: broadcast.event, content, except: None });
    }
}
