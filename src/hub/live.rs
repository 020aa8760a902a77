//! What has just been appended goes to those who are subscribed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::audience::Concern;
use super::judge::{Seen, Trouble};
use super::log::Keep;
use super::shape::Shape;
use super::topics::BatchRef;
use super::{Hub, Publication, Refusal, ShapeId, ToShard};

/// The event by which subscribers of a quiet topic are told how far the feed has come.
pub(super) const CURSOR_EVENT: &str = "cursor";
/// They are told after this fraction of the window: three of these events can be missed.
const QUIET_FRACTION: u32 = 4;
/// The most shapes that are told in one tick, or an eighth of those that there are, if that is more: a great many that
/// joined at once must not all be told at once.
const QUIET_A_TICK: usize = 5_000;

/// When shapes are to be looked at because they may have been quiet for long: each once.
#[derive(Debug, Default)]
pub(super) struct Quiet(BTreeSet<(Duration, ShapeId)>);

impl Quiet {
    pub(super) fn add(&mut self, id: ShapeId, due: Duration) {
        self.0.insert((due, id));
    }

    fn next_due(&mut self, now: Duration) -> Option<ShapeId> {
        self.0.first().filter(|(due, _)| *due <= now)?;
        self.0.pop_first().map(|(_, id)| id)
    }
}

/// Who a batch is for.
enum Listeners {
    /// It shows no rows: all shapes.
    Said,
    /// Those who see every row, and nobody else listens.
    Everyone,
    /// Beside them some who see some rows.
    Choosy,
}

impl Hub {
    /// Encodes what has subscribers, once for each shape, and hands each shard one message for it.
    pub(super) fn publish(&mut self, number: u64) {
        let batches = self.log.as_ref().and_then(|log| log.entry(number)).map_or(0, |entry| entry.batches.len());
        // A transaction can be thousands of messages: what they need for a moment they need once.
        let mut shapes = Vec::new();
        for batch in 0..batches {
            let at = BatchRef { entry: number, batch };
            match self.listeners(at, &mut shapes) {
                Listeners::Said => shapes.drain(..).for_each(|id| self.publish_said(at, id)),
                Listeners::Everyone => shapes.drain(..).for_each(|id| self.publish_to(at, id, None)),
                Listeners::Choosy => {
                    shapes.drain(..).for_each(|id| self.publish_to(at, id, None));
                    for concerns in self.concerned(at).chunk_by(|one, other| one.shape == other.shape) {
                        if let Some(Concern { shape, .. }) = concerns.first() {
                            self.publish_to(at, *shape, Some(concerns));
                        }
                    }
                }
            }
        }
        self.follow_broadcasts(number);
    }

    /// Who listens to a batch's topic; `shapes` gets those who are sent it whatever its rows are.
    fn listeners(&self, at: BatchRef, shapes: &mut Vec<ShapeId>) -> Listeners {
        let found = self.log.as_ref().and_then(|log| {
            let (_, batch) = log.batch(at)?;
            Some((batch, &log.topics.at(batch.slot)?.audience))
        });
        let Some((batch, audience)) = found else { return Listeners::Everyone };
        if batch.said.is_some() {
            shapes.extend(audience.shapes());
            return Listeners::Said;
        }
        shapes.extend_from_slice(audience.everyone());
        if audience.choosy().is_empty() { Listeners::Everyone } else { Listeners::Choosy }
    }

    /// Sends a shape a batch that shows no rows.
    fn publish_said(&mut self, at: BatchRef, id: ShapeId) {
        let (Some(log), Some(shape)) = (&self.log, self.shapes.get_mut(&id)) else { return };
        let Some(publication) = log.said(at, shape, None) else { return };
        shape.told = (self.now, publication.position);
        publish(&mut self.outgoing, shape, &publication);
    }

    /// The choosy shapes that a batch may concern.
    fn concerned(&mut self, at: BatchRef) -> Vec<Concern> {
        self.index(at);
        let Some(log) = &self.log else { return Vec::new() };
        let Some((entry, batch)) = log.batch(at) else { return Vec::new() };
        log.topics.at(batch.slot).map(|state| state.audience.concerned(entry, batch)).unwrap_or_default()
    }

    /// Indexes the shapes by what they ask of a batch's tables. Those that no longer fit a table go no further.
    fn index(&mut self, at: BatchRef) {
        let missing = self.log.as_ref().and_then(|log| {
            let (entry, batch) = log.batch(at)?;
            let state = log.topics.at(batch.slot)?;
            let tables = state.audience.not_indexed(entry, batch);
            (!tables.is_empty()).then(|| (batch.slot, tables, state.audience.choosy().clone()))
        });
        let Some((slot, tables, choosy)) = missing else { return };
        for table in tables {
            let (mut found, mut unfit) = (Vec::with_capacity(choosy.len()), Vec::new());
            for id in &choosy {
                match self.shapes.get_mut(id).map(|shape| shape.keys(&table)) {
                    Some(Ok(keys)) => found.push((*id, keys)),
                    Some(Err(refusal)) => unfit.push((*id, refusal)),
                    None => {}
                }
            }
            unfit.into_iter().for_each(|(id, refusal)| self.end(id, refusal));
            if let Some(state) = self.log.as_mut().and_then(|log| log.topics.at_mut(slot)) {
                state.audience.index_table(table, found.into_iter());
            }
        }
    }

    /// Sends a shape what it is shown of a batch: of all of it, or of some deliveries.
    fn publish_to(&mut self, at: BatchRef, id: ShapeId, concerns: Option<&[Concern]>) {
        let mut seen = std::mem::take(&mut self.seen);
        match self.see(at, id, concerns, &mut seen) {
            Ok(()) => self.publish_seen(at, id, &seen),
            Err(Trouble::Unknown) => self.reset(id),
            Err(Trouble::Ended(refusal)) => self.end(id, refusal),
        }
        seen.clear();
        self.seen = seen;
    }

    /// What a shape is shown of a batch: of all of it, or of the deliveries that may concern it.
    fn see(
        &mut self,
        at: BatchRef,
        id: ShapeId,
        concerns: Option<&[Concern]>,
        seen: &mut Vec<Seen>,
    ) -> Result<(), Trouble> {
        let (Some(log), Some(shape)) = (&self.log, self.shapes.get_mut(&id)) else { return Ok(()) };
        let Some((entry, batch)) = log.batch(at) else { return Ok(()) };
        match concerns {
            Some(concerns) => {
                let place = |concern: &Concern| Some((batch.deliveries.get(concern.place?)?, concern.known));
                shape.see(entry, concerns.iter().filter_map(place), seen)
            }
            None => shape.see_all(entry, batch, seen),
        }
    }

    /// Sends a shape what it is shown of a batch, which may be nothing.
    fn publish_seen(&mut self, at: BatchRef, id: ShapeId, seen: &[Seen]) {
        let (Some(log), Some(shape)) = (&mut self.log, self.shapes.get_mut(&id)) else { return };
        let Some((_, batch)) = log.batch(at) else { return };
        let slot = batch.slot;
        let is_sent = !seen.is_empty() || shape.wants_empty(batch, shape.owed);
        let is_owed = batch.more && (shape.owed || is_sent);
        if is_owed != shape.owed
            && let Some(state) = log.topics.at_mut(slot)
        {
            state.audience.owe(id, is_owed);
        }
        shape.owed = is_owed;
        if !is_sent {
            return;
        }
        let Some(publication) = log.publication(at, shape, seen, None, Keep::No) else { return };
        shape.told = (self.now, publication.position);
        publish(&mut self.outgoing, shape, &publication);
    }

    /// A quiet topic's cursor must not grow old: it would fall out of the log while its subscribers are connected.
    /// Where the whole database is quiet it is the same again, by which they know that nothing was missed.
    pub(super) fn refresh_cursors(&mut self) {
        let Some(log) = &self.log else { return };
        let patience = self.limits.log.window / QUIET_FRACTION;
        for _ in 0..QUIET_A_TICK.max(self.shapes.len() / 8) {
            let Some(id) = self.quiet.next_due(self.now) else { return };
            let Some(shape) = self.shapes.get_mut(&id) else { continue };
            let (when, _) = shape.told;
            if self.now.saturating_sub(when) < patience {
                self.quiet.add(id, when + patience);
                continue;
            }
            let publication = log.cursor_event(shape, log.head..log.head, None);
            shape.told = (self.now, log.head);
            self.quiet.add(id, self.now + patience);
            publish(&mut self.outgoing, shape, &publication);
        }
    }

    /// When a shape that was told of a position now is to be looked at again.
    pub(super) fn look_again(&mut self, id: ShapeId) {
        self.quiet.add(id, self.now + self.limits.log.window / QUIET_FRACTION);
    }

    /// A shape goes no further, for a reason that its subscribers share.
    fn end(&mut self, id: ShapeId, refusal: Refusal) {
        self.drop_shape(id, |shape| ToShard::Failed { shape, refusal: refusal.clone() });
    }

    /// A shape's feed has a hole.
    pub(super) fn reset(&mut self, id: ShapeId) {
        self.drop_shape(id, |shape| ToShard::Reset { shape });
    }

    /// Nothing gives the shape's topic any longer.
    pub(super) fn close(&mut self, id: ShapeId) {
        self.drop_shape(id, |shape| ToShard::Closed { shape });
    }

    fn drop_shape(&mut self, id: ShapeId, message: impl Fn(ShapeId) -> ToShard) {
        let Some(shape) = self.shapes.remove(&id) else { return };
        self.readers.drop_shape(id);
        self.channels.reset(id);
        for shard in shape.shards() {
            self.tell(shard, message(id));
        }
        self.forget_shape(&shape);
    }
}

pub(super) fn publish(outgoing: &mut [Vec<ToShard>], shape: &Shape, publication: &Arc<Publication>) {
    for shard in shape.shards() {
        if let Some(outgoing) = outgoing.get_mut(shard.0) {
            outgoing.push(ToShard::Publish(Arc::clone(publication)));
        }
    }
}
