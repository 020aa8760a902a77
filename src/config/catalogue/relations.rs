//! Asking about relations: what each is, and what of its changes Postgres writes.

use tokio_postgres::{Client, Row};

use super::facts::{
    Identity, IdentityColumns, IdentitySetting, PrimaryKey, RelationKind, RowSecurity, SilentLeaf, Table, Terms,
};
use super::gather::{GatherError, all, grouped};
use crate::change::{Oid, quote_identifier};
use crate::routing::TablePattern;

/// The version from which a publication may name columns and filter rows.
const POSTGRES_15: i32 = 150_000;

/// Names and kinds of all, by schema and name.
pub(super) async fn gather(client: &Client, publication: &str) -> Result<Vec<(Oid, Table)>, GatherError> {
    let rows = all(client, "the tables", RELATIONS, &[&publication]).await?;
    Ok(rows.iter().map(table).collect())
}

/// Identities and all that goes with them, of the tables that are `judged`.
pub(super) async fn describe(
    client: &Client,
    version: i32,
    publication: &str,
    judged: &[Oid],
    tables: &mut [(Oid, Table)],
) -> Result<(), GatherError> {
    let mut identities = grouped(all(client, "the replica identities", IDENTITIES, &[&judged]).await?, identity);
    let mut silent = grouped(all(client, "the partitions", SILENT, &[&judged]).await?, silent_leaf);
    let heirs = all(client, "the tables that inherit", HEIRS, &[&judged]).await?;
    let mut heirs = grouped(heirs, |row| (row.get("schema"), row.get("name")));
    let mut keys = grouped(all(client, "the primary keys", KEYS, &[&judged]).await?, |row| row.get("columns"));
    let terms = if version >= POSTGRES_15 {
        all(client, "the publication's lists and filters", TERMS, &[&publication]).await?
    } else {
        Vec::new()
    };
    let mut terms = grouped(terms, |row| Terms { columns: row.get("columns"), filter: row.get("filter") });
    for (oid, table) in tables {
        table.identities = identities.remove(oid).unwrap_or_default();
        table.silent_leaves = silent.remove(oid).unwrap_or_default();
        table.heirs = heirs.remove(oid).unwrap_or_default();
        table.key = keys.remove(oid).and_then(|found| found.into_iter().next()).unwrap_or_default();
        table.terms = terms.remove(oid).and_then(|found| found.into_iter().next()).unwrap_or_default();
    }
    Ok(())
}

const RELATIONS: &str = "\
    select c.oid, n.nspname::text as schema, c.relname::text as name,
           c.relkind::text as kind, c.relpersistence::text as persistence,
           case when c.relispartition then (
               select array[rn.nspname::text, r.relname::text]
               from pg_class r join pg_namespace rn on rn.oid = r.relnamespace
               where r.oid = pg_partition_root(c.oid)) end as root,
           exists (select from pg_publication_rel m join pg_publication p on p.oid = m.prpubid
                   where m.prrelid = c.oid and p.pubname = $1) as member,
           has_schema_privilege(n.oid, 'usage') and c.relkind <> 'S' and has_table_privilege(c.oid, 'select')
               as selectable,
           pg_has_role(c.relowner, 'usage') as owned,
           c.relrowsecurity as row_security, c.relrowsecurity and row_security_active(c.oid) as subject
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
      and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast'
    order by n.nspname, c.relname";

fn table(row: &Row) -> (Oid, Table) {
    let root = match row.get::<_, Option<Vec<String>>>("root").as_deref() {
        Some([schema, name]) => Some(TablePattern::text_of(schema, name)),
        _ => None,
    };
    let kind = match (row.get::<_, &str>("kind"), row.get::<_, &str>("persistence"), root) {
        ("v", ..) => RelationKind::View,
        ("m", ..) => RelationKind::MaterializedView,
        ("f", ..) => RelationKind::Foreign,
        ("S", ..) => RelationKind::Sequence,
        (_, _, Some(root)) => RelationKind::Partition { root },
        (_, "u", _) => RelationKind::Unlogged,
        (_, "t", _) => RelationKind::Temporary,
        ("p", ..) => RelationKind::Partitioned,
        _ => RelationKind::Table,
    };
    let table = Table {
        schema: row.get("schema"),
        name: row.get("name"),
        kind,
        columns: Vec::new(),
        identities: Vec::new(),
        key: Vec::new(),
        silent_leaves: Vec::new(),
        heirs: Vec::new(),
        unique_indexes: Vec::new(),
        published: None,
        member: row.get("member"),
        terms: Terms::default(),
        selectable: row.get("selectable"),
        owned: row.get("owned"),
        row_security: match (row.get("row_security"), row.get("subject")) {
            (false, _) => RowSecurity::Off,
            (true, false) => RowSecurity::On,
            (true, true) => RowSecurity::Applies,
        },
    };
    (row.get("oid"), table)
}

/// A partitioned table has no WAL of its own: its leaves' identities count. What Postgres takes for an identity
/// (`RelationGetIndexList`): a deferrable primary key is none. Of unlogged leaves, too, which are about to be logged.
const IDENTITIES: &str = "\
    select root.oid, n.nspname::text as schema, leaf.relname::text as name, leaf.relreplident::text as setting,
           array(select a.attname::text from pg_index i join pg_attribute a on a.attrelid = i.indrelid
                 where i.indrelid = leaf.oid and a.attnum = any(i.indkey::int2[]) and i.indimmediate and i.indisvalid
                   and case leaf.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end
                 order by a.attnum) as columns,
           array(select a.attname::text from pg_attribute a
                 where a.attrelid = leaf.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated <> ''
                   and (leaf.relreplident = 'f' or exists (
                       select from pg_index i where i.indrelid = leaf.oid and a.attnum = any(i.indkey::int2[])
                         and case leaf.relreplident when 'd' then i.indisprimary else i.indisreplident end))
                 order by a.attnum) as generated,
           (select i.indimmediate from pg_index i where i.indrelid = leaf.oid and i.indisprimary) as immediate_key
    from pg_class root
    cross join lateral (
        select t.relid from pg_partition_tree(root.oid) t where root.relkind = 'p' and t.isleaf
        union all select root.oid where root.relkind <> 'p') member
    join pg_class leaf on leaf.oid = member.relid join pg_namespace n on n.oid = leaf.relnamespace
    where root.oid = any($1) and leaf.relkind = 'r'
    order by root.oid, n.nspname, leaf.relname";

fn identity(row: &Row) -> Identity {
    let (schema, name): (&str, &str) = (row.get("schema"), row.get("name"));
    let setting = match row.get("setting") {
        "n" => IdentitySetting::Nothing,
        "i" => IdentitySetting::Index,
        "f" => IdentitySetting::Full,
        _ => IdentitySetting::Default,
    };
    Identity {
        table: quoted(schema, name),
        columns: match setting {
            IdentitySetting::Full => IdentityColumns::All,
            _ => IdentityColumns::Some(row.get("columns")),
        },
        setting,
        primary_key: match row.get("immediate_key") {
            None => PrimaryKey::None,
            Some(false) => PrimaryKey::Deferrable,
            Some(true) => PrimaryKey::Immediate,
        },
        generated: row.get("generated"),
    }
}

fn quoted(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_identifier(schema), quote_identifier(name))
}

const SILENT: &str = "\
    select root.oid, n.nspname::text as schema, leaf.relname::text as name, leaf.relkind = 'r' as unlogged
    from pg_class root
    cross join lateral pg_partition_tree(root.oid) member
    join pg_class leaf on leaf.oid = member.relid join pg_namespace n on n.oid = leaf.relnamespace
    where root.oid = any($1) and root.relkind = 'p' and member.isleaf
      and (leaf.relkind = 'f' or leaf.relkind = 'r' and leaf.relpersistence <> 'p')
    order by root.oid, n.nspname, leaf.relname";

fn silent_leaf(row: &Row) -> SilentLeaf {
    SilentLeaf { table: quoted(row.get("schema"), row.get("name")), unlogged: row.get("unlogged") }
}

const HEIRS: &str = "\
    with recursive down as (
        select i.inhparent as oid, i.inhrelid as heir from pg_inherits i join pg_class c on c.oid = i.inhparent
        where c.oid = any($1) and c.relkind = 'r'
        union
        select d.oid, i.inhrelid from down d join pg_inherits i on i.inhparent = d.heir)
    select d.oid, n.nspname::text as schema, c.relname::text as name
    from down d join pg_class c on c.oid = d.heir join pg_namespace n on n.oid = c.relnamespace
    order by d.oid, n.nspname, c.relname";

const KEYS: &str = "\
    select i.indrelid as oid,
           array(select a.attname::text from pg_attribute a
                 where a.attrelid = i.indrelid and a.attnum = any(i.indkey::int2[]) order by a.attnum) as columns
    from pg_index i join pg_class c on c.oid = i.indrelid
    where c.oid = any($1) and c.relkind = 'p' and i.indisprimary and i.indimmediate";

/// What a row filter reads is in its tree alone: what it depends on is mixed with what a column list does.
const TERMS: &str = "\
    select r.prrelid as oid,
           case when r.prattrs is not null then
               array(select a.attname::text from pg_attribute a
                     where a.attrelid = r.prrelid and a.attnum = any(r.prattrs::int2[]) order by a.attnum)
           end as columns,
           array(select a.attname::text from pg_attribute a
                 where a.attrelid = r.prrelid and a.attnum in (
                     select found[1]::int2 from regexp_matches(r.prqual::text, ':varattno (\\d+)', 'g') found)
                 order by a.attnum) as filter
    from pg_publication_rel r join pg_publication p on p.oid = r.prpubid where p.pubname = $1";
