//! What there is to know about a server, as plain data.

use super::writes::WriteFacts;
use crate::change::quote_identifier;
use std::sync::Arc;
use std::time::Duration;

use crate::change::Type;
use crate::config::Config;
use crate::replication::slot::Slot;
use crate::routing::TablePattern;

/// The comment on schema `walcast` after `sql/setup.sql`; another one means that another revision was run.
pub const SCHEMA_COMMENT: &str = "walcast, revision 6: live updates from the write-ahead log";

/// A server, seen from the database and the role that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// `server_version_num`, as in 150013.
    pub version: i32,
    pub wal_level: String,
    pub max_wal_senders: i64,
    pub wal_senders: i64,
    pub max_replication_slots: i64,
    pub replication_slots: i64,
    /// In bytes; `None` is the setting -1, unlimited.
    pub max_slot_wal_keep_size: Option<u64>,
    pub database: String,
    pub role: RoleFacts,
    /// The slot that the configuration names.
    pub slot: Option<Slot>,
    /// Bytes of WAL that the server keeps for it.
    pub slot_held: Option<u64>,
    pub ha: HaFacts,
    /// The other servers of the connection string, where standbys are to copy the slot.
    pub others: Vec<OtherServer>,
    /// The publication that the configuration names.
    pub publication: Option<PublicationFacts>,
    /// The comment on schema `walcast`; the outer `None` means that there is no such schema.
    pub schema_comment: Option<Option<String>>,
    /// Every relation with rows outside of the system's schemas, by schema and name.
    pub tables: Vec<Table>,
    pub writes: WriteFacts,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleFacts {
    pub name: String,
    pub superuser: bool,
    pub replication: bool,
    /// It has CREATE on the database, which a schema or a publication needs.
    pub may_create: bool,
    /// `None` where there is no publication.
    pub owns_publication: Option<bool>,
}

/// What a server says of itself that matters where there is more than one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HaFacts {
    /// It is a standby.
    pub in_recovery: bool,
    pub hot_standby_feedback: bool,
    /// Empty where the standby has no physical slot on the primary.
    pub primary_slot_name: String,
    /// Whether `primary_conninfo` names a database; `None` where our role may not see that.
    pub conninfo_has_database: Option<bool>,
    /// Postgres 17 and later.
    pub sync_replication_slots: bool,
    /// Postgres 17 and later: the standbys without which nothing is sent.
    pub synchronized_standby_slots: String,
    /// Postgres 18 and later: for how long nobody may stream from a slot; `None` where that does not matter.
    pub idle_slot_timeout: Option<Duration>,
}

/// Another server of the connection string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherServer {
    /// As in the connection string.
    pub host: String,
    /// What it says; or why nothing can be asked.
    pub facts: Result<HaFacts, String>,
}

/// A row of `pg_publication`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationFacts {
    pub all_tables: bool,
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
    pub truncate: bool,
    /// `publish_via_partition_root`.
    pub via_root: bool,
    /// `publish_generated_columns = stored`, which came with 18.
    pub generated: bool,
}

/// A relation. Only those that a route takes are described beyond their name and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub schema: String,
    pub name: String,
    pub kind: RelationKind,
    /// In attribute order.
    pub columns: Vec<Column>,
    /// Of the table, or of each leaf partition: WAL is written with the leaf's.
    pub identities: Vec<Identity>,
    /// Of a partitioned table: the columns of its primary key. Every partition has it, one that is created later too.
    pub key: Vec<String>,
    /// Of a partitioned table: its leaves without changes in the WAL.
    pub silent_leaves: Vec<SilentLeaf>,
    /// Schemas and names of the tables that inherit from it, at any distance. No partitions.
    pub heirs: Vec<(String, String)>,
    /// Of a table that is not partitioned, by name.
    pub unique_indexes: Vec<UniqueIndex>,
    /// How it is in the publication, if it is.
    pub published: Option<Published>,
    /// The publication names it; a table can be published without that, and a partitioned one named without being
    /// published under its own name.
    pub member: bool,
    /// What the publication says of it where it names it.
    pub terms: Terms,
    /// The role may read it.
    pub selectable: bool,
    /// The role owns it, and may publish it.
    pub owned: bool,
    pub row_security: RowSecurity,
}

/// The column list and the row filter with which a publication names a table. Both came with 15.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// `None`: all.
    pub columns: Option<Vec<String>>,
    /// The columns that the row filter reads.
    pub filter: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowSecurity {
    Off,
    /// It is on, and the gateway's role passes it.
    On,
    /// The gateway's role itself is subject to its policies.
    Applies,
}

/// A partition that is published with the others and has nothing in the WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilentLeaf {
    /// For SQL, quoted.
    pub table: String,
    /// Unlogged; else a foreign table.
    pub unlogged: bool,
}

impl Table {
    /// `schema.table`, as shown to people and as a route names it.
    #[must_use]
    pub fn qualified(&self) -> String {
        let text = TablePattern::text_of(&self.schema, &self.name);
        // A line feed in a name would break the message that it stands in; in a TOML string it is written like this.
        text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
    }

    /// The same for SQL.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.name))
    }

    /// In SQL that publishes it: `only ` where other tables inherit from it, which would be published, too.
    #[must_use]
    pub const fn only(&self) -> &'static str {
        if self.heirs.is_empty() { "" } else { "only " }
    }

    /// The column comes with its rows; in a publication that the table is yet to be added to, generated ones don't.
    #[must_use]
    pub fn sends(&self, column: &Column) -> bool {
        match &self.published {
            Some(published) => published.columns.contains(&column.name),
            None => !column.generated,
        }
    }

    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    #[must_use]
    pub fn matches(&self, pattern: &TablePattern) -> bool {
        pattern.matches(&self.schema, &self.name)
    }

    /// A glob does not take partitions, whose changes come under their root's name; a route may name one that is
    /// published by itself.
    fn is_routed_by(&self, pattern: &TablePattern) -> bool {
        let has_own_changes = match self.kind {
            RelationKind::Partition { .. } => pattern.is_exact() && self.published.is_some(),
            RelationKind::Table | RelationKind::Partitioned => true,
            _ => false,
        };
        has_own_changes && self.matches(pattern)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    Partitioned,
    /// A partition, and the root of its tree as `schema.table`.
    Partition {
        root: String,
    },
    Unlogged,
    Temporary,
    View,
    MaterializedView,
    Foreign,
    Sequence,
}

impl RelationKind {
    /// What it is called in a message; `None` for what has its changes in the WAL.
    #[must_use]
    pub const fn without_wal(&self) -> Option<&'static str> {
        match self {
            Self::Table | Self::Partitioned | Self::Partition { .. } => None,
            Self::Unlogged => Some("an unlogged table"),
            Self::Temporary => Some("a temporary table"),
            Self::View => Some("a view"),
            Self::MaterializedView => Some("a materialized view"),
            Self::Foreign => Some("a foreign table"),
            Self::Sequence => Some("a sequence"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// As `format_type` writes it.
    pub type_name: String,
    /// Its type, or one that it is made of, has a cast to `json` by a function, and is not `hstore`.
    pub json_cast: bool,
    /// `generated always as (…)`.
    pub generated: bool,
    pub ty: Arc<Type>,
    /// Of an enum, or a domain over one.
    pub labels: Vec<String>,
    /// Its collation takes some texts for equal whose bytes differ.
    pub nondeterministic: bool,
}

/// An index that could be a replica identity: unique, of columns that can't be null, and of every row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueIndex {
    pub name: String,
    pub columns: Vec<String>,
}

/// The replica identity of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// For SQL, quoted.
    pub table: String,
    pub columns: IdentityColumns,
    pub setting: IdentitySetting,
    pub primary_key: PrimaryKey,
    /// Columns of the identity that are generated.
    pub generated: Vec<String>,
}

/// `alter table … replica identity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentitySetting {
    Default,
    Nothing,
    Index,
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrimaryKey {
    None,
    /// Checked at the end of a transaction, so that Postgres does not take it for an identity.
    Deferrable,
    Immediate,
}

/// Which columns of an old row Postgres writes to the WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityColumns {
    All,
    /// None where there is no identity: updates and deletes of a published table are refused.
    Some(Vec<String>),
}

impl IdentityColumns {
    #[must_use]
    pub fn contains(&self, column: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(columns) => columns.iter().any(|name| name == column),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Some(columns) if columns.is_empty())
    }
}

/// A table's part in the publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Column lists and generated columns make it less than all.
    pub columns: Vec<String>,
    /// Its row filter, as the server prints it.
    pub filter: Option<String>,
}

impl ServerFacts {
    /// The tables that a pattern takes and whose changes are in the WAL under their own name.
    pub fn routed<'f>(&'f self, pattern: &'f TablePattern) -> impl Iterator<Item = &'f Table> {
        self.tables.iter().filter(move |table| table.is_routed_by(pattern))
    }

    /// The tables that any route takes, each once.
    pub fn routed_by_any<'f>(&'f self, config: &'f Config) -> impl Iterator<Item = &'f Table> {
        let taken = |table: &&Table| config.routes.iter().any(|route| table.is_routed_by(&route.spec.table));
        self.tables.iter().filter(taken)
    }
}
