//! `walcast check`: everything that is wrong, before a user notices.

use std::path::Path;

use super::output::{self, Format};
use super::{Outcome, load, runtime};
use crate::config::catalogue::{gather, judge};
use crate::config::{Config, Finding};
use crate::replication::wire::connect_sql;

/// Say what is wrong with the configuration, and with the database
///
/// Every finding is printed at once: what is wrong, where, and how to mend it. Without --database nothing but the file
/// is looked at. With it, the file is held against the running server: settings, role, slot, publication, tables,
/// columns, replica identities. Nothing is changed.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Look at the database too
    #[arg(long)]
    database: bool,
    /// How findings are written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn execute(path: Option<&Path>, arguments: &Arguments) -> Outcome {
    let loaded = load(path)?;
    let mut findings = loaded.findings;
    match (&loaded.config, arguments.database) {
        (Some(config), true) => findings.extend(runtime()?.block_on(database(config))?),
        // A file with errors does not say reliably what the database should have.
        (None, true) => output::say("the database was not looked at: the file has errors\n"),
        (_, false) => {}
    }
    output::report(&findings, &loaded.source, loaded.routes, arguments.format)
}

async fn database(config: &Config) -> Result<Vec<Finding>, Box<dyn std::error::Error>> {
    let client = connect_sql(&config.postgres.connection).await?;
    Ok(judge(&gather(&client, config).await?, config))
}
