//! Whose write it is: the role that it runs as, the claims that policies see, and whose mutation ids are meant.

use serde_json::{Map, Value, json};

use crate::routing::{Claims, WritePolicy};

use super::outcome::Refusal;

/// The word by which Postgres leaves a role, not a role.
const NO_ROLE: &str = "none";

/// Who writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// None: the gateway's own role. Only where nobody has to show who they are.
    pub(super) role: Option<String>,
    /// For `request.jwt.claims`, as PostgREST sets it: with the role in it.
    pub(super) claims: String,
    /// Mutation ids are this identity's own. Not the token's other claims: they change when it is renewed.
    pub(super) scope: String,
}

impl Identity {
    /// `identified`: tokens are checked, so that nobody may write with the gateway's own rights.
    ///
    /// # Errors
    /// No role is named, by the claims or by the route, or one that is none.
    pub(super) fn new(claims: &Claims, policy: &WritePolicy, identified: bool) -> Result<Self, Refusal> {
        let named = match claims.get(["role"]) {
            None | Some(Value::Null) => policy.role.clone(),
            Some(Value::String(role)) => Some(role.clone()),
            Some(_) => return Err(refused("the claim `role` is no text")),
        };
        if named.as_deref().is_some_and(|role| role == NO_ROLE || role.is_empty()) {
            return Err(refused("the claim `role` names no role of the database"));
        }
        if identified && named.is_none() {
            return Err(refused("the token has no claim `role`, and the route names none"));
        }
        let subject = claims.get(["sub"]).cloned().unwrap_or(Value::Null);
        let mut all: Map<String, Value> = claims.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
        if let Some(role) = &named {
            all.insert("role".to_owned(), json!(role));
        }
        let scope = json!([named, subject]).to_string();
        Ok(Self { role: named, claims: Value::Object(all).to_string(), scope })
    }
}

fn refused(message: &str) -> Refusal {
    Refusal::NotPermitted { change: None, message: Some(message.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{Conflict, Ops};

    fn identity(claims: Value, role: Option<&str>, identified: bool) -> Result<Identity, String> {
        let Value::Object(claims) = claims else { panic!("an object") };
        let role = role.map(str::to_owned);
        let policy = WritePolicy { ops: Ops::ALL, columns: None, conflict: Conflict::Columns, role };
        Identity::new(&Claims::new(claims), &policy, identified).map_err(|refusal| refusal.to_json())
    }

    #[test]
    fn the_claim_names_the_role_and_the_route_stands_in() {
        let own = identity(json!({"sub": "u1", "role": "author"}), Some("web"), true).unwrap();
        assert_eq!(own.role.as_deref(), Some("author"));
        assert_eq!(serde_json::from_str::<Value>(&own.claims).unwrap(), json!({"sub": "u1", "role": "author"}));
        assert_eq!(own.scope, r#"["author","u1"]"#);
        let from_route = identity(json!({"sub": "u1"}), Some("web"), true).unwrap();
        assert_eq!(from_route.role.as_deref(), Some("web"));
        assert_eq!(serde_json::from_str::<Value>(&from_route.claims).unwrap(), json!({"sub": "u1", "role": "web"}));
    }

    #[test]
    fn nobody_with_a_token_writes_as_the_gateway() {
        for claims in [json!({"sub": "u1"}), json!({"role": null}), json!({"role": "none"}), json!({"role": ""})] {
            assert!(identity(claims.clone(), None, true).unwrap_err().contains("not_permitted"), "{claims}");
        }
        assert!(identity(json!({"role": "none"}), Some("web"), false).is_err());
        assert!(identity(json!({"role": ["author"]}), Some("web"), true).is_err());
        assert_eq!(identity(json!({}), None, false).unwrap().role, None);
    }
}
