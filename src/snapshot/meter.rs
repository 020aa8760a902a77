//! How many snapshots there are and were: written by the task, read by whoever wants to know.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::error::SnapshotError;

/// Counted since the process began. None of the numbers is read for more than being shown.
#[derive(Debug, Default)]
pub struct Meter {
    running: AtomicUsize,
    waiting: AtomicUsize,
    taken: AtomicU64,
    rows: AtomicU64,
    too_large: AtomicU64,
    failed: AtomicU64,
}

impl Meter {
    /// Snapshots whose rows are being read.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Snapshots that wait for a connection.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Rows of the snapshots that were read to their end.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Snapshots that are over, by how they ended.
    #[must_use]
    pub fn ended(&self) -> [(&'static str, u64); 3] {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [("taken", load(&self.taken)), ("too_large", load(&self.too_large)), ("failed", load(&self.failed))]
    }

    pub(super) fn set(&self, running: usize, waiting: usize) {
        self.running.store(running, Ordering::Relaxed);
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    pub(super) fn taken(&self, rows: u64) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, error: &SnapshotError) {
        let count = match error {
            SnapshotError::TooLarge { .. } => &self.too_large,
            _ => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
