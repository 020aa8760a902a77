//! Times in which the feed stands still: from the loss of a connection until all is read that was committed meanwhile.
//!
//! The loss is said once, and so is the return, with how long it took; attempts in between only where they fail for
//! another reason than the one before.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::{Failure, Source};
use crate::change::PgTimestamp;
use crate::change::json::write_timestamp;
use crate::replication::wire::{Disposition, Verdict};

/// One that is not over yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    pub since: Instant,
    /// The same by the wall clock.
    began: SystemTime,
    /// Why there is no connection, by the last attempt, and what to do about it.
    reason: String,
    /// There is one again: what was committed meanwhile is being read.
    pub is_connected: bool,
}

impl Outage {
    /// One that begins now.
    #[must_use]
    pub fn new(reason: String) -> Self {
        Self { since: Instant::now(), began: SystemTime::now(), reason, is_connected: false }
    }
}

impl fmt::Display for Outage {
    /// It does not change while nothing else does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = Timestamp(self.began);
        match self.is_connected {
            true => write!(f, "catching up with the database, which was away from {since} on"),
            false => write!(f, "disconnected from the database since {since} ({})", self.reason),
        }
    }
}

/// To the second, in UTC.
struct Timestamp(SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let seconds = i64::try_from(seconds).unwrap_or_default() - PgTimestamp::UNIX_EPOCH_OFFSET_SECONDS;
        let mut text = Vec::new();
        write_timestamp(&mut text, PgTimestamp::from_micros(seconds.saturating_mul(1_000_000)));
        f.write_str(String::from_utf8_lossy(&text).trim_matches('"'))
    }
}

impl Source {
    /// A connection is gone, or could not be had.
    pub(super) fn failed(&mut self, failure: &Failure, verdict: Verdict, retry_in: Duration) {
        let Verdict { disposition, advice } = verdict;
        let (slot, reason) = (self.settings.slot.as_str(), format!("{failure}: {advice}"));
        let is_loss = self.started && self.outage.borrow().is_none();
        let is_news = self.said.as_ref() != Some(&reason);
        if disposition != Disposition::Retry && is_news {
            tracing::error!(slot, reason = %failure, advice, ?retry_in, "replication can't go on");
        } else if is_loss {
            tracing::warn!(slot, reason = %failure, advice, ?retry_in, "replication interrupted: nothing new reaches clients until it is back");
        } else if is_news {
            tracing::warn!(slot, reason = %failure, advice, ?retry_in, "replication can't begin yet");
        } else {
            tracing::debug!(slot, reason = %failure, ?retry_in, "another attempt has failed");
        }
        self.said = Some(reason.clone());
        self.stands_still(&reason);
    }

    /// The feed stands still for this reason. Before it has ever moved that is the start.
    pub(super) fn stands_still(&self, reason: &str) {
        if !self.started {
            return;
        }
        self.outage.send_modify(|outage| match outage {
            Some(outage) => (outage.reason, outage.is_connected) = (reason.to_owned(), false),
            None => *outage = Some(Outage::new(reason.to_owned())),
        });
    }

    /// There is a connection again.
    pub(super) fn reconnected(&mut self) {
        self.said = None;
        self.outage.send_if_modified(|outage| {
            let Some(outage) = outage else { return false };
            tracing::info!(slot = self.settings.slot, after = ?whole(outage.since.elapsed()), "replication is back");
            outage.is_connected = true;
            true
        });
    }

    /// All is read that was committed before there was a connection.
    pub(super) fn caught_up(&self) {
        if self.outage.borrow().is_some() {
            self.outage.send_replace(None);
        }
    }
}

/// In seconds where there are some.
fn whole(time: Duration) -> Duration {
    if time.as_secs() == 0 {
        Duration::from_millis(u64::from(time.subsec_millis()))
    } else {
        Duration::from_secs(time.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_since_when_and_why() {
        let began = UNIX_EPOCH + Duration::from_millis(1_795_361_045_678);
        let mut outage = Outage { began, ..Outage::new("refused: start the server".to_owned()) };
        assert_eq!(
            outage.to_string(),
            "disconnected from the database since 2026-11-22T15:24:05+00:00 (refused: start the server)"
        );
        outage.is_connected = true;
        assert_eq!(
            outage.to_string(),
            "catching up with the database, which was away from 2026-11-22T15:24:05+00:00 on"
        );
    }
}
