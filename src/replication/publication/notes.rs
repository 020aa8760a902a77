//! What a gateway has noticed of the publication, noted in the database for the process that comes after it.
//!
//! The slot sends its window again to that one, and clients come back to it with cursors of before. Without a note it
//! would know neither where in the window something was altered, nor what was there that is gone. A note is one state:
//! the last look that was told of, and where the holes are that were told up to then. One that is older than what was
//! told is as good: what came after it is noticed again, and told behind everything.
//!
//! Kept in `walcast.slots`, which `sql/setup.sql` makes. Who may not write there does without, as does a standby, which
//! has the primary's row of a slot that is called the same.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::{InFlight, Publication};
use crate::change::{FeedSystem, PlacedHole};
use crate::replication::wire::WireError;

/// One state of what was noticed and told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Notes {
    /// As it was looked at last; none where there was none.
    pub publication: Option<Publication>,
    /// One for each name, the last.
    pub holes: Vec<PlacedHole>,
    /// Tables that are to be told of once more, as [`InFlight`] has them.
    #[serde(with = "as_list")]
    pub in_flight: InFlight,
}

/// JSON's objects have texts for keys.
mod as_list {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::InFlight;

    pub(super) fn serialize<S: Serializer>(in_flight: &InFlight, serializer: S) -> Result<S::Ok, S::Error> {
        in_flight.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<InFlight, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}

impl Notes {
    /// Adds a hole, in place of an earlier one of that table.
    pub fn place(&mut self, placed: PlacedHole) {
        let is_same = |it: &PlacedHole| (&it.hole.schema, &it.hole.name) == (&placed.hole.schema, &placed.hole.name);
        self.holes.retain(|it| !is_same(it));
        self.holes.push(placed);
    }
}

/// Where the notes of a slot are kept.
#[derive(Debug, Clone)]
pub struct Notebook {
    slot: String,
    system: FeedSystem,
    /// Standbys copy the slot: notes of an earlier timeline are of this slot, too.
    is_copied: bool,
}

impl Notebook {
    /// None where this role can't keep notes in this database, or the table is of an earlier revision.
    ///
    /// # Errors
    /// The query failed.
    pub async fn open(
        client: &Client,
        slot: &str,
        system: FeedSystem,
        is_copied: bool,
    ) -> Result<Option<Self>, WireError> {
        const IS_USABLE: &str = "\
select not pg_catalog.pg_is_in_recovery() and exists(
    select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = 'noticed'
     where n.nspname = 'walcast' and c.relname = 'slots'
       and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'select')
       and pg_catalog.has_table_privilege(c.oid, 'insert') and pg_catalog.has_table_privilege(c.oid, 'update'))";
        let is_usable: bool = client.query_one(IS_USABLE, &[]).await?.try_get(0)?;
        Ok(is_usable.then(|| Self { slot: slot.to_owned(), system, is_copied }))
    }

    /// The last note, if there is one of this slot. What another version of walcast has written, and this one can't
    /// read, is none.
    ///
    /// # Errors
    /// The query failed.
    pub async fn read(&self, client: &Client) -> Result<Option<Notes>, WireError> {
        const SQL: &str = "\
select noticed::pg_catalog.text from walcast.slots
 where name = $1 and system = $2 and (timeline = $3 or $4) and noticed is not null";
        let (system, timeline) = self.identity();
        let row = client.query_opt(SQL, &[&self.slot, &system, &timeline, &self.is_copied]).await?;
        let Some(row) = row else { return Ok(None) };
        let text: String = row.try_get(0)?;
        let notes = serde_json::from_str(&text);
        Ok(notes.inspect_err(|error| tracing::warn!(slot = self.slot, %error, "the last note can't be read")).ok())
    }

    /// # Errors
    /// The query failed.
    pub async fn write(&self, client: &Client, notes: &Notes) -> Result<(), WireError> {
        // Nobody is waited for: a note that is lost is one that is older.
        const SQL: &str = "\
with setting as materialized (select pg_catalog.set_config('synchronous_commit', 'local', true))
insert into walcast.slots (name, system, timeline, noticed)
select $1, $2, $3, $4::pg_catalog.text::pg_catalog.json from setting
    on conflict (name) do update
   set noticed = excluded.noticed, timeline = excluded.timeline, system = excluded.system,
       since = case when slots.system = excluded.system then slots.since end";
        let (system, timeline) = self.identity();
        let unwritable = |error: serde_json::Error| WireError::Protocol {
            during: "noting what was noticed",
            problem: error.to_string(),
        };
        let text = serde_json::to_string(notes).map_err(unwritable)?;
        client.execute(SQL, &[&self.slot, &system, &timeline, &text]).await?;
        Ok(())
    }

    /// As Postgres has them: it has no numbers without a sign.
    const fn identity(&self) -> (i64, i64) {
        (self.system.system_id.cast_signed(), self.system.timeline as i64)
    }
}
