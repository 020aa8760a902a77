//! `walcast why`: why somebody does, or doesn't, see a row in a topic.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value};

use super::{Outcome, load, output, runtime};
use crate::routing::Op;
use crate::why::{self, Asked};

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
    let row = |option, row: &Option<String>| row.as_deref().map(|row| object(option, row)).transpose();
    let asked = Asked {
        topic: arguments.topic.clone(),
        claims: object("--claims", &arguments.claims)?,
        row: row("--row", &arguments.row)?,
        old: row("--old", &arguments.old)?,
        table: arguments.table.clone(),
        op: arguments.op,
        filter: arguments.filter.clone(),
    };
    let answer = runtime()?.block_on(why::answer(&config, &asked)).map_err(|error| -> Box<dyn Error> { error })?;
    output::result(&answer)?;
    Ok(ExitCode::SUCCESS)
}

fn object(option: &str, text: &str) -> Result<Map<String, Value>, Box<dyn Error>> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(format!("{option} takes a JSON object, as in '{{\"id\": 1}}'").into()),
        Err(error) => Err(format!("{option} takes a JSON object: {error}").into()),
    }
}
