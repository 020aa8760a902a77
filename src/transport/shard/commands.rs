//! What waits for the hub.

use std::collections::VecDeque;

use crate::hub::Command;

/// Reads of the log that the hub has in work for this shard. What is published live waits behind their answers, up to
/// a quarter of an outbox each: when thousands come back at once, these few are what the others wait for.
const READS_AT_ONCE: usize = 16;

/// Commands in order, but for reads, which wait for their turn: a read is answered by what is a lot to write.
#[derive(Debug, Default)]
pub(super) struct Commands {
    others: VecDeque<Command>,
    reads: VecDeque<Command>,
    /// Reads that the hub has not answered.
    reading: usize,
}

impl Commands {
    pub(super) fn push(&mut self, command: Command) {
        match command {
            Command::Read { .. } => self.reads.push_back(command),
            other => self.others.push_back(other),
        }
    }

    /// The next one that the hub may have now.
    pub(super) fn next(&mut self) -> Option<Command> {
        self.others.pop_front().or_else(|| {
            let read = (self.reading < READS_AT_ONCE).then(|| self.reads.pop_front()).flatten();
            self.reading += usize::from(read.is_some());
            read
        })
    }

    /// How many the hub may have now.
    pub(super) fn len(&self) -> usize {
        self.others.len() + self.reads.len().min(READS_AT_ONCE.saturating_sub(self.reading))
    }

    /// The hub has answered a read.
    pub(super) const fn read_answered(&mut self) {
        self.reading = self.reading.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{ConnectionKey, JoinToken, Position, ShapeId, ShardId};

    fn read(join: u32) -> Command {
        let join = JoinToken { connection: ConnectionKey { slot: 0, generation: 0 }, join };
        Command::Read { shard: ShardId(0), join, shape: ShapeId(1), after: Position::default() }
    }

    #[test]
    fn a_few_reads_at_once_and_everything_else_before_them() {
        let mut commands = Commands::default();
        let reads = u32::try_from(READS_AT_ONCE).unwrap() + 2;
        (0..reads).for_each(|join| commands.push(read(join)));
        let unsubscribe = Command::Unsubscribe { shard: ShardId(0), shape: ShapeId(1) };
        commands.push(unsubscribe.clone());
        assert_eq!(commands.len(), READS_AT_ONCE + 1);
        assert_eq!(commands.next(), Some(unsubscribe.clone()));
        (0..reads - 2).for_each(|join| assert_eq!(commands.next(), Some(read(join))));
        assert_eq!((commands.len(), commands.next()), (0, None));
        commands.push(unsubscribe.clone());
        assert_eq!((commands.len(), commands.next()), (1, Some(unsubscribe)));
        commands.read_answered();
        assert_eq!((commands.len(), commands.next()), (1, Some(read(reads - 2))));
        assert_eq!(commands.next(), None);
    }
}
