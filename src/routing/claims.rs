//! What is known of who subscribes.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

/// The claims of a verified token, as rules see them; none of them where nobody has to show one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Claims(Option<Arc<Map<String, Value>>>);

impl Claims {
    #[must_use]
    pub fn new(claims: Map<String, Value>) -> Self {
        Self((!claims.is_empty()).then(|| Arc::new(claims)))
    }

    /// The claim at a path (`claims.app.role` is `["app", "role"]`); none where it, or what should hold it, is missing.
    pub fn get<'p>(&self, path: impl IntoIterator<Item = &'p str>) -> Option<&Value> {
        let mut path = path.into_iter();
        let first = self.0.as_ref()?.get(path.next()?)?;
        path.try_fold(first, |value, key| value.as_object()?.get(key))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().flat_map(|claims| claims.iter()).map(|(name, value)| (name.as_str(), value))
    }
}

impl fmt::Debug for Claims {
    // They are somebody's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_found_by_their_path() {
        let Value::Object(map) = json!({"sub": "u1", "app": {"roles": ["a"]}}) else { panic!("an object") };
        let claims = Claims::new(map);
        assert_eq!(claims.get(["sub"]), Some(&json!("u1")));
        assert_eq!(claims.get(["app", "roles"]), Some(&json!(["a"])));
        for path in [&["app", "x"][..], &["sub", "x"], &["x"], &[]] {
            assert_eq!(claims.get(path.iter().copied()), None, "{path:?}");
        }
    }

    #[test]
    fn their_values_are_not_shown() {
        let claims = Claims::new([("sub".to_owned(), json!("secret"))].into_iter().collect());
        assert_eq!(format!("{claims:?}"), r#"{"sub"}"#);
    }
}
