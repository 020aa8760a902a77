//! A change as Postgres sent it: relations, rows, transactions, and their values as JSON.
//!
//! Pure: no I/O, no clock, no tokio. Knows nothing of topics or clients. `replication` produces these
//! types, `routing` and `hub` consume them; [`json`] writes a row exactly as `row_to_json` would.

mod broadcast;
pub mod catalogue;
pub mod feed;
mod identifier;
pub mod json;
mod labels;
mod lsn;
mod numbers;
mod relation;
mod row;
mod timestamp;
mod visibility;

pub use broadcast::{BROADCAST_PREFIX, Broadcast, BroadcastError, BroadcastPayload, is_reserved_event};
pub use catalogue::{Type, TypeCatalogue, TypeKind};
pub use feed::{
    Acknowledgement, Ancestor, Announcement, Change, Committed, FeedEvent, FeedSystem, OldRow, Operation, PlacedHole,
    TableHole, TransactionHeader, TransactionPart,
};
pub use identifier::{is_reserved, quote_identifier, quoted_identifier};
pub use labels::{Enum, EnumLabels};
pub use lsn::{Lsn, ParseLsnError};
pub use numbers::{NumberHasher, NumberMap};
pub use relation::{Column, Oid, Relation, RelationId, ReplicaIdentity};
pub use row::{Datum, Row, RowError};
pub use timestamp::PgTimestamp;
pub use visibility::{ParseVisibilityError, Visibility};
