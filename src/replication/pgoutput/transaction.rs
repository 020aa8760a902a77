//! Where a transaction begins and ends, and which server it was first committed on.

use std::sync::Arc;

use super::error::Fault;
use super::reader::Reader;
use crate::change::{Lsn, PgTimestamp};

/// The changes up to the next [`Commit`] are one transaction's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Where the commit record begins; the manual calls it the transaction's final LSN.
    pub commit_lsn: Lsn,
    pub commit_timestamp: PgTimestamp,
    /// 32-bit, wraps. That of the top-level transaction.
    pub xid: u32,
}

/// The transaction is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Where the commit record begins, as in the [`Begin`].
    pub commit_lsn: Lsn,
    /// Where it ends: what is acknowledged.
    pub end_lsn: Lsn,
    pub commit_timestamp: PgTimestamp,
}

/// The transaction was replicated to this server from another; follows [`Begin`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The commit's position on that server.
    pub commit_lsn: Lsn,
    /// The replication origin's name.
    pub name: Arc<str>,
}

impl Begin {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, Fault> {
        Ok(Self {
            commit_lsn: body.lsn("the commit LSN")?,
            commit_timestamp: body.timestamp("the commit timestamp")?,
            xid: body.u32("the xid")?,
        })
    }
}

impl Commit {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, Fault> {
        // "Flags; currently unused": Postgres' own subscriber refuses any other value too.
        match body.u8("the flags")? {
            0 => {}
            value => return Err(Fault::UnknownValue { field: "the flags byte", value }),
        }
        Ok(Self {
            commit_lsn: body.lsn("the commit LSN")?,
            end_lsn: body.lsn("the end LSN")?,
            commit_timestamp: body.timestamp("the commit timestamp")?,
        })
    }
}

impl Origin {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, Fault> {
        Ok(Self { commit_lsn: body.lsn("the origin's commit LSN")?, name: body.name("the origin's name")? })
    }
}
