//! One request, from its payload to its outcome.

use serde_json::value::RawValue;
use tokio_postgres::{Client, Row};

use crate::routing::{Op, WritableRoute};

use super::failure::Failure;
use super::identity::Identity;
use super::outcome::{Conflicting, Outcome, Refusal};
use super::plan::Write;
use super::request::{Change, Mutation};
use super::rule::Rule;
use super::session::{Claim, MutationKey, Session};
use super::statement::{self, object};
use super::table::Target;
use super::task::{Request, Settings};

/// How often a write is tried whose row is as the client had seen it whenever it is looked at.
const LOOKS_MAX: usize = 3;
/// How often a mutation's id is asked for that is taken and then is not.
const CLAIMS_MAX: usize = 3;
/// How much of rows that others have written goes into one reply, in bytes: as much as a message's part may have.
const CURRENT_BYTES_MAX: usize = 512 * 1024;

/// A request that has been read, and those routes that its topic can be written by.
pub(super) struct Job<'r> {
    settings: &'r Settings,
    request: &'r Request,
    mutation: Mutation,
    /// Each with what the topic says of its rows.
    routes: Vec<Feeding<'r>>,
}

/// A route, and the columns that the topic says of its rows.
type Feeding<'r> = (&'r WritableRoute, Vec<(String, String)>);

impl<'r> Job<'r> {
    /// # Errors
    /// What it came to already, without a look at the database.
    pub(super) fn new(
        settings: &'r Settings,
        routes: &'r [WritableRoute],
        request: &'r Request,
    ) -> Result<Self, Outcome> {
        let routes: Vec<Feeding<'r>> = routes.iter().filter_map(|route| feeding(route, &request.topic)).collect();
        if routes.is_empty() {
            return Err(Outcome::NotWritable);
        }
        let mutation = Mutation::parse(request.payload.get(), settings.limits.changes)?;
        Ok(Self { settings, request, mutation, routes })
    }

    /// Carries it out on a connection that is in no transaction. After an error the connection may be in one.
    pub(super) async fn run(&self, client: &Client) -> Result<Outcome, Failure> {
        let session = Session { client };
        let limits = &self.settings.limits;
        let places = self.places()?;
        let identity = self.identity(&places)?;
        session.begin(limits.timeout, limits.lock_timeout).await?;
        let mut targets = Vec::new();
        for (route, topic) in &self.routes {
            targets.push(self.target(&session, route, topic.clone()).await?);
        }
        let mut writes = Vec::new();
        for (number, (change, place)) in self.mutation.changes.iter().zip(places).enumerate() {
            let Some(target) = targets.get(place) else { continue };
            writes.push((target, Write::new(number, change, target)?));
        }
        let key = MutationKey { scope: &identity.scope, topic: &self.request.topic, id: &self.mutation.id };
        let xid = match claim(&session, key).await? {
            Claim::Taken { xid } => xid,
            Claim::Done { xid } => {
                session.roll_back().await?;
                return Ok(Outcome::Done(session.committed(xid).await));
            }
            Claim::Refused(outcome) => {
                session.roll_back().await?;
                return Ok(outcome);
            }
            Claim::Gone => return Err(Refusal::Busy.into()),
        };
        session.become_writer(&identity, self.settings.identified).await?;
        match write_all(&session, &writes).await {
            Ok(()) => {
                session.commit().await?;
                Ok(Outcome::Done(session.committed(xid).await))
            }
            Err(Failure::Refused(refusal)) if refusal.is_outcome() => {
                session.undo_writes().await?;
                session.remember(key, &refusal.to_json()).await?;
                session.commit().await?;
                Ok(refusal.into())
            }
            Err(failure) => Err(failure),
        }
    }

    /// For each change the place of its route.
    fn places(&self) -> Result<Vec<usize>, Refusal> {
        let place = |(number, change): (usize, &Change)| match (&change.table, &*self.routes) {
            (None, [_]) => Ok(0),
            (None, _) => Err(Refusal::invalid(format!(
                "change {number}: several tables can be written here: say which, as in \"table\": \"notes\""
            ))),
            (Some(name), routes) => {
                let place = routes.iter().position(|(route, _)| is_called(route, name));
                place.ok_or_else(|| Refusal::invalid(format!("change {number}: no table `{name}` can be written here")))
            }
        };
        self.mutation.changes.iter().enumerate().map(place).collect()
    }

    /// One identity for all changes: where their routes stand in with different roles, that of the first is meant.
    fn identity(&self, places: &[usize]) -> Result<Identity, Refusal> {
        let route = places.first().and_then(|place| self.routes.get(*place));
        let (route, _) = route.ok_or_else(|| Refusal::invalid("`changes` is empty".to_owned()))?;
        Identity::new(&self.request.claims, &route.policy, self.settings.identified)
    }

    async fn target(
        &self,
        session: &Session<'_>,
        route: &'r WritableRoute,
        topic: Vec<(String, String)>,
    ) -> Result<Target<'r>, Failure> {
        let no_names = || Failure::Odd(format!("the route of `{}` takes several tables", route.route.table));
        let (schema, name) = route.route.table.names().ok_or_else(no_names)?;
        let table = session.describe(&schema, &name, &self.settings.publication).await?;
        if table.columns.is_empty() {
            return Err(Failure::Odd(format!("the table `{}` does not exist", route.route.table)));
        }
        let rule = match &route.route.filter {
            Some(rule) => {
                let types = session.types(Rule::types(rule, &table)).await?;
                Some(Rule::new(rule, &self.request.claims, &table, &types)?)
            }
            None => None,
        };
        Ok(Target { route, table, topic, rule })
    }
}

/// What a topic says of a route's rows; none where the route does not feed it.
fn feeding<'r>(route: &'r WritableRoute, topic: &str) -> Option<Feeding<'r>> {
    let template = &route.route.topic;
    let values = template.captures(topic)?;
    let columns = template.columns().map(str::to_owned).zip(values.into_iter().map(str::to_owned));
    Some((route, columns.collect()))
}

fn is_called(route: &WritableRoute, name: &str) -> bool {
    let names = route.route.table.names();
    names.is_some_and(|(schema, table)| name == table || name.strip_prefix(&*schema) == Some(&format!(".{table}")))
}

async fn claim(session: &Session<'_>, key: MutationKey<'_>) -> Result<Claim, Failure> {
    for _ in 1..CLAIMS_MAX {
        match session.claim(key).await? {
            // Another attempt has given it up.
            Claim::Gone => {}
            claim => return Ok(claim),
        }
    }
    session.claim(key).await
}

/// Every change in order, or why none of them.
async fn write_all(session: &Session<'_>, writes: &[(&Target<'_>, Write<'_>)]) -> Result<(), Failure> {
    let (mut conflicts, mut room) = (Vec::new(), CURRENT_BYTES_MAX);
    for (target, write) in writes {
        if let Some(conflict) = write_one(session, target, write, &mut room).await? {
            // The others are looked at all the same: the client is told of all conflicts at once.
            conflicts.push(conflict);
        }
    }
    if !conflicts.is_empty() {
        return Err(Refusal::Conflict { conflicts }.into());
    }
    session.finish_writes().await
}

async fn write_one(
    session: &Session<'_>,
    target: &Target<'_>,
    write: &Write<'_>,
    room: &mut usize,
) -> Result<Option<Conflicting>, Failure> {
    let statement = statement::write(target, write);
    for _ in 0..LOOKS_MAX {
        let rows = session.change(write.number, &statement).await?;
        if let Some(row) = rows.first() {
            return match (boolean(row, 0)?, boolean(row, 1)?) {
                (true, true) => Ok(None),
                (false, _) => Err(Refusal::NotInTopic { change: write.number }.into()),
                // Whoever wrote it would not see it.
                (true, false) => Err(Refusal::NotPermitted { change: write.number.into(), message: None }.into()),
            };
        }
        if let Some(conflict) = look(session, target, write, room).await? {
            return Ok(Some(conflict));
        }
        // The row is as the client had seen it: it was not a moment ago, or the role may see it and not write it.
    }
    Err(Refusal::NotPermitted { change: write.number.into(), message: None }.into())
}

/// Why a write found nothing to write; none where there is no reason to be seen.
async fn look(
    session: &Session<'_>,
    target: &Target<'_>,
    write: &Write<'_>,
    room: &mut usize,
) -> Result<Option<Conflicting>, Failure> {
    if write.op == Op::Insert && !write.knows_key(target) {
        return Ok(None);
    }
    let names = statement::conditions(write);
    let rows = session.change(write.number, &statement::current(target, write)).await?;
    let Some(row) = rows.first() else {
        return if write.op != Op::Insert && names.is_empty() {
            Err(Refusal::NotFound { change: write.number, key: raw(object(&write.key))? }.into())
        } else {
            Ok(Some(conflicting(target, write, names, None)?))
        };
    };
    let mut columns = Vec::new();
    for (index, name) in names.iter().enumerate() {
        if !boolean(row, index + 1)? {
            columns.push(*name);
        }
    }
    if columns.is_empty() && write.op != Op::Insert {
        return Ok(None);
    }
    let current: Option<String> = row.try_get(0).map_err(Failure::during("read the row as it is"))?;
    let current = current.filter(|json| json.len() <= *room);
    *room -= current.as_ref().map_or(0, String::len);
    Ok(Some(conflicting(target, write, columns, current)?))
}

fn conflicting(
    target: &Target<'_>,
    write: &Write<'_>,
    columns: Vec<&str>,
    current: Option<String>,
) -> Result<Conflicting, Failure> {
    let columns = match write.op {
        // A new row meets another one by its key.
        Op::Insert => target.table.key().map(|column| column.name.clone()).collect(),
        _ => columns.into_iter().map(str::to_owned).collect(),
    };
    let (key, current) = (raw(object(&write.key))?, current.map(raw).transpose()?);
    Ok(Conflicting { key, columns, current })
}

fn boolean(row: &Row, index: usize) -> Result<bool, Failure> {
    row.try_get(index).map_err(Failure::during("read what a write has done"))
}

fn raw(json: String) -> Result<Box<RawValue>, Failure> {
    RawValue::from_string(json).map_err(|_| Failure::Odd("a row's JSON can't be read".to_owned()))
}
