//! Those who read the rows for snapshots, as the hub knows them: each with a transaction of its own on the model
//! Postgres, sending parts as they are asked for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fastrand::Rng;
use walcast::change::json::{ChangeEncoder, EncodeOptions};
use walcast::change::{Lsn, Operation, Relation, Row, Visibility};
use walcast::hub::{
    LEAD_PARTS, SnapshotCommand, SnapshotEvent, SnapshotFailure, SnapshotId, SnapshotPart, SnapshotRequest,
};
use walcast::routing::{Image, Int8Format, PlanProblem, Predicate, Scope, Selection, Truth};

use crate::postgres::{Moment, Postgres};
use crate::table::{Row as ModelRow, Table, Value};

/// As many at a time.
const CONCURRENT: usize = 2;

#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    waiting: VecDeque<SnapshotRequest>,
    reading: Vec<Reading>,
    /// On their way here, and back.
    commands: VecDeque<SnapshotCommand>,
    events: VecDeque<SnapshotEvent>,
}

#[derive(Debug)]
struct Reading {
    id: SnapshotId,
    tables: Vec<usize>,
    parts: VecDeque<SnapshotPart>,
    /// How many of them may go out.
    wanted: usize,
    visibility: Visibility,
    /// None where the position is read once all rows are: it can be anything after the snapshot.
    until: Option<Lsn>,
}

impl Snapshots {
    pub(crate) fn order(&mut self, commands: Vec<SnapshotCommand>) {
        self.commands.extend(commands);
    }

    /// Takes up to so many of the hub's orders.
    pub(crate) fn take_orders(&mut self, count: usize, postgres: &mut Postgres) -> bool {
        let count = count.min(self.commands.len());
        for command in self.commands.drain(..count).collect::<Vec<_>>() {
            match command {
                SnapshotCommand::Begin(request) => self.waiting.push_back(request),
                SnapshotCommand::More(id) => {
                    if let Some(reading) = self.reading.iter_mut().find(|reading| reading.id == id) {
                        reading.wanted += 1;
                    }
                }
                SnapshotCommand::End(id) => self.end(id, postgres),
            }
        }
        count > 0
    }

    fn end(&mut self, id: SnapshotId, postgres: &mut Postgres) {
        self.waiting.retain(|request| request.id != id);
        if let Some(index) = self.reading.iter().position(|reading| reading.id == id) {
            postgres.stop_reading(&self.reading.swap_remove(index).tables);
        }
    }

    /// The next one begins its transaction, if there is one and nobody holds its tables.
    pub(crate) fn begin(&mut self, postgres: &mut Postgres, random: &mut Rng) -> bool {
        let room = self.reading.len() < CONCURRENT;
        let Some(request) = self.waiting.front().filter(|_| room) else { return false };
        let tables = tables_of(request, &postgres.tables);
        let Some(moment) = postgres.begin_reading(&tables) else { return false };
        let until = random.bool().then(|| Lsn::new(postgres.lsn));
        let Some(parts) = parts(request, &moment, &tables, random.usize(1..6)) else {
            postgres.stop_reading(&tables);
            let failure = SnapshotFailure::Failed;
            self.events.push_back(SnapshotEvent::Failed { id: request.id, failure });
            self.waiting.pop_front();
            return true;
        };
        let visibility = moment.visibility;
        self.reading.push(Reading { id: request.id, tables, parts, wanted: LEAD_PARTS, visibility, until });
        self.waiting.pop_front();
        true
    }

    /// Nobody can begin, because somebody holds the tables.
    pub(crate) fn is_kept_waiting(&self) -> bool {
        !self.waiting.is_empty() && self.reading.len() < CONCURRENT
    }

    /// One of them sends its next part, or fails at it.
    pub(crate) fn send(&mut self, fails: bool, postgres: &mut Postgres, random: &mut Rng) -> bool {
        let ready = |reading: &&mut Reading| reading.wanted > 0 || reading.parts.len() == 1;
        let mut ready: Vec<&mut Reading> = self.reading.iter_mut().filter(ready).collect();
        if ready.is_empty() {
            return false;
        }
        let chosen = random.usize(..ready.len());
        let reading = &mut ready[chosen];
        let id = reading.id;
        let part = reading.parts.pop_front().unwrap();
        if fails {
            self.events.push_back(SnapshotEvent::Failed { id, failure: SnapshotFailure::Failed });
            self.end(id, postgres);
        } else if reading.parts.is_empty() {
            let until = reading.until.unwrap_or(Lsn::new(postgres.lsn));
            let visibility = reading.visibility.clone();
            self.events.push_back(SnapshotEvent::Done { id, last: part, visibility, until });
            self.end(id, postgres);
        } else {
            reading.wanted -= 1;
            self.events.push_back(SnapshotEvent::Part { id, part });
        }
        true
    }

    pub(crate) fn next_event(&mut self) -> Option<SnapshotEvent> {
        self.events.pop_front()
    }

    /// The database has crashed, and with it everybody's transaction.
    pub(crate) fn database_gone(&mut self) {
        let failed = |reading: Reading| SnapshotEvent::Failed { id: reading.id, failure: SnapshotFailure::Failed };
        self.events.extend(self.reading.drain(..).map(failed));
    }

    /// The gateway has crashed.
    pub(crate) fn gateway_gone(&mut self, postgres: &mut Postgres) {
        self.reading.drain(..).for_each(|reading| postgres.stop_reading(&reading.tables));
        *self = Self::default();
    }
}

/// Those with rows in the topic, by their place.
fn tables_of(request: &SnapshotRequest, tables: &[Table]) -> Vec<usize> {
    let is_read = |table: &Table| {
        let plan = request.routes.plan(&table.relation());
        !plan.problems().is_empty() || !plan.selections(&request.routes, request.topic.as_str()).is_empty()
    };
    let places = tables.iter().enumerate().filter(|(_, table)| is_read(table));
    places.map(|(place, _)| place).collect()
}

/// The topic's rows in parts of up to so many, and at least one; none where the tables don't fit the routes.
fn parts(request: &SnapshotRequest, moment: &Moment, tables: &[usize], size: usize) -> Option<VecDeque<SnapshotPart>> {
    let topic = request.topic.as_str();
    let mut parts = VecDeque::new();
    for (table, rows) in tables.iter().map(|table| (&moment.tables[*table], &moment.rows[*table])) {
        let relation = table.relation();
        let plan = request.routes.plan(&relation);
        let misfits = |problem: &PlanProblem| request.routes.route(problem.route()).unwrap().topic.may_give(topic);
        if plan.problems().iter().any(misfits) {
            return None;
        }
        let mut taken = vec![false; rows.len()];
        for selection in plan.selections(&request.routes, topic) {
            let chosen = chosen(request, &relation, &selection, rows, &mut taken);
            let route = request.routes.route(selection.route).unwrap();
            let columns = shown(&relation, route.columns.as_deref(), request.columns.as_deref());
            let options = EncodeOptions { int8: Int8Format::Number, value_limit_bytes: 1 << 20 };
            let encoder = ChangeEncoder::new(&relation, Some(&columns), options);
            for rows in chosen.chunks(size) {
                let mut updates = Vec::new();
                for row in rows {
                    if !updates.is_empty() {
                        updates.push(b',');
                    }
                    assert!(encoder.encode_snapshot(&mut updates, row).is_empty());
                }
                parts.push_back(SnapshotPart { event: Arc::clone(&route.event), updates: updates.into() });
            }
        }
    }
    if parts.is_empty() {
        parts.push_back(SnapshotPart { event: "new_updates".into(), updates: Vec::new().into() });
    }
    Some(parts)
}

/// The rows that a selection has and none before it, as the query would find them.
fn chosen(
    request: &SnapshotRequest,
    relation: &Relation,
    selection: &Selection<'_>,
    rows: &BTreeMap<String, ModelRow>,
    taken: &mut [bool],
) -> Vec<Row> {
    let scope = Scope::of_relation(relation);
    let of_route = request.routes.rules(selection.route).filter.iter();
    let closed = request.rules.iter().filter(|(route, _)| *route == selection.route).map(|(_, rule)| rule);
    let rules: Vec<Predicate> = of_route.chain(closed).map(|rule| rule.compile(&scope).unwrap()).collect();
    let filter = request.filter.as_ref().map(|filter| filter.compile(&scope).unwrap());
    let mut chosen = Vec::new();
    for (row, taken) in rows.values().zip(taken).filter(|(_, taken)| !**taken) {
        let operation = Operation::Insert { new: encoded(row) };
        let image = Image::after(relation, &operation).unwrap();
        let is_true = |predicate: &Predicate| predicate.evaluate(&image) == Ok(Truth::True);
        let is_here = |(index, value): &(usize, &str)| row[*index] == Value::Text((*value).to_owned());
        *taken = selection.columns.iter().all(is_here) && rules.iter().all(is_true);
        if *taken && filter.iter().all(is_true) {
            chosen.push(encoded(row));
        }
    }
    chosen
}

fn shown<'r>(relation: &'r Relation, route: Option<&[String]>, wanted: Option<&[String]>) -> Vec<&'r str> {
    let is_in = |set: Option<&[String]>, name: &str| set.is_none_or(|set| set.iter().any(|column| column == name));
    let names = relation.columns.iter().map(|column| &*column.name);
    names.filter(|name| is_in(route, name) && is_in(wanted, name)).collect()
}

fn encoded(row: &[Value]) -> Row {
    let text = |value| match value as &Value {
        Value::Text(text) => Some(text.as_str()),
        Value::Null | Value::Unchanged => None,
    };
    Row::from_text(row.iter().map(text)).unwrap()
}
