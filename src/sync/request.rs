//! A `sync_request`'s payload: `{"id", "changes": [{"op", "table", "key", "record", "base"}]}`.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::routing::Op;

use super::outcome::Refusal;

/// The longest mutation id, in bytes: a UUID has 36, and every id stands in an index.
const ID_BYTES_MAX: usize = 128;

/// What a client asks for: all of it, or nothing, once.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mutation {
    pub(super) id: String,
    pub(super) changes: Vec<Change>,
}

/// One row's change, its values as they came.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    #[serde(deserialize_with = "op")]
    pub(super) op: Op,
    /// Which of the topic's tables, where several can be written: its name, with or without schema.
    #[serde(default)]
    pub(super) table: Option<String>,
    #[serde(default)]
    pub(super) key: Fields,
    #[serde(default)]
    pub(super) record: Fields,
    #[serde(default)]
    pub(super) base: Fields,
}

/// Columns with their JSON, in the order in which they came, each once.
#[derive(Default)]
pub(super) struct Fields(Vec<(String, Box<RawValue>)>);

impl Mutation {
    /// # Errors
    /// It is not what a payload must be; the message says why, and quotes nothing but the payload itself.
    pub(super) fn parse(payload: &str, changes_max: usize) -> Result<Self, Refusal> {
        let mutation: Self = serde_json::from_str(payload).map_err(|error| Refusal::invalid(error.to_string()))?;
        if !(1..=ID_BYTES_MAX).contains(&mutation.id.len()) || mutation.id.contains('\0') {
            return Err(Refusal::invalid(format!(
                "`id` is a text of 1 to {ID_BYTES_MAX} bytes that no other request has"
            )));
        }
        match mutation.changes.len() {
            0 => Err(Refusal::invalid("`changes` is empty".to_owned())),
            count if count > changes_max => {
                let message = format!("{count} changes are more than {changes_max}: send them in several requests");
                Err(Refusal::invalid(message))
            }
            _ => Ok(mutation),
        }
    }
}

impl Fields {
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

/// Of those that a client can ask for.
fn op<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Op, D::Error> {
    let name = String::deserialize(deserializer)?;
    match name.parse() {
        Ok(Op::Truncate) | Err(_) => Err(D::Error::custom("`op` is \"insert\", \"update\" or \"delete\"")),
        Ok(op) => Ok(op),
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of columns and values")
    }

    fn visit_none<E>(self) -> Result<Fields, E> {
        Ok(Fields::default())
    }

    fn visit_unit<E>(self) -> Result<Fields, E> {
        Ok(Fields::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            // Which one is meant would be a guess.
            if fields.get(&name).is_some() {
                return Err(A::Error::custom(format!("`{name}` stands there twice")));
            }
            fields.0.push((name, value));
        }
        Ok(fields)
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
    fn says_what_is_wrong() {
        for (payload, part) in [
            ("7", "invalid type"),
            (r#"{"changes":[]}"#, "missing field `id`"),
            (r#"{"id":"","changes":[{"op":"delete"}]}"#, "1 to 128 bytes"),
            (r#"{"id":7,"changes":[]}"#, "expected a string"),
            (r#"{"id":"\u0000","changes":[{"op":"delete"}]}"#, "1 to 128 bytes"),
            (r#"{"id":"m","changes":[]}"#, "`changes` is empty"),
            (r#"{"id":"m","changes":[{"op":"delete"},{"op":"delete"},{"op":"delete"}]}"#, "3 changes are more than 2"),
            (r#"{"id":"m","changes":[{"op":"truncate"}]}"#, "`op` is"),
            (r#"{"id":"m","changes":[{"op":"upsert"}]}"#, "`op` is"),
            (r#"{"id":"m","changes":[{"op":"insert","record":[1]}]}"#, "an object of columns"),
            (r#"{"id":"m","changes":[{"op":"insert","record":{"a":1,"a":2}}]}"#, "`a` stands there twice"),
            (r#"{"id":"m","changes":[{"op":"insert","rekord":{}}]}"#, "unknown field `rekord`"),
            (r#"{"id":"m","changes":[{"op":"insert"}],"more":1}"#, "unknown field `more`"),
        ] {
            let json = message(payload);
            assert!(json.starts_with(r#"{"reason":"invalid_request","message":"#) && json.contains(part), "{json}");
        }
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
