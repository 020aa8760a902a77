//! The configuration against a running server: what would keep changes from flowing, and what would break the apps that
//! write them.
//!
//! [`gather()`] asks the server, [`judge`] thinks. Between them stand [`ServerFacts`], so that every verdict can be
//! tried without a server.

mod facts;
mod gather;
mod ha;
mod hidden;
mod identity;
mod narrow;
mod publication;
mod refused;
mod relations;
mod rules;
mod server;
mod setting_up;
mod slot;
mod tables;
#[cfg(test)]
mod tests;
mod writes;

pub use facts::{
    Column, HaFacts, Identity, IdentityColumns, IdentitySetting, OtherServer, PrimaryKey, PublicationFacts, Published,
    RelationKind, RoleFacts, RowSecurity, SCHEMA_COMMENT, ServerFacts, SilentLeaf, Table, Terms, UniqueIndex,
};
pub use gather::{GatherError, gather};
pub(crate) use narrow::Narrowed;
pub(crate) use refused::refused_updates;
pub(crate) use setting_up::{Undertaking, lacking_rights};
pub use writes::{WritableColumn, WritableTable, WriteFacts, Writer};

use super::Config;
use super::diagnostic::{Finding, quoted_list, sort};
use crate::routing::Op;

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
    // What is not published yet is what setup is going to publish.
    let wanted =
        config.routes.iter().any(|route| [Op::Update, Op::Delete].iter().any(|op| route.spec.ops.contains(*op)));
    let publishes =
        wanted || facts.publication.as_ref().is_none_or(|publication| publication.update || publication.delete);
    if publishes {
        findings.extend(refused_updates(facts, config, facts.publication.as_ref().is_none_or(|it| it.via_root)));
    }
    sort(&mut findings);
    findings
}

/// One finding for what is true of several tables, each with its name: a glob may take hundreds. What is to be done
/// about each of them stays, line by line.
fn told_once(findings: Vec<(String, Finding)>) -> Vec<Finding> {
    let mut groups: Vec<(Finding, Vec<String>)> = Vec::new();
    for (table, finding) in findings {
        let same = |(first, tables): &&mut (Finding, Vec<String>)| {
            (first.code, first.severity, &first.labels) == (finding.code, finding.severity, &finding.labels)
                && !tables.contains(&table)
        };
        match groups.iter_mut().find(same) {
            Some((first, tables)) => {
                tables.push(table);
                // What is for all of them stands behind what is for one.
                let (common, own): (Vec<String>, Vec<String>) =
                    finding.help.iter().cloned().partition(|help| first.help.contains(help));
                first.help.retain(|help| !common.contains(help));
                first.help.extend(own.into_iter().chain(common));
            }
            None => groups.push((finding, vec![table])),
        }
    }
    let told = |(finding, tables): (Finding, Vec<String>)| match tables.split_first() {
        Some((_, others)) if !others.is_empty() => {
            finding.note(format!("the same goes for {}", quoted_list(others.iter().map(String::as_str))))
        }
        _ => finding,
    };
    groups.into_iter().map(told).collect()
}
