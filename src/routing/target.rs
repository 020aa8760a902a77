//! Where a change goes: the topics found for it, each once.

use std::ops::Range;
use std::sync::Arc;

use super::canonical::TextForm;
use super::image::Image;
use super::predicate::Values;
use super::table::RouteId;
use super::topic::MAX_TOPIC_LENGTH;
use crate::change::{Datum, Operation, Type};

/// Where a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// To one topic; no other target of the same change names it. At least one side has a route.
    Topic { topic: &'a str, before: Sources, after: Sources },
    /// A truncate: to all topics that the route feeds with this relation's rows. Another target of the same change may
    /// reach some of them too.
    EveryTopic { route: RouteId },
    /// The route takes the change, but where it goes can't be told: any topic of the route may now have a hole.
    Hole { route: RouteId },
}

/// The most routes with claims in `where` that can take one table: a bit for each stands with every change in the log.
pub const MAX_RULES: usize = 32;

/// The routes that have a row in a topic, on one side of a change, as far as they matter: those whose `where` has
/// claims, each of which shows the row to some, up to the first that shows it to everyone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sources {
    rules: u32,
    open: Option<RouteId>,
}

impl Sources {
    /// A route that shows the row to everyone.
    #[must_use]
    pub const fn open(route: RouteId) -> Self {
        Self { rules: 0, open: Some(route) }
    }

    /// Nobody has the row there.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.rules == 0 && self.open.is_none()
    }

    /// The route that shows the row to everyone, where no rule comes before it.
    #[must_use]
    pub const fn everyone(self) -> Option<RouteId> {
        if self.rules == 0 { self.open } else { None }
    }

    /// By number, see [`super::Plan::rules`]; they come before [`Sources::rest`] in config order.
    pub fn rules(self) -> impl Iterator<Item = usize> {
        let mut rest = self.rules;
        std::iter::from_fn(move || {
            let rule = rest.trailing_zeros();
            rest &= rest.checked_sub(1)?;
            Some(rule as usize)
        })
    }

    /// The route that shows the row to all whom no rule does.
    #[must_use]
    pub const fn rest(self) -> Option<RouteId> {
        self.open
    }

    /// The next route in config order.
    pub(super) fn add(&mut self, source: Source) {
        match source.rule {
            _ if self.open.is_some() => {}
            None => self.open = Some(source.route),
            Some(rule) => self.rules |= 1 << rule,
        }
    }
}

/// One route, and the number of its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) route: RouteId,
    /// Below [`MAX_RULES`].
    pub(super) rule: Option<u8>,
}

/// A template's piece, resolved.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Literal(Box<str>),
    Column { index: usize, form: TextForm, ty: Arc<Type> },
}

impl Part {
    pub(super) const fn ty(&self) -> Option<&Arc<Type>> {
        match self {
            Self::Literal(_) => None,
            Self::Column { ty, .. } => Some(ty),
        }
    }
}

/// Buffers that [`super::Plan::route`] uses again and again.
#[derive(Debug, Default)]
pub struct Scratch {
    text: String,
    found: Vec<Found>,
}

/// A topic in the scratch text, and which routes have the row there before and after the change.
#[derive(Debug)]
struct Found {
    topic: Range<usize>,
    before: Sources,
    after: Sources,
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
    /// A null, too long for a topic, or no row of the route's.
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

    /// A route on this side: before, and after.
    pub(super) fn with(self, sources: Sources) -> (Sources, Sources) {
        let on = |side| if self == side || self == Self::Both { sources } else { Sources::default() };
        (on(Self::Before), on(Self::After))
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

    /// The topic of a row.
    pub(super) fn render(&mut self, parts: &[Part], image: &Image<'_>) -> Rendered {
        let start = self.text.len();
        for part in parts {
            match part {
                Part::Literal(text) => self.text.push_str(text),
                Part::Column { index, form, .. } => match image.value(*index) {
                    Some(Datum::Null) => return Rendered::Nowhere,
                    Some(Datum::Unchanged) | None => return Rendered::Unknown,
                    Some(Datum::Text(output)) if self.push_value(output, *form) => {}
                    Some(Datum::Text(_)) => return Rendered::Nowhere,
                },
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

    pub(super) fn add(&mut self, topic: Range<usize>, side: Side, source: Source) {
        let text = self.text.get(topic.clone());
        let index = match self.found.iter().position(|found| self.text.get(found.topic.clone()) == text) {
            Some(index) => index,
            None => {
                self.found.push(Found { topic, before: Sources::default(), after: Sources::default() });
                self.found.len() - 1
            }
        };
        let Some(found) = self.found.get_mut(index) else { return };
        if side != Side::After {
            found.before.add(source);
        }
        if side != Side::Before {
            found.after.add(source);
        }
    }

    pub(super) fn emit(&self, sink: &mut impl FnMut(Target<'_>)) {
        for found in &self.found {
            if let Some(topic) = self.text.get(found.topic.clone()) {
                sink(Target::Topic { topic, before: found.before, after: found.after });
            }
        }
    }
}
