//! The configuration that feeds every published table, for who has none of their own: as text, as anyone could have
//! written it, and read as any other.

use std::env::VarError;
use std::net::SocketAddr;

use tokio_postgres::Client;

use super::catalogue::GatherError;
use super::defaults;
use super::load::{Loaded, parse};
use super::routes::RESERVED_PREFIXES;
use super::source::Source;
use crate::routing::{Piece, TablePattern, Template};

/// What findings call the text: there is no file.
const NAME: &str = "--database-url";
/// The one variable of the text, so that no password is in it.
const URL_VARIABLE: &str = "DATABASE_URL";

/// What is said beside the database.
#[derive(Debug, Clone)]
pub struct Published {
    /// A connection string; it may hold a password.
    pub url: String,
    pub publication: String,
    pub slot: String,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
}

/// A table by the names that the catalogue has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    pub schema: String,
    pub name: String,
}

/// A table that may be published, or what is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub table: TableName,
    /// Updates and deletes say which row they mean.
    pub identified: bool,
    /// The role may publish it.
    pub owned: bool,
}

impl Published {
    /// With everything but the database left to its default, and on loopback.
    #[must_use]
    pub fn new(url: String) -> Self {
        let listen = SocketAddr::new(defaults::ADMIN.ip(), defaults::LISTEN.port());
        let (publication, slot) = (defaults::PUBLICATION.to_owned(), defaults::SLOT.to_owned());
        Self { url, publication, slot, listen, admin: defaults::ADMIN }
    }

    /// The configuration with a route for each of the tables.
    #[must_use]
    pub fn load(&self, tables: &[TableName]) -> Loaded {
        let environment = |name: &str| match name {
            URL_VARIABLE => Ok(self.url.clone()),
            _ => Err(VarError::NotPresent),
        };
        parse(Source::new(NAME.to_owned(), self.text(tables)), &environment)
    }

    /// The same as text. Without the url, which is left to the environment.
    #[must_use]
    pub fn text(&self, tables: &[TableName]) -> String {
        let mut text = format!(
            "# Every published table, for this machine only. `walcast setup --print` shows what it needs of the database.\n\
             [postgres]\n\
             url = \"${{{URL_VARIABLE}}}\"\n\
             publication = {}\n\
             slot = {}\n\n\
             [server]\n\
             listen = \"{}\" # 0.0.0.0:{} lets others in\n\
             admin = \"{}\"\n\
             origins = [\"//localhost\", \"//127.0.0.1\", \"//[::1]\"] # only pages of this machine may connect\n\
             hosts = [] # and only by its address or as localhost\n\n\
             [auth]\n\
             mode = \"none\" # nobody is asked who they are; \"jwt\" asks for tokens\n",
            quoted(&self.publication),
            quoted(&self.slot),
            self.listen,
            self.listen.port(),
            self.admin,
        );
        for table in tables.iter().filter(|table| table.has_topic()) {
            let pattern = TablePattern::text_of(&table.schema, &table.name);
            let (pattern, topic) = (quoted(&pattern), quoted(&table.qualified()));
            text.push_str(&format!("\n[[route]]\ntable = {pattern}\ntopic = {topic}\n"));
        }
        text
    }
}

impl TableName {
    /// `schema.table` as the catalogue spells both, which is its topic.
    #[must_use]
    pub fn qualified(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Whether a topic can have the table's name: braces would be columns.
    #[must_use]
    pub fn has_topic(&self) -> bool {
        let name = self.qualified();
        let literal = |template: Template| matches!(template.pieces(), [Piece::Literal(text)] if **text == *name);
        !RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && Template::parse(&name).is_ok_and(literal)
    }
}

/// A TOML string that is expanded to this text.
fn quoted(text: &str) -> String {
    toml::Value::String(text.replace("${", "$${")).to_string()
}

/// The tables of a publication under the names that their changes come by; `None` where there is no such publication.
///
/// # Errors
/// The server does not answer.
pub async fn published_tables(client: &Client, publication: &str) -> Result<Option<Vec<TableName>>, GatherError> {
    let failed = |error: tokio_postgres::Error| GatherError { what: "the published tables", source: error.into() };
    let found = client.query("select from pg_publication where pubname = $1", &[&publication]).await.map_err(failed)?;
    if found.is_empty() {
        return Ok(None);
    }
    let sql = "select schemaname::text, tablename::text from pg_publication_tables \
               where pubname = $1 and schemaname <> 'walcast' order by 1, 2";
    let rows = client.query(sql, &[&publication]).await.map_err(failed)?;
    Ok(Some(rows.iter().map(|row| TableName { schema: row.get(0), name: row.get(1) }).collect()))
}

/// Every table of the database that Postgres could publish, partitions by their roots (which answer for partitions that
/// are to come, where there are none); neither extensions' tables nor
/// walcast's.
///
/// # Errors
/// The server does not answer.
pub async fn candidates(client: &Client) -> Result<Vec<Candidate>, GatherError> {
    let rows = client.query(CANDIDATES, &[]).await;
    let rows = rows.map_err(|error| GatherError { what: "the tables", source: error.into() })?;
    let candidate = |row: &tokio_postgres::Row| Candidate {
        table: TableName { schema: row.get(0), name: row.get(1) },
        identified: row.get(2),
        owned: row.get(3),
    };
    Ok(rows.iter().map(candidate).collect())
}

const CANDIDATES: &str = "\
    select n.nspname::text, c.relname::text,
           not exists (
               select from pg_class leaf
               where (leaf.oid in (select t.relid from pg_partition_tree(c.oid) t where t.isleaf)
                      or leaf.oid = c.oid and not exists (select from pg_partition_tree(c.oid) t where t.isleaf))
                 and leaf.relkind in ('r', 'p') and leaf.relreplident <> 'f'
                 and not exists (select from pg_index i where i.indrelid = leaf.oid and i.indisvalid
                                 and case leaf.relreplident when 'd' then i.indisprimary and i.indimmediate
                                                            when 'i' then i.indisreplident else false end)),
           pg_has_role(c.relowner, 'usage')
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and c.relpersistence = 'p' and not c.relispartition
      and n.nspname not in ('pg_catalog', 'information_schema', 'walcast') and n.nspname !~ '^pg_'
      and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                      and d.deptype = 'e')
    order by n.nspname, c.relname";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(schema: &str, name: &str) -> TableName {
        TableName { schema: schema.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn each_table_has_a_route_and_the_password_is_nowhere() {
        let published = Published::new("postgres://app:hunter2@db/app".to_owned());
        let tables = [table("public", "orders"), table("my.schema", "a\"b*"), table("public", "curly{id}")];
        let loaded = published.load(&tables);
        assert_eq!(loaded.findings, []);
        let config = loaded.config.unwrap();
        let routes: Vec<_> =
            config.routes.iter().map(|it| (it.spec.table.as_str(), it.spec.topic.as_static())).collect();
        let odd = ("\"my.schema\".\"a\"\"b*\"", Some("my.schema.a\"b*"));
        assert_eq!(routes, [("public.orders", Some("public.orders")), odd]);
        let server = &config.server;
        let mut addresses = server.listen.iter().chain(&server.admin);
        assert!(addresses.all(|address| address.socket().is_some_and(|address| address.ip().is_loopback())));
        assert!(!loaded.source.text().contains("hunter2"));
        assert!(!tables[2].has_topic(), "{{id}} would be a column");
    }

    #[test]
    fn what_is_wrong_with_the_url_is_a_finding() {
        let loaded = Published::new("postgres://:::".to_owned()).load(&[]);
        assert!(loaded.findings.iter().any(|finding| finding.is_error() && finding.code.name() == "bad-url"));
    }

    proptest! {
        #[test]
        fn any_names_are_one_route_to_a_topic_of_that_name(schema in "[^{}\\x00]{1,12}", name in "[a$.*?\"'\\\\\n\u{e4}]{1,12}") {
            let table = table(&schema, &name);
            prop_assume!(table.has_topic());
            let loaded = Published::new("postgres://db/app".to_owned()).load(std::slice::from_ref(&table));
            prop_assert_eq!(&loaded.findings, &[]);
            let config = loaded.config.unwrap();
            prop_assert_eq!(config.routes[0].spec.topic.as_static(), Some(&*table.qualified()));
            prop_assert_eq!(config.routes[0].spec.table.names(), Some((schema, name)));
        }
    }
}
