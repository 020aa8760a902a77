//! The stream that replication hands to the hub.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Broadcast, BroadcastError, EnumLabels, Lsn, PgTimestamp, Relation, Row, Visibility};

/// What the replica identity made Postgres send of the row before the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OldRow {
    /// The identity's columns; every other column is null in it without meaning null.
    Key(Row),
    /// The whole row (`REPLICA IDENTITY FULL`).
    Full(Row),
}

impl OldRow {
    #[must_use]
    pub const fn row(&self) -> &Row {
        match self {
            Self::Key(row) | Self::Full(row) => row,
        }
    }
}

/// What happened to a row, or to a whole table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    Insert {
        new: Row,
    },
    /// `old` is absent where the identity is the key and the key did not change.
    Update {
        old: Option<OldRow>,
        new: Row,
    },
    Delete {
        old: OldRow,
    },
    Truncate,
}

/// One change of one relation.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub relation: Arc<Relation>,
    pub operation: Operation,
    /// 1 for the transaction's first change: counts every change as Postgres sent it, before routing, so that it is
    /// the same after a restart or a reload. A truncate of several tables counts once for each.
    pub ordinal: u64,
}

/// A broadcast within a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// One of the same count as [`Change::ordinal`].
    pub ordinal: u64,
    /// One that can't be read counts, too, so that another version that can read it counts alike.
    pub broadcast: Result<Broadcast, BroadcastError>,
}

/// A committed transaction's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionHeader {
    /// 32-bit, wraps.
    pub xid: u32,
    /// Where the commit record begins; transactions come in the order of this.
    pub commit_lsn: Lsn,
    /// The server's clock: not ordered.
    pub commit_timestamp: PgTimestamp,
}

/// A transaction as the session knows it that has committed it: enough to tell when it has come through the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// 32-bit, wraps.
    pub xid: u32,
    /// A position after its commit; none where the session ended before it could be asked.
    pub before: Option<Lsn>,
}

/// A transaction, or a slice of a large one: Postgres sends a transaction only after its commit, so
/// that a part can be passed on before the rest has arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct TransactionPart {
    pub header: TransactionHeader,
    pub changes: Vec<Change>,
    /// What SQL said to topics between them: order is that of ordinals.
    pub announcements: Vec<Announcement>,
    /// No part of this transaction came before.
    pub first: bool,
    /// Where the transaction's last record ends, with its last part: what may be acknowledged once it is handled.
    pub end_lsn: Option<Lsn>,
}

impl TransactionPart {
    /// That of the part's last change or announcement; none where it has neither.
    #[must_use]
    pub fn last_ordinal(&self) -> Option<u64> {
        let change = self.changes.last().map(|change| change.ordinal);
        change.max(self.announcements.last().map(|announcement| announcement.ordinal))
    }
}

/// Which database the feed comes from; another one is another feed, whatever the LSNs say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedSystem {
    /// `IDENTIFY_SYSTEM`'s systemid.
    pub system_id: u64,
    pub timeline: u32,
}

/// An older timeline that the present one descends from: what it wrote up to `end` is ours too, what it wrote after
/// that was abandoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ancestor {
    pub timeline: u32,
    pub end: Lsn,
}

/// What the hub tells replication: how far it can do without the slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Acknowledgement {
    /// How often the hub has been told of a loss: a position from before one means nothing after it.
    pub losses: u64,
    pub position: Lsn,
}

/// A table of which the feed lacks something that no change tells: whoever watched it has to begin afresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableHole {
    /// Its name when it was watched.
    pub schema: Arc<str>,
    pub name: Arc<str>,
    /// For the operator.
    pub reason: String,
}

/// A hole that was told, perhaps by an earlier process, and has its place in the feed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedHole {
    /// Who was given a position before this has to begin afresh: up to just before what commits there, or
    pub lsn: Lsn,
    /// up to this change of it. It may stand behind what was given out at `lsn` before anything committed there.
    pub ordinal: u64,
    pub hole: TableHole,
}

/// What replication tells the hub, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedEvent {
    /// Streaming begins (again) after `start`: the hub's log goes on where it can, and begins anew where not.
    Connected {
        system: FeedSystem,
        /// The timelines before this one. A new timeline that kept all that was sent is a continuation.
        ancestry: Vec<Ancestor>,
        /// Everything that commits after this position will come.
        start: Lsn,
        /// The server's WAL flush position at connect: the feed has caught up once it has passed it.
        flush: Lsn,
        /// Every published table, so that topics can be parsed before the first change.
        relations: Vec<Arc<Relation>>,
        /// Some of what committed before `start` may not be seen yet: what had an id below this.
        doubt: Option<u64>,
    },
    Part(TransactionPart),
    /// Said outside of any transaction, after everything that came before it. It is not said again.
    Broadcast(Broadcast),
    /// What the publication gives has changed, and the feed has come past that.
    Published {
        /// Every table that it gives now.
        relations: Vec<Arc<Relation>>,
        holes: Vec<TableHole>,
    },
    /// Holes that were told before this process began: the log that is being rebuilt has them where they were.
    Remembered(Vec<PlacedHole>),
    /// The labels of the enums that published columns are of, as the catalogue has just had them.
    Labels(EnumLabels),
    /// What a snapshot of the database has just seen, and with it every later one.
    Seen(Visibility),
    /// Nothing is pending up to here (a keepalive between transactions).
    Progress(Lsn),
    /// Continuity is lost: `reason` is for the operator. Everyone must resync.
    Lost {
        reason: String,
    },
}
