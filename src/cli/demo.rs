//! `walcast demo`: everything on a throwaway Postgres.

use std::process::ExitCode;

use tracing_subscriber::filter::LevelFilter;

use super::Outcome;
use crate::demo::{self, Options};
use crate::telemetry::logging::{self, Format};

pub(super) fn execute(options: Options) -> Outcome {
    // The demo says itself what it does.
    logging::init(Format::Text, LevelFilter::WARN);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(demo::run(options))?;
    Ok(ExitCode::SUCCESS)
}
