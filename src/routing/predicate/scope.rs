//! The names that an expression can use.

use std::sync::Arc;

use crate::change::{EnumLabels, Relation, Type};

/// How unlike a name may be and still be meant (Jaro-Winkler, from 0 to 1).
const SIMILARITY_MIN: f64 = 0.8;

/// Names, each with its index and type: a relation's columns, or a topic's variables.
#[derive(Debug, Clone)]
pub struct Scope<'a> {
    names: Vec<(&'a str, usize, &'a Arc<Type>)>,
    /// Literals and claims are held against these, where they are known.
    labels: Option<Arc<EnumLabels>>,
}

impl<'a> Scope<'a> {
    /// The columns of a relation, by their place in its rows.
    #[must_use]
    pub fn of_relation(relation: &'a Relation) -> Self {
        let columns = relation.columns.iter().enumerate();
        Self { names: columns.map(|(index, column)| (&*column.name, index, &column.ty)).collect(), labels: None }
    }

    /// Variables, by their place in the list. Their values are as Postgres prints the types, or as `value::text` is.
    #[must_use]
    pub fn of_variables(variables: &[(&'a str, &'a Arc<Type>)]) -> Self {
        Self {
            names: variables.iter().enumerate().map(|(index, (name, ty))| (*name, index, *ty)).collect(),
            labels: None,
        }
    }

    /// Only the names that `keep` takes, with the indexes that they have: the others are as if there were none.
    #[must_use]
    pub fn only(mut self, keep: impl Fn(&str) -> bool) -> Self {
        self.names.retain(|(name, _, _)| keep(name));
        self
    }

    /// With the labels that enums have: others are refused. Without it any text is taken for one.
    #[must_use]
    pub fn knowing(self, labels: &Arc<EnumLabels>) -> Self {
        Self { labels: Some(Arc::clone(labels)), ..self }
    }

    pub(super) const fn labels(&self) -> Option<&Arc<EnumLabels>> {
        self.labels.as_ref()
    }

    pub(super) fn find(&self, name: &str) -> Option<(usize, &'a Arc<Type>)> {
        self.names.iter().find(|(known, _, _)| *known == name).map(|(_, index, ty)| (*index, *ty))
    }

    pub(super) fn name(&self, index: usize) -> Option<&'a str> {
        self.names.iter().find(|(_, known, _)| *known == index).map(|(name, ..)| *name)
    }

    /// The name that was probably meant.
    pub(super) fn similar(&self, name: &str) -> Option<&'a str> {
        let scored = self.names.iter().map(|(known, _, _)| (strsim::jaro_winkler(known, name), *known));
        let best = scored.max_by(|(left, _), (right, _)| left.total_cmp(right));
        best.filter(|(score, _)| *score >= SIMILARITY_MIN).map(|(_, known)| known)
    }
}
