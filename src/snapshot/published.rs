//! The published tables, with what a query has to know of them beside what the feed says.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::Client;

use crate::change::{Oid, Relation};
use crate::replication::catalogue::published_relations;
use crate::replication::wire::WireError;

/// A published table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Published {
    pub(super) relation: Arc<Relation>,
    /// Its rows are in its partitions. Other tables that inherit from one are published by themselves.
    pub(super) partitioned: bool,
    /// The publication's `where`: rows outside of it never come by the feed. SQL, as the server prints it.
    pub(super) row_filter: Option<String>,
}

/// All tables of a publication, as the catalogue has them now.
pub(super) async fn published(client: &Client, publication: &str) -> Result<Vec<Published>, WireError> {
    /// Row filters came with Postgres 15: taken out of the row as JSON, where a missing column is null.
    const SQL: &str = "\
select c.oid, c.relkind = 'p', to_jsonb(p) ->> 'rowfilter'
  from pg_catalog.pg_publication_tables p
  join pg_catalog.pg_namespace n on n.nspname = p.schemaname
  join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
 where p.pubname = $1";
    let relations = published_relations(client, publication).await?;
    let mut facts: HashMap<Oid, (bool, Option<String>)> = HashMap::new();
    for row in client.query(SQL, &[&publication]).await? {
        facts.insert(row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?));
    }
    let published = relations.into_iter().filter_map(|relation| {
        let (partitioned, row_filter) = facts.remove(&relation.id.0)?;
        Some(Published { relation, partitioned, row_filter })
    });
    Ok(published.collect())
}
