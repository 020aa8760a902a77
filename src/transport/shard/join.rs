//! Join params of a fed topic, and the replies to a join.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::auth::{Credential, Denied, TokenError};
use crate::hub::{self, Introduction, SnapshotFailure, Subscribed, View};
use crate::phoenix::{Body, Payload, Refusal};
use crate::routing::{Filter, Ops};

use super::introduction;

/// What a client may say when it joins; all of it is optional.
#[derive(Debug, Default, Deserialize)]
struct Params<'a> {
    #[serde(borrow, default)]
    cursor: Option<&'a RawValue>,
    #[serde(borrow, default)]
    filter: Option<&'a RawValue>,
    #[serde(borrow, default)]
    columns: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ops: Option<&'a RawValue>,
    #[serde(default)]
    snapshot: Option<serde_json::Value>,
    #[serde(borrow, default)]
    presence: Option<&'a RawValue>,
}

/// What a client asks for when it joins.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) cursor: Option<String>,
    pub(super) view: View,
    /// Begin with the current rows, unless the cursor can be resumed from.
    pub(super) snapshot: bool,
    /// How it is seen where the topic has presence.
    pub(super) introduction: Introduction,
}

/// Reads a join's payload. Whatever is no object has no params. `meta_max` is `limits.presence_meta`.
///
/// # Errors
/// A param that would have to be ignored: that would send what was not asked for, or leave out what was.
pub(super) fn request(payload: &str, meta_max: usize) -> Result<Request, Refusal> {
    // Only an object: a list would be taken for a struct's fields in their order.
    let object = payload.trim_start().starts_with('{').then_some(payload);
    let params: Params<'_> = object.and_then(|object| serde_json::from_str(object).ok()).unwrap_or_default();
    let snapshot = params.snapshot.map_or(Ok(false), snapshot)?;
    let view = View {
        columns: params.columns.map(columns).transpose()?,
        ops: ops(params.ops)?,
        filter: params.filter.map(filter).transpose()?.filter(|filter| !filter.is_empty()),
    };
    // A cursor that is no string is none that we gave out: the hub refuses it as such.
    let cursor = params.cursor.map(|raw| serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned()));
    let introduction = introduction::read(params.presence, meta_max)?;
    Ok(Request { cursor, view, snapshot, introduction })
}

/// The token that a join brings along, in place of the one that the connection has shown before. What is there and no
/// text is a token that no key has signed.
pub(super) fn token(payload: &str) -> Option<Credential> {
    #[derive(Deserialize)]
    struct Params {
        access_token: Option<serde_json::Value>,
    }
    let object = payload.trim_start().starts_with('{').then_some(payload);
    let Params { access_token } = object.and_then(|object| serde_json::from_str(object).ok())?;
    match access_token? {
        serde_json::Value::String(token) => Some(Credential::new(token)),
        _ => Some(Credential::new(String::new())),
    }
}

/// What a client is told of a token that is not taken.
pub(super) const fn denial(denied: Denied) -> Refusal {
    match denied {
        Denied::Token(TokenError::Expired) => Refusal::TokenExpired,
        Denied::NoKeys => Refusal::KeysUnavailable,
        Denied::Token(_) | Denied::Missing | Denied::Origin => Refusal::InvalidToken,
    }
}

/// Reads the payload of `fetch_updates`, whose keys are a join's: the view that it asks for, unless that is the join's.
///
/// # Errors
/// As with a join.
pub(super) fn fetch(payload: &Payload) -> Result<Option<View>, Refusal> {
    let Payload::Json(payload) = payload else { return Ok(None) };
    let params: Params<'_> = serde_json::from_str(payload.get()).unwrap_or_default();
    // Rows are of no operation.
    ops(params.ops)?;
    let columns = params.columns.map(columns).transpose()?;
    let filter = params.filter.map(filter).transpose()?;
    let is_own = columns.is_some() || filter.is_some();
    Ok(is_own.then_some(View { columns, filter, ops: Ops::ALL }))
}

fn snapshot(value: serde_json::Value) -> Result<bool, Refusal> {
    value.as_bool().map_or_else(|| invalid("`snapshot` is true or false".to_owned()), Ok)
}

fn columns(raw: &RawValue) -> Result<Box<[String]>, Refusal> {
    match serde_json::from_str::<Vec<String>>(raw.get()) {
        Ok(mut columns) if !columns.is_empty() => {
            // Who wants the same columns is sent the same bytes, however they are listed.
            columns.sort_unstable();
            columns.dedup();
            Ok(columns.into())
        }
        _ => invalid("`columns` is a list of column names, as in [\"id\", \"status\"]".to_owned()),
    }
}

fn filter(raw: &RawValue) -> Result<Filter, Refusal> {
    let Ok(text) = serde_json::from_str::<Cow<'_, str>>(raw.get()) else {
        return invalid("`filter` is a text, as in \"status=eq.open&total=gt.100\"".to_owned());
    };
    Filter::parse(&text).or_else(|error| invalid(error.to_string()))
}

fn ops(raw: Option<&RawValue>) -> Result<Ops, Refusal> {
    let Some(raw) = raw else { return Ok(Ops::ALL) };
    let Ok(names) = serde_json::from_str::<Vec<String>>(raw.get()) else {
        return invalid("`ops` is a list of operations, as in [\"insert\", \"update\"]".to_owned());
    };
    Ops::parse(names.iter().map(String::as_str)).or_else(|unknown| invalid(unknown.to_string()))
}

fn invalid<T>(message: String) -> Result<T, Refusal> {
    Err(Refusal::InvalidFilter { message })
}

/// The ok reply's response.
pub(super) fn response(subscribed: &Subscribed) -> Body {
    let cursor = subscribed.cursor.as_ref().map_or_else(|| "null".to_owned(), |cursor| format!("\"{cursor}\""));
    Body::Json(format!(r#"{{"cursor":{cursor},"resumed":{}}}"#, subscribed.resumed).into())
}

/// What a client is told of a snapshot that came to nothing.
pub(super) const fn failure(failure: SnapshotFailure) -> Refusal {
    match failure {
        SnapshotFailure::TooLarge => Refusal::SnapshotTooLarge,
        SnapshotFailure::Failed => Refusal::SnapshotFailed,
    }
}

/// The hub's refusal as the client is told it.
pub(super) fn refusal(refusal: &hub::Refusal) -> Refusal {
    match refusal {
        hub::Refusal::UnmatchedTopic => Refusal::UnmatchedTopic,
        hub::Refusal::UnknownColumn(column) => {
            Refusal::InvalidFilter { message: format!("this topic has no column `{column}`") }
        }
        hub::Refusal::InvalidFilter { message } => Refusal::InvalidFilter { message: message.clone() },
        hub::Refusal::InvalidClaim { message } => Refusal::InvalidClaim { message: message.clone() },
        hub::Refusal::Unauthorized => Refusal::Unauthorized,
        hub::Refusal::ResyncRequired => Refusal::ResyncRequired,
        hub::Refusal::NotReady => Refusal::NotReady,
        hub::Refusal::EventNotAllowed => Refusal::EventNotAllowed,
        hub::Refusal::InvalidPresence(message) => Refusal::InvalidPresence { message: message.clone() },
        hub::Refusal::PresenceFull => Refusal::PresenceFull,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Op;

    fn request(payload: &str) -> Result<Request, Refusal> {
        super::request(payload, 100)
    }

    #[test]
    fn reads_the_cursor() {
        for payload in
            ["{}", "null", "[]", "[1]", "1", "\"x\"", r#"{"cursor":null}"#, r#"{"token":"t"}"#, r#"{"snapshot":false}"#]
        {
            assert_eq!(request(payload), Ok(Request::default()), "{payload}");
        }
        let cursor = |payload| request(payload).map(|request| request.cursor);
        assert_eq!(cursor(r#"{"cursor":"abc"}"#), Ok(Some("abc".to_owned())));
        assert_eq!(cursor(r#"{"cursor":7}"#), Ok(Some("7".to_owned())));
    }

    #[test]
    fn reads_the_view() {
        let view = |payload| request(payload).map(|request| request.view);
        let columns = ["a".to_owned(), "b".to_owned()];
        let ops = [Op::Insert, Op::Delete].into_iter().collect();
        let expected = View { columns: Some(columns.into()), ops, filter: None };
        assert_eq!(view(r#"{"columns":["b","a","b"],"ops":["delete","insert"]}"#), Ok(expected));
        for nothing in [r#"{"columns":null,"ops":null,"filter":null}"#, r#"{"filter":""}"#] {
            assert_eq!(view(nothing), Ok(View::default()));
        }
        let filter = Some(Filter::parse("status=eq.open&total=gt.100").unwrap());
        assert_eq!(
            view(r#"{"filter":"total=gt.100\u0026status=eq.open"}"#),
            Ok(View { filter, ..View::default() }),
            "in any order"
        );
    }

    #[test]
    fn refuses_what_it_would_have_to_ignore() {
        for payload in [
            r#"{"filter":7}"#,
            r#"{"filter":"a"}"#,
            r#"{"snapshot":1}"#,
            r#"{"columns":[]}"#,
            r#"{"columns":"a"}"#,
            r#"{"columns":[1]}"#,
            r#"{"ops":"insert"}"#,
            r#"{"ops":["upsert"]}"#,
        ] {
            assert!(matches!(request(payload), Err(Refusal::InvalidFilter { .. })), "{payload}");
        }
    }

    #[test]
    fn reads_whether_a_snapshot_is_wanted() {
        for (payload, wanted) in [("{}", false), (r#"{"snapshot":true}"#, true), (r#"{"snapshot":null}"#, false)] {
            assert_eq!(request(payload).map(|request| request.snapshot), Ok(wanted), "{payload}");
        }
    }

    #[test]
    fn a_fetch_has_the_view_of_its_join_or_one_of_its_own() {
        let json = |text: &str| Payload::Json(RawValue::from_string(text.to_owned()).unwrap());
        for payload in ["{}", "null", "7", r#"{"cursor":"x","snapshot":true}"#, r#"{"ops":[]}"#, r#"{"filter":null}"#] {
            assert_eq!(fetch(&json(payload)), Ok(None), "{payload}");
        }
        let id = Some(["id".to_owned()].into());
        assert_eq!(fetch(&json(r#"{"columns":["id"]}"#)), Ok(Some(View { columns: id, ..View::default() })));
        let filter = |text| Some(View { filter: Some(Filter::parse(text).unwrap()), ..View::default() });
        assert_eq!(fetch(&json(r#"{"filter":"id=eq.1"}"#)), Ok(filter("id=eq.1")));
        assert_eq!(fetch(&json(r#"{"filter":""}"#)), Ok(filter("")), "all rows");
        for payload in [r#"{"columns":[]}"#, r#"{"filter":"id"}"#, r#"{"filter":7}"#, r#"{"ops":["upsert"]}"#] {
            assert!(matches!(fetch(&json(payload)), Err(Refusal::InvalidFilter { .. })), "{payload}");
        }
    }
}
