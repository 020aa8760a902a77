//! Transactions that are in progress while the publication is altered.
//!
//! Whether a change is published is decided by the catalogue as of the change. So what a transaction does to a table
//! before the publication gives it is in no feed, though it commits long after; and rows that are read before that lack
//! it, too. Nothing tells of it. So what was told of a table when it was altered is told once more when everything has
//! ended that was in progress then: whoever begins afresh after that has it all.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_postgres::Client;

use super::{Look, Suspicion};
use crate::change::TableHole;
use crate::replication::wire::WireError;

const REASON: &str = "transactions have ended that were in progress when the publication was altered";

/// Which transactions there are, by their 64-bit ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Horizon {
    /// Everything below this has ended.
    pub oldest: u64,
    /// The next to be given out.
    pub next: u64,
}

/// Altered tables by schema and name, each with an id: what has a lower one may leave a hole in it.
pub type InFlight = BTreeMap<(Arc<str>, Arc<str>), u64>;

impl Look {
    /// Completes what comparing with the look before has found by what transactions have left that were in progress
    /// then; remembers those that are now.
    #[must_use]
    pub fn follow(&mut self, before: &InFlight, mut found: Vec<Suspicion>) -> Vec<Suspicion> {
        let Horizon { oldest, next } = self.horizon;
        let open = before.clone();
        let (ended, mut open): (InFlight, InFlight) = open.into_iter().partition(|(_, below)| *below <= oldest);
        if oldest < next {
            let altered = found.iter().filter(|suspicion| suspicion.by_publication);
            open.extend(altered.map(|it| ((Arc::clone(&it.hole.schema), Arc::clone(&it.hole.name)), next)));
        }
        self.in_flight = open;
        found.extend(ended.into_keys().map(|(schema, name)| Suspicion {
            hole: TableHole { schema, name, reason: REASON.to_owned() },
            unless_truncated: None,
            by_publication: false,
        }));
        found
    }
}

/// Asked after the publication was looked at: whoever wrote before the alterations that the look saw has an id. Works
/// on a standby, too, where `pg_current_snapshot` lists nobody.
///
/// # Errors
/// The query failed.
pub(super) async fn horizon(client: &Client) -> Result<Horizon, WireError> {
    const SQL: &str = "\
select s.oldest::pg_catalog.text::pg_catalog.int8, pg_catalog.age(s.oldest::pg_catalog.xid)::pg_catalog.int8
  from (select pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) as oldest) s";
    let row = client.query_one(SQL, &[]).await?;
    let (oldest, ahead): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let oldest = u64::try_from(oldest).unwrap_or_default();
    Ok(Horizon { oldest, next: oldest.saturating_add(u64::try_from(ahead).unwrap_or_default()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn altered(name: &str, by_publication: bool) -> Suspicion {
        let hole = TableHole { schema: "public".into(), name: name.into(), reason: "altered".to_owned() };
        Suspicion { hole, unless_truncated: None, by_publication }
    }

    /// The next look, and which tables it tells of.
    fn follow(before: &Look, (oldest, next): (u64, u64), found: &[Suspicion]) -> (Look, Vec<String>) {
        let mut look = Look { horizon: Horizon { oldest, next }, ..Look::default() };
        let told = look.follow(&before.in_flight, found.to_vec());
        let told = told.into_iter().map(|it| it.hole.name.to_string()).collect();
        (look, told)
    }

    #[test]
    fn an_altered_table_is_told_of_again_when_all_have_ended_that_were_in_progress() {
        let (look, told) = follow(&Look::default(), (5, 9), &[altered("a", true), altered("b", false)]);
        assert_eq!(told, ["a", "b"]);
        // 8 is still in progress.
        let (look, told) = follow(&look, (8, 20), &[]);
        assert_eq!(told, [""; 0]);
        let (look, told) = follow(&look, (9, 20), &[altered("c", true)]);
        assert_eq!(told, ["c", "a"]);
        // Altered once more meanwhile.
        let (look, told) = follow(&look, (19, 30), &[altered("c", true)]);
        assert_eq!(told, ["c"]);
        assert_eq!(follow(&look, (29, 30), &[]).1, [""; 0]);
        let (look, told) = follow(&look, (30, 30), &[]);
        assert_eq!(told, ["c"]);
        assert_eq!(look.in_flight, InFlight::new());
    }

    #[test]
    fn where_nothing_is_in_progress_it_is_told_once() {
        let (look, told) = follow(&Look::default(), (7, 7), &[altered("a", true)]);
        assert_eq!((told.len(), look.in_flight.len()), (1, 0));
    }
}
