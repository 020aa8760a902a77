//! A look at the catalogue: what the publication gives now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_postgres::{Client, Row};

use super::{Look, Partition, Publication, PublishedColumn, PublishedTable};
use crate::change::{Enum, EnumLabels, Lsn, Oid, Relation, RelationId, Type, TypeKind};
use crate::replication::catalogue::{published_relations, server_version};
use crate::replication::wire::WireError;

/// How often a look is repeated that came in the middle of a schema change.
const ATTEMPTS: usize = 3;

/// Looks at a publication. `before` is the look before, if there was one: tables and partitions that it did not know
/// are looked at more closely.
///
/// Takes no lock that an app could notice: apart from what `pg_publication_tables` itself does, it only reads.
///
/// # Errors
/// A query failed.
pub async fn look(client: &Client, publication: &str, before: Option<&Look>) -> Result<Look, WireError> {
    const SQL: &str = "\
select oid, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot
  from pg_catalog.pg_publication where pubname = $1";
    let Some(row) = client.query_opt(SQL, &[&publication]).await? else { return Ok(Look::default()) };
    let publication = Publication {
        id: row.try_get(0)?,
        operations: [row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?],
        via_root: row.try_get(5)?,
        tables: tables(client, publication).await?,
    };
    let empty = match before {
        Some(before) => empty(client, unknown(before, &publication)).await?,
        None => BTreeSet::new(),
    };
    Ok(Look { publication: Some(publication), empty })
}

/// Two queries, between which a table can be altered: then both are asked again.
async fn tables(client: &Client, publication: &str) -> Result<BTreeMap<RelationId, PublishedTable>, WireError> {
    for _ in 0..ATTEMPTS {
        let relations = published_relations(client, publication).await?;
        let rows = client.query(&members_sql(server_version(client).await?), &[&publication]).await?;
        let details = rows.iter().map(|row| Ok((row.try_get(0)?, Details::from_row(row)?)));
        let details = details.collect::<Result<BTreeMap<Oid, Details>, WireError>>()?;
        if let Some(tables) = join(&relations, details) {
            return Ok(tables);
        }
    }
    let problem = "the published tables are altered faster than they can be read".to_owned();
    Err(WireError::Protocol { during: "reading the catalogue", problem })
}

/// None where the two queries saw different tables.
fn join(
    relations: &[Arc<Relation>],
    mut details: BTreeMap<Oid, Details>,
) -> Option<BTreeMap<RelationId, PublishedTable>> {
    let describe = |relation: &Arc<Relation>| details.remove(&relation.id.0)?.describe(relation);
    let tables = relations.iter().map(describe).collect::<Option<Vec<_>>>()?;
    details.is_empty().then(|| tables.into_iter().map(|table| (table.relation.id, table)).collect())
}

/// A row of [`members_sql`].
struct Details {
    members: BTreeSet<Oid>,
    columns: BTreeMap<String, PublishedColumn>,
    partitions: BTreeMap<Oid, Partition>,
}

impl Details {
    fn from_row(row: &Row) -> Result<Self, WireError> {
        let members: Vec<Oid> = row.try_get(1)?;
        let names: Vec<String> = row.try_get(2)?;
        let numbers: Vec<i16> = row.try_get(3)?;
        let modifiers: Vec<i32> = row.try_get(4)?;
        let defaults: Vec<bool> = row.try_get(5)?;
        let partitions: Vec<Oid> = row.try_get(6)?;
        let files: Vec<Oid> = row.try_get(7)?;
        let xids: Vec<i64> = row.try_get(8)?;
        let columns = names.into_iter().zip(numbers).zip(modifiers).zip(defaults);
        let columns = columns
            .map(|(((name, number), modifier), has_default)| (name, PublishedColumn { number, modifier, has_default }));
        let partitions = partitions.into_iter().zip(files).zip(xids);
        let partitions = partitions.map(|((id, file), xid)| {
            // An xid has 32 bits.
            (id, Partition { file, xid: u32::try_from(xid).unwrap_or_default() })
        });
        Ok(Self {
            members: members.into_iter().collect(),
            columns: columns.collect(),
            partitions: partitions.collect(),
        })
    }

    fn describe(self, relation: &Arc<Relation>) -> Option<PublishedTable> {
        let columns = relation.columns.iter().map(|column| self.columns.get(&*column.name).copied());
        Some(PublishedTable {
            relation: Arc::clone(relation),
            columns: columns.collect::<Option<_>>()?,
            members: self.members,
            partitions: self.partitions,
        })
    }
}

/// One row a table. From `pg_inherits` and not by `pg_partition_tree`, which locks every partition.
fn members_sql(version: i32) -> String {
    const POSTGRES_15: i32 = 150_000;
    // Schemas can be published from 15 on.
    let by_schema = match version {
        POSTGRES_15.. => {
            "union select s.oid from up join pg_catalog.pg_class c on c.oid = up.oid
                     join pg_catalog.pg_publication_namespace s on s.pnnspid = c.relnamespace and s.pnpubid = t.pubid
                    where up.member = t.oid"
        }
        _ => "",
    };
    format!(
        "\
with recursive published as materialized (
    select c.oid, c.relkind, (select oid from pg_catalog.pg_publication where pubname = $1) as pubid
      from pg_catalog.pg_publication_tables p
      join pg_catalog.pg_namespace n on n.nspname = p.schemaname
      join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
     where p.pubname = $1),
up (member, oid) as (
    select oid, oid from published
    union all
    select up.member, i.inhparent from up join pg_catalog.pg_class c on c.oid = up.oid and c.relispartition
      join pg_catalog.pg_inherits i on i.inhrelid = up.oid),
down (root, oid) as (
    select oid, oid from published where relkind = 'p'
    union all
    select down.root, i.inhrelid from down join pg_catalog.pg_inherits i on i.inhparent = down.oid),
partition (root, ids, files, xids) as (
    select down.root, array_agg(c.oid order by c.oid), array_agg(c.relfilenode order by c.oid),
           array_agg(c.xmin::pg_catalog.text::pg_catalog.int8 order by c.oid)
      from down join pg_catalog.pg_class c on c.oid = down.oid and c.relkind <> 'p'
     group by down.root),
attribute (relation, names, numbers, modifiers, defaults) as (
    select a.attrelid, array_agg(a.attname::pg_catalog.text order by a.attnum), array_agg(a.attnum order by a.attnum),
           array_agg(a.atttypmod order by a.attnum),
           array_agg(a.atthasdef or a.atthasmissing or a.attidentity <> '' or y.typtype = 'd' order by a.attnum)
      from pg_catalog.pg_attribute a join pg_catalog.pg_type y on y.oid = a.atttypid
     where a.attrelid in (select oid from published) and a.attnum > 0 and not a.attisdropped
     group by a.attrelid)
select t.oid,
       array(select r.oid from up join pg_catalog.pg_publication_rel r on r.prrelid = up.oid and r.prpubid = t.pubid
              where up.member = t.oid
             {by_schema}),
       coalesce(a.names, '{{}}'), coalesce(a.numbers, '{{}}'), coalesce(a.modifiers, '{{}}'),
       coalesce(a.defaults, '{{}}'), coalesce(p.ids, '{{}}'), coalesce(p.files, '{{}}'), coalesce(p.xids, '{{}}')
  from published t
  left join attribute a on a.relation = t.oid
  left join partition p on p.root = t.oid"
    )
}

/// Tables and partitions that the look before did not know.
fn unknown(before: &Look, now: &Publication) -> Vec<Oid> {
    let oids = |(id, table): (RelationId, &PublishedTable)| -> Vec<Oid> {
        if table.partitions.is_empty() { vec![id.0] } else { table.partitions.keys().copied().collect() }
    };
    let known: BTreeSet<Oid> = before.tables().flat_map(oids).collect();
    let all = now.tables.iter().flat_map(|(id, table)| oids((*id, table)));
    all.filter(|oid| !known.contains(oid)).collect()
}

/// Those whose file has no block: they have never had a row, or were truncated since.
async fn empty(client: &Client, oids: Vec<Oid>) -> Result<BTreeSet<Oid>, WireError> {
    const SQL: &str = "\
select oid from unnest($1::pg_catalog.oid[]) as oid where pg_catalog.pg_relation_size(oid::pg_catalog.regclass) = 0";
    if oids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = client.query(SQL, &[&oids]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The labels of the enums that a look's columns are of.
///
/// # Errors
/// The query failed.
pub async fn enum_labels(client: &Client, look: &Look) -> Result<EnumLabels, WireError> {
    const SQL: &str = "\
select t.oid, t.typname::pg_catalog.text,
       array(select e.enumlabel::pg_catalog.text from pg_catalog.pg_enum e
              where e.enumtypid = t.oid order by e.enumsortorder)
  from pg_catalog.pg_type t where t.oid = any($1::pg_catalog.oid[])";
    let columns = look.tables().flat_map(|(_, table)| &table.relation.columns);
    let oids: BTreeSet<Oid> = columns.filter_map(|column| enum_of(&column.ty)).collect();
    if oids.is_empty() {
        return Ok(EnumLabels::default());
    }
    let rows = client.query(SQL, &[&oids.into_iter().collect::<Vec<_>>()]).await?;
    let labels = |row: &Row| {
        let (name, labels): (String, Vec<String>) = (row.try_get(1)?, row.try_get(2)?);
        Ok((row.try_get(0)?, Enum { name: name.into(), labels: labels.into_iter().map(Into::into).collect() }))
    };
    rows.iter().map(labels).collect()
}

/// The enum that a type's values are, or that its elements are.
fn enum_of(ty: &Type) -> Option<Oid> {
    match &ty.kind {
        TypeKind::Enum => Some(ty.base_oid),
        TypeKind::Array { element, .. } => enum_of(element),
        _ => None,
    }
}

/// A position in the WAL after everything that was committed when this is called, and which the stream is going to
/// reach: a small transaction is written, where that can be done.
///
/// # Errors
/// The query failed.
pub async fn mark(client: &Client) -> Result<Lsn, WireError> {
    const WRITTEN: &str = "\
select pg_catalog.pg_logical_emit_message(true, 'walcast.mark', ''::pg_catalog.text)::pg_catalog.text
  from pg_catalog.set_config('synchronous_commit', 'local', true)";
    // A record that a standby is just replaying can be seen already, and has been received.
    const READ: &str = "\
select case when pg_catalog.pg_is_in_recovery()
            then greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
            else pg_catalog.pg_current_wal_insert_lsn() end::pg_catalog.text";
    let row = match client.query_one(WRITTEN, &[]).await {
        Ok(row) => row,
        Err(error) if error.as_db_error().is_some() => client.query_one(READ, &[]).await?,
        Err(error) => return Err(error.into()),
    };
    let text: String = row.try_get(0)?;
    let unreadable = |_| WireError::Protocol { during: "reading the catalogue", problem: format!("position {text}") };
    text.parse().map_err(unreadable)
}
