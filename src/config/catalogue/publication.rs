//! The publication as a whole, and what each route needs from it.

use super::facts::{PublicationFacts, RelationKind, ServerFacts};
use super::server::publication_missing;
use crate::change::quote_identifier;
use crate::config::code::Code;
use crate::config::diagnostic::{Finding, quoted_list};
use crate::config::{Config, Route};
use crate::routing::Op;

pub(super) fn judge(facts: &ServerFacts, config: &Config) -> Vec<Finding> {
    let Some(publication) = &facts.publication else { return vec![publication_missing(facts, config)] };
    let via_root = config.routes.iter().filter_map(|route| via_root(facts, publication, config, route));
    ops(facts, publication, config).into_iter().chain(via_root).collect()
}

impl PublicationFacts {
    #[must_use]
    pub const fn publishes(&self, op: Op) -> bool {
        match op {
            Op::Insert => self.insert,
            Op::Update => self.update,
            Op::Delete => self.delete,
            Op::Truncate => self.truncate,
        }
    }
}

/// One finding for all routes that miss the same ops: it is the publication that has to be altered.
fn ops(facts: &ServerFacts, publication: &PublicationFacts, config: &Config) -> Vec<Finding> {
    let mut findings: Vec<(Vec<Op>, Finding)> = Vec::new();
    for route in &config.routes {
        let missing: Vec<Op> = route.spec.ops.iter().filter(|op| !publication.publishes(*op)).collect();
        // A route that takes no table has another problem.
        if missing.is_empty() || facts.routed(&route.spec.table).next().is_none() {
            continue;
        }
        let (span, what) = match &route.spans.ops {
            Some(span) => (span.clone(), "asks for more than is published"),
            None => (route.spans.table.clone(), "takes every op"),
        };
        let finding = match findings.iter().position(|(same, _)| *same == missing) {
            Some(place) => findings.remove(place).1,
            None => not_published(publication, config, route, &missing),
        };
        findings.push((missing, finding.label(span, what)));
    }
    findings.into_iter().map(|(_, finding)| finding).collect()
}

fn not_published(publication: &PublicationFacts, config: &Config, route: &Route, missing: &[Op]) -> Finding {
    let list = quoted_list(missing.iter().map(|op| op.as_str()));
    let kept: Vec<String> =
        route.spec.ops.iter().filter(|op| publication.publishes(*op)).map(|op| format!("\"{op}\"")).collect();
    let message = format!("the publication `{}` leaves out {list}", config.postgres.publication);
    Finding::error(Code::OpNotPublished, message)
        .help(format!("run `walcast setup`, which publishes every op, or write `ops = [{}]`", kept.join(", ")))
}

/// Without it the partitions' names arrive, which no route names.
fn via_root(facts: &ServerFacts, publication: &PublicationFacts, config: &Config, route: &Route) -> Option<Finding> {
    if publication.via_root {
        return None;
    }
    let table = facts.routed(&route.spec.table).find(|table| table.kind == RelationKind::Partitioned)?;
    let name = quote_identifier(config.postgres.publication.as_str());
    Some(
        Finding::error(
            Code::PublicationViaRoot,
            format!("`{}` is partitioned, and published partition by partition", table.qualified()),
        )
        .label(route.spans.table.clone(), "its changes would arrive under the partitions' names")
        .help(format!("run `walcast setup`, or `alter publication {name} set (publish_via_partition_root = true)`")),
    )
}
