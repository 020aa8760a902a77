//! What a session has handed out, and what of that has arrived.
//!
//! Pure. A message stays in the outbox until the client shows, by the token of a later poll, that it has it. A poll
//! that repeats an older token is answered with the same messages again.
//!
//! A client that never shows any token but its first is one that does not look at later ones (Phoenix repeats one token
//! for good). For such a client, and for others until they have shown a second token, an answer that was given to the
//! socket whole counts as arrived, once the next poll comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Poll windows without a poll after which a session is over.
const IDLE_WINDOWS: f64 = 1.5;

/// How far a session is, in its messages as they are numbered from 1.
#[derive(Debug, Default)]
pub(in crate::transport) struct Progress {
    /// Shown to have arrived; no longer kept.
    received: u64,
    /// Handed out since, and kept.
    handed: u64,
    /// The client shows the tokens that it gets.
    shows: bool,
    /// The last answer with messages was given to the socket to its end.
    written: Option<Arc<AtomicBool>>,
}

/// A poll's token tells of messages that were never sent.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::transport) struct NeverSent;

impl Progress {
    /// A poll has come whose client has the first `received` messages. How many of the kept ones can go.
    pub(in crate::transport) fn polled(&mut self, received: u64) -> Result<u64, NeverSent> {
        let newest = self.received + self.handed;
        if received > newest {
            return Err(NeverSent);
        }
        self.shows |= received > 0;
        let written = self.written.take().is_some_and(|written| written.load(Ordering::Relaxed));
        let arrived = if !self.shows && written { newest } else { received.max(self.received) };
        let gone = arrived - self.received;
        self.received = arrived;
        self.handed -= gone;
        Ok(gone)
    }

    /// This many of the kept messages go out, from the first. The number for the answer's token, and where it is to be
    /// noted that the answer was written.
    pub(in crate::transport) fn handed(&mut self, count: u64) -> (u64, Arc<AtomicBool>) {
        let written = Arc::new(AtomicBool::new(false));
        self.handed = self.handed.max(count);
        self.written = Some(Arc::clone(&written));
        (self.received + count, written)
    }

    /// The number for the token of an answer without messages.
    pub(in crate::transport) const fn received(&self) -> u64 {
        self.received
    }
}

/// How long a session lives without a poll, where a poll waits for `window`.
pub(in crate::transport) fn patience(window: Duration) -> Duration {
    window.mul_f64(IDLE_WINDOWS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_shown_is_handed_out_again() {
        let mut progress = Progress::default();
        assert_eq!(progress.polled(0), Ok(0));
        assert_eq!(progress.handed(2).0, 2);
        assert_eq!(progress.polled(2), Ok(2));
        // Once a client has shown a token, only tokens count.
        let (next, written) = progress.handed(3);
        written.store(true, Ordering::Relaxed);
        assert_eq!((next, progress.polled(2)), (5, Ok(0)));
        assert_eq!(progress.handed(4).0, 6, "and what has come since");
        assert_eq!(progress.polled(6), Ok(4));
    }

    #[test]
    fn a_repeated_poll_may_end_with_either_answer() {
        let mut progress = Progress::default();
        progress.handed(2);
        progress.polled(2).unwrap();
        progress.handed(3);
        progress.polled(2).unwrap();
        progress.handed(5);
        assert_eq!(progress.polled(5), Ok(3), "it was the first of the two that arrived");
        assert_eq!(progress.handed(2).0, 7);
        // The repeated one was gone again before it could be answered.
        progress.polled(5).unwrap();
        assert_eq!(progress.polled(7), Ok(2));
    }

    #[test]
    fn a_client_that_keeps_its_first_token_gets_each_message_once() {
        let mut progress = Progress::default();
        for _ in 0..3 {
            progress.handed(2).1.store(true, Ordering::Relaxed);
            assert_eq!(progress.polled(0), Ok(2));
        }
        let (_, _cut_off) = progress.handed(2);
        assert_eq!(progress.polled(0), Ok(0), "that answer was cut off");
    }

    #[test]
    fn a_token_from_the_future_is_refused() {
        let mut progress = Progress::default();
        progress.handed(2);
        assert_eq!(progress.polled(3), Err(NeverSent));
    }

    proptest! {
        /// Answers that are lost, cut off or repeated in any order: the client has every message once, in order.
        #[test]
        fn nothing_is_lost_and_nothing_comes_twice(arrives in prop::collection::vec((0_u64..4, any::<bool>()), 1..60)) {
            let mut progress = Progress::default();
            let (mut kept, mut made, mut seen, mut token) = (Vec::new(), 0_u64, Vec::new(), 0);
            for (more, arrives) in arrives {
                let gone = progress.polled(token).unwrap();
                kept.drain(..usize::try_from(gone).unwrap());
                kept.extend(made + 1..=made + more);
                made += more;
                if kept.is_empty() {
                    continue;
                }
                let (next, written) = progress.handed(kept.len() as u64);
                written.store(arrives, Ordering::Relaxed);
                if arrives {
                    seen.extend(kept.iter().copied());
                    token = next;
                }
            }
            prop_assert_eq!(seen.clone(), (1..=seen.len() as u64).collect::<Vec<_>>());
        }
    }
}
