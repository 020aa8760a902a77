//! The task that looks at the publication, at the slot, and at what is seen, while changes are streamed.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::changes::Observation;
use super::gauge::{self, ServerSample, WalStatus};
use super::sight;
use crate::change::Visibility;
use crate::replication::publication::{Look, altered_since, holes, look, mark};
use crate::replication::wire::{ConnectionConfig, WireError, connect_sql};

/// From one look to the next: how long a change of the publication goes unnoticed.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// A look at ten thousand tables takes a while; as a share of the time it stays below two in a hundred.
const REST_FACTOR: u32 = 50;
/// A look may have to wait for a schema change that is under way: then it comes back later.
const LOCK_TIMEOUT: &str = "set lock_timeout = '5s'";

/// What a look has brought.
#[derive(Debug)]
pub(super) enum Sighting {
    Server(ServerSample),
    Snapshot(Visibility),
    Publication(Observation),
}

/// What is looked at.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) connection: ConnectionConfig,
    pub(super) publication: String,
    pub(super) slot: String,
}

/// The first look of a connection. Without one before, which an earlier process may have had, everything is suspect
/// that may have been altered since the slot's position.
pub(super) async fn first(client: &Client, subject: &Subject, before: Option<&Look>) -> Result<Observation, WireError> {
    let now = look(client, &subject.publication, before).await?;
    let (is_new, suspicions) = match before {
        Some(before) => (before.publication != now.publication, holes(before, &now)),
        None => {
            let suspicions = altered_since(client, &now, &subject.slot).await?;
            (!suspicions.is_empty(), suspicions)
        }
    };
    let until = if is_new { Some(mark(client).await?) } else { None };
    Ok(Observation { look: now, suspicions, until })
}

/// Looks again and again, from `last` on, and sends what is new of the publication, and all of the server, until nobody
/// listens.
pub(super) async fn run(subject: Subject, mut last: Look, sightings: mpsc::Sender<Sighting>) {
    let (mut connection, mut wal_status) = (None, WalStatus::Reserved);
    let mut rest = LOOK_INTERVAL;
    loop {
        tokio::select! {
            () = sleep(rest) => {}
            () = sightings.closed() => return,
        }
        let began = Instant::now();
        match again(&mut connection, &subject, &last, &sightings, &mut wal_status).await {
            Ok(Some(observation)) => {
                last = observation.look.clone();
                if sightings.send(Sighting::Publication(observation)).await.is_err() {
                    return;
                }
            }
            Ok(None) => {}
            // The next one finds what this one did not.
            Err(error) => tracing::warn!(%error, "the publication could not be looked at, trying again"),
        }
        rest = LOOK_INTERVAL.max(began.elapsed().saturating_mul(REST_FACTOR));
    }
}

async fn again(
    connection: &mut Option<Client>,
    subject: &Subject,
    last: &Look,
    sightings: &mpsc::Sender<Sighting>,
    wal_status: &mut WalStatus,
) -> Result<Option<Observation>, WireError> {
    let client = match connection.take().filter(|client| !client.is_closed()) {
        Some(client) => client,
        None => {
            let client = connect_sql(&subject.connection).await?;
            client.batch_execute(LOCK_TIMEOUT).await?;
            client
        }
    };
    let client = connection.insert(client);
    match gauge::sample(client, &subject.slot).await {
        Ok(sample) => {
            if let Some(slot) = sample.slot {
                say_if_changed(&subject.slot, wal_status, slot.wal_status);
            }
            // Without anyone who listens, the caller ends.
            drop(sightings.send(Sighting::Server(sample)).await);
        }
        // What can't be measured keeps nothing from being noticed.
        Err(error) => tracing::debug!(%error, "the slot could not be looked at"),
    }
    // Without anyone who listens, the caller ends.
    drop(sightings.send(Sighting::Snapshot(sight::look(client).await?)).await);
    let now = look(client, &subject.publication, Some(last)).await?;
    if now.publication == last.publication {
        return Ok(None);
    }
    let until = mark(client).await?;
    Ok(Some(Observation { suspicions: holes(last, &now), look: now, until: Some(until) }))
}

/// Says it when Postgres begins or ceases to hold, or no longer holds, more for the slot than it would anyway.
fn say_if_changed(slot: &str, known: &mut WalStatus, wal_status: WalStatus) {
    let before = std::mem::replace(known, wal_status);
    if before == wal_status {
        return;
    }
    if let Some(meaning) = meaning(wal_status) {
        tracing::warn!(slot, %wal_status, "{meaning}");
    } else if meaning(before).is_some() {
        tracing::info!(slot, %wal_status, "Postgres holds no more WAL for the slot than it would anyway");
    }
}

/// What an operator has to know of it.
const fn meaning(wal_status: WalStatus) -> Option<&'static str> {
    match wal_status {
        WalStatus::Extended => Some(
            "Postgres holds more WAL than max_wal_size, for this slot or another reader: the gateway is behind, or \
             replay.wal is larger than max_wal_size",
        ),
        WalStatus::Unreserved => Some(
            "Postgres is about to remove WAL that the slot needs: if it is lost everyone has to resync. Raise \
             max_slot_wal_keep_size, or lower replay.wal or replay.window",
        ),
        WalStatus::Lost => {
            Some("Postgres has removed WAL that the slot needs: drop it, run `walcast setup`, and everyone resyncs")
        }
        WalStatus::Reserved | WalStatus::Unknown => None,
    }
}
