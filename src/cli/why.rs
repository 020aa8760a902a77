//! `walcast why`: why somebody does, or doesn't, see a row in a topic.
//!
//! Asks the database for the tables' types and for how it prints the row; [`report`] decides and explains. The gateway
//! need not run.

mod report;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::{Outcome, load, output, runtime};
use crate::change::{Relation, quote_identifier};
use crate::config::Config;
use crate::replication::catalogue::published_relations;
use crate::replication::wire::connect_sql;
use crate::routing::{Claims, Filter, Op};
use report::{Question, Row};

const AFTER_HELP: &str = "\
  walcast why orders:7 --claims '{\"customer_id\": 7}'
  walcast why orders:7 --claims '{\"customer_id\": 7}' --row '{\"id\": 1, \"customer_id\": 7, \"status\": \"draft\"}'

Columns that --row leaves out are null.";

/// Say why somebody does, or doesn't, see a row in a topic
///
/// Tries every route as the gateway does, with the types that the tables have now: whether `allow` lets the identity
/// join the topic, whether the row belongs to the topic, and whether `where` shows it. Each part of a rule is printed
/// with what it came to. Nothing is changed.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// The topic, as in orders:7
    topic: String,
    /// Who asks: the claims of their token, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    claims: String,
    /// The row, a JSON object as in `record`
    #[arg(long, value_name = "JSON")]
    row: Option<String>,
    /// The row as it was before an update
    #[arg(long, value_name = "JSON", requires = "row")]
    old: Option<String>,
    /// The row's table, where the topic's routes take several
    #[arg(long, value_name = "SCHEMA.TABLE")]
    table: Option<String>,
    /// What was done to the row: insert, update, delete or truncate
    #[arg(long)]
    op: Option<Op>,
    /// The filter of the join, as in status=eq.open
    #[arg(long)]
    filter: Option<String>,
}

pub(super) fn execute(path: Option<&Path>, arguments: &Arguments) -> Outcome {
    let loaded = load(path)?;
    let Some(config) = loaded.config else {
        return output::report(&loaded.findings, &loaded.source, loaded.routes, output::Format::Text);
    };
    let answer = runtime()?.block_on(answer(&config, arguments))?;
    output::result(&answer)?;
    Ok(ExitCode::SUCCESS)
}

async fn answer(config: &Config, arguments: &Arguments) -> Result<String, Box<dyn Error>> {
    let claims = Claims::new(object("--claims", &arguments.claims)?);
    let filter = arguments.filter.as_deref().map(Filter::parse).transpose()?;
    for (option, text) in [("--row", &arguments.row), ("--old", &arguments.old)] {
        text.as_ref().map(|text| object(option, text)).transpose()?;
    }
    let client = connect_sql(&config.postgres.connection).await?;
    let relations = published_relations(&client, config.postgres.publication.as_str()).await?;
    let question =
        Question { config, topic: &arguments.topic, claims: &claims, op: arguments.op, filter: filter.as_ref() };
    let rows = match &arguments.row {
        None => None,
        Some(row) => {
            let table = question.table(&relations, arguments.table.as_deref())?;
            let new = printed(&client, table, "--row", row).await?;
            let old = match &arguments.old {
                Some(old) => Some(printed(&client, table, "--old", old).await?),
                None => None,
            };
            Some((table, new, old))
        }
    };
    let rows = rows.as_ref().map(|(table, new, old)| (*table, new, old.as_ref()));
    Ok(question.answer(&relations, rows))
}

fn object(option: &str, text: &str) -> Result<Map<String, Value>, Box<dyn Error>> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(format!("{option} takes a JSON object, as in '{{\"id\": 1}}'").into()),
        Err(error) => Err(format!("{option} takes a JSON object: {error}").into()),
    }
}

/// How Postgres prints the row's values, and what they are as text.
async fn printed(client: &Client, table: &Arc<Relation>, option: &str, json: &str) -> Result<Row, Box<dyn Error>> {
    let given = object(option, json)?;
    if let Some(name) = given.keys().find(|name| table.column(name).is_none()) {
        return Err(format!("{option}: {table} publishes no column `{name}`").into());
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
        Value::Object(given).to_string().replace('\'', "''")
    );
    let answer = client.simple_query(&sql).await.map_err(|error| format!("{option} is no row of {table}: {error}"))?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.ok_or_else(|| format!("{option}: the database gave no row"))?;
    let texts: Vec<Option<String>> = (0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect();
    let (printed, text) = texts.split_at(table.columns.len());
    Ok(Row { printed: printed.to_vec(), text: text.to_vec() })
}
