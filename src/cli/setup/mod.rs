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
use plan::{Plan, Step};

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
}

pub(super) fn execute(path: Option<&Path>, arguments: &Arguments) -> Outcome {
    let loaded = load(path)?;
    output::findings(&loaded.findings, &loaded.source);
    let Some(config) = loaded.config else { return Ok(ExitCode::from(FAILURE)) };
    runtime()?.block_on(set_up(&config, arguments.print))
}

async fn set_up(config: &Config, print: bool) -> Outcome {
    let client = connect_sql(&config.postgres.connection).await?;
    let facts = gather(&client, config).await?;
    let plan = Plan::new(&facts, config);
    let mut obstacles = obstacles(&facts, config, &plan);
    if !print {
        // What is printed is for somebody who may.
        obstacles.extend(plan.lacking.iter().cloned());
        sort(&mut obstacles);
    }
    if !obstacles.is_empty() {
        output::findings(&obstacles, &config.source);
        output::say("nothing was changed");
        return Ok(ExitCode::from(FAILURE));
    }
    if print {
        output::result(plan.sql().trim_end())?;
        return Ok(ExitCode::SUCCESS);
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
        // Tables that no route takes stand in the way if they are about to be published otherwise than they are.
        let otherwise = facts.publication.as_ref().is_none_or(|it| !(it.update && it.delete && it.via_root));
        let refused = refused_updates(facts, config, true);
        findings.extend(refused.into_iter().filter(|finding| finding.is_error() || otherwise));
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
