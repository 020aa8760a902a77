//! What the source decides about what it receives: where streaming begins, what is handed on, what is acknowledged.
//!
//! Handed messages, positions and time; the connection and the channel to the hub are [`super::session`]'s. Outlives a
//! connection, so that nothing is handed on twice and nothing is left out. The simulation drives it, too.
#![deny(clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::changes::Changes;

use super::changes::Observation;
use super::continuity::{self, Discontinuity, Position};
use super::outbox::{self, Outbox};
use crate::change::catalogue::TypeDefinition;
use crate::change::feed::FeedSystem;
use crate::change::{
    Acknowledgement, Ancestor, BROADCAST_PREFIX, Broadcast, BroadcastError, EnumLabels, FeedEvent, Lsn, Oid,
    PgTimestamp, Relation, TransactionPart, Visibility,
};
use crate::replication::pgoutput::{self, DecodeError, LogicalMessage};
use crate::replication::progress::{Progress, StandbyStatus};
use crate::replication::publication::{Look, Notes};
use crate::replication::transaction::{AssembleError, Assembled, Assembler, PartLimits};
use crate::replication::wire::SystemIdentity;

/// A stream that can't be gone on with; a new connection gets it again.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error("a message of pgoutput: {0}")]
    Decode(#[from] DecodeError),
    #[error("the order of pgoutput's messages: {0}")]
    Assemble(#[from] AssembleError),
}

/// A connection that is about to stream.
#[derive(Debug)]
pub struct Connected {
    pub system: FeedSystem,
    /// The timelines before the server's.
    pub ancestry: Vec<Ancestor>,
    /// What [`Intake::resume`] said.
    pub start: Lsn,
    /// The server's WAL flush position.
    pub flush: Lsn,
    /// The slot's.
    pub confirmed_flush: Lsn,
    /// Every published table.
    pub relations: Vec<Arc<Relation>>,
    /// As [`FeedEvent::Connected`] has it.
    pub doubt: Option<u64>,
    /// From one status update to the next.
    pub status_interval: Duration,
}

/// What was received and how far that came.
#[derive(Debug)]
pub struct Intake {
    outbox: Outbox,
    assembler: Assembler,
    /// Both are `None` until the first connection, and again when continuity is lost.
    progress: Option<Progress>,
    position: Option<Position>,
    /// How many were told.
    losses: u64,
    /// The server's flush position when it was last connected to.
    flush: Lsn,
    /// Messages under our prefix that could not be read since the last look, and why the last one could not.
    unreadable: Option<(u64, BroadcastError)>,
    /// What the publication gives, and what of its changes is yet to be told.
    changes: Changes,
}

impl Intake {
    #[must_use]
    pub fn new(limits: PartLimits) -> Self {
        Self {
            outbox: Outbox::default(),
            assembler: Assembler::new(limits),
            progress: None,
            position: None,
            losses: 0,
            flush: Lsn::ZERO,
            unreadable: None,
            changes: Changes::default(),
        }
    }

    /// Where the feed is, once it has begun.
    #[must_use]
    pub const fn position(&self) -> Option<Position> {
        self.position
    }

    /// Where to stream from: behind what was handed on. [`Intake::lose`] is to follow an error, and then the slot's
    /// own position.
    ///
    /// # Errors
    /// The server can't go on where the feed is.
    pub fn resume(
        &mut self,
        server: SystemIdentity,
        confirmed_flush: Lsn,
        ancestry: &[Ancestor],
    ) -> Result<Lsn, Discontinuity> {
        let sent = self.assembler.position().map(|(commit_lsn, _)| commit_lsn);
        let start = continuity::resume(self.position, sent, server, confirmed_flush, ancestry)?;
        self.assembler.restart(self.assembler.position());
        Ok(start)
    }

    /// Streaming begins.
    pub fn connected(&mut self, connected: Connected) {
        let Connected { system, ancestry, start, flush, confirmed_flush, relations, doubt, status_interval } =
            connected;
        self.position = Some(Position { system, end: start });
        self.flush = flush;
        self.outbox.push(FeedEvent::Connected { system, ancestry, start, flush, relations, doubt });
        match &mut self.progress {
            Some(progress) => progress.reconnected(status_interval),
            None => self.progress = Some(Progress::new(confirmed_flush, status_interval)),
        }
    }

    /// Takes a message of the stream, and gives the types to look up before the next one.
    ///
    /// # Errors
    /// It is no message, or can't follow those before it.
    pub fn message(&mut self, wal_end: Lsn, data: Bytes) -> Result<Vec<Oid>, IntakeError> {
        self.outbox.count(data.len());
        if let Some(progress) = &mut self.progress {
            progress.received(wal_end);
        }
        let assembled = self.assembler.accept(pgoutput::decode(data)?)?;
        Ok(self.assembled(assembled))
    }

    /// Takes the answer to a look-up, and gives what to look up next.
    ///
    /// # Errors
    /// Nothing was asked.
    pub fn define_types(&mut self, definitions: Vec<TypeDefinition>) -> Result<Vec<Oid>, IntakeError> {
        let assembled = self.assembler.define_types(definitions)?;
        Ok(self.assembled(assembled))
    }

    /// The server has sent everything that committed before `wal_end`.
    pub fn keepalive(&mut self, wal_end: Lsn, reply_requested: bool) {
        let in_transaction = self.assembler.in_transaction();
        if let Some(progress) = &mut self.progress {
            progress.keepalive(wal_end, reply_requested);
        }
        if let Some(position) = self.position.as_mut().filter(|position| !in_transaction && position.end < wal_end) {
            position.end = wal_end;
            // First: who is told of the progress has a position behind the holes.
            self.tell_changes(0);
            self.outbox.push(FeedEvent::Progress(wal_end));
        }
    }

    /// What the publication gives, as it was last looked at.
    #[must_use]
    pub const fn look(&self) -> Option<&Look> {
        self.changes.look()
    }

    /// The publication was looked at. What the feed lacks is told when it has come as far as the catalogue was then.
    pub fn looked(&mut self, observation: Observation) {
        if !observation.remembered.is_empty() {
            self.outbox.push(FeedEvent::Remembered(observation.remembered.clone()));
        }
        self.changes.looked(observation, self.position.map_or(Lsn::ZERO, |position| position.end));
        self.tell_changes(1);
    }

    /// What the process after this one has to know of the publication, where that has changed since the last call.
    pub fn take_notes(&mut self) -> Option<Notes> {
        self.changes.take_notes()
    }

    /// The slot begins here, if not later, whatever happens to the server.
    pub fn slot_begins(&mut self, restart: Lsn) {
        self.changes.forget_before(restart);
    }

    /// A snapshot of the database that is streamed from has seen this.
    pub fn seen(&mut self, visibility: Visibility) {
        if self.position.is_some() {
            self.outbox.push(FeedEvent::Seen(visibility));
        }
    }

    /// The labels of published enums, as they have just been looked at.
    pub fn labels(&mut self, labels: EnumLabels) {
        if self.position.is_some() {
            self.outbox.push(FeedEvent::Labels(labels));
        }
    }

    /// The hub does without everything up to here.
    ///
    /// What the hub said before it heard of the last loss belongs to positions that mean nothing any more.
    pub fn acknowledgeable(&mut self, acknowledgement: Acknowledgement) {
        if let Some(progress) = self.progress.as_mut().filter(|_| acknowledgement.losses == self.losses) {
            progress.acknowledgeable(acknowledgement.position);
        }
    }

    /// The server that has been streaming was promoted: what it has sent is of its new timeline, as what comes is.
    pub fn promoted(&mut self, system: FeedSystem) {
        if let Some(position) = self.position.as_mut().filter(|it| it.system.system_id == system.system_id) {
            position.system = system;
        }
    }

    /// Nothing waits for the hub.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.outbox.is_empty()
    }

    /// More may be received before the hub takes what waits.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    #[must_use]
    pub const fn in_transaction(&self) -> bool {
        self.assembler.in_transaction()
    }

    /// How long after its commit the open transaction is sent, by the server's clock.
    #[must_use]
    pub fn lateness(&self, sent_at: PgTimestamp) -> Option<Duration> {
        let micros = sent_at.as_micros().saturating_sub(self.assembler.committed_at()?.as_micros());
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or_default()))
    }

    /// What waits, as one batch; [`Intake::delivered`] once the hub has it.
    #[must_use]
    pub fn take(&mut self) -> (Vec<FeedEvent>, Delivered) {
        let batch = self.outbox.take();
        let delivered = Delivered { last_end: outbox::last_end(&batch), is_new: outbox::is_new(&batch) };
        (batch, delivered)
    }

    pub fn delivered(&mut self, batch: Delivered) {
        if let (Some(progress), Some(end)) = (&mut self.progress, batch.last_end) {
            progress.applied(end);
        }
    }

    /// Continuity is lost: whoever follows the feed has to begin anew. False where that has been told already.
    pub fn lose(&mut self, reason: &str) -> bool {
        if self.position.take().is_none() {
            return false;
        }
        self.progress = None;
        self.losses += 1;
        self.changes = Changes::default();
        self.assembler.restart(None);
        self.outbox.push(FeedEvent::Lost { reason: reason.to_owned() });
        true
    }

    /// When a status update is due; `None` without a connection so far.
    #[must_use]
    pub fn next_status(&self) -> Option<Duration> {
        self.progress.as_ref().map(Progress::next_status)
    }

    /// The status update to send at `now`.
    #[must_use]
    pub fn status(&mut self, now: Duration) -> Option<StandbyStatus> {
        self.progress.as_mut().map(|progress| progress.status(now))
    }

    fn assembled(&mut self, assembled: Assembled) -> Vec<Oid> {
        match assembled {
            Assembled::Part(part) => self.hand_on(part),
            Assembled::NeedsTypes(oids) => return oids,
            Assembled::Message(message) if !message.transactional && *message.prefix == *BROADCAST_PREFIX => {
                self.say(&message);
            }
            // Others have no place in the feed; that WAL was written is what a heartbeat is for.
            Assembled::Message(_) | Assembled::Nothing => {}
        }
        Vec::new()
    }

    /// A broadcast outside of transactions is for those who listen now: not for those of an hour ago, whom a slot that
    /// sends its window again would tell once more.
    fn say(&mut self, message: &LogicalMessage) {
        let reached = self.position.map_or(self.flush, |position| position.end.max(self.flush));
        if message.lsn <= reached {
            return;
        }
        match Broadcast::decode(&message.content) {
            Ok(broadcast) => self.outbox.push(FeedEvent::Broadcast(broadcast)),
            Err(error) => self.note_unreadable(error),
        }
        // It was decoded when everything before it had been sent.
        self.keepalive(message.lsn, false);
    }

    /// How many messages under our prefix could not be read since the last call, and why the last one could not.
    pub fn take_unreadable(&mut self) -> Option<(u64, BroadcastError)> {
        self.unreadable.take()
    }

    fn note_unreadable(&mut self, error: BroadcastError) {
        let (count, _) = self.unreadable.unwrap_or((0, error));
        self.unreadable = Some((count + 1, error));
    }

    fn hand_on(&mut self, part: TransactionPart) {
        match (part.end_lsn, &mut self.position) {
            // Of unpublished tables only (before Postgres 15), or of messages: there is nothing in it to be kept.
            (Some(end), _) if part.first && part.last_ordinal().is_none() => return self.keepalive(end, false),
            (Some(end), Some(position)) => position.end = position.end.max(end),
            _ => {}
        }
        self.changes.note_truncates(&part);
        let ended = part.end_lsn.is_some();
        let unreadable = part.announcements.iter().filter_map(|announcement| announcement.broadcast.as_ref().err());
        unreadable.for_each(|error| self.note_unreadable(*error));
        self.outbox.push(FeedEvent::Part(part));
        if let Some(Position { end, .. }) = self.position.filter(|_| ended)
            && self.tell_changes(0)
        {
            // Whoever comes from now on has a position behind the holes.
            self.outbox.push(FeedEvent::Progress(end));
        }
    }

    /// True: there was something to tell. A position inside of a transaction is none that has been reached.
    fn tell_changes(&mut self, ordinal: u64) -> bool {
        let Some(position) = self.position else { return false };
        let mut told = false;
        while let Some(event) = self.changes.due(position.end, ordinal) {
            self.outbox.push(event);
            told = true;
        }
        told
    }
}

/// What a batch was.
#[derive(Debug, Clone, Copy)]
pub struct Delivered {
    pub(super) last_end: Option<Lsn>,
    /// It brings something that was not known before it.
    pub is_new: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hub_said_before_a_loss_acknowledges_nothing_after_it() {
        let mut intake = Intake::new(PartLimits::default());
        let connected = |start| Connected {
            system: FeedSystem { system_id: 7, timeline: 1 },
            ancestry: Vec::new(),
            start: Lsn::new(start),
            flush: Lsn::new(start),
            confirmed_flush: Lsn::new(start),
            relations: Vec::new(),
            doubt: None,
            status_interval: Duration::from_secs(1),
        };
        intake.connected(connected(900));
        assert!(intake.lose("restored"));
        intake.connected(connected(100));
        for message in transaction() {
            assert_eq!(intake.message(Lsn::new(210), message).unwrap(), [0; 0]);
        }
        let (_batch, delivered) = intake.take();
        intake.delivered(delivered);
        // The hub is still at work on what came before the loss.
        intake.acknowledgeable(Acknowledgement { losses: 0, position: Lsn::new(950) });
        assert_eq!(intake.status(Duration::ZERO).unwrap().flush, Lsn::new(100));
        intake.acknowledgeable(Acknowledgement { losses: 1, position: Lsn::new(200) });
        assert_eq!(intake.status(Duration::ZERO).unwrap().flush, Lsn::new(200));
    }

    #[test]
    fn how_late_a_transaction_is_sent_is_told_by_the_servers_clock_alone() {
        let mut intake = Intake::new(PartLimits::default());
        let at = PgTimestamp::from_micros;
        let [begin, ..] = transaction();
        assert_eq!(intake.lateness(at(7)), None);
        intake.message(Lsn::new(200), begin).unwrap();
        assert_eq!(intake.lateness(at(250_000)), Some(Duration::from_millis(250)));
        // A clock that was set back.
        assert_eq!(intake.lateness(at(-7)), Some(Duration::ZERO));
    }

    /// One insert into `public.t (n int4)`, committed at 200.
    fn transaction() -> [Bytes; 4] {
        let begin = [b"B", &200_u64.to_be_bytes()[..], &[0; 8], &[0, 0, 0, 1]].concat();
        let relation = [b"R\0\0\x40\0public\0t\0d\0\x01\x01n\0", &23_u32.to_be_bytes()[..], &[0xFF; 4]].concat();
        let insert = b"I\0\0\x40\0N\0\x01t\0\0\0\x011".to_vec();
        let commit = [b"C\0", &200_u64.to_be_bytes()[..], &210_u64.to_be_bytes(), &[0; 8]].concat();
        [begin, relation, insert, commit].map(Bytes::from)
    }
}
