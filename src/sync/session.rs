//! A connection for writes, and the statements around the client's own.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::change::catalogue::{CatalogueRow, DEFINITIONS_SQL, TypeDefinition};
use crate::change::{Committed, Lsn, Oid, TypeCatalogue};

use super::failure::Failure;
use super::identity::Identity;
use super::outcome::{Outcome, Refusal};
use super::statement::Statement;
use super::table::{DESCRIBE, DESCRIBE_TYPES, Table};

/// One transaction at a time on one connection.
pub(super) struct Session<'c> {
    pub(super) client: &'c Client,
}

/// By what a request is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct MutationKey<'m> {
    pub(super) scope: &'m str,
    pub(super) topic: &'m str,
    pub(super) id: &'m str,
}

impl Session<'_> {
    /// Begins a transaction in which nothing takes longer than `timeout`, and waits for locks for `lock_timeout`.
    pub(super) async fn begin(&self, timeout: Duration, lock_timeout: Duration) -> Result<(), Failure> {
        let sql = format!(
            "begin isolation level read committed; \
             set local statement_timeout = {timeout}; set local idle_in_transaction_session_timeout = {timeout}; \
             set local lock_timeout = {lock_timeout}; set local search_path = pg_catalog",
            timeout = timeout.as_millis(),
            lock_timeout = lock_timeout.as_millis()
        );
        self.batch("begin a transaction", &sql).await
    }

    /// The table as it is now; to be asked before [`Session::become_writer`].
    pub(super) async fn describe(&self, schema: &str, name: &str, publication: &str) -> Result<Table, Failure> {
        let [one, two, three] = DESCRIBE_TYPES;
        let parameters: [(&(dyn ToSql + Sync), Type); 3] = [(&schema, one), (&name, two), (&publication, three)];
        let failed = Failure::during("look up the table");
        let rows = self.client.query_typed(DESCRIBE, &parameters).await.map_err(failed)?;
        Table::from_rows(schema, name, &rows).map_err(Failure::during("read the table's columns"))
    }

    /// What these types are; those that are built in are known.
    pub(super) async fn types(&self, oids: BTreeSet<Oid>) -> Result<TypeCatalogue, Failure> {
        let mut types = TypeCatalogue::builtin();
        let mut wanted = types.missing(oids);
        while !wanted.is_empty() {
            let rows = self.client.query_typed(DEFINITIONS_SQL, &[(&wanted, Type::OID_ARRAY)]).await;
            let rows = rows.map_err(Failure::during("look up types"))?;
            let definitions = rows.iter().map(definition).collect::<Result<_, _>>();
            wanted = types.define(&wanted, definitions.map_err(Failure::during("read a type"))?);
        }
        Ok(types)
    }

    /// Takes the mutation's id for this transaction; what came of it where it was taken before. Waits for a transaction
    /// that has taken it and has not ended.
    pub(super) async fn claim(&self, key: MutationKey<'_>) -> Result<Claim, Failure> {
        const TAKE: &str = "insert into walcast.mutations (identity, topic, id) values ($1, $2, $3) \
                            on conflict do nothing returning xid::text";
        const FIND: &str = "select xid::text, outcome::text from walcast.mutations \
                            where identity = $1 and topic = $2 and id = $3";
        if let Some(row) = self.mutation(TAKE, key).await? {
            return Ok(Claim::Taken { xid: xid(&row)? });
        }
        let Some(row) = self.mutation(FIND, key).await? else { return Ok(Claim::Gone) };
        let outcome: Option<String> = row.try_get(1).map_err(Failure::during("read an outcome"))?;
        Ok(match outcome {
            None => Claim::Done { xid: xid(&row)? },
            Some(json) => Claim::Refused(Outcome::Refused(json.into())),
        })
    }

    async fn mutation(&self, sql: &str, key: MutationKey<'_>) -> Result<Option<Row>, Failure> {
        let parameters = texts([&key.scope, &key.topic, &key.id]);
        self.client.query_typed_opt(sql, &parameters).await.map_err(Failure::during("look for the mutation's id"))
    }

    /// Remembers what came of the mutation, in its own transaction.
    pub(super) async fn remember(&self, key: MutationKey<'_>, json: &str) -> Result<(), Failure> {
        const SQL: &str = "update walcast.mutations set outcome = $4::json \
                           where identity = $1 and topic = $2 and id = $3";
        let parameters = texts([&key.scope, &key.topic, &key.id, &json]);
        let result = self.client.execute_typed(SQL, &parameters).await;
        result.map(drop).map_err(Failure::during("remember the outcome"))
    }

    /// From here on, statements are the writer's. `identified`: never with the gateway's own rights, or a superuser's.
    pub(super) async fn become_writer(&self, identity: &Identity, identified: bool) -> Result<(), Failure> {
        const CLAIMS: &str = "select set_config('request.jwt.claims', $1, true)";
        const ROLE: &str = "select set_config('role', $1, true)";
        const RIGHTS: &str = "select current_user <> session_user and not rolsuper \
                              from pg_catalog.pg_roles where rolname = current_user";
        self.batch("begin the writes", "set local search_path to default; savepoint writes").await?;
        let claims = self.client.query_typed(CLAIMS, &texts([&identity.claims])).await;
        claims.map_err(Failure::during("set the claims"))?;
        let Some(role) = &identity.role else { return Ok(()) };
        let refused = |message: &str| {
            let message = Some(message.to_owned());
            Failure::Refused(Refusal::NotPermitted { change: None, message })
        };
        if let Err(error) = self.client.query_typed(ROLE, &texts([role])).await {
            return Err(match error.as_db_error() {
                // It does not exist, or the gateway's role is no member of it.
                Some(_) => refused("the role that the token names can't be taken"),
                None => Failure::during("take the writer's role")(error),
            });
        }
        if identified {
            let rights = self.client.query_typed_opt(RIGHTS, &[]).await.map_err(Failure::during("look at the role"))?;
            let rights = rights.map_or(Ok(false), |row| row.try_get(0)).map_err(Failure::during("look at the role"))?;
            if !rights {
                return Err(refused("the role that the token names is not for clients"));
            }
        }
        Ok(())
    }

    /// A client's change; its rows.
    pub(super) async fn change(&self, number: usize, statement: &Statement) -> Result<Vec<Row>, Failure> {
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            statement.parameters.iter().map(|value| (value as &(dyn ToSql + Sync), Type::TEXT)).collect();
        let rows = self.client.query_typed(&statement.sql, &parameters).await;
        rows.map_err(Failure::of_change(Some(number)))
    }

    /// What waits for the transaction's end is checked, and the writer's role is left.
    pub(super) async fn finish_writes(&self) -> Result<(), Failure> {
        let checked = self.client.batch_execute("set constraints all immediate").await;
        checked.map_err(Failure::of_change(None))?;
        self.batch("leave the writer's role", "set local role none").await
    }

    /// As if the writer had not been.
    pub(super) async fn undo_writes(&self) -> Result<(), Failure> {
        self.batch("undo the writes", "rollback to savepoint writes").await
    }

    pub(super) async fn roll_back(&self) -> Result<(), Failure> {
        self.batch("roll back", "rollback").await
    }

    pub(super) async fn commit(&self) -> Result<(), Failure> {
        self.batch("commit", "commit").await
    }

    /// How the transaction is known in the feed. It is done, whatever becomes of the question.
    pub(super) async fn committed(&self, xid: u32) -> Committed {
        let row = self.client.query_typed_one("select pg_catalog.pg_current_wal_insert_lsn()::text", &[]).await;
        let text: Option<String> = row.ok().and_then(|row| row.try_get(0).ok());
        Committed { xid, before: text.and_then(|text| text.parse::<Lsn>().ok()) }
    }

    async fn batch(&self, action: &'static str, sql: &str) -> Result<(), Failure> {
        self.client.batch_execute(sql).await.map_err(Failure::during(action))
    }
}

/// What became of taking a mutation's id.
#[derive(Debug)]
pub(super) enum Claim {
    /// It is this transaction's.
    Taken { xid: u32 },
    /// It was done by that transaction.
    Done { xid: u32 },
    /// It came to this.
    Refused(Outcome),
    /// It was taken when this was asked, and is not any more.
    Gone,
}

/// The part of an `xid8` that the feed shows.
fn xid(row: &Row) -> Result<u32, Failure> {
    let text: &str = row.try_get(0).map_err(Failure::during("read a transaction's id"))?;
    let full: u64 = text.parse().map_err(|_| Failure::Odd("a transaction's id is no number".to_owned()))?;
    let [.., a, b, c, d] = full.to_be_bytes();
    Ok(u32::from_be_bytes([a, b, c, d]))
}

fn definition(row: &Row) -> Result<TypeDefinition, tokio_postgres::Error> {
    let row = CatalogueRow {
        oid: row.try_get(0)?,
        name: row.try_get(1)?,
        category: row.try_get(2)?,
        base: row.try_get(3)?,
        element: row.try_get(4)?,
        delimiter: row.try_get(5)?,
        field_names: row.try_get(6)?,
        field_types: row.try_get(7)?,
        has_json_cast: row.try_get(8)?,
    };
    Ok(row.into())
}

fn texts<V: ToSql + Sync, const N: usize>(values: [&V; N]) -> [(&(dyn ToSql + Sync), Type); N] {
    values.map(|value| (value as &(dyn ToSql + Sync), Type::TEXT))
}
