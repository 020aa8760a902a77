//! Where a change goes: the topics found for it, each once.

use std::ops::Range;
use std::sync::Arc;

use super::canonical::TextForm;
use super::ops::Op;
use super::table::RouteId;
use super::topic::MAX_TOPIC_LENGTH;
use crate::change::json::Shown;
use crate::change::{Datum, Operation, Row, Type};

/// Where a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// To one topic; no other target of the same change names it.
    Topic { route: RouteId, topic: &'a str, shown: Shown },
    /// A truncate: to all topics that the route feeds with this relation's rows. Another target of the same change may
    /// reach some of them too.
    EveryTopic { route: RouteId },
    /// The route takes the change, but where it goes can't be told: any topic of the route may now have a hole.
    Hole { route: RouteId },
}

/// A template's piece, resolved.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Literal(Box<str>),
    Column { index: usize, form: TextForm, ty: Arc<Type> },
}

/// Buffers that [`super::Plan::route`] uses again and again.
#[derive(Debug, Default)]
pub struct Scratch {
    text: String,
    found: Vec<Found>,
}

/// A topic in the scratch text, and which route has the row there before and after the change.
#[derive(Debug)]
struct Found {
    topic: Range<usize>,
    before: Option<RouteId>,
    after: Option<RouteId>,
}

/// On which side of a change a row is in a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
    Both,
}

/// A topic as far as a row gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rendered {
    At(Range<usize>),
    /// A null, or too long for a topic.
    Nowhere,
    /// A value that Postgres did not send.
    Unknown,
}

impl Side {
    pub(super) const fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Insert { .. } => Self::After,
            Operation::Delete { .. } => Self::Before,
            Operation::Update { .. } | Operation::Truncate => Self::Both,
        }
    }
}

impl Scratch {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.found.clear();
    }

    pub(super) fn push(&mut self, text: &str) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(text);
        start..self.text.len()
    }

    /// The topic of `row`; a value that an update left untouched is taken from the `old` row.
    pub(super) fn render(&mut self, parts: &[Part], row: &Row, old: Option<&Row>) -> Rendered {
        let start = self.text.len();
        for part in parts {
            match part {
                Part::Literal(text) => self.text.push_str(text),
                Part::Column { index, form, .. } => {
                    let datum = match row.get(*index) {
                        Some(Datum::Unchanged) => old.and_then(|old| old.get(*index)),
                        datum => datum,
                    };
                    match datum {
                        Some(Datum::Null) => return Rendered::Nowhere,
                        Some(Datum::Unchanged) | None => return Rendered::Unknown,
                        Some(Datum::Text(output)) if self.push_value(output, *form) => {}
                        Some(Datum::Text(_)) => return Rendered::Nowhere,
                    }
                }
            }
        }
        match self.text.len() - start {
            1..=MAX_TOPIC_LENGTH => Rendered::At(start..self.text.len()),
            _ => Rendered::Nowhere,
        }
    }

    /// False where no topic can hold the value: too long, or no UTF-8 (the replication connection's encoding).
    fn push_value(&mut self, output: &[u8], form: TextForm) -> bool {
        let Ok(output) = str::from_utf8(output) else { return false };
        let (stem, suffix) = form.text(output);
        let fits = stem.len() <= MAX_TOPIC_LENGTH;
        if fits {
            self.text.push_str(stem);
            self.text.push_str(suffix);
        }
        fits
    }

    pub(super) fn add(&mut self, topic: Range<usize>, side: Side, route: RouteId) {
        let text = self.text.get(topic.clone());
        let index = match self.found.iter().position(|found| self.text.get(found.topic.clone()) == text) {
            Some(index) => index,
            None => {
                self.found.push(Found { topic, before: None, after: None });
                self.found.len() - 1
            }
        };
        let Some(found) = self.found.get_mut(index) else { return };
        if side != Side::After {
            found.before.get_or_insert(route);
        }
        if side != Side::Before {
            found.after.get_or_insert(route);
        }
    }

    pub(super) fn emit(&self, op: Op, sink: &mut impl FnMut(Target<'_>)) {
        for found in &self.found {
            let Some(topic) = self.text.get(found.topic.clone()) else { continue };
            let shown = match (op, found.before, found.after) {
                (Op::Update, Some(_), None) => Shown::Leaving,
                (Op::Update, None, Some(_)) => Shown::Entering,
                _ => Shown::AsIs,
            };
            if let Some(route) = found.after.or(found.before) {
                sink(Target::Topic { route, topic, shown });
            }
        }
    }
}
