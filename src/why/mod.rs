//! Why somebody does, or doesn't, see a row in a topic: for `walcast why`, and for the inspector.
//!
//! The database is asked for the tables' types and for how it prints the row; [`report`] decides and explains, as the
//! gateway does, which need not run. No row is read.

mod report;

use std::error::Error;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::change::{Relation, quote_identifier};
use crate::config::Config;
use crate::replication::catalogue::published_relations;
use crate::replication::wire::connect_sql;
use crate::routing::{Claims, Filter, Op};
use report::{Question, Row};

/// What somebody wants to know.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    pub topic: String,
    /// Of the token.
    #[serde(default)]
    pub claims: Map<String, Value>,
    /// Columns that it leaves out are null.
    pub row: Option<Map<String, Value>>,
    /// The row before an update.
    pub old: Option<Map<String, Value>>,
    /// `schema.table`, where the topic's routes take several.
    pub table: Option<String>,
    #[serde(default, deserialize_with = "op")]
    pub op: Option<Op>,
    /// Of the join.
    pub filter: Option<String>,
}

fn op<'d, D: serde::Deserializer<'d>>(deserializer: D) -> Result<Option<Op>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

/// Asks the database for what it knows, and explains. The text has a line for each route that was tried.
///
/// # Errors
/// The question makes no sense, or the database does not answer; the message says which.
pub async fn answer(config: &Config, asked: &Asked) -> Result<String, Box<dyn Error + Send + Sync>> {
    let claims = Claims::new(asked.claims.clone());
    let filter = asked.filter.as_deref().map(Filter::parse).transpose()?;
    let client = connect_sql(&config.postgres.connection).await?;
    let relations = published_relations(&client, config.postgres.publication.as_str()).await?;
    let question = Question { config, topic: &asked.topic, claims: &claims, op: asked.op, filter: filter.as_ref() };
    let rows = match &asked.row {
        None => None,
        Some(row) => {
            let table = question.table(&relations, asked.table.as_deref())?;
            let new = printed(&client, table, "the row", row).await?;
            let old = match &asked.old {
                Some(old) => Some(printed(&client, table, "the old row", old).await?),
                None => None,
            };
            Some((table, new, old))
        }
    };
    let rows = rows.as_ref().map(|(table, new, old)| (*table, new, old.as_ref()));
    Ok(question.answer(&relations, rows))
}

/// How Postgres prints the row's values, and what they are as text.
async fn printed(
    client: &Client,
    table: &Arc<Relation>,
    what: &str,
    given: &Map<String, Value>,
) -> Result<Row, Box<dyn Error + Send + Sync>> {
    if let Some(name) = given.keys().find(|name| table.column(name).is_none()) {
        return Err(format!("{what}: {table} publishes no column `{name}`").into());
    }
    let quoted: Vec<String> = table.columns.iter().map(|column| quote_identifier(&column.name)).collect();
    let texts: Vec<String> = quoted.iter().map(|name| format!("r.{name}::pg_catalog.text")).collect();
    let values: Vec<String> = quoted.iter().map(|name| format!("r.{name}")).collect();
    let sql = format!(
        "select {}, {} from pg_catalog.jsonb_populate_record(null::{}.{}, '{}') r",
        values.join(", "),
        texts.join(", "),
        quote_identifier(&table.schema),
        quote_identifier(&table.name),
        Value::Object(given.clone()).to_string().replace('\'', "''")
    );
    let answer =
        client.simple_query(&sql).await.map_err(|error| format!("{what} is no row of {table}: {}", message(&error)))?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.ok_or_else(|| format!("{what}: the database gave no row"))?;
    let texts: Vec<Option<String>> = (0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect();
    let (printed, text) = texts.split_at(table.columns.len());
    Ok(Row { printed: printed.to_vec(), text: text.to_vec() })
}

/// What the server says; the library's own text is no more than "db error".
fn message(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
