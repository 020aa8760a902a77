//! Whether a slot goes on where we left off: decided from what the server says of itself, before anything is streamed.
//!
//! Postgres checks nothing of this. It moves a start position that is too old forward without a word, and takes one
//! from another server's WAL as its own.
#![deny(clippy::indexing_slicing)]

use crate::change::feed::FeedSystem;
use crate::change::{Ancestor, Lsn};
use crate::replication::wire::SystemIdentity;

/// Where the feed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub system: FeedSystem,
    /// Everything that committed before this has been handed on.
    pub end: Lsn,
}

/// Why the feed can't go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Discontinuity {
    #[error("this is another database system ({now}) than before ({before})")]
    System { before: u64, now: u64 },
    #[error(
        "the server's timeline {now} left timeline {before} at {branch}, before {end}, up to which changes were sent: \
         a failover or a restore abandoned some of them"
    )]
    Branch { before: u32, now: u32, branch: Lsn, end: Lsn },
    #[error("the server's timeline {now} does not descend from timeline {before}")]
    Timeline { before: u32, now: u32 },
    #[error("the server's WAL ends at {flush}, before {end}, up to which changes were sent: it was restored")]
    Rewound { flush: Lsn, end: Lsn },
    #[error(
        "the slot begins at {confirmed_flush}, after {end}: it was recreated or moved, and what lies between is gone"
    )]
    Gap { confirmed_flush: Lsn, end: Lsn },
}

/// Where to stream from: after `position` if there is one and nothing speaks against it, else where the slot is.
///
/// `sent` is where the last transaction commits of which anything was handed on: all of it, or the first parts. A
/// server
/// that never wrote that commit has abandoned what clients have seen. `ancestry` are the timelines before the server's.
///
/// # Errors
/// Changes between `position` and what the server would send are missing, or `position` is none of its WAL.
pub fn resume(
    position: Option<Position>,
    sent: Option<Lsn>,
    server: SystemIdentity,
    confirmed_flush: Lsn,
    ancestry: &[Ancestor],
) -> Result<Lsn, Discontinuity> {
    let Some(Position { system, end }) = position else { return Ok(confirmed_flush) };
    let (before, now) = (system.timeline, server.timeline);
    let reach = sent.map_or(end, |commit| end.max(Lsn::new(commit.as_u64().saturating_add(1))));
    if system.system_id != server.system_id {
        return Err(Discontinuity::System { before: system.system_id, now: server.system_id });
    }
    if before != now {
        let ancestor = ancestry.iter().find(|ancestor| ancestor.timeline == before);
        let branch = ancestor.map(|ancestor| ancestor.end).ok_or(Discontinuity::Timeline { before, now })?;
        if branch < reach {
            return Err(Discontinuity::Branch { before, now, branch, end: reach });
        }
    }
    if server.flush < reach {
        return Err(Discontinuity::Rewound { flush: server.flush, end: reach });
    }
    if confirmed_flush > end {
        return Err(Discontinuity::Gap { confirmed_flush, end });
    }
    Ok(end)
}

/// The timelines that a history file names: lines of timeline, position and reason, separated by tabs.
pub(super) fn ancestry(history: &str) -> Vec<Ancestor> {
    let ancestor = |line: &str| {
        let mut fields = line.split_whitespace();
        Some(Ancestor { timeline: fields.next()?.parse().ok()?, end: fields.next()?.parse().ok()? })
    };
    history.lines().filter_map(ancestor).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HISTORY: &str = "1\t0/5000\tno recovery target specified\n\n2\t0/9000\tbefore 2026-11-22\n";

    fn resume_at(end: u64, timeline: u32, now: (u64, u32, u64), slot: u64) -> Result<Lsn, Discontinuity> {
        let position = Position { system: FeedSystem { system_id: 7, timeline }, end: Lsn::new(end) };
        let server = SystemIdentity { system_id: now.0, timeline: now.1, flush: Lsn::new(now.2) };
        resume(Some(position), None, server, Lsn::new(slot), &ancestry(HISTORY))
    }

    #[test]
    fn goes_on_after_what_was_handed_on() {
        assert_eq!(resume_at(0x4000, 1, (7, 1, 0x8000), 0x3000), Ok(Lsn::new(0x4000)));
        assert_eq!(resume_at(0x4000, 1, (7, 1, 0x4000), 0x4000), Ok(Lsn::new(0x4000)));
        let server = SystemIdentity { system_id: 7, timeline: 1, flush: Lsn::new(9) };
        assert_eq!(resume(None, None, server, Lsn::new(5), &[]), Ok(Lsn::new(5)));
    }

    #[test]
    fn a_failover_before_the_position_is_no_continuation() {
        assert_eq!(resume_at(0x5000, 1, (7, 2, 0x8000), 0x4000), Ok(Lsn::new(0x5000)));
        assert_eq!(resume_at(0x8000, 2, (7, 3, 0xA000), 0x4000), Ok(Lsn::new(0x8000)));
        assert!(matches!(resume_at(0x5001, 1, (7, 2, 0x8000), 0), Err(Discontinuity::Branch { .. })));
        assert!(matches!(resume_at(0x5000, 4, (7, 3, 0x8000), 0), Err(Discontinuity::Timeline { .. })));
    }

    #[test]
    fn the_first_parts_of_an_abandoned_transaction_are_told() {
        let system = FeedSystem { system_id: 7, timeline: 1 };
        let position = Some(Position { system, end: Lsn::new(0x4000) });
        let resume_on = |timeline, flush, sent| {
            let server = SystemIdentity { system_id: 7, timeline, flush: Lsn::new(flush) };
            resume(position, Some(Lsn::new(sent)), server, Lsn::new(0x3000), &ancestry(HISTORY))
        };
        assert_eq!(resume_on(2, 0x8000, 0x4FFF), Ok(Lsn::new(0x4000)));
        assert!(matches!(resume_on(2, 0x8000, 0x5000), Err(Discontinuity::Branch { .. })));
        assert_eq!(resume_on(1, 0x8000, 0x7FFF), Ok(Lsn::new(0x4000)));
        assert!(matches!(resume_on(1, 0x8000, 0x8000), Err(Discontinuity::Rewound { .. })));
    }

    #[test]
    fn another_server_a_restore_and_a_new_slot_are_told_apart() {
        assert!(matches!(resume_at(1, 1, (8, 1, 9), 0), Err(Discontinuity::System { .. })));
        assert!(matches!(resume_at(9, 1, (7, 1, 8), 0), Err(Discontinuity::Rewound { .. })));
        assert!(matches!(resume_at(3, 1, (7, 1, 9), 4), Err(Discontinuity::Gap { .. })));
    }

    proptest! {
        #[test]
        fn any_history_is_no_reason_to_panic(history in ".*") {
            let _any = ancestry(&history);
        }
    }
}
