//! What was altered while nobody looked, as far as the catalogue tells.
//!
//! A gateway that starts without a note ([`super::Notes`]) has nothing to compare with. But every row of the catalogue
//! knows which transaction wrote it, and Postgres keeps for a slot what the catalogue was from `catalog_xmin` on: who
//! wrote a row before that had ended before the slot's position, as had who wrote one before the slot was created. Only
//! rows count that say what the feed depends on: `pg_class`, which is written by truncates, rewrites, grants and
//! triggers, does not. That a table was created, renamed or moved is told by the row of its type.

use tokio_postgres::{Client, Row};

use super::{Look, PublishedTable, Suspicion};
use crate::change::{FeedSystem, Oid, RelationId};
use crate::replication::catalogue::server_version;
use crate::replication::wire::WireError;

/// What the feed may lack of what was altered since the slot's position. `is_copied`: standbys copy the slot.
///
/// # Errors
/// A query failed.
pub async fn altered_since(
    client: &Client,
    look: &Look,
    slot: &str,
    system: FeedSystem,
    is_copied: bool,
) -> Result<Vec<Suspicion>, WireError> {
    let Some(publication) = &look.publication else { return Ok(Vec::new()) };
    let tables: Vec<Oid> = look.tables().map(|(id, _)| id.0).collect();
    let membership = |(id, table): (RelationId, &PublishedTable)| {
        table.members.iter().map(|member| (id.0, *member)).collect::<Vec<(Oid, Oid)>>()
    };
    let (members_of, members): (Vec<Oid>, Vec<Oid>) = look.tables().flat_map(membership).unzip();
    let sql = sql(server_version(client).await?);
    let since = since(client, slot, system, is_copied).await?;
    let rows = client.query(&sql, &[&slot, &tables, &members_of, &members, &publication.id, &since]).await?;
    let table = |id: RelationId| publication.tables.get(&id);
    let suspicions = rows.iter().map(|row| suspicion(row, table)).collect::<Result<Vec<_>, WireError>>()?;
    Ok(suspicions.into_iter().flatten().collect())
}

/// The first transaction that may have ended after the slot was created, as `walcast setup` has noted it. A new slot's
/// `catalog_xmin` is that of the oldest slot there is, and says less. An id that is too old to be compared by its lower
/// half says nothing any more, nor does one that the primary has noted of its slot of this name.
async fn since(client: &Client, slot: &str, system: FeedSystem, is_copied: bool) -> Result<Option<String>, WireError> {
    const IS_THERE: &str = "\
select not pg_catalog.pg_is_in_recovery() and exists(
    select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = 'timeline'
     where n.nspname = 'walcast' and c.relname = 'slots'
       and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'select'))";
    const SINCE: &str = "\
select since::pg_catalog.text from walcast.slots
 where name = $1 and system = $2 and (timeline = $3 or $4)
   and pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8
       - since::pg_catalog.text::pg_catalog.int8 between 0 and 2000000000";
    if !client.query_one(IS_THERE, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let (system, timeline) = (system.system_id.cast_signed(), i64::from(system.timeline));
    let row = client.query_opt(SINCE, &[&slot, &system, &timeline, &is_copied]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

fn suspicion<'a>(
    row: &Row,
    table: impl Fn(RelationId) -> Option<&'a PublishedTable>,
) -> Result<Option<Suspicion>, WireError> {
    let id = RelationId(row.try_get(0)?);
    let what: String = row.try_get(1)?;
    let truncates: Vec<i64> = row.try_get(2)?;
    // An xid has 32 bits.
    let truncates: Vec<u32> = truncates.into_iter().map(|xid| u32::try_from(xid).unwrap_or_default()).collect();
    let unless_truncated = (!truncates.is_empty()).then_some((id, truncates));
    let reason = format!("{what} while no gateway watched");
    Ok(table(id).map(|table| Suspicion { unless_truncated, ..Suspicion::of_publication(table, reason) }))
}

/// A row for each table and what may have happened to it, with the transactions that would explain it if they
/// truncated the table.
///
/// A partition is written to `pg_inherits` when it is attached, and its file is another than its oid says once it was
/// truncated or rewritten. One that is empty brought nothing.
fn sql(version: i32) -> String {
    const POSTGRES_15: i32 = 150_000;
    // Schemas can be published from 15 on.
    let by_schema = match version {
        POSTGRES_15.. => "union all select oid, xmin from pg_catalog.pg_publication_namespace",
        _ => "",
    };
    format!(
        "\
with recursive slot as (
    select least(pg_catalog.age(catalog_xmin), pg_catalog.age($6::pg_catalog.text::pg_catalog.xid8::pg_catalog.xid))
           as age
      from pg_catalog.pg_replication_slots where slot_name = $1),
given (oid, relkind, reltype, relispartition) as (
    select c.oid, c.relkind, c.reltype, c.relispartition
      from pg_catalog.pg_class c where c.oid = any($2::pg_catalog.oid[])),
member (relation, oid) as (select * from unnest($3::pg_catalog.oid[], $4::pg_catalog.oid[])),
membership (oid, xid) as (select oid, xmin from pg_catalog.pg_publication_rel {by_schema}),
up (relation, parent, is_new) as (
    select g.oid, i.inhparent, pg_catalog.age(i.xmin) between 0 and slot.age
      from slot, given g join pg_catalog.pg_inherits i on i.inhrelid = g.oid where g.relispartition
    union all
    select up.relation, i.inhparent, up.is_new or pg_catalog.age(i.xmin) between 0 and slot.age
      from slot, up join pg_catalog.pg_class c on c.oid = up.parent and c.relispartition
      join pg_catalog.pg_inherits i on i.inhrelid = up.parent),
down (relation, oid, is_new) as (
    select g.oid, g.oid, exists(select from up where up.relation = g.oid and up.is_new) from given g
    union all
    select down.relation, i.inhrelid, down.is_new or pg_catalog.age(i.xmin) between 0 and slot.age
      from slot, down join pg_catalog.pg_class c on c.oid = down.oid and c.relkind = 'p'
      join pg_catalog.pg_inherits i on i.inhparent = down.oid),
written (relation, what, writer, truncate) as (
    select g.oid, 'it was created, renamed or moved to another schema', t.xmin, null::pg_catalog.xid
      from given g join pg_catalog.pg_type t on t.oid = g.reltype
    union all
    select g.oid, 'its columns were altered', a.xmin, null
      from given g join pg_catalog.pg_attribute a on a.attrelid = g.oid and a.attnum > 0 and not a.attisdropped
    union all
    select m.relation, 'it joined the publication, or its column list or row filter was altered,', s.xid, null
      from member m join membership s on s.oid = m.oid
    union all
    select g.oid, 'the publication was altered', p.xmin, null
      from given g, pg_catalog.pg_publication p where p.oid = $5
    union all
    select down.relation, 'a partition was truncated by itself, or rewritten,', c.xmin, c.xmin
      from down join pg_catalog.pg_class c on c.oid = down.oid
     where c.relkind <> 'p' and c.oid <> down.relation and c.relfilenode <> c.oid),
found (relation, what, truncate) as (
    select relation, what, truncate from written, slot where pg_catalog.age(writer) between 0 and slot.age
    union all
    select relation, 'it is a partition, or has one, that was attached', null
      from down where is_new and pg_catalog.pg_relation_size(oid::pg_catalog.regclass) > 0)
select relation, what,
       coalesce(
           array_agg(distinct truncate::pg_catalog.text::pg_catalog.int8) filter (where truncate is not null), '{{}}')
  from found
 group by relation, what
 order by relation, what"
    )
}
