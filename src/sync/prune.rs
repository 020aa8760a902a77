//! Outcomes that nobody will ask for any more.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::replication::wire::connect_sql;

use super::task::Settings;

/// A day's mutations go a little every few minutes.
const INTERVAL: Duration = Duration::from_secs(5 * 60);
/// At a time, so that nobody waits for long and no transaction is large.
const ROWS_MAX: i64 = 5_000;

/// Forgets old mutations now and then, for ever, from when clients may write.
pub(super) async fn run(settings: &Settings) {
    // An error says that the routes stay what they are.
    if settings.routes.clone().wait_for(|routes| !routes.is_empty()).await.is_err() {
        return std::future::pending().await;
    }
    let mut due = interval(INTERVAL);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        match prune(settings).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "old mutations are forgotten"),
            Err(error) => tracing::warn!(error, "old mutations can't be forgotten now"),
        }
    }
}

/// How many are gone.
async fn prune(settings: &Settings) -> Result<u64, String> {
    const SQL: &str = "delete from walcast.mutations where ctid = any(array( \
                       select ctid from walcast.mutations where at < now() - make_interval(secs => $1) limit $2))";
    let client = connect_sql(&settings.connection).await.map_err(|error| error.to_string())?;
    let mut rows = 0;
    loop {
        let seconds = settings.limits.retention.as_secs_f64();
        let gone = client.execute(SQL, &[&seconds, &ROWS_MAX]).await.map_err(|error| error.to_string())?;
        rows += gone;
        if gone == 0 {
            return Ok(rows);
        }
    }
}
