//! What waits for the hub.

use std::collections::{HashSet, VecDeque};

use crate::hub::{After, Command};

/// Reads of the log that the hub has in work for this shard. What is published live waits behind their answers, up to
/// a quarter of an outbox each: when thousands come back at once, these few are what the others wait for.
const READS_AT_ONCE: usize = 16;

/// Commands in order, but for reads of the log, which wait for their turn: such a read is answered at once, by what is
/// a lot to write. A read of a snapshot may be answered much later, and its rows are encoded elsewhere.
#[derive(Debug, Default)]
pub(super) struct Commands {
    others: VecDeque<Command>,
    reads: VecDeque<Command>,
    /// The numbers of those reads that the hub has not answered.
    reading: HashSet<u32>,
    /// What clients' payloads take of what waits.
    bytes: usize,
}

impl Commands {
    pub(super) fn push(&mut self, command: Command) {
        self.bytes += payload(&command);
        match command {
            Command::Read { after: After::Log(_), .. } => self.reads.push_back(command),
            other => self.others.push_back(other),
        }
    }

    pub(super) fn extend(&mut self, commands: Vec<Command>) {
        commands.into_iter().for_each(|command| self.push(command));
    }

    /// The next one that the hub may have now.
    pub(super) fn next(&mut self) -> Option<Command> {
        if let Some(command) = self.others.pop_front() {
            self.bytes = self.bytes.saturating_sub(payload(&command));
            return Some(command);
        }
        let read = (self.reading.len() < READS_AT_ONCE).then(|| self.reads.pop_front()).flatten();
        if let Some(Command::Read { number, .. }) = &read {
            self.reading.insert(*number);
        }
        read
    }

    /// How many the hub may have now.
    pub(super) fn len(&self) -> usize {
        self.others.len() + self.reads.len().min(READS_AT_ONCE.saturating_sub(self.reading.len()))
    }

    /// What clients' payloads take of what waits.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The hub has answered a read.
    pub(super) fn read_answered(&mut self, number: u32) {
        self.reading.remove(&number);
    }
}

fn payload(command: &Command) -> usize {
    match command {
        Command::Broadcast(saying) | Command::Publish { saying, .. } => saying.content.len(),
        Command::UpdatePresence { meta, .. } => meta.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{ConnectionKey, JoinToken, Position, ShapeId, ShardId, SnapshotId};

    const SOMEBODY: JoinToken = JoinToken { connection: ConnectionKey { slot: 0, generation: 0 }, join: 0 };

    fn read(number: u32) -> Command {
        read_after(number, After::Log(Position::default()))
    }

    fn read_after(number: u32, after: After) -> Command {
        Command::Read { shard: ShardId(0), join: SOMEBODY, shape: ShapeId(1), number, after }
    }

    #[test]
    fn what_payloads_take_is_known() {
        let mut commands = Commands::default();
        let meta = bytes::Bytes::from_static(b"abc");
        commands.push(Command::UpdatePresence { shard: ShardId(0), join: SOMEBODY, meta });
        commands.push(read(1));
        assert_eq!(commands.bytes(), 3);
        while commands.next().is_some() {}
        assert_eq!(commands.bytes(), 0);
    }

    #[test]
    fn a_few_reads_at_once_and_everything_else_before_them() {
        let mut commands = Commands::default();
        let reads = u32::try_from(READS_AT_ONCE).unwrap() + 2;
        (0..reads).for_each(|join| commands.push(read(join)));
        let unsubscribe = Command::Unsubscribe { shard: ShardId(0), join: SOMEBODY, shape: ShapeId(1) };
        commands.push(unsubscribe.clone());
        assert_eq!(commands.len(), READS_AT_ONCE + 1);
        assert_eq!(commands.next(), Some(unsubscribe.clone()));
        (0..reads - 2).for_each(|join| assert_eq!(commands.next(), Some(read(join))));
        assert_eq!((commands.len(), commands.next()), (0, None));
        commands.push(unsubscribe.clone());
        assert_eq!((commands.len(), commands.next()), (1, Some(unsubscribe)));
        commands.read_answered(reads + 7);
        assert_eq!(commands.len(), 0);
        commands.read_answered(3);
        assert_eq!((commands.len(), commands.next()), (1, Some(read(reads - 2))));
        assert_eq!(commands.next(), None);
        // What may be answered late keeps nobody waiting.
        let snapshot = read_after(reads, After::Snapshot(SnapshotId(1)));
        commands.push(snapshot.clone());
        assert_eq!((commands.len(), commands.next()), (1, Some(snapshot)));
    }
}
