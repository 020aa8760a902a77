//! From a client's change to what is to be written, or why not.

use serde_json::value::RawValue;

use crate::routing::{Conflict, Op};

use super::outcome::Refusal;
use super::request::{Change, Fields};
use super::table::{Column, Target};

/// A column and the client's value for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'c> {
    pub(super) column: &'c Column,
    pub(super) value: &'c RawValue,
}

/// A change that the policy lets through.
#[derive(Debug)]
pub(super) struct Write<'c> {
    /// The change's place in the request.
    pub(super) number: usize,
    pub(super) op: Op,
    /// The row's primary key, as far as the topic does not say it. Of an insert: what is known of it.
    pub(super) key: Vec<Field<'c>>,
    /// What is set; of an insert, the key too.
    pub(super) set: Vec<Field<'c>>,
    pub(super) condition: Condition<'c>,
}

/// When the row is as the client had seen it.
#[derive(Debug)]
pub(super) enum Condition<'c> {
    /// Always.
    None,
    /// These columns have these values.
    Columns(Vec<Field<'c>>),
    /// It has this version.
    Version(Field<'c>),
    /// It was last written at this time or before.
    Until(Field<'c>),
}

impl<'c> Write<'c> {
    /// # Errors
    /// The request is not what it must be, or the route's policy leaves it out.
    pub(super) fn new(number: usize, change: &'c Change, target: &'c Target<'_>) -> Result<Self, Refusal> {
        let planner = Planner { number, change, target };
        if !target.route.policy.ops.contains(change.op) {
            return Err(planner.not_writable(format!("clients may not {} here", change.op), Vec::new()));
        }
        match change.op {
            Op::Insert => planner.insert(),
            Op::Update => planner.update(),
            Op::Delete | Op::Truncate => planner.delete(),
        }
    }

    /// The whole primary key is known.
    pub(super) fn knows_key(&self, target: &Target<'_>) -> bool {
        let is_known = |column: &Column| {
            target.is_of_topic(column) || self.key.iter().any(|field| field.column.name == column.name)
        };
        target.table.key().all(is_known)
    }
}

struct Planner<'c, 'r> {
    number: usize,
    change: &'c Change,
    target: &'c Target<'r>,
}

impl<'c> Planner<'c, '_> {
    fn insert(&self) -> Result<Write<'c>, Refusal> {
        let Change { key, record, base, .. } = self.change;
        if !base.is_empty() {
            return Err(self.invalid("an insert has no `base`"));
        }
        let mut set = self.fields(record, "record")?;
        for field in self.fields(key, "key")? {
            match record.get(&field.column.name) {
                None => set.push(field),
                Some(value) if value.get() == field.value.get() => {}
                Some(_) => {
                    let message = format!("`key` and `record` have different values of `{}`", field.column.name);
                    return Err(self.invalid(&message));
                }
            }
        }
        let stamp = self.stamp(false)?;
        let may_set = |field: &&Field<'_>| {
            let column = field.column;
            let is_stamp = stamp.is_some_and(|stamp| stamp.column.name == column.name);
            let is_new_key = column.key && !column.generated;
            self.target.lets_set(column) || is_new_key || self.target.is_of_topic(column) || is_stamp
        };
        self.all_may_be_set(&set, may_set)?;
        let key = set.iter().filter(|field| field.column.key).copied().collect();
        Ok(Write { number: self.number, op: Op::Insert, key, set, condition: Condition::None })
    }

    fn update(&self) -> Result<Write<'c>, Refusal> {
        let key = self.key()?;
        let Change { record, base, .. } = self.change;
        let stamp = self.stamp(true)?;
        let is_stamp = |column: &Column| stamp.is_some_and(|stamp| stamp.column.name == column.name);
        let seen = |name: &str| base.get(name).or_else(|| self.change.key.get(name)).map(RawValue::get);
        let mut set = self.fields(record, "record")?;
        // What the client had seen and sends as it was is no change.
        set.retain(|field| is_stamp(field.column) || seen(&field.column.name) != Some(field.value.get()));
        self.all_may_be_set(&set, |field| self.target.lets_set(field.column) || is_stamp(field.column))?;
        let condition = match &self.target.route.policy.conflict {
            Conflict::Overwrite => Condition::None,
            Conflict::LastWriteWins { .. } => stamp.map_or(Condition::None, Condition::Until),
            Conflict::Row { version } => Condition::Version(self.version(version)?),
            Conflict::Columns => Condition::Columns(self.bases_of(&set)?),
        };
        Ok(Write { number: self.number, op: Op::Update, key, set, condition })
    }

    fn delete(&self) -> Result<Write<'c>, Refusal> {
        let key = self.key()?;
        let stamp = self.stamp(true)?;
        let has_other = self.change.record.iter().any(|(name, _)| stamp.is_none_or(|stamp| stamp.column.name != name));
        if has_other {
            return Err(self.invalid("a delete has no `record`"));
        }
        let condition = match &self.target.route.policy.conflict {
            Conflict::Overwrite => Condition::None,
            Conflict::LastWriteWins { .. } => stamp.map_or(Condition::None, Condition::Until),
            Conflict::Row { version } => Condition::Version(self.version(version)?),
            Conflict::Columns if self.change.base.is_empty() => Condition::None,
            Conflict::Columns => Condition::Columns(self.seen(&self.change.base)?),
        };
        Ok(Write { number: self.number, op: Op::Delete, key, set: Vec::new(), condition })
    }

    /// The primary key, and nothing else; what the topic says of it may be left out.
    fn key(&self) -> Result<Vec<Field<'c>>, Refusal> {
        let fields = self.fields(&self.change.key, "key")?;
        if let Some(other) = fields.iter().find(|field| !field.column.key) {
            let message = format!("`key` has `{}`, which is not of the table's primary key", other.column.name);
            return Err(self.invalid(&message));
        }
        let mut columns = self.target.table.key();
        let is_missing =
            |column: &&Column| self.change.key.get(&column.name).is_none() && !self.target.is_of_topic(column);
        match columns.find(is_missing) {
            Some(column) => Err(self.invalid(&format!("`key` has no `{}`", column.name))),
            None if self.target.table.key().next().is_none() => Err(self.invalid("the table has no primary key")),
            None => Ok(fields),
        }
    }

    /// What the client had seen of each column that it changes.
    fn bases_of(&self, set: &[Field<'c>]) -> Result<Vec<Field<'c>>, Refusal> {
        let base = |field: &Field<'c>| match self.change.base.get(&field.column.name) {
            Some(value) => Ok(Field { column: field.column, value }),
            None => Err(self.invalid(&format!("`base` has no `{}`: the value before the change", field.column.name))),
        };
        set.iter().map(base).collect()
    }

    /// Columns of `base`, all of them such as clients can see: to be told whether a guess is right is to see.
    fn seen(&self, fields: &'c Fields) -> Result<Vec<Field<'c>>, Refusal> {
        let fields = self.fields(fields, "base")?;
        match fields.iter().find(|field| !self.target.shows(field.column)) {
            Some(hidden) => Err(self.unknown("base", &hidden.column.name)),
            None => Ok(fields),
        }
    }

    fn version(&self, name: &str) -> Result<Field<'c>, Refusal> {
        let column = self.target.table.column(name);
        let field = column.and_then(|column| Some(Field { column, value: self.change.base.get(name)? }));
        field.ok_or_else(|| self.invalid(&format!("`base` has no `{name}`: the version that was changed")))
    }

    /// The time that the client says of its write, where such times decide.
    fn stamp(&self, required: bool) -> Result<Option<Field<'c>>, Refusal> {
        let Conflict::LastWriteWins { timestamp } = &self.target.route.policy.conflict else { return Ok(None) };
        let value = self.change.record.get(timestamp).filter(|value| value.get() != "null");
        match self.target.table.column(timestamp).zip(value) {
            Some((column, value)) => Ok(Some(Field { column, value })),
            None if required => Err(self.invalid(&format!("`record` has no `{timestamp}`: the time of the change"))),
            None => Ok(None),
        }
    }

    fn fields(&self, fields: &'c Fields, place: &str) -> Result<Vec<Field<'c>>, Refusal> {
        let table = &self.target.table;
        let field = |(name, value)| match table.column(name) {
            Some(column) => Ok(Field { column, value }),
            None => Err(self.unknown(place, name)),
        };
        fields.iter().map(field).collect()
    }

    fn all_may_be_set(&self, set: &[Field<'_>], may: impl Fn(&&Field<'_>) -> bool) -> Result<(), Refusal> {
        let others = set.iter().filter(|field| !may(field));
        let columns: Vec<String> = others.map(|field| field.column.name.clone()).collect();
        if columns.is_empty() {
            return Ok(());
        }
        Err(self.not_writable("clients may not set these columns".to_owned(), columns))
    }

    fn unknown(&self, place: &str, name: &str) -> Refusal {
        self.invalid(&format!("`{place}` has `{name}`, which is no column of this topic"))
    }

    fn invalid(&self, message: &str) -> Refusal {
        Refusal::invalid(format!("change {}: {message}", self.number))
    }

    const fn not_writable(&self, message: String, columns: Vec<String>) -> Refusal {
        Refusal::NotWritable { change: self.number, message, columns }
    }
}
