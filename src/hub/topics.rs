//! Every topic that has subscribers or changes in the log.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::change::Lsn;
use crate::routing::{RouteId, Topic};

use super::audience::Audience;

/// Where the log keeps a batch: an entry's number and the batch's place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BatchRef {
    pub(super) entry: u64,
    pub(super) batch: usize,
}

/// What a topic costs beside its batches: its name, its state in a map that is half empty, and the room for its first
/// batches.
pub(super) const TOPIC_OVERHEAD: usize = 2 * size_of::<(Topic, TopicState)>() + 4 * size_of::<BatchRef>();

#[derive(Debug, Default)]
pub(super) struct TopicState {
    /// The routes that feed it, by their numbers.
    pub(super) routes: Vec<RouteId>,
    /// Its batches in the log, oldest first.
    pub(super) batches: VecDeque<BatchRef>,
    /// Its subscribers.
    pub(super) audience: Audience,
    /// How many messages it got of the transaction that committed at this LSN: the next message's part.
    parts: (Lsn, u32),
}

impl TopicState {
    pub(super) fn new(routes: Vec<RouteId>) -> Self {
        Self { routes, ..Self::default() }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.batches.is_empty() && self.audience.is_empty()
    }

    /// The part number for the topic's next message of the transaction that committed at `lsn`.
    pub(super) fn next_part(&mut self, lsn: Lsn) -> u32 {
        let part = if self.parts.0 == lsn { self.parts.1 } else { 0 };
        self.parts = (lsn, part + 1);
        part
    }
}

/// A topic that got a part of a transaction which goes on: it is owed a last part.
#[derive(Debug, Clone)]
pub(super) struct OpenTopic {
    pub(super) topic: Topic,
    pub(super) event: Arc<str>,
}

/// A route has begun to feed a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun {
    /// None did before.
    pub(super) first: bool,
}

/// Topics by name.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: HashMap<Topic, TopicState>,
}

impl Topics {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// In no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Topic, &TopicState)> {
        self.by_name.iter()
    }

    pub(super) fn get(&self, name: &str) -> Option<(&Topic, &TopicState)> {
        self.by_name.get_key_value(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut TopicState> {
        self.by_name.get_mut(name)
    }

    /// A route has brought the topic something; none where it was known to feed it, or there is no such topic.
    pub(super) fn feed(&mut self, name: &str, route: RouteId) -> Option<Begun> {
        let state = self.by_name.get_mut(name)?;
        let place = state.routes.binary_search(&route).err()?;
        state.routes.insert(place, route);
        Some(Begun { first: state.routes.len() == 1 })
    }

    /// All of them, in the same order every time.
    pub(super) fn names(&self) -> Vec<Topic> {
        let mut names: Vec<Topic> = self.by_name.keys().cloned().collect();
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names
    }

    pub(super) fn insert(&mut self, topic: Topic, state: TopicState) {
        self.by_name.insert(topic, state);
    }

    pub(super) fn remove_if_idle(&mut self, name: &str) {
        if self.by_name.get(name).is_some_and(TopicState::is_idle) {
            self.by_name.remove(name);
        }
    }

    /// The topics that a route is known to feed, in the same order every time.
    pub(super) fn of_route(&self, route: RouteId) -> impl Iterator<Item = &Topic> {
        let fed = self.by_name.iter().filter(|(_, state)| state.routes.contains(&route));
        let mut topics: Vec<&Topic> = fed.map(|(topic, _)| topic).collect();
        topics.sort_unstable_by_key(|topic| topic.as_str());
        topics.into_iter()
    }
}
