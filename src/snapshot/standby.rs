//! The moment of a snapshot on a standby.
//!
//! A standby does not tell which transactions are under way: `pg_current_snapshot()` lists none there. But what it sees
//! is what it has replayed, commit by commit: its view is a position. That position is known exactly while nothing is
//! being replayed, as it is between any two bursts of WAL: the same before and after the snapshot was taken, and all
//! that was received. Otherwise the snapshot is taken again.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::error::SnapshotError;
use super::query;
use crate::change::Lsn;

/// How long a moment without replay is waited for. A standby that has none for so long is behind, and says so.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts: a burst takes some milliseconds to be replayed.
const PAUSE: Duration = Duration::from_millis(2);
/// What a page of WAL, or a segment, begins with: nothing that could be replayed.
const PAGE_HEADERS: [u64; 2] = [24, 40];

/// Begins a transaction behind `begin` (which takes locks and no snapshot), and gives up to where it sees: whatever
/// committed before, and nothing else.
pub(super) async fn begin(client: &Client, begin: &str) -> Result<Lsn, SnapshotError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(position) = attempt(client, begin).await? {
            return Ok(position);
        }
        if Instant::now() >= deadline {
            return Err(SnapshotError::Replaying { limit: PATIENCE });
        }
        client.batch_execute("rollback").await.map_err(SnapshotError::query("begin again"))?;
        sleep(PAUSE).await;
    }
}

/// What a standby says of itself right after the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct After {
    replayed: Lsn,
    received: Lsn,
    receiving: bool,
    block_size: u64,
}

async fn attempt(client: &Client, begin: &str) -> Result<Option<Lsn>, SnapshotError> {
    let batch = format!("{begin};\n{}", query::STANDBY_MOMENT);
    // Sent together, so that as little as possible is replayed in between.
    let (before, after) = tokio::join!(client.simple_query(query::REPLAYED), client.simple_query(&batch));
    let before = before.map_err(SnapshotError::query("ask how far the standby has replayed"))?;
    let after = after.map_err(SnapshotError::query("take a snapshot on the standby"))?;
    let before = row(&before).and_then(|[replayed, ..]| replayed?.parse().ok());
    let after = row(&after).and_then(|[replayed, received, receiving, block_size]| {
        Some(After {
            replayed: replayed?.parse().ok()?,
            received: received?.parse().ok()?,
            receiving: receiving? == "t",
            block_size: block_size?.parse().ok()?,
        })
    });
    Ok(before.zip(after).and_then(|(before, after)| seen(before, after)))
}

/// The first columns of the last row.
fn row(messages: &[SimpleQueryMessage]) -> Option<[Option<&str>; 4]> {
    let row = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })?;
    Some([0, 1, 2, 3].map(|column| if column < row.len() { row.get(column) } else { None }))
}

/// Up to where a snapshot sees that was taken between the two; none where that can't be told.
///
/// A commit is seen a moment before its record counts as replayed. That one may have been under way is ruled out by
/// what was received: nothing lies behind what was replayed. Records of an archive are not received at all, so that
/// the standby has to be receiving.
fn seen(before: Lsn, after: After) -> Option<Lsn> {
    let behind = after.received.bytes_since(after.replayed);
    let at_page = after.replayed.as_u64().is_multiple_of(after.block_size.max(1));
    let nothing_behind = after.received == after.replayed
        || after.received > after.replayed && at_page && PAGE_HEADERS.contains(&behind);
    (before == after.replayed && nothing_behind && after.receiving).then_some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_moment_without_replay_tells_what_is_seen() {
        let at = Lsn::new;
        let after = |replayed, received| After {
            replayed: at(replayed),
            received: at(received),
            receiving: true,
            block_size: 8192,
        };
        assert_eq!(seen(at(0x5000), after(0x5000, 0x5000)), Some(at(0x5000)));
        assert_eq!(seen(at(0x4FF0), after(0x5000, 0x5000)), None, "something was replayed meanwhile");
        assert_eq!(seen(at(0x5000), after(0x5000, 0x5028)), None, "something may be replayed just now");
        assert_eq!(seen(at(0x5000), after(0x5000, 0x4000)), None, "the receiver has just begun again");
        assert_eq!(seen(at(0x6000), after(0x6000, 0x6018)), Some(at(0x6000)), "a page has begun, and nothing more");
        assert_eq!(seen(at(0x6000), after(0x6000, 0x6038)), None);
        assert_eq!(seen(at(0x5000), After { receiving: false, ..after(0x5000, 0x5000) }), None);
    }
}
