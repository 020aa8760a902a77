//! `walcast demo`: everything on a throwaway Postgres.

use super::Outcome;

/// Starts a throwaway Postgres with sample data and the gateway before it.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn execute(_arguments: Arguments) -> Outcome {
    Err("the demo is not part of this build".into())
}
