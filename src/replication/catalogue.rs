//! What the database's catalogue says: types, published tables, the publication, the settings that matter.
//!
//! Queries only, each the same for Postgres 14 to 18; what follows from the answers is decided elsewhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_postgres::{Client, Row};

use super::wire::WireError;
use crate::change::catalogue::{CatalogueRow, DEFINITIONS_SQL, TypeDefinition};
use crate::change::{Column, Oid, Relation, RelationId, ReplicaIdentity, TypeCatalogue};

/// Looks types up, for [`TypeCatalogue::define`]. A type that no longer exists is missing from the answer.
///
/// # Errors
/// The query failed.
pub async fn type_definitions(client: &Client, oids: &[Oid]) -> Result<Vec<TypeDefinition>, WireError> {
    let rows = client.query(DEFINITIONS_SQL, &[&oids]).await?;
    rows.iter().map(|row| Ok(catalogue_row(row)?.into())).collect()
}

fn catalogue_row(row: &Row) -> Result<CatalogueRow, WireError> {
    Ok(CatalogueRow {
        oid: row.try_get(0)?,
        name: row.try_get(1)?,
        category: row.try_get(2)?,
        base: row.try_get(3)?,
        element: row.try_get(4)?,
        delimiter: row.try_get(5)?,
        field_names: row.try_get(6)?,
        field_types: row.try_get(7)?,
        has_json_cast: row.try_get(8)?,
    })
}

/// The tables that a publication publishes, with the columns that it publishes of them, as pgoutput would describe
/// them: through their root where the publication says so, and ordered by schema and name.
///
/// An unknown publication publishes nothing; [`publication_exists`] tells.
///
/// # Errors
/// A query failed, or the catalogue said something that Postgres 14 to 18 do not say.
pub async fn published_relations(client: &Client, publication: &str) -> Result<Vec<Arc<Relation>>, WireError> {
    let rows = client.query(&published_sql(server_version(client).await?), &[&publication]).await?;
    let described = rows.iter().map(DescribedRelation::from_row).collect::<Result<Vec<_>, _>>()?;
    let oids: BTreeSet<Oid> = described.iter().flat_map(|relation| relation.types.iter().copied()).collect();
    let types = type_catalogue(client, oids).await?;
    described.into_iter().map(|relation| relation.resolve(&types).map(Arc::new)).collect()
}

/// As `server_version_num`, such as 150018.
pub(super) async fn server_version(client: &Client) -> Result<i32, WireError> {
    let sql = "select current_setting('server_version_num')::pg_catalog.int4";
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}

/// One row a table. Columns come in the order of `attnum`, which is that of pgoutput.
///
/// A replica identity is an index' key, without what the index includes beside it.
///
/// Postgres 15 has column lists, and the view names the columns. Up to 17 it names generated columns too, which are
/// never published; from 18 on it names those that are.
fn published_sql(version: i32) -> String {
    const POSTGRES_15: i32 = 150_000;
    const POSTGRES_18: i32 = 180_000;
    let is_published = match version {
        POSTGRES_18.. => "a.attname = any(p.attnames)",
        POSTGRES_15.. => "a.attname = any(p.attnames) and a.attgenerated = ''",
        _ => "a.attgenerated = ''",
    };
    format!(
        "\
select c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relreplident::pg_catalog.text,
       coalesce(array_agg(a.attname::pg_catalog.text order by a.attnum) filter (where a.attnum is not null), '{{}}'),
       coalesce(array_agg(a.atttypid order by a.attnum) filter (where a.attnum is not null), '{{}}'),
       coalesce(array_agg(c.relreplident = 'f'
                          or coalesce(a.attnum = any((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]), false)
                          order by a.attnum)
                filter (where a.attnum is not null), '{{}}')
  from pg_catalog.pg_publication_tables p
  join pg_catalog.pg_namespace n on n.nspname = p.schemaname
  join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
  left join pg_catalog.pg_attribute a
         on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and {is_published}
  left join pg_catalog.pg_index i
         on i.indrelid = c.oid and i.indisvalid
            and case c.relreplident when 'd' then i.indisprimary and i.indimmediate
                                    when 'i' then i.indisreplident else false end
 where p.pubname = $1
 group by c.oid, n.nspname, c.relname, c.relreplident
 order by n.nspname, c.relname"
    )
}

/// A relation whose types are OIDs yet.
struct DescribedRelation {
    id: RelationId,
    schema: String,
    name: String,
    replica_identity: ReplicaIdentity,
    names: Vec<String>,
    types: Vec<Oid>,
    identity: Vec<bool>,
}

impl DescribedRelation {
    fn from_row(row: &Row) -> Result<Self, WireError> {
        let code: String = row.try_get(3)?;
        let identity = code.bytes().next().and_then(ReplicaIdentity::from_code);
        Ok(Self {
            id: RelationId(row.try_get(0)?),
            schema: row.try_get(1)?,
            name: row.try_get(2)?,
            replica_identity: identity.ok_or_else(|| unexpected(format!("replica identity `{code}`")))?,
            names: row.try_get(4)?,
            types: row.try_get(5)?,
            identity: row.try_get(6)?,
        })
    }

    fn resolve(self, types: &TypeCatalogue) -> Result<Relation, WireError> {
        let columns = self.names.into_iter().zip(self.types).zip(self.identity);
        let columns = columns.map(|((name, oid), identity)| {
            let ty = types.get(oid).ok_or_else(|| unexpected(format!("type {oid} of a column")))?;
            Ok(Column { name: name.into(), identity, ty })
        });
        Ok(Relation {
            id: self.id,
            schema: self.schema.into(),
            name: self.name.into(),
            replica_identity: self.replica_identity,
            columns: columns.collect::<Result<_, WireError>>()?,
        })
    }
}

/// A catalogue that knows these types and all that they are made of.
async fn type_catalogue(client: &Client, oids: BTreeSet<Oid>) -> Result<TypeCatalogue, WireError> {
    let mut types = TypeCatalogue::default();
    let mut wanted = types.missing(oids);
    while !wanted.is_empty() {
        let definitions = type_definitions(client, &wanted).await?;
        wanted = types.define(&wanted, definitions);
    }
    Ok(types)
}

/// # Errors
/// The query failed.
pub async fn publication_exists(client: &Client, publication: &str) -> Result<bool, WireError> {
    let sql = "select exists(select from pg_catalog.pg_publication where pubname = $1)";
    Ok(client.query_one(sql, &[&publication]).await?.try_get(0)?)
}

/// Settings of the server that replication depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// As `server_version_num`, such as 150018.
    pub version: i32,
    /// The server is a standby.
    pub in_recovery: bool,
    /// `logical`, or decoding is impossible.
    pub wal_level: String,
    /// After this many milliseconds without a word from us the server ends the connection; 0: never.
    pub wal_sender_timeout_millis: u64,
}

/// # Errors
/// The query failed.
pub async fn server_settings(client: &Client) -> Result<ServerSettings, WireError> {
    const SQL: &str = "\
select current_setting('wal_level'),
       (select setting::pg_catalog.int8 from pg_catalog.pg_settings where name = 'wal_sender_timeout'),
       current_setting('server_version_num')::pg_catalog.int4, pg_catalog.pg_is_in_recovery()";
    let row = client.query_one(SQL, &[]).await?;
    let timeout: i64 = row.try_get(1)?;
    Ok(ServerSettings {
        wal_level: row.try_get(0)?,
        wal_sender_timeout_millis: u64::try_from(timeout).unwrap_or_default(),
        version: row.try_get(2)?,
        in_recovery: row.try_get(3)?,
    })
}

fn unexpected(problem: String) -> WireError {
    WireError::Protocol { during: "reading the catalogue", problem }
}
