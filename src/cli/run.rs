//! `walcast run`: the gateway, once nothing is wrong.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tracing_subscriber::filter::LevelFilter;

use super::{FAILURE, Outcome, file, load, output};
use crate::app;
use crate::config::catalogue::{gather, judge};
use crate::config::{Config, Finding};
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
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How log lines are written; WALCAST_LOG filters them, as in WALCAST_LOG=walcast=debug
    #[arg(long, value_enum, default_value_t, env = "WALCAST_LOG_FORMAT")]
    log_format: logging::Format,
}

pub(super) fn execute(path: Option<&Path>, arguments: &Arguments) -> Outcome {
    let path = file(path)?;
    let loaded = load(Some(path))?;
    let findings = loaded.findings;
    let refused = findings.iter().any(Finding::is_error);
    let (Some(config), false) = (loaded.config, refused) else {
        output::findings(&findings, &loaded.source);
        return Ok(ExitCode::from(FAILURE));
    };
    output::findings(&findings, &loaded.source);
    logging::init(arguments.log_format, LevelFilter::INFO);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(&config, path))
}

async fn serve(config: &Config, path: &Path) -> Outcome {
    let findings = check(config).await?;
    output::findings(&findings, &config.source);
    if findings.iter().any(Finding::is_error) {
        return Ok(ExitCode::from(FAILURE));
    }
    app::run(config, path).await?;
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
        sleep(RETRY_INTERVAL).await;
    }
}
