//! Asking the server. Every query reads the catalogue only, and works for any role on Postgres 14 to 18.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::{Client, Row};

use super::facts::{Column, PublicationFacts, Published, RoleFacts, ServerFacts, Table, UniqueIndex};
use super::{ha, relations, writes};
use crate::change::catalogue::{CatalogueRow, DEFINITIONS_SQL, TypeDefinition};
use crate::change::{Oid, Type, TypeCatalogue, TypeKind};
use crate::config::Config;
use crate::replication::slot;
use crate::replication::wire::WireError;

/// A question that the server did not answer.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what} from the server's catalogue")]
pub struct GatherError {
    pub what: &'static str,
    #[source]
    pub source: WireError,
}

impl GatherError {
    /// The connection ended, or the server is ending it: another one will be answered.
    #[must_use]
    pub fn is_interruption(&self) -> bool {
        // Class 57P: `admin_shutdown`, `crash_shutdown`, `cannot_connect_now` and their like.
        self.source.server().is_none_or(|error| error.code.code().starts_with("57P"))
    }
}

/// Reads what [`super::judge`] needs to know.
///
/// # Errors
/// A query fails; that is a lost connection, not a wrong configuration.
pub async fn gather(client: &Client, config: &Config) -> Result<ServerFacts, GatherError> {
    let settings = one(client, "the settings", SETTINGS, &[&config.postgres.publication.as_str()]).await?;
    let keep: i64 = settings.get("keep_megabytes");
    let name = config.postgres.slot.as_str();
    let slot = slot::look(client, name).await.map_err(unread("the replication slot"))?;
    let held: Option<i64> = one(client, "what the slot holds", SLOT_HELD, &[&name]).await?.get(0);
    let slot_held = held.and_then(|bytes| u64::try_from(bytes).ok());
    Ok(ServerFacts {
        version: settings.get("version"),
        wal_level: settings.get("wal_level"),
        max_wal_senders: settings.get("max_wal_senders"),
        wal_senders: settings.get("wal_senders"),
        max_replication_slots: settings.get("max_replication_slots"),
        replication_slots: settings.get("replication_slots"),
        max_slot_wal_keep_size: u64::try_from(keep).ok().map(|megabytes| megabytes.saturating_mul(1 << 20)),
        database: settings.get("database"),
        role: RoleFacts {
            name: settings.get("role"),
            superuser: settings.get("superuser"),
            replication: settings.get("replication"),
            may_create: settings.get("may_create"),
            owns_publication: settings.get("owns_publication"),
        },
        schema_comment: settings.get::<_, bool>("has_schema").then(|| settings.get("schema_comment")),
        slot,
        slot_held,
        ha: ha::gather(client).await.map_err(unread("the settings of standbys"))?,
        others: ha::others(config).await,
        publication: publication(client, config).await?,
        tables: tables(client, config, settings.get("version")).await?,
        writes: writes::gather(client, config).await?,
    })
}

fn unread(what: &'static str) -> impl FnOnce(WireError) -> GatherError {
    move |source| GatherError { what, source }
}

/// On a standby, of what it has received.
const SLOT_HELD: &str = "\
    select (select (case when pg_is_in_recovery() then coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                         else pg_current_wal_lsn() end - restart_lsn)::bigint
              from pg_replication_slots where slot_name = $1)";

pub(super) type Parameters<'p> = &'p [&'p (dyn tokio_postgres::types::ToSql + Sync)];

pub(super) async fn all(
    client: &Client,
    what: &'static str,
    sql: &str,
    with: Parameters<'_>,
) -> Result<Vec<Row>, GatherError> {
    client.query(sql, with).await.map_err(|source| GatherError { what, source: source.into() })
}

async fn one(client: &Client, what: &'static str, sql: &str, with: Parameters<'_>) -> Result<Row, GatherError> {
    client.query_one(sql, with).await.map_err(|source| GatherError { what, source: source.into() })
}

/// `rolreplication` is false for a superuser that was made without it, who may replicate nonetheless. On managed
/// services membership in a role such as `rds_replication` does the same.
const SETTINGS: &str = "\
    select current_setting('server_version_num')::int as version,
           current_setting('wal_level') as wal_level,
           current_setting('max_wal_senders')::bigint as max_wal_senders,
           (select count(*) from pg_stat_replication) as wal_senders,
           current_setting('max_replication_slots')::bigint as max_replication_slots,
           (select count(*) from pg_replication_slots) as replication_slots,
           (select setting::bigint from pg_settings where name = 'max_slot_wal_keep_size') as keep_megabytes,
           current_database()::text as database,
           current_user::text as role,
           has_database_privilege(current_database(), 'create') as may_create,
           (select pg_has_role(pubowner, 'usage') from pg_publication where pubname = $1) as owns_publication,
           rolsuper as superuser,
           rolreplication or exists (
               select from pg_roles managed
               where managed.rolname in ('rds_replication', 'rds_superuser', 'azure_pg_admin', 'cloudsqlsuperuser')
                 and pg_has_role(current_user, managed.oid, 'member')) as replication,
           exists (select from pg_namespace where nspname = 'walcast') as has_schema,
           (select obj_description(oid, 'pg_namespace') from pg_namespace where nspname = 'walcast') as schema_comment
    from pg_roles where rolname = current_user";

async fn publication(client: &Client, config: &Config) -> Result<Option<PublicationFacts>, GatherError> {
    // By way of json, since the last column came with 18.
    let sql = "select puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, \
                      coalesce(to_jsonb(p) ->> 'pubgencols' = 's', false) as generated \
               from pg_publication p where pubname = $1";
    let rows = all(client, "the publication", sql, &[&config.postgres.publication.as_str()]).await?;
    Ok(rows.first().map(|row| PublicationFacts {
        all_tables: row.get("puballtables"),
        insert: row.get("pubinsert"),
        update: row.get("pubupdate"),
        delete: row.get("pubdelete"),
        truncate: row.get("pubtruncate"),
        via_root: row.get("pubviaroot"),
        generated: row.get("generated"),
    }))
}

/// Names and kinds of all, columns of those that a route takes: a database may have a hundred thousand tables.
async fn tables(client: &Client, config: &Config, version: i32) -> Result<Vec<Table>, GatherError> {
    let name = config.postgres.publication.as_str();
    let mut tables = relations::gather(client, name).await?;
    // The view has the columns from 15 on; before, only generated ones are left out.
    let sql = if version >= 150_000 { PUBLISHED } else { PUBLISHED_14 };
    let mut published = grouped(all(client, "the published tables", sql, &[&name]).await?, |row| Published {
        columns: row.get("columns"),
        filter: row.get("filter"),
    });
    let is_routed = |table: &Table| config.routes.iter().any(|route| table.matches(&route.spec.table));
    let routed: Vec<Oid> = tables.iter().filter(|(_, table)| is_routed(table)).map(|(oid, _)| *oid).collect();
    let judged: Vec<Oid> = routed.iter().chain(published.keys()).copied().collect();
    let columns = all(client, "the columns", COLUMNS, &[&routed]).await?;
    let types = types(client, columns.iter().map(|row| row.get("type_oid"))).await?;
    let mut columns = grouped(columns, |row| column(row, &types));
    let enums: Vec<Oid> = columns.values().flatten().filter_map(enum_oid).collect();
    let labels = grouped(all(client, "the enums", LABELS, &[&enums]).await?, |row| row.get::<_, Vec<String>>("labels"));
    for column in columns.values_mut().flatten() {
        let known = enum_oid(column).and_then(|oid| labels.get(&oid)?.first());
        column.labels = known.cloned().unwrap_or_default();
    }
    let mut indexes = grouped(all(client, "the unique indexes", INDEXES, &[&routed]).await?, |row| UniqueIndex {
        name: row.get("name"),
        columns: row.get("columns"),
    });
    relations::describe(client, version, name, &judged, &mut tables).await?;
    for (oid, table) in &mut tables {
        table.columns = columns.remove(oid).unwrap_or_default();
        table.unique_indexes = indexes.remove(oid).unwrap_or_default();
        table.published = published.remove(oid).and_then(|found| found.into_iter().next());
    }
    Ok(tables.into_iter().map(|(_, table)| table).collect())
}

pub(super) fn grouped<T>(rows: Vec<Row>, read: impl Fn(&Row) -> T) -> HashMap<Oid, Vec<T>> {
    let mut groups: HashMap<Oid, Vec<T>> = HashMap::new();
    for row in &rows {
        groups.entry(row.get("oid")).or_default().push(read(row));
    }
    groups
}

/// `row_to_json` uses the cast of the type under a domain, of an array's elements and of a composite's fields.
const COLUMNS: &str = "\
    with recursive parts as (
        select oid as whole, oid, typbasetype, typelem, typcategory, typrelid from pg_type
        where oid in (select atttypid from pg_attribute where attrelid = any($1) and attnum > 0)
        union
        select p.whole, t.oid, t.typbasetype, t.typelem, t.typcategory, t.typrelid
        from parts p join pg_type t
          on t.oid = p.typbasetype or p.typcategory = 'A' and t.oid = p.typelem
          or p.typrelid <> 0 and t.oid in (select atttypid from pg_attribute
                                           where attrelid = p.typrelid and attnum > 0 and not attisdropped))
    select a.attrelid as oid, a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type_name,
           a.attgenerated <> '' as generated, a.atttypid as type_oid,
           exists (select from pg_collation l where l.oid = a.attcollation and not l.collisdeterministic)
               as nondeterministic,
           exists (select from parts p join pg_type t on t.oid = p.oid join pg_cast k on k.castsource = t.oid
                   where p.whole = a.atttypid and k.casttarget = 'json'::regtype and k.castmethod = 'f'
                     and t.typname <> 'hstore' and t.oid >= 16384) as json_cast
    from pg_attribute a where a.attrelid = any($1) and a.attnum > 0 and not a.attisdropped
    order by a.attrelid, a.attnum";

fn column(row: &Row, types: &TypeCatalogue) -> Column {
    let oid: Oid = row.get("type_oid");
    let name: String = row.get("type_name");
    // Only one that was dropped between two questions is not there.
    let gone = || Arc::new(Type { oid, base_oid: oid, name: name.as_str().into(), kind: TypeKind::Text });
    Column {
        name: row.get("name"),
        json_cast: row.get("json_cast"),
        generated: row.get("generated"),
        nondeterministic: row.get("nondeterministic"),
        ty: types.get(oid).unwrap_or_else(gone),
        labels: Vec::new(),
        type_name: name,
    }
}

const LABELS: &str = "\
    select enumtypid as oid, array_agg(enumlabel::text order by enumsortorder) as labels
    from pg_enum where enumtypid = any($1) group by enumtypid";

fn enum_oid(column: &Column) -> Option<Oid> {
    (column.ty.kind == TypeKind::Enum).then_some(column.ty.base_oid)
}

/// The types with all that they are made of, round by round.
async fn types(client: &Client, oids: impl Iterator<Item = Oid>) -> Result<TypeCatalogue, GatherError> {
    let mut types = TypeCatalogue::builtin();
    let mut wanted = types.missing(oids);
    while !wanted.is_empty() {
        let rows = all(client, "the types", DEFINITIONS_SQL, &[&wanted]).await?;
        wanted = types.define(&wanted, rows.iter().map(definition).collect());
    }
    Ok(types)
}

fn definition(row: &Row) -> TypeDefinition {
    let row = CatalogueRow {
        oid: row.get(0),
        name: row.get(1),
        category: row.get(2),
        base: row.get(3),
        element: row.get(4),
        delimiter: row.get(5),
        field_names: row.get(6),
        field_types: row.get(7),
        has_json_cast: row.get(8),
    };
    row.into()
}

/// Indexes that `replica identity using index` takes.
const INDEXES: &str = "\
    select i.indrelid as oid, c.relname::text as name,
           array(select a.attname::text from pg_attribute a
                 where a.attrelid = i.indrelid and a.attnum = any((i.indkey::int2[])[0:i.indnkeyatts - 1])
                 order by a.attnum) as columns
    from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
    where i.indrelid = any($1) and t.relkind = 'r' and i.indisunique and i.indimmediate and i.indisvalid
      and i.indpred is null and i.indexprs is null
      and not exists (select from pg_attribute a where a.attrelid = i.indrelid and not a.attnotnull
                      and a.attnum = any((i.indkey::int2[])[0:i.indnkeyatts - 1]))
    order by i.indrelid, c.relname";

/// Before 18 no generated column is published, though the view of 15 lists them.
const PUBLISHED: &str = "\
    select c.oid, array(select a.attname::text from pg_attribute a
                        where a.attrelid = c.oid and a.attname = any(p.attnames) and a.attnum > 0
                          and (a.attgenerated = '' or current_setting('server_version_num')::int >= 180000)) as columns,
           p.rowfilter as filter
    from pg_publication_tables p
    join pg_namespace n on n.nspname = p.schemaname
    join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
    where p.pubname = $1";

const PUBLISHED_14: &str = "\
    select c.oid, array(select a.attname::text from pg_attribute a
                        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '')
                  as columns,
           null::text as filter
    from pg_publication_tables p
    join pg_namespace n on n.nspname = p.schemaname
    join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
    where p.pubname = $1";
