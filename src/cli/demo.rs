//! `walcast demo`: everything on a throwaway Postgres.

use super::Outcome;

/// Start everything on a throwaway Postgres with sample data
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn execute(_arguments: Arguments) -> Outcome {
    Err("the demo is not part of this build".into())
}
