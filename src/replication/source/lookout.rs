//! The task that looks at the publication, at the slot, and at what is seen, while changes are streamed.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::changes::Observation;
use super::gauge::{self, ServerSample};
use super::sight;
use crate::change::{EnumLabels, Visibility};
use crate::replication::publication::{Look, altered_since, enum_labels, holes, look, mark};
use crate::replication::slot::{Concern, concerns};
use crate::replication::wire::{ConnectionConfig, WireError, connect_sql};

/// From one look to the next: how long a change of the publication goes unnoticed.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// The same on a standby, whose promotion is noticed by a look, too: cursors that are given out before that are refused
/// later.
const STANDBY_LOOK_INTERVAL: Duration = Duration::from_millis(500);
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
    /// Of the enums that published columns are of, where there are any.
    Labels(EnumLabels),
}

/// What is looked at.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) connection: ConnectionConfig,
    pub(super) publication: String,
    pub(super) slot: String,
    /// `replay.wal`, in bytes.
    pub(super) wal_budget: u64,
    /// The server is a standby.
    pub(super) in_recovery: bool,
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
    let (mut connection, mut said) = (None, Vec::new());
    // The first look was the caller's.
    let mut rest = LOOK_INTERVAL;
    loop {
        tokio::select! {
            () = sleep(rest) => {}
            () = sightings.closed() => return,
        }
        let began = Instant::now();
        match again(&mut connection, &subject, &last, &sightings, &mut said).await {
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
        let interval = if subject.in_recovery { STANDBY_LOOK_INTERVAL } else { LOOK_INTERVAL };
        rest = interval.max(began.elapsed().saturating_mul(REST_FACTOR));
    }
}

async fn again(
    connection: &mut Option<Client>,
    subject: &Subject,
    last: &Look,
    sightings: &mpsc::Sender<Sighting>,
    said: &mut Vec<Concern>,
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
                let found = concerns(&slot, sample.slot_held_bytes(), subject.wal_budget);
                say_what_changed(&subject.slot, said, found);
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
    let labels = enum_labels(client, &now).await?;
    if !labels.is_empty() {
        // Without anyone who listens, the caller ends.
        drop(sightings.send(Sighting::Labels(labels)).await);
    }
    if now.publication == last.publication {
        return Ok(None);
    }
    let until = mark(client).await?;
    Ok(Some(Observation { suspicions: holes(last, &now), look: now, until: Some(until) }))
}

/// Says each concern when it comes and when it goes.
fn say_what_changed(slot: &str, said: &mut Vec<Concern>, found: Vec<Concern>) {
    let is_among = |concerns: &[Concern], name| concerns.iter().any(|it| it.name() == name);
    for concern in found.iter().filter(|it| !is_among(said, it.name())) {
        tracing::warn!(slot, concern = concern.name(), "{concern}: {}", concern.advice());
    }
    for gone in said.iter().filter(|it| !is_among(&found, it.name())) {
        tracing::info!(slot, concern = gone.name(), "this concern about the slot is over");
    }
    *said = found;
}
