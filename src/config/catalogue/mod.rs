//! The configuration against a running server: what would keep changes from flowing, and what would break the apps that
//! write them.
//!
//! [`gather()`] asks the server, [`judge`] thinks. Between them stand [`ServerFacts`], so that every verdict can be
//! tried without a server.

mod facts;
mod gather;
mod ha;
mod narrow;
mod publication;
mod rules;
mod server;
mod slot;
mod tables;
#[cfg(test)]
mod tests;
mod writes;

pub use facts::{
    Column, HaFacts, Identity, IdentityColumns, OtherServer, PublicationFacts, Published, RelationKind, RoleFacts,
    SCHEMA_COMMENT, ServerFacts, Table, UniqueIndex,
};
pub use gather::{GatherError, gather};
pub(crate) use narrow::Narrowed;
pub(crate) use tables::refused_updates;
pub use writes::{WritableColumn, WritableTable, WriteFacts, Writer};

use super::Config;
use super::diagnostic::{Finding, sort};

/// Everything that is wrong with the server as this configuration needs it.
#[must_use]
pub fn judge(facts: &ServerFacts, config: &Config) -> Vec<Finding> {
    let mut findings = server::judge(facts, config);
    findings.extend(slot::judge(facts, config));
    findings.extend(ha::judge(facts, config));
    findings.extend(publication::judge(facts, config));
    for route in &config.routes {
        findings.extend(tables::judge(facts, config, route));
    }
    findings.extend(writes::judge(facts, config));
    let publishes = facts.publication.as_ref().is_none_or(|publication| publication.update || publication.delete);
    if publishes {
        findings.extend(refused_updates(facts, config));
    }
    sort(&mut findings);
    findings
}
