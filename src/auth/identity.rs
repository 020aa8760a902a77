//! Who somebody has shown to be.

use std::time::Duration;

use serde_json::Value;

use crate::routing::{Claims, TopicPattern};

/// A moment by the wall clock, as tokens have it: the time since 1970-01-01 00:00 UTC.
///
/// It is a type of its own because shards count time from the process' start, by a clock that nobody sets: the two
/// must not be mixed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct WallTime(Duration);

impl WallTime {
    #[must_use]
    pub const fn since_1970(duration: Duration) -> Self {
        Self(duration)
    }

    /// Later by this much; beyond what can be counted there is no end.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// A verified token's content; without anything in it where nobody has to show a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    pub claims: Claims,
    /// From when on it is nobody's any more: the token's `exp`, with leeway and grace. `None` for a token without one.
    ///
    /// It is compared with the wall clock whenever it matters, not turned into a span once: when the clock is set
    /// right, or the machine slept, what the clock says then is what counts.
    pub expires: Option<WallTime>,
}

impl Identity {
    /// Whether it may have the server send events to a topic: by the claim `publish`, which is `true` for every topic,
    /// or a list of topics and of patterns of them, as `[[channel]]` has them.
    #[must_use]
    pub fn may_publish(&self, topic: &str) -> bool {
        let matches = |pattern: &Value| {
            let pattern = pattern.as_str().and_then(|text| TopicPattern::parse(text).ok());
            pattern.is_some_and(|pattern| pattern.matches(topic))
        };
        match self.claims.get(["publish"]) {
            Some(Value::Bool(every)) => *every,
            Some(Value::Array(patterns)) => patterns.iter().any(matches),
            _ => false,
        }
    }

    #[must_use]
    pub fn is_expired(&self, now: WallTime) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_right_to_publish_is_said_by_the_token() {
        let may = |claims: Value, topic| {
            let Value::Object(claims) = claims else { panic!("claims are an object") };
            Identity { claims: Claims::new(claims), expires: None }.may_publish(topic)
        };
        let some = json!({"publish": ["notifications:*", "rooms:{room}", "{", 7]});
        for (claims, topic, allowed) in [
            (json!({"publish": true}), "rooms:1:2", true),
            (some.clone(), "notifications:lobby", true),
            (some.clone(), "rooms:1", true),
            (some.clone(), "rooms:1:2", false),
            (some, "{", false),
            (json!({"publish": false}), "rooms:1", false),
            (json!({"publish": []}), "rooms:1", false),
            // One that was meant as a list, and would be read as something else by others.
            (json!({"publish": "rooms:*"}), "rooms:1", false),
            (json!({"publish": "true"}), "rooms:1", false),
            (json!({"publish": {"*": true}}), "rooms:1", false),
            (json!({"role": "admin"}), "rooms:1", false),
            (json!({}), "rooms:1", false),
        ] {
            assert_eq!(may(claims.clone(), topic), allowed, "{claims} {topic}");
        }
    }
}
