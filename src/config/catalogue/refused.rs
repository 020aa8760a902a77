//! Tables whose updates and deletes Postgres refuses, because they are in a publication of these, or are about to be,
//! and it could not say which row is meant. An app's writes fail by this, so that it is the gravest of all findings.

use super::facts::{Identity, IdentityColumns, IdentitySetting, PrimaryKey, ServerFacts, Table, UniqueIndex};
use super::told_once;
use crate::change::quote_identifier;
use crate::config::code::Code;
use crate::config::diagnostic::{Finding, quoted_list};
use crate::config::{Config, Route};

/// The version from which an identity must not have generated columns that are not published.
const POSTGRES_18: i32 = 180_000;

/// What Postgres has against the old row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Objection {
    /// No primary key, and nothing in its place.
    NoKey,
    DeferrableKey,
    IdentityNothing,
    /// The index that was the identity is gone.
    IdentityDropped,
    /// The publication's column list is without these columns of the identity; empty: without some of the whole row.
    Unlisted(Vec<String>),
    /// The publication's row filter reads these columns, which the identity is without.
    Filtered(Vec<String>),
    /// These columns of the identity are generated, and not published.
    Generated(Vec<String>),
}

/// For the tables that a route takes and those that the publication has; of the latter, whose writers fail already, it
/// warns: walcast neither made that so nor could do without it.
pub(crate) fn refused_updates(facts: &ServerFacts, config: &Config, via_root: bool) -> Vec<Finding> {
    let routed = facts.routed_by_any(config);
    let others = facts.tables.iter().filter(|table| table.published.is_some());
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let mut findings = Vec::new();
    for table in routed.chain(others) {
        if seen.contains(&(&table.schema, &table.name)) {
            continue;
        }
        seen.push((&table.schema, &table.name));
        let route = config.routes.iter().find(|route| table.matches(&route.spec.table));
        let of_table = refused(facts, table, route, via_root);
        findings.extend(of_table.into_iter().map(|finding| (table.qualified(), finding)));
    }
    told_once(findings)
}

/// One finding for each objection that a leaf of the table meets with.
fn refused(facts: &ServerFacts, table: &Table, route: Option<&Route>, via_root: bool) -> Vec<Finding> {
    let mut met: Vec<(Objection, Vec<&Identity>)> = Vec::new();
    for identity in &table.identities {
        let Some(objection) = objection(facts, table, identity, via_root) else { continue };
        match met.iter_mut().find(|(same, _)| *same == objection) {
            Some((_, identities)) => identities.push(identity),
            None => met.push((objection, vec![identity])),
        }
    }
    met.iter().map(|(objection, identities)| finding(facts, table, route, objection, identities)).collect()
}

/// As Postgres' `CheckCmdReplicaIdentity`. Names of a root's list and filter are the leaves' own.
fn objection(facts: &ServerFacts, table: &Table, identity: &Identity, via_root: bool) -> Option<Objection> {
    if identity.columns.is_empty() {
        return Some(match (identity.setting, identity.primary_key) {
            (IdentitySetting::Nothing, _) => Objection::IdentityNothing,
            (IdentitySetting::Index, _) => Objection::IdentityDropped,
            (_, PrimaryKey::Deferrable) => Objection::DeferrableKey,
            _ => Objection::NoKey,
        });
    }
    let is_root = table.identities.len() > 1 || matches!(table.kind, super::RelationKind::Partitioned);
    let terms = Some(&table.terms).filter(|_| via_root || !is_root);
    if let Some(terms) = terms {
        let outside: Vec<String> =
            terms.filter.iter().filter(|column| !identity.columns.contains(column)).cloned().collect();
        if !outside.is_empty() {
            return Some(Objection::Filtered(outside));
        }
        match (&terms.columns, &identity.columns) {
            (Some(_), IdentityColumns::All) => return Some(Objection::Unlisted(Vec::new())),
            (Some(list), IdentityColumns::Some(columns)) => {
                let unlisted: Vec<String> = columns.iter().filter(|column| !list.contains(column)).cloned().collect();
                return (!unlisted.is_empty()).then_some(Objection::Unlisted(unlisted));
            }
            (None, _) => {}
        }
    }
    let published = facts.publication.as_ref().is_some_and(|publication| publication.generated);
    let withheld = facts.version >= POSTGRES_18 && !published && !identity.generated.is_empty();
    withheld.then(|| Objection::Generated(identity.generated.clone()))
}

fn finding(
    facts: &ServerFacts,
    table: &Table,
    route: Option<&Route>,
    objection: &Objection,
    identities: &[&Identity],
) -> Finding {
    let shown = table.qualified();
    let publishes = facts.publication.as_ref().is_some_and(|publication| publication.update || publication.delete);
    let message = if publishes && table.published.is_some() {
        format!("Postgres refuses updates and deletes of `{shown}`")
    } else {
        format!("in a publication of them, Postgres would refuse updates and deletes of `{shown}`")
    };
    let finding = match route {
        Some(route) => {
            Finding::error(Code::UpdatesRefused, message).label(route.spans.table.clone(), objection.to_string())
        }
        None => Finding::warning(Code::UpdatesRefused, message)
            .note(objection.to_string())
            .note("no route takes the table, but the publication has it"),
    };
    let finding = finding.note("the apps that write to it would fail");
    remedies(table, objection, identities).into_iter().fold(finding, Finding::help)
}

impl std::fmt::Display for Objection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |columns: &[String]| quoted_list(columns.iter().map(String::as_str));
        match self {
            Self::NoKey => f.write_str("has no primary key, and no other replica identity"),
            Self::DeferrableKey => f.write_str("its primary key is deferrable, and so no replica identity"),
            Self::IdentityNothing => f.write_str("its replica identity is set to `nothing`"),
            Self::IdentityDropped => f.write_str("the index that was its replica identity is gone"),
            Self::Unlisted(columns) if columns.is_empty() => {
                f.write_str("its replica identity is the whole row, and the publication lists columns")
            }
            Self::Unlisted(columns) => write!(f, "the publication lists columns without {}", list(columns)),
            Self::Filtered(columns) => {
                write!(f, "the publication's row filter reads {}, not in the replica identity", list(columns))
            }
            Self::Generated(columns) => write!(f, "{} of its replica identity is generated", list(columns)),
        }
    }
}

fn remedies(table: &Table, objection: &Objection, identities: &[&Identity]) -> Vec<String> {
    let each = |end: &str| -> Vec<String> {
        identities
            .iter()
            .map(|identity| format!("run `alter table {} replica identity {end}`", identity.table))
            .collect()
    };
    match objection {
        Objection::NoKey => {
            let identities = identities.iter().map(|identity| new_identity(table, identity));
            identities.chain(["or give it a primary key".to_owned()]).collect()
        }
        Objection::DeferrableKey => identities.iter().map(|identity| new_identity(table, identity)).collect(),
        Objection::IdentityNothing | Objection::IdentityDropped => {
            let remedy = |identity: &&Identity| match identity.primary_key {
                PrimaryKey::Immediate => format!("run `alter table {} replica identity default`", identity.table),
                PrimaryKey::None | PrimaryKey::Deferrable => new_identity(table, identity),
            };
            identities.iter().map(remedy).collect()
        }
        Objection::Unlisted(columns) if columns.is_empty() => {
            vec!["publish all columns of the table, or give it a smaller replica identity".to_owned()]
        }
        Objection::Unlisted(_) => vec!["add these columns to the publication's list".to_owned()],
        Objection::Filtered(_) => each("full"),
        Objection::Generated(_) => {
            vec![
                "let the publication have them, where they are stored: `publish_generated_columns = stored`".to_owned(),
            ]
        }
    }
}

/// The smallest index that will do, else the whole row.
fn new_identity(table: &Table, identity: &Identity) -> String {
    let smallest = |index: &&UniqueIndex| index.columns.len();
    let end = match table.unique_indexes.iter().min_by_key(smallest) {
        Some(index) => format!("using index {}", quote_identifier(&index.name)),
        None => "full".to_owned(),
    };
    let remark = if end == "full" { "; where rows are only inserted, it costs nothing" } else { "" };
    format!("run `alter table {} replica identity {end}`{remark}", identity.table)
}
