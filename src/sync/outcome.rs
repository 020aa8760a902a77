//! What came of a request, as the client is told.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::change::Committed;

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, now or when it was first asked for.
    Done(Committed),
    /// No route lets clients write to the topic.
    NotWritable,
    /// Nothing was done; the error reply's JSON: `{"reason", …}`.
    Refused(Arc<str>),
}

/// Every `reason` with which a request is refused.
pub const REASONS: [&str; 12] = [
    "invalid_request",
    "not_writable",
    "conflict",
    "not_found",
    "not_in_topic",
    "constraint",
    "invalid_value",
    "not_permitted",
    "rejected",
    "busy",
    "timeout",
    "unavailable",
];

impl Outcome {
    /// A stable name for metrics: `done`, or the reason.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::NotWritable => "event not allowed",
            Self::Refused(json) => {
                let rest = json.strip_prefix(r#"{"reason":""#).unwrap_or_default();
                let reason = rest.split('"').next().unwrap_or_default();
                // Remembered outcomes may be of another version.
                REASONS.into_iter().find(|known| *known == reason).unwrap_or("other")
            }
        }
    }

    /// So much is waiting that this request was not taken.
    #[must_use]
    pub fn busy() -> Self {
        Refusal::Busy.into()
    }

    /// The payload is not JSON.
    #[must_use]
    pub fn binary() -> Self {
        Refusal::invalid("a binary payload is none".to_owned()).into()
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.to_json().into())
    }
}

/// Why nothing was done. Names of columns and constraints are told, values of rows only where the asker may see the
/// row.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub(super) enum Refusal {
    /// The payload is not what it must be.
    InvalidRequest { message: String },
    /// The route's policy leaves this out.
    NotWritable {
        change: usize,
        message: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        columns: Vec<String>,
    },
    /// Others have written what this would overwrite.
    Conflict { conflicts: Vec<Conflicting> },
    /// The topic has no such row, or none that the role may write.
    NotFound { change: usize, key: Box<RawValue> },
    /// The row would not belong to the topic.
    NotInTopic { change: usize },
    /// A constraint of the table is violated.
    Constraint {
        change: Option<usize>,
        code: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        constraint: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        column: Option<String>,
    },
    /// A value is none of its column's type.
    InvalidValue { change: Option<usize>, code: String },
    /// Row security, or a missing right, forbids it; or there is no role to do it as.
    NotPermitted {
        #[serde(skip_serializing_if = "Option::is_none")]
        change: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// Something of the database's own (a trigger, say) has refused it.
    Rejected { change: Option<usize>, code: String },
    /// Too much is going on.
    Busy,
    /// It took too long, or waited too long for others.
    Timeout,
    /// The database can't be reached, or can't do it now.
    Unavailable,
}

/// A row that others have written.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Conflicting {
    pub(super) key: Box<RawValue>,
    /// The columns that are not as the asker had seen them.
    pub(super) columns: Vec<String>,
    /// The row as the route lets it out; null where it is gone, may not be seen, or would make the reply too large.
    pub(super) current: Option<Box<RawValue>>,
}

impl Refusal {
    pub(super) const fn invalid(message: String) -> Self {
        Self::InvalidRequest { message }
    }

    /// Asked again, the same would come of it: this is the request's outcome. Others may pass.
    pub(super) const fn is_outcome(&self) -> bool {
        !matches!(self, Self::Busy | Self::Timeout | Self::Unavailable)
    }

    pub(super) fn to_json(&self) -> String {
        // Strings, numbers and JSON that was parsed before: there is nothing in it that can't be written.
        serde_json::to_string(self).unwrap_or_else(|_| r#"{"reason":"unavailable"}"#.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_their_reason() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
        let conflicting = Conflicting {
            key: raw(r#"{"id":1}"#),
            columns: vec!["title".to_owned()],
            current: Some(raw(r#"{"id":1,"title":"ä"}"#)),
        };
        for (refusal, json) in [
            (Refusal::invalid("no".to_owned()), r#"{"reason":"invalid_request","message":"no"}"#),
            (
                Refusal::Conflict { conflicts: vec![conflicting] },
                r#"{"reason":"conflict","conflicts":[{"key":{"id":1},"columns":["title"],"current":{"id":1,"title":"ä"}}]}"#,
            ),
            (
                Refusal::Constraint {
                    change: Some(1),
                    code: "23505".to_owned(),
                    constraint: Some("notes_title_key".to_owned()),
                    column: None,
                },
                r#"{"reason":"constraint","change":1,"code":"23505","constraint":"notes_title_key"}"#,
            ),
            (Refusal::NotPermitted { change: None, message: None }, r#"{"reason":"not_permitted"}"#),
            (Refusal::NotInTopic { change: 2 }, r#"{"reason":"not_in_topic","change":2}"#),
            (Refusal::Busy, r#"{"reason":"busy"}"#),
        ] {
            assert_eq!(refusal.to_json(), json);
            let name = Outcome::from(refusal).name();
            assert!(json.starts_with(&format!(r#"{{"reason":"{name}""#)), "{name}: {json}");
        }
        assert_eq!(Outcome::Refused(r#"{"reason":"of_tomorrow"}"#.into()).name(), "other");
    }

    #[test]
    fn what_may_pass_is_no_outcome() {
        assert!(![Refusal::Busy, Refusal::Timeout, Refusal::Unavailable].iter().any(Refusal::is_outcome));
        assert!(Refusal::NotInTopic { change: 0 }.is_outcome());
    }
}
