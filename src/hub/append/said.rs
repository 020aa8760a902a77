//! Broadcasts take their places among a transaction's rows.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use crate::change::{Announcement, Broadcast};
use crate::hub::Position;
use crate::hub::entry::{Batch, Deliveries};
use crate::hub::live::CURSOR_EVENT;
use crate::hub::said::Said;
use crate::hub::topics::TopicSlot;

use super::Appending;

impl Appending<'_> {
    /// Adds a broadcast to its topic. One that can't be read was told to the operator when it came.
    pub(super) fn announce(&mut self, announcement: Announcement) {
        let Ok(Broadcast { topic, event, payload }) = announcement.broadcast else { return };
        let Some(slot) = self.known(&topic) else { return };
        let at = Position { lsn: self.lsn(), ordinal: announcement.ordinal };
        let before = Position { ordinal: at.ordinal.saturating_sub(1), ..at };
        let start = match self.latest(slot).and_then(|batch| self.entry.batches.get_mut(batch)) {
            Some(Batch { said: Some(_), span, .. }) => span.end,
            Some(rows) => {
                rows.span.end = before;
                before
            }
            None => self.entry.span.start,
        };
        self.add_said(slot, event, start..at, Said::Broadcast(payload));
    }

    /// Where a topic's latest message of this entry is a broadcast, its cursor follows.
    pub(super) fn add_cursors(&mut self) {
        let said = self.entry.batches.iter().filter(|batch| batch.said.is_some());
        let topics: BTreeSet<TopicSlot> = said.map(|batch| batch.slot).collect();
        for slot in topics {
            let latest = self.latest(slot).and_then(|batch| self.entry.batches.get(batch));
            if let Some(Batch { said: Some(_), span, .. }) = latest {
                let span = span.end..self.entry.span.end;
                self.add_said(slot, Arc::from(CURSOR_EVENT), span, Said::Cursor);
            }
        }
    }

    /// The topic's latest message of this entry, by its place among the batches.
    pub(super) fn latest(&self, slot: TopicSlot) -> Option<usize> {
        let state = self.log.topics.at(slot)?;
        state.batches.back().filter(|reference| reference.entry == self.number).map(|reference| reference.batch)
    }

    /// The topic's latest message of this entry that shows rows.
    pub(super) fn latest_rows(&self, slot: TopicSlot) -> Option<usize> {
        let state = self.log.topics.at(slot)?;
        let own = state.batches.iter().rev().take_while(|reference| reference.entry == self.number);
        let shows_rows = |batch: &usize| self.entry.batches.get(*batch).is_some_and(|batch| batch.said.is_none());
        own.map(|reference| reference.batch).find(shows_rows)
    }

    /// Routes and channels decide who can join a topic, and when somebody does: what is said to it is kept until then.
    pub(super) fn known(&mut self, name: &str) -> Option<TopicSlot> {
        self.log.topics.find(name).or_else(|| self.meet(name))
    }

    fn add_said(&mut self, slot: TopicSlot, event: Arc<str>, span: Range<Position>, said: Said) {
        self.add_batch(Batch {
            slot,
            event,
            part: 0,
            more: false,
            span,
            deliveries: Deliveries::default(),
            said: Some(Box::new(said)),
            publication: None,
        });
    }
}
