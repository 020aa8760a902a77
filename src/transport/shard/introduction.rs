//! How a member wants to be seen on topics with presence: what it says in its join and in `presence_update`.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::hub::Introduction;
use crate::phoenix::{Payload, Refusal};

/// Entries of a meta that clients are not to write: they tell metas apart by them.
const RESERVED: [&str; 2] = ["phx_ref", "phx_ref_prev"];

#[derive(Debug, Default, Deserialize)]
struct Params<'a> {
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    meta: Option<&'a RawValue>,
}

/// Reads join param `presence`.
///
/// # Errors
/// It is something else than `{"key": "…", "meta": {…}}`, or its meta is longer than `meta_max` bytes.
pub(super) fn read(presence: Option<&RawValue>, meta_max: usize) -> Result<Introduction, Refusal> {
    let Some(presence) = presence else { return Ok(Introduction::default()) };
    let Params { key, meta } = params(presence)?;
    let key = key.map(|key| match serde_json::from_str(key.get()) {
        Ok(Value::String(text)) => Ok(text),
        Ok(Value::Number(number)) => Ok(number.to_string()),
        _ => invalid("`presence.key` is a string"),
    });
    Ok(Introduction { key: key.transpose()?, meta: meta.map_or(Ok(Bytes::new()), |meta| entries(meta, meta_max))? })
}

/// Reads the payload of `presence_update`: the new meta's entries.
///
/// # Errors
/// It is something else than `{"meta": {…}}`, or that is longer than `meta_max` bytes.
pub(super) fn update(payload: &Payload, meta_max: usize) -> Result<Bytes, Refusal> {
    let Payload::Json(payload) = payload else { return invalid(UPDATE) };
    match params(payload)?.meta {
        Some(meta) => entries(meta, meta_max),
        None => invalid(UPDATE),
    }
}

const UPDATE: &str = "write `{\"meta\": {…}}`";

fn params(json: &RawValue) -> Result<Params<'_>, Refusal> {
    // A list would be taken for a struct's fields in their order.
    let object = json.get().starts_with('{').then(|| serde_json::from_str(json.get()).ok()).flatten();
    object.map_or_else(|| invalid("`presence` is an object, as in {\"key\": \"…\", \"meta\": {…}}"), Ok)
}

fn entries(meta: &RawValue, length_max: usize) -> Result<Bytes, Refusal> {
    if meta.get().len() > length_max {
        return invalid(&format!("a meta has at most {length_max} bytes"));
    }
    match serde_json::from_str::<Entries>(meta.get()) {
        Ok(Entries(text)) => Ok(Bytes::from(text)),
        Err(_) => invalid("`meta` is an object"),
    }
}

fn invalid<T>(message: &str) -> Result<T, Refusal> {
    Err(Refusal::InvalidPresence { message: message.to_owned() })
}

/// An object's entries as JSON text, values as they came, without those that clients are not to write.
struct Entries(String);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut out = String::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if RESERVED.contains(&name.as_str()) {
                continue;
            }
            if !out.is_empty() {
                out.push(',');
            }
            out.push_str(&Value::from(name).to_string());
            out.push(':');
            out.push_str(value.get());
        }
        Ok(Entries(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn introduced(text: &str) -> Result<(Option<String>, String), Refusal> {
        let introduction = read(Some(&raw(text)), 60)?;
        Ok((introduction.key, String::from_utf8(introduction.meta.to_vec()).unwrap()))
    }

    #[test]
    fn an_introduction_has_a_key_and_a_meta() {
        let expect = |text: &str, key: Option<&str>, meta: &str| {
            assert_eq!(introduced(text), Ok((key.map(str::to_owned), meta.to_owned())), "{text}");
        };
        expect("{}", None, "");
        expect(r#"{"key":null,"meta":null}"#, None, "");
        expect(r#"{"key":"u\u0031","meta":{}}"#, Some("u1"), "");
        expect(r#"{"key":7}"#, Some("7"), "");
        expect(r#"{"meta":{"a" : 1.50, "b":{"c":[1, 2]}}}"#, None, r#""a":1.50,"b":{"c":[1, 2]}"#);
        expect(r#"{"meta":{"phx_ref":"x","a":"é","phx_\u0072ef":"y"}}"#, None, r#""a":"é""#);
        assert_eq!(read(None, 0), Ok(Introduction::default()));
    }

    #[test]
    fn what_is_no_introduction_is_refused() {
        for text in ["true", "[]", "[\"key\"]", r#"{"key":{}}"#, r#"{"key":true}"#, r#"{"meta":[]}"#, r#"{"meta":1}"#] {
            assert!(matches!(introduced(text), Err(Refusal::InvalidPresence { .. })), "{text}");
        }
        let long = format!(r#"{{"meta":{{"a":"{}"}}}}"#, "x".repeat(60));
        assert!(matches!(introduced(&long), Err(Refusal::InvalidPresence { .. })));
        for payload in [Payload::Json(raw("{}")), Payload::Json(raw("7")), Payload::Binary(Bytes::new())] {
            assert!(matches!(update(&payload, 40), Err(Refusal::InvalidPresence { .. })), "{payload:?}");
        }
        assert_eq!(update(&Payload::Json(raw(r#"{"meta":{"a":1}}"#)), 40), Ok(Bytes::from_static(br#""a":1"#)));
    }
}
