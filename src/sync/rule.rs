//! A route's `where` as a condition on the rows that its clients write.
//!
//! What a client may not see it may not write either, nor may it make a row that it would not see. Postgres decides,
//! in the statement that writes: nothing can come between a look and the deed.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::change::{Column, Oid, Relation, RelationId, ReplicaIdentity, TypeCatalogue, quoted_identifier};
use crate::routing::{Claims, Expression, ExpressionErrorKind, Predicate, Scope};

use super::failure::Failure;
use super::outcome::Refusal;
use super::table::Table;

/// Whose rows are the client's: the rule with its claims, for one table.
#[derive(Debug)]
pub(super) struct Rule {
    predicate: Predicate,
    /// By the predicate's indexes.
    columns: Vec<String>,
}

impl Rule {
    /// The types of the columns that a rule reads.
    pub(super) fn types(rule: &Expression, table: &Table) -> BTreeSet<Oid> {
        rule.columns().into_iter().filter_map(|name| table.column(name)).map(|column| column.type_oid).collect()
    }

    /// # Errors
    /// A claim that can't be cast to what the rule compares it with: who has it sees no rows and writes none. A rule
    /// that does not fit the table is the operator's to know.
    pub(super) fn new(
        rule: &Expression,
        claims: &Claims,
        table: &Table,
        types: &TypeCatalogue,
    ) -> Result<Self, Failure> {
        let names = rule.columns();
        let known = table.columns.iter().filter(|column| names.contains(&*column.name));
        let column = |column: &super::table::Column| {
            let ty = types.get(column.type_oid)?;
            Some(Column { name: Arc::from(&*column.name), identity: false, ty })
        };
        let relation = Relation {
            id: RelationId(0),
            schema: Arc::from(&*table.schema),
            name: Arc::from(&*table.name),
            replica_identity: ReplicaIdentity::Nothing,
            columns: known.filter_map(column).collect(),
        };
        let predicate =
            rule.close(claims).compile(&Scope::of_relation(&relation)).map_err(|error| match error.kind {
                ExpressionErrorKind::Claim { .. } => {
                    Failure::Refused(Refusal::NotPermitted { change: None, message: Some(error.to_string()) })
                }
                _ => Failure::Odd(format!("`where` does not fit the table `{relation}`: {error}")),
            })?;
        Ok(Self { predicate, columns: relation.columns.iter().map(|column| column.name.to_string()).collect() })
    }

    /// As a condition on row `t`; its literals and claims become parameters.
    pub(super) fn sql(&self, parameters: &mut Vec<String>) -> String {
        let mut name = |index: usize| {
            self.columns.get(index).map_or_else(String::new, |name| format!("t.{}", quoted_identifier(name)))
        };
        format!("({})", self.predicate.sql(&mut name, parameters))
    }
}
