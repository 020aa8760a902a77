//! Join params of a fed topic, and the replies to a join.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::hub::{self, Subscribed};
use crate::phoenix::{Body, Refusal};

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
}

/// The cursor of a join's payload, if it has one. Whatever is no object has no params.
///
/// # Errors
/// A param that would have to be ignored: that would send what was not asked for, or leave out what was.
pub(super) fn cursor(payload: &str) -> Result<Option<String>, Refusal> {
    let params: Params<'_> = serde_json::from_str(payload).unwrap_or_default();
    let wanted = [
        ("filter", params.filter.is_some()),
        ("columns", params.columns.is_some()),
        ("ops", params.ops.is_some()),
        ("snapshot", params.snapshot.is_some_and(|snapshot| snapshot == serde_json::Value::Bool(true))),
    ];
    if let Some((name, _)) = wanted.iter().find(|(_, wanted)| *wanted) {
        return Err(Refusal::InvalidFilter {
            message: format!("join param `{name}` is not available in this version"),
        });
    }
    // A cursor that is no string is none that we gave out: the hub refuses it as such.
    Ok(params.cursor.map(|raw| serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned())))
}

/// The ok reply's response.
pub(super) fn response(subscribed: &Subscribed) -> Body {
    let resumed = subscribed.resume_after.is_some();
    Body::Json(format!(r#"{{"cursor":"{}","resumed":{resumed}}}"#, subscribed.cursor).into())
}

/// The hub's refusal as the client is told it.
pub(super) const fn refusal(refusal: hub::Refusal) -> Refusal {
    match refusal {
        hub::Refusal::UnmatchedTopic => Refusal::UnmatchedTopic,
        hub::Refusal::ResyncRequired => Refusal::ResyncRequired,
        hub::Refusal::NotReady => Refusal::NotReady,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_cursor() {
        for payload in
            ["{}", "null", "[]", "1", "\"x\"", r#"{"cursor":null}"#, r#"{"token":"t"}"#, r#"{"snapshot":false}"#]
        {
            assert_eq!(cursor(payload), Ok(None), "{payload}");
        }
        assert_eq!(cursor(r#"{"cursor":"abc"}"#), Ok(Some("abc".to_owned())));
        assert_eq!(cursor(r#"{"cursor":7}"#), Ok(Some("7".to_owned())));
    }

    #[test]
    fn refuses_what_it_would_have_to_ignore() {
        for payload in [r#"{"filter":"a=eq.1"}"#, r#"{"columns":["a"]}"#, r#"{"ops":[]}"#, r#"{"snapshot":true}"#] {
            assert!(matches!(cursor(payload), Err(Refusal::InvalidFilter { .. })), "{payload}");
        }
    }
}
