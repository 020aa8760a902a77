//! Creating the slot: the one step that may have to wait, for transactions that nobody remembers.

use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::super::output;
use super::plan::{LOCK_TIMEOUT_SECONDS, Step};
use crate::config::Config;
use crate::replication::wire::{WireError, connect_sql};

/// Shorter waits are not worth a message.
const SILENT_WAIT: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub(super) enum SlotError {
    #[error("cannot {title}: {message}")]
    Refused { title: String, message: String },
    #[error(
        "cannot {title}: transactions that were running did not end within {LOCK_TIMEOUT_SECONDS} s; nothing was \
         created. End them, and run `walcast setup` again{blockers}"
    )]
    Blocked { title: String, blockers: String },
    #[error(transparent)]
    Connect(#[from] WireError),
}

/// Runs the step, and tells who is in the way when it takes long.
pub(super) async fn create(client: &Client, step: &Step, config: &Config) -> Result<(), SlotError> {
    // A look at who blocks needs a connection that is not blocked.
    let observer = connect_sql(&config.postgres.connection).await?;
    let mut creation = pin!(client.batch_execute(&step.sql));
    let finished = tokio::select! {
        finished = &mut creation => finished,
        () = sleep(SILENT_WAIT) => {
            let blockers = blockers(&observer).await;
            output::say(&format!(
                "waiting for transactions that are running to end, for {LOCK_TIMEOUT_SECONDS} s at most{blockers}"
            ));
            creation.await
        }
    };
    let Err(error) = finished else { return Ok(()) };
    let title = step.title.clone();
    if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
        return Err(SlotError::Blocked { title, blockers: blockers(&observer).await });
    }
    Err(SlotError::Refused { title, message: server_message(&error) })
}

/// What the server said, with its hint; the library's own text is no more than "db error".
pub(super) fn server_message(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => match error.hint() {
            Some(hint) => format!("{} (hint: {hint})", error.message()),
            None => error.message().to_owned(),
        },
        None => error.to_string(),
    }
}

/// One line for each transaction that has written and is still open, in any database; the query that it runs is not
/// shown, since it may hold values.
async fn blockers(observer: &Client) -> String {
    let sql = "\
        select format('pid %s (%s in database %s, %s), open for %s s: select pg_terminate_backend(%s) ends it',
                      pid, usename, datname, state, extract(epoch from now() - xact_start)::int, pid)
        from pg_stat_activity where backend_xid is not null and pid <> pg_backend_pid()
        union all
        select format('prepared transaction %L (%s in database %s): rollback prepared %L ends it',
                      gid, owner, database, gid)
        from pg_prepared_xacts";
    match observer.query(sql, &[]).await {
        Ok(rows) => rows.iter().map(|row| format!("\n  {}", row.get::<_, &str>(0))).collect(),
        Err(error) => format!("\n  who they are can't be told: {}", server_message(&error)),
    }
}
