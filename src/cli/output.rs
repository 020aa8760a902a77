//! What people read on the terminal, and programs in a pipe.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;

use super::FAILURE;
use crate::app::AppError;
use crate::config::render::{self, Style, Summary};
use crate::config::{Finding, Source};
use crate::replication::wire::{WireError, classify};

/// How findings are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people, on standard error, with the lines of the file
    #[default]
    Text,
    /// For programs, on standard output, as one JSON object
    Json,
}

/// Writes to standard error. That nobody reads it is no reason to stop.
pub(super) fn say(text: &str) {
    let _nobody_listens = writeln!(io::stderr(), "{text}");
}

/// Writes a result to standard output.
pub(super) fn result(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// An error with its causes, each once: many errors repeat their cause in their own text.
pub(super) fn error(error: &(dyn Error + 'static)) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    say(&format!("error: {text}"));
    if let Some(advice) = advice(error) {
        say(&format!("help: {advice}"));
    }
}

/// What to do about it, where whoever made the error knows.
fn advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut causes = std::iter::successors(Some(error), |error| (**error).source());
    causes.find_map(|cause| {
        let of_server = cause.downcast_ref::<WireError>().map(|error| classify(error).advice);
        of_server.or_else(|| cause.downcast_ref::<AppError>().and_then(AppError::advice))
    })
}

/// Findings without a last line; nothing where there are none.
pub(super) fn findings(findings: &[Finding], source: &Source) {
    if !findings.is_empty() {
        say(&render::text(findings, source, Style::of(&io::stderr())));
    }
}

/// Findings and a last line that counts them; the exit code says whether one is an error.
pub(super) fn report(
    findings: &[Finding],
    source: &Source,
    routes: usize,
    format: Format,
) -> Result<ExitCode, Box<dyn Error>> {
    let summary = Summary::new(routes, findings);
    match format {
        Format::Text => {
            self::findings(findings, source);
            say(&format!("{}: {summary}", source.name()));
        }
        Format::Json => result(&render::json(findings, source, summary)?)?,
    }
    Ok(if summary.errors == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) })
}
