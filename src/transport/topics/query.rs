//! What a URL asks of a topic: a join's params, as a query string has them.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::phoenix::Refusal;
use crate::phoenix::connect::Params;

/// Names that are no columns. A column of such a name can be asked for inside `filter`.
const RESERVED: [&str; 8] = ["token", "vsn", "cursor", "lastEventId", "columns", "ops", "filter", "snapshot"];

/// What a stream joins with.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) params: Box<RawValue>,
    /// The cursor is one that a browser shows by itself when it comes back.
    pub(super) comes_back: bool,
}

/// The params for a topic's events. `query` is the URL's, which `params` are decoded from; `last_event_id` is the
/// header's.
pub(super) fn events(query: &str, params: &Params, last_event_id: Option<&str>) -> Result<Asked, Refusal> {
    let mut join = view(query, params)?;
    let shown = last_event_id.or_else(|| params.text("lastEventId")).filter(|id| !id.is_empty());
    if let Some(cursor) = shown.or_else(|| params.text("cursor")) {
        join.insert("cursor".to_owned(), cursor.into());
    }
    if let Some(snapshot) = params.text("snapshot") {
        join.insert("snapshot".to_owned(), flag("snapshot", snapshot)?.into());
    }
    Ok(Asked { params: raw(join)?, comes_back: shown.is_some() })
}

/// The params for a topic's rows.
pub(super) fn rows(query: &str, params: &Params) -> Result<Asked, Refusal> {
    if params.get("cursor").is_some() || params.get("lastEventId").is_some() {
        return invalid("a cursor is continued at /topics/{topic}/events; this gives the current rows".to_owned());
    }
    if params.text("snapshot").is_some_and(|snapshot| snapshot != "true") {
        return invalid("this is a snapshot: leave `snapshot` out".to_owned());
    }
    let mut join = view(query, params)?;
    join.insert("snapshot".to_owned(), true.into());
    Ok(Asked { params: raw(join)?, comes_back: false })
}

/// Which rows, and what of them.
fn view(query: &str, params: &Params) -> Result<Map<String, Value>, Refusal> {
    let mut join = Map::new();
    for name in ["columns", "ops"] {
        if let Some(list) = params.text(name) {
            join.insert(name.to_owned(), list.split(',').map(str::trim).collect());
        }
    }
    let mut conditions: Vec<&str> = params.text("filter").into_iter().collect();
    for segment in query.split('&').filter(|segment| !segment.is_empty()) {
        let name = segment.split('=').next().unwrap_or_default();
        if !RESERVED.contains(&name) {
            // As it stands: what the escapes in it mean is the filter's to say.
            conditions.push(segment);
        }
    }
    if !conditions.is_empty() {
        join.insert("filter".to_owned(), conditions.join("&").into());
    }
    Ok(join)
}

fn flag(name: &str, text: &str) -> Result<bool, Refusal> {
    text.parse().or_else(|_| invalid(format!("`{name}` is true or false")))
}

fn raw(join: Map<String, Value>) -> Result<Box<RawValue>, Refusal> {
    RawValue::from_string(Value::Object(join).to_string()).or_else(|error| invalid(error.to_string()))
}

fn invalid<T>(message: String) -> Result<T, Refusal> {
    Err(Refusal::InvalidFilter { message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(query: &str) -> Result<Asked, Refusal> {
        super::rows(query, &Params::parse(query).unwrap())
    }

    fn events(query: &str, last_event_id: Option<&str>) -> Result<Asked, Refusal> {
        super::events(query, &Params::parse(query).unwrap(), last_event_id)
    }

    fn params(asked: Result<Asked, Refusal>) -> Result<Value, Refusal> {
        asked.map(|asked| serde_json::from_str(asked.params.get()).unwrap())
    }

    #[test]
    fn a_url_asks_what_a_join_asks() {
        let query =
            "token=secret&columns=id,%20status&ops=insert&status=eq.open&filter=a%3Deq.1%26b%3Dgt.2&t=like.%25x";
        let expected = serde_json::json!({
            "snapshot": true, "columns": ["id", "status"], "ops": ["insert"],
            "filter": "a=eq.1&b=gt.2&status=eq.open&t=like.%25x",
        });
        assert_eq!(params(rows(query)), Ok(expected));
        assert_eq!(params(events("", None)), Ok(serde_json::json!({})));
        assert_eq!(params(events("snapshot=true&", None)), Ok(serde_json::json!({"snapshot": true})));
    }

    #[test]
    fn the_cursor_that_a_browser_shows_is_the_newest() {
        let cursor = |query, header| {
            let asked = events(query, header).unwrap();
            let params: Value = serde_json::from_str(asked.params.get()).unwrap();
            (params["cursor"].as_str().map(str::to_owned), asked.comes_back)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(cursor("cursor=a&lastEventId=b", Some("c")), (some("c"), true));
        assert_eq!(cursor("cursor=a&lastEventId=b", Some("")), (some("a"), false));
        assert_eq!(cursor("cursor=a&lastEventId=b", None), (some("b"), true));
        assert_eq!(cursor("cursor=a", None), (some("a"), false));
        assert_eq!(cursor("", None), (None, false));
    }

    #[test]
    fn refuses_what_it_would_have_to_ignore() {
        for asked in [
            rows("cursor=x"),
            rows("lastEventId=x"),
            rows("snapshot=false"),
            events("snapshot=1", None),
            events("snapshot", None),
        ] {
            assert!(matches!(asked, Err(Refusal::InvalidFilter { .. })), "{asked:?}");
        }
    }
}
