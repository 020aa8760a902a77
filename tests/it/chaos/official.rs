//! The official `phoenix` client, unmodified, as its users run it: the readme's live table in a node process, which
//! comes back with its last cursor whatever happens and checks that every change fits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::replica::Key;
use crate::support::node::Script;
use crate::support::{PATIENCE, POLL};

pub(super) struct Official {
    pub(super) script: Script,
}

impl Official {
    /// Joined, for a run of so many seconds.
    pub(super) async fn start(port: u16, seconds: u64) -> Self {
        let socket = format!("ws://127.0.0.1:{port}/socket");
        let deadline = ((seconds + PATIENCE.as_secs() * 40) * 1000).to_string();
        let variables = [("WALCAST_SOCKET", socket.as_str()), ("WALCAST_DEADLINE_MS", &deadline)];
        let mut script = Script::start("chaos.mjs", &variables);
        script.until("joined").await;
        Self { script }
    }

    /// Until its rows are these, as long as they change within `standstill`; `resumed`: it has begun with rows only
    /// once.
    pub(super) async fn equal(&mut self, expected: BTreeMap<Key, Value>, resumed: bool, standstill: Duration) {
        let (mut moved, mut latest) = (Instant::now(), BTreeMap::new());
        loop {
            self.script.go_on().await;
            let snapshots = self.script.until_prefix("snapshots ").await;
            assert!(!resumed || snapshots == "1", "the official client was not resumed, but began {snapshots} times");
            let rows: Vec<(String, i64, i64, Value)> =
                serde_json::from_str(&self.script.until_prefix("rows ").await).unwrap();
            let rows: BTreeMap<Key, Value> =
                rows.into_iter().map(|(table, first, second, row)| ((table, first, second), row)).collect();
            if rows == expected {
                return;
            }
            let differ = expected.iter().filter(|(key, row)| rows.get(key) != Some(row)).count();
            let (has, all) = (rows.len(), expected.len());
            if latest != rows {
                (moved, latest) = (Instant::now(), rows);
            }
            assert!(moved.elapsed() < standstill, "the official client has {has} of {all} rows; {differ} differ");
            tokio::time::sleep(POLL).await;
        }
    }
}
