//! Where rows of a snapshot and the feed meet.

use crate::change::{Lsn, TransactionHeader, Visibility};

use super::Position;
use super::log::Log;

/// What a reader of the log has from a snapshot already: until the feed has passed `until`, transactions that the
/// snapshot sees are not sent again.
///
/// Commits become visible in another order than the one in which the log has them, and a while after they are decoded:
/// that is why ids decide, and no position does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    pub visibility: Visibility,
    /// Everything that the snapshot sees has committed before this.
    pub until: Lsn,
    /// The one on which the snapshot was taken.
    pub timeline: u32,
}

impl Splice {
    /// The snapshot has what this transaction did.
    #[must_use]
    pub fn has(&self, header: &TransactionHeader) -> bool {
        header.commit_lsn < self.until && self.visibility.sees(header.xid)
    }

    /// A reader here has passed all that the snapshot sees.
    #[must_use]
    pub fn is_over(&self, position: Position) -> bool {
        position >= Position::before(self.until)
    }
}

impl Log {
    /// Where someone goes on who has what a snapshot saw that saw what committed before `until`, and nothing else. None
    /// where the log has let go of something after that.
    pub(super) fn unseen_after(&self, until: Lsn) -> Option<Position> {
        let from = Position::before(until).min(self.head);
        (self.tail <= from).then_some(from)
    }
}
