//! A `sync_request`'s payload: `{"id", "changes": [{"op", "table", "key", "record", "base"}]}`.
//!
//! It is taken apart by hand, so that what is wrong with it is said in words of ours, which name the place.

use std::collections::HashSet;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::routing::Op;

use super::outcome::Refusal;

/// The longest mutation id, in bytes: a UUID has 36, and every id stands in an index.
const ID_BYTES_MAX: usize = 128;
/// The keys of a payload, and of a change.
const PAYLOAD: [&str; 2] = ["id", "changes"];
const CHANGE: [&str; 5] = ["op", "table", "key", "record", "base"];
/// What is told of a key that nobody knows; a longer name is cut.
const NAME_CHARACTERS_MAX: usize = 64;

/// What a client asks for: all of it, or nothing, once.
#[derive(Debug)]
pub(super) struct Mutation {
    pub(super) id: String,
    pub(super) changes: Vec<Change>,
}

/// One row's change, its values as they came.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) op: Op,
    /// Which of the topic's tables, where several can be written: its name, with or without schema.
    pub(super) table: Option<String>,
    pub(super) key: Fields,
    pub(super) record: Fields,
    pub(super) base: Fields,
}

/// Columns with their JSON, in the order in which they came, each once.
#[derive(Default)]
pub(super) struct Fields(Vec<(String, Box<RawValue>)>);

impl Mutation {
    /// # Errors
    /// It is not what a payload must be; the message says where and why, and quotes nothing but its own names.
    pub(super) fn parse(payload: &str, changes_max: usize) -> Result<Self, Refusal> {
        Self::read(payload, changes_max).map_err(Refusal::invalid)
    }

    fn read(payload: &str, changes_max: usize) -> Result<Self, String> {
        let fields = Fields::read("the payload", payload)?;
        fields.allow("", &PAYLOAD)?;
        let id = fields
            .text("", "id")?
            .ok_or("`id` is missing: it is a text of your making, the same when you ask again")?;
        if !(1..=ID_BYTES_MAX).contains(&id.len()) || id.contains('\0') {
            return Err(format!("`id` is a text of 1 to {ID_BYTES_MAX} bytes that no other request has"));
        }
        let list = fields.get("changes").ok_or("`changes` is missing: it is a list of objects")?;
        let list: Vec<&RawValue> =
            serde_json::from_str(list.get()).map_err(|_| "`changes` is a list of objects".to_owned())?;
        match list.len() {
            0 => Err("`changes` is empty".to_owned()),
            count if count > changes_max => {
                Err(format!("{count} changes are more than {changes_max}: send them in several requests"))
            }
            _ => {
                let changes = list.iter().enumerate().map(|(number, change)| Change::read(number, change.get()));
                Ok(Self { id, changes: changes.collect::<Result<_, _>>()? })
            }
        }
    }
}

impl Change {
    fn read(number: usize, text: &str) -> Result<Self, String> {
        let place = format!("changes[{number}].");
        let mut fields = Fields::read(&format!("`changes[{number}]`"), text)?;
        fields.allow(&place, &CHANGE)?;
        let op = fields.text(&place, "op")?.and_then(|name| name.parse().ok());
        let op = op.filter(|op| *op != Op::Truncate);
        let op = op.ok_or_else(|| format!("`{place}op` is \"insert\", \"update\" or \"delete\""))?;
        let table = fields.text(&place, "table")?;
        let mut columns = |name: &str| match fields.take(name) {
            Some(value) => Fields::read(&format!("`{place}{name}`"), value.get()),
            None => Ok(Fields::default()),
        };
        Ok(Self { op, table, key: columns("key")?, record: columns("record")?, base: columns("base")? })
    }
}

impl Fields {
    /// `what` is how the object is called in what is said of it.
    fn read(what: &str, text: &str) -> Result<Self, String> {
        if !text.trim_start().starts_with('{') {
            return Err(format!("{what} is an object of names and values"));
        }
        let fields: Self = serde_json::from_str(text).map_err(|_| format!("{what} has a name that is no text"))?;
        let mut names = HashSet::new();
        // Which one is meant would be a guess.
        if let Some((name, _)) = fields.iter().find(|(name, _)| !names.insert(*name)) {
            return Err(format!("`{}` stands twice in {what}", shortened(name)));
        }
        Ok(fields)
    }

    /// Refuses every name that is none of these.
    fn allow(&self, place: &str, known: &[&str]) -> Result<(), String> {
        match self.iter().find(|(name, _)| !known.contains(name)) {
            Some((name, _)) => {
                Err(format!("`{place}{}` is unknown: the names here are {}", shortened(name), known.join(", ")))
            }
            None => Ok(()),
        }
    }

    /// None where it is not there, or null.
    fn text(&self, place: &str, name: &str) -> Result<Option<String>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        serde_json::from_str(value.get()).map_err(|_| format!("`{place}{name}` is a text"))
    }

    /// The same of an object's fields: null stands for none.
    fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        let place = self.0.iter().position(|(own, _)| own == name)?;
        Some(self.0.swap_remove(place).1).filter(|value| value.get() != "null")
    }

    pub(super) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), &**value))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Fields {
    // Values are somebody's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

fn shortened(name: &str) -> String {
    let mut characters = name.chars();
    let start: String = characters.by_ref().take(NAME_CHARACTERS_MAX).collect();
    if characters.next().is_some() { format!("{start}…") } else { start }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(payload: &str) -> String {
        match Mutation::parse(payload, 2) {
            Err(refusal) => refusal.to_json(),
            Ok(mutation) => panic!("{mutation:?}"),
        }
    }

    #[test]
    fn reads_changes_with_their_values_as_they_came() {
        let payload = r#"{"id":"m1","changes":[
            {"op":"update","key":{"id":12345678901234567890123},"record":{"a":1.10,"ä":null},"base":null},
            {"op":"delete","table":"notes","key":{"id":1}}]}"#;
        let mutation = Mutation::parse(payload, 2).unwrap();
        assert_eq!((mutation.id.as_str(), mutation.changes.len()), ("m1", 2));
        let change = &mutation.changes[0];
        assert_eq!(change.op, Op::Update);
        assert_eq!(change.key.get("id").unwrap().get(), "12345678901234567890123");
        let record: Vec<(&str, &str)> = change.record.iter().map(|(name, value)| (name, value.get())).collect();
        assert_eq!(record, [("a", "1.10"), ("ä", "null")]);
        assert!(change.base.is_empty());
        assert_eq!(mutation.changes[1].table.as_deref(), Some("notes"));
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let id = "`id` is a text of 1 to 128 bytes that no other request has";
        let op = r#"`changes[0].op` is "insert", "update" or "delete""#;
        for (payload, message) in [
            ("7", "the payload is an object of names and values"),
            ("[]", "the payload is an object of names and values"),
            (r#"{"id":"m","id":"n","changes":[]}"#, "`id` stands twice in the payload"),
            (r#"{"id":"m","changes":[{"op":"insert"}],"more":1}"#, "`more` is unknown: the names here are id, changes"),
            (r#"{"changes":[]}"#, "`id` is missing: it is a text of your making, the same when you ask again"),
            (
                r#"{"id":null,"changes":[]}"#,
                "`id` is missing: it is a text of your making, the same when you ask again",
            ),
            (r#"{"id":7,"changes":[]}"#, "`id` is a text"),
            (r#"{"id":"","changes":[{"op":"delete"}]}"#, id),
            (r#"{"id":"\u0000","changes":[{"op":"delete"}]}"#, id),
            (r#"{"id":"m"}"#, "`changes` is missing: it is a list of objects"),
            (r#"{"id":"m","changes":{}}"#, "`changes` is a list of objects"),
            (r#"{"id":"m","changes":null}"#, "`changes` is a list of objects"),
            (r#"{"id":"m","changes":[]}"#, "`changes` is empty"),
            (
                r#"{"id":"m","changes":[{"op":"delete"},{"op":"delete"},{"op":"delete"}]}"#,
                "3 changes are more than 2: send them in several requests",
            ),
            (r#"{"id":"m","changes":[{"op":"delete"},null]}"#, "`changes[1]` is an object of names and values"),
            (
                r#"{"id":"m","changes":[{"op":"insert","rekord":{}}]}"#,
                "`changes[0].rekord` is unknown: the names here are op, table, key, record, base",
            ),
            (r#"{"id":"m","changes":[{}]}"#, op),
            (r#"{"id":"m","changes":[{"op":"truncate"}]}"#, op),
            (r#"{"id":"m","changes":[{"op":"upsert"}]}"#, op),
            (r#"{"id":"m","changes":[{"op":1}]}"#, "`changes[0].op` is a text"),
            (r#"{"id":"m","changes":[{"op":"insert","table":["a"]}]}"#, "`changes[0].table` is a text"),
            (
                r#"{"id":"m","changes":[{"op":"insert","record":[1]}]}"#,
                "`changes[0].record` is an object of names and values",
            ),
            (
                r#"{"id":"m","changes":[{"op":"delete"},{"op":"insert","record":{"a":1,"a":2}}]}"#,
                "`a` stands twice in `changes[1].record`",
            ),
        ] {
            let expected = serde_json::json!({"reason": "invalid_request", "message": message});
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&self::message(payload)).unwrap(),
                expected,
                "{payload}"
            );
        }
        let long = message(&format!(r#"{{"{}":1}}"#, "ä".repeat(100)));
        assert!(long.contains(&format!("`{}…` is unknown", "ä".repeat(64))), "{long}");
    }

    #[test]
    fn values_are_not_in_debug_output() {
        let payload = r#"{"id":"m","changes":[{"op":"insert","record":{"a":"hunter2"}}]}"#;
        assert!(!format!("{:?}", Mutation::parse(payload, 1).unwrap()).contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_mutation_or_a_refusal(text in "[\\[\\]{}:,\"a1 ]{0,40}|.{0,40}") {
            let _judged = Mutation::parse(&text, 3).is_ok();
        }
    }
}
