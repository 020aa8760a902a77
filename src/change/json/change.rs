//! One change as clients see it: an element of `updates`.

use std::sync::Arc;

use super::escape::write_quoted;
use super::value::{ValueError, write_value};
use super::{Int8Format, write_string};
use crate::change::{Datum, OldRow, Operation, Relation, Row, Type};

/// What the configuration says of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    pub int8: Int8Format,
    /// A value whose text is longer is left out and named in `omitted`.
    pub value_limit_bytes: usize,
}

/// What the change is to those who see it: an update can move a row into or out of what they watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shown {
    AsIs,
    /// An update after which the row belongs here: an insert of the new row.
    Entering,
    /// An update after which the row no longer belongs here: a delete of the old row.
    Leaving,
}

/// A value that Postgres sent and that its type does not write, for the operator: the client finds its column in
/// `omitted`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column `{column}`: {error}")]
pub struct MalformedValue {
    pub column: Arc<str>,
    pub error: ValueError,
}

/// Writes the changes of one relation with a selection of its columns. Everything that does not depend on the row is
/// encoded when it is made, once for each (relation, columns).
#[derive(Debug, Clone)]
pub struct ChangeEncoder {
    /// `,"schema":"public","table":"orders"`
    table: Box<[u8]>,
    /// One for each column of the relation, in order; `None` for those that were not selected.
    columns: Box<[Option<ColumnEncoder>]>,
    options: EncodeOptions,
}

#[derive(Debug, Clone)]
struct ColumnEncoder {
    /// `"status":`
    key: Box<[u8]>,
    name: Arc<str>,
    ty: Arc<Type>,
    identity: bool,
}

/// What the element is made of, once it is clear who sees what.
struct Element<'a> {
    op: &'static str,
    /// The new row, and the old one for values that the new one lacks.
    record: Option<(&'a Row, Option<&'a OldRow>)>,
    old_record: Option<OldRecord<'a>>,
}

struct OldRecord<'a> {
    row: &'a Row,
    /// The row's other columns are no old values.
    identity_only: bool,
}

/// The columns that are not shown, and why.
#[derive(Default)]
struct Absent<'a> {
    unchanged: Vec<&'a ColumnEncoder>,
    omitted: Vec<&'a ColumnEncoder>,
    malformed: Vec<MalformedValue>,
}

impl ChangeEncoder {
    /// For the columns named, or for all. They come out in the relation's order, as in `row_to_json`; names that the
    /// relation does not have are passed over.
    #[must_use]
    pub fn new(relation: &Arc<Relation>, columns: Option<&[impl AsRef<str>]>, options: EncodeOptions) -> Self {
        let mut table = b",\"schema\":".to_vec();
        write_string(&mut table, &relation.schema);
        table.extend_from_slice(b",\"table\":");
        write_string(&mut table, &relation.name);
        let is_selected =
            |name: &str| columns.is_none_or(|columns| columns.iter().any(|column| column.as_ref() == name));
        let encoder = |column: &crate::change::Column| {
            let mut key = Vec::new();
            write_string(&mut key, &column.name);
            key.push(b':');
            let (name, ty) = (Arc::clone(&column.name), Arc::clone(&column.ty));
            ColumnEncoder { key: key.into(), name, ty, identity: column.identity }
        };
        let columns = relation.columns.iter().map(|column| is_selected(&column.name).then(|| encoder(column)));
        Self { table: table.into(), columns: columns.collect(), options }
    }

    /// Appends one element of `updates`, compact, with its keys in the order `op`, `schema`, `table`, `record`,
    /// `old_record`, `unchanged`, `omitted`; keys without content are absent. `omitted` is about `record`, and about
    /// `old_record` only where there is no other.
    ///
    /// A change is never lost for one of its values: a column is named in `unchanged` where Postgres did not send its
    /// value, and in `omitted` where the value is too long or malformed. The malformed ones are returned too, so that
    /// someone who logs can tell: a composite type was altered, for example, and has to be looked up again.
    pub fn encode(&self, out: &mut Vec<u8>, operation: &Operation, shown: Shown) -> Vec<MalformedValue> {
        self.encode_element(out, &Element::new(operation, shown), self)
    }

    /// As [`ChangeEncoder::encode`], of a row that was seen with the columns of `before` until this change: its old
    /// values are shown as that shows them.
    pub fn encode_between(
        &self,
        out: &mut Vec<u8>,
        operation: &Operation,
        shown: Shown,
        before: &Self,
    ) -> Vec<MalformedValue> {
        self.encode_element(out, &Element::new(operation, shown), before)
    }

    /// Appends a row that was there when its subscriber came: op `snapshot`, otherwise as [`ChangeEncoder::encode`].
    pub fn encode_snapshot(&self, out: &mut Vec<u8>, row: &Row) -> Vec<MalformedValue> {
        self.encode_element(out, &Element { op: "snapshot", record: Some((row, None)), old_record: None }, self)
    }

    fn encode_element(&self, out: &mut Vec<u8>, element: &Element<'_>, before: &Self) -> Vec<MalformedValue> {
        let mut absent = Absent::default();
        out.extend_from_slice(b"{\"op\":\"");
        out.extend_from_slice(element.op.as_bytes());
        out.push(b'"');
        out.extend_from_slice(&self.table);
        if let Some((row, old)) = element.record {
            out.extend_from_slice(b",\"record\":{");
            self.write_record(out, row, old, &mut absent);
            out.push(b'}');
        }
        if let Some(old) = &element.old_record {
            out.extend_from_slice(b",\"old_record\":{");
            let mut absent_before = Absent::default();
            before.write_old_record(out, old, &mut absent_before);
            out.push(b'}');
            absent.malformed.append(&mut absent_before.malformed);
            if element.record.is_none() {
                absent.omitted = absent_before.omitted;
            }
        }
        write_names(out, b",\"unchanged\":[", &absent.unchanged);
        write_names(out, b",\"omitted\":[", &absent.omitted);
        out.push(b'}');
        absent.malformed
    }

    fn write_record<'a>(&'a self, out: &mut Vec<u8>, row: &Row, old: Option<&OldRow>, absent: &mut Absent<'a>) {
        let mut old_values = old.map(|old| old.row().iter());
        let old_is_full = matches!(old, Some(OldRow::Full(_)));
        let mut values = row.iter();
        let start = out.len();
        for column in &self.columns {
            let value = values.next();
            let old_value = old_values.as_mut().and_then(Iterator::next);
            let Some(column) = column else { continue };
            let value = match value {
                // A key holds values of the identity's columns only; its nulls mean nothing elsewhere.
                Some(Datum::Unchanged) if old_is_full || column.identity => old_value.or(value),
                _ => value,
            };
            match value {
                Some(Datum::Unchanged) => absent.unchanged.push(column),
                _ => self.write_member(out, start, column, value, absent),
            }
        }
    }

    fn write_old_record<'a>(&'a self, out: &mut Vec<u8>, old: &OldRecord<'_>, absent: &mut Absent<'a>) {
        let mut values = old.row.iter();
        let start = out.len();
        for column in &self.columns {
            let value = values.next();
            let shown = column.as_ref().filter(|column| column.identity || !old.identity_only);
            if let Some(column) = shown {
                self.write_member(out, start, column, value, absent);
            }
        }
    }

    /// Appends `"column":value`, or nothing. `start` is where the object's first member begins.
    fn write_member<'a>(
        &self,
        out: &mut Vec<u8>,
        start: usize,
        column: &'a ColumnEncoder,
        value: Option<Datum<'_>>,
        absent: &mut Absent<'a>,
    ) {
        let before = out.len();
        if before > start {
            out.push(b',');
        }
        out.extend_from_slice(&column.key);
        let written = match value {
            Some(Datum::Null) => {
                out.extend_from_slice(b"null");
                Ok(true)
            }
            Some(Datum::Text(text)) if text.len() <= self.options.value_limit_bytes => {
                write_value(out, &column.ty, text, self.options.int8).map(|()| true)
            }
            // Too long; or in an old row without its value, or past the row's end: nothing is known of it.
            Some(Datum::Text(_) | Datum::Unchanged) | None => Ok(false),
        };
        if written != Ok(true) {
            out.truncate(before);
            absent.omit(column);
        }
        if let Err(error) = written {
            absent.malformed.push(MalformedValue { column: Arc::clone(&column.name), error });
        }
    }
}

impl<'a> Element<'a> {
    fn new(operation: &'a Operation, shown: Shown) -> Self {
        match (operation, shown) {
            (Operation::Insert { new }, _) => Self { op: "insert", record: Some((new, None)), old_record: None },
            (Operation::Update { old, new }, Shown::AsIs) => {
                Self { op: "update", record: Some((new, old.as_ref())), old_record: old.as_ref().map(OldRecord::new) }
            }
            (Operation::Update { old, new }, Shown::Entering) => {
                Self { op: "insert", record: Some((new, old.as_ref())), old_record: None }
            }
            (Operation::Update { old, new }, Shown::Leaving) => {
                // Without an old row the identity did not change: the new row has it.
                let identity = OldRecord { row: new, identity_only: true };
                Self { op: "delete", record: None, old_record: Some(old.as_ref().map_or(identity, OldRecord::new)) }
            }
            (Operation::Delete { old }, _) => {
                Self { op: "delete", record: None, old_record: Some(OldRecord::new(old)) }
            }
            (Operation::Truncate, _) => Self { op: "truncate", record: None, old_record: None },
        }
    }
}

impl<'a> OldRecord<'a> {
    const fn new(old: &'a OldRow) -> Self {
        Self { row: old.row(), identity_only: matches!(old, OldRow::Key(_)) }
    }
}

impl<'a> Absent<'a> {
    /// Once, even if it is absent from both records.
    fn omit(&mut self, column: &'a ColumnEncoder) {
        if !self.omitted.iter().any(|omitted| std::ptr::eq(*omitted, column)) {
            self.omitted.push(column);
        }
    }
}

/// A member with a list of column names; `opening` begins with the comma and ends with the bracket.
fn write_names(out: &mut Vec<u8>, opening: &[u8], columns: &[&ColumnEncoder]) {
    if columns.is_empty() {
        return;
    }
    out.extend_from_slice(opening);
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_quoted(out, column.name.as_bytes());
    }
    out.push(b']');
}
