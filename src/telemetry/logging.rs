//! Structured logs on standard error, as text or JSON. Row values and secrets never reach them.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What is logged, in `tracing_subscriber`'s filter syntax: `info`, or `walcast::replication=debug,info`.
pub const FILTER_VARIABLE: &str = "WALCAST_LOG";

/// How a line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines: one object a line.
    Json,
}

/// Installs the process' logger; without [`FILTER_VARIABLE`], or where that is empty, it lets `level` and what is worse
/// through. A second call changes nothing.
pub fn init(format: Format, level: LevelFilter) {
    let is_set = std::env::var_os(FILTER_VARIABLE).is_some_and(|filter| !filter.is_empty());
    let wanted = is_set.then(|| EnvFilter::try_from_env(FILTER_VARIABLE));
    let unreadable = wanted.as_ref().and_then(|filter| Some(filter.as_ref().err()?.to_string()));
    let filter = wanted.and_then(Result::ok).unwrap_or_else(|| EnvFilter::new(level.to_string()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let installed = match format {
        Format::Text => builder.with_ansi(io::stderr().is_terminal()).with_target(false).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    if installed.is_err() {
        tracing::debug!("a logger was installed before");
    }
    if let Some(problem) = unreadable {
        tracing::warn!(
            problem,
            "{FILTER_VARIABLE} can't be read, and {level} is logged: write it as in walcast=debug,info"
        );
    }
}
