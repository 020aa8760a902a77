//! What the integration tests share: a database, the real binary in front of it, and node scripts beside it.

#![allow(dead_code, reason = "each test uses a part of this")]

pub(crate) mod articles;
pub(crate) mod balancer;
pub(crate) mod database;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod node;
pub(crate) mod phoenix;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

/// For anything that should take a second: the machine may be busy, a hang should still end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that is polled.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Looks until `look` gives something; `what` is told where it does not in time.
pub(crate) async fn eventually<T, Look, Seen>(what: &str, mut look: Look) -> T
where
    Look: FnMut() -> Seen,
    Seen: Future<Output = Option<T>>,
{
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(tokio::time::Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// A port below Linux' ephemeral range (32768 and up), so that no outgoing connection takes it first.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(20_000..32_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A folder that goes with its owner.
#[derive(Debug)]
pub(crate) struct ScratchFolder(PathBuf);

impl ScratchFolder {
    pub(crate) fn new() -> Self {
        let path = env::temp_dir().join(format!("walcast-test-{:012x}", fastrand::u64(..) >> 16));
        fs::create_dir(&path).expect("make a scratch folder");
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        let _best_effort = fs::remove_dir_all(&self.0);
    }
}

/// The repository's root.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
