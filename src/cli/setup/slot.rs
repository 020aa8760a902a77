//! Creating the slot: the one step that may have to wait, for transactions that nobody remembers.

use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::super::output;
use super::plan::Step;
use crate::config::Config;
use crate::replication::slot::{self, PATIENCE_SECONDS};
use crate::replication::wire::{WireError, connect_sql};

/// Shorter waits are not worth a message; after that, who is in the way is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub(super) enum SlotError {
    #[error("cannot {title}: {message}")]
    Refused { title: String, message: String },
    #[error(
        "cannot {title}: transactions that were running did not end within {PATIENCE_SECONDS} s; nothing was \
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
    let mut told = None;
    let finished = loop {
        tokio::select! {
            finished = &mut creation => break finished,
            () = sleep(LOOK_INTERVAL) => {
                let blockers = slot::blockers(&observer).await;
                let who = blockers.as_ref().map(|it| it.blockers.iter().map(slot::Blocker::name).collect::<Vec<_>>());
                let who = who.unwrap_or_default();
                if told.as_ref() != Some(&who) {
                    output::say(&format!(
                        "waiting for transactions that are running to end, for {PATIENCE_SECONDS} s at most{}",
                        described(blockers)
                    ));
                }
                told = Some(who);
            }
        }
    };
    let Err(error) = finished else { return Ok(()) };
    let title = step.title.clone();
    if [Some(&SqlState::LOCK_NOT_AVAILABLE), Some(&SqlState::QUERY_CANCELED)].contains(&error.code()) {
        return Err(SlotError::Blocked { title, blockers: described(slot::blockers(&observer).await) });
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

fn described(blockers: Result<slot::Blockers, WireError>) -> String {
    match blockers {
        Ok(blockers) => blockers.to_string(),
        Err(error) => format!("\n  who they are can't be told: {error}"),
    }
}
