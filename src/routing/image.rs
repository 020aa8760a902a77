//! A row as it is before a change, and as it is after it.

use crate::change::{Datum, OldRow, Operation, Relation, Row};

use super::predicate::Values;

/// A row on one side of a change, with what is known of it: topics are made of it, and predicates read it.
///
/// A value that was not sent is [`Datum::Unchanged`], never a null.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    relation: &'a Relation,
    row: &'a Row,
    /// The row's other columns say nothing: they were not sent, or are those of the other side.
    identity_only: bool,
    /// Has the values that the update left untouched.
    old: Option<&'a OldRow>,
}

impl<'a> Image<'a> {
    /// The row before the change. Where an update has no old row its identity is unchanged, and nothing else is known.
    #[must_use]
    pub const fn before(relation: &'a Relation, operation: &'a Operation) -> Option<Self> {
        let (row, identity_only) = match operation {
            Operation::Update { old: Some(OldRow::Full(row)), .. } | Operation::Delete { old: OldRow::Full(row) } => {
                (row, false)
            }
            Operation::Update { old: Some(OldRow::Key(row)), .. } | Operation::Delete { old: OldRow::Key(row) } => {
                (row, true)
            }
            Operation::Update { old: None, new } => (new, true),
            Operation::Insert { .. } | Operation::Truncate => return None,
        };
        Some(Self { relation, row, identity_only, old: None })
    }

    /// The row after the change.
    #[must_use]
    pub const fn after(relation: &'a Relation, operation: &'a Operation) -> Option<Self> {
        let (row, old) = match operation {
            Operation::Insert { new } => (new, None),
            Operation::Update { old, new } => (new, old.as_ref()),
            Operation::Delete { .. } | Operation::Truncate => return None,
        };
        Some(Self { relation, row, identity_only: false, old })
    }

    fn is_identity(&self, index: usize) -> bool {
        self.relation.columns.get(index).is_some_and(|column| column.identity)
    }

    fn old_value(&self, index: usize) -> Option<Datum<'a>> {
        match self.old? {
            OldRow::Full(row) => row.get(index),
            OldRow::Key(row) => row.get(index).filter(|_| self.is_identity(index)),
        }
    }
}

impl Values for Image<'_> {
    fn value(&self, index: usize) -> Option<Datum<'_>> {
        if self.identity_only && !self.is_identity(index) {
            return Some(Datum::Unchanged);
        }
        match self.row.get(index)? {
            Datum::Unchanged => Some(self.old_value(index).unwrap_or(Datum::Unchanged)),
            datum => Some(datum),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::change::{Column, RelationId, ReplicaIdentity, TypeCatalogue};

    /// `key`, which is the identity, and `note`.
    fn relation() -> Relation {
        let types = TypeCatalogue::builtin();
        let column = |name: &str, identity| Column { name: name.into(), identity, ty: types.get(25).unwrap() };
        Relation {
            id: RelationId(1),
            schema: "public".into(),
            name: "notes".into(),
            replica_identity: ReplicaIdentity::Default,
            columns: vec![column("key", true), column("note", false)],
        }
    }

    /// `u` was not sent, `n` is null.
    fn row(values: [&str; 2]) -> Row {
        let mut data = vec![0, 2];
        for value in values {
            match value {
                "u" | "n" => data.extend(value.as_bytes()),
                text => {
                    data.push(b't');
                    data.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                    data.extend(text.as_bytes());
                }
            }
        }
        Row::parse(&mut Bytes::from(data)).unwrap()
    }

    fn values(image: Option<Image<'_>>) -> Vec<String> {
        let Some(image) = image else { return Vec::new() };
        let text = |index| match image.value(index) {
            Some(Datum::Text(text)) => String::from_utf8(text.to_vec()).unwrap(),
            Some(Datum::Null) => "n".to_owned(),
            Some(Datum::Unchanged) => "u".to_owned(),
            None => "none".to_owned(),
        };
        (0..3).map(text).collect()
    }

    #[test]
    fn what_was_not_sent_is_never_a_null() {
        let relation = relation();
        let images = |operation: &Operation| {
            (values(Image::before(&relation, operation)), values(Image::after(&relation, operation)))
        };
        let check = |operation, before: &[&str], after: &[&str]| {
            let (actual_before, actual_after) = images(&operation);
            assert_eq!(
                (actual_before, actual_after),
                (before.iter().map(|it| (*it).to_owned()).collect(), after.iter().map(|it| (*it).to_owned()).collect()),
                "{operation:?}"
            );
        };
        let update = |old, new| Operation::Update { old, new: row(new) };
        check(Operation::Insert { new: row(["1", "n"]) }, &[], &["1", "n", "none"]);
        check(update(None, ["1", "a"]), &["1", "u", "u"], &["1", "a", "none"]);
        check(update(None, ["1", "u"]), &["1", "u", "u"], &["1", "u", "none"]);
        check(update(Some(OldRow::Key(row(["1", "n"]))), ["2", "u"]), &["1", "u", "u"], &["2", "u", "none"]);
        check(update(Some(OldRow::Key(row(["1", "n"]))), ["u", "a"]), &["1", "u", "u"], &["1", "a", "none"]);
        check(update(Some(OldRow::Full(row(["1", "n"]))), ["2", "u"]), &["1", "n", "none"], &["2", "n", "none"]);
        check(Operation::Delete { old: OldRow::Key(row(["1", "n"])) }, &["1", "u", "u"], &[]);
        check(Operation::Delete { old: OldRow::Full(row(["1", "n"])) }, &["1", "n", "none"], &[]);
        check(Operation::Truncate, &[], &[]);
    }
}
