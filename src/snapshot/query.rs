//! What is asked of the database, as SQL.

use std::fmt::Write;

use crate::change::{Oid, Relation, quoted_identifier};
use crate::routing::{Predicate, Selection};

use super::published::Published;

/// A statement and its parameters, all of type `text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) sql: String,
    pub(super) parameters: Vec<String>,
}

/// The rows that one route has in the topic.
pub(super) struct Taken<'t> {
    pub(super) selection: Selection<'t>,
    /// Its `where`, for those who asked.
    pub(super) conditions: Vec<Predicate>,
}

/// Said first, since a look at the published tables waits for those that are being altered, too (Postgres 16 and
/// later).
pub(super) const PATIENCE: &str = "set lock_timeout = '10s'";

/// Begins a transaction that sees one moment.
///
/// Under row security a table owner's policies could hide rows in silence: the query fails instead. All rows are going
/// to be fetched, which the planner does not expect of a cursor.
pub(super) const BEGIN: &str = "\
begin transaction isolation level repeatable read, read only;
set local row_security = off;
set local cursor_tuple_fraction = 1";

/// Whether the server is a standby.
pub(super) const IN_RECOVERY: &str = "select pg_catalog.pg_is_in_recovery()";

/// On a standby, before the transaction begins: up to where it has replayed.
pub(super) const REPLAYED: &str = "select pg_catalog.pg_last_wal_replay_lsn()::pg_catalog.text";

/// On a standby, the first statement of the transaction that takes a snapshot: up to where it has replayed then, what
/// it has received, and whether it is receiving.
pub(super) const STANDBY_MOMENT: &str = "\
select pg_catalog.pg_last_wal_replay_lsn()::pg_catalog.text, pg_catalog.pg_last_wal_receive_lsn()::pg_catalog.text,
       exists(select from pg_catalog.pg_stat_get_wal_receiver() where pid is not null),
       current_setting('wal_block_size')::pg_catalog.int8";

/// The first statement of the transaction that takes a snapshot, hence the one whose moment it is; the position is read
/// after that. Not for a standby, which does not tell which transactions are under way.
pub(super) const MOMENT: &str =
    "select pg_catalog.pg_current_snapshot()::pg_catalog.text, pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text";

/// How much of the log is on disk, and how long its pages are.
pub(super) const FLUSHED: &str = "\
select pg_catalog.pg_current_wal_flush_lsn()::pg_catalog.text, current_setting('wal_block_size')::pg_catalog.int8";

/// Takes the log to the disk: a commit that waits for that, as no other one in this session. One that waits for no
/// standby.
pub(super) const FLUSH: &str = "\
set synchronous_commit = local;
select pg_catalog.pg_logical_emit_message(true, 'walcast.mark', ''::pg_catalog.text)";

/// Holds tables as they are. Before the snapshot is taken: a table that is rewritten after it would look empty.
pub(super) fn lock<'t>(tables: impl Iterator<Item = &'t Relation>) -> Option<String> {
    let names: Vec<String> = tables.map(|table| qualified(&table.schema, &table.name)).collect();
    (!names.is_empty()).then(|| format!("lock table {} in access share mode", names.join(", ")))
}

/// Opens a cursor over the rows of a selection that none of the `earlier` ones takes, and of which the `filter` is
/// true. A column that `shown` refuses is null in every row.
pub(super) fn declare(
    table: &Published,
    selection: &Taken<'_>,
    earlier: &[Taken<'_>],
    filter: Option<&Predicate>,
    shown: impl Fn(&str) -> bool,
) -> Query {
    let Published { relation, partitioned, row_filter } = table;
    let column = |name: &str| if shown(name) { quoted_identifier(name) } else { "null".to_owned() };
    let columns: Vec<String> = relation.columns.iter().map(|it| column(&it.name)).collect();
    let only = if *partitioned { "" } else { "only " };
    let from = qualified(&relation.schema, &relation.name);
    let mut parameters = Vec::new();
    let mut conditions: Vec<String> = row_filter.iter().map(|filter| format!("({filter})")).collect();
    conditions.extend(condition(relation, selection, &mut parameters));
    conditions.extend(filter.map(|filter| predicate(relation, filter, &mut parameters)));
    for other in earlier {
        let taken = condition(relation, other, &mut parameters);
        conditions.push(format!("({}) is not true", taken.unwrap_or_else(|| "true".to_owned())));
    }
    let mut sql = format!("declare {CURSOR} no scroll cursor for select {} from {only}{from}", columns.join(", "));
    if !conditions.is_empty() {
        sql.push_str(" where ");
        sql.push_str(&conditions.join(" and "));
    }
    Query { sql, parameters }
}

const CURSOR: &str = "walcast_rows";

pub(super) fn fetch(rows: u64) -> String {
    format!("fetch forward {rows} from {CURSOR}")
}

pub(super) const CLOSE: &str = "close walcast_rows";

/// The rows whose columns have a selection's values, and of which its route's `where` is true; none for all rows.
fn condition(relation: &Relation, taken: &Taken<'_>, parameters: &mut Vec<String>) -> Option<String> {
    let mut conditions = Vec::new();
    for (index, value) in &taken.selection.columns {
        let column = relation.columns.get(*index)?;
        parameters.push((*value).to_owned());
        conditions.push(equals(&quoted_identifier(&column.name), column.ty.base_oid, parameters.len()));
    }
    conditions.extend(taken.conditions.iter().map(|it| predicate(relation, it, parameters)));
    (!conditions.is_empty()).then(|| conditions.join(" and "))
}

fn predicate(relation: &Relation, predicate: &Predicate, parameters: &mut Vec<String>) -> String {
    let mut name =
        |index: usize| relation.columns.get(index).map_or_else(String::new, |column| quoted_identifier(&column.name));
    format!("({})", predicate.sql(&mut name, parameters))
}

/// Topics are made of `value::text`, so that decides. Where the type's own equality holds for equal texts it comes
/// first, for the sake of an index.
fn equals(column: &str, base: Oid, parameter: usize) -> String {
    let mut sql = String::new();
    if let Some(name) = type_with_index(base) {
        // Writing to a string can't fail.
        let _written = write!(sql, "{column} = ${parameter}::pg_catalog.text::pg_catalog.{name} and ");
    }
    let _written = write!(sql, "{column}::pg_catalog.text collate pg_catalog.\"C\" = ${parameter}::pg_catalog.text");
    sql
}

/// Types of which people make topics. OIDs are those of `pg_type.dat`, which never change.
const fn type_with_index(base: Oid) -> Option<&'static str> {
    Some(match base {
        16 => "bool",
        20 => "int8",
        21 => "int2",
        23 => "int4",
        25 => "text",
        26 => "oid",
        1043 => "varchar",
        1082 => "date",
        1114 => "timestamp",
        1184 => "timestamptz",
        1700 => "numeric",
        2950 => "uuid",
        _ => return None,
    })
}

fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted_identifier(schema), quoted_identifier(name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::change::{Column, RelationId, ReplicaIdentity, TypeCatalogue};
    use crate::routing::{Claims, Expression, RouteId, Scope};

    fn table(row_filter: Option<&str>) -> Published {
        let types = TypeCatalogue::builtin();
        let column = |name: &str, oid| Column { name: name.into(), identity: true, ty: types.get(oid).unwrap() };
        let relation = Relation {
            id: RelationId(1),
            schema: "od\"d".into(),
            name: "t; drop table x".into(),
            replica_identity: ReplicaIdentity::Full,
            columns: vec![column("id", 23), column("a\"b", 25), column("point", 600)],
        };
        Published {
            relation: Arc::new(relation),
            partitioned: row_filter.is_some(),
            row_filter: row_filter.map(str::to_owned),
        }
    }

    fn taken(route: u16, columns: Vec<(usize, &str)>) -> Taken<'_> {
        Taken { selection: Selection { route: RouteId(route), columns }, conditions: Vec::new() }
    }

    #[test]
    fn names_are_quoted_and_values_are_parameters() {
        let selection = taken(0, vec![(1, "x' or true --"), (2, "(1,2)")]);
        let query = declare(&table(None), &selection, &[], None, |name| name != "id");
        assert_eq!(
            query.sql,
            "declare walcast_rows no scroll cursor for select null, \"a\"\"b\", \"point\" \
             from only \"od\"\"d\".\"t; drop table x\" \
             where \"a\"\"b\" = $1::pg_catalog.text::pg_catalog.text \
             and \"a\"\"b\"::pg_catalog.text collate pg_catalog.\"C\" = $1::pg_catalog.text \
             and \"point\"::pg_catalog.text collate pg_catalog.\"C\" = $2::pg_catalog.text"
        );
        assert_eq!(query.parameters, ["x' or true --", "(1,2)"]);
    }

    #[test]
    fn a_row_comes_by_the_first_selection_that_takes_it() {
        let all = taken(1, vec![]);
        let one = taken(0, vec![(0, "7")]);
        let query = declare(&table(Some("id > 3")), &all, &[one], None, |_| true);
        let (_, conditions) = query.sql.split_once(" where ").unwrap();
        assert_eq!(
            conditions,
            "(id > 3) and (\"id\" = $1::pg_catalog.text::pg_catalog.int4 \
             and \"id\"::pg_catalog.text collate pg_catalog.\"C\" = $1::pg_catalog.text) is not true"
        );
        assert!(query.sql.contains("from \"od\"\"d\""), "a partitioned table's rows are in its partitions");
        let none_left = declare(&table(None), &all, std::slice::from_ref(&all), None, |_| true);
        assert!(none_left.sql.ends_with(" where (true) is not true"), "{}", none_left.sql);
    }

    #[test]
    fn predicates_are_conditions_with_bound_values() {
        let published = table(None);
        let compile = |sql: &str| {
            let claims = Claims::new([("sub".to_owned(), serde_json::json!("' or true --"))].into_iter().collect());
            let expression = Expression::parse(sql).unwrap().close(&claims);
            expression.compile(&Scope::of_relation(&published.relation)).unwrap()
        };
        let owned =
            Taken { conditions: vec![compile("id = 1"), compile("\"a\"\"b\" = claims.sub")], ..taken(0, vec![]) };
        let public = Taken { conditions: vec![compile("\"a\"\"b\" <> 'public'")], ..taken(1, vec![(0, "7")]) };
        let query = declare(&published, &public, &[owned], Some(&compile("id = 2")), |_| true);
        assert!(!query.sql.contains("true --") && !query.sql.contains("public'"), "{}", query.sql);
        assert_eq!(query.sql.matches('$').count(), query.parameters.len() + 1, "the topic's value is used twice");
        assert_eq!(query.parameters, ["7", "public", "2", "1", "' or true --"]);
    }

    #[test]
    fn everything_is_asked_for_without_a_condition() {
        let all = taken(0, vec![]);
        let query = declare(&table(None), &all, &[], None, |_| true);
        assert!(query.sql.ends_with("\"t; drop table x\""), "{}", query.sql);
        assert_eq!(
            lock([&*table(None).relation].into_iter()).unwrap(),
            "lock table \"od\"\"d\".\"t; drop table x\" in access share mode"
        );
        assert_eq!(lock(std::iter::empty()), None);
    }
}
