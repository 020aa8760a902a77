//! Since when the feed is behind the server, by our own clock.
//!
//! The server's position is marked with the time at which it was asked for: the oldest mark that the feed has not
//! passed tells since when it is behind. Without a connection nothing can be asked, and the feed is behind since that
//! was lost. Pure: handed positions and time.
#![deny(clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::time::Duration;

use crate::change::Lsn;

/// A quarter of an hour, asked every two seconds; of a longer lag each second mark is forgotten.
const MARKS_MAX: usize = 512;

/// Times are since the source began.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// Both rise.
    marks: VecDeque<(Duration, Lsn)>,
    /// Since when there is no connection.
    adrift: Option<Duration>,
}

impl Lag {
    /// The source begins, without a connection.
    pub(super) fn new() -> Self {
        Self { marks: VecDeque::new(), adrift: Some(Duration::ZERO) }
    }

    pub(super) fn disconnected(&mut self, now: Duration) {
        self.adrift.get_or_insert(now);
    }

    /// The server's WAL was flushed up to `flush` when streaming began.
    pub(super) fn connected(&mut self, flush: Lsn, now: Duration) {
        let since = self.adrift.take().unwrap_or(now);
        self.mark(flush, since);
    }

    /// The server's WAL was flushed up to `flush` at `now`.
    pub(super) fn mark(&mut self, flush: Lsn, now: Duration) {
        if self.marks.back().is_some_and(|(_, last)| *last >= flush) {
            return;
        }
        if self.marks.len() >= MARKS_MAX {
            let mut place = 0;
            self.marks.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
        self.marks.push_back((now, flush));
    }

    /// The feed has everything up to here.
    pub(super) fn reached(&mut self, position: Lsn) {
        while self.marks.front().is_some_and(|(_, mark)| *mark <= position) {
            self.marks.pop_front();
        }
    }

    /// Positions begin anew.
    pub(super) fn lose(&mut self) {
        self.marks.clear();
    }

    /// Since when the feed is behind; none where it isn't.
    pub(super) fn since(&self) -> Option<Duration> {
        self.marks.front().map(|(since, _)| *since).or(self.adrift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_behind_since_the_oldest_position_that_it_has_not_reached() {
        let mut lag = Lag::new();
        lag.connected(Lsn::new(100), seconds(1));
        assert_eq!(lag.since(), Some(Duration::ZERO), "what came before the connection");
        lag.mark(Lsn::new(200), seconds(3));
        lag.mark(Lsn::new(200), seconds(5));
        lag.mark(Lsn::new(300), seconds(7));
        lag.reached(Lsn::new(150));
        assert_eq!(lag.since(), Some(seconds(3)));
        lag.reached(Lsn::new(200));
        assert_eq!(lag.since(), Some(seconds(7)));
        lag.reached(Lsn::new(300));
        assert_eq!(lag.since(), None);
    }

    #[test]
    fn without_a_connection_it_is_behind_until_it_has_caught_up_with_the_next_one() {
        let mut lag = Lag::new();
        lag.connected(Lsn::new(100), seconds(1));
        lag.reached(Lsn::new(100));
        lag.disconnected(seconds(10));
        lag.disconnected(seconds(12));
        assert_eq!(lag.since(), Some(seconds(10)));
        lag.connected(Lsn::new(500), seconds(20));
        assert_eq!(lag.since(), Some(seconds(10)));
        lag.reached(Lsn::new(500));
        assert_eq!(lag.since(), None);
    }

    #[test]
    fn a_long_lag_takes_bounded_memory_and_keeps_its_beginning() {
        let mut lag = Lag::new();
        lag.connected(Lsn::new(1), seconds(0));
        lag.reached(Lsn::new(1));
        for second in 1..100_000 {
            lag.mark(Lsn::new(1000 + second), seconds(second));
        }
        assert!(lag.marks.len() <= MARKS_MAX);
        assert!(lag.since().unwrap() < seconds(1000), "{:?}", lag.since());
        lag.reached(Lsn::new(200_000));
        assert_eq!(lag.since(), None);
    }
}
