//! What the role of `walcast setup` may not do, before it begins.

use super::facts::{ServerFacts, Table};
use crate::change::quote_identifier;
use crate::config::Config;
use crate::config::code::Code;
use crate::config::diagnostic::{Finding, quoted_list};

/// What setup is about to do, as far as it needs rights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Undertaking<'p> {
    /// The schema, or another revision of it.
    pub(crate) schema: bool,
    pub(crate) publication: bool,
    /// The tables that it is going to publish.
    pub(crate) tables: &'p [&'p Table],
}

/// Everything at once: a role that is given one right after another loses its patience.
pub(crate) fn lacking_rights(facts: &ServerFacts, config: &Config, undertaking: Undertaking<'_>) -> Vec<Finding> {
    let role = &facts.role;
    if role.superuser {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let creates_publication = undertaking.publication && role.owns_publication.is_none();
    let creates_schema = undertaking.schema && facts.schema_comment.is_none();
    if !role.may_create && (creates_schema || creates_publication) {
        let what = match (creates_schema, creates_publication) {
            (true, true) => "a schema and a publication",
            (true, false) => "a schema",
            _ => "a publication",
        };
        let (database, role) = (quote_identifier(&facts.database), quote_identifier(&role.name));
        let message = format!("the role `{}` may not create {what}", facts.role.name);
        findings.push(finding(config, message).help(format!("run `grant create on database {database} to {role}`")));
    }
    if undertaking.publication && role.owns_publication == Some(false) {
        let (name, role) = (&config.postgres.publication, quote_identifier(&role.name));
        let message = format!("the role `{}` does not own the publication `{name}`", facts.role.name);
        let name = quote_identifier(name.as_str());
        findings.push(finding(config, message).help(format!("run `alter publication {name} owner to {role}`")));
    }
    let foreign: Vec<String> =
        undertaking.tables.iter().filter(|table| !table.owned).map(|table| table.qualified()).collect();
    if !foreign.is_empty() {
        let list = quoted_list(foreign.iter().map(String::as_str));
        let message = format!("the role `{}` does not own {list}", role.name);
        findings.push(finding(config, message).note("who publishes a table must own it"));
    }
    let elsewhere =
        "or let who may do so run what `walcast setup --print` shows; `walcast run` needs none of these rights";
    if let Some(last) = findings.pop() {
        findings.push(last.help(elsewhere));
    }
    findings
}

fn finding(config: &Config, message: String) -> Finding {
    let finding = Finding::error(Code::SetupRights, message);
    match &config.postgres.spans.url {
        Some(span) => finding.label(span.clone(), "connects as this role"),
        None => finding,
    }
}
