//! The task that looks at the publication, at the slot, and at what is seen, while changes are streamed.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_postgres::Client;

use super::changes::{Observation, Until};
use super::gauge::{self, ServerSample};
use super::sight;
use crate::change::{EnumLabels, FeedSystem, Visibility};
use crate::replication::publication::{InFlight, Known, Look, Mark, Notebook, Notes, altered_since, holes, look, mark};
use crate::replication::slot::{Concern, concerns};
use crate::replication::wire::{ConnectionConfig, WireError, connect_sql};

/// From one look to the next: how long a change of the publication goes unnoticed.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// The same on a standby, whose promotion is noticed by a look, too: cursors that are given out before that are refused
/// later.
const STANDBY_LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// A look at ten thousand tables takes a while; as a share of the time it stays below two in a hundred…
const REST_FACTOR: u32 = 50;
/// … unless that is longer than anybody should wait to be told of a hole. A look that has waited for a lock, or for a
/// busy server, has cost nobody much.
const REST_MAX: Duration = Duration::from_secs(8);
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
    pub(super) system: FeedSystem,
    /// Standbys copy the slot.
    pub(super) is_copied: bool,
}

/// The first look of a connection. It is compared with the one before; with what an earlier process has noted, where
/// this is the first; and without such a note everything is suspect that may have been altered since the slot's
/// position.
pub(super) async fn first(
    client: &Client,
    subject: &Subject,
    notebook: Option<&Notebook>,
    before: Option<&Look>,
) -> Result<Observation, WireError> {
    let notes = match (before, notebook) {
        (None, Some(notebook)) => notebook.read(client).await?,
        _ => None,
    };
    let known = match (before, &notes) {
        (Some(before), _) => Known::Publication(before.publication.as_ref()),
        (None, Some(notes)) => Known::Publication(notes.publication.as_ref()),
        (None, None) => Known::Nothing,
    };
    let mut now = look(client, &subject.publication, known).await?;
    let (is_same, found) = match (before, known) {
        (Some(before), _) => (before.is_as(&now), holes(before.publication.as_ref(), &now)),
        (None, Known::Publication(noted)) => {
            let mut found = holes(noted, &now);
            found.iter_mut().for_each(|it| it.hole.reason.push_str(", while no gateway watched"));
            (noted == now.publication.as_ref(), found)
        }
        (None, Known::Nothing) => {
            let Subject { slot, system, is_copied, .. } = subject;
            (true, altered_since(client, &now, slot, *system, *is_copied).await?)
        }
    };
    let noted = notes.as_ref().map(|notes| &notes.in_flight);
    let in_flight = before.map(|before| &before.in_flight).or(noted);
    let suspicions = now.follow(in_flight.unwrap_or(&InFlight::new()), found);
    let is_new = !is_same || !suspicions.is_empty();
    let remembered = notes.map(|notes| notes.holes).unwrap_or_default();
    let mut observation = Observation { look: now, suspicions, until: None, remembered };
    if is_new {
        let mark = mark(client).await?;
        // Before anything is streamed: the stream is going to come past all of it.
        client.batch_execute("commit").await?;
        observation.until = Some(Until { position: mark.position, is_followed: mark.is_open });
    }
    Ok(observation)
}

/// Looks again and again, from `last` on, and sends what is new of the publication, and all of the server, until nobody
/// listens. Writes down what is to be noted.
pub(super) async fn run(
    subject: Subject,
    mut last: Look,
    notebook: Option<Notebook>,
    mut notes: watch::Receiver<Notes>,
    sightings: mpsc::Sender<Sighting>,
) {
    let (mut connection, mut said) = (None, Vec::new());
    let mut next = Instant::now() + LOOK_INTERVAL;
    let mut is_behind = false;
    loop {
        tokio::select! {
            () = sightings.closed() => return,
            Ok(()) = notes.changed(), if !is_behind => {
                is_behind = !write_down(&mut connection, &subject, notebook.as_ref(), &mut notes).await;
                continue;
            }
            () = sleep_until(next) => {}
        }
        let began = Instant::now();
        match again(&mut connection, &subject, &last, &sightings, &mut said).await {
            Ok(Some(look)) => last = look,
            Ok(None) => {}
            // The next one finds what this one did not.
            Err(error) => {
                connection = None;
                tracing::warn!(%error, "the publication could not be looked at, trying again");
            }
        }
        if is_behind {
            is_behind = !write_down(&mut connection, &subject, notebook.as_ref(), &mut notes).await;
        }
        let interval = if subject.in_recovery { STANDBY_LOOK_INTERVAL } else { LOOK_INTERVAL };
        next = Instant::now() + rest(interval, began.elapsed());
    }
}

/// How long nothing is looked at after a look that has taken so long.
fn rest(interval: Duration, look: Duration) -> Duration {
    interval.max(look.saturating_mul(REST_FACTOR).min(REST_MAX))
}

/// False: it could not be done, and is to be tried again.
async fn write_down(
    connection: &mut Option<Client>,
    subject: &Subject,
    notebook: Option<&Notebook>,
    notes: &mut watch::Receiver<Notes>,
) -> bool {
    let Some(notebook) = notebook else { return true };
    let notes = notes.borrow_and_update().clone();
    let written = match connected(connection, subject).await {
        Ok(client) => notebook.write(client, &notes).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &written {
        *connection = None;
        tracing::warn!(slot = subject.slot, %error, "what was noticed could not be noted in walcast.slots, trying again");
    }
    written.is_ok()
}

/// The connection that is there, or a new one.
async fn connected<'c>(connection: &'c mut Option<Client>, subject: &Subject) -> Result<&'c Client, WireError> {
    let client = match connection.take().filter(|client| !client.is_closed()) {
        Some(client) => client,
        None => {
            let client = connect_sql(&subject.connection).await?;
            client.batch_execute(LOCK_TIMEOUT).await?;
            client
        }
    };
    Ok(connection.insert(client))
}

/// One look; what it saw where that is new.
async fn again(
    connection: &mut Option<Client>,
    subject: &Subject,
    last: &Look,
    sightings: &mpsc::Sender<Sighting>,
    said: &mut Vec<Concern>,
) -> Result<Option<Look>, WireError> {
    let client = connected(connection, subject).await?;
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
    let mut now = look(client, &subject.publication, Known::Publication(last.publication.as_ref())).await?;
    let labels = now.enum_labels();
    if !labels.is_empty() {
        // Without anyone who listens, the caller ends.
        drop(sightings.send(Sighting::Labels(labels)).await);
    }
    let suspicions = now.follow(&last.in_flight, holes(last.publication.as_ref(), &now));
    if now.is_as(last) && suspicions.is_empty() {
        return Ok(None);
    }
    let Mark { position, is_open } = mark(client).await?;
    let until = Some(Until { position, is_followed: is_open });
    let observation = Observation { look: now.clone(), suspicions, until, remembered: Vec::new() };
    // It is handed over first, so that the stream has not come past the mark before it is known. Without anyone who
    // listens, the caller ends.
    drop(sightings.send(Sighting::Publication(observation)).await);
    if is_open {
        // What was handed over is told, with or without.
        let committed = client.batch_execute("commit").await;
        committed.unwrap_or_else(|error| tracing::warn!(%error, "the mark behind a look could not be written"));
    }
    Ok(Some(now))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_waited_for_a_lock_keeps_nobody_waiting_for_the_next() {
        let [look, few, many, locked] = [1, 20, 100, 5_000].map(Duration::from_millis);
        assert_eq!([look, few].map(|it| rest(LOOK_INTERVAL, it)), [LOOK_INTERVAL; 2]);
        assert_eq!(rest(LOOK_INTERVAL, many), Duration::from_secs(5));
        assert_eq!(rest(LOOK_INTERVAL, locked), REST_MAX);
    }
}
