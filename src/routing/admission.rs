//! Who may join a topic: every route that feeds it must say so.

use std::sync::Arc;

use super::plan::Plan;
use super::predicate::{Expression, ExpressionError, Scope, Truth, Values};
use super::{Claims, RouteId, RouteSpec, RouteTable};
use crate::change::{Datum, Type};

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
