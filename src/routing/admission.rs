//! Who may join a topic: every route that feeds it must say so, and its channel, if it has one.

use std::sync::{Arc, LazyLock};

use super::plan::Plan;
use super::predicate::{Expression, ExpressionError, Scope, Truth, Values};
use super::{ChannelSpec, Claims, RouteId, RouteSpec, RouteTable};
use crate::change::{Datum, Type, TypeKind};

/// Of a pattern's variables: no column says what they are.
static TEXT: LazyLock<Arc<Type>> = LazyLock::new(|| {
    const OID: u32 = 25;
    Arc::new(Type { oid: OID, base_oid: OID, name: "text".into(), kind: TypeKind::Text })
});

impl RouteTable {
    /// Whether the routes that feed a topic (see [`RouteTable::routes_for_topic`], with the same plans) let these
    /// claims in. A topic's `{column}`s have the types of every table that could give it.
    ///
    /// # Errors
    /// A claim that can't be cast to what `allow` compares it with. Where an `allow` can't be evaluated for another
    /// reason, nobody is let in.
    pub fn admits<'p>(
        &self,
        feeding: &[RouteId],
        topic: &str,
        claims: &Claims,
        plans: impl Iterator<Item = &'p Plan> + Clone,
    ) -> Result<bool, ExpressionError> {
        for id in feeding {
            let Some(route) = self.route(*id) else { return Ok(false) };
            let Some(allow) = &route.allow else { continue };
            if !admits(*id, route, &allow.close(claims), topic, plans.clone())? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl ChannelSpec {
    /// Whether the channel lets these claims into a topic, which its pattern has to match.
    ///
    /// # Errors
    /// As [`RouteTable::admits`].
    pub fn admits(&self, topic: &str, claims: &Claims) -> Result<bool, ExpressionError> {
        let Some(allow) = &self.allow else { return Ok(true) };
        let Some(captures) = self.topic.captures(topic) else { return Ok(false) };
        let (names, values): (Vec<_>, Vec<_>) = captures.into_iter().unzip();
        is_true(&allow.close(claims), &typed(&names), &values)
    }

    /// What is wrong with its `allow`, for whatever claims.
    #[must_use]
    pub fn problems(&self) -> Vec<ExpressionError> {
        self.allow.iter().flat_map(|allow| allow.check(&self.scope())).collect()
    }

    /// What its `allow` is about, beside the claims.
    #[must_use]
    pub fn scope(&self) -> Scope<'_> {
        Scope::of_variables(&typed(&self.topic.variables().collect::<Vec<_>>()))
    }
}

fn typed<'n>(names: &[&'n str]) -> Vec<(&'n str, &'static Arc<Type>)> {
    names.iter().map(|name| (*name, &*TEXT)).collect()
}

fn admits<'p>(
    id: RouteId,
    route: &RouteSpec,
    allow: &Expression,
    topic: &str,
    plans: impl Iterator<Item = &'p Plan>,
) -> Result<bool, ExpressionError> {
    if route.topic.as_static().is_some() {
        return is_true(allow, &[], &[]);
    }
    // Many tables of one route have the same types.
    let mut judged: Vec<(Vec<&Arc<Type>>, Vec<&str>)> = Vec::new();
    for plan in plans {
        let step = plan.steps().iter().find(|step| step.route == id);
        let Some(captures) = step.and_then(|step| step.captures(&route.topic, topic)) else { continue };
        let types = captures.iter().filter_map(|(index, _)| plan.relation().columns.get(*index)).map(|it| &it.ty);
        let variables = (types.collect(), captures.iter().map(|(_, value)| *value).collect());
        if !judged.contains(&variables) {
            let names: Vec<(&str, &Arc<Type>)> = route.topic.columns().zip(variables.0.iter().copied()).collect();
            if !is_true(allow, &names, &variables.1)? {
                return Ok(false);
            }
            judged.push(variables);
        }
    }
    Ok(!judged.is_empty())
}

fn is_true(allow: &Expression, variables: &[(&str, &Arc<Type>)], values: &[&str]) -> Result<bool, ExpressionError> {
    let predicate = match allow.compile(&Scope::of_variables(variables)) {
        Ok(predicate) => predicate,
        Err(error) if error.is_claim() => return Err(error),
        Err(_) => return Ok(false),
    };
    Ok(predicate.evaluate(&Captured(values)) == Ok(Truth::True))
}

/// The values in a topic.
struct Captured<'a>(&'a [&'a str]);

impl Values for Captured<'_> {
    fn value(&self, index: usize) -> Option<Datum<'_>> {
        self.0.get(index).map(|value| Datum::Text(value.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::routing::TopicPattern;

    fn channel(topic: &str, allow: &str) -> ChannelSpec {
        let (topic, allow) = (TopicPattern::parse(topic).unwrap(), Some(Expression::parse(allow).unwrap()));
        ChannelSpec { topic, publish: Box::default(), presence: false, include_sender: true, allow }
    }

    fn claims(claims: Value) -> Claims {
        let Value::Object(map) = claims else { panic!("claims are an object") };
        Claims::new(map)
    }

    #[test]
    fn a_channel_lets_in_whom_its_rule_is_true_of() {
        let rooms = channel("rooms:{room}", "room = any (claims.rooms) or room = claims.sub");
        let ann = || claims(json!({"sub": "7", "rooms": ["lobby", "den"]}));
        for (topic, claims, admitted) in [
            ("rooms:den", ann(), true),
            ("rooms:7", ann(), true),
            ("rooms:attic", ann(), false),
            // A number in a token is compared as text is: the variable has no other type.
            ("rooms:7", claims(json!({"sub": 7, "rooms": []})), true),
            // Null is not true.
            ("rooms:den", Claims::default(), false),
            // Not the channel's at all.
            ("den", ann(), false),
        ] {
            assert_eq!(rooms.admits(topic, &claims), Ok(admitted), "{topic} {claims:?}");
        }
        let error = rooms.admits("rooms:den", &claims(json!({"sub": {"id": 7}}))).unwrap_err();
        assert!(error.is_claim(), "{error}");
        assert_eq!(channel("*", "claims.sub is not null").admits("x", &Claims::default()), Ok(false));
    }

    #[test]
    fn a_rule_that_does_not_fit_lets_nobody_in() {
        let rooms = channel("rooms:{room}", "room = 7 or true");
        assert_eq!(rooms.problems().len(), 1);
        assert_eq!(rooms.admits("rooms:7", &Claims::default()), Ok(false));
    }
}
