//! `walcast setup`: what the database needs, made or shown.

mod plan;
mod slot;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use tokio_postgres::Client;

use super::database_url::{DatabaseUrl, named, same_options};
use super::output::Format;
use super::{FAILURE, Outcome, load, output, runtime};
use crate::config::catalogue::{ServerFacts, gather, judge, refused_updates};
use crate::config::code::Code;
use crate::config::diagnostic::sort;
use crate::config::published::{Candidate, Published, TableName, candidates, published_tables};
use crate::config::{Config, Finding};
use crate::replication::wire::{ReplicationClient, connect_sql};
use plan::{Extent, Plan, Step, StepKind, can_be_narrowed};

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
///
/// With --database-url no configuration file is read. A publication that has tables stays as it is; else every table
/// is published whose updates Postgres would not refuse then, and that the role may publish. The others are named.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) database: DatabaseUrl,
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
    #[arg(long, conflicts_with = "database_url")]
    row_filters: bool,
}

pub(super) fn execute(path: Option<&Path>, arguments: &Arguments) -> Outcome {
    let Some(published) = arguments.database.published() else {
        let loaded = load(path)?;
        output::findings(&loaded.findings, &loaded.source);
        let Some(config) = loaded.config else { return Ok(ExitCode::from(FAILURE)) };
        let extent = if arguments.row_filters { Extent::Narrow } else { Extent::Whole };
        return runtime()?.block_on(set_up(&config, Tables::Routed(extent), arguments.print));
    };
    runtime()?.block_on(set_up_without_file(&published, arguments.print))
}

/// What the publication is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tables {
    /// Every table that a route takes.
    Routed(Extent),
    /// What it has.
    Kept,
}

async fn set_up(config: &Config, tables: Tables, print: bool) -> Outcome {
    let client = connect_sql(&config.postgres.connection).await?;
    let facts = gather(&client, config).await?;
    if tables == Tables::Routed(Extent::Narrow) {
        if facts.version < ROW_FILTERS_SINCE {
            let why = "row filters came with Postgres 15; leave `--row-filters` out";
            return Err(format!("cannot narrow the publication: {why}").into());
        }
        say_what_stays_whole(&facts, config);
    }
    let plan = match tables {
        Tables::Routed(extent) => Plan::new(&facts, config, extent),
        Tables::Kept => Plan::beside_publication(&facts, config),
    };
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

/// What was asked for and can't be done.
fn say_what_stays_whole(facts: &ServerFacts, config: &Config) {
    for table in facts.routed_by_any(config).filter(|table| !can_be_narrowed(table, facts)) {
        output::say(&format!(
            "as it is: {} is published with its schema or with all tables, hence whole; name it in the publication",
            table.qualified()
        ));
    }
}

async fn set_up_without_file(published: &Published, print: bool) -> Outcome {
    let without_tables = published.load(&[]);
    let Some(config) = without_tables.config else {
        let mut findings = without_tables.findings;
        findings.retain(Finding::is_error);
        output::findings(&findings, &without_tables.source);
        return Ok(ExitCode::from(FAILURE));
    };
    let client = connect_sql(&config.postgres.connection).await?;
    let existing = published_tables(&client, &published.publication).await?.unwrap_or_default();
    let (tables, kept) = if existing.is_empty() {
        (choose(candidates(&client).await?), Tables::Routed(Extent::Whole))
    } else {
        output::say(&format!("the publication `{}` stays as it is: {}", published.publication, named(&existing)));
        (existing, Tables::Kept)
    };
    drop(client);
    if tables.is_empty() {
        output::say("error: there is no table that could be published; nothing was changed");
        return Ok(ExitCode::from(FAILURE));
    }
    let loaded = published.load(&tables);
    let Some(config) = loaded.config else {
        output::findings(&loaded.findings, &loaded.source);
        return Ok(ExitCode::from(FAILURE));
    };
    let outcome = set_up(&config, kept, print).await?;
    if outcome == ExitCode::SUCCESS && !print {
        output::say(&format!("`walcast run` with {} serves them", same_options(published)));
    }
    Ok(outcome)
}

/// Those that are published; the others are named, with the reason.
fn choose(candidates: Vec<Candidate>) -> Vec<TableName> {
    let say = |why: &str, left_out: &[&Candidate]| {
        if !left_out.is_empty() {
            output::say(&format!("left out, {why}: {}", named(left_out.iter().map(|candidate| &candidate.table))));
        }
    };
    let (owned, foreign): (Vec<_>, Vec<_>) = candidates.iter().partition(|candidate| candidate.owned);
    let (identified, anonymous): (Vec<_>, Vec<_>) = owned.into_iter().partition(|candidate| candidate.identified);
    say("because they belong to roles that this one may not act for", &foreign);
    let why = "because Postgres would refuse the apps' updates and deletes: they have no primary key \
               (`alter table … replica identity full`, then `alter publication … add table …` takes them in)";
    say(why, &anonymous);
    let (named_well, unnamed): (Vec<_>, Vec<_>) = identified.into_iter().partition(|it| it.table.has_topic());
    say("because no topic can have such a name", &unnamed);
    named_well.into_iter().map(|candidate| candidate.table.clone()).collect()
}

async fn carry_out(step: &Step, client: &Client, config: &Config) -> Result<(), Box<dyn Error>> {
    match step.kind {
        StepKind::SlotCreation => return slot::create(client, step, config).await.map_err(Into::into),
        StepKind::Replication => {
            let mut replication = ReplicationClient::connect(&config.postgres.connection).await?;
            let done = replication.simple_query(&step.sql).await;
            return done.map(drop).map_err(|error| format!("cannot {}: {error}", step.title).into());
        }
        StepKind::Transaction | StepKind::Publication => {}
    }
    let failed = |error: tokio_postgres::Error| format!("cannot {}: {}", step.title, slot::server_message(&error));
    client.batch_execute(&step.sql).await.map_err(failed)?;
    Ok(())
}

/// What setup can't mend, and what it would break.
fn obstacles(facts: &ServerFacts, config: &Config, plan: &Plan) -> Vec<Finding> {
    let mut findings = judge(facts, config);
    findings.retain(|finding| finding.is_error() && stops_setup(finding.code, facts.ha.in_recovery));
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
const fn stops_setup(code: Code, in_recovery: bool) -> bool {
    // On a standby nothing but the slot can be made.
    in_recovery && matches!(code, Code::PublicationMissing | Code::TableNotPublished)
        || matches!(
            code,
            Code::ServerVersion
                | Code::WalLevel
                | Code::RoleReplication
                | Code::SlotsFull
                | Code::SlotPlugin
                | Code::SlotDatabase
                | Code::SlotLost
                | Code::SlotTwoPhase
                | Code::SlotFailover
                | Code::StandbyVersion
                | Code::TableMissing
                | Code::TableKind
                | Code::PartitionRouted
        )
}
