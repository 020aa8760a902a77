//! One snapshot, from its connection to its last row.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use tokio::sync::{Semaphore, mpsc};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::change::json::{ChangeEncoder, EncodeOptions};
use crate::change::{Lsn, Row, Visibility};
use crate::hub::{SnapshotEvent, SnapshotRequest};
use crate::replication::wire::connect_sql;
use crate::routing::{Filter, Plan, PlanProblem, Predicate, RouteSpec, Scope, Selection};

use super::durable;
use super::error::SnapshotError;
use super::parts::Parts;
use super::published::{Published, published};
use super::query::{self, Taken};
use super::standby;
use super::task::Settings;

/// How often the tables may be altered between being looked up and being locked.
const LOOKS_MAX: usize = 5;
/// Rows in one fetch: they are taken off the socket one by one, so that this only saves round trips.
const FETCH_ROWS: u64 = 1000;

/// What was read, for the log.
pub(super) struct Summary {
    pub(super) rows: u64,
    pub(super) parts: u32,
}

/// Reads a topic's rows and sends them as parts, each when it is wanted.
pub(super) async fn read(
    settings: &Settings,
    request: &SnapshotRequest,
    events: mpsc::Sender<SnapshotEvent>,
    wanted: Arc<Semaphore>,
) -> Result<Summary, SnapshotError> {
    let client = connect_sql(&settings.connection).await.map_err(SnapshotError::Connect)?;
    client.batch_execute(query::PATIENCE).await.map_err(SnapshotError::query("limit how long locks are waited for"))?;
    let Moment { tables, visibility, until } = begin(&client, settings, request).await?;
    let parts = Parts::new(request.id, settings.part, first_event(request, &tables), events, wanted);
    let mut reading = Reading { settings, request, client: &client, parts, rows: 0 };
    for table in &tables {
        reading.table(table).await?;
    }
    let Reading { rows, parts, .. } = reading;
    // A standby has nothing that is not on the primary's disk.
    if !visibility.is_all() {
        durable::wait(&client, until).await?;
    }
    // Nothing was written: the end of the connection is the end of the transaction.
    Ok(Summary { rows, parts: parts.finish(visibility, until).await? })
}

/// What a transaction sees.
struct Moment {
    /// Those with rows in the topic.
    tables: Vec<Published>,
    visibility: Visibility,
    until: Lsn,
}

/// Begins a transaction in which the tables are what the catalogue says, and stay so.
async fn begin(client: &Client, settings: &Settings, request: &SnapshotRequest) -> Result<Moment, SnapshotError> {
    let look = async || {
        let all = published(client, &settings.publication).await.map_err(SnapshotError::Catalogue)?;
        all.iter().try_for_each(|table| fits(table, request))?;
        let has_rows = |table: &Published| {
            let plan = request.routes.plan(&table.relation);
            !plan.selections(&request.routes, &request.topic).is_empty()
        };
        Ok::<_, SnapshotError>(all.into_iter().filter(has_rows).collect::<Vec<_>>())
    };
    let in_recovery = client.query_one(query::IN_RECOVERY, &[]).await.and_then(|row| row.try_get(0));
    let in_recovery: bool = in_recovery.map_err(SnapshotError::query("ask whether this is a standby"))?;
    let mut before = look().await?;
    for _ in 0..LOOKS_MAX {
        let lock = query::lock(before.iter().map(|table| &*table.relation));
        let (visibility, until) = if in_recovery {
            let begin = [query::BEGIN].into_iter().chain(lock.as_deref()).collect::<Vec<_>>().join(";\n");
            (Visibility::all(), standby::begin(client, &begin).await?)
        } else {
            client.batch_execute(query::BEGIN).await.map_err(SnapshotError::query("begin a transaction"))?;
            if let Some(lock) = &lock {
                client.batch_execute(lock).await.map_err(SnapshotError::query("lock the topic's tables"))?;
            }
            moment(client).await?
        };
        let tables = look().await?;
        if tables == before {
            return Ok(Moment { tables, visibility, until });
        }
        client.batch_execute("rollback").await.map_err(SnapshotError::query("look again"))?;
        before = tables;
    }
    Err(SnapshotError::Altered)
}

/// A route that can't take the table as it is now says nothing of its rows: none would be a wrong answer, but where
/// topics are made of a column that the table does not have.
fn fits(table: &Published, request: &SnapshotRequest) -> Result<(), SnapshotError> {
    let plan = request.routes.plan(&table.relation);
    let concerns = |problem: &&PlanProblem| {
        let route = request.routes.route(problem.route());
        let has_rows = !matches!(problem, PlanProblem::NoTopicColumn { .. });
        has_rows && route.is_some_and(|route| route.topic.may_give(request.topic.as_str()))
    };
    match plan.problems().iter().find(concerns) {
        None => Ok(()),
        Some(problem) => Err(SnapshotError::Unfit(problem.clone())),
    }
}

async fn moment(client: &Client) -> Result<(Visibility, Lsn), SnapshotError> {
    let during = SnapshotError::query;
    let row = client.query_one(query::MOMENT, &[]).await.map_err(during("take a snapshot"))?;
    let visibility: &str = row.try_get(0).map_err(during("read the snapshot"))?;
    let until: &str = row.try_get(1).map_err(during("read the WAL position"))?;
    Ok((visibility.parse()?, until.parse()?))
}

struct Reading<'a> {
    settings: &'a Settings,
    request: &'a SnapshotRequest,
    client: &'a Client,
    parts: Parts,
    rows: u64,
}

impl Reading<'_> {
    async fn table(&mut self, table: &Published) -> Result<(), SnapshotError> {
        let routes = &self.request.routes;
        let plan = routes.plan(&table.relation);
        let mut taken: Vec<Taken<'_>> = Vec::new();
        for selection in plan.selections(routes, &self.request.topic) {
            let Some(route) = routes.route(selection.route) else { continue };
            let taken_by = Taken::new(table, selection, self.request)?;
            self.selection(table, route, &taken_by, &taken).await?;
            taken.push(taken_by);
        }
        Ok(())
    }

    async fn selection(
        &mut self,
        table: &Published,
        route: &RouteSpec,
        selection: &Taken<'_>,
        earlier: &[Taken<'_>],
    ) -> Result<(), SnapshotError> {
        let columns = shown(table, route, self.request.columns.as_deref());
        let filter = filter(table, self.request)?;
        let query = query::declare(table, selection, earlier, filter.as_ref(), |name| columns.contains(name));
        let parameters = query.parameters.iter().map(|value| value as &(dyn ToSql + Sync));
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.collect();
        let opened = self.client.execute(&query.sql, &parameters).await;
        opened.map_err(SnapshotError::query("open a cursor over the rows"))?;
        let options = EncodeOptions { int8: route.int8, value_limit_bytes: self.settings.value_limit };
        let columns: Vec<&str> = columns.into_iter().collect();
        let encoder = ChangeEncoder::new(&table.relation, Some(&columns), options);
        self.parts.begin(&route.event).await?;
        while self.fetch(table, &encoder).await? == FETCH_ROWS {}
        self.client.batch_execute(query::CLOSE).await.map_err(SnapshotError::query("close the cursor"))
    }

    /// How many rows came.
    async fn fetch(&mut self, table: &Published, encoder: &ChangeEncoder) -> Result<u64, SnapshotError> {
        let failed = SnapshotError::query("fetch rows");
        let stream = match self.client.simple_query_raw(&query::fetch(FETCH_ROWS)).await {
            Ok(stream) => stream,
            Err(error) => return Err(failed(error)),
        };
        let mut stream = pin!(stream);
        let (mut fetched, mut malformed) = (0, Vec::new());
        while let Some(message) = stream.try_next().await.map_err(SnapshotError::query("fetch rows"))? {
            let SimpleQueryMessage::Row(values) = message else { continue };
            self.rows += 1;
            if self.rows > self.settings.rows_max {
                return Err(SnapshotError::TooLarge { limit: self.settings.rows_max });
            }
            let row = Row::from_text((0..values.len()).map(|column| values.get(column)))?;
            malformed.extend(self.parts.push(encoder, &row).await?);
            fetched += 1;
        }
        if let Some(value) = malformed.first() {
            let (relation, values) = (&table.relation, malformed.len());
            tracing::warn!(%relation, %value, values, "values are left out of a snapshot");
        }
        Ok(fetched)
    }
}

/// Those of the route's columns that are asked for.
fn shown<'a>(table: &'a Published, route: &RouteSpec, wanted: Option<&[String]>) -> HashSet<&'a str> {
    let is_in =
        |columns: Option<&[String]>, name: &str| columns.is_none_or(|it| it.iter().any(|column| column == name));
    let names = table.relation.columns.iter().map(|column| &*column.name);
    names.filter(|name| is_in(route.columns.as_deref(), name) && is_in(wanted, name)).collect()
}

impl<'t> Taken<'t> {
    /// A selection with what its route's `where` is for those who asked.
    fn new(table: &Published, selection: Selection<'t>, request: &SnapshotRequest) -> Result<Self, SnapshotError> {
        let rules = &request.routes.rules(selection.route).filter;
        let closed = request.rules.iter().find(|(route, _)| *route == selection.route).map(|(_, rule)| rule);
        let scope = Scope::of_relation(&table.relation);
        let conditions = rules.iter().chain(closed).map(|rule| rule.compile(&scope).map_err(SnapshotError::Rule));
        Ok(Self { selection, conditions: conditions.collect::<Result<_, _>>()? })
    }
}

/// What those who asked want to see of a table.
fn filter(table: &Published, request: &SnapshotRequest) -> Result<Option<Predicate>, SnapshotError> {
    let compile = |filter: &Filter| filter.compile(&Scope::of_relation(&table.relation)).map_err(SnapshotError::Filter);
    request.filter.as_ref().map(compile).transpose()
}

/// The event of a part without rows.
fn first_event(request: &SnapshotRequest, tables: &[Published]) -> Arc<str> {
    let routes = &request.routes;
    let plans: Vec<Plan> = tables.iter().map(|table| routes.plan(&table.relation)).collect();
    let feeding = routes.routes_for_topic(&request.topic, plans.iter());
    let first = feeding.first().and_then(|route| routes.route(*route));
    first.map_or_else(|| Arc::from(DEFAULT_EVENT), |route| Arc::clone(&route.event))
}

/// Where no route says another one.
const DEFAULT_EVENT: &str = "new_updates";
