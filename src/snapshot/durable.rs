//! What a snapshot has shown is on disk before anybody goes on from it.
//!
//! A commit that does not wait for the disk (`synchronous_commit = off`) is seen at once, and a crash can undo it: its
//! rows are gone, its id is given to another transaction, and its place in the log to other changes. Who has its rows
//! would keep them, and never get what comes under that id. So the last part, with the cursor, waits until the log is
//! on disk up to where the snapshot sees. A crash before that cuts the snapshot short.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::error::SnapshotError;
use super::query;
use crate::change::Lsn;

/// How long the log is waited for where nothing may be written that would take it to the disk: Postgres' own processes
/// do it every 15 seconds.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
/// What a page of WAL, or a segment, begins with: nothing that could be lost.
const PAGE_HEADERS: [u64; 2] = [24, 40];

/// Waits until the log is on disk up to `until`. Ends the session's transaction, if that takes a while.
pub(super) async fn wait(client: &Client, until: Lsn) -> Result<(), SnapshotError> {
    if Flushed::ask(client).await?.reaches(until) {
        return Ok(());
    }
    client.batch_execute("commit").await.map_err(SnapshotError::query("end the transaction"))?;
    match client.batch_execute(query::FLUSH).await {
        Ok(()) => {}
        Err(error) if error.as_db_error().is_some() => {
            tracing::debug!(error = %error, "nothing may be written: a snapshot waits for others to flush the log");
        }
        Err(error) => return Err(SnapshotError::query("flush the log")(error)),
    }
    let deadline = Instant::now() + PATIENCE;
    while !Flushed::ask(client).await?.reaches(until) {
        if Instant::now() >= deadline {
            return Err(SnapshotError::Unflushed { limit: PATIENCE });
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

/// How much of the log is on disk.
struct Flushed {
    end: Lsn,
    block_size: u64,
}

impl Flushed {
    async fn ask(client: &Client) -> Result<Self, SnapshotError> {
        let during = || SnapshotError::query("ask how much of the log is on disk");
        let row = client.query_one(query::FLUSHED, &[]).await.map_err(during())?;
        let (end, block_size): (&str, i64) = (row.try_get(0).map_err(during())?, row.try_get(1).map_err(during())?);
        Ok(Self { end: end.parse()?, block_size: u64::try_from(block_size).unwrap_or_default() })
    }

    /// The end of a page is flushed, and what is inserted next comes behind the next one's header.
    fn reaches(&self, until: Lsn) -> bool {
        let at_page = self.end.as_u64().is_multiple_of(self.block_size.max(1));
        self.end >= until || at_page && PAGE_HEADERS.contains(&until.bytes_since(self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_header_is_nothing_to_wait_for() {
        let reaches = |end, until| Flushed { end: Lsn::new(end), block_size: 8192 }.reaches(Lsn::new(until));
        assert!(reaches(0x5000, 0x5000) && reaches(0x5008, 0x5000));
        assert!(!reaches(0x5000, 0x5001) && !reaches(0x5008, 0x5020) && !reaches(0x5008, 0x5030));
        assert!(reaches(0x6000, 0x6018) && reaches(0x6000, 0x6028));
        assert!(!reaches(0x6000, 0x6030) && !reaches(0x6000, 0x6020));
    }
}
