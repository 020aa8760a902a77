//! What SQL says to topics: messages of their own among those with rows.
//!
//! A broadcast's payload is its sender's, and has no place for a cursor: the event `cursor` follows it, unless rows do.

use std::sync::Arc;

use bytes::Bytes;

use crate::change::{Broadcast, BroadcastPayload};

use super::broadcast::{Content, Saying};
use super::entry::Batch;
use super::publication::Form;
use super::{Cursor, Hub, Publication, ShapeId};

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
    pub(super) fn publication(&self, batch: &Batch, shape: ShapeId, cursor: Cursor) -> Publication {
        let (topic, event, span) = (batch.topic.clone(), Arc::clone(&batch.event), batch.span.clone());
        let publication = match self {
            Self::Broadcast(payload) => {
                Publication::new(shape, topic, event, span, payload.bytes().clone()).in_form(form(payload))
            }
            Self::Cursor => {
                let mut out = b"{\"cursor\":".to_vec();
                cursor.write_json(&mut out);
                out.push(b'}');
                Publication::new(shape, topic, event, span, Bytes::from(out))
            }
        };
        publication.with_splice(cursor.splice)
    }
}

const fn form(payload: &BroadcastPayload) -> Form {
    match payload {
        BroadcastPayload::Json(_) => Form::Json,
        BroadcastPayload::Binary(_) => Form::Binary,
    }
}

impl Hub {
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
