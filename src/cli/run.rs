//! `walcast run`: the gateway, once nothing is wrong.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tracing_subscriber::filter::LevelFilter;

use super::database_url::{DatabaseUrl, loopback, named, same_options};
use super::{FAILURE, Outcome, file, load, output};
use crate::app::{self, Origin};
use crate::config::catalogue::{gather, judge};
use crate::config::published::{Published, TableName, published_tables};
use crate::config::{Config, Finding, Loaded};
use crate::replication::wire::{Disposition, WireError, classify, connect_sql};
use crate::telemetry::logging;

/// How long a server that can't be reached is waited for at start: as long as one takes to start beside us. After that
/// whoever started us should know.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Serve live updates until SIGTERM or Ctrl-C
///
/// It ends in order; a second signal ends it at once.
///
/// The configuration and the database are checked first, as by `walcast check --database`: errors are printed and end
/// the start, warnings are printed. A server that can't be reached yet is waited for.
///
/// With --database-url no configuration file is read: every table of the publication `walcast` is served to this
/// machine, each as the topic `schema.table`, and nobody is asked for a token. The configuration that does the same is
/// printed on standard output. Tables that are published later are served within seconds.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) database: DatabaseUrl,
    /// Where clients connect, with --database-url [default: 127.0.0.1:4000]
    #[arg(long, value_name = "ADDRESS", requires = "database_url", value_parser = loopback)]
    listen: Option<SocketAddr>,
    /// Where operators do, with --database-url [default: 127.0.0.1:4001]
    #[arg(long, value_name = "ADDRESS", requires = "database_url", value_parser = loopback)]
    admin: Option<SocketAddr>,
    /// How log lines are written; WALCAST_LOG filters them, as in WALCAST_LOG=walcast=debug
    #[arg(long, value_enum, default_value_t, env = "WALCAST_LOG_FORMAT")]
    log_format: logging::Format,
}

impl Arguments {
    fn published(&self) -> Option<Published> {
        let mut published = self.database.published()?;
        published.listen = self.listen.unwrap_or(published.listen);
        published.admin = self.admin.unwrap_or(published.admin);
        Some(published)
    }
}

pub(super) fn execute(path: Option<&Path>, arguments: &Arguments) -> Outcome {
    let origin = match arguments.published() {
        Some(published) => Origin::Published(Box::new(published)),
        None => Origin::File(file(path)?.to_owned()),
    };
    let loaded = match &origin {
        Origin::File(path) => load(Some(path))?,
        // Which tables there are is not known before the database is: this is what was given on the command line.
        Origin::Published(published) => without_tables(published),
    };
    let Some(config) = usable(loaded) else { return Ok(ExitCode::from(FAILURE)) };
    logging::init(arguments.log_format, LevelFilter::INFO);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match origin {
            Origin::File(_) => serve(&config, origin).await,
            Origin::Published(published) => serve_published(&config, published).await,
        }
    })
}

/// Says what was found; none where that is an error.
fn usable(loaded: Loaded) -> Option<Config> {
    output::findings(&loaded.findings, &loaded.source);
    let refused = loaded.findings.iter().any(Finding::is_error);
    loaded.config.filter(|_| !refused)
}

fn without_tables(published: &Published) -> Loaded {
    let mut loaded = published.load(&[]);
    loaded.findings.retain(Finding::is_error);
    loaded
}

/// As [`serve`], with the tables that are published now.
async fn serve_published(config: &Config, published: Box<Published>) -> Outcome {
    let client = wait_for_server(config, Instant::now() + PATIENCE).await?;
    let tables = published_tables(&client, &published.publication).await?.unwrap_or_default();
    drop(client);
    if tables.is_empty() {
        let name = &published.publication;
        let message = format!("there is no publication `{name}` with tables in this database");
        output::say(&format!("error: {message}"));
        let options = same_options(&published);
        output::say(&format!("help: run `walcast setup` with {options}: it publishes every table that can be"));
        output::say("help: published safely, and creates the replication slot; with --print it shows the SQL instead");
        return Ok(ExitCode::from(FAILURE));
    }
    let Some(config) = usable(published.load(&tables)) else { return Ok(ExitCode::from(FAILURE)) };
    output::result(config.source.text().trim_end())?;
    introduce(&published, &tables);
    let options = same_options(&published);
    let outcome = serve(&config, Origin::Published(published)).await?;
    if outcome != ExitCode::SUCCESS {
        output::say(&format!("help: `walcast setup` with {options} makes a publication or slot that is missing"));
    }
    Ok(outcome)
}

fn introduce(published: &Published, tables: &[TableName]) {
    let (served, without_topic): (Vec<_>, Vec<_>) = tables.iter().partition(|table| table.has_topic());
    let Published { listen, .. } = published;
    output::say(&format!("no configuration file: {} published tables, each as a topic of its name", served.len()));
    if !without_topic.is_empty() {
        output::say(&format!("left out, because no topic can have such a name: {}", named(without_topic)));
    }
    output::say(&format!("only this machine gets in (ws://{listen}/socket), and nobody is asked for a token"));
    output::say("above is the configuration that does the same: with DATABASE_URL set, `walcast run` takes it\n");
}

async fn serve(config: &Config, origin: Origin) -> Outcome {
    let findings = check(config).await?;
    output::findings(&findings, &config.source);
    if findings.iter().any(Finding::is_error) {
        return Ok(ExitCode::from(FAILURE));
    }
    app::run(config, origin).await?;
    Ok(ExitCode::SUCCESS)
}

/// A server that goes while it is being asked is waited for like one that is not there yet.
async fn check(config: &Config) -> Result<Vec<Finding>, Box<dyn Error>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let client = wait_for_server(config, deadline).await?;
        match gather(&client, config).await {
            Ok(facts) => return Ok(judge(&facts, config)),
            Err(error) if error.is_interruption() && Instant::now() < deadline => {
                tracing::warn!(%error, "the database went away while it was checked, trying again");
            }
            Err(error) => return Err(error.into()),
        }
        sleep(RETRY_INTERVAL).await;
    }
}

async fn wait_for_server(config: &Config, deadline: Instant) -> Result<Client, WireError> {
    loop {
        let error = match connect_sql(&config.postgres.connection).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        let verdict = classify(&error);
        if verdict.disposition != Disposition::Retry || Instant::now() >= deadline {
            return Err(error);
        }
        tracing::warn!(%error, advice = verdict.advice, "the database can't be reached yet, trying again");
        app::say_that_the_database_is_waited_for();
        sleep(RETRY_INTERVAL).await;
    }
}
