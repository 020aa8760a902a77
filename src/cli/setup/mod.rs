//! `walcast setup`: what the database needs, made or shown.

mod plan;
mod slot;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use tokio_postgres::Client;

use super::output::Format;
use super::{FAILURE, Outcome, load, output, runtime};
use crate::config::catalogue::{ServerFacts, gather, judge, refused_updates};
use crate::config::code::Code;
use crate::config::diagnostic::sort;
use crate::config::{Config, Finding};
use crate::replication::wire::connect_sql;
use plan::{Extent, Plan, Step, can_be_narrowed};

/// As `server_version_num`.
const ROW_FILTERS_SINCE: i32 = 150_000;

/// Create what the database needs: publication, slot and schema
///
/// Makes what is missing: the publication with every routed table, the replication slot, and the
/// schema `walcast`. What is there already is left as it is, so that it can be run again after each change of routes.
///
/// It refuses to publish a table whose updates and deletes Postgres would then refuse (one without a primary key or
/// another replica identity), because the apps that write to it would fail.
///
/// The role needs REPLICATION, CREATE on the database, and must own the tables (or be a superuser). `walcast run` needs
/// only REPLICATION and SELECT.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print the SQL instead of running it, for psql or a migration; the database is only read
    #[arg(long)]
    print: bool,
    /// Publish only what routes need: rows by the part of `where` that is the same for everyone, and the columns in use
    ///
    /// What nobody may see then never leaves the database, and costs no bandwidth. For each routed table the
    /// publication gets a row filter (the `where` of its routes, joined by `or`, as far as it has no claims and names
    /// only columns of the replica identity, which is all that Postgres allows) and, where old rows are known by a
    /// key, the list of the columns that routes name. Needs Postgres 15.
    ///
    /// Run it again after each change of routes: until then a route that shows more is refused by `check --database`
    /// and `run`. Subscribers of a table whose filter has changed begin afresh.
    #[arg(long)]
    row_filters: bool,
}

pub(super) fn execute(path: Option<&Path>, arguments: &Arguments) -> Outcome {
    let loaded = load(path)?;
    output::findings(&loaded.findings, &loaded.source);
    let Some(config) = loaded.config else { return Ok(ExitCode::from(FAILURE)) };
    runtime()?.block_on(set_up(&config, arguments))
}

async fn set_up(config: &Config, arguments: &Arguments) -> Outcome {
    let client = connect_sql(&config.postgres.connection).await?;
    let facts = gather(&client, config).await?;
    let extent = if arguments.row_filters { Extent::Narrow } else { Extent::Whole };
    if extent == Extent::Narrow && facts.version < ROW_FILTERS_SINCE {
        return Err(
            "cannot narrow the publication: row filters came with Postgres 15; leave `--row-filters` out".into()
        );
    }
    let plan = Plan::new(&facts, config, extent);
    let obstacles = obstacles(&facts, config, &plan);
    if !obstacles.is_empty() {
        output::findings(&obstacles, &config.source);
        output::say("nothing was changed");
        return Ok(ExitCode::from(FAILURE));
    }
    if arguments.print {
        output::result(plan.sql().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    if extent == Extent::Narrow {
        say_what_stays_whole(&facts, config);
    }
    for step in &plan.steps {
        carry_out(step, &client, config).await?;
        output::say(&format!("done: {}", step.title));
    }
    if plan.steps.is_empty() {
        output::say("nothing to do: publication, slot and schema are as they should be");
    }
    let findings = judge(&gather(&client, config).await?, config);
    output::report(&findings, &config.source, config.routes.len(), Format::Text)
}

/// What was asked for and can't be done.
fn say_what_stays_whole(facts: &ServerFacts, config: &Config) {
    for table in facts.routed_by_any(config).filter(|table| !can_be_narrowed(table, facts)) {
        output::say(&format!(
            "as it is: {} is published with its schema or with all tables, hence whole; name it in the publication",
            table.qualified()
        ));
    }
}

async fn carry_out(step: &Step, client: &Client, config: &Config) -> Result<(), Box<dyn Error>> {
    if step.creates_slot {
        return slot::create(client, step, config).await.map_err(Into::into);
    }
    let failed = |error: tokio_postgres::Error| format!("cannot {}: {}", step.title, slot::server_message(&error));
    client.batch_execute(&step.sql).await.map_err(failed)?;
    Ok(())
}

/// What setup can't mend, and what it would break.
fn obstacles(facts: &ServerFacts, config: &Config, plan: &Plan) -> Vec<Finding> {
    let mut findings = judge(facts, config);
    findings.retain(|finding| finding.is_error() && stops_setup(finding.code));
    if plan.publishes_old_rows {
        findings.extend(refused_updates(facts, config));
    }
    sort(&mut findings);
    findings
}

/// Everything else is either made by setup or told by the check that follows it.
const fn stops_setup(code: Code) -> bool {
    matches!(
        code,
        Code::ServerVersion
            | Code::WalLevel
            | Code::RoleReplication
            | Code::SlotsFull
            | Code::SlotPlugin
            | Code::SlotDatabase
            | Code::SlotLost
            | Code::TableMissing
            | Code::TableKind
            | Code::PartitionRouted
    )
}
