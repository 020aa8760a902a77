//! A writable table, as the catalogue has it at the moment of the write.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::change::Oid;
use crate::routing::{Conflict, WritableRoute};

use super::rule::Rule;

/// What a write has to know of its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) schema: String,
    pub(super) name: String,
    /// In attribute order.
    pub(super) columns: Vec<Column>,
    /// The primary key is checked row by row, so that `on conflict` can name it.
    pub(super) immediate_key: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// As SQL takes it, with its schema and its modifier.
    pub(super) type_name: String,
    /// Its value is the database's business alone.
    pub(super) generated: bool,
    /// Of the primary key.
    pub(super) key: bool,
    /// Its values are in the feed.
    pub(super) published: bool,
    /// `int8`, or a domain over it.
    pub(super) int8: bool,
    pub(super) type_oid: Oid,
}

/// Parameters: schema, table, publication. To be asked while `search_path` is `pg_catalog` alone, so that every other
/// type comes with its schema. Column lists came with Postgres 15: taken out of the row as JSON, where a missing column
/// is null.
pub(super) const DESCRIBE: &str = "\
select a.attname::text, format_type(a.atttypid, a.atttypmod),
       a.attgenerated <> '' or a.attidentity = 'a',
       coalesce(a.attnum = any(i.indkey::int2[]), false), coalesce(i.indimmediate, false),
       a.attgenerated = '' and not exists (
           select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
            where r.prrelid = c.oid and p.pubname = $3 and jsonb_typeof(to_jsonb(r) -> 'prattrs') = 'array'
              and not to_jsonb(r) -> 'prattrs' @> to_jsonb(a.attnum)),
       20 in (t.oid, t.typbasetype), a.atttypid
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  join pg_type t on t.oid = a.atttypid
  left join pg_index i on i.indrelid = c.oid and i.indisprimary
 where n.nspname = $1 and c.relname = $2
 order by a.attnum";

/// Those of [`DESCRIBE`].
pub(super) const DESCRIBE_TYPES: [Type; 3] = [Type::TEXT, Type::TEXT, Type::TEXT];

impl Table {
    /// From the rows of [`DESCRIBE`].
    pub(super) fn from_rows(schema: &str, name: &str, rows: &[Row]) -> Result<Self, tokio_postgres::Error> {
        let columns = rows.iter().map(column).collect::<Result<_, _>>()?;
        let immediate_key = rows.first().map_or(Ok(false), |row| row.try_get(4))?;
        Ok(Self { schema: schema.to_owned(), name: name.to_owned(), columns, immediate_key })
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub(super) fn key(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.key)
    }
}

fn column(row: &Row) -> Result<Column, tokio_postgres::Error> {
    Ok(Column {
        name: row.try_get(0)?,
        type_name: row.try_get(1)?,
        generated: row.try_get(2)?,
        key: row.try_get(3)?,
        published: row.try_get(5)?,
        int8: row.try_get(6)?,
        type_oid: row.try_get(7)?,
    })
}

/// A topic's table, and which of its rows are the topic's.
#[derive(Debug)]
pub(super) struct Target<'r> {
    pub(super) route: &'r WritableRoute,
    pub(super) table: Table,
    /// What the topic says of its rows: columns and their values, as `value::text`.
    pub(super) topic: Vec<(String, String)>,
    /// Which of them this client sees; none: all.
    pub(super) rule: Option<Rule>,
}

impl Target<'_> {
    /// Clients see the column.
    pub(super) fn shows(&self, column: &Column) -> bool {
        let listed = self.route.route.columns.as_ref();
        column.published && listed.is_none_or(|names| names.contains(&column.name))
    }

    /// Clients may set the column of any row.
    pub(super) fn lets_set(&self, column: &Column) -> bool {
        let own = match &self.route.policy.conflict {
            Conflict::Row { version } => Some(version),
            Conflict::LastWriteWins { timestamp } => Some(timestamp),
            Conflict::Columns | Conflict::Overwrite => None,
        };
        let listed = match &self.route.policy.columns {
            Some(names) => names.contains(&column.name),
            None => self.shows(column) && !column.key,
        };
        listed && !column.generated && own != Some(&column.name)
    }

    /// The column holds the time of the last write.
    pub(super) fn stamps(&self, column: &Column) -> bool {
        matches!(&self.route.policy.conflict, Conflict::LastWriteWins { timestamp } if *timestamp == column.name)
    }

    /// The topic's name holds the column's value.
    pub(super) fn is_of_topic(&self, column: &Column) -> bool {
        self.topic.iter().any(|(name, _)| *name == column.name)
    }
}
