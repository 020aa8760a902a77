//! What `pg_logical_emit_message` writes into the log.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::error::Fault;
use super::reader::Reader;
use crate::change::Lsn;

/// The only flag: written inside a transaction. Others are ignored, as Postgres' subscriber does.
pub(super) const TRANSACTIONAL_FLAG: u8 = 1;

/// An application's own message (option `messages`).
#[derive(Clone, PartialEq, Eq)]
pub struct LogicalMessage {
    /// Comes between [`Begin`](super::Begin) and [`Commit`](super::Commit), if the transaction commits. Others come
    /// as soon as they are decoded, whatever becomes of the transaction.
    pub transactional: bool,
    /// Where the message is in the log. A transactional one comes with its commit, so that this can be below the LSNs
    /// of transactions that came earlier.
    pub lsn: Lsn,
    pub prefix: Arc<str>,
    pub content: Bytes,
}

impl LogicalMessage {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, Fault> {
        let transactional = body.u8("the flags")? & TRANSACTIONAL_FLAG != 0;
        let lsn = body.lsn("the LSN")?;
        let prefix = body.name("the prefix")?;
        let length = body.u32("the content's length")?;
        Ok(Self { transactional, lsn, prefix, content: body.bytes(length, "the content")? })
    }
}

impl fmt::Debug for LogicalMessage {
    // The content is the application's, like a row's values: its length only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogicalMessage")
            .field("transactional", &self.transactional)
            .field("lsn", &self.lsn)
            .field("prefix", &self.prefix)
            .field("content_bytes", &self.content.len())
            .finish()
    }
}
