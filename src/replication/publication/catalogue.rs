//! A look at the catalogue: what the publication gives now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_postgres::{Client, Row};

use super::in_flight::{InFlight, horizon};
use super::signature::enums;
use super::{Look, Partition, Publication, PublishedColumn, PublishedTable, Version, signature};
use crate::change::{Column, Lsn, Oid, Relation, RelationId};
use crate::replication::catalogue::{published_relations, server_version};
use crate::replication::wire::WireError;

/// How often a look is repeated that came in the middle of a schema change.
const ATTEMPTS: usize = 3;

/// What was known before a look.
#[derive(Debug, Clone, Copy)]
pub enum Known<'a> {
    Nothing,
    /// The publication, or that there was none.
    Publication(Option<&'a Publication>),
}

/// Looks at a publication. Tables and partitions that were not known are looked at more closely, where anything was.
///
/// Takes no lock that an app could notice: apart from what `pg_publication_tables` itself does, it only reads.
///
/// # Errors
/// A query failed.
pub async fn look(client: &Client, publication: &str, known: Known<'_>) -> Result<Look, WireError> {
    const SQL: &str = "\
select oid, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, xmin::pg_catalog.text::pg_catalog.int8,
       pubowner::pg_catalog.int8
  from pg_catalog.pg_publication where pubname = $1";
    let Some(row) = client.query_opt(SQL, &[&publication]).await? else { return Ok(Look::default()) };
    let (relations, tables) = tables(client, publication).await?;
    let publication = Publication {
        id: row.try_get(0)?,
        version: version(row.try_get(6)?, row.try_get(7)?),
        operations: [row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?],
        via_root: row.try_get(5)?,
        labels: labels(client, &tables).await?,
        tables,
    };
    let empty = match known {
        Known::Publication(before) => empty(client, unknown(before, &publication)).await?,
        Known::Nothing => BTreeSet::new(),
    };
    let horizon = horizon(client).await?;
    Ok(Look { publication: Some(publication), relations, empty, horizon, in_flight: InFlight::new() })
}

/// An xid has 32 bits, and comes as a number that has a sign.
fn version(writer: i64, rest: i64) -> Version {
    Version { writer: xid(writer), rest }
}

fn xid(number: i64) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

type Tables = BTreeMap<RelationId, PublishedTable>;

/// Two queries, between which a table can be altered: then both are asked again.
async fn tables(client: &Client, publication: &str) -> Result<(Vec<Arc<Relation>>, Tables), WireError> {
    for _ in 0..ATTEMPTS {
        let relations = published_relations(client, publication).await?;
        let rows = client.query(&members_sql(server_version(client).await?), &[&publication]).await?;
        let details = rows.iter().map(|row| Ok((row.try_get(0)?, Details::from_row(row)?)));
        let details = details.collect::<Result<BTreeMap<Oid, Details>, WireError>>()?;
        if let Some(tables) = join(&relations, details) {
            return Ok((relations, tables));
        }
    }
    let problem = "the published tables are altered faster than they can be read".to_owned();
    Err(WireError::Protocol { during: "reading the catalogue", problem })
}

/// None where the two queries saw different tables.
fn join(relations: &[Arc<Relation>], mut details: BTreeMap<Oid, Details>) -> Option<Tables> {
    let describe = |relation: &Arc<Relation>| Some((relation.id, details.remove(&relation.id.0)?.describe(relation)?));
    let tables = relations.iter().map(describe).collect::<Option<_>>()?;
    details.is_empty().then_some(tables)
}

/// A row of [`members_sql`].
struct Details {
    members: BTreeSet<Oid>,
    file: Oid,
    named: Version,
    columns: BTreeMap<String, Attribute>,
    partitions: BTreeMap<Oid, Partition>,
}

/// What a relation's description does not say of a column.
#[derive(Clone, Copy)]
struct Attribute {
    number: i16,
    modifier: i32,
    has_default: bool,
    version: Version,
}

impl Details {
    fn from_row(row: &Row) -> Result<Self, WireError> {
        let members: Vec<Oid> = row.try_get(1)?;
        Ok(Self {
            members: members.into_iter().collect(),
            file: row.try_get(2)?,
            named: version(row.try_get(3)?, row.try_get(4)?),
            columns: attributes(row)?,
            partitions: partitions(row)?,
        })
    }

    fn describe(self, relation: &Relation) -> Option<PublishedTable> {
        let column = |column: &Column| {
            let Attribute { number, modifier, has_default, version } = *self.columns.get(&*column.name)?;
            let (name, ty) = (Arc::clone(&column.name), signature(&column.ty).into());
            Some(PublishedColumn { number, name, ty, modifier, has_default, version })
        };
        Some(PublishedTable {
            schema: Arc::clone(&relation.schema),
            name: Arc::clone(&relation.name),
            named: self.named,
            members: self.members,
            file: self.file,
            columns: relation.columns.iter().map(column).collect::<Option<_>>()?,
            partitions: self.partitions,
        })
    }
}

fn attributes(row: &Row) -> Result<BTreeMap<String, Attribute>, WireError> {
    let names: Vec<String> = row.try_get(5)?;
    let numbers: Vec<i16> = row.try_get(6)?;
    let modifiers: Vec<i32> = row.try_get(7)?;
    let defaults: Vec<bool> = row.try_get(8)?;
    let writers: Vec<i64> = row.try_get(9)?;
    let rests: Vec<i64> = row.try_get(10)?;
    let versions = writers.into_iter().zip(rests).map(|(writer, rest)| version(writer, rest));
    let attributes = names.into_iter().zip(numbers).zip(modifiers).zip(defaults).zip(versions);
    let attributes = attributes.map(|((((name, number), modifier), has_default), version)| {
        (name, Attribute { number, modifier, has_default, version })
    });
    Ok(attributes.collect())
}

fn partitions(row: &Row) -> Result<BTreeMap<Oid, Partition>, WireError> {
    let oids: Vec<Oid> = row.try_get(11)?;
    let files: Vec<Oid> = row.try_get(12)?;
    let writers: Vec<i64> = row.try_get(13)?;
    let attached: Vec<i64> = row.try_get(14)?;
    let partitions = oids.into_iter().zip(files).zip(writers).zip(attached);
    let partitions =
        partitions.map(|(((oid, file), writer), attached)| (oid, Partition { file, writer: xid(writer), attached }));
    Ok(partitions.collect())
}

/// One row a table. From `pg_inherits` and not by `pg_partition_tree`, which locks every partition.
///
/// Of a row in `pg_attribute`, what does not change a value that is there stands for itself as one number, the default
/// by its own row's oid; of one in `pg_type`, who owns it and who may use it.
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
    select c.oid, c.relkind, c.relfilenode, c.reltype,
           (select oid from pg_catalog.pg_publication where pubname = $1) as pubid
      from pg_catalog.pg_publication_tables p
      join pg_catalog.pg_namespace n on n.nspname = p.schemaname
      join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
     where p.pubname = $1),
up (member, oid) as (
    select oid, oid from published
    union all
    select up.member, i.inhparent from up join pg_catalog.pg_class c on c.oid = up.oid and c.relispartition
      join pg_catalog.pg_inherits i on i.inhrelid = up.oid),
down (root, oid, attached) as (
    select oid, oid, ''::pg_catalog.text from published where relkind = 'p'
    union all
    select down.root, i.inhrelid, down.attached || ' ' || i.xmin::pg_catalog.text
      from down join pg_catalog.pg_inherits i on i.inhparent = down.oid),
partition (root, ids, files, writers, attached) as (
    select down.root, array_agg(c.oid order by c.oid), array_agg(c.relfilenode order by c.oid),
           array_agg(c.xmin::pg_catalog.text::pg_catalog.int8 order by c.oid),
           array_agg(pg_catalog.hashtextextended(down.attached, 0) order by c.oid)
      from down join pg_catalog.pg_class c on c.oid = down.oid and c.relkind <> 'p'
     group by down.root),
attribute (relation, names, numbers, modifiers, defaults, writers, rests) as (
    select a.attrelid, array_agg(a.attname::pg_catalog.text order by a.attnum), array_agg(a.attnum order by a.attnum),
           array_agg(a.atttypmod order by a.attnum),
           array_agg(a.atthasdef or a.atthasmissing or a.attidentity <> '' or y.typtype = 'd' order by a.attnum),
           array_agg(a.xmin::pg_catalog.text::pg_catalog.int8 order by a.attnum),
           array_agg(pg_catalog.hashtextextended(
               row(a.attnotnull, a.attidentity, a.attislocal, a.attinhcount, a.attstattarget, a.attstorage,
                   a.attcompression, a.attcollation, a.attacl, a.attoptions, d.oid)::pg_catalog.text, 0)
               order by a.attnum)
      from pg_catalog.pg_attribute a join pg_catalog.pg_type y on y.oid = a.atttypid
      left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where a.attrelid in (select oid from published) and a.attnum > 0 and not a.attisdropped
     group by a.attrelid)
select t.oid,
       array(select r.oid from up join pg_catalog.pg_publication_rel r on r.prrelid = up.oid and r.prpubid = t.pubid
              where up.member = t.oid
             {by_schema}),
       t.relfilenode, y.xmin::pg_catalog.text::pg_catalog.int8,
       pg_catalog.hashtextextended(row(y.typowner, y.typacl)::pg_catalog.text, 0),
       coalesce(a.names, '{{}}'), coalesce(a.numbers, '{{}}'), coalesce(a.modifiers, '{{}}'),
       coalesce(a.defaults, '{{}}'), coalesce(a.writers, '{{}}'), coalesce(a.rests, '{{}}'),
       coalesce(p.ids, '{{}}'), coalesce(p.files, '{{}}'), coalesce(p.writers, '{{}}'), coalesce(p.attached, '{{}}')
  from published t
  join pg_catalog.pg_type y on y.oid = t.reltype
  left join attribute a on a.relation = t.oid
  left join partition p on p.root = t.oid"
    )
}

/// Of the enums that columns have values of.
async fn labels(client: &Client, tables: &Tables) -> Result<BTreeMap<Oid, BTreeMap<Oid, String>>, WireError> {
    const SQL: &str = "\
select enumtypid, oid, enumlabel::pg_catalog.text from pg_catalog.pg_enum where enumtypid = any($1::pg_catalog.oid[])";
    let columns = tables.values().flat_map(|table| &table.columns);
    let used: BTreeSet<Oid> = columns.flat_map(|column| enums(&column.ty)).collect();
    if used.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut found: BTreeMap<Oid, BTreeMap<Oid, String>> = BTreeMap::new();
    for row in client.query(SQL, &[&used.into_iter().collect::<Vec<_>>()]).await? {
        found.entry(row.try_get(0)?).or_default().insert(row.try_get(1)?, row.try_get(2)?);
    }
    Ok(found)
}

/// Tables and partitions that were not known before.
fn unknown(before: Option<&Publication>, now: &Publication) -> Vec<Oid> {
    let oids = |(id, table): (&RelationId, &PublishedTable)| -> Vec<Oid> {
        if table.partitions.is_empty() { vec![id.0] } else { table.partitions.keys().copied().collect() }
    };
    let known: BTreeSet<Oid> = before.iter().flat_map(|it| &it.tables).flat_map(oids).collect();
    now.tables.iter().flat_map(oids).filter(|oid| !known.contains(oid)).collect()
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

/// A position in the WAL after everything that was committed when it was asked for, and which the stream is going to
/// come past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub position: Lsn,
    /// A small transaction was begun for it, which is still open: the stream has not come past its end, and does so
    /// once it is committed. Where nothing can be written there is none, and the stream may have come past the
    /// position.
    pub is_open: bool,
}

/// Marks the WAL. What is open is committed by `commit`.
///
/// # Errors
/// The query failed.
pub async fn mark(client: &Client) -> Result<Mark, WireError> {
    const WRITTEN: &str = "\
select pg_catalog.pg_logical_emit_message(true, 'walcast.mark', ''::pg_catalog.text)::pg_catalog.text
  from pg_catalog.set_config('synchronous_commit', 'local', true)";
    // A record that a standby is just replaying can be seen already, and has been received.
    const READ: &str = "\
select case when pg_catalog.pg_is_in_recovery()
            then greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
            else pg_catalog.pg_current_wal_insert_lsn() end::pg_catalog.text";
    client.batch_execute("begin").await?;
    let (row, is_open) = match client.query_one(WRITTEN, &[]).await {
        Ok(row) => (row, true),
        Err(error) if error.as_db_error().is_some() => {
            client.batch_execute("rollback").await?;
            (client.query_one(READ, &[]).await?, false)
        }
        Err(error) => return Err(error.into()),
    };
    let text: String = row.try_get(0)?;
    let unreadable = |_| WireError::Protocol { during: "reading the catalogue", problem: format!("position {text}") };
    Ok(Mark { position: text.parse().map_err(unreadable)?, is_open })
}
