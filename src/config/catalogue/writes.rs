//! What clients may write, against the tables and roles that they write by.

use crate::change::quote_identifier;
use tokio_postgres::Client;

use super::facts::{ServerFacts, Table};
use super::gather::{GatherError, all};
use crate::change::Oid;
use crate::config::code::Code;
use crate::config::diagnostic::{Finding, closest, quoted_list};
use crate::config::{Auth, Config, Route, Write};
use crate::routing::{Conflict, Op};

/// What writes depend on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteFacts {
    /// `walcast.mutations` is there, and the role may use it.
    pub mutations: bool,
    /// One for each writable route whose table exists, in the order of the file.
    pub tables: Vec<WritableTable>,
}

/// A writable route's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritableTable {
    pub schema: String,
    pub name: String,
    pub columns: Vec<WritableColumn>,
    /// None where tokens alone name roles.
    pub writer: Option<Writer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritableColumn {
    pub name: String,
    pub key: bool,
    /// `generated always`, as an expression or an identity.
    pub generated: bool,
    /// Its type's OID, or that of the type under a domain.
    pub base: Oid,
}

/// The role that writes run as where a token names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    pub role: String,
    /// It exists, and the gateway's role is a member of it.
    pub takeable: bool,
    /// What it may do with the table, of `select`, `insert`, `update` and `delete`.
    pub privileges: Vec<String>,
}

/// Parameters: schema, table.
const COLUMNS: &str = "\
    select a.attname::text as name, a.attgenerated <> '' or a.attidentity = 'a' as generated,
           coalesce(a.attnum = any(i.indkey::int2[]), false) as key,
           case when t.typbasetype = 0 then t.oid else t.typbasetype end as base
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid
    left join pg_index i on i.indrelid = c.oid and i.indisprimary
    where n.nspname = $1 and c.relname = $2 order by a.attnum";

/// Parameters: schema, table, role (null: the gateway's own). No row where there is no such role.
const WRITER: &str = "\
    select r.rolname::text as role, pg_has_role(current_user, r.oid, 'member') as takeable,
           array(select p from unnest('{select,insert,update,delete}'::text[]) p
                 where has_schema_privilege(r.oid, n.oid, 'usage')
                   and case when p = 'delete' then has_table_privilege(r.oid, c.oid, p)
                            else has_any_column_privilege(r.oid, c.oid, p) end) as privileges
    from pg_roles r, pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = $2 and r.rolname = coalesce($3::text, current_user)";

const MUTATIONS: &str = "\
    select coalesce((
        select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
               and has_table_privilege(c.oid, 'insert') and has_table_privilege(c.oid, 'update')
               and has_table_privilege(c.oid, 'delete')
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'walcast' and c.relname = 'mutations'), false) as usable";

pub(super) async fn gather(client: &Client, config: &Config) -> Result<WriteFacts, GatherError> {
    let writable = || config.routes.iter().filter_map(|route| Some((route, route.write.as_ref()?)));
    if writable().next().is_none() {
        return Ok(WriteFacts::default());
    }
    let usable = all(client, "walcast.mutations", MUTATIONS, &[]).await?;
    let mutations = usable.first().is_some_and(|row| row.get("usable"));
    let mut tables = Vec::new();
    for (route, write) in writable() {
        let Some((schema, name)) = route.spec.table.names() else { continue };
        let rows = all(client, "a writable table's columns", COLUMNS, &[&schema, &name]).await?;
        if rows.is_empty() {
            continue;
        }
        let column = |row: &tokio_postgres::Row| WritableColumn {
            name: row.get("name"),
            key: row.get("key"),
            generated: row.get("generated"),
            base: row.get("base"),
        };
        let columns = rows.iter().map(column).collect();
        let writer = writer(client, config, write, &schema, &name).await?;
        tables.push(WritableTable { schema, name, columns, writer });
    }
    Ok(WriteFacts { mutations, tables })
}

async fn writer(
    client: &Client,
    config: &Config,
    write: &Write,
    schema: &str,
    name: &str,
) -> Result<Option<Writer>, GatherError> {
    let role = write.policy.role.as_deref();
    if role.is_none() && !matches!(config.auth, Auth::None) {
        return Ok(None);
    }
    let rows = all(client, "the role that writes", WRITER, &[&schema, &name, &role]).await?;
    let missing = || Writer { role: role.unwrap_or_default().to_owned(), takeable: false, privileges: Vec::new() };
    Ok(Some(rows.first().map_or_else(missing, |row| Writer {
        role: row.get("role"),
        takeable: row.get("takeable"),
        privileges: row.get("privileges"),
    })))
}

pub(super) fn judge(facts: &ServerFacts, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for route in &config.routes {
        let Some(write) = &route.write else { continue };
        if findings.is_empty() {
            findings.extend(mutations(facts, write));
        }
        let Some((schema, name)) = route.spec.table.names() else { continue };
        let is_its = |table: &&WritableTable| table.schema == schema && table.name == name;
        let table = facts.tables.iter().find(|table| table.schema == schema && table.name == name);
        // A table that is not there is found by others.
        if let (Some(writable), Some(table)) = (facts.writes.tables.iter().find(is_its), table) {
            findings.extend(columns(writable, table, route, write));
            findings.extend(no_key(writable, table, write));
            findings.extend(writable.writer.as_ref().and_then(|writer| rights(writer, facts, table, write)));
        }
    }
    findings
}

fn mutations(facts: &ServerFacts, write: &Write) -> Option<Finding> {
    let role = quote_identifier(&facts.role.name);
    (!facts.writes.mutations).then(|| {
        Finding::error(Code::MutationsMissing, "the table `walcast.mutations` is missing, or may not be used")
            .label(write.spans.section.clone(), "a write that is repeated could be carried out twice")
            .help("run `walcast setup`, which creates it")
            .help(format!(
                "where another role has run it: `grant usage on schema walcast to {role}; \
                 grant select, insert, update, delete on walcast.mutations to {role}`"
            ))
    })
}

fn columns(writable: &WritableTable, table: &Table, route: &Route, write: &Write) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, span) in write.policy.columns.iter().flatten().zip(&write.spans.columns) {
        match writable.columns.iter().find(|column| column.name == *name) {
            None => findings.push(missing(name, span.clone(), table)),
            Some(column) if column.generated => findings.push(
                Finding::error(Code::WriteGenerated, format!("clients can't write column `{name}`"))
                    .label(span.clone(), "its values are always the database's own")
                    .note("it is `generated always`, as an expression or an identity")
                    .help("remove it from `columns`"),
            ),
            Some(_) => {}
        }
    }
    let (name, types, wanted): (_, &[Oid], _) = match &write.policy.conflict {
        Conflict::Row { version } => (version, &COUNTERS, "an integer type, or numeric"),
        Conflict::LastWriteWins { timestamp } => (timestamp, &TIMES, "timestamptz or timestamp"),
        Conflict::Columns | Conflict::Overwrite => return findings,
    };
    let span = write.spans.conflict_column.clone();
    match writable.columns.iter().find(|column| column.name == *name) {
        None => findings.push(missing(name, span, table)),
        Some(column) if !types.contains(&column.base) => {
            let is = table.column(name).map_or("another", |column| &column.type_name);
            findings.push(
                Finding::error(
                    Code::WriteConflictType,
                    format!("column `{name}` of `{}` is of type `{is}`", route.spec.table),
                )
                .label(span, format!("must be of {wanted}"))
                .help(format!("name another column, or alter its type to {wanted}")),
            );
        }
        Some(_) => {}
    }
    findings
}

/// OIDs are those of `pg_type.dat`, which never change: int8, int2, int4, numeric …
const COUNTERS: [Oid; 4] = [20, 21, 23, 1700];
/// … timestamp, timestamptz.
const TIMES: [Oid; 2] = [1114, 1184];

fn missing(name: &str, span: crate::config::Span, table: &Table) -> Finding {
    let names = || table.columns.iter().map(|column| column.name.as_str());
    let guess = closest(name, names()).map(|guess| format!("did you mean `{guess}`?"));
    let shown = table.qualified();
    Finding::error(Code::ColumnMissing, format!("column `{name}` does not exist in table `{shown}`"))
        .label(span, "no such column")
        .note(format!("columns of {shown}: {}", names().collect::<Vec<_>>().join(", ")))
        .maybe_help(guess)
}

fn no_key(writable: &WritableTable, table: &Table, write: &Write) -> Option<Finding> {
    (!writable.columns.iter().any(|column| column.key)).then(|| {
        Finding::error(Code::WriteNoKey, format!("clients can't say which row of `{}` they mean", table.qualified()))
            .label(write.spans.section.clone(), "the table has no primary key")
            .help("give it a primary key")
    })
}

fn rights(writer: &Writer, facts: &ServerFacts, table: &Table, write: &Write) -> Option<Finding> {
    let span = write.spans.role.clone().unwrap_or_else(|| write.spans.section.clone());
    let (role, own) = (quote_identifier(&writer.role), quote_identifier(&facts.role.name));
    if !writer.takeable {
        return Some(
            Finding::error(
                Code::WriteRoleMissing,
                format!("the role `{}` does not exist, or can't be taken", writer.role),
            )
            .label(span, "writes run as this role")
            .help(format!("run `create role {role}` if it does not exist, then `grant {role} to {own}`")),
        );
    }
    // To be held against what the client had seen, and to be sent back, a row must be read.
    let needed = std::iter::once("select").chain(write.policy.ops.iter().map(Op::as_str));
    let lacking: Vec<&str> = needed.filter(|needed| !writer.privileges.iter().any(|own| own == needed)).collect();
    (!lacking.is_empty()).then(|| {
        let list = quoted_list(lacking.iter().copied());
        Finding::warning(
            Code::WritePrivilege,
            format!("the role `{}` lacks {list} on `{}`", writer.role, table.qualified()),
        )
        .label(span, "writes run as this role, and would be refused")
        .help(format!("run `grant {} on {} to {role}`, and usage of its schema", lacking.join(", "), table.quoted()))
        .help("or let clients do less: `ops` in `[route.write]`")
    })
}
