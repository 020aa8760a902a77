//! Rows become parts, and parts go out at the pace at which they are asked for.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use crate::change::json::{ChangeEncoder, MalformedValue};
use crate::change::{Lsn, Row, Visibility};
use crate::hub::{SnapshotEvent, SnapshotId, SnapshotPart};

use super::error::SnapshotError;

/// When a part is full: at a number of rows, or at about as many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartSize {
    pub rows: usize,
    pub bytes: usize,
}

/// A snapshot's way out.
pub(super) struct Parts {
    id: SnapshotId,
    size: PartSize,
    events: mpsc::Sender<SnapshotEvent>,
    /// How many parts may go out.
    wanted: Arc<Semaphore>,
    /// The event of the rows that are collected.
    event: Arc<str>,
    updates: Vec<u8>,
    rows: usize,
    /// A part that is full; it is not known yet whether it is the last.
    full: Option<SnapshotPart>,
    pub(super) sent: u32,
}

impl Parts {
    pub(super) fn new(
        id: SnapshotId,
        size: PartSize,
        event: Arc<str>,
        events: mpsc::Sender<SnapshotEvent>,
        wanted: Arc<Semaphore>,
    ) -> Self {
        Self { id, size, events, wanted, event, updates: Vec::new(), rows: 0, full: None, sent: 0 }
    }

    /// Rows that follow are sent with this event.
    pub(super) async fn begin(&mut self, event: &Arc<str>) -> Result<(), SnapshotError> {
        if self.event != *event {
            if self.rows > 0 {
                self.fill().await?;
            }
            self.event = Arc::clone(event);
        }
        Ok(())
    }

    /// Values that could not be shown are returned.
    pub(super) async fn push(
        &mut self,
        encoder: &ChangeEncoder,
        row: &Row,
    ) -> Result<Vec<MalformedValue>, SnapshotError> {
        if self.rows > 0 {
            self.updates.push(b',');
        }
        let malformed = encoder.encode_snapshot(&mut self.updates, row);
        self.rows += 1;
        if self.rows >= self.size.rows || self.updates.len() >= self.size.bytes {
            self.fill().await?;
        }
        Ok(malformed)
    }

    /// Sends what is left as the last part: there is one, even if no rows are.
    pub(super) async fn finish(mut self, visibility: Visibility, until: Lsn) -> Result<u32, SnapshotError> {
        if self.rows > 0 || self.full.is_none() {
            self.fill().await?;
        }
        let Some(last) = self.full.take() else { return Err(SnapshotError::Unwanted) };
        let done = SnapshotEvent::Done { id: self.id, last, visibility, until };
        self.events.send(done).await.map_err(|_| SnapshotError::Unwanted)?;
        Ok(self.sent + 1)
    }

    /// What is collected becomes a part, and the one before it goes out.
    async fn fill(&mut self) -> Result<(), SnapshotError> {
        let part = SnapshotPart { event: Arc::clone(&self.event), updates: std::mem::take(&mut self.updates).into() };
        self.rows = 0;
        let Some(part) = self.full.replace(part) else { return Ok(()) };
        self.wanted.acquire().await.map_err(|_| SnapshotError::Unwanted)?.forget();
        let event = SnapshotEvent::Part { id: self.id, part };
        self.events.send(event).await.map_err(|_| SnapshotError::Unwanted)?;
        self.sent += 1;
        Ok(())
    }
}
