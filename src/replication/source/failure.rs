//! How a session ends when nobody asked it to.

use super::intake::IntakeError;
use super::prerequisites::Prerequisite;
use crate::replication::wire::{Disposition, Verdict, WireError, classify};

/// Why a session came to its end, or to none.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Prerequisite(#[from] Prerequisite),
    #[error(transparent)]
    Stream(#[from] IntakeError),
    /// What comes from now on is of another timeline, which only a new connection tells.
    #[error("the standby was promoted")]
    Promoted,
    #[error("the feed is not read any more")]
    FeedClosed,
}

impl Failure {
    /// What to do about it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Wire(error) => classify(error),
            Self::Prerequisite(prerequisite) => prerequisite.verdict(),
            // Going on behind a message that was not understood would be a hole.
            Self::Stream(_) => Verdict {
                disposition: Disposition::Retry,
                advice: "the stream is read again from the last transaction; if that does not help, report it as a bug",
            },
            Self::Promoted => Verdict {
                disposition: Disposition::Retry,
                advice: "streaming goes on from where it was, on the new timeline",
            },
            Self::FeedClosed => Verdict { disposition: Disposition::Operator, advice: "this is a bug: report it" },
        }
    }
}
